//! Applied in any order, at once, again, and by whatever tool: the end is the same, and nobody fights over fields.

use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::scene::{ORGANIZATION, Scene, find};

const REGION: &str = "us-east-1";

/// One key and one database, whatever the way there was.
async fn one_of_each(scene: &Scene) {
    let state = scene.state().await;
    assert_eq!(state["keys"].as_object().unwrap().len(), 1, "{:#}", state["keys"]);
    assert_eq!(state["astra"][ORGANIZATION]["databases"].as_array().unwrap().len(), 1);
    let created =
        scene.calls().await.iter().filter(|c| c["operation"] == "kms:CreateKey" && c["applied"] == true).count();
    assert_eq!(created, 1);
}

/// Applies what is there already: the object that comes back is the one that was there, to the version.
async fn applying_again_changes_nothing(scene: &Scene, object: &Value) {
    let kind = object["kind"].as_str().unwrap();
    let name = object["metadata"]["name"].as_str().unwrap();
    // The operator may write a status between the read and the write, but not forever.
    scene
        .until(&format!("{kind} {name} stays as it is"), || async {
            let before = scene.get(kind, name).await["metadata"]["resourceVersion"].clone();
            let after = scene.apply(object).await.unwrap().resource_version();
            if before == json!(after) { Ok(()) } else { Err(format!("version {before} became {after:?}")) }
        })
        .await;
}

