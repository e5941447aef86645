//! The status of a `CustomerKey`.

use crate::api::condition::{moment, time};
use crate::api::{
    AwsStatus, CloudRoleStatus, CreationIntent, CustomerKeyStatus, KeyRegionStatus, MultiRegionRole,
    RegistrationAttempt, RotationStatus, SurplusKey, UnprotectedDatabases, UsedBy,
};
use crate::domain::condition::ConditionType;
use crate::domain::desired::DesiredKey;
use crate::domain::family::Role;
use crate::domain::fault::Applied;
use crate::domain::id::Region;
use crate::domain::memory::{KeyIntent, MEMORY_VERSION, Memory, RegionMemory, Unprotected};
use crate::domain::moment::Moment;
use crate::execute::Outcome;
use crate::plan::finding::Finding;
use crate::plan::role_step::RoleStep;
use crate::plan::step::Step;
use crate::plan::{Plan, RegionReport, RemovalReport, RoleReport, findings_after, surplus_token};
use crate::ports::Record;

use super::{conditions, deletion, failures, human_steps, stage, summary, unseen_since, was_ready};

/// The condition types of a `CustomerKey`, in their order.
pub const CONDITIONS: [ConditionType; 7] = [
    ConditionType::Ready,
    ConditionType::KeysReady,
    ConditionType::PoliciesReady,
    ConditionType::Registered,
    ConditionType::CredentialsValid,
    ConditionType::Reconciling,
    ConditionType::Stalled,
];

/// What the status remembers.
pub fn remember(status: Option<&CustomerKeyStatus>) -> Memory {
    let Some(status) = status else { return Memory::default() };
    let regions = status.regions.iter().filter_map(|r| Some((r.name.parse().ok()?, remember_region(r)))).collect();
    Memory {
        version: status.memory_version,
        was_ready: was_ready(&status.conditions),
        unseen_since: unseen_since(&status.conditions),
        regions,
        deletion: status.deletion.as_ref().and_then(|d| d.confirmation_token.clone()),
        ..Memory::default()
    }
}

fn remember_region(region: &KeyRegionStatus) -> RegionMemory {
    RegionMemory {
        key: region.key_arn.as_ref().and_then(|arn| arn.parse().ok()),
        creating: region
            .creation
            .as_ref()
            .map(|c| KeyIntent { nonce: c.nonce.clone(), started_at: moment(&c.started_at) }),
        registering: region.registration.as_ref().map(|r| moment(&r.started_at)),
        linking: region.cloud_role.as_ref().and_then(|role| role.requested_at.as_ref()).map(moment),
        link: region.cloud_role.as_ref().and_then(|role| role.id.clone()),
        registered: region.registered_key_arn.clone(),
        registered_at: region.registered_at.as_ref().map(moment),
        unprotected: region.unprotected_databases.as_ref().map(|found| Unprotected {
            count: u32::try_from(found.count).unwrap_or_default(),
            sample: found.sample.clone(),
        }),
        key_state: region.key_state.clone(),
        policy_hash: region.policy_hash.clone(),
        principals: region.principals.clone(),
        deployment: None,
        found: None,
        gate_was_open: false,
        removal: region.deletion.as_ref().and_then(|d| d.confirmation_token.clone()),
    }
}

/// The status before the first look: every condition is there, so that nobody takes its absence for readiness.
pub fn initial(generation: i64, now: Moment) -> CustomerKeyStatus {
    CustomerKeyStatus {
        memory_version: MEMORY_VERSION,
        conditions: conditions(&CONDITIONS, &[], &unlooked(), generation, now),
        ..CustomerKeyStatus::default()
    }
}

/// The findings before the first look.
pub(super) fn unlooked() -> Vec<Finding> {
    use crate::domain::condition::{Reason, Truth};
    let say = |condition, truth| Finding {
        condition,
        region: None,
        truth,
        reason: Reason::NotLookedYet,
        message: Reason::NotLookedYet.text().to_owned(),
        fix: String::new(),
    };
    vec![say(ConditionType::Reconciling, Truth::True), say(ConditionType::Stalled, Truth::False)]
}

/// Puts one record into a status.
pub fn put(status: &mut CustomerKeyStatus, record: &Record) {
    status.memory_version = MEMORY_VERSION;
    match record {
        Record::KeyIntent(region, intent) => {
            entry(status, region).creation =
                Some(CreationIntent { nonce: intent.nonce.clone(), started_at: time(intent.started_at) });
        }
        Record::Key(region, arn) => {
            let entry = entry(status, region);
            entry.key_arn = Some(arn.to_string());
            entry.creation = None;
        }
        Record::RegistrationIntent(region, started_at) => {
            entry(status, region).registration = Some(RegistrationAttempt { started_at: time(*started_at) });
        }
        Record::RoleLinkIntent(region, started_at) => {
            let role = entry(status, region).cloud_role.get_or_insert_default();
            role.requested_at = Some(time(*started_at));
            role.id = None;
        }
        Record::RoleLink(region, id) => {
            let role = entry(status, region).cloud_role.get_or_insert_default();
            role.requested_at = None;
            role.id = Some(id.clone());
        }
        Record::DeployIntent(_) | Record::Database(_) => {}
    }
}

