//! The end of an Atlas key: what Atlas has of it goes first, in the order that Atlas demands, and nothing that is in use.

use cmk_operator::plan::role_step::RoleSite;
use cmk_operator::plan::step::Site;
use serde_json::{Value, json};

use super::atlas::{PROJECT, REGIONS, apply, cluster, count, key, position, project, secret, trust};
use super::atlas_crash::Trouble;
use super::crash::all;
use super::deletion::{annotate, delete, gone, token};
use crate::support::scene::{ACCOUNT, Scene, find};

/// The effects of the end of a key.
pub const SITES: [Site; 3] =
    [Site::Role(RoleSite::Withdraw), Site::Role(RoleSite::RemoveLink), Site::Role(RoleSite::DeleteRole)];

/// A key whose role the operator makes, and that goes with its object.
fn mortal(scene: &Scene) -> Value {
    let mut key = key(scene);
    key["spec"]["upstream"]["atlas"]["role"] = json!({ "create": { "name": "atlas-kms" } });
    key["spec"]["deletionPolicy"] = json!("ScheduleDeletion");
    key
}

fn role(scene: &Scene) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/cmk-operator/test/{}/atlas-kms", scene.namespace)
}

/// Waits until the deletion of the key's object is blocked by this.
async fn blocked(scene: &Scene, by: &[&str]) -> Value {
    scene
        .until(&format!("the deletion is blocked by {by:?}"), || async {
            let key = scene.get("CustomerKey", "key").await;
            let said = key["status"]["deletion"]["blockedBy"].to_string();
            let ready = find(&key, "Ready").is_some_and(|c| c["status"] == "False" && c["reason"] == "DeletionBlocked");
            if ready && by.iter().all(|words| said.contains(words)) { Ok(key) } else { Err(key["status"].to_string()) }
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_in_the_order_that_atlas_demands_and_only_once_no_cluster_is_under_the_key() {
    let scene = Scene::started("atlas-end").await;
    let mut own = cluster(&scene, &REGIONS[..1]);
    own["spec"]["deletionPolicy"] = json!("Delete");
    apply(&scene, &[secret(&scene, true), mortal(&scene), own]).await;
    let (ready, _) = scene.all_ready().await;
    let arn = ready["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned();
    // Somebody's own, under the same key.
    let theirs = json!({
        "name": "theirs", "clusterType": "REPLICASET", "encryptionAtRestProvider": "AWS",
        "replicationSpecs": [{ "regionConfigs": [{ "providerName": "AWS", "regionName": "US_EAST_1", "priority": 7,
            "electableSpecs": { "instanceSize": "M10", "nodeCount": 3 } }] }],
    });
    scene.command(&json!({ "atlas": { "add_cluster": { "project": PROJECT, "cluster": theirs } } })).await;

    delete(&scene, "CustomerKey", "key").await;
    blocked(&scene, &["EncryptedCluster", "uses the key", "theirs", "shop"]).await;
    delete(&scene, "EncryptedCluster", "db").await;
    let shown = scene
        .until("the cluster's token is shown", || async {
            let db = scene.get("EncryptedCluster", "db").await;
            if db["status"]["deletion"]["confirmationToken"].is_string() {
                Ok(db)
            } else {
                Err(db["status"].to_string())
            }
        })
        .await;
    annotate(&scene, "EncryptedCluster", "db", &token(&shown)).await;
    gone(&scene, "EncryptedCluster", "db").await;

    let shown = blocked(&scene, &["lets go of no key that a database is under: theirs"]).await;
    annotate(&scene, "CustomerKey", "key", &token(&shown)).await;
    let mark = scene.mark().await;
    blocked(&scene, &["theirs"]).await;
    assert_eq!(scene.written(mark).await, Vec::<String>::new(), "confirmed or not: while it is in use nothing is done");
    assert_eq!(project(&scene).await["key"]["valid"], true);

    scene.command(&json!({ "atlas": { "remove_cluster": { "project": PROJECT, "cluster": "theirs" } } })).await;
    gone(&scene, "CustomerKey", "key").await;
    let (project, state, calls) = (project(&scene).await, scene.state().await, scene.calls().await);
    assert!(project["key"].is_null() && project["roles"].as_array().unwrap().is_empty(), "{project:#}");
    assert!(state["roles"][role(&scene)].is_null(), "{:#}", state["roles"]);
    assert_eq!(state["keys"][&arn]["state"], "PendingDeletion");
    let withdrawn =
        calls.iter().rposition(|c| c["operation"] == "atlas:UpdateEncryptionAtRest" && c["applied"] == true);
    let order = [
        position(&calls, "atlas:DeleteCluster"),
        withdrawn.unwrap(),
        position(&calls, "atlas:DeauthorizeCloudProviderAccess"),
        position(&calls, "iam:DeleteRolePolicy"),
        position(&calls, "iam:DeleteRole"),
        position(&calls, "kms:ScheduleKeyDeletion"),
    ];
    assert!(order.is_sorted(), "{order:?}");

    // From the same file everything is there again, under the same key.
    apply(&scene, &[mortal(&scene)]).await;
    let again = scene.ready("CustomerKey", "key").await;
    assert_eq!(again["status"]["regions"][0]["keyArn"], arn);
    assert_eq!(count(&scene.calls().await, "kms:CreateKey"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_not_ours_stays_and_so_does_everything_under_retain() {
    let scene = Scene::started("atlas-stays").await;
    let mut mortal = key(&scene);
    mortal["spec"]["deletionPolicy"] = json!("ScheduleDeletion");
    apply(&scene, &[secret(&scene, true), key(&scene)]).await;
    trust(&scene).await;
    scene.ready("CustomerKey", "key").await;
    let before = (project(&scene).await, scene.state().await["keys"].clone());
    let mark = scene.mark().await;
    delete(&scene, "CustomerKey", "key").await;
    gone(&scene, "CustomerKey", "key").await;
    assert_eq!(scene.written(mark).await, Vec::<String>::new());
    assert_eq!((project(&scene).await, scene.state().await["keys"].clone()), before);

    apply(&scene, &[mortal]).await;
    scene.ready("CustomerKey", "key").await;
    delete(&scene, "CustomerKey", "key").await;
    let shown = blocked(&scene, &["Nobody has confirmed", "the cloud is told to let go of it"]).await;
    annotate(&scene, "CustomerKey", "key", &token(&shown)).await;
    gone(&scene, "CustomerKey", "key").await;
    let project = project(&scene).await;
    assert!(project["key"].is_null() && project["roles"].as_array().unwrap().len() == 1, "{project:#}");
    assert_eq!(count(&scene.calls().await, "iam:DeleteRole"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_atlas_refuses_blocks_the_deletion_in_its_own_words() {
    let scene = Scene::started("atlas-refuses").await;
    apply(&scene, &[secret(&scene, true), mortal(&scene)]).await;
    scene.ready("CustomerKey", "key").await;
    // Atlas knows of a use that no list shows.
    let refused = json!({ "error": { "status": 409, "code": "CANNOT_DISABLE_ENCRYPTION_AT_REST" } });
    scene.fault(&json!({ "operation": "atlas:UpdateEncryptionAtRest" }), &refused).await;
    delete(&scene, "CustomerKey", "key").await;
    let shown = blocked(&scene, &["Nobody has confirmed"]).await;
    annotate(&scene, "CustomerKey", "key", &token(&shown)).await;
    scene
        .until("the refusal is shown", || async {
            let key = scene.get("CustomerKey", "key").await;
            let stalled = find(&key, "Stalled").is_some_and(|c| c["status"] == "True");
            let said = key["status"]["deletion"]["blockedBy"].to_string().contains("CANNOT_DISABLE_ENCRYPTION_AT_REST");
            if stalled && said { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    scene.clear_faults().await;
    gone(&scene, "CustomerKey", "key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_effect_of_the_end_it_ends_the_same() {
    all(Trouble::deaths(&SITES), |trouble| async move {
        let mut scene = trouble.play("atlas-end-crash").await.scene;
        apply(&scene, &[secret(&scene, true), mortal(&scene)]).await;
        scene.ready("CustomerKey", "key").await;
        delete(&scene, "CustomerKey", "key").await;
        let shown = blocked(&scene, &["Nobody has confirmed"]).await;
        annotate(&scene, "CustomerKey", "key", &token(&shown)).await;
        scene.died().await?;
        scene.extra.clear();
        scene.start();
        gone(&scene, "CustomerKey", "key").await;
        let (project, state) = (project(&scene).await, scene.state().await);
        let keys = state["keys"].as_object().unwrap();
        let ended = keys.len() == 1 && keys.values().all(|key| key["state"] == "PendingDeletion");
        let forgotten = project["key"].is_null() && project["roles"].as_array().unwrap().is_empty();
        if ended && forgotten && state["roles"][role(&scene)].is_null() {
            Ok(())
        } else {
            Err(format!("{trouble:?}: {project:#} {state:#}"))
        }
    })
    .await;
}
