//! The deployment: one database, one region at a time, each only through its own open gate.
//!
//! # Protocol
//! Creating a database and adding a region are not idempotent. So each is preceded by a durable intent; an outcome that
//! is not known is looked for until it is found, or until the settle window of complete, empty looks has passed; then
//! there is one new attempt under a new intent. Nothing is ever sent a second time while the first could still appear.

use std::collections::BTreeMap;

use crate::domain::capabilities::{Proof, Scope};
use crate::domain::condition::{ConditionType, Reason, Standing, Truth};
use crate::domain::desired::{DatabaseRequest, Deployment, DesiredCluster, LinkedKey};
use crate::domain::id::Region;
use crate::domain::memory::DeployIntent;
use crate::domain::moment::Moment;
use crate::domain::observed::{Database, DatabaseState};
use crate::domain::reading::{Reading, Why};

use super::DatabaseReport;
use super::attempt::Attempt;
use super::draft::{Draft, Said};
use super::finding::Finding;
use super::gate::Gate;
use super::step::{DatabaseRef, Step};
use super::{attested, by_order, hand_off, parts, reattach, reported, stray};

const CONDITION: ConditionType = ConditionType::Deployed;

/// Plans the deployment of a cluster whose gates were judged.
pub(super) fn plan(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    linked: &LinkedKey,
    gates: &BTreeMap<Region, Gate>,
    cloud: bool,
) {
    let Some(deployment) = &cluster.deployment else {
        draft.fine(CONDITION, None, Reason::GateOnly, Reason::GateOnly.text());
        unproven(draft, Reason::NotDeployedYet, "Somebody else deploys; nothing is known of the database.");
        return;
    };
    if !cloud {
        let reason = draft.gravest(None).unwrap_or(Reason::GateClosed);
        draft.blocked(
            &[CONDITION, ConditionType::EncryptionVerified],
            None,
            reason,
            "Waits until the cloud accepts the credentials.",
        );
        return;
    }
    let id = deployment.bound_id.as_ref().or(draft.memory.database.as_ref());
    if let Some(id) = id.cloned() {
        existing(draft, cluster, deployment, linked, &id, gates);
        if deployment.bound_id.is_none() && !deployment.adopts {
            reattach::note(draft, cluster, linked, &id, gates);
        }
    } else if deployment.by_hand {
        hand_off::to_be_made(draft, cluster, deployment, linked);
        follow(draft, cluster);
    } else {
        create(draft, cluster, deployment, linked, gates);
        follow(draft, cluster);
    }
    encryption(draft, cluster, deployment, linked, gates);
}

/// There is no database yet, as far as is recorded.
fn create(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    linked: &LinkedKey,
    gates: &BTreeMap<Region, Gate>,
) {
    let primary = &cluster.primary;
    let named = match &draft.observed.database.named {
        Reading::Present(all) => all.clone(),
        Reading::Absent => Vec::new(),
        unknown @ Reading::Unknown(_) => {
            let unknown = unknown.clone();
            not_seen(draft, &unknown);
            return;
        }
    };
    let request = &hand_off::request(draft, cluster, linked, deployment, primary);
    let Some(intent) = draft.memory.deploying.clone() else {
        if deployment.adopts {
            reported::adopt(draft, cluster, deployment, &named);
            return;
        }
        if reattach::plan(draft, cluster, linked, &named) {
            return;
        }
        if let Some(other) = named.first() {
            conflict(draft, other, "the operator did not create it");
            return;
        }
        attempt_create(draft, cluster, deployment, request, gates);
        return;
    };
    if deployment.adopts {
        // Whatever came of the attempt has the very name that is to be bound, and nothing is made beside it.
        if !named.is_empty() || !unsettled(draft, &intent, "creation of the database") {
            reported::adopt(draft, cluster, deployment, &named);
        }
        return;
    }
    let ours: Vec<&Database> = named.iter().filter(|d| could_be(d, request, &intent, draft)).collect();
    match (ours.as_slice(), named.as_slice()) {
        ([one], [_]) => {
            let message = format!("Found database {} of this object; recording it.", one.id);
            draft.working(CONDITION, Some(primary), Reason::Deploying, message);
            draft.step(Step::RecordDatabase { region: primary.clone(), database: DatabaseRef::Id(one.id.clone()) });
        }
        (_, [other, ..]) => conflict(draft, other, "it cannot be told which one this object created"),
        (_, []) => {
            if unsettled(draft, &intent, "creation of the database") {
                return;
            }
            attempt_create(draft, cluster, deployment, request, gates);
        }
    }
}

