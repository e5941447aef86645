//! What a region holds, how it ages, and changes behind the back of everybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alias_index::{Alias, AliasIndex};
use super::rotation::{DAY_MS, Rotation};
use super::{authorize, find, not_found};
use crate::sandbox::failure::ServiceError;
use crate::sandbox::iam::Identity;
use crate::sandbox::ident::{arn_parts, kms_arn, pick};
use crate::sandbox::policy::Policy;
use crate::sandbox::versioned::Versioned;
use crate::sandbox::world::World;

/// State of a key (KMS guide, "Key states of AWS KMS keys"), as far as symmetric keys of AWS go through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyState {
    /// A replica in the making.
    Creating,
    /// Usable.
    Enabled,
    /// Not usable until enabled.
    Disabled,
    /// Gone when its window ends.
    PendingDeletion,
    /// A primary that waits for its replicas to be gone before its window begins.
    PendingReplicaDeletion,
}

/// What is fixed for the life of a key, in the words of `DescribeKey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::sandbox) struct Kind {
    pub(super) key_spec: &'static str,
    pub(super) key_usage: &'static str,
    pub(super) origin: &'static str,
    pub(super) key_manager: &'static str,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::sandbox) struct Key {
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) arn: String,
    pub(in crate::sandbox) kind: Kind,
    pub(in crate::sandbox) created_at_ms: i64,
    pub(in crate::sandbox) state: KeyState,
    /// When `Creating` ends.
    pub(super) creating_until_ms: Option<i64>,
    pub(in crate::sandbox) deletion_at_ms: Option<i64>,
    /// The window asked for, while a deletion is scheduled.
    pub(super) window_days: Option<i32>,
    pub(in crate::sandbox) description: String,
    pub(in crate::sandbox) policy: Policy,
    pub(in crate::sandbox) tags: BTreeMap<String, String>,
    /// Once tagged, a resource stays in the tag index with no tags.
    pub(in crate::sandbox) was_tagged: bool,
    /// Of a replica: what its primary says.
    pub(in crate::sandbox) rotation: Option<Rotation>,
    /// The region of the primary, for multi-Region keys.
    pub(in crate::sandbox) primary_region: Option<String>,
}

/// One account in one region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::sandbox) struct KmsRegion {
    /// id -> key
    pub(in crate::sandbox) keys: BTreeMap<Arc<str>, Arc<Key>>,
    pub(in crate::sandbox) aliases: AliasIndex,
}

impl Key {
    /// Its account.
    pub(super) fn account(&self) -> &str {
        arn_parts(&self.arn).map_or("", |p| p[4])
    }

    /// Its region.
    pub(super) fn region(&self) -> &str {
        arn_parts(&self.arn).map_or("", |p| p[3])
    }

    /// Whether another key of its family is the primary.
    pub(super) fn is_replica(&self) -> bool {
        self.primary_region.as_deref().is_some_and(|primary| primary != self.region())
    }

    /// When something happens to it by itself.
    fn wakes_at_ms(&self) -> Option<i64> {
        match self.state {
            KeyState::Creating => self.creating_until_ms,
            KeyState::PendingDeletion => self.deletion_at_ms,
            _ => None,
        }
    }

    /// Schedules its end; `window_days` from `now_ms`, or once the replicas are gone.
    pub(in crate::sandbox) fn schedule_deletion(&mut self, now_ms: i64, window_days: i32, has_replicas: bool) {
        self.window_days = Some(window_days);
        if has_replicas {
            self.state = KeyState::PendingReplicaDeletion;
            self.deletion_at_ms = None;
        } else {
            self.state = KeyState::PendingDeletion;
            self.deletion_at_ms = Some(now_ms + i64::from(window_days) * DAY_MS);
        }
    }

    /// Takes a scheduled end back and sets another state.
    pub(in crate::sandbox) fn set_state(&mut self, state: KeyState) {
        self.state = state;
        self.creating_until_ms = None;
        self.deletion_at_ms = None;
        self.window_days = None;
    }
}

impl World {
    /// What happens to keys as time passes: replicas get ready, keys whose window is over disappear with their
    /// aliases, and a primary whose last replica disappeared begins its own window.
    pub(in crate::sandbox) fn age_keys(&mut self) {
        while self.next_wake_ms <= self.now_ms {
            let now_ms = self.now_ms;
            let due: Vec<Arc<Key>> = self
                .kms
                .values()
                .flat_map(|home| home.get().keys.values())
                .filter(|k| k.wakes_at_ms().is_some_and(|at| at <= now_ms))
                .cloned()
                .collect();
            self.next_wake_ms = i64::MAX;
            for key in due {
                if key.state == KeyState::Creating {
                    self.edit_key(&key.arn, |k| k.set_state(KeyState::Enabled));
                } else {
                    self.remove_key(&key.arn);
                    self.end_of_replica(&key);
                }
            }
            let wakes = self.kms.values().flat_map(|home| home.get().keys.values()).filter_map(|k| k.wakes_at_ms());
            self.next_wake_ms = wakes.min().unwrap_or(i64::MAX);
        }
    }

