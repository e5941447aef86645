//! The good day: the order of everything, and an orderly stop.

use serde_json::{Value, json};

use crate::support::scene::{ORGANIZATION, Scene, find};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];

/// The position of the first call of an operation that took effect.
pub fn first(calls: &[Value], operation: &str, region: &str) -> usize {
    calls
        .iter()
        .position(|c| c["operation"] == operation && c["region"] == region && c["applied"] == true)
        .unwrap_or_else(|| panic!("{operation} in {region} was never applied: {calls:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_regions_go_from_nothing_to_a_database_in_the_only_safe_order() {
    let scene = Scene::started("row1").await;
    scene.apply_all(&REGIONS).await;
    let (key, cluster) = scene.all_ready().await;
    let (state, calls) = (scene.state().await, scene.calls().await);

    assert_eq!(state["keys"].as_object().unwrap().len(), 2, "one key in each region");
    for region in key["status"]["regions"].as_array().unwrap() {
        let arn = region["keyArn"].as_str().unwrap();
        assert_eq!(region["registeredKeyArn"], arn);
        assert_eq!(
            state["aliases"].as_object().unwrap().values().filter(|v| *v == arn).count(),
            1,
            "one alias points at it"
        );
    }
    let database = &state["astra"][ORGANIZATION]["databases"][0];
    assert_eq!(cluster["status"]["upstreamId"], database["id"]);
    for region in database["regions"].as_array().unwrap() {
        let name = region["region"].as_str().unwrap();
        let arn =
            key["status"]["regions"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap()["keyArn"].clone();
        assert_eq!(region["encrypted_with"], arn, "the database is under the registered key in {name}");
    }
    assert_eq!(find(&cluster, "EncryptionVerified").unwrap()["reason"], "ByOrder");

    let created = first(&calls, "astra:CreateDatabase", "us-east-1");
    let added = first(&calls, "astra:AddDatacenters", "eu-west-1");
    assert!(created < added, "the second region is added after the database was created");
    for (region, deployed) in [("us-east-1", created), ("eu-west-1", added)] {
        let registered = first(&calls, "astra:CreateKey", region);
        assert!(registered < deployed, "{region} was registered before it was deployed to");
        let looks: Vec<i64> = calls[registered..deployed]
            .iter()
            .filter(|c| c["operation"] == "astra:GetServerlessKey" && c["region"] == region && c["outcome"] == "ok")
            .map(|c| c["at_ms"].as_i64().unwrap())
            .collect();
        assert!(looks.len() >= 3, "{region}: read back at least three times before the deployment: {looks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_in_order_and_frees_the_lease() {
    let mut scene = Scene::started("stop").await;
    scene.apply_all(&["us-east-1"]).await;
    scene.all_ready().await;
    assert_eq!(scene.stop().await, Some(0));
    let lease = scene.plane.kubectl(&["get", "lease", "cmk-operator", "-n", &scene.namespace, "-o", "json"]);
    let lease: Value = serde_json::from_str(&lease).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], json!(null), "{}", scene.log_tail());
}
