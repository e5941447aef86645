//! Scenes: what is declared, seen and remembered, from abbreviated YAML.
//!
//! A patch alters a scene as a JSON merge patch does (RFC 7396), with these abbreviations:
//! - `seen`, `remembered` are what is seen and remembered of us-east-1; `there` is what is seen of eu-west-1;
//!   `key`, `cluster`, `settings`, `database` (by id) and `named` are where one expects them;
//! - a patch of something [`Present`](Reading::Present) goes inside it, and one that is itself `Present: ...` replaces it;
//! - `T-5s`, `T+2m`, `T-1h`, `T-30d` are moments; `k1` is the ARN of a key in the region that it stands under, and
//!   `id of k1` its id alone;
//!   `33000 letters` is a long text; `NotLooked` and `fault <class>[/<cause>] <operation>` are unknown;
//! - a policy is a map of statements by Sid; `ours use` is the Sid of the operator's own statement `use`;
//! - `the-token` is the token that confirms the deletion, as the decision shows it;
//! - `of-seen` is the hash of the policy that is seen, `as-seen` the fingerprint of what is seen, `as-planned` the hash of
//!   the statements that are to be ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cmk_operator::domain::capabilities::{Capabilities, Cloud};
use cmk_operator::domain::desired::Desired;
use cmk_operator::domain::fault::{Applied, Cause, Fault, FaultClass};
use cmk_operator::domain::id::Region;
use cmk_operator::domain::memory::{Memory, Subject};
use cmk_operator::domain::moment::Moment;
use cmk_operator::domain::observed::Observed;
use cmk_operator::domain::policy::{KeyAccount, Ownership, PolicyDocument, PolicyHash};
#[allow(unused_imports, reason = "the module's documentation links to it")]
use cmk_operator::domain::reading::Reading;
use cmk_operator::plan::{Pass, Settings, decide};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: Moment = Moment(1_767_225_600_000);

const IDENTITY: &str = "prod/team-a/orders/111111111111";

/// Everything that a decision is made from.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) desired: Desired,
    pub(crate) observed: Observed,
    pub(crate) memory: Memory,
    pub(crate) pass: Pass,
}

/// The named scenes, each as one value.
pub(crate) struct Scenes(BTreeMap<String, Value>);

impl Scenes {
    pub(crate) fn load() -> Self {
        Self(table("base.yaml"))
    }

    /// A named scene, altered by patches.
    pub(crate) fn build(&self, name: &str, patches: &[&Value]) -> Scene {
        let mut scene = self.raw(name);
        for patch in patches {
            apply(&mut scene, patch);
        }
        finish(&scene, &str::to_owned)
    }

    /// The names of all scenes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// A named scene in which other words stand for some.
    pub(crate) fn renamed(&self, name: &str, rename: &dyn Fn(&str) -> String) -> Scene {
        let scene = rename(&self.raw(name).to_string());
        finish(&serde_json::from_str(&scene).unwrap(), rename)
    }

    fn raw(&self, name: &str) -> Value {
        let named = self.0.get(name).unwrap_or_else(|| panic!("base.yaml has no scene {name:?}"));
        let mut scene = match named.get("from").and_then(Value::as_str) {
            Some(from) => self.raw(from),
            None => Value::Object(Map::new()),
        };
        for part in ["desired", "observed", "memory", "pass"] {
            if let Some(value) = named.get(part) {
                scene[part] = expand(value, None);
            }
        }
        if let Some(given) = named.get("given") {
            apply(&mut scene, given);
        }
        scene
    }
}

/// Reads a file of this directory.
pub(crate) fn table<T: DeserializeOwned>(file: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planner").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn apply(scene: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return };
    for (name, value) in patch {
        let key =
            if scene["desired"].get("Key").is_some() { "/desired/Key" } else { "/desired/Cluster/key/Present/key" };
        let (place, region) = match name.as_str() {
            "seen" => ("/observed/regions/us-east-1", Some("us-east-1")),
            "there" => ("/observed/regions/eu-west-1", Some("eu-west-1")),
            "remembered" => ("/memory/regions/us-east-1", Some("us-east-1")),
            "key" => (key, None),
            "cluster" => ("/desired/Cluster", None),
            "settings" => ("/pass/settings", None),
            "database" => ("/observed/database/by_id", None),
            "named" => ("/observed/database/named", None),
            "observed" => ("/observed", None),
            "memory" => ("/memory", None),
            "pass" => ("/pass", None),
            other => panic!("a scene has no {other:?}"),
        };
        let value = expand(value, region);
        let (parent, last) = place.rsplit_once('/').unwrap();
        let mut target = &mut *scene;
        for part in parent.split('/').skip(1) {
            target = &mut target[part];
        }
        let one = Map::from_iter([(last.to_owned(), value)]);
        merge(target, &Value::Object(one));
    }
}

