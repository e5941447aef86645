//! Changes of specs, made from the CRDs' schemas, on the real API server and the real process: what it refuses changes
//! nothing, and after what it lets through all is as if that spec had been applied to nothing.
//!
//! Some tenants begin with a spec each; then each of them goes through the specs of all the others, and back to its own.
//! What equal means, and what a history leaves, stands in `tests/transitions.rs`.

use std::collections::BTreeMap;
use std::time::Instant;

use kube::ResourceExt;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::support::scene::{ACCOUNT, Scene, organization};

#[path = "../inprocess/changes.rs"]
mod changes;
#[path = "../inprocess/judge.rs"]
mod judge;

use changes::{Change, Expect, Ground, changes as all_changes};
use judge::Judge;

const TENANTS: usize = 8;
const REGION: &str = "us-east-1";
const KINDS: [&str; 2] = ["CustomerKey", "EncryptedCluster"];

/// A tenant's two specs.
#[derive(Clone, Debug)]
struct Specs {
    name: String,
    of: BTreeMap<&'static str, Value>,
}

fn tenant(number: usize) -> String {
    format!("tenant-{number}")
}

/// The organization of a tenant; other scenes have clouds of their own.
fn org(number: usize) -> String {
    organization(u32::try_from(500 + number).unwrap())
}

/// What every tenant's specs are made from.
fn base(scene: &Scene) -> Specs {
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    let mut key = scene.key(&[REGION])["spec"].clone();
    key["policy"] = json!({
        "administrators": [role("admin")],
        "statements": [{ "name": "audit", "principals": { "aws": [role("auditor")] }, "actions": ["kms:DescribeKey"] }],
    });
    let cluster = scene.cluster(&[REGION])["spec"].clone();
    Specs { name: "as they begin".to_owned(), of: [("CustomerKey", key), ("EncryptedCluster", cluster)].into() }
}

/// A tenant's manifest of one kind.
fn manifest(scene: &Scene, number: usize, kind: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if kind == "CustomerKey" {
        let astra = &mut spec["upstream"]["astra"];
        astra["organizationId"] = json!(org(number));
        astra["credentialsSecretRef"]["name"] = json!(tenant(number));
    } else {
        spec["customerKeyRef"]["name"] = json!(tenant(number));
    }
    json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": kind, "spec": spec,
        "metadata": { "name": tenant(number), "namespace": scene.namespace },
    })
}

/// Whether the API server would take an object with another spec in the place of one that is there.
async fn would_take(scene: &Scene, live: &DynamicObject, spec: &Value) -> Result<(), String> {
    let kind = live.types.as_ref().unwrap().kind.clone();
    let mut object = live.clone();
    object.data["spec"] = spec.clone();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let answer = scene.objects(&scene.namespace, &kind).replace(&live.name_any(), &dry, &object).await;
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(other) => panic!("not an answer of the API server: {other}"),
    }
}

/// Fields of which a change can be combined with any other, and is the same for every tenant.
fn combines(change: &Change) -> bool {
    let ours = ["key.", "policy.", "deletion", "allowedNamespaces.from", "key"];
    change.expect == Expect::Same && ours.iter().any(|start| change.field.starts_with(start))
}

