//! Multi-Region keys: the replicas of the primary, and what is different about keys that have relatives.
//!
//! # Protocol
//! The primary is made by the protocol of [`creation`](super::creation), once, in the region that the spec names, and only
//! where no other region shows a key of the object. Every other region gets a replica by `ReplicateKey`, which needs no
//! intent: there can be one related key in a region, its ARN is known before, and a second call is refused
//! (<https://docs.aws.amazon.com/kms/latest/APIReference/API_ReplicateKey.html>). Then it is claimed and recorded as any
//! other key. Replication copies neither policy nor tags nor aliases: each region's are kept as declared by the same
//! steps as those of a single-Region key.
//!
//! Which key is the primary is read, never remembered and never changed: one that somebody moved is followed.

use std::collections::BTreeMap;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{DesiredKey, NewKey};
use crate::domain::family::{Role, related};
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::observed::{KeyFacts, KeyState, RegionSeen};
use crate::domain::reading::Reading;

use super::draft::Draft;
use super::step::{KeyRef, Step};
use super::{gate, key as keys, policy, registration};

const CONDITION: ConditionType = ConditionType::KeysReady;

/// Plans a region without a recorded key whose alias does not exist, if it is to have a replica. Whether it is; if not, a
/// key may be created there.
pub(super) fn plan(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, seen: &RegionSeen, cloud: bool) -> bool {
    let Some(home) = &key.multi_region else { return false };
    match related(key, draft.memory, region) {
        Some(arn) => {
            match &seen.by_arn {
                Reading::Present(facts) => existing(draft, key, region, seen, facts),
                Reading::Absent => make(draft, key, region, &arn, seen, cloud),
                Reading::Unknown(_) => {
                    keys::not_seen(draft, region, &seen.by_arn);
                }
            }
            true
        }
        None if region != home => {
            let home_seen = draft.seen(home);
            if home_seen.by_alias.is_absent() && is_empty(&home_seen) && !is_empty(seen) {
                // The primary was moved, or went; what is left is found here.
                let searched = seen.candidates.present().is_some();
                if !searched {
                    keys::not_seen(draft, region, &seen.candidates);
                }
                return !searched;
            }
            let message = format!("Waits for the primary key in {home}, of which this region gets a replica.");
            draft.working(CONDITION, Some(region), Reason::CreatingKey, message);
            true
        }
        None => false,
    }
}

/// Whether another region has a key of the object, or may have: then the primary's region gets no other one.
pub(super) fn has_relatives(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region) -> bool {
    for other in key.regions.keys().filter(|other| *other != region) {
        let seen = draft.seen(other);
        let theirs = seen.tags.present().is_some_and(|tags| !keys::owned(key, tags));
        let none = (seen.by_alias.is_absent() || (seen.by_alias.present().is_some() && theirs)) && is_empty(&seen);
        if !none {
            let message = format!("Waits until it is known that {other} has no key of this object yet.");
            draft.working(CONDITION, Some(region), Reason::CreatingKey, message);
            draft.poll();
            return true;
        }
    }
    false
}

fn is_empty(seen: &RegionSeen) -> bool {
    seen.candidates.is_absent() || seen.candidates.present().is_some_and(Vec::is_empty)
}

/// Whether a key that was found under the alias can be the region's, as one of the family. If not, it says why.
pub(super) fn may_be_claimed(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, facts: &KeyFacts) -> bool {
    let Some(home) = key.multi_region.as_ref() else { return true };
    if let Some(differs) = unrelated(draft, key, region, facts) {
        let message = format!("Key {} cannot be used: {differs}.", facts.arn);
        let fix = "see who made that key, and why it carries this object's tags or alias.";
        draft.stuck(CONDITION, Some(region), Reason::KeyWrongKind, message, fix);
        return false;
    }
    let of_home = draft.seen(home);
    let same = of_home.by_alias.present().is_some_and(|primary| primary.arn.key_id() == facts.arn.key_id());
    let known = related(key, draft.memory, region).is_some() || region == home;
    if known || same || (of_home.by_alias.is_absent() && is_empty(&of_home)) {
        return true;
    }
    let message = format!("Found {}; it is recorded after the key in {home}.", facts.arn);
    draft.working(CONDITION, Some(region), Reason::CreatingKey, message);
    draft.poll();
    false
}

