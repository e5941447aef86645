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
//! - Writes carry the resourceVersion that was read. 409 means that the race is lost, as does AlreadyExists.
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

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;

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
            lease: Duration::from_secs(60),
            renew_every: Duration::from_secs(10),
            act_within: Duration::from_secs(20),
        }
    }
}

impl Terms {
    /// Whether the times are in the only order that makes sense.
    pub fn are_sound(&self) -> bool {
        self.renew_every < self.act_within
            && self.act_within < self.lease
            && !self.renew_every.is_zero()
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
pub fn verdict(
    lease: &LeaseSpec,
    me: &str,
    now: Moment,
    unchanged_for: Duration,
    terms: &Terms,
) -> Verdict {
    match lease.holder_identity.as_deref() {
        None | Some("") => return Verdict::Take,
        Some(holder) if holder == me => return Verdict::Hold,
        Some(_) => {}
    }
    // The holder's own duration counts: it may have been configured differently before an upgrade.
    let lasts = lease
        .lease_duration_seconds
        .map_or(millis(terms.lease), |s| i64::from(s).saturating_mul(1_000));
    let by_wall = lease.renew_time.as_ref().map_or(now.0, |MicroTime(at)| {
        at.as_millisecond().saturating_add(lasts)
    });
    let by_watching = now
        .0
        .saturating_add(millis(terms.act_within.saturating_sub(unchanged_for)));
    let until = by_wall.max(by_watching);
    if until <= now.0 {
        Verdict::Take
    } else {
        Verdict::Yield(Moment(until))
    }
}

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not elected yet.
    Waiting,
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
        Self {
            clock,
            act_until_ms: AtomicI64::new(act_until_ms),
            standing: watch::Sender::new(standing),
        }
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
        let _ = self
            .standing
            .subscribe()
            .wait_for(|now| *now == standing)
            .await;
    }

    fn renewed(&self, sent_ms: i64, act_within: Duration) {
        self.act_until_ms.store(
            sent_ms.saturating_add(millis(act_within)),
            Ordering::Release,
        );
        self.standing
            .send_if_modified(|now| std::mem::replace(now, Standing::Leading) != Standing::Leading);
    }

    fn resign(&self, standing: Standing) {
        self.act_until_ms.store(i64::MIN, Ordering::Release);
        self.standing.send_replace(standing);
    }
}

/// How an election ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Stopped on request; what was held has been given back, if the API server could be reached.
    Stopped,
    /// Leadership is lost: the process must exit, with an error.
    Lost,
}

/// Takes part in the election.
pub struct Elector {
    /// The Leases of the operator's own namespace.
    pub leases: Api<Lease>,
    /// The name of the Lease.
    pub name: String,
    /// Who we are; different for every process that ever runs.
    pub identity: String,
    /// The times.
    pub terms: Terms,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What the rest of the process asks.
    pub leadership: Arc<Leadership>,
}

/// The Lease as last seen.
struct Seen {
    lease: Lease,
    /// Monotonic milliseconds at which this version was first seen.
    since_ms: i64,
}

/// Where a held lease stands.
struct Held {
    lease: Lease,
    /// Monotonic milliseconds just before the last successful renewal was sent.
    renewed_ms: i64,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the Lease can't be read or written")]
    Api(#[from] kube::Error),
}

impl Elector {
    /// Waits, takes, renews; returns when `stop` does (after giving the lease back) or when leadership is lost.
    ///
    /// `stop` should end only after the last pass has: until then others must not start.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        tokio::pin!(stop);
        let mut held = tokio::select! {
            () = &mut stop => return Ended::Stopped,
            held = self.win() => held,
        };
        tracing::info!(lease = self.name, identity = self.identity, "leading");
        tokio::select! {
            () = &mut stop => {}
            () = self.keep(&mut held) => {
                self.leadership.resign(Standing::Lost);
                return Ended::Lost;
            }
        }
        self.release().await;
        Ended::Stopped
    }

    /// Looks at the lease until it could be taken.
    async fn win(&self) -> Held {
        let mut seen: Option<Seen> = None;
        loop {
            match self.try_to_win(&mut seen).await {
                Ok(Some(held)) => return held,
                Ok(None) => {}
                Err(error) => tracing::warn!(error = chain(&error), "no leader election yet"),
            }
            tokio::time::sleep(self.terms.retry_every()).await;
        }
    }

    async fn try_to_win(&self, seen: &mut Option<Seen>) -> Result<Option<Held>, Trouble> {
        let Some(lease) = self.bounded(self.leases.get_opt(&self.name)).await? else {
            let sent_ms = self.clock.monotonic_ms();
            let lease = self.first_lease();
            return self.settle(
                sent_ms,
                self.bounded(self.leases.create(&PostParams::default(), &lease))
                    .await,
            );
        };
        let now_ms = self.clock.monotonic_ms();
        let since_ms = match seen {
            Some(before)
                if before.lease.metadata.resource_version == lease.metadata.resource_version =>
            {
                before.since_ms
            }
            _ => now_ms,
        };
        let unchanged_for = Duration::from_millis(now_ms.abs_diff(since_ms));
        let spec = lease.spec.clone().unwrap_or_default();
        let verdict = verdict(
            &spec,
            &self.identity,
            self.clock.now(),
            unchanged_for,
            &self.terms,
        );
        *seen = Some(Seen { lease, since_ms });
        match (verdict, seen) {
            (Verdict::Hold | Verdict::Take, Some(Seen { lease, .. })) => {
                let sent_ms = self.clock.monotonic_ms();
                let mine = self.claimed(lease, verdict);
                let written = self
                    .bounded(
                        self.leases
                            .replace(&self.name, &PostParams::default(), &mine),
                    )
                    .await;
                self.settle(sent_ms, written)
            }
            (Verdict::Yield(until), _) => {
                tracing::debug!(
                    holder = spec.holder_identity,
                    until = until.0,
                    "somebody else leads"
                );
                Ok(None)
            }
            (_, None) => Ok(None),
        }
    }

