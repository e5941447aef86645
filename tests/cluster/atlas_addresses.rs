//! Atlas with a key that may be used from the addresses of its control plane and of the project's clusters alone: the key
//! policy follows them, shuts everybody else out, and never a node that is in use.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::atlas::{PROJECT, REGIONS, apply, cluster, count, key, project, secret};
use crate::support::scene::{Scene, find};

/// So that addresses are looked at every second.
const LOOKS: [&str; 2] = ["--state-interval", "1s"];

/// An operator that looks often, and an Atlas that does.
async fn started(name: &str) -> Scene {
    let mut scene = Scene::new(name).await;
    scene.command(&json!({ "atlas": { "patch_settings": { "check_ms": 500 } } })).await;
    scene.extra = LOOKS.map(ToOwned::to_owned).to_vec();
    scene.start();
    scene
}

/// A key that is restricted, with a role that the operator makes.
fn restricted(scene: &Scene) -> Value {
    let mut key = key(scene);
    key["spec"]["upstream"]["atlas"]["role"] = json!({ "create": { "name": "atlas-kms" } });
    key["spec"]["upstream"]["atlas"]["restrictSourceIps"] = json!(true);
    key
}

/// A second cluster.
fn second(scene: &Scene) -> Value {
    let mut second = cluster(scene, &REGIONS[..1]);
    second["metadata"]["name"] = json!("db2");
    second["spec"]["deployment"]["atlas"]["name"] = json!("shop2");
    second
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The addresses that a condition of a policy has, wherever it stands; none: there is no such condition.
fn of_condition(policy: &Value, operator: &str) -> Option<BTreeSet<String>> {
    let policy = policy.as_str().map_or_else(|| policy.clone(), |text| serde_json::from_str(text).unwrap());
    let statements = policy["Statement"].as_array().unwrap().clone();
    let conditions = statements.into_iter().map(|statement| statement["Condition"][operator]["aws:SourceIp"].clone());
    conditions.filter(|list| !list.is_null()).map(|list| texts(&list)).next()
}

/// From where the key policy lets the key be used; none: from everywhere.
fn used_from(state: &Value) -> Option<BTreeSet<String>> {
    let [one] = state["keys"].as_object().unwrap().values().collect::<Vec<_>>()[..] else { panic!("{state:#}") };
    of_condition(&one["policy"], "NotIpAddress")
}

/// The same of the role's own policy.
fn role_from(state: &Value) -> Option<BTreeSet<String>> {
    let roles = state["roles"].as_object().unwrap().values();
    let mut policies = roles.filter_map(|role| role["policies"].get("cmk-operator"));
    of_condition(policies.next().unwrap(), "IpAddress")
}

/// The addresses that nodes have, and that the control plane has.
fn in_use(state: &Value) -> BTreeSet<String> {
    let clusters = state["atlas"]["projects"][PROJECT]["clusters"].as_array().unwrap();
    let nodes = clusters.iter().flat_map(|cluster| texts(&cluster["addresses"]["outbound"]));
    nodes.map(|address| format!("{address}/32")).chain([CONTROL.to_owned()]).collect()
}

const CONTROL: &str = "192.0.2.20/32";

/// Waits until the key policy, and the role's, let in these addresses and no others.
async fn until_used_from(scene: &Scene, addresses: &BTreeSet<String>) {
    scene
        .until(&format!("the key may be used from {addresses:?} alone"), || async {
            let state = scene.state().await;
            let found = (used_from(&state), role_from(&state));
            let wanted = (Some(addresses.clone()), Some(addresses.clone()));
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
}

/// Moves the nodes of a cluster.
async fn set_addresses(scene: &Scene, cluster: &str, now: &[&str], future: &[&str]) {
    let addresses = json!({ "inbound": now, "outbound": now, "futureInbound": future, "futureOutbound": future });
    let set = json!({ "project": PROJECT, "cluster": cluster, "addresses": addresses });
    scene.command(&json!({ "atlas": { "set_cluster_addresses": set } })).await;
}

async fn hide(scene: &Scene, hidden: bool) {
    scene.command(&json!({ "atlas": { "patch_settings": { "hide_addresses": hidden } } })).await;
}

fn blocks(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(|address| format!("{address}/32")).chain([CONTROL.to_owned()]).collect()
}

/// Waits for so many more answers to an operation; the key policy is the same after each.
async fn stays_used_from(scene: &Scene, operation: &str, answers: usize, addresses: &BTreeSet<String>) {
    let mark = scene.mark().await;
    scene
        .until(&format!("{answers} more answers to {operation}"), || async {
            let found = used_from(&scene.state().await);
            assert_eq!(found.as_ref(), Some(addresses), "it stays as it was");
            let calls = scene.calls_since(mark).await;
            let answered = calls.iter().filter(|call| call["operation"] == operation).count();
            if answered >= answers { Ok(()) } else { Err(format!("{answered}")) }
        })
        .await;
    let written = scene.calls_since(mark).await;
    assert!(written.iter().all(|call| call["operation"] != "kms:PutKeyPolicy"), "{written:#?}");
}

/// Waits until a cluster is down, or is up.
async fn until_down(scene: &Scene, cluster: &str, down: bool) {
    scene
        .until(&format!("{cluster} down: {down}"), || async {
            let project = project(scene).await;
            let clusters = project["clusters"].as_array().unwrap();
            let found = clusters.iter().find(|c| c["spec"]["name"] == cluster).unwrap();
            if found["down_since_ms"].is_null() == down { Err(project.to_string()) } else { Ok(()) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_follows_the_addresses_and_no_empty_or_failed_answer_narrows_it() {
    let scene = started("atlas-addresses").await;
    apply(&scene, &[secret(&scene, true), restricted(&scene), cluster(&scene, &REGIONS[..1])]).await;
    scene.all_ready().await;
    let first = in_use(&scene.state().await);
    assert_eq!(first.len(), 4, "{first:?}");
    until_used_from(&scene, &first).await;
    let (shown, _) = scene.all_ready().await;
    let message = find(&shown, "PoliciesReady").unwrap()["message"].to_string();
    assert!(message.contains("may be used from 4 addresses of the cloud alone"), "{message}");
    assert_eq!(project(&scene).await["key"]["valid"], true);

    // Announced, then in use; then the old ones are gone.
    let old: Vec<String> = first.iter().filter(|a| *a != CONTROL).map(|a| a.replace("/32", "")).collect();
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    set_addresses(&scene, "shop", &old, &["198.51.99.1"]).await;
    until_used_from(&scene, &blocks(&[&old[..], &["198.51.99.1"]].concat())).await;
    set_addresses(&scene, "shop", &["198.51.99.1", "198.51.99.2"], &[]).await;
    until_used_from(&scene, &blocks(&["198.51.99.1", "198.51.99.2"])).await;
    until_down(&scene, "shop", false).await;
    // Fewer.
    set_addresses(&scene, "shop", &["198.51.99.2"], &[]).await;
    let fewer = blocks(&["198.51.99.2"]);
    until_used_from(&scene, &fewer).await;

    // The list comes back without any cluster, and then not at all; the same of the control plane's.
    hide(&scene, true).await;
    stays_used_from(&scene, "atlas:GetIpAddresses", 8, &fewer).await;
    // A node that calls from where nobody was told of is shut out: the restriction restricts.
    set_addresses(&scene, "shop", &["203.0.113.77"], &[]).await;
    until_down(&scene, "shop", true).await;
    assert_eq!(project(&scene).await["key"]["valid"], true, "the control plane is let in");
    hide(&scene, false).await;
    until_down(&scene, "shop", false).await;
    let moved = blocks(&["203.0.113.77"]);
    until_used_from(&scene, &moved).await;
    for operation in ["atlas:GetIpAddresses", "atlas:ListControlPlaneIpAddresses"] {
        let error = json!({ "error": { "status": 500, "code": "UNEXPECTED_ERROR" } });
        scene.fault(&json!({ "operation": operation }), &error).await;
        stays_used_from(&scene, operation, 6, &moved).await;
        let key = scene.get("CustomerKey", "key").await;
        let message = find(&key, "PoliciesReady").unwrap()["message"].to_string();
        assert!(message.contains("IPAddresses") || message.contains("ipAddresses"), "{message}");
        assert!(message.contains("none of them goes before all were seen again"), "{message}");
        scene.clear_faults().await;
    }
    let nothing = json!({ "inbound": {}, "outbound": {} });
    scene.command(&json!({ "atlas": { "set_control_plane": nothing } })).await;
    stays_used_from(&scene, "atlas:ListControlPlaneIpAddresses", 8, &moved).await;
    let back = json!({ "inbound": {}, "outbound": { "us-east-1": [CONTROL, "192.0.2.21"] } });
    scene.command(&json!({ "atlas": { "set_control_plane": back } })).await;
    let both: BTreeSet<String> = moved.iter().cloned().chain(["192.0.2.21/32".to_owned()]).collect();
    until_used_from(&scene, &both).await;
    scene.all_ready().await;

    // Taken out of the spec, it is gone.
    let mut open = restricted(&scene);
    open["spec"]["upstream"]["atlas"]["restrictSourceIps"] = json!(false);
    scene.apply(&open).await.unwrap();
    scene
        .until("the key may be used from everywhere", || async {
            let state = scene.state().await;
            let found = (used_from(&state), role_from(&state));
            if found == (None, None) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    scene.all_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_created_while_the_key_is_restricted_comes_up() {
    let scene = started("atlas-second").await;
    apply(&scene, &[secret(&scene, true), restricted(&scene), cluster(&scene, &REGIONS[..1])]).await;
    scene.all_ready().await;
    let first = in_use(&scene.state().await);
    until_used_from(&scene, &first).await;

    let mark = scene.mark().await;
    scene.apply(&second(&scene)).await.unwrap();
    scene
        .until("the key says why it is not restricted", || async {
            let key = scene.get("CustomerKey", "key").await;
            let said = find(&key, "PoliciesReady").map(|c| c["message"].to_string()).unwrap_or_default();
            let ready = find(&key, "Ready").is_some_and(|c| c["status"] == "True");
            let names = said.contains(&format!("EncryptedCluster {}/db2 is being deployed", scene.namespace));
            if ready && names { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    scene.ready("EncryptedCluster", "db2").await;
    let calls = scene.calls_since(mark).await;
    let at = |operation: &str| calls.iter().position(|c| c["operation"] == operation && c["applied"] == true).unwrap();
    assert!(at("kms:PutKeyPolicy") < at("atlas:CreateCluster"), "it is lifted before");
    assert_eq!(count(&calls, "atlas:CreateCluster"), 1);

    let both = in_use(&scene.state().await);
    assert_eq!(both.len(), 7, "{both:?}");
    assert!(first.is_subset(&both));
    until_used_from(&scene, &both).await;
    scene.all_ready().await;
    scene.ready("EncryptedCluster", "db2").await;
    let project = project(&scene).await;
    assert_eq!(project["key"]["valid"], true);
    assert!(project["clusters"].as_array().unwrap().iter().all(|c| c["down_since_ms"].is_null()), "{project:#}");
    assert_eq!(count(&scene.calls_since(mark).await, "kms:PutKeyPolicy"), 2, "lifted once, and put back once");

    // Somebody else makes one.
    let theirs = json!({ "name": "theirs", "clusterType": "REPLICASET", "encryptionAtRestProvider": "AWS", "backupEnabled": true,
        "replicationSpecs": [{ "regionConfigs": [{ "providerName": "AWS", "regionName": "US_EAST_1", "priority": 7,
            "electableSpecs": { "instanceSize": "M10", "nodeCount": 3 } }] }] });
    scene.command(&json!({ "atlas": { "add_cluster": { "project": PROJECT, "cluster": theirs } } })).await;
    let all = in_use(&scene.state().await);
    assert_eq!(all.len(), 10, "{all:?}");
    until_used_from(&scene, &all).await;
}
