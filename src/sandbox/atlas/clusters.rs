//! The calls about clusters.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::addresses::Addresses;
use super::cluster::{Cluster, ClusterState, ReplicationSpec, StoredCluster};
use super::limits::CLUSTERS;
use super::{
    About, Atlas, PageQuery, Paged, Project, ProjectRole, atlas_region, aws_region, checked, invalid, missing, refused,
};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::ident::object_id;
use crate::sandbox::world::World;

/// Regions that a provider offers, by instance size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRegions {
    /// `AWS`.
    pub provider: &'static str,
    /// Sizes.
    pub instance_sizes: Vec<SizeRegions>,
}

/// Regions of an instance size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SizeRegions {
    /// `M10`.
    pub name: String,
    /// Regions.
    pub available_regions: Vec<OfferedRegion>,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct OfferedRegion {
    /// In the spelling of Atlas.
    pub name: String,
    /// Whether it is the one that is proposed.
    pub default: bool,
}

fn no_cluster(project: &str, name: &str) -> ServiceError {
    let text = format!("No cluster named {name} exists in group {project}.");
    refused(404, "CLUSTER_NOT_FOUND", text, &[name, project])
}

impl Project {
    /// A cluster by its name.
    pub fn cluster(&self, name: &str) -> Option<&Arc<StoredCluster>> {
        self.clusters.iter().find(|c| c.name() == name)
    }

    fn found_cluster(&self, name: &str) -> Result<&Arc<StoredCluster>, ServiceError> {
        self.cluster(name).ok_or_else(|| no_cluster(&self.id, name))
    }
}

impl World {
    /// Changes a cluster, in order or by hand.
    pub(super) fn edit_atlas_cluster(
        &mut self,
        project: &str,
        name: &str,
        edit: impl FnOnce(&mut StoredCluster),
    ) -> Result<(), ServiceError> {
        let found = self.project_mut(project)?.clusters.iter_mut().find(|c| c.name() == name);
        let cluster = Arc::make_mut(found.ok_or_else(|| no_cluster(project, name))?);
        edit(cluster);
        let until_ms = cluster.until_ms.unwrap_or(i64::MAX);
        self.atlas_wake_ms = self.atlas_wake_ms.min(until_ms);
        Ok(())
    }

    /// Adds a cluster that is checked, or put there by hand; with its ids and addresses.
    pub(super) fn add_atlas_cluster(
        &mut self,
        project: &str,
        mut spec: Cluster,
        ready_in_ms: i64,
    ) -> Result<Cluster, ServiceError> {
        let (seed, n, now_ms) = (self.settings.seed, self.next_id(), self.now_ms);
        spec.id = Some(object_id(seed, "cluster", n));
        spec.group_id = Some(project.to_owned());
        for shard in spec.replication_specs.iter_mut().flatten() {
            self.new_shard(shard);
        }
        let nodes = spec.regions().map(super::RegionConfig::nodes).sum();
        let addresses = self.new_addresses(nodes);
        let key = self.project(project, i64::MAX)?.key.as_ref().filter(|_| spec.provider() == "AWS");
        let created_with = key.map(|key| key.key.clone());
        if created_with.is_none() {
            self.link.note = Some("unencrypted");
        }
        let mut cluster = StoredCluster {
            spec,
            created_at_ms: now_ms,
            state: ClusterState::Creating,
            until_ms: Some(now_ms + ready_in_ms),
            addresses: Addresses::default(),
            pending: addresses,
            legacy_backup: false,
            leaving_key: false,
            created_with,
            down_since_ms: None,
        };
        if ready_in_ms <= 0 {
            cluster.settle();
        }
        let shown = cluster.shown();
        self.project_mut(project)?.clusters.push(Arc::new(cluster));
        self.atlas_wake_ms = self.atlas_wake_ms.min(now_ms + ready_in_ms.max(0));
        Ok(shown)
    }

