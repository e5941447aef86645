//! Cloud provider access: Atlas's side of a role in the customer's AWS account.

use serde::Serialize;
use serde_json::Value;

use super::limits::ROLES;
use super::{About, Atlas, Project, ProjectRole, missing, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::ident::{arn_parts, is_account, object_id, rfc3339, uuid};
use crate::sandbox::world::World;

/// Atlas's side of a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct StoredRole {
    /// 24 hex digits.
    pub id: String,
    /// What Atlas sends as `sts:ExternalId`.
    pub external_id: String,
    /// Simulated time.
    pub created_at_ms: i64,
    /// When the IAM role below was first assumed with success. `None`: unfinished.
    pub authorized_at_ms: Option<i64>,
    /// The role in the customer's account.
    pub iam_role: Option<String>,
}

/// A feature that uses a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureUsage {
    /// `ENCRYPTION_AT_REST`.
    pub feature_type: &'static str,
    /// Always null for it (spec).
    pub feature_id: Option<Value>,
}

/// A role in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessRole {
    /// `AWS`.
    pub provider_name: &'static str,
    /// 24 hex digits.
    pub role_id: String,
    /// Who assumes the customer's role.
    #[serde(rename = "atlasAWSAccountArn")]
    pub atlas_aws_account_arn: String,
    /// With this external id.
    pub atlas_assumed_role_external_id: String,
    /// RFC 3339.
    pub created_date: String,
    /// RFC 3339; null while unfinished.
    pub authorized_date: Option<String>,
    /// The role in the customer's account.
    pub iam_assumed_role_arn: Option<String>,
    /// What it is used for.
    pub feature_usages: Vec<FeatureUsage>,
}

fn no_role(id: &str) -> ServiceError {
    // The code is one that the vendor's Terraform provider expects elsewhere; the status is made up.
    let text = format!("Cloud provider access role with ID {id} was not found.");
    refused(404, "CLOUD_PROVIDER_ACCESS_ROLE_NOT_FOUND", text, &[id])
}

fn only_aws(provider: &str) -> Result<(), ServiceError> {
    match provider {
        "AWS" => Ok(()),
        "AZURE" | "GCP" => Err(refused(
            404,
            "PROVIDER_UNSUPPORTED",
            format!("Provider {provider} not currently supported."),
            &[provider],
        )),
        "" => Err(missing("providerName")),
        _ => Err(refused(404, "PROVIDER_NOT_FOUND", format!("No provider {provider} exists."), &[provider])),
    }
}

impl Project {
    /// A role of the project by its id.
    pub fn role(&self, id: &str) -> Option<&StoredRole> {
        self.roles.iter().find(|r| r.id == id)
    }

    fn found_role(&self, id: &str) -> Result<&StoredRole, ServiceError> {
        self.role(id).ok_or_else(|| no_role(id))
    }
}

/// `arn:aws:iam::<Atlas's account>:root`.
pub(super) fn principal_of(account: &str) -> String {
    format!("arn:aws:iam::{account}:root")
}

impl World {
    fn shown_access_role(&self, project: &Project, role: &StoredRole) -> AccessRole {
        let used = project.key.as_ref().is_some_and(|key| key.role_id() == Some(role.id.as_str()));
        AccessRole {
            provider_name: "AWS",
            role_id: role.id.clone(),
            atlas_aws_account_arn: principal_of(&self.atlas.settings.aws_account),
            atlas_assumed_role_external_id: role.external_id.clone(),
            created_date: rfc3339(role.created_at_ms),
            authorized_date: role.authorized_at_ms.map(rfc3339),
            iam_assumed_role_arn: role.iam_role.clone(),
            feature_usages: used
                .then_some(FeatureUsage { feature_type: "ENCRYPTION_AT_REST", feature_id: None })
                .into_iter()
                .collect(),
        }
    }

    /// Another role in a project, which is unfinished.
    pub(super) fn new_access_role(&mut self) -> StoredRole {
        let (seed, n) = (self.settings.seed, self.next_id());
        StoredRole {
            id: object_id(seed, "role", n),
            external_id: uuid(seed, "external id", n),
            created_at_ms: self.now_ms,
            authorized_at_ms: None,
            iam_role: None,
        }
    }
}

