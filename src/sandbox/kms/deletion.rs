//! Scheduling the end of a key and taking it back.

use serde::Serialize;

use super::rotation::DAY_MS;
use super::{KeyState, Kms, Needs, seconds};
use crate::sandbox::failure::{Failure, ServiceError};

/// Answer of `ScheduleKeyDeletion`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScheduledDeletion {
    /// Key ARN.
    pub key_id: String,
    /// ms since the epoch; seconds on the wire.
    #[serde(rename = "DeletionDate", serialize_with = "seconds")]
    pub deletion_at_ms: i64,
    /// Always `PendingDeletion`.
    pub key_state: KeyState,
    /// 7 to 30.
    pub pending_window_in_days: i32,
}

impl Kms<'_> {
    /// The key is unusable at once and gone after the window (7 to 30 days, default 30).
    pub fn schedule_key_deletion(
        &mut self,
        key: &str,
        window_days: Option<i32>,
    ) -> Result<ScheduledDeletion, Failure> {
        self.alter("ScheduleKeyDeletion", key, Needs::NotPending, |world, key| {
            let days = window_days.unwrap_or(30);
            if !(7..=30).contains(&days) {
                let text = format!("1 validation error detected: Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint: Member must be between 7 and 30");
                return Err(ServiceError::validation(text));
            }
            let at = world.now_ms + i64::from(days) * DAY_MS;
            key.state = KeyState::PendingDeletion;
            key.deletion_at_ms = Some(at);
            Ok(ScheduledDeletion {
                key_id: key.arn.clone(),
                deletion_at_ms: at,
                key_state: key.state,
                pending_window_in_days: days,
            })
        })
    }

    /// Takes the deletion back. The key is then disabled, not enabled. Gives its ARN.
    pub fn cancel_key_deletion(&mut self, key: &str) -> Result<String, Failure> {
        self.alter("CancelKeyDeletion", key, Needs::Pending, |_, key| {
            key.state = KeyState::Disabled;
            key.deletion_at_ms = None;
            Ok(key.arn.clone())
        })
    }
}
