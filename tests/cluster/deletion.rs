//! The end of keys and databases: what blocks it, who is told, what unblocks it, and what is found again afterwards.

use aws_sdk_kms::types::Tag;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::scene::{ORGANIZATION, Scene, TOKEN, find};

const REGION: &str = "us-east-1";
const OTHER: &str = "eu-west-1";
const CONFIRM: &str = "cmk-operator.io/confirm-deletion";

/// A token that may do everything but register keys: keys are made, and never registered.
async fn without_registration(scene: &Scene) {
    let may = ["org-cmk-read", "org-db-create", "org-db-view", "org-db-expand", "org-db-terminate"];
    scene.command(&json!({ "set_token": { "token": TOKEN, "org": ORGANIZATION, "permissions": may } })).await;
}

/// The key of the scene, to be scheduled for deletion in the end.
pub fn mortal(scene: &Scene, regions: &[&str]) -> Value {
    let mut key = scene.key(regions);
    key["spec"]["deletionPolicy"] = json!("ScheduleDeletion");
    key
}

/// A key that is made, but not registered, in these regions.
pub async fn unregistered(scene: &Scene, regions: &[&str]) {
    without_registration(scene).await;
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&mortal(scene, regions)).await.unwrap();
    scene
        .until("every region has its key, and the registration is refused", || async {
            let key = scene.get("CustomerKey", "key").await;
            let made = key["status"]["regions"].as_array().into_iter().flatten().filter(|r| r["keyArn"].is_string());
            let refused = find(&key, "Ready").is_some_and(|c| c["reason"] == "CredentialsLackPermission");
            if made.count() == regions.len() && refused { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
}

pub async fn annotate(scene: &Scene, kind: &str, name: &str, token: &str) {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { CONFIRM: token } } }));
    scene.objects(&scene.namespace, kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn set_policy(scene: &Scene, namespace: &str, kind: &str, name: &str, policy: &str) {
    let patch = Patch::Merge(json!({ "spec": { "deletionPolicy": policy } }));
    scene.objects(namespace, kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
}

pub async fn delete(scene: &Scene, kind: &str, name: &str) {
    scene.objects(&scene.namespace, kind).delete(name, &DeleteParams::default()).await.unwrap();
}

/// Waits until the deletion is blocked by this, said in status and in Ready as the design has it, with the way out.
async fn blocked(scene: &Scene, namespace: &str, kind: &str, name: &str, by: &str) -> Value {
    scene
        .until(&format!("{kind} {name} is blocked by {by:?}"), || async {
            let object = scene.get_in(namespace, kind, name).await;
            let blocked = object["status"]["deletion"]["blockedBy"].as_array().cloned().unwrap_or_default();
            let is = |type_, status| {
                find(&object, type_).is_some_and(|c| c["status"] == status && c["reason"] == "DeletionBlocked")
            };
            let ready = is("Ready", "False") && is("Stalled", "True");
            let said = blocked.iter().any(|text| {
                let text = text.as_str().unwrap();
                text.contains(by) && text.contains("To do: ")
            });
            let way_out = object["status"]["conditions"].to_string().contains("set spec.deletionPolicy to Retain");
            if ready && said && way_out { Ok(object) } else { Err(object["status"].to_string()) }
        })
        .await
}

pub async fn gone(scene: &Scene, kind: &str, name: &str) {
    scene
        .until(&format!("{kind} {name} is gone"), || async {
            let object = scene.get_in(&scene.namespace, kind, name).await;
            if object.is_null() { Ok(()) } else { Err(object["status"].to_string()) }
        })
        .await;
}

pub fn token(object: &Value) -> String {
    object["status"]["deletion"]["confirmationToken"].as_str().expect("a token is shown").to_owned()
}

/// Nothing was deleted: not even asked for.
async fn nothing_deleted(scene: &Scene) {
    let deleting = ["kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:DeleteAlias", "astra:Terminate"];
    let calls = scene.calls().await;
    let bad: Vec<&Value> = calls
        .iter()
        .filter(|call| deleting.iter().any(|op| call["operation"].as_str().unwrap().starts_with(op)))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    for (arn, key) in scene.state().await["keys"].as_object().unwrap() {
        assert_eq!(key["state"], "Enabled", "{arn}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_scheduled_once_confirmed_and_found_again_by_an_object_applied_anew() {
    let scene = Scene::started("scheduled").await;
    unregistered(&scene, &[REGION, OTHER]).await;
    let alive = scene.get("CustomerKey", "key").await;
    let warned = alive["status"]["deletion"]["blockedBy"][0].as_str().unwrap();
    assert!(warned.contains("no call to withdraw a registration"), "it is said from the start: {warned}");
    assert!(alive["status"]["deletion"]["confirmationToken"].is_null(), "nobody has asked for a deletion");

    delete(&scene, "CustomerKey", "key").await;
    let object = blocked(&scene, &scene.namespace, "CustomerKey", "key", "Nobody has confirmed").await;
    nothing_deleted(&scene).await;
    annotate(&scene, "CustomerKey", "key", &token(&object)).await;
    gone(&scene, "CustomerKey", "key").await;
    let state = scene.state().await;
    let keys = state["keys"].as_object().unwrap();
    assert_eq!(keys.len(), 2);
    for (arn, key) in keys {
        assert_eq!(key["state"], "PendingDeletion", "{arn}");
        let days = (key["deletion_at_ms"].as_i64().unwrap() - state["now_ms"].as_i64().unwrap()) / 86_400_000;
        assert!((29..=30).contains(&days), "{arn} is given {days} days");
        assert!(state["aliases"].as_object().unwrap().values().any(|target| target == arn), "{arn} keeps its alias");
    }

    // Somebody else takes one of the deletions upon himself: that one is his.
    let theirs = arn_in(keys.keys(), OTHER);
    let kms = scene.administrator(OTHER).await;
    kms.cancel_key_deletion().key_id(&theirs).send().await.unwrap();
    let emptied = Tag::builder().tag_key("cmk-operator.io/deletion-by").tag_value("").build().unwrap();
    kms.tag_resource().key_id(&theirs).tags(emptied).send().await.unwrap();
    kms.schedule_key_deletion().key_id(&theirs).pending_window_in_days(7).send().await.unwrap();

    // And somebody deletes the alias of the other one, which takes no new one as long as it is pending deletion.
    let ours = arn_in(keys.keys(), REGION);
    let alias_of = |state: &serde_json::Value| {
        let aliases = state["aliases"].as_object().unwrap().iter();
        aliases.filter(|(_, target)| **target == ours).map(|(alias, _)| alias.clone()).collect::<Vec<_>>()
    };
    let alias = alias_of(&state).remove(0);
    let (_, name) = alias.split_once("alias/").unwrap();
    scene.administrator(REGION).await.delete_alias().alias_name(format!("alias/{name}")).send().await.unwrap();

    // From the same files: what the operator scheduled itself it takes back, what others did it reports; no other key.
    scene.apply(&mortal(&scene, &[REGION, OTHER])).await.unwrap();
    let again = scene
        .until("the key is restored", || async {
            let key = scene.get("CustomerKey", "key").await;
            let done = region(&key, REGION).is_some_and(|r| r["keyState"] == "Enabled" && r["deletionDate"].is_null());
            let told = region(&key, OTHER).is_some_and(|r| r["stage"] == "KeyPendingDeletion");
            if done && told { Ok(key) } else { Err(key["status"].to_string()) }
        })
        .await;
    assert_eq!(region(&again, REGION).unwrap()["keyArn"], ours);
    let message = region(&again, OTHER).unwrap()["message"].as_str().unwrap();
    assert!(message.contains("will be deleted in ") && message.contains("cancel-key-deletion"), "{message}");
    let marked = || async {
        let mark = scene.state().await["keys"][&ours]["tags"]["cmk-operator.io/deletion-by"].clone();
        if mark == "" { Ok(()) } else { Err(mark.to_string()) }
    };
    scene.until("the mark is taken off", marked).await;
    let state = scene.state().await;
    assert_eq!(state["keys"].as_object().unwrap().len(), 2);
    assert_eq!(state["keys"][&ours]["state"], "Enabled");
    assert_eq!(alias_of(&state), [alias], "found by its tags, it has its alias again");
    assert_eq!(state["keys"][&theirs]["state"], "PendingDeletion");
}

fn arn_in<'k>(mut arns: impl Iterator<Item = &'k String>, region: &str) -> String {
    arns.find(|arn| arn.split(':').nth(3) == Some(region)).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_stood_in_git_beforehand_confirms_nothing() {
    let scene = Scene::started("fromgit").await;
    unregistered(&scene, &[REGION]).await;
    delete(&scene, "CustomerKey", "key").await;
    let first = token(&blocked(&scene, &scene.namespace, "CustomerKey", "key", "Nobody has confirmed").await);
    set_policy(&scene, &scene.namespace, "CustomerKey", "key", "Retain").await;
    gone(&scene, "CustomerKey", "key").await;

    // What the first deletion showed now stands in Git.
    let mut key = mortal(&scene, &[REGION]);
    key["metadata"]["annotations"] = json!({ CONFIRM: first });
    scene.apply(&key).await.unwrap();
    scene
        .until("the key is found again", || async {
            let key = scene.get("CustomerKey", "key").await;
            if key["status"]["regions"][0]["keyState"] == "Enabled" { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    delete(&scene, "CustomerKey", "key").await;
    let object = blocked(&scene, &scene.namespace, "CustomerKey", "key", "Nobody has confirmed").await;
    assert_ne!(token(&object), first);
    nothing_deleted(&scene).await;
    annotate(&scene, "CustomerKey", "key", &format!("{first}, {}", token(&object))).await;
    gone(&scene, "CustomerKey", "key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_uses_the_key_blocks_until_it_is_gone() {
    let scene = Scene::started("inuse").await;
    unregistered(&scene, &[REGION]).await;
    scene.apply(&scene.gate("gate", "key", REGION)).await.unwrap();
    scene
        .until("the cluster has claimed the key", || async {
            let gate = scene.get("EncryptedCluster", "gate").await;
            let claims = &gate["status"]["claims"];
            let right = *claims == json!([{ "namespace": scene.namespace, "name": "key", "regions": [REGION] }]);
            if right { Ok(()) } else { Err(gate["status"].to_string()) }
        })
        .await;
    delete(&scene, "CustomerKey", "key").await;
    let user = format!("EncryptedCluster {}/gate uses the key", scene.namespace);
    let object = blocked(&scene, &scene.namespace, "CustomerKey", "key", &user).await;
    assert_eq!(object["status"]["usedBy"], json!({ "count": 1, "sample": [format!("{}/gate", scene.namespace)] }));
    annotate(&scene, "CustomerKey", "key", &token(&object)).await;
    scene.wait_for("EncryptedCluster", "gate", "GateOpen", "False", "KeyDeleting").await;
    blocked(&scene, &scene.namespace, "CustomerKey", "key", &user).await;
    nothing_deleted(&scene).await;
    delete(&scene, "EncryptedCluster", "gate").await;
    gone(&scene, "EncryptedCluster", "gate").await;
    gone(&scene, "CustomerKey", "key").await;
    let state = scene.state().await;
    assert!(state["keys"].as_object().unwrap().values().all(|key| key["state"] == "PendingDeletion"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_key_is_never_scheduled_and_retain_releases_the_object() {
    let scene = Scene::started("registered").await;
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&mortal(&scene, &[REGION])).await.unwrap();
    let ready = scene.ready("CustomerKey", "key").await;
    let said = find(&ready, "Registered").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(said.contains("no call to withdraw a registration"), "{said}");
    delete(&scene, "CustomerKey", "key").await;
    let object = blocked(&scene, &scene.namespace, "CustomerKey", "key", "Astra has arn:aws:kms:us-east-1").await;
    annotate(&scene, "CustomerKey", "key", &token(&object)).await;
    blocked(&scene, &scene.namespace, "CustomerKey", "key", "have the cloud's support remove the registration").await;

    // Even if support removes it: what was encrypted under it may still be there.
    let forget = json!({ "org": ORGANIZATION, "kind": "serverless", "region": REGION });
    scene.command(&json!({ "forget_registration": forget })).await;
    blocked(&scene, &scene.namespace, "CustomerKey", "key", "was registered with Astra once").await;
    nothing_deleted(&scene).await;
    set_policy(&scene, &scene.namespace, "CustomerKey", "key", "Retain").await;
    gone(&scene, "CustomerKey", "key").await;
    nothing_deleted(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_cannot_be_reached_counts_as_in_use() {
    let scene = Scene::started("unreached").await;
    unregistered(&scene, &[REGION]).await;
    scene.fault(&json!({ "operation": "astra:*" }), &json!({ "http500": { "applied": false } })).await;
    delete(&scene, "CustomerKey", "key").await;
    let object = blocked(&scene, &scene.namespace, "CustomerKey", "key", "counts as in use").await;
    annotate(&scene, "CustomerKey", "key", &token(&object)).await;
    blocked(&scene, &scene.namespace, "CustomerKey", "key", "Astra cannot be asked whether it uses the keys").await;
    nothing_deleted(&scene).await;
    // It is reached again, and the confirmation that was given holds.
    scene.clear_faults().await;
    gone(&scene, "CustomerKey", "key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_with_its_secret_says_what_holds_it_and_retain_releases_it() {
    let mut scene = Scene::new("nsblocked").await;
    let going = format!("{}-all", scene.namespace);
    scene.create_namespace(&going, &json!({})).await;
    scene.watched.push(going.clone());
    scene.start();
    without_registration(&scene).await;
    for mut object in [scene.secret(), mortal(&scene, &[REGION])] {
        object["metadata"]["namespace"] = json!(going);
        scene.apply(&object).await.unwrap();
    }
    scene.wait_in(&going, "CustomerKey", "key", "Ready", "False", "CredentialsLackPermission").await;
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    namespaces.delete(&going, &DeleteParams::default()).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), &going);
    scene
        .until("the Secret is gone", || async {
            let left = secrets.get_opt("astra").await.unwrap();
            if left.is_none() { Ok(()) } else { Err("it is still there".to_owned()) }
        })
        .await;
    let object = blocked(&scene, &going, "CustomerKey", "key", "There is no Secret").await;
    let text = object["status"]["deletion"]["blockedBy"].to_string();
    assert!(text.contains("create the Secret"), "who can mend it, and how: {text}");
    nothing_deleted(&scene).await;
    set_policy(&scene, &going, "CustomerKey", "key", "Retain").await;
    scene
        .until("the namespace is gone", || async {
            let left = namespaces.get_opt(&going).await.unwrap();
            left.map_or(Ok(()), |namespace| Err(json!(namespace.status).to_string()))
        })
        .await;
    nothing_deleted(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_deleted_once_confirmed_whatever_goes_first() {
    let scene = Scene::started("database").await;
    let mut cluster = scene.cluster(&[REGION]);
    cluster["spec"]["deletionPolicy"] = json!("Delete");
    for object in [scene.secret(), scene.key(&[REGION]), cluster.clone()] {
        scene.apply(&object).await.unwrap();
    }
    scene.all_ready().await;
    delete(&scene, "EncryptedCluster", "db").await;
    let object =
        blocked(&scene, &scene.namespace, "EncryptedCluster", "db", "Nobody has confirmed that database").await;
    nothing_deleted(&scene).await;

    // The key goes at once under Retain, and with it the knowledge of where the database is.
    delete(&scene, "CustomerKey", "key").await;
    gone(&scene, "CustomerKey", "key").await;
    annotate(&scene, "EncryptedCluster", "db", &token(&object)).await;
    let why = format!("CustomerKey {}/key does not exist", scene.namespace);
    blocked(&scene, &scene.namespace, "EncryptedCluster", "db", &why).await;
    nothing_deleted(&scene).await;
    scene.apply(&scene.key(&[REGION])).await.unwrap();
    gone(&scene, "EncryptedCluster", "db").await;
    let databases = scene.state().await["astra"][ORGANIZATION]["databases"].clone();
    assert_eq!(databases.as_array().unwrap().len(), 1);
    assert!(databases[0]["status"].as_str().unwrap().starts_with("TERMINAT"), "{databases:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_database_is_released_by_retain() {
    let scene = Scene::started("dbretain").await;
    let mut cluster = scene.cluster(&[REGION]);
    cluster["spec"]["deletionPolicy"] = json!("Delete");
    for object in [scene.secret(), scene.key(&[REGION]), cluster.clone()] {
        scene.apply(&object).await.unwrap();
    }
    scene.all_ready().await;
    delete(&scene, "EncryptedCluster", "db").await;
    blocked(&scene, &scene.namespace, "EncryptedCluster", "db", "Nobody has confirmed that database").await;
    set_policy(&scene, &scene.namespace, "EncryptedCluster", "db", "Retain").await;
    gone(&scene, "EncryptedCluster", "db").await;
    nothing_deleted(&scene).await;
    let databases = scene.state().await["astra"][ORGANIZATION]["databases"].clone();
    assert_eq!(databases[0]["status"], "ACTIVE");
}

fn region<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    object["status"]["regions"].as_array()?.iter().find(|region| region["name"] == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_leaves_the_spec_and_comes_back_under_retain() {
    let scene = Scene::started("comesback").await;
    scene.apply_all(&[REGION, OTHER]).await;
    let (key, cluster) = scene.all_ready().await;
    let arn = region(&key, OTHER).unwrap()["keyArn"].clone();
    let id = cluster["status"]["upstreamId"].clone();

    // In use: still managed, and shown.
    scene.apply(&scene.key(&[REGION])).await.unwrap();
    let in_use = scene.wait_for("CustomerKey", "key", "Ready", "False", "RegionInUse").await;
    assert_eq!(region(&in_use, OTHER).unwrap()["keyArn"], arn);
    scene.command(&json!({ "put_policy": { "arn": arn, "policy": foreign_only(&scene, &arn).await } })).await;
    touch(&scene).await;
    scene
        .until("its policy is still healed", || async {
            let policy = scene.state().await["keys"][arn.as_str().unwrap()]["policy"].to_string();
            if policy.contains("use\\\"") || policy.contains("use\"") { Ok(()) } else { Err(policy) }
        })
        .await;

    // Taken out of the cluster too, its deployment stays, and with it the claim.
    let mut smaller = scene.cluster(&[REGION]);
    smaller["spec"]["primaryRegion"] = json!(REGION);
    scene.apply(&smaller).await.unwrap();
    let shrunk = scene.ready("EncryptedCluster", "db").await;
    assert_eq!(region(&shrunk, OTHER).unwrap()["stage"], "Done", "{:#}", shrunk["status"]);
    assert_eq!(shrunk["status"]["claims"][0]["regions"], json!([OTHER, REGION]));
    let database = &scene.state().await["astra"][ORGANIZATION]["databases"][0];
    assert!(database["regions"].as_array().unwrap().iter().all(|r| r["status"] == "ACTIVE"), "{database:#}");
    touch(&scene).await;
    scene.wait_for("CustomerKey", "key", "Ready", "False", "RegionInUse").await;
    nothing_deleted(&scene).await;

    // Back as they were.
    let mark = scene.mark().await;
    scene.apply(&scene.key(&[REGION, OTHER])).await.unwrap();
    scene.apply(&scene.cluster(&[REGION, OTHER])).await.unwrap();
    let (key, cluster) = scene.all_ready().await;
    assert_eq!(region(&key, OTHER).unwrap()["keyArn"], arn);
    assert_eq!(cluster["status"]["upstreamId"], id);
    let created = scene.calls_since(mark).await.into_iter().filter(|call| {
        let operation = call["operation"].as_str().unwrap();
        operation.contains("Create") || operation.contains("AddDatacenters")
    });
    assert_eq!(created.count(), 0, "nothing is made anew");
}

async fn touch(scene: &Scene) {
    let request = uuid::Uuid::new_v4().to_string();
    let patch = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": request } } });
    scene.keys().patch("key", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// The key's policy with the account root alone.
async fn foreign_only(scene: &Scene, arn: &Value) -> String {
    let _ = (scene, arn);
    json!({ "Version": "2012-10-17", "Statement": [{
        "Sid": "root", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111111111111:root" },
        "Action": "kms:*", "Resource": "*",
    }] })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_nobody_uses_is_forgotten_under_retain_and_found_again() {
    let scene = Scene::started("forgotten").await;
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&scene.key(&[REGION, OTHER])).await.unwrap();
    let arn = region(&scene.ready("CustomerKey", "key").await, OTHER).unwrap()["keyArn"].clone();
    scene.apply(&scene.key(&[REGION])).await.unwrap();
    let without = scene.ready("CustomerKey", "key").await;
    assert!(region(&without, OTHER).is_none(), "{:#}", without["status"]);
    nothing_deleted(&scene).await;
    scene.apply(&scene.key(&[REGION, OTHER])).await.unwrap();
    let back = scene.ready("CustomerKey", "key").await;
    assert_eq!(region(&back, OTHER).unwrap()["keyArn"], arn);
    assert_eq!(scene.state().await["keys"].as_object().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_region_is_scheduled_once_confirmed_by_its_own_token() {
    let scene = Scene::started("regiongone").await;
    unregistered(&scene, &[REGION, OTHER]).await;
    scene.apply(&mortal(&scene, &[REGION])).await.unwrap();
    let shown = scene
        .until("the removal waits for a confirmation", || async {
            let key = scene.get("CustomerKey", "key").await;
            let deletion = region(&key, OTHER).map(|r| r["deletion"].clone()).unwrap_or_default();
            let said = deletion["blockedBy"].to_string().contains("nobody has confirmed");
            match deletion["confirmationToken"].as_str() {
                Some(token) if said => Ok(token.to_owned()),
                _ => Err(key["status"].to_string()),
            }
        })
        .await;
    nothing_deleted(&scene).await;

    // Put back and taken out again, it has another token: the old one confirms nothing.
    scene.apply(&mortal(&scene, &[REGION, OTHER])).await.unwrap();
    scene
        .until("what was written down is gone", || async {
            let key = scene.get("CustomerKey", "key").await;
            let there = region(&key, OTHER).filter(|r| r["deletion"].is_null() && r["keyState"] == "Enabled");
            if there.is_some() { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    annotate(&scene, "CustomerKey", "key", &shown).await;
    scene.apply(&mortal(&scene, &[REGION])).await.unwrap();
    let second = scene
        .until("the removal waits again", || async {
            let key = scene.get("CustomerKey", "key").await;
            let token =
                region(&key, OTHER).and_then(|r| r["deletion"]["confirmationToken"].as_str().map(str::to_owned));
            token.ok_or_else(|| key["status"].to_string())
        })
        .await;
    assert_ne!(second, shown);
    nothing_deleted(&scene).await;
    annotate(&scene, "CustomerKey", "key", &second).await;
    scene
        .until("the region is scheduled and forgotten", || async {
            let key = scene.get("CustomerKey", "key").await;
            if region(&key, OTHER).is_none() { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    let state = scene.state().await;
    for (arn, key) in state["keys"].as_object().unwrap() {
        let expected = if arn.contains(OTHER) { "PendingDeletion" } else { "Enabled" };
        assert_eq!(key["state"], expected, "{arn}");
    }
    // Back again, it takes back what it scheduled, and makes no other.
    scene.apply(&mortal(&scene, &[REGION, OTHER])).await.unwrap();
    scene
        .until("the region has its key again", || async {
            let key = scene.get("CustomerKey", "key").await;
            let state = region(&key, OTHER).map(|r| r["keyState"].clone()).unwrap_or_default();
            if state == "Enabled" { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    assert_eq!(scene.state().await["keys"].as_object().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_of_a_database_is_removed_once_confirmed() {
    let scene = Scene::started("dbregion").await;
    let with = |regions: &[&str]| {
        let mut cluster = scene.cluster(regions);
        cluster["spec"]["deletionPolicy"] = json!("Delete");
        cluster["spec"]["primaryRegion"] = json!(REGION);
        cluster
    };
    for object in [scene.secret(), scene.key(&[REGION, OTHER]), with(&[REGION, OTHER])] {
        scene.apply(&object).await.unwrap();
    }
    scene.all_ready().await;
    scene.apply(&with(&[REGION])).await.unwrap();
    let shown = scene
        .until("the removal waits for a confirmation", || async {
            let cluster = scene.get("EncryptedCluster", "db").await;
            let token =
                region(&cluster, OTHER).and_then(|r| r["deletion"]["confirmationToken"].as_str().map(str::to_owned));
            token.ok_or_else(|| cluster["status"].to_string())
        })
        .await;
    nothing_deleted(&scene).await;
    annotate(&scene, "EncryptedCluster", "db", &shown).await;
    let cluster = scene
        .until("the region is removed", || async {
            let cluster = scene.get("EncryptedCluster", "db").await;
            let ready = find(&cluster, "Ready").is_some_and(|c| c["status"] == "True");
            if ready && region(&cluster, OTHER).is_none() { Ok(cluster) } else { Err(cluster["status"].to_string()) }
        })
        .await;
    assert_eq!(cluster["status"]["claims"][0]["regions"], json!([REGION]));
    scene
        .until("the database is active without it", || async {
            let database = scene.state().await["astra"][ORGANIZATION]["databases"][0].clone();
            let regions = database["regions"].as_array().unwrap();
            let live: Vec<&Value> = regions.iter().filter(|r| r["status"] == "ACTIVE").map(|r| &r["region"]).collect();
            if live == [REGION] && database["status"] == "ACTIVE" { Ok(()) } else { Err(database.to_string()) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_and_its_key_deleted_and_created_in_a_race_leave_no_database_without_its_key() {
    let scene = Scene::started("race").await;
    scene.apply(&scene.secret()).await.unwrap();
    for round in 0_u64..6 {
        scene.apply(&mortal(&scene, &[REGION])).await.unwrap();
        if round > 0 {
            scene.ready("CustomerKey", "key").await;
        }
        let mut cluster = scene.cluster(&[REGION]);
        cluster["metadata"]["name"] = json!(format!("db{round}"));
        cluster["spec"]["deployment"]["astra"]["name"] = json!(format!("db{round}"));
        scene.apply(&cluster).await.unwrap();
        // Later and later into the deployment: before the claim, between claim and creation, after it.
        tokio::time::sleep(std::time::Duration::from_millis(350 * round)).await;
        delete(&scene, "CustomerKey", "key").await;
        let user = format!("EncryptedCluster {}/db{round} uses the key", scene.namespace);
        let object = blocked_or_gone(&scene, &user).await;
        if !object.is_null() {
            annotate(
                &scene,
                "CustomerKey",
                "key",
                object["status"]["deletion"]["confirmationToken"].as_str().unwrap_or("none"),
            )
            .await;
        }
        delete(&scene, "EncryptedCluster", &format!("db{round}")).await;
        gone(&scene, "EncryptedCluster", &format!("db{round}")).await;
        set_policy_if_there(&scene).await;
        gone(&scene, "CustomerKey", "key").await;
        let state = scene.state().await;
        for database in state["astra"][ORGANIZATION]["databases"].as_array().unwrap() {
            for region in database["regions"].as_array().unwrap() {
                let key = &state["keys"][region["encrypted_with"].as_str().expect("never unencrypted")];
                assert_eq!(key["state"], "Enabled", "round {round}: {database:#}");
            }
        }
    }
}

/// Waits until the deletion of the key is blocked by its user; null if it made no key and is gone.
async fn blocked_or_gone(scene: &Scene, by: &str) -> Value {
    scene
        .until("the key is blocked by its cluster, or gone", || async {
            let key = scene.get("CustomerKey", "key").await;
            let blocked = key["status"]["deletion"]["blockedBy"].to_string();
            if key.is_null() || blocked.contains(by) { Ok(key) } else { Err(key["status"].to_string()) }
        })
        .await
}

/// A registered key is never scheduled, so only Retain lets it go.
async fn set_policy_if_there(scene: &Scene) {
    if !scene.get("CustomerKey", "key").await.is_null() {
        set_policy(scene, &scene.namespace, "CustomerKey", "key", "Retain").await;
    }
}
