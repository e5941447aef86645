//! The rules one by one, and then a long random walk beside a naive model.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const FRESH: Lane = Lane::Fresh;
const RESYNC: Lane = Lane::Resync;

fn at(at_ms: i64, lane: Lane) -> Due {
    Due { at_ms, lane }
}

/// Starts and finishes passes until nobody is ready; returns the order.
fn drain(schedule: &mut Schedule<u32>, now: i64) -> Vec<u32> {
    let mut order = Vec::new();
    schedule.advance(now);
    while let Some(key) = schedule.start() {
        order.push(key);
        schedule.finish(&key, Finished::Idle, now);
    }
    order
}

#[test]
fn first_in_first_out_and_doubles_merge() {
    let mut schedule = Schedule::new(1, 4);
    for key in [3, 1, 2, 3, 1] {
        schedule.trigger(key, FRESH, 0);
    }
    assert_eq!(drain(&mut schedule, 0), [3, 1, 2]);
    assert!(!schedule.knows(&3));
}

#[test]
fn lanes_share_by_weight_and_neither_starves() {
    let mut schedule = Schedule::new(1, 3);
    for key in 0..8 {
        schedule.trigger(100 + key, RESYNC, 0);
        schedule.trigger(key, FRESH, 0);
    }
    let order = drain(&mut schedule, 0);
    assert_eq!(order, [0, 1, 2, 100, 3, 4, 5, 101, 6, 7, 102, 103, 104, 105, 106, 107]);
}

#[test]
fn a_fresh_trigger_overtakes_a_backlog_of_resyncs() {
    let mut schedule = Schedule::new(1, 4);
    for key in 0..1_000 {
        schedule.trigger(key, RESYNC, 0);
    }
    schedule.trigger(999, FRESH, 1);
    assert_eq!(schedule.start(), Some(999), "it moves lanes, keeping its place by arrival");
    assert_eq!(schedule.depth(), Depth { fresh: 0, resync: 999, later: 0, running: 1 });
}

#[test]
fn a_trigger_during_a_pass_gives_exactly_one_more() {
    let mut schedule = Schedule::new(4, 4);
    schedule.trigger(1, FRESH, 0);
    assert_eq!(schedule.start(), Some(1));
    for _ in 0..10 {
        schedule.trigger(1, RESYNC, 1);
        schedule.trigger(1, FRESH, 1);
        schedule.trigger_at(1, at(50, FRESH), 1);
    }
    assert_eq!(schedule.start(), None, "not while the first is in flight");
    schedule.finish(&1, Finished::Again(at(99, RESYNC)), 2);
    assert_eq!(schedule.depth(), Depth { fresh: 1, resync: 0, later: 0, running: 0 });
    assert_eq!(drain(&mut schedule, 2), [1]);
    assert_eq!(drain(&mut schedule, 1_000), [] as [u32; 0]);
}

#[test]
fn the_earliest_wish_holds() {
    // (asked before or during the pass, what the pass says, when it runs)
    let table: [(&[Due], Finished, Option<i64>); 6] = [
        (&[at(50, FRESH)], Finished::Idle, Some(50)),
        (&[at(50, FRESH), at(30, RESYNC), at(40, FRESH)], Finished::Idle, Some(30)),
        (&[at(50, FRESH)], Finished::Again(at(20, RESYNC)), Some(20)),
        (&[at(50, FRESH)], Finished::Again(at(80, RESYNC)), Some(50)),
        (&[at(50, FRESH)], Finished::Gone, None),
        (&[], Finished::Again(at(0, RESYNC)), None),
    ];
    for (wishes, finished, due) in table {
        let mut schedule = Schedule::new(1, 4);
        schedule.trigger(1, FRESH, 0);
        schedule.start();
        for wish in wishes {
            schedule.trigger_at(1, *wish, 1);
        }
        schedule.finish(&1, finished, 2);
        assert_eq!(schedule.next_due_ms(), due, "{wishes:?} {finished:?}");

        let mut schedule = Schedule::new(1, 4);
        for wish in wishes {
            schedule.trigger_at(1, *wish, 1);
        }
        assert_eq!(schedule.next_due_ms(), wishes.iter().map(|w| w.at_ms).min());
        schedule.trigger(1, FRESH, 2);
        assert_eq!(schedule.next_due_ms(), None, "a trigger replaces the later time");
    }
}

