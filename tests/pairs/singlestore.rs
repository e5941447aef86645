//! A life on `SingleStore`.

use cmk_operator::api::{ANNOTATION_RECONCILE_REQUESTED_AT, CustomerKey, EncryptedCluster};
use cmk_operator::clock::Clock;
use cmk_operator::domain::capabilities::Cloud;
use cmk_operator::plan::Settings;
use cmk_operator::sandbox::singlestore::portal::Portal;
use cmk_operator::sandbox::{
    self, ACCOUNT, Command, SINGLESTORE_API_KEY as API_KEY, SINGLESTORE_ORGANIZATION as ORGANIZATION, World,
};
use serde_json::{Value, json};

use crate::inprocess::lab::{Lab, START_MS};
use crate::inprocess::operator::Who;
use crate::inprocess::store::Store;
use crate::life::{Plot, Stage, TERMINATES_IN, is_ready, own_key, rename, strip};

const REGIONS: [&str; 2] = ["us-east-1", "us-west-2"];

/// Two keys over two regions, the one for backups a multi-Region one, with the policies that the portal suggests, and a
/// group made under both by API; a human attests it, a workspace is made and replication to the second region is set up; everything of the first
/// key that can be put back is damaged; the group is deleted; the keys' objects are, and the keys stay.
pub(crate) struct SingleStore;

impl Plot for SingleStore {
    fn cloud(&self) -> Cloud {
        Cloud::SingleStore
    }

    fn lab(&self) -> Lab {
        let settings = Settings { holder: "here".to_owned(), ..Settings::default() };
        let mut lab = Lab::on(Cloud::SingleStore, world(), settings);
        lab.keep_secret("singlestore", &[("apiKey", API_KEY)]);
        lab
    }

    fn stages(&self) -> &'static [Stage] {
        &[Stage::Create, Stage::Attest, Stage::Damage, Stage::Delete, Stage::Forget]
    }

    fn enter(&self, stage: Stage, lab: &Lab) {
        let now = lab.now();
        let documents = documents(&mut lab.clouds.world());
        let mut store = lab.store();
        match stage {
            Stage::Create => {
                store.apply(&key("key", "for tests", &documents));
                store.apply(&key("backups", "for backups", &documents));
                store.apply(&cluster(&Value::Null));
            }
            Stage::Attest => {
                let attested = attested(&store);
                store.apply(&cluster(&attested));
            }
            Stage::Damage => {
                damage(&mut lab.clouds.world());
                store.apply(&key("key", "changed", &documents));
                store.annotate::<CustomerKey>("key", ANNOTATION_RECONCILE_REQUESTED_AT, "now".to_owned());
            }
            Stage::Delete => store.delete::<EncryptedCluster>("db", now),
            Stage::Forget => {
                store.delete::<CustomerKey>("key", now);
                store.delete::<CustomerKey>("backups", now);
            }
            Stage::Leave | Stage::Retire | Stage::Again | Stage::Over => {}
        }
    }

    fn is_reached(&self, stage: Stage, store: &Store) -> bool {
        let keys = || is_ready(store, "key") && is_ready(store, "backups");
        match stage {
            Stage::Create => keys() && awaits_attestation(store),
            Stage::Attest | Stage::Damage => keys() && is_ready(store, "db"),
            Stage::Delete => store.clusters.is_empty(),
            Stage::Forget => store.keys.is_empty(),
            Stage::Leave | Stage::Retire | Stage::Again | Stage::Over => true,
        }
    }

    fn confirms(&self, stage: Stage) -> Vec<Who> {
        match stage {
            Stage::Delete => vec![Who::Cluster("db".to_owned())],
            _ => Vec::new(),
        }
    }
}

fn world() -> World {
    let settings = sandbox::Settings {
        kms_read_lag_ms: 2_000,
        singlestore_read_lag_ms: 2_000,
        singlestore_list_lag_ms: 60_000,
        tag_index_lag_ms: 60_000,
        principal_lag_ms: 5_000,
        ..sandbox::Settings::default()
    };
    let mut world = World::sandbox(START_MS - 3_600_000, settings);
    let pace = json!({ "deploy_ms": 20_000, "replicate_ms": 20_000, "terminate_ms": TERMINATES_IN });
    let pace = json!({ "singlestore": { "patch_settings": { "org": ORGANIZATION, "settings": pace } } });
    world.command(serde_json::from_value::<Command>(pace).unwrap()).unwrap();
    world.advance_to(START_MS);
    world
}

