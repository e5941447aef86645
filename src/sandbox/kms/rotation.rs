//! Automatic rotation of the key material.

use serde::Serialize;

use super::{KeyState, Kms, Needs, maybe_seconds};
use crate::sandbox::failure::{Failure, ServiceError};

/// A day in milliseconds.
pub(super) const DAY_MS: i64 = 86_400_000;

/// Automatic rotation as it was switched on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::sandbox) struct Rotation {
    pub(in crate::sandbox) period_days: i32,
    since_ms: i64,
}

/// Answer of `GetKeyRotationStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RotationStatus {
    /// Key ARN.
    pub key_id: String,
    /// Whether the material is rotated; false while pending deletion.
    pub key_rotation_enabled: bool,
    /// 90 to 2560, if enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_period_in_days: Option<i32>,
    /// ms since the epoch; seconds on the wire.
    #[serde(rename = "NextRotationDate", serialize_with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    pub next_rotation_ms: Option<i64>,
}

impl Kms<'_> {
    /// Switches rotation on, or changes its period (90 to 2560 days). One that is not named is 365, whatever it was
    /// (KMS API reference, `RotationPeriodInDays` of `EnableKeyRotation`).
    pub fn enable_key_rotation(&mut self, key: &str, period_days: Option<i32>) -> Result<(), Failure> {
        self.alter("EnableKeyRotation", key, Needs::Enabled, |world, key| {
            let period_days = period_days.unwrap_or(365);
            if !(90..=2560).contains(&period_days) {
                let text = format!("1 validation error detected: Value '{period_days}' at 'rotationPeriodInDays' failed to satisfy constraint: Member must be between 90 and 2560");
                return Err(ServiceError::validation(text));
            }
            key.primary_only()?;
            key.rotation = Some(Rotation { period_days, since_ms: world.now_ms });
            Ok(())
        })
    }

    /// Switches rotation off.
    pub fn disable_key_rotation(&mut self, key: &str) -> Result<(), Failure> {
        self.alter("DisableKeyRotation", key, Needs::Enabled, |_, key| {
            key.primary_only()?;
            key.rotation = None;
            Ok(())
        })
    }

    /// Whether, how often and when next.
    pub fn get_key_rotation_status(&mut self, key: &str) -> Result<RotationStatus, Failure> {
        self.look("GetKeyRotationStatus", key, |world, _, key| {
            let primary = key
                .primary_region
                .as_ref()
                .filter(|_| key.is_replica())
                .and_then(|region| world.present(key.account(), region)?.keys.get(key.id.as_str()));
            let rotation = primary.map_or(key, |k| k).rotation.as_ref();
            let pending = matches!(key.state, KeyState::PendingDeletion | KeyState::PendingReplicaDeletion);
            let rotation = rotation.filter(|_| !pending);
            Ok(RotationStatus {
                key_id: key.arn.clone(),
                key_rotation_enabled: rotation.is_some(),
                rotation_period_in_days: rotation.map(|r| r.period_days),
                next_rotation_ms: rotation.map(|r| r.next_ms(world.now_ms)),
            })
        })
    }
}

impl Rotation {
    fn next_ms(&self, now_ms: i64) -> i64 {
        let period = i64::from(self.period_days) * DAY_MS;
        let over = (now_ms - self.since_ms).max(0) / period;
        self.since_ms + (over + 1) * period
    }
}

impl super::Key {
    /// Rotation of a multi-Region key is set on its primary only (KMS guide, "Rotating multi-Region keys").
    fn primary_only(&self) -> Result<(), ServiceError> {
        if self.is_replica() {
            let text = "Rotation of a replica key is managed on its primary key";
            return Err(ServiceError::aws("UnsupportedOperationException", text));
        }
        Ok(())
    }
}
