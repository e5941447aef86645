//! Atlas with a role that the operator makes: made, kept, never taken from somebody else, and made once whatever dies.

use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use cmk_operator::plan::role_step::RoleSite;
use cmk_operator::plan::step::Site;
use serde_json::{Value, json};
use tokio::process::Command;

use super::atlas::{ATLAS, REGIONS, apply, cluster, count, key, position, project, secret};
use super::atlas_crash::Trouble;
use super::crash::{Play, all};
use crate::support::scene::{ACCOUNT, OPERATOR, Scene, find};

/// The name that the specs here ask for.
const NAME: &str = "atlas-kms";

/// The ARN of the role in a scene.
fn arn(scene: &Scene) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/cmk-operator/test/{}/{NAME}", scene.namespace)
}

/// A key whose role the operator makes.
fn making(scene: &Scene) -> Value {
    let mut key = key(scene);
    key["spec"]["upstream"]["atlas"]["role"] = json!({ "create": { "name": NAME } });
    key
}

/// The role as the simulated IAM has it; null: there is none.
async fn role(scene: &Scene) -> Value {
    scene.state().await["roles"][arn(scene)].clone()
}

/// IAM for an administrator of the account.
pub async fn iam(scene: &Scene) -> aws_sdk_iam::Client {
    scene.administrator(REGIONS[0]).await;
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGIONS[0]))
        .endpoint_url(&scene.aws)
        .credentials_provider(Credentials::new("AKIAADMINISTRATOR", "secret", None, None, "test"))
        .load()
        .await;
    aws_sdk_iam::Client::new(&config)
}

/// Has the operator look at everything of the key at once.
async fn ask(scene: &Scene, mut key: Value, what: &str) {
    key["metadata"]["annotations"] = json!({ "cmk-operator.io/reconcile-requested-at": what });
    scene.apply(&key).await.unwrap();
}

/// Waits until the object is ready after it was asked, the role trusts Atlas alone, and Atlas can use the key.
async fn mended(scene: &Scene, what: &str) -> Value {
    scene.until("the role is put right and Atlas can use the key", || right(scene, Some(what))).await
}

/// Whether all of that is so now; yields the role.
async fn right(scene: &Scene, asked: Option<&str>) -> Result<Value, String> {
    let key = scene.get("CustomerKey", "key").await;
    let ready = find(&key, "Ready").is_some_and(|c| c["status"] == "True" && c["reason"] == "AsDeclared");
    let handled = asked.is_none_or(|what| key["status"]["lastHandledReconcileAt"] == what);
    let valid = project(scene).await["key"]["valid"] == true;
    let role = role(scene).await;
    let right = is_right(&key, &role);
    if ready && handled && valid && right { Ok(role) } else { Err(format!("{} {role}", key["status"])) }
}

/// Somebody has the role trust another account.
async fn trust_nobody(scene: &Scene) {
    let nobody = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"sts:AssumeRole"}]}"#;
    let changing = iam(scene).await.update_assume_role_policy().role_name(NAME).policy_document(nobody);
    changing.send().await.unwrap();
}

