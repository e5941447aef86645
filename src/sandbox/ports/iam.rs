//! Roles of IAM in the words of the ports.

use super::Clouds;
use super::faults::{Call, NotFound as _};
use crate::domain::fault::{Applied, Fault, FaultClass};
use crate::domain::iam_role::{IamRole, NewRole, PERMISSIONS, path_and_name};
use crate::ports::Place;
use crate::sandbox::failure::Failure;
use crate::sandbox::iam::{CreateRole, IamApi};

fn named<'a>(operation: &'static str, arn: &'a str) -> Result<(&'a str, &'a str), Fault> {
    path_and_name(arn).ok_or_else(|| Call::read(operation, arn).broken("that is no ARN of a role"))
}

impl Clouds {
    /// A write about a role that exists; `body` gets its name.
    pub(super) fn iam(
        &self,
        place: &Place,
        operation: &'static str,
        arn: &str,
        body: impl FnOnce(&mut IamApi<'_>, &str) -> Result<(), Failure>,
    ) -> Result<(), Fault> {
        let (_, name) = named(operation, arn)?;
        let mut world = self.world();
        let who = self.identity(&mut world, place)?;
        body(&mut world.iam_as(&who), name).map_err(|failure| Call::write(operation, arn).aws(&failure))
    }

    pub(super) fn seen_role(&self, place: &Place, arn: &str) -> Result<Option<IamRole>, Fault> {
        let (_, name) = named("iam:GetRole", arn)?;
        let mut world = self.world();
        let who = self.identity(&mut world, place)?;
        let role = world.iam_as(&who).get_role(name).found(Failure::is_aws_not_found);
        let Some(role) = role.map_err(|failure| Call::read("iam:GetRole", arn).aws(&failure))? else { return Ok(None) };
        let policy = world.iam_as(&who).get_role_policy(name, PERMISSIONS).found(Failure::is_aws_not_found);
        Ok(Some(IamRole {
            arn: role.arn,
            trust: role.assume_role_policy_document,
            permissions: policy.map_err(|failure| Call::read("iam:GetRolePolicy", arn).aws(&failure))?,
            tags: role.tags.into_iter().collect(),
        }))
    }

    pub(super) fn made_role(&self, place: &Place, role: &NewRole) -> Result<(), Fault> {
        let (path, name) = named("iam:CreateRole", &role.arn)?;
        let input = CreateRole {
            role_name: name.to_owned(),
            path: Some(path.to_owned()),
            assume_role_policy_document: role.trust.clone(),
            description: Some(role.description.clone()),
            permissions_boundary: role.boundary.clone(),
            tags: role.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            max_session_duration: None,
        };
        self.iam(place, "iam:CreateRole", &role.arn, |iam, _| iam.create_role(&input).map(drop))
    }

    /// Deletes a role and our policy on it; what is gone already is gone.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method's path is not general in its lifetime")]
    pub(super) fn ended_role(&self, place: &Place, arn: &str) -> Result<(), Fault> {
        let gone = |outcome: Result<(), Fault>| match outcome {
            Err(fault) if fault.class == FaultClass::Settling && fault.applied == Applied::No => Ok(()),
            other => other,
        };
        let own = |iam: &mut IamApi<'_>, name: &str| iam.delete_role_policy(name, PERMISSIONS);
        gone(self.iam(place, "iam:DeleteRolePolicy", arn, own))?;
        gone(self.iam(place, "iam:DeleteRole", arn, |iam, name| iam.delete_role(name)))
    }
}
