//! What the findings come to for the object as a whole: Ready, Reconciling and Stalled.

use crate::domain::condition::{ConditionType, Reason, Standing, Truth};
use crate::domain::desired::Object;
use crate::domain::memory::Memory;
use crate::domain::moment::{Moment, Span};

use super::finding::Finding;

/// How long what was last known is still shown as Ready.
const LAST_KNOWN_FOR: Span = Span::seconds(3600);

/// The three findings about the object as a whole, by the gravest of the others.
pub(super) fn overall(findings: &[Finding], memory: &Memory, object: &Object, now: Moment) -> Vec<Finding> {
    let gravest = findings.iter().map(|f| f.reason.standing()).max().unwrap_or(Standing::Unseen);
    let mut cause: Vec<&Finding> = findings.iter().filter(|f| f.reason.standing() == gravest).collect();
    // What is said under the condition that it bears on comes before what only follows from it.
    cause.sort_by_key(|f| f.truth == Truth::Unknown);
    let reason = cause.first().map_or(Reason::NotLookedYet, |f| f.reason);
    let on_hold = findings.iter().any(|f| f.reason == Reason::OnHold);
    let paused = object.paused && !object.deleting;
    let truth = |holds| if holds { Truth::True } else { Truth::False };
    let ready = match gravest {
        // A pause takes nothing from Ready and gives nothing to it: a spec that waits for its end is not applied.
        Standing::Healing if paused => (truth(memory.was_ready), Reason::Paused),
        Standing::Working | Standing::Awaiting if paused => (Truth::False, Reason::Paused),
        Standing::Fine if on_hold => (truth(memory.was_ready), Reason::OnHold),
        Standing::Fine if paused => (Truth::True, Reason::Paused),
        Standing::Fine => (Truth::True, Reason::AsDeclared),
        Standing::Healing if memory.was_ready => (Truth::True, reason),
        Standing::Unseen if memory.was_ready => {
            let since = memory.unseen_since.unwrap_or(now);
            if now.since(since) < LAST_KNOWN_FOR {
                (Truth::True, Reason::LastKnown)
            } else {
                (Truth::Unknown, Reason::Unobservable)
            }
        }
        Standing::Healing | Standing::Unseen | Standing::Working | Standing::Stuck => (Truth::False, reason),
        Standing::Awaiting => (Truth::False, Reason::AwaitingAction),
    };
    let stalled = gravest == Standing::Stuck;
    let reconciling = !stalled && gravest != Standing::Fine;
    let (reconciling, stalled) = if paused { (false, false) } else { (reconciling, stalled) };
    let message = message(&cause, ready.1);
    let fix = cause.iter().find(|f| !f.fix.is_empty()).map(|f| f.fix.clone()).unwrap_or_default();
    let say = |condition, truth, reason| Finding {
        condition,
        region: None,
        truth,
        reason,
        message: message.clone(),
        fix: fix.clone(),
    };
    vec![
        say(ConditionType::Ready, ready.0, ready.1),
        say(ConditionType::Reconciling, truth(reconciling), if reconciling { reason } else { ready.1 }),
        say(ConditionType::Stalled, truth(stalled), if stalled { reason } else { ready.1 }),
    ]
}

/// The messages of the findings that decide, each once, with its region; of a pause or a hold, that it is one.
fn message(cause: &[&Finding], ready: Reason) -> String {
    let mut texts: Vec<String> = Vec::new();
    for finding in cause {
        let text = match &finding.region {
            Some(region) => format!("{region}: {}", finding.message),
            None => finding.message.clone(),
        };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if matches!(ready, Reason::Paused | Reason::OnHold | Reason::AsDeclared) || cause.is_empty() {
        return ready.text().to_owned();
    }
    texts.join(" ")
}

/// Whether the findings say that the object is ready.
pub(super) fn is_ready(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|f| f.condition == ConditionType::Ready && f.truth == Truth::True && f.reason == Reason::AsDeclared)
}
