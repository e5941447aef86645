//! What a test can do to the organizations behind everybody's back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{OfferedRegion, Org, OrgSettings, Role, StoredGroup};
use crate::sandbox::world::World;

/// One act of somebody else: an administrator, the vendor, fate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Adds an organization with one API key of its owner.
    AddOrg {
        /// Organization id.
        org: String,
        /// API key.
        api_key: String,
        /// Regions by the names that AWS uses.
        regions: BTreeMap<String, OfferedRegion>,
        /// Behaviour.
        #[serde(default)]
        settings: OrgSettings,
    },
    /// Changes those of an organization's behaviours that are named.
    PatchSettings {
        /// Organization id.
        org: String,
        /// Fields of [`OrgSettings`].
        settings: Map<String, Value>,
    },
    /// Adds an API key or changes what it may do.
    SetApiKey {
        /// API key.
        api_key: String,
        /// Organization id.
        org: String,
        /// What its owner may do.
        #[serde(default)]
        role: Role,
    },
    /// Kills an API key.
    KillApiKey {
        /// API key.
        api_key: String,
    },
    /// Says what a group's workspaces hold.
    SetDatabases {
        /// Organization id.
        org: String,
        /// The group.
        group: String,
        /// Names.
        names: Vec<String>,
    },
    /// Lets the vendor update a group from now on: it is `PENDING` for so long.
    Maintain {
        /// Organization id.
        org: String,
        /// The group.
        group: String,
        /// Milliseconds from now.
        ms: i64,
    },
    /// Lets a group fail for reasons of the vendor.
    FailGroup {
        /// Organization id.
        org: String,
        /// The group.
        group: String,
    },
}

impl World {
    /// Does it, or says what it did not find.
    pub(in crate::sandbox) fn singlestore_command(&mut self, command: Command) -> Result<(), String> {
        let now_ms = self.now_ms;
        match command {
            Command::AddOrg { org, api_key, regions, settings } => {
                self.add_singlestore_org(&org, regions, settings);
                self.set_singlestore_key(&api_key, &org, Role::Owner);
                Ok(())
            }
            Command::SetApiKey { api_key, org, role } => {
                self.set_singlestore_key(&api_key, &org, role);
                Ok(())
            }
            Command::KillApiKey { api_key } => {
                if self.kill_singlestore_key(&api_key) {
                    Ok(())
                } else {
                    Err("no such API key".into())
                }
            }
            Command::PatchSettings { org, settings } => {
                let org = self.helios_to_change(&org).map_err(|e| e.message)?;
                org.settings = crate::sandbox::command::patched(&org.settings, settings)?;
                Ok(())
            }
            Command::SetDatabases { org, group, names } => self.edit_group(&org, &group, |g| g.databases = names),
            Command::Maintain { org, group, ms } => self.edit_group(&org, &group, |g| g.busy_until_ms = now_ms + ms),
            Command::FailGroup { org, group } => {
                self.edit_group(&org, &group, |g| g.failed = Some("the vendor's fault".into()))
            }
        }
    }

    fn edit_group(&mut self, org: &str, group: &str, edit: impl FnOnce(&mut StoredGroup)) -> Result<(), String> {
        let org = self.helios_to_change(org).map_err(|e| e.message)?;
        edit(org.group_to_change(group).map_err(|e| e.message)?);
        Ok(())
    }

    /// An organization for [`World::dump`]. `data: null` under `encrypted_with` means: NOT under the customer's key.
    pub(in crate::sandbox) fn dump_singlestore(&self, org: &Org) -> Value {
        let now_ms = self.now_ms;
        let group = |group: &Arc<StoredGroup>| {
            let replication = group.replication.as_ref().map(|r| {
                json!({"region": r.region, "encrypted_with": r.encrypted_with, "failed": r.failed,
                    "last": r.last.as_ref().map(|run| json!({"operation": run.operation, "failed": run.failed}))})
            });
            json!({
                "id": group.id, "name": group.asked.name, "region": group.region, "created_at_ms": group.created_at_ms,
                "state": self.group_state(org, group, now_ms), "encrypted_with": group.encrypted_with,
                "failed": group.failed, "replication": replication
            })
        };
        let groups: Vec<Value> = org.groups.iter().map(group).collect();
        let workspaces: Vec<Value> = org
            .workspaces
            .iter()
            .map(|w| json!({"id": w.id, "group": w.group, "name": w.asked.name, "settled": w.settled}))
            .collect();
        json!({"settings": org.settings, "regions": *org.regions, "groups": groups, "workspaces": workspaces})
    }
}
