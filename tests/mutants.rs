//! The list of seeded mutants fits the code: each changes one place that is there. `make mutants` sees them killed, which
//! takes a build for each.
#![allow(clippy::unwrap_used, reason = "a failed test should stop at the place")]

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    what: String,
    file: String,
    find: String,
    replace: String,
    killed_by: Vec<String>,
}

#[test]
fn every_mutant_changes_one_place_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("tests/mutants/list.yaml")).unwrap();
    let mutants: Vec<Mutant> = serde_saphyr::from_str(&text).unwrap();
    assert!(mutants.len() >= 20, "{} mutants", mutants.len());
    let mut seen = BTreeSet::new();
    for Mutant { what, file, find, replace, killed_by } in &mutants {
        let source = std::fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(source.matches(find.as_str()).count(), 1, "{what}: {find:?} in {file}");
        assert_ne!(find, replace, "{what}");
        assert!(seen.insert(what), "{what}: twice");
        assert!(!killed_by.is_empty(), "{what}");
    }
}
