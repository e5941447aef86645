//! A key that somebody else made: used with its owner's consent, and nothing of it touched but statements of ours.

use std::collections::BTreeMap;

use aws_sdk_kms::Client;
use aws_sdk_kms::types::Tag;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::drift::{is_ours, of_auditor};
use crate::support::scene::{ACCOUNT, ORGANIZATION, Scene, find, organization};

pub const REGION: &str = "us-east-1";
pub const CONSENT: &str = "cmk-operator.io/adopt-by";

/// So that every depth of look comes round within seconds.
const LOOKS: [&str; 6] = ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "3s"];

pub fn tag(name: &str, value: &str) -> Tag {
    Tag::builder().tag_key(name).tag_value(value).build().unwrap()
}

/// The statement of the account root, as AWS puts it under every key.
pub fn of_root() -> Value {
    json!({
        "Sid": "Enable IAM User Permissions", "Effect": "Allow",
        "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") }, "Action": "kms:*", "Resource": "*",
    })
}

/// A key as a human makes it, with a description, a tag and a statement of theirs.
pub async fn by_hand(kms: &Client) -> String {
    let policy = json!({ "Version": "2012-10-17", "Statement": [of_root(), of_auditor()] });
    let made = kms
        .create_key()
        .description("Made by hand")
        .policy(policy.to_string())
        .tags(tag("owner", "ops"))
        .send()
        .await
        .unwrap();
    made.key_metadata().unwrap().arn().unwrap().to_owned()
}

pub async fn statements(kms: &Client, arn: &str) -> Vec<Value> {
    let policy = kms.get_key_policy().key_id(arn).send().await.unwrap();
    let policy: Value = serde_json::from_str(policy.policy().unwrap()).unwrap();
    policy["Statement"].as_array().unwrap().clone()
}

pub async fn put_statements(kms: &Client, arn: &str, statements: &[Value]) {
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    kms.put_key_policy().key_id(arn).policy(policy.to_string()).send().await.unwrap();
}

pub async fn tags(kms: &Client, arn: &str) -> BTreeMap<String, String> {
    let all = kms.list_resource_tags().key_id(arn).send().await.unwrap();
    all.tags().iter().map(|tag| (tag.tag_key().to_owned(), tag.tag_value().to_owned())).collect()
}

/// A `CustomerKey` that names a key.
pub fn adopting(mut key: Value, arn: &str) -> Value {
    key["spec"]["regions"][0]["keyArn"] = json!(arn);
    key
}

/// Runs the `aws kms tag-resource` that a message prints, as the CLI reads it
/// (<https://docs.aws.amazon.com/cli/latest/reference/kms/tag-resource.html>).
async fn run_printed(scene: &Scene, message: &str) {
    let (_, command) = message.split_once("aws kms tag-resource ").unwrap_or_else(|| panic!("no command: {message}"));
    let mut words = command.split_whitespace();
    let mut options = BTreeMap::new();
    while let Some(option) = words.next().filter(|word| word.starts_with("--")) {
        options.insert(option, words.next().unwrap());
    }
    assert_eq!(options.keys().copied().collect::<Vec<_>>(), ["--key-id", "--region", "--tags"], "{command}");
    let (name, value) = options["--tags"].strip_prefix("TagKey=").unwrap().split_once(",TagValue=").unwrap();
    let kms = scene.administrator(options["--region"]).await;
    kms.tag_resource().key_id(options["--key-id"]).tags(tag(name, value)).send().await.unwrap();
}