const VARIANTS: [&str; 6] = ["Present", "Unknown", "Busy", "Failed", "Locked", "Absent"];

/// Whether a value is a variant with something in it, and so is replaced as a whole.
fn is_variant(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.len() == 1 && map.keys().all(|key| VARIANTS.contains(&key.as_str())))
}

/// Alters a value by a patch.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(entries) if !is_variant(patch) => {
            if target.get("Present").is_some_and(Value::is_object) {
                return merge(&mut target["Present"], patch);
            }
            if !target.is_object() || is_variant(target) {
                *target = Value::Object(Map::new());
            }
            let target = target.as_object_mut().unwrap();
            for (key, value) in entries {
                if value.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        _ => target.clone_from(patch),
    }
}

/// Writes abbreviations out.
pub(crate) fn expand(value: &Value, region: Option<&str>) -> Value {
    match value {
        Value::Array(all) => all.iter().map(|one| expand(one, region)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match value {
                Value::String(cloud) if key == "capabilities" => (key.clone(), capabilities(cloud)),
                _ if key.parse::<Region>().is_ok() => (key.clone(), expand(value, Some(key))),
                _ => (key.clone(), expand(value, region)),
            })
            .collect(),
        Value::String(text) => expand_text(text, region),
        _ => value.clone(),
    }
}

fn capabilities(cloud: &str) -> Value {
    let cloud: Cloud = serde_json::from_value(json!(cloud)).unwrap();
    serde_json::to_value(Capabilities::of(cloud)).unwrap()
}

fn expand_text(text: &str, region: Option<&str>) -> Value {
    if let Some(count) = text.strip_suffix(" letters").and_then(|n| n.parse().ok()) {
        return json!("x".repeat(count));
    }
    if text == "NotLooked" {
        return json!({ "Unknown": "NotLooked" });
    }
    if let Some(words) = text.strip_prefix("fault ") {
        return json!({ "Unknown": { "Failed": fault(words) } });
    }
    if let Some(moment) = moment(text) {
        return json!(moment.0);
    }
    match region {
        Some(region) if is_key(text) => json!(format!("arn:aws:kms:{region}:111111111111:key/{text}")),
        _ => json!(text.strip_prefix("id of ").unwrap_or(text)),
    }
}