impl Atlas<'_> {
    /// `POST /groups/{groupId}/cloudProviderAccess`. Not idempotent: each call makes another role.
    pub fn create_role(&mut self, project: &str, provider: &str) -> Result<AccessRole, Failure> {
        let about = About { project, what: "cloudProviderAccess", region: "" };
        let operation = ("CreateCloudProviderAccess", Access::Write);
        self.on_project(operation, ROLES, ProjectRole::GroupOwner, about, |world, _| {
            only_aws(provider)?;
            let role = world.new_access_role();
            world.project_mut(project)?.roles.push(role.clone());
            world.link.touched = Some(format!("{project}/{}", role.id));
            Ok(world.shown_access_role(world.project(project, i64::MAX)?, &role))
        })
    }

    /// `GET /groups/{groupId}/cloudProviderAccess`.
    pub fn roles(&mut self, project: &str) -> Result<Vec<AccessRole>, Failure> {
        let about = About { project, what: "cloudProviderAccess", region: "" };
        let operation = ("ListCloudProviderAccess", Access::Read);
        self.on_project(operation, ROLES, ProjectRole::GroupReadOnly, about, |world, at_ms| {
            let project = world.project(project, at_ms)?;
            Ok(project.roles.iter().map(|role| world.shown_access_role(project, role)).collect())
        })
    }

    /// `GET /groups/{groupId}/cloudProviderAccess/{roleId}`.
    pub fn role(&mut self, project: &str, role: &str) -> Result<AccessRole, Failure> {
        let about = About { project, what: role, region: "" };
        let operation = ("GetCloudProviderAccess", Access::Read);
        self.on_project(operation, ROLES, ProjectRole::GroupReadOnly, about, |world, at_ms| {
            let project = world.project(project, at_ms)?;
            Ok(world.shown_access_role(project, project.found_role(role)?))
        })
    }

    /// `PATCH /groups/{groupId}/cloudProviderAccess/{roleId}`: Atlas assumes the role there and then.
    pub fn authorize_role(
        &mut self,
        project: &str,
        role: &str,
        provider: &str,
        iam_role: &str,
    ) -> Result<AccessRole, Failure> {
        let about = About { project, what: role, region: "" };
        let operation = ("AuthorizeCloudProviderAccess", Access::Write);
        self.on_project(operation, ROLES, ProjectRole::GroupOwner, about, |world, now_ms| {
            only_aws(provider)?;
            let found = world.project(project, i64::MAX)?.found_role(role)?.clone();
            if iam_role.is_empty() {
                return Err(missing("iamAssumedRoleArn"));
            }
            let parts = arn_parts(iam_role).filter(|p| p[2] == "iam" && is_account(p[4]) && p[5].starts_with("role/"));
            if parts.is_none() {
                let text = format!("The request content produced the validation error: {iam_role} is no role.");
                return Err(refused(400, "VALIDATION_ERROR", text, &[iam_role]));
            }
            world.atlas_assumes(&found.external_id, iam_role, &world.atlas.control_plane.sources())?;
            let changed = world.project_mut(project)?.roles.iter_mut().find(|r| r.id == role);
            if let Some(changed) = changed {
                changed.iam_role = Some(iam_role.to_owned());
                changed.authorized_at_ms.get_or_insert(now_ms);
            }
            let project = world.project(project, i64::MAX)?;
            Ok(world.shown_access_role(project, project.found_role(role)?))
        })
    }

    /// `DELETE /groups/{groupId}/cloudProviderAccess/{cloudProvider}/{roleId}`; not while it is in use. That it is
    /// refused then, and with which code, is made up: the vendor documents neither.
    pub fn deauthorize_role(&mut self, project: &str, provider: &str, role: &str) -> Result<(), Failure> {
        let about = About { project, what: role, region: "" };
        let operation = ("DeauthorizeCloudProviderAccess", Access::Write);
        self.on_project(operation, ROLES, ProjectRole::GroupOwner, about, |world, _| {
            only_aws(provider)?;
            let state = world.project(project, i64::MAX)?;
            state.found_role(role)?;
            if state.key.as_ref().is_some_and(|key| key.role_id() == Some(role)) {
                let text = "The cloud provider access role is in use by the feature ENCRYPTION_AT_REST.";
                return Err(refused(400, "CLOUD_PROVIDER_ACCESS_ROLE_IN_USE", text, &[role, "ENCRYPTION_AT_REST"]));
            }
            world.project_mut(project)?.roles.retain(|r| r.id != role);
            Ok(())
        })
    }
}
