//! How fast we may call AWS: one timeline of slots per (account, region, operation).
//!
//! Nobody sleeps here. A caller that can't go now is told the moment of the slot that is kept for it, ends its
//! pass, and comes back then. This module reads no clock: time is passed in.
//!
//! # Guarantees
//!
//! - Slots are given out in the order of asking, exactly at the configured share of the quota, so that a bucket
//!   with work to do runs at that rate for as long as there is work.
//! - A caller that comes back at its moment gets its slot: it doesn't queue again. One that comes back early keeps
//!   it; one that is late keeps it for [`CLAIM_WITHIN`].
//! - However many late ones arrive together, within any second no more is granted than one second's full quota:
//!   what was missed is made up for within the quota, not at once.
//! - A slot that nobody claims, or that is given back, goes to whoever asks next; it is not lost.
//! - Buckets know nothing of each other: an exhausted region holds up no other.
//!
//! # Assumptions
//!
//! - A caller has at most one request outstanding per bucket.
//! - Others use the quota as well, but no more than the rest of it.
//!
//! # Caveats
//!
//! - State is in memory. After a restart or a change of leader a bucket starts full; the share leaves room for that.
//! - The wall clock may step. Forward is harmless; after a step back of more than a second the buckets start anew,
//!   since a slot an hour ahead would hold up everything.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use crate::domain::moment::Moment;

/// How long a slot is kept for a caller that is late.
pub const CLAIM_WITHIN: i64 = 30_000;

/// How long an abandoned slot can be made up for, from the moment that it was for.
const SPARE_FOR: i64 = 2 * CLAIM_WITHIN;

/// Microseconds in a second: a slot of 2,000 per second is shorter than the millisecond that moments have.
const SECOND: i64 = 1_000_000;

/// A token bucket of AWS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// The account that is charged: the caller's.
    pub account: String,
    /// The region of the call.
    pub region: String,
    /// The operation, by its name in the AWS API.
    pub operation: &'static str,
}

/// The answer to a request for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a grant that is not used is capacity lost; a moment that is not kept is a slot lost"]
pub enum Reservation {
    /// Go now.
    Granted,
    /// Come back then; the slot is kept.
    At(Moment),
}

/// Requests per second that AWS allows for an operation, per account and region.
///
/// From the table of request quotas in the KMS developer guide. What is not in it gets the lowest rate.
pub fn quota(operation: &str) -> u32 {
    match operation {
        "TagResource" => 10,
        "PutKeyPolicy" | "EnableKeyRotation" | "ScheduleKeyDeletion" | "DeleteAlias" => 15,
        "RetireGrant" | "RevokeGrant" => 30,
        "CreateGrant" => 50,
        "ListGrants" | "ListKeyPolicies" | "ListRetirableGrants" => 100,
        "ListKeys" | "ListAliases" => 500,
        "GetKeyPolicy" | "GetKeyRotationStatus" => 1_000,
        "DescribeKey" | "ListResourceTags" | "GetPublicKey" => 2_000,
        // CreateKey, CreateAlias, UpdateAlias, EnableKey, DisableKey, CancelKeyDeletion, DisableKeyRotation,
        // ReplicateKey, UpdatePrimaryRegion, UntagResource, UpdateKeyDescription have 5 in the table.
        _ => 5,
    }
}

/// All buckets of the process, shared by all passes. `W` identifies a caller, usually an object.
#[derive(Debug)]
pub struct Limits<W> {
    share: f64,
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W> {
    timelines: HashMap<Bucket, Timeline<W>>,
    last: Moment,
    /// The number of buckets at which the idle ones are dropped next.
    prune_at: usize,
}

impl<W: Clone + Eq + Hash> Limits<W> {
    /// Buckets at this share of the quota, between 0.01 and 1.
    pub fn new(share: f64) -> Self {
        let state = State { timelines: HashMap::new(), last: Moment(i64::MIN), prune_at: 256 };
        Self { share: share.clamp(0.01, 1.0), state: Mutex::new(state) }
    }

    /// Asks for a slot of `cost` calls, or for the one that is kept from last time.
    pub fn reserve(&self, bucket: &Bucket, who: &W, now: Moment, cost: u32) -> Reservation {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0.saturating_add(1_000) < state.last.0 {
            state.timelines.clear();
        }
        // A step back of less than that is not worth a new start: time stands still meanwhile.
        let now = if state.timelines.is_empty() { now } else { now.max(state.last) };
        state.last = now;
        if state.timelines.len() >= state.prune_at {
            state.timelines.retain(|_, timeline| !timeline.is_idle(micros(now)));
            state.prune_at = (state.timelines.len() * 2).max(256);
        }
        if !state.timelines.contains_key(bucket) {
            let timeline = Timeline::new(quota(bucket.operation), self.share, micros(now));
            state.timelines.insert(bucket.clone(), timeline);
        }
        match state.timelines.get_mut(bucket) {
            Some(timeline) => timeline.reserve(who, micros(now), cost.max(1)),
            None => Reservation::Granted,
        }
    }

    /// The caller is gone or has nothing to do any more: what is kept for it goes to others.
    pub fn give_back(&self, who: &W) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for timeline in state.timelines.values_mut() {
            timeline.give_back(who);
        }
    }
}

