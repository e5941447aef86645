//! Multi-Region keys: a primary and its replicas. Policy, tags, aliases, description and state are each one's own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tags::{Tag, checked_tags};
use super::{Key, KeyMetadata, KeyState, Kms, Needs, access_denied, authorize, find, invalid_arn, own_key_id};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::iam::Identity;
use crate::sandbox::ident::kms_arn;
use crate::sandbox::policy::{self, Facts};
use crate::sandbox::world::World;

/// Input of `ReplicateKey`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReplicateKey {
    /// The primary, by id or ARN.
    pub key_id: String,
    /// Where the replica is made.
    pub replica_region: String,
    /// Policy of the replica; absent: the default policy.
    pub policy: Option<String>,
    /// Description of the replica.
    pub description: Option<String>,
    /// Tags of the replica.
    pub tags: Vec<Tag>,
    /// Skips the check that the caller can change the policy again.
    pub bypass_policy_lockout_safety_check: bool,
}

/// Answer of `ReplicateKey`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Replicated {
    /// The replica.
    #[serde(rename = "ReplicaKeyMetadata")]
    pub metadata: KeyMetadata,
    /// Its policy, as `GetKeyPolicy` shows it.
    #[serde(rename = "ReplicaPolicy")]
    pub policy: String,
    /// Its tags, sorted by key.
    #[serde(rename = "ReplicaTags")]
    pub tags: Vec<Tag>,
}

fn unsupported(text: &str) -> ServiceError {
    ServiceError::aws("UnsupportedOperationException", text)
}

impl Kms<'_> {
    /// Makes a replica of a primary in another region. Safe to repeat: a second one is refused.
    pub fn replicate_key(&mut self, input: &ReplicateKey) -> Result<Replicated, Failure> {
        let call = self.call("ReplicateKey", Access::Write, &input.key_id);
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, _| {
            let id = own_key_id(&who, &region, &input.key_id)?;
            let primary = world.writable_key(&who, &region, id, "ReplicateKey")?;
            world.note_bypass(input.bypass_policy_lockout_safety_check);
            let replica = world.new_replica(&who, &primary, input)?;
            world.link.touched = Some(replica.arn.clone());
            world.store(replica.clone());
            Ok(Replicated {
                metadata: world.metadata(&replica),
                policy: replica.policy.render(&world.iam),
                tags: replica.tags.iter().map(|(key, value)| Tag::new(key, value)).collect(),
            })
        })
    }

    /// Makes a replica the primary of its family. Both must be enabled.
    pub fn update_primary_region(&mut self, key: &str, to: &str) -> Result<(), Failure> {
        let call = self.call("UpdatePrimaryRegion", Access::Write, key);
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, _| {
            let id = own_key_id(&who, &region, key)?;
            let primary = world.writable_key(&who, &region, id, "UpdatePrimaryRegion")?;
            if primary.primary_region.as_deref() != Some(region.as_str()) {
                return Err(unsupported("the key is not a primary multi-Region key"));
            }
            let empty = super::KmsRegion::default();
            let home = world.present(&who.account, to).unwrap_or(&empty);
            let replica = find(home, &who, to, id)?;
            authorize(world, replica, &who, "UpdatePrimaryRegion")?;
            Needs::Enabled.check(&primary)?;
            Needs::Enabled.check(replica)?;
            world.link.touched = Some(primary.arn.clone());
            let family = [world.replicas(&primary), vec![region.clone()]].concat();
            for member in family {
                let arn = kms_arn(&who.account, &member, &format!("key/{}", primary.id));
                world.edit_key(&arn, |k| {
                    k.primary_region = Some(to.to_owned());
                    k.rotation.clone_from(&primary.rotation);
                });
            }
            Ok(())
        })
    }
}

impl World {
    /// What the caller's own policies have to allow where the replica is made (API reference, "Required permissions").
    fn may_create_replica(&self, who: &Identity, to: &str, tagged: bool) -> Result<(), ServiceError> {
        let facts = Facts::default().and("aws:RequestedRegion", to);
        for action in ["kms:CreateKey", "kms:PutKeyPolicy", "kms:TagResource"] {
            let asked = action != "kms:TagResource" || tagged;
            let may = action != "kms:CreateKey" || self.may_by_itself(who, action, "*", &facts);
            if asked && (self.iam.denies(who, action) || !may) {
                return Err(access_denied(who, action, "*"));
            }
        }
        Ok(())
    }

    fn new_replica(&mut self, who: &Identity, primary: &Key, input: &ReplicateKey) -> Result<Key, ServiceError> {
        let to = input.replica_region.as_str();
        if primary.primary_region.is_none() || primary.is_replica() {
            return Err(unsupported(&format!("{} is not a primary multi-Region key", primary.arn)));
        }
        Needs::Enabled.check(primary)?;
        if to == primary.region() {
            return Err(unsupported("a replica is made in another region than its primary"));
        }
        if to.is_empty() || to.contains(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-') {
            return Err(invalid_arn(to));
        }
        self.may_create_replica(who, to, !input.tags.is_empty())?;
        // One replication counts as two creations where the replica is made (KMS guide, "Request quotas").
        self.charge(&who.account, to, "CreateKey", 2)?;
        let arn = kms_arn(&who.account, to, &format!("key/{}", primary.id));
        if self.key_by_arn(&arn).is_some() {
            return Err(ServiceError::aws("AlreadyExistsException", format!("{arn} already exists")));
        }
        let default = policy::default_text(&who.account, to);
        let text = input.policy.as_deref().unwrap_or(&default);
        let policy = self.accept_policy(who, &arn, text, input.bypass_policy_lockout_safety_check)?;
        let tags = checked_tags(&BTreeMap::new(), &input.tags)?;
        let creating_ms = self.settings.replica_creating_ms;
        Ok(Key {
            id: primary.id.clone(),
            arn,
            kind: primary.kind,
            created_at_ms: self.now_ms,
            state: if creating_ms > 0 { KeyState::Creating } else { KeyState::Enabled },
            creating_until_ms: (creating_ms > 0).then_some(self.now_ms + creating_ms),
            deletion_at_ms: None,
            window_days: None,
            description: input.description.clone().unwrap_or_default(),
            policy,
            was_tagged: !tags.is_empty(),
            tags,
            rotation: None,
            primary_region: primary.primary_region.clone(),
        })
    }
}
