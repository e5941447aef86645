//! The simulated clouds before witnesses that no one here wrote; `tests/witness/README.md` says who they are.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "support/python.rs"]
mod python;

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use python::{program, python};

/// About five times what it takes on two cores.
const LONGEST: Duration = Duration::from_mins(5);

/// Runs a program to its end; what it prints is the test's.
fn run(name: &str, arguments: &[&str]) -> ExitStatus {
    let mut child = Command::new(python()).arg(program(name)).args(arguments).spawn().unwrap();
    let end = Instant::now() + LONGEST;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("{name} is not done after {LONGEST:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_checks_refuse_what_they_are_there_to_refuse() {
    assert!(run("test_checks.py", &[]).success());
}

#[test]
fn the_go_sdk_of_atlas_goes_from_a_role_to_a_cluster_and_back() {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/witness/atlas-sdk");
    assert!(client.exists(), "{} is missing: run `make witness-sdk` (needs Go)", client.display());
    let arguments = ["--binary", env!("CARGO_BIN_EXE_cmk-operator"), "--client", client.to_str().unwrap()];
    assert!(run("atlas_client.py", &arguments).success());
}

#[test]
fn moto_ministack_and_the_vendors_own_client_agree_with_the_sandbox_but_for_what_is_listed() {
    assert!(run("run.py", &["--binary", env!("CARGO_BIN_EXE_cmk-operator")]).success());
}
