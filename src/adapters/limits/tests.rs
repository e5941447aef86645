//! Rules one by one, and crowds of callers in simulated time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use Reservation::{At, Granted};

const T0: i64 = 1_800_000_000_000;

fn bucket(region: &str, operation: &'static str) -> Bucket {
    Bucket { account: "111122223333".into(), region: region.into(), operation }
}

fn at(ms: i64) -> Moment {
    Moment(T0 + ms)
}

/// `(who, when, answer)` in a row, on `CreateKey` at 4 a second.
fn check(rows: &[(&str, i64, Reservation)]) {
    let limits = Limits::new(0.8);
    for (n, (who, when, expected)) in rows.iter().enumerate() {
        let answer = limits.reserve(&bucket("eu-west-1", "CreateKey"), &(*who).to_owned(), at(*when), 1);
        assert_eq!(answer, *expected, "row {n} of {rows:?}");
    }
}

#[test]
fn slots_are_given_in_order_and_kept() {
    check(&[
        ("a", 0, Granted),
        ("b", 0, At(at(250))),
        ("c", 0, At(at(500))),
        // Early: the same slot.
        ("c", 100, At(at(500))),
        // Late: still its own, though others came meanwhile.
        ("d", 300, At(at(750))),
        ("c", 520, Granted),
        ("b", 530, Granted),
        // Its slot is used up; the next one is a new one.
        ("b", 540, At(at(1_000))),
        ("d", 760, Granted),
    ]);
}

#[test]
fn an_idle_bucket_saves_up_no_more_than_the_quota_allows() {
    check(&[("a", 0, Granted), ("a", 60_000, Granted), ("b", 60_000, At(at(60_250)))]);
    // At half of 15 a second: seven or eight at once and eight during the next second are within the quota.
    let limits = Limits::new(0.5);
    let granted = (0..20).filter(|n| limits.reserve(&bucket("r", "PutKeyPolicy"), n, at(0), 1) == Granted).count();
    assert_eq!(granted, 8);
}

#[test]
fn a_slot_that_nobody_claims_goes_to_whoever_asks_next() {
    check(&[
        ("a", 0, Granted),
        ("gone", 0, At(at(250))),
        ("c", 0, At(at(500))),
        ("c", 500, Granted),
        // The slot of the one that never came is kept for half a minute, then it is anybody's.
        ("d", 30_250, Granted),
        ("e", 30_250, At(at(30_500))),
        ("f", 30_251, Granted),
        ("gone", 30_252, At(at(30_750))),
    ]);
}

#[test]
fn a_slot_given_back_goes_to_whoever_asks_next_and_early_ones_move_up() {
    let limits = Limits::new(0.8);
    let ask = |who, when| limits.reserve(&bucket("r", "CreateKey"), &who, at(when), 1);
    assert_eq!(ask(1, 0), Granted);
    for (who, when) in [(2, 250), (3, 500), (4, 750)] {
        assert_eq!(ask(who, 0), At(at(when)));
    }
    limits.give_back(&3);
    assert_eq!(ask(5, 10), At(at(500)), "the slot of 3");
    limits.give_back(&2);
    assert_eq!(ask(4, 300), Granted, "early, but 2 has left its slot");
    assert_eq!(ask(6, 300), At(at(750)), "the slot that 4 left in turn");
}

#[test]
fn costs_take_as_many_slots() {
    let limits = Limits::new(0.8);
    let ask = |who, cost| limits.reserve(&bucket("r", "UpdatePrimaryRegion"), &who, at(0), cost);
    assert_eq!(ask(1, 2), Granted);
    assert_eq!(ask(2, 1), At(at(500)));
    assert_eq!(ask(3, 1), At(at(750)));
}

#[test]
fn a_wall_clock_that_steps_back_holds_up_nobody() {
    check(&[
        ("a", 0, Granted),
        ("b", 0, At(at(250))),
        // A little: time stands still.
        ("c", -900, At(at(500))),
        // An hour: a new start.
        ("b", -3_600_000, Granted),
        ("c", -3_600_000, At(at(-3_599_750))),
    ]);
}

#[test]
fn idle_buckets_are_dropped() {
    let limits = Limits::new(0.8);
    for n in 0..10_000_i64 {
        let region = format!("region-{n}");
        assert_eq!(limits.reserve(&bucket(&region, "CreateKey"), &n, at(n * 100), 1), Granted);
    }
    assert!(limits.state.lock().unwrap().timelines.len() <= 1_024);
}

/// Callers that each want `wants` grants in a bucket, come back when told to, `lag(who, n)` ms late on their visit
/// number n; `None`: they never come back. Returns the grants: when, who.
fn crowd(
    limits: &Limits<u32>,
    bucket: &Bucket,
    callers: u32,
    wants: u32,
    until: i64,
    lag: impl Fn(u32, u32) -> Option<i64>,
) -> Vec<(i64, u32)> {
    // When, in which order, who, its number of the visit, its grants so far.
    type Visit = (i64, u64, u32, u32, u32);
    let mut visits: BinaryHeap<Reverse<Visit>> = BinaryHeap::new();
    let mut order = 0;
    for who in 0..callers {
        visits.push(Reverse((0, u64::from(who), who, 0, 0)));
        order = u64::from(who) + 1;
    }
    let mut grants = Vec::new();
    while let Some(Reverse((when, _, who, visit, mut got))) = visits.pop() {
        if when > until {
            break;
        }
        order += 1;
        assert!(order < 1_000_000, "nobody gets anywhere");
        let next = match limits.reserve(bucket, &who, at(when), 1) {
            Granted => {
                grants.push((when, who));
                got += 1;
                (got < wants).then_some(when)
            }
            At(Moment(then)) => {
                assert!(then > T0 + when, "told to come back at a moment that is not ahead");
                lag(who, visit).map(|late| then - T0 + late)
            }
        };
        if let Some(next) = next {
            visits.push(Reverse((next, order, who, visit + 1, got)));
        }
    }
    grants
}

