//! `managementPolicy: Observe`: it tells what it finds, opens gates if all of it is right, and writes nothing anywhere.

use serde_json::{Value, json};

use super::adopt::{CONSENT, REGION, adopting, by_hand, looked_twice, put_statements, statements, tag};
use crate::support::scene::{ORGANIZATION, Scene, TOKEN, find};

/// So that every depth of look comes round within seconds.
const LOOKS: [&str; 6] = ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "3s"];

fn observed(mut key: Value) -> Value {
    key["spec"]["managementPolicy"] = json!("Observe");
    key
}

/// The statements that the vendor's guide demands, in somebody else's words.
async fn for_the_cloud(scene: &Scene) -> [Value; 2] {
    let url = format!("{}/v2/kms/provider/aws/region/{REGION}/accounts", scene.astra);
    let accounts: Value = scene.http.get(url).bearer_auth(TOKEN).send().await.unwrap().json().await.unwrap();
    let roles: Vec<String> = accounts
        .as_array()
        .unwrap()
        .iter()
        .map(|a| format!("arn:aws:iam::{}:role/creator", a["provider_id"].as_str().unwrap()))
        .collect();
    let statement = |sid: &str, actions: &[&str]| {
        let actions: Vec<String> = actions.iter().map(|name| format!("kms:{name}")).collect();
        json!({ "Sid": sid, "Effect": "Allow", "Principal": { "AWS": roles }, "Action": actions, "Resource": "*" })
    };
    let uses = ["EnableKey", "Encrypt", "Decrypt", "GenerateDataKey*", "ReEncrypt*", "DescribeKey"];
    let mut grants = statement("Terraform grants", &["CreateGrant", "ListGrants", "RevokeGrant"]);
    grants["Condition"] = json!({ "Bool": { "kms:GrantIsForAWSResource": "true" } });
    [statement("Terraform use", &uses), grants]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_observed_is_never_written_to_and_opens_its_gate_when_all_is_right() {
    let mut scene = Scene::new("observe").await;
    scene.extra = LOOKS.map(ToOwned::to_owned).to_vec();
    scene.start();
    // Nothing is there, and nothing is made; what somebody has to do is said.
    let mut bare = observed(scene.tenant("bare", 1, REGION).await);
    bare["spec"]["key"]["description"] = json!("never made");
    scene.apply(&bare).await.unwrap();
    let key = scene.wait_for("CustomerKey", "bare", "KeysReady", "False", "OnlyObserved").await;
    assert_eq!(find(&key, "Ready").unwrap()["reason"], "AwaitingAction");
    let message = find(&key, "KeysReady").unwrap()["message"].as_str().unwrap();
    for words in ["create a KMS key", "managementPolicy", "To do: do it by other means"] {
        assert!(message.contains(words), "{words}: {message}");
    }

    // A key of somebody else's, who consents; the rest comes bit by bit, by hand.
    let kms = scene.administrator(REGION).await;
    let arn = by_hand(&kms).await;
    kms.tag_resource().key_id(&arn).tags(tag(CONSENT, &format!("test/{}/key", scene.namespace))).send().await.unwrap();
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&observed(adopting(scene.key(&[REGION]), &arn))).await.unwrap();
    scene.apply(&scene.gate("gate", "key", REGION)).await.unwrap();
    scene.apply(&scene.cluster(&[REGION])).await.unwrap();
    let key = scene.wait_for("CustomerKey", "key", "PoliciesReady", "False", "OnlyObserved").await;
    let message = find(&key, "PoliciesReady").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("the key policy is not written"), "{message}");
    scene.wait_for("EncryptedCluster", "gate", "GateOpen", "False", "*").await;

    let mut all = statements(&kms, &arn).await;
    all.extend(for_the_cloud(&scene).await);
    put_statements(&kms, &arn, &all).await;
    let key = scene.wait_for("CustomerKey", "key", "Registered", "False", "OnlyObserved").await;
    assert_eq!(find(&key, "PoliciesReady").unwrap()["status"], "True", "whose statements they are does not matter");
    assert!(find(&key, "Registered").unwrap()["message"].as_str().unwrap().contains(&format!("register {arn}")));
    let closed = scene.get("EncryptedCluster", "gate").await;
    assert_eq!(find(&closed, "GateOpen").unwrap()["status"], "False");

    let register = json!({ "org": ORGANIZATION, "kind": "serverless", "region": REGION, "arn": arn });
    scene.command(&json!({ "register": register })).await;
    scene.ready("CustomerKey", "key").await;
    let gate = scene.ready("EncryptedCluster", "gate").await;
    assert_eq!(find(&gate, "GateOpen").unwrap()["status"], "True");
    // Through which somebody else deploys; what this operator would deploy, it does not.
    let db = scene.wait_for("EncryptedCluster", "db", "Deployed", "False", "OnlyObserved").await;
    assert_eq!(find(&db, "GateOpen").unwrap()["status"], "True", "{db:#}");
    assert_eq!(find(&db, "Ready").unwrap()["reason"], "AwaitingAction");
    assert!(find(&db, "Deployed").unwrap()["message"].as_str().unwrap().contains("create database \"db\""), "{db:#}");

    // What is no longer right is told, and shuts the gate.
    put_statements(&kms, &arn, &all[..3]).await;
    scene.wait_for("CustomerKey", "key", "PoliciesReady", "False", "OnlyObserved").await;
    scene.wait_for("EncryptedCluster", "gate", "GateOpen", "False", "*").await;
    looked_twice(&scene, &arn).await;
    put_statements(&kms, &arn, &all).await;
    scene.ready("CustomerKey", "key").await;
    scene.ready("EncryptedCluster", "gate").await;

    // All of this without a write.
    assert_eq!(scene.written(0).await, Vec::<String>::new());
    assert_eq!(scene.state().await["astra"][ORGANIZATION]["databases"], json!([]));

    // A key that the operator made once, under Manage, is recorded again from what is there.
    let manifest = scene.tenant("made", 2, REGION).await;
    scene.apply(&manifest).await.unwrap();
    let made = scene.ready("CustomerKey", "made").await;
    let (mark, arn) = (scene.mark().await, made["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned());
    let keys = scene.objects(&scene.namespace, "CustomerKey");
    keys.delete("made", &kube::api::DeleteParams::default()).await.unwrap();
    let gone = || async {
        let object = scene.get("CustomerKey", "made").await;
        if object.is_null() { Ok(()) } else { Err(object.to_string()) }
    };
    scene.until("the object is gone", gone).await;
    scene.apply(&observed(manifest)).await.unwrap();
    let made = scene.ready("CustomerKey", "made").await;
    assert_eq!(made["status"]["regions"][0]["keyArn"], json!(arn));
    assert_eq!(scene.written(mark).await, Vec::<String>::new());
}
