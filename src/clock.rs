//! Time, as a value that is passed in.
//!
//! This module is the only caller of "now" in the crate. Whatever decides takes a [`Moment`] as an argument;
//! whatever runs holds a [`Clock`].
//!
//! # Guarantees
//!
//! - [`Clock::monotonic_ms`] never goes back, and goes on while the machine or the virtual machine is suspended.
//!   Leadership is measured on it: a process that was frozen for a minute must not believe that its lease is fresh.
//!   `std::time::Instant` does not do: on Linux it stands still during suspension (`CLOCK_MONOTONIC`).
//!
//! # Caveats
//!
//! - The monotonic clock has no meaning outside the process and is never stored; the wall clock is, and may step.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::moment::{Moment, Span};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The wall clock: comparable with other machines as far as their clocks agree. May step back.
    fn now(&self) -> Moment;

    /// Milliseconds since some moment before the process started; runs through suspension, never goes back.
    fn monotonic_ms(&self) -> i64;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// Elsewhere (macOS) the ordinary monotonic clock is documented to go on during sleep.
#[cfg(target_os = "linux")]
const THROUGH_SUSPENSION: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const THROUGH_SUSPENSION: ClockId = ClockId::Monotonic;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        // A clock before 1970 is a broken machine; zero keeps every "is it over yet" at "no".
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_ms(&self) -> i64 {
        let t = clock_gettime(THROUGH_SUSPENSION);
        t.tv_sec.saturating_mul(1_000).saturating_add(t.tv_nsec / 1_000_000)
    }
}

/// The clock of the machine, ahead by as many milliseconds as a file says at the moment. For tests of the real process.
#[cfg(feature = "sandbox")]
#[derive(Clone, Debug)]
pub struct AheadClock {
    file: std::path::PathBuf,
}

#[cfg(feature = "sandbox")]
impl AheadClock {
    /// A clock that reads this file each time; a file that says nothing moves nothing.
    pub fn new(file: std::path::PathBuf) -> Self {
        Self { file }
    }

    fn ahead(&self) -> i64 {
        std::fs::read_to_string(&self.file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }
}

#[cfg(feature = "sandbox")]
impl Clock for AheadClock {
    fn now(&self) -> Moment {
        SystemClock.now() + Span(self.ahead())
    }

    fn monotonic_ms(&self) -> i64 {
        SystemClock.monotonic_ms() + self.ahead()
    }
}

/// A clock that stands still until it is told to move. For tests.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicI64,
    monotonic: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now`; its monotonic side starts at an unrelated value, so that mixing the two shows.
    pub fn new(now: Moment) -> Self {
        Self { wall: AtomicI64::new(now.0), monotonic: AtomicI64::new(1_000_000) }
    }

    /// Lets time pass on both clocks, as real time and suspension do.
    pub fn advance(&self, by: Span) {
        self.wall.fetch_add(by.0, Ordering::SeqCst);
        self.monotonic.fetch_add(by.0.max(0), Ordering::SeqCst);
    }

    /// Steps the wall clock alone, as a time service does; `by` may be negative.
    pub fn step_wall(&self, by: Span) {
        self.wall.fetch_add(by.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment(self.wall.load(Ordering::SeqCst))
    }

    fn monotonic_ms(&self) -> i64 {
        self.monotonic.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_moves_forward_and_is_after_2025() {
        let clock = SystemClock;
        let before = clock.monotonic_ms();
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert!(clock.monotonic_ms() >= before + 2);
        assert!(clock.now() > Moment(1_735_689_600_000));
    }

    #[test]
    fn a_step_of_the_wall_clock_leaves_the_monotonic_one_alone() {
        let clock = ManualClock::new(Moment(5_000));
        let before = clock.monotonic_ms();
        clock.step_wall(Span(-4_000));
        assert_eq!((clock.now(), clock.monotonic_ms()), (Moment(1_000), before));
        clock.advance(Span(10));
        assert_eq!((clock.now(), clock.monotonic_ms()), (Moment(1_010), before + 10));
    }
}
