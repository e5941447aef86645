//! What runs inside a database, where a cloud makes that apart: each declared part once, and only inside a database that a
//! human saw under its keys.
//!
//! # Protocol
//! The call that makes a part is not idempotent, and names need not be unique. So one is made only where a complete list
//! showed none of its name several times in a row, after a durable intent with its name; an outcome that is not known is
//! looked for, as of every deployment, before there is another attempt. What is there under a declared name is taken as it
//! is, whoever made it; of several of one name none is chosen. What was once there is not made again, what the spec no
//! longer names stays, and nothing is resized.

use std::collections::BTreeMap;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{Deployment, Desired, DesiredCluster, LinkedKey};
use crate::domain::id::Region;
use crate::domain::memory::{DeployIntent, Subject};
use crate::domain::observed::{Database, DatabaseState};
use crate::domain::part::{NewPart, Part, PartMemory, PartState};
use crate::domain::reading::Reading;

use super::PartReport;
use super::attested::{self, Doubt};
use super::deploy;
use super::draft::Draft;
use super::gate::Gate;
use super::step::Step;

const CONDITION: ConditionType = ConditionType::Deployed;

/// How the cloud calls things, and how often it has to be seen before it is believed.
struct Words {
    part: String,
    database: String,
    attest: String,
    believed_after: u32,
}

impl Words {
    fn of(draft: &Draft<'_>, deployment: &Deployment) -> Self {
        let portal = deployment.capabilities.portal.as_ref();
        Self {
            part: portal.map_or("part", |portal| &portal.part).to_owned(),
            database: portal.map_or("database", |portal| &portal.database).to_owned(),
            attest: portal.map_or("the spec", |portal| &portal.attest).to_owned(),
            believed_after: portal.map_or(draft.pass.settings.gate_looks, |portal| portal.believed_after),
        }
    }

    /// One of them, as a sentence begins.
    fn the(&self, name: &str) -> String {
        format!("The {} {name:?}", self.part)
    }
}

/// Plans what runs inside a database that was seen. Whether an attempt at making something begins in this pass.
pub(super) fn plan(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    linked: &LinkedKey,
    database: &Database,
    gates: &BTreeMap<Region, Gate>,
) -> bool {
    if !deployment.looks_at_parts(draft.memory) {
        return false;
    }
    let words = Words::of(draft, deployment);
    let Reading::Present(seen) = draft.observed.database.parts.clone() else {
        unseen(draft, deployment, &words, database);
        return false;
    };
    let mut shown = BTreeMap::new();
    let mut missing = Vec::new();
    for part in deployment.parts() {
        let named: Vec<&Part> = seen.iter().filter(|other| other.name == part.name).collect();
        let looks = draft.look_at_part(&part.name, &named);
        let remembered = draft.memory.parts.get(&part.name).cloned();
        let report = match (named.as_slice(), remembered) {
            ([one], remembered) => there(draft, cluster, &words, (part, one), remembered, looks),
            ([], Some(remembered)) => not_listed(draft, cluster, &words, part, remembered, looks),
            ([], None) => {
                missing.push((part, looks));
                continue;
            }
            (several, remembered) => {
                ambiguous(draft, cluster, &words, part, several);
                let Some(remembered) = remembered else { continue };
                as_known(remembered)
            }
        };
        shown.insert(part.name.clone(), report);
    }
    undeclared(draft, deployment, &words, &seen, &mut shown);
    draft.parts = Some(shown);
    create(draft, cluster, deployment, linked, (database, gates), &words, &missing)
}

/// The attempt to deploy that nothing has shown to have succeeded, so that nothing else may be attempted before its settle
/// window is over.
pub(super) fn open_attempt(draft: &Draft<'_>, database: &Database) -> Option<DeployIntent> {
    let listed = |name: &String| {
        let parts = draft.observed.database.parts.present();
        parts.is_some_and(|all| all.iter().any(|part| part.name == *name))
    };
    draft.memory.deploying.clone().filter(|intent| match &intent.part {
        Some(name) => !draft.memory.parts.contains_key(name) && !listed(name),
        None => !database.regions.contains_key(intent.region.as_str()),
    })
}

