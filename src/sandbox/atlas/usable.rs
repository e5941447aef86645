//! Whether Atlas can use a customer's key: it assumes the role and calls KMS, as far as the simulated policies let it.

use super::keys::{KeyAccess, KeyConfig};
use super::{Project, aws_region, refused, roles};
use crate::sandbox::failure::ServiceError;
use crate::sandbox::iam::Identity;
use crate::sandbox::ident::{arn_parts, kms_arn};
use crate::sandbox::kms::KeyState;
use crate::sandbox::policy::Facts;
use crate::sandbox::world::World;

/// What Atlas calls (guide, "Manage Customer Keys with AWS KMS": the permissions that it asks for).
const CALLS: [&str; 3] = ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"];

/// The name of the sessions that Atlas opens.
const SESSION: &str = "mongodb-atlas";

impl World {
    /// Lets Atlas assume a customer's role from each of its addresses, or says why it can't.
    pub(super) fn atlas_assumes(
        &self,
        external_id: &str,
        role: &str,
        sources: &[String],
    ) -> Result<Identity, ServiceError> {
        let account = &self.atlas.settings.aws_account;
        let atlas = Identity { account: account.clone(), arn: roles::principal_of(account), session: None };
        let may = |source: &String| {
            let facts = || {
                Facts::default()
                    .and("sts:ExternalId", external_id)
                    .and("sts:RoleSessionName", SESSION)
                    .and("aws:SourceIp", source)
            };
            self.iam.may_assume(&atlas, role, facts, self.link.iam_at_ms).is_some()
        };
        if !sources.iter().all(may) {
            let text = format!("Atlas cannot assume the specified role ({role}).");
            return Err(refused(400, "CANNOT_ASSUME_ROLE", text, &[role]));
        }
        let owner = arn_parts(role).map_or("", |p| p[4]);
        Ok(Identity { account: owner.to_owned(), arn: role.to_owned(), session: Some(SESSION.to_owned()) })
    }

    /// Whom Atlas is in AWS, with this configuration.
    fn atlas_identity(
        &self,
        project: &Project,
        config: &KeyConfig,
        sources: &[String],
    ) -> Result<Identity, ServiceError> {
        match &config.access {
            KeyAccess::Credentials { access_key_id } => {
                let known = self.iam.owner_of(access_key_id).cloned();
                known.ok_or_else(|| refused(400, "INVALID_AWS_CREDENTIALS", "The AWS credentials are invalid.", &[]))
            }
            KeyAccess::Role { role_id } => {
                let role = project.role(role_id);
                let authorized =
                    role.and_then(|r| Some((r, r.iam_role.as_deref()?))).filter(|(r, _)| r.authorized_at_ms.is_some());
                let (role, iam_role) = authorized.ok_or_else(|| {
                    let text = format!("The cloud provider access role {role_id} is not authorized.");
                    refused(400, "CLOUD_PROVIDER_ACCESS_ROLE_NOT_AUTHORIZED", text, &[role_id])
                })?;
                self.atlas_assumes(&role.external_id, iam_role, sources)
            }
        }
    }

    /// Uses the key of a configuration from each of these addresses, as Atlas would, or says why that fails.
    pub(super) fn atlas_uses(
        &self,
        project: &Project,
        config: &KeyConfig,
        sources: &[String],
    ) -> Result<(), ServiceError> {
        let who = self.atlas_identity(project, config, sources)?;
        let region = aws_region(&config.region);
        let arn = match arn_parts(&config.key) {
            // KMS in one region knows nothing of the keys of another.
            Some(parts) if parts[3] != region => None,
            Some(_) => Some(config.key.clone()),
            None => Some(kms_arn(&who.account, &region, &format!("key/{}", config.key))),
        };
        let Some(key) = arn.and_then(|arn| self.key_by_arn(&arn)) else {
            let text = format!("No AWS customer master key found for group {}.", project.id);
            return Err(refused(404, "AWS_CUSTOMER_MASTER_KEY_NOT_FOUND", text, &[&project.id]));
        };
        for source in sources {
            for action in CALLS {
                let facts = || Facts::default().and("aws:SourceIp", source);
                if !self.key_permits(key, &who, action, self.link.iam_at_ms, facts) {
                    // The code that the vendor's own clients wait out while a role's permissions spread.
                    let text = format!("The AWS credentials do not allow {action} on {}.", key.arn);
                    return Err(refused(400, "INVALID_AWS_CREDENTIALS", text, &[&key.arn]));
                }
            }
        }
        let (code, text) = match key.state {
            KeyState::Enabled => return Ok(()),
            KeyState::Disabled | KeyState::Creating => {
                ("AWS_KMS_CUSTOMER_MASTER_KEY_NOT_ENABLED", "AWS KMS Customer Master Key is not enabled.")
            }
            KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => {
                ("AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_DELETION", "AWS KMS Customer Master Key is pending deletion.")
            }
        };
        Err(refused(400, code, text, &[]))
    }
}
