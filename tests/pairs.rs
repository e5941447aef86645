//! Pairs of faults: whatever goes wrong at one effect, and then at another, the end is that of the life in which nothing
//! goes wrong, and no more was made on the way. Nothing here says how the operator should mend what: lives are compared.
//!
//! There is one life on each cloud, through the real adapters of the database clouds ([`inprocess`]). It comes to every
//! effect that the cloud has to do with: keys and databases come to rest; administrators damage what they can while the
//! author changes the spec; regions leave; everything is deleted that can be. At the end of each of these stages the clouds
//! and the objects are compared with those of the clean life.
//!
//! Every ordered pair is tried: ((site, kind), (site, kind)), the second at the first occurrence of its site after the first
//! has happened. A pair whose second site is never reached any more is counted as one that cannot occur, and so is one of a
//! call that is not sent there any more; a fault that should happen and does not is a failure.
//!
//! # Assumptions
//! - The windows are those that users have. What KMS, IAM and the clouds show lags behind, for less than the operator waits;
//!   so no surplus key is ever made either.
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

#[path = "pairs/astra.rs"]
mod astra;
#[path = "pairs/atlas.rs"]
mod atlas;
#[path = "inprocess/mod.rs"]
mod inprocess;
#[path = "pairs/life.rs"]
mod life;
#[path = "pairs/singlestore.rs"]
mod singlestore;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use cmk_operator::domain::capabilities::Cloud;
use cmk_operator::domain::memory::{LastLooks, Memory};
use cmk_operator::plan::role_step::RoleSite;
use cmk_operator::plan::step::Site;

use inprocess::lab::{AsItIs, Twist};
use inprocess::trouble::{Kind, Point, sites};
use life::{Life, Plot};

/// The lives.
const PLOTS: [&dyn Plot; 3] = [&astra::Astra, &atlas::Atlas, &singlestore::SingleStore];

/// A fault.
type Blow = (Site, Kind);

fn blows(cloud: Cloud) -> Vec<Blow> {
    let kinds = |site| Kind::ALL.into_iter().filter(move |kind| kind.occurs_at(site, cloud));
    sites(cloud).flat_map(|site| kinds(site).map(move |kind| (site, kind))).collect()
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
    plot: &'static dyn Plot,
    twist: Arc<dyn Twist>,
    clean: Life,
    wanted: &'t (dyn Fn(Blow, Blow) -> bool + Sync),
    tally: Mutex<Tally>,
}

