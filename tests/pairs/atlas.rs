//! A life on Atlas.

use cmk_operator::api::{ANNOTATION_RECONCILE_REQUESTED_AT, CustomerKey, EncryptedCluster};
use cmk_operator::clock::Clock;
use cmk_operator::domain::capabilities::Cloud;
use cmk_operator::domain::iam_role::PERMISSIONS;
use cmk_operator::plan::Settings;
use cmk_operator::sandbox::{self, ACCOUNT, ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET, ATLAS_PROJECT, Command, World};
use serde_json::{Value, json};

use crate::inprocess::lab::{Lab, START_MS};
use crate::inprocess::operator::Who;
use crate::inprocess::store::Store;
use crate::life::{Plot, Stage, TERMINATES_IN, auditor, is_ready, own_key, rename, strip};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
const ROLE: &str = "atlas-kms";

/// A key with a role that the operator makes, a cluster under it, and one that was there before and is put under it.
/// Everything of the key and of its role that can be put back is damaged, while the cluster gets another region; it leaves
/// that again; both clusters' objects are deleted; the key is deleted with everything once somebody has taken the other
/// cluster away; and it is applied anew before its deletion is due.
pub(crate) struct Atlas;

impl Plot for Atlas {
    fn cloud(&self) -> Cloud {
        Cloud::Atlas
    }

    fn lab(&self) -> Lab {
        let settings = Settings { holder: "here".to_owned(), ..Settings::default() };
        let mut lab = Lab::on(Cloud::Atlas, world(), settings);
        lab.keep_secret("atlas", &[("clientId", ATLAS_CLIENT_ID), ("clientSecret", ATLAS_CLIENT_SECRET)]);
        lab
    }

    fn stages(&self) -> &'static [Stage] {
        &[Stage::Create, Stage::Damage, Stage::Leave, Stage::Delete, Stage::Retire, Stage::Again]
    }

    fn enter(&self, stage: Stage, lab: &Lab) {
        let now = lab.now();
        let mut store = lab.store();
        match stage {
            Stage::Create => {
                store.apply(&key("for tests", &json!({ "team": "tests" })));
                store.apply(&cluster("db", &REGIONS[..1], &json!({ "name": "shop", "instanceSize": "M10" })));
                store.apply(&cluster("old", &REGIONS[..1], &json!({ "name": "old", "existing": "AdoptByName" })));
            }
            Stage::Damage => {
                damage(&mut lab.clouds.world());
                store.apply(&key("changed", &json!({ "team": "others" })));
                store.annotate::<CustomerKey>("key", ANNOTATION_RECONCILE_REQUESTED_AT, "now".to_owned());
                store.apply(&cluster("db", &REGIONS, &json!({ "name": "shop", "instanceSize": "M10" })));
            }
            Stage::Leave => {
                store.apply(&cluster("db", &REGIONS[..1], &json!({ "name": "shop", "instanceSize": "M10" })));
            }
            Stage::Delete => {
                store.delete::<EncryptedCluster>("db", now);
                store.delete::<EncryptedCluster>("old", now);
            }
            Stage::Retire => {
                let taken = json!({ "atlas": { "remove_cluster": { "project": ATLAS_PROJECT, "cluster": "old" } } });
                act(&mut lab.clouds.world(), taken);
                store.delete::<CustomerKey>("key", now);
            }
            Stage::Again => store.apply(&key("changed", &json!({ "team": "others" }))),
            Stage::Attest | Stage::Forget | Stage::Over => {}
        }
    }

    fn is_reached(&self, stage: Stage, store: &Store) -> bool {
        let regions = || {
            let db = store.clusters.get("db").and_then(|db| db.status.as_ref());
            db.map_or(0, |status| status.regions.iter().filter(|region| region.state.is_some()).count())
        };
        let ready = || ["key", "db", "old"].iter().all(|name| is_ready(store, name));
        match stage {
            Stage::Create => ready(),
            Stage::Damage => ready() && regions() == 2,
            Stage::Leave => ready() && regions() == 1,
            Stage::Delete => store.clusters.is_empty(),
            Stage::Retire => store.keys.is_empty(),
            Stage::Again => is_ready(store, "key"),
            Stage::Attest | Stage::Forget | Stage::Over => true,
        }
    }

    fn confirms(&self, stage: Stage) -> Vec<Who> {
        match stage {
            Stage::Leave | Stage::Delete => vec![Who::Cluster("db".to_owned())],
            Stage::Retire => vec![Who::Key("key".to_owned())],
            _ => Vec::new(),
        }
    }
}

fn act(world: &mut World, command: Value) {
    world.command(serde_json::from_value::<Command>(command).unwrap()).unwrap();
}

fn world() -> World {
    let settings = sandbox::Settings {
        kms_read_lag_ms: 2_000,
        atlas_read_lag_ms: 2_000,
        iam_lag_ms: 2_000,
        tag_index_lag_ms: 60_000,
        principal_lag_ms: 5_000,
        ..sandbox::Settings::default()
    };
    let mut world = World::sandbox(START_MS - 3_600_000, settings);
    let pace = json!({ "deploy_ms": 20_000, "change_ms": 10_000, "delete_ms": TERMINATES_IN });
    act(&mut world, json!({ "atlas": { "patch_settings": pace } }));
    let there = json!({
        "name": "old", "clusterType": "REPLICASET", "pitEnabled": true,
        "replicationSpecs": [{ "regionConfigs": [{ "providerName": "AWS", "regionName": "US_EAST_1", "priority": 7,
            "electableSpecs": { "instanceSize": "M30", "nodeCount": 3 } }] }],
    });
    act(&mut world, json!({ "atlas": { "add_cluster": { "project": ATLAS_PROJECT, "cluster": there } } }));
    world.advance_to(START_MS);
    world
}

fn key(description: &str, tags: &Value) -> CustomerKey {
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "name": "key", "namespace": "team" },
        "spec": {
            "regions": [{ "name": REGIONS[0] }], "aws": { "accountId": ACCOUNT },
            "deletionPolicy": "ScheduleDeletion",
            "key": { "description": description, "tags": tags, "rotation": { "periodDays": 365 } },
            "upstream": { "atlas": {
                "projectId": ATLAS_PROJECT, "role": { "create": { "name": ROLE } },
                "credentialsSecretRef": { "name": "atlas" },
            } },
        },
    }))
    .unwrap()
}

fn cluster(name: &str, regions: &[&str], deployment: &Value) -> EncryptedCluster {
    let all: Vec<Value> = regions.iter().map(|name| json!({ "name": name })).collect();
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
        "metadata": { "name": name, "namespace": "team" },
        "spec": {
            "customerKeyRef": { "name": "key" }, "deletionPolicy": "Delete", "regions": all,
            "primaryRegion": REGIONS[0], "deployment": { "atlas": deployment },
        },
    }))
    .unwrap()
}

/// What administrators do to the key and to its role: everything that can be put back.
fn damage(world: &mut World) {
    let key = own_key(world, REGIONS[0]);
    strip(world, REGIONS[0], &key, Some(auditor()), &["holder", "registered-at"]);
    rename(world, REGIONS[0], &key);
    let trust = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::222222222222:root" }, "Action": "sts:AssumeRole" },
    ] });
    let mut iam = world.iam(ACCOUNT);
    iam.update_assume_role_policy(ROLE, &trust.to_string()).unwrap();
    iam.delete_role_policy(ROLE, PERMISSIONS).unwrap();
}
