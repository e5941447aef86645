//! The end of a database, or of one of its regions, with the data in it.
//!
//! # Guarantees
//! Only what this object created is deleted: the recorded database, under the declared name, never a bound one; only under
//! `deletionPolicy: Delete`, and only after a human confirmed it with the token that status showed before. What cannot be
//! seen is left alone, and the object stays and says so.

use std::collections::BTreeSet;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::confirmation::Token;
use crate::domain::desired::{Afterlife, Deployment, DesiredCluster};
use crate::domain::id::Region;
use crate::domain::memory::RegionMemory;
use crate::domain::observed::{Database, DatabaseState};
use crate::domain::reading::{Reading, Why};

use super::draft::Draft;
use super::step::{DatabaseRef, Step};
use super::teardown::{self, Blocker};
use super::{RemovalReport, credentials, deploy};

const CONDITION: ConditionType = ConditionType::Deployed;

/// What keeps the cloud from being asked, or told, anything.
fn trouble(draft: &Draft<'_>, cluster: &DesiredCluster) -> Vec<Blocker> {
    let Some(linked) = cluster.key.present().filter(|linked| linked.allowed) else {
        let message = match &cluster.key {
            Reading::Present(_) => format!("CustomerKey {} does not allow clusters of this namespace", cluster.key_ref),
            Reading::Absent => format!("CustomerKey {} does not exist", cluster.key_ref),
            Reading::Unknown(_) => format!("CustomerKey {} could not be read", cluster.key_ref),
        };
        return vec![Blocker {
            region: None,
            message: format!("{message}, and only with it is it known which organization the database is in."),
            fix: "have it put in order, or applied again.".to_owned(),
        }];
    };
    let mut aside = draft.aside();
    if credentials::cloud_is_ours(&mut aside, &linked.key) {
        return Vec::new();
    }
    let then = format!("{} cannot be asked about the database", linked.key.scope.cloud);
    let mut blockers: Vec<Blocker> = aside.findings().iter().map(|f| teardown::of_finding(f, &then)).collect();
    if blockers.is_empty() {
        blockers.push(teardown::unseen(None, "The database", &draft.observed.scope));
    }
    blockers
}

/// Plans the end of a cluster whose database is to be deleted.
pub(super) fn plan(draft: &mut Draft<'_>, cluster: &DesiredCluster) {
    let recorded = draft.memory.database.clone();
    let Some(deployment) =
        cluster.deployment.as_ref().filter(|_| recorded.is_some() || draft.memory.deploying.is_some())
    else {
        teardown::release(draft, "The object is being deleted; it created no database.");
        return;
    };
    let trouble = trouble(draft, cluster);
    if !trouble.is_empty() {
        teardown::block(draft, trouble, None);
        return;
    }
    match recorded {
        Some(id) => delete(draft, cluster, deployment, &id),
        None => find(draft, deployment),
    }
}

/// A creation was begun and its outcome never learnt; its settle window is over.
fn find(draft: &mut Draft<'_>, deployment: &Deployment) {
    let named = match &draft.observed.database.named {
        Reading::Present(all) => all.clone(),
        Reading::Absent => Vec::new(),
        unknown @ Reading::Unknown(_) => {
            let blocker = teardown::unseen(None, "Whether the database was created", unknown);
            teardown::block(draft, vec![blocker], None);
            return;
        }
    };
    let Some(intent) = draft.memory.deploying.clone() else { return };
    let ours: Vec<&Database> =
        named.iter().filter(|d| deploy::could_be(d, &deployment.request, &intent, draft)).collect();
    match ours.as_slice() {
        [] => teardown::release(draft, "The object is being deleted; it created no database."),
        [one] => {
            let database = DatabaseRef::Id(one.id.clone());
            teardown::going(draft, &format!("Found database {} of this object; recording it.", one.id));
            draft.step(Step::RecordDatabase { region: intent.region, database });
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|database| database.id.as_str()).collect();
            let blocker = Blocker {
                region: None,
                message: format!("It cannot be told which of the databases {} this object created.", ids.join(", ")),
                fix: "delete by hand, in the cloud's portal, what is not needed.".to_owned(),
            };
            teardown::block(draft, vec![blocker], None);
        }
    }
}

