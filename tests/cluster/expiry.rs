//! AWS credentials that stop working and work again, the operator's own and those of a role: no restart is needed.

use serde_json::{Value, json};

use crate::support::scene::{ACCOUNT, Scene, find};

const REGION: &str = "us-east-1";

fn access_key(id: &str, works: bool) -> Value {
    if works {
        let user = format!("arn:aws:iam::{ACCOUNT}:user/sandbox");
        json!({ "add_access_key": { "access_key_id": id, "principal": user } })
    } else {
        json!({ "remove_access_key": { "access_key_id": id } })
    }
}

/// A Warning that AWS does not accept the credentials was told of the key.
async fn warned(scene: &Scene) {
    scene
        .until("the Warning AwsCredentialsInvalid", || async {
            let events = scene.events(&scene.namespace).await;
            let is = |e: &Value| {
                e["type"] == "Warning"
                    && e["reason"] == "AwsCredentialsInvalid"
                    && e["regarding"]["kind"] == "CustomerKey"
            };
            if events.iter().any(is) { Ok(()) } else { Err(json!(events).to_string()) }
        })
        .await;
}

/// Nothing was made anew.
async fn as_before(scene: &mut Scene, before: &Value) {
    scene.all_ready().await;
    let after = scene.state().await;
    let names = |state: &Value| state["keys"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(before));
    assert!(scene.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_credentials_are_read_anew_once_aws_rejects_them() {
    let mut scene = Scene::new("expired").await;
    // As a mounted Secret has them, or a tool that renews a file.
    let file = scene.dir.path().join("credentials");
    let write = |id: &str| {
        std::fs::write(&file, format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = sandbox\n"))
            .unwrap();
    };
    write("AKIAFIRST");
    scene.command(&access_key("AKIAFIRST", true)).await;
    let path = file.to_str().unwrap().to_owned();
    scene.env = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_SHARED_CREDENTIALS_FILE", &path)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    scene.extra =
        ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "4s"].map(ToOwned::to_owned).to_vec();
    scene.start();
    scene.apply_all(&[REGION]).await;
    scene.all_ready().await;
    let before = scene.state().await;

    scene.command(&access_key("AKIAFIRST", false)).await;
    let key = scene.wait_for("CustomerKey", "key", "Stalled", "True", "AwsCredentialsInvalid").await;
    let message = find(&key, "CredentialsValid").unwrap()["message"].as_str().unwrap();
    for words in ["security token", "To do: give the operator working AWS credentials"] {
        assert!(message.contains(words), "{message}");
    }
    assert!(message.contains("sts:GetCallerIdentity") || message.contains("kms:"), "the action is named: {message}");
    // One condition says what is wrong; the others follow from it.
    let blamed = key["status"]["conditions"].as_array().unwrap().iter().filter(|c| {
        let whole = ["Ready", "Reconciling", "Stalled"].contains(&c["type"].as_str().unwrap());
        !whole && c["status"] == "False" && c["reason"] == "AwsCredentialsInvalid"
    });
    assert_eq!(blamed.count(), 1, "{:#}", key["status"]["conditions"]);
    warned(&scene).await;
    write("AKIASECOND");
    scene.command(&access_key("AKIASECOND", true)).await;
    as_before(&mut scene, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roles_session_that_expires_early_is_begun_anew() {
    let mut scene = Scene::new("session").await;
    let role = "arn:aws:iam::111111111111:role/team";
    let trust = json!({ "principals": [], "external_ids": [format!("cmk:test:{}", scene.namespace)] });
    scene.command(&json!({ "create_principal": { "arn": role, "trust": trust } })).await;
    scene.extra =
        ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "4s"].map(ToOwned::to_owned).to_vec();
    scene.start();
    scene.apply(&scene.secret()).await.unwrap();
    let mut key = scene.key(&[REGION]);
    key["spec"]["aws"]["roleArn"] = json!(role);
    scene.apply(&key).await.unwrap();
    scene.apply(&scene.cluster(&[REGION])).await.unwrap();
    scene.all_ready().await;
    let before = scene.state().await;
    let assumed = async |scene: &Scene| {
        let calls = scene.calls().await;
        calls.iter().filter(|c| c["operation"] == "sts:AssumeRole" && c["outcome"] == "ok").count()
    };
    let sessions = assumed(&scene).await;

    // By AWS's clock the session is over; by the operator's it has most of an hour to go.
    scene.control_post("/clock", &json!({ "advance_ms": 2 * 3600 * 1000 })).await;
    scene
        .until("AWS rejects the session, and the role is assumed again", || async {
            let rejected = |line: &str| line.contains("\"operation\":\"kms:") && line.contains("Some(Refused)");
            let (log, now) = (scene.log(), assumed(&scene).await);
            if log.lines().any(rejected) && now > sessions { Ok(()) } else { Err(format!("{now} sessions")) }
        })
        .await;
    as_before(&mut scene, &before).await;
}
