//! What the API shows. Nothing of it says whether a group is under a customer's key.

use serde::Serialize;

use super::groups::UpdateWindow;
use super::replication_stored::{Operation, Replication};
use super::stored::{Settled, StoredGroup, StoredWorkspace};
use super::workspaces::AutoSuspend;
use super::{OfferedRegion, Org};
use crate::sandbox::ident::rfc3339;
use crate::sandbox::world::World;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// Uuid.
    #[serde(rename = "projectID")]
    pub id: String,
    /// Name.
    pub name: &'static str,
    /// What it was paid for.
    pub edition: String,
    /// RFC 3339.
    pub created_at: String,
}

impl Project {
    pub(super) fn of(id: &str, edition: String) -> Self {
        Self { id: id.to_owned(), name: "sandbox", edition, created_at: rfc3339(1_700_000_000_000) }
    }
}

/// A region as v1 shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Region {
    /// `AWS`, `GCP` or `Azure`.
    pub provider: String,
    /// For people.
    pub region: String,
    /// Uuid.
    #[serde(rename = "regionID")]
    pub id: String,
}

impl Region {
    pub(super) fn of(offered: &OfferedRegion) -> Self {
        let OfferedRegion { id, provider, display, .. } = offered.clone();
        Self { provider, region: display, id }
    }
}

/// A region as v2 shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RegionV2 {
    /// `AWS`, `GCP` or `Azure`.
    pub provider: String,
    /// For people.
    pub region: String,
    /// As its own cloud spells it.
    #[serde(rename = "regionName")]
    pub name: String,
}

impl RegionV2 {
    pub(super) fn of(name: &str, offered: &OfferedRegion) -> Self {
        Self { provider: offered.provider.clone(), region: offered.display.clone(), name: name.to_owned() }
    }
}

/// A workspace group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Uuid.
    #[serde(rename = "workspaceGroupID")]
    pub id: String,
    /// Name.
    pub name: String,
    /// `ACTIVE`, `PENDING`, `FAILED` or `TERMINATED`.
    pub state: &'static str,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339, once it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated_at: Option<String>,
    /// Uuid.
    #[serde(rename = "regionID")]
    pub region_id: String,
    /// As its own cloud spells it.
    pub region_name: String,
    /// `AWS`, `GCP` or `Azure`.
    pub provider: String,
    /// Who may connect.
    pub firewall_ranges: Vec<String>,
    /// Everybody may connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_all_traffic: Option<bool>,
    /// `PRODUCTION` or `NON-PRODUCTION`.
    pub deployment_type: String,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_availability_two_zones: Option<bool>,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_in_preview_feature: Option<bool>,
    /// AWS only: the account that connections go out from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound_allow_list: Option<String>,
    /// Uuid.
    #[serde(rename = "projectID")]
    pub project_id: String,
    /// Name.
    pub project_name: &'static str,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_window: Option<UpdateWindow>,
}

impl World {
    /// A group as the API shows it at a moment.
    pub(super) fn shown_group(&self, id: &str, org: &Org, group: &StoredGroup, at_ms: i64) -> Group {
        let state = self.group_state(org, group, at_ms);
        let offered = org.regions.get(&group.region).cloned().unwrap_or_default();
        let asked = &group.asked;
        Group {
            id: group.id.clone(),
            name: asked.name.clone().unwrap_or_default(),
            state,
            created_at: rfc3339(group.created_at_ms),
            terminated_at: group.terminated_ms.filter(|(_, over)| *over <= at_ms).map(|(_, over)| rfc3339(over)),
            region_id: offered.id,
            region_name: group.region.clone(),
            firewall_ranges: asked.firewall_ranges.clone().unwrap_or_default(),
            allow_all_traffic: asked.allow_all_traffic,
            deployment_type: asked.deployment_type.clone().unwrap_or_else(|| "PRODUCTION".into()),
            expires_at: asked.expires_at.clone(),
            high_availability_two_zones: asked.high_availability_two_zones,
            opt_in_preview_feature: asked.opt_in_preview_feature,
            outbound_allow_list: (offered.provider == "AWS").then_some(offered.outbound_account),
            provider: offered.provider,
            project_id: super::project_id(id),
            project_name: "sandbox",
            update_window: asked.update_window,
        }
    }
}

