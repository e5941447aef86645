//! From what users write to what it means. After this nobody sees the raw spec.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use crate::domain::capabilities::{Capabilities, Cloud, Scope};
use crate::domain::condition::{ConditionType, Reason};
use crate::domain::confirmation::tokens;
use crate::domain::desired::{
    Access, Afterlife, BackupKey, ClusterRequest, DatabaseRequest, Deployment as DesiredDeployment, DesiredCluster,
    DesiredKey, DesiredRegion, LinkedKey, Object, PolicyWish, Rivals, User, WishedStatements,
};
use crate::domain::iam_role;
use crate::domain::id::{Malformed, Name, Owner, Region};
use crate::domain::memory::SEEN_REPEATEDLY;
use crate::domain::reading::Reading;
use crate::domain::role_link::RoleWish;
use crate::domain::source::LIFTED;

use super::condition::{find, moment};
use super::hand_off;
use super::{
    ANNOTATION_CONFIRM_DELETION, ANNOTATION_PAUSED, AtlasDeployment, ClusterDeletionPolicy, CustomerKey,
    CustomerKeyRef, Deployment, Effect, EncryptedCluster, FINALIZER, ForeignStatements, GateStatus, KeyDeletionPolicy,
    ManagementPolicy, NamespacesFrom, PolicySpec, SecretRef, SelectorOperator, Statement, Upstream,
};

/// Why a spec that the schema let through means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

pub(super) fn at(field: &'static str) -> impl Fn(Malformed) -> Invalid {
    move |problem| Invalid { field, problem: problem.to_string() }
}

/// The facts of an object from its metadata.
pub fn object(meta: &ObjectMeta) -> Result<Object, Invalid> {
    let annotation = |name: &str| meta.annotations.as_ref().and_then(|a| a.get(name));
    Ok(Object {
        namespace: meta.namespace.clone().unwrap_or_default().parse().map_err(at("metadata.namespace"))?,
        name: meta.name.clone().unwrap_or_default().parse().map_err(at("metadata.name"))?,
        generation: meta.generation.unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        finalizer: meta.finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == FINALIZER)),
        paused: annotation(ANNOTATION_PAUSED).is_some_and(|value| value == "true"),
        uid: meta.uid.clone().unwrap_or_default(),
        deletion_asked: meta.deletion_timestamp.as_ref().map(moment),
        confirmed: annotation(ANNOTATION_CONFIRM_DELETION).map(|value| tokens(value)).unwrap_or_default(),
    })
}

/// What a `CustomerKey` declares, for an operator of this installation.
pub fn customer_key(key: &CustomerKey, installation: &Name) -> Result<DesiredKey, Invalid> {
    let object = object(&key.metadata)?;
    let spec = &key.spec;
    let owner =
        Owner { installation: installation.clone(), namespace: object.namespace.clone(), name: object.name.clone() };
    let access = Access {
        account: spec.aws.account_id.parse().map_err(at("spec.aws.accountId"))?,
        role_arn: spec.aws.role_arn.clone(),
        external_id: format!("cmk:{installation}:{}", object.namespace),
    };
    let mut regions = BTreeMap::new();
    for region in &spec.regions {
        let name: Region = region.name.parse().map_err(at("spec.regions[].name"))?;
        let parse = |arn: &String| arn.parse().map_err(at("spec.regions[].keyArn"));
        let earlier = |arn: &String| arn.parse().map_err(at("spec.regions[].previousKeyArns"));
        let previous = region.previous_key_arns.iter().map(earlier).collect::<Result<_, _>>()?;
        let key_arn = region.key_arn.as_ref().map(parse).transpose()?;
        regions.insert(name, DesiredRegion { key_arn, previous });
    }
    let role = role(&spec.upstream, &owner, &access, regions.keys().next());
    let mut scope = scope(&spec.upstream)?;
    if let Some(role) = &role {
        scope.principal_role.clone_from(&role.arn);
    }
    let description = spec.key.description.clone();
    Ok(DesiredKey {
        description: description.unwrap_or_else(|| format!("CustomerKey {}/{}", object.namespace, object.name)),
        object,
        owner,
        access,
        regions,
        tags: spec.key.tags.clone(),
        rotation_days: spec.key.rotation.as_ref().map(|r| r.period_days),
        multi_region: spec
            .key
            .multi_region
            .as_ref()
            .map(|m| m.primary_region.parse().map_err(at("spec.key.multiRegion.primaryRegion")))
            .transpose()?,
        policy: policy(&spec.policy)?,
        capabilities: Capabilities::of(scope.cloud),
        role,
        scope,
        rivals: Rivals::default(),
        afterlife: match spec.deletion_policy {
            KeyDeletionPolicy::Retain => Afterlife::Retain,
            KeyDeletionPolicy::ScheduleDeletion => Afterlife::TearDown,
        },
        window_days: spec.deletion_window_days,
        users: Reading::NOT_LOOKED,
        leaving: leaving(key),
        observe_only: spec.management_policy == ManagementPolicy::Observe,
    })
}

