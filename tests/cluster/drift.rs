//! What others change about a key: ours is put back within a look, theirs stays, and two tools never fight.

use std::collections::BTreeMap;

use aws_sdk_kms::Client;
use aws_sdk_kms::types::Tag;
use serde_json::{Value, json};

use crate::support::aws::administrator;
use crate::support::scene::{ACCOUNT, Scene, find};

const REGION: &str = "us-east-1";
/// So that every depth of look comes round within seconds.
const LOOKS: [&str; 6] = ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "3s"];

/// A key that is ready, and an administrator beside the operator.
struct Drift {
    scene: Scene,
    kms: Client,
    arn: String,
    alias: String,
}

impl Drift {
    async fn new(name: &str, more: &[&str]) -> Self {
        let mut scene = Scene::new(name).await;
        scene.extra = LOOKS.iter().chain(more).map(|&text| text.to_owned()).collect();
        scene.start();
        scene.apply(&scene.secret()).await.unwrap();
        scene.apply(&scene.key(&[REGION])).await.unwrap();
        let key = scene.ready("CustomerKey", "key").await;
        let region = &key["status"]["regions"][0];
        let (arn, alias) =
            (region["keyArn"].as_str().unwrap().to_owned(), region["alias"].as_str().unwrap().to_owned());
        let kms = scene.administrator(REGION).await;
        Self { scene, kms, arn, alias }
    }

    async fn policy(&self) -> Value {
        let policy = self.kms.get_key_policy().key_id(&self.arn).send().await.unwrap();
        serde_json::from_str(policy.policy().unwrap()).unwrap()
    }

    async fn put(&self, policy: &Value) {
        self.kms.put_key_policy().key_id(&self.arn).policy(policy.to_string()).send().await.unwrap();
    }

    /// Changes the statements of the policy as an administrator would.
    async fn edit(&self, change: impl FnOnce(&mut Vec<Value>)) {
        let mut policy = self.policy().await;
        change(policy["Statement"].as_array_mut().unwrap());
        self.put(&policy).await;
    }

