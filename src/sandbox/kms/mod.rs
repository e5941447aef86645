//! KMS: what a region holds, and the front door that every operation goes through.
//!
//! Source of the rules: KMS developer guide (key states table, quotas, key policies) and API reference; where
//! they are silent the choice is noted beside the code.

mod aliases;
mod deletion;
mod keys;
mod policies;
mod rotation;
mod tags;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

pub use aliases::{AliasEntry, AliasPage};
pub use deletion::ScheduledDeletion;
pub use keys::{CreateKey, KeyEntry, KeyMetadata, KeyPage, MultiRegionKey, MultiRegionView};
pub use rotation::RotationStatus;
pub use tags::{Tag, TagPage};

use super::failure::{Failure, ServiceError};
use super::fault::Access;
use super::iam::Identity;
use super::ident::{arn_parts, kms_arn, pick};
use super::policy::Policy;
use super::versioned::Versioned;
use super::world::{Call, Service, World};

/// State of a key (KMS guide, "Key states of AWS KMS keys").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyState {
    /// Usable.
    Enabled,
    /// Not usable until enabled.
    Disabled,
    /// Gone when its window ends.
    PendingDeletion,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) created_at_ms: i64,
    pub(super) state: KeyState,
    pub(super) deletion_at_ms: Option<i64>,
    pub(super) description: String,
    pub(super) policy: Policy,
    pub(super) tags: BTreeMap<String, String>,
    /// Once tagged, a resource stays in the tag index with no tags.
    pub(super) was_tagged: bool,
    pub(super) rotation: Option<rotation::Rotation>,
    /// The region of the primary, for multi-Region keys.
    pub(super) primary_region: Option<String>,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Alias {
    pub(super) key_id: String,
    pub(super) created_at_ms: i64,
    pub(super) updated_at_ms: i64,
}

/// One account in one region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct KmsRegion {
    pub(super) keys: BTreeMap<String, Arc<Key>>,
    /// name with `alias/` -> alias
    pub(super) aliases: BTreeMap<String, Alias>,
}

/// KMS on behalf of one caller in one region.
#[derive(Debug)]
pub struct Kms<'w> {
    world: &'w mut World,
    who: Identity,
    region: String,
}

impl World {
    /// KMS of an account's region, called by that account's user `sandbox`.
    pub fn kms(&mut self, account: &str, region: &str) -> Kms<'_> {
        self.kms_as(&Identity::of_account(account), region)
    }

    /// KMS as `who` calls it at the endpoint of `region`.
    pub fn kms_as(&mut self, who: &Identity, region: &str) -> Kms<'_> {
        self.ensure_account(&who.account);
        Kms {
            world: self,
            who: who.clone(),
            region: region.into(),
        }
    }

    /// Keys whose window is over disappear with their aliases.
    pub(super) fn purge_keys(&mut self) {
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        for region in self.kms.values_mut() {
            let due = |k: &Arc<Key>| k.deletion_at_ms.is_some_and(|at| at <= now_ms);
            if region.get().keys.values().any(due) {
                let region = region.change(now_ms, keep_ms);
                region.keys.retain(|_, k| !due(k));
                let KmsRegion { keys, aliases } = region;
                aliases.retain(|_, alias| keys.contains_key(&alias.key_id));
            }
        }
    }
}

/// `AccessDeniedException` in the words of KMS.
pub(super) fn access_denied(who: &Identity, action: &str, resource: &str) -> ServiceError {
    let text = format!(
        "User: {} is not authorized to perform: {action} on resource: {resource}",
        who.caller_arn()
    );
    ServiceError::aws("AccessDeniedException", text)
}

fn not_found(text: impl Into<String>) -> ServiceError {
    ServiceError::aws("NotFoundException", text)
}

fn invalid_state(arn: &str, state: &str) -> ServiceError {
    ServiceError::aws("KMSInvalidStateException", format!("{arn} is {state}."))
}

/// Which states an operation works in (KMS guide, "Key state table").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Any state.
    Any,
    /// `KMSInvalidStateException` when pending deletion.
    NotPending,
    /// As before, and `DisabledException` when disabled.
    Enabled,
    /// Only a key that is pending deletion.
    Pending,
}

impl Needs {
    fn check(self, key: &Key) -> Result<(), ServiceError> {
        match (self, key.state) {
            (Self::Any, _)
            | (Self::Pending, KeyState::PendingDeletion)
            | (Self::NotPending, KeyState::Enabled | KeyState::Disabled)
            | (Self::Enabled, KeyState::Enabled) => Ok(()),
            (Self::Enabled, KeyState::Disabled) => Err(ServiceError::aws(
                "DisabledException",
                format!("{} is disabled.", key.arn),
            )),
            (Self::Enabled | Self::NotPending, KeyState::PendingDeletion) => {
                Err(invalid_state(&key.arn, "pending deletion"))
            }
            (Self::Pending, _) => Err(invalid_state(&key.arn, "not pending deletion")),
        }
    }
}

