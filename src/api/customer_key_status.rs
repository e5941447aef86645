//! What the operator reports and remembers about a CustomerKey.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HumanStep;

/// What the operator reports and remembers about a CustomerKey.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = super::unseen()))]
pub struct CustomerKeyStatus {
    /// The generation of the spec that this status speaks of; -1 before the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Revision of what this status remembers. An operator that knows only older ones does not act on the object.
    #[serde(default)]
    pub memory_version: i32,

    /// Ready, KeysReady, PoliciesReady, Registered, CredentialsValid, Reconciling and Stalled: all of them, always.
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

    /// Who the operator is in AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsStatus>,

    /// One entry per region that is declared or still has something of ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 128))]
    pub regions: Vec<KeyRegionStatus>,

    /// Keys that carry this object's owner tags but are not its key: left over from creations whose outcome was lost.
    /// They cost money and protect nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub surplus_keys: Vec<SurplusKey>,

    /// The EncryptedClusters that use this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<UsedBy>,

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

/// Who the operator is in AWS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsStatus {
    /// The account that the operator's credentials belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    pub account_id: Option<String>,

    /// The External ID that the trust policy of spec.aws.roleArn has to demand (sts:ExternalId).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub external_id: Option<String>,
}

/// One region of a CustomerKey.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRegionStatus {
    /// Name of the AWS region.
    #[schemars(length(max = 32))]
    pub name: String,

    /// ARN of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 160))]
    pub key_arn: Option<String>,

    /// State of the key in AWS's words: Enabled, Disabled, PendingDeletion, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub key_state: Option<String>,

    /// Alias by which the key is claimed. Adopted keys get none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub alias: Option<String>,

    /// What the key is in a multi-Region key: Primary or Replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_region: Option<MultiRegionRole>,

    /// A creation whose outcome is not recorded yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<CreationIntent>,

    /// Hash of the statements of ours that the key policy was last seen to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub policy_hash: Option<String>,

    /// The cloud's principals that the key policy lets use the key. On Astra this list only ever grows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 640)))]
    pub principals: Vec<String>,

    /// ARN of the key that the cloud says is registered here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 160))]
    pub registered_key_arn: Option<String>,

    /// When the key was registered; absent where it was found registered and nobody knows. Databases older than this are
    /// not encrypted with the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<Time>,

    /// The cloud's databases that were created in this region before the key was registered (or, where nobody knows when
    /// that was, before the key existed), so that they are not encrypted with it. Absent: not counted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprotected_databases: Option<UnprotectedDatabases>,

    /// A registration whose outcome is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationAttempt>,

    /// The role as which the cloud uses the key, and the cloud's record of it. Only for clouds that use a role of yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_role: Option<CloudRoleStatus>,

    /// Automatic rotation, as AWS reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,

    /// When AWS deletes the key, if its deletion is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_date: Option<Time>,

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

/// The role of yours as which the cloud uses the key, and the cloud's record of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudRoleStatus {
    /// ARN of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 640))]
    pub role_arn: Option<String>,

    /// The cloud's id of its record of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub id: Option<String>,

    /// When the cloud was asked for that record, while it is not known whether it made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Time>,

    /// ARN of the cloud's AWS account, which the role's trust policy has to name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 640))]
    pub trusted_arn: Option<String>,

    /// The external id that the role's trust policy has to demand of that account (sts:ExternalId).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub external_id: Option<String>,

    /// Whether the cloud has assumed the role once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorized: Option<bool>,
}

/// What a key is in a multi-Region key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MultiRegionRole {
    /// The primary key.
    Primary,
    /// A replica.
    Replica,
}

/// A creation that was decided: written before the call, since AWS has no token that makes the call repeatable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreationIntent {
    /// Random value that the created key carries as a tag.
    #[schemars(length(max = 64))]
    pub nonce: String,

    /// When it was decided.
    pub started_at: Time,
}

/// A registration that was attempted and whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationAttempt {
    /// When it was attempted.
    pub started_at: Time,
}

/// Automatic rotation, as AWS reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// Whether it is on.
    #[serde(default)]
    pub enabled: bool,

    /// When the key material is rotated next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Time>,
}

/// A key that carries this object's owner tags but is not its key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SurplusKey {
    /// Name of the AWS region.
    #[schemars(length(max = 32))]
    pub region: String,

    /// ARN of the key.
    #[schemars(length(max = 160))]
    pub key_arn: String,

    /// When AWS deletes it, if its deletion is scheduled; shown while its confirmation stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_date: Option<Time>,

    /// The value of the annotation cmk-operator.io/confirm-deletion that has it scheduled for deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub confirmation_token: Option<String>,
}

/// Databases that a key does not protect because they are older than its registration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnprotectedDatabases {
    /// How many there are.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub count: i32,

    /// The oldest of them, as "name (id)".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub sample: Vec<String>,
}

/// The EncryptedClusters that use a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsedBy {
    /// How many there are.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub count: i32,

    /// Some of them, as namespace/name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub sample: Vec<String>,
}

/// What a deletion waits for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionStatus {
    /// What blocks it, each with who can unblock it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub blocked_by: Vec<String>,

    /// The value that the annotation cmk-operator.io/confirm-deletion must have for anything outside to be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub confirmation_token: Option<String>,
}
