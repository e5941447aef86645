//! Each right that is missing in AWS, one by one: said once, by the name of the action, and over when it is granted. And
//! regions that have trouble of their own while the others go on.

use serde_json::{Value, json};

use super::crash::all;
use crate::support::scene::{Scene, find};

const REGION: &str = "us-east-1";

/// When an action is needed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needed {
    /// On the way to a key that is ready.
    Always,
    /// When the description differs from the spec.
    ToDescribe,
    /// When the reply to CreateKey was lost, and its key is looked for among all there are.
    ToSearch,
}

const ACTIONS: [(&str, Needed); 12] = [
    ("kms:CreateKey", Needed::Always),
    ("kms:TagResource", Needed::Always),
    ("kms:CreateAlias", Needed::Always),
    ("kms:DescribeKey", Needed::Always),
    ("kms:GetKeyPolicy", Needed::Always),
    ("kms:PutKeyPolicy", Needed::Always),
    ("kms:GetKeyRotationStatus", Needed::Always),
    ("kms:EnableKeyRotation", Needed::Always),
    ("kms:ListResourceTags", Needed::Always),
    ("tag:GetResources", Needed::Always),
    ("kms:UpdateKeyDescription", Needed::ToDescribe),
    ("kms:ListKeys", Needed::ToSearch),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_action_that_is_denied_is_named_and_asked_for() {
    all(ACTIONS.to_vec(), |(action, needed)| async move {
        let scene = Scene::started("permission").await;
        let denied = |denied| json!({ "set_denied": { "principal": "*", "action": action, "denied": denied } });
        scene.apply(&scene.secret()).await.unwrap();
        let mut key = scene.key(&[REGION]);
        match needed {
            Needed::Always => {}
            Needed::ToDescribe => {
                scene.apply(&key).await.unwrap();
                scene.ready("CustomerKey", "key").await;
                key["spec"]["key"]["description"] = json!("another");
            }
            Needed::ToSearch => {
                scene.fault(&json!({ "operation": "kms:CreateKey", "nth": 1 }), &json!("lost_before")).await
            }
        }
        scene.command(&denied(true)).await;
        scene.apply(&key).await.unwrap();
        let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "AccessDenied").await;
        let message = find(&key, "Stalled").unwrap()["message"].as_str().unwrap();
        let fix = format!("To do: let the operator's principal call {action}");
        if !message.contains(&fix) {
            return Err(format!("{action}: the message does not say {fix:?}: {message}"));
        }
        // One condition says what is wrong; the others follow from it.
        let about: Vec<&Value> = key["status"]["conditions"].as_array().unwrap().iter().collect();
        let of_the_whole = ["Ready", "Stalled", "Reconciling"];
        let blamed: Vec<_> = about
            .into_iter()
            .filter(|c| c["status"] == "False" && c["reason"] == "AccessDenied")
            .filter(|c| !of_the_whole.contains(&c["type"].as_str().unwrap()))
            .collect();
        if blamed.len() != 1 {
            return Err(format!("{action}: {} conditions blame it: {blamed:#?}", blamed.len()));
        }
        scene.command(&denied(false)).await;
        scene.ready("CustomerKey", "key").await;
        let keys = scene.state().await["keys"].as_object().unwrap().len();
        if keys == 1 { Ok(()) } else { Err(format!("{action}: {keys} keys")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_in_trouble_does_not_hold_up_another() {
    let scene = Scene::started("regions").await;
    let (healthy, down, slow) = ("us-east-1", "eu-west-1", "ap-southeast-1");
    scene.fault(&json!({ "operation": "kms:*", "region": down }), &json!({ "http500": { "applied": false } })).await;
    scene.fault(&json!({ "operation": "kms:*", "region": slow }), &json!({ "throttle": {} })).await;
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
