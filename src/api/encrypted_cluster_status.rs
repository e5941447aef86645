//! What the operator reports and remembers about an EncryptedCluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeletionStatus;

/// What the operator reports and remembers about an EncryptedCluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = super::unseen()))]
pub struct EncryptedClusterStatus {
    /// The generation of the spec that this status speaks of; -1 before the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Revision of what this status remembers. An operator that knows only older ones does not act on the object.
    #[serde(default)]
    pub memory_version: i32,

    /// Ready, GateOpen, Deployed, EncryptionVerified, CredentialsValid, Reconciling and Stalled: all of them, always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,

    /// How far it got, such as "2/3 regions".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub summary: Option<String>,

    /// The database cloud and its flavour, such as Astra/Serverless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub upstream: Option<String>,

    /// The keys that this cluster has said it uses. A key is not deleted while a cluster claims it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub claims: Vec<KeyClaim>,

    /// One entry per region that is declared or still has something deployed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 128))]
    pub regions: Vec<ClusterRegionStatus>,

    /// A creation whose outcome is not recorded yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<ClusterCreation>,

    /// The id that the cloud gave the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub upstream_id: Option<String>,

    /// Where the database is reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub endpoints: Vec<Endpoint>,

    /// The workspaces of a SingleStore workspace group that were made or found: those of the spec, and those that the spec
    /// no longer names and that are still there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 128))]
    pub workspaces: Vec<ClusterWorkspace>,

    /// What a human has to do in the normal course, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub human_steps: Vec<HumanStep>,

    /// What a deletion waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionStatus>,

    /// The value of the annotation cmk-operator.io/reconcile-requested-at that was acted on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,
}

/// A key that a cluster has said it uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyClaim {
    /// Namespace of the CustomerKey.
    #[schemars(length(max = 63))]
    pub namespace: String,

    /// Name of the CustomerKey.
    #[schemars(length(max = 63))]
    pub name: String,

    /// The regions whose keys are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 32)))]
    pub regions: Vec<String>,
}

/// One region of an EncryptedCluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRegionStatus {
    /// Name of the AWS region.
    #[schemars(length(max = 32))]
    pub name: String,

    /// ARN of the key that the region is, or will be, deployed under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub key_arn: Option<String>,

    /// State of that key, in the words of AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub key_state: Option<String>,

    /// Hash of the meaning of that key's policy, as it was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub policy_hash: Option<String>,

    /// Whether this region may be deployed to, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateStatus>,

    /// State of the deployment in the cloud's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub state: Option<String>,

    /// What was found of a deployment in this region that is not this object's own, when it was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundDeployment>,

    /// What a removal of this region waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionStatus>,

    /// How far this region got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub stage: Option<String>,

    /// What this region waits for and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub message: Option<String>,
}

/// Whether a region may be deployed to, now, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// Whether every check passes.
    #[serde(default)]
    pub open: bool,

    /// The checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub checks: Vec<GateCheck>,
}

/// One check of the gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateCheck {
    /// What is checked.
    #[schemars(length(max = 64))]
    pub name: String,

    /// Whether it holds.
    #[serde(default)]
    pub passed: bool,

    /// What was found, and what the check cannot show on this cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
}

/// A creation that was decided: written before the call, since the call is not repeatable on every cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCreation {
    /// What is created: the Database, one more Region of it, or a Workspace in it.
    pub kind: CreationKind,

    /// Name of the AWS region.
    #[schemars(length(max = 32))]
    pub region: String,

    /// When it was decided.
    pub started_at: Time,

    /// Random value that tells this attempt from others.
    #[schemars(length(max = 64))]
    pub nonce: String,

    /// Name of the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub name: Option<String>,
}

/// A workspace that was made or found under its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterWorkspace {
    /// Its name.
    #[schemars(length(max = 64))]
    pub name: String,

    /// The id that the cloud gave it.
    #[schemars(length(max = 128))]
    pub id: String,

    /// Its state in the cloud's words; absent before one is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub state: Option<String>,
}

/// What is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CreationKind {
    /// The database, in its first region.
    Database,
    /// A further region of a database.
    Region,
    /// A workspace in a workspace group.
    Workspace,
}

/// What was found of a deployment in this region that is not this object's own, when it was first seen. It is written down
/// because nothing shows it any more once the region's key is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FoundDeployment {
    /// It was there before the region's key was registered, so it is not encrypted with it.
    NotEncrypted,
    /// Nothing shows which of the two came first.
    Unverified,
}

/// Where a database is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// What it is, such as a workspace's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub name: Option<String>,

    /// Name of the AWS region, where the endpoint belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub region: Option<String>,

    /// Host or URL.
    #[schemars(length(max = 1024))]
    pub address: String,
}

/// A step that a human has to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HumanStep {
    /// Short name of the step.
    #[schemars(length(max = 256))]
    pub title: String,

    /// Name of the AWS region that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub region: Option<String>,

    /// Who has to do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub who: Option<String>,

    /// What to do, and where.
    #[schemars(length(max = 8192))]
    pub instructions: String,

    /// Text to paste, to the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub paste: Option<String>,
}
