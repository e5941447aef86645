//! A cluster is created and deleted while its key is torn down, in a race whose order a seed decides: there is never a
//! database under a key that is being deleted.
//!
//! The operator's passes and the users' wishes are interleaved at every call of the API server. What protects in life is made
//! blind here, one thing at a time: the cloud shows a key's teardown no registration, so that only the claims are left; and
//! once the claims are made blind too, the race is lost, which shows that it is one.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test should stop at the place")]

#[path = "inprocess/mod.rs"]
mod inprocess;

use std::pin::Pin;
use std::sync::Arc;

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::clock::Clock;
use cmk_operator::controller::context::Note;
use cmk_operator::domain::desired::Desired;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::moment::Span;
use cmk_operator::domain::observed::Observed;
use cmk_operator::domain::reading::Reading;
use cmk_operator::plan::Settings;
use cmk_operator::sandbox::kms::KeyState;
use cmk_operator::sandbox::{ACCOUNT, ORGANIZATION, TOKEN, World};
use serde_json::json;

use inprocess::confirm::confirm;
use inprocess::dereference::Refers;
use inprocess::dice::Dice;
use inprocess::lab::{Lab, START_MS, Twist};
use inprocess::pass::pass;
use inprocess::turn::{poll, turn};

const REGION: &str = "us-east-1";
const OTHER: &str = "eu-west-1";

/// What protects, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claims {
    Heeded,
    /// The teardown is told that no cluster uses the key.
    Blind,
}

/// What the user does to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Delete,
    /// Takes the cluster's region out of the spec, and perhaps puts it back.
    TakeOut,
}

impl Twist for Claims {
    fn desired(&self, desired: &mut Desired) {
        let Desired::Key(key) = desired else { return };
        // As if the cloud could withdraw a registration: else that alone would protect.
        key.capabilities.registration_is_final = false;
        if *self == Self::Blind {
            key.users = Reading::Present(Vec::new());
        }
    }

    fn observed(&self, desired: &Desired, memory: &Memory, observed: &mut Observed) {
        let (Desired::Key(_), declared) = (desired, desired.regions()) else { return };
        let deleting = desired.object().deleting;
        if deleting || memory.regions.keys().any(|region| !declared.contains(&region)) {
            for (region, seen) in &mut observed.regions {
                if deleting || !declared.contains(&region) {
                    seen.registration = Reading::Absent;
                }
            }
        }
    }
}

fn settings() -> Settings {
    Settings {
        gate_spacing: Span(100),
        poll: Span(100),
        repair_holdoff: Span(200),
        create_settle: Span(500),
        deploy_settle: Span(500),
        look_valid: Span(10_000),
        holder: "here".to_owned(),
        ..Settings::default()
    }
}

async fn operate<K: Refers>(lab: &Lab, name: &str) {
    let mut note = Note::default();
    loop {
        pass::<K>(lab, name, &mut note).await;
    }
}

fn key(regions: &[&str]) -> CustomerKey {
    let regions: Vec<_> = regions.iter().map(|name| json!({ "name": name })).collect();
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "name": "key", "namespace": "team" },
        "spec": {
            "regions": regions, "aws": { "accountId": ACCOUNT }, "deletionPolicy": "ScheduleDeletion",
            "upstream": { "astra": {
                "organizationId": ORGANIZATION, "databaseType": "Serverless", "credentialsSecretRef": { "name": "astra" },
            } },
        },
    }))
    .unwrap()
}

fn cluster() -> EncryptedCluster {
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
        "metadata": { "name": "db", "namespace": "team" },
        "spec": {
            "customerKeyRef": { "name": "key" }, "deletionPolicy": "Delete", "regions": [{ "name": REGION }],
            "deployment": { "astra": { "name": "db", "tier": "serverless", "keyspace": "ks" } },
        },
    }))
    .unwrap()
}

