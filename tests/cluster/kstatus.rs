//! What Flux, Argo CD and `helm --wait` would make of an object, at every moment of its life. Every scene is checked at its
//! end (see `support/kstatus.rs`); here is shown that the check sees all states, and that it can fail.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::controlplane::shared;
use crate::support::kstatus::{ask, statuses, verdict};
use crate::support::scene::Scene;

const REGION: &str = "us-east-1";

#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_a_life_is_seen_by_kstatus_as_the_design_says() {
    let mut scene = Scene::new("kstatus").await;
    // Before anybody has seen them, they are not done.
    scene.apply_all(&[REGION]).await;
    scene.start();
    let (key, _) = scene.all_ready().await;
    let arn = key["status"]["regions"][0]["keyArn"].clone();
    for command in ["disable_key", "enable_key"] {
        scene.command(&json!({ (command): { "arn": arn } })).await;
        touch(&scene, command).await;
        let ready = if command == "enable_key" { "True" } else { "False" };
        scene.wait_for("CustomerKey", "key", "Ready", ready, "*").await;
    }
    // What stops the operator before it plans anything is a failure of this generation as well: here a status that a newer
    // operator wrote, and then a new spec.
    let memory = async |version: i32| {
        let patch = json!({ "status": { "memoryVersion": version } });
        scene.keys().patch_status("key", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    memory(99).await;
    let mut key = scene.key(&[REGION]);
    key["spec"]["key"]["description"] = json!("another");
    scene.apply(&key).await.unwrap();
    scene
        .until("kstatus says that it failed", || async {
            let key = scene.get("CustomerKey", "key").await;
            let said = ask(scene.plane, &key);
            if said == "Failed" { Ok(()) } else { Err(format!("{said}: {}", key["status"])) }
        })
        .await;
    memory(1).await;
    touch(&scene, "the right operator").await;
    scene.ready("CustomerKey", "key").await;
    scene.clusters().delete("db", &DeleteParams::default()).await.unwrap();
    scene
        .until("the cluster is gone", || async {
            let cluster = scene.get("EncryptedCluster", "db").await;
            if cluster.is_null() { Ok(()) } else { Err(cluster["metadata"].to_string()) }
        })
        .await;
    let seen = scene.plane.recorder().settled(&scene.watched).unwrap();
    let all: Vec<&str> = statuses(&seen).into_iter().collect();
    assert_eq!(all, ["Current", "Failed", "InProgress", "Terminating"], "{seen:?}");
    let versions: usize = seen.values().flat_map(|seen| seen.statuses.values()).sum();
    assert!(versions > 10, "{versions}");
}

async fn touch(scene: &Scene, request: &str) {
    let patch = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": request } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// An object with these conditions.
fn object(reason: &str, conditions: [&str; 3]) -> Value {
    let condition = |(name, status): (&str, &str)| json!({ "type": name, "status": status, "reason": reason, "message": "m", "observedGeneration": 1 });
    let names = ["Ready", "Reconciling", "Stalled"];
    json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "name": "k", "namespace": "n", "generation": 1 },
        "status": { "observedGeneration": 1, "conditions": names.into_iter().zip(conditions).map(condition).collect::<Vec<_>>() },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kstatus_would_get_wrong_is_noticed() {
    let plane = tokio::task::spawn_blocking(shared).await.unwrap();
    let judged = |object: &Value| verdict(object, &ask(plane, object));
    let right = [
        object("AsDeclared", ["True", "False", "False"]),
        object("NotLookedYet", ["Unknown", "True", "False"]),
        object("CreatingKey", ["False", "True", "False"]),
        object("AwaitingAction", ["False", "True", "False"]),
        object("KeyDisabled", ["False", "False", "True"]),
        object("HealingKey", ["True", "True", "False"]),
        object("LastKnown", ["True", "True", "False"]),
        object("Unobservable", ["Unknown", "True", "False"]),
        object("Paused", ["True", "False", "False"]),
    ];
    for object in &right {
        judged(object).unwrap();
    }
    let with = |change: &dyn Fn(&mut Value)| {
        let mut object = right[0].clone();
        change(&mut object);
        object
    };
    let wrong = [
        // Nothing says that it is not done.
        with(&|object| object["status"] = Value::Null),
        with(&|object| object["status"] = json!({ "conditions": [] })),
        // Lies, each in one condition.
        object("KeyDisabled", ["True", "False", "False"]),
        object("KeyDisabled", ["False", "True", "True"]),
        object("KeyDisabled", ["False", "False", "False"]),
        object("CreatingKey", ["False", "False", "False"]),
        object("CreatingKey", ["True", "False", "False"]),
        object("AsDeclared", ["True", "True", "False"]),
        object("HealingKey", ["True", "False", "False"]),
        object("Unobservable", ["True", "False", "False"]),
        object("NoSuchReason", ["True", "False", "False"]),
        // Stuck at this generation, but said of another one.
        {
            let mut object = object("InvalidSpec", ["False", "False", "True"]);
            object["status"]["observedGeneration"] = json!(0);
            object
        },
    ];
    for object in &wrong {
        assert!(judged(object).is_err(), "let through: {object:#}");
    }
    // Before the first write, the API server shows what the CRD says.
    let unseen = with(&|object| object["status"] = json!({ "observedGeneration": -1 }));
    judged(&unseen).unwrap();
}