/// Whether the role trusts what status shows, and may use the key and nothing else.
fn is_right(key: &Value, role: &Value) -> bool {
    let region = &key["status"]["regions"][0];
    let trust = &role["trust"]["Statement"][0];
    let trusts = trust["Condition"]["StringEquals"]["sts:ExternalId"] == region["cloudRole"]["externalId"]
        && trust["Principal"]["AWS"] == format!("arn:aws:iam::{ATLAS}:root")
        && role["trust"]["Statement"].as_array().is_some_and(|all| all.len() == 1);
    let permits = role["policies"]
        == json!({ "cmk-operator": { "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*"],
        "Resource": [region["keyArn"]],
    }] } });
    trusts && permits
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_made_for_the_cloud_and_kept_as_it_has_to_be() {
    let scene = Scene::started("atlas-role").await;
    apply(&scene, &[secret(&scene, true), making(&scene), cluster(&scene, &REGIONS)]).await;
    let (key, _) = scene.all_ready().await;
    let made = role(&scene).await;
    assert!(is_right(&key, &made), "{made:#}");
    let tags = &made["tags"];
    for (name, value) in [("installation", "test"), ("namespace", scene.namespace.as_str()), ("name", "key")] {
        assert_eq!(tags[format!("cmk-operator.io/{name}")], value, "{tags}");
    }
    let calls = scene.calls().await;
    let order = [
        "atlas:CreateCloudProviderAccess",
        "iam:CreateRole",
        "iam:PutRolePolicy",
        "atlas:AuthorizeCloudProviderAccess",
        "atlas:UpdateEncryptionAtRest",
        "atlas:CreateCluster",
    ];
    let at: Vec<usize> = order.iter().map(|operation| position(&calls, operation)).collect();
    assert!(at.is_sorted(), "{order:?} {at:?}");
    assert!(order.iter().all(|operation| count(&calls, operation) == 1), "each once");
    let refused: Vec<&Value> =
        calls.iter().filter(|c| c["operation"] == "kms:PutKeyPolicy" && c["applied"] != true).collect();
    assert!(refused.is_empty(), "no policy named a role that was not there: {refused:#?}");
    let external = key["status"]["regions"][0]["cloudRole"]["externalId"].as_str().unwrap().to_owned();

    // Somebody changes whom it trusts, and what it may do.
    let iam = iam(&scene).await;
    trust_nobody(&scene).await;
    let more = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#;
    iam.put_role_policy().role_name(NAME).policy_name("cmk-operator").policy_document(more).send().await.unwrap();
    ask(&scene, making(&scene), "1").await;
    assert_eq!(mended(&scene, "1").await["unique_id"], made["unique_id"]);

    // Somebody deletes it: it is made anew, and the key policy names the new one.
    iam.delete_role_policy().role_name(NAME).policy_name("cmk-operator").send().await.unwrap();
    iam.delete_role().role_name(NAME).send().await.unwrap();
    ask(&scene, making(&scene), "2").await;
    let again = mended(&scene, "2").await;
    assert_ne!(again["unique_id"], made["unique_id"]);
    assert_eq!(again["tags"], made["tags"]);

    // Somebody deletes it and makes another of that name: that one is named, never changed, and no policy lets it in.
    scene.command(&json!({ "create_principal": { "arn": arn(&scene), "trust": { "principals": [ACCOUNT] } } })).await;
    let theirs = role(&scene).await;
    let mark = scene.mark().await;
    ask(&scene, making(&scene), "3").await;
    let taken = scene.wait_for("CustomerKey", "key", "Stalled", "True", "CloudRoleTaken").await;
    assert_eq!(find(&taken, "Ready").unwrap()["status"], "False");
    let message = find(&taken, "Stalled").unwrap()["message"].to_string();
    assert!(message.contains(&arn(&scene)) && message.contains("role.arn"), "{message}");
    assert_eq!(role(&scene).await, theirs);
    assert_eq!(scene.written(mark).await, Vec::<String>::new());
    scene.command(&json!({ "delete_principal": { "arn": arn(&scene) } })).await;
    ask(&scene, making(&scene), "4").await;
    mended(&scene, "4").await;

    assert_eq!(project(&scene).await["roles"].as_array().unwrap().len(), 1, "one record of it all the while");
    assert!(!scene.log().contains(&external), "the external id is in no log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_in_the_account_is_said_and_left_alone() {
    let scene = Scene::started("atlas-taken").await;
    let other = format!("arn:aws:iam::{ACCOUNT}:role/{}", NAME.to_uppercase());
    scene.command(&json!({ "create_principal": { "arn": other, "trust": { "principals": [ACCOUNT] } } })).await;
    apply(&scene, &[secret(&scene, true), making(&scene)]).await;
    let stuck = scene.wait_for("CustomerKey", "key", "Stalled", "True", "CloudRoleTaken").await;
    let message = find(&stuck, "Registered").unwrap()["message"].to_string();
    assert!(message.contains(&other) && message.contains("whatever the path"), "{message}");
    assert_eq!(count(&scene.calls().await, "iam:CreateRole"), 0);
    scene.command(&json!({ "delete_principal": { "arn": other } })).await;
    ask(&scene, making(&scene), "1").await;
    scene.ready("CustomerKey", "key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boundary_is_put_on_the_role_and_blamed_where_it_keeps_the_cloud_out() {
    let mut scene = Scene::new("atlas-boundary").await;
    let boundary = format!("arn:aws:iam::{ACCOUNT}:policy/boundary");
    let bounded = |action: &str| {
        let document =
            json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }] });
        json!({ "put_managed_policy": { "arn": boundary, "document": document } })
    };
    scene.command(&bounded("s3:*")).await;
    scene.extra = vec!["--role-permissions-boundary".to_owned(), "arn:aws:iam::{account}:policy/boundary".to_owned()];
    scene.start();
    apply(&scene, &[secret(&scene, true), making(&scene)]).await;
    let stuck = scene.wait_for("CustomerKey", "key", "Stalled", "True", "CloudRoleRefused").await;
    let message = find(&stuck, "Registered").unwrap()["message"].to_string();
    assert!(message.contains("permissions boundary"), "{message}");
    assert_eq!(role(&scene).await["boundary"], boundary);
    scene.command(&bounded("kms:*")).await;
    scene.ready("CustomerKey", "key").await;
}

/// What `iam-policy` prints.
async fn printed(arguments: &[&str]) -> Value {
    let printed = Command::new(OPERATOR).arg("iam-policy").args(arguments).env_clear().output().await.unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    serde_json::from_slice(&printed.stdout).unwrap()
}

