//! The model: the real pipeline (look, decide, check, act, render) on simulated clouds and an in-memory API server,
//! explored exhaustively: every interleaving of passes and time, with every choice of a few faults.
//!
//! # Assumptions
//! - The database clouds are called by their real adapters. Those of a pass have learnt nothing from the one before, so on
//!   Atlas each pass asks for an access token of its own.
//! - One pass is atomic, but for what a fault does in its midst (death, another replica's pass, a long sleep, or a stop
//!   after which anything may happen before it goes on). One pass at a time is stopped.
//! - No read lags longer than `scene::LAG`, and every window of the settings is longer (as 120 s and 300 s are to the
//!   seconds that AWS documents); except the tagging index, which in one configuration never shows a new key.
//! - A process that was stopped for `scene::FENCE` starts no effect any more, and no other replica acts before. What is on
//!   its way then arrives by then, or never. All other faults are without leadership: everybody believes to lead.
//! - Time goes on from one moment that matters to the next; between two of them nothing is decided differently. The end of
//!   a key's pending window is beyond the horizon.
//! - Back-off is not modelled: a pass may come at any moment, which is more than any back-off allows.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::struct_excessive_bools,
    clippy::unused_self,
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    clippy::unnecessary_wraps,
    reason = "a failed test should stop at the place, and say what it saw"
)]

#[path = "model/act.rs"]
mod act;
#[path = "inprocess/adapters.rs"]
mod adapters;
#[path = "model/admin.rs"]
mod admin;
#[path = "model/calm.rs"]
mod calm;
#[path = "model/devices.rs"]
mod devices;
#[path = "model/end_mutants.rs"]
mod end_mutants;
#[path = "model/ends.rs"]
mod ends;
#[path = "model/explore.rs"]
mod explore;
#[path = "model/family.rs"]
mod family;
#[path = "model/files.rs"]
mod files;
#[path = "model/fingerprint.rs"]
mod fingerprint;
#[path = "model/judge.rs"]
mod judge;
#[path = "model/lab.rs"]
mod lab;
#[path = "model/ledger.rs"]
mod ledger;
#[path = "model/memo.rs"]
mod memo;
#[path = "model/mutants.rs"]
mod mutants;
#[path = "model/node.rs"]
mod node;
#[path = "model/pass.rs"]
mod pass;
#[path = "model/print.rs"]
mod print;
#[path = "model/rest.rs"]
mod rest;
#[path = "model/role_mutants.rs"]
mod role_mutants;
#[path = "model/roles.rs"]
mod roles;
#[path = "model/says.rs"]
mod says;
#[path = "model/scene.rs"]
mod scene;
#[path = "model/stopped.rs"]
mod stopped;
#[path = "model/truth.rs"]
mod truth;
#[path = "model/users.rs"]
mod users;
#[path = "model/wire.rs"]
mod wire;

#[cfg(feature = "model")]
use std::collections::HashSet;
#[cfg(feature = "model")]
use std::hash::BuildHasherDefault;

use act::{Act, Who};
use explore::{explore, path, shortened, told};
use scene::{Config, Index, Menu, Scene, Start};

/// Explores, and fails with the shortest telling of what went wrong.
fn holds(name: &str, config: &Config) -> explore::Found {
    let found = explore(config);
    let (states, seconds) = (found.graph.len(), found.took.as_secs_f64());
    println!(
        "{name}: {states} states, {} transitions, {seconds:.1} s, {} deep, {} effect sites, {} kinds of trouble, by faults {:?}",
        found.transitions,
        found.deepest,
        found.sites.len(),
        found.troubles.len(),
        found.layers
    );
    println!("{name}: {} MB at most so far", peak());
    if let Some((path, violation)) = &found.violation {
        let short = shortened(path, violation, config);
        panic!("{}: {}\n{}", violation.invariant, violation.what, told(&short, config));
    }
    assert!(!found.gave_up, "more than {} states", config.limit);
    match calm::settles(&found.graph) {
        Ok(settled) => {
            println!("{name}: settles in {} rounds at most, {} resting states", settled.rounds, settled.resting);
        }
        Err(restless) => {
            let start = told(&path(&found.graph, restless.state), config);
            let circle: Vec<String> =
                restless.circle.iter().take(1).map(|state| told(&path(&found.graph, *state), config)).collect();
            panic!(
                "does not settle ({}), from\n{start}\nto a circle of {} at\n{}",
                restless.why,
                restless.circle.len(),
                circle.join("\n---\n")
            );
        }
    }
    found
}

/// The most memory that this process has had so far, in megabytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() / 1024
}

