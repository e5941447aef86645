//! Each right that is missing in AWS, one by one: said once, by the name of the action, and over when it is granted. And
//! regions that have trouble of their own while the others go on.

use std::time::Duration;

use cmk_operator::adapters::aws::Operation;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::crash::all;
use super::deletion;
use crate::support::scene::{Scene, find};

const REGION: &str = "us-east-1";

/// When an action is needed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needed {
    /// On the way to a key that is ready.
    Always,
    /// When the description differs from the spec.
    ToDescribe,
    /// When the spec asks for a multi-Region key of several regions.
    ToReplicate,
    /// When the reply to CreateKey was lost, and its key is looked for among all there are.
    ToSearch,
    /// When the spec names a role.
    ToAssume,
    /// When the end of the key was confirmed.
    ToDelete,
    /// When a key that the operator itself scheduled for deletion is declared again.
    ToRestore,
    /// When a spec has a role made as which a cloud uses the key: `atlas_role` denies these.
    ForCloudRoles,
    /// AWS grants it to everybody, even against a policy that denies it
    /// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>).
    Undeniable,
}

/// When each of the operator's actions is needed: a new one has to be added here.
const fn needed(operation: Operation) -> Needed {
    match operation {
        Operation::CreateKey
        | Operation::TagResource
        | Operation::CreateAlias
        | Operation::DescribeKey
        | Operation::GetKeyPolicy
        | Operation::PutKeyPolicy
        | Operation::GetKeyRotationStatus
        | Operation::EnableKeyRotation
        | Operation::ListResourceTags
        | Operation::GetResources => Needed::Always,
        Operation::UpdateKeyDescription => Needed::ToDescribe,
        Operation::ReplicateKey => Needed::ToReplicate,
        Operation::ListKeys => Needed::ToSearch,
        Operation::AssumeRole => Needed::ToAssume,
        Operation::ScheduleKeyDeletion => Needed::ToDelete,
        Operation::CancelKeyDeletion | Operation::EnableKey => Needed::ToRestore,
        Operation::GetRole
        | Operation::GetRolePolicy
        | Operation::SimulatePrincipalPolicy
        | Operation::CreateRole
        | Operation::UpdateAssumeRolePolicy
        | Operation::PutRolePolicy
        | Operation::DeleteRolePolicy
        | Operation::DeleteRole => Needed::ForCloudRoles,
        Operation::GetCallerIdentity => Needed::Undeniable,
    }
}

