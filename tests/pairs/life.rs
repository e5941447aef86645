//! One life: everything that the operator ever does outside, one stage after another.

use std::sync::Arc;

use cmk_operator::api::{ANNOTATION_RECONCILE_REQUESTED_AT, CustomerKey, EncryptedCluster};
use cmk_operator::clock::Clock;
use cmk_operator::plan::Settings;
use cmk_operator::sandbox::astra::{AstraRegion, OrgSettings};
use cmk_operator::sandbox::kms::CreateKey;
use cmk_operator::sandbox::{self, ACCOUNT, ORGANIZATION, TOKEN, World, provider_account};
use serde_json::{Value, json};

use crate::inprocess::confirm::confirm;
use crate::inprocess::lab::{Lab, START_MS, Twist};
use crate::inprocess::operator::{Operator, Who};
use crate::inprocess::picture::{Made, Picture};
use crate::inprocess::store::Store;

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
/// An organization whose token may not register keys: only a key that was never registered can be scheduled for deletion.
const OTHER: &str = "5a9db0c5-0000-4000-8000-000000000002";
const OTHER_TOKEN: &str = "AstraCS:spare:sesame";
const ALIAS: &str = "alias/cmk-operator/test/team/key";

const DEPLOYS_IN: i64 = 20_000;
const TERMINATES_IN: i64 = 10_000;

/// Passes after which a stage will never be over.
const PATIENCE: u32 = 400;

/// What happens, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A key over two regions, a database over both, and a spare key: a multi-Region one, primary and replica.
    Create,
    /// An administrator damages what they can, and the author changes the spec.
    Damage,
    /// The database leaves a region.
    Leave,
    /// The database and the spare key are deleted with everything.
    Delete,
    /// The spare key is applied anew before its deletion is due.
    Again,
    /// The other key's object is deleted; the key stays.
    Forget,
    Over,
}

/// A life.
pub(crate) struct Life {
    pub(crate) lab: Lab,
    pub(crate) operator: Operator,
    stage: Stage,
    /// The number of passes when the stage began.
    since: u32,
    /// The end of each stage.
    pictures: Vec<(Stage, Picture)>,
    made: Made,
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

impl Life {
    /// The beginning of all lives; `twist` is what is otherwise in this one.
    pub(crate) fn begin(twist: &Arc<dyn Twist>) -> Self {
        let settings = Settings { holder: "here".to_owned(), ..Settings::default() };
        let mut lab = Lab::new(world(), settings, &[("astra", TOKEN), ("spare", OTHER_TOKEN)]);
        lab.twist = Arc::clone(twist);
        let mut life = Self {
            lab,
            operator: Operator::default(),
            stage: Stage::Create,
            since: 0,
            pictures: Vec::new(),
            made: Made::default(),
        };
        life.enter(Stage::Create);
        life
    }

    /// Another life that is the same up to now.
    pub(crate) fn fork(&self) -> Self {
        Self {
            lab: self.lab.fork(),
            operator: self.operator.clone(),
            stage: self.stage,
            since: self.since,
            pictures: self.pictures.clone(),
            made: self.made,
        }
    }

    /// Goes on to the end.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        while !self.step()? {}
        Ok(())
    }

    /// One pass of somebody. Whether the life is over.
    pub(crate) fn step(&mut self) -> Result<bool, String> {
        self.operator.turn(&self.lab);
        if matches!(self.stage, Stage::Leave | Stage::Delete) {
            confirm::<EncryptedCluster>(&self.lab, "db");
            confirm::<CustomerKey>(&self.lab, "spare");
        }
        if self.is_reached() && self.operator.is_quiet(&self.lab, &[Who::Key("spare".to_owned())]) {
            let next = match self.stage {
                Stage::Create => Stage::Damage,
                Stage::Damage => Stage::Leave,
                Stage::Leave => Stage::Delete,
                Stage::Delete => Stage::Again,
                Stage::Again => Stage::Forget,
                Stage::Forget | Stage::Over => Stage::Over,
            };
            self.enter(next);
        } else if self.operator.passes - self.since > PATIENCE {
            let picture = Picture::of(&self.lab, &self.lab.clouds.world().dump());
            return Err(format!("{:?} is not over after {PATIENCE} passes: {:#?}", self.stage, picture.said));
        }
        Ok(self.stage == Stage::Over)
    }

    /// Whether what the stage is for has come to be.
    fn is_reached(&self) -> bool {
        let store = self.lab.store();
        match self.stage {
            Stage::Create | Stage::Damage => {
                is_ready(&store, "key") && is_ready(&store, "db") && is_stuck_as_meant(&store)
            }
            Stage::Leave => {
                let regions = |db: &EncryptedCluster| db.status.as_ref().map_or(0, |status| status.regions.len());
                let left = store.clusters.get("db").is_some_and(|db| regions(db) == 1);
                is_ready(&store, "db") && left && is_stuck_as_meant(&store)
            }
            Stage::Delete => !store.clusters.contains_key("db") && !store.keys.contains_key("spare"),
            Stage::Again => is_stuck_as_meant(&store),
            Stage::Forget => !store.keys.contains_key("key"),
            Stage::Over => true,
        }
    }

