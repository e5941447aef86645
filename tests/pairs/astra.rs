//! A life on Astra.

use cmk_operator::api::{ANNOTATION_RECONCILE_REQUESTED_AT, CustomerKey, EncryptedCluster};
use cmk_operator::clock::Clock;
use cmk_operator::domain::capabilities::Cloud;
use cmk_operator::plan::Settings;
use cmk_operator::sandbox::astra::{AstraRegion, OrgSettings};
use cmk_operator::sandbox::kms::CreateKey;
use cmk_operator::sandbox::{self, ACCOUNT, ORGANIZATION, TOKEN, World, provider_account};
use serde_json::{Value, json};

use crate::inprocess::lab::{Lab, START_MS};
use crate::inprocess::operator::Who;
use crate::inprocess::store::Store;
use crate::life::{Plot, Stage, TERMINATES_IN, auditor, is_ready, own_key, rename, strip};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
/// An organization whose token may not register keys: only a key that was never registered can be scheduled for deletion.
const OTHER: &str = "5a9db0c5-0000-4000-8000-000000000002";
const OTHER_TOKEN: &str = "AstraCS:spare:sesame";

const DEPLOYS_IN: i64 = 20_000;

/// A key over two regions, a database over both, and a spare key: a multi-Region one, primary and replica. Everything of the
/// two keys that can be put back is damaged; the database leaves a region; the database and the spare key are deleted with
/// everything; the spare key is applied anew before its deletion is due; the other key's object is deleted.
pub(crate) struct Astra;

impl Plot for Astra {
    fn cloud(&self) -> Cloud {
        Cloud::Astra
    }

    fn lab(&self) -> Lab {
        let settings = Settings { holder: "here".to_owned(), ..Settings::default() };
        Lab::new(world(), settings, &[("astra", TOKEN), ("spare", OTHER_TOKEN)])
    }

    fn stages(&self) -> &'static [Stage] {
        &[Stage::Create, Stage::Damage, Stage::Leave, Stage::Delete, Stage::Again, Stage::Forget]
    }

    fn enter(&self, stage: Stage, lab: &Lab) {
        let now = lab.now();
        let mut store = lab.store();
        match stage {
            Stage::Create => {
                store.apply(&key("for tests", &json!({ "team": "tests" })));
                store.apply(&spare());
                store.apply(&cluster(&REGIONS));
            }
            Stage::Damage => {
                damage(&mut lab.clouds.world());
                store.apply(&key("changed", &json!({ "team": "others" })));
                store.annotate::<CustomerKey>("key", ANNOTATION_RECONCILE_REQUESTED_AT, "now".to_owned());
            }
            Stage::Leave => store.apply(&cluster(&REGIONS[..1])),
            Stage::Delete => {
                store.delete::<EncryptedCluster>("db", now);
                store.delete::<CustomerKey>("spare", now);
            }
            Stage::Again => store.apply(&spare()),
            Stage::Forget => store.delete::<CustomerKey>("key", now),
            Stage::Attest | Stage::Retire | Stage::Over => {}
        }
    }

    fn is_reached(&self, stage: Stage, store: &Store) -> bool {
        match stage {
            Stage::Create | Stage::Damage => {
                is_ready(store, "key") && is_ready(store, "db") && is_stuck_as_meant(store)
            }
            Stage::Leave => {
                let regions = |db: &EncryptedCluster| db.status.as_ref().map_or(0, |status| status.regions.len());
                let left = store.clusters.get("db").is_some_and(|db| regions(db) == 1);
                is_ready(store, "db") && left && is_stuck_as_meant(store)
            }
            Stage::Delete => !store.clusters.contains_key("db") && !store.keys.contains_key("spare"),
            Stage::Again => is_stuck_as_meant(store),
            Stage::Forget => !store.keys.contains_key("key"),
            Stage::Attest | Stage::Retire | Stage::Over => true,
        }
    }

    fn confirms(&self, stage: Stage) -> Vec<Who> {
        match stage {
            Stage::Leave | Stage::Delete => vec![Who::Cluster("db".to_owned()), Who::Key("spare".to_owned())],
            _ => Vec::new(),
        }
    }

    fn restless(&self, _: Stage) -> Vec<Who> {
        vec![Who::Key("spare".to_owned())]
    }
}