    /// The writes that the operator made to KMS after a mark, by how often.
    async fn writes(&self, mark: u64) -> BTreeMap<String, usize> {
        let mut writes = BTreeMap::new();
        for call in self.scene.calls_since(mark).await {
            if call["access"] == "write" && call["principal"] != administrator() {
                *writes.entry(call["operation"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        writes
    }

    /// Waits until the operator has written exactly this since a mark, and then has looked at everything twice without
    /// writing more.
    async fn settles(&self, what: &str, mark: u64, expected: &[(&str, usize)]) {
        let expected: BTreeMap<String, usize> = expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let wrote = || async {
            let writes = self.writes(mark).await;
            if writes == expected { Ok(()) } else { Err(format!("{writes:?}")) }
        };
        self.scene.until(&format!("{what}: {expected:?} is written"), wrote).await;
        let restored = self.scene.mark().await;
        let looked = || async {
            let calls = self.scene.calls_since(restored).await;
            let looks = calls.iter().filter(|call| call["operation"] == "kms:GetKeyRotationStatus").count();
            if looks >= 2 { Ok(()) } else { Err(format!("{looks} looks at everything")) }
        };
        self.scene.until(&format!("{what}: two looks at everything"), looked).await;
        assert_eq!(self.writes(mark).await, expected, "{what}: zero writes afterwards");
        self.scene.ready("CustomerKey", "key").await;
    }
}

pub fn is_ours(statement: &Value, label: &str) -> bool {
    statement["Sid"].as_str().is_some_and(|sid| sid.starts_with("cmk ") && sid.ends_with(label))
}

pub fn of_auditor() -> Value {
    json!({
        "Sid": "Auditor", "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        "Action": "kms:DescribeKey", "Resource": "*",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ours_is_put_back_and_what_is_foreign_stays() {
    let drift = Drift::new("drift", &[]).await;
    let Drift { scene, kms, arn, alias } = &drift;
    let declared = drift.policy().await;

    let mark = scene.mark().await;
    drift.edit(|statements| statements.insert(0, of_auditor())).await;
    drift.settles("a foreign statement is added", mark, &[]).await;

    let mark = scene.mark().await;
    drift
        .edit(|statements| {
            statements.retain(|statement| !is_ours(statement, "persistent resources"));
            let used = statements.iter_mut().find(|statement| is_ours(statement, "use")).unwrap();
            used["Action"] = json!(["kms:Decrypt"]);
        })
        .await;
    drift.settles("a statement of ours is removed and one is edited", mark, &[("kms:PutKeyPolicy", 1)]).await;
    let mut policy = drift.policy().await;
    assert_eq!(policy["Statement"][0], of_auditor(), "the foreign statement survived, in its place");
    policy["Statement"].as_array_mut().unwrap().remove(0);
    assert_eq!(policy, declared, "and ours are as they were");

    let mark = scene.mark().await;
    kms.disable_key_rotation().key_id(arn).send().await.unwrap();
    drift.settles("rotation is switched off", mark, &[("kms:EnableKeyRotation", 1)]).await;
    let rotation = kms.get_key_rotation_status().key_id(arn).send().await.unwrap();
    assert_eq!((rotation.key_rotation_enabled(), rotation.rotation_period_in_days()), (true, Some(365)));

    let mark = scene.mark().await;
    kms.delete_alias().alias_name(alias).send().await.unwrap();
    drift.settles("the alias is deleted", mark, &[("kms:CreateAlias", 1)]).await;
    let described = kms.describe_key().key_id(alias).send().await.unwrap();
    assert_eq!(described.key_metadata().unwrap().arn(), Some(arn.as_str()));

    let mark = scene.mark().await;
    kms.untag_resource().key_id(arn).tag_keys("cmk-operator.io/name").tag_keys("team").send().await.unwrap();
    kms.tag_resource()
        .key_id(arn)
        .tags(Tag::builder().tag_key("owner").tag_value("ops").build().unwrap())
        .send()
        .await
        .unwrap();
    drift.settles("tags of ours are removed and one of theirs is added", mark, &[("kms:TagResource", 1)]).await;
    let tags = kms.list_resource_tags().key_id(arn).send().await.unwrap();
    let tags: BTreeMap<_, _> = tags.tags().iter().map(|tag| (tag.tag_key(), tag.tag_value())).collect();
    let expected = [("cmk-operator.io/name", "key"), ("team", "tests"), ("owner", "ops")];
    assert!(expected.iter().all(|(name, value)| tags.get(name) == Some(value)), "{tags:?}");

    let mark = scene.mark().await;
    kms.update_key_description().key_id(arn).description("mine").send().await.unwrap();
    drift.settles("the description is changed", mark, &[("kms:UpdateKeyDescription", 1)]).await;
    let described = kms.describe_key().key_id(arn).send().await.unwrap();
    assert_eq!(described.key_metadata().unwrap().description(), Some("for tests"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_taken_away_again_and_again_is_contested_and_not_fought_over() {
    let drift = Drift::new("contest", &["--repair-holdoff", "200ms"]).await;
    let scene = &drift.scene;
    // Writing the first policy was one; it is undone, and what puts it back is undone as well.
    let mark = scene.mark().await;
    let removes = || async {
        drift.edit(|statements| statements.retain(|statement| !is_ours(statement, "use"))).await;
    };
    removes().await;
    let written = || async {
        let writes = drift.writes(mark).await;
        if writes.get("kms:PutKeyPolicy") == Some(&1) { Ok(()) } else { Err(format!("{writes:?}")) }
    };
    scene.until("the policy is put back once", written).await;
    removes().await;
    let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "PolicyContested").await;
    assert_eq!(find(&key, "PoliciesReady").unwrap()["status"], "False");
    assert_eq!(find(&key, "Ready").unwrap()["status"], "False", "the cloud cannot use the key");
    let message = find(&key, "Stalled").unwrap()["message"].as_str().unwrap();
    for words in
        ["2 times within an hour", "adds statement", "CloudTrail, event PutKeyPolicy", "Sid begins with \"cmk \""]
    {
        assert!(message.contains(words), "{message}");
    }
    // It is looked at again and again, and nothing more is written.
    let looked = scene.mark().await;
    let looks = || async {
        let calls = scene.calls_since(looked).await;
        let looks = calls.iter().filter(|call| call["operation"] == "kms:GetKeyPolicy").count();
        if looks >= 3 { Ok(()) } else { Err(format!("{looks} looks")) }
    };
    scene.until("three more looks at the policy", looks).await;
    assert_eq!(drift.writes(mark).await, BTreeMap::from([("kms:PutKeyPolicy".to_owned(), 1)]), "no fight");

    // Somebody has settled it, and asks for another attempt.
    let mut object = scene.key(&[REGION]);
    object["metadata"]["annotations"] = json!({ "cmk-operator.io/reconcile-requested-at": "now" });
    scene.apply(&object).await.unwrap();
    scene.ready("CustomerKey", "key").await;
    assert_eq!(drift.writes(mark).await, BTreeMap::from([("kms:PutKeyPolicy".to_owned(), 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_who_goes_back_and_forth_contests_nothing() {
    let drift = Drift::new("forth", &[]).await;
    let scene = &drift.scene;
    for (change, name) in ["one", "two", "one", "two", "one"].into_iter().enumerate() {
        let mut key = scene.key(&[REGION]);
        let root = format!("arn:aws:iam::{ACCOUNT}:root");
        let statement = json!({ "name": name, "principals": { "aws": [root] }, "actions": ["kms:DescribeKey"] });
        key["spec"]["policy"]["statements"] = json!([statement]);
        scene.apply(&key).await.unwrap();
        let written = || async {
            let policy = drift.policy().await.to_string();
            if policy.contains(&format!("{name}\"")) { Ok(()) } else { Err(format!("{policy}\n{}", scene.log_tail())) }
        };
        scene.until(&format!("change {change} is in the policy"), written).await;
        scene.ready("CustomerKey", "key").await;
    }
}
