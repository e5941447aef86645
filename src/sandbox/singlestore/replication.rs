//! The calls about replication to a second region (`storage/DR`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::encryption::BucketKeys;
use super::groups::CreateGroup;
use super::replication_stored::{Replication, Run};
use super::shown::{Region, ReplicationStatus};
use super::{About, Org, SingleStore, StoredGroup, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::world::World;

pub use super::replication_stored::Operation;

/// Body of the set-up (`StorageDRSetup` of the spec, with what later clients sent); `null` is the same as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetUpReplication {
    /// The second region.
    #[serde(rename = "regionID")]
    pub region_id: Option<String>,
    /// May be empty with automatic replication.
    pub database_names: Option<Vec<String>>,
    /// All databases, and those made later.
    pub auto_replication: Option<bool>,
    /// ARN of a key of the second region for data bucket and volumes; not in the public contract any more.
    #[serde(rename = "dataBucketKMSKeyID")]
    pub data_key: Option<String>,
    /// ARN of a key of the second region for the backup bucket; not in the public contract any more.
    #[serde(rename = "backupBucketKMSKeyID")]
    pub backup_key: Option<String>,
}

impl Org {
    /// Keys in the second region are mandatory if and only if the first one has them, bucket by bucket.
    fn check_pair(first: &BucketKeys, second: &BucketKeys) -> Result<(), ServiceError> {
        for (bucket, first, second) in [("data", &first.data, &second.data), ("backup", &first.backup, &second.backup)]
        {
            match (first, second) {
                (Some(_), None) => {
                    let text =
                        format!("a customer-managed key is required for the {bucket} bucket of the second region");
                    return Err(refused(400, text));
                }
                (None, Some(_)) => {
                    let text = format!("the {bucket} bucket of the workspace group has no customer-managed key");
                    return Err(refused(400, text));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn replicated<'o>(&'o self, id: &str) -> Result<(&'o Arc<StoredGroup>, &'o Replication), ServiceError> {
        let group = self.live_group(id)?;
        let replication = group.replication.as_ref();
        // What the vendor answers without a set-up is not documented.
        let replication =
            replication.ok_or_else(|| refused(404, "storage DR is not set up for this workspace group"))?;
        Ok((group, replication))
    }
}

impl World {
    /// Sets replication up, whoever asked: the API, or a human in the portal.
    pub(super) fn set_up_replication(
        &mut self,
        org: &str,
        id: &str,
        input: &SetUpReplication,
        keys: BucketKeys,
    ) -> Result<(), ServiceError> {
        let now_ms = self.now_ms;
        let state = self.helios(org, now_ms)?;
        let group = state.live_group(id)?;
        let wanted = input.region_id.as_deref().unwrap_or_default();
        let automatic = input.auto_replication.unwrap_or(false);
        let Some(databases) = input.database_names.clone() else {
            return Err(refused(400, "regionID and databaseNames are required"));
        };
        if databases.is_empty() && !automatic {
            return Err(refused(400, "databaseNames may be empty with autoReplication only"));
        }
        if group.replication.is_some() {
            return Err(refused(409, "storage DR is already set up for this workspace group"));
        }
        let found = self.group_state(state, group, now_ms);
        if found != "ACTIVE" {
            return Err(refused(400, format!("the workspace group is {found}, not ACTIVE")));
        }
        let region =
            state.second_regions(group).find(|(_, offered)| offered.id == wanted).map(|(name, _)| name.clone());
        let region = region.ok_or_else(|| refused(400, "the region is not available for storage DR"))?;
        keys.check(state, &region)?;
        Org::check_pair(&group.encrypted_with, &keys)?;
        let extended = self.extension_trouble(state, group, &region, now_ms);
        let failed = extended.or_else(|| self.bucket_trouble(state, &region, &keys, now_ms));
        if let Some(why) = failed.as_ref().filter(|_| !state.settings.late_replication_errors) {
            return Err(refused(400, why.clone()));
        }
        let ready_at_ms = now_ms + state.settings.replicate_ms;
        if keys.data.is_none() {
            self.link.note = Some("unencrypted");
        }
        let replication = Replication {
            region,
            encrypted_with: keys,
            databases,
            automatic,
            set_up_at_ms: now_ms,
            ready_at_ms,
            failed,
            last: None,
        };
        self.helios_to_change(org)?.group_to_change(id)?.replication = Some(replication);
        Ok(())
    }

    /// Why replication of a group can't go on at a moment, if so.
    fn replication_trouble(&self, org: &Org, group: &StoredGroup, to: &Replication, at_ms: i64) -> Option<String> {
        let first = self.bucket_trouble(org, &group.region, &group.encrypted_with, at_ms);
        first
            .or_else(|| self.extension_trouble(org, group, &to.region, at_ms))
            .or_else(|| self.bucket_trouble(org, &to.region, &to.encrypted_with, at_ms))
    }

    /// The group in the second region: made by the first operation that needs it, ended by those that undo it.
    fn secondary(
        &mut self,
        org: &str,
        id: &str,
        operation: Operation,
        known: Option<String>,
    ) -> Result<Option<String>, ServiceError> {
        match known {
            Some(secondary) if !operation.leaves_secondary() => {
                self.end_group(org, &secondary)?;
                Ok(Some(secondary))
            }
            None if operation.leaves_secondary() => {
                let state = self.helios(org, self.now_ms)?;
                let (group, replication) = state.replicated(id)?;
                let name = format!("{}-secondary", group.asked.name.as_deref().unwrap_or_default());
                let asked = CreateGroup { name: Some(name), region_id: None, region_name: None, ..group.asked.clone() };
                let (region, keys) = (replication.region.clone(), replication.encrypted_with.clone());
                Ok(Some(self.make_group(org, &asked, &region, keys)?.id))
            }
            known => Ok(known),
        }
    }
}

impl Org {
    /// Regions of the same cloud other than the group's own.
    fn second_regions<'o>(
        &'o self,
        group: &StoredGroup,
    ) -> impl Iterator<Item = (&'o String, &'o super::OfferedRegion)> + use<'o> {
        let (own, provider) = (group.region.clone(), self.regions.get(&group.region).map(|r| r.provider.clone()));
        self.regions.iter().filter(move |(name, offered)| **name != own && Some(&offered.provider) == provider.as_ref())
    }
}

impl SingleStore<'_> {
    /// `GET /v1/workspaceGroups/{id}/storage/DR/regions`.
    pub fn replication_regions(&mut self, id: &str) -> Result<Vec<Region>, Failure> {
        self.perform(About::read("ListReplicationRegions", id), |world, org, at_ms| {
            let state = world.helios(org, at_ms)?;
            Ok(state.second_regions(state.live_group(id)?).map(|(_, offered)| Region::of(offered)).collect())
        })
    }

