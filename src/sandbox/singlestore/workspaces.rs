//! The calls about workspaces.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::shown::Workspace;
use super::stored::{Settled, StoredWorkspace};
use super::{About, Org, SingleStore, checked_id, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::ident::uuid;
use crate::sandbox::world::World;

/// When a workspace suspends itself. Kept and shown; none does here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoSuspend {
    /// `IDLE`, `SCHEDULED` or `DISABLED`.
    pub suspend_type: Option<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend_after_seconds: Option<i64>,
}

/// Body of a creation (`WorkspaceCreate` of the spec, with what later clients send); `null` is the same as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateWorkspace {
    /// Not unique, as far as is known.
    pub name: Option<String>,
    /// Where.
    #[serde(rename = "workspaceGroupID")]
    pub group: Option<String>,
    /// `S-00` if absent.
    pub size: Option<String>,
    /// Kept and shown.
    pub auto_suspend: Option<AutoSuspend>,
    /// 1, 2 or 4.
    pub cache_config: Option<u8>,
    /// 1, 2 or 4.
    pub scale_factor: Option<u8>,
    /// Kept and shown.
    pub enable_kai: Option<bool>,
}

/// Body of a change (`WorkspaceUpdate` of the spec, with what later clients send).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateWorkspace {
    /// New size.
    pub size: Option<String>,
    /// New setting.
    pub auto_suspend: Option<AutoSuspend>,
    /// 1, 2 or 4.
    pub cache_config: Option<u8>,
    /// 1, 2 or 4.
    pub scale_factor: Option<u8>,
    /// New setting.
    pub enable_kai: Option<bool>,
}

impl Org {
    fn workspace(&self, id: &str) -> Result<&Arc<StoredWorkspace>, ServiceError> {
        checked_id(id)?;
        let found = self.workspaces.iter().find(|workspace| workspace.id == id);
        found.ok_or_else(|| refused(404, "A workspace with the specified ID was not found"))
    }

    fn workspace_to_change(&mut self, id: &str) -> Result<&mut StoredWorkspace, ServiceError> {
        let found = self.workspaces.iter_mut().find(|workspace| workspace.id == id).map(Arc::make_mut);
        found.ok_or_else(|| refused(404, "A workspace with the specified ID was not found"))
    }
}

/// `S-` and a number.
fn check_sizes(size: Option<&String>, factors: [Option<u8>; 2]) -> Result<(), ServiceError> {
    let number = |size: &str| size.strip_prefix("S-").is_some_and(|n| n.parse::<u16>().is_ok());
    if size.is_some_and(|size| !number(size)) {
        return Err(refused(400, "size is S-00, S-0, S-1 and so on"));
    }
    if factors.into_iter().flatten().any(|n| !matches!(n, 1 | 2 | 4)) {
        return Err(refused(400, "cacheConfig and scaleFactor are 1, 2 or 4"));
    }
    Ok(())
}

impl World {
    fn workspace_state(&self, org: &Org, workspace: &StoredWorkspace, at_ms: i64) -> &'static str {
        let group = org.groups.iter().find(|group| group.id == workspace.group);
        workspace.state(at_ms, group.map_or("ACTIVE", |group| self.group_state(org, group, at_ms)))
    }

    fn shown_workspace(&self, org: &Org, workspace: &StoredWorkspace, at_ms: i64) -> Workspace {
        Workspace::of(workspace, self.workspace_state(org, workspace, at_ms), at_ms)
    }
}

