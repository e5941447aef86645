//! The key of a region, with everything that this pass knows of it.

use crate::domain::desired::DesiredKey;
use crate::domain::id::Region;
use crate::domain::memory::RegionMemory;
use crate::domain::observed::{KeyFacts, RegionSeen};

use super::policy;

/// A region's key, which was seen and is this object's to use.
#[derive(Clone, Copy)]
pub(super) struct RegionKey<'a> {
    /// What is declared.
    pub(super) desired: &'a DesiredKey,
    /// The region.
    pub(super) region: &'a Region,
    /// The key itself.
    pub(super) facts: &'a KeyFacts,
    /// What else was seen in the region.
    pub(super) seen: &'a RegionSeen,
    /// What is remembered of the region.
    pub(super) memory: &'a RegionMemory,
}

/// Everything that a registration or a gate rests on: equal looks are equal in all of this.
pub(super) fn gate_facts(facts: &KeyFacts, seen: &RegionSeen) -> impl std::hash::Hash + use<> {
    let policy = seen.policy.present().and_then(|text| policy::hash(text));
    let principals = seen.principals.present().cloned();
    let registration = (seen.registration.present().cloned(), seen.role.registration.present().cloned());
    (facts.arn.clone(), facts.state, policy, principals, registration)
}
