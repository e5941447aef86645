//! The chain with an AWS that others wrote, and what goes over the wire to Astra, checked against a contract.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::commands::ask;
use crate::golden;
use crate::support::aws::kms;
use crate::support::python::{program, python};
use crate::support::scene::{ACCOUNT, ORGANIZATION, Scene};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];

/// A program of `tests/witness` that serves something. It ends when it is dropped: its standard input ends then.
pub struct Helper {
    says: Value,
    _child: Child,
}

impl Helper {
    pub async fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(python())
            .arg(program(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap();
        let says = serde_json::from_str(&line.unwrap_or_else(|| panic!("{name} did not start"))).unwrap();
        Self { says, _child: child }
    }

    pub fn says(&self, name: &str) -> String {
        self.says[name].as_str().unwrap().to_owned()
    }
}

/// A policy with lists of one item as that item: they mean the same.
fn scalars(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), scalars(v))).collect(),
        Value::Array(items) => match items.as_slice() {
            [one @ Value::String(_)] => one.clone(),
            items => items.iter().map(scalars).collect(),
        },
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_chain_with_an_aws_that_others_wrote() {
    let mut scene = Scene::new("ministack").await;
    // The policy that the operator itself asks for, as narrow as it gets; the witness checks identity policies.
    let narrow = ["iam-policy", "--account", ACCOUNT, "--region", REGIONS[0], "--region", REGIONS[1]];
    let (code, text) = ask(&scene, &[&narrow[..], &["--installation", "test"]].concat(), "").await;
    assert_eq!(code, 0, "{text}");
    let mut policy: Value = serde_json::from_str(&text).unwrap();
    // AWS checks CreateAlias on the alias and on the key; the witness checks it on no resource at all.
    let statements = policy["Statement"].as_array_mut().unwrap();
    let claim = statements.iter_mut().find(|statement| statement["Sid"] == "ClaimAliases").unwrap();
    claim["Resource"] = json!("*");
    let file = scene.dir.path().join("iam-policy.json");
    std::fs::write(&file, policy.to_string()).unwrap();
    // The user is called as in the simulated AWS, so that the golden policy is the same.
    let arguments = ["--account", ACCOUNT, "--user", "sandbox", "--policy", file.to_str().unwrap()];
    let witness = Helper::start("serve.py", &arguments).await;
    scene.aws = witness.says("address");
    scene.env = [("AWS_ACCESS_KEY_ID", "access_key"), ("AWS_SECRET_ACCESS_KEY", "secret")]
        .map(|(name, word)| (name.to_owned(), witness.says(word)))
        .to_vec();
    let accounts = json!({ "org": ORGANIZATION, "region": REGIONS[0], "accounts": ["900000000077", "900000000011"] });
    scene.command(&json!({ "set_accounts": accounts })).await;
    scene.start();
    let mut key = scene.key(&REGIONS);
    key["spec"]["policy"] = json!({ "administrators": [format!("arn:aws:iam::{ACCOUNT}:root")] });
    for object in [scene.secret(), key, scene.cluster(&REGIONS)] {
        scene.apply(&object).await.unwrap();
    }
    let (key, cluster) = scene.all_ready().await;

    let alias = format!("alias/cmk-operator/test/{}/key", scene.namespace);
    for region in REGIONS {
        let kms = kms(&witness.says("address"), region, &witness.says("access_key"), &witness.says("secret")).await;
        let status = key["status"]["regions"].as_array().unwrap().iter().find(|r| r["name"] == region).unwrap();
        let arn = status["keyArn"].as_str().unwrap();
        assert_eq!(status["registeredKeyArn"], arn);
        let keys = kms.list_keys().send().await.unwrap();
        assert_eq!(keys.keys().iter().filter_map(|k| k.key_arn()).collect::<Vec<_>>(), [arn], "one key in {region}");
        let found = kms.describe_key().key_id(&alias).send().await.unwrap().key_metadata.unwrap();
        assert_eq!((found.arn(), found.enabled(), found.description()), (Some(arn), true, Some("for tests")));
        let tags = kms.list_resource_tags().key_id(arn).send().await.unwrap();
        let tag = |name: &str| tags.tags().iter().find(|t| t.tag_key() == name).map(|t| t.tag_value().to_owned());
        assert_eq!(tag("team").as_deref(), Some("tests"));
        assert_eq!(tag("cmk-operator.io/installation").as_deref(), Some("test"), "{tags:?}");
        assert_eq!(tag("cmk-operator.io/namespace").as_deref(), Some(scene.namespace.as_str()), "{tags:?}");
        let rotation = kms.get_key_rotation_status().key_id(arn).send().await.unwrap();
        assert_eq!((rotation.key_rotation_enabled(), rotation.rotation_period_in_days()), (true, Some(365)));
        if region == REGIONS[0] {
            let policy = kms.get_key_policy().key_id(arn).policy_name("default").send().await.unwrap();
            let policy = golden::comparable(&serde_json::from_str(policy.policy().unwrap()).unwrap());
            assert_eq!(scalars(&policy), scalars(&golden::expected("astra-serverless.json")), "{policy:#}");
        }
    }
    let state = scene.state().await;
    assert!(state["keys"].as_object().unwrap().is_empty(), "nothing was asked of the simulated AWS");
    assert_eq!(cluster["status"]["upstreamId"], state["astra"][ORGANIZATION]["databases"][0]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_astra_and_what_it_answers_is_in_the_contract() {
    let mut scene = Scene::new("contract").await;
    let file = scene.dir.path().join("astra.jsonl");
    let recorder = Helper::start("record.py", &["--to", &scene.astra, "--file", file.to_str().unwrap()]).await;
    scene.astra = recorder.says("address");
    scene.start();
    // First a token of nobody, for the shape of a refusal.
    let mut secret = scene.secret();
    secret["stringData"]["token"] = json!("AstraCS:nobody:none");
    scene.apply(&secret).await.unwrap();
    scene.apply(&scene.key(&REGIONS)).await.unwrap();
    scene.wait_for("CustomerKey", "key", "CredentialsValid", "False", "*").await;
    scene.apply_all(&REGIONS).await;
    // Classic databases have paths of their own.
    let (mut key, mut cluster) = (scene.key(&REGIONS[..1]), scene.cluster(&REGIONS[..1]));
    for object in [&mut key, &mut cluster] {
        object["metadata"]["name"] = json!("classic");
    }
    key["spec"]["upstream"]["astra"]["databaseType"] = json!("Classic");
    cluster["spec"]["customerKeyRef"]["name"] = json!("classic");
    cluster["spec"]["deployment"]["astra"]["name"] = json!("classic");
    cluster["spec"]["deployment"]["astra"]["tier"] = json!("D10");
    for object in [key, cluster] {
        scene.apply(&object).await.unwrap();
    }
    scene.all_ready().await;
    scene.ready("CustomerKey", "classic").await;
    scene.ready("EncryptedCluster", "classic").await;
    let output = Command::new(python()).arg(program("contract.py")).arg("--whole").arg(&file).output().await.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}
