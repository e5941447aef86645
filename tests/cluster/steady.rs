//! Nothing changes, so nothing is written: not outside, not in a status, not as an event.

use std::collections::BTreeMap;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::support::scene::Scene;

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
const KEYS: usize = 10;
const CLUSTERS: usize = 4;

/// Looks of each depth in the window, for every object.
const LOOKS: usize = 2;

/// The versions of all objects.
async fn versions(scene: &Scene) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for kind in ["CustomerKey", "EncryptedCluster"] {
        for object in scene.objects(&scene.namespace, kind).list(&ListParams::default()).await.unwrap() {
            let meta = object.metadata;
            all.insert(format!("{kind}/{}", meta.name.unwrap()), meta.resource_version.unwrap());
        }
    }
    all
}

/// How often each key was described, its policy read, its tags read, its rotation read.
fn looks(calls: &[Value]) -> BTreeMap<String, [usize; 4]> {
    let operations = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListResourceTags", "kms:GetKeyRotationStatus"];
    let mut looks: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for call in calls {
        if let Some(at) = operations.iter().position(|operation| call["operation"] == *operation) {
            looks.entry(call["resource"].as_str().unwrap().to_owned()).or_default()[at] += 1;
        }
    }
    looks
}

/// How many passes of each object the operator's log tells of, after so many lines.
fn passes(log: &str, after: usize) -> BTreeMap<String, usize> {
    let mut passes = BTreeMap::new();
    for line in log.lines().skip(after).filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if line["message"] == "pass is over" {
            let name = line["object"].as_str().unwrap().split_once('/').unwrap().1.to_owned();
            *passes.entry(name).or_insert(0) += 1;
        }
    }
    passes
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_objects_at_rest_are_looked_at_and_left_alone() {
    let mut scene = Scene::new("steady").await;
    let intervals = ["--state-interval", "1s", "--policy-interval", "2s", "--resync", "4s"];
    scene.extra = intervals.iter().map(|&text| text.to_owned()).collect();
    scene.start();
    let mut names = Vec::new();
    for number in 0..KEYS {
        let (key, region) = (format!("key-{number}"), REGIONS[number % REGIONS.len()]);
        let manifest = scene.tenant(&key, u32::try_from(100 + number).unwrap(), region).await;
        scene.apply(&manifest).await.unwrap();
        names.push(("CustomerKey", key.clone()));
        for cluster in 0..CLUSTERS {
            let cluster = format!("db-{number}-{cluster}");
            scene.apply(&scene.gate(&cluster, &key, region)).await.unwrap();
            names.push(("EncryptedCluster", cluster));
        }
    }
    assert_eq!(names.len(), 50);
    join_all(names.iter().map(|(kind, name)| scene.ready(kind, name))).await;
    // What the way to Ready has set in motion ends with one more look at everything.
    let settled = scene.mark().await;
    wait_for_looks(&scene, settled, 1).await;

    let (mark, lines) = (scene.mark().await, scene.log().lines().count());
    let (before, events) = (versions(&scene).await, scene.events(&scene.namespace).await);
    let mut watches = Vec::new();
    for kind in ["CustomerKey", "EncryptedCluster"] {
        let api = scene.objects(&scene.namespace, kind);
        let version = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
        watches.push(tokio::spawn(async move {
            let mut seen = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
            while let Some(event) = seen.try_next().await.unwrap() {
                if !matches!(event, WatchEvent::Bookmark(_)) {
                    return json!(format!("{event:?}"));
                }
            }
            Value::Null
        }));
    }
    wait_for_looks(&scene, mark, LOOKS).await;

    for (name, passes) in passes(&scene.log(), lines) {
        assert!(passes >= 3 * LOOKS, "{name} had {passes} passes");
    }
    let writes: Vec<Value> =
        scene.calls_since(mark).await.into_iter().filter(|call| call["access"] == "write").collect();
    assert!(writes.is_empty(), "{} writes outside: {:#}", writes.len(), writes[0]);
    let after = versions(&scene).await;
    let changed: Vec<_> = after.iter().filter(|(name, version)| before.get(*name) != Some(version)).collect();
    assert!(changed.is_empty(), "written without a reason: {changed:?}");
    assert_eq!(scene.events(&scene.namespace).await, events, "there is nothing to tell");
    for watch in watches {
        watch.abort();
        let seen = watch.await;
        assert!(seen.is_err(), "a watch is woken: {seen:?}");
    }
}

/// Waits until every key, and every cluster under it, was looked at so often at each depth.
async fn wait_for_looks(scene: &Scene, mark: u64, wanted: usize) {
    scene
        .until(&format!("{wanted} looks of each depth at every object"), || async {
            let looks = looks(&scene.calls_since(mark).await);
            let each = wanted * (1 + CLUSTERS);
            let enough = |[described, policies, tags, rotations]: &[usize; 4]| {
                // Every look describes the key; deeper ones read its policy; the deepest its tags, and of the key's own
                // object its rotation.
                *rotations >= wanted
                    && *tags >= each
                    && policies.saturating_sub(*tags) >= each
                    && described.saturating_sub(*policies) >= each
            };
            if looks.len() == KEYS && looks.values().all(enough) { Ok(()) } else { Err(format!("{looks:?}")) }
        })
        .await;
}
