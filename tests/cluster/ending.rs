//! The end of everything, with the process killed at each of its effects, and with each reply lost, late or wrong: what is
//! left is what the clean end leaves.

use std::sync::Arc;

use cmk_operator::plan::step::Site;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::crash::{Play, all, same};
use super::faults::faults;
use crate::support::scene::{ORGANIZATION, Scene, find, organization, tenant_token};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];

/// The effects that the end of something makes.
pub const SITES: [Site; 8] = [
    Site::MarkDeletion,
    Site::ScheduleDeletion,
    Site::CancelDeletion,
    Site::EnableKey,
    Site::RemoveRegion,
    Site::TerminateDatabase,
    Site::RemoveFinalizer,
    Site::WriteStatus,
];

const OPERATIONS: [&str; 6] = [
    "kms:TagResource",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
    "kms:EnableKey",
    "astra:TerminateDatabase",
    "astra:TerminateDatacenter",
];

/// A key of an organization of its own whose token may not register keys, so that it can be scheduled for deletion.
async fn spare(scene: &Scene) -> Value {
    let mut key = scene.tenant("spare", 7, REGIONS[0]).await;
    let may = json!(["org-cmk-read", "org-db-create", "org-db-view"]);
    let token = json!({ "token": tenant_token("spare"), "org": organization(7), "permissions": may });
    scene.command(&json!({ "set_token": token })).await;
    key["spec"]["deletionPolicy"] = json!("ScheduleDeletion");
    key
}

fn cluster(scene: &Scene, regions: &[&str]) -> Value {
    let mut cluster = scene.cluster(regions);
    cluster["spec"]["primaryRegion"] = json!(REGIONS[0]);
    cluster["spec"]["deletionPolicy"] = json!("Delete");
    cluster
}

/// Everything that is there before the end.
async fn begin(play: &mut Play) -> Result<(), String> {
    let spare = spare(&play.scene).await;
    for object in [play.scene.secret(), play.scene.key(&REGIONS), spare, cluster(&play.scene, &REGIONS)] {
        play.scene.apply(&object).await.map_err(|e| e.to_string())?;
    }
    let began = Instant::now();
    loop {
        let scene = &play.scene;
        let (db, spare) = (scene.get("EncryptedCluster", "db").await, scene.get("CustomerKey", "spare").await);
        let ready = find(&db, "Ready").is_some_and(|c| c["status"] == "True");
        let made = spare["status"]["regions"][0]["keyState"] == "Enabled";
        let refused = find(&spare, "Ready").is_some_and(|c| c["reason"] == "CredentialsLackPermission");
        if ready && made && refused {
            return Ok(());
        }
        let not_yet = format!("{} {}", db["status"], spare["status"]);
        play.look_again(began, "everything is there", &not_yet).await?;
    }
}

/// Confirms what an object shows the token of, until it is done.
pub async fn confirm(
    play: &mut Play,
    kind: &'static str,
    name: &'static str,
    token: fn(&Value) -> Value,
    done: fn(&Value) -> bool,
) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let scene = &play.scene;
        let object = scene.get(kind, name).await;
        if done(&object) {
            return Ok(());
        }
        if let Some(token) = token(&object).as_str() {
            let annotation = json!({ "metadata": { "annotations": { "cmk-operator.io/confirm-deletion": token } } });
            let api = scene.objects(&scene.namespace, kind);
            let _ = api.patch(name, &PatchParams::default(), &Patch::Merge(annotation)).await;
        }
        let what = format!("{kind} {name} or its region goes");
        play.look_again(began, &what, &object["status"].to_string()).await?;
    }
}

fn of_region(object: &Value) -> Value {
    let mut regions = object["status"]["regions"].as_array().into_iter().flatten();
    regions.find(|r| r["name"] == REGIONS[1]).map(|r| r["deletion"]["confirmationToken"].clone()).unwrap_or_default()
}

fn without_region(object: &Value) -> bool {
    let mut regions = object["status"]["regions"].as_array().into_iter().flatten();
    let ready = find(object, "Ready").is_some_and(|c| c["status"] == "True");
    ready && !regions.any(|r| r["name"] == REGIONS[1])
}

fn restored(object: &Value) -> bool {
    object["status"]["regions"][0]["keyState"] == "Enabled"
}

