//! Two replicas and one Lease: the leader is killed, frozen, or cut off from the API server, each time in the middle of a
//! creation. The other one takes over, and what cannot be called back is reported and never used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::support::proxy::Proxy;
use crate::support::scene::{ORGANIZATION, Scene, find};

const REGION: &str = "us-east-1";

/// A request of the leader's that is held on its way.
#[derive(Clone, Copy, PartialEq)]
enum Held {
    /// The one in which a key is created.
    Key,
    /// The one in which a database is created.
    Database,
}

impl Held {
    /// What stands in it, on the wire.
    fn words(self) -> &'static str {
        match self {
            Self::Key => "TrentService.CreateKey\r\n",
            Self::Database => "POST /v2/databases HTTP/1.1\r\n",
        }
    }
}

/// The Lease, short: taken over six seconds after its last renewal, and three after which nothing may be started.
const TERMS: [&str; 6] = ["--lease-duration", "6s", "--lease-renew", "1s", "--lease-act", "3s"];

/// Longer than any freeze here: the reply that comes late is taken for what it says.
const PATIENT: [&str; 2] = ["--write-timeout", "180s"];

/// How long a leader is frozen: many times what the Lease allows.
const FREEZE: Duration = Duration::from_secs(60);

/// The leader of a scene, which reaches the clouds and the API server through proxies, and a second replica, which does not.
struct Pair {
    scene: Scene,
    leader: Child,
    aws: Proxy,
    astra: Proxy,
    kubernetes: Proxy,
    _second: Child,
    second: String,
}

impl Pair {
    /// A request of the leader's is held on its way.
    async fn new(name: &str, held: Held) -> Self {
        let mut scene = Scene::new(name).await;
        let aws = Proxy::to(&scene.aws).await;
        let astra = Proxy::to(&scene.astra).await;
        let (kubernetes, kubeconfig) = before_api_server(&scene).await;
        let direct = std::mem::replace(&mut scene.kubeconfig, kubeconfig);
        scene.env = vec![("AWS_ENDPOINT_URL".to_owned(), format!("http://{}", aws.address))];
        let endpoint = format!("http://{}", astra.address);
        let own = ["--identity", "first", "--astra-endpoint", endpoint.as_str()];
        let (leader, log) = scene.start_another("first", &[&TERMS[..], &PATIENT, &own].concat());
        let first = scene.address(&log).await;
        leads(&scene, &first).await;
        scene.kubeconfig = direct;
        scene.env.clear();
        let (second, log) = scene.start_another("second", &[&TERMS[..], &["--identity", "second"]].concat());
        let second_address = scene.address(&log).await;
        scene
            .until("the second replica stands by", || async {
                let (code, body) = scene.ask(&second_address, "/readyz").await;
                if code == 200 && body.contains("another replica leads") { Ok(()) } else { Err(body) }
            })
            .await;
        let holder = if held == Held::Key { &aws } else { &astra };
        holder.hold(held.words()).await;
        for object in [scene.secret(), scene.key(&[REGION]), scene.cluster(&[REGION])] {
            scene.apply(&object).await.unwrap();
        }
        tokio::time::timeout(Duration::from_secs(60), holder.held()).await.expect("the leader creates it");
        Self { scene, leader, aws, astra, kubernetes, _second: second, second: second_address }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.leader.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The code with which the former leader ends.
    async fn ends(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.leader.wait()).await;
        ended.expect("the former leader ends by itself").unwrap().code()
    }

    /// Everything is ready by the hands of the second replica. Yields the key in use.
    async fn taken_over(&self) -> String {
        leads(&self.scene, &self.second).await;
        let (key, _) = self.scene.all_ready().await;
        key["status"]["regions"][0]["keyArn"].as_str().unwrap().to_owned()
    }