/// Says of the other regions that they come after the first one.
fn follow(draft: &mut Draft<'_>, cluster: &DesiredCluster) {
    let primary = &cluster.primary;
    let waits_for = draft.said(CONDITION, primary).filter(|reason| reason.standing() == Standing::Working);
    for region in draft.desired.regions().into_iter().filter(|region| *region != primary) {
        if draft.has(CONDITION, region) {
            continue;
        }
        let message = format!("{region} is added once the database is active in {primary}.");
        draft.working(CONDITION, Some(region), waits_for.unwrap_or(Reason::GateClosed), message);
    }
}

/// Whether a database can be the one that an intent was for.
pub(super) fn could_be(
    database: &Database,
    request: &DatabaseRequest,
    intent: &DeployIntent,
    draft: &Draft<'_>,
) -> bool {
    let settings = &draft.pass.settings;
    // Of one that does not say when it was made it cannot be told that it is not older.
    let in_time = database.created_at.is_some_and(|at| {
        at >= intent.started_at - settings.clock_skew
            && at <= intent.started_at + settings.deploy_settle + settings.clock_skew
    });
    database.name == request.name
        && database.region == intent.region.as_str()
        && (request.tier.is_empty() || database.tier.is_empty() || database.tier == request.tier)
        && in_time
}

fn conflict(draft: &mut Draft<'_>, other: &Database, why: &str) {
    let message = format!("There is a database {} named {:?} in the organization, and {why}.", other.id, other.name);
    let fix = format!("bind it by its id ({}) in spec.deployment, or choose another name.", other.id);
    draft.stuck(CONDITION, None, Reason::DatabaseConflict, message, &fix);
}

/// Whether an attempt may still turn out to have succeeded.
pub(super) fn unsettled(draft: &mut Draft<'_>, intent: &DeployIntent, what: &str) -> bool {
    let what = format!("the {what} in {}", intent.region);
    let settles_in = draft.pass.settings.deploy_settle;
    let attempt = Attempt { what: &what, began: intent.started_at, settles_in, searched: true };
    draft.awaits(&attempt, CONDITION, &intent.region, Reason::DeployUncertain)
}

fn attempt_create(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    request: &DatabaseRequest,
    gates: &BTreeMap<Region, Gate>,
) {
    let region = &cluster.primary;
    let open = if deployment.capabilities.adds_regions {
        through(draft, region, gates)
    } else {
        reported::all_open(draft, cluster, gates)
    };
    if !open {
        return;
    }
    draft.working(CONDITION, Some(region), Reason::Deploying, format!("The database is being created in {region}."));
    record_intent(draft, region);
    draft.step(Step::CreateDatabase { region: region.clone(), request: request.clone(), not_after: not_after(draft) });
    draft.step(Step::RecordDatabase { region: region.clone(), database: DatabaseRef::CreatedInThisPass });
}

/// Whether a region's gate lets a deployment start in this pass.
fn through(draft: &mut Draft<'_>, region: &Region, gates: &BTreeMap<Region, Gate>) -> bool {
    if gates.get(region).is_some_and(|gate| gate.may_deploy) {
        return true;
    }
    draft.working(CONDITION, Some(region), Reason::GateClosed, format!("{region} waits for its gate."));
    false
}

fn record_intent(draft: &mut Draft<'_>, region: &Region) {
    let intent = DeployIntent { region: region.clone(), started_at: draft.now(), part: None };
    draft.step(Step::RecordDeployIntent { intent });
}

fn not_after(draft: &Draft<'_>) -> Moment {
    draft.observed.at + draft.pass.settings.look_valid
}

