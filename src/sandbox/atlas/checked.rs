//! What Atlas accepts of a cluster's description.

use std::collections::BTreeSet;

use super::cluster::{Cluster, HardwareSpec, RegionConfig, ReplicationSpec};
use super::{Project, atlas_region, invalid, missing, refused};
use crate::sandbox::failure::ServiceError;

/// Dedicated sizes on AWS that are simulated, from small to large, and the shared ones.
pub(super) const DEDICATED: [&str; 9] = ["M10", "M20", "M30", "M40", "M50", "M60", "M80", "M140", "M200"];
const SHARED: [&str; 3] = ["M0", "M2", "M5"];

/// Fields of the description that are kept as they come.
const KEPT: [&str; 21] = [
    "acceptDataRisksAndForceReplicaSetReconfig",
    "adaptiveCapacity",
    "advancedConfiguration",
    "biConnector",
    "configServerManagementMode",
    "diskWarmingMode",
    "globalClusterSelfManagedSharding",
    "labels",
    "mongoDBEmployeeAccessGrant",
    "mongoDBMajorVersion",
    "pitEnabled",
    "redactClientLogData",
    "replicaSetScalingStrategy",
    "retainBackups",
    "rootCertType",
    "tags",
    "useAwsTimeBasedSnapshotCopyForFastInitialSync",
    "versionReleaseSystem",
    "internalClusterRole",
    "configServerType",
    "effectiveReplicationSpecs",
];
/// Fields that Atlas alone sets; they are taken and forgotten.
const READ_ONLY: [&str; 5] = [
    "connectionStrings",
    "links",
    "mongoDBVersion",
    "featureCompatibilityVersion",
    "featureCompatibilityVersionExpirationDate",
];

/// How many first characters of two names may not be the same.
const PREFIX: usize = 23;

/// The fields that count of a body, without those that Atlas alone sets.
pub(super) fn writable(body: &Cluster) -> Result<Cluster, ServiceError> {
    let mut kept = body.clone();
    kept.rest.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    if let Some(unknown) = kept.rest.keys().find(|name| !KEPT.contains(&name.as_str())) {
        return Err(invalid(unknown));
    }
    Ok(Cluster { id: None, group_id: None, state_name: None, create_date: None, ..kept })
}

/// A name that is good and free.
pub(super) fn free_name<'a>(project: &Project, name: Option<&'a str>) -> Result<&'a str, ServiceError> {
    let name = name.filter(|n| !n.is_empty()).ok_or_else(|| missing("name"))?;
    if name.starts_with('-') || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        let text = format!(
            "The cluster name {name} is invalid. The name can only contain ASCII letters, numbers, and hyphens."
        );
        return Err(refused(400, "CLUSTER_NAME_INVALID", text, &[name]));
    }
    if name.len() > 64 {
        let text = format!("Cluster name {name} is limited to 64 characters.");
        return Err(refused(400, "CLUSTER_NAME_TOO_LONG", text, &[name]));
    }
    let prefix = |n: &str| n.chars().take(PREFIX).collect::<String>().to_ascii_lowercase();
    for other in &project.clusters {
        if other.name() == name {
            let text = format!("A cluster named {name} is already present in group {}.", project.id);
            return Err(refused(400, "DUPLICATE_CLUSTER_NAME", text, &[name, &project.id]));
        }
        if prefix(other.name()) == prefix(name) {
            let text = format!(
                "Cluster name {name} cannot have same first {PREFIX} characters as another cluster name in same group."
            );
            return Err(refused(400, "DUPLICATE_CLUSTER_NAME_PREFIX", text, &[name]));
        }
    }
    Ok(name)
}

/// The shards of a cluster, and that regions and sizes are offered.
pub(super) fn shards(cluster: &Cluster, offered: &[String]) -> Result<(), ServiceError> {
    let kind = cluster.cluster_type.as_deref().ok_or_else(|| missing("clusterType"))?;
    let specs = cluster.replication_specs.as_deref().filter(|all| !all.is_empty());
    let specs = specs.ok_or_else(|| missing("replicationSpecs"))?;
    match kind {
        "REPLICASET" if specs.len() == 1 => {}
        "SHARDED" | "GEOSHARDED" => {}
        "REPLICASET" => return Err(broken_specs()),
        _ => return Err(invalid("clusterType")),
    }
    specs.iter().try_for_each(|spec| shard(spec, offered))
}