impl SingleStore<'_> {
    /// `POST /v1/workspaces`. Not idempotent. That a group has to be up for it is a guess.
    pub fn create_workspace(&mut self, input: &CreateWorkspace) -> Result<String, Failure> {
        let (name, group) = (input.name.clone().unwrap_or_default(), input.group.clone().unwrap_or_default());
        self.perform(About::write("CreateWorkspace", &group), |world, org, now_ms| {
            let state = world.helios(org, now_ms)?;
            if state.settings.out_of_credits {
                return Err(refused(403, "the organization has no credits left"));
            }
            if name.is_empty() || group.is_empty() {
                return Err(refused(400, "name and workspaceGroupID are required"));
            }
            check_sizes(input.size.as_ref(), [input.cache_config, input.scale_factor])?;
            let stored = state.live_group(&group)?;
            let found = world.group_state(state, stored, now_ms);
            if found != "ACTIVE" {
                return Err(refused(400, format!("the workspace group is {found}, not ACTIVE")));
            }
            let settles_at_ms = now_ms + state.settings.workspace_ms;
            let id = uuid(world.settings.seed, "workspace", world.next_id());
            let workspace = StoredWorkspace {
                id: id.clone(),
                asked: input.clone(),
                group: group.clone(),
                created_at_ms: now_ms,
                settled: Settled::Active,
                settles_at_ms,
                resumed_at_ms: None,
            };
            world.helios_to_change(org)?.workspaces.push(Arc::new(workspace));
            world.link.touched = Some(id.clone());
            Ok(id)
        })
    }

    /// `GET /v1/workspaces?workspaceGroupID=`.
    pub fn workspaces(&mut self, group: &str, include_terminated: bool) -> Result<Vec<Workspace>, Failure> {
        self.perform(About::read("ListWorkspaces", group), |world, org, at_ms| {
            if group.is_empty() {
                return Err(refused(400, "workspaceGroupID is required"));
            }
            let state = world.helios(org, at_ms)?;
            state.group(group)?;
            let lag_ms = world.settings.singlestore_list_lag_ms;
            let old_enough = |w: &StoredWorkspace| w.created_at_ms + lag_ms <= world.now_ms;
            let inside = state.workspaces.iter().filter(|w| w.group == group && old_enough(w));
            let shown = inside.map(|w| world.shown_workspace(state, w, at_ms));
            Ok(shown.filter(|w| include_terminated || w.state != "TERMINATED").collect())
        })
    }

    /// `GET /v1/workspaces/{id}`; terminated ones are still found, as the vendor's Python client expects.
    pub fn workspace(&mut self, id: &str) -> Result<Workspace, Failure> {
        self.perform(About::read("GetWorkspace", id), |world, org, at_ms| {
            let state = world.helios(org, at_ms)?;
            Ok(world.shown_workspace(state, state.workspace(id)?, at_ms))
        })
    }

    /// `PATCH /v1/workspaces/{id}`: 409 while it is changing; that a suspended one can't be changed is a guess.
    pub fn update_workspace(&mut self, id: &str, input: &UpdateWorkspace) -> Result<(), Failure> {
        self.perform(About::write("UpdateWorkspace", id), |world, org, now_ms| {
            check_sizes(input.size.as_ref(), [input.cache_config, input.scale_factor])?;
            let settles_at_ms = world.expect(org, id, "ACTIVE", 409, now_ms)?;
            let workspace = world.helios_to_change(org)?.workspace_to_change(id)?;
            let asked = &mut workspace.asked;
            asked.size = input.size.clone().or(asked.size.take());
            asked.auto_suspend = input.auto_suspend.clone().or(asked.auto_suspend.take());
            asked.cache_config = input.cache_config.or(asked.cache_config);
            asked.scale_factor = input.scale_factor.or(asked.scale_factor);
            asked.enable_kai = input.enable_kai.or(asked.enable_kai);
            workspace.settles_at_ms = settles_at_ms;
            Ok(())
        })
    }

    /// `POST /v1/workspaces/{id}/suspend`.
    pub fn suspend(&mut self, id: &str) -> Result<(), Failure> {
        self.perform(About::write("SuspendWorkspace", id), |world, org, now_ms| {
            let settles_at_ms = world.expect(org, id, "ACTIVE", 400, now_ms)?;
            let workspace = world.helios_to_change(org)?.workspace_to_change(id)?;
            (workspace.settled, workspace.settles_at_ms) = (Settled::Suspended, settles_at_ms);
            Ok(())
        })
    }

    /// `POST /v1/workspaces/{id}/resume`.
    pub fn resume(&mut self, id: &str) -> Result<(), Failure> {
        self.perform(About::write("ResumeWorkspace", id), |world, org, now_ms| {
            let settles_at_ms = world.expect(org, id, "SUSPENDED", 400, now_ms)?;
            let workspace = world.helios_to_change(org)?.workspace_to_change(id)?;
            (workspace.settled, workspace.settles_at_ms) = (Settled::Active, settles_at_ms);
            workspace.resumed_at_ms = Some(now_ms);
            Ok(())
        })
    }

    /// `DELETE /v1/workspaces/{id}`.
    pub fn terminate_workspace(&mut self, id: &str) -> Result<(), Failure> {
        self.perform(About::write("TerminateWorkspace", id), |world, org, now_ms| {
            let state = world.helios(org, now_ms)?;
            let over = now_ms + state.settings.terminate_ms;
            if !state.workspace(id)?.is_live() {
                return Err(refused(404, "A workspace with the specified ID was not found"));
            }
            let workspace = world.helios_to_change(org)?.workspace_to_change(id)?;
            (workspace.settled, workspace.settles_at_ms) = (Settled::Terminated, over);
            Ok(())
        })
    }

    /// `GET /v1/workspaces/{id}/privateConnections/outboundAllowList`: AWS accounts that it connects out from. They are
    /// documented as no principals of a key policy, and are none here.
    pub fn outbound_allow_list(&mut self, id: &str) -> Result<Vec<String>, Failure> {
        self.perform(About::read("GetOutboundAllowList", id), |world, org, at_ms| {
            let state = world.helios(org, at_ms)?;
            let group = state.group(&state.workspace(id)?.group)?;
            Ok(state.regions.get(&group.region).map(|offered| offered.outbound_account.clone()).into_iter().collect())
        })
    }
}

impl World {
    /// When the change that is asked for now is over, if the workspace is in a state for it.
    fn expect(&self, org: &str, id: &str, state: &str, otherwise: u16, now_ms: i64) -> Result<i64, ServiceError> {
        let held = self.helios(org, now_ms)?;
        let found = self.workspace_state(held, held.workspace(id)?, now_ms);
        if found == "TERMINATED" {
            return Err(refused(404, "A workspace with the specified ID was not found"));
        }
        if found != state {
            return Err(refused(otherwise, format!("the workspace is {found}")));
        }
        Ok(now_ms + held.settings.workspace_ms)
    }
}
