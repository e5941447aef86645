//! Keys in several AWS accounts, each reached through a role of its own, in one process: what goes wrong in one account is
//! no other's business.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::scene::{ACCOUNT, Scene, find};

const REGION: &str = "us-east-1";
const FIRST: &str = "222222222222";
const SECOND: &str = "333333333333";

fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/team")
}

/// The role of an account, which trusts the operator with the namespace's External ID.
async fn open(scene: &Scene, account: &str) {
    let external_id = format!("cmk:test:{}", scene.namespace);
    let trust = json!({ "principals": [ACCOUNT], "external_ids": [external_id] });
    scene.command(&json!({ "create_principal": { "arn": role(account), "trust": trust } })).await;
}

/// A key in an account, with an organization of its own.
async fn key(scene: &Scene, name: &str, number: u32, account: &str) -> Value {
    let mut key = scene.tenant(name, number, REGION).await;
    key["spec"]["aws"] = json!({ "accountId": account, "roleArn": role(account) });
    key
}

/// What was written into an account, in order, without ids.
fn written(calls: &[Value], account: &str) -> Vec<String> {
    let of_account = calls.iter().filter(|c| c["account"] == account && c["access"] == "write" && c["outcome"] == "ok");
    of_account.map(|c| format!("{} {}", c["operation"].as_str().unwrap(), c["region"])).collect()
}

/// Every call of KMS and the tagging API was made as the role of the account that it went to, and about nothing else.
fn apart(calls: &[Value]) {
    let of_aws = calls.iter().filter(|c| c["service"] == "kms" || c["service"] == "tag" || c["service"] == "tagging");
    let mut accounts: BTreeMap<&str, usize> = BTreeMap::new();
    for call in of_aws {
        let account = call["account"].as_str().unwrap();
        assert_eq!(call["principal"], role(account), "{call}");
        let resource = call["resource"].as_str().unwrap_or_default();
        assert!(!resource.starts_with("arn:") || resource.split(':').nth(4) == Some(account), "{call}");
        *accounts.entry(account).or_default() += 1;
    }
    assert_eq!(accounts.keys().copied().collect::<Vec<_>>(), [FIRST, SECOND], "{accounts:?}");
}

