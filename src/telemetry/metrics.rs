//! The metrics, all with the prefix `cmk_`.
//!
//! # Guarantees
//!
//! - Labels are enums or static words, so the number of series is bounded by the code. The one exception is
//!   `cmk_abnormal`, which names objects so that an alert can; it is capped, and what did not fit is counted.
//! - Recording never waits for anything but a short lock.

mod labels;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::labels::{
    AbnormalLabels, KindLabels, LaneLabels, ObjectsLabels, OperationLabels, PassLabels, RequestLabels, StepLabels,
};
pub use self::labels::{Kind, Object, PassOutcome, Ready, StepOutcome};
use crate::clock::Clock;
use crate::controller::queue::{Lane, QueueStats};
use crate::leader::Leadership;

/// How many abnormal states are shown with the names of their objects.
pub const ABNORMAL_SHOWN: usize = 200;

/// A histogram with buckets of its own.
#[derive(Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

const PASS_SECONDS: Buckets = Buckets(&[0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0]);
const REQUEST_SECONDS: Buckets = Buckets(&[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);

type Seconds<L> = Family<L, Histogram, Buckets>;

/// All metrics of the process. Shared by reference; every method may be called from anywhere.
pub struct Metrics {
    registry: Registry,
    passes: Family<PassLabels, Counter>,
    pass_seconds: Seconds<KindLabels>,
    panics: Family<KindLabels, Counter>,
    steps: Family<StepLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Seconds<OperationLabels>,
    queue_depth: Family<LaneLabels, Gauge>,
    queue_later: Family<KindLabels, Gauge>,
    queue_running: Family<KindLabels, Gauge>,
    queue_failing: Family<KindLabels, Gauge>,
    queue_oldest: Family<KindLabels, Gauge<f64, AtomicU64>>,
    objects: Family<ObjectsLabels, Gauge>,
    abnormal: Family<AbnormalLabels, Gauge>,
    abnormal_dropped: Gauge,
    unprotected: Gauge,
    leader: Gauge,
    sources: Mutex<Sources>,
    census: Mutex<Census>,
}

/// What is read at scrape time instead of being pushed.
#[derive(Default)]
struct Sources {
    queues: Vec<(Kind, Arc<QueueStats>)>,
    leadership: Option<Arc<Leadership>>,
}

#[derive(Default)]
struct Census {
    ready: BTreeMap<Object, Ready>,
    shown: BTreeSet<(Object, &'static str)>,
    hidden: BTreeSet<(Object, &'static str)>,
    /// Of those objects that have any.
    unprotected: BTreeMap<Object, i64>,
}

impl Metrics {
    /// All metrics, at zero. `version` and `revision` are those of the build.
    pub fn new(version: &str, revision: &str) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("cmk"),
            passes: Family::default(),
            pass_seconds: Family::new_with_constructor(PASS_SECONDS),
            panics: Family::default(),
            steps: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(REQUEST_SECONDS),
            queue_depth: Family::default(),
            queue_later: Family::default(),
            queue_running: Family::default(),
            queue_failing: Family::default(),
            queue_oldest: Family::default(),
            objects: Family::default(),
            abnormal: Family::default(),
            abnormal_dropped: Gauge::default(),
            unprotected: Gauge::default(),
            leader: Gauge::<i64, AtomicI64>::default(),
            sources: Mutex::default(),
            census: Mutex::default(),
        };
        metrics.register(version, revision);
        metrics.start_at_zero();
        metrics
    }

    fn register(&mut self, version: &str, revision: &str) {
        let r = &mut self.registry;
        r.register("passes", "Passes by how they ended", self.passes.clone());
        r.register_with_unit("pass_duration", "How long passes take", Unit::Seconds, self.pass_seconds.clone());
        r.register("pass_panics", "Passes that panicked: a bug", self.panics.clone());
        r.register("steps", "Steps executed, by how they ended", self.steps.clone());
        r.register("outside_requests", "Requests to clouds by class of the fault, or ok", self.requests.clone());
        let help = "How long requests to clouds take";
        r.register_with_unit("outside_request_duration", help, Unit::Seconds, self.request_seconds.clone());
        r.register("queue_depth", "Objects that are ready for a pass", self.queue_depth.clone());
        r.register("queue_later", "Objects that wait for their time", self.queue_later.clone());
        r.register("queue_in_flight", "Passes in flight", self.queue_running.clone());
        r.register("queue_failing", "Objects whose last pass failed", self.queue_failing.clone());
        let help = "How long the object that is ready longest has been waiting";
        r.register_with_unit("queue_oldest", help, Unit::Seconds, self.queue_oldest.clone());
        r.register("objects", "Objects by the status of their condition Ready", self.objects.clone());
        let help = "Objects in a state that somebody should know of, such as a key pending deletion; capped";
        r.register("abnormal", help, self.abnormal.clone());
        let help = "Abnormal states beyond the cap, which are not shown by name";
        r.register("abnormal_dropped", help, self.abnormal_dropped.clone());
        let help = "Databases that are older than the registration of the key of their region, as all keys show them";
        r.register("unprotected_databases", help, self.unprotected.clone());
        r.register("leader", "1 if this process may act", self.leader.clone());
        let build = [("version", version.to_owned()), ("revision", revision.to_owned())];
        r.register("build", "The build that runs", Info::new(build.to_vec()));
    }

    /// A rate over a series that appears only with its first event misses that event.
    fn start_at_zero(&self) {
        for &kind in Kind::ALL {
            for &outcome in PassOutcome::ALL {
                drop(self.passes.get_or_create(&PassLabels { kind, outcome }));
            }
            drop(self.panics.get_or_create(&KindLabels { kind }));
            for &ready in Ready::ALL {
                drop(self.objects.get_or_create(&ObjectsLabels { kind, ready }));
            }
        }
    }

    /// Adds a queue whose numbers are read at each scrape.
    pub fn watch_queue(&self, kind: Kind, stats: Arc<QueueStats>) {
        locked(&self.sources).queues.push((kind, stats));
    }

    /// Sets where `cmk_leader` is read from.
    pub fn watch_leadership(&self, leadership: Arc<Leadership>) {
        locked(&self.sources).leadership = Some(leadership);
    }

    /// A pass is over.
    pub fn pass(&self, kind: Kind, outcome: PassOutcome, took: Duration) {
        self.passes.get_or_create(&PassLabels { kind, outcome }).inc();
        self.pass_seconds.get_or_create(&KindLabels { kind }).observe(took.as_secs_f64());
    }

    /// A step is over; `step` is the name of its variant.
    pub fn step(&self, step: &'static str, outcome: StepOutcome) {
        self.steps.get_or_create(&StepLabels { step, outcome }).inc();
    }

    /// A request to a cloud is over; `class` is the word of its fault class, or `ok`.
    pub fn request(&self, service: &'static str, operation: &'static str, class: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { service, operation, class }).inc();
        let labels = OperationLabels { service, operation };
        self.request_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Notes what a pass has found about its object: its readiness and the abnormal states it is in.
    pub fn object(&self, object: &Object, ready: Ready, abnormal: &[&'static str]) {
        let mut census = locked(&self.census);
        let before = census.ready.insert(object.clone(), ready);
        self.count(object.kind, before, Some(ready));
        self.set_abnormal(&mut census, object, abnormal);
    }

    /// Notes how many databases an object shows that its keys do not protect.
    pub fn unprotected(&self, object: &Object, count: i64) {
        let census = &mut locked(&self.census).unprotected;
        if count > 0 {
            census.insert(object.clone(), count);
        } else {
            census.remove(object);
        }
        self.unprotected.set(census.values().sum());
    }

    /// The object is gone, and so are its series.
    pub fn forget(&self, object: &Object) {
        self.unprotected(object, 0);
        let mut census = locked(&self.census);
        let before = census.ready.remove(object);
        self.count(object.kind, before, None);
        self.set_abnormal(&mut census, object, &[]);
    }

    fn count(&self, kind: Kind, before: Option<Ready>, after: Option<Ready>) {
        if let Some(ready) = before {
            self.objects.get_or_create(&ObjectsLabels { kind, ready }).dec();
        }
        if let Some(ready) = after {
            self.objects.get_or_create(&ObjectsLabels { kind, ready }).inc();
        }
    }

    fn set_abnormal(&self, census: &mut Census, object: &Object, reasons: &[&'static str]) {
        let ours = |set: &BTreeSet<(Object, &'static str)>| -> Vec<(Object, &'static str)> {
            let all = set.range((object.clone(), "")..).take_while(|(o, _)| o == object);
            all.filter(|(_, reason)| !reasons.contains(reason)).cloned().collect()
        };
        for over in ours(&census.hidden) {
            census.hidden.remove(&over);
        }
        for over in ours(&census.shown) {
            self.abnormal.remove(&labels(&over));
            census.shown.remove(&over);
        }
        for reason in reasons {
            let state = (object.clone(), *reason);
            if !census.shown.contains(&state) {
                census.hidden.insert(state);
            }
        }
        // What waited for room is shown as soon as there is some.
        while census.shown.len() < ABNORMAL_SHOWN
            && let Some(state) = census.hidden.pop_first()
        {
            self.abnormal.get_or_create(&labels(&state)).set(1);
            census.shown.insert(state);
        }
        self.abnormal_dropped.set(whole(census.hidden.len()));
    }

    /// The text that Prometheus scrapes. `Err` can't happen with a `String`, but its type says so.
    pub fn text(&self, clock: &dyn Clock) -> Result<String, fmt::Error> {
        self.refresh(clock.monotonic_ms());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn refresh(&self, now_ms: i64) {
        let sources = locked(&self.sources);
        let leads = sources.leadership.as_ref().is_some_and(|l| l.may_act());
        self.leader.set(i64::from(leads));
        for (kind, stats) in &sources.queues {
            let (kind, depth) = (*kind, stats.depth());
            let labels = KindLabels { kind };
            for (lane, n) in [(Lane::Fresh, depth.fresh), (Lane::Resync, depth.resync)] {
                self.queue_depth.get_or_create(&LaneLabels { kind, lane }).set(whole(n));
            }
            self.queue_later.get_or_create(&labels).set(whole(depth.later));
            self.queue_running.get_or_create(&labels).set(whole(depth.running));
            self.queue_failing.get_or_create(&labels).set(whole(stats.failing()));
            self.queue_oldest.get_or_create(&labels).set(stats.oldest_wait(now_ms).as_secs_f64());
            let panics = self.panics.get_or_create(&labels);
            panics.inc_by(stats.panics().saturating_sub(panics.get()));
        }
    }
}

fn labels((object, reason): &(Object, &'static str)) -> AbnormalLabels {
    AbnormalLabels { object: object.clone(), reason }
}

fn whole(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A panic while the lock was held leaves numbers that may be off by one; that is no reason to have none.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
