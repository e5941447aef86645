//! Helm, and what it renders.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use super::controlplane::ControlPlane;

/// The chart.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/cmk-operator");

/// The two values that have no default.
pub const REQUIRED: [&str; 2] = ["--set=installation=test", "--set=image.repository=registry.example.com/cmk-operator"];

/// Runs Helm, with a control plane if one is given; yields whether it succeeded, and what it printed.
pub fn try_helm(plane: Option<&ControlPlane>, args: &[&str]) -> (bool, String) {
    let binary = format!("{}/target/controlplane/helm", env!("CARGO_MANIFEST_DIR"));
    assert!(std::path::Path::new(&binary).exists(), "{binary} is missing: run `make controlplane` (needs Go)");
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(binary)
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        .env("KUBECONFIG", plane.map_or(home.path().join("none"), |plane| plane.kubeconfig.clone()))
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// Runs Helm, and yields what it printed.
pub fn helm(plane: Option<&ControlPlane>, args: &[&str]) -> String {
    let (ok, text) = try_helm(plane, args);
    assert!(ok, "helm {args:?}: {text}");
    text
}

/// What `helm template` renders with these arguments, which are said to be right.
pub fn template(release: &str, namespace: &str, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["template", release, CHART, "--namespace", namespace];
    all.extend(args);
    objects(&helm(None, &all))
}

/// The objects of a stream of YAML documents.
pub fn objects(yaml: &str) -> Vec<Value> {
    let documents = yaml.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let parse = |text: &str| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error} in:\n{text}"));
    documents.map(parse).filter(|object: &Value| !object.is_null()).collect()
}

/// The objects of a kind.
pub fn of_kind<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The environment of the operator's container that has plain values.
pub fn environment(deployment: &Value) -> BTreeMap<String, String> {
    let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let entry = |entry: &Value| Some((entry["name"].as_str()?.to_owned(), entry["value"].as_str()?.to_owned()));
    env.iter().filter_map(entry).collect()
}
