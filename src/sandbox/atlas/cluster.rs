//! A cluster: as the API describes it, and as it really is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::addresses::Addresses;
use super::aws_region;
use crate::sandbox::ident::rfc3339;

/// `ClusterDescription20240805`: body of a creation and of a change, and the answer. Fields that nothing depends on are
/// kept as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// 24 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Unique in the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `REPLICASET`, `SHARDED`, `GEOSHARDED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_type: Option<String>,
    /// See [`ClusterState`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_name: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_date: Option<String>,
    /// Cloud Backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_enabled: Option<bool>,
    /// `NONE`, `AWS`, `AZURE`, `GCP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_at_rest_provider: Option<String>,
    /// Whether it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Whether it can't be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_protection_enabled: Option<bool>,
    /// One for each shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_specs: Option<Vec<ReplicationSpec>>,
    /// All else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A shard, and where its nodes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicationSpec {
    /// 24 hex digits; an existing shard that comes without it is another shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// 24 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_id: Option<String>,
    /// Name of the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
    /// Regions, by falling priority.
    pub region_configs: Vec<RegionConfig>,
}

/// The nodes of a shard in a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegionConfig {
    /// `AWS`, ... or `TENANT`.
    pub provider_name: String,
    /// In the spelling of Atlas.
    pub region_name: String,
    /// 7 to 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Nodes that can become primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub electable_specs: Option<HardwareSpec>,
    /// Nodes that can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_specs: Option<HardwareSpec>,
    /// Nodes for analytics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analytics_specs: Option<HardwareSpec>,
    /// All else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// Size and number of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HardwareSpec {
    /// `M10` and larger for dedicated ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_size: Option<String>,
    /// Number of nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_count: Option<i64>,
    /// All else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl RegionConfig {
    pub(super) fn nodes(&self) -> i64 {
        let all = [&self.electable_specs, &self.read_only_specs, &self.analytics_specs];
        all.into_iter().flatten().filter_map(|s| s.node_count).sum()
    }

    pub(super) fn electable(&self) -> i64 {
        self.electable_specs.as_ref().and_then(|s| s.node_count).unwrap_or(0)
    }
}

impl Cluster {
    pub(super) fn regions(&self) -> impl Iterator<Item = &RegionConfig> {
        self.replication_specs.iter().flatten().flat_map(|s| &s.region_configs)
    }

    pub(super) fn provider(&self) -> &str {
        self.encryption_at_rest_provider.as_deref().unwrap_or("NONE")
    }

    /// Whether it is a shared one.
    pub(super) fn is_tenant(&self) -> bool {
        self.regions().any(|r| r.provider_name == "TENANT")
    }
}

/// `stateName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClusterState {
    /// Nothing is under way.
    Idle,
    /// It was never ready yet.
    Creating,
    /// A change is under way.
    Updating,
    /// It will be gone soon.
    Deleting,
    /// Nodes are being brought back.
    Repairing,
}

impl ClusterState {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Creating => "CREATING",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
            Self::Repairing => "REPAIRING",
        }
    }
}

/// A cluster as it really is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredCluster {
    /// What it is or is becoming.
    pub spec: Cluster,
    /// Simulated time.
    pub created_at_ms: i64,
    /// State.
    pub state: ClusterState,
    /// When the state is over.
    pub until_ms: Option<i64>,
    /// Its addresses.
    pub addresses: Addresses,
    /// Addresses of nodes that are being added.
    pub pending: Addresses,
    /// It is backed up the old way.
    pub legacy_backup: bool,
    /// It is being taken from under the customer's key, and needs it until that is done.
    pub leaving_key: bool,
    /// The key that it was put under when it was made. `None`: it was made without.
    pub created_with: Option<String>,
    /// Since when its processes are shut down because the key can't be used.
    pub down_since_ms: Option<i64>,
}

impl StoredCluster {
    /// Its name.
    pub fn name(&self) -> &str {
        self.spec.name.as_deref().unwrap_or_default()
    }

    /// Whether it is, or is becoming, a cluster under the customer's key in AWS.
    pub fn uses_key(&self) -> bool {
        self.spec.provider() == "AWS" && self.state != ClusterState::Deleting
    }

    /// Whether its data need the customer's key still: also while it is being deleted, or taken from under the key.
    pub fn needs_key(&self) -> bool {
        self.spec.provider() == "AWS" || self.leaving_key
    }

    /// Its regions in the spelling of AWS.
    pub fn regions(&self) -> Vec<String> {
        let mut all: Vec<String> = self.spec.regions().map(|r| aws_region(&r.region_name)).collect();
        all.dedup();
        all
    }

    /// What was under way is done.
    pub(super) fn settle(&mut self) {
        self.state = ClusterState::Idle;
        self.until_ms = None;
        self.leaving_key = false;
        let new = std::mem::take(&mut self.pending);
        self.addresses.inbound.extend(new.inbound);
        self.addresses.outbound.extend(new.outbound);
        let known = self.addresses.outbound.clone();
        self.addresses.future_outbound.retain(|a| !known.contains(a));
        let known = self.addresses.inbound.clone();
        self.addresses.future_inbound.retain(|a| !known.contains(a));
    }

    /// As an answer describes it.
    pub(super) fn shown(&self) -> Cluster {
        let mut shown = self.spec.clone();
        shown.state_name = Some(self.state.name().to_owned());
        shown.create_date = Some(rfc3339(self.created_at_ms));
        // Of a dedicated cluster the field tells of Cloud Backup alone.
        shown.backup_enabled = Some(shown.backup_enabled.unwrap_or(false) && !self.legacy_backup);
        shown.encryption_at_rest_provider.get_or_insert_with(|| "NONE".to_owned());
        shown.paused.get_or_insert(false);
        shown.termination_protection_enabled.get_or_insert(false);
        let host = format!("{}.sandbox.mongodb.net", self.name().to_ascii_lowercase());
        let strings = if self.state == ClusterState::Creating {
            json!({})
        } else {
            json!({"standard": format!("mongodb://{host}:27017"), "standardSrv": format!("mongodb+srv://{host}")})
        };
        shown.rest.insert("connectionStrings".to_owned(), strings);
        for (name, value) in [
            ("mongoDBMajorVersion", json!("8.0")),
            ("mongoDBVersion", json!("8.0.5")),
            ("pitEnabled", json!(false)),
            ("versionReleaseSystem", json!("LTS")),
            ("rootCertType", json!("ISRGROOTX1")),
            ("diskWarmingMode", json!("FULLY_WARMED")),
            ("configServerManagementMode", json!("ATLAS_MANAGED")),
            ("labels", json!([])),
            ("tags", json!([])),
            ("links", json!([])),
        ] {
            shown.rest.entry(name.to_owned()).or_insert(value);
        }
        shown
    }

    pub(super) fn dump(&self) -> Value {
        json!({
            "spec": self.spec, "created_at_ms": self.created_at_ms, "state": self.state, "addresses": self.addresses,
            "pending": self.pending, "legacy_backup": self.legacy_backup, "leaving_key": self.leaving_key, "created_with": self.created_with,
            "down_since_ms": self.down_since_ms
        })
    }
}
