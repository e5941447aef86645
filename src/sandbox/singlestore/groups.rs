//! The calls about workspace groups.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::encryption::BucketKeys;
use super::shown::Group;
use super::stored::{Settled, StoredGroup};
use super::{About, KeyFields, Org, SingleStore, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::ident::{arn_parts, uuid};
use crate::sandbox::world::World;

/// When the vendor may update a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpdateWindow {
    /// 0 is Sunday.
    pub day: u8,
    /// 0 to 23, UTC.
    pub hour: u8,
}

/// Body of a creation (`WorkspaceGroupCreate` of the spec, with what later clients send). `null` is the same as absent:
/// the vendor's Python client sends it for whatever it does not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateGroup {
    /// Not unique.
    pub name: Option<String>,
    /// Who may connect; empty: nobody.
    pub firewall_ranges: Option<Vec<String>>,
    /// This, or provider and region name.
    #[serde(rename = "regionID")]
    pub region_id: Option<String>,
    /// `AWS`, `GCP` or `Azure`.
    pub provider: Option<String>,
    /// As its own cloud spells it.
    pub region_name: Option<String>,
    /// Absent: one is made up. Never kept.
    #[serde(skip_serializing)]
    pub admin_password: Option<String>,
    /// Everybody may connect.
    pub allow_all_traffic: Option<bool>,
    /// `PRODUCTION` or `NON-PRODUCTION`.
    pub deployment_type: Option<String>,
    /// Kept and shown; nothing ends by it here.
    pub expires_at: Option<String>,
    /// Kept and shown.
    pub high_availability_two_zones: Option<bool>,
    /// Kept and shown.
    pub opt_in_preview_feature: Option<bool>,
    /// The project; there is one.
    #[serde(rename = "projectID")]
    pub project_id: Option<String>,
    /// Kept and shown.
    pub update_window: Option<UpdateWindow>,
    /// ARN of the key for data bucket and volumes; not in the public contract any more.
    #[serde(rename = "dataBucketKMSKeyID")]
    pub data_key: Option<String>,
    /// ARN of the key for the backup bucket; not in the public contract any more.
    #[serde(rename = "backupBucketKMSKeyID")]
    pub backup_key: Option<String>,
}

/// Body of a change (`WorkspaceGroupUpdate` of the spec). No key can be set by it, ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateGroup {
    /// New name.
    pub name: Option<String>,
    /// New ranges.
    pub firewall_ranges: Option<Vec<String>>,
    /// New password. Never kept.
    #[serde(skip_serializing)]
    pub admin_password: Option<String>,
    /// Everybody may connect.
    pub allow_all_traffic: Option<bool>,
    /// `PRODUCTION` or `NON-PRODUCTION`.
    pub deployment_type: Option<String>,
    /// New end.
    pub expires_at: Option<String>,
    /// New window.
    pub update_window: Option<UpdateWindow>,
    /// Refused or read past.
    #[serde(rename = "dataBucketKMSKeyID")]
    pub data_key: Option<String>,
    /// Refused or read past.
    #[serde(rename = "backupBucketKMSKeyID")]
    pub backup_key: Option<String>,
}

/// A group that was made: its id and the password of its admin, which is shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Created {
    /// Uuid.
    #[serde(rename = "workspaceGroupID")]
    pub id: String,
    /// In the clear.
    #[serde(rename = "adminPassword")]
    pub admin_password: String,
}

impl Org {
    /// The name of the region that a creation asks for.
    fn region_asked(&self, input: &CreateGroup) -> Result<String, ServiceError> {
        let region = match (&input.region_id, &input.provider, &input.region_name) {
            (Some(id), None, None) => self.region_by_id(id).map(|(name, _)| name.to_owned()),
            (None, Some(provider), Some(name)) => {
                let offered = self.regions.get(name).filter(|r| r.provider.eq_ignore_ascii_case(provider));
                offered.map(|_| name.clone())
            }
            _ => return Err(refused(400, "either regionID or provider and regionName are required")),
        };
        region.ok_or_else(|| refused(400, "the region is not available to this organization"))
    }

