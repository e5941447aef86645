//! Making, describing, listing, enabling and disabling keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tags::{Tag, checked_tags};
use super::{
    Alias, Key, KeyState, Kind, Kms, KmsRegion, Needs, access_denied, authorize, find, invalid_arn, maybe_seconds,
    not_found, page, seconds,
};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::iam::Identity;
use crate::sandbox::ident::{arn_parts, kms_arn, material, mrk, uuid};
use crate::sandbox::policy;
use crate::sandbox::world::World;

/// Input of `CreateKey`; members not named here are ignored unless they ask for what is not simulated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateKey {
    /// Key policy; absent: the default policy.
    pub policy: Option<String>,
    /// At most 8192 characters.
    pub description: Option<String>,
    /// At most 50.
    pub tags: Vec<Tag>,
    /// A primary that can be replicated.
    pub multi_region: bool,
    /// Skips the check that the caller can change the policy again.
    pub bypass_policy_lockout_safety_check: bool,
    /// Only `SYMMETRIC_DEFAULT`.
    pub key_spec: Option<String>,
    /// Only `ENCRYPT_DECRYPT`.
    pub key_usage: Option<String>,
    /// Only `AWS_KMS`.
    pub origin: Option<String>,
}

/// `KeyMetadata` of the API reference, for symmetric keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyMetadata {
    /// Owner.
    #[serde(rename = "AWSAccountId")]
    pub account: String,
    /// Uuid, or `mrk-...`.
    pub key_id: String,
    /// Key ARN.
    pub arn: String,
    /// ms since the epoch; seconds on the wire.
    #[serde(rename = "CreationDate", serialize_with = "seconds")]
    pub created_at_ms: i64,
    /// State is Enabled.
    pub enabled: bool,
    /// State.
    pub key_state: KeyState,
    /// Free text.
    pub description: String,
    /// When it will be gone, while pending deletion; seconds on the wire.
    #[serde(rename = "DeletionDate", serialize_with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    pub deletion_at_ms: Option<i64>,
    /// The window, while the deletion waits for replicas.
    #[serde(rename = "PendingDeletionWindowInDays", skip_serializing_if = "Option::is_none")]
    pub pending_window_days: Option<i32>,
    /// Whether it is a multi-Region key.
    pub multi_region: bool,
    /// Primary and replicas.
    #[serde(rename = "MultiRegionConfiguration", skip_serializing_if = "Option::is_none")]
    pub multi_region_view: Option<MultiRegionView>,
    /// `ENCRYPT_DECRYPT`, unless somebody made the key another one.
    pub key_usage: &'static str,
    /// `SYMMETRIC_DEFAULT`, likewise.
    pub key_spec: &'static str,
    /// The older name of the spec.
    pub customer_master_key_spec: &'static str,
    /// `AWS_KMS`, likewise.
    pub origin: &'static str,
    /// `CUSTOMER`, likewise.
    pub key_manager: &'static str,
    /// Of a key for symmetric encryption.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encryption_algorithms: Vec<&'static str>,
    /// 64 hex digits, the same in all regions of a multi-Region key. It stays: rotation is simulated as dates only.
    pub current_key_material_id: String,
}

/// `MultiRegionConfiguration`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MultiRegionView {
    /// `PRIMARY` or `REPLICA`.
    pub multi_region_key_type: &'static str,
    /// The primary.
    pub primary_key: MultiRegionKey,
    /// The others.
    pub replica_keys: Vec<MultiRegionKey>,
}

/// One of a family of multi-Region keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MultiRegionKey {
    /// Key ARN.
    pub arn: String,
    /// Its region.
    pub region: String,
}

/// An item of `ListKeys`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct KeyEntry {
    /// Key id.
    #[serde(rename = "KeyId")]
    pub key_id: String,
    /// Key ARN.
    #[serde(rename = "KeyArn")]
    pub arn: String,
}

/// A page of `ListKeys`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyPage {
    /// Sorted by id.
    pub keys: Vec<KeyEntry>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// There is a next page.
    pub truncated: bool,
}

