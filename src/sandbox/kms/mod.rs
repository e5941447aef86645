//! KMS: what a region holds, and the front door that every operation goes through.
//!
//! Source of the rules: KMS developer guide (key states table, quotas, key policies) and API reference; where
//! they are silent the choice is noted beside the code.

mod alias_index;
mod aliases;
mod deletion;
mod keys;
mod multi_region;
mod policies;
mod rotation;
mod store;
mod tags;

use serde::Serializer;

pub(super) use alias_index::Alias;
pub use aliases::{AliasEntry, AliasPage};
pub use deletion::ScheduledDeletion;
pub use keys::{CreateKey, KeyEntry, KeyMetadata, KeyPage, MultiRegionKey, MultiRegionView};
pub use multi_region::{ReplicateKey, Replicated};
pub use rotation::RotationStatus;
pub use store::KeyState;
use store::Kind;
pub(super) use store::{Key, KmsRegion};
pub use tags::{Tag, TagPage};

use super::failure::{Failure, ServiceError};
use super::fault::Access;
use super::iam::Identity;
use super::ident::{arn_parts, kms_arn};
use super::policy::Facts;
use super::world::{Call, Service, World};

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
        Kms { world: self, who: who.clone(), region: region.into() }
    }
}

/// `AccessDeniedException` in the words of KMS.
pub(super) fn access_denied(who: &Identity, action: &str, resource: &str) -> ServiceError {
    let text = format!("User: {} is not authorized to perform: {action} on resource: {resource}", who.caller_arn());
    ServiceError::aws("AccessDeniedException", text)
}

fn not_found(text: impl Into<String>) -> ServiceError {
    ServiceError::aws("NotFoundException", text)
}

fn invalid_state(arn: &str, state: &str) -> ServiceError {
    ServiceError::aws("KMSInvalidStateException", format!("{arn} is {state}."))
}

/// Which states an operation works in: the columns of B.3 that a symmetric key of AWS can be in
/// (KMS guide, "Key state table").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Any state.
    Any,
    /// Any state but a pending deletion.
    NotPending,
    /// Enabled or disabled: a state to switch between.
    Settled,
    /// Enabled; `DisabledException` if disabled.
    Enabled,
    /// A pending deletion.
    Pending,
}

impl Needs {
    fn check(self, key: &Key) -> Result<(), ServiceError> {
        let state = key.state;
        let pending = matches!(state, KeyState::PendingDeletion | KeyState::PendingReplicaDeletion);
        let fits = match self {
            Self::Any => true,
            Self::NotPending => !pending,
            Self::Settled => matches!(state, KeyState::Enabled | KeyState::Disabled),
            Self::Enabled => state == KeyState::Enabled,
            Self::Pending => pending,
        };
        match state {
            _ if fits => Ok(()),
            KeyState::Disabled if self == Self::Enabled => {
                Err(ServiceError::aws("DisabledException", format!("{} is disabled.", key.arn)))
            }
            KeyState::Enabled | KeyState::Disabled => Err(invalid_state(&key.arn, "not pending deletion")),
            KeyState::Creating => Err(invalid_state(&key.arn, "creating")),
            KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => {
                Err(invalid_state(&key.arn, "pending deletion"))
            }
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
        body: impl FnOnce(&mut World, &mut Key) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        let call = self.call(operation, Access::Write, key);
        let (who, region) = (self.who.clone(), self.region.clone());
        self.world.perform(call, |world, _| {
            let id = own_key_id(&who, &region, key)?;
            let mut changed = world.writable_key(&who, &region, id, operation)?;
            world.link.touched = Some(changed.arn.clone());
            needs.check(&changed)?;
            let result = body(world, &mut changed)?;
            world.store(changed);
            Ok(result)
        })
    }
}

impl World {
    /// Whether a key's policy, together with the caller's own policies as they were at `iam_at_ms`, lets `who` do
    /// `action` on it.
    pub(super) fn key_permits(
        &self,
        key: &Key,
        who: &Identity,
        action: &str,
        iam_at_ms: i64,
        facts: impl FnOnce() -> Facts,
    ) -> bool {
        let with_key = || {
            let tag =
                |facts: Facts, (name, value): (&String, &String)| facts.and(&format!("aws:ResourceTag/{name}"), value);
            let facts = key.tags.iter().fold(facts(), tag);
            let multi_region = key.primary_region.is_some().to_string();
            facts
                .and("aws:RequestedRegion", key.region())
                .and("aws:ResourceAccount", key.account())
                .and("kms:MultiRegion", multi_region)
        };
        key.policy.permits(&self.iam, who, (&key.arn, key.account()), action, iam_at_ms, with_key)
    }
}

/// The key policy decides together with the caller's own policies.
fn authorize(world: &World, key: &Key, who: &Identity, operation: &str) -> Result<(), ServiceError> {
    let action = format!("kms:{operation}");
    if world.key_permits(key, who, &action, world.link.iam_at_ms, Facts::default) {
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
    let parts = arn_parts(key).filter(|p| p[2] == "kms").ok_or_else(|| invalid_arn(key))?;
    let id = parts[5].strip_prefix("key/").ok_or_else(|| invalid_arn(key))?;
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

fn find<'r>(home: &'r KmsRegion, who: &Identity, region: &str, id: &str) -> Result<&'r Key, ServiceError> {
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
        not_found(format!("Key '{}' does not exist", kms_arn(&who.account, region, &format!("key/{id}"))))
    })
}

/// Named items, and the marker of the next page if there is one.
type Page<'a, T> = (Vec<(&'a str, T)>, Option<String>);

/// A page of a sorted list: what comes after `marker`, at most `limit`, and the marker of the next page.
fn page<'a, T>(
    all: impl Iterator<Item = (&'a str, T)>,
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
        Some(m) => Some(
            m.strip_prefix("after:")
                .ok_or_else(|| ServiceError::aws("InvalidMarkerException", "Could not deserialize marker"))?,
        ),
    };
    let limit = usize::try_from(limit).unwrap_or(0);
    let mut rest = all.skip_while(|(name, _)| after.is_some_and(|a| *name <= a));
    let items: Vec<_> = rest.by_ref().take(limit).collect();
    let more = rest.next().is_some();
    let next = items.last().filter(|_| more).map(|(name, _)| format!("after:{name}"));
    Ok((items, next))
}

/// Milliseconds as the seconds with fraction that AWS JSON uses for timestamps.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this era are far below 2^53")]
pub(super) fn epoch_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
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