    fn new_shard(&mut self, shard: &mut ReplicationSpec) {
        let (seed, n) = (self.settings.seed, self.next_id());
        shard.id = Some(object_id(seed, "shard", n));
        shard.zone_id.get_or_insert_with(|| object_id(seed, "zone", n));
        shard.zone_name.get_or_insert_with(|| "Zone 1".to_owned());
    }

    fn new_addresses(&mut self, nodes: i64) -> Addresses {
        let outbound: Vec<String> = (0..nodes).map(|_| self.new_address()).collect();
        Addresses { inbound: outbound.clone(), outbound, ..Addresses::default() }
    }
}

impl Atlas<'_> {
    /// `GET /groups/{groupId}/clusters`, a page.
    pub fn clusters(&mut self, project: &str, query: PageQuery) -> Result<Paged<Cluster>, Failure> {
        let about = About { project, what: "clusters", region: "" };
        let operation = ("ListClusters", Access::Read);
        self.on_project(operation, CLUSTERS, ProjectRole::GroupReadOnly, about, |world, at_ms| {
            query.of(world.project(project, at_ms)?.clusters.iter().map(|c| c.shown()).collect())
        })
    }

    /// `GET /groups/{groupId}/clusters/{clusterName}`.
    pub fn cluster(&mut self, project: &str, name: &str) -> Result<Cluster, Failure> {
        let about = About { project, what: name, region: "" };
        let operation = ("GetCluster", Access::Read);
        self.on_project(operation, CLUSTERS, ProjectRole::GroupReadOnly, about, |world, at_ms| {
            Ok(world.project(project, at_ms)?.found_cluster(name)?.shown())
        })
    }

    /// `POST /groups/{groupId}/clusters`. The name is its natural key.
    pub fn create_cluster(&mut self, project: &str, body: &Cluster) -> Result<Cluster, Failure> {
        let region = body.regions().next().map(|r| aws_region(&r.region_name)).unwrap_or_default();
        let name = body.name.as_deref();
        let about = About { project, what: name.unwrap_or("clusters"), region: &region };
        let operation = ("CreateCluster", Access::Write);
        // Who uses the customer's key has to be owner of the project (guide).
        let needs = if body.provider() == "NONE" { ProjectRole::GroupClusterManager } else { ProjectRole::GroupOwner };
        self.on_project(operation, CLUSTERS, needs, about, |world, _| {
            let spec = checked::writable(body)?;
            let state = world.project(project, i64::MAX)?;
            checked::free_name(state, name)?;
            checked::shards(&spec, &world.atlas.settings.regions)?;
            checked::encryption(state, &spec)?;
            if spec.paused == Some(true) {
                let text = format!("Cluster {} cannot be created in a paused state.", name.unwrap_or_default());
                return Err(refused(400, "CANNOT_CREATE_PAUSED_CLUSTER", text, &[]));
            }
            let deploy_ms = world.atlas.settings.deploy_ms.max(1);
            world.add_atlas_cluster(project, spec, deploy_ms)
        })
    }

    /// `PATCH /groups/{groupId}/clusters/{clusterName}`: fields that are not named stay as they are.
    pub fn update_cluster(&mut self, project: &str, name: &str, body: &Cluster) -> Result<Cluster, Failure> {
        let about = About { project, what: name, region: "" };
        let operation = ("UpdateCluster", Access::Write);
        let owner = body.encryption_at_rest_provider.is_some() || body.termination_protection_enabled.is_some();
        let needs = if owner { ProjectRole::GroupOwner } else { ProjectRole::GroupClusterManager };
        self.on_project(operation, CLUSTERS, needs, about, |world, now_ms| {
            let body = checked::writable(body)?;
            let state = world.project(project, i64::MAX)?;
            let present = Arc::clone(state.found_cluster(name)?);
            may_change(&present, &body)?;
            let mut spec = merged(&present.spec, &body)?;
            checked::shards(&spec, &world.atlas.settings.regions)?;
            let (was, is) = (present.spec.provider() == "AWS", spec.provider() == "AWS");
            if was != is || spec.provider() != present.spec.provider() {
                checked::encryption(state, &spec)?;
            }
            if spec == present.spec {
                return Ok(present.shown());
            }
            for shard in spec.replication_specs.iter_mut().flatten().filter(|s| s.id.is_none()) {
                world.new_shard(shard);
            }
            let nodes = |c: &Cluster| c.regions().map(super::RegionConfig::nodes).sum::<i64>();
            let added = world.new_addresses((nodes(&spec) - nodes(&present.spec)).max(0));
            let until_ms = now_ms + world.atlas.settings.change_ms.max(1);
            world.edit_atlas_cluster(project, name, |cluster| {
                cluster.spec = spec;
                cluster.leaving_key |= was && !is;
                cluster.addresses.future_outbound.extend(added.outbound.clone());
                cluster.addresses.future_inbound.extend(added.inbound.clone());
                cluster.pending.outbound.extend(added.outbound);
                cluster.pending.inbound.extend(added.inbound);
                cluster.until_ms = Some(cluster.until_ms.unwrap_or(until_ms).max(until_ms));
                if cluster.state != ClusterState::Creating {
                    cluster.state = ClusterState::Updating;
                }
            })?;
            Ok(world.project(project, i64::MAX)?.found_cluster(name)?.shown())
        })
    }

    /// `DELETE /groups/{groupId}/clusters/{clusterName}`.
    pub fn delete_cluster(&mut self, project: &str, name: &str) -> Result<(), Failure> {
        let about = About { project, what: name, region: "" };
        let operation = ("DeleteCluster", Access::Write);
        self.on_project(operation, CLUSTERS, ProjectRole::GroupOwner, about, |world, now_ms| {
            let present = world.project(project, i64::MAX)?.found_cluster(name)?;
            if present.state == ClusterState::Deleting {
                return Err(being_deleted(name));
            }
            if present.spec.termination_protection_enabled == Some(true) {
                // The code is not in the vendor's list.
                let text = "Cannot terminate a cluster when termination protection is enabled.";
                let code = "CANNOT_TERMINATE_CLUSTER_WHEN_TERMINATION_PROTECTION_ENABLED";
                return Err(refused(400, code, text, &[name]));
            }
            let until_ms = now_ms + world.atlas.settings.delete_ms.max(1);
            world.edit_atlas_cluster(project, name, |cluster| {
                cluster.state = ClusterState::Deleting;
                cluster.until_ms = Some(until_ms);
            })
        })
    }

    /// `GET /groups/{groupId}/clusters/provider/regions`, a page.
    pub fn provider_regions(
        &mut self,
        project: &str,
        providers: &[String],
        tier: Option<&str>,
        query: PageQuery,
    ) -> Result<Paged<ProviderRegions>, Failure> {
        let about = About { project, what: "regions", region: "" };
        let operation = ("ListProviderRegions", Access::Read);
        self.on_project(operation, CLUSTERS, ProjectRole::GroupReadOnly, about, |world, _| {
            if tier.is_some_and(|t| !checked::DEDICATED.contains(&t)) {
                return Err(invalid("tier"));
            }
            let regions = world.atlas.settings.regions.iter();
            let offered: Vec<OfferedRegion> =
                regions.map(|r| OfferedRegion { name: atlas_region(r), default: false }).collect();
            let sizes = checked::DEDICATED.iter().filter(|s| tier.is_none_or(|t| t == **s));
            let aws = ProviderRegions {
                provider: "AWS",
                instance_sizes: sizes
                    .map(|s| SizeRegions { name: (*s).to_owned(), available_regions: offered.clone() })
                    .collect(),
            };
            let wanted = providers.is_empty() || providers.iter().any(|p| p == "AWS");
            query.of(wanted.then_some(aws).into_iter().collect())
        })
    }
}