/// How the refusal of an action is shown: the reason of the object, the condition to blame, and what to do.
fn shown(action: &str, needed: Needed) -> (&'static str, &'static str, String) {
    match needed {
        Needed::ToAssume => {
            let fix = "To do: let the role arn:aws:iam::111111111111:role/team trust the operator's principal with the External ID in status.aws.externalId, and let that principal call sts:AssumeRole";
            ("RoleNotAssumable", "CredentialsValid", fix.to_owned())
        }
        _ => {
            ("AccessDenied", "KeysReady or PoliciesReady", format!("To do: let the operator's principal call {action}"))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_that_is_denied_is_named_and_asked_for() {
    let all_there_are = Operation::ALL.map(|operation| (operation.action(), needed(operation)));
    let elsewhere = [Needed::Undeniable, Needed::ForCloudRoles];
    let deniable = all_there_are.into_iter().filter(|(_, needed)| !elsewhere.contains(needed)).collect();
    all(deniable, |(action, needed)| async move {
        let scene = Scene::started("permission").await;
        let denied = |denied| json!({ "set_denied": { "principal": "*", "action": action, "denied": denied } });
        scene.apply(&scene.secret()).await.unwrap();
        let mut key = scene.key(&[REGION]);
        match needed {
            Needed::Always | Needed::Undeniable | Needed::ForCloudRoles => {}
            Needed::ToDescribe => {
                scene.apply(&key).await.unwrap();
                scene.ready("CustomerKey", "key").await;
                key["spec"]["key"]["description"] = json!("another");
            }
            Needed::ToSearch => {
                scene.fault(&json!({ "operation": "kms:CreateKey", "nth": 1 }), &json!("lost_before")).await
            }
            Needed::ToReplicate => {
                key = scene.key(&[REGION, "eu-west-1"]);
                key["spec"]["key"]["multiRegion"] = json!({ "primaryRegion": REGION });
            }
            Needed::ToAssume => {
                let role = "arn:aws:iam::111111111111:role/team";
                let trust = json!({ "principals": [], "external_ids": [format!("cmk:test:{}", scene.namespace)] });
                scene.command(&json!({ "create_principal": { "arn": role, "trust": trust } })).await;
                key["spec"]["aws"]["roleArn"] = json!(role);
            }
            Needed::ToDelete => {
                scene.command(&denied(true)).await;
                return deletion_is_refused(&scene, action, &denied(false)).await;
            }
            Needed::ToRestore => return restoring_is_refused(&scene, action, &denied(true), &denied(false)).await,
        }
        scene.command(&denied(true)).await;
        scene.apply(&key).await.unwrap();
        let (reason, condition, fix) = shown(action, needed);
        let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", reason).await;
        let message = find(&key, "Stalled").unwrap()["message"].as_str().unwrap();
        if !message.contains(&fix) || !message.contains(action) {
            return Err(format!("{action}: the message does not say {fix:?}: {message}"));
        }
        // One condition says what is wrong; the others follow from it.
        let about: Vec<&Value> = key["status"]["conditions"].as_array().unwrap().iter().collect();
        let of_the_whole = ["Ready", "Stalled", "Reconciling"];
        let blamed: Vec<_> = about
            .into_iter()
            .filter(|c| c["status"] == "False" && c["reason"] == reason)
            .filter(|c| !of_the_whole.contains(&c["type"].as_str().unwrap()))
            .collect();
        if blamed.len() != 1 || !condition.contains(blamed[0]["type"].as_str().unwrap()) {
            return Err(format!("{action}: {} conditions blame it: {blamed:#?}", blamed.len()));
        }
        scene.command(&denied(false)).await;
        scene.ready("CustomerKey", "key").await;
        let keys = scene.state().await["keys"].as_object().unwrap().len();
        let expected = if needed == Needed::ToReplicate { 2 } else { 1 };
        if keys == expected { Ok(()) } else { Err(format!("{action}: {keys} keys")) }
    })
    .await;
}

/// A key whose end was confirmed.
async fn ended(scene: &Scene) {
    // Of a key that was never registered; one that was is never deleted.
    deletion::unregistered(scene, &[REGION]).await;
    deletion::delete(scene, "CustomerKey", "key").await;
    let object = scene
        .until("a token is shown", || async {
            let key = scene.get("CustomerKey", "key").await;
            if key["status"]["deletion"]["confirmationToken"].is_string() { Ok(key) } else { Err(key.to_string()) }
        })
        .await;
    deletion::annotate(scene, "CustomerKey", "key", &deletion::token(&object)).await;
}

/// A key that the operator scheduled for deletion, declared again, and that it may not restore.
async fn restoring_is_refused(scene: &Scene, action: &str, denied: &Value, granted: &Value) -> Result<(), String> {
    ended(scene).await;
    deletion::gone(scene, "CustomerKey", "key").await;
    scene.command(denied).await;
    scene.apply(&deletion::mortal(scene, &[REGION])).await.unwrap();
    let fix = format!("To do: let the operator's principal call {action}");
    scene
        .until(&format!("{action} is asked for"), || async {
            let key = scene.get("CustomerKey", "key").await;
            let asked = find(&key, "KeysReady").is_some_and(|c| {
                c["status"] == "False" && c["reason"] == "AccessDenied" && c["message"].as_str().unwrap().contains(&fix)
            });
            if asked { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    scene.command(granted).await;
    scene
        .until("the key is restored", || async {
            let key = scene.get("CustomerKey", "key").await;
            if key["status"]["regions"][0]["keyState"] == "Enabled" { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    let keys = scene.state().await["keys"].as_object().unwrap().len();
    if keys == 1 { Ok(()) } else { Err(format!("{action}: {keys} keys")) }
}

/// The end of a key that was confirmed, and that the operator may not schedule: the object stays and says so.
async fn deletion_is_refused(scene: &Scene, action: &str, granted: &Value) -> Result<(), String> {
    ended(scene).await;
    let fix = format!("To do: let the operator's principal call {action}");
    scene
        .until("the deletion is blocked by the refusal", || async {
            let key = scene.get("CustomerKey", "key").await;
            let said = key["status"]["deletion"]["blockedBy"].to_string().contains(&fix);
            let stalled = find(&key, "Stalled").is_some_and(|c| c["status"] == "True");
            if said && stalled { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    scene.command(granted).await;
    deletion::gone(scene, "CustomerKey", "key").await;
    let state = scene.state().await;
    let doomed = state["keys"].as_object().unwrap().values().all(|key| key["state"] == "PendingDeletion");
    if doomed { Ok(()) } else { Err(format!("{action}: {}", state["keys"])) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_in_trouble_does_not_hold_up_another() {
    let scene = Scene::started("regions").await;
    let (healthy, down, slow) = ("us-east-1", "eu-west-1", "ap-southeast-1");
    scene.fault(&json!({ "operation": "kms:*", "region": down }), &json!({ "http500": { "applied": false } })).await;
    scene.fault(&json!({ "operation": "kms:*", "region": slow }), &json!({ "throttle": {} })).await;
    // It is the first by name; whom AWS takes the operator for, the others know as well.
    scene.fault(&json!({ "operation": "sts:*", "region": slow }), &json!({ "http500": { "applied": false } })).await;
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&scene.key(&[healthy, down, slow])).await.unwrap();
    scene.apply(&scene.gate("db", "key", healthy)).await.unwrap();
    // The healthy one is done as if it were alone: its gate opens.
    scene.ready("EncryptedCluster", "db").await;
    let key = scene
        .until("the healthy region is registered, and the others are said to wait", || async {
            let key = scene.get("CustomerKey", "key").await;
            let message = find(&key, "KeysReady").map(|c| c["message"].to_string()).unwrap_or_default();
            let regions = key["status"]["regions"].as_array().cloned().unwrap_or_default();
            let registered = regions.iter().any(|r| r["name"] == healthy && r["registeredKeyArn"].is_string());
            let told = [down, slow].iter().all(|region| message.contains(*region));
            if registered && told { Ok(key) } else { Err(key["status"].to_string()) }
        })
        .await;
    assert_eq!(find(&key, "Ready").unwrap()["status"], "False");
    assert_eq!(find(&key, "Stalled").unwrap()["status"], "False", "it goes on by itself");
    let others = key["status"]["regions"].as_array().unwrap().iter().filter(|r| r["name"] != healthy);
    assert!(others.clone().all(|r| r["registeredKeyArn"].is_null()), "{:#}", key["status"]["regions"]);
    scene.clear_faults().await;
    scene.ready("CustomerKey", "key").await;
    assert_eq!(scene.state().await["keys"].as_object().unwrap().len(), 3);
}

/// An endpoint that takes connections and never answers is the worst of them: whoever waits for it does nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_hangs_does_not_hold_up_another_and_is_named() {
    let mut scene = Scene::new("hanging").await;
    scene.env = vec![("CMK_LOOK_VALID".to_owned(), "4s".to_owned())];
    scene.start();
    // In the order of their names, so that the one that hangs is asked first whom AWS takes the operator for.
    let (healthy, hangs) = ("us-east-1", "eu-west-1");
    for service in ["kms:*", "sts:*"] {
        let silence = json!({ "hang": { "ms": 60_000, "applied": false } });
        scene.fault(&json!({ "operation": service, "region": hangs }), &silence).await;
    }
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&scene.key(&[healthy, hangs])).await.unwrap();
    scene.apply(&scene.gate("db", "key", healthy)).await.unwrap();
    scene.ready("EncryptedCluster", "db").await;
    scene
        .until("the healthy region is registered, and the other is said to hang", || async {
            let key = scene.get("CustomerKey", "key").await;
            let message = find(&key, "KeysReady").map(|c| c["message"].to_string()).unwrap_or_default();
            let regions = key["status"]["regions"].as_array().cloned().unwrap_or_default();
            let registered = regions.iter().any(|r| r["name"] == healthy && r["registeredKeyArn"].is_string());
            let told = message.contains(hangs) && message.contains("no answer within");
            if registered && told { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    scene.clear_faults().await;
    scene.ready("CustomerKey", "key").await;
    assert_eq!(scene.state().await["keys"].as_object().unwrap().len(), 2);

    // And what was ready says what is not known any more, in less time than a pass may take.
    let silence = json!({ "hang": { "ms": 60_000, "applied": false } });
    scene.fault(&json!({ "operation": "kms:*", "region": hangs }), &silence).await;
    let request = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": "now" } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(request)).await.unwrap();
    let told = scene.wait_for("CustomerKey", "key", "Ready", "True", "LastKnown");
    let key = tokio::time::timeout(Duration::from_secs(40), told).await.expect("it is said in time");
    assert_eq!(find(&key, "KeysReady").unwrap()["reason"], "Unreachable");
}
