//! The vendor's portal: what a human sees and does there. None of it is an API; the control address offers it.
//!
//! The order is the guide's: open the form and copy the suggested policy, put it into the key's policy, paste the key's
//! ARN into the form. Only the portal shows whether a group is under a customer's key.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::encryption::BucketKeys;
use super::groups::CreateGroup;
use super::replication::SetUpReplication;
use crate::sandbox::failure::ServiceError;
use crate::sandbox::world::World;

/// Something that a human does in the portal of an organization. Regions are named as AWS does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Portal {
    /// Opens the form for a new group: `{"key": <policy>}`.
    SuggestedPolicy {
        /// Organization id.
        org: String,
        /// Where the group is to be.
        region: String,
    },
    /// Opens the form for replication: `{"secondary_key": <policy>, "append_to_primary_key": <policy>}`.
    SuggestedReplicationPolicies {
        /// Organization id.
        org: String,
        /// The group.
        group: String,
        /// The second region.
        region: String,
    },
    /// Submits the form for a new group: `{"workspaceGroupID": ..., "adminPassword": ...}`.
    CreateGroup {
        /// Organization id.
        org: String,
        /// Name.
        name: String,
        /// Region.
        region: String,
        /// What was pasted for data bucket and volumes.
        #[serde(default)]
        data_key: Option<String>,
        /// What was pasted for the backup bucket.
        #[serde(default)]
        backup_key: Option<String>,
    },
    /// Submits the form for replication: `{}`. All databases are replicated.
    SetUpReplication {
        /// Organization id.
        org: String,
        /// The group.
        group: String,
        /// The second region.
        region: String,
        /// What was pasted for data bucket and volumes.
        #[serde(default)]
        data_key: Option<String>,
        /// What was pasted for the backup bucket.
        #[serde(default)]
        backup_key: Option<String>,
    },
    /// Looks at the Security tab of a group: `{"data": {"cmek": "ENABLED", "keyArn": ...}, "backup": {"cmek":
    /// "DISABLED"}, "secondary": {"region": ..., "data": ..., "backup": ...}}`.
    SecurityTab {
        /// Organization id.
        org: String,
        /// The group.
        group: String,
    },
}

fn tab(keys: &BucketKeys) -> [Value; 2] {
    [&keys.data, &keys.backup].map(|key| match key {
        Some(arn) => json!({"cmek": "ENABLED", "keyArn": arn}),
        None => json!({"cmek": "DISABLED"}),
    })
}

impl World {
    /// What the portal shows or answers, or what it complains of.
    pub fn singlestore_portal(&mut self, act: &Portal) -> Result<Value, String> {
        self.in_portal(act).map_err(|error| error.message)
    }

    fn in_portal(&mut self, act: &Portal) -> Result<Value, ServiceError> {
        let now_ms = self.now_ms;
        let no_region = || super::refused(400, "no such region");
        Ok(match act {
            Portal::SuggestedPolicy { org, region } => {
                json!({"key": self.helios(org, now_ms)?.suggested_policy(region).ok_or_else(no_region)?})
            }
            Portal::SuggestedReplicationPolicies { org, group, region } => {
                let state = self.helios(org, now_ms)?;
                state.live_group(group)?;
                json!({
                    "secondary_key": state.suggested_policy(region).ok_or_else(no_region)?,
                    "append_to_primary_key": state.policy_to_append(region).ok_or_else(no_region)?
                })
            }
            Portal::CreateGroup { org, name, region, data_key, backup_key } => {
                let asked = CreateGroup {
                    name: Some(name.clone()),
                    firewall_ranges: Some(Vec::new()),
                    ..CreateGroup::default()
                };
                let keys = BucketKeys::of(data_key.as_ref(), backup_key.as_ref());
                json!(self.make_group(org, &asked, region, keys)?)
            }
            Portal::SetUpReplication { org, group, region, data_key, backup_key } => {
                let id = self.helios(org, now_ms)?.regions.get(region).ok_or_else(no_region)?.id.clone();
                let asked = SetUpReplication {
                    region_id: Some(id),
                    database_names: Some(Vec::new()),
                    auto_replication: Some(true),
                    ..SetUpReplication::default()
                };
                let keys = BucketKeys::of(data_key.as_ref(), backup_key.as_ref());
                self.set_up_replication(org, group, &asked, keys)?;
                json!({})
            }
            Portal::SecurityTab { org, group } => {
                let group = self.helios(org, now_ms)?.group(group)?;
                let [data, backup] = tab(&group.encrypted_with);
                let secondary = group.replication.as_ref().map(|replication| {
                    let [data, backup] = tab(&replication.encrypted_with);
                    json!({"region": replication.region, "data": data, "backup": backup})
                });
                json!({"data": data, "backup": backup, "secondary": secondary})
            }
        })
    }
}