    fn end_of_replica(&mut self, gone: &Key) {
        let Some(primary) = gone.primary_region.clone().filter(|_| gone.is_replica()) else {
            return;
        };
        if self.replicas(gone).is_empty() {
            let arn = kms_arn(gone.account(), &primary, &format!("key/{}", gone.id));
            let at_ms = gone.deletion_at_ms.unwrap_or(self.now_ms);
            self.edit_key(&arn, |k| {
                if k.state == KeyState::PendingReplicaDeletion {
                    k.schedule_deletion(at_ms, k.window_days.unwrap_or(30), false);
                }
            });
        }
    }

    /// The regions of the replicas of a key's family.
    pub(super) fn replicas(&self, key: &Key) -> Vec<String> {
        let Some(primary) = &key.primary_region else {
            return Vec::new();
        };
        let holds = |((account, region), home): &(&(String, String), &Versioned<KmsRegion>)| {
            account == key.account() && region != primary && home.get().keys.contains_key(key.id.as_str())
        };
        self.kms.iter().filter(holds).map(|((_, region), _)| region.clone()).collect()
    }

    /// The region's present state, opened for a change.
    pub(super) fn home(&mut self, account: &str, region: &str) -> &mut KmsRegion {
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        self.kms
            .entry((account.to_owned(), region.to_owned()))
            .or_insert_with(|| Versioned::new(KmsRegion::default()))
            .change(now_ms, keep_ms)
    }

    /// The region's present state.
    pub(super) fn present(&self, account: &str, region: &str) -> Option<&KmsRegion> {
        Some(self.kms.get(&(account.to_owned(), region.to_owned()))?.get())
    }

    /// Adds a key or replaces it.
    pub(super) fn store(&mut self, key: Key) {
        self.next_wake_ms = self.next_wake_ms.min(key.wakes_at_ms().unwrap_or(i64::MAX));
        let (account, region) = (key.account().to_owned(), key.region().to_owned());
        self.home(&account, &region).keys.insert(key.id.as_str().into(), Arc::new(key));
    }

    /// A copy of a key for a write that is allowed to see it.
    pub(super) fn writable_key(
        &mut self,
        who: &Identity,
        region: &str,
        id: &str,
        operation: &str,
    ) -> Result<Key, ServiceError> {
        let empty = KmsRegion::default();
        let home = self.present(&who.account, region).unwrap_or(&empty);
        let found = find(home, who, region, id)?.clone();
        // A host that has not heard of the key yet refuses the write, as the API reference warns.
        let age_ms = self.now_ms - found.created_at_ms;
        let lag_ms = self.settings.kms_read_lag_ms;
        if age_ms < lag_ms {
            let n = self.next_id();
            if pick(self.settings.seed, "host", n, lag_ms) > age_ms {
                return Err(not_found(format!("Key '{}' does not exist", found.arn)));
            }
        }
        authorize(self, &found, who, operation)?;
        Ok(found)
    }

    /// A key anywhere, by its ARN.
    pub(in crate::sandbox) fn key_by_arn(&self, arn: &str) -> Option<&Key> {
        let parts = arn_parts(arn)?;
        let id = parts[5].strip_prefix("key/")?;
        self.present(parts[4], parts[3])?.keys.get(id).map(|k| &**k)
    }

    /// Changes a key behind the back of everybody.
    pub(in crate::sandbox) fn edit_key(&mut self, arn: &str, edit: impl FnOnce(&mut Key)) -> bool {
        let Some(mut key) = self.key_by_arn(arn).cloned() else {
            return false;
        };
        edit(&mut key);
        self.store(key);
        true
    }

    /// Points an alias at a key behind the back of everybody.
    pub(in crate::sandbox) fn point_alias(&mut self, name: &str, arn: &str) -> bool {
        let Some(key) = self.key_by_arn(arn).cloned() else {
            return false;
        };
        let now_ms = self.now_ms;
        let alias = Alias { key_id: key.id.clone(), created_at_ms: now_ms, updated_at_ms: now_ms };
        self.home(key.account(), key.region()).aliases.insert(name, alias);
        true
    }

    /// Removes a key and its aliases at once.
    pub(in crate::sandbox) fn remove_key(&mut self, arn: &str) -> bool {
        let Some(key) = self.key_by_arn(arn).cloned() else {
            return false;
        };
        let home = self.home(key.account(), key.region());
        home.keys.remove(key.id.as_str());
        home.aliases.remove_of_key(&key.id);
        true
    }
}
