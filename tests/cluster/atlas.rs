//! Atlas: a project's key that Atlas uses as a role of the customer's, and clusters under it.

use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::process::Command;

use super::witness::Helper;
use crate::support::python::{program, python};
use crate::support::scene::{ACCOUNT, Scene, find};

pub const PROJECT: &str = "5a9db0c500000000000000b1";
pub const ROLE: &str = "arn:aws:iam::111111111111:role/atlas-kms";
/// The AWS account of the simulated Atlas.
pub const ATLAS: &str = "900000009900";
pub const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];

/// A Secret with a service account, or with an API key.
pub fn secret(scene: &Scene, account: bool) -> Value {
    let values = if account {
        json!({ "clientId": "mdb_sa_id_sandbox", "clientSecret": "mdb_sa_sk_sandbox" })
    } else {
        json!({ "publicKey": "sandboxk", "privateKey": "00000000-0000-4000-8000-0000000000a1" })
    };
    json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": values,
        "metadata": { "name": "atlas", "namespace": scene.namespace },
    })
}

pub fn key(scene: &Scene) -> Value {
    json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "name": "key", "namespace": scene.namespace },
        "spec": {
            "regions": [{ "name": REGIONS[0] }],
            "aws": { "accountId": ACCOUNT },
            "upstream": { "atlas": {
                "projectId": PROJECT, "role": { "arn": ROLE }, "credentialsSecretRef": { "name": "atlas" },
            } },
        },
    })
}

pub fn cluster(scene: &Scene, regions: &[&str]) -> Value {
    json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
        "metadata": { "name": "db", "namespace": scene.namespace },
        "spec": {
            "customerKeyRef": { "name": "key" },
            "regions": regions.iter().map(|r| json!({ "name": r })).collect::<Vec<_>>(),
            "primaryRegion": regions[0],
            "deployment": { "atlas": { "name": "shop", "instanceSize": "M10" } },
        },
    })
}

pub async fn apply(scene: &Scene, objects: &[Value]) {
    for object in objects {
        scene.apply(object).await.unwrap();
    }
}

/// What status shows of the role, once the cloud has said whom it has to trust.
async fn linked(scene: &Scene) -> Value {
    scene
        .until("the external id is shown", || async {
            let key = scene.get("CustomerKey", "key").await;
            let role = &key["status"]["regions"][0]["cloudRole"];
            if role["externalId"].is_string() { Ok(role.clone()) } else { Err(key["status"].to_string()) }
        })
        .await
}

/// The administrator makes the role, or makes it anew, with this trust.
pub async fn make_role(scene: &Scene, account: &str, external_id: &str) {
    let trust = json!({ "principals": [account], "external_ids": [external_id] });
    scene.command(&json!({ "create_principal": { "arn": ROLE, "trust": trust } })).await;
}

/// Makes the role that the status asks for.
pub async fn trust(scene: &Scene) {
    let role = linked(scene).await;
    assert_eq!(role["trustedArn"], format!("arn:aws:iam::{ATLAS}:root"));
    make_role(scene, ATLAS, role["externalId"].as_str().unwrap()).await;
}

pub async fn project(scene: &Scene) -> Value {
    scene.state().await["atlas"]["projects"][PROJECT].clone()
}

pub fn position(calls: &[Value], operation: &str) -> usize {
    calls
        .iter()
        .position(|call| call["operation"] == operation && call["applied"] == true)
        .unwrap_or_else(|| panic!("{operation} was never applied: {calls:#?}"))
}

pub fn count(calls: &[Value], operation: &str) -> usize {
    calls.iter().filter(|call| call["operation"] == operation && call["applied"] == true).count()
}

