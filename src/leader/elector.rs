//! The part of leadership that talks to the API server: wins, renews and gives back the Lease.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};

use super::{Leadership, Standing, Terms, Verdict, verdict};
use crate::clock::Clock;
use crate::domain::moment::Moment;
use crate::execute::Witness;
use crate::plan::step::Site;

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
    /// Who is told of every write of the Lease.
    pub witness: Arc<dyn Witness>,
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
    async fn replace(&self, lease: &Lease) -> Result<Lease, Trouble> {
        self.told(self.leases.replace(&self.name, &PostParams::default(), lease)).await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, Trouble> {
        self.told(self.leases.create(&PostParams::default(), lease)).await
    }

    async fn told(&self, write: impl Future<Output = kube::Result<Lease>>) -> Result<Lease, Trouble> {
        let _ = self.witness.before(Site::Lease);
        let written = self.bounded(write).await;
        let _ = self.witness.after(Site::Lease, None);
        written
    }

    /// Waits, takes, renews; returns when `stop` does (after giving the lease back) or when leadership is lost.
    ///
    /// `stop` should end only after the last pass has: until then others must not start.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        tokio::pin!(stop);
        let won = tokio::select! {
            // It may have been taken all the same, if the stop cut off the answer.
            () = &mut stop => None,
            held = self.win() => Some(held),
        };
        if let Some(mut held) = won {
            tracing::info!(lease = self.name, identity = self.identity, "leading");
            tokio::select! {
                () = &mut stop => {}
                () = self.keep(&mut held) => {
                    self.leadership.resign(Standing::Lost);
                    return Ended::Lost;
                }
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
                Ok(None) => self.leadership.yields(Standing::StandingBy),
                Err(error) => {
                    self.leadership.yields(Standing::Waiting);
                    tracing::warn!(error = chain(&error), "no leader election yet");
                }
            }
            tokio::time::sleep(self.terms.retry_every()).await;
        }
    }

    async fn try_to_win(&self, seen: &mut Option<Seen>) -> Result<Option<Held>, Trouble> {
        let Some(lease) = self.bounded(self.leases.get_opt(&self.name)).await? else {
            let sent_ms = self.clock.monotonic_ms();
            let lease = self.first_lease();
            return self.settle(sent_ms, self.create(&lease).await);
        };
        let now_ms = self.clock.monotonic_ms();
        let since_ms = match seen {
            Some(before) if before.lease.metadata.resource_version == lease.metadata.resource_version => {
                before.since_ms
            }
            _ => now_ms,
        };
        let unchanged_for = Duration::from_millis(now_ms.abs_diff(since_ms));
        let spec = lease.spec.clone().unwrap_or_default();
        let verdict = verdict(&spec, &self.identity, self.clock.now(), unchanged_for, &self.terms);
        *seen = Some(Seen { lease, since_ms });
        match (verdict, seen) {
            (Verdict::Hold | Verdict::Take, Some(Seen { lease, .. })) => {
                let sent_ms = self.clock.monotonic_ms();
                let mine = self.claimed(lease, verdict);
                let written = self.replace(&mine).await;
                self.settle(sent_ms, written)
            }
            (Verdict::Yield(until), _) => {
                tracing::debug!(holder = spec.holder_identity, until = until.0, "somebody else leads");
                Ok(None)
            }
            (_, None) => Ok(None),
        }
    }

    /// What a write of the lease means: it is ours now, or the race is lost, or nobody knows.
    fn settle(&self, sent_ms: i64, written: Result<Lease, Trouble>) -> Result<Option<Held>, Trouble> {
        match written {
            Ok(lease) => {
                self.leadership.renewed(sent_ms, self.terms.act_within);
                Ok(Some(Held { lease, renewed_ms: sent_ms }))
            }
            Err(Trouble::Api(kube::Error::Api(status))) if status.is_conflict() || status.is_already_exists() => {
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
        let written = self.replace(&mine).await;
        if let Some(renewed) = self.settle(sent_ms, written)? {
            *held = renewed;
            return Ok(true);
        }
        // Somebody wrote it: a rival, a passer-by who set a label, or ourselves with a request that seemed lost.
        let Some(current) = self.bounded(self.leases.get_opt(&self.name)).await? else {
            return Ok(false);
        };
        let holder = current.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(self.identity.as_str()) {
            return Ok(false);
        }
        let sent_ms = self.clock.monotonic_ms();
        let mine = self.claimed(&current, Verdict::Hold);
        let written = self.replace(&mine).await;
        if let Some(renewed) = self.settle(sent_ms, written)? {
            *held = renewed;
        }
        Ok(true)
    }

    async fn release(&self) {
        // First of all: from here on another process may be leading.
        self.leadership.resign(Standing::Waiting);
        let given_back = async {
            loop {
                match self.give_back().await {
                    Ok(was_ours) => return was_ours,
                    Err(error) => tracing::warn!(error = chain(&error), "the lease could not be given back yet"),
                }
                tokio::time::sleep(self.terms.retry_every()).await;
            }
        };
        // Not for longer, or the stop would outlast what Kubernetes grants it.
        match tokio::time::timeout(self.terms.renew_every, given_back).await {
            Ok(true) => tracing::info!(lease = self.name, "the lease is given back"),
            Ok(false) => {}
            Err(_) => tracing::warn!(lease = self.name, "the lease could not be given back; it will run out"),
        }
    }

    /// Whether the lease was ours.
    async fn give_back(&self) -> Result<bool, Trouble> {
        // Read again: the stop may have cut off a renewal whose answer would have held the newest version. It may even
        // take effect only after this look, and then the write is refused and all of it has to be done once more.
        let Some(mut lease) = self.bounded(self.leases.get_opt(&self.name)).await? else {
            return Ok(false);
        };
        let Some(spec) =
            lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(self.identity.as_str()))
        else {
            return Ok(false);
        };
        spec.holder_identity = None;
        spec.renew_time = Some(micro_time(self.clock.now()));
        self.replace(&lease).await?;
        Ok(true)
    }

    fn first_lease(&self) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        self.claimed(&Lease { metadata, spec: None }, Verdict::Take)
    }

    /// The lease as we want it, with the resourceVersion as read.
    fn claimed(&self, read: &Lease, verdict: Verdict) -> Lease {
        let mut lease = read.clone();
        let spec = lease.spec.get_or_insert_default();
        let now = micro_time(self.clock.now());
        if verdict == Verdict::Take {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
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
        tokio::time::timeout(limit, call).await.map_err(|_| Trouble::Timeout(limit))?.map_err(Trouble::Api)
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

pub(super) fn micro_time(at: Moment) -> MicroTime {
    MicroTime(Timestamp::from_millisecond(at.0).unwrap_or_default())
}
