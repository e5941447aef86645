//! Every effect that Atlas has to do with, with the process killed on either side of it, and with each reply lost: what comes
//! of it is one record of the role, one key and one cluster.

use std::time::Duration;

use cmk_operator::plan::role_step::RoleSite;
use cmk_operator::plan::step::Site;
use serde_json::{Value, json};

use super::atlas::{ATLAS, PROJECT, REGIONS, apply, by_hand, cluster, count, key, make_role, project, secret};
use super::crash::all;
use crate::support::scene::{Scene, find};

/// The effects of a life from nothing to a cluster.
const SITES: [Site; 8] = [
    Site::Role(RoleSite::RecordIntent),
    Site::Role(RoleSite::Create),
    Site::Role(RoleSite::Record),
    Site::Role(RoleSite::Authorize),
    Site::RecordRegistrationIntent,
    Site::Role(RoleSite::Register),
    Site::CreateDatabase,
    Site::RecordDatabase,
];

/// The writes to Atlas of such a life.
const WRITES: [&str; 4] = [
    "atlas:CreateCloudProviderAccess",
    "atlas:AuthorizeCloudProviderAccess",
    "atlas:UpdateEncryptionAtRest",
    "atlas:CreateCluster",
];

/// What goes wrong once.
#[derive(Clone, Debug)]
enum Trouble {
    /// The process dies: `SITE:before` or `SITE:after`.
    Dies(String),
    /// The reply to the first call of an operation is lost; whether it was applied.
    Lost(&'static str, bool),
}

impl Trouble {
    fn deaths(sites: &[Site]) -> Vec<Self> {
        sites
            .iter()
            .flat_map(|s| ["before", "after"].map(|side| Self::Dies(format!("{}:{side}", s.as_str()))))
            .collect()
    }

