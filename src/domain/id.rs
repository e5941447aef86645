//! Identifiers, parsed once: a value of these types is well-formed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not the identifier that it should be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct Malformed {
    text: String,
    expected: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Malformed { text: text.to_owned(), expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn region_name(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() >= 3
        && text.len() <= 32
        && parts.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
        && parts.last().is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()))
}

text_id! {
    /// A DNS label (RFC 1123) of at most 63 characters: a namespace, an object's name, an installation.
    /// Dots are not allowed because a KMS alias cannot hold them.
    Name, "a DNS label of at most 63 characters", dns_label
}

text_id! {
    /// An AWS region's code, such as `eu-west-1`.
    Region, "an AWS region such as eu-west-1", region_name
}

text_id! {
    /// A 12-digit AWS account id.
    AccountId, "a 12-digit AWS account id", |t| t.len() == 12 && t.bytes().all(|b| b.is_ascii_digit())
}

impl Region {
    /// The partition that the region belongs to: the second field of every ARN in it
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>).
    pub fn partition(&self) -> &'static str {
        let text = self.as_str();
        if text.starts_with("cn-") {
            "aws-cn"
        } else if text.starts_with("us-gov-") {
            "aws-us-gov"
        } else if text.starts_with("eusc-") {
            "aws-eusc"
        } else {
            "aws"
        }
    }
}

/// The ARN of a KMS key (never of an alias).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyArn {
    partition: String,
    region: Region,
    account: AccountId,
    key_id: String,
}

impl KeyArn {
    /// The region that the key lives in.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The account that owns the key.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The part after `key/`.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The ARN of the key with the same id in another region: the ids of multi-Region keys are the same in all of them.
    #[must_use]
    pub fn in_region(&self, region: &Region) -> Self {
        let partition = region.partition().to_owned();
        Self { partition, region: region.clone(), ..self.clone() }
    }
}

impl FromStr for KeyArn {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed { text: text.to_owned(), expected: "the ARN of a KMS key" };
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [arn, partition, service, region, account, resource] = parts[..] else { return Err(malformed()) };
        let key_id = resource.strip_prefix("key/").ok_or_else(malformed)?;
        let id_ok = !key_id.is_empty() && key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if arn != "arn" || service != "kms" || !id_ok {
            return Err(malformed());
        }
        let region: Region = region.parse().map_err(|_| malformed())?;
        if partition != region.partition() {
            return Err(malformed());
        }
        Ok(Self {
            partition: partition.to_owned(),
            region,
            account: account.parse().map_err(|_| malformed())?,
            key_id: key_id.to_owned(),
        })
    }
}

impl TryFrom<String> for KeyArn {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<KeyArn> for String {
    fn from(arn: KeyArn) -> Self {
        arn.to_string()
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, region, account, key_id } = self;
        write!(f, "arn:{partition}:kms:{region}:{account}:key/{key_id}")
    }
}

/// The tag keys that the operator writes or obeys.
pub mod tag {
    /// Every tag of ours begins so; users may not set such tags in the spec.
    pub const PREFIX: &str = "cmk-operator.io/";
    /// The installation that owns the key.
    pub const INSTALLATION: &str = "cmk-operator.io/installation";
    /// The namespace of the owning object.
    pub const NAMESPACE: &str = "cmk-operator.io/namespace";
    /// The name of the owning object.
    pub const NAME: &str = "cmk-operator.io/name";
    /// The nonce of the creation intent that made the key.
    pub const NONCE: &str = "cmk-operator.io/nonce";
    /// The uid of the kube-system namespace of the cluster that holds the key.
    pub const HOLDER: &str = "cmk-operator.io/holder";
    /// When the key's registration was first read back, RFC 3339 in UTC.
    pub const REGISTERED_AT: &str = "cmk-operator.io/registered-at";
    /// Whose confirmation had the operator schedule the key for deletion; empty once that was taken back. Only what it
    /// scheduled itself does it ever take back.
    pub const DELETION_BY: &str = "cmk-operator.io/deletion-by";
    /// Followed by a hash of a cluster's name: the id of the database that it created under the key.
    pub const DATABASE_PREFIX: &str = "cmk-operator.io/database-";
    /// An AWS administrator's consent to the adoption of a key.
    pub const ADOPT_BY: &str = "cmk-operator.io/adopt-by";
    /// An AWS administrator's stop.
    pub const HOLD: &str = "cmk-operator.io/hold";
}

/// Who owns a key: the part of a key's identity that comes from Kubernetes.
///
/// The object's uid is no part of it, so that a rebuilt cluster finds its keys again from Git alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The `--installation` of the operator.
    pub installation: Name,
    /// The namespace of the `CustomerKey`.
    pub namespace: Name,
    /// The name of the `CustomerKey`.
    pub name: Name,
}

impl Owner {
    /// The alias that claims this identity in an account and region. Unique there, so only one key can hold it
    /// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html>).
    pub fn alias(&self) -> String {
        format!("alias/cmk-operator/{}/{}/{}", self.installation, self.namespace, self.name)
    }

    /// The tags that prove ownership, the same on every version of the operator.
    pub fn tags(&self) -> [(&'static str, &str); 3] {
        [
            (tag::INSTALLATION, self.installation.as_str()),
            (tag::NAMESPACE, self.namespace.as_str()),
            (tag::NAME, self.name.as_str()),
        ]
    }

    /// What `cmk-operator.io/adopt-by` has to say for this object to adopt a key.
    pub fn consent(&self) -> String {
        format!("{}/{}/{}", self.installation, self.namespace, self.name)
    }

    /// The identity of the owner's key in an account and region, from which its policy Sids are derived.
    pub fn identity(&self, account: &AccountId, region: &Region) -> String {
        format!("{}/{account}/{region}", self.consent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_arns_round_trip_and_others_are_refused() {
        let good = "arn:aws-us-gov:kms:us-gov-west-1:111111111111:key/mrk-0123abcd";
        assert_eq!(good.parse::<KeyArn>().map(|a| a.to_string()), Ok(good.to_owned()));
        for bad in [
            "",
            "arn:aws:kms:us-east-1:111111111111:alias/x",
            "arn:aws:iam::111111111111:role/x",
            "arn:aws:kms:us-east-1:1111:key/x",
            "arn:aws:kms:useast1:111111111111:key/x",
            "arn:aws:kms:us-east-1:111111111111:key/",
            "arn:aws:kms:us-east-1:111111111111:key/a b",
            "arn:aws:kms:cn-north-1:111111111111:key/x",
            "arn:aws-cn:kms:us-gov-west-1:111111111111:key/x",
            "arn:aws-us-gov:kms:us-east-1:111111111111:key/x",
        ] {
            assert!(bad.parse::<KeyArn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_region_knows_its_partition() {
        for (region, partition) in [
            ("us-east-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(region.parse::<Region>().map(|r| r.partition()), Ok(partition));
        }
    }

    #[test]
    fn names_are_dns_labels() {
        assert!("team-a".parse::<Name>().is_ok());
        for bad in ["", "a.b", "A", "-a", "a-", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