/// The slots of one bucket. All times in microseconds.
#[derive(Debug)]
struct Timeline<W> {
    /// Between two slots.
    interval: i64,
    /// Slots that an idle bucket has ready: so many that they and a second at the share are within the quota.
    burst: i64,
    /// The most that is granted within a second.
    quota: usize,
    /// The first slot that was never given to anybody.
    next: i64,
    kept: HashMap<W, Kept>,
    /// Those kept, by the moment they are for.
    by_moment: BTreeMap<(i64, u64), W>,
    /// Slots given back or not claimed.
    spare: BTreeSet<(i64, u64)>,
    /// When the calls of the last second were granted and when further ones are promised; in order.
    calls: VecDeque<i64>,
    serial: u64,
}

/// What is kept for a caller.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at: i64,
    cost: u32,
    serial: u64,
    /// It came at the moment of its slot, found the second full, and has its place in `calls` already.
    in_calls: bool,
}

impl<W: Clone + Eq + Hash> Timeline<W> {
    #[expect(clippy::cast_possible_truncation, reason = "rates are between 0.01 and 2,000 a second")]
    fn new(quota: u32, share: f64, now: i64) -> Self {
        let rate = f64::from(quota) * share;
        let burst = (f64::from(quota) - rate).round().max(1.0) as i64;
        // Rounded up: never faster than the share.
        let interval = (1_000_000.0 / rate).ceil() as i64;
        Self {
            interval,
            burst,
            quota: quota as usize,
            next: now - (burst - 1) * interval,
            kept: HashMap::new(),
            by_moment: BTreeMap::new(),
            spare: BTreeSet::new(),
            calls: VecDeque::new(),
            serial: 0,
        }
    }

    fn reserve(&mut self, who: &W, now: i64, cost: u32) -> Reservation {
        self.expire(now);
        let kept = match self.kept.get(who) {
            Some(kept) if kept.cost == cost => *kept,
            _ => {
                self.give_back(who);
                let at = self.slot(now, cost);
                self.keep(who, at, cost, false)
            }
        };
        if kept.at > now && !self.swap_for_spare(who, kept, now) {
            return Reservation::At(moment(kept.at));
        }
        self.drop_kept(who);
        let at = if kept.in_calls { now } else { self.call(now, cost) };
        if at <= now {
            return Reservation::Granted;
        }
        self.keep(who, at, cost, true);
        Reservation::At(moment(at))
    }

    /// Somebody came early while a slot of the past is unused: it takes that one and leaves its own.
    fn swap_for_spare(&mut self, who: &W, kept: Kept, now: i64) -> bool {
        let Some(&spare) = self.spare.first() else {
            return false;
        };
        if spare.0 > now || kept.cost > 1 || kept.in_calls {
            return false;
        }
        self.spare.remove(&spare);
        self.give_back(who);
        true
    }

    /// The earliest slot that nobody has.
    fn slot(&mut self, now: i64, cost: u32) -> i64 {
        let next = self.next.max(now - (self.burst - 1) * self.interval);
        if let Some(&spare) = self.spare.first()
            && spare.0 < next
            && cost == 1
        {
            self.spare.remove(&spare);
            return spare.0;
        }
        self.next = next + i64::from(cost) * self.interval;
        next
    }

    /// Enters calls into the last second; returns when the last of them may be made: now or later.
    fn call(&mut self, now: i64, cost: u32) -> i64 {
        let mut at = now;
        for _ in 0..cost {
            if let Some(blocking) = self.calls.len().checked_sub(self.quota).and_then(|i| self.calls.get(i)) {
                at = at.max(blocking + SECOND);
            }
            self.calls.push_back(at);
        }
        at
    }

    fn expire(&mut self, now: i64) {
        while let Some((&(at, serial), who)) = self.by_moment.first_key_value()
            && at + CLAIM_WITHIN * 1_000 < now
        {
            let who = who.clone();
            self.by_moment.remove(&(at, serial));
            self.give_back(&who);
        }
        while let Some(&spare) = self.spare.first()
            && spare.0 + SPARE_FOR * 1_000 < now
        {
            self.spare.remove(&spare);
        }
        while self.calls.front().is_some_and(|at| at + SECOND <= now) {
            self.calls.pop_front();
        }
    }

    fn give_back(&mut self, who: &W) {
        if let Some(kept) = self.drop_kept(who) {
            for n in 0..i64::from(kept.cost) {
                self.serial += 1;
                self.spare.insert((kept.at + n * self.interval, self.serial));
            }
        }
    }

    fn keep(&mut self, who: &W, at: i64, cost: u32, in_calls: bool) -> Kept {
        self.serial += 1;
        let kept = Kept { at, cost, serial: self.serial, in_calls };
        self.kept.insert(who.clone(), kept);
        self.by_moment.insert((at, kept.serial), who.clone());
        kept
    }

    fn drop_kept(&mut self, who: &W) -> Option<Kept> {
        let kept = self.kept.remove(who)?;
        self.by_moment.remove(&(kept.at, kept.serial));
        Some(kept)
    }

    fn is_idle(&self, now: i64) -> bool {
        let quiet = self.calls.back().is_none_or(|at| at + SECOND <= now);
        let spent = self.spare.last().is_none_or(|spare| spare.0 + SPARE_FOR * 1_000 < now);
        quiet && spent && self.kept.is_empty() && self.next <= now
    }
}

fn micros(at: Moment) -> i64 {
    at.0.saturating_mul(1_000)
}

/// The first whole millisecond at which that time has come.
fn moment(micros: i64) -> Moment {
    Moment(micros.div_euclid(1_000) + i64::from(micros.rem_euclid(1_000) != 0))
}

#[cfg(test)]
mod tests;