    fn losses(operations: &[&'static str]) -> Vec<Self> {
        operations.iter().flat_map(|operation| [true, false].map(|applied| Self::Lost(operation, applied))).collect()
    }

    /// A scene with this trouble in it, and its operator.
    async fn scene(&self, name: &str) -> Scene {
        let mut scene = Scene::new(name).await;
        match self {
            Self::Dies(at) => scene.extra = vec!["--crash-at".to_owned(), at.clone()],
            Self::Lost(operation, applied) => {
                let fault = if *applied { "applied_but_lost" } else { "lost_before" };
                scene.fault(&json!({ "operation": operation, "nth": 1 }), &json!(fault)).await;
            }
        }
        scene
    }
}

/// What goes on while a life is lived: a killed operator is started again, and the administrator makes the role once he knows
/// whom it has to trust.
#[derive(Default)]
struct Going {
    died: bool,
    trusted: bool,
}

impl Going {
    async fn on(&mut self, scene: &mut Scene) -> Result<Value, String> {
        if !scene.is_running() {
            scene.died().await?;
            self.died = true;
            scene.extra.clear();
            scene.start();
        }
        let key = scene.get("CustomerKey", "key").await;
        let external = key["status"]["regions"][0]["cloudRole"]["externalId"].as_str().map(str::to_owned);
        if let Some(external) = external.filter(|_| !self.trusted) {
            make_role(scene, ATLAS, &external).await;
            self.trusted = true;
        }
        Ok(key)
    }
}

/// Waits until something is so of the key and the cluster.
async fn until(
    scene: &mut Scene,
    going: &mut Going,
    what: &str,
    holds: impl Fn(&Value, &Value) -> bool,
) -> Result<(), String> {
    let end = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let key = going.on(scene).await?;
        let cluster = scene.get("EncryptedCluster", "db").await;
        if holds(&key, &cluster) {
            return Ok(());
        }
        if tokio::time::Instant::now() > end {
            return Err(format!("{what}: {} {}\n{}", key["status"], cluster["status"], scene.log_tail()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn ready(object: &Value) -> bool {
    find(object, "Ready").is_some_and(|c| c["status"] == "True" && c["reason"] == "AsDeclared")
}

/// What is not as it should be.
fn wrong(trouble: &Trouble, problems: &[(bool, &str)], shown: &Value) -> Result<(), String> {
    let wrong: Vec<&str> = problems.iter().filter(|(holds, _)| !holds).map(|(_, what)| *what).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("{trouble:?}: not so: {wrong:?} {shown:#}")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_cluster() {
    let troubles = [Trouble::deaths(&SITES), Trouble::losses(&WRITES)].concat();
    all(troubles, |trouble| async move {
        let mut scene = trouble.scene("atlas-crash").await;
        scene.start();
        apply(&scene, &[secret(&scene, true), key(&scene), cluster(&scene, &REGIONS[..1])]).await;
        let mut going = Going::default();
        until(&mut scene, &mut going, "both are ready", |key, cluster| ready(key) && ready(cluster)).await?;
        let (project, calls, state) = (project(&scene).await, scene.calls().await, scene.state().await);
        let one = |all: &Value| all.as_array().is_some_and(|all| all.len() == 1);
        let problems = [
            (going.died || matches!(trouble, Trouble::Lost(..)), "the crash switch was reached"),
            (one(&project["roles"]), "there is one record of the role"),
            (one(&project["clusters"]), "there is one cluster"),
            (state["keys"].as_object().is_some_and(|all| all.len() == 1), "there is one key"),
            (!project["clusters"][0]["created_with"].is_null(), "the cluster was made under the key"),
            (count(&calls, "atlas:CreateCloudProviderAccess") == 1, "one record was asked for"),
            (count(&calls, "atlas:CreateCluster") == 1, "one cluster was asked for"),
        ];
        wrong(&trouble, &problems, &project)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_cluster_under_the_key_and_another_region() {
    let sites = [Site::EncryptDatabase, Site::RecordDatabase];
    let troubles = [Trouble::deaths(&sites), Trouble::losses(&["atlas:UpdateCluster"])].concat();
    all(troubles, |trouble| async move {
        let mut scene = trouble.scene("atlas-adopt-crash").await;
        let existing = json!({
            "name": "shop", "clusterType": "REPLICASET", "pitEnabled": true,
            "replicationSpecs": [{ "regionConfigs": [{ "providerName": "AWS", "regionName": "US_EAST_1", "priority": 7,
                "electableSpecs": { "instanceSize": "M30", "nodeCount": 3 } }] }],
        });
        scene.command(&json!({ "atlas": { "add_cluster": { "project": PROJECT, "cluster": existing } } })).await;
        let before = project(&scene).await["clusters"][0]["spec"].clone();
        scene.start();
        let mut adopting = cluster(&scene, &REGIONS[..1]);
        adopting["spec"]["deployment"]["atlas"] = json!({ "name": "shop", "existing": "AdoptByName" });
        apply(&scene, &[secret(&scene, true), key(&scene), adopting]).await;
        let mut going = Going::default();
        until(&mut scene, &mut going, "both are ready", |key, cluster| ready(key) && ready(cluster)).await?;
        let project = project(&scene).await;
        let mut expected = before;
        expected["encryptionAtRestProvider"] = json!("AWS");
        let problems = [
            (going.died || matches!(trouble, Trouble::Lost(..)), "the crash switch was reached"),
            (project["clusters"].as_array().unwrap().len() == 1, "there is one cluster"),
            (project["clusters"][0]["spec"] == expected, "nothing but the encryption was changed"),
        ];
        wrong(&trouble, &problems, &project)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_in_place_of_the_first_one() {
    let sites = [Site::RecordRegistrationIntent, Site::Role(RoleSite::Register)];
    let mut troubles = Trouble::deaths(&sites);
    // The first one of each is met on the way to the first key.
    for trouble in &mut troubles {
        if let Trouble::Dies(at) = trouble {
            at.push_str(":2");
        }
    }
    troubles.extend(Trouble::losses(&["atlas:UpdateEncryptionAtRest"]));
    all(troubles, |trouble| async move {
        let mut scene = match &trouble {
            Trouble::Dies(_) => trouble.scene("atlas-replace-crash").await,
            Trouble::Lost(..) => Scene::new("atlas-replace-crash").await,
        };
        scene.start();
        apply(&scene, &[secret(&scene, true), key(&scene), cluster(&scene, &REGIONS[..1])]).await;
        let mut going = Going::default();
        until(&mut scene, &mut going, "both are ready", |key, cluster| ready(key) && ready(cluster)).await?;
        if going.died {
            return Err(format!("{trouble:?}: it died on the way to the first key"));
        }
        if let Trouble::Lost(operation, applied) = &trouble {
            let fault = if *applied { "applied_but_lost" } else { "lost_before" };
            scene.fault(&json!({ "operation": operation, "nth": 1 }), &json!(fault)).await;
        }
        let old = scene.get("CustomerKey", "key").await["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned();
        let new = by_hand(&scene).await;
        let mut replacing = key(&scene);
        replacing["spec"]["regions"] = json!([{ "name": REGIONS[0], "keyArn": new, "previousKeyArns": [old] }]);
        scene.apply(&replacing).await.unwrap();
        let registered = |key: &Value, cluster: &Value| {
            let current = key["metadata"]["generation"] == key["status"]["observedGeneration"];
            current && key["status"]["regions"][0]["registeredKeyArn"] == new && ready(key) && ready(cluster)
        };
        until(&mut scene, &mut going, "the new key is registered", registered).await?;
        let (project, state) = (project(&scene).await, scene.state().await);
        let problems = [
            (going.died || matches!(trouble, Trouble::Lost(..)), "the crash switch was reached"),
            (project["key"]["key"] == new && project["key"]["valid"] == true, "Atlas uses the new key"),
            (state["keys"][&old]["state"] == "Enabled", "the earlier key is usable"),
            (project["roles"].as_array().is_some_and(|all| all.len() == 1), "there is one record of the role"),
        ];
        wrong(&trouble, &problems, &project)
    })
    .await;
}
