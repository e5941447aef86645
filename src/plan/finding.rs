//! What a human should know. Conditions, events, `plan`, `why` and metrics all derive from findings.

use serde::{Deserialize, Serialize};

use crate::domain::condition::{ConditionType, Reason, Truth};
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::id::Region;

/// One thing that a human should know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// The condition that it bears on.
    pub condition: ConditionType,
    /// The region that it is about; none: the whole object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// What it makes of the condition.
    pub truth: Truth,
    /// Why.
    pub reason: Reason,
    /// What happened, to what, why.
    pub message: String,
    /// What to do now; empty where nobody has to do anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

/// A message and what to do about it, as one text. The message becomes a sentence: others' words may end it.
pub(super) fn with_fix(message: &str, fix: &str) -> String {
    if fix.is_empty() { message.to_owned() } else { format!("{} To do: {fix}", sentence(message)) }
}

fn sentence(text: &str) -> String {
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{text}{stop}")
}

impl Finding {
    /// The message and what to do, as one text.
    pub fn text(&self) -> String {
        with_fix(&self.message, &self.fix)
    }

    /// What a fault means for a condition.
    pub fn of_fault(condition: ConditionType, region: Option<&Region>, fault: &Fault) -> Self {
        let (condition, reason) = name(condition, fault);
        let truth = match fault.class {
            FaultClass::Refused | FaultClass::Invalid | FaultClass::Terminal => Truth::False,
            FaultClass::Transient | FaultClass::Throttled | FaultClass::Conflict | FaultClass::Settling => {
                Truth::Unknown
            }
        };
        Self {
            condition,
            region: region.cloned(),
            truth,
            reason,
            message: sentence(&fault.to_string()),
            fix: fix(reason, fault),
        }
    }
}

/// Whether the fault came from AWS: its operations are IAM actions, such as `kms:CreateKey`.
fn from_aws(fault: &Fault) -> bool {
    ["kms:", "sts:", "tag:", "iam:"].iter().any(|service| fault.operation.starts_with(service))
}

/// The condition and the reason under which a fault is shown.
fn name(condition: ConditionType, fault: &Fault) -> (ConditionType, Reason) {
    use ConditionType::{CredentialsValid, Deployed, KeysReady, PoliciesReady, Registered};
    let aws = from_aws(fault);
    match (fault.class, fault.cause) {
        (FaultClass::Transient, _) => (condition, Reason::Unreachable),
        (FaultClass::Throttled, _) => (condition, Reason::Throttled),
        (FaultClass::Settling, _) if condition == PoliciesReady => (condition, Reason::PolicySettling),
        (FaultClass::Settling, _) if condition == KeysReady => (condition, Reason::KeyStateSettling),
        (FaultClass::Conflict | FaultClass::Settling, _) => (condition, Reason::InProgress),
        (_, Cause::Kubernetes) => (condition, Reason::KubernetesRefused),
        (_, Cause::Schema) => (condition, Reason::SchemaOutdated),
        (_, Cause::Role) => (CredentialsValid, Reason::RoleNotAssumable),
        (_, Cause::OpenRole) => (CredentialsValid, Reason::RoleTrustOpen),
        (_, Cause::Credentials) if aws => (CredentialsValid, Reason::AwsCredentialsInvalid),
        (_, Cause::Credentials) => (CredentialsValid, Reason::CredentialsRejected),
        (_, Cause::Permission) if aws => (condition, Reason::AccessDenied),
        (_, Cause::Permission) => (CredentialsValid, Reason::CredentialsLackPermission),
        (_, Cause::Quota) if aws => (condition, Reason::QuotaReached),
        (_, Cause::Scope) => (CredentialsValid, Reason::ScopeMismatch),
        (_, Cause::PortalOnly) => (condition, Reason::CreateByPortal),
        (_, Cause::Principal | Cause::Policy) => (condition, Reason::PolicyInvalid),
        (_, Cause::Leadership | Cause::Stale | Cause::Quota | Cause::Share | Cause::CloudRole | Cause::Other) => {
            match condition {
                Registered => (condition, Reason::RegistrationRefused),
                Deployed => (condition, Reason::DeployRefused),
                PoliciesReady => (condition, Reason::PolicyInvalid),
                _ if aws => (condition, Reason::KeyUnavailable),
                _ => (condition, Reason::InvalidSpec),
            }
        }
    }
}

/// The action that AWS names in a refusal. It may be another than the one that was called: `CreateKey` with tags needs
/// `kms:TagResource` (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>).
fn denied(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("is not authorized to perform: ")?;
    let action = rest.split_whitespace().next()?.trim_end_matches(['.', ',']);
    let (service, name) = action.split_once(':')?;
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (plain(service) && plain(name)).then_some(action)
}

/// What to do about a fault.
fn fix(reason: Reason, fault: &Fault) -> String {
    let Fault { operation, target, .. } = fault;
    match reason {
        Reason::AccessDenied => format!(
            "let the operator's principal call {} on {target}; the README lists every action that it needs.",
            denied(&fault.message).unwrap_or(operation)
        ),
        Reason::KubernetesRefused => format!("let the operator's ServiceAccount {operation} {target}."),
        Reason::SchemaOutdated => "apply the CRDs of this version of the operator (crds/).".to_owned(),
        Reason::AwsCredentialsInvalid => "give the operator working AWS credentials.".to_owned(),
        Reason::RoleNotAssumable => format!(
            "let the role {target} trust the operator's principal with the External ID in status.aws.externalId, and let that principal call sts:AssumeRole on it."
        ),
        Reason::RoleTrustOpen => {
            "add the condition sts:ExternalId, with the value in status.aws.externalId, to the role's trust policy."
                .to_owned()
        }
        Reason::QuotaReached => format!("raise the quota that limits {operation} in {target}, or delete what is unused."),
        Reason::CredentialsRejected => "put a valid token into the Secret.".to_owned(),
        Reason::CredentialsLackPermission => {
            format!("give the token's role the permission that {operation} needs, or put another token into the Secret.")
        }
        Reason::ScopeMismatch => {
            "put credentials of the declared organization or project into the Secret, or correct the spec.".to_owned()
        }
        Reason::CreateByPortal => {
            "create the database in the cloud's portal, in the regions whose gate is open, and put its id into the spec."
                .to_owned()
        }
        Reason::PolicyInvalid => "correct spec.policy so that AWS accepts it; every principal has to exist.".to_owned(),
        Reason::RegistrationRefused | Reason::DeployRefused => {
            "mend what the cloud names, or ask its support.".to_owned()
        }
        _ => String::new(),
    }
}
