//! The bodies of Astra's DevOps API, as far as we read them, and what they mean in our words.

use serde::Deserialize;

use crate::domain::id::Region;
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{Database, DatabaseState, RegionOffer};

/// `GET /v2/currentOrg`.
#[derive(Deserialize)]
pub(super) struct Organization {
    pub(super) id: String,
}

/// An item of `GET /v2/kms/.../accounts`.
#[derive(Deserialize)]
pub(super) struct ProviderAccount {
    pub(super) provider: String,
    pub(super) provider_id: String,
}

/// `GET /v2/kms/provider/{provider}/region/{region}`.
#[derive(Deserialize)]
pub(super) struct RegisteredKey {
    pub(super) aws: RegisteredAwsKey,
}

#[derive(Deserialize)]
pub(super) struct RegisteredAwsKey {
    #[serde(rename = "keyID")]
    pub(super) key_id: String,
    #[serde(default)]
    pub(super) region: Option<String>,
}

/// An item of `GET /v2/regions/serverless`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerlessRegion {
    name: String,
    cloud_provider: String,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    reserved_for_qualified_users: bool,
}

/// An item of `GET /v2/availableRegions`: a tier in a region.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClassicRegion {
    region: String,
    cloud_provider: String,
}

fn on_aws(provider: &str) -> bool {
    provider.eq_ignore_ascii_case("aws")
}

/// What the list of serverless regions, asked for with `filter-by-org=enabled`, says of one.
///
/// With that filter the list holds what the organization may use, reserved regions that were opened to it included
/// (the vendor's own clients pass `enabled` or `disabled`, and document that `enabled` in an item means nothing without
/// it). So `reservedForQualifiedUsers` alone closes nothing; it explains.
pub(super) fn serverless_offer(regions: &[ServerlessRegion], region: &Region) -> RegionOffer {
    let mut of_region = regions.iter().filter(|r| r.name == region.as_str() && on_aws(&r.cloud_provider)).peekable();
    if of_region.peek().is_none() {
        return RegionOffer::Locked(format!("{region} is not among the regions that Astra offers to the organization"));
    }
    let mut reserved = false;
    for item in of_region {
        if item.enabled != Some(false) {
            return RegionOffer::Open;
        }
        reserved |= item.reserved_for_qualified_users;
    }
    let why = if reserved { "reserved for qualified users" } else { "not enabled" };
    RegionOffer::Locked(format!("{region} is {why}: ask Astra to open it to the organization"))
}

/// What the list of classic regions says of one: it holds what the organization may use.
pub(super) fn classic_offer(regions: &[ClassicRegion], region: &Region) -> RegionOffer {
    if regions.iter().any(|r| r.region == region.as_str() && on_aws(&r.cloud_provider)) {
        RegionOffer::Open
    } else {
        RegionOffer::Locked(format!("{region} is not among the regions that Astra offers to the organization"))
    }
}

/// A database (schema `Database`). Nothing in it names the customer's key.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireDatabase {
    pub(super) id: String,
    status: String,
    pub(super) info: DatabaseInfo,
    #[serde(default)]
    creation_time: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    data_endpoint_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DatabaseInfo {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    cloud_provider: Option<String>,
    #[serde(default)]
    tier: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    datacenters: Option<Vec<Datacenter>>,
}

/// A region of a database.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Datacenter {
    #[serde(default)]
    id: Option<String>,
    region: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    data_endpoint_url: Option<String>,
}

impl Datacenter {
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) fn is_live(&self) -> bool {
        self.status.as_deref().is_none_or(|status| state(status) != DatabaseState::Terminated)
    }

    pub(super) fn into_id(self) -> Option<String> {
        self.id.filter(|id| !id.is_empty())
    }
}

impl WireDatabase {
    /// Whether the regions have to be asked for apart: a list may leave them out.
    pub(super) fn lacks_datacenters(&self) -> bool {
        self.info.datacenters.as_ref().is_none_or(Vec::is_empty) && self.state() != DatabaseState::Terminated
    }

