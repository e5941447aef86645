//! The work queue: which object gets a pass, and when.
//!
//! It stands where kube's `Controller` usually does, because that one picks from a hash set and starves objects as
//! soon as demand exceeds capacity. [`Schedule`] decides, synchronously; the [`Driver`] is the one task that owns
//! it and runs the passes; a [`Handle`] is how watches and passes trigger.
//!
//! # Guarantees
//!
//! - Those of [`Schedule`]: fair, first in first out, never two passes at once for one object.
//! - A pass that fails waits as [`Backoff`] says; a panicking one keeps its object, is counted and waits likewise.
//! - Once the stop signal is there no pass starts; those in flight may finish until the deadline and are then
//!   aborted at their next `await`, and named in [`Ended::aborted`].
//!
//! # Assumptions
//!
//! - A pass ends: whatever it awaits has a deadline. A pass that hangs takes one of the `concurrency` places forever.
//! - A pass does not block its thread.
//!
//! # Caveats
//!
//! - Triggers travel through an unbounded channel, so that a watch never waits for a pass. It is emptied between
//!   passes and doubles merge in the schedule, so that it holds no more than one burst of the watches.
//! - The times are kept on a clock that runs through suspension, the timer is not: after a suspension what is due
//!   is noticed within [`TICK`].

mod schedule;

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{Id, JoinError, JoinSet};

pub use self::schedule::{Depth, Due, Finished, Lane, Schedule};
use crate::clock::Clock;
use crate::controller::backoff::{Backoff, Failure};
use crate::domain::fault::FaultClass;

/// The loop wakes at least this often, as a sign of life and to notice time that passed in suspension.
pub const TICK: Duration = Duration::from_secs(1);

/// Triggers taken in between two looks at what else has happened.
const BATCH: usize = 256;

/// How a queue behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Passes at once.
    pub concurrency: usize,
    /// Fresh passes in a row while resyncs wait.
    pub fresh_in_a_row: usize,
    /// How long passes in flight may go on after the stop signal.
    pub stop_within: Duration,
    /// Decides the jitter of the back-off.
    pub seed: u64,
    /// No pause after a failure is longer.
    pub longest_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 16,
            fresh_in_a_row: 4,
            stop_within: Duration::from_secs(30),
            seed: 0,
            longest_delay: Duration::MAX,
        }
    }
}

/// What a pass says about its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing to do until the next trigger.
    Done,
    /// Look again after this time, in this lane. The pass went well: back-off starts over.
    After(Duration, Lane),
    /// Look again after this time, in this lane, for something got on. Something else failed, so back-off does not start over.
    Meanwhile(Duration, Lane),
    /// The pass failed; the back-off decides when to try again.
    Failed(Failure),
    /// The object does not exist any more.
    Gone,
}

/// How a run of the queue ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended<K> {
    /// The objects whose passes were aborted because they did not finish in time.
    pub aborted: Vec<K>,
}

/// Creates a queue; nothing runs before [`Driver::run`].
pub fn queue<K>(options: Options, clock: Arc<dyn Clock>) -> (Handle<K>, Driver<K>)
where
    K: Clone + Eq + Hash + Ord + Debug + Send + 'static,
{
    let (sender, commands) = unbounded_channel();
    let stats = Arc::new(QueueStats::default());
    let driver = Driver {
        schedule: Schedule::new(options.concurrency, options.fresh_in_a_row),
        backoff: Backoff::new(options.seed),
        options,
        commands,
        clock,
        stats,
    };
    (Handle { commands: sender }, driver)
}

/// Triggers passes. Cheap to clone; never waits. Once the queue has ended its calls do nothing.
#[derive(Debug)]
pub struct Handle<K> {
    commands: UnboundedSender<Command<K>>,
}

impl<K> Clone for Handle<K> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone() }
    }
}

#[derive(Debug)]
enum Command<K> {
    Trigger(K, Lane),
    Later(K, Duration, Lane),
    Forget(K),
}

impl<K> Handle<K> {
    /// The object wants a pass as soon as there is room.
    pub fn trigger(&self, key: K, lane: Lane) {
        self.send(Command::Trigger(key, lane));
    }

    /// The object wants a pass after this time; whatever would run it earlier stands.
    pub fn trigger_after(&self, key: K, delay: Duration, lane: Lane) {
        self.send(Command::Later(key, delay, lane));
    }

    /// The object is gone.
    pub fn forget(&self, key: K) {
        self.send(Command::Forget(key));
    }

    fn send(&self, command: Command<K>) {
        // The queue has ended: the process is stopping and nobody is left to act.
        let _ = self.commands.send(command);
    }
}