impl Kms<'_> {
    fn call(&self, operation: &'static str, access: Access, resource: &str) -> Call {
        Call {
            service: Service::Kms,
            operation,
            access,
            account: self.who.account.clone(),
            principal: self.who.arn.clone(),
            region: self.region.clone(),
            resource: resource.into(),
        }
    }

    /// A call that looks at one key of this account and region.
    fn look<T>(
        &mut self,
        operation: &'static str,
        key: &str,
        body: impl FnOnce(&World, &KmsRegion, &Key) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        let call = self.call(operation, Access::Read, key);
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, at_ms| {
            let empty = KmsRegion::default();
            let home = (who.account.clone(), region.clone());
            let view = world.kms.get(&home).map_or(&empty, |r| r.at(at_ms));
            let id = own_key_id(&who, &region, key)?;
            let found = find(view, &who, &region, id)?;
            let arn = found.arn.clone();
            authorize(world, found, &who, operation)?;
            let result = body(world, view, found);
            world.link.touched = Some(arn);
            result
        })
    }

    /// A call that changes one key of this account and region. `body` may refuse; the key is then as it was.
    fn alter<T>(
        &mut self,
        operation: &'static str,
        key: &str,
        needs: Needs,
        body: impl FnOnce(&World, &mut Key) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        let call = self.call(operation, Access::Write, key);
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, _| {
            let id = own_key_id(&who, &region, key)?.to_owned();
            let mut changed = world.writable_key(&who, &region, &id, operation)?;
            world.link.touched = Some(changed.arn.clone());
            needs.check(&changed)?;
            let result = body(world, &mut changed)?;
            world
                .home(&who.account, &region)
                .keys
                .insert(id, Arc::new(changed));
            Ok(result)
        })
    }
}

impl World {
    /// The region's present state, opened for a change.
    fn home(&mut self, account: &str, region: &str) -> &mut KmsRegion {
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        self.kms
            .entry((account.to_owned(), region.to_owned()))
            .or_insert_with(|| Versioned::new(KmsRegion::default()))
            .change(now_ms, keep_ms)
    }

    fn present(&self, account: &str, region: &str) -> Option<&KmsRegion> {
        Some(
            self.kms
                .get(&(account.to_owned(), region.to_owned()))?
                .get(),
        )
    }

    /// A copy of a key for a write that is allowed to see it.
    fn writable_key(
        &mut self,
        who: &Identity,
        region: &str,
        id: &str,
        operation: &str,
    ) -> Result<Key, ServiceError> {
        let empty = KmsRegion::default();
        let found = find(
            self.present(&who.account, region).unwrap_or(&empty),
            who,
            region,
            id,
        )?
        .clone();
        // A replica that has not heard of the key yet refuses the write, as the API reference warns.
        let age = self.now_ms - found.created_at_ms;
        let lag = self.settings.kms_read_lag_ms;
        if age < lag {
            let n = self.next_id();
            if pick(self.settings.seed, "replica", n, lag) > age {
                return Err(not_found(format!("Key '{}' does not exist", found.arn)));
            }
        }
        authorize(self, &found, who, operation)?;
        Ok(found)
    }

    /// A key anywhere, by its ARN.
    pub(super) fn key_by_arn(&self, arn: &str) -> Option<&Key> {
        let parts = arn_parts(arn)?;
        let id = parts[5].strip_prefix("key/")?;
        self.present(parts[4], parts[3])?.keys.get(id).map(|k| &**k)
    }

    /// Changes a key behind the back of everybody.
    pub(super) fn edit_key(&mut self, arn: &str, edit: impl FnOnce(&mut Key)) -> bool {
        let Some(key) = self.key_by_arn(arn) else {
            return false;
        };
        let mut key = key.clone();
        let Some([_, _, _, region, account, _]) = arn_parts(arn) else {
            return false;
        };
        edit(&mut key);
        self.home(account, region)
            .keys
            .insert(key.id.clone(), Arc::new(key));
        true
    }

    /// Points an alias at a key behind the back of everybody.
    pub(super) fn point_alias(&mut self, name: &str, arn: &str) -> bool {
        let Some(key_id) = self.key_by_arn(arn).map(|k| k.id.clone()) else {
            return false;
        };
        let Some([_, _, _, region, account, _]) = arn_parts(arn) else {
            return false;
        };
        let now_ms = self.now_ms;
        let alias = Alias {
            key_id,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        };
        self.home(account, region)
            .aliases
            .insert(name.to_owned(), alias);
        true
    }

