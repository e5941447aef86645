//! The CRDs on the real API server: every case that is accepted or refused, the examples, and applying twice.

use std::time::Instant;

use futures::{StreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::support::controlplane;

#[path = "../support/crd_cases.rs"]
mod crd_cases;

use crd_cases::{Case, cases};

const NAMESPACE: &str = "schema";

/// Cases at once: each is one to four short requests.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_accepts_and_refuses_every_case_as_it_says() {
    let plane = tokio::task::spawn_blocking(controlplane::shared).await.unwrap();
    plane.kubectl(&["create", "namespace", NAMESPACE]);
    let client = plane.client().await;
    let cases = cases();
    let (count, refused) = (cases.len(), cases.iter().filter(|case| case.refused.is_some()).count());
    assert!(refused >= 40, "only {refused} of {count} cases are refused");
    let started = Instant::now();
    let outcomes = stream::iter(cases.into_iter().enumerate())
        .map(|(number, case)| {
            let client = client.clone();
            async move { tried(&client, number, &case).await.map_err(|problem| format!("{}: {problem}", case.name)) }
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    println!("{count} cases, {refused} refused, in {:?}", started.elapsed());
    let failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
}

/// Tries one case under a name of its own.
async fn tried(client: &Client, number: usize, case: &Case) -> Result<(), String> {
    let kind = GroupVersionKind::gvk("cmk-operator.io", "v1alpha1", &case.kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind));
    let own = |object: &Value| -> Result<DynamicObject, String> {
        let mut object = object.clone();
        if object["metadata"]["name"] == "case" {
            object["metadata"]["name"] = json!(format!("case-{number}"));
        }
        object["metadata"]["namespace"] = json!(NAMESPACE);
        serde_json::from_value(object).map_err(|e| e.to_string())
    };
    let mut object = own(&case.object)?;
    let answer = match &case.old {
        None => api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await,
        Some(old) => {
            let old = own(old)?;
            let mut stored =
                api.create(&PostParams::default(), &old).await.map_err(|e| format!("`old` is refused: {e}"))?;
            if let Some(status) = old.data.get("status") {
                stored.data["status"] = status.clone();
                let name = stored.name_any();
                stored = api
                    .replace_status(&name, &PostParams::default(), &stored)
                    .await
                    .map_err(|e| format!("the status of `old` is refused: {e}"))?;
                if !holds(&stored.data["status"], status) {
                    return Err(format!("the status of `old` is kept as {}", stored.data["status"]));
                }
            }
            object.metadata.resource_version = stored.resource_version();
            let answer = api.replace(&stored.name_any(), &PostParams::default(), &object).await;
            api.delete(&stored.name_any(), &DeleteParams::default()).await.map_err(|e| e.to_string())?;
            answer
        }
    };
    judge(case, answer)
}

/// Whether a value is still there, whatever defaults were added to it.
fn holds(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| stored.get(key).is_some_and(|stored| holds(stored, value)))
        }
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len() && stored.iter().zip(wanted).all(|(stored, wanted)| holds(stored, wanted))
        }
        (stored, wanted) => stored == wanted,
    }
}

fn judge(case: &Case, answer: kube::Result<DynamicObject>) -> Result<(), String> {
    match (&case.refused, answer) {
        (None, Ok(_)) => Ok(()),
        (None, Err(error)) => Err(format!("refused: {error}")),
        (Some(refusal), Ok(_)) => Err(format!("accepted, expected {refusal:?}")),
        (Some(refusal), Err(kube::Error::Api(status))) => {
            let field = if refusal.field.is_empty() { "<nil>" } else { &refusal.field };
            let causes = status.details.as_ref().map(|details| details.causes.clone()).unwrap_or_default();
            if !causes.iter().any(|cause| cause.field == field && cause.message.contains(&refusal.says)) {
                return Err(format!("expected {refusal:?}, got {causes:?} ({})", status.message));
            }
            // What a user of kubectl sees is the message alone.
            let tells = (refusal.field.is_empty() || status.message.contains(&refusal.field))
                && status.message.contains(&refusal.says);
            if tells {
                Ok(())
            } else {
                Err(format!("the message does not name the field and the rule: {}", status.message))
            }
        }
        (Some(_), Err(error)) => Err(format!("not an answer of the API server: {error}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_applies() {
    let plane = tokio::task::spawn_blocking(controlplane::shared).await.unwrap();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let listed = plane.kubectl(&["apply", "--dry-run=client", "-o", "json", "-R", "-f", examples]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let all = listed["items"].as_array().unwrap();
    let ours = |kind: &str| all.iter().filter(|object| object["kind"] == kind).count();
    assert!(ours("CustomerKey") >= 1 && ours("EncryptedCluster") >= 1);
    // A dry run keeps no namespace for what comes after it.
    for namespace in all.iter().filter(|object| object["kind"] == "Namespace") {
        let (ok, text) = plane.try_kubectl(&["apply", "--server-side", "-f", "-"], Some(&namespace.to_string()));
        assert!(ok, "{text}");
    }
    let applied =
        plane.kubectl(&["apply", "--dry-run=server", "--server-side", "--validate=strict", "-R", "-f", examples]);
    assert_eq!(applied.lines().filter(|line| line.contains("(server dry run)")).count(), all.len(), "{applied}");
    assert!(!applied.contains("Warning"), "{applied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_the_crds_again_changes_nothing() {
    let plane = tokio::task::spawn_blocking(controlplane::shared).await.unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(plane.client().await);
    let versions = async || -> Vec<Option<String>> {
        let mut all = Vec::new();
        for name in ["customerkeys.cmk-operator.io", "encryptedclusters.cmk-operator.io"] {
            all.push(api.get(name).await.unwrap().resource_version());
        }
        all
    };
    let before = versions().await;
    plane.kubectl(&["apply", "--server-side", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/crds")]);
    assert_eq!(versions().await, before);
}
