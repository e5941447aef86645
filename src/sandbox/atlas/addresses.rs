//! Where calls of Atlas come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cluster::ClusterState;
use super::limits::{IP_ADDRESSES, ROOT};
use super::{About, Atlas, ProjectRole};
use crate::sandbox::failure::Failure;
use crate::sandbox::fault::Access;
use crate::sandbox::world::{Call, Service, World};

/// The control plane's addresses, by AWS region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlPlane {
    /// Where it is called.
    pub inbound: BTreeMap<String, Vec<String>>,
    /// Where it calls from.
    pub outbound: BTreeMap<String, Vec<String>>,
}

impl Default for ControlPlane {
    fn default() -> Self {
        let of = |ip: &str| BTreeMap::from([("us-east-1".to_owned(), vec![format!("{ip}/32")])]);
        Self { inbound: of("192.0.2.10"), outbound: of("192.0.2.20") }
    }
}

impl ControlPlane {
    /// Single addresses that it calls from; a larger block stands for its first.
    pub(super) fn sources(&self) -> Vec<String> {
        let all = self.outbound.values().flatten();
        all.map(|block| block.split('/').next().unwrap_or_default().to_owned()).collect()
    }
}

/// The addresses of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Addresses {
    /// Where it is called.
    pub inbound: Vec<String>,
    /// Where its nodes call from.
    pub outbound: Vec<String>,
    /// Announced.
    pub future_inbound: Vec<String>,
    /// Announced.
    pub future_outbound: Vec<String>,
}

/// An item of a project's list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAddresses {
    /// Name.
    pub cluster_name: String,
    /// Addresses.
    #[serde(flatten)]
    pub addresses: Addresses,
}

impl Atlas<'_> {
    /// `GET /groups/{groupId}/ipAddresses`. A cluster that is still being made is not there yet (made up: the vendor does
    /// not say when it appears).
    pub fn ip_addresses(&mut self, project: &str) -> Result<Vec<ClusterAddresses>, Failure> {
        let about = About { project, what: "", region: "" };
        let operation = ("GetIpAddresses", Access::Read);
        self.on_project(operation, IP_ADDRESSES, ProjectRole::GroupReadOnly, about, |world, at_ms| {
            if world.atlas.settings.hide_addresses {
                return Ok(Vec::new());
            }
            let clusters = world.project(project, at_ms)?.clusters.iter();
            let listed = clusters
                .filter(|c| c.state != ClusterState::Creating)
                .map(|c| ClusterAddresses { cluster_name: c.name().to_owned(), addresses: c.addresses.clone() });
            Ok(listed.collect())
        })
    }
}

impl World {
    /// `GET /unauth/controlPlaneIPAddresses`, which anybody may call.
    pub fn atlas_control_plane(&mut self) -> Result<ControlPlane, Failure> {
        let call = Call {
            service: Service::Atlas,
            operation: "ListControlPlaneIpAddresses",
            access: Access::Read,
            account: String::new(),
            principal: String::new(),
            region: String::new(),
            resource: String::new(),
        };
        self.perform(call, |world, _| {
            world.take_atlas("", ROOT)?;
            Ok(world.atlas.control_plane.clone())
        })
    }

    /// An address that no cluster had before, out of the block for documentation.
    pub(super) fn new_address(&mut self) -> String {
        let n = self.next_id();
        format!("198.51.{}.{}", 100 + (n / 250) % 100, 1 + n % 250)
    }
}
