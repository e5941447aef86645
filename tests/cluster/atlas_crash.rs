//! Every effect that Atlas has to do with, with the process killed on either side of it, and with each reply lost: what comes
//! of it is one record of the role, one key and one cluster.

use cmk_operator::plan::role_step::RoleSite;
use cmk_operator::plan::step::Site;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::atlas::{ATLAS, PROJECT, REGIONS, ROLE, apply, by_hand, cluster, count, key, make_role, project, secret};
use super::crash::{Play, all};
use crate::support::scene::{Scene, find};

/// The effects of a life from nothing to a cluster.
pub const SITES: [Site; 9] = [
    Site::Role(RoleSite::RecordIntent),
    Site::Role(RoleSite::Create),
    Site::Role(RoleSite::Record),
    Site::Role(RoleSite::Authorize),
    Site::RecordRegistrationIntent,
    Site::Role(RoleSite::Register),
    Site::RecordDeployIntent,
    Site::CreateDatabase,
    Site::RecordDatabase,
];

/// The effects of taking an existing cluster over.
pub const ADOPTION: [Site; 2] = [Site::EncryptDatabase, Site::RecordDatabase];

/// The writes to Atlas of such a life.
const WRITES: [&str; 4] = [
    "atlas:CreateCloudProviderAccess",
    "atlas:AuthorizeCloudProviderAccess",
    "atlas:UpdateEncryptionAtRest",
    "atlas:CreateCluster",
];

/// What goes wrong once.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The process dies: `SITE:before` or `SITE:after`.
    Dies(String),
    /// The reply to the first call of an operation is lost; whether it was applied.
    Lost(&'static str, bool),
}

impl Trouble {
    /// A death on either side of each of these.
    pub fn deaths(sites: &[Site]) -> Vec<Self> {
        sites
            .iter()
            .flat_map(|s| ["before", "after"].map(|side| Self::Dies(format!("{}:{side}", s.as_str()))))
            .collect()
    }

    /// A loss of the first reply to each of these, applied and not.
    pub fn losses(operations: &[&'static str]) -> Vec<Self> {
        operations.iter().flat_map(|operation| [true, false].map(|applied| Self::Lost(operation, applied))).collect()
    }

    /// A play with this trouble in it.
    pub async fn play(&self, name: &str) -> Play {
        match self {
            Self::Dies(at) => Play::new(name, &["--crash-at".to_owned(), at.clone()]).await,
            Self::Lost(..) => {
                let play = Play::new(name, &[]).await;
                self.strike(&play.scene).await;
                play
            }
        }
    }

    /// Has the next reply be lost.
    pub async fn strike(&self, scene: &Scene) {
        if let Self::Lost(operation, applied) = self {
            let fault = if *applied { "applied_but_lost" } else { "lost_before" };
            scene.fault(&json!({ "operation": operation, "nth": 1 }), &json!(fault)).await;
        }
    }

    /// Whether it happened: a trouble that did not proves nothing.
    async fn happened(&self, play: &Play) -> bool {
        match self {
            Self::Dies(_) => play.died,
            Self::Lost(..) => play.scene.fired().await == [1],
        }
    }

    /// What is not as it should be.
    pub async fn wrong(&self, play: &Play, problems: &[(bool, &str)], shown: &Value) -> Result<(), String> {
        let happened = [(self.happened(play).await, "the trouble happened")];
        let wrong: Vec<&str> =
            happened.iter().chain(problems).filter(|(holds, _)| !holds).map(|(_, what)| *what).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{self:?}: not so: {wrong:?} {shown:#}")) }
    }
}

/// Waits until something is so of the key and the cluster. Meanwhile the administrator makes the role once he knows whom it has
/// to trust.
async fn until(play: &mut Play, what: &str, holds: impl Fn(&Value, &Value) -> bool) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let scene = &play.scene;
        let key = scene.get("CustomerKey", "key").await;
        let external = key["status"]["regions"][0]["cloudRole"]["externalId"].as_str();
        if let Some(external) = external
            && scene.state().await["roles"][ROLE].is_null()
        {
            make_role(scene, ATLAS, external).await;
        }
        let cluster = scene.get("EncryptedCluster", "db").await;
        if holds(&key, &cluster) {
            return Ok(());
        }
        play.look_again(began, what, &format!("{} {}", key["status"], cluster["status"])).await?;
    }
}