fn is_key(text: &str) -> bool {
    text.strip_prefix('k').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// A moment relative to now.
pub(crate) fn moment(text: &str) -> Option<Moment> {
    let offset = text.strip_prefix('T')?;
    if offset.is_empty() {
        return Some(NOW);
    }
    let unit = match offset.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let count: i64 = offset.get(..offset.len() - 1)?.parse().ok()?;
    Some(Moment(NOW.0 + count * unit * 1000))
}

/// A fault in words: `<class>[/<cause>][?] <operation>`; the question mark: it may have been applied all the same.
pub(crate) fn fault(words: &str) -> Fault {
    let (kind, operation) = words.split_once(' ').unwrap_or_else(|| panic!("a fault without an operation: {words}"));
    let (kind, applied) = match kind.strip_suffix('?') {
        Some(kind) => (kind, Applied::Perhaps),
        None => (kind, Applied::No),
    };
    let (class, cause) = kind.split_once('/').unwrap_or((kind, "Other"));
    let class: FaultClass = serde_json::from_value(json!(class)).unwrap();
    let cause: Cause = serde_json::from_value(json!(cause)).unwrap();
    let fault = Fault::new(class, operation, "the target", "the other side's words").because(cause);
    if applied == Applied::Perhaps { fault.uncertain() } else { fault }
}

/// The last abbreviations, which need the whole scene.
fn finish(scene: &Value, rename: &dyn Fn(&str) -> String) -> Scene {
    let mut scene = scene.clone();
    let settings = scene["pass"]["settings"].clone();
    scene["pass"]["settings"] = serde_json::to_value(Settings::default()).unwrap();
    merge(&mut scene["pass"]["settings"], &settings);
    if let Some(regions) = scene["observed"].get_mut("regions").and_then(Value::as_object_mut) {
        for (region, seen) in regions {
            if let Some(policy) = seen.get_mut("policy").and_then(|p| p.get_mut("Present")).filter(|p| p.is_object()) {
                *policy = json!(rename(&policy_text(policy, region)));
            }
        }
    }
    let hashes: BTreeMap<String, Value> = scene["observed"]["regions"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(region, seen)| Some((region.clone(), json!(policy_hash(seen["policy"]["Present"].as_str()?)?))))
        .collect();
    replace(&mut scene, "policy_hash", "of-seen", |region| hashes.get(region).cloned().unwrap_or_default());
    // The fingerprint is that of a decision that has nothing to compare it with.
    let mut blank = scene.clone();
    replace(&mut blank, "fingerprint", "as-seen", |_| json!(0));
    // What a look at everything would have counted.
    blank["observed"]["depth"] = json!("Everything");
    let look = read(&blank);
    let plan = decide(&look.desired, &look.observed, &look.memory, &look.pass);
    replace(&mut scene, "fingerprint", "as-seen", |region| {
        json!(
            Subject::try_from(region.to_owned())
                .ok()
                .and_then(|subject| plan.looks.get(&subject))
                .map_or(0, |looks| looks.fingerprint)
        )
    });
    for (region, writes) in
        scene["memory"].get_mut("policy_writes").and_then(Value::as_object_mut).into_iter().flatten()
    {
        let wish =
            plan.regions.iter().find(|(name, _)| name.as_str() == region).and_then(|(_, r)| r.policy_wish.clone());
        for write in writes.as_array_mut().into_iter().flatten() {
            if write["wish"] == "as-planned" {
                write["wish"] = json!(wish);
            }
        }
    }
    // The token is the one that status would show.
    if let Some(token) = plan.deletion.and_then(|deletion| deletion.token) {
        scene = serde_json::from_str(&scene.to_string().replace("\"the-token\"", &json!(token).to_string())).unwrap();
    }
    read(&scene)
}

fn read(scene: &Value) -> Scene {
    fn part<T: DeserializeOwned>(scene: &Value, name: &str) -> T {
        serde_json::from_value(scene[name].clone()).unwrap_or_else(|e| panic!("{name}: {e}\n{:#}", scene[name]))
    }
    Scene {
        desired: part(scene, "desired"),
        observed: part(scene, "observed"),
        memory: part(scene, "memory"),
        pass: part(scene, "pass"),
    }
}

/// The hash by which the meaning of a policy is remembered.
fn policy_hash(text: &str) -> Option<String> {
    let document = PolicyDocument::parse(text).ok()?;
    Some(PolicyHash::of(&document, &KeyAccount::new("aws", "")).as_str().to_owned())
}

/// Replaces a word at a key, wherever it stands in what is remembered of regions.
fn replace(scene: &mut Value, key: &str, word: &str, with: impl Fn(&str) -> Value) {
    for part in ["regions", "looks"] {
        let Some(regions) = scene["memory"].get_mut(part).and_then(Value::as_object_mut) else { continue };
        for (region, memory) in regions {
            if memory.get(key).and_then(Value::as_str) == Some(word) {
                memory[key] = with(region);
            }
        }
    }
}

fn policy_text(statements: &Value, region: &str) -> String {
    let hash = hash(region);
    let statements: Vec<Value> = statements
        .as_object()
        .unwrap()
        .iter()
        .map(|(sid, statement)| {
            let sid = sid.strip_prefix("ours ").map_or_else(|| sid.clone(), |label| format!("cmk {hash} {label}"));
            self::statement(&sid, statement)
        })
        .collect();
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// The mark of the operator's own statements in a region.
pub(crate) fn hash(region: &str) -> String {
    Ownership::of(&format!("{IDENTITY}/{region}")).hash().to_owned()
}

fn statement(sid: &str, short: &Value) -> Value {
    let (effect, actions) = match (short.get("allow"), short.get("deny")) {
        (Some(actions), None) => ("Allow", actions),
        (None, Some(actions)) => ("Deny", actions),
        _ => panic!("a statement allows or denies: {short}"),
    };
    let words =
        |value: &Value| -> Vec<String> { value.as_str().unwrap().split_whitespace().map(str::to_owned).collect() };
    let mut principals: Vec<String> = words(&short["to"]).iter().map(|name| principal(name)).collect();
    if let Some(times) = short.get("times").and_then(Value::as_u64) {
        principals = (0..times).map(|n| format!("{}{n}", principals[0])).collect();
    }
    let mut statement = json!({
        "Sid": sid, "Effect": effect, "Principal": { "AWS": principals }, "Action": words(actions), "Resource": "*"
    });
    if let Some(conditions) = short.get("if") {
        statement["Condition"] = conditions.clone();
    }
    statement
}

fn principal(name: &str) -> String {
    match name.split_once('/') {
        Some((account, resource)) => format!("arn:aws:iam::{account}:{resource}"),
        None => name.to_owned(),
    }
}
