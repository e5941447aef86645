//! A plan in words, as `cmk-operator plan` and `why` print it.

use std::fmt::Write as _;

use crate::domain::condition::{ConditionType, Truth};

use super::Plan;
use super::step::{KeyRef, Step};

/// One line a step, then what a human should know.
pub fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    if plan.steps.is_empty() {
        text.push_str("nothing to do\n");
    }
    for (number, step) in plan.steps.iter().enumerate() {
        let _ = writeln!(text, "{:>3}. {}", number + 1, step_text(step));
    }
    for finding in &plan.findings {
        if finding.truth == Truth::True && finding.condition != ConditionType::Ready {
            continue;
        }
        let place = finding.region.as_ref().map(|r| format!(" {r}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "  {}={} {}{place}: {}",
            finding.condition.as_str(),
            finding.truth.as_str(),
            finding.reason.as_str(),
            finding.text()
        );
    }
    text
}

/// A step in one sentence.
pub fn step_text(step: &Step) -> String {
    match step {
        Step::AddFinalizer => "add the finalizer".to_owned(),
        Step::RemoveFinalizer => "remove the finalizer and let the object go".to_owned(),
        Step::RecordKeyIntent { region, .. } => format!("{region}: write down that a key is about to be created"),
        Step::CreateKey { region, .. } => format!("{region}: create a KMS key"),
        Step::ReplicateKey { region, primary, .. } => format!("{region}: make a replica of {primary}"),
        Step::CreateAlias { region, alias, key } => format!("{region}: point {alias} at {}", key_text(key)),
        Step::RecordKey { region, key } => format!("{region}: write down {}", key_text(key)),
        Step::PutPolicy { region, key, .. } => format!("{region}: write the policy of {key}"),
        Step::EnableRotation { region, key, period_days } => format!("{region}: rotate {key} every {period_days} days"),
        Step::UpdateDescription { region, key, description } => format!("{region}: describe {key} as {description:?}"),
        Step::Tag { region, key, tags } => {
            let names: Vec<_> = tags.keys().map(String::as_str).collect();
            format!("{region}: tag {key} with {}", names.join(", "))
        }
        Step::RecordRegistrationIntent { region, .. } => {
            format!("{region}: write down that the key is about to be registered")
        }
        Step::Register { region, key, .. } => format!("{region}: register {key}"),
        Step::RecordDeployIntent { intent } => {
            format!("{}: write down that a deployment is about to start", intent.region)
        }
        Step::CreateDatabase { region, request, .. } => format!("{region}: create database {:?}", request.name),
        Step::RecordDatabase { region, .. } => format!("{region}: write down the database's id"),
        Step::NoteDatabase { region, key, database, .. } => {
            format!("{region}: note on key {key} that database {database} is this object's")
        }
        Step::AddRegion { region, database, .. } => format!("{region}: add the region to database {database}"),
        Step::CreatePart { region, database, part, .. } => {
            format!("{region}: create {:?}, of size {}, in database {database}", part.name, part.size)
        }
        Step::EncryptDatabase { region, database, .. } => format!("{region}: put database {database} under the key"),
        Step::Role(step) => step.text(),
        Step::CancelDeletion { region, key } => format!("{region}: take back the deletion of key {key}"),
        Step::EnableKey { region, key } => format!("{region}: enable key {key}"),
        Step::MarkDeletion { region, key, .. } => {
            format!("{region}: mark {key} as scheduled for deletion by the operator")
        }
        Step::ScheduleDeletion { region, key, window_days, .. } => {
            format!("{region}: schedule {key} for deletion in {window_days} days")
        }
        Step::RemoveRegion { region, database, .. } => {
            format!("{region}: remove the region, with its data, from database {database}")
        }
        Step::TerminateDatabase { database, .. } => format!("delete database {database} with its data"),
    }
}

fn key_text(key: &KeyRef) -> String {
    match key {
        KeyRef::Arn(arn) => arn.to_string(),
        KeyRef::CreatedInThisPass => "the new key".to_owned(),
    }
}
