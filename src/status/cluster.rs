//! The status of an `EncryptedCluster`.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::condition::{moment, time};
use crate::api::{
    ClusterCreation, ClusterRegionStatus, ClusterWorkspace, CreationKind, EncryptedClusterStatus, Endpoint,
    FoundDeployment, GateCheck, GateStatus, KeyClaim,
};
use crate::domain::condition::ConditionType;
use crate::domain::desired::{DesiredCluster, LinkedKey};
use crate::domain::fault::Applied;
use crate::domain::id::Region;
use crate::domain::memory::{DeployIntent, Found, MEMORY_VERSION, Memory, RegionMemory};
use crate::domain::moment::Moment;
use crate::domain::part::PartMemory;
use crate::execute::Outcome;
use crate::plan::step::Step;
use crate::plan::{PartReport, Plan, RegionReport, RemovalReport, findings_after};
use crate::ports::Record;

use super::key::unlooked;
use super::{conditions, deletion, failures, human_steps, short, stage, summary, unseen_since, was_ready};

/// The condition types of an `EncryptedCluster`, in their order.
pub const CONDITIONS: [ConditionType; 7] = [
    ConditionType::Ready,
    ConditionType::GateOpen,
    ConditionType::Deployed,
    ConditionType::EncryptionVerified,
    ConditionType::CredentialsValid,
    ConditionType::Reconciling,
    ConditionType::Stalled,
];

/// What the status remembers.
pub fn remember(status: Option<&EncryptedClusterStatus>) -> Memory {
    let Some(status) = status else { return Memory::default() };
    let regions = status.regions.iter().filter_map(|r| Some((r.name.parse().ok()?, remember_region(r)))).collect();
    Memory {
        version: status.memory_version,
        was_ready: was_ready(&status.conditions),
        unseen_since: unseen_since(&status.conditions),
        regions,
        claims: status.claims.iter().map(remember_claim).collect(),
        deletion: status.deletion.as_ref().and_then(|d| d.confirmation_token.clone()),
        database: status.upstream_id.clone(),
        deploying: status.creation.as_ref().and_then(remember_creation),
        parts: status.workspaces.iter().map(remember_part).collect(),
        ..Memory::default()
    }
}

fn remember_creation(creation: &ClusterCreation) -> Option<DeployIntent> {
    let part = creation.name.clone().filter(|_| creation.kind == CreationKind::Workspace);
    Some(DeployIntent { region: creation.region.parse().ok()?, started_at: moment(&creation.started_at), part })
}

fn remember_part(part: &ClusterWorkspace) -> (String, PartMemory) {
    (part.name.clone(), PartMemory { id: part.id.clone(), state: part.state.clone() })
}

fn remember_claim(claim: &KeyClaim) -> (String, BTreeSet<Region>) {
    let regions = claim.regions.iter().filter_map(|region| region.parse().ok()).collect();
    (format!("{}/{}", claim.namespace, claim.name), regions)
}

fn remember_region(region: &ClusterRegionStatus) -> RegionMemory {
    RegionMemory {
        key: region.key_arn.as_ref().and_then(|arn| arn.parse().ok()),
        key_state: region.key_state.clone(),
        policy_hash: region.policy_hash.clone(),
        deployment: region.state.clone(),
        found: region.found.map(|found| match found {
            FoundDeployment::NotEncrypted => Found::NotEncrypted,
            FoundDeployment::Unverified => Found::Unverified,
        }),
        gate_was_open: region.gate.as_ref().is_some_and(|gate| gate.open),
        removal: region.deletion.as_ref().and_then(|d| d.confirmation_token.clone()),
        ..RegionMemory::default()
    }
}

/// The status before the first look.
pub fn initial(generation: i64, now: Moment) -> EncryptedClusterStatus {
    EncryptedClusterStatus {
        memory_version: MEMORY_VERSION,
        conditions: conditions(&CONDITIONS, &[], &unlooked(), generation, now),
        ..EncryptedClusterStatus::default()
    }
}

/// Puts one record into a status.
pub fn put(status: &mut EncryptedClusterStatus, record: &Record) {
    status.memory_version = MEMORY_VERSION;
    match record {
        Record::DeployIntent(intent) => {
            let kind = match (&intent.part, &status.upstream_id) {
                (Some(_), _) => CreationKind::Workspace,
                (None, None) => CreationKind::Database,
                (None, Some(_)) => CreationKind::Region,
            };
            status.creation = Some(ClusterCreation {
                kind,
                region: intent.region.to_string(),
                started_at: time(intent.started_at),
                nonce: String::new(),
                name: intent.part.clone(),
            });
        }
        Record::Database(id) => {
            status.upstream_id = Some(id.clone());
            status.creation = None;
        }
        Record::KeyIntent(..)
        | Record::Key(..)
        | Record::RegistrationIntent(..)
        | Record::RoleLinkIntent(..)
        | Record::RoleLink(..) => {}
    }
}

