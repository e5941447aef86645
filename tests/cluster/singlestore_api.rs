//! SingleStore by API: a group under its keys, made once whatever happens, and its second region.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::singlestore::{
    API_KEY, ORG, arn, attested, cluster, document, key, portal, secret, steps, submitted, suggested,
};
use crate::support::scene::{Scene, find};

const FIRST: &str = "us-east-1";
const SECOND: &str = "us-west-2";
const PASSWORD: &str = "Correct-Horse-1";

/// By API, with the password of a Secret.
fn api(more: &Value) -> Value {
    let mut deployment = json!({
        "mode": "Api", "acceptUnverifiedEncryption": true, "firewallRanges": ["10.0.0.0/8"],
        "adminPasswordSecretRef": { "name": "admin" },
    });
    for (field, value) in more.as_object().unwrap() {
        deployment[field] = value.clone();
    }
    deployment
}

fn password(scene: &Scene) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "admin", "namespace": scene.namespace },
        "stringData": { "password": PASSWORD },
    })
}

/// What the portal suggests for replication: for the second region's key, and to append to the first one's.
async fn suggested_for(scene: &Scene, group: &str, region: &str) -> (String, String) {
    let form = json!({ "suggested_replication_policies": { "org": ORG, "group": group, "region": region } });
    let both = portal(scene, &form).await;
    (both["secondary_key"].to_string(), both["append_to_primary_key"].to_string())
}

fn appended(json: &str) -> Value {
    json!({ "name": "copies", "regions": [FIRST], "replicationTo": SECOND, "json": json })
}

async fn groups(scene: &Scene) -> Vec<Value> {
    scene.state().await["singlestore"][ORG]["groups"].as_array().unwrap().clone()
}

fn message<'v>(object: &'v Value, condition: &str) -> &'v str {
    find(object, condition).unwrap()["message"].as_str().unwrap()
}

/// A CustomerKey with the policy for the first region, ready. Yields the ARN.
async fn first_key(scene: &Scene, name: &str) -> String {
    let policy = suggested(scene, FIRST).await;
    scene.apply(&key(scene, name, &[FIRST], &[document("portal", FIRST, &policy)])).await.unwrap();
    arn(&scene.ready("CustomerKey", name).await, FIRST)
}