/// The user: the key is there and ready; then everything at once, in an order of the seed's.
async fn user(lab: &Lab, seed: u64, wished: Wish) {
    let mut dice = Dice(seed.wrapping_mul(31).wrapping_add(7));
    dice.rest(25).await;
    lab.store().apply(&cluster());
    dice.rest(45).await;
    match wished {
        Wish::Delete => lab.store().delete::<CustomerKey>("key", lab.now()),
        Wish::TakeOut => lab.store().apply(&key(&[OTHER])),
    }
    let comes_back = dice.below(2) == 0;
    let leaves = dice.below(3) == 0;
    for round in 0.. {
        confirm::<CustomerKey>(lab, "key");
        confirm::<EncryptedCluster>(lab, "db");
        dice.rest(6).await;
        turn().await;
        if round == 10 && comes_back && wished == Wish::TakeOut {
            lab.store().apply(&key(&[REGION, OTHER]));
        }
        if round == 20 && leaves {
            lab.store().delete::<EncryptedCluster>("db", lab.now());
        }
    }
}

/// A database that lives, under a key that is being deleted.
fn violation(world: &World) -> Option<String> {
    let pending: Vec<&str> =
        world.true_keys().filter(|key| key.state == KeyState::PendingDeletion).map(|key| key.arn).collect();
    if pending.is_empty() {
        return None;
    }
    let state = world.dump();
    let databases = state["astra"][ORGANIZATION]["databases"].as_array().unwrap();
    let live = databases.iter().filter(|d| !d["status"].as_str().unwrap().starts_with("TERMINAT"));
    let mut regions = live.flat_map(|d| d["regions"].as_array().unwrap());
    let bad = regions.find(|r| r["encrypted_with"].as_str().is_some_and(|arn| pending.contains(&arn)));
    bad.map(|region| format!("a database under a key that is being deleted: {region}"))
}

/// What became of a race.
#[derive(Debug, Default)]
struct End {
    violation: Option<String>,
    scheduled: bool,
    deployed: bool,
}

fn race(seed: u64, wished: Wish, claims: Claims) -> End {
    let world = World::sandbox(START_MS, cmk_operator::sandbox::Settings::default());
    let mut lab = Lab::new(world, settings(), &[("astra", TOKEN)]);
    lab.twist = Arc::new(claims);
    let lab = lab;
    lab.store().apply(&key(&[REGION, OTHER]));
    let mut dice = Dice(seed);
    let mut keys: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(operate::<CustomerKey>(&lab, "key"));
    for _ in 0..160 {
        poll(&mut keys);
        lab.clouds.world().advance(60);
    }
    let ready = lab.store().keys["key"].status.clone().unwrap();
    assert!(
        ready.regions.iter().all(|r| r.registered_key_arn.is_some()),
        "seed {seed}: the key is not ready: {ready:#?}"
    );
    let mut clusters: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(operate::<EncryptedCluster>(&lab, "db"));
    let mut user: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(user(&lab, seed, wished));
    let mut end = End::default();
    for _ in 0..800 {
        match dice.below(5) {
            0 | 1 => poll(&mut keys),
            2 | 3 => poll(&mut clusters),
            _ => poll(&mut user),
        }
        let mut world = lab.clouds.world();
        world.advance(i64::try_from(dice.below(60)).unwrap());
        if let Some(what) = violation(&world) {
            end.violation = Some(what);
            break;
        }
    }
    let world = lab.clouds.world();
    end.scheduled = world.true_keys().any(|key| key.state == KeyState::PendingDeletion);
    end.deployed = !world.true_databases(ORGANIZATION).is_empty();
    end
}

#[test]
fn there_is_never_a_database_under_a_key_that_is_being_deleted() {
    for wished in [Wish::Delete, Wish::TakeOut] {
        let ends: Vec<(u64, End)> = (0..100).map(|seed| (seed, race(seed, wished, Claims::Heeded))).collect();
        for (seed, end) in &ends {
            assert!(end.violation.is_none(), "{wished:?}, seed {seed}: {:?}", end.violation);
        }
        let count = |what: fn(&End) -> bool| ends.iter().filter(|(_, end)| what(end)).count();
        let (scheduled, deployed) = (count(|end| end.scheduled), count(|end| end.deployed));
        // Each of the two wins now and then, or it was no race.
        assert!(scheduled >= 10 && deployed >= 10, "{wished:?}: {scheduled} scheduled, {deployed} deployed");
    }
}

#[test]
fn without_the_claims_the_race_is_lost() {
    for wished in [Wish::Delete, Wish::TakeOut] {
        let lost = (0..30).filter(|seed| race(*seed, wished, Claims::Blind).violation.is_some()).count();
        assert!(lost > 0, "{wished:?}: without the claims {lost} of 30 races are lost");
    }
}
