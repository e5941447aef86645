//! How long an object waits after a failed pass.
//!
//! The policy is one `match` on the class of the fault ([`delay`]). This module reads no clock and draws no random
//! number: time and seed are passed in.
//!
//! # Guarantees
//!
//! - Attempts are counted per object and class, and **only after their delay has passed**: a trigger that arrives
//!   meanwhile runs a pass, but a failure of that pass neither counts nor moves the moment of the next try, so
//!   that spurious triggers don't drive an object into long delays.
//! - Changing from one class to another keeps the counts of both: a fault that flaps between two classes still
//!   slows down. A successful pass forgets everything.
//! - **The cap**: an object in a lasting error makes at most [`CALLS`] outside calls within any [`WINDOW`]. Counted
//!   are the calls that the failed pass reports ([`Failure::calls`]); the next pass is taken to cost as much.
//!   `Refused`, `Invalid` and `Terminal` are lasting from their first failure on: a quick retry is allowed only
//!   if all calls since the first failure and those of the retry stay within the cap, otherwise the next pass
//!   comes a whole window later. The other classes may pass by themselves, so their first tries are free and the
//!   fault counts as lasting after them ([`grace`]).
//! - A pass of more than [`CALLS`] calls (many regions) waits as many windows as its calls are worth, at most [`LONGEST`].
//! - Jitter only lengthens a delay, so it can't break the cap.
//!
//! # Caveats
//!
//! - Passes that somebody triggers (an edit, the annotation) are outside the cap: somebody asked for them.
//! - Jitter and counts need no storage; a restart starts over at the first delay.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::domain::fault::FaultClass;

/// Outside calls that an object in a lasting error may make within one [`WINDOW`].
pub const CALLS: u32 = 12;

/// The window in which [`CALLS`] is counted.
pub const WINDOW: Duration = Duration::from_mins(10);

/// No delay is longer, jitter aside: causes that go away are noticed within the hour.
pub const LONGEST: Duration = Duration::from_hours(1);

/// What a pass costs when nobody counted: a full look at one region and a write.
const FULL_PASS: u32 = 10;

/// Why a pass failed, as far as waiting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class of the fault that ended the pass.
    pub class: FaultClass,
    /// What the other side asked for (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// Outside calls that the pass made.
    pub calls: u32,
}

impl Failure {
    /// A failure of this class after a full pass.
    pub fn new(class: FaultClass) -> Self {
        Self { class, retry_after: None, calls: FULL_PASS }
    }

    /// The same, with the number of outside calls that were really made.
    #[must_use]
    pub fn with_calls(self, calls: u32) -> Self {
        Self { calls, ..self }
    }

    /// The same, with the delay that the other side asked for.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }
}

/// What is remembered about objects whose last pass failed; objects that are well take no memory.
#[derive(Debug)]
pub struct Backoff<K> {
    seed: u64,
    failing: HashMap<K, Run>,
}

/// A run of failures without a success in between.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    attempts: [u16; 7],
    last: Option<FaultClass>,
    /// Monotonic milliseconds at which the delay of the last counted attempt is over.
    due_ms: i64,
    /// Outside calls since the first failure of this run.
    calls: u32,
}

impl<K: Clone + Eq + Hash> Backoff<K> {
    /// Nothing is failing. `seed` decides the jitter: give each process its own, a test a fixed one.
    pub fn new(seed: u64) -> Self {
        Self { seed, failing: HashMap::new() }
    }

    /// Takes note of a failed pass; returns how long to wait for the next one.
    pub fn failed(&mut self, key: &K, failure: Failure, now_ms: i64) -> Duration {
        let seed = self.seed;
        let run = self.failing.entry(key.clone()).or_default();
        run.calls = run.calls.saturating_add(failure.calls);
        if run.last == Some(failure.class) && now_ms < run.due_ms {
            // Not the retry that was planned but a trigger in between: the planned one stands.
            let remaining = Duration::from_millis(run.due_ms.abs_diff(now_ms));
            return remaining.max(failure.retry_after.unwrap_or_default().min(LONGEST));
        }
        let attempts = &mut run.attempts[index(failure.class)];
        *attempts = attempts.saturating_add(1);
        let attempt = u32::from(*attempts);
        let wait = lengthen(delay(&failure, attempt, run.calls), jitter(seed, key, attempt));
        run.last = Some(failure.class);
        run.due_ms = now_ms.saturating_add(millis(wait));
        wait
    }

    /// The last pass went well, or the object is gone: forgets it.
    pub fn reset(&mut self, key: &K) {
        self.failing.remove(key);
    }

    /// How many objects are in a run of failures.
    pub fn failing(&self) -> usize {
        self.failing.len()
    }
}

