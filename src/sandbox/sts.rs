//! STS: who am I, and becoming a role.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::failure::{Failure, ServiceError};
use super::fault::Access;
use super::iam::{Credentials, Identity};
use super::world::{Call, Service, World};

/// Input of `AssumeRole` (STS API reference).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssumeRole {
    /// The role.
    pub role_arn: String,
    /// 2 to 64 characters of `[\w+=,.@-]`.
    pub role_session_name: String,
    /// The secret word against the confused deputy, 2 to 1224 characters of `[\w+=,.@:\/-]`.
    #[serde(default)]
    pub external_id: Option<String>,
    /// 900 to 43200; default 3600.
    #[serde(default)]
    pub duration_seconds: Option<u32>,
}

/// Answer of `GetCallerIdentity`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct CallerIdentity {
    /// 12 digits.
    pub account: String,
    /// IAM user, assumed role or root.
    pub arn: String,
    /// Unique id.
    pub user_id: String,
}

/// STS on behalf of one caller.
#[derive(Debug)]
pub struct Sts<'w> {
    world: &'w mut World,
    who: Identity,
    region: String,
}

impl World {
    /// STS as `who` calls it at the endpoint of `region`.
    pub fn sts(&mut self, who: &Identity, region: &str) -> Sts<'_> {
        self.ensure_account(&who.account);
        Sts { world: self, who: who.clone(), region: region.into() }
    }
}

impl World {
    /// `AROA...:session`, `AIDA...`: the unique id that STS shows.
    pub(super) fn sts_user_id(&self, who: &Identity) -> String {
        let unique = self.iam.stored_name(who);
        match &who.session {
            Some(session) => format!("{unique}:{session}"),
            None => unique,
        }
    }
}

impl Sts<'_> {
    fn call(&self, operation: &'static str, resource: &str) -> Call {
        Call {
            service: Service::Sts,
            operation,
            access: Access::Read,
            account: self.who.account.clone(),
            principal: self.who.arn.clone(),
            region: self.region.clone(),
            resource: resource.into(),
        }
    }

    /// Who the credentials belong to. Needs no permission.
    pub fn get_caller_identity(&mut self) -> Result<CallerIdentity, Failure> {
        let call = self.call("GetCallerIdentity", "");
        let who = self.who.clone();
        self.world.perform(call, |world, _| {
            let user_id = world.sts_user_id(&who);
            Ok(CallerIdentity { account: who.account.clone(), arn: who.caller_arn(), user_id })
        })
    }

    /// Temporary credentials of a role, if its trust lets the caller in.
    pub fn assume_role(&mut self, request: &AssumeRole) -> Result<Credentials, Failure> {
        let call = self.call("AssumeRole", &request.role_arn);
        let who = self.who.clone();
        self.world.perform(call, |world, now_ms| {
            check(request)?;
            let at_ms = world.link.iam_at_ms;
            Arc::make_mut(&mut world.iam).assume(&who, request, now_ms, at_ms)
        })
    }
}

/// A parameter out of bounds, in the word of the Query protocol (STS API reference, "Common Error Types").
pub(super) fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::aws("ValidationError", message)
}

fn check(request: &AssumeRole) -> Result<(), ServiceError> {
    let word = |text: &str, extra: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || "+=,.@-".contains(c) || extra.contains(c))
    };
    let name = &request.role_session_name;
    if !(2..=64).contains(&name.len()) || !word(name, "") {
        return Err(invalid("1 validation error detected: Value at 'roleSessionName' failed to satisfy constraint"));
    }
    if let Some(id) = &request.external_id
        && (!(2..=1224).contains(&id.len()) || !word(id, ":/"))
    {
        return Err(invalid("1 validation error detected: Value at 'externalId' failed to satisfy constraint"));
    }
    if request.duration_seconds.is_some_and(|s| !(900..=43_200).contains(&s)) {
        return Err(invalid("1 validation error detected: Value at 'durationSeconds' failed to satisfy constraint"));
    }
    Ok(())
}
