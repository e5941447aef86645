//! The keys: one per region, created at most once under the identity's alias.
//!
//! What becomes of a region without a recorded key stands in [`creation`](super::creation).

use std::collections::BTreeMap;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{DesiredKey, DesiredRegion};
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::RegionMemory;
use crate::domain::moment::Moment;
use crate::domain::observed::{Candidate, KeyFacts, KeyState, RegionOffer, RegionSeen};
use crate::domain::reading::Reading;

use super::draft::Draft;
use super::region_key::RegionKey;
use super::step::{KeyRef, Step};
use super::{creation, credentials, policy, registration, removal, replica, restore, role, schedule, unprotected};

const DOWNSTREAM: [ConditionType; 2] = [ConditionType::PoliciesReady, ConditionType::Registered];
const EVERYTHING: [ConditionType; 3] =
    [ConditionType::KeysReady, ConditionType::PoliciesReady, ConditionType::Registered];

/// Plans a `CustomerKey`.
pub(super) fn plan(draft: &mut Draft<'_>, key: &DesiredKey) {
    if !key.capabilities.supported {
        let message = format!("This build cannot work with {}.", key.scope.cloud);
        draft.stuck(
            ConditionType::Registered,
            None,
            Reason::UpstreamNotSupported,
            message,
            "use a build that supports it, or name another cloud in spec.upstream.",
        );
        draft.blocked(
            &[ConditionType::KeysReady, ConditionType::PoliciesReady, ConditionType::CredentialsValid],
            None,
            Reason::UpstreamNotSupported,
            "Nothing is looked at for a cloud that this build does not support.",
        );
        return;
    }
    if !key.object.finalizer {
        draft.step(Step::AddFinalizer);
    }
    schedule::warn(draft, key);
    let aws = credentials::aws_is_ours(draft, key);
    let cloud = credentials::cloud_is_ours(draft, key);
    if aws && cloud {
        draft.fine(
            ConditionType::CredentialsValid,
            None,
            Reason::CredentialsAccepted,
            "AWS and the cloud accept the credentials.",
        );
    }
    for (region, wish) in &key.regions {
        plan_region(draft, key, region, wish, aws, cloud);
    }
    unprotected::plan(draft, key);
    removal::plan(draft, key);
    schedule::surplus(draft, key);
}

/// Plans one region: one that the spec names, or one that it no longer names and that cannot be let go yet.
pub(super) fn plan_region(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    wish: &DesiredRegion,
    aws: bool,
    cloud: bool,
) {
    let seen = draft.seen(region);
    let memory = draft.remembered(region);
    draft.report(region).key.clone_from(&memory.key);
    if !aws {
        let reason = draft.gravest(None).unwrap_or(Reason::NotLookedYet);
        draft.blocked(
            &EVERYTHING,
            Some(region),
            reason,
            "Not looked at while AWS does not take us for the declared account.",
        );
        return;
    }
    if !may_be_the_key(draft, key, region, wish, &memory) {
        let reason = draft.gravest(Some(region)).unwrap_or(Reason::InvalidSpec);
        draft.blocked(&DOWNSTREAM, Some(region), reason, "Waits for the region's key.");
        return;
    }
    let held = match &wish.key_arn {
        Some(arn) => adopted(draft, key, region, arn, &seen, &memory),
        None => own(draft, key, region, &seen, &memory, cloud),
    };
    let Some(facts) = held else {
        let reason = draft.gravest(Some(region)).unwrap_or(Reason::CreatingKey);
        draft.blocked(&DOWNSTREAM, Some(region), reason, "Waits for the region's key.");
        return;
    };
    report_key(draft, key, region, &facts, &seen);
    replica::show(draft, key, region, &facts);
    if restore::plan(draft, key, region, &facts, &seen) {
        draft.blocked(&DOWNSTREAM, Some(region), Reason::KeyRestoring, "Waits until the key can be used.");
        return;
    }
    if !usable(draft, key, region, wish, &facts) {
        let reason = draft.gravest(Some(region)).unwrap_or(Reason::KeyUnavailable);
        draft.blocked(&DOWNSTREAM, Some(region), reason, "Waits until the key can be used.");
        return;
    }
    let Some(tags) = seen.tags.present() else {
        // There may be a hold, or another holder: nothing is written to a key whose tags were not seen.
        not_seen(draft, region, &seen.tags);
        let reason = draft.gravest(Some(region)).unwrap_or(Reason::NotLookedYet);
        draft.blocked(&DOWNSTREAM, Some(region), reason, "Waits until the key's tags are seen.");
        return;
    };
    if tags.contains_key(tag::HOLD) {
        let message = format!("The key carries the tag {}; nothing is written to it.", tag::HOLD);
        draft.working(ConditionType::KeysReady, Some(region), Reason::OnHold, message);
        draft.blocked(&DOWNSTREAM, Some(region), Reason::OnHold, "The key is on hold.");
        return;
    }
    if wish.key_arn.is_none() {
        if held_elsewhere(draft, region, &seen) {
            draft.blocked(&DOWNSTREAM, Some(region), Reason::HeldByAnotherCluster, "Another cluster holds the key.");
            return;
        }
        attributes(draft, key, region, &facts, &seen);
    }
    let held = RegionKey { desired: key, region, facts: &facts, seen: &seen, memory: &memory };
    if cloud && key.regions.contains_key(region) {
        role::prepare(draft, held);
    }
    let policy_holds = policy::plan_region(draft, key, region, wish, &facts, &seen);
    if key.regions.contains_key(region) {
        registration::plan_region(draft, held, cloud, policy_holds);
    }
    if !draft.has(ConditionType::KeysReady, region) {
        draft.fine(ConditionType::KeysReady, Some(region), Reason::KeysEnabled, &format!("{} is enabled.", facts.arn));
    }
}

