//! What an API server checks of a structural schema beside CEL, for tests without one.
//!
//! Only the keywords that this project's CRDs use. The words are the API server's, so that one set of cases serves
//! here and there.

use kube::core::cel::Validator;
use serde_json::{Map, Value, json};

/// A field and what is wrong with it.
pub(crate) type Wrong = (String, String);

/// Everything that is wrong with a value.
pub(crate) fn check(schema: &Value, value: &Value) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    visit(schema, value, "", &mut wrong);
    wrong
}

/// Calls `each` with the path and the schema of every field, entries of lists as `[]` and of maps as `{}`.
pub(crate) fn fields(schema: &Value, path: &str, each: &mut impl FnMut(&str, &Value)) {
    each(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        fields(property, &child(path, name), each);
    }
    if schema["items"].is_object() {
        fields(&schema["items"], &format!("{path}[]"), each);
    }
    if schema["additionalProperties"].is_object() {
        fields(&schema["additionalProperties"], &format!("{path}{{}}"), each);
    }
}

fn visit(schema: &Value, value: &Value, path: &str, wrong: &mut Vec<Wrong>) {
    if value.is_null() {
        return;
    }
    let mut say = |message: String| wrong.push((path.to_owned(), message));
    let expected = schema["type"].as_str().unwrap_or("object");
    if type_of(value) != expected {
        return say(format!("{path} in body must be of type {expected}"));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        say(format!("Unsupported value: {value}"));
    }
    match value {
        Value::String(text) => visit_text(schema, text, path, wrong),
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
                say(format!("{path} in body should be less than or equal to {most}"));
            }
            if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
                say(format!("{path} in body should be greater than or equal to {least}"));
            }
        }
        Value::Array(items) => visit_items(schema, items, path, wrong),
        Value::Object(entries) => visit_entries(schema, entries, path, wrong),
        Value::Bool(_) | Value::Null => {}
    }
}

fn visit_text(schema: &Value, text: &str, path: &str, wrong: &mut Vec<Wrong>) {
    let mut say = |message: String| wrong.push((path.to_owned(), message));
    let length = i64::try_from(text.chars().count()).unwrap();
    if let Some(most) = schema["maxLength"].as_i64().filter(|most| length > *most) {
        say(format!("Too long: may not be more than {most} bytes"));
    }
    if let Some(least) = schema["minLength"].as_i64().filter(|least| length < *least) {
        say(format!("{path} in body should be at least {least} chars long"));
    }
    if let Some(pattern) = schema["pattern"].as_str().filter(|pattern| !matches(pattern, text)) {
        say(format!("{path} in body should match '{pattern}'"));
    }
}

fn visit_items(schema: &Value, items: &[Value], path: &str, wrong: &mut Vec<Wrong>) {
    let length = i64::try_from(items.len()).unwrap();
    if let Some(most) = schema["maxItems"].as_i64().filter(|most| length > *most) {
        wrong.push((path.to_owned(), format!("Too many: {length}: must have at most {most} items")));
    }
    if let Some(least) = schema["minItems"].as_i64().filter(|least| length < *least) {
        wrong.push((path.to_owned(), format!("{path} in body should have at least {least} items")));
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array();
    for (index, item) in items.iter().enumerate() {
        let same = |other: &Value| match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => other == item,
            Some("map") => keys.into_iter().flatten().filter_map(Value::as_str).all(|key| other[key] == item[key]),
            _ => false,
        };
        if items[..index].iter().any(same) {
            wrong.push((format!("{path}[{index}]"), format!("Duplicate value: {item}")));
        }
        visit(&schema["items"], item, &format!("{path}[{index}]"), wrong);
    }
}

fn visit_entries(schema: &Value, entries: &Map<String, Value>, path: &str, wrong: &mut Vec<Wrong>) {
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if entries.get(name).is_none_or(Value::is_null) {
            wrong.push((child(path, name), "Required value".to_owned()));
        }
    }
    let count = i64::try_from(entries.len()).unwrap();
    if schema["maxProperties"].as_i64().is_some_and(|most| count > most) {
        wrong.push((path.to_owned(), format!("Too many: {count}")));
    }
    for (name, entry) in entries {
        let known = &schema["properties"][name];
        let schema = if known.is_object() { known } else { &schema["additionalProperties"] };
        if schema.is_object() {
            visit(schema, entry, &child(path, name), wrong);
        }
    }
}

/// Patterns are matched by CEL's `matches`, which has the same syntax (RE2) and is at hand.
fn matches(pattern: &str, text: &str) -> bool {
    let literal = serde_json::to_string(pattern).unwrap();
    let schema =
        json!({ "type": "string", "x-kubernetes-validations": [{ "rule": format!("self.matches({literal})") }] });
    Validator::new().validate(&schema, &Value::from(text), None).is_ok()
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
