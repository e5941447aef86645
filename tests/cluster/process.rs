//! The process as those see it who run it: health, readiness, metrics, logs, events; what it does not support; and going.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::controlplane::ControlPlane;
use crate::support::scene::{ORGANIZATION, Scene, TOKEN};

const REGION: &str = "us-east-1";

/// What `/readyz` says is missing, by name.
fn missing(body: &str) -> BTreeMap<String, String> {
    let body: Value = serde_json::from_str(body).unwrap();
    let list = body["missing"].as_array().unwrap();
    assert_eq!(body["ready"], list.is_empty());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.iter().map(|entry| (text(&entry["name"]), text(&entry["message"]))).collect()
}

/// Waits until the operator calls itself ready.
async fn ready(scene: &Scene, address: &str) {
    scene
        .until("/readyz", || async {
            match scene.ask(address, "/readyz").await {
                (200, body) if missing(&body).is_empty() => Ok(()),
                (code, body) => Err(format!("{code}: {body}")),
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_the_crds_that_are_missing() {
    let plane: &'static ControlPlane =
        Box::leak(Box::new(tokio::task::spawn_blocking(ControlPlane::start).await.unwrap()));
    let mut scene = Scene::on(plane, "bare").await;
    scene.start();
    let address = scene.address(&scene.log_file()).await;
    assert_eq!(scene.ask(&address, "/healthz").await, (200, "ok".to_owned()), "alive, though not ready");
    scene
        .until("the CRDs are named as missing", || async {
            let (code, body) = scene.ask(&address, "/readyz").await;
            let crds = missing(&body).get("crds").cloned().unwrap_or_default();
            let named = ["customerkeys", "encryptedclusters"]
                .iter()
                .all(|name| crds.contains(&format!("CRD {name}.cmk-operator.io is missing: apply crds/")));
            if code == 503 && named { Ok(()) } else { Err(format!("{code}: {body}")) }
        })
        .await;
    tokio::task::spawn_blocking(|| plane.apply_crds()).await.unwrap();
    ready(&scene, &address).await;
    scene.apply_all(&[REGION]).await;
    scene.all_ready().await;
    assert!(scene.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replica_waits_for_the_lease_and_takes_it_when_it_is_free() {
    let mut scene = Scene::started("replicas").await;
    let first = scene.address(&scene.log_file()).await;
    ready(&scene, &first).await;
    let (second, log) = scene.start_another("second", &["--identity", "second"]);
    let address = scene.address(&log).await;
    // It is ready, or a rollout, which waits for that before it stops the first one, would never end.
    scene
        .until("the second replica stands by", || async {
            let (code, body) = scene.ask(&address, "/readyz").await;
            let waits = code == 200 && missing(&body).is_empty() && body.contains("another replica leads");
            if waits { Ok(()) } else { Err(format!("{code}: {body}")) }
        })
        .await;
    assert_eq!(scene.ask(&address, "/healthz").await.0, 200);
    let leads = async |address: &str| scene.ask(address, "/metrics").await.1.lines().any(|line| line == "cmk_leader 1");
    assert!(leads(&first).await && !leads(&address).await, "one of them may act");
    scene.apply_all(&[REGION]).await;
    scene.all_ready().await;
    let steps = |text: &str| text.lines().filter(|line| line.contains("\"message\":\"done\"")).count();
    assert_eq!(steps(&std::fs::read_to_string(&log).unwrap()), 0, "the other one does nothing");

    assert_eq!(scene.stop().await, Some(0));
    ready(&scene, &address).await;
    scene.apply(&scene.gate("later", "key", REGION)).await.unwrap();
    scene.ready("EncryptedCluster", "later").await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_and_name_only_what_is_abnormal() {
    let scene = Scene::started("metrics").await;
    scene.apply_all(&[REGION]).await;
    scene.all_ready().await;
    let address = scene.address(&scene.log_file()).await;
    let (code, text) = scene.ask(&address, "/metrics").await;
    assert_eq!(code, 200);
    assert!(text.ends_with("# EOF\n"));
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(families.iter().all(|family| family.starts_with("cmk_")), "{families:?}");
    for family in
        ["cmk_passes", "cmk_pass_duration_seconds", "cmk_steps", "cmk_outside_requests", "cmk_objects", "cmk_leader"]
    {
        assert!(families.contains(&family), "{family} is missing: {families:?}");
    }
    let value = |text: &str, series: &str| -> String {
        let line = text.lines().find(|line| line.starts_with(series));
        line.unwrap_or_else(|| panic!("{series} is missing:\n{text}")).rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(value(&text, r#"cmk_objects{kind="CustomerKey",ready="true"}"#), "1");
    assert_eq!(value(&text, r#"cmk_steps_total{step="CreateKey",outcome="done"}"#), "1");
    let private = [scene.namespace.as_str(), TOKEN, ORGANIZATION, "arn:aws"];
    for words in private {
        assert!(!text.contains(words), "{words} is in the metrics of objects that are well");
    }

    // An alert has to be able to name a key that is on its way out.
    let arn = scene.get("CustomerKey", "key").await["status"]["regions"][0]["keyArn"].clone();
    scene.command(&json!({ "schedule_key_deletion": { "arn": arn, "window_days": 7 } })).await;
    let now = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": "now" } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(now)).await.unwrap();
    scene.wait_for("CustomerKey", "key", "Stalled", "True", "KeyPendingDeletion").await;
    let (_, text) = scene.ask(&address, "/metrics").await;
    let named: Vec<&str> = text.lines().filter(|line| line.contains(&scene.namespace)).collect();
    assert!(!named.is_empty() && named.iter().all(|line| line.starts_with("cmk_abnormal{")), "{named:?}");
    assert!(
        named.iter().any(|line| line.contains(r#"name="key""#) && line.contains("KeyPendingDeletion")),
        "{named:?}"
    );
    for words in [TOKEN, ORGANIZATION, "arn:aws"] {
        assert!(!text.contains(words), "{words} is in the metrics");
    }
    scene.command(&json!({ "enable_key": { "arn": arn } })).await;
    scene.all_ready().await;
    scene
        .until("the alert is over", || async {
            let (_, text) = scene.ask(&address, "/metrics").await;
            if text.contains(&scene.namespace) { Err(text) } else { Ok(()) }
        })
        .await;
}

/// The most telling logs, a good day and bad ones: the token is nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere() {
    let mut scene = Scene::new("discreet").await;
    scene.extra = vec!["--log".to_owned(), "trace".to_owned()];
    scene.start();
    scene.apply_all(&[REGION]).await;
    scene.all_ready().await;
    // The ways in which a token can be wrong are where it would be quoted.
    scene.command(&json!({ "kill_token": { "token": TOKEN } })).await;
    touch(&scene).await;
    scene.wait_for("CustomerKey", "key", "CredentialsValid", "False", "CredentialsRejected").await;
    scene
        .command(&json!({ "set_token": { "token": TOKEN, "org": ORGANIZATION, "permissions": ["org-db-view"] } }))
        .await;
    scene.wait_for("CustomerKey", "key", "CredentialsValid", "False", "CredentialsLackPermission").await;
    let unsendable = "AstraCS:line\nbreak:sesame";
    let mut secret = scene.secret();
    secret["stringData"]["token"] = json!(unsendable);
    scene.apply(&secret).await.unwrap();
    scene.wait_for("CustomerKey", "key", "CredentialsValid", "False", "CredentialsRejected").await;
    scene.command(&json!({ "set_token": { "token": TOKEN, "org": ORGANIZATION } })).await;
    scene.apply(&scene.secret()).await.unwrap();
    scene.all_ready().await;
    let address = scene.address(&scene.log_file()).await;
    let metrics = scene.ask(&address, "/metrics").await.1;
    assert_eq!(scene.stop().await, Some(0));

    let log = scene.log();
    let lines = log.lines().count();
    assert!(lines > 100, "only {lines} lines at the most telling level");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}: {line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} is missing: {line}");
        }
    }
    let objects = json!([scene.get("CustomerKey", "key").await, scene.get("EncryptedCluster", "db").await]).to_string();
    let events = json!(scene.events(&scene.namespace).await).to_string();
    assert!(events.contains("CredentialsRejected") && objects.contains("observedGeneration"));
    for secret in [TOKEN, "sandbox:token", "sesame", "Bearer "] {
        for (place, text) in [("log", &log), ("status", &objects), ("events", &events), ("metrics", &metrics)] {
            assert!(!text.contains(secret), "{secret:?} is in the {place}");
        }
    }
}

/// Asks for a pass of the key.
async fn touch(scene: &Scene) {
    let request = uuid::Uuid::new_v4().to_string();
    let patch = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": request } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// What events say, in their order, for each object and condition.
fn told(events: &[Value]) -> BTreeMap<(String, String), Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events {
        assert!(event["series"].is_null(), "told more than once: {event:#}");
        let object = format!("{}/{}", text(&event["regarding"]["kind"]), text(&event["regarding"]["name"]));
        let truth = text(&event["note"]).split(':').next().unwrap().to_owned();
        told.entry((object, text(&event["action"]))).or_default().push((truth, text(&event["reason"])));
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_each_change_once_and_not_again_after_a_restart() {
    let mut scene = Scene::started("events").await;
    scene.apply_all(&[REGION]).await;
    scene.all_ready().await;
    // The events of a pass come after its status; an orderly stop waits for the pass.
    assert_eq!(scene.stop().await, Some(0));
    let before = scene.events(&scene.namespace).await;
    let stories = told(&before);
    for (about, story) in &stories {
        assert!(story.windows(2).all(|pair| pair[0] != pair[1]), "{about:?} is told twice in a row: {story:?}");
    }
    for (object, last) in [("CustomerKey/key", "Ready=True"), ("EncryptedCluster/db", "Ready=True")] {
        let story = &stories[&(object.to_owned(), "Ready".to_owned())];
        assert_eq!(story.last().unwrap().0, last, "{story:?}");
    }

    let mark = scene.mark().await;
    scene.start();
    scene
        .until("both objects were looked at again", || async {
            let calls = scene.calls_since(mark).await;
            let looks = calls.iter().filter(|call| call["operation"] == "astra:GetServerlessKey").count();
            let databases = calls.iter().filter(|call| call["operation"] == "astra:GetDatabase").count();
            let passes = scene.log().lines().filter(|line| line.contains("pass is over")).count();
            if looks >= 2 && databases >= 1 && passes >= 2 {
                Ok(())
            } else {
                Err(format!("{looks} {databases} {passes}: {calls:#?}"))
            }
        })
        .await;
    assert_eq!(told(&scene.events(&scene.namespace).await), stories);
    assert_eq!(scene.events(&scene.namespace).await, before, "nothing happened, nothing is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_is_let_go_at_once_and_without_asking_anybody() {
    let mut scene = Scene::started("retain").await;
    scene.apply_all(&[REGION]).await;
    scene.all_ready().await;
    // A pass that began before the deletion may still look, and the Secret's going wakes one: stopped, none is under way.
    assert_eq!(scene.stop().await, Some(0));
    let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), &scene.namespace);
    secrets.delete("astra", &DeleteParams::default()).await.unwrap();
    let (mark, mut before) = (scene.mark().await, scene.state().await);
    scene.clusters().delete("db", &DeleteParams::default()).await.unwrap();
    scene.keys().delete("key", &DeleteParams::default()).await.unwrap();
    scene.start();
    scene
        .until("both objects are gone", || async {
            let left = [scene.get("EncryptedCluster", "db").await, scene.get("CustomerKey", "key").await];
            if left.iter().all(Value::is_null) { Ok(()) } else { Err(json!(left).to_string()) }
        })
        .await;
    assert_eq!(scene.calls_since(mark).await, Vec::<Value>::new());
    let mut after = scene.state().await;
    before["now_ms"].take();
    after["now_ms"].take();
    assert_eq!(after, before, "everything outside stays");

    // Applied anew, the objects find what they left.
    scene.apply_all(&[REGION]).await;
    scene.ready("CustomerKey", "key").await;
    assert_eq!(scene.state().await["keys"].as_object().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_can_go_with_everything_in_it() {
    let mut scene = Scene::new("leaving").await;
    let leaving = format!("{}-all", scene.namespace);
    scene.create_namespace(&leaving, &json!({})).await;
    scene.watched.push(leaving.clone());
    scene.start();
    for mut object in [scene.secret(), scene.key(&[REGION]), scene.cluster(&[REGION])] {
        object["metadata"]["namespace"] = json!(leaving);
        scene.apply(&object).await.unwrap();
    }
    scene.wait_in(&leaving, "EncryptedCluster", "db", "Ready", "True", "*").await;
    scene.wait_in(&leaving, "CustomerKey", "key", "Ready", "True", "*").await;
    let mark = scene.mark().await;
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    namespaces.delete(&leaving, &DeleteParams::default()).await.unwrap();
    scene
        .until("the namespace is gone", || async {
            match namespaces.get_opt(&leaving).await.unwrap() {
                None => Ok(()),
                Some(namespace) => Err(json!(namespace.status).to_string()),
            }
        })
        .await;
    // Of the objects in it the key may go first; then the cluster looks once more, and reads are all that it may do.
    let writes: Vec<Value> =
        scene.calls_since(mark).await.into_iter().filter(|call| call["access"] == "write").collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let state = scene.state().await;
    assert_eq!(state["keys"].as_object().unwrap().len(), 1);
    assert_eq!(state["astra"][ORGANIZATION]["databases"].as_array().unwrap().len(), 1);
}
