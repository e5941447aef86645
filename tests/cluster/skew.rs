//! Versions that do not match: CRDs of an older operator are served, or status was written by a newer one, each in the
//! middle of a creation whose outcome only the durable intent tells. Nothing is done, it is said why, and with the right
//! version back there is one key.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::controlplane::ControlPlane;
use crate::support::scene::{Scene, find};

const CRD: &str = "customerkeys.cmk-operator.io";

/// A control plane of its own, since CRDs are there for all: one for all these tests, which take turns.
async fn plane() -> (&'static ControlPlane, tokio::sync::MutexGuard<'static, ()>) {
    static PLANE: tokio::sync::OnceCell<ControlPlane> = tokio::sync::OnceCell::const_new();
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let turn = TURN.lock().await;
    let start = || {
        let plane = ControlPlane::start();
        plane.apply_crds();
        plane
    };
    let plane = PLANE.get_or_init(|| async { tokio::task::spawn_blocking(start).await.unwrap() }).await;
    (plane, turn)
}

/// The CRD as this version has it.
async fn current(scene: &Scene) {
    let own = cmk_operator::api::all().into_iter().find(|crd| crd.metadata.name.as_deref() == Some(CRD)).unwrap();
    let own = json!(own);
    other(scene, |crd| {
        crd["metadata"]["annotations"] = own["metadata"]["annotations"].clone();
        crd["spec"]["versions"] = own["spec"]["versions"].clone();
    })
    .await;
    served(scene, true).await;
}

/// The CRD changed in some way, as another version has it.
async fn other(scene: &Scene, change: impl Fn(&mut Value)) {
    let api: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    scene
        .until("the CRD is changed", || async {
            let mut crd = json!(api.get(CRD).await.unwrap());
            change(&mut crd);
            let crd = serde_json::from_value(crd).unwrap();
            api.replace(CRD, &PostParams::default(), &crd).await.map_err(|e| e.to_string())
        })
        .await;
}

fn status_of(crd: &mut Value) -> &mut Value {
    &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
}

/// Takes out what remembers an attempt to create a key.
fn without_intent(crd: &mut Value) {
    let fields = status_of(crd)["regions"]["items"]["properties"].as_object_mut().unwrap();
    assert!(fields.remove("creation").is_some(), "the intent is kept elsewhere: mend this test");
}

/// Waits until the API server serves a schema with, or without, the intent. An object that no operator watches tells.
async fn served(scene: &Scene, intent: bool) {
    let api = scene.objects("default", "CustomerKey");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let mut probe = scene.key(&["us-east-2"]);
    probe["metadata"] = json!({ "name": "probe", "namespace": "default" });
    scene.apply(&probe).await.unwrap();
    scene
        .until("the schema is served", || async {
            let mut whole = api.get("probe").await.unwrap();
            whole.data["status"] = json!({ "memoryVersion": 1, "observedGeneration": 1, "conditions": [], "regions": [
                { "name": "us-east-2", "creation": { "nonce": "n", "startedAt": "2026-01-01T00:00:00Z" } },
            ] });
            let shown = api.replace_status("probe", &dry, &whole).await.map_err(|e| e.to_string())?;
            let kept = shown.data["status"]["regions"][0]["creation"].is_object();
            if kept == intent { Ok(()) } else { Err(shown.data["status"].to_string()) }
        })
        .await;
}

