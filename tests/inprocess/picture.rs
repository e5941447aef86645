//! What there is and what is said of it, made comparable: all but ids, nonces and times.

use std::collections::{BTreeMap, BTreeSet};

use cmk_operator::api::condition::Condition;
use cmk_operator::domain::id::tag::{DATABASE_PREFIX, NONCE, REGISTERED_AT};
use serde_json::{Map, Value, json};

use super::lab::Lab;

/// Tags that differ from key to key.
const CHANGING: [&str; 2] = [NONCE, REGISTERED_AT];

/// One moment of a life.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// Every key, registration and database, by a name that says which it is.
    pub outside: BTreeMap<String, Value>,
    /// What the objects say, by kind and name.
    pub said: BTreeMap<String, Value>,
    /// Which keys and databases they are. Not compared.
    pub ids: BTreeMap<String, String>,
}

impl Picture {
    /// Takes one, of the clouds' state and of what the objects say.
    pub fn of(lab: &Lab, state: &Value) -> Self {
        let names = Names::of(state);
        let ids = names.0.iter().map(|(id, name)| (name.clone(), id.clone())).collect();
        Self { outside: outside(state, &names), said: said(lab, &names), ids }
    }

    /// What is different in another, line by line; empty if nothing is.
    pub fn differs(&self, other: &Self) -> Vec<String> {
        let mut lines = difference(&self.outside, &other.outside);
        lines.extend(difference(&self.said, &other.said));
        lines
    }
}

/// What is different between two maps, line by line.
pub fn difference(wanted: &BTreeMap<String, Value>, found: &BTreeMap<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        compare(name, wanted.get(name).unwrap_or(&Value::Null), found.get(name).unwrap_or(&Value::Null), &mut lines);
    }
    lines
}

fn compare(path: &str, wanted: &Value, found: &Value, lines: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                compare(&format!("{path} / {name}"), &wanted[name], &found[name], lines);
            }
        }
        _ if wanted == found => {}
        _ => lines.push(format!("{path}\n      wanted {wanted}\n      found  {found}")),
    }
}

/// How much was ever made outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub keys: usize,
    pub aliases: usize,
    pub registrations: usize,
    pub databases: usize,
    pub deployments: usize,
}

impl Made {
    pub fn of(state: &Value) -> Self {
        let mut made = Self {
            keys: entries(&state["keys"]).count(),
            aliases: entries(&state["aliases"]).count(),
            ..Self::default()
        };
        for (_, org) in entries(&state["astra"]) {
            made.registrations += items(&org["registrations"]).count();
            made.databases += items(&org["databases"]).count();
            made.deployments += items(&org["databases"]).map(|d| items(&d["regions"]).count()).sum::<usize>();
        }
        made
    }
}

