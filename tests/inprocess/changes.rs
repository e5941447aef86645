//! Changes of a spec, made from the schema of its CRD: for every field that there is, every kind of value that its schema
//! tells of, allowed or not.
//!
//! What a schema cannot know stands in [`values`]: which texts mean something to the clouds, and what is expected of those
//! that mean something else than "do it". A text field without an entry there fails, so that none is forgotten.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed test should stop at the place; each test binary uses its own part"
)]

use serde_json::{Map, Value, json};

/// What becomes of a change that the API server lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// What applying the spec to nothing gives.
    Same,
    /// The object of this kind says this reason, as it does when the spec is applied to nothing; and outside nothing changes.
    Refused(&'static str, &'static str),
    /// Nothing outside changes, because what stands is not taken away for a spec alone; the object of this kind says so by
    /// this reason.
    Kept(&'static str, &'static str),
    /// Nothing outside changes, and everything is as declared.
    Observed,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// The field and what becomes of it.
    pub name: String,
    /// The field, without numbers of items.
    pub field: String,
    /// The whole spec afterwards.
    pub spec: Value,
    pub expect: Expect,
}

const KEY: &str = "CustomerKey";
const CLUSTER: &str = "EncryptedCluster";

pub const ACCOUNT: &str = "111111111111";
/// A key of somebody else's that this object may adopt, and one that it may not.
pub const CONSENTED: &str = "key/consented";
pub const UNCONSENTED: &str = "key/unconsented";

/// Where the changed objects live, as far as the values depend on it.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// ARNs that stand for names in [`values`].
    pub arns: Vec<(&'static str, String)>,
}

impl Ground {
    fn arn(&self, name: &str) -> Value {
        self.arns.iter().find(|(known, _)| *known == name).map_or(Value::Null, |(_, arn)| json!(arn))
    }
}

