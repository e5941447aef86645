//! What keeps an object from going on: said in the words that help, not asked about again and again, and over as soon as
//! the cause is.

use std::collections::BTreeMap;

use cmk_operator::domain::condition::{Actor, Reason};
use futures::future::join_all;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::scene::{ORGANIZATION, Scene, TOKEN, find, organization, tenant_token};

const REGION: &str = "us-east-1";
const OTHER_ACCOUNT: &str = "222222222222";
const OTHER_KEY: &str = "arn:aws:kms:us-east-1:333333333333:key/0000aaaa-0000-4000-8000-000000000000";

/// How a refusal is shown.
#[derive(Clone, Copy)]
struct Shown {
    condition: &'static str,
    reason: &'static str,
    /// What the message names: the action that failed, the field, what to do.
    says: &'static [&'static str],
}

const LACKS_PERMISSION: Shown = Shown {
    condition: "CredentialsValid",
    reason: "CredentialsLackPermission",
    says: &["GET /v2/kms/provider/aws/region/{region}", "org-cmk-read", "To do: give the token's role the permission"],
};
const DEAD_TOKEN: Shown = Shown {
    condition: "CredentialsValid",
    reason: "CredentialsRejected",
    says: &["GET /v2/currentOrg", "401", "To do: put a valid token into the Secret."],
};
const NO_SECRET: Shown = Shown {
    condition: "CredentialsValid",
    reason: "SecretMissing",
    says: &["credentialsSecretRef", "To do: create the Secret"],
};
const NO_SECRET_KEY: Shown = Shown {
    condition: "CredentialsValid",
    reason: "SecretKeyMissing",
    says: &["/astra has no key token", "To do: add the key to the Secret."],
};
const LOCKED: Shown = Shown {
    condition: "Registered",
    reason: "RegionLocked",
    says: &["does not offer us-east-1", "To do: ask the cloud to unlock"],
};
const CONFLICT: Shown = Shown {
    condition: "Registered",
    reason: "RegistrationConflict",
    says: &[OTHER_KEY, "To do: if that key is the right one, name it in keyArn", "never overwritten"],
};
const WRONG_ACCOUNT: Shown = Shown {
    condition: "CredentialsValid",
    reason: "AccountMismatch",
    says: &["111111111111", "spec.aws.accountId is 222222222222", "To do: set spec.aws.roleArn"],
};
const DENIED: Shown = Shown {
    condition: "KeysReady",
    reason: "AccessDenied",
    says: &["kms:CreateKey", "us-east-1", "To do: let the operator's principal call kms:CreateKey"],
};

const FULL: Shown = Shown {
    condition: "KeysReady",
    reason: "QuotaReached",
    says: &["kms:CreateKey", "LimitExceededException", "To do: raise the quota that limits kms:CreateKey in us-east-1"],
};
const EXPIRED: Shown = Shown {
    condition: "CredentialsValid",
    reason: "AwsCredentialsInvalid",
    says: &["kms:", "ExpiredTokenException", "To do: give the operator working AWS credentials."],
};

