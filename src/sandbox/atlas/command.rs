//! What a test, an administrator in the portal or fate can do to Atlas behind everybody's back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::addresses::{Addresses, ControlPlane};
use super::cluster::{Cluster, ClusterState};
use super::keys::{KeyAccess, KeyConfig};
use super::{AtlasSettings, ProjectRole};
use crate::sandbox::command::patched;
use crate::sandbox::failure::ServiceError;
use crate::sandbox::world::World;

/// One act. On the control address: `POST /world {"atlas": {"put_key": {...}}}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AtlasCommand {
    /// Changes the settings that are named.
    PatchSettings(Map<String, Value>),
    /// Adds a project, and its organization if it is new.
    AddProject {
        /// 24 hex digits.
        project: String,
        /// Name.
        name: String,
        /// Organization.
        org: String,
    },
    /// Adds a service account or changes it.
    SetServiceAccount {
        /// Client id.
        client_id: String,
        /// Client secret.
        client_secret: String,
        /// Organization.
        org: String,
        /// Role by project, `*` for all; absent: owner of all.
        #[serde(default)]
        roles: Option<BTreeMap<String, ProjectRole>>,
    },
    /// Adds an API key or changes it.
    SetApiKey {
        /// Public key.
        public_key: String,
        /// Private key.
        private_key: String,
        /// Organization.
        org: String,
        /// Role by project, `*` for all; absent: owner of all.
        #[serde(default)]
        roles: Option<BTreeMap<String, ProjectRole>>,
    },
    /// Kills a service account or an API key.
    KillCredential {
        /// Client id or public key.
        id: String,
    },
    /// Ends all access tokens.
    KillTokens {},
    /// Sets the addresses of the control plane.
    SetControlPlane(ControlPlane),
    /// Sets the addresses of a cluster: those that its nodes have from now on, and those that are announced.
    SetClusterAddresses {
        /// Project.
        project: String,
        /// Name.
        cluster: String,
        /// All of them.
        addresses: Addresses,
    },
    /// Puts a cluster there that somebody made earlier, `IDLE`, unchecked.
    AddCluster {
        /// Project.
        project: String,
        /// Description.
        cluster: Box<Cluster>,
    },
    /// Sets the state of a cluster, for good.
    SetClusterState {
        /// Project.
        project: String,
        /// Name.
        cluster: String,
        /// State.
        state: ClusterState,
    },
    /// Backs a cluster up the old way, or no longer.
    SetLegacyBackup {
        /// Project.
        project: String,
        /// Name.
        cluster: String,
        /// Whether it is.
        on: bool,
    },
    /// Deletes a cluster at once.
    RemoveCluster {
        /// Project.
        project: String,
        /// Name.
        cluster: String,
    },
    /// Puts a key into a project, whether Atlas can use it or not: a foreign one, or one by credentials.
    PutKey {
        /// Project.
        project: String,
        /// Key id or ARN.
        key: String,
        /// In the spelling of Atlas.
        region: String,
        /// How Atlas gets at it.
        access: KeyAccess,
    },
    /// Takes the key out of a project.
    RemoveKey {
        /// Project.
        project: String,
    },
    /// Makes Atlas's side of a role as somebody else, authorized or not. Its id and external id stand in the state.
    AddRole {
        /// Project.
        project: String,
        /// The role in the customer's account.
        iam_role: Option<String>,
        /// Whether it was assumed before.
        authorized: bool,
    },
}

fn plain(error: &ServiceError) -> String {
    format!("{}: {}", error.code, error.message)
}

impl World {
    /// Does it, or says what it did not find.
    pub(in crate::sandbox) fn atlas_command(&mut self, command: AtlasCommand) -> Result<(), String> {
        match command {
            AtlasCommand::PatchSettings(patch) => {
                let settings: AtlasSettings = patched(&self.atlas.settings, patch)?;
                *self.atlas_settings_mut() = settings;
            }
            AtlasCommand::AddProject { project, name, org } => self.add_atlas_project(&project, &name, &org),
            AtlasCommand::SetServiceAccount { client_id, client_secret, org, roles } => {
                self.set_atlas_credential(&client_id, &client_secret, true, &org, roles);
            }
            AtlasCommand::SetApiKey { public_key, private_key, org, roles } => {
                self.set_atlas_credential(&public_key, &private_key, false, &org, roles);
            }
            AtlasCommand::KillCredential { id } => {
                if !self.kill_atlas_credential(&id) {
                    return Err("no such credential".to_owned());
                }
            }
            AtlasCommand::KillTokens {} => self.kill_atlas_tokens(),
            AtlasCommand::SetControlPlane(addresses) => self.vendor_mut().control_plane = addresses,
            other => return self.project_command(other).map_err(|e| plain(&e)),
        }
        Ok(())
    }

    fn project_command(&mut self, command: AtlasCommand) -> Result<(), ServiceError> {
        match command {
            AtlasCommand::SetClusterAddresses { project, cluster, addresses } => {
                self.edit_atlas_cluster(&project, &cluster, |c| c.addresses = addresses)
            }
            AtlasCommand::AddCluster { project, cluster } => {
                self.add_atlas_cluster(&project, *cluster, 0).map(drop)?;
                self.link.note = None;
                Ok(())
            }
            AtlasCommand::SetClusterState { project, cluster, state } => {
                self.edit_atlas_cluster(&project, &cluster, |c| {
                    c.state = state;
                    c.until_ms = None;
                })
            }
            AtlasCommand::SetLegacyBackup { project, cluster, on } => {
                self.edit_atlas_cluster(&project, &cluster, |c| c.legacy_backup = on)
            }
            AtlasCommand::RemoveCluster { project, cluster } => {
                self.edit_atlas_cluster(&project, &cluster, |_| {})?;
                self.project_mut(&project)?.clusters.retain(|c| c.name() != cluster);
                Ok(())
            }
            AtlasCommand::PutKey { project, key, region, access } => {
                let config = KeyConfig { access, key, region, valid: true, trouble: None, search_nodes: false };
                self.put_atlas_key(&project, Some(config))
            }
            AtlasCommand::RemoveKey { project } => self.put_atlas_key(&project, None),
            AtlasCommand::AddRole { project, iam_role, authorized } => {
                let mut role = self.new_access_role();
                role.authorized_at_ms = authorized.then_some(role.created_at_ms);
                role.iam_role = iam_role;
                self.project_mut(&project)?.roles.push(role);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
