//! What a pass will do: closed, serialisable, with every argument, so that no choice is left for execution.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::domain::condition::ConditionType;
use crate::domain::desired::{DatabaseRequest, NewKey};
use crate::domain::id::{KeyArn, Region};
use crate::domain::memory::{DeployIntent, KeyIntent};
use crate::domain::moment::Moment;
use crate::domain::part::NewPart;

pub use super::site::Site;

use super::role_step::RoleStep;

/// A key that a step is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyRef {
    /// A key that was seen.
    Arn(KeyArn),
    /// The key that an earlier step of the same plan creates or makes a replica of.
    CreatedInThisPass,
}

/// A database that a step is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DatabaseRef {
    /// A database that was seen.
    Id(String),
    /// The database that an earlier step of the same plan creates.
    CreatedInThisPass,
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Adds our finalizer.
    AddFinalizer,
    /// Removes our finalizer.
    RemoveFinalizer,
    /// Writes down that a key is about to be created.
    RecordKeyIntent {
        /// Where.
        region: Region,
        /// The intent.
        intent: KeyIntent,
    },
    /// Creates a key.
    CreateKey {
        /// Where.
        region: Region,
        /// The key.
        key: NewKey,
        /// After this moment it must not be sent any more: the settle window counts from the intent.
        not_after: Moment,
    },
    /// Makes a replica of a multi-Region key.
    ReplicateKey {
        /// Where.
        region: Region,
        /// The primary. Its region is the one that is asked.
        primary: KeyArn,
        /// The replica.
        key: NewKey,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Claims the identity for a key.
    CreateAlias {
        /// Where.
        region: Region,
        /// The alias.
        alias: String,
        /// The key.
        key: KeyRef,
    },
    /// Writes down which key it is.
    RecordKey {
        /// Where.
        region: Region,
        /// The key.
        key: KeyRef,
    },
    /// Replaces a key's policy.
    PutPolicy {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
        /// The whole new document.
        document: String,
        /// The hash of the document that it was made from; if the policy is another by now, nothing is written.
        replaces: String,
    },
    /// Switches rotation on, or changes its period.
    EnableRotation {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
        /// Days between rotations.
        period_days: i32,
    },
    /// Sets a key's description.
    UpdateDescription {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
        /// The description.
        description: String,
    },
    /// Sets tags on a key.
    Tag {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
        /// The tags.
        tags: BTreeMap<String, String>,
    },
    /// Writes down that a key is about to be registered.
    RecordRegistrationIntent {
        /// Where.
        region: Region,
        /// When the attempt begins.
        started_at: Moment,
    },
    /// Registers a key with the database cloud.
    Register {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Writes down that something is about to be deployed.
    RecordDeployIntent {
        /// What.
        intent: DeployIntent,
    },
    /// Creates the database.
    CreateDatabase {
        /// Where.
        region: Region,
        /// What.
        request: DatabaseRequest,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Writes down which database it is.
    RecordDatabase {
        /// Where it was created.
        region: Region,
        /// Its id.
        database: DatabaseRef,
    },
    /// Notes on the key which database a cluster created, so that the cluster finds it again when it is applied anew.
    NoteDatabase {
        /// The primary region.
        region: Region,
        /// The key.
        key: KeyArn,
        /// The tag's name: that of the cluster's note.
        tag: String,
        /// The database's id.
        database: String,
    },
    /// Adds a region to the database.
    AddRegion {
        /// Where.
        region: Region,
        /// To which database.
        database: String,
        /// What.
        request: DatabaseRequest,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Makes a part of the database.
    CreatePart {
        /// The primary region.
        region: Region,
        /// Of which database.
        database: String,
        /// What.
        part: NewPart,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Marks a key as one that the operator is about to schedule for deletion: a key that is pending takes no tags.
    MarkDeletion {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
        /// The object for which it is done, so that it can be taken back.
        by: String,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Puts an existing database under the key.
    EncryptDatabase {
        /// The primary region.
        region: Region,
        /// Which database.
        database: String,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// About the role as which the cloud uses the key.
    Role(RoleStep),
    /// Schedules a key for deletion.
    ScheduleDeletion {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
        /// Days until it is deleted.
        window_days: i32,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Takes back the deletion of a key.
    CancelDeletion {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
    },
    /// Makes a key usable again whose deletion was taken back.
    EnableKey {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
    },
    /// Removes a region, with its data, from the database.
    RemoveRegion {
        /// Which.
        region: Region,
        /// From which database.
        database: String,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Deletes the database with its data.
    TerminateDatabase {
        /// Which.
        database: String,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
}

impl Step {
    /// Where in the process its effect is made.
    pub fn site(&self) -> Site {
        match self {
            Self::AddFinalizer => Site::AddFinalizer,
            Self::RemoveFinalizer => Site::RemoveFinalizer,
            Self::RecordKeyIntent { .. } => Site::RecordKeyIntent,
            Self::CreateKey { .. } => Site::CreateKey,
            Self::ReplicateKey { .. } => Site::ReplicateKey,
            Self::CreateAlias { .. } => Site::CreateAlias,
            Self::RecordKey { .. } => Site::RecordKey,
            Self::PutPolicy { .. } => Site::PutPolicy,
            Self::EnableRotation { .. } => Site::EnableRotation,
            Self::UpdateDescription { .. } => Site::UpdateDescription,
            Self::Tag { .. } => Site::Tag,
            Self::RecordRegistrationIntent { .. } => Site::RecordRegistrationIntent,
            Self::Register { .. } => Site::Register,
            Self::RecordDeployIntent { .. } => Site::RecordDeployIntent,
            Self::CreateDatabase { .. } => Site::CreateDatabase,
            Self::RecordDatabase { .. } => Site::RecordDatabase,
            Self::NoteDatabase { .. } => Site::NoteDatabase,
            Self::AddRegion { .. } => Site::AddRegion,
            Self::CreatePart { .. } => Site::CreatePart,
            Self::MarkDeletion { .. } => Site::MarkDeletion,
            Self::EncryptDatabase { .. } => Site::EncryptDatabase,
            Self::Role(step) => Site::Role(step.site()),
            Self::ScheduleDeletion { .. } => Site::ScheduleDeletion,
            Self::CancelDeletion { .. } => Site::CancelDeletion,
            Self::EnableKey { .. } => Site::EnableKey,
            Self::RemoveRegion { .. } => Site::RemoveRegion,
            Self::TerminateDatabase { .. } => Site::TerminateDatabase,
        }
    }

    /// The region that it is about; none: the whole object. A fault in one region does not keep another from going on.
    pub fn region(&self) -> Option<&Region> {
        match self {
            Self::AddFinalizer | Self::RemoveFinalizer | Self::TerminateDatabase { .. } => None,
            Self::RecordDeployIntent { intent } => Some(&intent.region),
            Self::Role(step) => Some(step.region()),
            Self::RecordKeyIntent { region, .. }
            | Self::CreateKey { region, .. }
            | Self::ReplicateKey { region, .. }
            | Self::CreateAlias { region, .. }
            | Self::RecordKey { region, .. }
            | Self::PutPolicy { region, .. }
            | Self::EnableRotation { region, .. }
            | Self::UpdateDescription { region, .. }
            | Self::Tag { region, .. }
            | Self::RecordRegistrationIntent { region, .. }
            | Self::Register { region, .. }
            | Self::CreateDatabase { region, .. }
            | Self::RecordDatabase { region, .. }
            | Self::NoteDatabase { region, .. }
            | Self::AddRegion { region, .. }
            | Self::CreatePart { region, .. }
            | Self::MarkDeletion { region, .. }
            | Self::EncryptDatabase { region, .. }
            | Self::ScheduleDeletion { region, .. }
            | Self::CancelDeletion { region, .. }
            | Self::EnableKey { region, .. }
            | Self::RemoveRegion { region, .. } => Some(region),
        }
    }

    /// The condition that a failure of it bears on.
    pub fn condition(&self) -> Option<ConditionType> {
        match self {
            Self::AddFinalizer | Self::RemoveFinalizer => None,
            Self::RecordKeyIntent { .. }
            | Self::CreateKey { .. }
            | Self::ReplicateKey { .. }
            | Self::CreateAlias { .. }
            | Self::RecordKey { .. }
            | Self::EnableRotation { .. }
            | Self::UpdateDescription { .. }
            | Self::Tag { .. }
            | Self::MarkDeletion { .. }
            | Self::ScheduleDeletion { .. }
            | Self::CancelDeletion { .. }
            | Self::EnableKey { .. } => Some(ConditionType::KeysReady),
            Self::PutPolicy { .. } => Some(ConditionType::PoliciesReady),
            Self::RecordRegistrationIntent { .. } | Self::Register { .. } | Self::Role(_) => {
                Some(ConditionType::Registered)
            }
            Self::RecordDeployIntent { .. }
            | Self::CreateDatabase { .. }
            | Self::RecordDatabase { .. }
            | Self::NoteDatabase { .. }
            | Self::AddRegion { .. }
            | Self::CreatePart { .. }
            | Self::EncryptDatabase { .. }
            | Self::RemoveRegion { .. }
            | Self::TerminateDatabase { .. } => Some(ConditionType::Deployed),
        }
    }

    /// Whether it changes something outside Kubernetes.
    pub fn is_outside(&self) -> bool {
        match self {
            Self::Role(step) => step.is_outside(),
            Self::AddFinalizer
            | Self::RemoveFinalizer
            | Self::RecordKeyIntent { .. }
            | Self::RecordKey { .. }
            | Self::RecordRegistrationIntent { .. }
            | Self::RecordDeployIntent { .. }
            | Self::RecordDatabase { .. } => false,
            Self::CreateKey { .. }
            | Self::ReplicateKey { .. }
            | Self::CreateAlias { .. }
            | Self::PutPolicy { .. }
            | Self::EnableRotation { .. }
            | Self::UpdateDescription { .. }
            | Self::Tag { .. }
            | Self::Register { .. }
            | Self::CreateDatabase { .. }
            | Self::NoteDatabase { .. }
            | Self::AddRegion { .. }
            | Self::CreatePart { .. }
            | Self::MarkDeletion { .. }
            | Self::EncryptDatabase { .. }
            | Self::ScheduleDeletion { .. }
            | Self::CancelDeletion { .. }
            | Self::EnableKey { .. }
            | Self::RemoveRegion { .. }
            | Self::TerminateDatabase { .. } => true,
        }
    }

    /// A number that is the same for the same wished effect, whatever it was planned from: by it, a repeatable write is
    /// held off while an equal one may not be visible yet.
    pub fn effect(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::ReplicateKey { region, primary, .. } => ("replicate", region, primary).hash(&mut hasher),
            Self::PutPolicy { region, key, document, replaces: _ } => (region, key, document).hash(&mut hasher),
            Self::MarkDeletion { region, key, .. } => ("mark", region, key).hash(&mut hasher),
            Self::ScheduleDeletion { region, key, .. } => ("schedule", region, key).hash(&mut hasher),
            Self::EncryptDatabase { database, .. } => ("encrypt", database).hash(&mut hasher),
            Self::Role(step) => step.wish().hash(&mut hasher),
            Self::RemoveRegion { region, database, .. } => ("remove", region, database).hash(&mut hasher),
            Self::TerminateDatabase { database, .. } => ("terminate", database).hash(&mut hasher),
            other => other.hash(&mut hasher),
        }
        hasher.finish()
    }
}