/// The task that owns the schedule.
pub struct Driver<K> {
    options: Options,
    schedule: Schedule<K>,
    backoff: Backoff<K>,
    commands: UnboundedReceiver<Command<K>>,
    clock: Arc<dyn Clock>,
    stats: Arc<QueueStats>,
}

impl<K> Driver<K>
where
    K: Clone + Eq + Hash + Ord + Debug + Send + 'static,
{
    /// What telemetry reads.
    pub fn stats(&self) -> Arc<QueueStats> {
        Arc::clone(&self.stats)
    }

    /// Runs passes until `stop`, each on a task of its own.
    pub async fn run<P, F>(mut self, pass: P, stop: impl Future<Output = ()>) -> Ended<K>
    where
        P: Fn(K) -> F + Send + Sync + 'static,
        F: Future<Output = Next> + Send,
    {
        let pass = Arc::new(pass);
        let mut passes = Passes::new();
        let mut batch = Vec::with_capacity(BATCH);
        let mut handles_left = true;
        tokio::pin!(stop);
        loop {
            let now = self.clock.monotonic_ms();
            self.schedule.advance(now);
            while let Some(key) = self.schedule.start() {
                self.stats.passes.fetch_add(1, Ordering::Relaxed);
                let pass = Arc::clone(&pass);
                // Called inside the task, so that a panic before its first `await` is caught as well.
                passes.spawn(key.clone(), async move { pass(key).await });
            }
            self.publish(now);
            let until_next_due = self.until_next_due(now);
            tokio::select! {
                () = &mut stop => break,
                Some((key, next)) = passes.next() => self.finish(&key, next),
                taken = self.commands.recv_many(&mut batch, BATCH), if handles_left => {
                    handles_left = taken > 0;
                    let now = self.clock.monotonic_ms();
                    for command in batch.drain(..taken) {
                        self.obey(command, now);
                    }
                }
                () = tokio::time::sleep(until_next_due) => {}
            }
        }
        self.wind_down(passes).await
    }

    fn obey(&mut self, command: Command<K>, now_ms: i64) {
        match command {
            Command::Trigger(key, lane) => self.schedule.trigger(key, lane, now_ms),
            Command::Later(key, delay, lane) => {
                self.schedule.trigger_at(key, due(now_ms, delay, lane), now_ms);
            }
            Command::Forget(key) => {
                self.backoff.reset(&key);
                self.schedule.forget(&key);
            }
        }
    }

    fn finish(&mut self, key: &K, next: Result<Next, JoinError>) {
        let now = self.clock.monotonic_ms();
        let next = next.unwrap_or_else(|error| {
            // The panic hook has printed the place already; here it gets its object.
            tracing::error!(?key, %error, "a pass panicked; its object is retried");
            self.stats.panics.fetch_add(1, Ordering::Relaxed);
            Next::Failed(Failure::new(FaultClass::Terminal))
        });
        let finished = match next {
            Next::Failed(failure) => {
                let delay = self.backoff.failed(key, failure, now).min(self.options.longest_delay);
                Finished::Again(due(now, delay, self.lane_of_retry(key, failure.class)))
            }
            Next::Meanwhile(delay, lane) => Finished::Again(due(now, delay, lane)),
            Next::Done | Next::After(..) | Next::Gone => {
                self.backoff.reset(key);
                match next {
                    Next::After(delay, lane) => Finished::Again(due(now, delay, lane)),
                    Next::Gone => Finished::Gone,
                    Next::Done | Next::Meanwhile(..) | Next::Failed(_) => Finished::Idle,
                }
            }
        };
        self.schedule.finish(key, finished, now);
        if !self.schedule.knows(key) {
            // Forgotten while its last pass was failing: nobody will ever report a success.
            self.backoff.reset(key);
        }
    }

    /// A conflict or a wait for the other side's view to settle only interrupts what somebody waits for, so it goes
    /// on in its lane; any other failure has lost its hurry and must not crowd the fresh lane during an outage.
    fn lane_of_retry(&self, key: &K, class: FaultClass) -> Lane {
        match class {
            FaultClass::Conflict | FaultClass::Settling => self.schedule.running_in(key).unwrap_or(Lane::Resync),
            FaultClass::Transient
            | FaultClass::Throttled
            | FaultClass::Refused
            | FaultClass::Invalid
            | FaultClass::Terminal => Lane::Resync,
        }
    }

    fn publish(&self, now_ms: i64) {
        self.stats.publish(&self.schedule, now_ms);
        self.stats.failing.store(self.backoff.failing(), Ordering::Relaxed);
    }

    fn until_next_due(&self, now_ms: i64) -> Duration {
        let wait = self
            .schedule
            .next_due_ms()
            .map_or(TICK, |at| Duration::from_millis(u64::try_from(at.saturating_sub(now_ms)).unwrap_or(0)));
        wait.min(TICK)
    }

    /// No pass starts any more; waits for those in flight.
    async fn wind_down(mut self, mut passes: Passes<K>) -> Ended<K> {
        self.commands.close();
        let deadline = tokio::time::sleep(self.options.stop_within);
        tokio::pin!(deadline);
        while !passes.is_empty() {
            self.publish(self.clock.monotonic_ms());
            tokio::select! {
                () = &mut deadline => break,
                Some((key, next)) = passes.next() => self.finish(&key, next),
                () = tokio::time::sleep(TICK) => {}
            }
        }
        Ended { aborted: passes.abort().await }
    }
}

