//! Encryption at rest with the customer's key: one AWS configuration for a project.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits::KEYS;
use super::{About, Atlas, Project, ProjectRole, atlas_region, aws_region, missing, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::world::World;

/// How Atlas gets at the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyAccess {
    /// By a role.
    Role {
        /// Id of the role in the project.
        role_id: String,
    },
    /// By an access key of an IAM user: projects from before roles. No API makes them any more.
    Credentials {
        /// Access key id.
        access_key_id: String,
    },
}

/// A project's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct KeyConfig {
    /// How.
    pub access: KeyAccess,
    /// Key id or ARN, as it was given.
    pub key: String,
    /// In the spelling of Atlas.
    pub region: String,
    /// What the last check found.
    pub valid: bool,
    /// Why the last check failed: the code.
    pub trouble: Option<String>,
    /// Whether search nodes use it too.
    pub search_nodes: bool,
}

impl KeyConfig {
    pub(super) fn role_id(&self) -> Option<&str> {
        match &self.access {
            KeyAccess::Role { role_id } => Some(role_id),
            KeyAccess::Credentials { .. } => None,
        }
    }

    fn is_of(&self, other: &Self) -> bool {
        (&self.key, &self.region) == (&other.key, &other.region)
    }
}

/// `awsKms` in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AwsKms {
    /// `false` alone disables it.
    pub enabled: Option<bool>,
    /// Key id or ARN.
    #[serde(rename = "customerMasterKeyID")]
    pub customer_master_key_id: Option<String>,
    /// In the spelling of Atlas.
    pub region: Option<String>,
    /// Id of the role in the project.
    pub role_id: Option<String>,
    /// Of an IAM user: refused.
    #[serde(rename = "accessKeyID")]
    pub access_key_id: Option<String>,
    /// Of an IAM user: refused.
    pub secret_access_key: Option<String>,
    /// Not simulated: refused if true.
    pub require_private_networking: Option<bool>,
    /// Read only.
    pub valid: Option<bool>,
}

/// Body of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EncryptionAtRestUpdate {
    /// The customer's key in AWS.
    pub aws_kms: Option<AwsKms>,
    /// Not simulated: only `enabled: false` is taken.
    pub azure_key_vault: Option<Value>,
    /// Not simulated: only `enabled: false` is taken.
    pub google_cloud_kms: Option<Value>,
    /// Whether search nodes use it too.
    pub enabled_for_search_nodes: Option<bool>,
}

/// `awsKms` in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsKmsView {
    /// Whether there is a key.
    pub enabled: bool,
    /// As it was given.
    #[serde(rename = "customerMasterKeyID", skip_serializing_if = "Option::is_none")]
    pub customer_master_key_id: Option<String>,
    /// In the spelling of Atlas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Id of the role. The spec calls it write-only, the vendor's own provider reads it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// Of a project from before roles.
    #[serde(rename = "accessKeyID", skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Always false here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_private_networking: Option<bool>,
    /// Whether Atlas can use the key.
    pub valid: bool,
}

/// The other clouds' part of an answer: never enabled here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct OtherKms {
    /// Never.
    pub enabled: bool,
    /// Never.
    pub valid: bool,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionAtRest {
    /// AWS.
    pub aws_kms: AwsKmsView,
    /// Azure.
    pub azure_key_vault: OtherKms,
    /// Google.
    pub google_cloud_kms: OtherKms,
    /// Whether search nodes use it too.
    pub enabled_for_search_nodes: bool,
}

impl Project {
    fn encryption(&self) -> EncryptionAtRest {
        let Some(key) = &self.key else {
            return EncryptionAtRest::default();
        };
        let (role_id, access_key_id) = match &key.access {
            KeyAccess::Role { role_id } => (Some(role_id.clone()), None),
            KeyAccess::Credentials { access_key_id } => (None, Some(access_key_id.clone())),
        };
        EncryptionAtRest {
            aws_kms: AwsKmsView {
                enabled: true,
                customer_master_key_id: Some(key.key.clone()),
                region: Some(key.region.clone()),
                role_id,
                access_key_id,
                require_private_networking: Some(false),
                valid: key.valid,
            },
            enabled_for_search_nodes: key.search_nodes,
            ..EncryptionAtRest::default()
        }
    }
}

