//! Pairs of faults: whatever goes wrong at one effect, and then at another, the end is that of the life in which nothing
//! goes wrong, and no more was made on the way. Nothing here says how the operator should mend what: lives are compared.
//!
//! One life reaches every effect: keys and a database in two regions come to rest; an administrator damages what they can
//! while the author changes the spec; a region leaves; everything is deleted. At the end of each of these stages the clouds
//! and the objects are compared with those of the clean life.
//!
//! Every ordered pair is tried: ((site, kind), (site, kind)), the second at the first occurrence of its site after the first
//! has happened. A pair whose second site is never reached any more is counted as one that cannot occur; a fault that should
//! happen and does not is a failure.
//!
//! # Assumptions
//! - The windows are those that users have. What KMS and Astra show lags behind, for less than the operator waits; so no
//!   surplus key is ever made either.
//! - Only the lease is not among the sites: nobody leads in process. That it is lost right before an effect is one of the
//!   faults.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed test should stop at the place, and say what it saw"
)]

#[path = "inprocess/mod.rs"]
mod inprocess;
#[path = "pairs/life.rs"]
mod life;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use cmk_operator::domain::memory::{LastLooks, Memory};
use cmk_operator::plan::step::Site;

use inprocess::lab::{AsItIs, Twist};
use inprocess::trouble::{Kind, sites};
use life::Life;

/// A fault.
type Blow = (Site, Kind);

fn blows() -> Vec<Blow> {
    let kinds = |site| Kind::ALL.into_iter().filter(move |kind| kind.occurs_at(site));
    sites().flat_map(|site| kinds(site).map(move |kind| (site, kind))).collect()
}

/// What became of all pairs.
#[derive(Default)]
struct Tally {
    same: usize,
    /// How many pairs cannot occur, by their sites: the second is never reached after the first.
    never: BTreeMap<(Site, Site), usize>,
    /// The lives that ended otherwise, and by which faults.
    wrong: Vec<(String, Vec<Blow>)>,
}

/// All lives with some faults.
struct Trial<'t> {
    twist: Arc<dyn Twist>,
    clean: Life,
    wanted: &'t (dyn Fn(Blow, Blow) -> bool + Sync),
    tally: Mutex<Tally>,
}

impl Trial<'_> {
    /// Lives a life with one fault, and from it each life with another one that is wanted.
    fn after(&self, first: Blow) {
        let mut life = Life::begin(&self.twist);
        life.lab.trouble().then(first.0, first.1);
        // By whether an effect was made as well: nothing can happen right after one that was refused.
        let mut turns: BTreeMap<(Site, bool), Life> = BTreeMap::new();
        let lived = loop {
            let before = life.fork();
            match life.step() {
                Err(problem) => break Err(problem),
                Ok(over) => {
                    let trouble = life.lab.trouble();
                    let reached = trouble.reached.iter().map(|site| (*site, false));
                    for at in reached.chain(trouble.made.iter().map(|site| (*site, true))) {
                        turns.entry(at).or_insert_with(|| before.fork());
                    }
                    drop(trouble);
                    if over {
                        break Ok(());
                    }
                }
            }
        };
        if let Err(problem) = lived.and_then(|()| life.ended_as(&self.clean, 1)) {
            self.wrong(&problem, vec![first]);
            return;
        }
        for second in blows() {
            match turns.get(&(second.0, second.1 == Kind::DiesAfter)) {
                None => *self.tally.lock().unwrap().never.entry((first.0, second.0)).or_default() += 1,
                Some(turn) if (self.wanted)(first, second) => self.then(turn, first, second),
                Some(_) => {}
            }
        }
    }

    /// Lives on from the turn in which the site of the second fault is reached.
    fn then(&self, turn: &Life, first: Blow, second: Blow) {
        let mut life = turn.fork();
        life.lab.trouble().then(second.0, second.1);
        match life.live().and_then(|()| life.ended_as(&self.clean, 2)) {
            Ok(()) => {
                let mut tally = self.tally.lock().unwrap();
                tally.same += 1;
                if tally.same.is_multiple_of(1000) {
                    println!("{} pairs with the end of the clean life so far", tally.same);
                }
            }
            Err(problem) => self.wrong(&problem, vec![first, second]),
        }
    }

    fn wrong(&self, problem: &str, blows: Vec<Blow>) {
        println!("otherwise: {blows:?}");
        self.tally.lock().unwrap().wrong.push((format!("{blows:?}: {problem}"), blows));
    }
}