fn ready(object: &Value) -> bool {
    find(object, "Ready").is_some_and(|c| c["status"] == "True" && c["reason"] == "AsDeclared")
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_cluster() {
    let troubles = [Trouble::deaths(&SITES), Trouble::losses(&WRITES)].concat();
    all(troubles, |trouble| async move {
        let mut play = trouble.play("atlas-crash").await;
        let scene = &play.scene;
        apply(scene, &[secret(scene, true), key(scene), cluster(scene, &REGIONS[..1])]).await;
        until(&mut play, "both are ready", |key, cluster| ready(key) && ready(cluster)).await?;
        let scene = &play.scene;
        let (project, calls, state) = (project(scene).await, scene.calls().await, scene.state().await);
        let one = |all: &Value| all.as_array().is_some_and(|all| all.len() == 1);
        let problems = [
            (one(&project["roles"]), "there is one record of the role"),
            (one(&project["clusters"]), "there is one cluster"),
            (state["keys"].as_object().is_some_and(|all| all.len() == 1), "there is one key"),
            (!project["clusters"][0]["created_with"].is_null(), "the cluster was made under the key"),
            (count(&calls, "atlas:CreateCloudProviderAccess") == 1, "one record was asked for"),
            (count(&calls, "atlas:CreateCluster") == 1, "one cluster was asked for"),
        ];
        trouble.wrong(&play, &problems, &project).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_cluster_under_the_key_and_another_region() {
    let troubles = [Trouble::deaths(&ADOPTION), Trouble::losses(&["atlas:UpdateCluster"])].concat();
    all(troubles, |trouble| async move {
        let mut play = trouble.play("atlas-adopt-crash").await;
        let scene = &play.scene;
        let existing = json!({
            "name": "shop", "clusterType": "REPLICASET", "pitEnabled": true,
            "replicationSpecs": [{ "regionConfigs": [{ "providerName": "AWS", "regionName": "US_EAST_1", "priority": 7,
                "electableSpecs": { "instanceSize": "M30", "nodeCount": 3 } }] }],
        });
        scene.command(&json!({ "atlas": { "add_cluster": { "project": PROJECT, "cluster": existing } } })).await;
        let before = project(scene).await["clusters"][0]["spec"].clone();
        let mut adopting = cluster(scene, &REGIONS[..1]);
        adopting["spec"]["deployment"]["atlas"] = json!({ "name": "shop", "existing": "AdoptByName" });
        apply(scene, &[secret(scene, true), key(scene), adopting]).await;
        until(&mut play, "both are ready", |key, cluster| ready(key) && ready(cluster)).await?;
        let project = project(&play.scene).await;
        let mut expected = before;
        expected["encryptionAtRestProvider"] = json!("AWS");
        let problems = [
            (project["clusters"].as_array().unwrap().len() == 1, "there is one cluster"),
            (project["clusters"][0]["spec"] == expected, "nothing but the encryption was changed"),
        ];
        trouble.wrong(&play, &problems, &project).await
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
        let mut play = match &trouble {
            Trouble::Dies(_) => trouble.play("atlas-replace-crash").await,
            Trouble::Lost(..) => Play::new("atlas-replace-crash", &[]).await,
        };
        let scene = &play.scene;
        apply(scene, &[secret(scene, true), key(scene), cluster(scene, &REGIONS[..1])]).await;
        until(&mut play, "both are ready", |key, cluster| ready(key) && ready(cluster)).await?;
        if play.died {
            return Err(format!("{trouble:?}: it died on the way to the first key"));
        }
        let scene = &play.scene;
        trouble.strike(scene).await;
        let old = scene.get("CustomerKey", "key").await["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned();
        let new = by_hand(scene).await;
        let mut replacing = key(scene);
        replacing["spec"]["regions"] = json!([{ "name": REGIONS[0], "keyArn": new, "previousKeyArns": [old] }]);
        scene.apply(&replacing).await.unwrap();
        let registered = |key: &Value, cluster: &Value| {
            let current = key["metadata"]["generation"] == key["status"]["observedGeneration"];
            current && key["status"]["regions"][0]["registeredKeyArn"] == new && ready(key) && ready(cluster)
        };
        until(&mut play, "the new key is registered", registered).await?;
        let (project, state) = (project(&play.scene).await, play.scene.state().await);
        let problems = [
            (project["key"]["key"] == new && project["key"]["valid"] == true, "Atlas uses the new key"),
            (state["keys"][&old]["state"] == "Enabled", "the earlier key is usable"),
            (project["roles"].as_array().is_some_and(|all| all.len() == 1), "there is one record of the role"),
        ];
        trouble.wrong(&play, &problems, &project).await
    })
    .await;
}