#[test]
fn without_faults_all_is_well() {
    for index in [Index::Late, Index::Blind] {
        holds("no faults", &Config::new(index, &[]));
    }
}

/// Every fault of every kind, once, anywhere.
#[test]
fn one_fault_of_any_kind() {
    holds("one fault", &Config::new(Index::Late, &[Menu::ALL]));
}

/// An object at rest is mostly looked at less deeply; whatever people do to it is found all the same.
#[test]
fn glances_miss_nothing() {
    let mut config = Config::new(Index::Late, &[Menu::acts(scene::PEOPLE)]);
    config.settings = scene::glancing();
    holds("glances", &config);
}

/// One key in both regions: a call or a process that is lost, anywhere, and every end at any moment.
#[test]
fn one_loss_or_end_of_a_multi_region_key() {
    let loss = Menu { lost: true, crash: true, ..Menu::NONE };
    holds("multi-Region, one loss", &Config::of(Scene::STAYS.of_one_key(), Index::Late, &[loss]));
    for start in [Start::Nothing, Start::Both] {
        let scene = Scene::ends(start).of_one_key();
        holds("multi-Region, one end", &Config::of(scene, Index::Late, &[Menu::acts(scene::ENDS)]));
    }
}

/// Every end and every new beginning, of either object, while the chain is made or once it is there.
#[test]
fn one_end_at_any_moment() {
    for start in [Start::Nothing, Start::Both] {
        holds("one end", &Config::of(Scene::ends(start), Index::Late, &[Menu::acts(scene::ENDS)]));
    }
}

/// Whatever administrators do to a key that is there.
#[test]
fn one_drift() {
    holds("one drift", &Config::of(Scene::ends(Start::Both), Index::Late, &[Menu::acts(scene::DRIFT)]));
}

/// Somebody lets another account use a key while a pass that is about to write its policy stands still.
#[test]
fn a_policy_is_changed_while_a_pass_stands_still() {
    let scene = Scene { start: Start::Key, ..Scene::STAYS };
    let menus = [Menu::acts(&[Act::Tamper]), Menu { stops: true, ..Menu::NONE }, Menu::acts(&[Act::Share])];
    holds("policy changed meanwhile", &Config::of(scene, Index::Late, &menus));
}

/// A key goes while a cluster comes, and passes stop in their midst.
#[test]
fn a_key_goes_while_a_cluster_comes() {
    let menus = [
        Menu::acts(&[Act::Withdraw]),
        Menu::acts(&[Act::Delete(Who::Key)]),
        Menu { stops: true, ..Menu::acts(&[Act::Confirm(Who::Key)]) },
        Menu { stops: true, ..Menu::acts(&[Act::Apply(Who::Cluster)]) },
    ];
    holds("key goes, cluster comes", &Config::of(Scene::ends(Start::Key), Index::Late, &menus));
}

/// Any fault, and after it a second one that loses a call or its reply. `make model`: it needs an optimised build.
#[cfg(feature = "model")]
#[test]
fn any_fault_and_then_a_lost_call() {
    let found = holds(
        "any fault, then a lost call",
        &Config::new(Index::Late, &[Menu::ALL, Menu { lost: true, ..Menu::NONE }]),
    );
    assert!(found.graph.len() >= 100_000, "{} states", found.graph.len());
}

/// The same with one key in both regions.
#[cfg(feature = "model")]
#[test]
fn any_fault_of_a_multi_region_key_and_then_a_lost_call_or_a_death() {
    for second in [Menu { lost: true, ..Menu::NONE }, Menu { crash: true, ..Menu::NONE }] {
        let config = Config::of(Scene::STAYS.of_one_key(), Index::Late, &[Menu::ALL, second]);
        holds("multi-Region, any fault, then another", &config);
    }
}

/// Any fault, and after it the end of the process anywhere.
#[cfg(feature = "model")]
#[test]
fn any_fault_and_then_a_death() {
    holds("any fault, then a death", &Config::new(Index::Blind, &[Menu::ALL, Menu { crash: true, ..Menu::NONE }]));
}

/// On Atlas: any fault, and after it a second one that loses a call or its reply.
#[cfg(feature = "model")]
#[test]
fn any_fault_and_then_a_lost_call_on_atlas() {
    let menus = [Menu { acts: scene::OF_ROLES, ..Menu::ALL }, Menu { lost: true, ..Menu::NONE }];
    let found = holds("Atlas, any fault, then a lost call", &Config::of(Scene::STAYS.on_atlas(), Index::Late, &menus));
    assert!(found.graph.len() >= 90_000, "{} states", found.graph.len());
}

