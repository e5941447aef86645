//! The operator in process: its real pieces put together as `controller::pass` does it, on the simulated clouds and an API
//! server of a few lines. For tests that need thousands of lives, or every order of what happens in one.
//!
//! Database clouds are called by their real adapters: what these send is carried to the simulated wire, with no network in
//! between. AWS is called through the ports of the sandbox.
//!
//! # Caveats
//! Not here: the queue, the leader's lease, the claims of registrations by several keys, what a Secret that did not work
//! holds off, and the events. Those are proven on the real process (`tests/cluster`, `tests/queue.rs`).

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test should stop at the place"
)]

pub mod adapters;
pub mod confirm;
pub mod dereference;
pub mod dice;
pub mod lab;
pub mod ledger;
pub mod operator;
pub mod pass;
pub mod picture;
pub mod store;
pub mod trouble;
pub mod turn;
