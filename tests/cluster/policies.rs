//! Policies that AWS does not take: one that is too long, and one that names a principal that does not exist, or not yet.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::aws::administrator;
use crate::support::scene::{ACCOUNT, Scene, find};

const REGION: &str = "us-east-1";

/// The most calls that one object in a lasting error makes within ten minutes.
const MOST_CALLS: usize = 12;

/// The vendor's role in that region.
const VENDOR: &str = "arn:aws:iam::900000000000:role/creator";

async fn puts(scene: &Scene) -> usize {
    scene
        .calls()
        .await
        .iter()
        .filter(|c| c["operation"] == "kms:PutKeyPolicy" && c["principal"] != administrator())
        .count()
}

/// Asks for a pass, and waits until it is over. Yields the calls that it made.
async fn pass(scene: &Scene) -> Vec<Value> {
    let (mark, request) = (scene.mark().await, uuid::Uuid::new_v4().to_string());
    let patch = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": request } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    scene
        .until("the key is looked at", || async {
            let key = scene.get("CustomerKey", "key").await;
            let handled = key["status"]["lastHandledReconcileAt"] == json!(request);
            if handled { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    scene.calls_since(mark).await
}

/// An object in a lasting error: a pass is cheap, and the next one is far.
async fn left_alone(scene: &Scene) {
    // The class by which the pause is chosen; of this one it is ten minutes and more, see `controller::backoff`. Before it
    // comes to that, the rest of the key is put right.
    let lasting = |log: String| {
        let last =
            log.lines().rfind(|line| line.contains("pass is over") && line.contains("/key\"")).map(str::to_owned);
        last.filter(|line| line.contains("class: Refused")).ok_or(log)
    };
    scene.until("the failure counts as a lasting one", || async { lasting(scene.log()) }).await;
    let calls = pass(scene).await;
    assert!((1..=MOST_CALLS).contains(&calls.len()), "{} calls: {calls:#?}", calls.len());
    println!("{} calls in a pass", calls.len());
    scene.until("the failure is still a lasting one", || async { lasting(scene.log()) }).await;
    let (mark, log) = (scene.mark().await, scene.log().len());
    // Passes of another object prove that the operator is awake: it tells only of its own trouble.
    scene
        .until("the operator has worked on something else", || async {
            let request = uuid::Uuid::new_v4().to_string();
            let mut other = scene.gate("other", "nothing", REGION);
            other["metadata"]["annotations"] = json!({ "cmk-operator.io/reconcile-requested-at": request });
            scene.apply(&other).await.unwrap();
            let text = scene.log()[log..].to_owned();
            let passes = text.lines().filter(|line| line.contains("pass is over") && line.contains("/other")).count();
            if passes >= 12 { Ok(()) } else { Err(format!("{passes} passes")) }
        })
        .await;
    assert_eq!(scene.calls_since(mark).await, Vec::<Value>::new(), "nothing is asked again");
}

/// The whole is ready with one key, by the operator that was started first.
async fn clears(scene: &mut Scene) {
    scene.ready("CustomerKey", "key").await;
    assert_eq!(scene.state().await["keys"].as_object().unwrap().len(), 1);
    assert!(scene.is_running());
}

/// Statements of a document, more than half of what a policy may be long.
fn long(name: &str) -> Value {
    let statement = |number: usize| {
        json!({
            "Sid": format!("S{number}"), "Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "*",
            "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
            "Condition": { "StringEquals": { "aws:PrincipalTag/purpose": format!("{number}-{}", "x".repeat(400)) } },
        })
    };
    let statements: Vec<Value> = (0..32).map(statement).collect();
    json!({ "name": name, "json": json!({ "Version": "2012-10-17", "Statement": statements }).to_string() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_too_long_is_said_and_never_sent() {
    let mut scene = Scene::new("lengthy").await;
    scene.extra = ["--longest-backoff", "1h"].map(ToOwned::to_owned).to_vec();
    scene.start();
    scene.apply(&scene.secret()).await.unwrap();
    let mut key = scene.key(&[REGION]);
    key["spec"]["policy"] = json!({ "documents": [long("one"), long("two")] });
    scene.apply(&key).await.unwrap();
    let stalled = scene.wait_for("CustomerKey", "key", "Stalled", "True", "PolicyInvalid").await;
    let message = find(&stalled, "PoliciesReady").unwrap()["message"].as_str().unwrap();
    for words in [REGION, "32768", "To do: correct spec.policy"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert_eq!(puts(&scene).await, 0, "what AWS would refuse is not sent");
    left_alone(&scene).await;

    key["spec"]["policy"] = json!({ "documents": [long("one")] });
    scene.apply(&key).await.unwrap();
    clears(&mut scene).await;

    // What others have put into the policy counts as well: then it is theirs to shorten, or the author's.
    let ready = scene.get("CustomerKey", "key").await;
    let arn = ready["status"]["regions"][0]["keyArn"].as_str().unwrap();
    let kms = scene.administrator(REGION).await;
    let policy = kms.get_key_policy().key_id(arn).policy_name("default").send().await.unwrap();
    let mut policy: Value = serde_json::from_str(policy.policy().unwrap()).unwrap();
    let theirs: Value = serde_json::from_str(long("theirs")["json"].as_str().unwrap()).unwrap();
    let ours = policy["Statement"].as_array().unwrap().clone();
    let room = theirs["Statement"].as_array().unwrap().iter().take(12).cloned();
    policy["Statement"] = ours.into_iter().chain(room).collect();
    kms.put_key_policy().key_id(arn).policy_name("default").policy(policy.to_string()).send().await.unwrap();
    let mut more = long("two");
    let mut document: Value = serde_json::from_str(more["json"].as_str().unwrap()).unwrap();
    document["Statement"].as_array_mut().unwrap().truncate(16);
    more["json"] = json!(document.to_string());
    let before = puts(&scene).await;
    key["spec"]["policy"] = json!({ "documents": [long("one"), more] });
    scene.apply(&key).await.unwrap();
    let stalled = scene.wait_for("CustomerKey", "key", "Stalled", "True", "PolicyInvalid").await;
    assert!(find(&stalled, "PoliciesReady").unwrap()["message"].as_str().unwrap().contains("32768"), "{stalled:#}");
    assert_eq!(puts(&scene).await, before);
    key["spec"]["policy"] = json!({ "documents": [long("one")] });
    scene.apply(&key).await.unwrap();
    clears(&mut scene).await;
}

fn vendor(exists: bool) -> Value {
    json!({ "set_external_principal": { "arn": VENDOR, "exists": exists } })
}

/// Waits until AWS has refused the policy so often.
async fn refused(scene: &Scene, times: usize) {
    scene
        .until(&format!("AWS refuses the policy {times} times"), || async {
            let calls = scene.calls().await;
            let refused = calls
                .iter()
                .filter(|c| c["operation"] == "kms:PutKeyPolicy" && c["outcome"] == "MalformedPolicyDocumentException");
            let count = refused.count();
            if count >= times { Ok(()) } else { Err(format!("{count}")) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_that_is_not_there_yet_is_waited_for() {
    let mut scene = Scene::new("newcomer").await;
    scene.extra = ["--deploy-settle", "5m"].map(ToOwned::to_owned).to_vec();
    scene.start();
    scene.command(&vendor(false)).await;
    scene.apply_all(&[REGION]).await;
    refused(&scene, 2).await;
    let key = scene.get("CustomerKey", "key").await;
    for (condition, status) in [("Ready", "False"), ("Reconciling", "True"), ("Stalled", "False")] {
        assert_eq!(find(&key, condition).unwrap()["status"], status, "it may come by itself: {:#}", key["status"]);
    }
    let message = find(&key, "PoliciesReady").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("kms:PutKeyPolicy") && message.contains("invalid principal"), "{message}");
    scene.command(&vendor(true)).await;
    clears(&mut scene).await;
    scene.ready("EncryptedCluster", "db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_that_never_comes_is_named_and_left_alone_until_it_does() {
    let mut scene = Scene::new("nobody").await;
    let flags = ["--deploy-settle", "2s", "--longest-backoff", "1h"];
    scene.extra = flags.map(ToOwned::to_owned).to_vec();
    scene.start();
    scene.command(&vendor(false)).await;
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&scene.key(&[REGION])).await.unwrap();
    let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "PrincipalMissing").await;
    for place in ["PoliciesReady", "Ready"] {
        let message = find(&key, place).unwrap()["message"].as_str().unwrap();
        for words in ["kms:PutKeyPolicy", "does not exist", VENDOR, "To do: make sure that every principal"] {
            assert!(message.contains(words), "{place}: {words}: {message}");
        }
    }
    left_alone(&scene).await;
    scene.command(&vendor(true)).await;
    // Not in ten minutes but at once, for whoever asks.
    pass(&scene).await;
    clears(&mut scene).await;
}