    /// What a write of the lease means: it is ours now, or the race is lost, or nobody knows.
    fn settle(
        &self,
        sent_ms: i64,
        written: Result<Lease, Trouble>,
    ) -> Result<Option<Held>, Trouble> {
        match written {
            Ok(lease) => {
                self.leadership.renewed(sent_ms, self.terms.act_within);
                Ok(Some(Held {
                    lease,
                    renewed_ms: sent_ms,
                }))
            }
            Err(Trouble::Api(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() =>
            {
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Renews until that is hopeless.
    async fn keep(&self, held: &mut Held) {
        let mut pause = self.terms.renew_every;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.renew(held).await {
                Ok(true) => self.terms.renew_every,
                Ok(false) => {
                    return tracing::error!(lease = self.name, "somebody else has taken the lease");
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the lease could not be renewed");
                    self.terms.retry_every()
                }
            };
            let age_ms = self.clock.monotonic_ms().abs_diff(held.renewed_ms);
            if Duration::from_millis(age_ms) >= self.terms.lease {
                return tracing::error!(lease = self.name, age_ms, "the lease has run out");
            }
        }
    }

    /// `false`: it is somebody else's.
    async fn renew(&self, held: &mut Held) -> Result<bool, Trouble> {
        let sent_ms = self.clock.monotonic_ms();
        let mine = self.claimed(&held.lease, Verdict::Hold);
        let written = self
            .bounded(
                self.leases
                    .replace(&self.name, &PostParams::default(), &mine),
            )
            .await;
        if let Some(renewed) = self.settle(sent_ms, written)? {
            *held = renewed;
            return Ok(true);
        }
        // Somebody wrote it: a rival, a passer-by who set a label, or ourselves with a request that seemed lost.
        let Some(current) = self.bounded(self.leases.get_opt(&self.name)).await? else {
            return Ok(false);
        };
        let holder = current
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(self.identity.as_str()) {
            return Ok(false);
        }
        let sent_ms = self.clock.monotonic_ms();
        let mine = self.claimed(&current, Verdict::Hold);
        let written = self
            .bounded(
                self.leases
                    .replace(&self.name, &PostParams::default(), &mine),
            )
            .await;
        if let Some(renewed) = self.settle(sent_ms, written)? {
            *held = renewed;
        }
        Ok(true)
    }

    async fn release(&self) {
        // First of all: from here on another process may be leading.
        self.leadership.resign(Standing::Waiting);
        match self.give_back().await {
            Ok(()) => tracing::info!(lease = self.name, "the lease is given back"),
            Err(error) => tracing::warn!(
                error = chain(&error),
                "the lease could not be given back; it will run out"
            ),
        }
    }

    async fn give_back(&self) -> Result<(), Trouble> {
        // Read again: the stop may have cut off a renewal whose answer would have held the newest version.
        let Some(mut lease) = self.bounded(self.leases.get_opt(&self.name)).await? else {
            return Ok(());
        };
        if let Some(spec) = &mut lease.spec
            && spec.holder_identity.as_deref() == Some(self.identity.as_str())
        {
            spec.holder_identity = None;
            spec.renew_time = Some(micro_time(self.clock.now()));
            self.bounded(
                self.leases
                    .replace(&self.name, &PostParams::default(), &lease),
            )
            .await?;
        }
        Ok(())
    }

    fn first_lease(&self) -> Lease {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        self.claimed(
            &Lease {
                metadata,
                spec: None,
            },
            Verdict::Take,
        )
    }

    /// The lease as we want it, with the resourceVersion as read.
    fn claimed(&self, read: &Lease, verdict: Verdict) -> Lease {
        let mut lease = read.clone();
        let spec = lease.spec.get_or_insert_default();
        let now = micro_time(self.clock.now());
        if verdict == Verdict::Take {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions =
                Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
        }
        spec.holder_identity = Some(self.identity.clone());
        // Whole seconds is what the API has; rounded up, so that a rival never waits too short.
        let seconds = self.terms.lease.as_millis().div_ceil(1_000);
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        lease
    }

    /// The client itself may retry for minutes; a renewal that took longer than this is worth a new one.
    async fn bounded<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
        let limit = self.terms.renew_every / 2;
        tokio::time::timeout(limit, call)
            .await
            .map_err(|_| Trouble::Timeout(limit))?
            .map_err(Trouble::Api)
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn micro_time(at: Moment) -> MicroTime {
    MicroTime(Timestamp::from_millisecond(at.0).unwrap_or_default())
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
