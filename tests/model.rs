//! The model: the real pipeline (look, decide, check, act, render) on simulated clouds and an in-memory API server,
//! explored exhaustively: every interleaving of passes and time, with every choice of a few faults.
//!
//! # Assumptions
//! - One pass is atomic, but for what a fault does in its midst (death, another replica's pass, a long sleep).
//! - No read lags longer than `scene::LAG`, and every window of the settings is longer (as 120 s and 300 s are to the
//!   seconds that AWS documents); except the tagging index, which in one configuration never shows a new key.
//! - Time goes on from one moment that matters to the next; between two of them nothing is decided differently.
//! - Back-off is not modelled: a pass may come at any moment, which is more than any back-off allows.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::struct_excessive_bools,
    clippy::unused_self,
    reason = "a failed test should stop at the place, and say what it saw"
)]

#[path = "model/act.rs"]
mod act;
#[path = "model/calm.rs"]
mod calm;
#[path = "model/devices.rs"]
mod devices;
#[path = "model/explore.rs"]
mod explore;
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
#[path = "model/scene.rs"]
mod scene;
#[path = "model/wire.rs"]
mod wire;

use explore::{explore, path, shortened, told};
use scene::{Config, Index, Menu};

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
    let mut config = Config::new(Index::Late, &[Menu { people: true, crash: true, ..Menu::NONE }]);
    config.settings = scene::glancing();
    holds("glances", &config);
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

/// Any fault, and after it the end of the process anywhere.
#[cfg(feature = "model")]
#[test]
fn any_fault_and_then_a_death() {
    holds("any fault, then a death", &Config::new(Index::Blind, &[Menu::ALL, Menu { crash: true, ..Menu::NONE }]));
}
