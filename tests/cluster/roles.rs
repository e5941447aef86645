//! A role that anybody could assume is refused: one tenant could name another's, and we would act for him.

use serde_json::{Value, json};

use crate::support::scene::{Scene, find};

const REGION: &str = "us-east-1";
const ROLE: &str = "arn:aws:iam::111111111111:role/team";

/// Makes the role, trusting anybody who has one of these External IDs; none: anybody.
async fn role(scene: &Scene, external_ids: &[&str]) {
    let trust = json!({ "principals": [], "external_ids": external_ids });
    scene.command(&json!({ "create_principal": { "arn": ROLE, "trust": trust } })).await;
}

async fn apply(scene: &Scene) {
    let mut key = scene.key(&[REGION]);
    key["spec"]["aws"]["roleArn"] = json!(ROLE);
    for object in [scene.secret(), key, scene.cluster(&[REGION])] {
        scene.apply(&object).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_can_be_assumed_without_the_external_id_is_refused_until_its_trust_is_mended() {
    let mut scene = Scene::started("openrole").await;
    role(&scene, &[]).await;
    apply(&scene).await;
    let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "RoleTrustOpen").await;
    let external_id = format!("cmk:test:{}", scene.namespace);
    assert_eq!(key["status"]["aws"]["externalId"], json!(external_id), "what the trust has to demand is shown");
    for condition in ["CredentialsValid", "Ready"] {
        let condition = find(&key, condition).unwrap();
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("RoleTrustOpen")));
        let message = condition["message"].as_str().unwrap();
        for words in [ROLE, "without an External ID", "sts:ExternalId", "status.aws.externalId"] {
            assert!(message.contains(words), "{words}: {message}");
        }
    }
    let cluster = scene.wait_for("EncryptedCluster", "db", "Stalled", "True", "RoleTrustOpen").await;
    assert_ne!(find(&cluster, "GateOpen").unwrap()["status"], "True", "{cluster:#}");
    let as_the_role = |calls: Vec<Value>| -> Vec<Value> {
        let others = ["AKIASANDBOX", "arn:aws:iam::111111111111:user/sandbox"];
        let of_aws = calls.into_iter().filter(|call| call["service"] != "astra");
        of_aws.filter(|call| !others.contains(&call["principal"].as_str().unwrap())).collect()
    };
    assert_eq!(as_the_role(scene.calls().await), Vec::<Value>::new(), "nothing was asked, let alone done, as the role");

    role(&scene, &[&external_id]).await;
    let (key, _) = scene.all_ready().await;
    assert_eq!(find(&key, "Stalled").unwrap()["status"], "False");
    assert!(scene.is_running(), "without a restart");
    let created = scene.calls().await.into_iter().filter(|c| c["operation"] == "kms:CreateKey").collect::<Vec<_>>();
    assert_eq!((created.len(), &created[0]["principal"]), (1, &json!(ROLE)), "{created:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_anybody_can_assume_is_used_where_the_operators_administrator_allows_it() {
    let mut scene = Scene::new("allowopen").await;
    scene.extra = vec!["--allow-open-roles".to_owned()];
    scene.start();
    role(&scene, &[]).await;
    apply(&scene).await;
    scene.all_ready().await;
}
