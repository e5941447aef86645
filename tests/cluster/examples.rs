//! The examples as a user applies them. Those of clouds that leave something to a human have files of their own.

use serde::Deserialize;
use serde_json::{Value, json};

use super::adopt::{CONSENT, by_hand, tag};
use crate::support::scene::Scene;

/// The objects of an example, with namespaces that no other test has.
pub fn objects(file: &str, own: impl Fn(&str) -> String) -> Vec<Value> {
    let path = format!("{}/examples/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let all: Vec<Option<Wrapped>> = serde_saphyr::from_multiple(&text).unwrap();
    let renamed = |Wrapped(mut object): Wrapped| {
        let place = if object["kind"] == "Namespace" { "/metadata/name" } else { "/metadata/namespace" };
        let name = object.pointer_mut(place).unwrap();
        *name = json!(own(name.as_str().unwrap()));
        for reference in ["/spec/customerKeyRef/namespace", "/spec/backupKeyRef/namespace"] {
            if let Some(name) = object.pointer_mut(reference) {
                *name = json!(own(name.as_str().unwrap()));
            }
        }
        object
    };
    all.into_iter().flatten().map(renamed).collect()
}

#[derive(Deserialize)]
struct Wrapped(Value);

pub async fn applied(scene: &Scene, objects: &[Value]) {
    for object in objects {
        scene.apply(object).await.unwrap();
    }
}

/// The object of a kind among them, to be altered.
pub fn of<'v>(objects: &'v mut [Value], kind: &str) -> &'v mut Value {
    objects.iter_mut().find(|object| object["kind"] == kind).unwrap()
}

pub async fn started(name: &str, namespaces: &[&str]) -> (Scene, String) {
    let mut scene = Scene::new(name).await;
    let prefix = scene.namespace.clone();
    scene.watched = namespaces.iter().map(|n| format!("{prefix}-{n}")).collect();
    scene.start();
    (scene, prefix)
}

/// Has a human make the key that a `CustomerKey` names, and consent to its use.
pub async fn adopted(scene: &Scene, key: &mut Value) {
    let kms = scene.administrator("us-east-1").await;
    let arn = by_hand(&kms).await;
    let text = |pointer: &str| key.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let consent = format!("test/{}/{}", text("/metadata/namespace"), text("/metadata/name"));
    kms.tag_resource().key_id(&arn).tags(tag(CONSENT, &consent)).send().await.unwrap();
    key["spec"]["regions"][0]["keyArn"] = json!(arn);
}

/// Applies an example of Astra, and sees it ready.
async fn check(file: &str, key: (&str, &str), cluster: (&str, &str)) {
    let short: String = file.chars().filter(char::is_ascii_alphabetic).take(7).collect();
    let mut namespaces = vec![key.0];
    namespaces.extend((cluster.0 != key.0).then_some(cluster.0));
    let (scene, prefix) = started(&format!("ex{short}"), &namespaces).await;
    let own = |name: &str| format!("{prefix}-{name}");
    let mut all = objects(&format!("astra/{file}.yaml"), own);
    if of(&mut all, "CustomerKey").pointer("/spec/regions/0/keyArn").is_some() {
        adopted(&scene, of(&mut all, "CustomerKey")).await;
    }
    applied(&scene, &all).await;
    scene.wait_in(&own(key.0), "CustomerKey", key.1, "Ready", "True", "*").await;
    scene.wait_in(&own(cluster.0), "EncryptedCluster", cluster.1, "Ready", "True", "*").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_astra_becomes_ready_as_it_stands() {
    check("simplest", ("web", "web"), ("web", "web")).await;
    check("several-regions", ("payments", "payments"), ("payments", "payments")).await;
    check("multi-region", ("audit", "audit"), ("audit", "audit")).await;
    check("adopted-key", ("archive", "archive"), ("archive", "archive")).await;
    check("two-namespaces", ("keys", "astra"), ("checkout", "checkout")).await;
}
