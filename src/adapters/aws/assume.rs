//! Credentials of a tenant's role, and the proof that nobody but us can have them.
//!
//! # Guarantees
//! - The role is assumed with the External ID that was given, in the region that was given, never without a check that
//!   it can *not* be assumed without an External ID
//!   (<https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html>): otherwise one tenant could name another
//!   tenant's role and we would act for him. The check is one more `sts:AssumeRole`, whose refusal is the good answer,
//!   per role and [`role_ttl`](super::Options::role_ttl).
//! - A refusal is remembered for a short time: the many calls of one pass cost two calls of STS, not two each.
//!
//! # Caveats
//! - STS answers alike whether the role does not exist, does not trust us, or wants another External ID.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result as Provided, future};
use aws_sdk_sts::types::Credentials as Issued;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::operation::Operation;
use super::send::Sender;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::moment::Moment;

/// STS issues nothing shorter; what the check would obtain is thrown away.
const SHORTEST_SESSION: i32 = 900;

/// A role chained to a role is limited to an hour; so are ours, chained or not
/// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).
const SESSION: i32 = 3600;

/// When each role was last found to refuse strangers. Shared by all clients of the process.
#[derive(Debug, Default)]
pub(super) struct ClosedRoles(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Moment>>>>>);

impl ClosedRoles {
    fn of(&self, role: &str) -> Arc<tokio::sync::Mutex<Option<Moment>>> {
        let mut roles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits on one holds a second reference, so none is lost while it is in use.
        if roles.len() >= 4096 {
            roles.retain(|_, closed| Arc::strong_count(closed) > 1);
        }
        roles.entry(role.to_owned()).or_default().clone()
    }
}

/// The credentials of one role in one region.
pub(super) struct RoleCredentials {
    /// Calls STS with the operator's own credentials.
    pub(super) sts: aws_sdk_sts::Client,
    pub(super) sender: Arc<Sender>,
    pub(super) closed: Arc<ClosedRoles>,
    pub(super) role: String,
    pub(super) external_id: String,
    pub(super) refused: tokio::sync::Mutex<Option<(Moment, Fault)>>,
}

impl std::fmt::Debug for RoleCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleCredentials").field("role", &self.role).finish_non_exhaustive()
    }
}

impl ProvideCredentials for RoleCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

impl RoleCredentials {
    async fn provide(&self) -> Provided {
        let mut refused = self.refused.lock().await;
        let ttl = self.sender.options.refusal_ttl;
        if let Some((at, fault)) = refused.as_ref()
            && self.sender.clock.now().since(*at) < ttl
        {
            return Err(CredentialsError::provider_error(fault.clone()));
        }
        *refused = None;
        let issued = async {
            let issued = self.assume().await?;
            if !self.sender.options.allow_open_roles {
                self.check_closed().await?;
            }
            Ok(issued)
        };
        issued.await.map_err(|fault: Fault| {
            if fault.class == FaultClass::Refused {
                *refused = Some((self.sender.clock.now(), fault.clone()));
            }
            CredentialsError::provider_error(fault)
        })
    }

    async fn assume(&self) -> Result<Credentials, Fault> {
        let request = self
            .sts
            .assume_role()
            .role_arn(&self.role)
            .role_session_name(self.session_name())
            .external_id(&self.external_id)
            .duration_seconds(SESSION);
        let reply = self.sender.send(Operation::AssumeRole, &self.role, Box::pin(request.send())).await?;
        let issued = reply.credentials.ok_or_else(|| {
            Fault::new(
                FaultClass::Terminal,
                Operation::AssumeRole.action(),
                &self.role,
                "the answer has no credentials",
            )
        })?;
        let Issued { access_key_id, secret_access_key, session_token, expiration, .. } = issued;
        let expiry = std::time::SystemTime::try_from(expiration).ok();
        Ok(Credentials::new(access_key_id, secret_access_key, Some(session_token), expiry, "AssumeRole"))
    }

    /// Makes sure that the role cannot be assumed without an External ID.
    async fn check_closed(&self) -> Result<(), Fault> {
        let closed = self.closed.of(&self.role);
        let mut closed = closed.lock().await;
        let now = self.sender.clock.now();
        if closed.is_some_and(|at| now.since(at) < self.sender.options.role_ttl) {
            return Ok(());
        }
        let request = self
            .sts
            .assume_role()
            .role_arn(&self.role)
            .role_session_name(self.session_name())
            .duration_seconds(SHORTEST_SESSION);
        let mut denied = false;
        let reply = self.sender.observe(Operation::AssumeRole, Box::pin(request.send())).await;
        let outcome = reply.inspect_err(|error| {
            denied = matches!(error.code(), Some("AccessDenied" | "AccessDeniedException"));
        });
        let fault = |class, message: String| Fault::new(class, Operation::AssumeRole.action(), &self.role, message);
        match outcome {
            Ok(_) => Err(fault(
                FaultClass::Refused,
                "the role can be assumed without an External ID: its trust policy must demand sts:ExternalId"
                    .to_owned(),
            )
            .because(Cause::OpenRole)),
            Err(_) if denied => {
                *closed = Some(now);
                Ok(())
            }
            Err(error) => {
                let told = super::faults::fault(Operation::AssumeRole, &self.role, &error).message;
                let message = format!("could not find out whether the role demands an External ID: {told}");
                Err(fault(FaultClass::Transient, message).because(Cause::Role))
            }
        }
    }

    /// The name under which the account's trail shows what we do. At most 64 characters of a narrow alphabet, which an
    /// installation's name keeps to.
    fn session_name(&self) -> String {
        format!("cmk-operator-{}", self.sender.options.installation).chars().take(64).collect()
    }
}
