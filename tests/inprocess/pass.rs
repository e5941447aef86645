//! One pass, put together as `controller::pass` does it, with a turn for the others at every call of the API server.

use std::time::Duration;

use cmk_operator::api::ANNOTATION_RECONCILE_REQUESTED_AT;
use cmk_operator::clock::Clock;
use cmk_operator::controller::context::Note;
use cmk_operator::controller::pace::{self, Rhythm};
use cmk_operator::controller::queue::{Lane, Next};
use cmk_operator::domain::condition::{ConditionType, Reason};
use cmk_operator::domain::fault::{Fault, FaultClass};
use cmk_operator::domain::observed::Depth;
use cmk_operator::execute::{Hands, Outcome, Witness, execute};
use cmk_operator::observe::{Sight, observe};
use cmk_operator::plan::check::check;
use cmk_operator::plan::step::{Site, Step};
use cmk_operator::plan::{Pass, Plan, decide};
use cmk_operator::ports::{Authority, Endless};
use kube::ResourceExt;

use super::dereference::Refers;
use super::lab::Lab;
use super::ledger::Shelf;
use super::turn::turn;

/// The longest pause between looks at something that is on its way.
const SLOWEST_POLL: Duration = Duration::from_secs(60);

/// What became of a pass.
pub struct Passed {
    /// When the next one is due.
    pub next: Next,
    /// Whether it found nothing to do, and nothing to wait for.
    pub quiet: bool,
    /// Whether it wrote status.
    pub wrote: bool,
    /// Whether the process died in it.
    pub died: bool,
}

impl Passed {
    fn then(next: Next) -> Self {
        Self { next, quiet: false, wrote: false, died: false }
    }

    fn soon(pause: Duration) -> Self {
        Self::then(Next::After(pause, Lane::Fresh))
    }

    fn dead() -> Self {
        Self { died: true, ..Self::then(Next::Gone) }
    }
}

/// A pass over an object, by name.
pub async fn pass<K: Refers>(lab: &Lab, name: &str, note: &mut Note) -> Passed {
    turn().await;
    let found = K::shelf(&lab.store()).get(name).cloned();
    let Some(object) = found else {
        *note = Note::default();
        return Passed { quiet: true, ..Passed::then(Next::Gone) };
    };
    let now = lab.now();
    let generation = object.meta().generation.unwrap_or_default();
    let (desired, credentials) = match object.dereference(lab).await {
        Ok(found) => found,
        Err(invalid) => {
            let mut status = object.status().cloned().unwrap_or_else(|| K::initial(generation, now));
            K::stall(&mut status, generation, Reason::InvalidSpec, &invalid.to_string(), now);
            let _ = Shelf::new(lab, object).write(status).await;
            return Passed { quiet: true, ..Passed::then(pace::failed(note, now, FaultClass::Terminal, None, 0)) };
        }
    };
    let requested = is_requested(&object);
    if requested {
        note.try_again();
    }
    let mut memory = K::remember(object.status());
    note.enrich(&mut memory);
    lab.twist.memory(&mut memory);
    let settled = object.status().and_then(K::observed_generation) == Some(generation)
        && !desired.object().deleting
        && !requested;
    let depth = note.depth(now, settled);
    let pass = Pass { now, nonce: lab.nonce(), settings: lab.settings.clone() };
    turn().await;
    let sight = Sight { keys: &lab.clouds, upstream: &lab.upstream, patience: &Endless };
    let mut observed = observe(sight, &desired, &credentials, &memory, depth, &pass).await;
    lab.twist.observed(&desired, &memory, &mut observed);
    let plan = decide(&desired, &observed, &memory, &pass);
    let checked = check(&desired, &observed, &memory, &pass, plan)
        .unwrap_or_else(|refused| panic!("{name}: the plan was refused: {refused}\n{}", lab.told()));
    let plan = checked.plan();
    let mut shelf = Shelf::new(lab, object);
    turn().await;
    let hands = Hands {
        keys: &lab.clouds,
        upstream: &lab.upstream,
        ledger: &mut shelf,
        credentials: &credentials,
        authority: lab,
        clock: lab,
        witness: lab,
    };
    let outcome = execute(hands, &desired, &checked).await;
    lab.tell(|| tale::<K>(name, depth, plan, &outcome));
    if lab.trouble().is_dead() {
        return Passed::dead();
    }
    if outcome.done.contains(&Step::AddFinalizer) {
        return Passed::soon(Duration::from_secs(1));
    }
    note.passed(depth, plan, &outcome, now, &lab.settings);
    if outcome.over {
        return Passed::soon(Duration::from_millis(200));
    }
    if outcome.done.contains(&Step::RemoveFinalizer) {
        return Passed::then(Next::Done);
    }
    let status = if plan.is_unchanged() && outcome.failed.is_empty() {
        None
    } else {
        K::render(shelf.object().status(), &desired, &memory, plan, &outcome, now)
    };
    let written = write(lab, &mut shelf, status).await;
    if lab.trouble().is_dead() {
        return Passed::dead();
    }
    let wrote = written == Ok(true);
    let quiet = outcome.failed.is_empty()
        && written.is_ok()
        && plan.steps.is_empty()
        && plan.next_look.after >= lab.settings.state_interval;
    let rhythm = Rhythm { now, slowest: SLOWEST_POLL, jitter: 0.5 };
    let next = pace::next(note, plan, &outcome, written.err().as_ref(), 0, rhythm);
    Passed { quiet, wrote, ..Passed::then(next) }
}