fn broken_specs() -> ServiceError {
    let text = "The replicationSpecs array contains a document with missing fields. All fields must be specified in the replicationSpecs array.";
    refused(400, "REPLICATION_SPECS_INVALID", text, &[])
}

fn shard(spec: &ReplicationSpec, offered: &[String]) -> Result<(), ServiceError> {
    if spec.region_configs.is_empty() {
        return Err(broken_specs());
    }
    let mut seen = BTreeSet::new();
    let mut priority = 8;
    for region in &spec.region_configs {
        region_of(region, offered)?;
        if !seen.insert(&region.region_name) {
            return Err(broken_specs());
        }
        if region.electable() > 0 {
            // They fall from 7, one by one.
            let given = region.priority.ok_or_else(broken_specs)?;
            if given >= priority || (priority == 8 && given != 7) {
                return Err(broken_specs());
            }
            priority = given;
        }
    }
    let tenant = spec.region_configs.iter().any(|r| r.provider_name == "TENANT");
    let electable: i64 = spec.region_configs.iter().map(RegionConfig::electable).sum();
    if !tenant && !matches!(electable, 3 | 5 | 7) {
        let text = "The cluster's replication factor must be either 3, 5, or 7.";
        return Err(refused(400, "CLUSTER_REPLICATION_FACTOR_INVALID", text, &[]));
    }
    Ok(())
}

fn region_of(region: &RegionConfig, offered: &[String]) -> Result<(), ServiceError> {
    let sizes = [&region.electable_specs, &region.read_only_specs, &region.analytics_specs];
    let sizes: Vec<&HardwareSpec> = sizes.into_iter().flatten().collect();
    let known: &[&str] = match region.provider_name.as_str() {
        "AWS" => &DEDICATED,
        "TENANT" => &SHARED,
        "AZURE" | "GCP" => {
            return Err(refused(409, "UNSUPPORTED_FEATURE", "This feature is not yet supported.", &[]));
        }
        "" => return Err(broken_specs()),
        _ => return Err(invalid("providerName")),
    };
    if !offered.iter().any(|r| atlas_region(r) == region.region_name) {
        let name = &region.region_name;
        return Err(refused(400, "INVALID_REGION", format!("The region {name} is invalid."), &[name]));
    }
    for size in sizes {
        match &size.instance_size {
            Some(name) if known.contains(&name.as_str()) => {}
            Some(name) if SHARED.contains(&name.as_str()) => {
                let text = format!("The instance size {name} is too small for a dedicated cluster.");
                return Err(refused(400, "INSUFFICIENT_INSTANCE_SIZE", text, &[name]));
            }
            Some(_) => return Err(invalid("instanceSize")),
            None if size.node_count.unwrap_or(0) > 0 => return Err(broken_specs()),
            None => {}
        }
    }
    Ok(())
}

/// Whether a cluster can be put under a customer's key in this project. That the key can't be used at the moment is no
/// reason to refuse (made up: the vendor does not say); the cluster then does not come up.
pub(super) fn encryption(project: &Project, cluster: &Cluster) -> Result<(), ServiceError> {
    match cluster.provider() {
        "NONE" => Ok(()),
        "AWS" | "AZURE" | "GCP" if cluster.is_tenant() => {
            let text = "Cannot use Encryption at Rest with tenant clusters.";
            Err(refused(400, "CANNOT_USE_ENCRYPTION_AT_REST_TENANT", text, &[]))
        }
        "AWS" if project.key.is_some() => Ok(()),
        "AWS" | "AZURE" | "GCP" => {
            let text = format!("Encryption at Rest is not enabled for group {}.", project.id);
            Err(refused(400, "ENCRYPTION_AT_REST_NOT_ENABLED", text, &[&project.id]))
        }
        other => {
            let text = format!("Invalid Encryption at Rest provider {other}.");
            Err(refused(400, "INVALID_ENCRYPTION_AT_REST_PROVIDER", text, &[other]))
        }
    }
}
