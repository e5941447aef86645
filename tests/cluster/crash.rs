//! The process is killed before and after every effect, and starts again: the end is that of the clean run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cmk_operator::plan::step::Site;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::scene::{Scene, find};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];

/// Sites that are visited here and elsewhere too.
const ALSO: [Site; 8] = [
    Site::RemoveFinalizer,
    Site::WriteStatus,
    Site::RecordRegistrationIntent,
    Site::RecordDeployIntent,
    Site::CreateDatabase,
    Site::RecordDatabase,
    Site::NoteDatabase,
    Site::AddRegion,
];

/// Plays at once in this process: they mostly wait, but share one API server and two cores.
static AT_ONCE: Semaphore = Semaphore::const_new(8);

/// How long one phase of a scene may take, settle windows included.
pub const PHASE: Duration = Duration::from_secs(90);

/// A scene whose operator may die once, and is started again when it did.
pub struct Play {
    pub scene: Scene,
    pub died: bool,
}

impl Play {
    pub async fn new(name: &str, extra: &[String]) -> Self {
        let mut scene = Scene::new(name).await;
        scene.extra = extra.to_vec();
        scene.start();
        Self { scene, died: false }
    }

    /// Starts an operator that was killed again, without the crash switch.
    pub async fn revive(&mut self) -> Result<(), String> {
        if !self.scene.is_running() {
            self.scene.died().await?;
            self.died = true;
            let extra = &mut self.scene.extra;
            if let Some(switch) = extra.iter().position(|text| text == "--crash-at") {
                extra.drain(switch..switch + 2);
            }
            self.scene.start();
        }
        Ok(())
    }

    /// Waits for a condition; an operator that was killed meanwhile is started again, without the crash switch.
    pub async fn until<T>(&mut self, what: &str, ask: impl AsyncFn(&Scene) -> Result<T, String>) -> Result<T, String> {
        let began = Instant::now();
        loop {
            match ask(&self.scene).await {
                Ok(found) => return Ok(found),
                Err(not_yet) => self.look_again(began, what, &not_yet).await?,
            }
        }
    }