/// What an attempt was for.
pub(super) fn what(draft: &Draft<'_>, intent: &DeployIntent) -> String {
    let deployment = match draft.desired {
        Desired::Cluster(cluster) => cluster.deployment.as_ref(),
        Desired::Key(_) => None,
    };
    match (&intent.part, deployment) {
        (Some(name), Some(deployment)) => {
            format!("creation of the {} {name:?}", Words::of(draft, deployment).part)
        }
        _ => "addition of the region".to_owned(),
    }
}

/// Whether a look at less than everything saw what status shows.
pub(super) fn as_remembered(draft: &Draft<'_>) -> bool {
    let Desired::Cluster(DesiredCluster { deployment: Some(deployment), .. }) = draft.desired else { return true };
    if !deployment.looks_at_parts(draft.memory) {
        return true;
    }
    let Some(seen) = draft.observed.database.parts.present() else { return false };
    draft.memory.parts.iter().all(|(name, remembered)| {
        let mut named = seen.iter().filter(|part| part.name == *name);
        let (Some(one), None) = (named.next(), named.next()) else { return false };
        one.id == remembered.id && remembered.state.as_deref() == Some(one.state.text())
    })
}

/// It could not be seen what runs inside: what was counted stays.
fn unseen(draft: &mut Draft<'_>, deployment: &Deployment, words: &Words, database: &Database) {
    for part in deployment.parts() {
        draft.keep(Subject::Part(part.name.clone()));
    }
    match draft.observed.database.parts.clone() {
        Reading::Absent => {
            let message = format!("The cloud does not show what runs in {} {}.", words.database, database.id);
            draft.working(CONDITION, None, Reason::DeployUncertain, message);
            draft.poll();
        }
        other => deploy::not_seen(draft, &other),
    }
}

fn as_known(remembered: PartMemory) -> PartReport {
    PartReport { id: remembered.id, state: remembered.state, endpoint: None, seen: false }
}

/// There is one of the name.
fn there(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    words: &Words,
    (wanted, found): (&NewPart, &Part),
    remembered: Option<PartMemory>,
    looks: u32,
) -> PartReport {
    let (primary, the, state) = (Some(&cluster.primary), words.the(&wanted.name), found.state.text());
    let before = remembered.filter(|remembered| remembered.id == found.id).and_then(|remembered| remembered.state);
    let mut report = PartReport { id: found.id.clone(), state: before, endpoint: found.endpoint.clone(), seen: true };
    if report.state.as_deref() != Some(state) && looks < words.believed_after {
        let served = report.state.as_deref() == Some(PartState::Active.text());
        draft.not_believed_yet(primary, &format!("{the} is shown as {state}"), (looks, words.believed_after), served);
        return report;
    }
    report.state = Some(state.to_owned());
    if found.size != wanted.size {
        let message =
            format!("{the} has the size {}, and the spec says {}; it is not resized.", found.size, wanted.size);
        draft.remark(
            CONDITION,
            Reason::DeployedEverywhere,
            message,
            "resize it in the cloud's portal, if that matters.",
        );
    }
    match &found.state {
        PartState::Active => {}
        PartState::Coming(words) => {
            draft.working(CONDITION, primary, Reason::Deploying, format!("{the} is {words}."));
            draft.poll();
        }
        PartState::Resting(words) => {
            // Whoever rests one, or has it rest by itself when nobody asks, means it: nothing is amiss.
            let message =
                format!("{the} is {words}: it serves nobody until it is resumed, which the operator never does.");
            draft.remark(CONDITION, Reason::DeployedEverywhere, message, "");
        }
        PartState::Failed(words) => {
            let message = format!("{the} ({}) is {words}.", found.id);
            draft.stuck(CONDITION, primary, Reason::DatabaseFailed, message, "see it in the cloud's portal.");
        }
    }
    report
}

