//! The Query protocol of STS: a form in, XML out.

use std::fmt::Write as _;

use axum::http::request::Parts;

use super::aws::{caller, escape};
use super::form::Form;
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::ident::rfc3339;
use crate::sandbox::sts::AssumeRole;
use crate::sandbox::world::World;

pub(super) fn call(world: &mut World, parts: &Parts, form: &Form, request_id: &str) -> Result<String, Failure> {
    let action = form.get("Action").unwrap_or_default();
    let (who, region) = caller(world, parts, true)?;
    let mut out = String::new();
    match action {
        "GetCallerIdentity" => {
            let me = world.sts(&who, &region).get_caller_identity()?;
            let _ = write!(
                out,
                "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
                escape(&me.arn),
                escape(&me.user_id),
                me.account
            );
        }
        "AssumeRole" => {
            let missing = |name: &str| {
                ServiceError::new(
                    400,
                    "ValidationError",
                    format!("1 validation error detected: Value null at '{name}'"),
                )
            };
            let field = |name: &str| form.get(name).map(str::to_owned).ok_or_else(|| missing(name));
            let request = AssumeRole {
                role_arn: field("RoleArn")?,
                role_session_name: field("RoleSessionName")?,
                external_id: form.get("ExternalId").map(str::to_owned),
                duration_seconds: form.get("DurationSeconds").and_then(|d| d.parse().ok()),
            };
            let c = world.sts(&who, &region).assume_role(&request)?;
            let me = world.sts_user_id(&c.identity);
            let _ = write!(
                out,
                "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials><AssumedRoleUser><Arn>{}</Arn><AssumedRoleId>{}</AssumedRoleId></AssumedRoleUser>",
                c.access_key_id,
                c.secret_access_key,
                c.session_token,
                rfc3339(c.expires_at_ms),
                escape(&c.identity.caller_arn()),
                escape(&me)
            );
        }
        other => {
            return Err(ServiceError::new(400, "InvalidAction", format!("Could not find operation {other}")).into());
        }
    }
    Ok(format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{out}</{action}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    ))
}
