//! What the pace of looks and retries of an object depends on.

use std::time::Duration;

use crate::controller::backoff::Failure;
use crate::controller::context::{Note, ObjectName};
use crate::controller::queue::{Lane, Next};
use crate::domain::condition::{ConditionType, Reason, Standing, Truth};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{Depth, Observed};
use crate::domain::source::SourcesSeen;
use crate::execute::Outcome;
use crate::plan::finding::Finding;
use crate::plan::step::Step;
use crate::plan::{NextLook, Plan};

/// What of the pace depends neither on the plan nor on what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// The time.
    pub now: Moment,
    /// The longest pause between looks at something that is on its way.
    pub slowest: Duration,
    /// Between 0 and 1: how far an object's looks at rest are from those of others.
    pub jitter: f64,
}

/// When the next pass is due. `written` is what went wrong with the status; `calls` is how many the pass made.
pub fn next(
    note: &mut Note,
    plan: &Plan,
    outcome: &Outcome,
    written: Option<&Fault>,
    calls: u32,
    rhythm: Rhythm,
) -> Next {
    let Rhythm { now, slowest, jitter } = rhythm;
    if written.is_some_and(|fault| fault.class == FaultClass::Conflict) {
        return Next::After(Duration::from_millis(200), Lane::Fresh);
    }
    let failed_steps = outcome.failed.iter().map(|(step, fault)| (lasting(plan, step, fault), fault));
    let faults = failed_steps.chain(written.map(|fault| (fault.class, fault)));
    // A conflict says least of how long to wait; alone it waits too, for the next look may well show the same.
    let worst = faults.max_by_key(|(class, _)| (*class != FaultClass::Conflict, *class));
    if written.is_none() && goes_on_elsewhere(outcome) {
        return Next::Meanwhile(note.next(plan.next_look, now, slowest, jitter), Lane::Resync);
    }
    if let Some((class, fault)) = worst {
        let retry_after = fault.retry_after.map(Span::to_duration);
        return failed(note, now, class, retry_after, calls);
    }
    let stuck = plan.findings.iter().any(|f| {
        f.condition == ConditionType::Stalled && f.truth == Truth::True && f.reason.standing() == Standing::Stuck
    });
    if plan.steps.is_empty() && stuck && !plan.next_look.polling {
        return failed(note, now, FaultClass::Refused, None, calls);
    }
    if plan.steps.is_empty()
        && let Some(pause) = plan.next_look.asked
    {
        let retry_after = Some(pause.to_duration()).filter(|pause| !pause.is_zero());
        return failed(note, now, FaultClass::Throttled, retry_after, calls);
    }
    let unseen = plan.findings.iter().any(|f| f.condition != ConditionType::Ready && f.reason == Reason::Unreachable);
    if plan.steps.is_empty() && unseen {
        return failed(note, now, FaultClass::Transient, None, calls);
    }
    Next::After(note.next(plan.next_look, now, slowest, jitter), Lane::Resync)
}

/// Whether something was done in a region in which nothing failed. It goes on as if it were alone; that soon comes to its end,
/// and what failed elsewhere then waits as long as it has to. Who asks for a pause gets it at once.
fn goes_on_elsewhere(outcome: &Outcome) -> bool {
    let asks = |fault: &Fault| fault.class == FaultClass::Throttled || fault.retry_after.is_some();
    let fails = |region| outcome.failed.iter().any(|(step, _)| step.region().is_none_or(|failed| failed == region));
    !outcome.failed.is_empty()
        && !outcome.failed.iter().any(|(_, fault)| asks(fault))
        && outcome.done.iter().filter_map(Step::region).any(|region| !fails(region))
}

/// Another attempt, when the class of the failure says so; it will look at everything.
pub fn failed(note: &mut Note, now: Moment, class: FaultClass, retry_after: Option<Duration>, calls: u32) -> Next {
    let everything = NextLook { after: Span(0), depth: Depth::Everything, polling: false, asked: None };
    note.next(everything, now, Duration::ZERO, 0.0);
    Next::Failed(Failure::new(class).with_calls(calls).with_retry_after(retry_after))
}

/// The class of a fault as pauses are chosen by it: what the plan has given up to come by itself waits for a human.
fn lasting(plan: &Plan, step: &Step, fault: &Fault) -> FaultClass {
    let given_up = |f: &Finding| {
        matches!(f.reason, Reason::PrincipalMissing | Reason::CloudRoleRefused) && f.region.as_ref() == step.region()
    };
    if fault.class == FaultClass::Settling && plan.findings.iter().any(given_up) {
        return FaultClass::Refused;
    }
    fault.class
}

/// A fraction that is the same for the same object, so that looks at many objects spread evenly.
pub(super) fn jitter(name: &ObjectName) -> f64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let thousandths = u16::try_from(hasher.finish() % 1000).unwrap_or_default();
    f64::from(thousandths) / 1000.0
}

