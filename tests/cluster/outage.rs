//! One cloud is down for an hour: the others go on as if it was not there, and it is found again without a restart.

use std::time::Duration;

use serde_json::{Value, json};

use super::examples::{objects, of};
use super::singlestore::{document, key as singlestore_key, secret as singlestore_secret, suggested};
use crate::support::scene::{Scene, find};
use crate::support::wait;

const REGION: &str = "us-east-1";
const HOUR: i64 = 3_600_000;

/// How long a step of the clocks is: longer than any object is left without a look.
const STEP: i64 = HOUR / 4;

/// A key in each cloud, named after it.
const CLOUDS: [&str; 3] = ["astra", "atlas", "singlestore"];

async fn key(scene: &Scene, cloud: &str) -> Value {
    let mut key = match cloud {
        "astra" => scene.key(&[REGION]),
        // With a role that the operator makes.
        "atlas" => of(&mut atlas(scene), "CustomerKey").clone(),
        "singlestore" => {
            let policy = suggested(scene, REGION).await;
            singlestore_key(scene, "key", &[REGION], &[document("portal", REGION, &policy)])
        }
        other => panic!("no key for {other}"),
    };
    key["metadata"]["name"] = json!(cloud);
    key
}

/// The objects of the simplest example, in the scene's namespace.
fn atlas(scene: &Scene) -> Vec<Value> {
    objects("atlas/simplest.yaml", |_| scene.namespace.clone())
}

/// The clocks of the operator and of the clouds.
struct Clocks<'s> {
    scene: &'s Scene,
    ahead: i64,
}

impl Clocks<'_> {
    async fn advance(&mut self, by: i64) {
        self.ahead += by;
        self.scene.control_post("/clock", &json!({ "advance_ms": by })).await;
        let file = self.scene.dir.path().join("ahead");
        // In one piece: the operator reads it at any moment.
        std::fs::write(file.with_extension("new"), self.ahead.to_string()).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    }
}

/// Somebody takes a healthy cloud's alias away, and it is put back as ever.
async fn heals(scene: &Scene, clocks: &mut Clocks<'_>, cloud: &str) {
    let kms = scene.administrator(REGION).await;
    let shown = scene.get("CustomerKey", cloud).await;
    let alias = shown["status"]["regions"][0]["alias"].as_str().unwrap().to_owned();
    kms.delete_alias().alias_name(&alias).send().await.unwrap();
    for _ in 0..3 {
        clocks.advance(STEP).await;
        let back = || async {
            let aliases = kms.list_aliases().send().await.unwrap();
            let back = aliases.aliases().iter().any(|found| found.alias_name() == Some(&alias));
            if back { Ok(()) } else { Err(scene.get("CustomerKey", cloud).await["status"].to_string()) }
        };
        // A pass that had looked before plans the next one after the step.
        if wait(&alias, Duration::from_secs(10), back).await.is_ok() {
            scene.ready("CustomerKey", cloud).await;
            return;
        }
    }
    panic!("{alias} is not put back: {}", scene.get("CustomerKey", cloud).await);
}

async fn check(down: &str) {
    let mut scene = Scene::new(&format!("outage{down}")).await;
    let ahead = scene.dir.path().join("ahead").display().to_string();
    // As in life, but that every look is at everything, and that clocks which step make no lease run out.
    let flags = [
        ["--clock-ahead", ahead.as_str()],
        ["--longest-backoff", "1h"],
        ["--policy-interval", "10m"],
        ["--resync", "10m"],
        ["--lease-duration", "5h"],
        ["--lease-act", "4h"],
    ];
    scene.extra = flags.into_iter().flatten().map(str::to_owned).collect();
    scene.start();
    scene.apply(&scene.secret()).await.unwrap();
    scene.apply(&singlestore_secret(&scene)).await.unwrap();
    scene.apply(of(&mut atlas(&scene), "Secret")).await.unwrap();
    for cloud in CLOUDS {
        scene.apply(&key(&scene, cloud).await).await.unwrap();
    }
    for cloud in CLOUDS {
        scene.ready("CustomerKey", cloud).await;
    }
    let mut clocks = Clocks { scene: &scene, ahead: 0 };

    scene.fault(&json!({ "operation": format!("{down}:*") }), &json!({ "http500": { "applied": false } })).await;
    let from = scene.mark().await;
    while clocks.ahead <= HOUR {
        for healthy in CLOUDS.into_iter().filter(|cloud| *cloud != down) {
            heals(&scene, &mut clocks, healthy).await;
        }
        let other = scene.get("CustomerKey", down).await;
        assert_ne!(find(&other, "Stalled").unwrap()["status"], "True", "an outage passes by itself: {other:#}");
    }
    let said = scene.get("CustomerKey", down).await;
    let ready = find(&said, "Ready").unwrap();
    assert_ne!(ready["status"], "True", "nothing is claimed of a cloud that nobody heard of for an hour: {said:#}");
    let calls = scene.calls_since(from).await;
    let asked = calls.iter().filter(|c| c["operation"].as_str().unwrap().starts_with(&format!("{down}:"))).count();
    assert!((1..=60).contains(&asked), "{asked} calls to {down} within its hour");
    assert_eq!(scene.fired().await, [asked as u64], "each of them met the outage");

    scene.clear_faults().await;
    clocks.advance(HOUR).await;
    scene.ready("CustomerKey", down).await;
    heals(&scene, &mut clocks, down).await;
    assert!(scene.is_running(), "the same process");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_down_for_an_hour_is_nothing_to_the_others_and_comes_back_by_itself() {
    for down in CLOUDS {
        check(down).await;
    }
}
