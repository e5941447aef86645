//! The command line beside the controller, on the real API server: `why` says what objects wait for, `plan` says what will
//! happen, and then that happens; neither changes anything. And `iam-policy` names exactly the actions that a whole life
//! needs.

use std::collections::BTreeSet;
use std::process::Stdio;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::scene::{OPERATOR, ORGANIZATION, Scene, TOKEN, find};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];

/// Runs a subcommand with the operator's own environment; its exit code and what it says.
pub async fn ask(scene: &Scene, arguments: &[&str], input: &str) -> (i32, String) {
    let mut child = Command::new(OPERATOR)
        .args(arguments)
        .env("KUBECONFIG", &scene.kubeconfig)
        .env("AWS_ENDPOINT_URL", &scene.aws)
        .env("AWS_ACCESS_KEY_ID", "AKIASANDBOX")
        .env("AWS_SECRET_ACCESS_KEY", "sandbox")
        .env("AWS_REGION", REGIONS[0])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), format!("{out}{err}"))
}

pub async fn why(scene: &Scene, arguments: &[&str]) -> (i32, String) {
    ask(scene, &[&["why", "-n", &scene.namespace], arguments].concat(), "").await
}

/// What the operator would do next for these manifests.
async fn live(scene: &Scene, manifests: &[Value], more: &[&str]) -> (i32, String) {
    live_with(scene, manifests, &[&["--astra-endpoint", &scene.astra], more].concat()).await
}

/// The same of clouds whose endpoints are given.
pub async fn live_with(scene: &Scene, manifests: &[Value], more: &[&str]) -> (i32, String) {
    let usual = ["plan", "--live", "--installation", "test", "--watch-namespaces", &scene.namespace, "-f", "-"];
    ask(scene, &[&usual[..], more].concat(), &yaml(manifests)).await
}

/// JSON is YAML.
fn yaml(manifests: &[Value]) -> String {
    manifests.iter().map(|manifest| format!("---\n{manifest}\n")).collect()
}

