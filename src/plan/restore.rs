//! What this operator scheduled for deletion, it takes back when the object is applied again.
//!
//! # Guarantees
//! A deletion is taken back only if the operator itself scheduled it, which the tag `cmk-operator.io/deletion-by` on the
//! key says: it is set right before, and emptied as soon as the key is seen enabled. What anybody else scheduled or
//! disabled is reported, never undone.

use std::collections::BTreeMap;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::DesiredKey;
use crate::domain::id::{Region, tag};
use crate::domain::observed::{KeyFacts, KeyState, RegionSeen};

use super::draft::Draft;
use super::key;
use super::step::Step;

/// Plans the restoration of a region's key, where there is one to restore. Whether there is.
pub(super) fn plan(
    draft: &mut Draft<'_>,
    desired: &DesiredKey,
    region: &Region,
    facts: &KeyFacts,
    seen: &RegionSeen,
) -> bool {
    let adopted = desired.regions.get(region).is_none_or(|wish| wish.key_arn.is_some());
    let Some(tags) = seen.tags.present().filter(|tags| !adopted && scheduled_by_us(tags)) else { return false };
    let touchable = key::owned(desired, tags)
        && !tags.contains_key(tag::HOLD)
        && !draft.pass.settings.is_held_elsewhere(tags.get(tag::HOLDER));
    let pending = facts.state.is_ending();
    if !touchable || !(pending || facts.state == KeyState::Disabled) {
        return false;
    }
    let arn = &facts.arn;
    let message = format!("The deletion of key {arn}, which the operator had scheduled, is being taken back.");
    draft.working(ConditionType::KeysReady, Some(region), Reason::KeyRestoring, message);
    // A look that still shows it pending, although that was taken back a moment ago, is waited out.
    let cancelled = !pending || draft.repeatable(Step::CancelDeletion { region: region.clone(), key: arn.clone() });
    if cancelled {
        draft.repeatable(Step::EnableKey { region: region.clone(), key: arn.clone() });
    }
    draft.poll();
    true
}

fn scheduled_by_us(tags: &BTreeMap<String, String>) -> bool {
    tags.get(tag::DELETION_BY).is_some_and(|by| !by.is_empty())
}

/// The tag to set once a key is usable again.
pub(super) fn done(tags: &BTreeMap<String, String>) -> Option<(String, String)> {
    scheduled_by_us(tags).then(|| (tag::DELETION_BY.to_owned(), String::new()))
}
