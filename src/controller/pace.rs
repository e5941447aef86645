//! What the pace of looks and retries of an object depends on.

use crate::controller::context::ObjectName;
use crate::domain::condition::Reason;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::observed::{Depth, Observed};
use crate::plan::Plan;
use crate::plan::finding::Finding;
use crate::plan::step::Step;

/// The class of a fault as pauses are chosen by it: what the plan has given up to come by itself waits for a human.
pub(super) fn lasting(plan: &Plan, step: &Step, fault: &Fault) -> FaultClass {
    let given_up = |f: &Finding| f.reason == Reason::PrincipalMissing && f.region.as_ref() == step.region();
    if fault.class == FaultClass::Settling && plan.findings.iter().any(given_up) {
        return FaultClass::Refused;
    }
    fault.class
}

/// A fraction that is the same for the same object, so that looks at many objects spread evenly.
pub(super) fn jitter(name: &ObjectName) -> f64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let thousandths = u16::try_from(hasher.finish() % 1000).unwrap_or_default();
    f64::from(thousandths) / 1000.0
}

/// How many outside calls a pass made at least, for the budget of an object in a lasting error.
pub(super) fn observed_calls(observed: &Observed) -> u32 {
    let per_region = match observed.depth {
        Depth::State => 1,
        Depth::Policy => 2,
        Depth::Everything => 7,
    };
    2 + per_region * u32::try_from(observed.regions.len()).unwrap_or(u32::MAX)
}