    /// Removes a key and its aliases at once.
    pub(super) fn remove_key(&mut self, arn: &str) -> bool {
        let Some(id) = self.key_by_arn(arn).map(|k| k.id.clone()) else {
            return false;
        };
        let Some([_, _, _, region, account, _]) = arn_parts(arn) else {
            return false;
        };
        let home = self.home(account, region);
        home.keys.remove(&id);
        home.aliases.retain(|_, alias| alias.key_id != id);
        true
    }
}

/// The key policy decides together with identity policies, which allow everything unless told otherwise.
fn authorize(
    world: &World,
    key: &Key,
    who: &Identity,
    operation: &str,
) -> Result<(), ServiceError> {
    let action = format!("kms:{operation}");
    let owner = arn_parts(&key.arn).map_or("", |parts| parts[4]);
    if key.policy.allows(&world.iam, who, owner, &action) {
        Ok(())
    } else {
        Err(access_denied(who, &action, &key.arn))
    }
}

/// The key id in an identifier that must name a key of the caller's account and this region, by id or key ARN.
fn own_key_id<'k>(who: &Identity, region: &str, key: &'k str) -> Result<&'k str, ServiceError> {
    if !key.starts_with("arn:") {
        return Ok(key);
    }
    let parts = arn_parts(key)
        .filter(|p| p[2] == "kms")
        .ok_or_else(|| invalid_arn(key))?;
    let id = parts[5]
        .strip_prefix("key/")
        .ok_or_else(|| invalid_arn(key))?;
    if parts[3] != region {
        return Err(not_found(format!("Invalid arn {}", parts[3])));
    }
    if parts[4] != who.account {
        // Cross-account use is possible for DescribeKey and cryptographic operations only.
        return Err(access_denied(who, "kms:*", key));
    }
    Ok(id)
}

fn invalid_arn(text: &str) -> ServiceError {
    ServiceError::aws("InvalidArnException", format!("Invalid arn {text}"))
}

fn find<'r>(
    home: &'r KmsRegion,
    who: &Identity,
    region: &str,
    id: &str,
) -> Result<&'r Key, ServiceError> {
    if id.is_empty() || id.len() > 2048 {
        return Err(ServiceError::validation(
            "1 validation error detected: Value at 'keyId' failed to satisfy constraint: Member must have length between 1 and 2048",
        ));
    }
    let looks_like_id = id.starts_with("mrk-") || id.len() == 36 && id.matches('-').count() == 4;
    if !looks_like_id {
        return Err(not_found(format!("Invalid keyId '{id}'")));
    }
    home.keys.get(id).map(|k| &**k).ok_or_else(|| {
        not_found(format!(
            "Key '{}' does not exist",
            kms_arn(&who.account, region, &format!("key/{id}"))
        ))
    })
}

/// Named items, and the marker of the next page if there is one.
type Page<'a, T> = (Vec<(&'a String, T)>, Option<String>);

/// A page of a sorted list: what comes after `marker`, at most `limit`, and the marker of the next page.
fn page<'a, T>(
    all: impl Iterator<Item = (&'a String, T)>,
    limit: Option<i32>,
    default: i32,
    most: i32,
    marker: Option<&str>,
) -> Result<Page<'a, T>, ServiceError> {
    let limit = limit.unwrap_or(default);
    if !(1..=most).contains(&limit) {
        let text = format!(
            "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must be between 1 and {most}"
        );
        return Err(ServiceError::validation(text));
    }
    let after = match marker {
        None => None,
        Some(m) => Some(m.strip_prefix("after:").ok_or_else(|| {
            ServiceError::aws("InvalidMarkerException", "Could not deserialize marker")
        })?),
    };
    let limit = usize::try_from(limit).unwrap_or(0);
    let mut rest = all.skip_while(|(name, _)| after.is_some_and(|a| name.as_str() <= a));
    let items: Vec<_> = rest.by_ref().take(limit).collect();
    let more = rest.next().is_some();
    let next = items
        .last()
        .filter(|_| more)
        .map(|(name, _)| format!("after:{name}"));
    Ok((items, next))
}

/// Milliseconds as the seconds with fraction that AWS JSON uses for timestamps.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of this era are far below 2^53"
)]
pub(super) fn epoch_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn seconds<S: Serializer>(ms: &i64, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_f64(epoch_seconds(*ms))
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn maybe_seconds<S: Serializer>(ms: &Option<i64>, out: S) -> Result<S::Ok, S::Error> {
    match ms {
        Some(ms) => out.serialize_f64(epoch_seconds(*ms)),
        None => out.serialize_none(),
    }
}