    pub(super) fn state(&self) -> DatabaseState {
        state(&self.status)
    }

    /// Whether it may be on AWS: an answer may leave the provider out.
    pub(super) fn is_on_aws(&self) -> bool {
        self.info.cloud_provider.as_deref().is_none_or(on_aws)
    }

    /// Whether it is classic, by its tier (the spec's schema `Tier` has the sizes of classic databases and these two).
    pub(super) fn is_classic(&self) -> Option<bool> {
        let tier = self.info.tier.as_deref().filter(|tier| !tier.is_empty())?;
        if tier.eq_ignore_ascii_case("cloudnative") {
            return None;
        }
        Some(!tier.eq_ignore_ascii_case("serverless"))
    }

    /// The database in our words, with the regions that were asked for apart, if they were.
    pub(super) fn into_database(self, apart: Option<Vec<Datacenter>>) -> Database {
        let state = self.state();
        let Self { id, info, creation_time, message, data_endpoint_url, status: _ } = self;
        let DatabaseInfo { name, cloud_provider: _, tier, region, datacenters } = info;
        let datacenters = apart.or(datacenters).unwrap_or_default();
        let region = region.unwrap_or_default();
        let mut regions = std::collections::BTreeMap::new();
        for datacenter in &datacenters {
            // Some answers leave the state of a region out; then it is the database's.
            let own = datacenter.status.as_deref().map_or_else(|| state.clone(), self::state);
            // A region that was removed and added again is there twice.
            let known = regions.get(&datacenter.region);
            if known.is_none_or(|known| *known == DatabaseState::Terminated) {
                regions.insert(datacenter.region.clone(), own);
            }
        }
        if regions.is_empty() && !region.is_empty() {
            regions.insert(region.clone(), state.clone());
        }
        let mut endpoints: Vec<String> =
            data_endpoint_url.into_iter().chain(datacenters.into_iter().filter_map(|d| d.data_endpoint_url)).collect();
        endpoints.retain(|e| !e.is_empty());
        endpoints.sort();
        endpoints.dedup();
        Database {
            id,
            name: name.unwrap_or_default(),
            state,
            created_at: creation_time.as_deref().and_then(rfc3339),
            tier: tier.unwrap_or_default(),
            region,
            regions,
            message: message.unwrap_or_default(),
            endpoints,
            encryption: None,
        }
    }
}

/// The vendor's states are an open set: what is not known is on its way somewhere.
fn state(status: &str) -> DatabaseState {
    match status.to_ascii_uppercase().as_str() {
        "ACTIVE" => DatabaseState::Active,
        "ERROR" => DatabaseState::Failed(status.to_owned()),
        "TERMINATED" | "TERMINATING" => DatabaseState::Terminated,
        _ => DatabaseState::Busy(status.to_owned()),
    }
}

/// A time with any offset from UTC; the vendor's own example ends in `+00:00`.
fn rfc3339(text: &str) -> Option<Moment> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let (time, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let sign = match offset.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = hours.parse::<u8>().ok().map(i64::from)? * 60 + minutes.parse::<u8>().ok().map(i64::from)?;
    let local: Moment = format!("{time}Z").parse().ok()?;
    Some(local - Span::seconds(sign * minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_an_offset_are_read() {
        for (text, utc) in [
            ("2012-11-01T22:08:41+00:00", Some("2012-11-01T22:08:41Z")),
            ("2012-11-01T22:08:41.5+02:30", Some("2012-11-01T19:38:41Z")),
            ("2012-11-01T22:08:41-01:00", Some("2012-11-01T23:08:41Z")),
            ("2012-11-01T22:08:41Z", Some("2012-11-01T22:08:41Z")),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(rfc3339(text).map(|m| m.to_string()).as_deref(), utc, "{text}");
        }
    }
}