/// Whether a status holds a record: an API server with an older schema drops what it does not know.
pub fn holds(status: &EncryptedClusterStatus, record: &Record) -> bool {
    match record {
        Record::DeployIntent(intent) => status.creation.as_ref().is_some_and(|c| {
            c.region == intent.region.as_str()
                && c.name == intent.part
                && moment(&c.started_at).since(intent.started_at).0.abs() < 1000
        }),
        Record::Database(id) => status.upstream_id.as_ref() == Some(id),
        Record::KeyIntent(..)
        | Record::Key(..)
        | Record::RegistrationIntent(..)
        | Record::RoleLinkIntent(..)
        | Record::RoleLink(..) => true,
    }
}

/// The status after a pass. `previous` is the status as the pass's own records left it.
pub fn render(
    previous: Option<&EncryptedClusterStatus>,
    desired: &DesiredCluster,
    memory: &Memory,
    plan: &Plan,
    outcome: &Outcome,
    now: Moment,
) -> EncryptedClusterStatus {
    let findings = findings_after(plan, &outcome.failed, memory, &desired.object, now);
    let generation = desired.object.generation;
    let mut status = previous.cloned().unwrap_or_default();
    status.memory_version = MEMORY_VERSION;
    status.observed_generation = Some(generation);
    status.conditions = conditions(&CONDITIONS, &status.conditions, &findings, generation, now);
    let regions: Vec<&Region> = desired.regions.iter().collect();
    status.summary = Some(summary(&findings, &regions));
    // What was learnt of a key while it was allowed is not shown to a namespace that may not use it any more.
    let hidden = desired.key.present().is_some_and(|linked| !linked.allowed);
    let scope = desired.key.present().filter(|_| !hidden).map(|linked| &linked.key.scope);
    status.upstream = scope.or(desired.deployment.as_ref().map(|d| &d.scope)).map(ToString::to_string);
    let leaving = |report: &RegionReport| report.removal.as_ref().is_some_and(|removal| !removal.released);
    let left = plan.regions.iter().filter(|(region, report)| !regions.contains(region) && leaving(report));
    let all: Vec<&Region> = regions.iter().copied().chain(left.map(|(region, _)| region)).collect();
    for region in &all {
        let entry = entry(&mut status, region);
        (entry.stage, entry.message) = stage(&findings, region);
        if hidden {
            (entry.key_arn, entry.key_state, entry.policy_hash) = (None, None, None);
        }
        entry.deletion = None;
        let Some(report) = plan.regions.get(*region) else { continue };
        entry.deletion = report.removal.as_ref().map(|removal| deletion(removal, &[]));
        if let Some(gate) = &report.gate {
            let checks = gate.checks.iter().map(|c| GateCheck {
                name: c.name.clone(),
                passed: c.passed,
                message: Some(short(&c.message)),
            });
            entry.gate = Some(GateStatus { open: gate.open, checks: checks.collect() });
        }
        if let Some(key) = &report.key {
            entry.key_arn = Some(key.to_string());
        }
        if report.key_state.is_some() {
            entry.key_state.clone_from(&report.key_state);
        }
        if report.policy_hash.is_some() {
            entry.policy_hash.clone_from(&report.policy_hash);
        }
        if report.deployment.is_some() {
            entry.state.clone_from(&report.deployment);
        }
        if let Some(found) = report.found {
            entry.found = Some(match found {
                Found::NotEncrypted => FoundDeployment::NotEncrypted,
                Found::Unverified => FoundDeployment::Unverified,
            });
        }
    }
    // While the object goes, or its key cannot be read, nothing is judged of a region that the spec no longer names; what never
    // had a key or a deployment leaves nothing to be judged.
    let judged = !desired.object.deleting && desired.key.present().is_some_and(|linked| linked.allowed);
    let creating = status.creation.as_ref().map(|creation| creation.region.clone());
    let began = |r: &ClusterRegionStatus| {
        r.key_arn.is_some() || r.state.is_some() || r.deletion.is_some() || creating.as_ref() == Some(&r.name)
    };
    let named = |r: &ClusterRegionStatus| all.iter().any(|region| region.as_str() == r.name);
    status.regions.retain(|r| named(r) || (!judged && began(r)));
    status.regions.sort_by(|a, b| a.name.cmp(&b.name));
    if judged {
        status.claims = claims(desired, &status);
    }
    let failed = if desired.object.deleting { failures(outcome) } else { Vec::new() };
    let kept = || RemovalReport { token: memory.deletion.clone(), ..RemovalReport::default() };
    let waits = plan.deletion.clone().or_else(|| (!failed.is_empty()).then(kept));
    status.deletion = waits.map(|report| deletion(&report, &failed));
    if let Some(report) = &plan.database {
        status.upstream_id.clone_from(&report.id);
        if !report.endpoints.is_empty() {
            let address = |address: &String| Endpoint { address: address.clone(), ..Endpoint::default() };
            status.endpoints = report.endpoints.iter().map(address).collect();
        }
    }
    if let Some(parts) = &plan.parts {
        inside(&mut status, parts, outcome, &desired.primary);
    }
    status.human_steps = human_steps(plan);
    settle(&mut status, desired, plan, outcome);
    status
}