pub fn says(text: &str, all: &[&str]) {
    for words in all {
        assert!(text.contains(words), "{words:?} is not said:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_says_what_is_waited_for_and_who_has_to_act() {
    let mut scene = Scene::new("why").await;
    let ns = scene.namespace.clone();
    let mut secret = scene.secret();
    secret["stringData"]["token"] = json!("AstraCS:nobody:none");
    for object in [secret, scene.key(&REGIONS[..1]), scene.cluster(&REGIONS[..1])] {
        scene.apply(&object).await.unwrap();
    }
    // Nobody has looked yet.
    let (code, text) = why(&scene, &["ck/key"]).await;
    assert_eq!(code, 2, "{text}");
    says(&text, &["has not said anything about it yet", "who has to act: the operator's administrator"]);

    scene.start();
    let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "CredentialsRejected").await;
    scene.wait_for("EncryptedCluster", "db", "Stalled", "True", "*").await;
    let since = find(&key, "Ready").unwrap()["lastTransitionTime"].as_str().unwrap();
    let ready = format!("CustomerKey {ns}/key is not ready since {since}");
    for kind in ["ck", "customerkey", "CustomerKeys"] {
        let (code, text) = why(&scene, &[&format!("{kind}/key")]).await;
        assert_eq!(code, 2, "{text}");
        says(&text, &[&ready, "CredentialsRejected", "the cloud's administrator", "put a valid token into the Secret"]);
    }
    let (code, text) = why(&scene, &[]).await;
    assert_eq!(code, 2, "{text}");
    let (first, rest) = text.split_once('\n').unwrap();
    assert_eq!(first, "the cloud's administrator:", "{text}");
    says(
        rest,
        &[&format!("CustomerKey {ns}/key: CredentialsRejected"), "EncryptedCluster", "0 of 2 objects are ready"],
    );
    // The gate, check by check.
    let (code, text) = why(&scene, &["ec/db"]).await;
    assert_eq!(code, 2, "{text}");
    says(&text, &["the gate is shut", "FAILS  KeyEnabled", "passes KeyNotDeleting", "GateOpen="]);

    scene.apply(&scene.secret()).await.unwrap();
    let (key, _) = scene.all_ready().await;
    let (code, text) = why(&scene, &[]).await;
    assert_eq!((code, text.as_str()), (0, "2 of 2 objects are ready\n"));
    let (code, text) = why(&scene, &["ec/db", "--output", "json"]).await;
    assert_eq!(code, 0, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&answer["ready"], &answer["kind"]), (&json!("True"), &json!("EncryptedCluster")));
    let checks = answer["regions"][0]["gate"]["checks"].as_array().unwrap();
    assert!(checks.len() > 8 && checks.iter().all(|check| check["passed"] == true), "{answer:#}");

    // Somebody breaks it.
    let arn = key["status"]["regions"][0]["keyArn"].as_str().unwrap();
    scene.administrator(REGIONS[0]).await.disable_key().key_id(arn).send().await.unwrap();
    let now = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": "now" } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(now)).await.unwrap();
    scene.wait_for("CustomerKey", "key", "Stalled", "True", "KeyDisabled").await;
    let (code, text) = why(&scene, &["ck/key"]).await;
    assert_eq!(code, 2, "{text}");
    says(&text, &["why: KeyDisabled", "who has to act: the AWS administrator", "us-east-1: KeyDisabled"]);

    for (arguments, wrong) in [(["ck/none"], "there is no CustomerKey none"), (["pod/x"], "neither ck")] {
        let (code, text) = why(&scene, &arguments).await;
        assert_eq!(code, 1, "{text}");
        says(&text, &[wrong]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_plan_says_what_is_next_and_touches_nothing() {
    let mut scene = Scene::new("live").await;
    let region = &REGIONS[..1];
    scene.apply(&scene.secret()).await.unwrap();
    let (key, cluster) = (scene.key(region), scene.cluster(region));
    let (code, text) = live(&scene, &[key.clone(), cluster.clone()], &[]).await;
    assert_eq!(code, 2, "{text}");
    let alias = format!("point alias/cmk-operator/test/{}/key at the new key", scene.namespace);
    says(&text, &["1. add the finalizer", "us-east-1: create a KMS key", &alias, "The region has no key yet."]);
    assert!(!text.contains("register arn:"), "one look shows no further than the next pass: {text}");
    let wrote = |calls: Vec<Value>| calls.into_iter().filter(|c| c["access"] == "write").collect::<Vec<_>>();
    assert!(!scene.calls().await.is_empty(), "the clouds were looked at");
    assert_eq!(wrote(scene.calls().await), Vec::<Value>::new());
    assert_eq!(scene.get("CustomerKey", "key").await, Value::Null, "nothing was applied");

    scene.start();
    scene.apply_all(region).await;
    scene.all_ready().await;
    scene.stop().await;
    let mark = scene.mark().await;
    let versions = || async {
        let (key, db) = (scene.get("CustomerKey", "key").await, scene.get("EncryptedCluster", "db").await);
        (key["metadata"]["resourceVersion"].clone(), db["metadata"]["resourceVersion"].clone())
    };
    let before = versions().await;
    let (code, text) = live(&scene, &[key.clone(), cluster.clone()], &[]).await;
    assert_eq!(code, 0, "{text}");
    says(&text, &["nothing to do", "now: Ready=True AsDeclared"]);

    // The policy names the operator, so whoever looks says who that is; else the plan is for another operator.
    let another = ["--principal", "arn:aws:iam::111111111111:role/another"];
    let (code, text) = live(&scene, std::slice::from_ref(&key), &another).await;
    assert_eq!(code, 2, "{text}");
    says(&text, &["1. us-east-1: write the policy of arn:aws:kms:us-east-1", "role/another"]);

    let mut changed = key.clone();
    changed["spec"]["key"]["description"] = json!("another");
    let (code, text) = live(&scene, &[changed], &["--output", "json"]).await;
    assert_eq!(code, 2, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let steps = report["objects"][0]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 1, "{report:#}");
    assert_eq!((&steps[0]["effect"], &steps[0]["region"]), (&json!("UpdateDescription"), &json!(REGIONS[0])));

    // What may not change about an object that is there.
    let mut moved = key.clone();
    moved["spec"]["aws"]["accountId"] = json!("222222222222");
    let (code, text) = live(&scene, &[moved], &[]).await;
    assert_eq!(code, 1, "{text}");
    says(&text, &["refused: CustomerKey", "spec.aws.accountId", "immutable"]);

    // A registration that is taken, and one that an older object claims.
    let mut rival = key.clone();
    rival["metadata"]["name"] = json!("rival");
    let (code, text) = live(&scene, &[rival], &[]).await;
    assert_eq!(code, 1, "{text}");
    says(&text, &["RegistrationConflict"]);

    let calls = wrote(scene.calls_since(mark).await);
    assert_eq!(calls, Vec::<Value>::new());
    assert_eq!(versions().await, before, "nothing was written to the objects");
}

/// The call that an effect is in the clouds' log; none for what stays inside Kubernetes.
fn call(effect: &str) -> Option<&'static str> {
    Some(match effect {
        "CreateKey" => "kms:CreateKey",
        "CreateAlias" => "kms:CreateAlias",
        "PutPolicy" => "kms:PutKeyPolicy",
        "EnableRotation" => "kms:EnableKeyRotation",
        "UpdateDescription" => "kms:UpdateKeyDescription",
        "Tag" | "NoteDatabase" => "kms:TagResource",
        "Register" => "astra:CreateKey",
        "CreateDatabase" => "astra:CreateDatabase",
        "AddRegion" => "astra:AddDatacenters",
        inside => {
            assert!(inside.starts_with("Record") || inside == "AddFinalizer", "{inside}");
            return None;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_plan_says_is_what_happens() {
    let scene = Scene::started("planned").await;
    let manifests = [scene.key(&REGIONS), scene.cluster(&REGIONS)];
    let arguments = ["plan", "-f", "-", "--installation", "test", "--output", "json"];
    let (code, text) = ask(&scene, &arguments, &yaml(&manifests)).await;
    assert_eq!(code, 2, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let steps: Vec<&Value> =
        report["objects"].as_array().unwrap().iter().flat_map(|o| o["steps"].as_array().unwrap()).collect();

    scene.apply_all(&REGIONS).await;
    scene.all_ready().await;
    let calls = scene.calls().await;
    for region in REGIONS {
        let planned: Vec<&str> = steps
            .iter()
            .filter(|step| step["region"] == region)
            .filter_map(|step| call(step["effect"].as_str().unwrap()))
            .collect();
        let happened: Vec<&str> = calls
            .iter()
            .filter(|c| c["region"] == region && c["access"] == "write" && c["applied"] == true)
            .map(|c| c["operation"].as_str().unwrap())
            .collect();
        assert_eq!(planned, happened, "in {region}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_iam_policy_holds_every_action_of_a_whole_life_and_no_other() {
    let scene = Scene::new("life").await;
    let region = REGIONS[0];
    // Keys that are made and never registered can be scheduled for deletion in the end.
    let may = ["org-cmk-read", "org-db-create", "org-db-view"];
    scene.command(&json!({ "set_token": { "token": TOKEN, "org": ORGANIZATION, "permissions": may } })).await;
    // A lost creation is searched for among all keys.
    scene.fault(&json!({ "operation": "kms:CreateKey", "nth": 1 }), &json!("lost_before")).await;
    let mut scene = scene;
    scene.start();
    scene.apply(&scene.secret()).await.unwrap();
    let mut key = scene.key(&[region]);
    key["spec"]["deletionPolicy"] = json!("ScheduleDeletion");
    scene.apply(&key).await.unwrap();
    scene.wait_for("CustomerKey", "key", "Stalled", "True", "CredentialsLackPermission").await;
    key["spec"]["key"]["description"] = json!("another");
    key["spec"]["key"]["tags"] = json!({ "team": "another" });
    scene.apply(&key).await.unwrap();
    let arn = scene.get("CustomerKey", "key").await["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned();
    scene
        .until("the new description and tags are there", || async {
            let key = scene.state().await["keys"][&arn].clone();
            let done = key["description"] == "another" && key["tags"]["team"] == "another";
            if done { Ok(()) } else { Err(format!("{key:#}")) }
        })
        .await;
    scene.keys().delete("key", &DeleteParams::default()).await.unwrap();
    let token = scene
        .until("a token is shown", || async {
            let key = scene.get("CustomerKey", "key").await;
            let token = key["status"]["deletion"]["confirmationToken"].as_str().map(str::to_owned);
            token.ok_or_else(|| key["status"].to_string())
        })
        .await;
    let confirm = json!({ "metadata": { "annotations": { "cmk-operator.io/confirm-deletion": token } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(confirm)).await.unwrap();
    scene
        .until("the key's object is gone", || async {
            let key = scene.get("CustomerKey", "key").await;
            if key.is_null() { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;

    // It is wanted again after all.
    scene.apply(&key).await.unwrap();
    scene
        .until("the deletion is taken back", || async {
            let key = scene.state().await["keys"][&arn].clone();
            if key["state"] == "Enabled" { Ok(()) } else { Err(format!("{key:#}")) }
        })
        .await;

    let calls = scene.calls().await;
    let reached: BTreeSet<String> = calls
        .iter()
        .map(|call| call["operation"].as_str().unwrap())
        .filter(|operation| !operation.starts_with("astra:"))
        // It needs no permission, and cannot be denied.
        .filter(|operation| *operation != "sts:GetCallerIdentity")
        .map(|operation| operation.replace("tagging:", "tag:"))
        .collect();
    let (code, text) = ask(&scene, &["iam-policy", "--deletion"], "").await;
    assert_eq!(code, 0, "{text}");
    let policy: Value = serde_json::from_str(&text).unwrap();
    let allowed: BTreeSet<String> = policy["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|statement| statement["Action"].as_array().unwrap())
        .map(|action| action.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(allowed, reached);
}
