//! What a pass saw outside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::family::Family;
use super::fault::Fault;
use super::id::{KeyArn, Region, tag};
use super::moment::Moment;
use super::part::Part;
use super::portal::Replica;
use super::reading::Reading;
use super::role_link::RoleSeen;
use super::source::SourcesSeen;

/// How much a pass looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Depth {
    /// The key's state, and the database's.
    State,
    /// And the policy.
    Policy,
    /// Everything. Only such a pass acts.
    #[default]
    Everything,
}

/// Everything that one pass saw outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Observed {
    /// When the pass began to look.
    pub at: Moment,
    /// How much it looked at.
    #[serde(default)]
    pub depth: Depth,
    /// The ARN of whom AWS takes us for.
    #[serde(default)]
    pub caller: Reading<Caller>,
    /// The credentials for the database cloud.
    #[serde(default)]
    pub credentials: Reading<CredentialsSeen>,
    /// The organization or project that the cloud takes the credentials for.
    #[serde(default)]
    pub scope: Reading<String>,
    /// Region by region.
    #[serde(default)]
    pub regions: BTreeMap<Region, RegionSeen>,
    /// The database.
    #[serde(default)]
    pub database: DatabaseSeen,
    /// Every database of the key's scope; looked at rarely, and only for a key.
    #[serde(default)]
    pub databases: Reading<Vec<Database>>,
    /// Members of the object's multi-Region key in regions that are not looked at for themselves.
    #[serde(default)]
    pub elsewhere: BTreeMap<KeyArn, OtherKey>,
    /// The second key of a cluster, for backups.
    #[serde(default)]
    pub backup: BackupSeen,
    /// From where the cloud calls; looked at only for a key that is restricted to that.
    #[serde(default)]
    pub sources: SourcesSeen,
}

impl Observed {
    /// What was seen of a key, wherever it is and however it was found.
    pub fn facts_of(&self, arn: &KeyArn) -> Reading<&KeyFacts> {
        match (self.regions.get(arn.region()), self.elsewhere.get(arn)) {
            (Some(seen), _) => seen.facts_of(arn),
            (None, Some(other)) => other.facts.as_ref(),
            (None, None) => Reading::NOT_LOOKED,
        }
    }

    /// The tags of a key, wherever it is and however it was found.
    pub fn tags_of(&self, arn: &KeyArn) -> Reading<&BTreeMap<String, String>> {
        match (self.regions.get(arn.region()), self.elsewhere.get(arn)) {
            (Some(seen), _) => seen.tags_of(arn),
            (None, Some(other)) => other.tags.as_ref(),
            (None, None) => Reading::NOT_LOOKED,
        }
    }
}

/// What was seen of a cluster's key for backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackupSeen {
    /// Whom AWS takes us for where that key is.
    #[serde(default)]
    pub caller: Reading<Caller>,
    /// Region by region.
    #[serde(default)]
    pub regions: BTreeMap<Region, RegionSeen>,
}

/// Whom AWS takes us for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// The account.
    pub account: String,
    /// The ARN: a user, or a session of a role.
    pub arn: String,
}

/// What the Secret with the cloud's credentials holds, without its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CredentialsSeen {
    /// `namespace/name` of the Secret.
    pub secret: String,
    /// The keys that the cloud needs and the Secret lacks.
    #[serde(default)]
    pub lacking: Vec<String>,
}

/// What was seen in one region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RegionSeen {
    /// The key that our alias points at.
    #[serde(default)]
    pub by_alias: Reading<KeyFacts>,
    /// The key of the ARN that status or the spec names.
    #[serde(default)]
    pub by_arn: Reading<KeyFacts>,
    /// Keys that carry our owner tags, as the tagging index or a full scan shows them.
    #[serde(default)]
    pub candidates: Reading<Vec<Candidate>>,
    /// Whether `candidates` comes from a scan of every key, which the lag of the tagging index cannot hide from.
    #[serde(default)]
    pub scanned: bool,
    /// The key's tags.
    #[serde(default)]
    pub tags: Reading<BTreeMap<String, String>>,
    /// The key's policy, as text.
    #[serde(default)]
    pub policy: Reading<String>,
    /// The key's rotation.
    #[serde(default)]
    pub rotation: Reading<Rotation>,
    /// The ARNs that the cloud will use the key as.
    #[serde(default)]
    pub principals: Reading<Vec<String>>,
    /// Whether the cloud offers the region to this organization.
    #[serde(default)]
    pub offer: Reading<RegionOffer>,
    /// The key that is registered.
    #[serde(default)]
    pub registration: Reading<String>,
    /// The role as which the cloud uses the key, where it does so.
    #[serde(default)]
    pub role: RoleSeen,
    /// The candidates that are neither under the alias nor of the ARN, looked at only when a human has confirmed the end
    /// of something, or the object goes.
    #[serde(default)]
    pub others: BTreeMap<KeyArn, OtherKey>,
}