/// One that was made or found is not in the list: it is too new to be there yet, the look is old, or it is gone.
fn not_listed(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    words: &Words,
    wanted: &NewPart,
    remembered: PartMemory,
    looks: u32,
) -> PartReport {
    let (primary, the) = (Some(&cluster.primary), words.the(&wanted.name));
    let settle = draft.pass.settings.deploy_settle;
    let intent = draft.memory.deploying.as_ref().filter(|intent| intent.part.as_ref() == Some(&wanted.name));
    let new = intent.map(|intent| draft.now().since(intent.started_at)).filter(|age| *age < settle);
    if let Some(age) = new {
        let message =
            format!("{the} ({}) was made {} s ago; the cloud does not list it yet.", remembered.id, age.as_seconds());
        draft.working(CONDITION, primary, Reason::DeployUncertain, message);
        draft.poll();
    } else if looks < words.believed_after {
        let message = format!("The cloud does not list the {} {:?} any more; looking again.", words.part, wanted.name);
        draft.working(CONDITION, primary, Reason::DeployUncertain, message);
        let spacing = draft.pass.settings.gate_spacing;
        draft.wait(spacing);
    } else {
        let message = format!("{the} ({}) no longer exists; none is made in its place.", remembered.id);
        let fix = "take it out of the spec; put it back afterwards to have another one made.";
        draft.stuck(CONDITION, primary, Reason::DatabaseGone, message, fix);
    }
    as_known(remembered)
}

fn ambiguous(draft: &mut Draft<'_>, cluster: &DesiredCluster, words: &Words, wanted: &NewPart, all: &[&Part]) {
    let ids: Vec<&str> = all.iter().map(|part| part.id.as_str()).collect();
    let message = format!(
        "There are {} {}s named {:?} ({}); it cannot be told which one is meant, and none is made.",
        ids.len(),
        words.part,
        wanted.name,
        ids.join(", ")
    );
    let fix = "end, in the cloud's portal, those that nobody needs.";
    draft.stuck(CONDITION, Some(&cluster.primary), Reason::DatabaseConflict, message, fix);
}

/// What was made or found for this object, and the spec no longer names: it stays, and status shows it as long as it does.
fn undeclared(
    draft: &mut Draft<'_>,
    deployment: &Deployment,
    words: &Words,
    seen: &[Part],
    shown: &mut BTreeMap<String, PartReport>,
) {
    let attempted = draft.memory.deploying.as_ref().and_then(|intent| intent.part.clone());
    let names: Vec<String> = draft.memory.parts.keys().cloned().chain(attempted).collect();
    for name in names {
        if shown.contains_key(&name) || deployment.parts().iter().any(|part| part.name == name) {
            continue;
        }
        let all: Vec<&Part> = seen.iter().filter(|part| part.name == name).collect();
        let looks = draft.look_at_part(&name, &all);
        if let Some(found) = all.first() {
            let message =
                format!("{} ({}) is not in the spec any more; it stays as it is.", words.the(&name), found.id);
            let fix = "end it in the cloud's portal, if nobody needs it.";
            draft.remark(CONDITION, Reason::DeployedEverywhere, message, fix);
            let (state, endpoint) = (Some(found.state.text().to_owned()), found.endpoint.clone());
            shown.insert(name, PartReport { id: found.id.clone(), state, endpoint, seen: true });
        } else if let Some(remembered) = draft.memory.parts.get(&name).filter(|_| looks < words.believed_after) {
            shown.insert(name, as_known(remembered.clone()));
            let spacing = draft.pass.settings.gate_spacing;
            draft.wait(spacing);
        }
    }
}

