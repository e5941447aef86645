//! Keys that AWS administrators switch off, doom or lose: said at once, with what to do, and nothing is made in their place.

use serde_json::{Value, json};

use crate::support::aws::administrator;
use crate::support::scene::{ORGANIZATION, Scene, find};

const REGION: &str = "us-east-1";

/// What a state looks like to whoever reads the objects.
struct Shown {
    reason: &'static str,
    says: &'static [&'static str],
}

/// A key and a database, ready; then one of the two objects more, a gate that was never open.
async fn shown(scene: &Scene, shown: &Shown, before: &Value) {
    let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", shown.reason).await;
    for condition in ["Ready", "KeysReady"] {
        assert_eq!(find(&key, condition).unwrap()["status"], "False");
        assert_eq!(find(&key, condition).unwrap()["reason"], shown.reason);
    }
    let message = find(&key, "Ready").unwrap()["message"].as_str().unwrap();
    for words in shown.says {
        assert!(message.contains(words), "{words}: {message}");
    }
    let warned = || async {
        let events = scene.events(&scene.namespace).await;
        let of_key = |e: &&Value| {
            e["type"] == "Warning" && e["reason"] == shown.reason && e["regarding"]["kind"] == "CustomerKey"
        };
        if events.iter().any(|e| of_key(&e)) { Ok(()) } else { Err(format!("{events:#?}")) }
    };
    scene.until(&format!("a Warning {}", shown.reason), warned).await;
    let cluster = scene.wait_for("EncryptedCluster", "db", "GateOpen", "False", "*").await;
    assert_eq!(find(&cluster, "Deployed").unwrap()["status"], "True", "a running database is left alone: {cluster:#}");
    scene.apply(&scene.gate("late", "key", REGION)).await.unwrap();
    scene.wait_for("EncryptedCluster", "late", "GateOpen", "False", "*").await;
    let state = scene.state().await;
    assert_eq!(
        state["astra"][ORGANIZATION]["databases"], before["astra"][ORGANIZATION]["databases"],
        "nothing of the database changed"
    );
    assert_eq!(
        state["keys"].as_object().unwrap().len(),
        before["keys"].as_object().unwrap().len(),
        "nothing was made in its place"
    );
}

async fn estate(name: &str) -> (Scene, String) {
    let mut scene = Scene::new(name).await;
    scene.extra =
        ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "4s"].map(ToOwned::to_owned).to_vec();
    scene.start();
    scene.apply_all(&[REGION]).await;
    let (key, _) = scene.all_ready().await;
    let arn = key["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned();
    (scene, arn)
}

/// No write of the operator's reached a cloud after a mark.
async fn nothing_written(scene: &Scene, mark: u64) {
    let calls = scene.calls_since(mark).await;
    let written: Vec<_> =
        calls.iter().filter(|c| c["access"] == "write" && c["principal"] != administrator()).collect();
    assert!(written.is_empty(), "{written:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_disabled_or_doomed_closes_the_gate_and_is_well_again_by_itself() {
    let (scene, arn) = estate("states").await;
    let kms = scene.administrator(REGION).await;
    let (before, mark) = (scene.state().await, scene.mark().await);
    kms.disable_key().key_id(&arn).send().await.unwrap();
    let disabled =
        Shown { reason: "KeyDisabled", says: &["is disabled", "To do: aws kms enable-key --region us-east-1"] };
    shown(&scene, &disabled, &before).await;
    kms.enable_key().key_id(&arn).send().await.unwrap();
    scene.all_ready().await;
    scene.ready("EncryptedCluster", "late").await;

    kms.schedule_key_deletion().key_id(&arn).pending_window_in_days(8).send().await.unwrap();
    let doomed = Shown {
        reason: "KeyPendingDeletion",
        says: &["will be deleted in ", "To do: aws kms cancel-key-deletion --region us-east-1", "enable-key"],
    };
    shown(&scene, &doomed, &before).await;
    let key = scene.get("CustomerKey", "key").await;
    let message = find(&key, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("in 7 days") || message.contains("in 8 days"), "{message}");
    assert!(key["status"]["regions"][0]["deletionDate"].is_string(), "{:#}", key["status"]);
    kms.cancel_key_deletion().key_id(&arn).send().await.unwrap();
    scene.wait_for("CustomerKey", "key", "Stalled", "True", "KeyDisabled").await;
    kms.enable_key().key_id(&arn).send().await.unwrap();
    let (key, _) = scene.all_ready().await;
    assert!(key["status"]["regions"][0]["deletionDate"].is_null(), "{:#}", key["status"]);
    nothing_written(&scene, mark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_gone_is_never_replaced() {
    let (scene, arn) = estate("gone").await;
    let (before, mark) = (scene.state().await, scene.mark().await);
    let keys = before["keys"].as_object().unwrap().len();
    scene.command(&json!({ "delete_key": { "arn": arn } })).await;
    let gone = Shown { reason: "KeyGone", says: &["no longer exists", "cannot be read any more", "docs/deletion.md"] };
    let mut without = before.clone();
    without["keys"] = scene.state().await["keys"].clone();
    assert_eq!(without["keys"].as_object().unwrap().len() + 1, keys);
    shown(&scene, &gone, &without).await;
    nothing_written(&scene, mark).await;
    let key = scene.get("CustomerKey", "key").await;
    assert_eq!(key["status"]["regions"][0]["keyArn"], arn, "which key it was is still known");
}
