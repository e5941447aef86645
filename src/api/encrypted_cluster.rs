//! The EncryptedCluster: one database, in some regions, under one CustomerKey.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Deployment, EncryptedClusterStatus, schema};

/// One database, in some regions, under one CustomerKey.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "cmk-operator.io",
    version = "v1alpha1",
    kind = "EncryptedCluster",
    plural = "encryptedclusters",
    singular = "encryptedcluster",
    shortname = "ec",
    category = "cmk",
    namespaced,
    status = "EncryptedClusterStatus",
    derive = "PartialEq",
    doc = "An EncryptedCluster says: this database, in these regions, under that CustomerKey, and not one minute earlier than is safe.",
    annotation("cmk-operator.io/schema-version", "1"),
    selectable = ".spec.customerKeyRef.name",
    selectable = ".spec.customerKeyRef.namespace"
)]
pub struct EncryptedClusterSpec {
    /// The CustomerKey to encrypt with.
    pub customer_key_ref: CustomerKeyRef,

    /// A second CustomerKey for the backups. Only for SingleStore, and for clusters without deployment. Default: the
    /// key of customerKeyRef encrypts backups too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_key_ref: Option<CustomerKeyRef>,

    /// The regions of the database, 1 to 32, each once; the order has no meaning. Each must be in the CustomerKey (on
    /// Atlas one key serves all regions). A region that is added later is deployed on its own, behind its own gate.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 32))]
    pub regions: Vec<ClusterRegion>,

    /// The region in which the database is created first. Required with more than one region. Default: the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = schema::REGION))]
    pub primary_region: Option<String>,

    /// How the operator deploys the database. Default: it does not. Somebody else does (Terraform, another operator, a
    /// human) and waits for Ready of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,

    /// What happens to the database when this object is deleted or a region is removed from it. Retain (default): it
    /// stays. Delete: it is deleted with its data, once the annotation cmk-operator.io/confirm-deletion holds the
    /// token that status shows. Databases that the operator did not create are always retained, so Delete is refused
    /// together with the id of an existing one.
    #[serde(default)]
    pub deletion_policy: ClusterDeletionPolicy,
}

/// A reference to a CustomerKey.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerKeyRef {
    /// Namespace of the CustomerKey, which has to allow this one (its spec.allowedNamespaces). Default: the namespace
    /// of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::LABEL))]
    pub namespace: Option<String>,

    /// Name of the CustomerKey.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::LABEL))]
    pub name: String,
}

/// A region of the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRegion {
    /// Name of the AWS region, such as us-east-1.
    #[schemars(length(max = 32), regex(pattern = schema::REGION))]
    pub name: String,
}

/// What happens to the database in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterDeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted with its data, once that is confirmed.
    Delete,
}