/// Whether a status holds a record: an API server with an older schema drops what it does not know.
pub fn holds(status: &CustomerKeyStatus, record: &Record) -> bool {
    let entry = |region: &Region| status.regions.iter().find(|r| r.name == region.as_str());
    match record {
        Record::KeyIntent(region, intent) => {
            entry(region).and_then(|r| r.creation.as_ref()).is_some_and(|c| c.nonce == intent.nonce)
        }
        Record::Key(region, arn) => entry(region).and_then(|r| r.key_arn.as_ref()) == Some(&arn.to_string()),
        Record::RegistrationIntent(region, _) => entry(region).is_some_and(|r| r.registration.is_some()),
        Record::RoleLinkIntent(region, _) => {
            entry(region).and_then(|r| r.cloud_role.as_ref()).is_some_and(|role| role.requested_at.is_some())
        }
        Record::RoleLink(region, id) => {
            entry(region).and_then(|r| r.cloud_role.as_ref()).is_some_and(|role| role.id.as_ref() == Some(id))
        }
        Record::DeployIntent(_) | Record::Database(_) => true,
    }
}

fn entry<'s>(status: &'s mut CustomerKeyStatus, region: &Region) -> &'s mut KeyRegionStatus {
    let at = status.regions.iter().position(|r| r.name == region.as_str()).unwrap_or_else(|| {
        status.regions.push(KeyRegionStatus { name: region.to_string(), ..KeyRegionStatus::default() });
        status.regions.len() - 1
    });
    &mut status.regions[at]
}

/// The status after a pass. `previous` is the status as the pass's own records left it.
pub fn render(
    previous: Option<&CustomerKeyStatus>,
    desired: &DesiredKey,
    memory: &Memory,
    plan: &Plan,
    outcome: &Outcome,
    now: Moment,
) -> CustomerKeyStatus {
    let findings = findings_after(plan, &outcome.failed, memory, &desired.object, now);
    let generation = desired.object.generation;
    let mut status = previous.cloned().unwrap_or_default();
    status.memory_version = MEMORY_VERSION;
    status.observed_generation = Some(generation);
    status.conditions = conditions(&CONDITIONS, &status.conditions, &findings, generation, now);
    let regions: Vec<&Region> = desired.regions.keys().collect();
    status.summary = Some(summary(&findings, &regions));
    status.upstream = Some(desired.scope.to_string());
    status.aws = Some(AwsStatus {
        account_id: Some(desired.access.account.to_string()),
        external_id: Some(desired.access.external_id.clone()),
    });
    let leaving = plan.regions.iter().filter(|(region, report)| !regions.contains(region) && report.removal.is_some());
    let all: Vec<&Region> = regions.iter().copied().chain(leaving.map(|(region, _)| region)).collect();
    for region in all {
        let report = plan.regions.get(region);
        let entry = entry(&mut status, region);
        (entry.stage, entry.message) = stage(&findings, region);
        if let Some(report) = report {
            show(entry, report);
        }
        entry.deletion = report.and_then(|r| r.removal.as_ref()).map(|removal| deletion(removal, &[]));
        settle(entry, outcome, region, report.is_some_and(|r| r.registered_at.is_some()));
        if let Some(surplus) = report.and_then(|r| r.surplus.as_ref()) {
            status.surplus_keys.retain(|s| s.region != region.as_str());
            status.surplus_keys.extend(surplus.iter().map(|(arn, deletion_at)| SurplusKey {
                region: region.to_string(),
                key_arn: arn.to_string(),
                deletion_date: deletion_at.map(time),
                confirmation_token: Some(surplus_token(&desired.object.uid, arn).to_string()),
            }));
        }
    }
    // A region that the spec no longer names stays as long as it remembers something and was not let go.
    let released = |name: &str| {
        let report = plan.regions.iter().find(|(region, _)| region.as_str() == name);
        report.is_some_and(|(_, r)| r.removal.as_ref().is_some_and(|removal| removal.released))
    };
    status.regions.retain(|r| {
        let declared = desired.regions.keys().any(|d| d.as_str() == r.name);
        declared || (!released(&r.name) && (r.key_arn.is_some() || r.creation.is_some()))
    });
    status.regions.sort_by(|a, b| a.name.cmp(&b.name));
    let failed = if desired.object.deleting { failures(outcome) } else { Vec::new() };
    let waits = plan.deletion.clone().or_else(|| (!failed.is_empty()).then(|| kept(memory)));
    status.deletion = waits.map(|report| deletion(&report, &failed));
    status.human_steps = human_steps(plan);
    status.used_by = desired.users.present().map(|users| UsedBy {
        count: i32::try_from(users.len()).unwrap_or(i32::MAX),
        sample: users.iter().take(16).map(|user| user.name.clone()).collect(),
    });
    status
}

