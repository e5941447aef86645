//! The effects by which a cloud comes to use a key as a role in the customer's account.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::id::{KeyArn, Region};
use crate::domain::moment::Moment;
use crate::domain::role_link::RoleLink;
use crate::domain::source::Source;

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
    /// Makes the role in AWS, trusting the cloud as a link says.
    MakeRole {
        /// The key's region.
        region: Region,
        /// The role's ARN.
        role: String,
        /// Whom it trusts.
        link: RoleLink,
        /// The ARN of its permissions boundary.
        boundary: Option<String>,
        /// Its description.
        description: String,
        /// Its tags.
        tags: BTreeMap<String, String>,
    },
    /// Has the role trust the cloud as a link says, and nobody else.
    TrustCloud {
        /// The key's region.
        region: Region,
        /// The role's ARN.
        role: String,
        /// Whom it trusts.
        link: RoleLink,
    },
    /// Lets the role use keys, and no others.
    PermitRole {
        /// The key's region.
        region: Region,
        /// The role's ARN.
        role: String,
        /// For what.
        actions: Vec<String>,
        /// Which keys.
        keys: Vec<KeyArn>,
        /// From where; absent: from everywhere.
        #[serde(default)]
        sources: Option<BTreeSet<Source>>,
    },
    /// Has the cloud let go of a key.
    Withdraw {
        /// The key's region.
        region: Region,
        /// The key.
        key: KeyArn,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Has the cloud forget a link that nothing uses.
    RemoveLink {
        /// The key's region.
        region: Region,
        /// The link's id.
        link: String,
        /// After this moment the looks that it rests on are too old.
        not_after: Moment,
    },
    /// Deletes the role in AWS.
    DeleteRole {
        /// The key's region.
        region: Region,
        /// The role's ARN.
        role: String,
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
    /// [`RoleStep::MakeRole`].
    MakeRole,
    /// [`RoleStep::TrustCloud`].
    TrustCloud,
    /// [`RoleStep::PermitRole`].
    PermitRole,
    /// [`RoleStep::Withdraw`].
    Withdraw,
    /// [`RoleStep::RemoveLink`].
    RemoveLink,
    /// [`RoleStep::DeleteRole`].
    DeleteRole,
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
            Self::MakeRole => "MakeRole",
            Self::TrustCloud => "TrustCloud",
            Self::PermitRole => "PermitRole",
            Self::Withdraw => "WithdrawKey",
            Self::RemoveLink => "RemoveRoleLink",
            Self::DeleteRole => "DeleteRole",
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
            Self::MakeRole { .. } => RoleSite::MakeRole,
            Self::TrustCloud { .. } => RoleSite::TrustCloud,
            Self::PermitRole { .. } => RoleSite::PermitRole,
            Self::Withdraw { .. } => RoleSite::Withdraw,
            Self::RemoveLink { .. } => RoleSite::RemoveLink,
            Self::DeleteRole { .. } => RoleSite::DeleteRole,
        }
    }

    /// The key's region.
    pub fn region(&self) -> &Region {
        match self {
            Self::RecordIntent { region, .. }
            | Self::Create { region, .. }
            | Self::Record { region, .. }
            | Self::Authorize { region, .. }
            | Self::Register { region, .. }
            | Self::MakeRole { region, .. }
            | Self::TrustCloud { region, .. }
            | Self::PermitRole { region, .. }
            | Self::Withdraw { region, .. }
            | Self::RemoveLink { region, .. }
            | Self::DeleteRole { region, .. } => region,
        }
    }

    /// Whether it changes something outside Kubernetes.
    pub fn is_outside(&self) -> bool {
        match self {
            Self::RecordIntent { .. } | Self::Record { .. } => false,
            Self::Create { .. }
            | Self::Authorize { .. }
            | Self::Register { .. }
            | Self::MakeRole { .. }
            | Self::TrustCloud { .. }
            | Self::PermitRole { .. }
            | Self::Withdraw { .. }
            | Self::RemoveLink { .. }
            | Self::DeleteRole { .. } => true,
        }
    }

    /// Whether it takes back what was made.
    pub fn ends(&self) -> bool {
        matches!(self, Self::Withdraw { .. } | Self::RemoveLink { .. } | Self::DeleteRole { .. })
    }

    /// The same for the same wished effect, whatever it was planned from.
    pub(super) fn wish(&self) -> Self {
        match self.clone() {
            Self::Register { region, key, link, .. } => {
                Self::Register { region, key, link, replaces: None, not_after: Moment::default() }
            }
            Self::Withdraw { region, key, .. } => Self::Withdraw { region, key, not_after: Moment::default() },
            Self::RemoveLink { region, link, .. } => Self::RemoveLink { region, link, not_after: Moment::default() },
            Self::DeleteRole { region, role, .. } => Self::DeleteRole { region, role, not_after: Moment::default() },
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
            Self::MakeRole { region, role, .. } => format!("{region}: make the role {role}, trusting the cloud"),
            Self::TrustCloud { region, role, .. } => format!("{region}: have the role {role} trust the cloud alone"),
            Self::PermitRole { region, role, keys, sources, .. } => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                let from = sources.as_ref().map(|all| format!(" from {} addresses alone", all.len()));
                format!("{region}: let the role {role} use {}{}", keys.join(", "), from.unwrap_or_default())
            }
            Self::Withdraw { region, key, .. } => format!("{region}: withdraw the registration of {key}"),
            Self::RemoveLink { region, link, .. } => format!("{region}: remove the cloud's record {link} of the role"),
            Self::DeleteRole { region, role, .. } => format!("{region}: delete the role {role}"),
        }
    }
}
