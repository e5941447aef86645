//! What can go wrong outside, by what it means for the next attempt.

use serde::{Deserialize, Serialize};

use super::moment::Span;

/// What a failure means for the next attempt. Every failure has exactly one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FaultClass {
    /// May pass by itself: timeouts, broken connections, 5xx.
    Transient,
    /// Slow down: throttling replies, 429, an empty quota bucket of our own.
    Throttled,
    /// The world changed under us; look again.
    Conflict,
    /// Written, but not visible everywhere yet.
    Settling,
    /// Somebody outside the spec has to act: permissions, credentials, quotas.
    Refused,
    /// The spec has to change.
    Invalid,
    /// The contract is broken, or a defect of ours.
    Terminal,
}

impl FaultClass {
    /// The class as metrics and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Conflict => "conflict",
            Self::Settling => "settling",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Terminal => "terminal",
        }
    }
}

/// Whether the call that failed may have taken effect all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Applied {
    /// The other side said no, or never got the request.
    No,
    /// The reply was lost, late, or an error of the other side: it may have been applied.
    Perhaps,
}

/// What was refused or missing, where the other side's answer tells: it chooses the reason that users see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Nothing more is known than the class.
    #[default]
    Other,
    /// The caller is known and lacks a permission.
    Permission,
    /// The caller's credentials are dead, absent or expired.
    Credentials,
    /// A role could not be assumed.
    Role,
    /// A role could be assumed without our External ID.
    OpenRole,
    /// The cloud cannot assume, or use the key as, the role in the customer's account.
    CloudRole,
    /// The credentials are good, and not for the declared organization or project.
    Scope,
    /// A quota of the account is reached.
    Quota,
    /// Our own share of a rate is used up: nothing was sent, and a slot is kept.
    Share,
    /// A principal in a policy does not exist, or not everywhere yet.
    Principal,
    /// The policy's text is not acceptable.
    Policy,
    /// The operation exists in the portal only for this organization.
    PortalOnly,
    /// The Kubernetes API server did not give something.
    Kubernetes,
    /// The API server dropped what was to be remembered: the served CRD is older than this binary.
    Schema,
    /// The lease is no longer ours, or too old to act on.
    Leadership,
    /// The observation that the step rests on is too old to act on.
    Stale,
}

/// A failure of one call to the outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{operation} on {target}: {message}")]
pub struct Fault {
    /// What it means for the next attempt.
    pub class: FaultClass,
    /// Finer than the class, where known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cause: Cause,
    /// Whether the call may have taken effect all the same.
    pub applied: Applied,
    /// The operation in the other side's own words: an IAM action such as `kms:CreateKey`, or `POST /v2/kms`.
    pub operation: String,
    /// What it was done to: a region, an ARN, an id.
    pub target: String,
    /// What the other side said, without secrets, cut to a readable length.
    pub message: String,
    /// When the other side wants to be asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Fault {
    /// A fault that took no effect, with no finer cause.
    pub fn new(
        class: FaultClass,
        operation: impl Into<String>,
        target: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            class,
            cause: Cause::Other,
            applied: Applied::No,
            operation: operation.into(),
            target: target.into(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// The same fault with a finer cause.
    #[must_use]
    pub fn because(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// The same fault of a call that may have taken effect.
    #[must_use]
    pub fn uncertain(mut self) -> Self {
        self.applied = Applied::Perhaps;
        self
    }

    /// The same fault with the moment at which the other side wants to be asked again.
    #[must_use]
    pub fn retry_after(mut self, span: Span) -> Self {
        self.retry_after = Some(span);
        self
    }
}