/// Everything about a tenant, made comparable.
async fn picture(scene: &Scene, number: usize) -> Value {
    let state = scene.state().await;
    let mut said = Vec::new();
    for kind in KINDS {
        let object = scene.get(kind, &tenant(number)).await;
        let status = &object["status"];
        let conditions: BTreeMap<String, String> = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| (text(&c["type"]), format!("{} {}", text(&c["status"]), text(&c["reason"]))))
            .collect();
        said.push(json!({
            "conditions": conditions, "current": object["metadata"]["generation"] == status["observedGeneration"],
            "summary": status["summary"], "attempts": [status["creation"], status["regions"][0]["creation"]],
            "open": status["regions"][0]["gate"]["open"], "state": status["regions"][0]["state"],
        }));
    }
    let mine = |key: &&Value| key["tags"]["cmk-operator.io/name"] == tenant(number).as_str();
    let keys: Vec<Value> = state["keys"].as_object().unwrap().values().filter(mine).map(shown_key).collect();
    let databases: Vec<Value> = state["astra"][org(number)]["databases"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|d| {
            json!([d["name"], d["status"], d["regions"][0]["status"], d["regions"][0]["encrypted_with"].is_string()])
        })
        .collect();
    let registered = state["astra"][org(number)]["registrations"].as_array().map_or(0, Vec::len);
    let text = json!({ "keys": keys, "databases": databases, "registered": registered, "said": said }).to_string();
    let text = text.replace(&org(number), "ORGANIZATION").replace(&tenant(number), "TENANT");
    serde_json::from_str(&text).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn shown_key(key: &Value) -> Value {
    let mut tags = key["tags"].as_object().unwrap().clone();
    tags.retain(|name, _| {
        !name.ends_with("/nonce") && !name.ends_with("/registered-at") && !name.contains("/database-")
    });
    let policy = &key["policy"];
    let mut statements: BTreeMap<String, Value> = BTreeMap::new();
    for statement in policy["Statement"].as_array().unwrap() {
        let mut statement = statement.clone();
        // The hash in it is that of the tenant.
        let sid = statement["Sid"].as_str().unwrap_or_default().split(' ').skip(2).collect::<Vec<_>>().join(" ");
        statement["Sid"] = json!(sid);
        statements.insert(sid, statement);
    }
    json!({
        "state": key["state"], "description": key["description"], "tags": tags,
        "rotation": key["rotation_period_days"], "policy": statements, "aliases": key["aliases"],
    })
}

/// What applying to nothing gives, and what stays of a history: tags, and a rotation that the spec is silent about.
fn with_history(before: &Value, fresh: &Value) -> Value {
    let mut wanted = fresh.clone();
    for (tag, value) in before["keys"][0]["tags"].as_object().unwrap() {
        if wanted["keys"][0]["tags"].get(tag).is_none() {
            wanted["keys"][0]["tags"][tag] = value.clone();
        }
    }
    if wanted["keys"][0]["rotation"].is_null() {
        wanted["keys"][0]["rotation"] = before["keys"][0]["rotation"].clone();
    }
    wanted
}

/// As authors write it. Of a map or list whose last entry an applied manifest takes away by naming it empty, the merge of
/// the API server makes a null, which it then refuses.
fn without_empty(value: &Value) -> Value {
    let is_empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty) || value == &json!([]);
    match value {
        Value::Object(entries) => {
            let kept = entries.iter().filter(|(_, entry)| !is_empty(entry));
            kept.map(|(name, entry)| (name.clone(), without_empty(entry))).collect()
        }
        other => other.clone(),
    }
}

async fn apply(scene: &Scene, number: usize, specs: &Specs) {
    for (kind, spec) in &specs.of {
        scene
            .apply(&manifest(scene, number, kind, &without_empty(spec)))
            .await
            .unwrap_or_else(|e| panic!("{}: {e}", specs.name));
    }
}

/// Waits until a tenant looks as wanted.
async fn becomes(scene: &Scene, number: usize, what: &str, wanted: &Value) -> Value {
    scene
        .until(what, || async {
            let found = picture(scene, number).await;
            if found == *wanted {
                Ok(found)
            } else {
                Err(format!("{}: wanted {wanted:#}\nfound {found:#}", tenant(number)))
            }
        })
        .await
}