/// What makes a key none of the object's multi-Region key.
pub(super) fn unrelated(draft: &Draft<'_>, key: &DesiredKey, region: &Region, facts: &KeyFacts) -> Option<String> {
    let expected = related(key, draft.memory, region)?;
    let is_member = expected == facts.arn;
    (!is_member).then(|| format!("it is not {expected}, the one that is related to the object's multi-Region key"))
}

/// A related key is there already, and nothing claims it.
fn existing(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, seen: &RegionSeen, facts: &KeyFacts) {
    let Some(tags) = seen.tags.present() else {
        keys::not_seen(draft, region, &seen.tags);
        return;
    };
    let arn = &facts.arn;
    if !keys::owned(key, tags) {
        let message =
            format!("There is a related key {arn} in this region that does not carry the tags of this object.");
        let tags = key.owner.tags().map(|(name, value)| format!("TagKey={name},TagValue={value}")).join(" ");
        let fix = format!(
            "to let the object have it as its own, an administrator runs: aws kms tag-resource --region {region} --key-id {arn} --tags {tags}; to let the object use it and no more, name it in keyArn."
        );
        draft.stuck(CONDITION, Some(region), Reason::OwnedByAnother, message, &fix);
        return;
    }
    if keys::held_elsewhere(draft, region, seen) {
        return;
    }
    let message = format!("Found the related key {arn} with the tags of this object; claiming it.");
    draft.working(CONDITION, Some(region), Reason::CreatingKey, message);
    let (region, claimed) = (region.clone(), KeyRef::Arn(arn.clone()));
    // A key that is pending deletion takes no alias; whether that is taken back is decided once it is recorded.
    if !facts.state.is_ending() {
        let alias = key.owner.alias();
        draft.step(Step::CreateAlias { region: region.clone(), alias, key: claimed.clone() });
    }
    draft.step(Step::RecordKey { region, key: claimed });
}

/// The recorded key of a region is not there, which for a replica is no loss: plans to make it again, with the same ARN and
/// key material, once that was seen often enough. Whether there is nothing else to say.
pub(super) fn lost(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, arn: &KeyArn) -> bool {
    let declared = key.multi_region.is_some() && key.regions.contains_key(region);
    let enough = draft.pass.settings.gate_looks;
    if !declared || draft.look(region, &("gone", arn)) < enough {
        return false;
    }
    let others = draft.memory.regions.iter().filter(|(other, memory)| *other != region && memory.key.is_some());
    let some_left = others.into_iter().any(|(other, _)| !draft.seen(other).by_arn.is_absent());
    if some_left {
        let seen = draft.seen(region);
        make(draft, key, region, arn, &seen, true);
    }
    some_left
}

fn make(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, arn: &KeyArn, seen: &RegionSeen, cloud: bool) {
    if !cloud {
        let message = "No replica is made before the cloud's credentials work.".to_owned();
        draft.working(CONDITION, Some(region), Reason::KeyNotReady, message);
        return;
    }
    let registered = seen.registration.present() == Some(&arn.to_string());
    if !registered && registration::obstructed(draft, region, seen) {
        let reason = draft.gravest(Some(region)).unwrap_or(Reason::RegistrationConflict);
        draft.blocked(&[CONDITION], Some(region), reason, "No replica is made that could not be registered.");
        return;
    }
    let primary = match source(draft, key, arn) {
        Ok(primary) => primary,
        Err(message) => {
            draft.working(CONDITION, Some(region), Reason::KeyNotReady, message);
            draft.poll();
            return;
        }
    };
    let policy = match policy::initial(draft, key, region) {
        Ok(policy) => policy,
        Err(problem) => {
            draft.stuck(CONDITION, Some(region), problem.reason, problem.message, &problem.fix);
            return;
        }
    };
    let mut tags = keys::wished_tags(draft, key);
    tags.insert(tag::NONCE.to_owned(), draft.pass.nonce.clone());
    let new = NewKey { description: key.description.clone(), tags, policy, multi_region: true };
    let message = format!("A replica of {primary} is being made.");
    draft.working(CONDITION, Some(region), Reason::CreatingKey, message);
    let not_after = draft.now() + draft.pass.settings.look_valid;
    let step = Step::ReplicateKey { region: region.clone(), primary, key: new, not_after };
    // What was made a moment ago may not be visible yet.
    if draft.repeatable(step) {
        let (region, made) = (region.clone(), KeyRef::CreatedInThisPass);
        draft.step(Step::CreateAlias { region: region.clone(), alias: key.owner.alias(), key: made.clone() });
        if draft.remembered(&region).key.is_none() {
            draft.step(Step::RecordKey { region, key: made });
        }
    }
}