fn tale<K: Refers>(name: &str, depth: Depth, plan: &Plan, outcome: &Outcome) -> String {
    let done: Vec<String> = outcome
        .done
        .iter()
        .map(|s| format!("{} {}", s.site().as_str(), s.region().map_or("", |r| r.as_str())))
        .collect();
    let failed: Vec<String> =
        outcome.failed.iter().map(|(s, fault)| format!("{}: {fault}", s.site().as_str())).collect();
    let ready = plan.findings.iter().find(|f| f.condition == ConditionType::Ready);
    let ready = ready.map_or_else(String::new, |f| format!("{:?} {:?} {}", f.truth, f.reason, f.message));
    let kind = K::KIND.as_str();
    format!("{kind} {name} {depth:?}: done {done:?} failed {failed:?} over={} | {ready}", outcome.over)
}

/// Writes the status if it differs, and tells of what changed.
async fn write<K: Refers>(lab: &Lab, shelf: &mut Shelf<'_, K>, status: Option<K::Status>) -> Result<bool, Fault> {
    let Some(mut status) = status else { return Ok(false) };
    let requested = shelf.object().annotations().get(ANNOTATION_RECONCILE_REQUESTED_AT).cloned();
    if requested.is_some() {
        *K::handled(&mut status) = requested;
    }
    if shelf.object().status() == Some(&status) || !lab.may_act() {
        return Ok(false);
    }
    let reasons = |status: Option<&K::Status>| -> Vec<(String, String)> {
        let all = status.map(|s| K::conditions(s)).unwrap_or_default();
        all.iter().map(|c| (c.status.clone(), c.reason.clone())).collect()
    };
    let before = reasons(shelf.object().status());
    if lab.before(Site::WriteStatus).is_break() {
        return Ok(false);
    }
    let written = shelf.write(status).await;
    if lab.after(Site::WriteStatus, written.as_ref().err()).is_break() {
        return Ok(false);
    }
    let changed = written?;
    if before != reasons(shelf.object().status()) && !lab.before(Site::PublishEvent).is_break() {
        let _ = lab.after(Site::PublishEvent, None);
    }
    Ok(changed)
}

fn is_requested<K: Refers>(object: &K) -> bool {
    let requested = object.annotations().get(ANNOTATION_RECONCILE_REQUESTED_AT);
    let handled = object.status().cloned().and_then(|mut status| K::handled(&mut status).take());
    requested.is_some() && requested != handled.as_ref()
}