fn being_deleted(name: &str) -> ServiceError {
    let text = format!("The cluster {name} has already been requested for deletion.");
    refused(400, "CLUSTER_ALREADY_REQUESTED_DELETION", text, &[name])
}

/// Whether a cluster can be changed in this way at all.
fn may_change(present: &StoredCluster, body: &Cluster) -> Result<(), ServiceError> {
    let name = present.name();
    if body.name.as_deref().is_some_and(|n| n != name) {
        let text = "Cannot change name of cluster during an update.";
        return Err(refused(400, "CLUSTER_CANNOT_CHANGE_NAME", text, &[name]));
    }
    if present.state == ClusterState::Deleting {
        return Err(being_deleted(name));
    }
    if present.spec.is_tenant() {
        if body.encryption_at_rest_provider.as_deref().is_some_and(|p| p != "NONE") {
            let text = "Cannot use Encryption at Rest with tenant clusters.";
            return Err(refused(400, "CANNOT_USE_ENCRYPTION_AT_REST_TENANT", text, &[]));
        }
        let text = "Cannot update a M0/Flex cluster through the public API.";
        return Err(refused(400, "TENANT_CLUSTER_UPDATE_UNSUPPORTED", text, &[name]));
    }
    if present.spec.paused == Some(true) && body.paused != Some(false) {
        let text = format!("Cannot update cluster {name} while it is paused or being paused.");
        return Err(refused(409, "CANNOT_UPDATE_PAUSED_CLUSTER", text, &[name]));
    }
    let providers = |c: &Cluster| c.regions().map(|r| r.provider_name.clone()).collect::<BTreeSet<_>>();
    if body.replication_specs.is_some() && providers(body) != providers(&present.spec) {
        let text = "Cannot change the cloud provider of a cluster.";
        return Err(refused(400, "CLUSTER_CANNOT_CHANGE_PROVIDER_NAME", text, &[name]));
    }
    let Some(provider) = body.encryption_at_rest_provider.as_deref() else {
        return Ok(());
    };
    let before = present.spec.provider();
    if before != "NONE" && provider != "NONE" && provider != before {
        let text = "To choose a different Encryption at Rest provider, please disable and re-enable this feature. This will decrypt your data and allow you to encrypt it with a different Encryption at Rest provider.";
        return Err(refused(409, "CANNOT_CHANGE_ENCRYPTION_AT_REST_PROVIDER", text, &[name]));
    }
    if provider != "NONE" && present.legacy_backup {
        let text = "Encryption at Rest Provider cannot be configured on this cluster.";
        return Err(refused(400, "ENCRYPTION_AT_REST_PROVIDER_NOT_SUPPORTED", text, &[name]));
    }
    Ok(())
}

