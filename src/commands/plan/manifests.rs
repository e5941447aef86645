//! The manifests that are planned: read from files, and held to everything that an API server would hold them to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::admission::{Objection, Schemas};
use crate::api::parse::{self, Invalid};
use crate::api::{self, CustomerKey, EncryptedCluster};
use crate::commands::{Failed, failed};
use crate::domain::id::Name;
use crate::domain::reading::Reading;

/// The manifests of the two kinds, and what became of the others.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// The keys, in the order of the files.
    pub keys: Vec<CustomerKey>,
    /// The clusters, in the order of the files.
    pub clusters: Vec<EncryptedCluster>,
    /// The labels of the namespaces among the manifests.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
    /// What is of another kind.
    pub ignored: Vec<String>,
    /// What means nothing.
    pub refused: Vec<Refusal>,
}

/// A manifest that would be refused, or that can never be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Kind, namespace and name, or the place in a file.
    pub object: String,
    /// The field; empty: the whole object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// Reads files, directories of YAML files, and standard input (`-`).
pub fn read(paths: &[PathBuf], namespace: &str, installation: &Name) -> Result<Manifests, Failed> {
    let mut documents = Vec::new();
    for path in files(paths)? {
        let (name, text) = if path == Path::new("-") {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            let wrong = failed("standard input cannot be read");
            read.map_err(|error| wrong(&error))?;
            ("standard input".to_owned(), text)
        } else {
            let name = path.display().to_string();
            let wrong = failed(format!("{name} cannot be read"));
            (name, std::fs::read_to_string(&path).map_err(|error| wrong(&error))?)
        };
        documents.push((name, text));
    }
    Ok(parse_all(&documents, namespace, installation))
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failed> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let wrong = failed(format!("{} cannot be read", path.display()));
        let entries = std::fs::read_dir(path).map_err(|error| wrong(&error))?;
        let yaml = |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(yaml).collect();
        if found.is_empty() {
            let why = "there is no YAML file in this directory; directories in it are not read";
            return Err(failed(format!("{} cannot be planned", path.display()))(&why));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// Reads the texts of files, each with its name.
pub fn parse_all(files: &[(String, String)], namespace: &str, installation: &Name) -> Manifests {
    let mut reader =
        Reader { all: Manifests::default(), schemas: Schemas::new(), seen: BTreeSet::new(), namespace, installation };
    for (file, text) in files {
        match serde_saphyr::from_multiple::<Value>(text) {
            Ok(documents) => {
                for (number, document) in documents.iter().enumerate() {
                    reader.take(&format!("{file}, document {}", number + 1), document);
                }
            }
            Err(error) => reader.refuse(file, "", format!("it is not YAML: {error}")),
        }
    }
    reader.all
}

struct Reader<'a> {
    all: Manifests,
    schemas: Schemas,
    seen: BTreeSet<String>,
    namespace: &'a str,
    installation: &'a Name,
}

impl Reader<'_> {
    fn refuse(&mut self, object: &str, field: &str, message: String) {
        self.all.refused.push(Refusal { object: object.to_owned(), field: field.to_owned(), message });
    }

    fn take(&mut self, place: &str, document: &Value) {
        if document.is_null() {
            return;
        }
        let (Some(version), Some(kind)) = (document["apiVersion"].as_str(), document["kind"].as_str()) else {
            return self.refuse(place, "", "it has no apiVersion and kind".to_owned());
        };
        if kind.ends_with("List") && document["items"].is_array() {
            for item in document["items"].as_array().into_iter().flatten() {
                self.take(place, item);
            }
            return;
        }
        let metadata = &document["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            return self.refuse(place, "metadata.name", format!("a {kind} needs a name"));
        }
        if (version, kind) == ("v1", "Namespace") {
            let labels = serde_json::from_value(metadata["labels"].clone()).unwrap_or_default();
            self.all.labels.insert(name.to_owned(), labels);
        }
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        if group != api::GROUP {
            let namespace = metadata["namespace"].as_str().map(|n| format!("{n}/")).unwrap_or_default();
            self.all.ignored.push(format!("{kind} {namespace}{name}"));
            return;
        }
        let namespace = metadata["namespace"].as_str().unwrap_or(self.namespace).to_owned();
        let object = format!("{kind} {namespace}/{name}");
        if version != api::VERSION || self.schemas.of(kind).is_none() {
            return self.refuse(&object, "", format!("the group {group} has no {kind} of version {version}"));
        }
        if !self.seen.insert(object.clone()) {
            return self.refuse(&object, "", "it is there twice".to_owned());
        }
        let mut document = document.clone();
        document["metadata"]["namespace"] = json!(namespace);
        self.admit(&object, kind, &document);
    }

    /// Holds one of our objects to the schema, and then to what the parser sees.
    fn admit(&mut self, object: &str, kind: &str, document: &Value) {
        let mut document = self.schemas.defaulted(kind, document);
        if let Some(entries) = document.as_object_mut() {
            entries.remove("status");
        }
        let mut objections = self.schemas.unknown_fields(kind, &document);
        objections.extend(self.schemas.objections(kind, &document, None));
        if !objections.is_empty() {
            for Objection { field, message } in objections {
                self.refuse(object, &field, message);
            }
            return;
        }
        let admitted = match kind {
            "CustomerKey" => typed(&document).map(|key: CustomerKey| {
                let parsed = parse::customer_key(&key, self.installation).map(drop);
                parsed.map(|()| self.all.keys.push(key))
            }),
            _ => typed(&document).map(|cluster: EncryptedCluster| {
                let parsed = parse::encrypted_cluster(&cluster, Reading::Absent).map(drop);
                parsed.map(|()| self.all.clusters.push(cluster))
            }),
        };
        match admitted {
            Ok(Ok(())) => {}
            Ok(Err(Invalid { field, problem })) => self.refuse(object, field, problem),
            Err(problem) => self.refuse(object, "", problem),
        }
    }
}

fn typed<K: DeserializeOwned>(document: &Value) -> Result<K, String> {
    serde_json::from_value(document.clone()).map_err(|error| error.to_string())
}

impl Manifests {
    /// Holds the manifests to what may not change about the objects that are there already.
    pub(super) fn hold_to<K: ResourceExt + Serialize>(&mut self, kind: &str, new: &K, old: &K) {
        let schemas = Schemas::new();
        let object = format!("{kind} {}/{}", new.namespace().unwrap_or_default(), new.name_any());
        for Objection { field, message } in schemas.objections(kind, &json!(new), Some(&json!(old))) {
            self.refused.push(Refusal { object: object.clone(), field, message });
        }
    }
}