    /// Between two looks at a condition: gives up once a phase is over, and starts a killed operator again. That comes last, so
    /// that the look that finds everything done comes after a death that was the last thing to happen.
    pub async fn look_again(&mut self, began: Instant, what: &str, not_yet: &str) -> Result<(), String> {
        if began.elapsed() > PHASE {
            return Err(format!("{what}: {not_yet}\n{}", self.scene.log_tail()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.revive().await
    }

    /// From nothing to ready, through a change of the key's attributes; yields the end state, made comparable.
    pub async fn run(&mut self) -> Result<Value, String> {
        self.scene.apply_all(&REGIONS).await;
        self.until("everything is ready", both_ready).await?;
        let mut key = self.scene.key(&REGIONS);
        key["spec"]["key"]["description"] = json!("changed");
        key["spec"]["key"]["tags"] = json!({ "team": "others" });
        self.scene.apply(&key).await.map_err(|e| e.to_string())?;
        self.until("the change is made", changed).await?;
        self.until("everything is ready again", both_ready).await?;
        let end = end_state(&self.scene).await;
        Ok(end)
    }

    /// Deletes both objects under Retain.
    pub async fn delete(&mut self) -> Result<(), String> {
        let (keys, clusters) = (self.scene.keys(), self.scene.clusters());
        clusters.delete("db", &DeleteParams::default()).await.map_err(|e| e.to_string())?;
        keys.delete("key", &DeleteParams::default()).await.map_err(|e| e.to_string())?;
        self.until("both objects are gone", gone).await
    }
}

pub async fn both_ready(scene: &Scene) -> Result<(), String> {
    for (kind, name) in [("CustomerKey", "key"), ("EncryptedCluster", "db")] {
        let object = scene.get(kind, name).await;
        let current = object["metadata"]["generation"] == object["status"]["observedGeneration"];
        let is = |condition, status| find(&object, condition).is_some_and(|c| c["status"] == status);
        if !current || !is("Ready", "True") || !is("Reconciling", "False") {
            return Err(format!("{kind}: {}", object["status"]));
        }
    }
    Ok(())
}

async fn changed(scene: &Scene) -> Result<(), String> {
    let state = scene.state().await;
    let keys = state["keys"].as_object().unwrap();
    let all = keys.values().all(|k| k["description"] == "changed" && k["tags"]["team"] == "others");
    if all { Ok(()) } else { Err(format!("{keys:?}")) }
}

async fn gone(scene: &Scene) -> Result<(), String> {
    for (kind, name) in [("CustomerKey", "key"), ("EncryptedCluster", "db")] {
        if !scene.get(kind, name).await.is_null() {
            return Err(format!("{kind} is still there"));
        }
    }
    Ok(())
}

/// Everything that must be the same in every run: all but ids, nonces, times and reported surplus. There may be no cluster.
pub async fn end_state(scene: &Scene) -> Value {
    let state = scene.state().await;
    let key = scene.get("CustomerKey", "key").await;
    let cluster = scene.get("EncryptedCluster", "db").await;
    let mut regions = Vec::new();
    for region in key["status"]["regions"].as_array().into_iter().flatten() {
        let arn = region["keyArn"].as_str().unwrap_or_default();
        let real = &state["keys"][arn];
        let alias =
            state["aliases"].as_object().unwrap().iter().find(|(_, target)| *target == arn).map(|(name, _)| name);
        let mut tags = real["tags"].clone();
        // Its name holds a hash of the cluster's, its value is the database's id.
        let note = tags.as_object().unwrap().iter().find(|(name, _)| name.starts_with("cmk-operator.io/database-"));
        let note = note.map(|(name, id)| (name.clone(), id.clone()));
        if let Some((name, _)) = &note {
            tags.as_object_mut().unwrap().remove(name);
        }
        let adopted = !tags["cmk-operator.io/adopt-by"].is_null();
        for changing in ["cmk-operator.io/nonce", "cmk-operator.io/registered-at"] {
            let there = tags.as_object_mut().map(|tags| tags.remove(changing).is_some());
            let is_ours = !adopted || changing != "cmk-operator.io/nonce";
            tags[format!("{changing} is as it should be")] = json!(there == Some(is_ours));
        }
        regions.push(json!({
            "region": region["name"], "state": real["state"], "description": real["description"], "tags": tags,
            "noted": note.map(|(_, id)| id == cluster["status"]["upstreamId"]),
            "rotation": real["rotation_period_days"], "policy": real["policy"], "alias": alias.is_some(),
            "registered": region["registeredKeyArn"] == arn, "attempts": [region["creation"], region["registration"]],
        }));
    }
    let organization = &state["astra"][crate::support::scene::ORGANIZATION];
    let arn_in = |name: &Value| {
        let mut all = key["status"]["regions"].as_array().into_iter().flatten();
        all.find(|r| r["name"] == *name).map(|r| r["keyArn"].clone()).unwrap_or_default()
    };
    let registrations: BTreeSet<String> = organization["registrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| format!("{} own={}", r["region"], r["arn"] == arn_in(&r["region"])))
        .collect();
    let databases: Vec<Value> = organization["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            let regions: BTreeSet<String> = d["regions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| format!("{} {} own={}", r["region"], r["status"], r["encrypted_with"] == arn_in(&r["region"])))
                .collect();
            json!({ "name": d["name"], "status": d["status"], "regions": regions, "ours": d["id"] == cluster["status"]["upstreamId"] })
        })
        .collect();
    let conditions = |object: &Value| -> BTreeSet<String> {
        let all = object["status"]["conditions"].as_array().into_iter().flatten();
        all.map(|c| format!("{}={} {}", c["type"], c["status"], c["reason"])).collect()
    };
    let surplus: BTreeSet<&str> =
        key["status"]["surplusKeys"].as_array().into_iter().flatten().map(|s| s["keyArn"].as_str().unwrap()).collect();
    let unaccounted = state["keys"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|arn| !surplus.contains(arn.as_str()))
        .filter(|arn| !key["status"]["regions"].as_array().into_iter().flatten().any(|r| r["keyArn"] == **arn))
        .count();
    let text = json!({
        "regions": regions, "registrations": registrations, "databases": databases, "unaccounted keys": unaccounted,
        "key": conditions(&key), "cluster": conditions(&cluster), "attempt": cluster["status"]["creation"],
        "gates": cluster["status"]["regions"].as_array().into_iter().flatten().map(|r| json!([r["name"], r["gate"]["open"], r["state"]])).collect::<Vec<_>>(),
    })
    .to_string();
    // The namespace is part of names and of the hashes in statement ids; it differs from scene to scene.
    let text = text.replace(&scene.namespace, "NAMESPACE");
    let mut parts = text.split("\"cmk ");
    let mut same = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        same.push_str("\"cmk HASH");
        same.push_str(part.get(8..).unwrap_or_default());
    }
    serde_json::from_str(&same).unwrap()
}

/// Runs one play per entry, some at once; panics with everything that went wrong.
pub async fn all<T, F, Fut>(entries: Vec<T>, play: F)
where
    T: Send + 'static,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    all_within(&AT_ONCE, entries, play).await;
}