/// The database is recorded or bound.
fn existing(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    linked: &LinkedKey,
    id: &str,
    gates: &BTreeMap<Region, Gate>,
) {
    let mut report = DatabaseReport { id: Some(id.to_owned()), endpoints: Vec::new() };
    let database = match &draft.observed.database.by_id {
        Reading::Present(database) => draft.observed.database.with_copy(database, cluster.secondaries().next()),
        Reading::Absent => {
            draft.database = Some(report);
            gone(draft, cluster, deployment, id);
            return;
        }
        unknown @ Reading::Unknown(_) => {
            let unknown = unknown.clone();
            draft.database = Some(report);
            not_seen(draft, &unknown);
            return;
        }
    };
    report.endpoints.clone_from(&database.endpoints);
    draft.database = Some(report);
    if !hand_off::believed(draft, cluster, deployment, &database) {
        return;
    }
    for (name, state) in &database.regions {
        if let Ok(region) = name.parse::<Region>() {
            draft.report(&region).deployment = Some(state_text(state));
        }
    }
    by_order::found(draft, cluster, linked, &database);
    match &database.state {
        DatabaseState::Terminated => return gone(draft, cluster, deployment, id),
        DatabaseState::Failed(words) => {
            let message = format!("Database {id} is {words}. {}", database.message);
            draft.stuck(
                CONDITION,
                None,
                Reason::DatabaseFailed,
                message.trim_end().to_owned(),
                "see the database in the cloud's portal.",
            );
            return;
        }
        DatabaseState::Active | DatabaseState::Busy(_) => {}
    }
    stray::plan(draft, deployment, id);
    if reported::encrypt(draft, cluster, deployment, &database, gates) {
        return;
    }
    let making = parts::plan(draft, cluster, deployment, linked, &database, gates);
    for region in draft.desired.regions() {
        match database.regions.get(region.as_str()) {
            Some(DatabaseState::Active) => {
                draft.fine(CONDITION, Some(region), Reason::DeployedEverywhere, &format!("Deployed in {region}."));
            }
            Some(DatabaseState::Busy(words)) if reported::stays(draft, &database) => {
                let message = format!("{region} is {words}; it is deployed and encrypted all the while.");
                draft.healing(CONDITION, region, Reason::DatabaseChanging, message);
                draft.poll();
            }
            Some(DatabaseState::Busy(words)) => {
                draft.working(CONDITION, Some(region), Reason::Deploying, format!("{region} is {words}."));
                draft.poll();
            }
            Some(DatabaseState::Failed(words)) => {
                let message = format!("The database is {words} in {region}.");
                draft.stuck(
                    CONDITION,
                    Some(region),
                    Reason::DatabaseFailed,
                    message,
                    "see the database in the cloud's portal.",
                );
            }
            Some(DatabaseState::Terminated) => {
                let message =
                    format!("The database's deployment in {region} was terminated; nothing is deployed in its place.");
                draft.stuck(CONDITION, Some(region), Reason::DatabaseGone, message, "remove the region from the spec.");
            }
            None if draft.remembered(region).deployment.is_some() => vanished(draft, region, id),
            None => {
                // One at a time: only the first missing region is attempted, the others wait for it.
                if deployment.by_hand {
                    hand_off::to_be_copied(draft, cluster, deployment, linked, region, gates);
                } else if !making {
                    let request = hand_off::request(draft, cluster, linked, deployment, region);
                    add(draft, &request, &database, region, gates);
                }
                wait_for_turn(draft, region, &database);
                return;
            }
        }
    }
}

fn add(
    draft: &mut Draft<'_>,
    request: &DatabaseRequest,
    database: &Database,
    region: &Region,
    gates: &BTreeMap<Region, Gate>,
) {
    // Whichever region it is for: the spec may name another one first by now.
    let unseen = parts::open_attempt(draft, database).map(|intent| (parts::what(draft, &intent), intent));
    if unseen.is_some_and(|(what, intent)| unsettled(draft, &intent, &what)) {
        return;
    }
    let busy = [&database.state].into_iter().chain(database.regions.values()).find_map(|state| match state {
        DatabaseState::Busy(words) => Some(words),
        DatabaseState::Active | DatabaseState::Failed(_) | DatabaseState::Terminated => None,
    });
    if let Some(words) = busy {
        let message = format!("The database is {words}; {region} is added when it is active.");
        draft.working(CONDITION, Some(region), Reason::DatabaseBusy, message);
        draft.poll();
        return;
    }
    if !through(draft, region, gates) {
        return;
    }
    draft.working(CONDITION, Some(region), Reason::Deploying, format!("{region} is being added."));
    record_intent(draft, region);
    draft.step(Step::AddRegion {
        region: region.clone(),
        database: database.id.clone(),
        request: request.clone(),
        not_after: not_after(draft),
    });
}