/// The JSON that a message asks an administrator to add after these words.
fn asked_for(message: &str, words: &str) -> Value {
    let (_, rest) = message.split_once(words).unwrap_or_else(|| panic!("{words} is not in {message}"));
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
    values.next().unwrap().unwrap_or_else(|error| panic!("{error}: {rest}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_goes_from_nothing_to_a_cluster_under_the_key_in_the_only_safe_order() {
    let scene = Scene::started("atlas").await;
    apply(&scene, &[secret(&scene, true), key(&scene), cluster(&scene, &REGIONS)]).await;
    trust(&scene).await;
    let (key, cluster) = scene.all_ready().await;
    let (project, calls) = (project(&scene).await, scene.calls().await);

    let region = &key["status"]["regions"][0];
    let arn = region["keyArn"].as_str().unwrap();
    assert_eq!(region["registeredKeyArn"], arn);
    assert_eq!((&project["key"]["key"], &project["key"]["valid"]), (&json!(arn), &json!(true)));
    assert_eq!(project["key"]["region"], "US_EAST_1");
    let roles = project["roles"].as_array().unwrap();
    assert_eq!((roles.len(), &roles[0]["iam_role"]), (1, &json!(ROLE)));
    let [made] = project["clusters"].as_array().unwrap().as_slice() else { panic!("{project}") };
    assert_eq!((&made["created_with"], &made["spec"]["backupEnabled"]), (&json!(arn), &json!(true)));
    assert_eq!(made["spec"]["id"], cluster["status"]["upstreamId"]);
    let regions: Vec<&Value> = made["spec"]["replicationSpecs"][0]["regionConfigs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| &config["regionName"])
        .collect();
    assert_eq!(regions, ["US_EAST_1", "EU_WEST_1"]);
    assert_eq!(find(&cluster, "EncryptionVerified").unwrap()["status"], "True");
    assert_eq!(find(&cluster, "EncryptionVerified").unwrap()["reason"], "EncryptionReported");

    assert_eq!(count(&calls, "atlas:CreateCloudProviderAccess"), 1, "one record of the role");
    let (authorized, registered, created) = (
        position(&calls, "atlas:AuthorizeCloudProviderAccess"),
        position(&calls, "atlas:UpdateEncryptionAtRest"),
        position(&calls, "atlas:CreateCluster"),
    );
    let let_in = calls.iter().rposition(|c| c["operation"] == "kms:PutKeyPolicy" && c["applied"] == true).unwrap();
    assert!(authorized < registered && let_in < registered && registered < created);
    let looks = calls[registered..created]
        .iter()
        .filter(|c| c["operation"] == "atlas:GetEncryptionAtRest" && c["outcome"] == "ok")
        .count();
    assert!(looks >= 3, "read back at least three times before the cluster: {looks}");

    // The key is disabled: that is said at once, and nothing is switched off. Enabled again, all is well.
    scene.command(&json!({ "disable_key": { "arn": arn } })).await;
    let mut asking = self::key(&scene);
    asking["metadata"]["annotations"] = json!({ "cmk-operator.io/reconcile-requested-at": "1" });
    scene.apply(&asking).await.unwrap();
    scene.wait_for("CustomerKey", "key", "Ready", "False", "KeyDisabled").await;
    let mark = scene.mark().await;
    scene.command(&json!({ "enable_key": { "arn": arn } })).await;
    asking["metadata"]["annotations"] = json!({ "cmk-operator.io/reconcile-requested-at": "2" });
    scene.apply(&asking).await.unwrap();
    scene.ready("CustomerKey", "key").await;
    let wrote = scene.calls_since(mark).await;
    let wrote: Vec<&Value> = wrote.iter().filter(|c| c["service"] == "atlas" && c["access"] == "write").collect();
    assert!(wrote.iter().all(|c| c["operation"] == "atlas:CreateToken"), "{wrote:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_does_not_trust_atlas_is_named_with_the_json_to_add() {
    let scene = Scene::new("atlas-trust").await;
    make_role(&scene, ATLAS, "another").await;
    let mut scene = scene;
    scene.start();
    apply(&scene, &[secret(&scene, false), key(&scene)]).await;
    let stuck = scene.wait_for("CustomerKey", "key", "Stalled", "True", "CloudRoleRefused").await;
    let message = find(&stuck, "Registered").unwrap()["message"].as_str().unwrap().to_owned();
    let (shown, arn) = (&stuck["status"]["regions"][0]["cloudRole"], &stuck["status"]["regions"][0]["keyArn"]);
    let trust = asked_for(&message, "Its trust policy has to hold ");
    let statement = &trust["Statement"][0];
    assert_eq!(statement["Condition"]["StringEquals"]["sts:ExternalId"], shown["externalId"]);
    assert_eq!(statement["Principal"]["AWS"], shown["trustedArn"]);
    let permissions = asked_for(&message, "Its permissions have to hold ");
    assert_eq!(permissions["Statement"][0]["Resource"][0], *arn);
    let log = scene.log();
    let external = shown["externalId"].as_str().unwrap();
    assert!(!log.contains(external), "the external id is in no log");
    let told = scene
        .until("an event tells of it", || async {
            let events = json!(scene.events(&scene.namespace).await).to_string();
            if events.contains("CloudRoleRefused") { Ok(events) } else { Err(events) }
        })
        .await;
    assert!(!told.contains(external) && told.contains("the whole of it is in the condition"), "{told}");

    // The administrator makes the role anew under the same name: the key policy named the one that is gone, and is mended.
    let external = statement["Condition"]["StringEquals"]["sts:ExternalId"].as_str().unwrap();
    make_role(&scene, ATLAS, external).await;
    let ready = scene.ready("CustomerKey", "key").await;
    assert_eq!(project(&scene).await["key"]["valid"], true);
    assert_eq!(ready["status"]["regions"][0]["registeredKeyArn"], *arn);

    // And once more, now that it is in use: Atlas cannot use the key any more, until the policy is mended.
    make_role(&scene, ATLAS, external).await;
    let mut asking = key(&scene);
    asking["metadata"]["annotations"] = json!({ "cmk-operator.io/reconcile-requested-at": "1" });
    scene.apply(&asking).await.unwrap();
    scene
        .until("Atlas can use the key again", || async {
            // Each look at the key has Atlas try it.
            let key = scene.get("CustomerKey", "key").await;
            let ready = find(&key, "Ready").is_some_and(|c| c["status"] == "True");
            let handled = key["status"]["lastHandledReconcileAt"] == "1";
            let valid = project(&scene).await["key"]["valid"] == true;
            if ready && handled && valid { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_cluster_is_put_under_the_key_and_what_cannot_be_is_left_alone() {
    let scene = Scene::started("atlas-adopt").await;
    let existing = |name: &str, size: &str, provider: &str| {
        json!({ "atlas": { "add_cluster": { "project": PROJECT, "cluster": {
            "name": name, "clusterType": "REPLICASET", "pitEnabled": true,
            "replicationSpecs": [{ "regionConfigs": [{ "providerName": provider, "regionName": "US_EAST_1", "priority": 7,
                "electableSpecs": { "instanceSize": size, "nodeCount": 3 } }] }],
        } } } })
    };
    for (name, size, provider) in [("shop", "M30", "AWS"), ("small", "M0", "TENANT"), ("other", "M10", "AWS")] {
        scene.command(&existing(name, size, provider)).await;
    }
    let before = project(&scene).await["clusters"].clone();
    let adopt = |object: &str, name: &str| {
        let mut adopting = cluster(&scene, &REGIONS[..1]);
        adopting["metadata"]["name"] = json!(object);
        adopting["spec"]["deployment"]["atlas"] = json!({ "name": name, "existing": "AdoptByName" });
        adopting
    };
    apply(&scene, &[secret(&scene, true), key(&scene), adopt("db", "shop"), adopt("small", "small")]).await;
    trust(&scene).await;
    let (_, bound) = scene.all_ready().await;
    assert_eq!(find(&bound, "EncryptionVerified").unwrap()["reason"], "EncryptionReported");
    let small = scene.wait_for("EncryptedCluster", "small", "Stalled", "True", "NotEncrypted").await;
    assert!(find(&small, "Deployed").unwrap()["message"].as_str().unwrap().contains("M10"), "{small}");

    let after = project(&scene).await["clusters"].clone();
    let mut expected = before[0]["spec"].clone();
    expected["encryptionAtRestProvider"] = json!("AWS");
    assert_eq!(after[0]["spec"], expected, "nothing but the encryption is changed");
    assert_eq!((&after[1], &after[2]), (&before[1], &before[2]));
    let calls = scene.calls().await;
    assert!(position(&calls, "atlas:UpdateEncryptionAtRest") < position(&calls, "atlas:UpdateCluster"));
    assert_eq!((count(&calls, "atlas:CreateCluster"), count(&calls, "atlas:UpdateCluster")), (0, 1));

    // What nobody binds is counted. The object goes, and the cluster stays.
    let key = scene
        .until("the others are counted", || async {
            let key = scene.get("CustomerKey", "key").await;
            let found = &key["status"]["regions"][0]["unprotectedDatabases"];
            if found["count"].is_number() { Ok(key) } else { Err(key["status"].to_string()) }
        })
        .await;
    let sample = key["status"]["regions"][0]["unprotectedDatabases"]["sample"].to_string();
    assert!(sample.contains("small") && sample.contains("other"), "{sample}");
    scene.clusters().delete("db", &DeleteParams::default()).await.unwrap();
    scene
        .until("the object is gone", || async {
            let there = scene.get("EncryptedCluster", "db").await;
            if there.is_null() { Ok(()) } else { Err(there.to_string()) }
        })
        .await;
    assert_eq!(project(&scene).await["clusters"][0]["spec"]["name"], "shop");
}

/// A key that somebody made by hand, and that this object may use.
pub async fn by_hand(scene: &Scene) -> String {
    let kms = crate::support::aws::kms(&scene.aws, REGIONS[0], "AKIASANDBOX", "sandbox").await;
    let made = kms.create_key().send().await.unwrap().key_metadata.unwrap();
    let tag = aws_sdk_kms::types::Tag::builder()
        .tag_key("cmk-operator.io/adopt-by")
        .tag_value(format!("test/{}/key", scene.namespace))
        .build()
        .unwrap();
    kms.tag_resource().key_id(made.key_id()).tags(tag).send().await.unwrap();
    made.arn().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_is_registered_once_it_is_proven_and_the_earlier_one_stays_usable() {
    let scene = Scene::started("atlas-replace").await;
    apply(&scene, &[secret(&scene, true), key(&scene), cluster(&scene, &REGIONS[..1])]).await;
    trust(&scene).await;
    let (first, _) = scene.all_ready().await;
    let old = first["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned();
    let policy_of = |state: &Value, arn: &str| state["keys"][arn]["policy"].clone();
    let old_policy = policy_of(&scene.state().await, &old);

    let new = by_hand(&scene).await;
    let mut replacing = key(&scene);
    replacing["spec"]["regions"] = json!([{ "name": REGIONS[0], "keyArn": new }]);
    scene.apply(&replacing).await.unwrap();
    let stuck = scene.wait_for("CustomerKey", "key", "Stalled", "True", "RegistrationConflict").await;
    let message = find(&stuck, "Registered").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("previousKeyArns") && message.contains(&old), "{message}");
    assert_eq!(project(&scene).await["key"]["key"], old, "nothing is overwritten that the spec does not name");

    let mark = scene.mark().await;
    replacing["spec"]["regions"] = json!([{ "name": REGIONS[0], "keyArn": new, "previousKeyArns": [old] }]);
    scene.apply(&replacing).await.unwrap();
    let (second, cluster) = scene.all_ready().await;
    assert_eq!(second["status"]["regions"][0]["registeredKeyArn"], new);
    let message = find(&second, "Registered").unwrap()["message"].as_str().unwrap();
    assert!(message.contains(&old) && message.contains("need that key still"), "{message}");
    assert_eq!(find(&cluster, "EncryptionVerified").unwrap()["reason"], "EncryptionReported");
    let project = project(&scene).await;
    assert_eq!((&project["key"]["key"], &project["key"]["valid"]), (&json!(new), &json!(true)));
    assert!(project["snapshot_keys"].to_string().contains(&old), "{project}");
    let state = scene.state().await;
    assert_eq!(policy_of(&state, &old), old_policy, "the earlier key's policy is left as it was");
    assert_eq!(state["keys"][&old]["state"], "Enabled");
    let calls = scene.calls_since(mark).await;
    let registered = position(&calls, "atlas:UpdateEncryptionAtRest");
    let looks = calls[..registered].iter().filter(|c| c["operation"] == "atlas:GetEncryptionAtRest").count();
    assert!(looks >= 3, "the new key was seen right three times before: {looks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_role_gets_one_record_and_takes_over_while_the_earlier_one_is_let_in() {
    let scene = Scene::started("atlas-role").await;
    apply(&scene, &[secret(&scene, true), key(&scene), cluster(&scene, &REGIONS[..1])]).await;
    trust(&scene).await;
    scene.all_ready().await;
    let earlier = linked(&scene).await;

    let mark = scene.mark().await;
    let other = format!("{ROLE}-2");
    let mut changed = key(&scene);
    changed["spec"]["upstream"]["atlas"]["role"] = json!({ "arn": other });
    scene.apply(&changed).await.unwrap();
    let shown = scene
        .until("the other role's record is shown", || async {
            let key = scene.get("CustomerKey", "key").await;
            let role = &key["status"]["regions"][0]["cloudRole"];
            let differs = role["externalId"].is_string() && role["externalId"] != earlier["externalId"];
            if differs { Ok(role.clone()) } else { Err(key["status"].to_string()) }
        })
        .await;
    assert_eq!(shown["roleArn"], other);
    let valid = project(&scene).await["key"].clone();
    assert_eq!(
        (&valid["valid"], &valid["access"]["role"]["role_id"]),
        (&json!(true), &earlier["id"]),
        "the earlier role is in use meanwhile"
    );
    let trust = json!({ "principals": [ATLAS], "external_ids": [shown["externalId"]] });
    scene.command(&json!({ "create_principal": { "arn": other, "trust": trust } })).await;
    scene
        .until("Atlas uses the key as the other role", || async {
            let project = project(&scene).await;
            let used = &project["key"];
            let by_it = used["access"]["role"]["role_id"] == shown["id"];
            if used["valid"] == true && by_it { Ok(()) } else { Err(project.to_string()) }
        })
        .await;
    scene.all_ready().await;
    let calls = scene.calls_since(mark).await;
    assert_eq!(count(&calls, "atlas:CreateCloudProviderAccess"), 1, "one record is made for it");
    assert_eq!(count(&calls, "atlas:UpdateEncryptionAtRest"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_uses_its_key_by_an_access_key_is_switched_only_where_the_spec_says_so_and_keeps_its_key() {
    let scene = Scene::started("atlas-switch").await;
    let old = by_hand(&scene).await;
    let access = json!({ "credentials": { "access_key_id": "AKIASANDBOX" } });
    let put = json!({ "put_key": { "project": PROJECT, "key": old, "region": "US_EAST_1", "access": access } });
    scene.command(&json!({ "atlas": put })).await;
    assert_eq!(project(&scene).await["key"]["valid"], true, "the scene is one that works");
    let mut switching = key(&scene);
    switching["spec"]["regions"] = json!([{ "name": REGIONS[0], "keyArn": old }]);
    apply(&scene, &[secret(&scene, true), switching.clone()]).await;
    scene.wait_for("CustomerKey", "key", "Stalled", "True", "RegistrationConflict").await;
    switching["spec"]["upstream"]["atlas"]["switchFromCredentials"] = json!(true);
    scene.apply(&switching).await.unwrap();
    trust(&scene).await;
    scene.ready("CustomerKey", "key").await;
    let project = project(&scene).await;
    assert_eq!((&project["key"]["key"], &project["key"]["valid"]), (&json!(old), &json!(true)));
    assert!(project["key"]["access"]["role"]["role_id"].is_string(), "{project}");
    assert_eq!(count(&scene.calls().await, "atlas:UpdateEncryptionAtRest"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_atlas_and_what_it_answers_is_in_the_contract() {
    let mut scene = Scene::new("atlas-contract").await;
    let file = scene.dir.path().join("atlas.jsonl");
    let recorder = Helper::start("record.py", &["--to", &scene.atlas, "--file", file.to_str().unwrap()]).await;
    scene.atlas = recorder.says("address");
    scene.start();
    let mut nobody = secret(&scene, true);
    nobody["stringData"]["clientSecret"] = json!("wrong");
    let mut restricted = key(&scene);
    restricted["spec"]["upstream"]["atlas"]["restrictSourceIps"] = json!(true);
    apply(&scene, &[nobody, restricted]).await;
    scene.wait_for("CustomerKey", "key", "CredentialsValid", "False", "CredentialsRejected").await;
    apply(&scene, &[secret(&scene, true), cluster(&scene, &REGIONS[..1])]).await;
    trust(&scene).await;
    scene.all_ready().await;
    // Another region, through the gate.
    scene.apply(&cluster(&scene, &REGIONS)).await.unwrap();
    scene.all_ready().await;
    let recorded = std::fs::read_to_string(&file).unwrap();
    for path in ["/ipAddresses", "/unauth/controlPlaneIPAddresses"] {
        assert!(recorded.contains(path), "{path} was asked for");
    }
    let contract = program("atlas-contract.yaml");
    let checked = Command::new(python())
        .args([program("contract.py").as_os_str(), "--table".as_ref(), contract.as_os_str(), file.as_os_str()])
        .output()
        .await
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_to_a_role_that_cannot_open_what_is_encrypted_changes_nothing_until_it_can() {
    let scene = Scene::started("atlas-shut").await;
    make_role(&scene, ATLAS, "unknown yet").await;
    let old = by_hand(&scene).await;
    let kms = scene.administrator(REGIONS[0]).await;
    let policy = |denies: bool| {
        let root = json!({ "Sid": "root", "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
            "Action": "kms:*", "Resource": "*" });
        let shut = json!({ "Sid": "shut", "Effect": "Deny", "Principal": { "AWS": ROLE }, "Action": "kms:Decrypt", "Resource": "*" });
        let statements = if denies { json!([root, shut]) } else { json!([root]) };
        json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
    };
    let write = |text: String| kms.put_key_policy().key_id(&old).policy_name("default").policy(text).send();
    write(policy(true)).await.unwrap();
    let access = json!({ "credentials": { "access_key_id": "AKIASANDBOX" } });
    let put = json!({ "put_key": { "project": PROJECT, "key": old, "region": "US_EAST_1", "access": access } });
    scene.command(&json!({ "atlas": put })).await;
    let mut switching = key(&scene);
    switching["spec"]["regions"] = json!([{ "name": REGIONS[0], "keyArn": old }]);
    switching["spec"]["upstream"]["atlas"]["switchFromCredentials"] = json!(true);
    apply(&scene, &[secret(&scene, true), switching.clone()]).await;
    let shown = linked(&scene).await;
    let trust = json!({ "principals": [ATLAS], "external_ids": [shown["externalId"]] });
    let unique = scene.state().await["roles"][ROLE]["unique_id"].clone();
    let stuck = scene.wait_for("CustomerKey", "key", "Stalled", "True", "LockoutRisk").await;
    assert!(find(&stuck, "PoliciesReady").unwrap()["message"].to_string().contains(ROLE), "{stuck:#}");
    assert_eq!(count(&scene.calls().await, "atlas:UpdateEncryptionAtRest"), 0);
    let untouched = project(&scene).await["key"].clone();
    assert_eq!(
        (&untouched["access"]["credentials"]["access_key_id"], &untouched["valid"]),
        (&json!("AKIASANDBOX"), &json!(true))
    );

    // The administrator of the key lets the role in, and that of the role has it trust Atlas; the role is the same one.
    write(policy(false)).await.unwrap();
    let iam = super::atlas_role::iam(&scene).await;
    let document = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
        "Principal": { "AWS": shown["trustedArn"] }, "Action": "sts:AssumeRole",
        "Condition": { "StringEquals": { "sts:ExternalId": trust["external_ids"][0] } } }] });
    // A policy of the role's own shuts it out still.
    let shut = json!({ "Version": "2012-10-17",
        "Statement": [{ "Effect": "Deny", "Action": "kms:Decrypt", "Resource": old }] });
    let shutting = iam.put_role_policy().role_name("atlas-kms").policy_name("shut").policy_document(shut.to_string());
    shutting.send().await.unwrap();
    iam.update_assume_role_policy().role_name("atlas-kms").policy_document(document.to_string()).send().await.unwrap();
    switching["metadata"]["annotations"] = json!({ "cmk-operator.io/reconcile-requested-at": "1" });
    scene.apply(&switching).await.unwrap();
    // The same reason as that of a role which Atlas cannot assume yet: the words tell them apart.
    scene
        .until("it is said what keeps the role out", || async {
            let key = scene.get("CustomerKey", "key").await;
            let stalled = find(&key, "Stalled").is_some_and(|c| c["reason"] == "CloudRoleRefused");
            let denied = "a policy of the role denies it kms:Decrypt";
            let said = find(&key, "Registered").is_some_and(|c| c["message"].to_string().contains(denied));
            if stalled && said { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    assert_eq!(count(&scene.calls().await, "atlas:UpdateEncryptionAtRest"), 0);
    assert_eq!(project(&scene).await["key"], untouched);

    iam.delete_role_policy().role_name("atlas-kms").policy_name("shut").send().await.unwrap();
    switching["metadata"]["annotations"] = json!({ "cmk-operator.io/reconcile-requested-at": "2" });
    scene.apply(&switching).await.unwrap();
    scene.ready("CustomerKey", "key").await;
    assert_eq!(scene.state().await["roles"][ROLE]["unique_id"], unique);
    assert_eq!(project(&scene).await["key"]["key"], old, "with the same key");

    // Only then another key.
    let new = by_hand(&scene).await;
    switching["spec"]["regions"] = json!([{ "name": REGIONS[0], "keyArn": new, "previousKeyArns": [old] }]);
    scene.apply(&switching).await.unwrap();
    scene
        .until("the new key is registered", || async {
            let project = project(&scene).await;
            if project["key"]["key"] == new && project["key"]["valid"] == true {
                Ok(())
            } else {
                Err(project.to_string())
            }
        })
        .await;
    scene.ready("CustomerKey", "key").await;
    let calls = scene.calls().await;
    let changes: Vec<&Value> = calls.iter().filter(|c| c["operation"] == "atlas:UpdateEncryptionAtRest").collect();
    assert_eq!(changes.len(), 2, "the role with the same key, then the new key: {changes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_in_another_account_needs_the_key_policy_and_its_own_and_the_latter_is_printed() {
    const THERE: &str = "arn:aws:iam::222222222222:role/atlas-kms";
    let scene = Scene::started("atlas-two").await;
    let mut two = key(&scene);
    two["spec"]["upstream"]["atlas"]["role"] = json!({ "arn": THERE });
    apply(&scene, &[secret(&scene, true), two]).await;
    let role = linked(&scene).await;
    let trust = json!({ "principals": [ATLAS], "external_ids": [role["externalId"]] });
    scene.command(&json!({ "create_principal": { "arn": THERE, "trust": trust } })).await;
    scene.command(&json!({ "set_role_policies": { "arn": THERE, "policies": {} } })).await;
    let stuck = scene.wait_for("CustomerKey", "key", "Stalled", "True", "CloudRoleRefused").await;
    let message = find(&stuck, "Registered").unwrap()["message"].as_str().unwrap().to_owned();
    let permissions = asked_for(&message, "Its permissions have to hold ");
    let arn = &stuck["status"]["regions"][0]["keyArn"];
    let policy = scene.state().await["keys"][arn.as_str().unwrap()]["policy"].to_string();
    assert!(policy.contains(THERE), "the key policy names the role of the other account: {policy}");
    scene.command(&json!({ "set_role_policies": { "arn": THERE, "policies": { "printed": permissions } } })).await;
    scene.ready("CustomerKey", "key").await;
    assert_eq!(project(&scene).await["key"]["valid"], true);
    let touched = scene.calls().await.into_iter().filter(|c| c["service"] == "iam").count();
    assert_eq!(touched, 0, "a role that somebody else keeps is not even looked at");
}