/// The same, so many at once as a semaphore lets through.
pub async fn all_within<T, F, Fut>(at_once: &'static Semaphore, entries: Vec<T>, play: F)
where
    T: Send + 'static,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    let play = Arc::new(play);
    let mut plays = JoinSet::new();
    for entry in entries {
        let play = Arc::clone(&play);
        plays.spawn(async move {
            let _permit = at_once.acquire().await.unwrap();
            play(entry).await
        });
    }
    let mut wrong = Vec::new();
    while let Some(result) = plays.join_next().await {
        if let Err(problem) = result.unwrap() {
            wrong.push(problem);
        }
    }
    assert!(wrong.is_empty(), "{} plays went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// The end state of a run in which nothing goes wrong.
pub async fn clean(name: &str) -> Value {
    let mut play = Play::new(name, &[]).await;
    play.run().await.unwrap()
}

/// Compares the end of a run with that of the clean one.
pub fn same(what: &str, clean: &Value, end: &Value, scene: &Scene) -> Result<(), String> {
    if clean == end {
        return Ok(());
    }
    let parts: Vec<String> = clean
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, value)| end[name.as_str()] != **value)
        .map(|(name, value)| format!("  {name}:\n    clean {value}\n    now   {}", end[name.as_str()]))
        .collect();
    Err(format!("{what}: the end differs from that of the clean run:\n{}\n{}", parts.join("\n"), scene.log_tail()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_or_after_any_effect_leads_to_the_same_end() {
    let clean = Arc::new(clean("crash-clean").await);
    let both_sides = |site: &Site| ["before", "after"].map(|side| format!("{}:{side}", site.as_str()));
    // Those that are reached only by the end of something, or with another kind of key or cloud, are visited there.
    let elsewhere = [
        &super::ending::SITES[..],
        &super::multi_region::SITES,
        &super::atlas_crash::SITES,
        &super::atlas_crash::ADOPTION,
        &super::atlas_role::SITES,
        &super::atlas_end::SITES,
        &super::singlestore_crash::SITES,
    ]
    .concat();
    let reached = |site: &&Site| !elsewhere.contains(site) || ALSO.contains(site);
    let switches: Vec<String> = Site::ALL.iter().filter(reached).flat_map(both_sides).collect();
    let count = switches.len();
    all(switches, move |switch: String| {
        let clean = Arc::clone(&clean);
        async move {
            let mut play = Play::new("crash", &["--crash-at".to_owned(), switch.clone()]).await;
            let end = play.run().await.map_err(|e| format!("{switch}: {e}"))?;
            same(&switch, &clean, &end, &play.scene)?;
            play.delete().await.map_err(|e| format!("{switch}: {e}"))?;
            // A switch that was never reached proves nothing: every site has to be visited.
            if play.died { Ok(()) } else { Err(format!("{switch}: the operator never came there")) }
        }
    })
    .await;
    println!("{count} crashes");
}
