//! The cases of `tests/crds/`: manifests that the CRDs accept or refuse.
//!
//! The same data serves two tests: offline in `tests/crds.rs`, and against a real API server, which goes like this.
//! Without `old`, create `object` (a dry run is enough). With `old`, create `old`, write its status if it has one,
//! then update to `object`, which carries the same status. A refusal is right if one of the causes in the reply's
//! `details.causes` is about `field` and its message contains `says`.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value};

/// One manifest, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Case {
    /// The file and the words that say what is tried.
    pub(crate) name: String,
    /// `CustomerKey` or `EncryptedCluster`.
    pub(crate) kind: String,
    /// What is there before; the case is an update then.
    pub(crate) old: Option<Value>,
    /// What is applied.
    pub(crate) object: Value,
    /// How it is refused; none: it is accepted.
    pub(crate) refused: Option<Refusal>,
}

/// What a refusal says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    /// The field, as the API server prints it. Empty: the whole object, which it calls `<nil>`.
    pub(crate) field: String,
    /// A piece of the message.
    pub(crate) says: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    base: String,
    #[serde(default)]
    patch: Map<String, Value>,
    #[serde(default)]
    literal: Map<String, Value>,
    old: Option<Map<String, Value>>,
    refused: Option<Refusal>,
}

/// Every case of every file.
pub(crate) fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crds");
    let read = |file: &Path| fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let bases: Map<String, Value> = serde_saphyr::from_str(&read(&folder.join("bases.yaml"))).unwrap();

    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| !file.ends_with("bases.yaml"));
    files.sort();

    let mut cases = Vec::new();
    for file in files {
        let written: Vec<Written> =
            serde_saphyr::from_str(&read(&file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        cases.extend(written.into_iter().map(|case| case.resolve(&stem, &bases)));
    }
    cases
}

impl Written {
    fn resolve(self, file: &str, bases: &Map<String, Value>) -> Case {
        let name = format!("{file}: {}", self.name);
        let base = bases.get(&self.base).unwrap_or_else(|| panic!("{name}: there is no base {:?}", self.base));
        let old = self.old.map(|patch| patched(base, &patch, false));
        let mut object = patched(&patched(base, &self.patch, false), &self.literal, true);
        if let Some(status) = old.as_ref().and_then(|old| old.get("status")) {
            object["status"] = status.clone();
        }
        let kind = base["kind"].as_str().unwrap().to_owned();
        Case { name, kind, old, object, refused: self.refused }
    }
}

/// A JSON merge patch (RFC 7396). With `literal`, a null is written where the RFC would remove.
fn patched(target: &Value, patch: &Map<String, Value>, literal: bool) -> Value {
    let mut result = target.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        match value {
            Value::Null if !literal => {
                result.remove(key);
            }
            Value::Object(inner) => {
                let merged = patched(result.get(key).unwrap_or(&Value::Null), inner, literal);
                result.insert(key.clone(), merged);
            }
            other => {
                result.insert(key.clone(), other.clone());
            }
        }
    }
    Value::Object(result)
}
