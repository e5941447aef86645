//! Customer's keys: which are accepted for which group, and whether the vendor can use them.

use serde::Serialize;
use serde_json::{Value, json};

use super::{KeyFields, OfferedRegion, Org, StoredGroup, refused};
use crate::sandbox::failure::ServiceError;
use crate::sandbox::iam::Identity;
use crate::sandbox::ident::{arn_parts, is_account, partition};
use crate::sandbox::kms::{Key, KeyState};
use crate::sandbox::policy::Facts;
use crate::sandbox::world::World;

/// The keys of a group, or of its copy in another region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct BucketKeys {
    /// ARN of the key for the data bucket and the volumes.
    pub data: Option<String>,
    /// ARN of the key for the backup bucket; may be the same.
    pub backup: Option<String>,
}

impl BucketKeys {
    /// The keys of a request; an empty text is as good as none.
    pub(super) fn of(data: Option<&String>, backup: Option<&String>) -> Self {
        let given = |arn: Option<&String>| arn.filter(|arn| !arn.is_empty()).cloned();
        Self { data: given(data), backup: given(backup) }
    }

    /// What the API makes of them, which is not known of the server of today.
    pub(super) fn received(self, fields: KeyFields) -> Result<Self, ServiceError> {
        match fields {
            KeyFields::Ignored => Ok(Self::default()),
            KeyFields::Refused if self.data.is_some() => Err(refused(400, "unknown field \"dataBucketKMSKeyID\"")),
            KeyFields::Refused if self.backup.is_some() => Err(refused(400, "unknown field \"backupBucketKMSKeyID\"")),
            KeyFields::Honoured | KeyFields::Refused => Ok(self),
        }
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.data.iter().chain(&self.backup)
    }

    /// Keys are for AWS alone, in the region of what they are for, and for certain editions. Status 400 is a guess.
    pub(super) fn check(&self, org: &Org, region: &str) -> Result<(), ServiceError> {
        let offered = org.regions.get(region).ok_or_else(|| refused(400, "no such region"))?;
        for arn in self.all() {
            let edition = org.settings.edition.as_str();
            if !matches!(edition, "ENTERPRISE" | "PREMIUM") {
                return Err(refused(400, format!("customer-managed keys are not part of the edition {edition}")));
            }
            if offered.provider != "AWS" {
                return Err(refused(400, "customer-managed keys are only supported on AWS"));
            }
            let parts = arn_parts(arn).filter(|p| p[2] == "kms" && is_account(p[4]) && p[5].starts_with("key/"));
            let parts = parts.ok_or_else(|| refused(400, format!("{arn} is not the ARN of a KMS key")))?;
            if parts[3] != region {
                return Err(refused(400, format!("the key {arn} is not in {region}")));
            }
        }
        Ok(())
    }
}

/// What the vendor does with a key of its own region. The guide does not print the policy; these are what a store of
/// encrypted objects and volumes needs (KMS guide, "AWS services use of AWS KMS": S3, EBS). A grant for a volume is
/// given under a condition that only a real service meets, so it is suggested and not evaluated.
const USE: [&str; 6] =
    ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey"];
/// What the second region does with the key of the first one: it reads what is copied.
const READ: [&str; 2] = ["kms:DescribeKey", "kms:Decrypt"];

impl OfferedRegion {
    /// Whom the vendor uses keys of customers as. The portal's suggested policies name it, and nothing else does.
    fn principal(&self, region: &str, role: &str) -> Identity {
        let arn = format!("arn:{}:iam::{}:role/{role}", partition(region), self.key_account);
        Identity { account: self.key_account.clone(), arn, session: None }
    }
}

impl Org {
    fn principal(&self, region: &str) -> Option<Identity> {
        Some(self.regions.get(region)?.principal(region, &self.settings.principal_role))
    }

    /// The policy that the portal suggests for a key of this region.
    pub(super) fn suggested_policy(&self, region: &str) -> Option<Value> {
        let who = self.principal(region)?.arn;
        Some(json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "AllowSingleStoreToUseTheKey", "Effect": "Allow", "Principal": {"AWS": who},
             "Action": ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
             "Resource": "*"},
            {"Sid": "AllowSingleStoreToGrantForVolumes", "Effect": "Allow", "Principal": {"AWS": who},
             "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"], "Resource": "*",
             "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}
        ]}))
    }

    /// What the portal suggests to append to the policy of the first region's key, before replication is set up.
    pub(super) fn policy_to_append(&self, secondary: &str) -> Option<Value> {
        let who = self.principal(secondary)?.arn;
        Some(json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "AllowSingleStoreToReplicate", "Effect": "Allow", "Principal": {"AWS": who},
             "Action": READ, "Resource": "*"}
        ]}))
    }
}

impl World {
    fn key_at(&self, arn: &str, at_ms: i64) -> Option<&Key> {
        let parts = arn_parts(arn)?;
        let id = parts[5].strip_prefix("key/")?;
        let home = self.kms.get(&(parts[4].to_owned(), parts[3].to_owned()))?;
        home.at(at_ms).keys.get(id).map(|key| &**key)
    }

    fn key_trouble(&self, who: &Identity, arn: &str, actions: &[&str], at_ms: i64) -> Option<String> {
        let Some(key) = self.key_at(arn, at_ms) else {
            return Some(format!("key {arn} was not found"));
        };
        if key.state != KeyState::Enabled {
            return Some(format!("key {arn} is {:?}", key.state));
        }
        let refused = actions.iter().find(|action| !self.key_permits(key, who, action, at_ms, Facts::default));
        refused.map(|action| format!("{} is not authorized to perform {action} on {arn}", who.arn))
    }

    /// Why the vendor can't use the keys of a region's group at a moment, if so.
    pub(super) fn bucket_trouble(&self, org: &Org, region: &str, keys: &BucketKeys, at_ms: i64) -> Option<String> {
        let who = org.principal(region)?;
        keys.all().find_map(|arn| self.key_trouble(&who, arn, &USE, at_ms))
    }

    /// Why the second region can't read under the first one's key at a moment, if so.
    pub(super) fn extension_trouble(&self, org: &Org, group: &StoredGroup, to: &str, at_ms: i64) -> Option<String> {
        let who = org.principal(to)?;
        group.encrypted_with.all().find_map(|arn| self.key_trouble(&who, arn, &READ, at_ms))
    }

    /// The state of a group at a moment.
    pub(super) fn group_state(&self, org: &Org, group: &StoredGroup, at_ms: i64) -> &'static str {
        let trouble = self.bucket_trouble(org, &group.region, &group.encrypted_with, at_ms);
        group.state(at_ms, trouble.as_deref())
    }
}
