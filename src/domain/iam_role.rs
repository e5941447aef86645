//! The IAM role that the operator makes where a spec asks for one, as which a cloud then uses a key.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::{AccountId, Owner, Region};

/// The name of the inline policy that is the operator's own. Others on the role are left alone.
pub const PERMISSIONS: &str = "cmk-operator";

/// A role, as it was seen.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IamRole {
    /// Its ARN, with its path: a name is unique in an account whatever the path.
    pub arn: String,
    /// Its trust policy. The external id in it is for the role's owner alone, not for logs.
    pub trust: String,
    /// The inline policy [`PERMISSIONS`]; absent: there is none.
    #[serde(default)]
    pub permissions: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl fmt::Debug for IamRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arn, trust: _, permissions, tags } = self;
        let mut shown = f.debug_struct("IamRole");
        shown.field("arn", arn).field("permissions", permissions).field("tags", tags).finish_non_exhaustive()
    }
}

/// A role to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewRole {
    /// Its ARN, which holds its path and its name.
    pub arn: String,
    /// Its trust policy.
    pub trust: String,
    /// The ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// Its description.
    pub description: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl fmt::Debug for NewRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRole").field("arn", &self.arn).field("boundary", &self.boundary).finish_non_exhaustive()
    }
}

/// The ARN of a role of this name, under the path that belongs to the owner's namespace alone.
pub fn arn_of(owner: &Owner, account: &AccountId, region: &Region, name: &str) -> String {
    let Owner { installation, namespace, .. } = owner;
    format!("arn:{}:iam::{account}:role/cmk-operator/{installation}/{namespace}/{name}", region.partition())
}

/// The path and the name in a role's ARN; none for what is no such ARN.
pub fn path_and_name(arn: &str) -> Option<(&str, &str)> {
    let resource = arn.splitn(6, ':').nth(5)?.strip_prefix("role")?;
    let end = resource.rfind('/')? + 1;
    Some((resource.get(..end)?, resource.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_holds_a_path_and_a_name() {
        let arn = "arn:aws:iam::111111111111:role/cmk-operator/prod/team-a/atlas";
        assert_eq!(path_and_name(arn), Some(("/cmk-operator/prod/team-a/", "atlas")));
        assert_eq!(path_and_name("arn:aws:iam::111111111111:role/atlas"), Some(("/", "atlas")));
        assert_eq!(path_and_name("arn:aws:iam::111111111111:user/atlas"), None);
        assert_eq!(path_and_name("atlas"), None);
    }

    #[test]
    fn the_trust_is_in_no_log() {
        let (arn, trust) = ("a".to_owned(), "secret-of-the-link".to_owned());
        let seen = IamRole { arn: arn.clone(), trust: trust.clone(), permissions: None, tags: BTreeMap::new() };
        let new = NewRole { arn, trust, boundary: None, description: String::new(), tags: BTreeMap::new() };
        assert!(!format!("{seen:?}{new:?}").contains("secret-of-the-link"));
    }
}
