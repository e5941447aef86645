//! The EncryptedCluster: one database, in some regions, under one CustomerKey.

#![expect(
    clippy::duplicated_attributes,
    reason = "kube takes one `printcolumn` per column, and columns share types and priorities"
)]

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
    selectable = ".spec.customerKeyRef.namespace",
    selectable = ".spec.backupKeyRef.name",
    selectable = ".spec.backupKeyRef.namespace",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Upstream", type_ = "string", json_path = ".status.upstream"),
    printcolumn(
        name = "Encryption",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="EncryptionVerified")].reason"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Key", type_ = "string", json_path = ".spec.customerKeyRef.name", priority = 1),
    printcolumn(
        name = "Gate",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="GateOpen")].status"#,
        priority = 1
    ),
    printcolumn(name = "Regions", type_ = "string", json_path = ".spec.regions", priority = 1),
    printcolumn(name = "Primary", type_ = "string", json_path = ".spec.primaryRegion", priority = 1),
    printcolumn(name = "Id", type_ = "string", json_path = ".status.upstreamId", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[kube(validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("metadata.name must be a DNS label: at most 63 characters and no dots, which an alias in AWS does not allow"))]
#[kube(validation = Rule::new(schema::once_begun("(self.spec.customerKeyRef.name == oldSelf.spec.customerKeyRef.name && has(self.spec.customerKeyRef.__namespace__) == has(oldSelf.spec.customerKeyRef.__namespace__) && (!has(self.spec.customerKeyRef.__namespace__) || self.spec.customerKeyRef.__namespace__ == oldSelf.spec.customerKeyRef.__namespace__))"))
        .message("spec.customerKeyRef is immutable once the creation of the database has begun: a database cannot be moved to another key")
        .field_path(".spec.customerKeyRef")
        .reason(Reason::FieldValueForbidden))]
#[kube(validation = Rule::new(schema::once_begun("(has(self.spec.deployment) && has(self.spec.deployment.atlas)) || (has(self.spec.primaryRegion) ? self.spec.primaryRegion : self.spec.regions[0].name) == (has(oldSelf.spec.primaryRegion) ? oldSelf.spec.primaryRegion : oldSelf.spec.regions[0].name)"))
        .message("spec.primaryRegion is immutable once the creation of the database has begun, except on atlas")
        .field_path(".spec.primaryRegion")
        .reason(Reason::FieldValueForbidden))]
#[kube(validation = Rule::new(schema::once_begun("!has(oldSelf.spec.deployment) || has(self.spec.deployment)"))
        .message("spec.deployment cannot be removed once the creation of the database has begun: to let go of the database, delete this object with deletionPolicy: Retain")
        .field_path(".spec.deployment")
        .reason(Reason::FieldValueForbidden))]
#[kube(validation = Rule::new(schema::once_begun_fixed("astra", &["name", "capacityUnits"], &["tier", "keyspace", "databaseType"]))
        .message("spec.deployment.astra: name, tier, capacityUnits, keyspace and databaseType are immutable once the creation of the database has begun")
        .field_path(".spec.deployment.astra")
        .reason(Reason::FieldValueForbidden))]
#[kube(validation = Rule::new(schema::once_begun_fixed("atlas", &["name", "backupEnabled"], &["projectId", "instanceSize", "diskSizeGb", "mongoDbMajorVersion"]))
        .message("spec.deployment.atlas: name, projectId, instanceSize, diskSizeGb, mongoDbMajorVersion and backupEnabled are immutable once the creation of the cluster has begun")
        .field_path(".spec.deployment.atlas")
        .reason(Reason::FieldValueForbidden))]
#[kube(validation = Rule::new(schema::once_begun_fixed("singleStore", &["name", "mode"], &["projectId", "firewallRanges", "adminPasswordSecretRef"]))
        .message("spec.deployment.singleStore: name, mode, projectId, firewallRanges and adminPasswordSecretRef are immutable once the creation of the group has begun")
        .field_path(".spec.deployment.singleStore")
        .reason(Reason::FieldValueForbidden))]
#[kube(validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.upstreamId) || !has(self.spec.deployment) || !has(self.spec.deployment.astra) || !has(self.spec.deployment.astra.databaseId) || self.spec.deployment.astra.databaseId == oldSelf.status.upstreamId")
        .message("spec.deployment.astra.databaseId must be status.upstreamId once that is there: another database needs another EncryptedCluster")
        .field_path(".spec.deployment.astra.databaseId")
        .reason(Reason::FieldValueForbidden))]