    fn check_creation(&self, input: &CreateGroup, now_ms: i64) -> Result<(), ServiceError> {
        if self.settings.out_of_credits {
            return Err(refused(403, "the organization has no credits left"));
        }
        let name = input.name.as_deref().unwrap_or_default();
        if name.is_empty() || input.firewall_ranges.is_none() {
            return Err(refused(400, "name and firewallRanges are required"));
        }
        if input.deployment_type.as_deref().is_some_and(|t| !matches!(t, "PRODUCTION" | "NON-PRODUCTION")) {
            return Err(refused(400, "deploymentType is PRODUCTION or NON-PRODUCTION"));
        }
        let locked = |group: &Arc<StoredGroup>| now_ms < group.created_at_ms + self.settings.creation_lock_ms;
        if self.groups.iter().any(locked) {
            let text = format!("error creating workspace group ({name}): could not acquire lock within duration [0]");
            return Err(refused(500, text));
        }
        let taken =
            |group: &Arc<StoredGroup>| group.terminated_ms.is_none() && group.asked.name.as_deref() == Some(name);
        if self.settings.refuse_taken_name && self.groups.iter().any(taken) {
            return Err(refused(500, format!("error creating workspace group ({name}): already exists")));
        }
        Ok(())
    }
}

impl World {
    /// Makes a group, whoever asked: the API, or a human in the portal.
    pub(super) fn make_group(
        &mut self,
        org: &str,
        input: &CreateGroup,
        region: &str,
        keys: BucketKeys,
    ) -> Result<Created, ServiceError> {
        let now_ms = self.now_ms;
        let state = self.helios(org, now_ms)?;
        keys.check(state, region)?;
        let failed = self.bucket_trouble(state, region, &keys, now_ms);
        let ready_at_ms = now_ms + state.settings.deploy_ms;
        if keys.data.is_none() {
            self.link.note = Some("unencrypted");
        }
        let (n, seed) = (self.next_id(), self.settings.seed);
        let id = uuid(seed, "workspace-group", n);
        // A made-up password has letters of both kinds, digits and more, as the portal demands.
        let made_up = || format!("Sx!{}", uuid(seed, "admin-password", n));
        let admin_password = input.admin_password.clone().filter(|p| !p.is_empty()).unwrap_or_else(made_up);
        let group = StoredGroup {
            id: id.clone(),
            asked: CreateGroup { admin_password: None, ..input.clone() },
            region: region.to_owned(),
            created_at_ms: now_ms,
            ready_at_ms,
            encrypted_with: keys,
            failed,
            busy_until_ms: 0,
            terminated_ms: None,
            databases: Vec::new(),
            replication: None,
        };
        self.helios_to_change(org)?.groups.push(Arc::new(group));
        Ok(Created { id, admin_password })
    }

    /// Ends a group and all that is in it.
    pub(super) fn end_group(&mut self, org: &str, id: &str) -> Result<(), ServiceError> {
        let now_ms = self.now_ms;
        let state = self.helios_to_change(org)?;
        let over = now_ms + state.settings.terminate_ms;
        for workspace in state.workspaces.iter_mut().filter(|w| w.group == id && w.is_live()) {
            let workspace = Arc::make_mut(workspace);
            workspace.settled = Settled::Terminated;
            workspace.settles_at_ms = over;
        }
        state.group_to_change(id)?.terminated_ms = Some((now_ms, over));
        Ok(())
    }
}