/// Who may say what: status and finalizer are the operator's, the spec is that of whoever applied it.
async fn owners_are_apart(scene: &Scene, kind: &str, name: &str, manager: &str) {
    let object = scene.get_in(&scene.namespace, kind, name).await;
    let mut spec_owners = Vec::new();
    for entry in object["metadata"]["managedFields"].as_array().unwrap() {
        let (fields, who) = (&entry["fieldsV1"], &entry["manager"]);
        let operators = fields["f:status"].is_object() || fields["f:metadata"]["f:finalizers"].is_object();
        assert!(!operators || who != manager, "{manager} owns what is the operator's: {entry:#}");
        if fields["f:spec"].is_object() {
            spec_owners.push(who.as_str().unwrap().to_owned());
        }
    }
    assert_eq!(spec_owners, [manager], "the operator never writes a spec");
    assert_eq!(object["metadata"]["finalizers"], json!(["cmk-operator.io/finalizer"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_first_then_the_key_then_the_secret() {
    let scene = Scene::started("backwards").await;
    scene.apply(&scene.cluster(&[REGION])).await.unwrap();
    let cluster = scene.wait_for("EncryptedCluster", "db", "GateOpen", "False", "KeyNotFound").await;
    assert_eq!(find(&cluster, "Stalled").unwrap()["status"], "False", "the key may come any moment");
    let message = find(&cluster, "GateOpen").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&format!("CustomerKey {}/key does not exist", scene.namespace)), "{message}");
    assert_eq!(scene.calls().await, Vec::<Value>::new(), "without a key there is nothing to ask a cloud");

    scene.apply(&scene.key(&[REGION])).await.unwrap();
    scene.wait_for("CustomerKey", "key", "Stalled", "True", "SecretMissing").await;
    scene.wait_for("EncryptedCluster", "db", "Ready", "False", "SecretMissing").await;

    scene.apply(&scene.secret()).await.unwrap();
    scene.all_ready().await;
    one_of_each(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_and_everything_twice() {
    let scene = Scene::started("twice").await;
    let (secret, key, cluster) = (scene.secret(), scene.key(&[REGION]), scene.cluster(&[REGION]));
    let once = || async { futures::join!(scene.apply(&secret), scene.apply(&key), scene.apply(&cluster)) };
    let (first, second) = futures::join!(once(), once());
    for applied in [first.0, first.1, first.2, second.0, second.1, second.2] {
        applied.unwrap();
    }
    scene.all_ready().await;
    one_of_each(&scene).await;

    let before = scene.mark().await;
    for object in [&key, &cluster] {
        applying_again_changes_nothing(&scene, object).await;
    }
    for (kind, name) in [("CustomerKey", "key"), ("EncryptedCluster", "db")] {
        owners_are_apart(&scene, kind, name, "gitops").await;
        scene.ready(kind, name).await;
    }
    let writes: Vec<Value> = scene.calls_since(before).await.into_iter().filter(|c| c["access"] == "write").collect();
    assert!(writes.is_empty(), "{writes:#?}");
    one_of_each(&scene).await;
}

/// `kubectl apply`, with its own merge in the client or on the server, and the manager that each leaves behind.
async fn with_kubectl(name: &str, flags: &[&str], manager: &str, again: &str) {
    let scene = Scene::started(name).await;
    let apply = |objects: &[Value]| {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        let args: Vec<&str> = ["apply"].iter().chain(flags).chain(&["-f", "-"]).copied().collect();
        let (ok, text) = scene.plane.try_kubectl(&args, Some(&list));
        assert!(ok, "{text}");
        text
    };
    let (key, cluster) = (scene.key(&[REGION]), scene.cluster(&[REGION]));
    apply(&[scene.secret(), key.clone(), cluster.clone()]);
    scene.all_ready().await;

    let versions = async || {
        let (key, cluster) = (scene.get("CustomerKey", "key").await, scene.get("EncryptedCluster", "db").await);
        [key["metadata"]["resourceVersion"].clone(), cluster["metadata"]["resourceVersion"].clone()]
    };
    scene
        .until("applying again changes nothing", || async {
            let before = versions().await;
            let text = apply(&[key.clone(), cluster.clone()]);
            let after = versions().await;
            let same = before == after && text.lines().all(|line| line.ends_with(again));
            if same { Ok(()) } else { Err(format!("{before:?} became {after:?}: {text}")) }
        })
        .await;

    // A change by the same tool goes through, and takes away nothing that is the operator's.
    let mut changed = key.clone();
    changed["spec"]["key"]["description"] = json!("changed");
    apply(&[changed]);
    scene.ready("CustomerKey", "key").await;
    for (kind, name) in [("CustomerKey", "key"), ("EncryptedCluster", "db")] {
        owners_are_apart(&scene, kind, name, manager).await;
    }
    let descriptions: Vec<Value> =
        scene.state().await["keys"].as_object().unwrap().values().map(|key| key["description"].clone()).collect();
    assert_eq!(descriptions, ["changed"]);
    one_of_each(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_that_merges_on_the_server() {
    with_kubectl("serverside", &["--server-side"], "kubectl", "serverside-applied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_that_merges_by_itself() {
    with_kubectl("clientside", &[], "kubectl-client-side-apply", "unchanged").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_goes_shuts_the_gate_and_opens_it_when_it_is_back() {
    let scene = Scene::started("comeback").await;
    scene.apply_all(&[REGION]).await;
    let (key, cluster) = scene.all_ready().await;
    scene.keys().delete("key", &DeleteParams::default()).await.unwrap();
    let without = scene.wait_for("EncryptedCluster", "db", "GateOpen", "False", "KeyNotFound").await;
    let region = &without["status"]["regions"][0];
    assert_eq!(region["gate"]["open"], false, "the gate of a region says the same as the whole: {region:#}");
    assert_eq!(region["state"], "Active", "what runs is left alone");
    assert_eq!(without["status"]["upstreamId"], cluster["status"]["upstreamId"]);

    scene.apply(&scene.key(&[REGION])).await.unwrap();
    let (back, same) = scene.all_ready().await;
    assert_eq!(back["status"]["regions"][0]["keyArn"], key["status"]["regions"][0]["keyArn"]);
    assert_eq!(same["status"]["upstreamId"], cluster["status"]["upstreamId"]);
    assert_eq!(same["status"]["regions"][0]["gate"]["open"], true);
    one_of_each(&scene).await;
}