/// The delay after failure number `attempt` (from 1) of its class, `spent` outside calls into the run; without jitter.
pub fn delay(failure: &Failure, attempt: u32, spent: u32) -> Duration {
    let s = Duration::from_secs;
    let m = Duration::from_mins;
    let quick = spent.saturating_add(failure.calls) <= CALLS;
    let wanted = match failure.class {
        FaultClass::Transient => doubling(s(1), attempt, m(5)),
        FaultClass::Throttled => doubling(s(15), attempt, m(10)),
        // We looked at an old world, so looking again helps at once. What still conflicts after five looks does not
        // settle by looking.
        FaultClass::Conflict if attempt <= 5 => doubling(Duration::from_millis(200), attempt, s(2)),
        FaultClass::Conflict => doubling(s(4), attempt - 5, m(5)),
        FaultClass::Settling => doubling(s(5), attempt, m(1)),
        // Somebody is often at it right now, fixing what the first try has shown them.
        FaultClass::Refused if attempt <= 2 && quick => doubling(s(30), attempt, m(1)),
        FaultClass::Refused => doubling(WINDOW, attempt.saturating_sub(2).max(1), m(30)),
        FaultClass::Invalid => doubling(WINDOW, attempt, LONGEST),
        FaultClass::Terminal if attempt == 1 && quick => m(1),
        FaultClass::Terminal => m(15),
    };
    let asked = failure.retry_after.map_or(wanted, |hint| match failure.class {
        // The other side knows its own quota better than our table does.
        FaultClass::Throttled => hint.max(s(1)),
        _ => wanted.max(hint),
    });
    let floor = if attempt > grace(failure.class, quick) { pace(failure.calls) } else { Duration::ZERO };
    asked.max(floor).min(LONGEST)
}

/// How many failures of a class may follow each other before the fault counts as a lasting one.
fn grace(class: FaultClass, quick: bool) -> u32 {
    match class {
        // A run of about two minutes.
        FaultClass::Transient => 7,
        FaultClass::Throttled => 4,
        FaultClass::Conflict => 10,
        // The longest settle window is five minutes of polls, slowing from 5 s to 60 s.
        FaultClass::Settling => 9,
        // The quick retries that `delay` allows are paid for, so they need no pace.
        FaultClass::Refused | FaultClass::Terminal if quick => 2,
        FaultClass::Refused | FaultClass::Terminal | FaultClass::Invalid => 0,
    }
}

/// The spacing at which passes of so many calls stay within the cap, in any window.
fn pace(calls: u32) -> Duration {
    match calls {
        0 => Duration::ZERO,
        calls if calls <= CALLS => WINDOW / (CALLS / calls),
        calls => WINDOW * calls.div_ceil(CALLS),
    }
}

fn doubling(first: Duration, attempt: u32, longest: Duration) -> Duration {
    let factor = 1_u32 << attempt.saturating_sub(1).min(20);
    first.saturating_mul(factor).min(longest)
}

/// Lengthens by up to a quarter: enough to pull apart what failed together.
fn lengthen(delay: Duration, jitter: u8) -> Duration {
    delay + delay / 4 * u32::from(jitter) / 255
}

fn jitter<K: Hash>(seed: u64, key: &K, attempt: u32) -> u8 {
    let mut hasher = DefaultHasher::new();
    (seed, attempt).hash(&mut hasher);
    key.hash(&mut hasher);
    hasher.finish().to_le_bytes()[0]
}

