//! SingleStore by hand-off: what the operator tells a human to do, what it believes of the result, and what it refuses.

use serde_json::{Value, json};

use crate::support::scene::{ACCOUNT, Scene, find};

pub const ORG: &str = "51e5704e-0000-4000-8000-000000000001";
pub const API_KEY: &str = "singlestore-sandbox-api-key";
const REGION: &str = "us-east-1";
const ELSEWHERE: &str = "eu-west-1";

/// What a human does or sees in the portal.
pub async fn portal(scene: &Scene, act: &Value) -> Value {
    scene.control_post("/singlestore/portal", act).await
}

/// The policy that the form for a new group suggests in a region.
pub async fn suggested(scene: &Scene, region: &str) -> String {
    let form = json!({ "suggested_policy": { "org": ORG, "region": region } });
    portal(scene, &form).await["key"].to_string()
}

/// Fills in and submits the form for a new group. Yields its id.
pub async fn submitted(scene: &Scene, name: &str, region: &str, data: Option<&str>, backup: Option<&str>) -> String {
    let form = json!({ "create_group": {
        "org": ORG, "name": name, "region": region, "data_key": data, "backup_key": backup,
    } });
    portal(scene, &form).await["workspaceGroupID"].as_str().unwrap().to_owned()
}

pub fn document(name: &str, region: &str, json: &str) -> Value {
    json!({ "name": name, "regions": [region], "json": json })
}

pub fn secret(scene: &Scene) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "singlestore", "namespace": scene.namespace },
        "stringData": { "apiKey": API_KEY },
    })
}

/// A `CustomerKey` for SingleStore with these documents in its policy.
pub fn key(scene: &Scene, name: &str, regions: &[&str], documents: &[Value]) -> Value {
    json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "name": name, "namespace": scene.namespace },
        "spec": {
            "regions": regions.iter().map(|r| json!({ "name": r })).collect::<Vec<_>>(),
            "policy": { "documents": documents },
            "aws": { "accountId": ACCOUNT },
            "upstream": { "singleStore": {
                "acknowledgeRisk": true, "credentialsSecretRef": { "name": "singlestore" },
            } },
        },
    })
}

/// An `EncryptedCluster` of one group.
pub fn cluster(scene: &Scene, regions: &[&str], deployment: &Value) -> Value {
    let mut group = json!({ "name": "orders" });
    for (field, value) in deployment.as_object().unwrap() {
        group[field] = value.clone();
    }
    json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
        "metadata": { "name": "db", "namespace": scene.namespace },
        "spec": {
            "customerKeyRef": { "name": "key" },
            "regions": regions.iter().map(|r| json!({ "name": r })).collect::<Vec<_>>(),
            "primaryRegion": regions[0],
            "deployment": { "singleStore": group },
        },
    })
}

pub fn attested(group: &str, data: &str, backup: &str) -> Value {
    json!({
        "workspaceGroupId": group, "by": "Ann", "date": "2026-01-01",
        "dataBucketKeyArn": data, "backupBucketKeyArn": backup,
    })
}

/// The ARN of a key in a region.
pub fn arn(key: &Value, region: &str) -> String {
    let regions = key["status"]["regions"].as_array().unwrap();
    let region = regions.iter().find(|r| r["name"] == region).unwrap();
    region["keyArn"].as_str().unwrap().to_owned()
}

/// What humans are told to do, as `title: paste`.
pub fn steps(object: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = object["status"]["humanSteps"].as_array().cloned().unwrap_or_default();
    steps.iter().map(|step| (text(&step["title"]), text(&step["paste"]))).collect()
}

fn titles(object: &Value) -> Vec<String> {
    steps(object).into_iter().map(|(title, _)| title).collect()
}

fn message<'v>(object: &'v Value, condition: &str) -> &'v str {
    find(object, condition).unwrap()["message"].as_str().unwrap()
}

