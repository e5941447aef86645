//! The same files in a rebuilt cluster, and namespaces that have to bring a role of their own.

use aws_sdk_kms::types::Tag;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::aws::administrator;
use crate::support::scene::{Scene, find};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
/// The kube-system uid of the cluster that is gone.
const LOST: &str = "00000000-0000-4000-8000-000000000000";
const HOLDER: &str = "cmk-operator.io/holder";

async fn written(scene: &Scene, mark: u64) -> Vec<Value> {
    let calls = scene.calls_since(mark).await;
    calls.into_iter().filter(|c| c["access"] == "write" && c["principal"] != administrator()).collect()
}

fn arns(key: &Value) -> Vec<&str> {
    key["status"]["regions"].as_array().unwrap().iter().map(|region| region["keyArn"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_cluster_finds_its_keys_and_touches_them_only_once_it_is_allowed_to() {
    let mut scene = Scene::started("rebuilt").await;
    scene.apply(&scene.secret()).await.unwrap();
    let manifest = scene.key(&REGIONS);
    scene.apply(&manifest).await.unwrap();
    let before = scene.ready("CustomerKey", "key").await;
    let api = scene.objects(&scene.namespace, "CustomerKey");
    api.delete("key", &DeleteParams::default()).await.unwrap();
    let gone = || async {
        let there = scene.get("CustomerKey", "key").await;
        if there.is_null() { Ok(()) } else { Err(there.to_string()) }
    };
    scene.until("the object is gone", gone).await;
    assert_eq!(scene.stop().await, Some(0));

    // To the operator a rebuilt cluster is one whose kube-system namespace is another: so the keys say of theirs.
    for (region, arn) in [REGIONS[1], REGIONS[0]].iter().zip(arns(&before)) {
        let kms = scene.administrator(region).await;
        let holder = Tag::builder().tag_key(HOLDER).tag_value(LOST).build().unwrap();
        kms.tag_resource().key_id(arn).tags(holder).send().await.unwrap();
        // In one region only the tags tell of the key.
        if *region == REGIONS[1] {
            let alias = before["status"]["regions"][0]["alias"].as_str().unwrap();
            kms.delete_alias().alias_name(alias).send().await.unwrap();
        }
    }
    let mark = scene.mark().await;
    scene.start();
    scene.apply(&manifest).await.unwrap();
    let held = scene.wait_for("CustomerKey", "key", "Stalled", "True", "HeldByAnotherCluster").await;
    let message = find(&held, "KeysReady").unwrap()["message"].as_str().unwrap();
    for words in [LOST, "--take-over-from", REGIONS[0], REGIONS[1]] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(written(&scene, mark).await, Vec::<Value>::new(), "without the flag nothing is written");

    assert_eq!(scene.stop().await, Some(0));
    scene.extra = vec!["--take-over-from".to_owned(), LOST.to_owned()];
    scene.start();
    let after = scene.ready("CustomerKey", "key").await;
    assert_eq!(arns(&after), arns(&before), "the same keys are found again");
    let created = written(&scene, mark).await.into_iter().filter(|c| c["operation"] == "kms:CreateKey").count();
    assert_eq!(created, 0, "nothing is created");
    for (region, arn) in [REGIONS[1], REGIONS[0]].iter().zip(arns(&after)) {
        let tags = scene.administrator(region).await.list_resource_tags().key_id(arn).send().await.unwrap();
        let holder = tags.tags().iter().find(|tag| tag.tag_key() == HOLDER).unwrap();
        assert_ne!(holder.tag_value(), LOST, "now this cluster holds it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_without_the_right_to_the_operators_own_credentials_has_to_name_a_role() {
    let mut scene = Scene::new("ambient").await;
    scene.extra = vec!["--ambient-namespaces".to_owned(), "platform".to_owned()];
    scene.start();
    scene.apply_all(&[REGIONS[0]]).await;
    let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "AmbientNotAllowed").await;
    let message = find(&key, "CredentialsValid").unwrap()["message"].as_str().unwrap();
    let external_id = format!("cmk:test:{}", scene.namespace);
    for words in ["spec.aws.roleArn", external_id.as_str(), "--ambient-namespaces"] {
        assert!(message.contains(words), "{message}");
    }
    scene.wait_for("EncryptedCluster", "db", "Stalled", "True", "AmbientNotAllowed").await;
    assert_eq!(
        scene.calls().await,
        Vec::<Value>::new(),
        "nobody is asked anything with credentials that are not theirs"
    );

    // With a role of its own it goes on.
    let role = "arn:aws:iam::111111111111:role/team";
    let trust = json!({ "principals": [], "external_ids": [external_id] });
    scene.command(&json!({ "create_principal": { "arn": role, "trust": trust } })).await;
    let mut key = scene.key(&[REGIONS[0]]);
    key["spec"]["aws"]["roleArn"] = json!(role);
    scene.apply(&key).await.unwrap();
    scene.all_ready().await;
}
