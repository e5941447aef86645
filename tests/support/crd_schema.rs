//! The fields of a structural schema, for tests that hold each of them to something.

use serde_json::Value;

/// Calls `each` with the path and the schema of every field, entries of lists as `[]` and of maps as `{}`.
pub(crate) fn fields(schema: &Value, path: &str, each: &mut impl FnMut(&str, &Value)) {
    each(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let child = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        fields(property, &child, each);
    }
    if schema["items"].is_object() {
        fields(&schema["items"], &format!("{path}[]"), each);
    }
    if schema["additionalProperties"].is_object() {
        fields(&schema["additionalProperties"], &format!("{path}{{}}"), each);
    }
}