#[kube(validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.upstreamId) || !has(self.spec.deployment) || !has(self.spec.deployment.singleStore) || !has(self.spec.deployment.singleStore.workspaceGroupId) || self.spec.deployment.singleStore.workspaceGroupId == oldSelf.status.upstreamId")
        .message("spec.deployment.singleStore.workspaceGroupId must be status.upstreamId once that is there: another group needs another EncryptedCluster")
        .field_path(".spec.deployment.singleStore.workspaceGroupId")
        .reason(Reason::FieldValueForbidden))]
#[kube(validation = Rule::new(schema::once_begun("(has(self.spec.backupKeyRef) == has(oldSelf.spec.backupKeyRef) && (!has(self.spec.backupKeyRef) || self.spec.backupKeyRef == oldSelf.spec.backupKeyRef))"))
        .message("spec.backupKeyRef is immutable once the creation of the database has begun: backups cannot be moved to another key")
        .field_path(".spec.backupKeyRef")
        .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.regions.size() <= 1 || has(self.primaryRegion)")
        .message("spec.primaryRegion is required with more than one region")
        .field_path(".primaryRegion")
        .reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("!has(self.primaryRegion) || self.regions.exists(r, r.name == self.primaryRegion)")
        .message("spec.primaryRegion must be one of spec.regions")
        .field_path(".primaryRegion"))]
#[x_kube(validation = Rule::new("self.regions.all(r, r.name.startsWith('cn-') == self.regions[0].name.startsWith('cn-') && r.name.startsWith('us-gov-') == self.regions[0].name.startsWith('us-gov-'))")
        .message("spec.regions must all be in one AWS partition (aws, aws-cn or aws-us-gov)")
        .field_path(".regions"))]
#[x_kube(validation = Rule::new("!has(self.backupKeyRef) || !has(self.deployment) || has(self.deployment.singleStore)")
        .message("spec.backupKeyRef is only for singleStore and for clusters without deployment: the other clouds encrypt backups with the same key")
        .field_path(".backupKeyRef")
        .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.deletionPolicy != 'Delete' || has(self.deployment)")
        .message("spec.deletionPolicy: Delete needs spec.deployment: the operator deletes only what it created")
        .field_path(".deletionPolicy")
        .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.deletionPolicy != 'Delete' || !has(self.deployment) || !((has(self.deployment.astra) && has(self.deployment.astra.databaseId)) || (has(self.deployment.atlas) && has(self.deployment.atlas.existing)) || (has(self.deployment.singleStore) && has(self.deployment.singleStore.workspaceGroupId)))")
        .message("spec.deletionPolicy: Delete is refused with databaseId, workspaceGroupId and existing: the operator deletes only what it created")
        .field_path(".deletionPolicy")
        .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(self.deployment) || !has(self.deployment.singleStore) || self.regions.size() <= 2")
        .message("spec.regions must have at most two entries with singleStore: a primary and one to replicate to")
        .field_path(".regions"))]
#[x_kube(validation = Rule::new("!has(self.deployment) || !has(self.deployment.singleStore) || self.regions.size() > 2 || (self.regions.size() == 2) == has(self.deployment.singleStore.replication)")
        .message("spec.deployment.singleStore.replication is required with two regions and refused with one")
        .field_path(".deployment.singleStore.replication"))]
#[x_kube(validation = Rule::new("!has(self.deployment) || !has(self.deployment.atlas) || !has(self.deployment.atlas.electableNodes) || self.deployment.atlas.electableNodes.all(n, self.regions.exists(r, r.name == n.region))")
        .message("spec.deployment.atlas.electableNodes[].region must be one of spec.regions")
        .field_path(".deployment.atlas.electableNodes"))]
#[x_kube(validation = Rule::new("!has(self.deployment) || !has(self.deployment.atlas) || (self.regions.size() > 1 && !has(self.primaryRegion)) || (self.regions.map(r, has(self.deployment.atlas.electableNodes) && self.deployment.atlas.electableNodes.exists(n, n.region == r.name) ? 0 : self.regions.size() == 1 || r.name == self.primaryRegion ? 3 : 2).sum() + (has(self.deployment.atlas.electableNodes) ? self.deployment.atlas.electableNodes.map(n, n.count).sum() : 0)) in [3, 5, 7]")
        .message("spec.deployment.atlas.electableNodes must come to 3, 5 or 7 nodes over all regions (without an entry: 3 in the primary region, 2 in every other one)")
        .field_path(".deployment.atlas.electableNodes"))]
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
    /// stays. Delete: it is deleted with its data, once the annotation cmk-operator.io/confirm-deletion holds the token
    /// that status shows. Databases that the operator did not create are always retained, so Delete is refused together
    /// with the id of an existing one.
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
