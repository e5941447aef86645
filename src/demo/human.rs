//! What a human does in the course of the demo, where a cloud leaves something to its portal.
//!
//! The operator says in `status.humanSteps` what has to be pasted where; this does just that, and nothing that it was not
//! asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::SystemTime;

use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{CustomerKey, EncryptedCluster, HumanStep};
use crate::domain::moment::{Moment, Span};
use crate::sandbox::SINGLESTORE_ORGANIZATION;
use crate::sandbox::http::Running;
use crate::sandbox::singlestore::portal::Portal;

use super::{Failed, Result, failed};

/// Whoever follows the steps; each is done once.
pub(super) struct Human<'c> {
    client: &'c Client,
    clouds: &'c Running,
    /// By `CustomerKey` and region: the policies that were copied.
    copied: BTreeMap<String, BTreeMap<String, String>>,
    /// The `EncryptedCluster`s whose form was submitted.
    submitted: BTreeSet<String>,
}

impl<'c> Human<'c> {
    pub(super) fn new(client: &'c Client, clouds: &'c Running) -> Self {
        Self { client, clouds, copied: BTreeMap::new(), submitted: BTreeSet::new() }
    }

    /// Does what the objects ask for. Yields what that was, in words.
    pub(super) async fn act(&mut self, keys: &[CustomerKey], clusters: &[EncryptedCluster]) -> Result<Vec<String>> {
        let mut told = Vec::new();
        for key in keys {
            told.extend(self.copy_policies(key).await?);
        }
        for cluster in clusters {
            told.extend(self.submit_form(cluster).await?);
        }
        Ok(told)
    }

    /// Copies the policy that the portal suggests into the `CustomerKey` of each region that waits for it.
    async fn copy_policies(&mut self, key: &CustomerKey) -> Result<Vec<String>> {
        let object = name(key);
        let copied = self.copied.get(&object).cloned().unwrap_or_default();
        let steps = key.status.iter().flat_map(|status| &status.human_steps);
        let waiting: BTreeSet<String> = steps.filter(|step| step.paste.is_some()).filter_map(region).collect();
        let new: Vec<&String> = waiting.iter().filter(|region| !copied.contains_key(*region)).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let mut all = copied;
        let mut told = Vec::new();
        for region in new {
            let form = Portal::SuggestedPolicy { org: SINGLESTORE_ORGANIZATION.to_owned(), region: region.clone() };
            all.insert(region.clone(), self.in_portal(&form)?["key"].to_string());
            told.push(format!(
                "A human copies the policy that SingleStore's portal suggests for {region} into CustomerKey {object}."
            ));
        }
        let document =
            |(region, json)| json!({ "name": format!("portal-{region}"), "regions": [region], "json": json });
        let documents: Vec<Value> = all.iter().map(document).collect();
        self.patch(key, json!({ "policy": { "documents": documents } })).await?;
        self.copied.insert(object, all);
        Ok(told)
    }

    /// Pastes the ARNs into the portal's form, and binds and attests what came of it.
    async fn submit_form(&mut self, cluster: &EncryptedCluster) -> Result<Vec<String>> {
        let object = name(cluster);
        let steps: Vec<&HumanStep> = cluster.status.iter().flat_map(|status| &status.human_steps).collect();
        let pasted: Vec<&String> =
            steps.iter().filter_map(|step| step.paste.as_ref()).filter(|text| text.starts_with("arn:")).collect();
        let (Some(region), [data, backup]) = (steps.iter().copied().find_map(region), pasted.as_slice()) else {
            return Ok(Vec::new());
        };
        let group = cluster.spec.deployment.as_ref().and_then(|d| d.single_store.as_ref());
        let Some(group) = group.filter(|_| self.submitted.insert(object.clone())) else {
            return Ok(Vec::new());
        };
        let org = SINGLESTORE_ORGANIZATION.to_owned();
        let (data_key, backup_key) = (Some((*data).clone()), Some((*backup).clone()));
        let form = Portal::CreateGroup { org: org.clone(), name: group.name.clone(), region, data_key, backup_key };
        let id = text(&self.in_portal(&form)?["workspaceGroupID"]);
        let tab = self.in_portal(&Portal::SecurityTab { org, group: id.clone() })?;
        let spec = json!({ "deployment": { "singleStore": {
            "workspaceGroupId": id,
            "attested": {
                "workspaceGroupId": id, "by": "the human of the demo", "date": today(),
                "dataBucketKeyArn": tab["data"]["keyArn"], "backupBucketKeyArn": tab["backup"]["keyArn"],
            },
        } } });
        self.patch(cluster, spec).await?;
        Ok(vec![
            format!("A human pastes {data} into the form of SingleStore's portal and submits it: group {id}."),
            format!("A human puts {id}, and what its Security tab shows, into EncryptedCluster {object}."),
        ])
    }

    fn in_portal(&self, act: &Portal) -> Result<Value> {
        let shown = self.clouds.shared.with(|world| world.singlestore_portal(act));
        shown.map_err(|why| Failed(format!("SingleStore's portal: {why}")))
    }

    /// Adds to an object what a human adds, and leaves the rest to whoever applied it.
    async fn patch<K>(&self, object: &K, spec: Value) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let patch = json!({ "apiVersion": K::api_version(&()), "kind": K::kind(&()), "spec": spec });
        let patched =
            api.patch(&object.name_any(), &PatchParams::apply("cmk-operator-demo-human"), &Patch::Apply(patch)).await;
        patched.map(drop).map_err(|e| failed(format!("{} {}", K::kind(&()), name(object)))(&e))
    }
}

/// `namespace/name`
fn name(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

fn region(step: &HumanStep) -> Option<String> {
    step.region.clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn today() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (Moment(0) + Span::from(since)).to_string().chars().take("2026-01-31".len()).collect()
}