/// How many outside calls a pass made at least, for the budget of an object in a lasting error.
pub(super) fn observed_calls(observed: &Observed) -> u32 {
    let per_region = match observed.depth {
        Depth::State => 1,
        Depth::Policy => 2,
        Depth::Everything => 7,
    };
    let sources = if observed.sources == SourcesSeen::default() { 0 } else { 3 };
    2 + sources + per_region * u32::try_from(observed.regions.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::id::Region;
    use crate::plan::step::KeyRef;

    const RHYTHM: Rhythm = Rhythm { now: Moment(0), slowest: Duration::from_mins(1), jitter: 0.5 };

    fn next_after(outcome: &Outcome) -> Next {
        next(&mut Note::default(), &plan(vec![Step::RemoveFinalizer]), outcome, None, 3, RHYTHM)
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan {
            steps,
            findings: Vec::new(),
            next_look: NextLook { after: Span(0), depth: Depth::Everything, polling: false, asked: None },
            regions: BTreeMap::new(),
            looks: BTreeMap::new(),
            database: None,
            parts: None,
            deletion: None,
            human_steps: Vec::new(),
        }
    }

    fn fault(class: FaultClass) -> Fault {
        Fault::new(class, "call", "target", "said no")
    }

    fn failed(class: FaultClass) -> Next {
        Next::Failed(Failure::new(class).with_calls(3))
    }

    #[test]
    fn an_effect_that_conflicts_is_tried_again_after_a_pause_and_any_other_failure_decides_before_it() {
        use FaultClass::{Conflict, Throttled, Transient};
        let after = |classes: &[FaultClass]| {
            let all = classes.iter().map(|class| (Step::RemoveFinalizer, fault(*class)));
            next_after(&Outcome { failed: all.collect(), ..Outcome::default() })
        };
        assert_eq!(after(&[Conflict]), failed(Conflict));
        assert_eq!(after(&[Transient, Conflict]), failed(Transient));
        assert_eq!(after(&[Conflict, Throttled, Transient]), failed(Throttled));
        assert!(matches!(after(&[]), Next::After(..)));
    }

    /// Whoever says "slow down" to a read is heeded as to a write: with a pause that grows, and never at once.
    #[test]
    fn a_look_that_was_throttled_backs_off_and_a_slot_of_our_own_is_kept_to_the_moment() {
        let after = |asked: Option<i64>, steps: Vec<Step>| {
            let mut plan = plan(steps);
            plan.next_look = NextLook { after: Span(1_500), asked: asked.map(Span), ..plan.next_look };
            next(&mut Note::default(), &plan, &Outcome::default(), None, 3, RHYTHM)
        };
        assert_eq!(after(Some(0), Vec::new()), failed(FaultClass::Throttled));
        let asked = Failure::new(FaultClass::Throttled).with_calls(3).with_retry_after(Some(Duration::from_secs(7)));
        assert_eq!(after(Some(7_000), Vec::new()), Next::Failed(asked));
        // What was done in another region goes on first.
        assert!(matches!(after(Some(7_000), vec![Step::RemoveFinalizer]), Next::After(..)));
        assert!(matches!(after(None, Vec::new()), Next::After(pause, _) if pause == Duration::from_millis(1_500)));
    }

    #[test]
    fn a_region_in_which_nothing_failed_goes_on_without_the_pause_of_another() {
        let refused = fault(FaultClass::Refused);
        let step = |region: &str| {
            let region: Region = region.parse().unwrap();
            let key = format!("arn:aws:kms:{region}:111111111111:key/k1").parse().unwrap();
            Step::RecordKey { region, key: KeyRef::Arn(key) }
        };
        let after = |done: &[Step], faults: &[&Fault]| {
            let failed = faults.iter().map(|fault| (step("us-east-1"), (*fault).clone()));
            next_after(&Outcome { done: done.to_vec(), failed: failed.collect(), ..Outcome::default() })
        };
        assert!(matches!(after(&[step("eu-west-1")], &[&refused]), Next::Meanwhile(..)));
        for done in [vec![], vec![step("us-east-1")], vec![Step::AddFinalizer]] {
            assert_eq!(after(&done, &[&refused]), failed(FaultClass::Refused), "{done:?}");
        }
        // Who asks for a pause gets it, whatever else failed.
        let throttled = fault(FaultClass::Throttled);
        let asked = Fault { retry_after: Some(Span::seconds(7)), ..fault(FaultClass::Transient) };
        for asks in [&throttled, &asked] {
            assert!(matches!(after(&[step("eu-west-1")], &[&refused, asks]), Next::Failed(_)), "{asks:?}");
        }
    }
}