/// Makes one of those that are not there, where and when that may be.
fn create(
    draft: &mut Draft<'_>,
    cluster: &DesiredCluster,
    deployment: &Deployment,
    linked: &LinkedKey,
    (database, gates): (&Database, &BTreeMap<Region, Gate>),
    words: &Words,
    missing: &[(&NewPart, u32)],
) -> bool {
    let primary = &cluster.primary;
    let names: Vec<String> = missing.iter().map(|(part, _)| format!("{:?}", part.name)).collect();
    let names = names.join(", ");
    if let Some(intent) = open_attempt(draft, database) {
        let what = what(draft, &intent);
        if draft.now().since(intent.started_at) < draft.pass.settings.deploy_settle {
            if intent.part.is_some() {
                deploy::unsettled(draft, &intent, &what);
            }
            if missing.iter().any(|(part, _)| Some(&part.name) != intent.part.as_ref()) {
                let message = format!("Nothing else is made before that is known; waiting: {names}.");
                draft.working(CONDITION, Some(primary), Reason::DeployUncertain, message);
                draft.poll();
            }
            return false;
        }
    }
    if missing.is_empty() {
        return false;
    }
    let (part, database_is) = (&words.part, format!("{} {}", words.database, database.id));
    if let Some(message) = attested::too_old(draft, cluster, linked, database) {
        let message = format!("{message} No {part} is made in it: {names}.");
        let fix = "create a new one under the key and move the data.";
        draft.stuck(CONDITION, Some(primary), Reason::ExistingDatabaseNotEncrypted, message, fix);
    } else if let Err(doubt) = attested::judge(draft, cluster, deployment, linked, database) {
        let before =
            format!("No {part} is made before it is known that {database_is} is under its keys; waiting: {names}.");
        match doubt {
            Doubt::Not(message) => {
                let fix = format!("attest in {} what the cloud's portal shows.", words.attest);
                let message = format!("{before} {message}");
                draft.stuck(CONDITION, Some(primary), Reason::AwaitingAttestation, message, &fix);
            }
            Doubt::Unseen(message) => {
                let reason = draft.said(ConditionType::GateOpen, primary).unwrap_or(Reason::KeyNotReady);
                draft.blocked(&[CONDITION], Some(primary), reason, &format!("{before} {message}"));
            }
        }
    } else if database.state != DatabaseState::Active {
        let state = deploy::state_text(&database.state);
        let message = format!("{database_is} is {state}; when it is active, these are made in it: {names}.");
        draft.working(CONDITION, Some(primary), Reason::DatabaseBusy, message);
        draft.poll();
    } else if !gates.get(primary).is_some_and(|gate| gate.may_deploy) {
        let message = format!("No {part} is made before the gate of {primary} is open; waiting: {names}.");
        draft.working(CONDITION, Some(primary), Reason::GateClosed, message);
    } else if let Some((wanted, _)) = missing.iter().find(|(_, looks)| *looks >= words.believed_after) {
        make(draft, cluster, database, wanted);
        let message = match missing.len() {
            1 => format!("{} is being made.", words.the(&wanted.name)),
            _ => format!("{} is being made, one after the other of {names}.", words.the(&wanted.name)),
        };
        draft.working(CONDITION, Some(primary), Reason::Deploying, message);
        return true;
    } else {
        let most = missing.iter().map(|(_, looks)| *looks).max().unwrap_or_default();
        let message = format!(
            "The cloud shows no {part} named {names}; seen so {most} of the {} times in a row after which one is made.",
            words.believed_after
        );
        draft.working(CONDITION, Some(primary), Reason::Deploying, message);
        let spacing = draft.pass.settings.gate_spacing;
        draft.wait(spacing);
    }
    false
}

fn make(draft: &mut Draft<'_>, cluster: &DesiredCluster, database: &Database, wanted: &NewPart) {
    let region = cluster.primary.clone();
    let part = Some(wanted.name.clone());
    let intent = DeployIntent { region: region.clone(), started_at: draft.now(), part };
    draft.step(Step::RecordDeployIntent { intent });
    let not_after = draft.observed.at + draft.pass.settings.look_valid;
    let (database, part) = (database.id.clone(), wanted.clone());
    draft.step(Step::CreatePart { region, database, part, not_after });
}