fn delete(draft: &mut Draft<'_>, cluster: &DesiredCluster, deployment: &Deployment, id: &str) {
    let token = teardown::token(&cluster.object, [id]);
    let database = match &draft.observed.database.by_id {
        Reading::Present(database) => database.clone(),
        Reading::Absent => {
            teardown::keep_shown(draft, Some(&token));
            // A database may be missing from a look or two.
            if draft.look_at_deployment(&cluster.primary, &("no database", id)) < draft.pass.settings.gate_looks {
                teardown::going(draft, &format!("The cloud does not show database {id}; looking again."));
                let spacing = draft.pass.settings.gate_spacing;
                draft.wait(spacing);
            } else {
                teardown::release(draft, &format!("The object is being deleted; database {id} no longer exists."));
            }
            return;
        }
        unknown @ Reading::Unknown(_) => {
            let blocker = teardown::unseen(None, &format!("Database {id}"), unknown);
            teardown::block(draft, vec![blocker], None);
            return;
        }
    };
    if database.state == DatabaseState::Terminated {
        teardown::release(draft, &format!("The object is being deleted; database {id} is terminated."));
        return;
    }
    let mut blockers = mismatch(deployment, &database);
    blockers.extend(teardown::held_back(&cluster.object, observes(cluster)));
    if !teardown::confirmed(draft, &token, draft.memory.deletion.as_ref()) {
        let message = format!(
            "Nobody has confirmed that database {id} ({:?}) may be deleted with its data{}.",
            database.name,
            inside(draft)
        );
        blockers.push(teardown::unconfirmed(draft, None, message, token.as_str()));
    }
    if !blockers.is_empty() {
        teardown::block(draft, blockers, Some(&token));
        return;
    }
    teardown::keep_shown(draft, Some(&token));
    teardown::going(draft, &format!("Database {id} is being deleted with its data{}.", inside(draft)));
    let not_after = draft.observed.at + draft.pass.settings.look_valid;
    draft.repeatable(Step::TerminateDatabase { database: id.to_owned(), not_after });
}

/// What goes with the database, whoever made it, where a cloud makes that apart.
fn inside(draft: &Draft<'_>) -> String {
    let parts = draft.observed.database.parts.present().into_iter().flatten();
    let names: Vec<String> = parts.map(|part| format!("{:?} ({})", part.name, part.id)).collect();
    if names.is_empty() { String::new() } else { format!(" and all that runs in it: {}", names.join(", ")) }
}

/// Whether the key's object says that nothing is written outside.
fn observes(cluster: &DesiredCluster) -> bool {
    cluster.key.present().is_some_and(|linked| linked.key.observe_only)
}

/// What speaks against the recorded database being the one that was created.
fn mismatch(deployment: &Deployment, database: &Database) -> Vec<Blocker> {
    if database.name == deployment.request.name {
        return Vec::new();
    }
    let message = format!(
        "Database {} is named {:?}, not {:?} as declared.",
        database.id, database.name, deployment.request.name
    );
    let fix = "delete it by hand, in the cloud's portal, if it is the right one.".to_owned();
    vec![Blocker { region: None, message, fix }]
}

/// Plans what becomes of the regions that status shows and the spec no longer names.
pub(super) fn removals(draft: &mut Draft<'_>, cluster: &DesiredCluster) {
    let attempted = draft.memory.deploying.as_ref().map(|intent| &intent.region);
    let known = draft.memory.regions.keys().chain(attempted);
    let regions: BTreeSet<Region> = known.filter(|region| !cluster.regions.contains(*region)).cloned().collect();
    for region in regions {
        let report = removal(draft, cluster, &region);
        draft.report(&region).removal = Some(report);
    }
}

/// Whether something may still come of an attempt to deploy to a region that the spec no longer names. After that nothing
/// but what is seen there keeps the region.
fn pending(draft: &mut Draft<'_>, region: &Region) -> bool {
    let attempt = draft.memory.deploying.as_ref().filter(|intent| intent.region == *region);
    let over = attempt.map(|intent| intent.started_at + draft.pass.settings.deploy_settle);
    let left = teardown::left(draft, over);
    if let Some(left) = left {
        draft.wait(left);
    }
    left.is_some()
}

/// A database with its copy in a region that the spec no longer names, and whether that is a copy, which the database itself
/// does not show. None: it is not known, or not believed yet, that a copy which status shows is not there any more.
fn with_copy(
    draft: &mut Draft<'_>,
    deployment: &Deployment,
    database: &Database,
    region: &Region,
    memory: &RegionMemory,
) -> Option<(Database, bool)> {
    let itself = database.regions.contains_key(region.as_str());
    let Some(portal) = deployment.capabilities.portal.as_ref().filter(|_| !itself) else {
        return Some((database.clone(), false));
    };
    let shown = memory.deployment.is_some();
    // One that does not say where it is may be the one that status shows, and there is only one.
    let here = |at: &Option<String>| at.as_deref().map_or(shown, |at| at == region.as_str());
    match &draft.observed.database.replica {
        Reading::Present(copy) if here(&copy.region) => {
            return Some((draft.observed.database.with_copy(database, Some(region)), true));
        }
        Reading::Unknown(why) if shown => {
            if let Why::Failed(fault) = why {
                draft.fault(CONDITION, Some(region), fault);
            }
            return None;
        }
        Reading::Present(_) | Reading::Absent if shown => {
            if draft.look_at_deployment(region, &("no region", &database.id)) < portal.believed_after {
                let spacing = draft.pass.settings.gate_spacing;
                draft.wait(spacing);
                return None;
            }
        }
        Reading::Present(_) | Reading::Absent | Reading::Unknown(_) => {}
    }
    Some((database.clone(), false))
}