/// The primary of a family, if a replica of it can be made now; if not, what that waits for.
fn source(draft: &Draft<'_>, key: &DesiredKey, related: &KeyArn) -> Result<KeyArn, String> {
    let primaries: BTreeMap<_, _> = members(draft, related)
        .filter(|(facts, _)| facts.family.as_ref().is_some_and(|family| family.primary == facts.arn))
        .map(|(facts, tags)| (&facts.arn, (facts, tags)))
        .collect();
    // After a move, members disagree for seconds.
    let mut all = primaries.into_values();
    let (Some((facts, tags)), None) = (all.next(), all.next()) else {
        return Err(format!("Waits until AWS shows one primary that is related to {related}."));
    };
    let (arn, state) = (&facts.arn, facts.state.as_str());
    if facts.state != KeyState::Enabled {
        return Err(format!("Waits for the primary key {arn}, which is {state}."));
    }
    let Some(tags) = tags.present() else {
        return Err(format!("Waits until the tags of the primary key {arn} are seen."));
    };
    let settings = &draft.pass.settings;
    let region = arn.region();
    let other =
        gate::other_holder(key, region, tags, &settings.holder).is_some_and(|h| settings.is_held_elsewhere(Some(h)));
    if tags.contains_key(tag::HOLD) || !gate::proven(key, region, tags) || other {
        return Err(format!("Waits until the primary key {arn} carries the tags by which the object may use it."));
    }
    let text = draft.seen(region).policy;
    if text.present().is_some_and(|text| !policy::lets_replicate(draft, key, region, text)) {
        return Err(format!("Waits until the policy of the primary key {arn} lets the operator make replicas of it."));
    }
    Ok(arn.clone())
}

/// Every member of a family that this pass saw, with its tags.
fn members<'d>(
    draft: &Draft<'d>,
    related: &KeyArn,
) -> impl Iterator<Item = (&'d KeyFacts, Reading<&'d BTreeMap<String, String>>)> {
    let observed = draft.observed;
    let here = observed.regions.values().flat_map(|seen| {
        [&seen.by_arn, &seen.by_alias]
            .into_iter()
            .filter_map(|r| r.present())
            .map(|facts| (facts, seen.tags_of(&facts.arn)))
    });
    let there = observed.elsewhere.values().filter_map(|other| Some((other.facts.present()?, other.tags.as_ref())));
    here.chain(there).filter(move |(facts, _)| facts.arn.key_id() == related.key_id())
}

/// Shows what the region's key is in its family, and says so where the primary is not in the region that the spec names.
pub(super) fn show(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, facts: &KeyFacts) {
    let role = facts.family.as_ref().map(|family| family.role_of(&facts.arn));
    draft.report(region).role = role;
    let home = key.multi_region.as_ref().filter(|home| *home != region && role == Some(Role::Primary));
    if let Some(home) = home {
        let message = format!(
            "The primary of this multi-Region key is {}: somebody moved it there from {home}, and the operator follows.",
            facts.arn
        );
        draft.remark(CONDITION, Reason::KeysEnabled, message, "");
    }
}

/// Whether rotation is set on this key: of a family, on the primary alone.
pub(super) fn rotates(facts: &KeyFacts) -> bool {
    facts.family.as_ref().is_none_or(|family| family.role_of(&facts.arn) == Role::Primary)
}

/// What a key without a date waits for before it is deleted.
pub(super) fn pending(facts: &KeyFacts) -> String {
    let arn = &facts.arn;
    match (&facts.family, facts.state) {
        (Some(family), KeyState::PendingReplicaDeletion) => {
            let after = facts.window_days.map(|days| format!("{days} days ")).unwrap_or_default();
            let replicas: Vec<String> = family.replicas.iter().map(ToString::to_string).collect();
            format!("Key {arn} will be deleted {after}after the last of its replicas: {}.", replicas.join(", "))
        }
        _ => format!("Key {arn} is scheduled for deletion."),
    }
}
