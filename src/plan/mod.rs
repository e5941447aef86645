//! The decisions: pure functions from what is declared, seen and remembered to a plan.
//!
//! Nothing here is asynchronous, reads a clock or can fail. The operator runs [`decide`], `cmk-operator plan` prints it,
//! tables test it and the model explores it: it is always the same function.

pub mod check;
pub mod explain;
pub mod finding;
pub mod role_step;
pub mod site;
pub mod step;

mod attempt;
mod attested;
mod by_order;
mod cluster;
mod creation;
mod credentials;
mod deploy;
mod draft;
mod entrusted;
mod entrusted_check;
mod gate;
mod hand_off;
mod key;
mod made_role;
mod made_role_check;
mod note_check;
mod own_again;
mod part_check;
mod parts;
mod policy;
mod reattach;
mod region_key;
mod registration;
mod removal;
mod removal_check;
mod replica;
mod replica_check;
mod replica_end;
mod reported;
mod restore;
mod role;
mod role_check;
mod schedule;
mod second;
mod sources;
mod sources_check;
mod stray;
mod teardown;
mod terminate;
mod unprotected;
mod unregister;
mod unregister_check;
mod verdict;

pub(crate) use policy::hash as policy_hash;
pub(crate) use schedule::surplus_token;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::condition::ConditionType;
use crate::domain::desired::{Desired, DesiredKey, Object};
use crate::domain::family::Role;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::id::{KeyArn, Name, Region};
use crate::domain::memory::{Found, Looks, Memory, Subject, Unprotected};
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{Depth, Observed, Rotation};
use crate::domain::portal::HumanStep;
use crate::domain::role_link::RoleLink;

use finding::Finding;
use step::Step;

/// The windows and counts that the operator is configured with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// How long the outcome of a `CreateKey` is searched for before another attempt.
    pub create_settle: Span,
    /// The same for registrations and deployments; also how long a principal that AWS does not know may still turn up.
    pub deploy_settle: Span,
    /// How many equal looks in a row open a gate.
    pub gate_looks: u32,
    /// How far apart those looks are at least.
    pub gate_spacing: Span,
    /// How old a look may be when something is created because of it.
    pub look_valid: Span,
    /// How long a repeatable write is not repeated because it may not be visible yet.
    pub repair_holdoff: Span,
    /// Within what time a policy that we wrote has to be undone twice to be contested; then it is left alone for as long.
    pub contest: Span,
    /// How far the clocks of the clouds may differ from ours.
    pub clock_skew: Span,
    /// Between looks at states.
    pub state_interval: Span,
    /// Between looks at policies.
    pub policy_interval: Span,
    /// Between looks at everything.
    pub resync: Span,
    /// Between looks at something that is on its way.
    pub poll: Span,
    /// The uid of the kube-system namespace: which cluster holds the keys.
    pub holder: String,
    /// The permissions boundary of the roles that are made; `{account}` in it stands for the account of the role.
    #[serde(default)]
    pub role_boundary: Option<String>,
    /// The uid of a cluster that is gone, and whose keys are taken over.
    #[serde(default)]
    pub take_over_from: Option<String>,
    /// The namespaces whose keys may be managed with the operator's own AWS credentials; absent: all.
    #[serde(default)]
    pub ambient_namespaces: Option<Vec<Name>>,
}

impl Settings {
    /// Whether a key with this holder tag is another cluster's.
    pub(crate) fn is_held_elsewhere(&self, holder: Option<&String>) -> bool {
        let Some(holder) = holder else { return false };
        !self.holder.is_empty() && *holder != self.holder && self.take_over_from.as_ref() != Some(holder)
    }

    /// Whether AWS may be called as the spec wants it.
    pub(crate) fn may_call_aws_for(&self, key: &DesiredKey) -> bool {
        let ambient = |allowed: &Vec<Name>| allowed.contains(&key.object.namespace);
        key.access.role_arn.is_some() || self.ambient_namespaces.as_ref().is_none_or(ambient)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            create_settle: Span::seconds(120),
            deploy_settle: Span::seconds(300),
            gate_looks: 3,
            gate_spacing: Span::seconds(5),
            look_valid: Span::seconds(10),
            repair_holdoff: Span::seconds(120),
            contest: Span::seconds(3600),
            clock_skew: Span::seconds(60),
            state_interval: Span::seconds(600),
            policy_interval: Span::seconds(3600),
            resync: Span::seconds(6 * 3600),
            poll: Span::seconds(5),
            holder: String::new(),
            role_boundary: None,
            take_over_from: None,
            ambient_namespaces: None,
        }
    }
}

/// What a decision needs beside the facts: the time, randomness, and the settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pass {
    /// Now.
    pub now: Moment,
    /// A value that no other pass has.
    pub nonce: String,
    /// The configuration.
    #[serde(default)]
    pub settings: Settings,
}