fn removal(draft: &mut Draft<'_>, cluster: &DesiredCluster, region: &Region) -> RemovalReport {
    let released = RemovalReport { released: true, ..RemovalReport::default() };
    let memory = draft.remembered(region);
    let kept = RemovalReport { token: memory.removal.clone(), ..RemovalReport::default() };
    let Some(deployment) = &cluster.deployment else { return released };
    let pending = pending(draft, region);
    let id = deployment.bound_id.as_ref().or(draft.memory.database.as_ref()).cloned();
    let database = match (id, &draft.observed.database.by_id) {
        (None, _) => return if pending { kept } else { released },
        (Some(_), Reading::Present(database)) => database.clone(),
        // Not to be seen now: what was there may still be.
        (Some(_), Reading::Absent | Reading::Unknown(_)) => return kept,
    };
    let Some((database, copied)) = with_copy(draft, deployment, &database, region, &memory) else { return kept };
    let state = match database.regions.get(region.as_str()) {
        None | Some(DatabaseState::Terminated) if pending => return kept,
        None | Some(DatabaseState::Terminated) => return released,
        Some(state) => state.clone(),
    };
    draft.report(region).deployment = Some(deploy::state_text(&state));
    if draft.desired.afterlife() == Afterlife::Retain {
        let message = format!("{region} is no longer in the spec; the database stays deployed there.");
        draft.fine(CONDITION, Some(region), Reason::RegionRetained, &message);
        return kept;
    }
    let fresh = Token::of(&cluster.object.uid, &draft.pass.nonce, [database.id.as_str(), region.as_str()]);
    let shown = memory.removal.clone().unwrap_or_else(|| fresh.as_str().to_owned());
    let confirmed = memory.removal.as_ref().is_some_and(|token| cluster.object.confirmed.contains(token));
    let mut blockers = mismatch(deployment, &database);
    if database.region == region.as_str() {
        blockers.push(Blocker {
            region: Some(region.clone()),
            message: format!(
                "Database {} was created in {region}; that region goes only with the database.",
                database.id
            ),
            fix: "put the region back into the spec.".to_owned(),
        });
    }
    if copied {
        let what = deployment.capabilities.portal.as_ref().map_or("database", |portal| &portal.database);
        blockers.push(Blocker {
            region: Some(region.clone()),
            message: format!("The copy in {region} goes only with the {what} {}.", database.id),
            fix: "put the region back into the spec.".to_owned(),
        });
    }
    blockers.extend(teardown::held_back(&cluster.object, observes(cluster)));
    if !confirmed {
        let message = format!(
            "{region} is no longer in the spec, and nobody has confirmed that its deployment may be removed from database {} with its data.",
            database.id
        );
        blockers.push(teardown::unconfirmed(draft, Some(region), message, &shown));
    }
    if !blockers.is_empty() {
        for Blocker { message, fix, .. } in &blockers {
            draft.stuck(CONDITION, Some(region), Reason::DeletionBlocked, message.clone(), fix);
        }
        return RemovalReport { token: Some(shown), ..teardown::report(&blockers, None) };
    }
    let busy =
        [&database.state].into_iter().chain(database.regions.values()).any(|state| *state != DatabaseState::Active);
    if busy {
        let message =
            format!("{region} is removed when the whole database is active; now it is {}.", deploy::state_text(&state));
        draft.working(CONDITION, Some(region), Reason::DatabaseBusy, message);
        draft.poll();
    } else {
        draft.working(
            CONDITION,
            Some(region),
            Reason::Deleting,
            format!("{region} is being removed from the database."),
        );
        let not_after = draft.observed.at + draft.pass.settings.look_valid;
        draft.repeatable(Step::RemoveRegion { region: region.clone(), database: database.id, not_after });
        draft.poll();
    }
    RemovalReport { token: Some(shown), ..RemovalReport::default() }
}
