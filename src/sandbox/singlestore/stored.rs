//! Groups and workspaces as they really are: states follow from the simulated time and from what the key's policy
//! allows, nothing runs in the background.

use serde::Serialize;

use super::encryption::BucketKeys;
use super::groups::CreateGroup;
use super::replication_stored::Replication;
use super::workspaces::CreateWorkspace;

/// A workspace group as it really is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredGroup {
    /// Uuid.
    pub id: String,
    /// What was asked for, with all later changes. No password is kept.
    pub asked: CreateGroup,
    /// The region's name in its own cloud, such as `eu-west-1`.
    pub region: String,
    /// Simulated time.
    pub created_at_ms: i64,
    /// When it comes up, or fails to.
    pub ready_at_ms: i64,
    /// The customer's keys, set once. No data key: NOT under the customer's key, and never will be.
    pub encrypted_with: BucketKeys,
    /// Why it did not come up, if so.
    pub failed: Option<String>,
    /// `PENDING` until then, as in the vendor's update windows.
    pub busy_until_ms: i64,
    /// When termination was asked for, and when it is over.
    pub terminated_ms: Option<(i64, i64)>,
    /// What its workspaces hold; made by nobody but a command.
    pub databases: Vec<String>,
    /// Replication to a second region, set up once.
    pub replication: Option<Replication>,
}

impl StoredGroup {
    /// Its state at this moment, given why its key can't be used then, if so.
    ///
    /// That a group without its key is `FAILED` is made up: the guide only says that it ceases to function at once.
    pub fn state(&self, now_ms: i64, trouble: Option<&str>) -> &'static str {
        match self.terminated_ms {
            Some((_, over)) if over <= now_ms => return "TERMINATED",
            Some(_) => return "PENDING",
            None => {}
        }
        if now_ms < self.ready_at_ms {
            "PENDING"
        } else if self.failed.is_some() || trouble.is_some() {
            "FAILED"
        } else if now_ms < self.busy_until_ms {
            "PENDING"
        } else {
            "ACTIVE"
        }
    }
}

/// What a workspace comes to when its present change is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Settled {
    /// It answers.
    Active,
    /// It costs nothing.
    Suspended,
    /// It is gone.
    Terminated,
}

/// A workspace as it really is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredWorkspace {
    /// Uuid.
    pub id: String,
    /// What was asked for, with all later changes.
    pub asked: CreateWorkspace,
    /// The group it is in.
    pub group: String,
    /// Simulated time.
    pub created_at_ms: i64,
    /// What its present change leads to.
    pub settled: Settled,
    /// When that is over.
    pub settles_at_ms: i64,
    /// When it was last asked to resume.
    pub resumed_at_ms: Option<i64>,
}

impl StoredWorkspace {
    /// Its state at this moment, given that of its group.
    pub fn state(&self, now_ms: i64, group: &str) -> &'static str {
        let pending = now_ms < self.settles_at_ms;
        match self.settled {
            Settled::Terminated if !pending => "TERMINATED",
            _ if group == "FAILED" => "FAILED",
            _ if pending => "PENDING",
            Settled::Suspended => "SUSPENDED",
            Settled::Active | Settled::Terminated => "ACTIVE",
        }
    }

    /// Whether no end was asked for.
    pub(super) fn is_live(&self) -> bool {
        self.settled != Settled::Terminated
    }
}