    /// `POST /v1/workspaceGroups/{id}/storage/DR/setup`: once, and for good.
    pub fn set_up_replication(&mut self, id: &str, input: &SetUpReplication) -> Result<(), Failure> {
        self.perform(About::replication("SetUpReplication", id), |world, org, now_ms| {
            let fields = world.helios(org, now_ms)?.settings.key_fields;
            let keys = BucketKeys::of(input.data_key.as_ref(), input.backup_key.as_ref()).received(fields)?;
            world.set_up_replication(org, id, input, keys)
        })
    }

    /// `GET /v1/workspaceGroups/{id}/storage/DR/status`.
    pub fn replication_status(&mut self, id: &str) -> Result<ReplicationStatus, Failure> {
        self.perform(About::read("GetReplicationStatus", id), |world, org, at_ms| {
            let state = world.helios(org, at_ms)?;
            let (group, replication) = state.replicated(id)?;
            let trouble = world.replication_trouble(state, group, replication, at_ms);
            let region = state.regions.get(&replication.region).map_or("", |offered| &offered.display);
            Ok(ReplicationStatus::of(group, replication, region, trouble.as_deref(), at_ms))
        })
    }

    /// `PATCH /v1/workspaceGroups/{id}/storage/DR/failover`, `/failback`, `/startPreProvision`, `/stopPreProvision`.
    /// Which status refuses one that does not fit is not documented.
    pub fn operate_replication(&mut self, id: &str, operation: Operation) -> Result<(), Failure> {
        let name = match operation {
            Operation::Failover => "Failover",
            Operation::Failback => "Failback",
            Operation::PreProvisionStart => "StartPreProvision",
            Operation::PreProvisionStop => "StopPreProvision",
        };
        self.perform(About::replication(name, id), |world, org, now_ms| {
            let state = world.helios(org, now_ms)?;
            let (group, replication) = state.replicated(id)?;
            let last = replication.last.as_ref();
            if last.is_some_and(|run| run.state(now_ms) == "Active") {
                return Err(refused(409, "another storage DR operation is under way"));
            }
            let done = last.filter(|run| run.failed.is_none()).map(|run| run.operation);
            if !operation.may_follow(done) {
                return Err(refused(400, format!("{name} is not possible now")));
            }
            let trouble = world.replication_trouble(state, group, replication, now_ms);
            let copied = replication.copy_state(now_ms, trouble.as_deref());
            // The first region may be gone in a failover; a copy that never was can't be failed over to.
            let failed = match copied {
                "Pending" | "Error" => Some(trouble.unwrap_or_else(|| format!("replication is {copied}"))),
                _ => None,
            };
            let workspaces = state.workspaces.iter().filter(|w| w.group == id && w.is_live()).count();
            let known = last.and_then(|run| run.secondary.clone().filter(|_| run.operation.leaves_secondary()));
            let over_at_ms = now_ms + state.settings.failover_ms;
            let secondary = if failed.is_none() { world.secondary(org, id, operation, known)? } else { known };
            let run = Run {
                operation,
                began_at_ms: now_ms,
                over_at_ms,
                failed,
                secondary,
                workspaces: u32::try_from(workspaces).unwrap_or(u32::MAX),
            };
            let group = world.helios_to_change(org)?.group_to_change(id)?;
            if let Some(replication) = &mut group.replication {
                replication.last = Some(run);
            }
            Ok(())
        })
    }
}