/// What the second account's key is like when nobody else is there.
async fn alone() -> Vec<String> {
    let scene = Scene::started("accountalone").await;
    open(&scene, SECOND).await;
    scene.apply(&key(&scene, "second", 2, SECOND).await).await.unwrap();
    scene.ready("CustomerKey", "second").await;
    written(&scene.calls().await, SECOND)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_keeps_accounts_apart_whatever_goes_wrong_in_one() {
    let alone = alone().await;
    assert!(alone.iter().any(|call| call.starts_with("kms:CreateKey")), "{alone:?}");
    let denied = json!({ "error": { "status": 400, "code": "AccessDeniedException", "message": "denied" } });
    let expired = json!({ "error": { "status": 400, "code": "ExpiredTokenException", "message": "expired" } });
    for (name, operation, fault, reason) in [
        ("throttled", "kms:CreateKey", json!({ "throttle": {} }), "CreatingKey"),
        ("denied", "kms:CreateKey", denied, "AccessDenied"),
        ("broken", "kms:*", json!({ "http500": { "applied": false } }), "Unreachable"),
        ("expired", "kms:*", expired, "AwsCredentialsInvalid"),
    ] {
        let scene = Scene::started(&format!("account{name}")).await;
        open(&scene, FIRST).await;
        open(&scene, SECOND).await;
        scene.fault(&json!({ "operation": operation, "account": FIRST }), &fault).await;
        scene.apply(&key(&scene, "first", 1, FIRST).await).await.unwrap();
        let met = || async {
            let first = scene.get("CustomerKey", "first").await;
            let said = first["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["reason"] == reason);
            if said && scene.fired().await[0] > 1 { Ok(()) } else { Err(first["status"].to_string()) }
        };
        scene.until(&format!("the first account is {name}"), met).await;
        scene.apply(&key(&scene, "second", 2, SECOND).await).await.unwrap();
        scene.ready("CustomerKey", "second").await;
        let calls = scene.calls().await;
        assert_eq!(written(&calls, SECOND), alone, "{name}: the second account goes on as if alone");
        assert_eq!(written(&calls, FIRST), Vec::<String>::new(), "{name}");
        let first = scene.get("CustomerKey", "first").await;
        assert_eq!(find(&first, "Ready").unwrap()["status"], "False", "{name}");

        scene.clear_faults().await;
        scene.ready("CustomerKey", "first").await;
        let calls = scene.calls().await;
        apart(&calls);
        assert_eq!(written(&calls, SECOND), alone, "{name}: nor does it hear of the first one's recovery");
        assert_eq!(written(&calls, FIRST), alone, "{name}: and that one is done as well");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_nothing_any_more_stops_its_own_account_alone() {
    let mut scene = Scene::new("accountrole").await;
    scene.extra =
        ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "3s"].map(ToOwned::to_owned).to_vec();
    scene.start();
    open(&scene, FIRST).await;
    open(&scene, SECOND).await;
    let (first, mut second) = (key(&scene, "first", 1, FIRST).await, key(&scene, "second", 2, SECOND).await);
    for key in [&first, &second] {
        scene.apply(key).await.unwrap();
    }
    scene.ready("CustomerKey", "first").await;
    scene.ready("CustomerKey", "second").await;
    // The role may do nothing any more.
    let denied = |denied| json!({ "set_denied": { "principal": role(FIRST), "action": "kms:*", "denied": denied } });
    scene.command(&denied(true)).await;
    scene.wait_for("CustomerKey", "first", "Stalled", "True", "AccessDenied").await;
    // What is changed of the second key meanwhile is done.
    second["spec"]["key"]["description"] = json!("still kept");
    scene.apply(&second).await.unwrap();
    let kept = || async {
        let state = scene.state().await;
        let keys = state["keys"].as_object().unwrap();
        let done = keys.iter().any(|(arn, key)| arn.contains(SECOND) && key["description"] == "still kept");
        if done { Ok(()) } else { Err(format!("{keys:#?}")) }
    };
    scene.until("the second key is kept", kept).await;
    scene.ready("CustomerKey", "second").await;
    scene.command(&denied(false)).await;
    scene.ready("CustomerKey", "first").await;
    assert!(scene.is_running(), "without a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_of_one_account_hold_up_no_key_of_another() {
    const MANY: u32 = 8;
    let mut scene = Scene::new("accountquota").await;
    // One creation a second in each account is the operator's share of the five that AWS allows.
    scene.extra = ["--quota-share", "0.2"].map(ToOwned::to_owned).to_vec();
    open(&scene, FIRST).await;
    open(&scene, SECOND).await;
    let mut keys = Vec::new();
    for number in 0..MANY {
        keys.push(key(&scene, &format!("first-{number}"), 10 + number, FIRST).await);
    }
    let second = key(&scene, "second", 2, SECOND).await;
    for key in &keys {
        scene.apply(key).await.unwrap();
    }
    scene.apply(&second).await.unwrap();
    scene.start();
    scene.ready("CustomerKey", "second").await;
    for number in 0..MANY {
        scene.ready("CustomerKey", &format!("first-{number}")).await;
    }
    let calls = scene.calls().await;
    let created = |account: &str| -> Vec<u64> {
        let of = calls.iter().filter(|c| c["operation"] == "kms:CreateKey" && c["account"] == account);
        of.filter(|c| c["outcome"] == "ok").map(|c| c["seq"].as_u64().unwrap()).collect()
    };
    let (first, second) = (created(FIRST), created(SECOND));
    assert_eq!((first.len(), second.len()), (MANY as usize, 1));
    assert!(second[0] < first[MANY as usize - 1], "the second account waited for the first: {second:?} {first:?}");
    let throttled = calls.iter().filter(|c| c["operation"] == "kms:CreateKey" && c["outcome"] != "ok").count();
    assert_eq!(throttled, 0, "the operator keeps to its share in each account");
}