/// The policies that the portal suggests: for the key of each region, and to append to the first one's for replication.
fn documents(world: &mut World) -> Value {
    let mut suggested = |region: &str| {
        let form = Portal::SuggestedPolicy { org: ORGANIZATION.to_owned(), region: region.to_owned() };
        let policy = world.singlestore_portal(&form).unwrap()["key"].clone();
        json!({ "name": format!("portal-{region}"), "regions": [region], "json": policy.to_string() })
    };
    let (first, second) = (suggested(REGIONS[0]), suggested(REGIONS[1]));
    // There is no group yet that its form could be opened for: it names whom the second region's policy names.
    let policy: Value = serde_json::from_str(second["json"].as_str().unwrap()).unwrap();
    let whom = &policy["Statement"][0]["Principal"];
    let copies = json!({ "Statement": [
        { "Effect": "Allow", "Principal": whom, "Action": ["kms:DescribeKey", "kms:Decrypt"], "Resource": "*" },
    ] });
    let copies =
        json!({ "name": "copies", "regions": [REGIONS[0]], "replicationTo": REGIONS[1], "json": copies.to_string() });
    json!([first, second, copies])
}

fn key(name: &str, description: &str, documents: &Value) -> CustomerKey {
    let regions = REGIONS.map(|name| json!({ "name": name }));
    let mut key =
        json!({ "description": description, "tags": { "says": description }, "rotation": { "periodDays": 365 } });
    if name == "backups" {
        key = json!({ "description": description, "multiRegion": { "primaryRegion": REGIONS[0] } });
    }
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "name": name, "namespace": "team" },
        "spec": {
            "regions": regions, "aws": { "accountId": ACCOUNT }, "key": key, "policy": { "documents": documents },
            "upstream": { "singleStore": {
                "acknowledgeRisk": true, "credentialsSecretRef": { "name": "singlestore" },
            } },
        },
    }))
    .unwrap()
}

fn cluster(attested: &Value) -> EncryptedCluster {
    let regions = REGIONS.map(|name| json!({ "name": name }));
    let mut group = json!({
        "name": "orders", "mode": "Api", "acceptUnverifiedEncryption": true, "firewallRanges": ["10.0.0.0/8"],
        "replication": { "autoReplication": true }, "workspaces": [{ "name": "reports", "size": "S-00" }],
    });
    if !attested.is_null() {
        group["attested"] = attested.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
        "metadata": { "name": "db", "namespace": "team" },
        "spec": {
            "customerKeyRef": { "name": "key" }, "backupKeyRef": { "name": "backups" }, "deletionPolicy": "Delete",
            "regions": regions, "primaryRegion": REGIONS[0], "deployment": { "singleStore": group },
        },
    }))
    .unwrap()
}

/// What a human sees in the portal, and attests.
fn attested(store: &Store) -> Value {
    let arn = |name: &str| {
        let regions = store.keys.get(name).and_then(|key| key.status.as_ref()).map(|status| &status.regions);
        let first = regions.into_iter().flatten().find(|region| region.name == REGIONS[0]);
        first.and_then(|region| region.key_arn.clone())
    };
    let group = store.clusters.get("db").and_then(|db| db.status.as_ref()?.upstream_id.clone());
    json!({
        "workspaceGroupId": group, "by": "Ann", "date": "2026-01-01",
        "dataBucketKeyArn": arn("key"), "backupBucketKeyArn": arn("backups"),
    })
}

/// The group is there, and waits for a human.
fn awaits_attestation(store: &Store) -> bool {
    let Some(status) = store.clusters.get("db").and_then(|db| db.status.as_ref()) else { return false };
    let there = status.regions.iter().any(|region| region.state.as_deref() == Some("Active"));
    let waits = |c: &cmk_operator::api::condition::Condition| {
        c.type_ == "EncryptionVerified" && c.reason == "AwaitingAttestation"
    };
    there && status.creation.is_none() && status.conditions.iter().any(waits)
}

/// What an administrator does to the keys of the two regions: everything that can be put back.
fn damage(world: &mut World) {
    let (one, other) = (own_key(world, REGIONS[0]), own_key(world, REGIONS[1]));
    strip(world, REGIONS[0], &one, None, &["holder"]);
    rename(world, REGIONS[1], &other);
}