/// Says of the missing regions of which nothing was said yet that they wait.
fn wait_for_turn(draft: &mut Draft<'_>, first: &Region, database: &Database) {
    let waiting: Vec<Region> = draft
        .desired
        .regions()
        .into_iter()
        .filter(|r| !database.regions.contains_key(r.as_str()) && !draft.has(CONDITION, r))
        .cloned()
        .collect();
    for region in waiting {
        let message = if region == *first {
            format!("{region} waits until the outcome of the other addition is known.")
        } else {
            format!("{region} is added after {first}.")
        };
        draft.working(CONDITION, Some(&region), Reason::GateClosed, message);
    }
}

fn gone(draft: &mut Draft<'_>, cluster: &DesiredCluster, deployment: &Deployment, id: &str) {
    let primary = &cluster.primary;
    // A database that was just created may be missing from a look or two.
    if draft.look_at_deployment(primary, &("no database", id)) < draft.pass.settings.gate_looks {
        draft.working(
            CONDITION,
            None,
            Reason::DeployUncertain,
            format!("The cloud does not show database {id}; looking again."),
        );
        let spacing = draft.pass.settings.gate_spacing;
        draft.wait(spacing);
        return;
    }
    let (message, fix) = if deployment.bound_id.is_some() {
        let Scope { cloud, id: scope, .. } = &deployment.scope;
        (
            format!("{cloud} shows no database {id} in {scope}: it is terminated, or another's."),
            "name a database of that scope in spec.deployment.",
        )
    } else {
        (
            format!("Database {id} no longer exists; none is created in its place."),
            "delete this object and apply it anew to create another.",
        )
    };
    draft.stuck(CONDITION, None, Reason::DatabaseGone, message, fix);
}

/// A region that status shows is missing from the look. One look can be from before the region came; a region that is
/// truly gone took its data along, and another in its place would hide that.
fn vanished(draft: &mut Draft<'_>, region: &Region, id: &str) {
    if draft.look_at_deployment(region, &("no region", id)) < draft.pass.settings.gate_looks {
        let message = format!("The cloud does not show {region} of database {id}; looking again.");
        draft.working(CONDITION, Some(region), Reason::DeployUncertain, message);
        let spacing = draft.pass.settings.gate_spacing;
        draft.wait(spacing);
        return;
    }
    let message = format!("Database {id} is no longer deployed in {region}; it is not deployed there again.");
    let fix = "take the region out of the spec; put it back afterwards to have it deployed anew.";
    draft.stuck(CONDITION, Some(region), Reason::DatabaseGone, message, fix);
}

pub(super) fn not_seen<T>(draft: &mut Draft<'_>, reading: &Reading<T>) {
    match reading.fault() {
        Some(fault) => {
            let fault = fault.clone();
            draft.fault(CONDITION, None, &fault);
        }
        None => draft.blocked(&[CONDITION], None, Reason::NotLookedYet, "Not looked at yet."),
    }
}

/// Says what is known of the encryption, and never more.
fn encryption(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    linked: &LinkedKey,
    gates: &BTreeMap<Region, Gate>,
) {
    let database = match &draft.observed.database.by_id {
        Reading::Present(database) => database.clone(),
        Reading::Unknown(Why::Failed(fault)) => {
            let finding = Finding::of_fault(CONDITION, None, fault);
            unproven(draft, finding.reason, "The database could not be seen.");
            return;
        }
        Reading::Absent | Reading::Unknown(Why::NotLooked) => {
            unproven(draft, Reason::NotDeployedYet, "There is no database yet, as far as can be seen.");
            return;
        }
    };
    match linked.key.capabilities.proof {
        Proof::ByOrder => by_order::verify(draft, cluster, deployment, &database),
        Proof::Attested => attested::plan(draft, cluster, deployment, linked, &database),
        Proof::Reported => reported::verify(draft, cluster, deployment, linked, gates, &database),
    }
}

/// Says that it is not known whether what is deployed is under the key.
pub(super) fn unproven(draft: &mut Draft<'_>, reason: Reason, message: impl Into<String>) {
    let (condition, truth) = (ConditionType::EncryptionVerified, Truth::Unknown);
    draft.say(Said { condition, region: None, truth, reason, message: message.into(), fix: String::new() });
}

/// A state as status shows it.
pub(super) fn state_text(state: &DatabaseState) -> String {
    match state {
        DatabaseState::Active => "Active".to_owned(),
        DatabaseState::Busy(words) | DatabaseState::Failed(words) => words.clone(),
        DatabaseState::Terminated => "Terminated".to_owned(),
    }
}