/// Whether the key that spec or status names can be this region's: it lies in the declared account and region, and it is
/// the one that was registered, where that is final.
fn may_be_the_key(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    wish: &DesiredRegion,
    memory: &RegionMemory,
) -> bool {
    let Some(named) = wish.key_arn.as_ref().or(memory.key.as_ref()) else { return true };
    if named.region() != region || *named.account() != key.access.account {
        let message = format!("Key {named} is not one of account {} in {region}.", key.access.account);
        draft.stuck(ConditionType::KeysReady, Some(region), Reason::KeyWrongKind, message, "name another key.");
        return false;
    }
    let recorded = memory.key.as_ref().filter(|arn| memory.registered.as_ref() == Some(&arn.to_string()));
    let Some(recorded) = recorded.filter(|arn| *arn != named && key.capabilities.registration_is_final) else {
        return true;
    };
    let message = format!("keyArn names {named}, but {recorded} is registered, and with this cloud that is final.");
    let fix = format!("set keyArn to {recorded} if that key was adopted; else take keyArn out.");
    draft.stuck(ConditionType::KeysReady, Some(region), Reason::InvalidSpec, message, &fix);
    false
}

/// A key that somebody else made and lets this object use.
fn adopted(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    arn: &KeyArn,
    seen: &RegionSeen,
    memory: &RegionMemory,
) -> Option<KeyFacts> {
    let facts = match &seen.by_arn {
        Reading::Present(facts) => facts.clone(),
        Reading::Absent if memory.key.as_ref() == Some(arn) => return missing(draft, region, arn),
        Reading::Absent => {
            let message = format!("There is no key {arn}, or the operator may not see it.");
            draft.stuck(ConditionType::KeysReady, Some(region), Reason::KeyGone, message, "correct keyArn.");
            return None;
        }
        Reading::Unknown(_) => return not_seen(draft, region, &seen.by_arn),
    };
    let Some(tags) = seen.tags.present() else {
        return not_seen(draft, region, &seen.tags);
    };
    let consent = key.owner.consent();
    if tags.get(tag::ADOPT_BY) != Some(&consent) {
        let message = format!("Key {arn} does not carry the tag {}={consent}.", tag::ADOPT_BY);
        let fix = format!(
            "an administrator of the key runs: aws kms tag-resource --region {region} --key-id {arn} --tags TagKey={},TagValue={consent}",
            tag::ADOPT_BY
        );
        draft.stuck(ConditionType::KeysReady, Some(region), Reason::AdoptionNotConsented, message, &fix);
        return None;
    }
    if of_another(key, tags) {
        let message = format!("Key {arn} carries the owner tags of another object.");
        let fix = "name another key, or have that object's owner give it up.";
        draft.stuck(ConditionType::KeysReady, Some(region), Reason::OwnedByAnother, message, fix);
        return None;
    }
    Some(facts)
}

