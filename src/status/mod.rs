//! What status says and remembers: pure, both ways.
//!
//! Conditions derive from findings alone. What a pass did not look at is left as it was.

pub mod cluster;
pub mod key;

use crate::api::condition::{Condition, condition, find, moment};
use crate::api::{DeletionStatus, HumanStep};
use crate::domain::condition::{ConditionType, Reason, Standing, Truth};
use crate::domain::fault::FaultClass;
use crate::domain::id::Region;
use crate::domain::moment::Moment;
use crate::execute::Outcome;
use crate::plan::finding::Finding;
use crate::plan::{Plan, RemovalReport};

/// The longest message that is shown in status; the API server would refuse the whole status for one that is too long.
const LONGEST_MESSAGE: usize = 1024;

/// As many as the schema takes.
const MOST_HUMAN_STEPS: usize = 32;

/// The conditions of an object, in their fixed order, from findings.
fn conditions(
    types: &[ConditionType],
    previous: &[Condition],
    findings: &[Finding],
    generation: i64,
    now: Moment,
) -> Vec<Condition> {
    types
        .iter()
        .map(|type_| {
            let about: Vec<&Finding> = findings.iter().filter(|f| f.condition == *type_).collect();
            let (truth, reason, message) = about.iter().max_by_key(|f| gravity(f)).map_or_else(
                || (Truth::Unknown, Reason::NotLookedYet, Reason::NotLookedYet.text().to_owned()),
                |worst| (worst.truth, worst.reason, messages(&about, worst.reason.standing())),
            );
            condition(previous, *type_, truth, reason, &message, Some(generation), now)
        })
        .collect()
}

/// Says in conditions that nothing moves, and why.
pub fn stall(all: &mut [Condition], generation: i64, reason: Reason, message: &str, now: Moment) {
    let whole = [
        (ConditionType::Ready, Truth::False),
        (ConditionType::Reconciling, Truth::False),
        (ConditionType::Stalled, Truth::True),
    ];
    let before = all.to_vec();
    for (type_, truth) in whole {
        let said = condition(&before, type_, truth, reason, &short(message), Some(generation), now);
        if let Some(entry) = all.iter_mut().find(|c| c.type_ == said.type_) {
            *entry = said;
        }
    }
}

/// The graver finding decides; between equals, what is known to be false before what is not known.
fn gravity(finding: &Finding) -> (Standing, Truth) {
    let truth = match finding.truth {
        Truth::False => Truth::Unknown,
        Truth::Unknown => Truth::False,
        Truth::True => Truth::True,
    };
    (finding.reason.standing(), truth)
}

/// The texts of the findings of one standing, each once, with their regions.
fn messages(about: &[&Finding], standing: Standing) -> String {
    let mut texts: Vec<String> = Vec::new();
    for finding in about.iter().filter(|f| f.reason.standing() == standing) {
        let text = match &finding.region {
            Some(region) => format!("{region}: {}", finding.text()),
            None => finding.text(),
        };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    short(&texts.join(" "))
}

/// A text cut to the longest message.
fn short(text: &str) -> String {
    if text.chars().count() <= LONGEST_MESSAGE {
        return text.to_owned();
    }
    let cut: String = text.chars().take(LONGEST_MESSAGE - 1).collect();
    format!("{cut}…")
}

/// The stage and message of a region: its gravest finding.
fn stage(findings: &[Finding], region: &Region) -> (Option<String>, Option<String>) {
    let worst = findings.iter().filter(|f| f.region.as_ref() == Some(region)).max_by_key(|f| gravity(f));
    match worst {
        Some(finding) if finding.reason.standing() == Standing::Fine && finding.truth == Truth::True => {
            (Some("Done".to_owned()), None)
        }
        Some(finding) => (Some(finding.reason.as_str().to_owned()), Some(short(&finding.text()))),
        None => (None, None),
    }
}

/// How many of the regions are as declared, as `2/3 regions`.
fn summary(findings: &[Finding], regions: &[&Region]) -> String {
    let done = regions.iter().filter(|region| stage(findings, region).0.as_deref() == Some("Done")).count();
    format!("{done}/{} regions", regions.len())
}

/// What a deletion or a removal waits for; a step of it that failed is among that.
fn deletion(report: &RemovalReport, failed: &[Finding]) -> DeletionStatus {
    let failed = failed.iter().map(Finding::text);
    DeletionStatus {
        blocked_by: report.blocked_by.iter().cloned().chain(failed).take(64).map(|text| short(&text)).collect(),
        confirmation_token: report.token.clone(),
    }
}

/// What humans have to do.
fn human_steps(plan: &Plan) -> Vec<HumanStep> {
    let steps = plan.human_steps.iter().map(|step| HumanStep {
        title: step.title.clone(),
        region: step.region.as_ref().map(ToString::to_string),
        who: Some(step.who.as_str().to_owned()),
        instructions: step.instructions.clone(),
        paste: step.paste.clone(),
    });
    steps.take(MOST_HUMAN_STEPS).collect()
}

/// What the failed steps mean.
fn failures(outcome: &Outcome) -> Vec<Finding> {
    let failed = outcome.failed.iter().filter(|(_, fault)| fault.class != FaultClass::Conflict);
    failed.filter_map(|(step, fault)| Some(Finding::of_fault(step.condition()?, step.region(), fault))).collect()
}

/// Whether the object was Ready, or would still be but for not having been seen for long.
fn was_ready(conditions: &[Condition]) -> bool {
    find(conditions, ConditionType::Ready)
        .is_some_and(|ready| ready.status == Truth::True.as_str() || ready.reason == Reason::Unobservable.as_str())
}

/// Since when the object is only said to be ready by what was last known.
fn unseen_since(conditions: &[Condition]) -> Option<Moment> {
    let unseen = [Reason::LastKnown.as_str(), Reason::Unobservable.as_str()];
    let ready = find(conditions, ConditionType::Ready)?;
    if !unseen.contains(&ready.reason.as_str()) {
        return None;
    }
    find(conditions, ConditionType::Reconciling).map(|c| moment(&c.last_transition_time))
}
