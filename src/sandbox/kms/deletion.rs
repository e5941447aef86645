//! Scheduling the end of a key and taking it back.

use serde::Serialize;

use super::{KeyState, Kms, Needs, maybe_seconds};
use crate::sandbox::failure::{Failure, ServiceError};

/// Answer of `ScheduleKeyDeletion`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScheduledDeletion {
    /// Key ARN.
    pub key_id: String,
    /// ms since the epoch, absent while replicas exist; seconds on the wire.
    #[serde(rename = "DeletionDate", serialize_with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    pub deletion_at_ms: Option<i64>,
    /// `PendingDeletion`, or `PendingReplicaDeletion` of a primary with replicas.
    pub key_state: KeyState,
    /// 7 to 30.
    pub pending_window_in_days: i32,
}

impl Kms<'_> {
    /// The key is unusable at once and gone after the window (7 to 30 days, default 30).
    pub fn schedule_key_deletion(&mut self, key: &str, window_days: Option<i32>) -> Result<ScheduledDeletion, Failure> {
        self.alter("ScheduleKeyDeletion", key, Needs::NotPending, |world, key| {
            let days = window_days.unwrap_or(30);
            if !(7..=30).contains(&days) {
                let text = format!("1 validation error detected: Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint: Member must be between 7 and 30");
                return Err(ServiceError::validation(text));
            }
            let waits = !key.is_replica() && !world.replicas(key).is_empty();
            key.schedule_deletion(world.now_ms, days, waits);
            Ok(ScheduledDeletion {
                key_id: key.arn.clone(),
                deletion_at_ms: key.deletion_at_ms,
                key_state: key.state,
                pending_window_in_days: days,
            })
        })
    }

    /// Takes the deletion back. The key is then disabled, not enabled. Gives its ARN.
    pub fn cancel_key_deletion(&mut self, key: &str) -> Result<String, Failure> {
        self.alter("CancelKeyDeletion", key, Needs::Pending, |_, key| {
            key.set_state(KeyState::Disabled);
            Ok(key.arn.clone())
        })
    }
}
