//! What tools that wait for objects make of ours, at every moment: every version of every object of both kinds is given to
//! kstatus, and its word compared with what the object's own `Ready` says it should be.
//!
//! One recorder watches a control plane for all scenes; each scene asks at its end about its own namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use cmk_operator::domain::condition::{Reason, Standing};
use futures::StreamExt;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::controlplane::ControlPlane;
use super::scene::find;

/// How long a scene waits until the recorder has seen what there is.
const PATIENCE: Duration = Duration::from_secs(30);

/// Namespace, name and uid.
type Key = (String, String, String);

/// What was seen of a namespace.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many versions kstatus gave each status to.
    pub statuses: BTreeMap<String, usize>,
    /// Each version that kstatus saw otherwise than it should, in words.
    pub wrong: Vec<String>,
}

/// Watches both kinds everywhere and judges each version.
pub struct Recorder {
    runtime: tokio::runtime::Runtime,
    client: Client,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    seen: BTreeMap<String, Seen>,
    /// The latest version of each object that was judged.
    versions: BTreeMap<Key, u64>,
    /// The kinds that are watched by now.
    watched: BTreeSet<&'static str>,
}

impl Recorder {
    /// Starts watching. The CRDs may come later.
    pub fn start(plane: &ControlPlane) -> Self {
        // Of its own: those of the tests end with each test.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(plane.client());
        let state = Arc::new(Mutex::new(State::default()));
        let oracle = Arc::new(Mutex::new(Oracle::start(plane)));
        for kind in ["CustomerKey", "EncryptedCluster"] {
            let (api, state, oracle) = (everywhere(&client, kind), Arc::clone(&state), Arc::clone(&oracle));
            runtime.spawn(async move {
                let judge = |object: &DynamicObject| judged(&state, &oracle, object);
                let listed = || {
                    state.lock().unwrap().watched.insert(kind);
                };
                loop {
                    if let Err(error) = follow(&api, &judge, &listed).await {
                        // The CRD is not there yet, or the watch was too old: begin anew.
                        if !matches!(&error, kube::Error::Api(status) if matches!(status.code, 404 | 410)) {
                            println!("kstatus recorder: {error}");
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            });
        }
        Self { runtime, client, state }
    }

    /// Returns once no version can be missed any more. The CRDs have to be there.
    pub fn watching(&self) {
        let end = Instant::now() + PATIENCE;
        while self.state.lock().unwrap().watched.len() < 2 {
            assert!(Instant::now() < end, "the kstatus recorder does not get to watch");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What was seen of these namespaces, once everything that is there now was seen. May be called on any thread.
    pub fn settled(&self, namespaces: &[String]) -> Result<BTreeMap<String, Seen>, String> {
        let (client, state, namespaces) = (self.client.clone(), Arc::clone(&self.state), namespaces.to_vec());
        let (told, hear) = mpsc::channel();
        self.runtime.spawn(async move {
            let _ = told.send(settled(&client, &state, &namespaces).await);
        });
        hear.recv_timeout(PATIENCE * 2).map_err(|error| format!("the kstatus recorder does not answer: {error}"))?
    }
}

async fn settled(
    client: &Client,
    state: &Mutex<State>,
    namespaces: &[String],
) -> Result<BTreeMap<String, Seen>, String> {
    let mut there: Vec<(Key, u64)> = Vec::new();
    for kind in ["CustomerKey", "EncryptedCluster"] {
        for namespace in namespaces {
            match named(client, namespace, kind).list(&ListParams::default()).await {
                Ok(list) => there.extend(list.iter().map(|object| (key(object), version(object)))),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(format!("the objects of {namespace} could not be listed: {error}")),
            }
        }
    }
    let end = Instant::now() + PATIENCE;
    loop {
        {
            let state = state.lock().unwrap();
            let behind = |(key, version): &(Key, u64)| state.versions.get(key).is_none_or(|seen| seen < version);
            let missing: Vec<_> = there.iter().filter(|entry| behind(entry)).collect();
            if missing.is_empty() {
                let of =
                    |namespace: &String| (namespace.clone(), state.seen.get(namespace).cloned().unwrap_or_default());
                return Ok(namespaces.iter().map(of).collect());
            }
            if Instant::now() > end {
                return Err(format!("the kstatus recorder has not seen {missing:?}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lists and watches from there, until the watch can't be resumed.
async fn follow(api: &Api<DynamicObject>, judge: &impl Fn(&DynamicObject), listed: &impl Fn()) -> kube::Result<()> {
    let list = api.list(&ListParams::default()).await?;
    list.items.iter().for_each(judge);
    listed();
    let mut from = list.metadata.resource_version.unwrap_or_default();
    loop {
        let mut events = api.watch(&WatchParams::default(), &from).await?.boxed();
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                    judge(&object);
                    from = object.resource_version().unwrap_or_default();
                }
                WatchEvent::Bookmark(mark) => from = mark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
    }
}

fn judged(state: &Mutex<State>, oracle: &Mutex<Oracle>, object: &DynamicObject) {
    let value = serde_json::to_value(object).unwrap();
    let said = oracle.lock().unwrap().ask(&value);
    let wrong = verdict(&value, &said).err();
    let mut state = state.lock().unwrap();
    let latest = state.versions.entry(key(object)).or_default();
    if *latest >= version(object) {
        return; // listed again
    }
    *latest = version(object);
    let seen = state.seen.entry(object.namespace().unwrap_or_default()).or_default();
    *seen.statuses.entry(said).or_default() += 1;
    seen.wrong.extend(wrong.map(|wrong| {
        let (meta, status) = (&value["metadata"], &value["status"]);
        let (version, generation) = (&meta["resourceVersion"], &meta["generation"]);
        format!("{:?} at {version}, generation {generation}: {wrong}\n{status:#}", key(object))
    }));
}

/// Whether kstatus says of an object what the design's table of states says it should. The reason of `Ready` names the
/// state, independently of the conditions that kstatus reads.
pub fn verdict(object: &Value, said: &str) -> Result<(), String> {
    let (meta, status) = (&object["metadata"], &object["status"]);
    let expect = |state: &str, expected: &str| {
        if said == expected { Ok(()) } else { Err(format!("{state}: kstatus says {said} instead of {expected}")) }
    };
    if meta["deletionTimestamp"].is_string() {
        return expect("being deleted", "Terminating");
    }
    if status.is_null() || status["observedGeneration"] == -1 {
        return expect("before the first look", "InProgress");
    }
    let of = |name: &str| find(object, name).ok_or_else(|| format!("the condition {name} is missing"));
    let (ready, reconciling, stalled) = (of("Ready")?, of("Reconciling")?, of("Stalled")?);
    if ready["observedGeneration"] != meta["generation"] {
        return expect("a new spec is not looked at yet", "InProgress");
    }
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    let name = text(ready, "reason");
    let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == name);
    let reason = reason.ok_or_else(|| format!("{name} is no reason of the documentation"))?;
    let paused = meta["annotations"]["cmk-operator.io/paused"] == "true";
    let conditions = [text(ready, "status"), text(reconciling, "status"), text(stalled, "status")];
    let conditions = conditions.each_ref().map(String::as_str);
    let (state, allowed, expected): (&str, &[[&str; 3]], &str) = match (reason, reason.standing()) {
        (Reason::Paused | Reason::OnHold, _) => {
            let was = if conditions[0] == "True" { "Current" } else { "InProgress" };
            ("paused or on hold", &[["True", "False", "False"], ["False", "False", "False"]], was)
        }
        (_, Standing::Stuck) if paused && conditions[2] == "False" => {
            ("stuck and paused", &[["False", "False", "False"]], "InProgress")
        }
        // Or something that comes first could not be looked at.
        (Reason::NotLookedYet, _) => {
            ("before the first look", &[["Unknown", "True", "False"], ["False", "True", "False"]], "InProgress")
        }
        (Reason::LastKnown, _) => ("last known", &[["True", "True", "False"]], "InProgress"),
        (Reason::Unobservable, _) => ("not seen for long", &[["Unknown", "True", "False"]], "InProgress"),
        (_, Standing::Unseen | Standing::Working) => {
            ("working or waiting", &[["False", "True", "False"]], "InProgress")
        }
        (_, Standing::Awaiting) => ("waiting for a human", &[["False", "True", "False"]], "InProgress"),
        (_, Standing::Healing) => ("healing", &[["True", "True", "False"], ["False", "True", "False"]], "InProgress"),
        (_, Standing::Stuck) => ("stuck", &[["False", "False", "True"]], "Failed"),
        (_, Standing::Fine) => ("done", &[["True", "False", "False"]], "Current"),
    };
    if !allowed.contains(&conditions) {
        return Err(format!("{state} ({name}): Ready, Reconciling and Stalled are {conditions:?}, not {allowed:?}"));
    }
    expect(&format!("{state} ({name})"), expected)
}

/// The Go program that runs kstatus, kept for the next question.
struct Oracle {
    child: Child,
    ask: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Oracle {
    fn start(plane: &ControlPlane) -> Self {
        let mut child =
            Command::new(&plane.binary).arg("kstatus").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (ask, hear) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, ask, hear }
    }

    /// What kstatus says of an object.
    fn ask(&mut self, object: &Value) -> String {
        writeln!(self.ask, "{object}").unwrap();
        let mut line = String::new();
        self.hear.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("kstatus said {line:?}: {error}; it is {:?}", self.child.try_wait()));
        answer["status"].as_str().unwrap().to_owned()
    }
}

/// What kstatus says of one object.
pub fn ask(plane: &ControlPlane, object: &Value) -> String {
    Oracle::start(plane).ask(object)
}

/// The statuses that were seen of a namespace.
pub fn statuses(seen: &BTreeMap<String, Seen>) -> BTreeSet<&str> {
    seen.values().flat_map(|seen| seen.statuses.keys().map(String::as_str)).collect()
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any(), object.uid().unwrap_or_default())
}

fn version(object: &DynamicObject) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("cmk-operator.io", "v1alpha1", kind))
}

fn everywhere(client: &Client, kind: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource(kind))
}

fn named(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}