impl Trial<'_> {
    /// Lives a life with one fault, and from it each life with another one that is wanted.
    fn after(&self, first: Blow) {
        let mut life = Life::begin(self.plot, &self.twist);
        life.lab.trouble().then(first.0, first.1);
        let mut turns: BTreeMap<(Site, Point), Life> = BTreeMap::new();
        let lived = loop {
            let before = life.fork();
            match life.step() {
                Err(problem) => break Err(problem),
                Ok(over) => {
                    for at in &life.lab.trouble().reached {
                        turns.entry(*at).or_insert_with(|| before.fork());
                    }
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
        for second in blows(self.plot.cloud()) {
            match turns.get(&(second.0, second.1.point(second.0, self.plot.cloud()))) {
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
fn retold(plot: &'static dyn Plot, twist: &Arc<dyn Twist>, blows: &[Blow]) -> String {
    let mut life = Life::begin(plot, twist);
    life.lab.listen();
    for (site, kind) in blows {
        life.lab.trouble().then(*site, *kind);
    }
    let _ = life.live();
    life.lab.told()
}

/// Tries the pairs whose first and whose second fault is wanted.
fn pairs(
    plot: &'static dyn Plot,
    twist: impl Twist + 'static,
    firsts: &[Blow],
    wanted: impl Fn(Blow, Blow) -> bool + Sync,
    threads: usize,
) -> Tally {
    let twist: Arc<dyn Twist> = Arc::new(twist);
    let cloud = plot.cloud();
    let mut clean = Life::begin(plot, &twist);
    if let Err(problem) = clean.live() {
        panic!("the clean life on {cloud}: {problem}\n{}", retold(plot, &twist, &[]));
    }
    let visited = clean.lab.trouble().visited.clone();
    let missed: Vec<Site> = sites(cloud).filter(|site| !visited.contains(site)).collect();
    assert!(missed.is_empty(), "the clean life on {cloud} never comes to {missed:?}");
    let trial = Trial { plot, twist, clean, wanted: &wanted, tally: Mutex::default() };
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

fn report(name: &str, plot: &'static dyn Plot, tally: &Tally, began: Instant) {
    let cloud = plot.cloud();
    let never: usize = tally.never.values().sum();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{name} on {cloud}: {} with the end of the clean life in {seconds:.1} s, {never} cannot occur",
        tally.same
    );
    let Some((_, first)) = tally.wrong.first() else { return };
    let all: Vec<&str> = tally.wrong.iter().take(20).map(|(what, _)| what.as_str()).collect();
    let as_it_is: Arc<dyn Twist> = Arc::new(AsItIs);
    panic!(
        "{} lives on {cloud} end otherwise than the clean one:\n{}\n\nthe first of them:\n{}",
        tally.wrong.len(),
        all.join("\n"),
        retold(plot, &as_it_is, first)
    );
}

#[test]
fn every_effect_that_there_is_has_a_life_that_comes_to_it() {
    let lived = |site: Site| PLOTS.iter().any(|plot| sites(plot.cloud()).any(|at| at == site));
    let missed: Vec<&Site> = Site::ALL.iter().filter(|site| **site != Site::Lease && !lived(**site)).collect();
    assert!(missed.is_empty(), "no life comes to {missed:?}");
}

/// A part of them, spread evenly over both faults.
fn some(plot: &'static dyn Plot, first_step: usize, second_step: usize, at_least: usize) {
    let began = Instant::now();
    let all = blows(plot.cloud());
    let number = |blow: Blow| all.iter().position(|b| *b == blow).unwrap();
    let firsts: Vec<Blow> = all.iter().copied().step_by(first_step).collect();
    let wanted = |first, second| (number(first) * 7 + number(second)).is_multiple_of(second_step);
    let tally = pairs(plot, AsItIs, &firsts, wanted, 1);
    report("some pairs", plot, &tally, began);
    assert!(tally.same >= at_least, "{} pairs", tally.same);
}

#[test]
fn some_pairs_of_faults_on_astra_end_as_if_nothing_had_happened() {
    some(&astra::Astra, 8, 25, 200);
}

#[test]
fn some_pairs_of_faults_on_atlas_end_as_if_nothing_had_happened() {
    some(&atlas::Atlas, 16, 50, 50);
}

#[test]
fn some_pairs_of_faults_on_singlestore_end_as_if_nothing_had_happened() {
    some(&singlestore::SingleStore, 16, 25, 50);
}

/// All of them. `make pairs`: they need an optimised build.
#[cfg(feature = "model")]
fn every(plot: &'static dyn Plot, at_least: usize) {
    const LEAP: usize = 17;
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // In leaps, so that a run that somebody stops has tried something of each site.
    let all = blows(plot.cloud());
    let firsts: Vec<Blow> = (0..LEAP).flat_map(|start| all.iter().copied().skip(start).step_by(LEAP)).collect();
    let tally = pairs(plot, AsItIs, &firsts, |_, _| true, threads);
    for ((first, second), count) in &tally.never {
        println!("cannot occur: {} is not come to so far after {}: {count} pairs", second.as_str(), first.as_str());
    }
    report("every pair", plot, &tally, began);
    assert!(tally.same >= at_least, "{} pairs", tally.same);
}

#[cfg(feature = "model")]
#[test]
fn every_pair_of_faults_on_astra_ends_as_if_nothing_had_happened() {
    every(&astra::Astra, 5000);
}

#[cfg(feature = "model")]
#[test]
fn every_pair_of_faults_on_atlas_ends_as_if_nothing_had_happened() {
    every(&atlas::Atlas, 5000);
}

#[cfg(feature = "model")]
#[test]
fn every_pair_of_faults_on_singlestore_ends_as_if_nothing_had_happened() {
    every(&singlestore::SingleStore, 2000);
}

/// A process that is new remembers no attempt to make a key, whatever status says; and none ever remembers an attempt to make
/// a record of a role, before which there may be other things to do, or one to deploy, of which it could learn as long as the
/// gate is being looked at.
struct Forgetful;

impl Twist for Forgetful {
    fn memory(&self, memory: &mut Memory) {
        let is_new = memory.looked == LastLooks::default();
        for region in memory.regions.values_mut() {
            region.creating = region.creating.take().filter(|_| !is_new);
            region.linking = None;
        }
        memory.deploying = None;
    }
}

/// What comes of a process that dies right after an effect, and whose successor remembers no attempt.
fn forgotten(plot: &'static dyn Plot, site: Site) -> String {
    let tally = pairs(plot, Forgetful, &[(site, Kind::DiesAfter)], |_, _| false, 1);
    let [(what, _)] = tally.wrong.as_slice() else { panic!("{:?}", tally.wrong) };
    what.clone()
}

#[test]
fn without_the_memory_of_an_attempt_a_process_that_dies_makes_a_second_key() {
    let what = forgotten(&astra::Astra, Site::CreateKey);
    // Four of ours, and two of somebody else's.
    assert!(what.contains("Made { keys: 7,") && what.contains("in the clean life Made { keys: 6,"), "{what}");
}

#[test]
fn without_the_memory_of_an_attempt_a_process_that_dies_makes_a_second_record_of_the_role() {
    let what = forgotten(&atlas::Atlas, Site::Role(RoleSite::Create));
    let twice = what.split(" in the clean life ").next().unwrap_or_default();
    assert!(twice.contains("\"atlas:CreateCloudProviderAccess\": 3"), "{what}");
}

#[test]
fn without_the_memory_of_an_attempt_a_process_that_dies_makes_a_second_group() {
    let what = forgotten(&singlestore::SingleStore, Site::CreateDatabase);
    let twice = what.split(" in the clean life ").next().unwrap_or_default();
    assert!(twice.contains("\"singlestore:CreateWorkspaceGroup\": 2"), "{what}");
}
