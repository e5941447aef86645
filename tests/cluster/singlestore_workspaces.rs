//! The workspaces of a SingleStore workspace group: made once, after the attestation; taken as they are; never ended but
//! with the group that the operator itself made.

use kube::api::{DeleteParams, Patch, PatchParams};
use reqwest::Method;
use serde_json::{Value, json};

use super::commands::{live_with, says};
use super::singlestore::{API_KEY, ORG, arn, attested, cluster, document, key, secret, submitted, suggested};
use crate::support::scene::{Scene, find};

const REGION: &str = "us-east-1";
const MADE: &str = "singlestore:CreateWorkspace";

/// The workspaces of the organization as they really are.
async fn workspaces(scene: &Scene) -> Vec<Value> {
    scene.state().await["singlestore"][ORG]["workspaces"].as_array().unwrap().clone()
}

async fn count(scene: &Scene, operation: &str) -> usize {
    scene.calls().await.iter().filter(|call| call["operation"] == operation).count()
}

fn message<'v>(object: &'v Value, condition: &str) -> &'v str {
    find(object, condition).unwrap()["message"].as_str().unwrap()
}

/// A human's own call to the Management API.
async fn by_hand(scene: &Scene, method: Method, path: &str, body: &Value) -> Value {
    let url = format!("{}{path}", scene.singlestore);
    let sent = scene.http.request(method, url).bearer_auth(API_KEY).json(body).send().await.unwrap();
    assert!(sent.status().is_success(), "{path}: {sent:?}");
    sent.json().await.unwrap_or_default()
}

async fn now(scene: &Scene, when: &str) {
    let asked = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": when } } });
    scene.clusters().patch("db", &PatchParams::default(), &Patch::Merge(asked)).await.unwrap();
}

/// Waits until a condition says so, with these words.
async fn said(scene: &Scene, condition: &str, reason: &str, words: &[&str]) -> Value {
    scene
        .until(&format!("{condition} is {reason}"), || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            let current = shown["metadata"]["generation"] == shown["status"]["observedGeneration"];
            let found = find(&shown, condition).is_some_and(|c| c["reason"] == reason);
            let all = found && words.iter().all(|w| message(&shown, condition).contains(w));
            if current && all { Ok(shown) } else { Err(shown["status"].to_string()) }
        })
        .await
}

/// A key whose policy the portal has suggested, ready. Yields the ARN.
async fn ready_key(scene: &Scene) -> String {
    scene.apply(&secret(scene)).await.unwrap();
    let policy = suggested(scene, REGION).await;
    scene.apply(&key(scene, "key", &[REGION], &[document("portal", REGION, &policy)])).await.unwrap();
    arn(&scene.ready("CustomerKey", "key").await, REGION)
}

