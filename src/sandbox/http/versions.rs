//! Which version of an Atlas resource a request asks for, by its dated media type.
//!
//! Source: guide, "Versioned Atlas Administration API": the newest version that is not after the date is meant; none at
//! all is 406, one that was removed 410. The list of error codes has 400 `INVALID_VERSION_DATE` for what is no date.

use crate::sandbox::failure::ServiceError;
use crate::sandbox::ident::rfc3339;

/// A version of a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    /// Its date.
    pub(super) date: &'static str,
    /// From when it is removed.
    pub(super) sunset: Option<&'static str>,
    /// The sandbox does not have it, and answers as if it were removed already.
    pub(super) absent: bool,
}

const fn since(date: &'static str) -> Version {
    Version { date, sunset: None, absent: false }
}

const fn absent(date: &'static str) -> Version {
    Version { date, sunset: None, absent: true }
}

/// All but those below.
pub(super) const COMMON: &[Version] = &[since("2023-01-01")];
/// Control plane addresses.
pub(super) const CONTROL_PLANE: &[Version] = &[since("2023-11-15")];
/// Rate limits.
pub(super) const RATE_LIMITS: &[Version] = &[since("2025-03-12")];
/// Reading clusters.
pub(super) const CLUSTERS: &[Version] = &[absent("2023-01-01"), absent("2023-02-01"), since("2024-08-05")];
/// Creating and changing clusters.
pub(super) const CLUSTER_WRITES: &[Version] = &[
    absent("2023-01-01"),
    absent("2023-02-01"),
    Version { date: "2024-08-05", sunset: Some("2027-03-01"), absent: false },
    since("2024-10-23"),
];
/// Deleting clusters.
pub(super) const CLUSTER_ENDS: &[Version] = &[absent("2023-01-01"), since("2023-02-01")];

/// The version that a media type asks for.
pub(super) fn chosen(media: Option<&str>, known: &[Version], now_ms: i64) -> Result<Version, ServiceError> {
    let asked = media.and_then(|m| m.split(',').find_map(|one| one.trim().strip_prefix("application/vnd.atlas.")));
    let Some(asked) = asked.and_then(|rest| rest.split(['+', ';']).next()) else {
        return Err(not_acceptable("the request names no version of the resource"));
    };
    if asked == "preview" || asked == "upcoming" {
        return Err(not_acceptable("there is no such version of the resource"));
    }
    if !is_date(asked) {
        let text = format!("The version {asked} is not a date.");
        return Err(ServiceError::new(400, "INVALID_VERSION_DATE", text));
    }
    let newest = known.iter().rev().find(|v| v.date <= asked);
    let newest = newest.ok_or_else(|| not_acceptable("the resource has no version of that date or before"))?;
    let today = rfc3339(now_ms);
    if newest.absent || newest.sunset.is_some_and(|sunset| sunset <= &today[..10]) {
        let text = format!("The version {} of the resource was removed.", newest.date);
        return Err(ServiceError::new(410, "VERSION_REMOVED", text));
    }
    Ok(*newest)
}

fn not_acceptable(text: &str) -> ServiceError {
    ServiceError::new(406, "NOT_ACCEPTABLE", format!("Not acceptable: {text}."))
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, digits: usize, within: std::ops::RangeInclusive<u32>| {
        part.len() == digits && part.parse().is_ok_and(|n| within.contains(&n))
    };
    matches!(parts.as_slice(), [year, month, day]
        if number(year, 4, 1..=9999) && number(month, 2, 1..=12) && number(day, 2, 1..=31))
}
