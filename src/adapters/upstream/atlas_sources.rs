//! From where Atlas calls KMS: its control plane, and the nodes of the project's clusters.
//!
//! What counts is outbound; the vendor names these addresses for exactly this, "so that Atlas can communicate with your
//! webhooks and KMS" (<https://www.mongodb.com/docs/api/doc/atlas-admin-api-v2/>, `getGroupIpAddresses` and
//! `listControlPlaneIpAddresses`).
//!
//! # What is inferred
//! - *Every provider's* addresses of the control plane count, and those of its gateways: nobody says which part calls KMS.
//! - *A cluster that is not in the list of addresses* has none that are known yet.

use std::collections::{BTreeMap, BTreeSet};

use futures::join;
use serde::Deserialize;

use super::atlas::Atlas;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::source::{NoSource, Source, SourcesOf, SourcesSeen};
use crate::ports::Session;

const CONTROL_PLANE: &str = "GET /unauth/controlPlaneIPAddresses";
const CONTROL_PLANE_VERSION: &str = "application/vnd.atlas.2023-11-15+json";
const PROJECT: &str = "GET /groups/{groupId}/ipAddresses";

/// `GET /unauth/controlPlaneIPAddresses`, as far as it is read.
#[derive(Deserialize)]
struct ControlPlane {
    #[serde(default)]
    outbound: ByProvider,
    #[serde(default)]
    gateways: Vec<Gateway>,
}

/// Addresses by provider and by its region.
type ByProvider = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[derive(Deserialize)]
struct Gateway {
    #[serde(default)]
    outbound: ByProvider,
}

impl ControlPlane {
    fn sources(&self) -> Result<BTreeSet<Source>, NoSource> {
        let providers = self.gateways.iter().map(|gateway| &gateway.outbound).chain([&self.outbound]);
        let regions = providers.flat_map(BTreeMap::values).flat_map(BTreeMap::values);
        regions.flatten().map(|text| text.parse()).collect()
    }
}

/// `GET /groups/{groupId}/ipAddresses`.
#[derive(Deserialize)]
struct OfProject {
    #[serde(default)]
    services: Services,
}

#[derive(Default, Deserialize)]
struct Services {
    #[serde(default)]
    clusters: Vec<OfCluster>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfCluster {
    #[serde(default)]
    cluster_name: String,
    #[serde(default)]
    outbound: Vec<String>,
    #[serde(default)]
    future_outbound: Vec<String>,
}

impl Atlas {
    /// From where the cloud calls.
    pub(super) async fn sources(&self, session: &Session) -> SourcesSeen {
        let (control, databases) = join!(self.control_plane(session), self.of_clusters(session));
        SourcesSeen {
            control: control.map(|all| Some(all).filter(|all| !all.is_empty())).into(),
            databases: databases.map(|all| Some(all).filter(|all| !all.is_empty())).into(),
        }
    }

    async fn control_plane(&self, session: &Session) -> Result<BTreeSet<Source>, Fault> {
        let path = "/api/atlas/v2/unauth/controlPlaneIPAddresses";
        let shown: ControlPlane = self.read_openly(session, CONTROL_PLANE, path, CONTROL_PLANE_VERSION).await?;
        shown.sources().map_err(|problem| broken(CONTROL_PLANE, session, &problem))
    }

    /// Every cluster of the project with its addresses; also one that is only in the list of addresses.
    async fn of_clusters(&self, session: &Session) -> Result<Vec<SourcesOf>, Fault> {
        let target = &session.scope.id;
        let (clusters, shown) =
            join!(self.list(session, target), self.read::<OfProject>(session, PROJECT, "/ipAddresses"));
        let (clusters, shown) = (clusters?, shown?);
        let mut all: BTreeMap<String, SourcesOf> = clusters
            .iter()
            .map(|cluster| {
                let of = SourcesOf {
                    name: cluster.name.clone(),
                    changing: cluster.changing(),
                    uses_key: cluster.uses_key(),
                    ..SourcesOf::default()
                };
                (cluster.name.clone(), of)
            })
            .collect();
        for addresses in shown.services.clusters {
            let parsed = |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<Source>, _>>();
            let wrong = |problem: NoSource| broken(PROJECT, session, &problem);
            let entry = all.entry(addresses.cluster_name.clone()).or_default();
            entry.name.clone_from(&addresses.cluster_name);
            entry.now.extend(parsed(&addresses.outbound).map_err(wrong)?);
            entry.announced.extend(parsed(&addresses.future_outbound).map_err(wrong)?);
        }
        Ok(all.into_values().collect())
    }
}

/// An answer that does not say what it should says nothing.
fn broken(operation: &str, session: &Session, problem: &NoSource) -> Fault {
    Fault::new(FaultClass::Terminal, operation, &session.scope.id, problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_outbound_address_of_the_control_plane_counts_and_no_inbound_one() {
        let of = |ip: &str| json!({ "region": [ip] });
        let shown: ControlPlane = serde_json::from_value(json!({
            "inbound": { "aws": of("192.0.2.1") },
            "outbound": { "aws": of("192.0.2.2/32"), "azure": of("192.0.2.3"), "gcp": {} },
            "gateways": [{ "name": "g", "inbound": { "aws": of("192.0.2.4") }, "outbound": { "aws": of("192.0.2.5") } }],
        }))
        .unwrap();
        let texts: Vec<String> = shown.sources().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["192.0.2.2/32", "192.0.2.3/32", "192.0.2.5/32"]);
        let empty: ControlPlane = serde_json::from_value(json!({})).unwrap();
        assert!(empty.sources().unwrap().is_empty());
    }
}