/// What was seen of a key that is not the region's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OtherKey {
    /// The key.
    #[serde(default)]
    pub facts: Reading<KeyFacts>,
    /// Its tags.
    #[serde(default)]
    pub tags: Reading<BTreeMap<String, String>>,
}

/// A KMS key as `DescribeKey` shows it
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_KeyMetadata.html>).
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each read by its name")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyFacts {
    /// Its ARN.
    pub arn: KeyArn,
    /// Its state.
    pub state: KeyState,
    /// Its description.
    #[serde(default)]
    pub description: String,
    /// Whether it is a symmetric encryption key.
    #[serde(default = "yes")]
    pub symmetric: bool,
    /// Whether KMS made its key material.
    #[serde(default = "yes")]
    pub kms_origin: bool,
    /// Whether the customer manages it.
    #[serde(default = "yes")]
    pub customer_managed: bool,
    /// Whether it is a multi-Region key.
    #[serde(default)]
    pub multi_region: bool,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<Moment>,
    /// When it will be deleted.
    #[serde(default)]
    pub deletion_at: Option<Moment>,
    /// How many days after the end of its last replica it will be deleted, while it waits for that.
    #[serde(default)]
    pub window_days: Option<i32>,
    /// The primary and the replicas, of a multi-Region key; absent: it is none, or nobody told.
    #[serde(default)]
    pub family: Option<Family>,
}

fn yes() -> bool {
    true
}

/// The states of a KMS key (<https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyState {
    /// It can be used.
    Enabled,
    /// It cannot be used until somebody enables it.
    Disabled,
    /// It will be deleted.
    PendingDeletion,
    /// It will be deleted after its replicas.
    PendingReplicaDeletion,
    /// It waits for key material.
    PendingImport,
    /// A multi-Region key is being made.
    Creating,
    /// A multi-Region key's primary is being moved.
    Updating,
    /// Its key store is out of reach, or the state is one that this version does not know.
    Unavailable,
}

impl KeyState {
    /// Whether the key will be deleted.
    pub fn is_ending(self) -> bool {
        matches!(self, Self::PendingDeletion | Self::PendingReplicaDeletion)
    }

    /// The state as AWS spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
            Self::PendingImport => "PendingImport",
            Self::Creating => "Creating",
            Self::Updating => "Updating",
            Self::Unavailable => "Unavailable",
        }
    }
}

/// A key with our owner tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Its ARN.
    pub arn: KeyArn,
    /// The nonce that it was made with.
    #[serde(default)]
    pub nonce: Option<String>,
    /// The cluster that holds it.
    #[serde(default)]
    pub holder: Option<String>,
    /// Whether it was registered once, as its tags say: something may be encrypted under it.
    #[serde(default)]
    pub registered: bool,
}

impl Candidate {
    /// A key with these tags.
    pub fn of(arn: KeyArn, tags: &BTreeMap<String, String>) -> Self {
        Self {
            arn,
            nonce: tags.get(tag::NONCE).cloned(),
            holder: tags.get(tag::HOLDER).cloned(),
            registered: tags.contains_key(tag::REGISTERED_AT),
        }
    }
}

/// Automatic rotation of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rotation {
    /// Days between rotations; absent: not rotated automatically.
    pub period_days: Option<i32>,
    /// The next one.
    #[serde(default)]
    pub next: Option<Moment>,
}

/// Whether a cloud offers a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RegionOffer {
    /// It does.
    Open,
    /// It does not, in its own words.
    Locked(String),
}

/// What was seen of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DatabaseSeen {
    /// The database of the id that status or the spec names.
    #[serde(default)]
    pub by_id: Reading<Database>,
    /// Every database of the declared name.
    #[serde(default)]
    pub named: Reading<Vec<Database>>,
    /// Its copy in a second region, where a second region is a copy.
    #[serde(default)]
    pub replica: Reading<Replica>,
    /// Everything that runs inside the database of the id, where a cloud makes that apart.
    #[serde(default)]
    pub parts: Reading<Vec<Part>>,
}