/// Waits until a tenant has what it declares.
async fn rests(scene: &Scene, number: usize) -> Value {
    for kind in KINDS {
        let object = scene.wait_for(kind, &tenant(number), "Ready", "True", "AsDeclared").await;
        assert!(object["status"]["regions"][0]["creation"].is_null(), "{object:#}");
    }
    picture(scene, number).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_spec_gives_what_it_would_give_to_nothing() {
    let began = Instant::now();
    let scene = Scene::started("changes").await;
    for name in ["admin", "auditor"] {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/{name}");
        scene.command(&json!({ "create_principal": { "arn": arn } })).await;
    }
    let judge = Judge::new();
    let base = base(&scene);
    // The first tenant is there before anything is refused.
    prepare(&scene, 0).await;
    apply(&scene, 0, &base).await;
    let first = rests(&scene, 0).await;

    let (taken, refused) = refusals(&scene, &judge).await;
    assert!(refused >= 50, "only {refused} changes were refused");
    becomes(&scene, 0, "the first tenant is as it was", &first).await;

    let all = mix(&base, &taken);
    let mut fresh = vec![first];
    for (number, specs) in all.iter().enumerate().skip(1) {
        prepare(&scene, number).await;
        apply(&scene, number, specs).await;
    }
    for number in 1..all.len() {
        fresh.push(rests(&scene, number).await);
    }
    let walks = (0..all.len()).map(|number| walk(&scene, number, &all, &fresh));
    let steps: usize = futures::future::join_all(walks).await.into_iter().sum();
    println!("{steps} transitions, {refused} refused, in {:.1} s", began.elapsed().as_secs_f64());
    assert!(steps >= 50, "{steps} transitions");
}

/// A tenant's organization and Secret.
async fn prepare(scene: &Scene, number: usize) {
    scene.tenant(&tenant(number), u32::try_from(500 + number).unwrap(), REGION).await;
}

/// Tries every change on the first tenant's objects: the judge in process says the same as the API server, and what is
/// refused leaves them as they are. Yields what is taken, and how many are refused.
async fn refusals(scene: &Scene, judge: &Judge) -> (Vec<(&'static str, Change)>, usize) {
    let (mut taken, mut refused) = (Vec::new(), 0);
    for kind in KINDS {
        let mut live = scene.objects(&scene.namespace, kind).get(&tenant(0)).await.unwrap();
        live.metadata.managed_fields = None;
        let old = json!(live);
        for change in all_changes(kind, judge.spec(kind), &old["spec"], &Ground::default()) {
            let mut object = old.clone();
            object["spec"] = change.spec.clone();
            let judged = judge.admit(kind, &object, Some(&old)).map(drop);
            let said = would_take(scene, &live, &change.spec).await;
            assert_eq!(judged.is_ok(), said.is_ok(), "{}: in process {judged:?}, the API server {said:?}", change.name);
            if said.is_ok() {
                taken.push((kind, change));
                continue;
            }
            refused += 1;
            let mut wrong = live.clone();
            wrong.data["spec"] = change.spec.clone();
            let api = scene.objects(&scene.namespace, kind);
            let answer = api.replace(&tenant(0), &PostParams::default(), &wrong).await;
            assert!(answer.is_err(), "{}: taken after all", change.name);
        }
        let now = scene.objects(&scene.namespace, kind).get(&tenant(0)).await.unwrap();
        assert_eq!(now.metadata.generation, live.metadata.generation, "what was refused changed the {kind}");
    }
    (taken, refused)
}

/// The specs that the tenants begin with: the first as it is, the others with some changes at once.
fn mix(base: &Specs, taken: &[(&'static str, Change)]) -> Vec<Specs> {
    let fit: Vec<&(&str, Change)> = taken.iter().filter(|(_, change)| combines(change)).collect();
    assert!(fit.len() >= TENANTS, "only {} changes can be combined", fit.len());
    let mut all = vec![base.clone()];
    for number in 1..TENANTS {
        let mut specs = base.clone();
        // Spread over all of them; a key's change and a cluster's are made at once where there is one of each.
        for (kind, change) in [fit[number * 5 % fit.len()], fit[(number * 11 + 3) % fit.len()]] {
            if specs.of[kind] == base.of[kind] {
                specs.of.insert(*kind, merged(&base.of[kind], &change.spec));
                specs.name = format!("{}, {}", specs.name, change.name);
            }
        }
        all.push(specs);
    }
    all
}

/// A spec as it was changed, without what the API server added to it: the defaults are the same for all.
fn merged(base: &Value, changed: &Value) -> Value {
    let mut spec = changed.clone();
    for tenants in ["upstream", "customerKeyRef"] {
        if let Some(own) = base.get(tenants) {
            spec[tenants] = own.clone();
        }
    }
    spec
}

/// A tenant goes through the specs of all others, and back to its own. Yields how many changes that were.
async fn walk(scene: &Scene, number: usize, all: &[Specs], fresh: &[Value]) -> usize {
    let mut before = fresh[number].clone();
    let mut steps = 0;
    for step in 1..=all.len() {
        let next = (number + step) % all.len();
        apply(scene, number, &all[next]).await;
        let wanted = with_history(&before, &fresh[next]);
        before = becomes(scene, number, &all[next].name, &wanted).await;
        steps += 1;
    }
    steps
}