/// How many databases are shown that are older than the registration of their region's key.
pub fn unprotected(status: &CustomerKeyStatus) -> i64 {
    let counted = status.regions.iter().filter_map(|region| region.unprotected_databases.as_ref());
    counted.map(|found| i64::from(found.count)).sum()
}

/// A deletion that is under way: the token stays, so that it stays confirmed.
fn kept(memory: &Memory) -> RemovalReport {
    RemovalReport { token: memory.deletion.clone(), ..RemovalReport::default() }
}

/// Shows what was looked at, and leaves the rest as it was.
fn show(entry: &mut KeyRegionStatus, report: &RegionReport) {
    let RegionReport {
        key,
        key_state,
        role,
        alias,
        policy_wish: _,
        policy_hash,
        principals,
        registered,
        registered_at,
        unprotected,
        cloud_role,
        rotation,
        deletion_at,
        surplus: _,
        gate: _,
        deployment: _,
        found: _,
        removal: _,
    } = report;
    keep(&mut entry.key_arn, key.as_ref().map(ToString::to_string).as_ref());
    keep(&mut entry.alias, alias.as_ref());
    let role = role.map(|role| match role {
        Role::Primary => MultiRegionRole::Primary,
        Role::Replica => MultiRegionRole::Replica,
    });
    keep(&mut entry.multi_region, role.as_ref());
    keep(&mut entry.policy_hash, policy_hash.as_ref());
    keep(&mut entry.registered_key_arn, registered.as_ref());
    keep(&mut entry.registered_at, registered_at.as_ref().and_then(|t| t.parse().ok()).map(time).as_ref());
    let counted = unprotected.as_ref().map(|found| UnprotectedDatabases {
        count: i32::try_from(found.count).unwrap_or(i32::MAX),
        sample: found.sample.clone(),
    });
    keep(&mut entry.unprotected_databases, counted.as_ref());
    if !principals.is_empty() {
        entry.principals.clone_from(principals);
    }
    if let Some(state) = key_state {
        entry.key_state = Some(state.clone());
        entry.deletion_date = deletion_at.map(time);
    }
    if let Some(role) = cloud_role {
        show_role(entry.cloud_role.get_or_insert_default(), role);
    }
    if let Some(rotation) = rotation {
        entry.rotation =
            Some(RotationStatus { enabled: rotation.period_days.is_some(), next: rotation.next.map(time) });
    }
}

fn show_role(entry: &mut CloudRoleStatus, report: &RoleReport) {
    let RoleReport { arn, link } = report;
    entry.role_arn = Some(arn.clone());
    if let Some(link) = link {
        entry.id = Some(link.id.clone());
        entry.requested_at = None;
        entry.trusted_arn = Some(link.trusted.clone());
        entry.external_id = Some(link.external_id.clone());
        entry.authorized = Some(link.authorized);
    }
}

/// Keeps what was seen, and what was known where nothing was.
fn keep<T: Clone>(target: &mut Option<T>, seen: Option<&T>) {
    if let Some(seen) = seen {
        *target = Some(seen.clone());
    }
}

/// Forgets attempts whose outcome is known by now; that of a registration only once the key says when it was.
fn settle(entry: &mut KeyRegionStatus, outcome: &Outcome, region: &Region, noted: bool) {
    let refused = |matches: fn(&Step) -> bool| {
        outcome
            .failed
            .iter()
            .any(|(step, fault)| matches(step) && step.region() == Some(region) && fault.applied == Applied::No)
    };
    if entry.key_arn.is_some() || refused(|step| matches!(step, Step::CreateKey { .. })) {
        entry.creation = None;
    }
    if refused(|step| matches!(step, Step::Role(RoleStep::Create { .. })))
        && let Some(role) = &mut entry.cloud_role
    {
        role.requested_at = None;
    }
    // Another's key that was in the way says nothing of our attempt.
    let registered = entry.registered_key_arn.is_some() && entry.registered_key_arn == entry.key_arn;
    let registers = |step: &Step| matches!(step, Step::Register { .. } | Step::Role(RoleStep::Register { .. }));
    if (registered && noted) || refused(registers) {
        entry.registration = None;
    }
}