impl DatabaseSeen {
    /// A database with its copy as one of its regions: the cloud may not say which region that is, and there is only one.
    pub fn with_copy(&self, database: &Database, second: Option<&Region>) -> Database {
        let mut database = database.clone();
        let copy = self.replica.present().zip(second);
        let copy = copy.filter(|(copy, second)| copy.region.as_ref().is_none_or(|region| region == second.as_str()));
        if let Some((copy, second)) = copy {
            database.regions.insert(second.to_string(), copy.state.clone());
        }
        database
    }
}

/// A database of a cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Database {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: DatabaseState,
    /// When it was made, as the cloud says.
    #[serde(default)]
    pub created_at: Option<Moment>,
    /// Its size or tier.
    #[serde(default)]
    pub tier: String,
    /// The region that it was created in.
    pub region: String,
    /// The regions that it has, the first one included.
    #[serde(default)]
    pub regions: BTreeMap<String, DatabaseState>,
    /// The cloud's own remark.
    #[serde(default)]
    pub message: String,
    /// Where clients connect.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Whether the customer's key is on it, where the cloud says so.
    #[serde(default)]
    pub encryption: Option<Encryption>,
}

/// What a cloud says of a database's encryption with the customer's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encryption {
    /// It is on.
    On,
    /// It is off, and can be turned on.
    Off,
    /// It is off, and why it cannot be turned on.
    Impossible(String),
}

/// The state of a database, or of one of its regions, in the vocabulary that the planner needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DatabaseState {
    /// It serves.
    Active,
    /// It is on its way to serve, or rests, in the cloud's words; it cannot be changed now.
    Busy(String),
    /// It does not leave this state by itself.
    Failed(String),
    /// It is going or gone.
    Terminated,
}

impl Observed {
    /// Nothing seen yet.
    pub fn nothing(at: Moment) -> Self {
        Self {
            at,
            depth: Depth::Everything,
            caller: Reading::NOT_LOOKED,
            credentials: Reading::NOT_LOOKED,
            scope: Reading::NOT_LOOKED,
            regions: BTreeMap::new(),
            database: DatabaseSeen::default(),
            databases: Reading::NOT_LOOKED,
            elsewhere: BTreeMap::new(),
            backup: BackupSeen::default(),
            sources: SourcesSeen::default(),
        }
    }
}

impl RegionSeen {
    /// What was seen of a key, however it was found.
    pub fn facts_of(&self, arn: &KeyArn) -> Reading<&KeyFacts> {
        let named = |reading: &&Reading<KeyFacts>| reading.present().is_some_and(|facts| facts.arn == *arn);
        if let Some(reading) = [&self.by_arn, &self.by_alias].into_iter().find(named) {
            return reading.as_ref();
        }
        match self.others.get(arn) {
            Some(other) => other.facts.as_ref(),
            // Looked for by its ARN, it is what that look says, unless that one was for another key.
            None if self.by_arn.present().is_none() => self.by_arn.as_ref(),
            None => Reading::NOT_LOOKED,
        }
    }

    /// The tags of a key, however it was found.
    pub fn tags_of(&self, arn: &KeyArn) -> Reading<&BTreeMap<String, String>> {
        // Of the key of the ARN, or else of the alias, the tags were read.
        let main = self.by_arn.present().or(self.by_alias.present());
        if main.is_some_and(|facts| facts.arn == *arn) {
            return self.tags.as_ref();
        }
        self.others.get(arn).map_or(Reading::NOT_LOOKED, |other| other.tags.as_ref())
    }

    /// The faults of every look that failed in this region.
    pub fn faults(&self) -> Vec<&Fault> {
        let Self {
            by_alias,
            by_arn,
            candidates,
            scanned: _,
            tags,
            policy,
            rotation,
            principals,
            offer,
            registration,
            role,
            others,
        } = self;
        let others = others.values().flat_map(|other| [other.facts.fault(), other.tags.fault()]);
        [
            by_alias.fault(),
            by_arn.fault(),
            candidates.fault(),
            tags.fault(),
            policy.fault(),
            rotation.fault(),
            principals.fault(),
            offer.fault(),
            registration.fault(),
            role.links.fault(),
            role.registration.fault(),
            role.iam.fault(),
        ]
        .into_iter()
        .chain(others)
        .flatten()
        .collect()
    }
}
