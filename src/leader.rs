//! Who may act: leadership by a Lease.
//!
//! [`verdict`] decides, purely; [`Elector`] reads and writes the Lease; [`Leadership`] is what the rest of the
//! process asks, right before each effect.
//!
//! # Guarantees
//!
//! - No effect starts later than `act_within` after the last successful renewal, counted from *before* that renewal
//!   was sent, on a clock that runs through suspension.
//! - A lease that somebody holds is taken only after it has been seen unchanged for `act_within` on our own clock.
//!   Its holder may act no more by then, however wrong the wall clocks are; the expiry by wall clock, which is
//!   waited for as well, is only politeness towards a holder in trouble.
//! - Writes carry the resourceVersion that was read. 409 means that the race is lost, as does `AlreadyExists`.
//! - A graceful stop gives the lease back, so that the next process starts at once.
//!
//! # Assumptions
//!
//! - Every process has an identity of its own, a restarted container too (a random part does it).
//! - All processes run with the same [`Terms`], and their clocks tick at the same rate.
//!
//! # Caveats
//!
//! - An effect that is past its check when the process freezes is sent after the thaw. Nothing on this side can
//!   prevent that; it is why a created key is found again and never used before it is recorded.

mod elector;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::sync::watch;

pub use self::elector::{Elector, Ended};
use crate::clock::Clock;
use crate::domain::moment::Moment;

/// The times of the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a lease is respected after its last renewal.
    pub lease: Duration,
    /// How often it is renewed.
    pub renew_every: Duration,
    /// How long after its last renewal the holder may start effects.
    pub act_within: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            lease: Duration::from_mins(1),
            renew_every: Duration::from_secs(10),
            act_within: Duration::from_secs(20),
        }
    }
}

impl Terms {
    /// Whether the times are in the only order that makes sense.
    pub fn are_sound(&self) -> bool {
        self.renew_every < self.act_within && self.act_within < self.lease && !self.renew_every.is_zero()
    }

    /// Between two looks at somebody else's lease, and between two tries after a failure.
    fn retry_every(&self) -> Duration {
        self.renew_every / 5
    }
}

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is ours: renew it.
    Hold,
    /// Nobody holds it any more: take it.
    Take,
    /// Somebody else holds it, at least until then.
    Yield(Moment),
}

/// Decides about a lease as read at `now`; `unchanged_for` is how long we have seen this very version, by our own clock.
pub fn verdict(lease: &LeaseSpec, me: &str, now: Moment, unchanged_for: Duration, terms: &Terms) -> Verdict {
    match lease.holder_identity.as_deref() {
        None | Some("") => return Verdict::Take,
        Some(holder) if holder == me => return Verdict::Hold,
        Some(_) => {}
    }
    // The holder's own duration counts: it may have been configured differently before an upgrade.
    let lasts = lease.lease_duration_seconds.map_or(millis(terms.lease), |s| i64::from(s).saturating_mul(1_000));
    let by_wall = lease.renew_time.as_ref().map_or(now.0, |MicroTime(at)| at.as_millisecond().saturating_add(lasts));
    let by_watching = now.0.saturating_add(millis(terms.act_within.saturating_sub(unchanged_for)));
    let until = by_wall.max(by_watching);
    if until <= now.0 { Verdict::Take } else { Verdict::Yield(Moment(until)) }
}

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not elected, and not sure that anybody is.
    Waiting,
    /// Somebody else is elected, as was seen at the last look.
    StandingBy,
    /// Elected; whether it may act right now is for [`Leadership::may_act`] to say.
    Leading,
    /// Was elected and is no more: for this process it is over.
    Lost,
}

/// What the rest of the process knows about the election. Cheap to ask from any thread.
pub struct Leadership {
    clock: Arc<dyn Clock>,
    /// Monotonic milliseconds; from then on nothing may be sent.
    act_until_ms: AtomicI64,
    standing: watch::Sender<Standing>,
}

impl Leadership {
    /// Leadership that has to be won by an [`Elector`].
    pub fn contested(clock: Arc<dyn Clock>) -> Self {
        Self::with(clock, i64::MIN, Standing::Waiting)
    }

    /// Leadership that nobody disputes (`--leader-election=false`).
    pub fn undisputed(clock: Arc<dyn Clock>) -> Self {
        Self::with(clock, i64::MAX, Standing::Leading)
    }

    fn with(clock: Arc<dyn Clock>, act_until_ms: i64, standing: Standing) -> Self {
        Self { clock, act_until_ms: AtomicI64::new(act_until_ms), standing: watch::Sender::new(standing) }
    }

    /// Whether an effect may be started right now. To be asked immediately before each send.
    pub fn may_act(&self) -> bool {
        // Acquire pairs with the store after a renewal; reading the clock comes second, so that a pause between
        // the two reads can only turn yes into no.
        let until = self.act_until_ms.load(Ordering::Acquire);
        self.clock.monotonic_ms() < until
    }

    /// Where the process stands.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Returns once the process stands there. Never returns if it was elsewhere for good.
    pub async fn reaches(&self, standing: Standing) {
        // An error means that the sender is gone, and that is `self`.
        let _ = self.standing.subscribe().wait_for(|now| *now == standing).await;
    }

    /// Returns once the process stands elsewhere than there, and where.
    pub async fn leaves(&self, standing: Standing) -> Standing {
        let mut watched = self.standing.subscribe();
        // As above.
        watched.wait_for(|now| *now != standing).await.map_or(standing, |now| *now)
    }

    /// What the last look at the lease of somebody else was worth.
    fn yields(&self, standing: Standing) {
        self.standing.send_if_modified(|now| std::mem::replace(now, standing) != standing);
    }

    fn renewed(&self, sent_ms: i64, act_within: Duration) {
        self.act_until_ms.store(sent_ms.saturating_add(millis(act_within)), Ordering::Release);
        self.standing.send_if_modified(|now| std::mem::replace(now, Standing::Leading) != Standing::Leading);
    }

    fn resign(&self, standing: Standing) {
        self.act_until_ms.store(i64::MIN, Ordering::Release);
        self.standing.send_replace(standing);
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