/// The key that we make, or made.
fn own(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    seen: &RegionSeen,
    memory: &RegionMemory,
    cloud: bool,
) -> Option<KeyFacts> {
    match &memory.key {
        Some(_) if creation::takes_up(draft, key, region, seen, memory) => None,
        Some(arn) => recorded(draft, key, region, arn, seen),
        None => creation::plan(draft, key, region, seen, memory, cloud),
    }
}

/// The key that status names. It is never replaced.
fn recorded(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    arn: &KeyArn,
    seen: &RegionSeen,
) -> Option<KeyFacts> {
    let condition = ConditionType::KeysReady;
    let facts = match &seen.by_arn {
        Reading::Present(facts) => facts.clone(),
        Reading::Absent if replica::lost(draft, key, region, arn) => return None,
        Reading::Absent => return missing(draft, region, arn),
        Reading::Unknown(_) => return not_seen(draft, region, &seen.by_arn),
    };
    let foreign = |tags| of_another(key, tags) || (seen.by_alias.is_absent() && !owned(key, tags));
    if seen.tags.present().is_some_and(foreign) {
        // Status alone proves nothing: what it names may have been adopted once, or put there by somebody.
        let message = format!("Key {arn}, which status names, does not carry the tags of this object.");
        let fix = "if it was adopted, name it in keyArn; if this object made it, have its owner tags put back.";
        draft.stuck(condition, Some(region), Reason::OwnedByAnother, message, fix);
        return None;
    }
    match &seen.by_alias {
        Reading::Present(other) if other.arn != *arn => {
            alias_taken(draft, key, region, other);
            None
        }
        Reading::Unknown(_) => not_seen(draft, region, &seen.by_alias),
        Reading::Present(_) | Reading::Absent => Some(facts),
    }
}

/// A key that was known is not there. One look proves nothing: reads may lag behind the creation.
fn missing(draft: &mut Draft<'_>, region: &Region, arn: &KeyArn) -> Option<KeyFacts> {
    let condition = ConditionType::KeysReady;
    if draft.look(region, &("gone", arn)) < draft.pass.settings.gate_looks {
        let message = format!("AWS does not show {arn}; the operator looks again.");
        draft.working(condition, Some(region), Reason::KeyStateSettling, message);
        let spacing = draft.pass.settings.gate_spacing;
        draft.wait(spacing);
    } else {
        let message = format!("Key {arn} no longer exists. What was encrypted with it cannot be read any more.");
        draft.stuck(condition, Some(region), Reason::KeyGone, message, "see docs/deletion.md, \"the key is gone\".");
    }
    None
}

/// The tags that a key of ours has to carry; the nonce is set once and never compared.
pub(super) fn wished_tags(draft: &Draft<'_>, key: &DesiredKey) -> BTreeMap<String, String> {
    let mut tags = key.tags.clone();
    tags.extend(key.owner.tags().map(|(k, v)| (k.to_owned(), v.to_owned())));
    if !draft.pass.settings.holder.is_empty() {
        tags.insert(tag::HOLDER.to_owned(), draft.pass.settings.holder.clone());
    }
    tags
}

/// Whether tags prove that a key is this object's.
pub(super) fn owned(key: &DesiredKey, tags: &BTreeMap<String, String>) -> bool {
    key.owner.tags().iter().all(|(k, v)| tags.get(*k).is_some_and(|value| value == v))
}

/// Whether tags name another owner.
pub(super) fn of_another(key: &DesiredKey, tags: &BTreeMap<String, String>) -> bool {
    key.owner.tags().iter().any(|(k, v)| tags.get(*k).is_some_and(|value| value != v))
}

/// Whether another cluster with the same installation holds the key. Nothing is written to it then.
pub(super) fn held_elsewhere(draft: &mut Draft<'_>, region: &Region, seen: &RegionSeen) -> bool {
    let holder = seen.tags.present().and_then(|tags| tags.get(tag::HOLDER)).cloned();
    elsewhere(draft, region, holder.as_ref())
}