#[test]
fn what_is_due_enters_its_lane_in_the_order_of_time() {
    let mut schedule = Schedule::new(1, 4);
    for (key, due) in [(1, at(30, FRESH)), (2, at(10, FRESH)), (3, at(20, RESYNC)), (4, at(99, FRESH))] {
        schedule.trigger_at(key, due, 0);
    }
    schedule.advance(9);
    assert_eq!(schedule.depth().later, 4);
    assert_eq!(drain(&mut schedule, 30), [2, 1, 3]);
    assert_eq!(schedule.next_due_ms(), Some(99));
}

#[test]
fn forgetting_removes_from_every_place() {
    let mut schedule = Schedule::new(1, 4);
    schedule.trigger(1, FRESH, 0);
    schedule.trigger(2, RESYNC, 0);
    schedule.trigger_at(3, at(50, FRESH), 0);
    for key in [1, 2, 3, 4] {
        schedule.forget(&key);
    }
    assert_eq!((schedule.depth(), schedule.next_due_ms()), (Depth::default(), None));

    // In flight: what it says about its next look no longer counts, a later trigger does.
    for triggered in [false, true] {
        schedule.trigger(5, FRESH, 0);
        schedule.start();
        schedule.trigger(5, FRESH, 0);
        schedule.forget(&5);
        if triggered {
            schedule.trigger(5, FRESH, 1);
        }
        schedule.finish(&5, Finished::Again(at(9, FRESH)), 2);
        assert_eq!(schedule.knows(&5), triggered);
    }
}

#[test]
fn the_oldest_wait_is_over_both_lanes() {
    let mut schedule = Schedule::new(1, 4);
    assert_eq!(schedule.oldest_since_ms(), None);
    schedule.trigger(1, RESYNC, 10);
    schedule.trigger(2, FRESH, 20);
    assert_eq!(schedule.oldest_since_ms(), Some(10));
    schedule.trigger(1, FRESH, 30);
    assert_eq!(schedule.oldest_since_ms(), Some(10));
    schedule.start();
    assert_eq!(schedule.oldest_since_ms(), Some(20));
}

#[test]
fn a_thousand_objects_over_capacity_all_run_in_every_round() {
    let mut schedule = Schedule::new(16, 4);
    for key in 0..1_000_u32 {
        schedule.trigger(key, RESYNC, 0);
    }
    let mut runs: BTreeMap<u32, u32> = BTreeMap::new();
    let mut in_flight = std::collections::VecDeque::new();
    for now in 0..10_000 {
        schedule.advance(now);
        while let Some(key) = schedule.start() {
            in_flight.push_back(key);
        }
        let key = in_flight.pop_front().unwrap();
        *runs.entry(key).or_default() += 1;
        // Due again at once: demand is always above capacity.
        schedule.finish(&key, Finished::Again(at(now, RESYNC)), now);
    }
    assert_eq!(runs.len(), 1_000);
    assert!(runs.values().all(|n| (9..=11).contains(n)), "{runs:?}");
}

/// A small generator, so that a failure is repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn lane(&mut self) -> Lane {
        if self.below(2) == 0 { FRESH } else { RESYNC }
    }
}

/// What must be true, told without lanes and tickets: who is in a pass, who is owed one, who wants one when.
#[derive(Default)]
struct Model {
    running: BTreeSet<u32>,
    ready: BTreeMap<u32, i64>,
    owed: BTreeSet<u32>,
    wanted: BTreeMap<u32, i64>,
    forgotten: BTreeSet<u32>,
}

impl Model {
    fn trigger(&mut self, key: u32, starts: i64) {
        if self.running.contains(&key) {
            self.owed.insert(key);
        } else {
            self.ready.entry(key).or_insert(starts);
            self.wanted.remove(&key);
        }
    }

    fn want(&mut self, key: u32, when: i64) {
        if !self.ready.contains_key(&key) {
            let at = self.wanted.entry(key).or_insert(when);
            *at = when.min(*at);
        }
    }

