//! The effects by which a cloud comes to use a key as a role in the customer's account.

use serde::{Deserialize, Serialize};

use crate::domain::id::{KeyArn, Region};
use crate::domain::moment::Moment;

/// A link that a step is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LinkRef {
    /// A link that was seen.
    Id(String),
    /// The link that an earlier step of the same plan makes.
    CreatedInThisPass,
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RoleStep {
    /// Writes down that the cloud is about to be asked for a link.
    RecordIntent {
        /// The key's region.
        region: Region,
        /// When the attempt begins.
        started_at: Moment,
    },
    /// Has the cloud make a link, unfinished.
    Create {
        /// The key's region.
        region: Region,
        /// After this moment it must not be sent any more: the settle window counts from the intent.
        not_after: Moment,
    },
    /// Writes down which link it is.
    Record {
        /// The key's region.
        region: Region,
        /// The link.
        link: LinkRef,
    },
    /// Has the cloud assume the role, and keep it in the link.
    Authorize {
        /// The key's region.
        region: Region,
        /// The link's id.
        link: String,
        /// The role's ARN.
        role: String,
    },
    /// Registers a key that the cloud uses through a link.
    Register {
        /// Where.
        region: Region,
        /// The key.
        key: KeyArn,
        /// The link's id.
        link: String,
        /// The key that is registered now and is replaced, as the cloud names it.
        #[serde(default)]
        replaces: Option<String>,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
}

/// The places where the process makes these effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RoleSite {
    /// [`RoleStep::RecordIntent`].
    RecordIntent,
    /// [`RoleStep::Create`].
    Create,
    /// [`RoleStep::Record`].
    Record,
    /// [`RoleStep::Authorize`].
    Authorize,
    /// [`RoleStep::Register`].
    Register,
}

impl RoleSite {
    /// The name, as the crash switch, logs and metrics use it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RecordIntent => "RecordRoleLinkIntent",
            Self::Create => "CreateRoleLink",
            Self::Record => "RecordRoleLink",
            Self::Authorize => "AuthorizeRoleLink",
            Self::Register => "RegisterByRole",
        }
    }
}

impl RoleStep {
    /// Where in the process its effect is made.
    pub fn site(&self) -> RoleSite {
        match self {
            Self::RecordIntent { .. } => RoleSite::RecordIntent,
            Self::Create { .. } => RoleSite::Create,
            Self::Record { .. } => RoleSite::Record,
            Self::Authorize { .. } => RoleSite::Authorize,
            Self::Register { .. } => RoleSite::Register,
        }
    }

    /// The key's region.
    pub fn region(&self) -> &Region {
        match self {
            Self::RecordIntent { region, .. }
            | Self::Create { region, .. }
            | Self::Record { region, .. }
            | Self::Authorize { region, .. }
            | Self::Register { region, .. } => region,
        }
    }

    /// Whether it changes something outside Kubernetes.
    pub fn is_outside(&self) -> bool {
        match self {
            Self::RecordIntent { .. } | Self::Record { .. } => false,
            Self::Create { .. } | Self::Authorize { .. } | Self::Register { .. } => true,
        }
    }

    /// The same for the same wished effect, whatever it was planned from.
    pub(super) fn wish(&self) -> Self {
        match self.clone() {
            Self::Register { region, key, link, .. } => {
                Self::Register { region, key, link, replaces: None, not_after: Moment::default() }
            }
            other => other,
        }
    }

    /// The step in one sentence.
    pub fn text(&self) -> String {
        match self {
            Self::RecordIntent { region, .. } => {
                format!("{region}: write down that the cloud is about to be asked for a record of the role")
            }
            Self::Create { region, .. } => format!("{region}: have the cloud make a record of the role"),
            Self::Record { region, .. } => format!("{region}: write down the cloud's record of the role"),
            Self::Authorize { region, role, .. } => format!("{region}: have the cloud assume {role}"),
            Self::Register { region, key, replaces: None, .. } => format!("{region}: register {key}"),
            Self::Register { region, key, replaces: Some(old), .. } if *old == key.to_string() => {
                format!("{region}: register {key} once more, with the declared role")
            }
            Self::Register { region, key, replaces: Some(old), .. } => {
                format!("{region}: register {key} in place of {old}")
            }
        }
    }
}