/// Ends everything; yields what is left outside.
async fn end(play: &mut Play) -> Result<Value, String> {
    let smaller = cluster(&play.scene, &REGIONS[..1]);
    play.scene.apply(&smaller).await.map_err(|e| e.to_string())?;
    confirm(play, "EncryptedCluster", "db", of_region, without_region).await?;
    let whole = |object: &Value| object["status"]["deletion"]["confirmationToken"].clone();
    // All at once: whatever goes first.
    for (kind, name) in [("EncryptedCluster", "db"), ("CustomerKey", "spare")] {
        let api = play.scene.objects(&play.scene.namespace, kind);
        api.delete(name, &DeleteParams::default()).await.map_err(|e| e.to_string())?;
    }
    confirm(play, "EncryptedCluster", "db", whole, Value::is_null).await?;
    confirm(play, "CustomerKey", "spare", whole, Value::is_null).await?;
    // Applied anew, it takes back what was scheduled for it; and then it goes for good.
    let spare = spare(&play.scene).await;
    play.scene.apply(&spare).await.map_err(|e| e.to_string())?;
    confirm(play, "CustomerKey", "spare", |_| Value::Null, restored).await?;
    let api = play.scene.objects(&play.scene.namespace, "CustomerKey");
    api.delete("spare", &DeleteParams::default()).await.map_err(|e| e.to_string())?;
    confirm(play, "CustomerKey", "spare", whole, Value::is_null).await?;
    let keys = play.scene.keys();
    keys.delete("key", &DeleteParams::default()).await.map_err(|e| e.to_string())?;
    confirm(play, "CustomerKey", "key", |_| Value::Null, Value::is_null).await?;
    // The kill may come as the last status is written; what is terminating takes its time.
    let began = Instant::now();
    loop {
        let left = left(&play.scene).await;
        if !left.to_string().contains("TERMINATING") {
            return Ok(left);
        }
        play.look_again(began, "every database has ended", &left.to_string()).await?;
    }
}

/// What is left outside, made comparable.
async fn left(scene: &Scene) -> Value {
    let state = scene.state().await;
    let aliases: Vec<&Value> = state["aliases"].as_object().unwrap().values().collect();
    let mut keys: Vec<String> = state["keys"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(arn, key)| {
            let (name, alias) = (&key["tags"]["cmk-operator.io/name"], aliases.contains(&&json!(arn)));
            format!("{} {name} {} alias={alias}", arn.split(':').nth(3).unwrap(), key["state"])
        })
        .collect();
    keys.sort();
    let organization = &state["astra"][ORGANIZATION];
    let databases: Vec<Value> = organization["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            let mut regions: Vec<String> =
                d["regions"].as_array().unwrap().iter().map(|r| format!("{} {}", r["region"], r["status"])).collect();
            regions.sort();
            json!([d["name"], d["status"], regions])
        })
        .collect();
    let registrations = organization["registrations"].as_array().unwrap().len();
    json!({ "keys": keys, "databases": databases, "registrations": registrations })
}

async fn clean(name: &str) -> Value {
    let mut play = Play::new(name, &[]).await;
    begin(&mut play).await.unwrap();
    let left = end(&mut play).await.unwrap();
    let keys = left["keys"].to_string();
    assert_eq!(keys.matches("PendingDeletion").count(), 1, "{left:#}");
    assert_eq!(keys.matches("Enabled").count(), 2, "what is registered stays: {left:#}");
    assert_eq!(left["databases"][0][1], "TERMINATED", "{left:#}");
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_or_after_any_effect_of_the_end_leaves_the_same() {
    let clean = Arc::new(clean("end-clean").await);
    let both_sides = |site: &Site| ["before", "after"].map(|side| format!("{}:{side}", site.as_str()));
    let switches: Vec<String> = SITES.iter().flat_map(both_sides).collect();
    let count = switches.len();
    all(switches, move |switch: String| {
        let clean = Arc::clone(&clean);
        async move {
            let wrong = |problem: String| format!("{switch}: {problem}");
            let mut play = Play::new("end", &[]).await;
            begin(&mut play).await.map_err(wrong)?;
            play.scene.stop().await;
            play.scene.extra = vec!["--crash-at".to_owned(), switch.clone()];
            play.scene.start();
            let left = end(&mut play).await.map_err(wrong)?;
            same(&switch, &clean, &left, &play.scene)?;
            if play.died { Ok(()) } else { Err(wrong("the operator never came there".to_owned())) }
        }
    })
    .await;
    println!("{count} crashes in the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_late_or_failed_reply_in_the_end_leaves_the_same() {
    let clean = Arc::new(clean("endfaults-clean").await);
    all(faults(), move |(name, fault): (&'static str, Value)| {
        let clean = Arc::clone(&clean);
        async move {
            let wrong = |problem: String| format!("{name}: {problem}");
            let mut play = Play::new("endfaults", &[]).await;
            begin(&mut play).await.map_err(wrong)?;
            for operation in OPERATIONS {
                play.scene.fault(&json!({ "operation": operation, "nth": 1 }), &fault).await;
            }
            let left = end(&mut play).await.map_err(wrong)?;
            let fired = play.scene.fired().await;
            if fired != [1; OPERATIONS.len()] {
                return Err(wrong(format!("the faults fired {fired:?} times instead of once each")));
            }
            same(name, &clean, &left, &play.scene)
        }
    })
    .await;
}
