//! Becoming a role.

use std::sync::Arc;

use super::{Credentials, Iam, Identity, Principal, TemporaryKey};
use crate::sandbox::failure::ServiceError;
use crate::sandbox::ident::{arn_parts, unique_id};
use crate::sandbox::policy::Facts;
use crate::sandbox::sts::{AssumeRole, invalid};

/// The longest session of a role that was assumed by a role.
const CHAINED_SESSION_S: u32 = 3600;

impl Iam {
    /// The role that `caller` may become, by its trust policy and the caller's own policies as they were at `at_ms`.
    pub(in crate::sandbox) fn may_assume(
        &self,
        caller: &Identity,
        role: &str,
        facts: impl FnOnce() -> Facts,
        at_ms: i64,
    ) -> Option<&Arc<Principal>> {
        let owner = arn_parts(role)?[4];
        let target = self.principal(role, at_ms)?;
        let trust = target.trust.as_ref()?;
        trust.permits(self, caller, (role, owner), "sts:AssumeRole", at_ms, facts).then_some(target)
    }

    pub(in crate::sandbox) fn assume(
        &mut self,
        caller: &Identity,
        request: &AssumeRole,
        now_ms: i64,
        at_ms: i64,
    ) -> Result<Credentials, ServiceError> {
        let parts = arn_parts(&request.role_arn);
        let parts = parts.ok_or_else(|| invalid(format!("{} is invalid", request.role_arn)))?;
        let facts = || {
            Facts::default()
                .and("sts:RoleSessionName", &request.role_session_name)
                .and_maybe("sts:ExternalId", request.external_id.as_deref())
        };
        let role = self.may_assume(caller, &request.role_arn, facts, at_ms).ok_or_else(|| {
            let text = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                caller.caller_arn(),
                request.role_arn
            );
            ServiceError::new(403, "AccessDenied", text)
        })?;
        // A role that was assumed by a role lasts an hour at most (STS API reference, `DurationSeconds`).
        let most = if caller.session.is_some() { CHAINED_SESSION_S } else { role.max_session_s };
        if request.duration_seconds.is_some_and(|s| s > most) {
            return Err(invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
        }
        let identity = Identity {
            account: parts[4].into(),
            arn: request.role_arn.clone(),
            session: Some(request.role_session_name.clone()),
        };
        self.made += 1;
        let id = unique_id("ASIA", self.seed, self.made);
        let expires_at_ms = now_ms + i64::from(request.duration_seconds.unwrap_or(3600)) * 1000;
        let temporary = TemporaryKey { identity: identity.clone(), expires_at_ms };
        self.temporary.retain(|_, t| t.expires_at_ms > now_ms);
        self.temporary.insert(id.clone(), temporary);
        Ok(Credentials {
            secret_access_key: format!("sandbox-secret-{id}"),
            session_token: format!("sandbox-session-{id}"),
            access_key_id: id,
            expires_at_ms,
            identity,
        })
    }
}