/// A key whose policy the portal has suggested, ready.
async fn ready_key(scene: &Scene, region: &str) -> String {
    scene.apply(&secret(scene)).await.unwrap();
    let policy = suggested(scene, region).await;
    scene.apply(&key(scene, "key", &[region], &[document("portal", region, &policy)])).await.unwrap();
    arn(&scene.ready("CustomerKey", "key").await, region)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_handed_off_in_two_phases_then_bound_and_attested() {
    let scene = Scene::started("s2hand").await;
    scene.apply(&secret(&scene)).await.unwrap();
    // Nobody has been to the portal yet.
    scene.apply(&key(&scene, "key", &[REGION], &[])).await.unwrap();
    scene.apply(&cluster(&scene, &[REGION], &json!({}))).await.unwrap();
    let shown = scene.wait_for("CustomerKey", "key", "PoliciesReady", "False", "AwaitingAction").await;
    assert_eq!(find(&shown, "Ready").unwrap()["reason"], "AwaitingAction", "{shown:#}");
    assert_eq!(find(&shown, "KeysReady").unwrap()["status"], "True", "the key is made meanwhile");
    assert_eq!(find(&shown, "Stalled").unwrap()["status"], "False", "it is the normal course");
    assert_eq!(titles(&shown), ["Open the form", "Copy the policy", "Keep the form open"]);
    assert!(message(&shown, "PoliciesReady").contains("1. open the form"), "{shown:#}");
    let waiting = scene.wait_for("EncryptedCluster", "db", "GateOpen", "False", "AwaitingAction").await;
    assert_eq!(titles(&waiting), titles(&shown), "the cluster says the same");
    let (_, text) = super::commands::why(&scene, &["ck/key"]).await;
    for words in ["step 1 for a human: us-east-1: Open the form", "step 3 for a human", "json: |"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let made = arn(&shown, REGION);
    assert!(!waiting["status"]["humanSteps"].to_string().contains(&made), "no ARN before the gate is open");

    // Phase 1: the policy goes from the form into the spec, word for word.
    let policy = suggested(&scene, REGION).await;
    scene.apply(&key(&scene, "key", &[REGION], &[document("portal", REGION, &policy)])).await.unwrap();
    let shown = scene.ready("CustomerKey", "key").await;
    assert!(titles(&shown).is_empty(), "{shown:#}");
    let data = arn(&shown, REGION);
    assert_eq!(data, made, "it is still the same key");

    // Phase 2: the ARNs go into the form.
    let shown = scene.wait_for("EncryptedCluster", "db", "Deployed", "False", "AwaitingAction").await;
    assert_eq!(find(&shown, "GateOpen").unwrap()["status"], "True", "{shown:#}");
    let told = steps(&shown);
    let pasted: Vec<&str> = told.iter().map(|(_, paste)| paste.as_str()).collect();
    assert_eq!(pasted, [data.as_str(), data.as_str(), ""], "{told:#?}");
    let group = submitted(&scene, "orders", REGION, Some(pasted[0]), Some(pasted[1])).await;

    // Bound: checked by API, and not claimed to be encrypted.
    scene.apply(&cluster(&scene, &[REGION], &json!({ "workspaceGroupId": group }))).await.unwrap();
    let shown = scene.wait_for("EncryptedCluster", "db", "EncryptionVerified", "Unknown", "AwaitingAttestation").await;
    let shown = match find(&shown, "Deployed").unwrap()["status"].as_str() {
        Some("True") => shown,
        _ => scene.wait_for("EncryptedCluster", "db", "Deployed", "True", "DeployedEverywhere").await,
    };
    assert_eq!(find(&shown, "Ready").unwrap()["reason"], "AwaitingAction");
    assert_eq!(shown["status"]["upstreamId"], json!(group));
    let told = steps(&shown);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].1.contains(&group) && told[0].1.contains(&data), "{told:#?}");

    // An attestation of another key counts for nothing.
    let other = format!("{}0", &data[..data.len() - 1]);
    let bound = |attested: &Value| json!({ "workspaceGroupId": group, "attested": attested });
    scene.apply(&cluster(&scene, &[REGION], &bound(&attested(&group, &data, &other)))).await.unwrap();
    scene
        .until("the other key is named", || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            let said = message(&shown, "EncryptionVerified");
            let named = said.contains(&other) && said.contains("backup bucket") && said.contains("Ann");
            if named { Ok(()) } else { Err(shown["status"].to_string()) }
        })
        .await;
    // Of another group the schema itself takes none.
    let elsewhere = attested("00000000-0000-4000-8000-000000000000", &data, &data);
    let refused = scene.apply(&cluster(&scene, &[REGION], &bound(&elsewhere))).await.unwrap_err();
    assert!(refused.to_string().contains("what was attested is another group"), "{refused}");

    // What the portal shows, to the letter.
    let tab = portal(&scene, &json!({ "security_tab": { "org": ORG, "group": group } })).await;
    let seen = |bucket: &str| tab[bucket]["keyArn"].as_str().unwrap().to_owned();
    let truth = attested(&group, &seen("data"), &seen("backup"));
    scene.apply(&cluster(&scene, &[REGION], &bound(&truth))).await.unwrap();
    let shown = scene.ready("EncryptedCluster", "db").await;
    let verified = find(&shown, "EncryptionVerified").unwrap();
    assert_eq!((&verified["status"], &verified["reason"]), (&json!("True"), &json!("Attested")));
    assert!(message(&shown, "EncryptionVerified").contains("as attested by Ann on 2026-01-01"), "{shown:#}");
    assert!(titles(&shown).is_empty(), "{shown:#}");

    // The operator has made nothing at SingleStore, and the state was seen five times before it was believed.
    let calls = scene.calls().await;
    let of = |operation: &str| calls.iter().filter(|c| c["operation"] == operation).count();
    assert_eq!(of("singlestore:CreateWorkspaceGroup"), 0);
    assert!(of("singlestore:GetWorkspaceGroup") >= 5, "{}", of("singlestore:GetWorkspaceGroup"));
    let state = scene.state().await;
    let groups = state["singlestore"][ORG]["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0]["encrypted_with"], json!({ "data": data, "backup": data }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_in_another_region_than_the_key_is_refused_and_both_are_named() {
    let scene = Scene::started("s2where").await;
    let data = ready_key(&scene, REGION).await;
    let group = submitted(&scene, "orders", ELSEWHERE, None, None).await;
    let bound = json!({ "workspaceGroupId": group, "attested": attested(&group, &data, &data) });
    scene.apply(&cluster(&scene, &[REGION], &bound)).await.unwrap();
    let shown = scene.wait_for("EncryptedCluster", "db", "Deployed", "False", "WrongRegion").await;
    let said = message(&shown, "Deployed");
    for words in [ELSEWHERE, REGION, &group] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(find(&shown, "Stalled").unwrap()["status"], "True");
    let verified = find(&shown, "EncryptionVerified").unwrap();
    assert_eq!(verified["status"], "Unknown", "whatever was attested: {verified}");
    assert!(titles(&shown).is_empty(), "nobody is asked to attest it: {shown:#}");
}
