//! Events: one for each condition that changed, once.

use std::collections::BTreeMap;

use kube::runtime::events::{Event, EventType};
use tracing::warn;

use crate::api::condition::{Condition, ConditionType};
use crate::controller::context::Context;
use crate::controller::kind::Kind;
use crate::domain::condition::{Reason, Standing};
use crate::plan::step::Site;

/// The longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Publishes an event for each condition whose value or reason changed since an earlier status, and a warning for databases
/// that became known to be unprotected.
pub async fn publish<K: Kind, A, U>(context: &Context<A, U>, object: &K, before: Option<&K::Status>) {
    let Some(status) = object.status() else { return };
    let grown = K::unprotected(status) > before.map_or(0, K::unprotected);
    let old: BTreeMap<&str, &Condition> =
        before.map(K::conditions).unwrap_or_default().iter().map(|c| (c.type_.as_str(), c)).collect();
    let mut events = Vec::new();
    for condition in K::conditions(status) {
        let old = old.get(condition.type_.as_str());
        let counted = condition.reason == Reason::UnprotectedDatabases.as_str();
        // A number that only falls, or is the same after something graver has passed, is no news.
        let changed =
            old.is_none_or(|old| old.status != condition.status || (old.reason != condition.reason && !counted));
        let silent = [ConditionType::Reconciling.as_str(), ConditionType::Stalled.as_str()];
        if changed && !silent.contains(&condition.type_.as_str()) && condition.reason != Reason::NotLookedYet.as_str() {
            events.push(event(condition));
        }
    }
    if grown {
        events.push(warning());
    }
    for event in events {
        let _ = context.witness.before(Site::PublishEvent);
        let published = context.recorder.publish(&event, &object.object_ref(&())).await;
        let _ = context.witness.after(Site::PublishEvent, None);
        if let Err(error) = published {
            warn!(%error, "an event was not published");
        }
    }
}

fn event(condition: &Condition) -> Event {
    let standing = Reason::ALL.iter().find(|r| r.as_str() == condition.reason).map(|r| r.standing());
    Event {
        type_: if standing == Some(Standing::Stuck) { EventType::Warning } else { EventType::Normal },
        reason: condition.reason.clone(),
        note: Some(cut(&format!("{}={}: {}", condition.type_, condition.status, in_words(&condition.message)))),
        action: condition.type_.clone(),
        secondary: None,
    }
}

/// Without the number: the API keeps the note of the first of a series of like events.
fn warning() -> Event {
    let note = "There are databases that are older than the registration of the key of their region, so they are not encrypted with it: status.regions[].unprotectedDatabases counts and names them. This is told again whenever they become more.";
    Event {
        type_: EventType::Warning,
        reason: Reason::UnprotectedDatabases.as_str().to_owned(),
        note: Some(note.to_owned()),
        action: ConditionType::Registered.as_str().to_owned(),
        secondary: None,
    }
}

/// A message without the JSON that a human is to paste: the condition has it whole. It would not fit here, and what it may
/// hold, such as the external id that a role has to ask for, is not to be kept with the events.
fn in_words(message: &str) -> String {
    match message.split_once("{\"") {
        Some((words, _)) => format!("{words}... (the whole of it is in the condition)"),
        None => message.to_owned(),
    }
}

/// A note cut at a character's end.
fn cut(note: &str) -> String {
    let mut end = note.len().min(LONGEST_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}
