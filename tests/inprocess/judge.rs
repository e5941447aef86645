//! What the API server holds against an object, by the program's own reading of the schema and the rules of its CRD;
//! `tests/cluster/schema.rs` and `spec_changes.rs` show on a real API server that they agree with it.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "a failed test should stop at the place; each test binary uses its own part"
)]

use cmk_operator::api::admission::Schemas;
use serde_json::Value;

/// The schemas of both kinds.
pub struct Judge(Schemas);

impl Judge {
    pub fn new() -> Self {
        Self(Schemas::new())
    }

    /// The schema of a kind's spec.
    pub fn spec(&self, kind: &str) -> &Value {
        &self.0.of(kind).unwrap()["properties"]["spec"]
    }

    /// The object as the API server would keep it, or what it holds against it.
    pub fn admit(&self, kind: &str, object: &Value, old: Option<&Value>) -> Result<Value, Vec<String>> {
        let object = self.0.defaulted(kind, object);
        let wrong = self.0.objections(kind, &object, old);
        if wrong.is_empty() {
            Ok(object)
        } else {
            Err(wrong.into_iter().map(|objection| format!("{}: {}", objection.field, objection.message)).collect())
        }
    }
}
