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

/// Publishes an event for each condition whose value or reason changed.
pub async fn publish<K: Kind, A, U>(context: &Context<A, U>, object: &K, before: &[Condition], after: &[Condition]) {
    let old: BTreeMap<&str, &Condition> = before.iter().map(|c| (c.type_.as_str(), c)).collect();
    for condition in after {
        let changed = old
            .get(condition.type_.as_str())
            .is_none_or(|old| old.status != condition.status || old.reason != condition.reason);
        let silent = [ConditionType::Reconciling.as_str(), ConditionType::Stalled.as_str()];
        if !changed || silent.contains(&condition.type_.as_str()) || condition.reason == Reason::NotLookedYet.as_str() {
            continue;
        }
        let _ = context.witness.before(Site::PublishEvent);
        let published = context.recorder.publish(&event(condition), &object.object_ref(&())).await;
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
        note: Some(cut(&format!("{}={}: {}", condition.type_, condition.status, condition.message))),
        action: condition.type_.clone(),
        secondary: None,
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
