//! Rate limits: a token bucket per set of endpoints and project.
//!
//! Source: guide, "Atlas Administration API rate limits" (2026-04-10; the vendor does not promise the numbers). Sets that
//! the page gives no numbers for are given those of the smaller ones.

use std::sync::Arc;

use serde::Serialize;

use super::{Atlas, PageQuery, Paged};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::world::World;

pub(super) const ROLES: &str = "Cloud Provider Access";
pub(super) const KEYS: &str = "Encryption at Rest using Customer Key Management";
pub(super) const CLUSTERS: &str = "Clusters";
pub(super) const PROJECTS: &str = "Projects";
pub(super) const IP_ADDRESSES: &str = "IP Addresses";
pub(super) const ROOT: &str = "Root";
pub(super) const LIMITS: &str = "Rate Limits Inspection";

/// Refill interval in seconds.
const INTERVAL_S: i64 = 60;

/// What is left in a bucket, in thousandths, and when that was counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Level {
    milli: i64,
    at_ms: i64,
}

/// A set of endpoints and its limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitSet {
    /// Name.
    pub endpoint_set_name: &'static str,
    /// Requests that a full bucket holds.
    pub capacity: u32,
    /// Requests that are added every [`RateLimitSet::refill_duration_seconds`].
    pub refill_rate: u32,
    /// Seconds.
    pub refill_duration_seconds: i64,
}

/// The answer to a call too many.
pub(in crate::sandbox) fn rate_limited(set: &str, retry_after_s: Option<u32>) -> ServiceError {
    let seconds = retry_after_s.unwrap_or(1);
    ServiceError {
        retry_after_s: Some(seconds),
        parameters: vec![set.to_owned(), seconds.to_string()],
        ..ServiceError::new(429, "RATE_LIMITED_TOKEN_BUCKET", format!("Rate limited. Retry after {seconds} seconds."))
    }
}

impl World {
    /// Capacity and refill of a set.
    fn limit_of(&self, set: &str) -> (u32, u32) {
        let capacity = self.atlas.settings.capacity.unwrap_or(if set == CLUSTERS { 10_000 } else { 2000 });
        (capacity, capacity.div_ceil(2))
    }

    /// Takes one request out of a bucket.
    pub(super) fn take_atlas(&mut self, scope: &str, set: &'static str) -> Result<(), ServiceError> {
        let (capacity, refill) = self.limit_of(set);
        if !self.atlas.settings.rate_limits {
            self.link.rate = Some((capacity, capacity.saturating_sub(1)));
            return Ok(());
        }
        let now_ms = self.now_ms;
        let full = i64::from(capacity) * 1000;
        let limits = &mut Arc::make_mut(&mut self.atlas).limits;
        let level = limits.entry((scope.to_owned(), set)).or_insert(Level { milli: full, at_ms: now_ms });
        let elapsed = (now_ms - level.at_ms).clamp(0, INTERVAL_S * 2000);
        level.milli = (level.milli + i64::from(refill) * elapsed / INTERVAL_S).min(full);
        level.at_ms = now_ms;
        if level.milli < 1000 {
            let wait_s = (1000 - level.milli) * INTERVAL_S / (i64::from(refill.max(1)) * 1000) + 1;
            self.link.rate = Some((capacity, 0));
            let wait_s = u32::try_from(wait_s).unwrap_or(1);
            let mut error = rate_limited(set, Some(wait_s));
            error.parameters.extend([capacity.to_string(), refill.to_string(), INTERVAL_S.to_string()]);
            return Err(error);
        }
        level.milli -= 1000;
        let left = u32::try_from(level.milli / 1000).unwrap_or(0);
        self.link.rate = Some((capacity, left));
        Ok(())
    }
}

impl Atlas<'_> {
    /// `GET /rateLimits`.
    pub fn rate_limits(&mut self, query: PageQuery) -> Result<Paged<RateLimitSet>, Failure> {
        self.on_org(("ListRateLimits", Access::Read), LIMITS, "", |world, _, _| {
            let of = |set: &'static str| {
                let (capacity, refill_rate) = world.limit_of(set);
                RateLimitSet { endpoint_set_name: set, capacity, refill_rate, refill_duration_seconds: INTERVAL_S }
            };
            query.of([ROLES, KEYS, CLUSTERS, PROJECTS, IP_ADDRESSES].map(of).into())
        })
    }
}
