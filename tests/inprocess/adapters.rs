//! The real adapters of the database clouds, on the simulated ones, with no network in between.

use std::sync::Arc;

use cmk_operator::adapters::upstream::{self, Carrier};
use cmk_operator::clock::Clock;
use cmk_operator::domain::moment::Moment;
use cmk_operator::sandbox::Clouds;

/// Adapters that have learnt nothing yet; what they send is carried to these clouds.
pub(crate) fn adapters(clouds: &Clouds) -> upstream::Clouds {
    let answers = clouds.clone();
    let carrier: Carrier = Arc::new(move |request| answers.carry(request));
    let clock: Arc<dyn Clock> = Arc::new(WorldClock(clouds.clone()));
    upstream::Clouds::carried(&carrier, &clock)
}

/// The time of the simulated world.
struct WorldClock(Clouds);

impl Clock for WorldClock {
    fn now(&self) -> Moment {
        Moment(self.0.world().now_ms())
    }

    fn monotonic_ms(&self) -> i64 {
        self.0.world().now_ms()
    }
}
