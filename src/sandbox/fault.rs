//! Fault rules: which call goes wrong, when, and how.

use serde::{Deserialize, Serialize};

/// Whether a call can change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Looks only.
    Read,
    /// Changes something when it succeeds.
    Write,
}

/// Which calls a rule counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// `kms:CreateKey`, `iam:CreateRole`, `astra:CreateDatabase`, `atlas:CreateCluster`, `singlestore:CreateWorkspaceGroup`; a
    /// trailing `*` matches any rest (`kms:*`, `*`).
    pub operation: String,
    /// Only reads or only writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Only this region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Only this AWS account, or this organization of a database cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Only calls whose resource (as the caller wrote it; for Atlas `<project>/<cluster, role id, key ...>`) contains
    /// this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Fires on exactly the n-th matching call (from 1): the same as `skip: n-1, times: 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
    /// Matching calls to let pass first.
    #[serde(default)]
    pub skip: u32,
    /// How often it fires; absent means always (once with `nth`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// This answer instead of the call; nothing is applied.
    Error {
        /// HTTP status.
        status: u16,
        /// AWS error code, the number under `ID` for Astra, `errorCode` for Atlas; `html` for a page from something in front
        /// of `SingleStore`.
        code: String,
        /// Text of the answer.
        #[serde(default)]
        message: String,
    },
    /// Applied, then the connection is cut with no reply.
    AppliedButLost,
    /// Applied, then the connection breaks in the middle of the reply. In process the same as `AppliedButLost`.
    PartialReply,
    /// The connection is cut; nothing is applied.
    LostBefore,
    /// An internal error of the service.
    Http500 {
        /// Whether the call was applied all the same.
        applied: bool,
    },
    /// The service's own throttling answer; nothing is applied.
    Throttle {
        /// The `Retry-After` header in seconds; when absent, Astra and Atlas send 1 and `SingleStore` none. Not for AWS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u32>,
    },
    /// No reply before `ms` of real time. In process this is `Failure::TimedOut`. Over HTTP the answer comes
    /// late if the call was applied, else the connection is cut.
    Hang {
        /// Milliseconds of silence.
        ms: u64,
        /// Whether the call is applied (at once).
        applied: bool,
    },
    /// A read is served from the state of `ms` ago (simulated time). States are remembered from the moment
    /// such a rule exists; without a state that old, the oldest one is served. No effect on writes.
    StaleRead {
        /// Age in milliseconds.
        ms: i64,
    },
}

/// A rule and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Number given by the world, from 1; stands in the log beside the calls it hit.
    #[serde(default)]
    pub id: u32,
    /// Which calls.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What happens to them.
    pub fault: Fault,
    /// Matching calls so far.
    #[serde(default)]
    pub seen: u32,
    /// Times it fired.
    #[serde(default)]
    pub fired: u32,
}

impl Rule {
    /// A rule as a test writes it.
    pub fn new(matches: Match, fault: Fault) -> Self {
        Self { id: 0, matches, fault, seen: 0, fired: 0 }
    }

    /// Fires on the n-th call of `operation` (from 1).
    pub fn nth(operation: &str, n: u32, fault: Fault) -> Self {
        let matches = Match { operation: operation.into(), nth: Some(n), ..Match::default() };
        Self::new(matches, fault)
    }

    /// Fires on every call of `operation`.
    pub fn always(operation: &str, fault: Fault) -> Self {
        Self::new(Match { operation: operation.into(), ..Match::default() }, fault)
    }

    /// Whether it is this rule's turn, counting the call.
    fn turn(&mut self, call: &Called<'_>) -> bool {
        if !self.matches.covers(call) {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        let (skip, times) = match self.matches.nth {
            Some(n) => (n.saturating_sub(1), Some(1)),
            None => (self.matches.skip, self.matches.times),
        };
        self.seen > skip && times.is_none_or(|t| self.fired < t)
    }
}

/// A call as the rules see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Called<'a> {
    pub(super) operation: &'a str,
    pub(super) access: Access,
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) resource: &'a str,
}

impl Match {
    fn covers(&self, call: &Called<'_>) -> bool {
        let operation = self
            .operation
            .strip_suffix('*')
            .map_or_else(|| self.operation == call.operation, |prefix| call.operation.starts_with(prefix));
        operation
            && self.access.is_none_or(|a| a == call.access)
            && self.region.as_deref().is_none_or(|r| r == call.region)
            && self.account.as_deref().is_none_or(|a| a == call.account)
            && self.resource.as_deref().is_none_or(|r| call.resource.contains(r))
    }
}

/// All rules, in the order they were added. The first whose turn it is wins; the others still count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    rules: Vec<Rule>,
    last_id: u32,
}

impl Faults {
    pub(super) fn add(&mut self, mut rule: Rule) -> u32 {
        self.last_id += 1;
        rule.id = self.last_id;
        rule.seen = 0;
        rule.fired = 0;
        self.rules.push(rule);
        self.last_id
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The longest age a rule may ask a read to be served from.
    pub(super) fn longest_stale_ms(&self) -> i64 {
        let age = |r: &Rule| {
            if let Fault::StaleRead { ms } = r.fault { ms } else { 0 }
        };
        self.rules.iter().map(age).max().unwrap_or(0)
    }

    pub(super) fn strike(&mut self, call: &Called<'_>) -> Option<(u32, Fault)> {
        let mut struck: Option<(u32, Fault)> = None;
        for rule in &mut self.rules {
            if rule.turn(call) && struck.is_none() {
                rule.fired = rule.fired.saturating_add(1);
                struck = Some((rule.id, rule.fault.clone()));
            }
        }
        struck
    }
}
