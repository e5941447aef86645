//! The resulting key policy, and the kinds of database that it is for.

use serde_json::{Value, json};

use crate::support::scene::{ORGANIZATION, Scene, find};

/// The policy of a key with the parts that differ from scene to scene made equal: the hash in statement ids.
pub fn comparable(policy: &Value) -> Value {
    let mut policy = policy.clone();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        let sid = statement["Sid"].as_str().unwrap().to_owned();
        let (mark, label) = (sid.get(..4).unwrap(), sid.get(12..).unwrap());
        assert_eq!(mark, "cmk ", "{sid} is not marked as ours");
        statement["Sid"] = json!(format!("cmk HASH{label}"));
    }
    policy
}

/// A golden policy; null if there is no such file.
pub fn expected(golden: &str) -> Value {
    let path = format!("{}/tests/cluster/golden/{golden}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default()
}

/// Brings one region of a kind of database to its end and compares its policy with the golden one.
async fn check(database_type: &str, tier: &str, golden: &str) {
    let scene = Scene::new(&format!("golden-{}", database_type.to_lowercase())).await;
    // Two accounts of the vendor, in no order: every one has to be in the policy.
    let accounts = json!({ "set_accounts": { "org": ORGANIZATION, "region": "us-east-1", "accounts": ["900000000077", "900000000011"] } });
    scene.command(&accounts).await;
    let mut scene = scene;
    scene.start();
    let mut key = scene.key(&["us-east-1"]);
    key["spec"]["upstream"]["astra"]["databaseType"] = json!(database_type);
    key["spec"]["policy"] =
        json!({ "administrators": [format!("arn:aws:iam::{}:root", crate::support::scene::ACCOUNT)] });
    let mut cluster = scene.cluster(&["us-east-1"]);
    cluster["spec"]["deployment"]["astra"]["tier"] = json!(tier);
    for object in [scene.secret(), key, cluster] {
        scene.apply(&object).await.unwrap();
    }
    let (key, _) = scene.all_ready().await;
    let arn = key["status"]["regions"][0]["keyArn"].as_str().unwrap();
    let policy = comparable(&scene.state().await["keys"][arn]["policy"]);
    assert_eq!(policy, expected(golden), "{golden} is not the policy that came out:\n{policy:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serverless_key_gets_the_golden_policy() {
    check("Serverless", "serverless", "astra-serverless.json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_key_gets_the_golden_policy() {
    check("Classic", "D10", "astra-classic.json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_classic_databases_cannot_be_created_by_api_the_open_gate_is_the_product() {
    let mut scene = Scene::new("portal").await;
    scene
        .command(&json!({ "patch_org_settings": { "org": ORGANIZATION, "settings": { "refuse_classic": true } } }))
        .await;
    scene.start();
    let mut key = scene.key(&["us-east-1"]);
    key["spec"]["upstream"]["astra"]["databaseType"] = json!("Classic");
    let mut cluster = scene.cluster(&["us-east-1"]);
    cluster["spec"]["deployment"]["astra"]["tier"] = json!("D10");
    for object in [scene.secret(), key, cluster] {
        scene.apply(&object).await.unwrap();
    }
    let cluster = scene.wait_for("EncryptedCluster", "db", "Deployed", "False", "CreateByPortal").await;
    assert_eq!(find(&cluster, "GateOpen").unwrap()["status"], "True");
    assert_eq!(find(&cluster, "Ready").unwrap()["reason"], "AwaitingAction");
    assert_eq!(find(&cluster, "Stalled").unwrap()["status"], "False");
    assert!(find(&cluster, "Deployed").unwrap()["message"].as_str().unwrap().contains("portal"));
}