/// A role for the operator to act as, that may do what `iam-policy` prints, and no more.
async fn keeper(scene: &Scene) -> String {
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/keeper");
    let trust = json!({ "principals": [], "external_ids": [format!("cmk:test:{}", scene.namespace)] });
    scene.command(&json!({ "create_principal": { "arn": arn, "trust": trust } })).await;
    let narrow = ["--account", ACCOUNT, "--region", REGIONS[0], "--only", "keys"];
    let keys = printed(&narrow).await;
    // The simulated KMS shows no tags of a request to its policies, by which keys are narrowed to an installation.
    let mut roles = printed(&[&narrow[..], &["--cloud-roles", "--installation", "test"]].concat()).await;
    roles["Statement"].as_array_mut().unwrap().retain(|s| s["Sid"].as_str().unwrap().contains("Role"));
    let policies = json!({ "keys": keys, "roles": roles });
    scene.command(&json!({ "set_role_policies": { "arn": arn, "policies": policies } })).await;
    arn
}

#[tokio::test(flavor = "multi_thread")]
async fn what_iam_policy_prints_for_such_roles_is_enough_and_without_it_each_action_is_asked_for() {
    let scene = Scene::started("atlas-rights").await;
    let keeper = keeper(&scene).await;
    let mut key = making(&scene);
    key["spec"]["aws"]["roleArn"] = json!(keeper);
    let denied = |action: &str, denied: bool| json!({ "set_denied": { "principal": keeper, "action": action, "denied": denied } });
    let needed = ["iam:GetRole", "iam:CreateRole", "iam:GetRolePolicy", "iam:PutRolePolicy"];
    for action in needed {
        scene.command(&denied(action, true)).await;
    }
    apply(&scene, &[secret(&scene, true), key.clone()]).await;
    for action in needed {
        let fix = format!("To do: let the operator's principal call {action}");
        scene
            .until(&format!("{action} is asked for"), || async {
                let key = scene.get("CustomerKey", "key").await;
                let stalled =
                    find(&key, "Stalled").is_some_and(|c| c["status"] == "True" && c["reason"] == "AccessDenied");
                let said = find(&key, "Registered").is_some_and(|c| c["message"].to_string().contains(&fix));
                if stalled && said { Ok(()) } else { Err(key["status"].to_string()) }
            })
            .await;
        scene.command(&denied(action, false)).await;
    }
    scene.ready("CustomerKey", "key").await;

    // And to put it right.
    let mend = "iam:UpdateAssumeRolePolicy";
    scene.command(&denied(mend, true)).await;
    trust_nobody(&scene).await;
    ask(&scene, key.clone(), "1").await;
    let stuck = scene.wait_for("CustomerKey", "key", "Registered", "False", "*").await;
    assert!(stuck.to_string().contains(mend), "{stuck:#}");
    scene.command(&denied(mend, false)).await;
    mended(&scene, "1").await;
    let calls = scene.calls().await;
    let own: Vec<&Value> = calls.iter().filter(|c| c["service"] == "iam" && c["principal"] != keeper).collect();
    assert!(own.iter().all(|c| c["principal"].as_str().unwrap().ends_with("user/administrator")), "{own:#?}");
}

/// The effects of a role's life: it is made, used, and put right once somebody changed whom it trusts.
pub const SITES: [Site; 5] = [
    Site::Role(RoleSite::MakeRole),
    Site::Role(RoleSite::PermitRole),
    Site::Role(RoleSite::Authorize),
    Site::Role(RoleSite::Register),
    Site::Role(RoleSite::TrustCloud),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_or_gets_lost_there_is_one_role_and_it_is_right() {
    let writes = ["iam:CreateRole", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy"];
    let troubles = [Trouble::deaths(&SITES), Trouble::losses(&writes)].concat();
    all(troubles, |trouble| async move {
        // The administrator makes this call too, before the operator does.
        let late = matches!(trouble, Trouble::Lost("iam:UpdateAssumeRolePolicy", _));
        let mut play = match late {
            true => Play::new("atlas-role-crash", &[]).await,
            false => trouble.play("atlas-role-crash").await,
        };
        apply(&play.scene, &[secret(&play.scene, true), making(&play.scene)]).await;
        play.until("the key is ready", async |scene: &Scene| right(scene, None).await).await?;
        trust_nobody(&play.scene).await;
        if late {
            trouble.strike(&play.scene).await;
        }
        ask(&play.scene, making(&play.scene), "1").await;
        play.until("the role is put right", async |scene: &Scene| right(scene, Some("1")).await).await?;
        let scene = &play.scene;
        let (project, state) = (project(scene).await, scene.state().await);
        let roles: BTreeMap<String, Value> = serde_json::from_value(state["roles"].clone()).unwrap();
        let problems = [
            (roles.len() == 1, "there is one role"),
            (project["roles"].as_array().is_some_and(|all| all.len() == 1), "there is one record of it"),
            (state["keys"].as_object().is_some_and(|all| all.len() == 1), "there is one key"),
        ];
        trouble.wrong(&play, &problems, &state).await
    })
    .await;
}
