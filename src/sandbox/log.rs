//! The call log: what reached the simulated clouds, in order. Not part of the state of the world.

use std::sync::Arc;

use serde::Serialize;

use super::fault::Access;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Position, from 1; keeps counting when the log is cleared.
    pub seq: u64,
    /// Simulated time, ms since the epoch.
    pub at_ms: i64,
    /// `kms`, `sts`, `iam`, `tagging`, `astra`, `atlas` or `singlestore`.
    pub service: String,
    /// With the service in front: `kms:CreateKey`.
    pub operation: String,
    /// AWS account, or organization of the caller at a database cloud; empty when not authenticated.
    pub account: String,
    /// Principal of the caller: an IAM ARN, a client id or public key of Atlas, or empty for Astra and `SingleStore` (tokens
    /// are secret).
    pub principal: String,
    /// Region of the endpoint or of the request; empty where there is none.
    pub region: String,
    /// Key or role ARN, database id, or `<project>/<what>` for Atlas: the one that came out if there is one, else what
    /// the caller wrote.
    pub resource: String,
    /// Read or write.
    pub access: Access,
    /// `ok`, the error code, `lost` or `timed_out`.
    pub outcome: String,
    /// Whether the call took effect, whatever the caller was told.
    pub applied: bool,
    /// The fault rule that hit it.
    pub fault: Option<u32>,
    /// What an auditor would want to know: `bypass_policy_lockout_safety_check`, or `unencrypted` for a deployment
    /// that is not under a registered key.
    pub note: Option<&'static str>,
    /// Reads: the age in ms of the state that was served, 0 for the present.
    pub age_ms: i64,
}

/// The entries so far. Two worlds that differ in their logs only are equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) enabled: bool,
    entries: Vec<Arc<Entry>>,
    last_seq: u64,
}

impl Log {
    pub(super) fn push(&mut self, mut entry: Entry) {
        self.last_seq += 1;
        entry.seq = self.last_seq;
        self.entries.push(Arc::new(entry));
    }

    pub(super) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

impl PartialEq for Log {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Log {}

impl std::hash::Hash for Log {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}
