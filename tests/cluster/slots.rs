//! One registration for each organization, kind of database and region: it belongs to the oldest object that claims it.

use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::scene::{Scene, find};

const REGION: &str = "us-east-1";

/// Two keys for one registration, the elder first by creation and then by uid, as the operator tells them apart.
async fn two(scene: &Scene) -> [String; 2] {
    let mut objects = Vec::new();
    for name in ["one", "two"] {
        let mut key = scene.key(&[REGION]);
        key["metadata"]["name"] = json!(name);
        let object = scene.apply(&key).await.unwrap();
        let meta = object.metadata;
        objects.push((meta.creation_timestamp.unwrap(), meta.uid.unwrap(), name.to_owned()));
    }
    objects.sort();
    let [elder, younger] = objects.try_into().unwrap();
    [elder.2, younger.2]
}

async fn registrations(scene: &Scene) -> Vec<Value> {
    let calls = scene.calls().await;
    calls.into_iter().filter(|call| call["service"] == "astra" && call["access"] == "write").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_keys_for_one_registration_the_older_has_it_and_the_other_never_tries() {
    let mut scene = Scene::new("slots").await;
    scene.apply(&scene.secret()).await.unwrap();
    let [elder, younger] = two(&scene).await;
    // Both are there when the operator starts, so neither can be first by luck.
    scene.start();
    let refused = scene.wait_for("CustomerKey", &younger, "Stalled", "True", "RegistrationSlotTaken").await;
    let message = find(&refused, "Registered").unwrap()["message"].as_str().unwrap();
    assert!(message.contains(&format!("CustomerKey {elder} has claimed it for longer")), "{message}");
    assert!(message.contains("To do: delete one of the two"), "{message}");
    scene.ready("CustomerKey", &elder).await;
    assert_eq!(registrations(&scene).await.len(), 1, "never two registrations tried");
    assert_eq!(
        scene.state().await["keys"].as_object().unwrap().len(),
        1,
        "no key is made that could not be registered"
    );

    // The elder goes. What it registered stays, for the cloud has no way back: the younger one says so, and does nothing.
    let api = scene.objects(&scene.namespace, "CustomerKey");
    api.delete(&elder, &DeleteParams::default()).await.unwrap();
    scene.wait_for("CustomerKey", &younger, "Stalled", "True", "RegistrationConflict").await;
    assert_eq!(registrations(&scene).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_nobody_used_passes_to_the_next_in_age() {
    let mut scene = Scene::new("slot-heir").await;
    // There is no Secret, so the elder cannot use its slot, and keeps it all the same.
    let [elder, younger] = two(&scene).await;
    scene.start();
    scene.wait_for("CustomerKey", &elder, "Stalled", "True", "SecretMissing").await;
    let mut secret = scene.secret();
    secret["metadata"]["name"] = json!("of-the-younger");
    scene.apply(&secret).await.unwrap();
    let mut key = scene.key(&[REGION]);
    key["metadata"]["name"] = json!(younger);
    key["spec"]["upstream"]["astra"]["credentialsSecretRef"]["name"] = json!("of-the-younger");
    scene.apply(&key).await.unwrap();
    scene.wait_for("CustomerKey", &younger, "Stalled", "True", "RegistrationSlotTaken").await;
    assert_eq!(registrations(&scene).await, Vec::<Value>::new());
    scene.objects(&scene.namespace, "CustomerKey").delete(&elder, &DeleteParams::default()).await.unwrap();
    scene.ready("CustomerKey", &younger).await;
    assert_eq!(registrations(&scene).await.len(), 1);
}
