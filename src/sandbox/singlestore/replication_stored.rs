//! Replication as it really is: what was set up, and the last thing that was done with it.

use serde::{Deserialize, Serialize};

use super::encryption::BucketKeys;

/// Replication of a group to a second region. Set up once; no call changes or ends it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replication {
    /// The second region's name in its own cloud.
    pub region: String,
    /// The customer's keys there.
    pub encrypted_with: BucketKeys,
    /// Databases that were named.
    pub databases: Vec<String>,
    /// All databases, and those made later.
    pub automatic: bool,
    /// Simulated time.
    pub set_up_at_ms: i64,
    /// When the first copy is there.
    pub ready_at_ms: i64,
    /// Why it never becomes active, if so.
    pub failed: Option<String>,
    /// What was last done with it.
    pub last: Option<Run>,
}

/// What can be done with replication, in the vendor's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// The second region takes over.
    Failover,
    /// Back to the first one.
    Failback,
    /// Compute is made ready in the second region.
    PreProvisionStart,
    /// And given up.
    PreProvisionStop,
}

/// One of these operations under way, or over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Which.
    pub operation: Operation,
    /// Simulated time.
    pub began_at_ms: i64,
    /// When it is over.
    pub over_at_ms: i64,
    /// Why it fails, if so.
    pub failed: Option<String>,
    /// The group in the second region.
    pub secondary: Option<String>,
    /// Workspaces that it is about.
    pub workspaces: u32,
}

impl Operation {
    /// Whether it may follow what came last and is over. The order is a guess from the names.
    pub(super) fn may_follow(self, last: Option<Self>) -> bool {
        match self {
            Self::Failover => last != Some(Self::Failover),
            Self::Failback => last == Some(Self::Failover),
            Self::PreProvisionStart => matches!(last, None | Some(Self::Failback | Self::PreProvisionStop)),
            Self::PreProvisionStop => last == Some(Self::PreProvisionStart),
        }
    }

    /// Whether there is compute in the second region when it is done.
    pub(super) fn leaves_secondary(self) -> bool {
        matches!(self, Self::Failover | Self::PreProvisionStart)
    }
}

impl Run {
    /// `Active`, `Completed` or `Failed` at this moment.
    pub(super) fn state(&self, now_ms: i64) -> &'static str {
        match &self.failed {
            _ if now_ms < self.over_at_ms => "Active",
            Some(_) => "Failed",
            None => "Completed",
        }
    }
}

impl Replication {
    /// Whether the second region is in charge at this moment.
    pub(super) fn is_over_there(&self, now_ms: i64) -> bool {
        self.completed(now_ms).is_some_and(|run| run.operation == Operation::Failover)
    }

    /// The last operation, if it was completed.
    fn completed(&self, now_ms: i64) -> Option<&Run> {
        self.last.as_ref().filter(|run| run.state(now_ms) == "Completed")
    }

    /// `Pending`, `Active`, `Inactive` or `Error` at this moment, given why a key can't be used then, if so.
    /// That a copy is inactive while the second region is in charge is a guess.
    pub(super) fn copy_state(&self, now_ms: i64, trouble: Option<&str>) -> &'static str {
        if now_ms < self.ready_at_ms {
            "Pending"
        } else if self.failed.is_some() || trouble.is_some() {
            "Error"
        } else if self.is_over_there(now_ms) {
            "Inactive"
        } else {
            "Active"
        }
    }

    /// The names of the copied databases of a group that has these.
    pub(super) fn copied(&self, all: &[String]) -> Vec<String> {
        let mut names = self.databases.clone();
        if self.automatic {
            names.extend(all.iter().filter(|name| !self.databases.contains(name)).cloned());
        }
        names
    }
}
