//! The same files in a rebuilt cluster, and namespaces that have to bring a role of their own.

use aws_sdk_kms::types::Tag;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::aws::administrator;
use crate::support::scene::{Scene, find};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
/// The kube-system uid of the cluster that is gone.
pub const LOST: &str = "00000000-0000-4000-8000-000000000000";
pub const HOLDER: &str = "cmk-operator.io/holder";

async fn written(scene: &Scene, mark: u64) -> Vec<Value> {
    let calls = scene.calls_since(mark).await;
    calls.into_iter().filter(|c| c["access"] == "write" && c["principal"] != administrator()).collect()
}

fn arns(key: &Value) -> Vec<&str> {
    key["status"]["regions"].as_array().unwrap().iter().map(|region| region["keyArn"].as_str().unwrap()).collect()
}

/// Deletes both objects, which under Retain leaves everything outside as it is.
async fn delete_both(scene: &Scene) {
    for (kind, name) in [("EncryptedCluster", "db"), ("CustomerKey", "key")] {
        scene.objects(&scene.namespace, kind).delete(name, &DeleteParams::default()).await.unwrap();
        let gone = || async {
            let there = scene.get(kind, name).await;
            if there.is_null() { Ok(()) } else { Err(there.to_string()) }
        };
        scene.until("the object is gone", gone).await;
    }
}

/// That nothing was made since then.
async fn nothing_created(scene: &Scene, mark: u64) {
    let making = ["kms:CreateKey", "astra:CreateKey", "astra:CreateDatabase", "astra:AddDatacenters"];
    let made: Vec<Value> = written(scene, mark)
        .await
        .into_iter()
        .filter(|call| making.contains(&call["operation"].as_str().unwrap()))
        .collect();
    assert_eq!(made, Vec::<Value>::new(), "nothing is created");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_files_applied_again_find_the_same_keys_and_the_same_database() {
    let scene = Scene::started("again").await;
    scene.apply_all(&REGIONS).await;
    let (key, cluster) = scene.all_ready().await;
    delete_both(&scene).await;
    let mark = scene.mark().await;
    scene.apply_all(&REGIONS).await;
    let (key_again, cluster_again) = scene.all_ready().await;
    assert_ne!(key_again["metadata"]["uid"], key["metadata"]["uid"], "these are other objects");
    assert_eq!(arns(&key_again), arns(&key));
    assert_eq!(cluster_again["status"]["upstreamId"], cluster["status"]["upstreamId"]);
    assert!(cluster["status"]["upstreamId"].is_string());
    nothing_created(&scene, mark).await;
    // The cloud's word is as good as before: the note of the registration's moment is on the key as well.
    assert_eq!(find(&cluster_again, "EncryptionVerified").unwrap()["reason"], "ByOrder");

    // Somebody else's cluster, with another name, does not come by the database.
    let mut other = scene.cluster(&REGIONS);
    other["metadata"]["name"] = json!("other");
    scene.apply(&other).await.unwrap();
    let other = scene.wait_for("EncryptedCluster", "other", "Stalled", "True", "DatabaseConflict").await;
    assert_eq!(other["status"]["upstreamId"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_cluster_finds_its_keys_and_database_and_touches_them_only_once_it_is_allowed_to() {
    let mut scene = Scene::started("rebuilt").await;
    scene.apply_all(&REGIONS).await;
    let (before, database) = scene.all_ready().await;
    delete_both(&scene).await;
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
    scene.apply_all(&REGIONS).await;
    scene.wait_for("EncryptedCluster", "db", "Stalled", "True", "HeldByAnotherCluster").await;
    let held = scene.wait_for("CustomerKey", "key", "Stalled", "True", "HeldByAnotherCluster").await;
    let message = find(&held, "KeysReady").unwrap()["message"].as_str().unwrap();
    for words in [LOST, "--take-over-from", REGIONS[0], REGIONS[1]] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(written(&scene, mark).await, Vec::<Value>::new(), "without the flag nothing is written");

    assert_eq!(scene.stop().await, Some(0));
    scene.extra = vec!["--take-over-from".to_owned(), LOST.to_owned()];
    scene.start();
    let (after, database_after) = scene.all_ready().await;
    assert_eq!(arns(&after), arns(&before), "the same keys are found again");
    assert_eq!(database_after["status"]["upstreamId"], database["status"]["upstreamId"], "and the same database");
    nothing_created(&scene, mark).await;
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