impl SingleStore<'_> {
    /// `POST /v1/workspaceGroups`. Not idempotent, and two groups may share a name. The password is in the answer
    /// whether it was given or made up, and in no other one.
    pub fn create_group(&mut self, input: &CreateGroup) -> Result<Created, Failure> {
        let name = input.name.as_deref().unwrap_or_default();
        // The region of the call is the one that fault rules can name: that of the key if there is one.
        let of_key = input.data_key.as_deref().and_then(arn_parts).map(|p| p[3]);
        let region = input.region_name.as_deref().or(of_key).unwrap_or_default();
        self.perform(About::write("CreateWorkspaceGroup", name).in_region(region), |world, org, now_ms| {
            let state = world.helios(org, now_ms)?;
            state.check_creation(input, now_ms)?;
            let region = state.region_asked(input)?;
            let given = BucketKeys::of(input.data_key.as_ref(), input.backup_key.as_ref());
            let keys = given.received(state.settings.key_fields)?;
            let created = world.make_group(org, input, &region, keys)?;
            world.link.touched = Some(created.id.clone());
            Ok(created)
        })
    }

    /// `GET /v1/workspaceGroups`.
    pub fn groups(&mut self, include_terminated: bool) -> Result<Vec<Group>, Failure> {
        self.perform(About::read("ListWorkspaceGroups", ""), |world, org, at_ms| {
            let state = world.helios(org, at_ms)?;
            let lag_ms = world.settings.singlestore_list_lag_ms;
            let mut shown = Vec::new();
            for group in state.groups.iter().filter(|g| g.created_at_ms + lag_ms <= world.now_ms) {
                let group = world.shown_group(org, state, group, at_ms);
                if include_terminated || group.state != "TERMINATED" {
                    shown.push(group);
                }
            }
            Ok(shown)
        })
    }

    /// `GET /v1/workspaceGroups/{id}`; terminated ones are still found, as the vendor's Python client expects.
    pub fn group(&mut self, id: &str) -> Result<Group, Failure> {
        self.perform(About::read("GetWorkspaceGroup", id), |world, org, at_ms| {
            let state = world.helios(org, at_ms)?;
            Ok(world.shown_group(org, state, state.group(id)?, at_ms))
        })
    }

    /// `PATCH /v1/workspaceGroups/{id}`.
    pub fn update_group(&mut self, id: &str, input: &UpdateGroup) -> Result<(), Failure> {
        self.perform(About::write("UpdateWorkspaceGroup", id), |world, org, now_ms| {
            let state = world.helios(org, now_ms)?;
            state.live_group(id)?;
            let keys = BucketKeys::of(input.data_key.as_ref(), input.backup_key.as_ref());
            if keys != BucketKeys::default() && state.settings.key_fields != KeyFields::Ignored {
                return Err(refused(400, "the encryption of a workspace group cannot be changed"));
            }
            let asked = &mut world.helios_to_change(org)?.group_to_change(id)?.asked;
            let UpdateGroup { name, firewall_ranges, allow_all_traffic, deployment_type, .. } = input.clone();
            asked.name = name.or(asked.name.take());
            asked.firewall_ranges = firewall_ranges.or(asked.firewall_ranges.take());
            asked.allow_all_traffic = allow_all_traffic.or(asked.allow_all_traffic);
            asked.deployment_type = deployment_type.or(asked.deployment_type.take());
            asked.expires_at = input.expires_at.clone().or(asked.expires_at.take());
            asked.update_window = input.update_window.or(asked.update_window);
            Ok(())
        })
    }

    /// `DELETE /v1/workspaceGroups/{id}?force=`: with workspaces in it only by force; which status is a guess.
    pub fn terminate_group(&mut self, id: &str, force: bool) -> Result<(), Failure> {
        self.perform(About::write("TerminateWorkspaceGroup", id), |world, org, now_ms| {
            let state = world.helios(org, now_ms)?;
            state.live_group(id)?;
            if !force && state.workspaces.iter().any(|w| w.group == id && w.is_live()) {
                return Err(refused(400, "the workspace group has workspaces; use force to terminate them too"));
            }
            world.end_group(org, id)
        })
    }

    /// `GET /v1/workspaceGroups/{id}/identity`: the role that the group's own work is done as. It is documented as no
    /// principal of a key policy, and is none here.
    pub fn identity(&mut self, id: &str) -> Result<String, Failure> {
        self.perform(About::read("GetWorkspaceGroupIdentity", id), |world, org, at_ms| {
            let state = world.helios(org, at_ms)?;
            let group = state.live_group(id)?;
            let account = state.regions.get(&group.region).map_or("", |offered| &offered.outbound_account);
            Ok(format!("arn:aws:iam::{account}:role/workspace-group-{id}"))
        })
    }
}