/// Says so where another cluster holds a key.
pub(super) fn elsewhere(draft: &mut Draft<'_>, region: &Region, holder: Option<&String>) -> bool {
    let settings = &draft.pass.settings;
    let Some(holder) = holder.filter(|holder| settings.is_held_elsewhere(Some(holder))) else { return false };
    let message = format!("The key is held by the cluster whose kube-system namespace has the uid {holder}.");
    let fix = format!("if that cluster is gone, run the operator with --take-over-from {holder}.");
    draft.stuck(ConditionType::KeysReady, Some(region), Reason::HeldByAnotherCluster, message, &fix);
    true
}

pub(super) fn alias_taken(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, other: &KeyFacts) {
    let alias = key.owner.alias();
    let message = format!("The alias {alias} points at {}, which is not this object's key.", other.arn);
    let fix =
        format!("find out who moved it; then delete the alias {alias} in {region}, and the operator puts it back.");
    draft.stuck(ConditionType::KeysReady, Some(region), Reason::AliasTaken, message, &fix);
}

/// Says why something could not be seen.
pub(super) fn not_seen<T>(draft: &mut Draft<'_>, region: &Region, reading: &Reading<T>) -> Option<KeyFacts> {
    match reading.fault() {
        Some(fault) => {
            let fault = fault.clone();
            draft.fault(ConditionType::KeysReady, Some(region), &fault);
        }
        None => draft.blocked(&[ConditionType::KeysReady], Some(region), Reason::NotLookedYet, "Not looked at yet."),
    }
    None
}

fn report_key(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, facts: &KeyFacts, seen: &RegionSeen) {
    // One that is named beside the key, claimed by the alias, or was registered once is no remainder of a lost reply.
    let named = |arn: &KeyArn| key.regions.get(region).is_some_and(|wish| wish.previous.contains(arn));
    let claimed = |arn: &KeyArn| seen.by_alias.present().is_some_and(|alias| alias.arn == *arn);
    let ends_at = |arn: &KeyArn| seen.facts_of(arn).present().and_then(|facts| facts.deletion_at);
    let is_surplus = |c: &&Candidate| c.arn != facts.arn && !c.registered && !named(&c.arn) && !claimed(&c.arn);
    let surplus = seen
        .candidates
        .present()
        .map(|all| all.iter().filter(is_surplus).map(|c| (c.arn.clone(), ends_at(&c.arn))).collect())
        .or_else(|| seen.candidates.is_absent().then(Vec::new));
    let report = draft.report(region);
    report.key = Some(facts.arn.clone());
    report.key_state = Some(facts.state.as_str().to_owned());
    report.alias = seen.by_alias.present().is_some_and(|a| a.arn == facts.arn).then(|| key.owner.alias());
    report.rotation = seen.rotation.present().copied();
    report.deletion_at = facts.deletion_at;
    report.surplus = surplus;
    report.registered_at = seen.tags.present().and_then(|tags| tags.get(tag::REGISTERED_AT)).cloned();
}

/// What makes a key one of another kind than is wanted; none of it can be changed.
pub(super) fn wrong_kind(key: &DesiredKey, region: &Region, facts: &KeyFacts) -> Option<String> {
    let KeyFacts { arn, symmetric, kms_origin, customer_managed, multi_region, .. } = facts;
    let mut differs = Vec::new();
    if arn.region() != region {
        differs.push(format!("it lies in {}, not in {region}", arn.region()));
    }
    if !symmetric {
        differs.push("it is not a symmetric key for encryption".to_owned());
    }
    if !kms_origin {
        differs.push("its key material was not made by KMS, but imported or kept in another key store".to_owned());
    }
    if !customer_managed {
        differs.push("AWS manages it, not the customer".to_owned());
    }
    match (multi_region, &key.multi_region) {
        (true, None) => differs.push("it is multi-Region, and the spec asks for a single-Region key".to_owned()),
        (false, Some(_)) => differs.push("it is single-Region, and spec.key.multiRegion asks for another".to_owned()),
        (true, Some(_)) | (false, None) => {}
    }
    if differs.is_empty() { None } else { Some(differs.join("; ")) }
}

