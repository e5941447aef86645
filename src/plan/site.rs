//! The places where the process changes something outside itself.

use serde::{Deserialize, Serialize};

use super::role_step::RoleSite;
#[allow(unused_imports, reason = "the documentation links to it")]
use super::step::Step;

/// The places where the process changes something outside itself. Crash tests visit every one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Site {
    /// Taking or renewing the lease.
    Lease,
    /// [`Step::AddFinalizer`].
    AddFinalizer,
    /// [`Step::RemoveFinalizer`].
    RemoveFinalizer,
    /// [`Step::RecordKeyIntent`].
    RecordKeyIntent,
    /// [`Step::CreateKey`].
    CreateKey,
    /// [`Step::ReplicateKey`].
    ReplicateKey,
    /// [`Step::CreateAlias`].
    CreateAlias,
    /// [`Step::RecordKey`].
    RecordKey,
    /// [`Step::PutPolicy`].
    PutPolicy,
    /// [`Step::EnableRotation`].
    EnableRotation,
    /// [`Step::UpdateDescription`].
    UpdateDescription,
    /// [`Step::Tag`].
    Tag,
    /// [`Step::RecordRegistrationIntent`].
    RecordRegistrationIntent,
    /// [`Step::Register`].
    Register,
    /// [`Step::RecordDeployIntent`].
    RecordDeployIntent,
    /// [`Step::CreateDatabase`].
    CreateDatabase,
    /// [`Step::RecordDatabase`].
    RecordDatabase,
    /// [`Step::NoteDatabase`].
    NoteDatabase,
    /// [`Step::AddRegion`].
    AddRegion,
    /// [`Step::CreatePart`].
    CreatePart,
    /// [`Step::MarkDeletion`].
    MarkDeletion,
    /// [`Step::EncryptDatabase`].
    EncryptDatabase,
    /// [`Step::Role`].
    Role(RoleSite),
    /// [`Step::ScheduleDeletion`].
    ScheduleDeletion,
    /// [`Step::CancelDeletion`].
    CancelDeletion,
    /// [`Step::EnableKey`].
    EnableKey,
    /// [`Step::RemoveRegion`].
    RemoveRegion,
    /// [`Step::TerminateDatabase`].
    TerminateDatabase,
    /// The status write at the end of a pass.
    WriteStatus,
    /// An event.
    PublishEvent,
}

impl Site {
    /// Every site.
    pub const ALL: &'static [Self] = &[
        Self::Lease,
        Self::AddFinalizer,
        Self::RemoveFinalizer,
        Self::RecordKeyIntent,
        Self::CreateKey,
        Self::ReplicateKey,
        Self::CreateAlias,
        Self::RecordKey,
        Self::PutPolicy,
        Self::EnableRotation,
        Self::UpdateDescription,
        Self::Tag,
        Self::RecordRegistrationIntent,
        Self::Register,
        Self::RecordDeployIntent,
        Self::CreateDatabase,
        Self::RecordDatabase,
        Self::NoteDatabase,
        Self::AddRegion,
        Self::CreatePart,
        Self::MarkDeletion,
        Self::EncryptDatabase,
        Self::Role(RoleSite::RecordIntent),
        Self::Role(RoleSite::Create),
        Self::Role(RoleSite::Record),
        Self::Role(RoleSite::Authorize),
        Self::Role(RoleSite::Register),
        Self::Role(RoleSite::MakeRole),
        Self::Role(RoleSite::TrustCloud),
        Self::Role(RoleSite::PermitRole),
        Self::Role(RoleSite::Withdraw),
        Self::Role(RoleSite::RemoveLink),
        Self::Role(RoleSite::DeleteRole),
        Self::ScheduleDeletion,
        Self::CancelDeletion,
        Self::EnableKey,
        Self::RemoveRegion,
        Self::TerminateDatabase,
        Self::WriteStatus,
        Self::PublishEvent,
    ];

    /// The name, as the crash switch, logs and metrics use it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "Lease",
            Self::AddFinalizer => "AddFinalizer",
            Self::RemoveFinalizer => "RemoveFinalizer",
            Self::RecordKeyIntent => "RecordKeyIntent",
            Self::CreateKey => "CreateKey",
            Self::ReplicateKey => "ReplicateKey",
            Self::CreateAlias => "CreateAlias",
            Self::RecordKey => "RecordKey",
            Self::PutPolicy => "PutPolicy",
            Self::EnableRotation => "EnableRotation",
            Self::UpdateDescription => "UpdateDescription",
            Self::Tag => "Tag",
            Self::RecordRegistrationIntent => "RecordRegistrationIntent",
            Self::Register => "Register",
            Self::RecordDeployIntent => "RecordDeployIntent",
            Self::CreateDatabase => "CreateDatabase",
            Self::RecordDatabase => "RecordDatabase",
            Self::NoteDatabase => "NoteDatabase",
            Self::AddRegion => "AddRegion",
            Self::CreatePart => "CreatePart",
            Self::MarkDeletion => "MarkDeletion",
            Self::EncryptDatabase => "EncryptDatabase",
            Self::Role(site) => site.as_str(),
            Self::ScheduleDeletion => "ScheduleDeletion",
            Self::CancelDeletion => "CancelDeletion",
            Self::EnableKey => "EnableKey",
            Self::RemoveRegion => "RemoveRegion",
            Self::TerminateDatabase => "TerminateDatabase",
            Self::WriteStatus => "WriteStatus",
            Self::PublishEvent => "PublishEvent",
        }
    }
}
