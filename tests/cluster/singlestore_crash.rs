//! SingleStore by API, with the process killed around every effect that is its own, and with replies lost, late or refused:
//! one group, one set-up of replication and one workspace, under their keys, whatever happens.

use cmk_operator::plan::step::Site;
use serde_json::{Value, json};

use super::crash::{Play, all};
use super::faults::faults;
use super::singlestore::{ORG, arn, attested, cluster, document, key, secret, suggested};
use crate::support::scene::{Scene, find};

const FIRST: &str = "us-east-1";
const SECOND: &str = "us-west-2";
const WORKSPACE: &str = "reports";

/// The effects that are visited here.
pub const SITES: [Site; 7] = [
    Site::RecordDeployIntent,
    Site::CreateDatabase,
    Site::RecordDatabase,
    Site::NoteDatabase,
    Site::AddRegion,
    Site::CreatePart,
    Site::WriteStatus,
];

/// What the sandbox's portal suggests to append to the first region's key.
const APPENDED: &str = r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::910000000002:role/singlestore-cmek"},"Action":["kms:DescribeKey","kms:Decrypt"],"Resource":"*"}]}"#;

/// From nothing to a group that is replicated; fails if anything was made twice, or under other keys.
async fn life(play: &mut Play) -> Result<(), String> {
    let scene = &play.scene;
    let (first, second) = (suggested(scene, FIRST).await, suggested(scene, SECOND).await);
    let documents = [
        document("portal", FIRST, &first),
        document("portal-second", SECOND, &second),
        json!({ "name": "copies", "regions": [FIRST], "replicationTo": SECOND, "json": APPENDED }),
    ];
    let api = |more: &Value| {
        let mut deployment = json!({
            "mode": "Api", "acceptUnverifiedEncryption": true, "replication": { "autoReplication": true },
            "workspaces": [{ "name": WORKSPACE }],
        });
        for (field, value) in more.as_object().unwrap() {
            deployment[field] = value.clone();
        }
        deployment
    };
    for object in [
        secret(scene),
        key(scene, "key", &[FIRST, SECOND], &documents),
        cluster(scene, &[FIRST, SECOND], &api(&json!({}))),
    ] {
        scene.apply(&object).await.map_err(|e| e.to_string())?;
    }
    let group = play
        .until("the group is there", async |scene: &Scene| {
            let shown = scene.get("EncryptedCluster", "db").await;
            let there = shown["status"]["regions"].as_array().into_iter().flatten().any(|r| r["state"] == "Active");
            match shown["status"]["upstreamId"].as_str() {
                Some(id) if there => Ok(id.to_owned()),
                _ => Err(shown["status"].to_string()),
            }
        })
        .await?;
    let made = play.scene.get("CustomerKey", "key").await;
    let (data, copy) = (arn(&made, FIRST), arn(&made, SECOND));
    let proven = cluster(&play.scene, &[FIRST, SECOND], &api(&json!({ "attested": attested(&group, &data, &data) })));
    play.scene.apply(&proven).await.map_err(|e| e.to_string())?;
    play.until("everything is ready", async |scene: &Scene| {
        let shown = scene.get("EncryptedCluster", "db").await;
        let current = shown["metadata"]["generation"] == shown["status"]["observedGeneration"];
        let is = |condition, status| find(&shown, condition).is_some_and(|c| c["status"] == status);
        let ready = current && is("Ready", "True") && is("Reconciling", "False") && is("EncryptionVerified", "True");
        if ready { Ok(()) } else { Err(shown["status"].to_string()) }
    })
    .await?;
    let groups = play.scene.state().await["singlestore"][ORG]["groups"].as_array().unwrap().clone();
    let under = |arn: &str| json!({ "data": arn, "backup": arn });
    let right = groups.len() == 1
        && groups[0]["id"] == json!(group)
        && groups[0]["encrypted_with"] == under(&data)
        && groups[0]["replication"]["encrypted_with"] == under(&copy)
        && groups[0]["replication"]["failed"].is_null();
    let state = play.scene.state().await;
    let keys = state["keys"].as_object().unwrap().len();
    let inside = state["singlestore"][ORG]["workspaces"].as_array().unwrap();
    let shown = play.scene.get("EncryptedCluster", "db").await;
    let one = inside.len() == 1
        && (&inside[0]["name"], &inside[0]["group"]) == (&json!(WORKSPACE), &json!(group))
        && shown["status"]["workspaces"] == json!([{ "name": WORKSPACE, "id": inside[0]["id"], "state": "Active" }])
        && shown["status"]["creation"].is_null();
    if right && one && keys == 2 {
        Ok(())
    } else {
        Err(format!("{keys} keys, and {groups:#?}, in which {inside:#?}; {}", shown["status"]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_around_every_effect_of_its_own() {
    let switches: Vec<String> = SITES
        .into_iter()
        .flat_map(|site| ["before", "after"].map(|moment| format!("{}:{moment}", site.as_str())))
        .collect();
    let count = switches.len();
    all(switches, |switch: String| async move {
        let mut play = Play::new("s2crash", &["--crash-at".to_owned(), switch.clone()]).await;
        life(&mut play).await.map_err(|e| format!("{switch}: {e}"))?;
        if play.died { Ok(()) } else { Err(format!("{switch}: the operator was never killed")) }
    })
    .await;
    println!("{count} crashes");
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_are_lost_late_or_refused() {
    let mut entries = Vec::new();
    for operation in ["singlestore:CreateWorkspaceGroup", "singlestore:SetUpReplication", "singlestore:CreateWorkspace"]
    {
        for (name, fault) in faults() {
            entries.push((operation, name, fault));
        }
        let lock = "error creating workspace group: could not acquire lock within duration [0]";
        entries.push((
            operation,
            "a page",
            json!({ "error": { "status": 502, "code": "html", "message": "Bad gateway" } }),
        ));
        entries.push((operation, "the lock", json!({ "error": { "status": 500, "code": "500", "message": lock } })));
        entries.push((operation, "429", json!({ "error": { "status": 429, "code": "429", "message": "slow down" } })));
    }
    let count = entries.len();
    all(entries, |(operation, name, fault): (&'static str, &'static str, Value)| async move {
        let what = format!("{operation} {name}");
        let mut play = Play::new("s2faults", &[]).await;
        play.scene.fault(&json!({ "operation": operation, "nth": 1 }), &fault).await;
        life(&mut play).await.map_err(|e| format!("{what}: {e}"))?;
        let fired = play.scene.fired().await;
        if fired == [1] { Ok(()) } else { Err(format!("{what}: the fault fired {fired:?} times instead of once")) }
    })
    .await;
    println!("{count} faults");
}