/// The description after a change. Shards are known by their ids: one that is not sent again is deleted, which Atlas can't
/// do to the only one of a replica set; that it is refused then is made up.
fn merged(present: &Cluster, body: &Cluster) -> Result<Cluster, ServiceError> {
    let mut new = present.clone();
    let fields = [
        (&mut new.cluster_type, &body.cluster_type),
        (&mut new.encryption_at_rest_provider, &body.encryption_at_rest_provider),
    ];
    for (field, given) in fields {
        *field = given.clone().or_else(|| field.take());
    }
    let flags = [
        (&mut new.backup_enabled, body.backup_enabled),
        (&mut new.paused, body.paused),
        (&mut new.termination_protection_enabled, body.termination_protection_enabled),
    ];
    for (field, given) in flags {
        *field = given.or(*field);
    }
    new.rest.extend(body.rest.clone());
    let Some(given) = &body.replication_specs else {
        return Ok(new);
    };
    let known = present.replication_specs.as_deref().unwrap_or_default();
    let mut shards = given.clone();
    for (n, shard) in shards.iter_mut().enumerate() {
        match &shard.id {
            None if new.cluster_type.as_deref() == Some("REPLICASET") => {
                return Err(missing(&format!("replicationSpecs[{n}].id")));
            }
            None => {}
            Some(id) => {
                let same = known.iter().find(|k| k.id.as_ref() == Some(id));
                let same = same.ok_or_else(|| invalid(&format!("replicationSpecs[{n}].id")))?;
                shard.zone_id = shard.zone_id.take().or_else(|| same.zone_id.clone());
                shard.zone_name = shard.zone_name.take().or_else(|| same.zone_name.clone());
            }
        }
    }
    new.replication_specs = Some(shards);
    Ok(new)
}