/// A workspace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workspace {
    /// Uuid.
    #[serde(rename = "workspaceID")]
    pub id: String,
    /// Uuid.
    #[serde(rename = "workspaceGroupID")]
    pub group: String,
    /// Name.
    pub name: String,
    /// `S-00`, `S-1`, ...
    pub size: String,
    /// `ACTIVE`, `PENDING`, `SUSPENDED`, `FAILED` or `TERMINATED`.
    pub state: &'static str,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339, once it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated_at: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_resumed_at: Option<String>,
    /// Host, once it was active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_suspend: Option<AutoSuspend>,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_config: Option<u8>,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_factor: Option<u8>,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kai_enabled: Option<bool>,
}

impl Workspace {
    pub(super) fn of(stored: &StoredWorkspace, state: &'static str, at_ms: i64) -> Self {
        let asked = &stored.asked;
        let over = stored.settled == Settled::Terminated && stored.settles_at_ms <= at_ms;
        Self {
            id: stored.id.clone(),
            group: stored.group.clone(),
            name: asked.name.clone().unwrap_or_default(),
            size: asked.size.clone().unwrap_or_else(|| "S-00".into()),
            state,
            created_at: rfc3339(stored.created_at_ms),
            terminated_at: over.then(|| rfc3339(stored.settles_at_ms)),
            last_resumed_at: stored.resumed_at_ms.map(rfc3339),
            endpoint: (state == "ACTIVE").then(|| format!("svc-{}-dml.sandbox.svc.singlestore.com", stored.id)),
            auto_suspend: asked.auto_suspend.clone(),
            cache_config: asked.cache_config,
            scale_factor: asked.scale_factor,
            kai_enabled: asked.enable_kai,
        }
    }
}

/// The state of replication.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ReplicationStatus {
    /// The last operation.
    pub compute: Compute,
    /// The copies.
    pub storage: Vec<ReplicatedDatabase>,
}

/// The last operation. Without one it is shown as a failback that is completed: the spec demands an operation, and does
/// not say which it is then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compute {
    /// Which.
    #[serde(rename = "storageDRType")]
    pub operation: Operation,
    /// `Active`, `Completed` or `Failed` here.
    #[serde(rename = "storageDRState")]
    pub state: &'static str,
    /// Workspaces that it is about.
    pub total_workspaces: u32,
    /// Workspaces that are done.
    pub completed_workspaces: u32,
    /// Databases that it is about.
    pub total_attachments: u32,
    /// Databases that are done.
    pub completed_attachments: u32,
    /// Groups in the second region.
    #[serde(rename = "secondaryWorkspaceGroupIDs", skip_serializing_if = "Vec::is_empty")]
    pub secondary: Vec<String>,
}

/// A copied database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicatedDatabase {
    /// Name.
    pub database_name: String,
    /// The second region, for people.
    pub region: String,
    /// `Pending`, `Active`, `Inactive` or `Error`.
    pub duplication_state: &'static str,
}

impl ReplicationStatus {
    pub(super) fn of(
        group: &StoredGroup,
        replication: &Replication,
        region: &str,
        trouble: Option<&str>,
        at_ms: i64,
    ) -> Self {
        let state = replication.copy_state(at_ms, trouble);
        let copied = replication.copied(&group.databases);
        let databases = u32::try_from(copied.len()).unwrap_or(u32::MAX);
        let compute = match &replication.last {
            None => Compute {
                operation: Operation::Failback,
                state: "Completed",
                total_workspaces: 0,
                completed_workspaces: 0,
                total_attachments: 0,
                completed_attachments: 0,
                secondary: Vec::new(),
            },
            Some(run) => {
                let done = |n: u32| if run.state(at_ms) == "Completed" { n } else { 0 };
                Compute {
                    operation: run.operation,
                    state: run.state(at_ms),
                    total_workspaces: run.workspaces,
                    completed_workspaces: done(run.workspaces),
                    total_attachments: databases,
                    completed_attachments: done(databases),
                    secondary: run.secondary.iter().filter(|_| run.operation.leaves_secondary()).cloned().collect(),
                }
            }
        };
        let copy =
            |name| ReplicatedDatabase { database_name: name, region: region.to_owned(), duplication_state: state };
        Self { compute, storage: copied.into_iter().map(copy).collect() }
    }
}