/// When to look again, and at how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NextLook {
    /// After how long.
    pub after: Span,
    /// At how much.
    pub depth: Depth,
    /// Whether this only waits for something to come: such looks grow rarer while nothing changes.
    #[serde(default)]
    pub polling: bool,
    /// Somebody outside asked to be left alone: for so long, or zero where that was not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Span>,
}

/// What will be done, what a human should know, and when to look again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// The effects, in order. A fault in one region keeps only that region's later steps from being done.
    pub steps: Vec<Step>,
    /// What a human should know; none at all: nothing has changed since the last write of status.
    pub findings: Vec<Finding>,
    /// When to look again.
    pub next_look: NextLook,
    /// What status shows of each region.
    #[serde(default)]
    pub regions: BTreeMap<Region, RegionReport>,
    /// The looks to be kept by this process.
    #[serde(default)]
    pub looks: BTreeMap<Subject, Looks>,
    /// What status shows of the database.
    #[serde(default)]
    pub database: Option<DatabaseReport>,
    /// What status shows of what runs inside the database, by name; absent: not looked at in this pass.
    #[serde(default)]
    pub parts: Option<BTreeMap<String, PartReport>>,
    /// What status shows of the object's deletion.
    #[serde(default)]
    pub deletion: Option<RemovalReport>,
    /// What humans have to do in the normal course, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub human_steps: Vec<HumanStep>,
}

impl Plan {
    /// Whether the pass found nothing that differs from the last one, at its depth.
    pub fn is_unchanged(&self) -> bool {
        self.findings.is_empty() && self.steps.is_empty()
    }
}

/// What status shows of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RegionReport {
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyArn>,
    /// Its state, as AWS spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_state: Option<String>,
    /// What it is in its multi-Region key, if it is one of such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The alias that points at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The hash of the meaning of the statements that are to be ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_wish: Option<String>,
    /// The hash of its policy's meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_hash: Option<String>,
    /// The cloud's principals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// The registered key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<String>,
    /// The note on the key of when it was registered: RFC 3339, or other words where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<String>,
    /// The databases that are older than the registration; absent: not counted in this pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprotected: Option<Unprotected>,
    /// The role as which the cloud uses the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_role: Option<RoleReport>,
    /// Its rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// When it will be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_at: Option<Moment>,
    /// Keys with our owner tags that are not this one, and when AWS deletes them, where that was seen; absent: not looked for
    /// in this pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surplus: Option<Vec<(KeyArn, Option<Moment>)>>,
    /// The gate, for a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateReport>,
    /// The state of the deployment in this region, in the cloud's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// What was found of a deployment in this region that is not this object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// How far the removal of a region is that the spec no longer names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<RemovalReport>,
}

/// What status shows of the role as which a cloud uses a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RoleReport {
    /// The role's ARN.
    pub arn: String,
    /// The cloud's record of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<RoleLink>,
}

/// What status shows of a deletion, or of a region's removal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemovalReport {
    /// Whether the region is let go: status forgets it.
    #[serde(default)]
    pub released: bool,
    /// What blocks it, and who can unblock it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<String>,
    /// The token that confirms it. For a region it is also the mark that the removal was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The gate of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GateReport {
    /// Whether the region may be deployed to now.
    pub open: bool,
    /// The checks, in their fixed order.
    pub checks: Vec<Check>,
}

/// One check of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Whether it passes. What cannot be seen does not pass.
    pub passed: bool,
    /// What was seen.
    pub message: String,
}

/// What status shows of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DatabaseReport {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where clients connect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
}

/// What status shows of something that runs inside the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartReport {
    /// Its id.
    pub id: String,
    /// Its state; absent: none is believed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Where clients connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether this pass saw it. If not, it is shown as it is remembered.
    #[serde(default)]
    pub seen: bool,
}

/// What a human should know after a plan was executed: the plan's findings, corrected by what failed.
pub fn findings_after(
    plan: &Plan,
    failed: &[(Step, Fault)],
    memory: &Memory,
    object: &Object,
    now: Moment,
) -> Vec<Finding> {
    let whole = [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled];
    let mut findings: Vec<Finding> = plan.findings.iter().filter(|f| !whole.contains(&f.condition)).cloned().collect();
    for (step, fault) in failed {
        if let Some(condition) = step.condition().filter(|_| fault.class != FaultClass::Conflict) {
            findings.push(Finding::of_fault(condition, step.region(), fault));
        }
    }
    findings.extend(verdict::overall(&findings, memory, object, now));
    findings
}

/// Decides what to do. The same input gives the same plan.
pub fn decide(desired: &Desired, observed: &Observed, memory: &Memory, pass: &Pass) -> Plan {
    let mut draft = draft::Draft::new(desired, observed, memory, pass);
    if desired.object().deleting {
        teardown::plan(&mut draft);
    } else if observed.depth < Depth::Everything {
        return draft.glance();
    } else {
        match desired {
            Desired::Key(key) => key::plan(&mut draft, key),
            Desired::Cluster(cluster) => cluster::plan(&mut draft, cluster),
        }
    }
    draft.finish()
}
