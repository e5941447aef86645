//! The simulated clouds against the documented behaviour of the real ones (research: KMS semantics, Astra API).
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]
#![allow(clippy::too_many_lines, reason = "tables and chains of calls read best in one piece")]

#[path = "sandbox/access.rs"]
mod access;
#[path = "sandbox/astra.rs"]
mod astra;
#[path = "sandbox/atlas.rs"]
mod atlas;
#[path = "sandbox/atlas_clusters.rs"]
mod atlas_clusters;
#[path = "sandbox/atlas_keys.rs"]
mod atlas_keys;
#[path = "sandbox/atlas_wire.rs"]
mod atlas_wire;
#[path = "sandbox/evaluate.rs"]
mod evaluate;
#[path = "sandbox/faults.rs"]
mod faults;
#[path = "sandbox/iam.rs"]
mod iam;
#[path = "sandbox/kms.rs"]
mod kms;
#[path = "sandbox/lag.rs"]
mod lag;
#[path = "sandbox/names.rs"]
mod names;
#[path = "sandbox/policy.rs"]
mod policy;
#[path = "sandbox/singlestore.rs"]
mod singlestore;
#[path = "sandbox/singlestore_keys.rs"]
mod singlestore_keys;
#[path = "sandbox/singlestore_replication.rs"]
mod singlestore_replication;
#[path = "sandbox/singlestore_wire.rs"]
mod singlestore_wire;
#[path = "sandbox/wire.rs"]
mod wire;

use cmk_operator::sandbox::kms::CreateKey;
use cmk_operator::sandbox::{ACCOUNT, Failure, Settings, World};

/// A region to work in.
const REGION: &str = "us-east-1";
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

fn world() -> World {
    World::sandbox(START, Settings::default())
}

/// A new key's ARN.
fn new_key(world: &mut World) -> String {
    world.kms(ACCOUNT, REGION).create_key(&CreateKey::default()).unwrap().arn
}

/// `ok`, or the code of the failure.
fn code<T>(result: Result<T, Failure>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(failure) => failure.code().into(),
    }
}
