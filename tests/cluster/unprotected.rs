//! Databases that were there before the key: counted and named, told once, and never a reason not to be ready.

use serde_json::{Value, json};

use crate::support::scene::{ORGANIZATION, Scene, TOKEN, find};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
const DAY: i64 = 86_400;

/// So that every depth of look comes round within seconds.
const LOOKS: [&str; 6] = ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "3s"];

async fn made_before(scene: &Scene, name: &str, tier: &str, region: &str, age_s: i64) {
    let database = json!({ "org": ORGANIZATION, "name": name, "tier": tier, "region": region, "age_s": age_s });
    scene.command(&json!({ "add_database": database })).await;
}

/// The databases of a region that status shows as not protected, by name.
fn shown(key: &Value, region: &str) -> Option<(i64, Vec<String>)> {
    let all = key["status"]["regions"].as_array()?;
    let found = &all.iter().find(|r| r["name"] == region)?["unprotectedDatabases"];
    let name = |text: &Value| text.as_str().unwrap().split(" (").next().unwrap().to_owned();
    let sample = found["sample"].as_array().into_iter().flatten().map(name).collect();
    Some((found["count"].as_i64()?, sample))
}

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|&name| name.to_owned()).collect()
}

/// How often it was told: the API server holds like events as one, with a count.
async fn told(scene: &Scene) -> i64 {
    let events = scene.events(&scene.namespace).await;
    let warnings = events.iter().filter(|e| e["reason"] == "UnprotectedDatabases" && e["type"] == "Warning");
    warnings.map(|e| e["series"]["count"].as_i64().unwrap_or(1)).sum()
}

/// Waits until status shows a number for us-east-1, and that the object is ready all the while.
async fn counted(scene: &Scene, count: i64) -> Value {
    scene
        .until(&format!("{count} databases are shown"), || async {
            let key = scene.get("CustomerKey", "key").await;
            let counted = shown(&key, REGIONS[0]).is_some_and(|(shown, _)| shown == count);
            if counted { Ok(key) } else { Err(key["status"].to_string()) }
        })
        .await
}

/// Waits for two more looks at everything; yields how often the databases were listed meanwhile.
async fn looked(scene: &Scene, mark: u64) -> usize {
    scene
        .until("two looks at everything", || async {
            let calls = scene.calls_since(mark).await;
            let of = |operation: &str| calls.iter().filter(|call| call["operation"] == operation).count();
            let looks = of("kms:GetKeyRotationStatus") / REGIONS.len();
            if looks >= 2 { Ok(of("astra:ListDatabases")) } else { Err(format!("{looks} looks")) }
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_that_are_older_than_the_registration_are_counted_named_and_told_once() {
    let mut scene = Scene::new("unprotected").await;
    scene.extra = LOOKS.map(ToOwned::to_owned).to_vec();
    made_before(&scene, "archive", "serverless", REGIONS[0], 90 * DAY).await;
    made_before(&scene, "books", "serverless", REGIONS[0], 3600).await;
    // Of another kind, and in a region without a key of ours.
    made_before(&scene, "classic", "D10", REGIONS[0], 90 * DAY).await;
    made_before(&scene, "far", "serverless", "ap-southeast-1", 90 * DAY).await;
    scene.start();
    scene.apply_all(&REGIONS).await;
    let (key, _) = scene.all_ready().await;
    let mark = scene.mark().await;
    let registered = find(&key, "Registered").unwrap();
    // The count comes with the first look at everything after the registration, with which the object is ready.
    assert_eq!(
        (&registered["status"], &registered["reason"]),
        (&json!("True"), &json!("UnprotectedDatabases")),
        "{key:#}"
    );
    let message = registered["message"].as_str().unwrap();
    for words in ["2 databases are older than the registration", "archive (", "books (", "us-east-1"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert_eq!(shown(&key, REGIONS[0]), Some((2, names(&["archive", "books"]))));
    assert_eq!(shown(&key, REGIONS[1]), Some((0, Vec::new())), "our own database, made after it, does not count");
    assert_eq!(find(&key, "Ready").unwrap()["reason"], "AsDeclared", "they may be anybody's business");

    let address = scene.address(&scene.log_file()).await;
    let (_, metrics) = scene.ask(&address, "/metrics").await;
    assert!(metrics.lines().any(|l| l == "cmk_unprotected_databases 2"), "{metrics}");

    // Told once, and at rest nothing is written, while one list is asked for at each look at everything.
    let version = key["metadata"]["resourceVersion"].clone();
    let lists = looked(&scene, mark).await;
    assert!((1..=6).contains(&lists), "{lists} lists");
    assert_eq!(told(&scene).await, 1);
    assert_eq!(scene.get("CustomerKey", "key").await["metadata"]["resourceVersion"], version);

    // Another comes to light, by whatever way: the number grows, and that is told.
    made_before(&scene, "chronicle", "serverless", REGIONS[0], 180 * DAY).await;
    let key = counted(&scene, 3).await;
    assert_eq!(shown(&key, REGIONS[0]).unwrap().1, names(&["chronicle", "archive", "books"]), "the oldest first");
    let twice = || async {
        let told = told(&scene).await;
        if told == 2 { Ok(()) } else { Err(format!("told {told} times")) }
    };
    scene.until("a second warning", twice).await;

    // A list that fails or breaks off is no list: what was counted stays.
    for fault in [json!({ "http500": { "applied": false } }), json!("lost_before")] {
        let mark = scene.mark().await;
        scene.fault(&json!({ "operation": "astra:ListDatabases" }), &fault).await;
        assert!(looked(&scene, mark).await > 0, "it was asked for");
        scene.clear_faults().await;
        let key = scene.get("CustomerKey", "key").await;
        assert_eq!(shown(&key, REGIONS[0]).unwrap().0, 3, "{fault}");
        assert_eq!(find(&key, "Ready").unwrap()["status"], "True", "{fault}");
    }
    // Nor does a token without the right to list keep the key from being ready; it is said.
    let may = json!(["org-cmk-read", "org-cmk-write", "org-db-create"]);
    let token = |permissions: &Value| json!({ "set_token": { "token": TOKEN, "org": ORGANIZATION, "permissions": permissions } });
    scene.command(&token(&may)).await;
    scene
        .until("what cannot be known is said", || async {
            let key = scene.get("CustomerKey", "key").await;
            let message = find(&key, "Registered").unwrap()["message"].as_str().unwrap().to_owned();
            let said = message.contains("is not known") && message.contains("GET /v2/databases");
            let kept = message.contains("3 databases are older") && find(&key, "Ready").unwrap()["status"] == "True";
            if said && kept { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
    scene.command(&token(&Value::Null)).await;

    // They go, or were moved: the number falls, and nobody is alarmed.
    let state = scene.state().await;
    let all = state["astra"][ORGANIZATION]["databases"].as_array().unwrap();
    for database in all.iter().filter(|d| ["archive", "books", "chronicle"].contains(&d["name"].as_str().unwrap())) {
        let url = format!("{}/v2/databases/{}/terminate", scene.astra, database["id"].as_str().unwrap());
        let sent = scene.http.post(url).bearer_auth(TOKEN).json(&json!({})).send().await.unwrap();
        assert!(sent.status().is_success(), "{sent:?}");
    }
    let key = counted(&scene, 0).await;
    assert_eq!(find(&key, "Registered").unwrap()["reason"], "RegisteredAndRead");
    assert_eq!(told(&scene).await, 2);
    let (_, metrics) = scene.ask(&address, "/metrics").await;
    assert!(metrics.lines().any(|l| l == "cmk_unprotected_databases 0"), "{metrics}");
}