fn role(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

/// Values for a field that its schema does not tell, and what becomes of them.
fn values(kind: &str, field: &str, ground: &Ground) -> Option<Vec<(Value, Expect)>> {
    use Expect::{Kept, Refused, Same};
    let same = |all: &[&str]| all.iter().map(|text| (json!(text), Same)).collect::<Vec<_>>();
    let statement = |name: &str, effect: &str, principal: &str, actions: &[&str]| json!({ "name": name, "effect": effect, "principals": { "aws": [principal] }, "actions": actions });
    let everybody = "arn:aws:iam::333333333333:root";
    Some(match (kind, field) {
        (KEY, "regions[]") => {
            let mut all = vec![
                (json!({ "name": "eu-central-1" }), Same),
                // Astra does not offer it to this organization.
                (json!({ "name": "sa-east-1" }), Refused(KEY, "RegionLocked")),
                (json!({ "name": "cn-north-1" }), Same),
            ];
            if let arn @ Value::String(_) = ground.arn(CONSENTED) {
                all.push((json!({ "name": "us-west-2", "keyArn": arn }), Same));
            }
            if let arn @ Value::String(_) = ground.arn(UNCONSENTED) {
                all.push((json!({ "name": "us-west-2", "keyArn": arn }), Refused(KEY, "AdoptionNotConsented")));
            }
            all
        }
        // Another name is another region: that is tried by adding one and taking one out.
        (_, "regions[].name" | "policy.statements[].name" | "policy.documents[].name") => Vec::new(),
        (KEY, "regions[].keyArn") => {
            let arn = |account: &str| {
                let key = "key/00000000-0000-4000-8000-000000000000";
                json!(format!("arn:aws:kms:us-east-1:{account}:{key}"))
            };
            // A registered key is final: another cannot take its place.
            vec![(arn(ACCOUNT), Kept(KEY, "InvalidSpec")), (arn("999999999999"), Same)]
        }
        (KEY, "regions[].previousKeyArns[]") => {
            same(&["arn:aws:kms:us-east-1:111111111111:key/00000000-0000-4000-8000-000000000000"])
        }
        (KEY, "key.description") => {
            vec![(json!("another"), Same), (json!("ünïcödé \" \\ <>"), Same), (json!("x".repeat(8192)), Same)]
        }
        (KEY, "key.tags{}") => vec![
            (json!(["cost", "42"]), Same),
            (json!(["team", "others"]), Same),
            (json!(["empty", ""]), Same),
            (json!(["cmk-operator.io/owner", "me"]), Same),
            (json!(["aws:made", "up"]), Same),
            (json!(["no!", "sign"]), Same),
        ],
        (KEY, "key.multiRegion") => vec![(json!({ "primaryRegion": "us-east-1" }), Same)],
        (KEY, "key.multiRegion.primaryRegion") => same(&["us-east-1"]),
        (KEY, "policy.administrators[]") => vec![
            (json!(role("admin")), Same),
            (json!(format!("arn:aws:iam::{ACCOUNT}:root")), Same),
            (json!(role("nobody")), Refused(KEY, "PrincipalMissing")),
        ],
        (KEY, "policy.statements[]") => vec![
            (statement("more", "Allow", &role("admin"), &["kms:GetKeyPolicy"]), Same),
            (statement("locks", "Deny", "*", &["kms:*"]), Refused(KEY, "LockoutRisk")),
            (statement("risky", "Allow", everybody, &["kms:*"]), Refused(KEY, "PolicyRisky")),
            (statement("everybody", "Allow", "*", &["kms:Decrypt"]), Same),
        ],
        (_, "policy.statements[].regions[]" | "policy.documents[].regions[]") => same(&["eu-west-1", "ap-southeast-1"]),
        (KEY, "policy.documents[].replicationTo") => same(&["eu-west-1"]),
        (KEY, "policy.statements[].principals.aws[]") => same(&[&role("admin"), "222222222222"]),
        (KEY, "policy.statements[].principals.service[]") => same(&["logs.us-east-1.amazonaws.com", "example.org"]),
        (KEY, "policy.statements[].actions[]") => same(&["kms:ListGrants", "kms:Get*", "s3:GetObject"]),
        (KEY, "policy.statements[].conditions{}") => {
            vec![(json!(["StringEquals", { "kms:ViaService": ["s3.us-east-1.amazonaws.com"] }]), Same)]
        }
        (KEY, "policy.statements[].conditions{}{}") => vec![(json!(["aws:PrincipalOrgID", ["o-1", "o-2"]]), Same)],
        (KEY, "policy.statements[].conditions{}{}[]") => same(&["111111111111"]),
        (KEY, "policy.documents[]") => vec![
            (
                json!({ "name": "more", "json": r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"kms:ListGrants","Resource":"*"}}"# }),
                Same,
            ),
            (json!({ "name": "half", "json": "{" }), Refused(KEY, "PolicyInvalid")),
        ],
        (KEY, "policy.documents[].json") => vec![(
            json!(
                r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"kms:ListAliases","Resource":"*"}]}"#
            ),
            Same,
        )],
        (KEY, "aws.accountId") => same(&["222222222222"]),
        (KEY, "aws.roleArn") => vec![
            (json!(role("keys")), Same),
            (json!(role("nobody")), Refused(KEY, "RoleNotAssumable")),
            (json!("arn:aws:iam::222222222222:role/keys"), Same),
        ],
        (KEY, "upstream.astra.organizationId") => same(&["5a9db0c5-0000-4000-8000-000000000009"]),
        (KEY, "upstream.astra.principalRole") => same(&["maker"]),
        (KEY, "upstream.astra.credentialsSecretRef.name") => vec![
            (json!("renewed"), Same),
            (json!("absent"), Refused(KEY, "SecretMissing")),
            (json!("wrong"), Refused(KEY, "CredentialsRejected")),
        ],
        (KEY, "upstream.atlas") => {
            let role = json!({ "create": { "name": "kms" } });
            vec![(
                json!({ "projectId": "0123456789abcdef01234567", "role": role, "credentialsSecretRef": { "name": "a" } }),
                Same,
            )]
        }
        (KEY, "upstream.singleStore") => {
            vec![(json!({ "acknowledgeRisk": true, "credentialsSecretRef": { "name": "s" } }), Same)]
        }
        (KEY, "allowedNamespaces") => vec![(
            json!({ "from": "Selector", "selector": { "matchLabels": { "team": "others" } } }),
            Refused(CLUSTER, "KeyNotAllowed"),
        )],
        (KEY, "allowedNamespaces.selector") => vec![(json!({ "matchLabels": { "team": "others" } }), Same)],
        (CLUSTER, "regions[]") => vec![
            (json!({ "name": "eu-west-1" }), Same),
            (json!({ "name": "ap-southeast-1" }), Refused(CLUSTER, "RegionNotInKey")),
        ],
        (CLUSTER, "primaryRegion") => same(&["eu-west-1", "ap-southeast-1"]),
        (CLUSTER, "customerKeyRef.name") => vec![(json!("another"), Refused(CLUSTER, "KeyNotFound"))],
        (CLUSTER, "customerKeyRef.namespace") => vec![(json!("elsewhere"), Refused(CLUSTER, "KeyNotFound"))],
        (CLUSTER, "backupKeyRef") => vec![(json!({ "name": "key" }), Same)],
        (CLUSTER, "backupKeyRef.name" | "backupKeyRef.namespace") => same(&["another"]),
        (CLUSTER, "deployment") => {
            vec![(json!({ "astra": { "name": "later", "tier": "serverless", "capacityUnits": 1 } }), Same)]
        }
        (CLUSTER, "deployment.astra") => {
            vec![(json!({ "name": "other", "tier": "serverless", "capacityUnits": 1 }), Same)]
        }
        (CLUSTER, "deployment.atlas") => vec![(json!({ "name": "orders", "instanceSize": "M10" }), Same)],
        (CLUSTER, "deployment.singleStore") => vec![(json!({ "name": "orders" }), Same)],
        (CLUSTER, "deployment.astra.databaseId") => same(&["00000000-0000-4000-8000-000000000000"]),
        (CLUSTER, "deployment.astra.name") => same(&["another", "with space.and-more_1"]),
        (CLUSTER, "deployment.astra.tier") => same(&["C10", "cloudnative"]),
        (CLUSTER, "deployment.astra.keyspace") => same(&["other_1"]),
        (CLUSTER, "deployment.astra.credentialsSecretRef") => {
            vec![(json!({ "name": "renewed" }), Same), (json!({ "name": "absent" }), Refused(CLUSTER, "SecretMissing"))]
        }
        (CLUSTER, "deployment.astra.credentialsSecretRef.name") => same(&["renewed"]),
        _ => return None,
    })
}