    /// Ends one stage and begins another.
    fn enter(&mut self, stage: Stage) {
        self.lab.tell(|| format!("--- {stage:?}"));
        if stage != Stage::Create {
            // What is terminating takes its time, and nobody waits for it.
            self.lab.clouds.world().advance(TERMINATES_IN);
            let dump = self.lab.clouds.world().dump();
            self.pictures.push((self.stage, Picture::of(&self.lab, &dump)));
            self.made = Made::of(&dump);
        }
        self.stage = stage;
        self.since = self.operator.passes;
        let now = self.lab.now();
        let mut store = self.lab.store();
        match stage {
            Stage::Create => {
                store.apply(&key("for tests", &json!({ "team": "tests" })));
                store.apply(&spare());
                store.apply(&cluster(&REGIONS));
            }
            Stage::Damage => {
                damage(&mut self.lab.clouds.world());
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
            Stage::Over => {}
        }
    }

    /// Whether it ended as another did, with so many faults on the way.
    pub(crate) fn ended_as(&self, clean: &Self, faults: u32) -> Result<(), String> {
        let fired = self.lab.trouble().fired;
        if fired != faults {
            return Err(format!("{fired} of {faults} faults happened"));
        }
        if self.lab.trouble().overstepped {
            return Err("an effect was made by a process that knew that it does not lead".to_owned());
        }
        if self.made != clean.made {
            return Err(format!("{:?} were made, in the clean life {:?}", self.made, clean.made));
        }
        for ((stage, wanted), (_, found)) in clean.pictures.iter().zip(&self.pictures) {
            let lines = wanted.differs(found);
            if !lines.is_empty() {
                return Err(format!(
                    "the end of {stage:?} differs from that of the clean life:\n  {}",
                    lines.join("\n  ")
                ));
            }
        }
        if self.pictures.len() != clean.pictures.len() {
            return Err("it did not come to its end".to_owned());
        }
        Ok(())
    }
}

/// What an administrator does to the two keys: everything that can be put back.
fn damage(world: &mut World) {
    let arn = |world: &World, region: &str| world.true_alias(ACCOUNT, region, ALIAS).unwrap().to_owned();
    let (one, other) = (arn(world, REGIONS[0]), arn(world, REGIONS[1]));
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Sid": "EnableRoot", "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
          "Action": "kms:*", "Resource": "*" },
        { "Sid": "Auditor", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::222222222222:root" },
          "Action": "kms:DescribeKey", "Resource": "*" },
    ] });
    let mut kms = world.kms(ACCOUNT, REGIONS[0]);
    kms.put_key_policy(&one, None, &policy.to_string(), false).unwrap();
    kms.disable_key_rotation(&one).unwrap();
    kms.untag_resource(&one, &["cmk-operator.io/holder".to_owned(), "cmk-operator.io/registered-at".to_owned()])
        .unwrap();
    let mut kms = world.kms(ACCOUNT, REGIONS[1]);
    kms.delete_alias(ALIAS).unwrap();
    kms.update_key_description(&other, "mine").unwrap();
}

fn is_ready(store: &Store, name: &str) -> bool {
    let holds = |conditions: &[cmk_operator::api::condition::Condition]| {
        let is = |kind: &str, status: &str| conditions.iter().any(|c| c.type_ == kind && c.status == status);
        is("Ready", "True") && is("Reconciling", "False")
    };
    let of_key = store.keys.get(name).and_then(|key| {
        let status = key.status.as_ref()?;
        Some(holds(&status.conditions) && status.observed_generation == key.metadata.generation)
    });
    let of_cluster = store.clusters.get(name).and_then(|cluster| {
        let status = cluster.status.as_ref()?;
        Some(holds(&status.conditions) && status.observed_generation == cluster.metadata.generation)
    });
    of_key.or(of_cluster).unwrap_or(false)
}

/// The spare key is there, and waits for somebody who may register it.
fn is_stuck_as_meant(store: &Store) -> bool {
    let Some(status) = store.keys.get("spare").and_then(|key| key.status.as_ref()) else { return false };
    let made = status.regions.iter().filter(|r| r.key_state.as_deref() == Some("Enabled") && r.alias.is_some());
    // One region's clear refusal says nothing of the other one's.
    let open = status.regions.iter().any(|r| r.creation.is_some() || r.registration.is_some());
    let made = made.count() == REGIONS.len() && !open;
    let lacks = status.conditions.iter().any(|c| c.type_ == "Ready" && c.reason == "CredentialsLackPermission");
    made && lacks
}