/// The regions whose removal was written down.
fn leaving(key: &CustomerKey) -> BTreeSet<Region> {
    let shown = key.status.iter().flat_map(|status| &status.regions);
    let leaving = shown.filter(|r| r.deletion.as_ref().is_some_and(|d| d.confirmation_token.is_some()));
    leaving.filter_map(|r| r.name.parse().ok()).collect()
}

/// The role as which the cloud uses the key: one that is there, or one under the path that belongs to the namespace.
fn role(upstream: &Upstream, owner: &Owner, access: &Access, region: Option<&Region>) -> Option<RoleWish> {
    let atlas = upstream.atlas.as_ref()?;
    let may_replace_credentials = atlas.switch_from_credentials;
    let (arn, made) = match (&atlas.role.arn, &atlas.role.create) {
        (Some(arn), _) => (arn.clone(), false),
        (None, Some(create)) => (iam_role::arn_of(owner, &access.account, region?, &create.name), true),
        (None, None) => return None,
    };
    Some(RoleWish { arn, may_replace_credentials, made, restricts_sources: atlas.restrict_source_ips })
}

/// The cloud and the scope in it that a key is for.
fn scope(upstream: &Upstream) -> Result<Scope, Invalid> {
    let plain = |cloud, id: String| Scope { cloud, id, database_type: String::new(), principal_role: String::new() };
    let Upstream { astra, atlas, single_store } = upstream;
    if let Some(astra) = astra {
        Ok(Scope {
            cloud: Cloud::Astra,
            id: astra.organization_id.clone(),
            database_type: format!("{:?}", astra.database_type),
            principal_role: astra.principal_role.clone(),
        })
    } else if let Some(atlas) = atlas {
        Ok(plain(Cloud::Atlas, atlas.project_id.clone()))
    } else if let Some(single_store) = single_store {
        Ok(plain(Cloud::SingleStore, single_store.organization_id.clone().unwrap_or_default()))
    } else {
        Err(Invalid { field: "spec.upstream", problem: "names no cloud".to_owned() })
    }
}

/// The Secret with the credentials for a key's cloud.
pub fn credentials_of(upstream: &Upstream) -> Option<&SecretRef> {
    let Upstream { astra, atlas, single_store } = upstream;
    astra
        .as_ref()
        .map(|u| &u.credentials_secret_ref)
        .or_else(|| atlas.as_ref().map(|u| &u.credentials_secret_ref))
        .or_else(|| single_store.as_ref().map(|u| &u.credentials_secret_ref))
}

/// The Secret with a deployment's own credentials.
pub fn credentials_of_deployment(deployment: &Deployment) -> Option<&SecretRef> {
    let Deployment { astra, atlas, single_store } = deployment;
    astra
        .as_ref()
        .and_then(|d| d.credentials_secret_ref.as_ref())
        .or_else(|| atlas.as_ref().and_then(|d| d.credentials_secret_ref.as_ref()))
        .or_else(|| single_store.as_ref().and_then(|d| d.credentials_secret_ref.as_ref()))
}

fn policy(spec: &PolicySpec) -> Result<PolicyWish, Invalid> {
    let regions = |names: &[String], field| {
        names.iter().map(|n| n.parse().map_err(at(field))).collect::<Result<Vec<Region>, _>>()
    };
    let mut wish = PolicyWish {
        administrators: spec.administrators.clone(),
        remove_foreign: spec.foreign_statements == ForeignStatements::Remove,
        ensure_root: spec.ensure_root,
        remove_orphaned: spec.remove_orphaned_principals,
        ..PolicyWish::default()
    };
    for statement in &spec.statements {
        wish.statements.push(WishedStatements {
            name: statement.name.clone(),
            regions: regions(&statement.regions, "spec.policy.statements[].regions")?,
            json: json!({ "Version": "2012-10-17", "Statement": [statement_json(statement)] }).to_string(),
            accept_risk: statement.accept_risk,
            replication_to: None,
        });
    }
    for document in &spec.documents {
        wish.documents.push(WishedStatements {
            name: document.name.clone(),
            regions: regions(&document.regions, "spec.policy.documents[].regions")?,
            json: document.json.clone(),
            accept_risk: document.accept_risk,
            replication_to: document
                .replication_to
                .as_ref()
                .map(|to| to.parse().map_err(at("spec.policy.documents[].replicationTo")))
                .transpose()?,
        });
    }
    Ok(wish)
}