/// A key in the middle of its creation: it was made, the reply was lost, the tagging index does not show it for long, and
/// the scan of all keys, which would find it before there is another attempt, cannot be made yet.
async fn in_the_middle(scene: &mut Scene) {
    scene.extra = ["--create-settle", "1s"].map(ToOwned::to_owned).to_vec();
    scene.command(&json!({ "patch_settings": { "tag_index_lag_ms": 3_600_000 } })).await;
    scene.fault(&json!({ "operation": "kms:CreateKey", "nth": 1 }), &json!("applied_but_lost")).await;
    scene.fault(&json!({ "operation": "kms:ListKeys" }), &json!({ "http500": { "applied": false } })).await;
    scene.start();
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&scene.key(&["us-east-1"])).await.unwrap();
    scene
        .until("the key was made, and nobody knows", || async {
            let key = scene.get("CustomerKey", "key").await;
            let intent = key["status"]["regions"][0]["creation"].is_object();
            if intent && created(scene).await == 1 { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
}

/// How many keys were made.
async fn created(scene: &Scene) -> usize {
    scene.calls().await.iter().filter(|c| c["operation"] == "kms:CreateKey" && c["applied"] == true).count()
}

/// Everything is ready, and there is one key.
async fn one_key(scene: &Scene) {
    scene.clear_faults().await;
    scene.ready("CustomerKey", "key").await;
    assert_eq!(created(scene).await, 1, "no second key is made");
    assert_eq!(scene.state().await["keys"].as_object().unwrap().len(), 1);
}

async fn readyz_says(scene: &Scene, words: &str) {
    let address = scene.address(&scene.log_file()).await;
    scene
        .until(&format!("/readyz says {words:?}"), || async {
            match scene.ask(&address, "/readyz").await {
                (503, body) if body.contains(words) => Ok(()),
                (code, body) => Err(format!("{code}: {body}")),
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_and_forward_in_the_middle_of_a_creation_there_is_one_key() {
    let (plane, _turn) = plane().await;
    let mut scene = Scene::on(plane, "rolled-back").await;
    in_the_middle(&mut scene).await;
    other(&scene, |crd| {
        crd["metadata"]["annotations"]["cmk-operator.io/schema-version"] = json!("0");
        without_intent(crd);
    })
    .await;
    served(&scene, false).await;
    // The operator that runs notices, and so does one that starts.
    readyz_says(&scene, "older than 1: apply crds/").await;
    let (version, mark) =
        (scene.get("CustomerKey", "key").await["metadata"]["resourceVersion"].clone(), scene.mark().await);
    assert_eq!(scene.stop().await, Some(0));
    scene.start();
    readyz_says(&scene, "older than 1: apply crds/").await;
    assert_eq!(scene.calls_since(mark).await, Vec::<Value>::new(), "nothing is done, not even looked at");
    let key = scene.get("CustomerKey", "key").await;
    assert_eq!(key["metadata"]["resourceVersion"], version, "nothing is written");
    assert!(key["status"]["regions"][0]["creation"].is_null(), "the intent is not to be seen: {:#}", key["status"]);
    current(&scene).await;
    one_key(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_made_where_the_intent_is_not_kept() {
    let (plane, _turn) = plane().await;
    let mut scene = Scene::on(plane, "pruned").await;
    // The CRD calls itself recent: only the answer to the write tells.
    other(&scene, without_intent).await;
    served(&scene, false).await;
    scene.start();
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&scene.key(&["us-east-1"])).await.unwrap();
    let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "SchemaOutdated").await;
    let message = find(&key, "KeysReady").unwrap()["message"].as_str().unwrap();
    for words in ["dropped what was to be remembered", "To do: apply the CRDs of this version"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(created(&scene).await, 0, "a write counts only if the answer holds it");
    current(&scene).await;
    one_key(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_remembers_is_neither_acted_on_nor_lost() {
    let (plane, _turn) = plane().await;
    let mut scene = Scene::on(plane, "newer").await;
    other(&scene, |crd| {
        crd["metadata"]["annotations"]["cmk-operator.io/schema-version"] = json!("2");
        status_of(crd)["future"] = json!({ "type": "string" });
        let region = status_of(crd)["regions"]["items"]["properties"].as_object_mut().unwrap();
        region.insert("future".to_owned(), json!({ "type": "string" }));
    })
    .await;
    served(&scene, true).await;
    in_the_middle(&mut scene).await;
    // The newer version acts for a while.
    let api = scene.objects(&scene.namespace, "CustomerKey");
    scene
        .until("the newer version writes status", || async {
            let mut key = api.get("key").await.unwrap();
            key.data["status"]["memoryVersion"] = json!(99);
            key.data["status"]["future"] = json!("of the newer version");
            key.data["status"]["regions"][0]["future"] = json!("of the newer version");
            let told = api.replace_status("key", &PostParams::default(), &key).await.map_err(|e| e.to_string())?;
            let kept =
                told.data["status"]["future"].is_string() && told.data["status"]["regions"][0]["creation"].is_object();
            if kept { Ok(()) } else { Err(told.data["status"].to_string()) }
        })
        .await;
    let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "MemoryTooNew").await;
    let message = find(&key, "Ready").unwrap()["message"].as_str().unwrap();
    for words in ["memory version 99", "knows 1", "Run the newer operator"] {
        assert!(message.contains(words), "{message}");
    }
    let mark = scene.mark().await;
    assert_eq!(scene.stop().await, Some(0));
    scene.start();
    scene
        .until("the operator that starts has looked at the object, and leaves it alone", || async {
            let log = scene.log();
            let over = log.lines().filter(|line| line.contains("pass is over") && line.contains("/key"));
            if over.count() >= 3 { Ok(()) } else { Err(log) }
        })
        .await;
    let status = api.get("key").await.unwrap().data["status"].clone();
    assert_eq!(status["memoryVersion"], 99);
    assert_eq!(status["future"], "of the newer version", "saying so loses nothing: {status:#}");
    assert_eq!(status["regions"][0]["future"], "of the newer version", "{status:#}");
    assert!(status["regions"][0]["creation"].is_object(), "{status:#}");
    assert_eq!(scene.calls_since(mark).await, Vec::<Value>::new(), "nothing outside is even asked");

    // The newer version gives it back: what it remembers is what this one knows.
    let back = json!({ "status": { "memoryVersion": 1 } });
    api.patch_status("key", &PatchParams::default(), &Patch::Merge(back)).await.unwrap();
    one_key(&scene).await;
    current(&scene).await;
}