/// Waits for two more looks at everything of a key.
pub async fn looked_twice(scene: &Scene, arn: &str) {
    let mark = scene.mark().await;
    let looks = || async {
        let calls = scene.calls_since(mark).await;
        let looks = calls.iter().filter(|c| c["operation"] == "kms:ListResourceTags" && c["resource"] == arn).count();
        if looks >= 2 { Ok(()) } else { Err(format!("{looks} looks at the tags of {arn}")) }
    };
    scene.until("two looks at everything", looks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_key_goes_the_whole_way_and_stays_its_owners() {
    let mut scene = Scene::new("adopt").await;
    scene.extra = LOOKS.map(ToOwned::to_owned).to_vec();
    let kms = scene.administrator(REGION).await;
    let arn = by_hand(&kms).await;
    scene.start();
    scene.apply(&scene.secret()).await.unwrap();
    let manifest = adopting(scene.key(&[REGION]), &arn);
    scene.apply(&manifest).await.unwrap();
    scene.apply(&scene.cluster(&[REGION])).await.unwrap();

    // Without consent, or with consent for another object.
    let refused = async || {
        let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "AdoptionNotConsented").await;
        assert_eq!(find(&key, "KeysReady").unwrap()["status"], "False");
        let message = find(&key, "KeysReady").unwrap()["message"].as_str().unwrap().to_owned();
        assert!(find(&key, "Stalled").unwrap()["message"].as_str().unwrap().contains("aws kms tag-resource"));
        message
    };
    refused().await;
    kms.tag_resource().key_id(&arn).tags(tag(CONSENT, "test/another/key")).send().await.unwrap();
    looked_twice(&scene, &arn).await;
    let message = refused().await;
    let cluster = scene.wait_for("EncryptedCluster", "db", "GateOpen", "False", "*").await;
    assert_eq!(find(&cluster, "Ready").unwrap()["status"], "False");
    assert_eq!(scene.written(0).await, Vec::<String>::new(), "nothing is written without consent");

    // The command that is printed gives it, and the whole chain follows.
    run_printed(&scene, &message).await;
    let (key, _) = scene.all_ready().await;
    let region = &key["status"]["regions"][0];
    assert_eq!((&region["keyArn"], &region["registeredKeyArn"]), (&json!(arn), &json!(arn)));
    assert!(region["alias"].is_null(), "an adopted key gets no alias: {region:#}");
    assert!(region["registeredAt"].is_string(), "{region:#}");
    let organization = scene.state().await["astra"][ORGANIZATION].clone();
    assert_eq!(organization["databases"][0]["regions"][0]["encrypted_with"], json!(arn), "{organization:#}");

    // Ours are there beside theirs; there is one tag of ours; everything else is as it was made.
    let all = statements(&kms, &arn).await;
    assert_eq!(all[..2], [of_root(), of_auditor()], "theirs stay in their place");
    let labels: Vec<&str> = all[2..].iter().map(|s| s["Sid"].as_str().unwrap().get(13..).unwrap()).collect();
    assert_eq!(labels, ["operator", "use", "persistent resources"]);
    assert!(all[2..].iter().all(|s| is_ours(s, "")), "{all:#?}");
    let owners = [(CONSENT, format!("test/{}/key", scene.namespace)), ("owner", "ops".to_owned())];
    let mut kept = tags(&kms, &arn).await;
    assert!(kept.remove("cmk-operator.io/registered-at").is_some(), "{kept:?}");
    let count = kept.len();
    kept.retain(|name, _| !name.starts_with("cmk-operator.io/database-"));
    assert_eq!(kept.len(), count - 1, "the note of the database");
    let owners: BTreeMap<String, String> = owners.map(|(name, value)| (name.to_owned(), value)).into();
    assert_eq!(kept, owners);
    let described = kms.describe_key().key_id(&arn).send().await.unwrap();
    assert_eq!(described.key_metadata().unwrap().description(), Some("Made by hand"));
    assert!(!kms.get_key_rotation_status().key_id(&arn).send().await.unwrap().key_rotation_enabled());
    assert!(kms.list_aliases().send().await.unwrap().aliases().is_empty());
    let of_kms: Vec<String> = scene.written(0).await.into_iter().filter(|w| w.starts_with("kms:")).collect();
    let tagged = format!("kms:TagResource {arn}");
    assert_eq!(of_kms, [format!("kms:PutKeyPolicy {arn}"), tagged.clone(), tagged]);

    // What its owner changes stays, but for our statements, which are mended.
    let mark = scene.mark().await;
    kms.update_key_description().key_id(&arn).description("Theirs").send().await.unwrap();
    kms.enable_key_rotation().key_id(&arn).rotation_period_in_days(200).send().await.unwrap();
    kms.create_alias().alias_name("alias/theirs").target_key_id(&arn).send().await.unwrap();
    kms.tag_resource().key_id(&arn).tags(tag("team", "theirs")).send().await.unwrap();
    let mut edited = all.clone();
    edited[1]["Action"] = json!(["kms:DescribeKey", "kms:GetKeyPolicy"]);
    edited.retain(|statement| !is_ours(statement, "use"));
    put_statements(&kms, &arn, &edited).await;
    let mended = || async {
        let now = statements(&kms, &arn).await;
        if now.iter().any(|s| is_ours(s, "use")) { Ok(now) } else { Err(format!("{now:#?}")) }
    };
    let now = scene.until("our statement is back", mended).await;
    assert_eq!(now[..2], edited[..2], "theirs are as they are now");
    looked_twice(&scene, &arn).await;
    assert_eq!(scene.written(mark).await, [format!("kms:PutKeyPolicy {arn}")]);
    scene.all_ready().await;

    // Consent that is taken away ends it: nothing is mended any more, the gate is shut, what runs is left alone.
    let mark = scene.mark().await;
    kms.untag_resource().key_id(&arn).tag_keys(CONSENT).send().await.unwrap();
    refused().await;
    let cluster = scene.wait_for("EncryptedCluster", "db", "GateOpen", "False", "*").await;
    assert_eq!(find(&cluster, "Deployed").unwrap()["status"], "True", "{cluster:#}");
    put_statements(&kms, &arn, &edited).await;
    looked_twice(&scene, &arn).await;
    assert_eq!(scene.written(mark).await, Vec::<String>::new());
    assert_eq!(statements(&kms, &arn).await, edited);
    let message = refused().await;
    run_printed(&scene, &message).await;
    // Twice within an hour their statements went against ours: the operator does not go on before it is asked to.
    scene.wait_for("CustomerKey", "key", "Stalled", "True", "PolicyContested").await;
    let request = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": "now" } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(request)).await.unwrap();
    scene.all_ready().await;
    assert_eq!(scene.written(mark).await, [format!("kms:PutKeyPolicy {arn}")], "and given again, it goes on");

    // Nothing of it is torn down, whatever the policy for the end says, and nobody has to confirm that.
    let mut doomed = manifest.clone();
    doomed["spec"]["deletionPolicy"] = json!("ScheduleDeletion");
    scene.apply(&doomed).await.unwrap();
    scene.ready("CustomerKey", "key").await;
    let (mark, before) = (scene.mark().await, scene.state().await["keys"][&arn].clone());
    for (kind, name) in [("EncryptedCluster", "db"), ("CustomerKey", "key")] {
        scene.objects(&scene.namespace, kind).delete(name, &DeleteParams::default()).await.unwrap();
        let gone = || async {
            let object = scene.get(kind, name).await;
            if object.is_null() { Ok(()) } else { Err(object["status"].to_string()) }
        };
        scene.until(&format!("{kind} is gone"), gone).await;
    }
    assert_eq!(scene.written(mark).await, Vec::<String>::new());
    let after = scene.state().await["keys"][&arn].clone();
    assert_eq!((&after, &after["state"]), (&before, &json!("Enabled")));
}

/// A key that cannot be adopted although its owner consents: how it came to be, and what is said of it.
struct Wrong {
    name: &'static str,
    kind: Value,
    multi_region: bool,
    says: &'static str,
}

fn wrong() -> [Wrong; 6] {
    let of = |name, kind, says| Wrong { name, kind, multi_region: false, says };
    [
        of("rsa", json!({ "key_spec": "RSA_2048" }), "it is not a symmetric key for encryption"),
        of(
            "signs",
            json!({ "key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY" }),
            "it is not a symmetric key for encryption",
        ),
        of(
            "hmac",
            json!({ "key_spec": "HMAC_256", "key_usage": "GENERATE_VERIFY_MAC" }),
            "it is not a symmetric key for encryption",
        ),
        of("imported", json!({ "origin": "EXTERNAL" }), "its key material was not made by KMS, but imported"),
        of("managed", json!({ "key_manager": "AWS" }), "AWS manages it, not the customer"),
        Wrong {
            multi_region: true,
            ..of("mrk", json!({}), "it is multi-Region, and the spec asks for a single-Region key")
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_wrong_kind_or_of_another_owner_is_refused_with_what_differs() {
    let scene = Scene::started("wrongkind").await;
    let kms = scene.administrator(REGION).await;
    let mut arns = Vec::new();
    for (number, Wrong { name, kind, multi_region, says: _ }) in (1..).zip(wrong()) {
        let consent = tag(CONSENT, &format!("test/{}/{name}", scene.namespace));
        let made = kms.create_key().multi_region(multi_region).tags(consent).send().await.unwrap();
        let arn = made.key_metadata().unwrap().arn().unwrap().to_owned();
        let mut set = kind.clone();
        set["arn"] = json!(arn);
        scene.command(&json!({ "set_kind": set })).await;
        let manifest = adopting(scene.tenant(name, number, REGION).await, &arn);
        // Even where it is registered already, which opens no gate.
        let register = json!({ "org": organization(number), "kind": "serverless", "region": REGION, "arn": arn });
        scene.command(&json!({ "register": register })).await;
        scene.apply(&manifest).await.unwrap();
        scene.apply(&scene.gate(&format!("db-{name}"), name, REGION)).await.unwrap();
        arns.push(arn);
    }
    for (Wrong { name, says, .. }, arn) in wrong().iter().zip(&arns) {
        let key = scene.wait_for("CustomerKey", name, "Stalled", "True", "KeyWrongKind").await;
        let message = find(&key, "KeysReady").unwrap()["message"].as_str().unwrap();
        for words in [arn.as_str(), says, "To do: name another key in keyArn."] {
            assert!(message.contains(words), "{name}: {words}: {message}");
        }
        let cluster =
            scene.wait_for("EncryptedCluster", &format!("db-{name}"), "GateOpen", "False", "KeyUnusable").await;
        let message = find(&cluster, "GateOpen").unwrap()["message"].as_str().unwrap();
        assert!(message.contains(says), "{name}: {message}");
    }
    assert_eq!(scene.written(0).await, Vec::<String>::new(), "nothing is written to any of them");

    // One that does not exist, and one that another object made, with the consent of whoever can tag it.
    let nowhere = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/0000aaaa-0000-4000-8000-000000000000");
    scene.apply(&adopting(scene.tenant("nowhere", 21, REGION).await, &nowhere)).await.unwrap();
    let key = scene.wait_for("CustomerKey", "nowhere", "Stalled", "True", "KeyGone").await;
    assert!(find(&key, "KeysReady").unwrap()["message"].as_str().unwrap().contains(&nowhere));
    scene.apply(&scene.tenant("first", 22, REGION).await).await.unwrap();
    let first = scene.ready("CustomerKey", "first").await;
    let arn = first["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned();
    let mark = scene.mark().await;
    scene.apply(&adopting(scene.tenant("second", 23, REGION).await, &arn)).await.unwrap();
    scene.wait_for("CustomerKey", "second", "Stalled", "True", "AdoptionNotConsented").await;
    kms.tag_resource()
        .key_id(&arn)
        .tags(tag(CONSENT, &format!("test/{}/second", scene.namespace)))
        .send()
        .await
        .unwrap();
    let key = scene.wait_for("CustomerKey", "second", "Stalled", "True", "OwnedByAnother").await;
    let message = find(&key, "KeysReady").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("carries the owner tags of another object") && message.contains(&arn), "{message}");
    assert!(!message.contains("first"), "whose it is, is not told: {message}");
    scene.apply(&scene.gate("db-second", "second", REGION)).await.unwrap();
    scene.wait_for("EncryptedCluster", "db-second", "GateOpen", "False", "KeyUnusable").await;
    assert_eq!(scene.written(mark).await, Vec::<String>::new());

    // Of another region or account it is refused before anybody looks at it.
    for (arn, says) in [
        (arn.replace(REGION, "eu-west-1"), "keyArn must be a key in the region of the same entry"),
        (arn.replace(ACCOUNT, "222222222222"), "keyArn must be a key in the account"),
    ] {
        let mut manifest = adopting(scene.key(&[REGION]), &arn);
        manifest["metadata"]["name"] = json!("elsewhere");
        let refusal = scene.apply(&manifest).await.unwrap_err().to_string();
        assert!(refusal.contains(says), "{arn}: {refusal}");
    }
    // And where the spec names that account too, but AWS takes us for another.
    let elsewhere = arn.replace(ACCOUNT, "222222222222");
    let mut manifest = adopting(scene.tenant("elsewhere", 24, REGION).await, &elsewhere);
    manifest["spec"]["aws"]["accountId"] = json!("222222222222");
    scene.apply(&manifest).await.unwrap();
    scene.wait_for("CustomerKey", "elsewhere", "Stalled", "True", "AccountMismatch").await;
    assert_eq!(scene.written(mark).await, Vec::<String>::new());
}

/// Adopting what somebody has registered already: since when is not known, so nothing false is said of what is older.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_registered_by_hand_is_adopted_without_a_made_up_moment() {
    let mut scene = Scene::new("foundreg").await;
    scene.extra = LOOKS.map(ToOwned::to_owned).to_vec();
    let kms = scene.administrator(REGION).await;
    let arn = by_hand(&kms).await;
    kms.tag_resource().key_id(&arn).tags(tag(CONSENT, &format!("test/{}/key", scene.namespace))).send().await.unwrap();
    let register = json!({ "org": ORGANIZATION, "kind": "serverless", "region": REGION, "arn": arn });
    scene.command(&json!({ "register": register })).await;
    let old =
        json!({ "org": ORGANIZATION, "name": "archive", "tier": "serverless", "region": REGION, "age_s": 7_776_000 });
    scene.command(&json!({ "add_database": old })).await;
    // What was made since the key was: nobody knows whether it is encrypted.
    scene.command(&json!({ "set_kind": { "arn": arn, "age_s": 864_000 } })).await;
    let between =
        json!({ "org": ORGANIZATION, "name": "between", "tier": "serverless", "region": REGION, "age_s": 432_000 });
    scene.command(&json!({ "add_database": between })).await;
    let state = scene.state().await;
    let databases = state["astra"][ORGANIZATION]["databases"].as_array().unwrap().clone();
    let id = |name: &str| databases.iter().find(|d| d["name"] == name).unwrap()["id"].as_str().unwrap().to_owned();
    scene.start();
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&adopting(scene.key(&[REGION]), &arn)).await.unwrap();
    for name in ["archive", "between"] {
        let mut bound = scene.gate(name, "key", REGION);
        bound["spec"]["deployment"] = json!({ "astra": { "name": name, "databaseId": id(name) } });
        scene.apply(&bound).await.unwrap();
    }
    let key = scene.ready("CustomerKey", "key").await;
    let note = tags(&kms, &arn).await["cmk-operator.io/registered-at"].clone();
    assert!(note.starts_with("found "), "{note}");
    let region = &key["status"]["regions"][0];
    assert!(region["registeredAt"].is_null(), "{region:#}");
    let found = &region["unprotectedDatabases"];
    assert_eq!(found["count"], 1, "only what is older than the key itself: {found}");
    assert!(found["sample"][0].as_str().unwrap().starts_with("archive ("), "{found}");
    scene.wait_for("EncryptedCluster", "archive", "EncryptionVerified", "False", "ExistingDatabaseNotEncrypted").await;
    scene.wait_for("EncryptedCluster", "between", "EncryptionVerified", "Unknown", "ExistingDatabaseUnverified").await;
    scene.ready("EncryptedCluster", "between").await;

    // The note is not worth more when it comes back.
    let mark = scene.mark().await;
    kms.untag_resource().key_id(&arn).tag_keys("cmk-operator.io/registered-at").send().await.unwrap();
    let back = || async {
        let note = tags(&kms, &arn).await.get("cmk-operator.io/registered-at").cloned();
        note.filter(|note| note.starts_with("found ")).ok_or_else(|| "no note".to_owned())
    };
    scene.until("the note is back", back).await;
    assert_eq!(scene.written(mark).await, [format!("kms:TagResource {arn}")]);
    let request = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": "now" } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(request)).await.unwrap();
    scene.wait_for("EncryptedCluster", "between", "EncryptionVerified", "Unknown", "ExistingDatabaseUnverified").await;
}