    /// How often each write was applied.
    async fn applied(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for call in self.scene.calls().await {
            if call["access"] == "write" && call["applied"] == true {
                *count.entry(call["operation"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            }
        }
        count
    }

    /// Nothing was done twice, but for these.
    async fn nothing_twice(&self, but: &[(&str, usize)]) {
        let applied = self.applied().await;
        let once = ["kms:CreateKey", "kms:CreateAlias", "kms:PutKeyPolicy", "astra:CreateKey", "astra:CreateDatabase"];
        for operation in once {
            let expected = but.iter().find(|(name, _)| *name == operation).map_or(1, |(_, count)| *count);
            assert_eq!(applied.get(operation), Some(&expected), "{operation}: {applied:?}");
        }
        let twice = |(name, count): &(&String, &usize)| **count > 1 && !but.iter().any(|(other, _)| other == name);
        // The key's tags are written once more: the moment of its registration.
        let others: Vec<_> = applied.iter().filter(twice).filter(|(name, _)| *name != "kms:TagResource").collect();
        assert!(others.is_empty(), "{others:?}");
    }
}

/// A proxy before the API server, and a kubeconfig that goes through it.
async fn before_api_server(scene: &Scene) -> (Proxy, PathBuf) {
    let text = std::fs::read_to_string(&scene.plane.kubeconfig).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
    let proxy = Proxy::to(&server).await;
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://{}", proxy.address));
    let file = scene.dir.path().join("through-proxy.kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    (proxy, file)
}

async fn leads(scene: &Scene, address: &str) {
    scene
        .until("it leads", || async {
            let metrics = scene.ask(address, "/metrics").await.1;
            if metrics.lines().any(|line| line == "cmk_leader 1") { Ok(()) } else { Err(metrics) }
        })
        .await;
}

/// Asks for a look at everything.
async fn touch(scene: &Scene, kind: &str, name: &str) {
    let request = uuid::Uuid::new_v4().to_string();
    let patch = json!({ "metadata": { "annotations": { "cmk-operator.io/reconcile-requested-at": request } } });
    let objects = scene.objects(&scene.namespace, kind);
    objects.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Nothing but its tags says whose a key is: no alias, no registration, no database, no policy but its first.
async fn never_published(scene: &Scene, surplus: &str) {
    let state = scene.state().await;
    assert!(state["aliases"].as_object().unwrap().values().all(|target| target != surplus), "{}", state["aliases"]);
    assert!(!state["astra"].to_string().contains(surplus), "{:#}", state["astra"]);
    let written = scene.calls().await.into_iter().filter(|c| c["access"] == "write" && c["resource"] == surplus);
    let written: Vec<Value> = written.filter(|c| c["operation"] != "kms:CreateKey").collect();
    assert!(written.is_empty(), "{written:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_in_the_middle_of_a_creation_is_followed_and_its_request_reported() {
    let mut pair = Pair::new("killed", Held::Key).await;
    pair.signal(Signal::KILL);
    pair.ends().await;
    let arn = pair.taken_over().await;
    // What was on its way when it died arrives when all is done.
    pair.aws.release();
    surplus(&pair, &arn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_frozen_in_the_middle_of_a_creation_does_nothing_more_when_it_is_thawed() {
    let mut pair = Pair::new("frozen", Held::Key).await;
    let frozen = tokio::time::Instant::now();
    pair.signal(Signal::STOP);
    let arn = pair.taken_over().await;
    pair.aws.release();
    surplus(&pair, &arn).await;
    tokio::time::sleep_until(frozen + FREEZE).await;
    let mark = pair.scene.mark().await;
    // The reply to its request lies there when it wakes, the key that it asked for exists, and the next step would be to
    // publish it.
    pair.signal(Signal::CONT);
    assert_eq!(pair.ends().await, Some(3), "it ends, and says that leadership was lost");
    let calls = pair.scene.calls_since(mark).await;
    assert!(calls.iter().all(|call| call["access"] == "read"), "{calls:#?}");
    surplus(&pair, &arn).await;
}

/// The key of the former leader's request is there, reported, and used for nothing; nothing else was done twice.
async fn surplus(pair: &Pair, arn: &str) {
    let scene = &pair.scene;
    let other = scene
        .until("the request that was on its way has arrived", || async {
            let state = scene.state().await;
            let keys = state["keys"].as_object().unwrap();
            match keys.keys().find(|key| *key != arn) {
                Some(other) if keys.len() == 2 => Ok(other.clone()),
                _ => Err(format!("{:?}", keys.keys())),
            }
        })
        .await;
    touch(scene, "CustomerKey", "key").await;
    let key = scene
        .until("the surplus key is reported", || async {
            let key = scene.get("CustomerKey", "key").await;
            if key["status"]["surplusKeys"][0]["keyArn"] == other { Ok(key) } else { Err(key["status"].to_string()) }
        })
        .await;
    assert_eq!(key["status"]["regions"][0]["keyArn"], arn, "the key in use stays the one that was recorded");
    never_published(scene, &other).await;
    pair.nothing_twice(&[("kms:CreateKey", 2)]).await;
    scene.all_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_a_killed_leaders_request_makes_late_is_reported() {
    let mut pair = Pair::new("late", Held::Database).await;
    pair.signal(Signal::KILL);
    pair.ends().await;
    pair.taken_over().await;
    let scene = &pair.scene;
    let own = scene.get("EncryptedCluster", "db").await["status"]["upstreamId"].clone();
    pair.astra.release();
    let databases = async || {
        let state = scene.state().await;
        let all = state["astra"][ORGANIZATION]["databases"].as_array().unwrap().clone();
        all.into_iter().map(|database| database["id"].clone()).collect::<Vec<_>>()
    };
    let other = scene
        .until("the request that was on its way has arrived", || async {
            let all = databases().await;
            let other = all.iter().find(|id| **id != own).filter(|_| all.len() == 2);
            other.map(|id| id.as_str().unwrap().to_owned()).ok_or(format!("{all:?}"))
        })
        .await;
    touch(scene, "EncryptedCluster", "db").await;
    let cluster = scene
        .until("the other database is reported", || async {
            let cluster = scene.get("EncryptedCluster", "db").await;
            let message = find(&cluster, "Deployed").unwrap()["message"].as_str().unwrap();
            if message.contains(&other) && message.contains("To do: ") { Ok(cluster) } else { Err(message.to_owned()) }
        })
        .await;
    assert_eq!(cluster["status"]["upstreamId"], own);
    assert!(!cluster["status"]["endpoints"].to_string().contains(&other), "it is never published");
    assert_eq!(find(&cluster, "Ready").unwrap()["status"], "True");
    pair.nothing_twice(&[("astra:CreateDatabase", 2)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_from_the_api_server_stops_by_itself_and_its_key_is_found() {
    let mut pair = Pair::new("parted", Held::Key).await;
    pair.kubernetes.cut();
    // AWS still answers: the key is made, and nobody can write down that it is.
    pair.aws.release();
    leads(&pair.scene, &pair.second).await;
    let before = pair.aws.sent();
    pair.taken_over().await;
    assert_eq!(pair.ends().await, Some(3), "it ends, and says that leadership was lost");
    assert_eq!(pair.aws.sent(), before, "from when another leads it asks AWS nothing more");
    assert_eq!(pair.scene.state().await["keys"].as_object().unwrap().len(), 1);
    pair.nothing_twice(&[]).await;
}