async fn attestation_awaited(scene: &Scene) -> Value {
    scene
        .until("deployed, and not attested", || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            let is = |condition, reason| find(&shown, condition).is_some_and(|c| c["reason"] == reason);
            let so = is("Deployed", "DeployedEverywhere") && is("EncryptionVerified", "AwaitingAttestation");
            if so { Ok(shown) } else { Err(shown["status"].to_string()) }
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_made_once_under_its_two_keys_although_the_reply_is_lost() {
    let scene = Scene::started("s2api").await;
    scene.apply(&secret(&scene)).await.unwrap();
    let data = first_key(&scene, "key").await;
    let backup = first_key(&scene, "backups").await;
    let mut wanted = cluster(&scene, &[FIRST], &api(&json!({})));
    wanted["spec"]["backupKeyRef"] = json!({ "name": "backups" });
    // Without the password nothing is sent.
    scene.apply(&wanted).await.unwrap();
    let shown = scene.wait_for("EncryptedCluster", "db", "CredentialsValid", "False", "SecretKeyMissing").await;
    assert!(message(&shown, "CredentialsValid").contains("admin has no key password"), "{shown:#}");
    assert!(groups(&scene).await.is_empty());

    scene
        .fault(&json!({ "operation": "singlestore:CreateWorkspaceGroup", "nth": 1 }), &json!("applied_but_lost"))
        .await;
    scene.apply(&password(&scene)).await.unwrap();
    scene.wait_for("EncryptedCluster", "db", "GateOpen", "True", "AllChecksPass").await;
    scene
        .until("the fault fires", || async {
            let fired = scene.fired().await;
            if fired.iter().sum::<u64>() > 0 { Ok(()) } else { Err(format!("{fired:?}")) }
        })
        .await;
    scene.clear_faults().await;
    let shown = attestation_awaited(&scene).await;
    let made = groups(&scene).await;
    assert_eq!(made.len(), 1, "{made:#?}");
    assert_eq!(shown["status"]["upstreamId"], made[0]["id"]);
    assert_eq!(made[0]["encrypted_with"], json!({ "data": data, "backup": backup }));
    let told = steps(&shown);
    assert!(told[0].1.contains(&data) && told[0].1.contains(&backup), "{told:#?}");

    // It is claimed, so that neither key can be torn down.
    let claims = shown["status"]["claims"].as_array().unwrap();
    let claimed: Vec<&str> = claims.iter().map(|claim| claim["name"].as_str().unwrap()).collect();
    assert_eq!(claimed, ["key", "backups"]);

    // The attestation has to name the group that the operator made.
    let group = made[0]["id"].as_str().unwrap();
    let other = attested("00000000-0000-4000-8000-000000000000", &data, &backup);
    wanted["spec"]["deployment"]["singleStore"] = {
        let mut group = api(&json!({ "attested": other }));
        group["name"] = json!("orders");
        group
    };
    scene.apply(&wanted).await.unwrap();
    scene
        .until("the other group is named", || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            let verified = find(&shown, "EncryptionVerified").unwrap();
            let said = verified["message"].as_str().unwrap();
            let named = said.contains("00000000-0000-4000-8000-000000000000") && said.contains(group);
            if named && verified["reason"] == "AwaitingAttestation" { Ok(()) } else { Err(said.to_owned()) }
        })
        .await;
    wanted["spec"]["deployment"]["singleStore"]["attested"] = attested(group, &data, &backup);
    scene.apply(&wanted).await.unwrap();
    let shown = scene.ready("EncryptedCluster", "db").await;
    assert_eq!(find(&shown, "EncryptionVerified").unwrap()["reason"], "Attested");
    assert_eq!(groups(&scene).await.len(), 1);

    // Neither the password nor the API key is anywhere.
    let log = std::fs::read_to_string(scene.log_file()).unwrap();
    let objects = format!("{shown} {}", scene.get("CustomerKey", "key").await);
    let events = json!(scene.events(&scene.namespace).await).to_string();
    for hidden in [PASSWORD, API_KEY, "Sx!"] {
        for (place, text) in [("log", &log), ("status", &objects), ("events", &events)] {
            assert!(!text.contains(hidden), "{hidden:?} is in the {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_server_ignores_are_never_taken_for_encryption() {
    let scene = Scene::started("s2ignored").await;
    let ignore = json!({ "patch_settings": { "org": ORG, "settings": { "key_fields": "ignored" } } });
    scene.command(&json!({ "singlestore": ignore })).await;
    scene.apply(&secret(&scene)).await.unwrap();
    scene.apply(&password(&scene)).await.unwrap();
    first_key(&scene, "key").await;
    scene.apply(&cluster(&scene, &[FIRST], &api(&json!({})))).await.unwrap();
    let shown = attestation_awaited(&scene).await;
    assert_eq!(find(&shown, "Ready").unwrap()["reason"], "AwaitingAction", "{shown:#}");
    assert_eq!(find(&shown, "EncryptionVerified").unwrap()["status"], "Unknown");
    assert_eq!(groups(&scene).await[0]["encrypted_with"], json!({ "data": null, "backup": null }), "the risk is real");

    // The group that the operator made goes with the object, once a human has confirmed that; the key does not.
    let change = |change: Value| async {
        scene.clusters().patch("db", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    };
    change(json!({ "spec": { "deletionPolicy": "Delete" } })).await;
    scene.clusters().delete("db", &DeleteParams::default()).await.unwrap();
    let token = scene
        .until("the token is shown", || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            let token = shown["status"]["deletion"]["confirmationToken"].as_str().map(ToOwned::to_owned);
            token.ok_or_else(|| shown["status"].to_string())
        })
        .await;
    assert_eq!(groups(&scene).await[0]["state"], "ACTIVE", "nobody has confirmed it");
    change(json!({ "metadata": { "annotations": { "cmk-operator.io/confirm-deletion": token } } })).await;
    scene
        .until("the object is gone", || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            if shown.is_null() { Ok(()) } else { Err(shown["status"].to_string()) }
        })
        .await;
    assert_ne!(groups(&scene).await[0]["state"], "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_region_waits_for_its_key_for_the_extension_and_for_the_backups_key() {
    let scene = Scene::started("s2second").await;
    scene.apply(&secret(&scene)).await.unwrap();
    scene.apply(&password(&scene)).await.unwrap();
    let data = first_key(&scene, "key").await;
    let backup = first_key(&scene, "backups").await;
    let mut wanted = cluster(&scene, &[FIRST], &api(&json!({})));
    wanted["spec"]["backupKeyRef"] = json!({ "name": "backups" });
    scene.apply(&wanted).await.unwrap();
    let shown = attestation_awaited(&scene).await;
    let group = shown["status"]["upstreamId"].as_str().unwrap().to_owned();
    scene
        .command(&json!({ "singlestore": { "set_databases": { "org": ORG, "group": group, "names": ["shop"] } } }))
        .await;

    // The second region, with the first one not attested and no key there.
    let second = |more: &Value| {
        let mut wanted = cluster(&scene, &[FIRST, SECOND], &api(more));
        wanted["spec"]["backupKeyRef"] = json!({ "name": "backups" });
        wanted
    };
    let unproven = json!({ "replication": { "autoReplication": true } });
    let proven = json!({ "replication": { "autoReplication": true }, "attested": attested(&group, &data, &backup) });
    let gate = |shown: &Value, check: &str| {
        let regions = shown["status"]["regions"].as_array().unwrap();
        let region = regions.iter().find(|r| r["name"] == SECOND).cloned().unwrap_or_default();
        let checks = region["gate"]["checks"].as_array().cloned().unwrap_or_default();
        checks.into_iter().find(|c| c["name"] == check).unwrap_or(Value::Null)
    };
    let shut_by = async |check: &str, words: &[&str]| {
        scene
            .until(&format!("the gate is shut by {check}"), || async {
                let shown = scene.get("EncryptedCluster", "db").await;
                let found = gate(&shown, check);
                let said = found["message"].as_str().unwrap_or_default();
                let current = shown["metadata"]["generation"] == shown["status"]["observedGeneration"];
                let so = found["passed"] == false && words.iter().all(|w| said.contains(w)) && current;
                if so { Ok(()) } else { Err(shown["status"].to_string()) }
            })
            .await;
        let made = groups(&scene).await;
        assert!(made[0]["replication"].is_null(), "{check}: {made:#?}");
    };
    scene.apply(&second(&unproven)).await.unwrap();
    shut_by("PrimaryAttested", &["A second region can be put under a key only if the first one is"]).await;
    scene.apply(&second(&proven)).await.unwrap();
    shut_by("KeyHasRegion", &["has no region us-west-2"]).await;

    // A key of its own there, and the first one's policy not extended.
    let (own, append) = suggested_for(&scene, &group, SECOND).await;
    let first = suggested(&scene, FIRST).await;
    let of_first = document("portal", FIRST, &first);
    let of_second = document("portal-second", SECOND, &own);
    let documents = [of_first.clone(), of_second.clone()];
    scene.apply(&key(&scene, "key", &[FIRST, SECOND], &documents)).await.unwrap();
    shut_by("PrimaryExtended", &["lets SingleStore copy from us-east-1 to us-west-2"]).await;
    let extended = [of_first, of_second, appended(&append)];
    scene.apply(&key(&scene, "key", &[FIRST, SECOND], &extended)).await.unwrap();
    shut_by("BackupKeyHasRegion", &["backups has no region us-west-2"]).await;
    scene.apply(&key(&scene, "backups", &[FIRST, SECOND], &documents)).await.unwrap();
    shut_by("BackupPrimaryExtended", &["lets SingleStore copy from us-east-1 to us-west-2"]).await;
    let calls = scene.calls().await;
    assert!(calls.iter().all(|c| c["operation"] != "singlestore:SetUpReplication"), "nothing was tried");

    // All there.
    scene.apply(&key(&scene, "backups", &[FIRST, SECOND], &extended)).await.unwrap();
    let shown = scene.ready("EncryptedCluster", "db").await;
    let replication = groups(&scene).await[0]["replication"].clone();
    let (key_now, backups_now) = (scene.get("CustomerKey", "key").await, scene.get("CustomerKey", "backups").await);
    let keys = json!({ "data": arn(&key_now, SECOND), "backup": arn(&backups_now, SECOND) });
    assert_eq!((&replication["region"], &replication["encrypted_with"]), (&json!(SECOND), &keys));
    assert_eq!(replication["failed"], Value::Null);
    let states: Vec<&Value> = shown["status"]["regions"].as_array().unwrap().iter().map(|r| &r["state"]).collect();
    assert_eq!(states, ["Active", "Active"]);

    // A failover, and back: status follows.
    for (operation, words) in [("failover", "The second region has taken over."), ("failback", "")] {
        let url = format!("{}/v1/workspaceGroups/{group}/storage/DR/{operation}", scene.singlestore);
        let sent = scene.http.patch(url).bearer_auth(API_KEY).send().await.unwrap();
        assert!(sent.status().is_success(), "{operation}: {sent:?}");
        let now = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": operation } } });
        let patch = Patch::Merge(now);
        scene.clusters().patch("db", &PatchParams::default(), &patch).await.unwrap();
        scene
            .until(&format!("status follows the {operation}"), || async {
                let shown = scene.get("EncryptedCluster", "db").await;
                let ready = find(&shown, "Ready").unwrap()["status"] == "True";
                let said = message(&shown, "Deployed").to_owned();
                let follows = said.contains(words) && (!words.is_empty() || !said.contains("taken over"));
                if ready && follows { Ok(()) } else { Err(shown["status"].to_string()) }
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_by_hand_is_told_step_by_step_and_followed() {
    let scene = Scene::started("s2copy").await;
    scene.apply(&secret(&scene)).await.unwrap();
    let data = first_key(&scene, "key").await;
    let group = submitted(&scene, "orders", FIRST, Some(&data), Some(&data)).await;
    let bound = json!({
        "workspaceGroupId": group, "attested": attested(&group, &data, &data),
        "replication": { "autoReplication": true },
    });
    let policy = document("portal", FIRST, &suggested(&scene, FIRST).await);
    scene.apply(&key(&scene, "key", &[FIRST, SECOND], std::slice::from_ref(&policy))).await.unwrap();
    scene.apply(&cluster(&scene, &[FIRST, SECOND], &bound)).await.unwrap();
    let told = scene
        .until("the policies are asked for", || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            let told = steps(&shown);
            let asked = told.iter().any(|(_, paste)| paste.contains("replicationTo: us-west-2"));
            if asked { Ok(told) } else { Err(shown["status"].to_string()) }
        })
        .await;
    assert!(told.iter().all(|(_, paste)| !paste.contains("arn:aws:kms")), "no ARN yet: {told:#?}");
    let (own, append) = suggested_for(&scene, &group, SECOND).await;
    let documents = [policy, document("portal-second", SECOND, &own), appended(&append)];
    scene.apply(&key(&scene, "key", &[FIRST, SECOND], &documents)).await.unwrap();
    let shown = scene.ready("CustomerKey", "key").await;
    let there = arn(&shown, SECOND);
    scene
        .until("the ARNs are handed out", || async {
            let shown = scene.get("EncryptedCluster", "db").await;
            let told = steps(&shown);
            let pasted = told.iter().filter(|(_, paste)| *paste == there).count();
            if pasted == 2 { Ok(()) } else { Err(shown["status"].to_string()) }
        })
        .await;
    let form = json!({ "set_up_replication": {
        "org": ORG, "group": group, "region": SECOND, "data_key": there, "backup_key": there,
    } });
    portal(&scene, &form).await;
    let now = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": "now" } } });
    let patch = Patch::Merge(now);
    scene.clusters().patch("db", &PatchParams::default(), &patch).await.unwrap();
    let shown = scene.ready("EncryptedCluster", "db").await;
    assert!(steps(&shown).is_empty(), "{shown:#}");
    let calls = scene.calls().await;
    let written = |c: &&Value| {
        c["operation"]
            .as_str()
            .is_some_and(|o| o == "singlestore:SetUpReplication" || o == "singlestore:CreateWorkspaceGroup")
    };
    assert_eq!(calls.iter().filter(written).count(), 0, "by hand, and by nobody else");
}