/// The most grants within any second.
fn busiest_second(grants: &[(i64, u32)]) -> usize {
    let times: Vec<i64> = grants.iter().map(|(when, _)| *when).collect();
    (0..times.len()).map(|i| times[i..].iter().take_while(|t| **t < times[i] + 1_000).count()).max().unwrap_or(0)
}

#[test]
fn a_thousand_callers_run_at_exactly_the_share_first_in_first_out() {
    for (operation, share, rate, burst) in [
        ("CreateKey", 0.8, 4.0, 1.0),
        ("CreateKey", 1.0, 5.0, 1.0),
        ("PutKeyPolicy", 0.8, 12.0, 3.0),
        ("TagResource", 0.5, 5.0, 5.0),
    ] {
        let limits = Limits::new(share);
        let grants = crowd(&limits, &bucket("r", operation), 1_000, 1, i64::MAX, |_, _| Some(0));
        assert_eq!(grants.len(), 1_000, "{operation}");
        for seconds in [1, 10, 60] {
            let within = grants.iter().filter(|(when, _)| *when <= seconds * 1_000).count();
            #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
            let (within, exact) = (within as f64, rate * seconds as f64);
            assert!((within - exact).abs() <= burst, "{operation}: {within} in {seconds} s, not {exact}");
        }
        assert!(grants.is_sorted_by_key(|(_, who)| *who), "{operation}: not in the order of asking");
    }
}

#[test]
fn callers_that_are_late_by_varying_times_cost_no_capacity() {
    let limits = Limits::new(0.8);
    // Up to two seconds late, as passes are that first have to look at the world.
    let grants = crowd(&limits, &bucket("r", "CreateKey"), 1_000, 1, i64::MAX, |who, visit| {
        Some(i64::from((who * 7_919 + visit * 104_729) % 2_000))
    });
    let last = grants.last().unwrap().0;
    assert!((249_000..=253_000).contains(&last), "1,000 keys at 4 a second took {last} ms");
}

#[test]
fn after_a_stall_what_was_missed_is_made_up_within_the_quota() {
    let limits = Limits::new(0.8);
    // Everybody due in the first 20 s comes at 20 s.
    let grants = crowd(&limits, &bucket("r", "CreateKey"), 1_000, 1, i64::MAX, |who, visit| {
        Some(if visit == 0 && who < 80 { 20_000 - i64::from(who) * 250 } else { 0 })
    });
    assert_eq!(grants.len(), 1_000);
    assert!(busiest_second(&grants) <= 5, "{}", busiest_second(&grants));
    let last = grants.last().unwrap().0;
    assert!(last <= 251_000, "made up for: 1,000 keys took {last} ms");
}

#[test]
fn slots_of_callers_that_vanish_are_not_lost_while_others_ask() {
    let limits = Limits::new(0.8);
    // Every third vanishes; the others want grants for as long as it takes.
    let vanishes = |who: u32| who.is_multiple_of(3) && who > 0;
    let until = 600_000;
    let grants = crowd(&limits, &bucket("r", "CreateKey"), 90, 100, until, |who, _| (!vanishes(who)).then_some(0));
    // 30 slots vanish with their callers and come back as spares.
    assert!((2_398..=2_402).contains(&grants.len()), "{} in {until} ms", grants.len());
    assert!(busiest_second(&grants) <= 5);
}

#[test]
fn everybody_gets_the_same_when_all_want_more_than_there_is() {
    let limits = Limits::new(0.8);
    let grants = crowd(&limits, &bucket("r", "CreateKey"), 50, u32::MAX, 250_000, |_, _| Some(0));
    let mut per_caller: HashMap<u32, u32> = HashMap::new();
    for (_, who) in &grants {
        *per_caller.entry(*who).or_default() += 1;
    }
    assert!(per_caller.len() == 50 && per_caller.values().all(|n| (19..=21).contains(n)), "{per_caller:?}");
}

#[test]
fn an_exhausted_region_holds_up_no_other() {
    let limits = Limits::new(0.8);
    for who in 0..1_000 {
        let _ = limits.reserve(&bucket("us-east-1", "CreateKey"), &who, at(0), 1);
    }
    let other_operation = bucket("us-east-1", "PutKeyPolicy");
    let other_account = Bucket { account: "444455556666".into(), ..bucket("us-east-1", "CreateKey") };
    for free in [bucket("eu-west-1", "CreateKey"), other_operation, other_account] {
        assert_eq!(limits.reserve(&free, &1, at(0), 1), Granted, "{free:?}");
    }
    assert_eq!(limits.reserve(&bucket("us-east-1", "CreateKey"), &1_000, at(0), 1), At(at(250_000)));
}

#[test]
fn quotas_are_those_of_the_table() {
    for (operation, expected) in [
        ("CreateKey", 5),
        ("CreateAlias", 5),
        ("TagResource", 10),
        ("PutKeyPolicy", 15),
        ("DescribeKey", 2_000),
        ("SomethingNew", 5),
    ] {
        assert_eq!(quota(operation), expected);
    }
}