    fn advance(&mut self, now: i64, starts: i64) {
        let due: Vec<u32> =
            self.wanted.iter().filter(|(k, w)| **w <= now && !self.running.contains(*k)).map(|(k, _)| *k).collect();
        for key in due {
            self.trigger(key, starts);
        }
    }

    fn finish(&mut self, key: u32, finished: Finished, now: i64, starts: i64) {
        self.running.remove(&key);
        let forgotten = self.forgotten.remove(&key);
        match finished {
            Finished::Again(due) if !forgotten => self.want(key, due.at_ms),
            Finished::Gone => {
                self.wanted.remove(&key);
            }
            _ => {}
        }
        if self.owed.remove(&key) {
            self.wanted.remove(&key);
            self.trigger(key, starts);
        }
        if self.wanted.get(&key).is_some_and(|w| *w <= now) {
            self.trigger(key, starts);
        }
    }

    fn forget(&mut self, key: u32) {
        self.ready.remove(&key);
        self.owed.remove(&key);
        self.wanted.remove(&key);
        if self.running.contains(&key) {
            self.forgotten.insert(key);
        }
    }
}

#[test]
fn a_random_walk_agrees_with_the_model() {
    for seed in 1..=60_u64 {
        let mut random = Random(seed * 0x9E37_79B9);
        let capacity = usize::try_from(1 + random.below(5)).unwrap();
        let mut schedule = Schedule::new(capacity, 3);
        let mut model = Model::default();
        let (mut now, mut starts) = (0_i64, 0_i64);
        for step in 0..2_000 {
            let key = u32::try_from(random.below(24)).unwrap();
            match random.below(10) {
                0..=2 => {
                    schedule.trigger(key, random.lane(), now);
                    model.trigger(key, starts);
                }
                3 => {
                    let when = now + 1 + i64::try_from(random.below(40)).unwrap();
                    schedule.trigger_at(key, at(when, random.lane()), now);
                    model.want(key, when);
                }
                4 if random.below(4) == 0 => {
                    schedule.forget(&key);
                    model.forget(key);
                }
                5 | 6 => {
                    let at_work: Vec<u32> = model.running.iter().copied().collect();
                    if !at_work.is_empty() {
                        let who = at_work[usize::try_from(random.below(at_work.len() as u64)).unwrap()];
                        let finished = match random.below(5) {
                            0 => Finished::Gone,
                            1 | 2 => Finished::Idle,
                            _ => {
                                let when = now + i64::try_from(random.below(30)).unwrap();
                                Finished::Again(at(when, random.lane()))
                            }
                        };
                        schedule.finish(&who, finished, now);
                        model.finish(who, finished, now, starts);
                    }
                }
                7 => {
                    now += i64::try_from(random.below(20)).unwrap();
                    schedule.advance(now);
                    model.advance(now, starts);
                }
                _ => {
                    let started = schedule.start();
                    let expected = !model.ready.is_empty() && model.running.len() < capacity;
                    assert_eq!(started.is_some(), expected, "seed {seed} step {step}");
                    if let Some(key) = started {
                        let since = model.ready.remove(&key).expect("it was ready");
                        assert!(model.running.insert(key), "two passes at once: seed {seed} step {step}");
                        // 23 others in the other lane, whichever that is, and one of them starts ahead at most
                        // three times for each of those ahead of it in its own.
                        assert!(starts - since <= 23 * 4, "starved: seed {seed} step {step}");
                        starts += 1;
                    }
                }
            }
            let depth = schedule.depth();
            let expected = (model.ready.len(), model.running.len());
            assert_eq!((depth.fresh + depth.resync, depth.running), expected, "seed {seed} step {step}");
            let later = model.wanted.keys().filter(|k| !model.running.contains(*k)).count();
            assert_eq!(depth.later, later, "seed {seed} step {step}");
            let known: BTreeSet<u32> =
                model.ready.keys().chain(&model.running).chain(model.wanted.keys()).copied().collect();
            assert!((0..24).all(|k| schedule.knows(&k) == known.contains(&k)), "seed {seed} step {step}");
        }
    }
}
