//! The CRDs: the committed files are the generated ones, every rule is tried both ways, every field is bounded and
//! explained, and what the schemas accept the types hold without loss.
//!
//! No API server is needed here: CEL is run by kube, the other keywords by `src/api/admission.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fs, path::Path};

use cmk_operator::api::admission::{Objection, Schemas};
use cmk_operator::api::{self, CustomerKey, EncryptedCluster};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

#[path = "support/crd_cases.rs"]
mod crd_cases;
#[path = "support/crd_schema.rs"]
mod crd_schema;

use crd_cases::{Case, cases};
use crd_schema::fields;

fn schemas() -> BTreeMap<String, Value> {
    let schema = |crd: &CustomResourceDefinition| {
        let validation = crd.spec.versions[0].schema.as_ref().unwrap();
        (crd.spec.names.kind.clone(), serde_json::to_value(&validation.open_api_v3_schema).unwrap())
    };
    api::all().iter().map(schema).collect()
}

/// Everything that an API server would hold against the update or creation.
fn objections(schemas: &Schemas, case: &Case) -> Vec<Objection> {
    let object = schemas.defaulted(&case.kind, &case.object);
    let old = case.old.as_ref().map(|old| schemas.defaulted(&case.kind, old));
    schemas.objections(&case.kind, &object, old.as_ref())
}

#[test]
fn the_committed_files_are_the_generated_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let generated = api::crd_files().unwrap();
    for (name, yaml) in &generated {
        let committed = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(committed == *yaml, "crds/{name} is stale; run: cargo run -- crds --dir crds");
    }
    let committed = fs::read_dir(&folder).unwrap().count();
    assert_eq!(committed, generated.len(), "crds/ holds a file that is not generated");
}

#[test]
fn every_case_is_accepted_or_refused_as_it_says() {
    let schemas = Schemas::new();
    let mut failures = Vec::new();
    for case in cases() {
        if let Some(old) = &case.old {
            let first = Case {
                name: case.name.clone(),
                kind: case.kind.clone(),
                old: None,
                object: old.clone(),
                refused: None,
            };
            for Objection { field, message } in objections(&schemas, &first) {
                failures.push(format!("{}: `old` is refused: {field}: {message}", case.name));
            }
        }
        let wrong = objections(&schemas, &case);
        match &case.refused {
            None if wrong.is_empty() => {}
            None => failures.push(format!("{}: refused: {wrong:?}", case.name)),
            Some(refusal) => {
                if !wrong.iter().any(|w| w.field == refusal.field && w.message.contains(&refusal.says)) {
                    failures.push(format!("{}: expected {refusal:?}, got {wrong:?}", case.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_rule_refuses_something_in_a_case() {
    let cases = cases();
    let mut untried = Vec::new();
    for (kind, schema) in schemas() {
        fields(&schema, "", &mut |path, field| {
            for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let message =
                    rule["message"].as_str().unwrap_or_else(|| panic!("{kind} {path}: a rule without message"));
                let tried = |case: &Case| {
                    case.kind == kind && case.refused.as_ref().is_some_and(|refusal| message.contains(&refusal.says))
                };
                if !cases.iter().any(tried) {
                    untried.push(format!("{kind} {path}: {message}"));
                }
            }
        });
    }
    assert!(untried.is_empty(), "no case is refused by:\n{}", untried.join("\n"));
}

#[test]
fn the_types_hold_what_the_schemas_accept() {
    let schemas = Schemas::new();
    for case in cases().into_iter().filter(|case| case.refused.is_none()) {
        let object = schemas.defaulted(&case.kind, &case.object);
        let held = match case.kind.as_str() {
            "CustomerKey" => serde_json::to_value(serde_json::from_value::<CustomerKey>(object.clone()).unwrap()),
            "EncryptedCluster" => {
                serde_json::to_value(serde_json::from_value::<EncryptedCluster>(object.clone()).unwrap())
            }
            other => panic!("{}: no type for {other}", case.name),
        };
        assert_eq!(held.unwrap(), object, "{}: the type loses or adds something", case.name);
    }
}

#[test]
fn every_field_is_explained_and_bounded() {
    let mut faults = Vec::new();
    for (kind, schema) in schemas() {
        fields(&schema, "", &mut |path, field| {
            let entry = path.ends_with("[]") || path.ends_with("{}");
            let ours =
                path.starts_with("spec") || path.starts_with("status") && !path.starts_with("status.conditions[]");
            if !ours {
                return;
            }
            let mut demand = |holds: bool, what: &str| {
                if !holds {
                    faults.push(format!("{kind} {path}: {what}"));
                }
            };
            let explained =
                field["description"].as_str().is_some_and(|text| !text.trim().is_empty() && !text.contains('\n'));
            demand(entry || explained, "no description, or one that is broken into lines");
            let bounded = |keyword: &str| field[keyword].is_number();
            match field["type"].as_str() {
                Some("string") => {
                    let closed = bounded("maxLength") || field["enum"].is_array() || field["format"] == "date-time";
                    demand(closed, "a string without a limit");
                }
                Some("array") => demand(bounded("maxItems"), "a list without a limit"),
                Some("object") if field["additionalProperties"].is_object() => {
                    demand(bounded("maxProperties"), "a map without a limit");
                }
                Some("integer") if path.starts_with("spec") => {
                    demand(bounded("minimum") && bounded("maximum"), "a number without limits");
                }
                _ => {}
            }
        });
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_crds_say_what_the_constants_say() {
    for crd in api::all() {
        assert_eq!(crd.spec.group, api::GROUP);
        assert_eq!(crd.spec.versions[0].name, api::VERSION);
        assert_eq!(crd.spec.scope, "Namespaced");
        assert_eq!(crd.spec.names.categories.as_deref(), Some(&["cmk".to_owned()][..]));
        let annotations = crd.metadata.annotations.unwrap_or_default();
        assert_eq!(annotations.get(api::ANNOTATION_SCHEMA_VERSION), Some(&api::SCHEMA_VERSION.to_string()));
    }
}