impl Kms<'_> {
    /// Makes a symmetric key, enabled at once. There is no client token: each call makes another key.
    pub fn create_key(&mut self, input: &CreateKey) -> Result<KeyMetadata, Failure> {
        let call = self.call("CreateKey", Access::Write, "*");
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, _| {
            world.note_bypass(input.bypass_policy_lockout_safety_check);
            let key = world.new_key(&who, &region, input)?;
            let metadata = world.metadata(&key);
            world.link.touched = Some(key.arn.clone());
            world.store(key);
            Ok(metadata)
        })
    }

    /// By key id, key ARN (of any account, if its policy allows), alias name or alias ARN.
    pub fn describe_key(&mut self, key: &str) -> Result<KeyMetadata, Failure> {
        let call = self.call("DescribeKey", Access::Read, key);
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, at_ms| {
            let (owner, name) = foreign_name(&who, &region, key)?;
            let empty = KmsRegion::default();
            let home = (owner.account.clone(), region.clone());
            let view = world.kms.get(&home).map_or(&empty, |r| r.at(at_ms));
            let id = match view.aliases.get(name) {
                Some(Alias { key_id, .. }) => key_id,
                None if name.starts_with("alias/") => {
                    let arn = kms_arn(&owner.account, &region, name);
                    return Err(not_found(format!("Alias {arn} is not found.")));
                }
                None => name,
            };
            // Of a key that another account can't see, not even its absence is told.
            let found = match find(view, &owner, &region, id) {
                Err(_) if owner.account != who.account => {
                    return Err(access_denied(&who, "kms:DescribeKey", key));
                }
                other => other?,
            };
            authorize(world, found, &who, "DescribeKey")?;
            let metadata = world.metadata(found);
            world.link.touched = Some(metadata.arn.clone());
            Ok(metadata)
        })
    }

    /// All keys of the region, a page at a time (1 to 1000, default 100).
    pub fn list_keys(&mut self, limit: Option<i32>, marker: Option<&str>) -> Result<KeyPage, Failure> {
        let call = self.call("ListKeys", Access::Read, "*");
        let home = (self.who.account.clone(), self.region.clone());
        self.world.perform(call, |world, at_ms| {
            let empty = KmsRegion::default();
            let view = world.kms.get(&home).map_or(&empty, |r| r.at(at_ms));
            let (items, next_marker) = page(view.keys.iter().map(|(id, k)| (&**id, k)), limit, 100, 1000, marker)?;
            let keys =
                items.into_iter().map(|(id, k)| KeyEntry { key_id: id.to_owned(), arn: k.arn.clone() }).collect();
            Ok(KeyPage { keys, truncated: next_marker.is_some(), next_marker })
        })
    }

    /// Makes a disabled key usable.
    pub fn enable_key(&mut self, key: &str) -> Result<(), Failure> {
        self.alter("EnableKey", key, Needs::Settled, |_, key| {
            key.state = KeyState::Enabled;
            Ok(())
        })
    }

    /// Makes a key unusable until it is enabled.
    pub fn disable_key(&mut self, key: &str) -> Result<(), Failure> {
        self.alter("DisableKey", key, Needs::Settled, |_, key| {
            key.state = KeyState::Disabled;
            Ok(())
        })
    }

    /// Replaces the description.
    pub fn update_key_description(&mut self, key: &str, description: &str) -> Result<(), Failure> {
        self.alter("UpdateKeyDescription", key, Needs::NotPending, |_, key| {
            key.description = checked_description(description)?;
            Ok(())
        })
    }
}

/// The account whose key is meant, and its id or alias name.
fn foreign_name<'k>(who: &Identity, region: &str, key: &'k str) -> Result<(Identity, &'k str), ServiceError> {
    if !key.starts_with("arn:") {
        return Ok((who.clone(), key));
    }
    let parts = arn_parts(key).filter(|p| p[2] == "kms").ok_or_else(|| invalid_arn(key))?;
    if parts[3] != region {
        return Err(not_found(format!("Invalid arn {}", parts[3])));
    }
    let owner = if parts[4] == who.account { who.clone() } else { Identity::of_account(parts[4]) };
    match parts[5].strip_prefix("key/") {
        Some(id) => Ok((owner, id)),
        None if parts[5].starts_with("alias/") => Ok((owner, parts[5])),
        None => Err(invalid_arn(key)),
    }
}

