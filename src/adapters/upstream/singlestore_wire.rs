//! The bodies of `SingleStore`'s Management API, as far as we read them, and what they mean in our words.

use serde::Deserialize;

use super::singlestore::{Copy, CopyState, Group, GroupState, OfferedRegion, Operation, OperationState, Replication};
use crate::domain::id::Region;

/// `GET /v1/organizations/current`.
#[derive(Deserialize)]
pub(super) struct Organization {
    #[serde(rename = "orgID")]
    pub(super) id: String,
}

/// An item of `GET /v1/regions` and `GET /v1/workspaceGroups/{id}/storage/DR/regions`: an id, and a name for people.
#[derive(Deserialize)]
pub(super) struct RegionById {
    provider: String,
    region: String,
    #[serde(rename = "regionID")]
    id: String,
}

/// An item of `GET /v2/regions`: the name of the cloud itself, and the one for people.
#[derive(Deserialize)]
pub(super) struct RegionByName {
    provider: String,
    region: String,
    #[serde(rename = "regionName")]
    name: String,
}

fn on_aws(provider: &str) -> bool {
    provider.eq_ignore_ascii_case("aws")
}

/// The regions of AWS with names and ids: the two lists have nothing in common but provider and the name for people,
/// which is used by two clouds. A name for people that stands for several ids or names is nobody's.
pub(super) fn joined(ids: &[RegionById], names: &[RegionByName]) -> Vec<OfferedRegion> {
    let one = |item: &RegionByName| {
        let mut same = ids.iter().filter(|r| on_aws(&r.provider) && r.region == item.region);
        let (Some(found), None) = (same.next(), same.next()) else { return None };
        if names.iter().filter(|n| on_aws(&n.provider) && n.region == item.region).count() > 1 {
            return None;
        }
        let region: Region = item.name.parse().ok()?;
        Some(OfferedRegion { id: found.id.clone(), region, display: item.region.clone() })
    };
    names.iter().filter(|item| on_aws(&item.provider)).filter_map(one).collect()
}

/// The answer to a creation. The password in it is not ours to read.
#[derive(Deserialize)]
pub(super) struct Created {
    #[serde(rename = "workspaceGroupID")]
    pub(super) id: String,
}

/// A workspace group. Nothing in it names the customer's key.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireGroup {
    #[serde(rename = "workspaceGroupID")]
    pub(super) id: String,
    pub(super) name: String,
    state: String,
    #[serde(rename = "regionID")]
    region_id: String,
    #[serde(default)]
    region_name: Option<String>,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    terminated_at: Option<String>,
    #[serde(default)]
    created_at: Option<String>,
}

impl WireGroup {
    pub(super) fn into_group(self) -> Group {
        let gone = self.terminated_at.is_some_and(|at| !at.is_empty());
        let state = match self.state.as_str() {
            _ if gone => GroupState::Terminated,
            "ACTIVE" => GroupState::Active,
            "PENDING" => GroupState::Pending,
            "FAILED" => GroupState::Failed,
            "TERMINATED" => GroupState::Terminated,
            _ => GroupState::Other(self.state),
        };
        // A region of another cloud may be spelt like one of AWS.
        let elsewhere = self.provider.as_deref().is_some_and(|p| !on_aws(p));
        let region = self.region_name.filter(|_| !elsewhere).and_then(|name| name.parse().ok());
        let created_at = self.created_at.and_then(|at| at.parse().ok());
        Group { id: self.id, name: self.name, state, region_id: self.region_id, region, created_at }
    }
}

/// `GET /v1/workspaceGroups/{id}/storage/DR/status`.
#[derive(Deserialize)]
pub(super) struct WireStatus {
    compute: WireCompute,
    storage: Vec<WireCopy>,
}

#[derive(Deserialize)]
struct WireCompute {
    #[serde(rename = "storageDRType")]
    operation: String,
    #[serde(rename = "storageDRState")]
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCopy {
    database_name: String,
    region: String,
    duplication_state: String,
}

impl From<WireStatus> for Replication {
    fn from(status: WireStatus) -> Self {
        let WireStatus { compute, storage } = status;
        let operation = match compute.operation.as_str() {
            "Failover" => Operation::Failover,
            "Failback" => Operation::Failback,
            // The names of today, and those of the published spec.
            "PreProvisionStart" | "DRTestStart" => Operation::PreProvisionStart,
            "PreProvisionStop" | "DRTestEnd" => Operation::PreProvisionStop,
            _ => Operation::Other(compute.operation),
        };
        let state = match compute.state.as_str() {
            "Active" => OperationState::Active,
            "Completed" => OperationState::Completed,
            "Failed" | "Expired" | "Canceled" => OperationState::Failed,
            _ => OperationState::Other(compute.state),
        };
        let copy = |copy: WireCopy| Copy {
            database: copy.database_name,
            region: copy.region,
            state: match copy.duplication_state.as_str() {
                "Pending" => CopyState::Pending,
                "Active" => CopyState::Active,
                "Inactive" => CopyState::Inactive,
                "Error" => CopyState::Error,
                _ => CopyState::Other(copy.duplication_state),
            },
        };
        Self { operation, state, copies: storage.into_iter().map(copy).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_id(provider: &str, region: &str, id: &str) -> RegionById {
        RegionById { provider: provider.into(), region: region.into(), id: id.into() }
    }

    fn by_name(provider: &str, region: &str, name: &str) -> RegionByName {
        RegionByName { provider: provider.into(), region: region.into(), name: name.into() }
    }

    #[test]
    fn regions_are_joined_by_provider_and_the_name_for_people() {
        let ids = [by_id("AWS", "Ireland", "1"), by_id("GCP", "Ireland", "2"), by_id("AWS", "Twice", "3")];
        let more = [by_id("AWS", "Twice", "4"), by_id("AWS", "Two names", "5"), by_id("aws", "Lower", "6")];
        let names = [
            by_name("GCP", "Ireland", "europe-west1"),
            by_name("AWS", "Ireland", "eu-west-1"),
            by_name("AWS", "Twice", "us-east-1"),
            by_name("AWS", "Two names", "us-west-1"),
            by_name("AWS", "Two names", "us-west-2"),
            by_name("AWS", "No id", "us-east-2"),
            by_name("AWS", "Lower", "eu-central-1"),
        ];
        let all: Vec<_> = ids.into_iter().chain(more).collect();
        let found: Vec<_> = joined(&all, &names).into_iter().map(|r| (r.region.to_string(), r.id)).collect();
        assert_eq!(found, [("eu-west-1".to_owned(), "1".to_owned()), ("eu-central-1".to_owned(), "6".to_owned())]);
    }
}