/// What the ids stand for.
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(state: &Value) -> Self {
        let mut names = BTreeMap::new();
        let mut taken: BTreeMap<String, u32> = BTreeMap::new();
        let mut add = |id: &str, name: String| {
            let count = taken.entry(name.clone()).or_default();
            *count += 1;
            let name = if *count == 1 { name } else { format!("{name}, number {count}") };
            names.insert(id.to_owned(), name);
        };
        for (arn, key) in entries(&state["keys"]) {
            let owner = key["tags"]["cmk-operator.io/name"].as_str().map_or_else(
                || format!("somebody else's, {}", key["description"]),
                |name| format!("{name}'s{}", if items(&key["aliases"]).count() == 0 { ", without alias" } else { "" }),
            );
            add(arn, format!("key in {}, {owner}", text(&key["region"])));
        }
        for (org, holds) in entries(&state["astra"]) {
            for database in items(&holds["databases"]) {
                add(text(&database["id"]), format!("database {} of {org}", text(&database["name"])));
            }
        }
        for (project, holds) in entries(&state["atlas"]["projects"]) {
            for link in items(&holds["roles"]) {
                let role = link["iam_role"].as_str().map_or_else(|| "no role yet".to_owned(), str::to_owned);
                add(text(&link["id"]), format!("record of {role} in {project}"));
                add(text(&link["external_id"]), format!("external id of {role} in {project}"));
            }
            for cluster in items(&holds["clusters"]) {
                add(text(&cluster["spec"]["id"]), format!("cluster {} of {project}", text(&cluster["spec"]["name"])));
            }
        }
        for (org, holds) in entries(&state["singlestore"]) {
            for group in items(&holds["groups"]) {
                add(text(&group["id"]), format!("group {} of {org}", text(&group["name"])));
            }
        }
        Self(names)
    }

    /// A value with every id in it replaced by what it stands for.
    fn in_place(&self, value: &Value) -> Value {
        match value {
            // A policy shows the unique id of a role that is gone.
            Value::String(text) if text.starts_with("AROA") => json!("a role that is gone"),
            Value::String(text) => {
                let known = self.0.iter().filter(|(id, _)| text.contains(id.as_str()));
                json!(known.fold(text.clone(), |text, (id, name)| text.replace(id, name)))
            }
            Value::Array(all) => all.iter().map(|one| self.in_place(one)).collect(),
            Value::Object(all) => {
                Value::Object(all.iter().map(|(name, one)| (name.clone(), self.in_place(one))).collect())
            }
            other => other.clone(),
        }
    }

    fn get(&self, id: &Value) -> Value {
        id.as_str().map_or(Value::Null, |id| json!(self.0.get(id).map_or("unknown", String::as_str)))
    }

    fn option(&self, id: Option<&String>) -> Value {
        id.map_or(Value::Null, |id| self.get(&json!(id)))
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn outside(state: &Value, names: &Names) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (arn, key) in entries(&state["keys"]) {
        all.insert(text(&names.get(&json!(arn))).to_owned(), shown_key(key, names));
    }
    for (org, holds) in entries(&state["astra"]) {
        for registration in items(&holds["registrations"]) {
            let name =
                format!("registration of {org}, {} {}", text(&registration["kind"]), text(&registration["region"]));
            all.insert(name, names.get(&registration["arn"]));
        }
        for database in items(&holds["databases"]) {
            let mut regions: Vec<String> = items(&database["regions"])
                .map(|r| {
                    format!("{} {} under {}", text(&r["region"]), text(&r["status"]), names.get(&r["encrypted_with"]))
                })
                .collect();
            regions.sort();
            let shown = json!({ "status": database["status"], "tier": database["tier"], "regions": regions });
            all.insert(text(&names.get(&database["id"])).to_owned(), shown);
        }
    }
    for (arn, role) in entries(&state["roles"]) {
        let shown = json!({ "trust": role["trust"], "may": role["policies"], "tags": role["tags"] });
        all.insert(arn.clone(), names.in_place(&shown));
    }
    for (project, holds) in entries(&state["atlas"]["projects"]) {
        all.insert(format!("key of {project}"), names.in_place(&holds["key"]));
        for link in items(&holds["roles"]) {
            let authorized = !link["authorized_at_ms"].is_null();
            all.insert(text(&names.get(&link["id"])).to_owned(), json!({ "authorized": authorized }));
        }
        for cluster in items(&holds["clusters"]) {
            let shown = names.in_place(&shown_cluster(cluster));
            all.insert(text(&names.get(&cluster["spec"]["id"])).to_owned(), shown);
        }
    }
    for (org, holds) in entries(&state["singlestore"]) {
        for group in items(&holds["groups"]) {
            let shown = json!({
                "region": group["region"], "state": group["state"], "keys": group["encrypted_with"],
                "failed": group["failed"], "replication": group["replication"],
            });
            all.insert(text(&names.get(&group["id"])).to_owned(), names.in_place(&shown));
        }
        let workspaces: Vec<&Value> = items(&holds["workspaces"]).map(|workspace| &workspace["name"]).collect();
        all.insert(format!("workspaces of {org}"), json!(workspaces));
    }
    all
}

fn shown_cluster(cluster: &Value) -> Value {
    let spec = &cluster["spec"];
    let configs = items(&spec["replicationSpecs"]).flat_map(|shard| items(&shard["regionConfigs"]));
    let regions: Vec<Value> = configs
        .map(|config| json!([config["regionName"], config["priority"], config["electableSpecs"]["nodeCount"]]))
        .collect();
    json!({
        "state": cluster["state"], "encryption": spec["encryptionAtRestProvider"], "made under": cluster["created_with"],
        "regions": regions, "backups": spec["backupEnabled"], "down": !cluster["down_since_ms"].is_null(),
    })
}