impl Atlas<'_> {
    /// `GET /groups/{groupId}/encryptionAtRest`, which also checks the key again.
    pub fn encryption_at_rest(&mut self, project: &str) -> Result<EncryptionAtRest, Failure> {
        let about = About { project, what: "encryptionAtRest", region: "" };
        let operation = ("GetEncryptionAtRest", Access::Read);
        self.on_project(operation, KEYS, ProjectRole::GroupReadOnly, about, |world, at_ms| {
            world.check_atlas_key(project);
            Ok(world.project(project, at_ms)?.encryption())
        })
    }

    /// `PATCH /groups/{groupId}/encryptionAtRest`. A key is tried before it is taken; the same one again is fine.
    pub fn update_encryption_at_rest(
        &mut self,
        project: &str,
        update: &EncryptionAtRestUpdate,
    ) -> Result<EncryptionAtRest, Failure> {
        let key = update.aws_kms.as_ref().and_then(|aws| aws.customer_master_key_id.as_deref());
        let region = update.aws_kms.as_ref().and_then(|aws| aws.region.as_deref()).map(aws_region);
        let about =
            About { project, what: key.unwrap_or("encryptionAtRest"), region: region.as_deref().unwrap_or_default() };
        let operation = ("UpdateEncryptionAtRest", Access::Write);
        self.on_project(operation, KEYS, ProjectRole::GroupOwner, about, |world, now_ms| {
            for other in [&update.azure_key_vault, &update.google_cloud_kms].into_iter().flatten() {
                if other["enabled"] == true {
                    return Err(refused(409, "UNSUPPORTED_FEATURE", "This feature is not yet supported.", &[]));
                }
            }
            if let Some(aws) = &update.aws_kms {
                world.update_atlas_key(project, aws, now_ms)?;
            }
            if let Some(on) = update.enabled_for_search_nodes
                && let Some(key) = &mut world.project_mut(project)?.key
            {
                key.search_nodes = on;
            }
            Ok(world.project(project, i64::MAX)?.encryption())
        })
    }
}

impl World {
    fn update_atlas_key(&mut self, id: &str, aws: &AwsKms, now_ms: i64) -> Result<(), ServiceError> {
        if aws.access_key_id.is_some() || aws.secret_access_key.is_some() {
            let text = "Credentials-based authentication for AWS KMS is deprecated; use a role.";
            return Err(refused(400, "AWS_KMS_CREDENTIALS_AUTH_DEPRECATED", text, &[]));
        }
        if aws.require_private_networking == Some(true) {
            return Err(refused(409, "UNSUPPORTED_FEATURE", "This feature is not yet supported.", &[]));
        }
        if aws.enabled == Some(false) {
            return self.disable_atlas_key(id);
        }
        let project = self.project(id, i64::MAX)?;
        let present = project.key.as_ref();
        let key = aws.customer_master_key_id.clone().or_else(|| present.map(|p| p.key.clone()));
        let region = aws.region.clone().or_else(|| present.map(|p| p.region.clone()));
        let access = aws.role_id.clone().map(|role_id| KeyAccess::Role { role_id });
        let wanted = KeyConfig {
            access: access.or_else(|| present.map(|p| p.access.clone())).ok_or_else(|| missing("roleId"))?,
            key: key.filter(|k| !k.is_empty()).ok_or_else(|| missing("customerMasterKeyID"))?,
            region: region.ok_or_else(|| missing("region"))?,
            valid: true,
            trouble: None,
            search_nodes: present.is_some_and(|p| p.search_nodes),
        };
        if present.is_none() && aws.enabled != Some(true) {
            return Err(missing("enabled"));
        }
        let offered = &self.atlas.settings.regions;
        if !offered.iter().any(|r| atlas_region(r) == wanted.region) {
            let text = "Region is not supported by AWS KMS.";
            return Err(refused(400, "AWS_KMS_REGION_NOT_SUPPORTED", text, &[&wanted.region]));
        }
        let sources = self.atlas.control_plane.sources();
        // What is encrypted under the present key has to be opened once more, with the access that is to be.
        if let Some(present) = present.filter(|p| !p.is_of(&wanted)) {
            let old = KeyConfig { access: wanted.access.clone(), ..present.clone() };
            if self.atlas_uses(project, &old, &sources).is_err() {
                let text = "Atlas is unable to access your encryption key. You cannot change your encryption key until access to your current encryption key has been restored.";
                return Err(refused(400, "ENCRYPTION_AT_REST_SETTINGS_INVALID", text, &[]));
            }
        }
        self.atlas_uses(project, &wanted, &sources)?;
        let check_ms = self.atlas.settings.check_ms;
        let project = self.project_mut(id)?;
        if let Some(old) = project.key.take().filter(|old| !old.is_of(&wanted))
            && project.clusters.iter().any(|c| c.needs_key())
        {
            project.snapshot_keys.insert(old.key);
        }
        project.key = Some(wanted);
        project.next_check_ms = now_ms + check_ms;
        self.check_atlas_key(id);
        self.atlas_wake_ms = self.atlas_wake_ms.min(now_ms + check_ms);
        Ok(())
    }

    fn disable_atlas_key(&mut self, id: &str) -> Result<(), ServiceError> {
        let project = self.project_mut(id)?;
        if project.clusters.iter().any(|c| c.needs_key()) {
            let text = "Cannot disable Encryption at Rest on the group because it is still enabled on one or more clusters in the group.";
            return Err(refused(409, "CANNOT_DISABLE_ENCRYPTION_AT_REST", text, &[]));
        }
        project.key = None;
        Ok(())
    }

    /// Puts a key into a project by hand, whether Atlas can use it or not.
    pub(super) fn put_atlas_key(&mut self, id: &str, config: Option<KeyConfig>) -> Result<(), ServiceError> {
        let next_ms = self.now_ms + self.atlas.settings.check_ms;
        let project = self.project_mut(id)?;
        project.key = config;
        project.next_check_ms = next_ms;
        self.check_atlas_key(id);
        self.atlas_wake_ms = self.atlas_wake_ms.min(next_ms);
        Ok(())
    }
}
