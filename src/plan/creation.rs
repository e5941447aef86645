//! The creation of a region's key: at most one under the identity's alias.
//!
//! # Protocol
//! A durable intent with a nonce; a search by alias and by tag; `CreateKey`; `CreateAlias` as the claim, since an alias is
//! the only thing of which KMS admits one; the record of the ARN. KMS has no client token for `CreateKey`
//! (<https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html>), so an outcome that is not known is waited
//! for and searched for before there is another attempt, under another intent. Keys that lose are reported, never used.

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{DesiredKey, NewKey};
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::{KeyIntent, RegionMemory};
use crate::domain::observed::{Candidate, KeyFacts, RegionSeen};
use crate::domain::reading::Reading;

use super::attempt::Attempt;
use super::draft::Draft;
use super::own_again::own_again;
use super::step::{KeyRef, Step};
use super::{key, policy, registration, replica};

const UNDER_THE_ALIAS: &str = "under the alias of this object";

/// No key is recorded yet: find it, or create it.
pub(super) fn plan(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    seen: &RegionSeen,
    memory: &RegionMemory,
    cloud: bool,
) -> Option<KeyFacts> {
    match &seen.by_alias {
        Reading::Present(facts) => {
            let Some(tags) = seen.tags.present() else {
                return key::not_seen(draft, region, &seen.tags);
            };
            if !key::owned(key, tags) {
                key::alias_taken(draft, key, region, facts);
            } else if replica::may_be_claimed(draft, key, region, facts) && !key::held_elsewhere(draft, region, seen) {
                record(draft, region, &facts.arn, UNDER_THE_ALIAS);
            }
            return None;
        }
        Reading::Unknown(_) => return key::not_seen(draft, region, &seen.by_alias),
        Reading::Absent => {}
    }
    if replica::plan(draft, key, region, seen, cloud) {
        return None;
    }
    let Some(candidates) = seen.candidates.present() else {
        if seen.candidates.is_absent() {
            create_or_wait(draft, key, region, seen, memory, cloud);
            return None;
        }
        return key::not_seen(draft, region, &seen.candidates);
    };
    match canonical(candidates, memory.creating.as_ref(), |arn| is_ending(seen, arn)) {
        Some(candidate) if key::elsewhere(draft, region, candidate.holder.as_ref()) => {}
        Some(candidate) => claim(draft, key, region, seen, &candidate.arn),
        None => create_or_wait(draft, key, region, seen, memory, cloud),
    }
    None
}

/// Which of several keys with our tags becomes the one: that of the open intent, else the first by ARN of those that are not
/// pending deletion, so that every replica and every restart chooses the same.
fn canonical<'c>(
    candidates: &'c [Candidate],
    intent: Option<&KeyIntent>,
    is_ending: impl Fn(&KeyArn) -> bool,
) -> Option<&'c Candidate> {
    let of_intent = candidates.iter().find(|c| intent.is_some_and(|i| c.nonce.as_deref() == Some(i.nonce.as_str())));
    of_intent.or_else(|| candidates.iter().min_by_key(|candidate| (is_ending(&candidate.arn), *candidate)))
}

/// Whether a key was seen to be pending deletion.
fn is_ending(seen: &RegionSeen, arn: &KeyArn) -> bool {
    seen.facts_of(arn).present().is_some_and(|facts| facts.state.is_ending())
}

fn claim(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, seen: &RegionSeen, arn: &KeyArn) {
    if is_ending(seen, arn) {
        // It takes no alias now. Once it is recorded, its deletion is taken back or said, and no other key is made.
        record(draft, region, arn, "with the tags of this object, pending deletion");
        return;
    }
    let message = format!("Found {arn} with the tags of this object; claiming it by the alias {}.", key.owner.alias());
    draft.working(ConditionType::KeysReady, Some(region), Reason::CreatingKey, message);
    draft.step(Step::CreateAlias { region: region.clone(), alias: key.owner.alias(), key: KeyRef::Arn(arn.clone()) });
    draft.step(Step::RecordKey { region: region.clone(), key: KeyRef::Arn(arn.clone()) });
}

/// Records the object's own key in place of one that was adopted for a while. Whether there is one.
pub(super) fn takes_up(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    seen: &RegionSeen,
    memory: &RegionMemory,
) -> bool {
    let Some(KeyFacts { arn, .. }) = own_again(key, region, memory, seen) else { return false };
    let holder = seen.tags_of(arn).present().and_then(|tags| tags.get(tag::HOLDER)).cloned();
    if !key::elsewhere(draft, region, holder.as_ref()) {
        draft.report(region).key = Some(arn.clone());
        record(draft, region, arn, UNDER_THE_ALIAS);
    }
    true
}

fn record(draft: &mut Draft<'_>, region: &Region, arn: &KeyArn, found: &str) {
    let message = format!("Found {arn} {found}; recording it.");
    draft.working(ConditionType::KeysReady, Some(region), Reason::CreatingKey, message);
    draft.step(Step::RecordKey { region: region.clone(), key: KeyRef::Arn(arn.clone()) });
}

/// Neither alias nor tags show a key.
fn create_or_wait(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    seen: &RegionSeen,
    memory: &RegionMemory,
    cloud: bool,
) {
    let condition = ConditionType::KeysReady;
    if let Some(intent) = &memory.creating {
        let settles_in = draft.pass.settings.create_settle;
        let attempt = Attempt { what: "the CreateKey", began: intent.started_at, settles_in, searched: seen.scanned };
        if draft.awaits(&attempt, condition, region, Reason::CreateUncertain) {
            return;
        }
    }
    if !cloud {
        draft.working(
            condition,
            Some(region),
            Reason::KeyNotReady,
            "No key is created before the cloud's credentials work.".to_owned(),
        );
        return;
    }
    if key.multi_region.is_some() && replica::has_relatives(draft, key, region) {
        return;
    }
    if registration::obstructed(draft, region, seen) {
        let reason = draft.gravest(Some(region)).unwrap_or(Reason::RegistrationConflict);
        draft.blocked(&[condition], Some(region), reason, "No key is created that could not be registered.");
        return;
    }
    create(draft, key, region);
}

fn create(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region) {
    let condition = ConditionType::KeysReady;
    let policy = match policy::initial(draft, key, region) {
        Ok(policy) => policy,
        Err(problem) => {
            draft.stuck(condition, Some(region), problem.reason, problem.message, &problem.fix);
            return;
        }
    };
    let now = draft.now();
    let nonce = draft.pass.nonce.clone();
    let mut tags = key::wished_tags(draft, key);
    tags.insert(tag::NONCE.to_owned(), nonce.clone());
    let new = NewKey { description: key.description.clone(), tags, policy, multi_region: key.multi_region.is_some() };
    draft.working(condition, Some(region), Reason::CreatingKey, "The key is being created.".to_owned());
    draft.step(Step::RecordKeyIntent { region: region.clone(), intent: KeyIntent { nonce, started_at: now } });
    draft.step(Step::CreateKey { region: region.clone(), key: new, not_after: now + draft.pass.settings.look_valid });
    draft.step(Step::CreateAlias { region: region.clone(), alias: key.owner.alias(), key: KeyRef::CreatedInThisPass });
    draft.step(Step::RecordKey { region: region.clone(), key: KeyRef::CreatedInThisPass });
}