/// Whether a status can be judged by tools: every condition once, about this generation.
fn conforms(object: &Value) {
    let generation = &object["metadata"]["generation"];
    assert_eq!(&object["status"]["observedGeneration"], generation, "{object:#}");
    let mut seen = BTreeMap::new();
    for condition in object["status"]["conditions"].as_array().unwrap() {
        assert_eq!(&condition["observedGeneration"], generation, "{condition:#}");
        assert!(!condition["lastTransitionTime"].as_str().unwrap().is_empty());
        assert!(!condition["message"].as_str().unwrap().is_empty(), "{condition:#}");
        assert!(["True", "False", "Unknown"].contains(&condition["status"].as_str().unwrap()));
        *seen.entry(condition["type"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    for needed in ["Ready", "Reconciling", "Stalled", "CredentialsValid"] {
        assert!(seen.contains_key(needed), "{needed} is missing: {seen:?}");
    }
}

/// Waits until a key says that it cannot go on, and judges how it says it.
async fn stalls(scene: &Scene, name: &str, shown: Shown) -> Value {
    let key = scene.wait_for("CustomerKey", name, "Stalled", "True", shown.reason).await;
    conforms(&key);
    let condition = |name: &str| find(&key, name).unwrap_or_else(|| panic!("{name} is missing: {key:#}"));
    assert_eq!(condition("Ready")["status"], "False");
    assert_eq!(condition("Ready")["reason"], shown.reason);
    assert_eq!(condition("Reconciling")["status"], "False");
    assert_eq!(condition(shown.condition)["status"], "False", "{key:#}");
    assert_eq!(condition(shown.condition)["reason"], shown.reason, "{key:#}");
    for place in [shown.condition, "Ready", "Stalled"] {
        let message = condition(place)["message"].as_str().unwrap();
        for words in shown.says {
            assert!(message.contains(words), "{place} does not say {words:?}: {message}");
        }
    }
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == shown.reason).unwrap();
    assert_ne!(reason.actor(), Actor::Nobody, "somebody has to act");
    key
}

/// Nothing was made in the clouds, and nothing was touched that was there.
async fn nothing_was_made(scene: &Scene) {
    let state = scene.state().await;
    assert_eq!(state["keys"], json!({}), "no key is created that could not be used");
    assert_eq!(state["astra"][ORGANIZATION]["databases"], json!([]), "nothing is deployed");
    let writes: Vec<Value> =
        scene.calls().await.into_iter().filter(|c| c["access"] == "write" && c["applied"] == true).collect();
    assert!(writes.is_empty(), "{writes:#?}");
}

/// Everything becomes ready by itself: one key, one database, and the operator is still the one that was started.
async fn clears(scene: &mut Scene) {
    let (key, cluster) = scene.all_ready().await;
    for object in [&key, &cluster] {
        conforms(object);
        assert_eq!(find(object, "Stalled").unwrap()["status"], "False");
    }
    let state = scene.state().await;
    assert_eq!(state["keys"].as_object().unwrap().len(), 1);
    assert_eq!(state["astra"][ORGANIZATION]["databases"].as_array().unwrap().len(), 1);
    assert!(scene.is_running());
}

/// A cause outside Kubernetes: what brings it about, how it is shown, what undoes it.
async fn refused_by_a_cloud(name: &str, cause: Value, shown: Shown, undo: Value) {
    let mut scene = Scene::started(name).await;
    scene.command(&cause).await;
    scene.apply_all(&[REGION]).await;
    stalls(&scene, "key", shown).await;
    scene.wait_for("EncryptedCluster", "db", "Ready", "False", "*").await;
    nothing_was_made(&scene).await;
    scene.command(&undo).await;
    clears(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_the_roles_for_keys() {
    let databases_only = ["org-db-create", "org-db-view", "org-db-expand", "org-db-terminate"];
    refused_by_a_cloud(
        "lacks",
        json!({ "set_token": { "token": TOKEN, "org": ORGANIZATION, "permissions": databases_only } }),
        LACKS_PERMISSION,
        json!({ "set_token": { "token": TOKEN, "org": ORGANIZATION } }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token() {
    refused_by_a_cloud(
        "dead",
        json!({ "kill_token": { "token": TOKEN } }),
        DEAD_TOKEN,
        json!({ "set_token": { "token": TOKEN, "org": ORGANIZATION } }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_the_cloud_keeps_from_the_organization() {
    let locked = |locked| json!({ "set_locked": { "org": ORGANIZATION, "region": REGION, "locked": locked } });
    refused_by_a_cloud("locked", locked(true), LOCKED, locked(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_permission_to_create_keys() {
    let denied = |denied| json!({ "set_denied": { "principal": "*", "action": "kms:CreateKey", "denied": denied } });
    refused_by_a_cloud("denied", denied(true), DENIED, denied(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_full() {
    let limit = |limit: Value| json!({ "patch_settings": { "key_limit": limit } });
    refused_by_a_cloud("full", limit(json!(0)), FULL, limit(Value::Null)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_registered_already() {
    let mut scene = Scene::started("conflict").await;
    let place = json!({ "org": ORGANIZATION, "kind": "serverless", "region": REGION });
    let mut register = place.clone();
    register["arn"] = json!(OTHER_KEY);
    scene.command(&json!({ "register": register })).await;
    scene.apply_all(&[REGION]).await;
    stalls(&scene, "key", CONFLICT).await;
    scene.wait_for("EncryptedCluster", "db", "Ready", "False", "*").await;
    nothing_was_made(&scene).await;
    let registrations = scene.state().await["astra"][ORGANIZATION]["registrations"].clone();
    assert_eq!(registrations[0]["arn"], OTHER_KEY, "it is never overwritten");
    assert!(
        !scene
            .calls()
            .await
            .iter()
            .any(|c| ["kms:CreateKey", "astra:CreateKey"].contains(&c["operation"].as_str().unwrap())),
        "neither a key nor a registration is even tried"
    );
    scene.command(&json!({ "forget_registration": place })).await;
    clears(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_there_yet() {
    let mut scene = Scene::started("secretless").await;
    scene.apply(&scene.key(&[REGION])).await.unwrap();
    scene.apply(&scene.cluster(&[REGION])).await.unwrap();
    stalls(&scene, "key", NO_SECRET).await;
    scene.wait_for("EncryptedCluster", "db", "Stalled", "True", "SecretMissing").await;
    nothing_was_made(&scene).await;
    scene.apply(&scene.secret()).await.unwrap();
    clears(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_without_the_token() {
    let mut scene = Scene::started("tokenless").await;
    let mut secret = scene.secret();
    secret["stringData"] = json!({ "password": "hunter2" });
    scene.apply(&secret).await.unwrap();
    scene.apply(&scene.key(&[REGION])).await.unwrap();
    scene.apply(&scene.cluster(&[REGION])).await.unwrap();
    stalls(&scene, "key", NO_SECRET_KEY).await;
    scene.wait_for("EncryptedCluster", "db", "Stalled", "True", "SecretKeyMissing").await;
    nothing_was_made(&scene).await;
    scene.apply(&scene.secret()).await.unwrap();
    clears(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_account() {
    let mut scene = Scene::started("account").await;
    let mut key = scene.key(&[REGION]);
    key["spec"]["aws"]["accountId"] = json!(OTHER_ACCOUNT);
    for object in [scene.secret(), key, scene.cluster(&[REGION])] {
        scene.apply(&object).await.unwrap();
    }
    stalls(&scene, "key", WRONG_ACCOUNT).await;
    scene.wait_for("EncryptedCluster", "db", "Stalled", "True", "AccountMismatch").await;
    nothing_was_made(&scene).await;
    // The account is immutable, so the object is made anew.
    scene.keys().delete("key", &DeleteParams::default()).await.unwrap();
    scene
        .until("the key's object is gone", || async {
            let key = scene.get("CustomerKey", "key").await;
            if key.is_null() { Ok(()) } else { Err(key.to_string()) }
        })
        .await;
    scene.apply(&scene.key(&[REGION])).await.unwrap();
    clears(&mut scene).await;
}

/// The most calls that one object in a lasting error makes within ten minutes.
const MOST_CALLS: usize = 12;

/// A key that keeps its operator awake: each request for a pass is one more proof that time goes on.
struct Canary {
    requests: u32,
}

impl Canary {
    /// Has the canary looked at again and again until the clouds' own clock has moved on by so many milliseconds.
    async fn wait(&mut self, scene: &Scene, milliseconds: i64) {
        let now = async || scene.control_get("/clock").await["now_ms"].as_i64().unwrap();
        let end = now().await + milliseconds;
        while now().await < end {
            self.requests += 1;
            let request = self.requests.to_string();
            let patch = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": request } } });
            scene.keys().patch("canary", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
            scene
                .until("the canary is looked at", || async {
                    let canary = scene.get("CustomerKey", "canary").await;
                    if canary["status"]["lastHandledReconcileAt"] == json!(request) {
                        Ok(())
                    } else {
                        Err(canary.to_string())
                    }
                })
                .await;
        }
    }
}

/// The objects that are refused, each in a region and an organization of its own, so that its calls can be told apart.
const REFUSED: [(&str, u32, &str, Shown); 10] = [
    ("lacks", 1, "us-east-1", LACKS_PERMISSION),
    ("dead", 2, "us-east-2", DEAD_TOKEN),
    ("secretless", 3, "us-west-2", NO_SECRET),
    ("tokenless", 4, "eu-west-1", NO_SECRET_KEY),
    ("locked", 5, "eu-central-1", LOCKED),
    ("conflict", 6, "ap-southeast-1", CONFLICT),
    ("account", 7, "ca-central-1", WRONG_ACCOUNT),
    ("denied", 8, "sa-east-1", DENIED),
    ("full", 10, "us-west-1", FULL),
    ("expired", 11, "eu-west-2", EXPIRED),
];

/// The calls for each refused object; all others must be the canary's.
async fn calls_by_object(scene: &Scene, mark: u64) -> BTreeMap<&'static str, usize> {
    let mut count: BTreeMap<&str, usize> = REFUSED.iter().map(|(name, ..)| (*name, 0)).collect();
    for call in scene.calls_since(mark).await {
        let owner = REFUSED.iter().find(|(_, number, region, _)| {
            call["region"] == *region || call["account"] == json!(organization(*number))
        });
        match owner {
            Some((name, ..)) => *count.get_mut(name).unwrap() += 1,
            // Of a token that is dead the cloud does not know whose it was.
            None if call["service"] == "astra" && call["account"] == "" => *count.get_mut("dead").unwrap() += 1,
            None => assert!(
                call["region"] == "eu-north-1" || call["account"] == json!(organization(9)),
                "whose is {call:#}?"
            ),
        }
    }
    count
}

/// With the real pauses: an object that is refused is looked at, says so, and then leaves the clouds alone.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_refused_is_asked_again_and_again() {
    let mut scene = Scene::new("cold").await;
    scene.extra = vec!["--longest-backoff".to_owned(), "1h".to_owned()];
    scene.start();
    let canary = scene.tenant("canary", 9, "eu-north-1").await;
    scene.apply(&canary).await.unwrap();
    scene.ready("CustomerKey", "canary").await;

    let mut keys = Vec::new();
    for (name, number, region, _) in REFUSED {
        keys.push(scene.tenant(name, number, region).await);
    }
    let permissions = json!(["org-db-view"]);
    let token = tenant_token("lacks");
    scene
        .command(&json!({ "set_token": { "token": token, "org": organization(1), "permissions": permissions } }))
        .await;
    scene.command(&json!({ "kill_token": { "token": tenant_token("dead") } })).await;
    scene.plane.kubectl(&["delete", "secret", "secretless", "-n", &scene.namespace]);
    let empty = json!({ "data": { "token": null, "password": "aHVudGVyMg==" } });
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(scene.client.clone(), &scene.namespace);
    secrets.patch("tokenless", &PatchParams::default(), &Patch::Merge(empty)).await.unwrap();
    scene.command(&json!({ "set_locked": { "org": organization(5), "region": "eu-central-1", "locked": true } })).await;
    let other = json!({ "org": organization(6), "kind": "serverless", "region": "ap-southeast-1", "arn": OTHER_KEY });
    scene.command(&json!({ "register": other })).await;
    keys[6]["spec"]["aws"]["accountId"] = json!(OTHER_ACCOUNT);
    let error = |code: &str| json!({ "error": { "status": 400, "code": code, "message": "as AWS says it" } });
    let full = json!({ "operation": "kms:CreateKey", "region": "us-west-1" });
    scene.fault(&full, &error("LimitExceededException")).await;
    scene.fault(&json!({ "operation": "kms:*", "region": "eu-west-2" }), &error("ExpiredTokenException")).await;
    scene.command(&json!({ "set_denied": { "principal": "*", "action": "kms:CreateKey", "denied": true } })).await;

    let start = scene.mark().await;
    for key in &keys {
        scene.apply(key).await.unwrap();
    }
    join_all(REFUSED.iter().map(|(name, _, _, shown)| {
        let scene = &scene;
        async move { scene.wait_for("CustomerKey", name, "Stalled", "True", shown.reason).await }
    }))
    .await;
    let mut canary = Canary { requests: 0 };
    canary.wait(&scene, 3000).await;
    let first = calls_by_object(&scene, start).await;
    canary.wait(&scene, 6000).await;
    let later = calls_by_object(&scene, start).await;
    assert_eq!(first, later, "nothing is asked again while only the operator's other work goes on");
    assert!(canary.requests >= 10, "the operator had time for {} passes of another object", canary.requests);
    println!("calls of refused keys: {later:?}");
    for (name, calls) in &later {
        assert!((1..=MOST_CALLS).contains(calls), "key {name} made {calls} calls: {later:?}");
    }

    let start = scene.mark().await;
    for (name, _, region, _) in REFUSED {
        scene.apply(&scene.gate(&format!("db-{name}"), name, region)).await.unwrap();
    }
    join_all(REFUSED.iter().map(|(name, ..)| {
        let scene = &scene;
        async move { scene.wait_for("EncryptedCluster", &format!("db-{name}"), "Ready", "False", "*").await }
    }))
    .await;
    canary.wait(&scene, 3000).await;
    let first = calls_by_object(&scene, start).await;
    canary.wait(&scene, 6000).await;
    let later = calls_by_object(&scene, start).await;
    assert_eq!(first, later, "the same holds for clusters under refused keys");
    println!("calls of their clusters: {later:?}");
    for (name, calls) in &later {
        assert!((1..=MOST_CALLS).contains(calls), "the cluster of {name} made {calls} calls: {later:?}");
    }
}

/// Asks for a pass of the scene's key.
async fn ask(scene: &Scene, request: &str) {
    let patch = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": request } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// What a cloud's administrator grants shows nowhere in the cluster, so the one who waits for it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_heeded_while_the_secret_is_the_one_that_did_not_work() {
    let mut scene = Scene::new("granted").await;
    scene.extra = ["--longest-backoff", "1h"].map(str::to_owned).to_vec();
    scene.start();
    let token = json!({ "token": TOKEN, "org": ORGANIZATION, "permissions": ["org-db-view"] });
    scene.command(&json!({ "set_token": token })).await;
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&scene.key(&[REGION])).await.unwrap();
    scene.wait_for("CustomerKey", "key", "CredentialsValid", "False", "CredentialsLackPermission").await;
    scene.command(&json!({ "set_token": { "token": TOKEN, "org": ORGANIZATION } })).await;
    ask(&scene, "granted").await;
    scene.wait_for("CustomerKey", "key", "CredentialsValid", "True", "*").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_longer_than_status_can_hold_stops_nothing() {
    let scene = Scene::started("talkative").await;
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&scene.key(&[REGION])).await.unwrap();
    scene.ready("CustomerKey", "key").await;
    scene.command(&json!({ "kill_token": { "token": TOKEN } })).await;
    ask(&scene, &"x".repeat(300)).await;
    let key = scene.wait_for("CustomerKey", "key", "CredentialsValid", "False", "CredentialsRejected").await;
    assert_eq!(key["status"]["lastHandledReconcileAt"], json!("x".repeat(256)));
}
