//! The object's own key again, after `keyArn` named another one for a while.
//!
//! Status then names the key that was adopted. The object's own one stands under its alias and carries its tags still, so it is
//! taken up again, unless the cloud has the adopted one registered for good.

use crate::domain::desired::DesiredKey;
use crate::domain::id::{KeyArn, Region, tag};
use crate::domain::memory::RegionMemory;
use crate::domain::observed::{KeyFacts, RegionSeen};

use super::key::owned;

/// The object's own key, where the recorded one was adopted and the spec names it no more.
pub(super) fn own_again<'s>(
    key: &DesiredKey,
    region: &Region,
    memory: &RegionMemory,
    seen: &'s RegionSeen,
) -> Option<&'s KeyFacts> {
    let recorded = memory.key.as_ref()?;
    let found = seen.by_alias.present().filter(|facts| facts.arn != *recorded)?;
    let tags = |arn: &KeyArn| seen.tags_of(arn).present().copied();
    let was_adopted = tags(recorded).is_some_and(|tags| tags.contains_key(tag::ADOPT_BY) && !owned(key, tags));
    let is_own = tags(&found.arn).is_some_and(|tags| owned(key, tags));
    let for_good = key.capabilities.registration_is_final && memory.registered.as_ref() == Some(&recorded.to_string());
    let named = key.regions.get(region).is_some_and(|wish| wish.key_arn.is_some());
    (was_adopted && is_own && !for_good && !named).then_some(found)
}
