//! The protecting devices, each of which can be taken out from outside, to see what it protects from.

use cmk_operator::domain::desired::Desired;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::observed::Observed;

use super::act::Who;

/// The devices. By default everything is as the operator has it.
pub(crate) trait Devices: Send + Sync {
    /// Changes what a pass remembers, and what it reads of the objects.
    fn read(&self, _desired: &mut Desired, _memory: &mut Memory) {}

    /// Changes what the planner alone reads of the objects: the safety check still reads the truth.
    fn planner(&self, _desired: &Desired) -> Option<Desired> {
        None
    }

    /// Whether a read that failed is taken for "there is none".
    fn failed_read_is_absence(&self) -> bool {
        false
    }

    /// Whether aliases are neither read nor made.
    fn ignores_alias(&self) -> bool {
        false
    }

    /// Changes what a pass saw.
    fn observed(&self, _who: Who, _observed: &mut Observed) {}

    /// Whether a cluster's pass does with what an earlier pass saw of the keys.
    fn reuses_observation(&self) -> bool {
        false
    }
}

/// Every device is in place.
pub(crate) struct AllThere;

impl Devices for AllThere {}