fn due(now_ms: i64, delay: Duration, lane: Lane) -> Due {
    let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    Due { at_ms: now_ms.saturating_add(delay), lane }
}

/// The passes in flight, each a task of its own, so that a panic ends one pass and nothing else.
struct Passes<K> {
    tasks: JoinSet<Next>,
    keys: HashMap<Id, K>,
}

impl<K> Passes<K> {
    fn new() -> Self {
        Self { tasks: JoinSet::new(), keys: HashMap::new() }
    }

    fn spawn(&mut self, key: K, pass: impl Future<Output = Next> + Send + 'static) {
        let id = self.tasks.spawn(pass).id();
        self.keys.insert(id, key);
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The next pass that is over; `None` when there is none in flight. Safe to drop between polls.
    async fn next(&mut self) -> Option<(K, Result<Next, JoinError>)> {
        let (id, next) = match self.tasks.join_next_with_id().await? {
            Ok((id, next)) => (id, Ok(next)),
            Err(error) => (error.id(), Err(error)),
        };
        self.keys.remove(&id).map(|key| (key, next))
    }

    async fn abort(mut self) -> Vec<K> {
        self.tasks.shutdown().await;
        self.keys.into_values().collect()
    }
}

/// What the outside may know about a queue: plain numbers that telemetry reads whenever it likes.
#[derive(Debug, Default)]
pub struct QueueStats {
    fresh: AtomicUsize,
    resync: AtomicUsize,
    later: AtomicUsize,
    running: AtomicUsize,
    failing: AtomicUsize,
    passes: AtomicU64,
    panics: AtomicU64,
    oldest_since_ms: AtomicI64,
    moved_ms: AtomicI64,
}

/// Stands for "nothing" in the atomics that hold a time.
const NEVER: i64 = 0;

impl QueueStats {
    /// How many objects were where when the loop moved last.
    pub fn depth(&self) -> Depth {
        Depth {
            fresh: self.fresh.load(Ordering::Relaxed),
            resync: self.resync.load(Ordering::Relaxed),
            later: self.later.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
        }
    }

    /// How long the object that is ready longest has been waiting; zero when none waits.
    pub fn oldest_wait(&self, now_ms: i64) -> Duration {
        since(&self.oldest_since_ms, now_ms).unwrap_or_default()
    }

    /// How long ago the loop moved; `None` before it has started.
    pub fn stalled_for(&self, now_ms: i64) -> Option<Duration> {
        since(&self.moved_ms, now_ms)
    }

    /// Passes started so far.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }

    /// Passes that panicked so far.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Objects whose last pass failed.
    pub fn failing(&self) -> usize {
        self.failing.load(Ordering::Relaxed)
    }

    fn publish<K: Clone + Eq + Hash + Ord + Debug>(&self, schedule: &Schedule<K>, now_ms: i64) {
        let depth = schedule.depth();
        self.fresh.store(depth.fresh, Ordering::Relaxed);
        self.resync.store(depth.resync, Ordering::Relaxed);
        self.later.store(depth.later, Ordering::Relaxed);
        self.running.store(depth.running, Ordering::Relaxed);
        let oldest = schedule.oldest_since_ms().unwrap_or(NEVER);
        self.oldest_since_ms.store(oldest, Ordering::Relaxed);
        self.moved_ms.store(now_ms, Ordering::Relaxed);
    }
}

fn since(at: &AtomicI64, now_ms: i64) -> Option<Duration> {
    let at = at.load(Ordering::Relaxed);
    let elapsed = u64::try_from(now_ms.saturating_sub(at)).unwrap_or(0);
    (at != NEVER).then(|| Duration::from_millis(elapsed))
}
