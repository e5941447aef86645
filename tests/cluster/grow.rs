//! A region that comes later: what runs is left alone, and the new one goes through a gate of its own.

use serde_json::{Value, json};

use crate::order::first;
use crate::support::scene::{ORGANIZATION, Scene, find};

const RUNNING: [&str; 2] = ["us-east-1", "eu-west-1"];
const ALL: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-1"];
const NEW: &str = "ap-southeast-1";

/// What a status says of a region.
fn region<'v>(object: &'v Value, name: &str) -> &'v Value {
    let regions = object["status"]["regions"].as_array().unwrap();
    regions.iter().find(|r| r["name"] == name).unwrap_or(&Value::Null)
}

/// The regions that run are said to run, whatever is said of the others.
fn undisturbed(cluster: &Value) {
    for name in RUNNING {
        let region = region(cluster, name);
        assert_eq!(region["gate"]["open"], true, "the gate of {name} was shut: {region:#}");
        assert_eq!(region["state"], "Active", "{name} runs: {region:#}");
        assert!(region["gate"]["checks"].as_array().unwrap().iter().all(|check| check["passed"] == true), "{region:#}");
    }
    assert_eq!(find(cluster, "EncryptionVerified").unwrap()["reason"], "ByOrder");
}

/// Waits until the cluster says something, and watches the running regions meanwhile; yields how often it looked.
async fn watching(scene: &Scene, condition: &str, status: &str, reason: &str) -> u32 {
    let looks = std::sync::atomic::AtomicU32::new(0);
    scene
        .until(&format!("{condition}={status} {reason}"), || async {
            let cluster = scene.get("EncryptedCluster", "db").await;
            undisturbed(&cluster);
            looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let current = cluster["metadata"]["generation"] == cluster["status"]["observedGeneration"];
            let found = find(&cluster, condition).unwrap();
            let said = current && found["status"] == status && (reason == "*" || found["reason"] == reason);
            if said { Ok(()) } else { Err(cluster["status"].to_string()) }
        })
        .await;
    looks.into_inner()
}

/// Two regions that run.
async fn running(name: &str) -> Scene {
    let scene = Scene::started(name).await;
    scene.apply_all(&RUNNING).await;
    scene.all_ready().await;
    scene
}

/// The third region was added to the one database, under its own key, in the only safe order.
async fn grown(scene: &Scene, mark: u64) {
    let (key, cluster) = scene.all_ready().await;
    undisturbed(&cluster);
    let state = scene.state().await;
    let databases = state["astra"][ORGANIZATION]["databases"].as_array().unwrap();
    assert_eq!(databases.len(), 1, "there is no second database");
    assert_eq!(databases[0]["regions"].as_array().unwrap().len(), ALL.len());
    for deployed in databases[0]["regions"].as_array().unwrap() {
        let name = deployed["region"].as_str().unwrap();
        assert_eq!(deployed["encrypted_with"], region(&key, name)["keyArn"], "{name}");
    }
    assert_eq!(state["keys"].as_object().unwrap().len(), ALL.len());

    let calls = scene.calls_since(mark).await;
    let (registered, added) = (first(&calls, "astra:CreateKey", NEW), first(&calls, "astra:AddDatacenters", NEW));
    assert!(first(&calls, "kms:CreateKey", NEW) < registered && registered < added);
    let looks = calls[registered..added]
        .iter()
        .filter(|c| c["operation"] == "astra:GetServerlessKey" && c["region"] == NEW && c["outcome"] == "ok")
        .count();
    assert!(looks >= 3, "{NEW} was read back {looks} times before it was deployed to");
    let elsewhere: Vec<&Value> = calls.iter().filter(|c| c["access"] == "write" && c["region"] != NEW).collect();
    assert!(elsewhere.is_empty(), "nothing is written where everything runs: {elsewhere:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_region_goes_through_its_own_gate_and_leaves_the_others_alone() {
    let scene = running("grow").await;
    let mark = scene.mark().await;
    scene.apply(&scene.key(&ALL)).await.unwrap();
    scene.apply(&scene.cluster(&ALL)).await.unwrap();
    let looks = watching(&scene, "Ready", "True", "*").await;
    assert!(looks >= 3, "only {looks} looks on the way");
    grown(&scene, mark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_the_key_does_not_have_waits_for_the_key() {
    let scene = running("early").await;
    let mark = scene.mark().await;
    scene.apply(&scene.cluster(&ALL)).await.unwrap();
    watching(&scene, "Stalled", "True", "RegionNotInKey").await;
    let cluster = scene.get("EncryptedCluster", "db").await;
    let gate = find(&cluster, "GateOpen").unwrap();
    let words = format!(
        "CustomerKey {}/key has no region {NEW}. To do: add the region to the key's spec.regions.",
        scene.namespace
    );
    assert!(gate["message"].as_str().unwrap().contains(&words), "{gate:#}");
    assert_eq!(gate["reason"], "RegionNotInKey");
    let shut = region(&cluster, NEW);
    assert_eq!(shut["gate"]["open"], false);
    let failed: Vec<&Value> = shut["gate"]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["name"] == "KeyHasRegion" && c["passed"] == json!(false))
        .collect();
    assert_eq!(failed.len(), 1, "{shut:#}");
    assert!(
        !scene.calls_since(mark).await.iter().any(|c| c["access"] == "write"),
        "nothing is written for a refused region"
    );

    scene.apply(&scene.key(&ALL)).await.unwrap();
    watching(&scene, "Ready", "True", "*").await;
    grown(&scene, mark).await;
}
