//! Time in the imagined world, and that nobody else acts in it.

use super::Imagined;
use crate::clock::Clock;
use crate::domain::moment::Moment;
use crate::ports::Authority;

impl Clock for Imagined {
    fn now(&self) -> Moment {
        self.lock().now
    }

    fn monotonic_ms(&self) -> i64 {
        self.lock().now.0
    }
}

impl Authority for Imagined {
    fn may_act(&self) -> bool {
        true
    }
}
