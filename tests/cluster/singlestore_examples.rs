//! The examples for SingleStore as a user applies them, up to where a human has to go on, and through it.

use serde_json::{Value, json};

use super::examples::{adopted, applied, objects, of, started};
use super::singlestore::{ORG, arn, attested, document, portal, steps, submitted, suggested};
use crate::support::scene::{Scene, find};

/// From the objects as they stand to a group under the key, by way of the portal.
async fn handed_over(scene: &Scene, mut all: Vec<Value>, namespace: &str, name: &str) {
    applied(scene, &all).await;
    let key = scene.wait_in(namespace, "CustomerKey", name, "Ready", "False", "AwaitingAction").await;
    assert_eq!(steps(&key).len(), 3, "{key:#}");
    let policy = suggested(scene, "us-east-1").await;
    of(&mut all, "CustomerKey")["spec"]["policy"] = json!({ "documents": [document("portal", "us-east-1", &policy)] });
    applied(scene, &all).await;
    let key = scene.wait_in(namespace, "CustomerKey", name, "Ready", "True", "*").await;
    scene.wait_in(namespace, "EncryptedCluster", name, "Deployed", "False", "AwaitingAction").await;
    let data = arn(&key, "us-east-1");
    let group = submitted(scene, name, "us-east-1", Some(&data), Some(&data)).await;
    let bound = &mut of(&mut all, "EncryptedCluster")["spec"]["deployment"]["singleStore"];
    bound["workspaceGroupId"] = json!(group);
    bound["attested"] = attested(&group, &data, &data);
    applied(scene, &all).await;
    scene.wait_in(namespace, "EncryptedCluster", name, "Ready", "True", "*").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simplest_one() {
    let (scene, prefix) = started("s2simple", &["orders"]).await;
    let own = |name: &str| format!("{prefix}-{name}");
    handed_over(&scene, objects("singlestore/simplest.yaml", own), &own("orders"), "orders").await;
    let shown = scene.get_in(&own("orders"), "EncryptedCluster", "orders").await;
    let made = &shown["status"]["workspaces"];
    assert_eq!((&made[0]["name"], &made[0]["state"]), (&json!("reports"), &json!("Active")), "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_there() {
    let (scene, prefix) = started("s2adopt", &["reports"]).await;
    let own = |name: &str| format!("{prefix}-{name}");
    let mut all = objects("singlestore/adopted-key.yaml", own);
    adopted(&scene, of(&mut all, "CustomerKey")).await;
    handed_over(&scene, all, &own("reports"), "reports").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replication() {
    let (scene, prefix) = started("s2repl", &["ledger"]).await;
    let own = |name: &str| format!("{prefix}-{name}");
    let mut all = objects("singlestore/replication.yaml", own);
    applied(&scene, &all).await;
    let namespace = own("ledger");
    let key = scene.wait_in(&namespace, "CustomerKey", "ledger", "Ready", "True", "*").await;
    let (data, there) = (arn(&key, "us-east-1"), arn(&key, "us-west-2"));
    let group = submitted(&scene, "ledger", "us-east-1", Some(&data), Some(&data)).await;
    let bound = &mut of(&mut all, "EncryptedCluster")["spec"]["deployment"]["singleStore"];
    bound["workspaceGroupId"] = json!(group);
    bound["attested"] = attested(&group, &data, &data);
    applied(&scene, &all).await;
    scene
        .until("the ARNs are handed out", || async {
            let shown = scene.get_in(&namespace, "EncryptedCluster", "ledger").await;
            let pasted = steps(&shown).iter().filter(|(_, paste)| *paste == there).count();
            if pasted == 2 { Ok(()) } else { Err(shown["status"].to_string()) }
        })
        .await;
    let form = json!({ "set_up_replication": {
        "org": ORG, "group": group, "region": "us-west-2", "data_key": there, "backup_key": there,
    } });
    portal(&scene, &form).await;
    let cluster = of(&mut all, "EncryptedCluster");
    cluster["metadata"]["annotations"] = json!({ "cmk-operator.io/reconcile-requested-at": "submitted" });
    applied(&scene, &all).await;
    scene.wait_in(&namespace, "EncryptedCluster", "ledger", "Ready", "True", "*").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_one_namespace_and_the_group_in_another() {
    let (scene, prefix) = started("s2two", &["platform", "shop"]).await;
    let own = |name: &str| format!("{prefix}-{name}");
    let mut all = objects("singlestore/two-namespaces.yaml", own);
    applied(&scene, &all).await;
    let shop = own("shop");
    let shown =
        scene.wait_in(&shop, "EncryptedCluster", "shop", "EncryptionVerified", "Unknown", "AwaitingAttestation").await;
    let group = shown["status"]["upstreamId"].as_str().unwrap().to_owned();
    let tab = portal(&scene, &json!({ "security_tab": { "org": ORG, "group": group } })).await;
    let seen = |bucket: &str| tab[bucket]["keyArn"].as_str().unwrap().to_owned();
    assert_ne!(seen("data"), seen("backup"));
    of(&mut all, "EncryptedCluster")["spec"]["deployment"]["singleStore"]["attested"] =
        attested(&group, &seen("data"), &seen("backup"));
    applied(&scene, &all).await;
    let shown = scene.wait_in(&shop, "EncryptedCluster", "shop", "Ready", "True", "*").await;
    assert_eq!(find(&shown, "EncryptionVerified").unwrap()["reason"], "Attested");
}