fn statement_json(statement: &Statement) -> Value {
    let mut principal = serde_json::Map::new();
    if !statement.principals.aws.is_empty() {
        principal.insert("AWS".to_owned(), json!(statement.principals.aws));
    }
    if !statement.principals.service.is_empty() {
        principal.insert("Service".to_owned(), json!(statement.principals.service));
    }
    let effect = match statement.effect {
        Effect::Allow => "Allow",
        Effect::Deny => "Deny",
    };
    let mut value = json!({ "Effect": effect, "Principal": principal, "Action": statement.actions, "Resource": "*" });
    if !statement.conditions.is_empty() {
        value["Condition"] = json!(statement.conditions);
    }
    value
}

/// Whether a key lets clusters of a namespace use it, by that namespace's labels.
pub fn allows(key: &CustomerKey, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let allowed = &key.spec.allowed_namespaces;
    match allowed.from {
        NamespacesFrom::Same => key.namespace().as_deref() == Some(namespace),
        NamespacesFrom::All => true,
        NamespacesFrom::Selector => allowed.selector.as_ref().is_some_and(|selector| {
            selector.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
                && selector.match_expressions.iter().all(|requirement| {
                    let value = labels.get(&requirement.key);
                    match requirement.operator {
                        SelectorOperator::In => value.is_some_and(|v| requirement.values.contains(v)),
                        SelectorOperator::NotIn => value.is_none_or(|v| !requirement.values.contains(v)),
                        SelectorOperator::Exists => value.is_some(),
                        SelectorOperator::DoesNotExist => value.is_none(),
                    }
                })
        }),
    }
}

/// The namespace and name of the key that a cluster refers to.
pub fn key_ref(cluster: &EncryptedCluster) -> (String, String) {
    resolved(&cluster.spec.customer_key_ref, cluster)
}

/// The same of the key for backups, where there is another one.
pub fn backup_key_ref(cluster: &EncryptedCluster) -> Option<(String, String)> {
    cluster.spec.backup_key_ref.as_ref().map(|reference| resolved(reference, cluster))
}

fn resolved(reference: &CustomerKeyRef, cluster: &EncryptedCluster) -> (String, String) {
    let namespace = reference.namespace.clone().or_else(|| cluster.namespace()).unwrap_or_default();
    (namespace, reference.name.clone())
}

/// What a cluster uses of a key, or wants to; none, if it has nothing to do with it. A cluster that the key does not allow,
/// and never did, has no say.
pub fn user(cluster: &EncryptedCluster, key: &CustomerKey) -> Option<User> {
    let (own, of_key) = (cluster.namespace().unwrap_or_default(), key.namespace().unwrap_or_default());
    let (name, spec) = (key.name_any(), &cluster.spec);
    let claims = cluster.status.iter().flat_map(|status| &status.claims);
    let claims = claims.filter(|claim| claim.namespace == of_key && claim.name == name);
    let mut regions: BTreeSet<Region> =
        claims.flat_map(|claim| &claim.regions).filter_map(|region| region.parse().ok()).collect();
    let refers =
        |reference: &CustomerKeyRef| reference.name == name && reference.namespace.as_deref().unwrap_or(&own) == of_key;
    let refers = refers(&spec.customer_key_ref) || spec.backup_key_ref.as_ref().is_some_and(refers);
    if refers && (own == of_key || key.spec.allowed_namespaces.from != NamespacesFrom::Same) {
        regions.extend(spec.regions.iter().filter_map(|region| region.name.parse().ok()));
    }
    let deploys = deploys(cluster);
    (!regions.is_empty()).then(|| User { name: format!("{own}/{}", cluster.name_any()), regions, deploys })
}

/// Whether a cluster's status shows something under way, or a gate that is judged for something to be deployed, and that
/// nothing keeps shut but a key which may be used from known addresses alone.
fn deploys(cluster: &EncryptedCluster) -> bool {
    let paused = cluster.annotations().get(ANNOTATION_PAUSED).is_some_and(|value| value == "true");
    let Some(status) = cluster.status.as_ref().filter(|_| cluster.metadata.deletion_timestamp.is_none()) else {
        return false;
    };
    let late = |name: &str| name == LIFTED || name == SEEN_REPEATEDLY;
    let waits = |gate: &GateStatus| {
        gate.checks.iter().any(|check| check.name == LIFTED)
            && gate.checks.iter().all(|check| check.passed || late(&check.name))
    };
    let deploying = find(&status.conditions, ConditionType::Deployed)
        .is_some_and(|c| c.status == "False" && c.reason == Reason::Deploying.as_str());
    status.creation.is_some()
        || deploying
        || (!paused && status.regions.iter().filter_map(|region| region.gate.as_ref()).any(waits))
}