/// What is expected of values that the schema tells itself.
fn of_enum(kind: &str, field: &str, value: &Value) -> Expect {
    match (kind, field, value.as_str()) {
        (KEY, "managementPolicy", Some("Observe")) => Expect::Observed,
        _ => Expect::Same,
    }
}

/// Subtrees of the clouds that no life here is on.
const OTHERS: [&str; 4] = ["upstream.atlas", "upstream.singleStore", "deployment.atlas", "deployment.singleStore"];

/// Every change of a spec.
pub fn changes(kind: &str, schema: &Value, spec: &Value, ground: &Ground) -> Vec<Change> {
    let mut maker = Maker { kind, ground, spec, made: Vec::new() };
    maker.visit(schema, Some(spec), &[], "");
    maker.made
}

/// Whether a statement has a condition operator without a key.
fn asks_nothing(spec: &Value) -> bool {
    let statements = spec["policy"]["statements"].as_array().into_iter().flatten();
    let operators = statements.filter_map(|s| s["conditions"].as_object()).flat_map(serde_json::Map::values);
    let keys = |operator: &Value| operator.as_object().is_some_and(serde_json::Map::is_empty);
    operators.into_iter().any(keys)
}

/// A step from a value to one inside it.
#[derive(Clone, Debug)]
enum Hop {
    Field(String),
    Item(usize),
}

