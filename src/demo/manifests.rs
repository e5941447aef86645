//! The manifests that the demo applies: files, or all YAML files of directories.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::pinned_kind;
use kube::{Client, ResourceExt};

use super::{Failed, Result, failed};

/// Reads every object of the files.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for file in files(paths)? {
        let wrong = failed(file.display().to_string());
        let text = std::fs::read_to_string(&file).map_err(|e| wrong(&e))?;
        let documents: Vec<Option<DynamicObject>> = serde_saphyr::from_multiple(&text).map_err(|e| wrong(&e))?;
        objects.extend(documents.into_iter().flatten());
    }
    if objects.is_empty() {
        return Err(Failed("there is nothing to apply".to_owned()));
    }
    Ok(objects)
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|e| failed(path.display().to_string())(&e))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|p| is_yaml(p)).collect();
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}

/// Applies the objects by server-side apply, namespaces first.
pub(super) async fn apply(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    let is_namespace = |o: &&DynamicObject| o.types.as_ref().is_some_and(|t| t.kind == "Namespace");
    let (first, rest): (Vec<_>, Vec<_>) = objects.iter().partition(is_namespace);
    for object in first.into_iter().chain(rest) {
        apply_one(client, object).await?;
    }
    Ok(())
}

async fn apply_one(client: &Client, object: &DynamicObject) -> Result<()> {
    let TypeMeta { api_version, kind } =
        object.types.clone().ok_or_else(|| Failed("an object has no apiVersion and kind".to_owned()))?;
    let name = object.name_any();
    let wrong = failed(format!("{kind}/{name}"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let gvk = GroupVersionKind::gvk(group, version, &kind);
    let (resource, capabilities) = pinned_kind(client, &gvk).await.map_err(|e| wrong(&e))?;
    let api: Api<DynamicObject> = if capabilities.scope == kube::discovery::Scope::Cluster {
        Api::all_with(client.clone(), &resource)
    } else {
        let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
        Api::namespaced_with(client.clone(), &namespace, &resource)
    };
    let params = PatchParams::apply("cmk-operator-demo").force();
    let patch = Patch::Apply(object);
    let applied = api.patch(&name, &params, &patch);
    tokio::time::timeout(Duration::from_secs(20), applied).await.map_err(|e| wrong(&e))?.map_err(|e| wrong(&e))?;
    Ok(())
}
