//! The real process against the real API server and simulated clouds: what a platform team sees.
#![cfg(feature = "sandbox")]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::print_stdout,
    reason = "tests fail loudly, and are read one by one"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod adopt;
mod apply;
mod atlas;
mod atlas_addresses;
mod atlas_crash;
mod atlas_end;
mod atlas_examples;
mod atlas_role;
mod chart;
mod commands;
mod crash;
mod deletion;
mod drift;
mod ending;
mod examples;
mod expiry;
mod faults;
mod golden;
mod grow;
mod kstatus;
mod lives;
mod multi_region;
mod observe;
mod order;
mod outage;
mod permissions;
mod policies;
mod process;
mod refusals;
mod replicas;
mod rights;
mod roles;
mod schema;
mod singlestore;
mod singlestore_api;
mod singlestore_crash;
mod singlestore_examples;
mod singlestore_workspaces;
mod skew;
mod slots;
mod spec_changes;
mod states;
mod steady;
mod strangers;
mod takeover;
mod tenancy;
mod unprotected;
mod witness;