/// The same life once more, with everything that the passes did.
fn retold(twist: &Arc<dyn Twist>, blows: &[Blow]) -> String {
    let mut life = Life::begin(twist);
    life.lab.listen();
    for (site, kind) in blows {
        life.lab.trouble().then(*site, *kind);
    }
    let _ = life.live();
    life.lab.told()
}

/// Tries the pairs whose first and whose second fault is wanted.
fn pairs(
    twist: impl Twist + 'static,
    firsts: &[Blow],
    wanted: impl Fn(Blow, Blow) -> bool + Sync,
    threads: usize,
) -> Tally {
    let twist: Arc<dyn Twist> = Arc::new(twist);
    let mut clean = Life::begin(&twist);
    if let Err(problem) = clean.live() {
        panic!("the clean life: {problem}\n{}", retold(&twist, &[]));
    }
    let visited = clean.lab.trouble().visited.clone();
    let missed: Vec<Site> = sites().filter(|site| !visited.contains(site)).collect();
    assert!(missed.is_empty(), "the clean life never comes to {missed:?}");
    let trial = Trial { twist, clean, wanted: &wanted, tally: Mutex::default() };
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(first) = firsts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    trial.after(*first);
                }
            });
        }
    });
    trial.tally.into_inner().unwrap()
}

fn report(name: &str, tally: &Tally, began: Instant) {
    let never: usize = tally.never.values().sum();
    let seconds = began.elapsed().as_secs_f64();
    println!("{name}: {} with the end of the clean life in {seconds:.1} s, {never} cannot occur", tally.same);
    let Some((_, first)) = tally.wrong.first() else { return };
    let all: Vec<&str> = tally.wrong.iter().take(20).map(|(what, _)| what.as_str()).collect();
    let as_it_is: Arc<dyn Twist> = Arc::new(AsItIs);
    panic!(
        "{} lives end otherwise than the clean one:\n{}\n\nthe first of them:\n{}",
        tally.wrong.len(),
        all.join("\n"),
        retold(&as_it_is, first)
    );
}

/// A part of them, spread evenly over both faults.
#[test]
fn some_pairs_of_faults_end_as_if_nothing_had_happened() {
    const FIRST: usize = 8;
    const SECOND: usize = 25;
    let began = Instant::now();
    let all = blows();
    let number = |blow: Blow| all.iter().position(|b| *b == blow).unwrap();
    let firsts: Vec<Blow> = all.iter().copied().step_by(FIRST).collect();
    let tally = pairs(AsItIs, &firsts, |first, second| (number(first) * 7 + number(second)).is_multiple_of(SECOND), 1);
    report("some pairs", &tally, began);
    assert!(tally.same >= 200, "{} pairs", tally.same);
}

/// All of them. `make pairs`: they need an optimised build.
#[cfg(feature = "model")]
#[test]
fn every_pair_of_faults_ends_as_if_nothing_had_happened() {
    const LEAP: usize = 17;
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // In leaps, so that a run that somebody stops has tried something of each site.
    let all = blows();
    let firsts: Vec<Blow> = (0..LEAP).flat_map(|start| all.iter().copied().skip(start).step_by(LEAP)).collect();
    let tally = pairs(AsItIs, &firsts, |_, _| true, threads);
    for ((first, second), count) in &tally.never {
        println!("cannot occur: {} is never reached after {}: {count} pairs", second.as_str(), first.as_str());
    }
    report("every pair", &tally, began);
    assert!(tally.same >= 5000, "{} pairs", tally.same);
}

/// A process that is new remembers no attempt to create a key, whatever status says.
struct Forgetful;

impl Twist for Forgetful {
    fn memory(&self, memory: &mut Memory) {
        if memory.looked == LastLooks::default() {
            memory.regions.values_mut().for_each(|region| region.creating = None);
        }
    }
}

#[test]
fn without_the_memory_of_an_attempt_a_process_that_dies_makes_a_second_key() {
    let tally = pairs(Forgetful, &[(Site::CreateKey, Kind::DiesAfter)], |_, _| false, 1);
    let [(what, _)] = tally.wrong.as_slice() else { panic!("{:?}", tally.wrong) };
    // Four of ours, and two of somebody else's.
    assert!(what.contains("Made { keys: 7,") && what.contains("in the clean life Made { keys: 6,"), "{what}");
}