fn world() -> World {
    let settings = sandbox::Settings {
        kms_read_lag_ms: 2_000,
        astra_read_lag_ms: 2_000,
        tag_index_lag_ms: 60_000,
        astra_list_lag_ms: 60_000,
        principal_lag_ms: 5_000,
        ..sandbox::Settings::default()
    };
    let mut world = World::sandbox(START_MS - 3_600_000, settings);
    let pace = OrgSettings { deploy_ms: DEPLOYS_IN, terminate_ms: TERMINATES_IN, ..OrgSettings::default() };
    world.edit_astra_org(ORGANIZATION, |org| *org.settings_mut() = pace.clone());
    let offered = REGIONS.map(|region| {
        let accounts = vec![provider_account(region)];
        let offered = AstraRegion { classic_accounts: accounts.clone(), serverless_accounts: accounts, locked: false };
        (region.to_owned(), offered)
    });
    world.add_astra_org(OTHER, offered.into(), pace);
    let may = ["org-cmk-read", "org-db-create", "org-db-view"];
    world.set_astra_token(OTHER_TOKEN, OTHER, Some(may.map(str::to_owned).into()));
    // Somebody else's keys, which nobody may touch; and what lags shows the time before.
    for region in REGIONS {
        let foreign = CreateKey { description: Some("foreign".to_owned()), ..CreateKey::default() };
        world.kms(ACCOUNT, region).create_key(&foreign).unwrap();
    }
    world.advance_to(START_MS);
    world
}

fn key(description: &str, tags: &Value) -> CustomerKey {
    let regions = REGIONS.map(|name| json!({ "name": name }));
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "name": "key", "namespace": "team" },
        "spec": {
            "regions": regions, "aws": { "accountId": ACCOUNT },
            "key": { "description": description, "tags": tags, "rotation": { "periodDays": 365 } },
            "upstream": { "astra": {
                "organizationId": ORGANIZATION, "databaseType": "Serverless", "credentialsSecretRef": { "name": "astra" },
            } },
        },
    }))
    .unwrap()
}

fn spare() -> CustomerKey {
    let regions = REGIONS.map(|name| json!({ "name": name }));
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "name": "spare", "namespace": "team" },
        "spec": {
            "regions": regions, "aws": { "accountId": ACCOUNT }, "deletionPolicy": "ScheduleDeletion",
            "key": { "multiRegion": { "primaryRegion": REGIONS[0] } },
            "upstream": { "astra": {
                "organizationId": OTHER, "databaseType": "Serverless", "credentialsSecretRef": { "name": "spare" },
            } },
        },
    }))
    .unwrap()
}

fn cluster(regions: &[&str]) -> EncryptedCluster {
    let regions: Vec<Value> = regions.iter().map(|name| json!({ "name": name })).collect();
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
        "metadata": { "name": "db", "namespace": "team" },
        "spec": {
            "customerKeyRef": { "name": "key" }, "deletionPolicy": "Delete", "regions": regions,
            "primaryRegion": REGIONS[0],
            "deployment": { "astra": { "name": "db", "tier": "serverless", "keyspace": "ks" } },
        },
    }))
    .unwrap()
}

/// What an administrator does to the two keys: everything that can be put back.
fn damage(world: &mut World) {
    let (one, other) = (own_key(world, REGIONS[0]), own_key(world, REGIONS[1]));
    strip(world, REGIONS[0], &one, Some(auditor()), &["holder", "registered-at"]);
    rename(world, REGIONS[1], &other);
}

/// The spare key is there, and waits for somebody who may register it.
fn is_stuck_as_meant(store: &Store) -> bool {
    let Some(status) = store.keys.get("spare").and_then(|key| key.status.as_ref()) else { return false };
    let made = status.regions.iter().filter(|r| r.key_state.as_deref() == Some("Enabled") && r.alias.is_some());
    // One region's clear refusal says nothing of the other one's.
    let open = status.regions.iter().any(|r| r.creation.is_some() || r.registration.is_some());
    let made = made.count() == REGIONS.len() && !open;
    let says = |kind: &str, reason: &str| status.conditions.iter().any(|c| c.type_ == kind && c.reason == reason);
    made && says("Ready", "CredentialsLackPermission") && says("KeysReady", "KeysEnabled")
}