/// Whether the key is of the right kind and can be used now.
fn usable(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, wish: &DesiredRegion, facts: &KeyFacts) -> bool {
    let condition = ConditionType::KeysReady;
    let KeyFacts { arn, state, .. } = facts;
    if let Some(differs) = wrong_kind(key, region, facts).or_else(|| replica::unrelated(draft, key, region, facts)) {
        let fix = match &wish.key_arn {
            Some(_) => "name another key in keyArn.",
            None => "see who made that key, and why it carries this object's tags or alias.",
        };
        draft.stuck(
            condition,
            Some(region),
            Reason::KeyWrongKind,
            format!("Key {arn} cannot be used: {differs}."),
            fix,
        );
        return false;
    }
    match state {
        KeyState::Enabled => return true,
        KeyState::Disabled => draft.stuck(
            condition,
            Some(region),
            Reason::KeyDisabled,
            format!("Key {arn} is disabled."),
            &format!("aws kms enable-key --region {region} --key-id {arn}"),
        ),
        KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => {
            let message = match facts.deletion_at {
                Some(at) => format!("Key {arn} will be deleted in {} days.", days_left(draft.now(), at)),
                None => replica::pending(facts),
            };
            let fix = format!(
                "aws kms cancel-key-deletion --region {region} --key-id {arn}; then aws kms enable-key --region {region} --key-id {arn}"
            );
            draft.stuck(condition, Some(region), Reason::KeyPendingDeletion, message, &fix);
        }
        KeyState::Creating | KeyState::Updating => {
            draft.working(
                condition,
                Some(region),
                Reason::KeyStateSettling,
                format!("Key {arn} is {}.", state.as_str()),
            );
            draft.poll();
        }
        KeyState::PendingImport | KeyState::Unavailable => draft.stuck(
            condition,
            Some(region),
            Reason::KeyUnavailable,
            format!("Key {arn} is {}.", state.as_str()),
            "see the key in the AWS console.",
        ),
    }
    false
}

fn days_left(now: Moment, at: Moment) -> i64 {
    at.since(now).as_seconds() / 86_400
}

/// Alias, description, rotation and tags of a key of ours.
fn attributes(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, facts: &KeyFacts, seen: &RegionSeen) {
    let mut differs: Vec<&str> = Vec::new();
    if seen.by_alias.is_absent() {
        let message = format!("The alias {} is missing and is put back.", key.owner.alias());
        draft.healing(ConditionType::KeysReady, region, Reason::HealingKey, message);
        draft.repeatable(Step::CreateAlias {
            region: region.clone(),
            alias: key.owner.alias(),
            key: KeyRef::Arn(facts.arn.clone()),
        });
    }
    if facts.description != key.description {
        differs.push("description");
        draft.repeatable(Step::UpdateDescription {
            region: region.clone(),
            key: facts.arn.clone(),
            description: key.description.clone(),
        });
    }
    match (&seen.rotation, key.rotation_days) {
        (Reading::Present(rotation), Some(days)) if replica::rotates(facts) && rotation.period_days != Some(days) => {
            differs.push("rotation");
            draft.repeatable(Step::EnableRotation {
                region: region.clone(),
                key: facts.arn.clone(),
                period_days: days,
            });
        }
        (reading, Some(_)) if reading.present().is_none() => {
            not_seen(draft, region, reading);
        }
        _ => {}
    }
    match &seen.tags {
        Reading::Present(tags) => {
            let wished = wished_tags(draft, key).into_iter().chain(restore::done(tags));
            let missing: BTreeMap<String, String> = wished.filter(|(k, v)| tags.get(k) != Some(v)).collect();
            if !missing.is_empty() {
                differs.push("tags");
                draft.repeatable(Step::Tag { region: region.clone(), key: facts.arn.clone(), tags: missing });
            }
        }
        reading => {
            not_seen(draft, region, reading);
        }
    }
    if !differs.is_empty() {
        let message = format!("The key's {} differ from what is declared and are being set.", differs.join(", "));
        draft.healing(ConditionType::KeysReady, region, Reason::HealingKey, message);
    }
}

/// Whether the cloud offers the region, where it was asked.
pub(super) fn locked(seen: &RegionSeen) -> Option<&str> {
    match seen.offer.present() {
        Some(RegionOffer::Locked(words)) => Some(words),
        Some(RegionOffer::Open) | None => None,
    }
}