/// What an `EncryptedCluster` declares, with its key as it was read; one for backups is for the caller to read.
pub fn encrypted_cluster(cluster: &EncryptedCluster, key: Reading<LinkedKey>) -> Result<DesiredCluster, Invalid> {
    let spec = &cluster.spec;
    let regions: Vec<Region> =
        spec.regions.iter().map(|r| r.name.parse().map_err(at("spec.regions[].name"))).collect::<Result<_, _>>()?;
    let primary = match &spec.primary_region {
        Some(name) => name.parse().map_err(at("spec.primaryRegion"))?,
        None => regions
            .first()
            .cloned()
            .ok_or_else(|| Invalid { field: "spec.regions", problem: "names no region".to_owned() })?,
    };
    let (namespace, name) = key_ref(cluster);
    let deployment = match &spec.deployment {
        Some(spec) => deployment(spec, key.present(), &regions)?,
        None => None,
    };
    Ok(DesiredCluster {
        object: object(&cluster.metadata)?,
        key,
        key_ref: format!("{namespace}/{name}"),
        regions,
        primary,
        deployment,
        afterlife: match spec.deletion_policy {
            ClusterDeletionPolicy::Retain => Afterlife::Retain,
            ClusterDeletionPolicy::Delete => Afterlife::TearDown,
        },
        backup: backup_key_ref(cluster)
            .map(|(namespace, name)| BackupKey { key: Reading::NOT_LOOKED, key_ref: format!("{namespace}/{name}") }),
    })
}

/// A cluster of Atlas in all regions of the object.
fn atlas_cluster(atlas: &AtlasDeployment, regions: &[Region]) -> DatabaseRequest {
    let nodes = atlas.electable_nodes.iter().filter_map(|n| Some((n.region.parse().ok()?, n.count))).collect();
    DatabaseRequest {
        name: atlas.name.clone(),
        tier: atlas.instance_size.clone().unwrap_or_default(),
        capacity_units: None,
        keyspace: None,
        database_type: None,
        group: None,
        cluster: Some(ClusterRequest {
            regions: regions.to_vec(),
            nodes,
            version: atlas.mongo_db_major_version.clone(),
            disk_gb: atlas.disk_size_gb,
            backup: atlas.backup_enabled,
        }),
    }
}

fn deployment(
    deployment: &Deployment,
    key: Option<&LinkedKey>,
    regions: &[Region],
) -> Result<Option<DesiredDeployment>, Invalid> {
    let Deployment { astra, atlas, single_store } = deployment;
    let scope = |cloud| {
        key.map(|linked| linked.key.scope.clone()).filter(|scope| scope.cloud == cloud).unwrap_or(Scope {
            cloud,
            id: String::new(),
            database_type: String::new(),
            principal_role: String::new(),
        })
    };
    let (mut by_hand, mut attested) = (false, None);
    let (cloud, bound_id, request) = if let Some(astra) = astra {
        let request = DatabaseRequest {
            name: astra.name.clone(),
            tier: astra.tier.clone().unwrap_or_default(),
            capacity_units: Some(astra.capacity_units),
            keyspace: astra.keyspace.clone(),
            database_type: astra.database_type.map(|_| "vector".to_owned()),
            group: None,
            cluster: None,
        };
        (Cloud::Astra, astra.database_id.clone(), request)
    } else if let Some(atlas) = atlas {
        (Cloud::Atlas, None, atlas_cluster(atlas, regions))
    } else if let Some(single_store) = single_store {
        by_hand = hand_off::by_hand(single_store);
        attested = single_store.attested.as_ref().map(hand_off::attested).transpose()?;
        (Cloud::SingleStore, single_store.workspace_group_id.clone(), hand_off::request(single_store))
    } else {
        return Ok(None);
    };
    let adopts = atlas.as_ref().is_some_and(|atlas| atlas.existing.is_some());
    let (mut scope, capabilities) = (scope(cloud), Capabilities::of(cloud));
    if let Some(project) = atlas.as_ref().and_then(|atlas| atlas.project_id.as_ref()) {
        scope.id.clone_from(project);
    }
    Ok(Some(DesiredDeployment { scope, capabilities, bound_id, adopts, request, by_hand, attested }))
}