struct Maker<'m> {
    kind: &'m str,
    ground: &'m Ground,
    spec: &'m Value,
    made: Vec<Change>,
}

impl Maker<'_> {
    /// Changes the value at a path; none: it is left out.
    fn make(&mut self, at: &[Hop], field: &str, what: &str, value: Option<Value>, expect: Expect) {
        let mut spec = self.spec.clone();
        set(&mut spec, at, value);
        let expect = if asks_nothing(&spec) { Expect::Refused(KEY, "PolicyInvalid") } else { expect };
        if spec != *self.spec {
            let name = format!("{} {field}: {what}", self.kind);
            self.made.push(Change { name, field: field.to_owned(), spec, expect });
        }
    }

    fn visit(&mut self, schema: &Value, value: Option<&Value>, at: &[Hop], field: &str) {
        if value.is_some() && !at.is_empty() && !matches!(at.last(), Some(Hop::Item(_))) {
            self.make(at, field, "left out", None, Expect::Same);
        }
        if !at.is_empty() {
            let wrong = if schema["type"] == "string" { json!(17) } else { json!("text") };
            self.make(at, field, "of a wrong type", Some(wrong), Expect::Same);
        }
        let known = values(self.kind, field, self.ground);
        match schema["type"].as_str() {
            Some("boolean") => {
                let is = value.and_then(Value::as_bool).unwrap_or_default();
                self.make(at, field, "turned", Some(json!(!is)), Expect::Same);
            }
            Some("integer") => self.integer(schema, at, field),
            Some("string") => self.text(schema, known, at, field),
            Some("array") => self.list(schema, value, at, field),
            _ if schema["additionalProperties"].is_object() => self.map(schema, value, at, field),
            _ => {
                // Items are added and taken out, not replaced.
                let whole = known.filter(|_| !matches!(at.last(), Some(Hop::Item(_))));
                for (new, expect) in whole.unwrap_or_default() {
                    self.make(at, field, &format!("{new}"), Some(new.clone()), expect);
                }
                if value.is_some() || at.is_empty() {
                    self.fields(schema, value, at, field);
                }
            }
        }
    }

    fn fields(&mut self, schema: &Value, value: Option<&Value>, at: &[Hop], field: &str) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let child = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
            let inner = value.and_then(|value| value.get(name));
            let at = [at, &[Hop::Field(name.clone())]].concat();
            if OTHERS.contains(&child.as_str()) {
                for (new, expect) in values(self.kind, &child, self.ground).unwrap_or_default() {
                    self.make(&at, &child, "beside it", Some(new), expect);
                }
            } else {
                self.visit(property, inner, &at, &child);
            }
        }
    }

    fn integer(&mut self, schema: &Value, at: &[Hop], field: &str) {
        let (least, most) = (schema["minimum"].as_f64().unwrap(), schema["maximum"].as_f64().unwrap());
        for number in [least, most, least - 1.0, most + 1.0] {
            let number = number as i64;
            self.make(at, field, &number.to_string(), Some(json!(number)), Expect::Same);
        }
    }

    fn text(&mut self, schema: &Value, known: Option<Vec<(Value, Expect)>>, at: &[Hop], field: &str) {
        if let Some(all) = schema["enum"].as_array() {
            for value in all {
                self.make(at, field, &value.to_string(), Some(value.clone()), of_enum(self.kind, field, value));
            }
            self.make(at, field, "none of these", Some(json!("Nonsense")), Expect::Same);
            return;
        }
        let known = known.unwrap_or_else(|| panic!("{} {field}: no values are known for this text", self.kind));
        for (value, expect) in known {
            let shown: String = value.to_string().chars().take(70).collect();
            self.make(at, field, &shown, Some(value), expect);
        }
        let most = usize::try_from(schema["maxLength"].as_u64().unwrap()).unwrap();
        self.make(at, field, "too long", Some(json!("a".repeat(most + 1))), Expect::Same);
        if schema["pattern"].is_string() {
            self.make(at, field, "against the pattern", Some(json!("not / this!")), Expect::Same);
        }
        if schema["minLength"].is_u64() || schema["pattern"].is_string() {
            self.make(at, field, "empty", Some(json!("")), Expect::Same);
        }
    }

    fn list(&mut self, schema: &Value, value: Option<&Value>, at: &[Hop], field: &str) {
        let entry = format!("{field}[]");
        let items: Vec<Value> = value.and_then(Value::as_array).cloned().unwrap_or_default();
        for number in 0..items.len() {
            let mut fewer = items.clone();
            let gone = fewer.remove(number);
            self.make(at, &entry, &format!("without {gone}"), Some(json!(fewer)), Expect::Same);
        }
        for (new, expect) in values(self.kind, &entry, self.ground).unwrap_or_default() {
            let more: Vec<&Value> = items.iter().chain([&new]).collect();
            self.make(at, &entry, &format!("with {new}"), Some(json!(more)), expect);
        }
        let Some(first) = items.first() else { return };
        let twice: Vec<&Value> = items.iter().chain([first]).collect();
        self.make(at, &entry, "one twice", Some(json!(twice)), Expect::Same);
        if let Some(most) = schema["maxItems"].as_u64() {
            let many: Vec<&Value> = (0..=most).map(|_| first).collect();
            self.make(at, &entry, "too many", Some(json!(many)), Expect::Same);
        }
        let at = [at, &[Hop::Item(0)]].concat();
        self.visit(&schema["items"], Some(first), &at, &entry);
    }

    fn map(&mut self, schema: &Value, value: Option<&Value>, at: &[Hop], field: &str) {
        let entry = format!("{field}{{}}");
        let entries: Map<String, Value> = value.and_then(Value::as_object).cloned().unwrap_or_default();
        for name in entries.keys() {
            let mut fewer = entries.clone();
            fewer.remove(name);
            self.make(at, &entry, &format!("without {name}"), Some(json!(fewer)), Expect::Same);
        }
        for (new, expect) in values(self.kind, &entry, self.ground).unwrap_or_default() {
            let mut more = entries.clone();
            more.insert(new[0].as_str().unwrap().to_owned(), new[1].clone());
            self.make(at, &entry, &format!("with {new}"), Some(json!(more)), expect);
        }
        let Some((first, inner)) = entries.iter().next() else { return };
        if let Some(most) = schema["maxProperties"].as_u64() {
            let many: Map<String, Value> = (0..=most).map(|n| (format!("{first}{n}"), inner.clone())).collect();
            self.make(at, &entry, "too many", Some(json!(many)), Expect::Same);
        }
        if schema["additionalProperties"]["type"] != "string" {
            let at = [at, &[Hop::Field(first.clone())]].concat();
            self.visit(&schema["additionalProperties"], Some(inner), &at, &entry);
        }
    }
}

fn set(value: &mut Value, at: &[Hop], new: Option<Value>) {
    match at {
        [] => *value = new.unwrap_or_default(),
        [Hop::Field(name)] => {
            let entries = value.as_object_mut().unwrap();
            match new {
                Some(new) => entries.insert(name.clone(), new),
                None => entries.remove(name),
            };
        }
        [Hop::Field(name), rest @ ..] => set(&mut value[name.as_str()], rest, new),
        [Hop::Item(number), rest @ ..] => set(&mut value[*number], rest, new),
    }
}
