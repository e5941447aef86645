//! How AWS is called. Everything that a deployment or a test may want different.

use std::time::Duration;

use crate::domain::id::Name;
use crate::domain::moment::Span;

/// How AWS is called.
///
/// Endpoints and credentials come from the SDK's own chain (environment, profile, web identity, container, instance)
/// unless they are given here.
#[derive(Clone)]
pub struct Options {
    /// The installation: part of the session names that AWS shows in its logs.
    pub installation: Name,
    /// Whether a role that anybody may assume without our External ID is used all the same.
    pub allow_open_roles: bool,
    /// The role that schedules keys for deletion, and does nothing else; `{account}` in it stands for the key's account.
    /// Absent: whoever acts on the object does it.
    pub deletion_role: Option<String>,
    /// Time for a connection to be made.
    pub connect_timeout: Duration,
    /// Time for one attempt of a read.
    pub read_timeout: Duration,
    /// Time for a write. Short ones turn slow successes into uncertain outcomes.
    pub write_timeout: Duration,
    /// Time for a whole call, retries included.
    pub operation_timeout: Duration,
    /// Attempts per read. Writes always have one.
    pub read_attempts: u32,
    /// How many calls a scan of all keys of a region has under way.
    pub scan_concurrency: usize,
    /// How long AWS's answer to "who am I" is believed.
    pub caller_ttl: Span,
    /// How long a role that was found closed to strangers is believed to be so.
    pub role_ttl: Span,
    /// How long a refusal to assume a role is repeated without asking again: one pass makes many calls.
    pub refusal_ttl: Span,
    /// How many sets of clients are kept. One takes some 75 KiB (measured); one that was dropped costs two calls of STS
    /// when it is made again.
    pub max_clients: usize,
    /// After how long without use a set of clients is dropped.
    pub idle: Span,
    /// Endpoints that go before the SDK's own chain.
    pub endpoints: Endpoints,
    /// An access key id and a secret that go before the SDK's own chain. For tests and the sandbox.
    pub static_credentials: Option<(String, String)>,
}

/// Endpoints that go before the SDK's own chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Of KMS.
    pub kms: Option<String>,
    /// Of STS.
    pub sts: Option<String>,
    /// Of the tagging API.
    pub tagging: Option<String>,
    /// Of IAM.
    pub iam: Option<String>,
}

impl Endpoints {
    /// One endpoint for all services.
    pub fn all(url: impl Into<String>) -> Self {
        let url = Some(url.into());
        Self { kms: url.clone(), sts: url.clone(), tagging: url.clone(), iam: url }
    }
}

impl Options {
    /// The defaults.
    pub fn new(installation: Name) -> Self {
        Self {
            installation,
            allow_open_roles: false,
            deletion_role: None,
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(20),
            operation_timeout: Duration::from_secs(30),
            read_attempts: 3,
            scan_concurrency: 16,
            caller_ttl: Span::seconds(300),
            role_ttl: Span::seconds(3600),
            refusal_ttl: Span::seconds(20),
            max_clients: 256,
            idle: Span::seconds(1800),
            endpoints: Endpoints::default(),
            static_credentials: None,
        }
    }
}