fn index(class: FaultClass) -> usize {
    match class {
        FaultClass::Transient => 0,
        FaultClass::Throttled => 1,
        FaultClass::Conflict => 2,
        FaultClass::Settling => 3,
        FaultClass::Refused => 4,
        FaultClass::Invalid => 5,
        FaultClass::Terminal => 6,
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultClass::{Conflict, Invalid, Refused, Settling, Terminal, Throttled, Transient};

    const ALL: [FaultClass; 7] = [Transient, Throttled, Conflict, Settling, Refused, Invalid, Terminal];

    /// The seconds waited after each failure in a row, without jitter, for passes of `calls` calls.
    fn row(class: FaultClass, calls: u32, len: u32) -> Vec<f64> {
        let failure = Failure::new(class).with_calls(calls);
        (1..=len).map(|n| delay(&failure, n, n * calls).as_secs_f64()).collect()
    }

    #[test]
    fn delays_by_class() {
        let table: [(FaultClass, u32, &[f64]); 10] = [
            (Transient, 2, &[1., 2., 4., 8., 16., 32., 64., 128., 256., 300., 300.]),
            (Transient, 10, &[1., 2., 4., 8., 16., 32., 64., 600., 600.]),
            (Throttled, 2, &[15., 30., 60., 120., 240., 480., 600., 600.]),
            (Conflict, 2, &[0.2, 0.4, 0.8, 1.6, 2., 4., 8., 16., 32., 64., 128., 256., 300.]),
            (Settling, 3, &[5., 10., 20., 40., 60., 60., 60., 60., 60., 150., 150.]),
            (Refused, 4, &[30., 60., 600., 1200., 1800., 1800.]),
            (Refused, 10, &[600., 600., 600., 1200., 1800.]),
            (Invalid, 4, &[600., 1200., 2400., 3600., 3600.]),
            (Terminal, 4, &[60., 900., 900.]),
            (Terminal, 30, &[1800., 1800., 1800.]),
        ];
        for (class, calls, expected) in table {
            let len = u32::try_from(expected.len()).unwrap();
            assert_eq!(row(class, calls, len), expected, "{class:?} with {calls} calls");
        }
    }

    /// Runs a fault that never goes away for a day; returns (when, calls) of every pass, in milliseconds.
    fn a_day_of(class: FaultClass, calls: u32) -> Vec<(i64, u32)> {
        let mut backoff = Backoff::new(7);
        let (mut now, mut passes) = (0, Vec::new());
        while now < 86_400_000 {
            passes.push((now, calls));
            now += millis(backoff.failed(&"ns/a", Failure::new(class).with_calls(calls), now));
        }
        passes
    }

    #[test]
    fn a_lasting_error_stays_within_the_cap_in_any_window() {
        for class in ALL {
            // Those that can't pass by themselves are lasting from the start, the others once their grace is over.
            let lasting_from = match class {
                Refused | Invalid | Terminal => 0,
                other => grace(other, false),
            };
            for calls in 1..=CALLS {
                let passes = a_day_of(class, calls);
                let lasting = &passes[usize::try_from(lasting_from).unwrap()..];
                for (i, (start, _)) in lasting.iter().enumerate() {
                    let within = lasting[i..].iter().take_while(|(at, _)| at - start < millis(WINDOW));
                    let made: u32 = within.map(|(_, calls)| calls).sum();
                    assert!(made <= CALLS, "{class:?}: {made} calls in the window from {start}, {calls} a pass");
                }
            }
        }
    }

    #[test]
    fn every_error_is_looked_at_again_within_the_hour_and_jitter() {
        for class in ALL {
            for calls in [1, 10, 200] {
                let passes = a_day_of(class, calls);
                assert!(passes.windows(2).all(|w| w[1].0 - w[0].0 <= 75 * 60_000), "{class:?}");
            }
        }
    }

    #[test]
    fn a_trigger_before_the_delay_is_over_neither_counts_nor_postpones() {
        let mut backoff = Backoff::new(1);
        let failure = Failure::new(Throttled);
        let first = millis(backoff.failed(&"a", failure, 0));
        for early in 1..100 {
            let wait = millis(backoff.failed(&"a", failure, early * 10));
            assert_eq!(early * 10 + wait, first);
        }
        let second = backoff.failed(&"a", failure, first);
        assert!(second >= Duration::from_secs(30) && second <= Duration::from_millis(37_500), "{second:?}");
    }

    #[test]
    fn success_starts_over_and_other_objects_are_untouched() {
        let mut backoff = Backoff::new(1);
        let failure = Failure::new(Transient);
        let mut now = 0;
        for _ in 0..5 {
            now += millis(backoff.failed(&"a", failure, now));
        }
        assert!(backoff.failed(&"b", failure, now) < Duration::from_secs(2));
        backoff.reset(&"a");
        assert!(backoff.failed(&"a", failure, now) < Duration::from_secs(2));
        assert_eq!(backoff.failing(), 2);
    }

    #[test]
    fn a_flapping_fault_slows_down_all_the_same() {
        let mut backoff = Backoff::new(1);
        let mut now = 0;
        for n in 0..30 {
            let class = if n % 2 == 0 { Transient } else { Refused };
            now += millis(backoff.failed(&"a", Failure::new(class), now));
        }
        assert!(backoff.failed(&"a", Failure::new(Transient), now) >= WINDOW);
    }

    #[test]
    fn the_other_sides_word_counts() {
        let hint = |class, secs| Failure::new(class).with_retry_after(Some(Duration::from_secs(secs)));
        assert_eq!(delay(&hint(Throttled, 3), 1, 0), Duration::from_secs(3));
        assert_eq!(delay(&hint(Transient, 90), 1, 0), Duration::from_secs(90));
        assert_eq!(delay(&hint(Transient, 86_400), 1, 0), LONGEST);
    }

    #[test]
    fn jitter_is_deterministic_and_pulls_objects_apart() {
        let wait = |seed, key: u32| Backoff::new(seed).failed(&key, Failure::new(Invalid), 0);
        assert_eq!(wait(1, 5), wait(1, 5));
        let distinct: std::collections::HashSet<_> = (0..100).map(|key| wait(1, key)).collect();
        assert!(distinct.len() > 60, "{}", distinct.len());
        assert!(distinct.iter().all(|d| *d >= WINDOW && *d <= WINDOW * 5 / 4));
    }
}