/// Values of the API reference of `CreateKey`; the first is the one that is simulated, and the default.
const KEY_SPECS: [&str; 17] = [
    "SYMMETRIC_DEFAULT",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "ECC_NIST_EDWARDS25519",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
];
const KEY_USAGES: [&str; 4] = ["ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"];
const ORIGINS: [&str; 4] = ["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];
const KEY_MANAGERS: [&str; 2] = ["CUSTOMER", "AWS"];

impl Kind {
    /// The kind that `CreateKey` makes here.
    const SIMULATED: Self =
        Self { key_spec: KEY_SPECS[0], key_usage: KEY_USAGES[0], origin: ORIGINS[0], key_manager: KEY_MANAGERS[0] };

    /// The same with some of it in other words of KMS; none if KMS has no such word.
    pub(in crate::sandbox) fn with(mut self, words: [Option<&str>; 4]) -> Option<Self> {
        let known = |word: &str, all: &[&'static str]| all.iter().find(|known| **known == word).copied();
        let [key_spec, key_usage, origin, key_manager] = words;
        let parts = [
            (key_spec, &KEY_SPECS[..], &mut self.key_spec),
            (key_usage, &KEY_USAGES[..], &mut self.key_usage),
            (origin, &ORIGINS[..], &mut self.origin),
            (key_manager, &KEY_MANAGERS[..], &mut self.key_manager),
        ];
        for (word, all, part) in parts {
            if let Some(word) = word {
                *part = known(word, all)?;
            }
        }
        Some(self)
    }
}

/// Refuses what KMS does not know, and what it knows and this does not.
fn simulated(name: &str, asked: Option<&str>, known: &[&str]) -> Result<(), ServiceError> {
    match asked {
        None => Ok(()),
        Some(value) if known.first() == Some(&value) => Ok(()),
        Some(value) if known.contains(&value) => Err(ServiceError::aws(
            "UnsupportedOperationException",
            "the sandbox knows symmetric encryption keys of origin AWS_KMS only",
        )),
        Some(value) => Err(ServiceError::validation(format!(
            "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must satisfy enum value set"
        ))),
    }
}

fn checked_description(text: &str) -> Result<String, ServiceError> {
    if text.chars().count() > 8192 {
        return Err(ServiceError::validation(
            "1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 8192",
        ));
    }
    Ok(text.to_owned())
}

impl World {
    fn new_key(&mut self, who: &Identity, region: &str, input: &CreateKey) -> Result<Key, ServiceError> {
        simulated("keySpec", input.key_spec.as_deref(), &KEY_SPECS)?;
        simulated("keyUsage", input.key_usage.as_deref(), &KEY_USAGES)?;
        simulated("origin", input.origin.as_deref(), &ORIGINS)?;
        let description = checked_description(input.description.as_deref().unwrap_or_default())?;
        let tags = checked_tags(&BTreeMap::new(), &input.tags)?;
        let held = self.present(&who.account, region).map_or(0, |r| r.keys.len());
        if self.settings.key_limit.is_some_and(|limit| held >= limit) {
            return Err(ServiceError::aws(
                "LimitExceededException",
                "The maximum number of keys for this account and region was reached",
            ));
        }
        // CreateKey with tags also needs TagResource; the policy is checked as PutKeyPolicy (KMS guide, permissions).
        for action in ["kms:TagResource", "kms:PutKeyPolicy"] {
            if (action != "kms:TagResource" || !tags.is_empty()) && self.iam.denies(who, action) {
                return Err(access_denied(who, action, "*"));
            }
        }
        let default = policy::default_text(&who.account, region);
        let text = input.policy.as_deref().unwrap_or(&default);
        let (seed, n) = (self.settings.seed, self.made + 1);
        let id = if input.multi_region { mrk(seed, n) } else { uuid(seed, "key", n) };
        let arn = kms_arn(&who.account, region, &format!("key/{id}"));
        let policy = self.accept_policy(who, &arn, text, input.bypass_policy_lockout_safety_check)?;
        self.made = n;
        Ok(Key {
            arn,
            id,
            kind: Kind::SIMULATED,
            created_at_ms: self.now_ms,
            state: KeyState::Enabled,
            creating_until_ms: None,
            deletion_at_ms: None,
            window_days: None,
            description,
            policy,
            was_tagged: !tags.is_empty(),
            tags,
            rotation: None,
            primary_region: input.multi_region.then(|| region.to_owned()),
        })
    }

    pub(super) fn metadata(&self, key: &Key) -> KeyMetadata {
        let (account, region) = (key.account(), key.region());
        let Kind { key_spec, key_usage, origin, key_manager } = key.kind;
        let family = key.primary_region.as_ref().map(|primary| {
            let member = |region: &str| MultiRegionKey {
                arn: kms_arn(account, region, &format!("key/{}", key.id)),
                region: region.to_owned(),
            };
            let replicas = self.replicas(key).iter().map(|r| member(r)).collect();
            MultiRegionView {
                multi_region_key_type: if primary == region { "PRIMARY" } else { "REPLICA" },
                primary_key: member(primary),
                replica_keys: replicas,
            }
        });
        KeyMetadata {
            account: account.to_owned(),
            key_id: key.id.clone(),
            arn: key.arn.clone(),
            created_at_ms: key.created_at_ms,
            enabled: key.state == KeyState::Enabled,
            key_state: key.state,
            description: key.description.clone(),
            deletion_at_ms: key.deletion_at_ms,
            pending_window_days: key.window_days.filter(|_| key.state == KeyState::PendingReplicaDeletion),
            multi_region: family.is_some(),
            multi_region_view: family,
            key_usage,
            key_spec,
            customer_master_key_spec: key_spec,
            origin,
            key_manager,
            encryption_algorithms: [key_spec].into_iter().filter(|spec| *spec == KEY_SPECS[0]).collect(),
            current_key_material_id: material(&key.id),
        }
    }
}
