//! A plan for people.

use std::fmt::Write as _;

use super::manifests::Refusal;
use super::{Planned, Report, Verdict};
use crate::domain::condition::{Actor, ConditionType, Standing, Truth};
use crate::plan::finding::Finding;

/// The whole plan.
pub fn report(report: &Report) -> String {
    let mut text = String::new();
    for Refusal { object, field, message } in &report.refused {
        let field = if field.is_empty() { String::new() } else { format!(" {field}:") };
        let _ = writeln!(text, "refused: {object}:{field} {message}");
    }
    for ignored in &report.ignored {
        let _ = writeln!(text, "ignored: {ignored}");
    }
    for assumed in &report.assumed {
        let _ = writeln!(text, "assumed: {assumed}");
    }
    for planned in &report.objects {
        object(&mut text, planned);
    }
    let steps: usize = report.objects.iter().map(|object| object.steps.len()).sum();
    let outside = report.objects.iter().flat_map(|object| &object.steps).filter(|step| step.outside).count();
    let steps = if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") };
    let sum = match report.verdict() {
        Verdict::Nothing => "nothing to do".to_owned(),
        Verdict::Refused if report.objects.is_empty() => {
            "refused: nothing is planned until all manifests are right".to_owned()
        }
        Verdict::Refused => format!("refused: {steps}, and then it goes no further"),
        Verdict::Changes => format!("{steps}, {outside} of them outside Kubernetes"),
    };
    let _ = writeln!(text, "\n{sum}");
    text
}

fn object(text: &mut String, planned: &Planned) {
    let Planned { kind, namespace, name, steps, findings } = planned;
    let _ = writeln!(text, "\n{kind} {namespace}/{name}");
    for step in steps {
        let _ = writeln!(text, "{:>4}. {}", step.number, step.text);
        for detail in &step.details {
            let _ = writeln!(text, "        {detail}");
        }
    }
    let begin = if steps.is_empty() { "now" } else { "then" };
    if let Some(ready) = planned.finding(ConditionType::Ready) {
        let _ = writeln!(text, "  {begin}: Ready={} {}: {}", ready.truth.as_str(), ready.reason.as_str(), ready.text());
    }
    let whole = [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled];
    let open: Vec<&Finding> =
        findings.iter().filter(|f| !whole.contains(&f.condition) && f.truth != Truth::True).collect();
    // What is only unknown because of something else that is said.
    let follows = |finding: &Finding| {
        let said = |other: &&&Finding| other.truth == Truth::False && other.reason == finding.reason;
        finding.truth == Truth::Unknown && open.iter().any(|other| said(&other))
    };
    for finding in open.iter().filter(|finding| !follows(finding)) {
        self::finding(text, finding);
    }
}

fn finding(text: &mut String, finding: &Finding) {
    let Finding { condition, region, truth, reason, .. } = finding;
    let place = region.as_ref().map(|region| format!("{region}: ")).unwrap_or_default();
    let actor = reason.actor();
    let who = if reason.standing() == Standing::Fine || actor == Actor::Nobody {
        String::new()
    } else {
        format!(" [{}]", actor.as_str())
    };
    let (condition, truth, reason) = (condition.as_str(), truth.as_str(), reason.as_str());
    let _ = writeln!(text, "  {place}{condition}={truth} {reason}: {}{who}", finding.text());
}
