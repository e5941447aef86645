//! The examples for Atlas as a user applies them.

use serde_json::{Value, json};

use super::atlas::{ATLAS, PROJECT, count, project};
use super::examples;
use crate::support::scene::{ACCOUNT, Scene, find};

/// Applies an example to an operator that watches its namespaces; yields what these begin with here.
async fn applied(name: &str, file: &str, namespaces: &[&str]) -> (Scene, String) {
    let (scene, prefix) = examples::started(name, namespaces).await;
    let all = examples::objects(&format!("atlas/{file}"), |name| format!("{prefix}-{name}"));
    examples::applied(&scene, &all).await;
    (scene, prefix)
}

/// Waits until both objects are ready and the cluster is encrypted by Atlas's own word; yields the cluster as Atlas has it.
async fn ready(scene: &Scene, key: (&str, &str), cluster: (&str, &str)) -> Value {
    scene.wait_in(key.0, "CustomerKey", key.1, "Ready", "True", "AsDeclared").await;
    let shown = scene.wait_in(cluster.0, "EncryptedCluster", cluster.1, "Ready", "True", "AsDeclared").await;
    assert_eq!(find(&shown, "EncryptionVerified").unwrap()["reason"], "EncryptionReported");
    let clusters = project(scene).await["clusters"].clone();
    let [made] = clusters.as_array().unwrap().as_slice() else { panic!("one cluster: {clusters}") };
    assert_eq!(made["spec"]["id"], shown["status"]["upstreamId"]);
    made.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simplest_one() {
    let (scene, prefix) = applied("m1simple", "simplest.yaml", &["members"]).await;
    let namespace = format!("{prefix}-members");
    let made = ready(&scene, (&namespace, "members"), (&namespace, "members")).await;
    assert!(made["created_with"].is_string(), "{made}");
    let role = format!("arn:aws:iam::{ACCOUNT}:role/cmk-operator/test/{namespace}/members-atlas-kms");
    assert!(scene.state().await["roles"][role].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_regions() {
    let (scene, prefix) = applied("m2regions", "several-regions.yaml", &["catalog"]).await;
    let namespace = format!("{prefix}-catalog");
    let made = ready(&scene, (&namespace, "catalog"), (&namespace, "catalog")).await;
    let configs = made["spec"]["replicationSpecs"][0]["regionConfigs"].as_array().unwrap();
    let nodes: Vec<(&str, u64)> = configs
        .iter()
        .map(|c| (c["regionName"].as_str().unwrap(), c["electableSpecs"]["nodeCount"].as_u64().unwrap()))
        .collect();
    assert_eq!(nodes, [("US_EAST_1", 3), ("EU_WEST_1", 2), ("AP_SOUTHEAST_1", 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_and_a_cluster_that_are_there_already() {
    let (scene, prefix) = applied("m3existing", "existing-role.yaml", &["billing"]).await;
    let namespace = format!("{prefix}-billing");
    let existing = json!({
        "name": "billing", "clusterType": "REPLICASET",
        "replicationSpecs": [{ "regionConfigs": [{ "providerName": "AWS", "regionName": "US_EAST_1", "priority": 7,
            "electableSpecs": { "instanceSize": "M10", "nodeCount": 3 } }] }],
    });
    scene.command(&json!({ "atlas": { "add_cluster": { "project": PROJECT, "cluster": existing } } })).await;
    // The administrator does what status shows.
    let shown = scene
        .until("the external id is shown", || async {
            let key = scene.get_in(&namespace, "CustomerKey", "billing").await;
            let role = key["status"]["regions"][0]["cloudRole"].clone();
            if role["externalId"].is_string() { Ok(role) } else { Err(key["status"].to_string()) }
        })
        .await;
    let trust = json!({ "principals": [ATLAS], "external_ids": [shown["externalId"]] });
    let role = format!("arn:aws:iam::{ACCOUNT}:role/billing-atlas-kms");
    scene.command(&json!({ "create_principal": { "arn": role, "trust": trust } })).await;
    let made = ready(&scene, (&namespace, "billing"), (&namespace, "billing")).await;
    assert_eq!(made["spec"]["encryptionAtRestProvider"], "AWS");
    let calls = scene.calls().await;
    assert_eq!((count(&calls, "atlas:CreateCluster"), count(&calls, "iam:CreateRole")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_in_one_namespace_and_the_cluster_in_another() {
    let (scene, prefix) = applied("m4two", "two-namespaces.yaml", &["platform", "shop"]).await;
    let (platform, shop) = (format!("{prefix}-platform"), format!("{prefix}-shop"));
    let made = ready(&scene, (&platform, "atlas"), (&shop, "shop")).await;
    assert!(made["created_with"].is_string(), "{made}");
}