fn shown_key(key: &Value, names: &Names) -> Value {
    let mut tags: Map<String, Value> = key["tags"].as_object().cloned().unwrap_or_default();
    for (_, id) in tags.iter_mut().filter(|(tag, _)| tag.starts_with(DATABASE_PREFIX)) {
        *id = names.get(id);
    }
    let noted: Vec<&str> = CHANGING.into_iter().filter(|tag| tags.remove(*tag).is_some()).collect();
    let policy: Value = serde_json::from_str(text(&key["policy"])).unwrap_or_default();
    // One entry a statement, so that a difference tells which.
    let mut statements: BTreeMap<String, Value> = BTreeMap::new();
    for (number, statement) in items(&policy["Statement"]).enumerate() {
        let sid = statement["Sid"].as_str().map_or_else(|| format!("number {number}"), str::to_owned);
        statements.insert(sid, names.in_place(statement));
    }
    let mut aliases: Vec<&Value> = items(&key["aliases"]).collect();
    aliases.sort_by_key(|alias| alias.to_string());
    json!({
        "state": key["state"], "description": key["description"], "tags": tags, "noted": noted,
        "rotation": key["rotation_period_days"], "policy": statements, "aliases": aliases,
    })
}

/// Each condition's value and reason.
pub fn conditions(all: &[Condition]) -> Value {
    // Which databases are not under the key is as of the last look at everything: before or after one was put under it.
    let reason = |c: &Condition| c.reason.replace("UnprotectedDatabases", "RegisteredAndRead");
    let all: BTreeMap<&str, String> =
        all.iter().map(|c| (c.type_.as_str(), format!("{} {}", c.status, reason(c)))).collect();
    json!(all)
}

fn said(lab: &Lab, names: &Names) -> BTreeMap<String, Value> {
    let store = lab.store();
    let mut all = BTreeMap::new();
    for (name, key) in &store.keys {
        let Some(status) = &key.status else { continue };
        let regions: BTreeMap<&str, Value> = status
            .regions
            .iter()
            .map(|r| {
                let shown = json!({
                    "key": names.option(r.key_arn.as_ref()), "state": r.key_state, "alias": r.alias,
                    "registered": names.option(r.registered_key_arn.as_ref()), "principals": r.principals,
                    "attempts": [r.creation.is_some(), r.registration.is_some()],
                    "rotates": r.rotation.as_ref().map(|rotation| rotation.enabled),
                    "leaves": r.deletion.is_some(),
                    "role": r.cloud_role.as_ref().map(|role| {
                        let (id, external) = (names.option(role.id.as_ref()), names.option(role.external_id.as_ref()));
                        json!([role.role_arn, id, external, role.requested_at.is_some(), role.authorized])
                    }),
                });
                (r.name.as_str(), shown)
            })
            .collect();
        let shown = json!({
            "conditions": conditions(&status.conditions), "regions": regions, "summary": status.summary,
            "deletion": status.deletion.is_some(), "current": status.observed_generation == key.metadata.generation,
            "steps": status.human_steps.iter().map(|step| &step.title).collect::<Vec<_>>(),
        });
        all.insert(format!("CustomerKey {name}"), shown);
    }
    for (name, cluster) in &store.clusters {
        let Some(status) = &cluster.status else { continue };
        let regions: BTreeMap<&str, Value> = status
            .regions
            .iter()
            .map(|r| {
                let checks: BTreeMap<&str, bool> =
                    r.gate.iter().flat_map(|gate| &gate.checks).map(|c| (c.name.as_str(), c.passed)).collect();
                let shown = json!({
                    "key": names.option(r.key_arn.as_ref()), "open": r.gate.as_ref().map(|gate| gate.open),
                    "checks": checks, "state": r.state, "leaves": r.deletion.is_some(),
                });
                (r.name.as_str(), shown)
            })
            .collect();
        let claims: Vec<Value> = status.claims.iter().map(|c| json!([c.name, c.regions])).collect();
        let shown = json!({
            "conditions": conditions(&status.conditions), "regions": regions, "summary": status.summary,
            "database": names.option(status.upstream_id.as_ref()), "attempt": status.creation.is_some(),
            "claims": claims, "deletion": status.deletion.is_some(),
            "steps": status.human_steps.iter().map(|step| &step.title).collect::<Vec<_>>(),
            "current": status.observed_generation == cluster.metadata.generation,
        });
        all.insert(format!("EncryptedCluster {name}"), shown);
    }
    all
}
