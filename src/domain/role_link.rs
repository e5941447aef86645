//! How a cloud uses a key as an IAM role in the customer's own AWS account: it assumes that role, with an external id of its
//! own, and calls KMS as it.
//!
//! The cloud keeps a record of each such role, which says whom the role has to trust. That record is called a *link* here.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::iam_role::IamRole;
use super::moment::Moment;
use super::reading::Reading;
use super::role_powers::RolePowers;

/// The role that a `CustomerKey` declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RoleWish {
    /// Its ARN.
    pub arn: String,
    /// Whether a key that the cloud uses by an access key may be used by the role instead. That cannot be undone.
    #[serde(default)]
    pub may_replace_credentials: bool,
    /// Whether the operator makes it, and keeps whom it trusts and what it may do.
    #[serde(default)]
    pub made: bool,
    /// Whether it may use the key from the cloud's addresses alone.
    #[serde(default)]
    pub restricts_sources: bool,
}

/// A cloud's record of a role.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoleLink {
    /// The cloud's id of the record.
    pub id: String,
    /// The ARN of the cloud's AWS account: whom the role has to trust.
    pub trusted: String,
    /// What the cloud sends as `sts:ExternalId` when it assumes the role. The role's owner has to see it; logs must not.
    pub external_id: String,
    /// The role; absent: the record is unfinished.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// Whether the cloud has assumed the role once.
    #[serde(default)]
    pub authorized: bool,
    /// When the record was made.
    #[serde(default)]
    pub created_at: Option<Moment>,
}

impl fmt::Debug for RoleLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, trusted: _, external_id: _, role_arn, authorized, created_at } = self;
        let mut shown = f.debug_struct("RoleLink");
        shown.field("id", id).field("role_arn", role_arn).field("authorized", authorized);
        shown.field("created_at", created_at).finish_non_exhaustive()
    }
}

/// A registration, of a cloud that says more of it than the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RegistrationSeen {
    /// The key, as it was given: an ARN, or an id alone.
    pub key: String,
    /// Whether the cloud could use it when it last tried.
    pub usable: bool,
    /// How the cloud gets at it.
    #[serde(default)]
    pub through: Through,
}

/// How a cloud gets at a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Through {
    /// By a role: the id of its link.
    Link(String),
    /// By an access key of an IAM user, as it was done before there were roles.
    Credentials,
    /// The cloud does not say.
    #[default]
    NotSaid,
}

/// What was seen of the cloud's way to a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RoleSeen {
    /// Every link of the scope.
    #[serde(default)]
    pub links: Reading<Vec<RoleLink>>,
    /// The registration.
    #[serde(default)]
    pub registration: Reading<RegistrationSeen>,
    /// The role of the declared name in AWS, where the operator makes it.
    #[serde(default)]
    pub iam: Reading<IamRole>,
    /// What that role's own policies say of its use of the region's key, where the key is to be taken from an access key.
    #[serde(default)]
    pub powers: Reading<RolePowers>,
}

impl RoleSeen {
    /// The link of an id.
    pub fn link(&self, id: &str) -> Option<&RoleLink> {
        self.links.present().into_iter().flatten().find(|link| link.id == id)
    }

    /// The link that the registered key is used through.
    pub fn in_use(&self) -> Option<&RoleLink> {
        match &self.registration.present()?.through {
            Through::Link(id) => self.link(id),
            Through::Credentials | Through::NotSaid => None,
        }
    }

    /// The link of a role: of several, the one in use, then one that is authorized, then the oldest.
    pub fn link_of(&self, role_arn: &str) -> Option<&RoleLink> {
        let of_role = |link: &&RoleLink| link.role_arn.as_deref() == Some(role_arn);
        let in_use = self.in_use().filter(of_role);
        let best = self.links.present().into_iter().flatten().filter(of_role);
        in_use.or_else(|| best.min_by_key(|link| (!link.authorized, link.created_at, &link.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(id: &str, role: Option<&str>, authorized: bool) -> RoleLink {
        RoleLink {
            id: id.to_owned(),
            trusted: "arn:aws:iam::900000000000:root".to_owned(),
            external_id: "secret-of-the-link".to_owned(),
            role_arn: role.map(ToOwned::to_owned),
            authorized,
            created_at: Some(Moment(i64::try_from(id.len()).unwrap())),
        }
    }

    #[test]
    fn of_several_links_the_one_in_use_is_taken_then_an_authorized_one_then_the_oldest() {
        let mut seen = RoleSeen {
            links: Reading::Present(vec![
                link("a", None, false),
                link("bb", Some("r"), false),
                link("cccc", Some("r"), true),
                link("ddd", Some("r"), true),
            ]),
            registration: Reading::Absent,
            iam: Reading::Absent,
            powers: Reading::Absent,
        };
        assert_eq!(seen.link_of("r").unwrap().id, "ddd");
        assert_eq!(seen.link_of("other"), None);
        let through = Through::Link("cccc".to_owned());
        seen.registration = Reading::Present(RegistrationSeen { key: "k".to_owned(), usable: true, through });
        assert_eq!(seen.link_of("r").unwrap().id, "cccc");
    }

    #[test]
    fn the_external_id_is_in_no_log() {
        let link = link("a", None, false);
        assert!(!format!("{link:?}").contains("secret-of-the-link"));
    }
}
