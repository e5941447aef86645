//! What an API server would hold against a manifest, without one: the structural schema, and its CEL rules, which kube
//! runs.
//!
//! Only the keywords that the CRDs of this group use. The words are the API server's, so that the cases of the tests
//! serve here and there.

use std::collections::{BTreeMap, HashMap};

use kube::core::cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use regex::Regex;
use serde_json::{Map, Value, json};

/// One objection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The field, such as `spec.regions[0].name`; empty: the whole object.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// The schemas of both kinds.
pub struct Schemas {
    kinds: BTreeMap<String, (Value, CompiledSchema)>,
    patterns: Patterns,
}

/// Every pattern of the schemas. The API server's syntax is Go's, which is RE2's as this crate's is.
type Patterns = HashMap<String, Regex>;

impl Schemas {
    /// The schemas that this build serves.
    pub fn new() -> Self {
        let schema =
            |crd: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
                let schema = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
                let schema = json!(schema.and_then(|validation| validation.open_api_v3_schema.as_ref()));
                let rules = compile_schema(&schema);
                (crd.spec.names.kind.clone(), (schema, rules))
            };
        let kinds: BTreeMap<_, _> = super::all().iter().map(schema).collect();
        let mut patterns = Patterns::new();
        for (schema, _) in kinds.values() {
            collect_patterns(schema, &mut patterns);
        }
        Self { kinds, patterns }
    }

    /// The schema of a kind.
    pub fn of(&self, kind: &str) -> Option<&Value> {
        self.kinds.get(kind).map(|(schema, _)| schema)
    }

    /// An object with the defaults that the API server puts in.
    pub fn defaulted(&self, kind: &str, object: &Value) -> Value {
        let object = without_nulls(object);
        self.of(kind).map_or_else(|| object.clone(), |schema| apply_defaults(schema, &object))
    }

    /// Everything that an API server would hold against the creation of an object, or against its update from `old`.
    /// Both with their defaults.
    pub fn objections(&self, kind: &str, object: &Value, old: Option<&Value>) -> Vec<Objection> {
        let Some((schema, rules)) = self.kinds.get(kind) else { return Vec::new() };
        let mut visitor = Visitor { patterns: &self.patterns, wrong: Vec::new() };
        visitor.visit(schema, object, "");
        let mut wrong = visitor.wrong;
        if let Err(errors) = Validator::new().validate_compiled(rules, object, old) {
            wrong.extend(errors.into_vec().into_iter().map(|error| Objection {
                field: error.field_path.trim_start_matches('.').to_owned(),
                message: error.message,
            }));
        }
        wrong
    }

    /// The fields that the schema does not know. The API server drops them, and kubectl refuses them.
    pub fn unknown_fields(&self, kind: &str, object: &Value) -> Vec<Objection> {
        let mut unknown = Vec::new();
        if let (Some(schema), Some(spec)) = (self.of(kind), object.get("spec")) {
            find_unknown(&schema["properties"]["spec"], spec, "spec", &mut unknown);
        }
        unknown
    }
}

impl Default for Schemas {
    fn default() -> Self {
        Self::new()
    }
}

/// The API server drops a null where a default stands, and treats it as absent elsewhere.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let kept = entries.iter().filter(|(_, entry)| !entry.is_null());
            kept.map(|(name, entry)| (name.clone(), without_nulls(entry))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn find_unknown(schema: &Value, value: &Value, path: &str, unknown: &mut Vec<Objection>) {
    match value {
        Value::Object(entries) => {
            for (name, entry) in entries {
                let known = [&schema["properties"][name], &schema["additionalProperties"]];
                match known.into_iter().find(|schema| schema.is_object()) {
                    Some(schema) => find_unknown(schema, entry, &child(path, name), unknown),
                    None => unknown.push(Objection { field: child(path, name), message: "Unknown field".to_owned() }),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_unknown(&schema["items"], item, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

/// Holds a value against a schema.
struct Visitor<'s> {
    patterns: &'s Patterns,
    wrong: Vec<Objection>,
}

impl Visitor<'_> {
    fn visit(&mut self, schema: &Value, value: &Value, path: &str) {
        if value.is_null() {
            return;
        }
        let expected = schema["type"].as_str().unwrap_or("object");
        if type_of(value) != expected {
            return self.say(path, format!("{path} in body must be of type {expected}"));
        }
        if let Some(values) = schema["enum"].as_array()
            && !values.contains(value)
        {
            self.say(path, format!("Unsupported value: {value}"));
        }
        match value {
            Value::String(text) => self.visit_text(schema, text, path),
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
                    self.say(path, format!("{path} in body should be less than or equal to {most}"));
                }
                if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
                    self.say(path, format!("{path} in body should be greater than or equal to {least}"));
                }
            }
            Value::Array(items) => self.visit_items(schema, items, path),
            Value::Object(entries) => self.visit_entries(schema, entries, path),
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn visit_text(&mut self, schema: &Value, text: &str, path: &str) {
        let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            self.say(path, format!("Too long: may not be more than {most} bytes"));
        }
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            self.say(path, format!("{path} in body should be at least {least} chars long"));
        }
        if let Some(pattern) = schema["pattern"].as_str().filter(|pattern| !self.matches(pattern, text)) {
            self.say(path, format!("{path} in body should match '{pattern}'"));
        }
    }

    fn visit_items(&mut self, schema: &Value, items: &[Value], path: &str) {
        let length = u64::try_from(items.len()).unwrap_or(u64::MAX);
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| length > *most) {
            self.say(path, format!("Too many: {length}: must have at most {most} items"));
        }
        if let Some(least) = schema["minItems"].as_u64().filter(|least| length < *least) {
            self.say(path, format!("{path} in body should have at least {least} items"));
        }
        let keys = schema["x-kubernetes-list-map-keys"].as_array();
        for (index, item) in items.iter().enumerate() {
            let same = |other: &Value| match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => other == item,
                Some("map") => keys.into_iter().flatten().filter_map(Value::as_str).all(|key| other[key] == item[key]),
                _ => false,
            };
            if items[..index].iter().any(same) {
                self.say(&format!("{path}[{index}]"), format!("Duplicate value: {item}"));
            }
            self.visit(&schema["items"], item, &format!("{path}[{index}]"));
        }
    }

    fn visit_entries(&mut self, schema: &Value, entries: &Map<String, Value>, path: &str) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if entries.get(name).is_none_or(Value::is_null) {
                self.say(&child(path, name), "Required value".to_owned());
            }
        }
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if schema["maxProperties"].as_u64().is_some_and(|most| count > most) {
            self.say(path, format!("Too many: {count}"));
        }
        for (name, entry) in entries {
            let known = &schema["properties"][name];
            let schema = if known.is_object() { known } else { &schema["additionalProperties"] };
            if schema.is_object() {
                self.visit(schema, entry, &child(path, name));
            }
        }
    }

    fn say(&mut self, field: &str, message: String) {
        self.wrong.push(Objection { field: field.to_owned(), message });
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        self.patterns.get(pattern).is_some_and(|regex| regex.is_match(text))
    }
}

fn collect_patterns(schema: &Value, patterns: &mut Patterns) {
    match schema {
        Value::Object(entries) => {
            if let Some(pattern) = entries.get("pattern").and_then(Value::as_str)
                && let Ok(regex) = Regex::new(pattern)
            {
                patterns.insert(pattern.to_owned(), regex);
            }
            entries.values().for_each(|entry| collect_patterns(entry, patterns));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_patterns(item, patterns)),
        _ => {}
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