/// Databases are counted for a key, never for a cluster.
pub fn unprotected(_: &EncryptedClusterStatus) -> i64 {
    0
}

/// The key that this cluster says it uses, in the regions that it declares or still has. A key that is being deleted is
/// not claimed anew: that would block its deletion for nothing.
fn claims(desired: &DesiredCluster, status: &EncryptedClusterStatus) -> Vec<KeyClaim> {
    let Some(linked) = desired.key.present() else { return status.claims.clone() };
    let mut claims = claim(linked, status);
    match desired.backup.as_ref().map(|backup| (&backup.key_ref, backup.key.present())) {
        None => {}
        Some((key_ref, Some(backup))) if backup.allowed && *key_ref != desired.key_ref => {
            claims.extend(claim(backup, status));
        }
        // What cannot be read keeps the claim that it has.
        Some((key_ref, _)) => {
            let kept = status.claims.iter().find(|claim| format!("{}/{}", claim.namespace, claim.name) == *key_ref);
            claims.extend(kept.filter(|_| *key_ref != desired.key_ref).cloned());
        }
    }
    claims
}

fn claim(linked: &LinkedKey, status: &EncryptedClusterStatus) -> Vec<KeyClaim> {
    let owner = &linked.key.owner;
    let (namespace, name) = (owner.namespace.to_string(), owner.name.to_string());
    let known = status.claims.iter().find(|claim| claim.namespace == namespace && claim.name == name);
    let claimed = |region: &str| known.is_some_and(|claim| claim.regions.iter().any(|r| r == region));
    let closed = |region: &str| {
        linked.key.object.deleting || linked.key.leaving.iter().any(|leaving| leaving.as_str() == region)
    };
    let regions = status.regions.iter().map(|region| region.name.clone());
    let regions: Vec<String> = regions.filter(|region| claimed(region) || !closed(region)).collect();
    if regions.is_empty() { Vec::new() } else { vec![KeyClaim { namespace, name, regions }] }
}

fn entry<'s>(status: &'s mut EncryptedClusterStatus, region: &Region) -> &'s mut ClusterRegionStatus {
    let at = status.regions.iter().position(|r| r.name == region.as_str()).unwrap_or_else(|| {
        status.regions.push(ClusterRegionStatus { name: region.to_string(), ..ClusterRegionStatus::default() });
        status.regions.len() - 1
    });
    &mut status.regions[at]
}

/// What runs inside the database: as the pass saw it, and what it made.
fn inside(
    status: &mut EncryptedClusterStatus,
    parts: &BTreeMap<String, PartReport>,
    outcome: &Outcome,
    primary: &Region,
) {
    let mut all: BTreeMap<&String, (String, Option<String>)> =
        parts.iter().map(|(name, part)| (name, (part.id.clone(), part.state.clone()))).collect();
    for (name, id) in &outcome.parts {
        all.entry(name).or_insert_with(|| (id.clone(), None));
    }
    let shown = all.into_iter().map(|(name, (id, state))| ClusterWorkspace { name: name.clone(), id, state });
    status.workspaces = shown.collect();
    let endpoint = |(name, part): (&String, &PartReport)| {
        let address = part.endpoint.clone()?;
        Some(Endpoint { name: Some(name.clone()), region: Some(primary.to_string()), address })
    };
    status.endpoints = parts.iter().filter_map(endpoint).collect();
}

/// Forgets an attempt whose outcome is known by now.
fn settle(status: &mut EncryptedClusterStatus, desired: &DesiredCluster, plan: &Plan, outcome: &Outcome) {
    let Some(creation) = &status.creation else { return };
    if let Some(name) = creation.name.as_ref().filter(|_| creation.kind == CreationKind::Workspace) {
        let refused = outcome.failed.iter().any(|(step, fault)| {
            matches!(step, Step::CreatePart { part, .. } if part.name == *name) && fault.applied == Applied::No
        });
        let seen = plan.parts.as_ref().and_then(|parts| parts.get(name)).is_some_and(|part| part.seen);
        if refused || seen {
            status.creation = None;
        }
        return;
    }
    let refused = outcome.failed.iter().any(|(step, fault)| {
        matches!(step, Step::CreateDatabase { .. } | Step::AddRegion { .. })
            && step.region().is_some_and(|r| r.as_str() == creation.region)
            && fault.applied == Applied::No
    });
    let deployed = plan.regions.iter().any(|(r, report)| r.as_str() == creation.region && report.deployment.is_some());
    // An attempt at a region that was let go since: its window is over, and nothing of it was seen.
    let let_go = creation.kind == CreationKind::Region
        && desired.deployment.is_some()
        && plan.regions.iter().any(|(r, report)| {
            r.as_str() == creation.region && report.removal.as_ref().is_some_and(|removal| removal.released)
        });
    if refused || deployed || let_go {
        status.creation = None;
    }
}