/// On Atlas: an end or a new beginning of either object, and after it another, a call that is lost, a process that dies or a
/// pass that stops in its midst.
#[cfg(feature = "model")]
#[test]
fn ends_on_atlas() {
    let ends = Menu::acts(scene::ENDS);
    let troubled = Menu { stops: true, lost: true, crash: true, ..ends };
    for start in [Start::Nothing, Start::Key, Start::Both] {
        let menus = [ends, troubled];
        holds("Atlas, ends", &Config::of(Scene::ends(start).on_atlas(), Index::Late, &menus));
    }
}

/// Two processes that die, one after the other, anywhere.
#[cfg(feature = "model")]
#[test]
fn two_deaths_do_no_harm() {
    let crash = Menu { crash: true, ..Menu::NONE };
    holds("two deaths", &Config::new(Index::Blind, &[crash, crash]));
}

/// Ends, drift and new beginnings, in any order, with faults and with passes that stop in their midst: one exploration after
/// the other, each of them whole, until there are a million states.
#[cfg(feature = "model")]
#[test]
fn a_million_states() {
    let people: &'static [Act] = [scene::ENDS, scene::DRIFT].concat().leak();
    let (ends, acts) = (Menu::acts(scene::ENDS), Menu::acts(people));
    let stops = |menu: Menu| Menu { stops: true, ..menu };
    let troubled = stops(Menu { lost: true, crash: true, ..acts });
    let for_good = Scene { registration_is_final: true, ..Scene::ends(Start::Nothing) };
    let explorations = [
        ("ends and drift", Scene::ends(Start::Both), vec![stops(acts), stops(acts), ends]),
        ("ends while it is made", Scene::ends(Start::Nothing), vec![troubled, stops(ends)]),
        ("ends for good", for_good, vec![stops(Menu { crash: true, ..acts }), acts]),
        ("ends of a key", Scene::ends(Start::Key), vec![stops(acts), stops(acts), acts]),
        ("three ends", Scene::ends(Start::Nothing), vec![ends, ends, ends]),
    ];
    let mut all: HashSet<u128, BuildHasherDefault<explore::AsIs>> = HashSet::default();
    for (name, scene, menus) in explorations {
        let found = holds(name, &Config::of(scene, Index::Late, &menus));
        all.extend(found.graph.keys());
        println!("{} distinct states so far", all.len());
        if all.len() >= 1_000_000 {
            break;
        }
    }
    assert!(all.len() >= 1_000_000, "{} states", all.len());
}

/// On Atlas, through the real adapter: every fault of every kind, once, anywhere.
#[test]
fn one_fault_of_any_kind_on_atlas() {
    let menu = Menu { acts: scene::OF_ROLES, ..Menu::ALL };
    holds("Atlas, one fault", &Config::of(Scene::STAYS.on_atlas(), Index::Late, &[menu]));
}

/// On Atlas: every end and every new beginning, of either object, while the chain is made; and the whole way down, with a
/// process that dies anywhere on it.
#[test]
fn one_end_on_atlas() {
    let ends = Menu::acts(scene::ENDS);
    holds("Atlas, one end", &Config::of(Scene::ends(Start::Nothing).on_atlas(), Index::Late, &[ends]));
    let down = [
        Menu::acts(&[Act::Delete(Who::Key)]),
        Menu::acts(&[Act::Confirm(Who::Key)]),
        Menu { crash: true, ..Menu::acts(&[Act::Apply(Who::Key), Act::Unconfirm(Who::Key)]) },
    ];
    holds("Atlas, the key goes", &Config::of(Scene::ends(Start::Key).on_atlas(), Index::Late, &down));
}

/// On Atlas: nobody learns that a record of the role was made, and then the key goes.
fn a_record_is_lost(lost: Menu) {
    let lost = Menu { lost: true, calls: "atlas:CreateCloudProviderAccess", ..lost };
    for scene in [Scene { key_ends: false, ..Scene::ends(Start::Nothing) }, Scene::ends(Start::Nothing)] {
        let menus = [
            Menu::acts(&[Act::Delete(Who::Cluster)]),
            lost,
            Menu::acts(&[Act::Delete(Who::Key)]),
            Menu::acts(&[Act::Confirm(Who::Key)]),
        ];
        holds("Atlas, a record nobody learned of", &Config::of(scene.on_atlas(), Index::Late, &menus));
    }
}

#[test]
fn a_record_of_which_nobody_learned_goes_with_the_key() {
    a_record_is_lost(Menu::NONE);
}

/// The same with passes that stop anywhere, and effects that are on their way then.
#[cfg(feature = "model")]
#[test]
fn a_record_or_a_role_that_was_on_its_way_goes_with_the_key() {
    a_record_is_lost(Menu { stops: true, ..Menu::NONE });
}