fn declared(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "name": name, "size": "S-00" })).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_made_once_after_the_attestation_and_followed() {
    let scene = Scene::started("s2parts").await;
    let data = ready_key(&scene).await;
    let group = submitted(&scene, "orders", REGION, Some(&data), Some(&data)).await;
    // Somebody has made one already, of another size.
    let body = json!({ "name": "adhoc", "workspaceGroupID": group, "size": "S-1" });
    scene
        .until("the group is up", || async {
            let state = scene.state().await;
            let state = &state["singlestore"][ORG]["groups"][0]["state"];
            if state == "ACTIVE" { Ok(()) } else { Err(state.to_string()) }
        })
        .await;
    by_hand(&scene, Method::POST, "/v1/workspaces", &body).await;
    let wanted = |names: &[&str], attested: Option<&Value>| {
        let mut group = json!({ "workspaceGroupId": group, "workspaces": declared(names) });
        if let Some(attested) = attested {
            group["attested"] = attested.clone();
        }
        cluster(&scene, &[REGION], &group)
    };
    scene.apply(&wanted(&["adhoc", "reports", "batch"], None)).await.unwrap();
    let waiting = said(&scene, "Deployed", "AwaitingAttestation", &["\"reports\", \"batch\""]).await;
    assert_eq!(find(&waiting, "GateOpen").unwrap()["status"], "True", "{waiting:#}");
    // It would have been made by now: it is looked at often enough.
    let mark = scene.mark().await;
    for look in 0..8 {
        now(&scene, &format!("before-{look}")).await;
        scene
            .until("it was looked at again", || async {
                let shown = scene.get("EncryptedCluster", "db").await;
                let handled = shown["status"]["lastHandledReconcileAt"] == format!("before-{look}");
                if handled { Ok(()) } else { Err(shown["status"].to_string()) }
            })
            .await;
    }
    let looks = scene.calls_since(mark).await;
    let listed = looks.iter().filter(|call| call["operation"] == "singlestore:ListWorkspaces").count();
    assert!(listed >= 8, "{listed}");
    assert_eq!(count(&scene, MADE).await, 1, "only the one that a human made");

    // Attested.
    let truth = attested(&group, &data, &data);
    scene.apply(&wanted(&["adhoc", "reports", "batch"], Some(&truth))).await.unwrap();
    let shown = scene.ready("EncryptedCluster", "db").await;
    assert_eq!(find(&shown, "Deployed").unwrap()["status"], "True");
    says(message(&shown, "Deployed"), &["\"adhoc\" has the size S-1, and the spec says S-00; it is not resized."]);
    let made = workspaces(&scene).await;
    let mut named: Vec<(&str, &str)> =
        made.iter().map(|w| (w["name"].as_str().unwrap(), w["settled"].as_str().unwrap())).collect();
    named.sort_unstable();
    assert_eq!(named, [("adhoc", "ACTIVE"), ("batch", "ACTIVE"), ("reports", "ACTIVE")], "{made:#?}");
    assert!(made.iter().all(|w| w["group"] == json!(group)), "{made:#?}");
    assert_eq!(count(&scene, MADE).await, 3, "each once");
    let status = shown["status"]["workspaces"].as_array().unwrap();
    let id_of = |name: &str| made.iter().find(|w| w["name"] == name).unwrap()["id"].clone();
    let shown_as: Vec<Value> = ["adhoc", "batch", "reports"]
        .map(|name| json!({ "name": name, "id": id_of(name), "state": "Active" }))
        .to_vec();
    assert_eq!(*status, shown_as);
    let endpoints = shown["status"]["endpoints"].as_array().unwrap();
    assert!(endpoints.len() == 3 && endpoints.iter().all(|e| e["region"] == REGION), "{endpoints:#?}");
    assert_eq!(shown["status"]["creation"], Value::Null);

    // One that somebody suspends is said to be so.
    let reports = id_of("reports").as_str().unwrap().to_owned();
    by_hand(&scene, Method::POST, &format!("/v1/workspaces/{reports}/suspend"), &json!({})).await;
    now(&scene, "suspended").await;
    let shown = said(&scene, "Deployed", "DeployedEverywhere", &["\"reports\" is SUSPENDED"]).await;
    assert_eq!(find(&shown, "Ready").unwrap()["status"], "True", "{shown:#}");
    by_hand(&scene, Method::POST, &format!("/v1/workspaces/{reports}/resume"), &json!({})).await;
    now(&scene, "resumed").await;
    scene
        .until("it is shown as active again", || async {
            let status = scene.get("EncryptedCluster", "db").await["status"].clone();
            let all = status["workspaces"].as_array().unwrap();
            if all.iter().all(|w| w["state"] == "Active") { Ok(()) } else { Err(status.to_string()) }
        })
        .await;

    // One that the spec no longer names stays.
    scene.apply(&wanted(&["adhoc", "reports"], Some(&truth))).await.unwrap();
    let shown = said(&scene, "Deployed", "DeployedEverywhere", &["\"batch\"", "it stays as it is."]).await;
    assert_eq!(shown["status"]["workspaces"].as_array().unwrap().len(), 3, "{shown:#}");

    // One that somebody ended is not made again.
    by_hand(&scene, Method::DELETE, &format!("/v1/workspaces/{reports}"), &json!({})).await;
    now(&scene, "ended").await;
    said(&scene, "Deployed", "DatabaseGone", &["\"reports\"", "none is made in its place"]).await;
    assert_eq!(count(&scene, MADE).await, 3);

    // Unless it is taken out of the spec and put back.
    scene.apply(&wanted(&["adhoc"], Some(&truth))).await.unwrap();
    scene
        .until("it is forgotten", || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            let left = shown["status"]["workspaces"].as_array().cloned().unwrap_or_default();
            if left.iter().any(|w| w["name"] == "reports") { Err(shown["status"].to_string()) } else { Ok(()) }
        })
        .await;
    scene.apply(&wanted(&["adhoc", "reports"], Some(&truth))).await.unwrap();
    scene.ready("EncryptedCluster", "db").await;
    assert_eq!(count(&scene, MADE).await, 4);
    let ended = |call: &&Value| call["operation"] == "singlestore:TerminateWorkspace";
    assert_eq!(scene.calls().await.iter().filter(ended).count(), 1, "by the human, and by nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_and_a_list_that_runs_behind_make_none_twice() {
    let scene = Scene::started("s2behind").await;
    let data = ready_key(&scene).await;
    let group = submitted(&scene, "orders", REGION, Some(&data), Some(&data)).await;
    // Longer than it takes to see five times that there is none, and shorter than the settle window.
    scene.command(&json!({ "patch_settings": { "singlestore_list_lag_ms": 3000 } })).await;
    scene.fault(&json!({ "operation": MADE, "nth": 1 }), &json!("applied_but_lost")).await;
    let bound = json!({
        "workspaceGroupId": group, "attested": attested(&group, &data, &data),
        "workspaces": declared(&["reports", "batch"]),
    });
    scene.apply(&cluster(&scene, &[REGION], &bound)).await.unwrap();
    said(&scene, "Deployed", "DeployUncertain", &["creation of the workspace \"reports\"", "\"batch\""]).await;
    scene.ready("EncryptedCluster", "db").await;
    assert_eq!(scene.fired().await, [1]);
    assert_eq!((workspaces(&scene).await.len(), count(&scene, MADE).await), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_the_name_none_is_chosen_and_none_is_made() {
    let scene = Scene::started("s2twice").await;
    let data = ready_key(&scene).await;
    let group = submitted(&scene, "orders", REGION, Some(&data), Some(&data)).await;
    scene
        .until("the group is up", || async {
            let state = scene.state().await;
            let state = &state["singlestore"][ORG]["groups"][0]["state"];
            if state == "ACTIVE" { Ok(()) } else { Err(state.to_string()) }
        })
        .await;
    let body = json!({ "name": "reports", "workspaceGroupID": group, "size": "S-00" });
    let one = by_hand(&scene, Method::POST, "/v1/workspaces", &body).await["workspaceID"].clone();
    let other = by_hand(&scene, Method::POST, "/v1/workspaces", &body).await["workspaceID"].clone();
    let (one, other) = (one.as_str().unwrap(), other.as_str().unwrap());
    let bound = json!({
        "workspaceGroupId": group, "attested": attested(&group, &data, &data), "workspaces": declared(&["reports"]),
    });
    scene.apply(&cluster(&scene, &[REGION], &bound)).await.unwrap();
    said(&scene, "Deployed", "DatabaseConflict", &[one, other, "none is made"]).await;
    // Once it is clear which one is meant, that one is taken.
    by_hand(&scene, Method::DELETE, &format!("/v1/workspaces/{other}"), &json!({})).await;
    now(&scene, "ended").await;
    let shown = scene.ready("EncryptedCluster", "db").await;
    assert_eq!(shown["status"]["workspaces"][0]["id"], json!(one));
    assert_eq!(count(&scene, MADE).await, 2, "by the human, and by nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_group_that_the_operator_made_they_go_once_that_is_confirmed() {
    let scene = Scene::started("s2partend").await;
    let data = ready_key(&scene).await;
    let api = |more: &Value| {
        let mut group =
            json!({ "mode": "Api", "acceptUnverifiedEncryption": true, "workspaces": declared(&["reports"]) });
        for (field, value) in more.as_object().unwrap() {
            group[field] = value.clone();
        }
        let mut wanted = cluster(&scene, &[REGION], &group);
        wanted["spec"]["deletionPolicy"] = json!("Delete");
        wanted
    };
    scene.apply(&api(&json!({}))).await.unwrap();
    let shown = said(&scene, "Deployed", "AwaitingAttestation", &["\"reports\""]).await;
    let group = shown["status"]["upstreamId"].as_str().unwrap().to_owned();
    assert_eq!(count(&scene, MADE).await, 0);
    scene.apply(&api(&json!({ "attested": attested(&group, &data, &data) }))).await.unwrap();
    scene.ready("EncryptedCluster", "db").await;
    // Somebody else's goes with it, and is named as well.
    let body = json!({ "name": "adhoc", "workspaceGroupID": group });
    by_hand(&scene, Method::POST, "/v1/workspaces", &body).await;
    scene.clusters().delete("db", &DeleteParams::default()).await.unwrap();
    let shown = said(&scene, "Ready", "DeletionBlocked", &["\"adhoc\"", "\"reports\"", "all that runs in it"]).await;
    let token = shown["status"]["deletion"]["confirmationToken"].as_str().unwrap().to_owned();
    assert!(workspaces(&scene).await.iter().all(|w| w["settled"] != "TERMINATED"), "nobody has confirmed it");
    let confirm = json!({ "metadata": { "annotations": { "cmk-operator.io/confirm-deletion": token } } });
    scene.clusters().patch("db", &PatchParams::default(), &Patch::Merge(confirm)).await.unwrap();
    scene
        .until("the object is gone", || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            if shown.is_null() { Ok(()) } else { Err(shown["status"].to_string()) }
        })
        .await;
    scene
        .until("the workspaces are gone", || async {
            let left = workspaces(&scene).await;
            let over = left.len() == 2 && left.iter().all(|w| w["settled"] == "TERMINATED");
            if over { Ok(()) } else { Err(format!("{left:#?}")) }
        })
        .await;
    assert_eq!(count(&scene, "singlestore:TerminateWorkspace").await, 0, "they go with the group");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_plan_tells_of_the_portal_of_the_attestation_and_of_workspaces() {
    let mut scene = Scene::new("s2live").await;
    let endpoint = scene.singlestore.clone();
    let clouds = ["--singlestore-endpoint", endpoint.as_str()];
    scene.apply(&secret(&scene)).await.unwrap();
    // Nothing is there: the key is made although nobody has been to the portal.
    let bare = key(&scene, "key", &[REGION], &[]);
    let (code, text) = live_with(&scene, &[bare, cluster(&scene, &[REGION], &json!({}))], &clouds).await;
    assert_eq!(code, 2, "{text}");
    says(&text, &["1. add the finalizer", "us-east-1: create a KMS key", "The region has no key yet."]);

    scene.start();
    let data = ready_key(&scene).await;
    let group = submitted(&scene, "orders", REGION, Some(&data), Some(&data)).await;
    let bound = |more: &Value| {
        let mut group = json!({ "workspaceGroupId": group });
        for (field, value) in more.as_object().unwrap() {
            group[field] = value.clone();
        }
        cluster(&scene, &[REGION], &group)
    };
    let plain = bound(&json!({}));
    let unproven = bound(&json!({ "workspaces": declared(&["reports"]) }));
    let truth = attested(&group, &data, &data);
    let wanted = bound(&json!({ "workspaces": declared(&["reports"]), "attested": truth }));
    scene.apply(&plain).await.unwrap();
    said(&scene, "EncryptionVerified", "AwaitingAttestation", &[]).await;
    said(&scene, "Deployed", "DeployedEverywhere", &[]).await;
    scene.stop().await;
    let mark = scene.mark().await;
    let version = || async { scene.get("EncryptedCluster", "db").await["metadata"]["resourceVersion"].clone() };
    let before = version().await;

    // As it stands, it waits for a human.
    let (code, text) = live_with(&scene, &[plain], &clouds).await;
    assert_eq!(code, 2, "{text}");
    says(&text, &["now: Ready=False AwaitingAction", "spec.deployment.singleStore.attested", "0 steps"]);
    let (code, text) = live_with(&scene, &[unproven], &clouds).await;
    assert_eq!(code, 2, "{text}");
    says(&text, &["No workspace is made before it is known that workspace group", "\"reports\""]);
    // Attested, it would be looked at five times before a workspace is made: one look shows no further than the next pass.
    let (code, text) = live_with(&scene, std::slice::from_ref(&wanted), &clouds).await;
    assert_eq!(code, 2, "{text}");
    says(&text, &["waiting: \"reports\""]);
    let wrote = scene.calls_since(mark).await.into_iter().filter(|c| c["access"] == "write").collect::<Vec<_>>();
    assert_eq!(wrote, Vec::<Value>::new());
    assert_eq!(version().await, before, "nothing was written to the object");

    scene.start();
    scene.apply(&wanted).await.unwrap();
    scene.ready("EncryptedCluster", "db").await;
    scene.stop().await;
    let (code, text) = live_with(&scene, &[wanted], &clouds).await;
    assert_eq!(code, 0, "{text}");
    says(&text, &["nothing to do", "now: Ready=True AsDeclared"]);
}
