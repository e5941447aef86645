//! `spec.deployment` of an EncryptedCluster: how the operator deploys the database.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, schema};

/// How the operator deploys the database: exactly one of astra, atlas, singleStore, the cloud of the CustomerKey.
///
/// The settings say what is created. They are fixed once the creation has begun: the operator never resizes or
/// re-creates a database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.astra), has(self.atlas), has(self.singleStore)].exists_one(x, x)")
        .message("spec.deployment must have exactly one of astra, atlas, singleStore"))]
#[x_kube(validation = Rule::new("has(self.astra) == has(oldSelf.astra) && has(self.atlas) == has(oldSelf.atlas) && has(self.singleStore) == has(oldSelf.singleStore)")
        .message("spec.deployment is immutable as to the cloud: another cloud needs another EncryptedCluster")
        .reason(Reason::FieldValueForbidden))]
pub struct Deployment {
    /// A database of DataStax Astra.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub astra: Option<AstraDeployment>,

    /// A cluster of MongoDB Atlas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atlas: Option<AtlasDeployment>,

    /// A workspace group of SingleStore Helios.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_store: Option<SingleStoreDeployment>,
}

/// A database of DataStax Astra.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.databaseId) || has(self.tier)")
        .message("spec.deployment.astra.tier is required unless databaseId is set")
        .field_path(".tier")
        .reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("!has(self.databaseType) || !has(self.tier) || self.tier == 'serverless'")
        .message("spec.deployment.astra.databaseType: vector needs tier: serverless")
        .field_path(".databaseType"))]
#[x_kube(validation = Rule::new("!has(self.tier) || self.tier != 'serverless' || self.capacityUnits == 1")
        .message("spec.deployment.astra.capacityUnits must be 1 with tier: serverless")
        .field_path(".capacityUnits"))]
#[x_kube(validation = Rule::new("!has(oldSelf.databaseId) || (has(self.databaseId) && self.databaseId == oldSelf.databaseId)")
        .message("spec.deployment.astra.databaseId is immutable once set")
        .field_path(".databaseId")
        .reason(Reason::FieldValueForbidden))]
pub struct AstraDeployment {
    /// Id (UUID, lower case) of an existing database to bind in place of creating one. It is never deleted, and whether
    /// it is encrypted follows from its age: Astra never encrypts an existing database. Immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub database_id: Option<String>,

    /// Name of the database, 1 to 50 characters. Astra does not keep names unique; the operator reports a conflict if
    /// it finds one of this name that it did not create. Fixed once the creation has begun.
    #[schemars(length(min = 1, max = 50), regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9_. -]*[A-Za-z0-9])?$"))]
    pub name: String,

    /// Size of the database: serverless, or a size of managed clusters such as C10 or D40
    /// (https://docs.datastax.com/en/astra-api-docs/). Required unless databaseId is set. Fixed once the creation has
    /// begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^(developer|serverless|cloudnative|[A-D][0-9]{1,2})$"))]
    pub tier: Option<String>,

    /// Number of capacity units, 1 to 100, default 1. Serverless databases have 1. Fixed once the creation has begun.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub capacity_units: i32,

    /// Name of the first keyspace, at most 48 characters. Default: Astra's own. Fixed once the creation has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 48), regex(pattern = "^[A-Za-z][A-Za-z0-9_]*$"))]
    pub keyspace: Option<String>,

    /// vector for a serverless database with vectors. Default: without. Fixed once the creation has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_type: Option<VectorType>,

    /// Secret in this namespace with the key "token". Default: the CustomerKey's, when that is in this namespace;
    /// otherwise required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

/// The special type of an Astra database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum VectorType {
    /// With vectors.
    Vector,
}

/// A cluster of MongoDB Atlas: a replica set with electable nodes in every region of the EncryptedCluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.existing) || has(self.instanceSize)")
        .message("spec.deployment.atlas.instanceSize is required unless existing is set")
        .field_path(".instanceSize")
        .reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("!has(oldSelf.existing) || (has(self.existing) && self.existing == oldSelf.existing)")
        .message("spec.deployment.atlas.existing is immutable once set")
        .field_path(".existing")
        .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(oldSelf.projectId) || (has(self.projectId) && self.projectId == oldSelf.projectId)")
        .message("spec.deployment.atlas.projectId is immutable once set")
        .field_path(".projectId")
        .reason(Reason::FieldValueForbidden))]
pub struct AtlasDeployment {
    /// Id (24 hexadecimal digits) of the Atlas project. Default: the CustomerKey's, from which it may not differ.
    /// Immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = schema::ATLAS_ID))]
    pub project_id: Option<String>,

    /// Name of the cluster, unique in its project, 1 to 64 letters, digits and hyphens
    /// (https://www.mongodb.com/docs/atlas/reference/atlas-limits/). Fixed once the creation has begun.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$"))]
    pub name: String,

    /// AdoptByName binds a cluster of this name that exists, and turns its encryption on, which runs an initial sync of
    /// every node. It is never deleted. Default: a cluster of this name that the operator did not create is a conflict.
    /// Immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingPolicy>,

    /// Size of the nodes, M10 or larger: smaller ones cannot use a customer key
    /// (https://www.mongodb.com/docs/atlas/security-kms-encryption/). Required unless existing is set. Fixed once the
    /// creation has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^[MR][1-9][0-9]{1,2}(_NVME)?$"))]
    pub instance_size: Option<String>,

    /// Size of each node's disk in GiB, 10 to 4096. Default: what Atlas gives to the instance size. Fixed once the
    /// creation has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 4096))]
    pub disk_size_gb: Option<i32>,

    /// Major version of MongoDB, such as "8.0". Default: the one that Atlas recommends. Fixed once the creation has
    /// begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = r"^[4-9]\.[0-9]$"))]
    pub mongo_db_major_version: Option<String>,

    /// Electable nodes per region. Default: 3 in the primary region and 2 in every other one. All regions together must
    /// have 3, 5 or 7. Immutable for a region that is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["region".into()]))]
    #[schemars(length(max = 7))]
    pub electable_nodes: Vec<AtlasRegionNodes>,

    /// Whether Atlas takes cloud backups, which the same key encrypts. Default: true. Fixed once the creation has
    /// begun.
    #[serde(default = "yes")]
    pub backup_enabled: bool,

    /// Secret in this namespace with the keys "clientId" and "clientSecret", or "publicKey" and "privateKey". Default:
    /// the CustomerKey's, when that is in this namespace; otherwise required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

/// Whether a database that exists may be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExistingPolicy {
    /// The one of the declared name is bound.
    AdoptByName,
}

/// Electable nodes in one region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AtlasRegionNodes {
    /// Name of the AWS region, one of spec.regions.
    #[schemars(length(max = 32), regex(pattern = schema::REGION))]
    pub region: String,

    /// Number of nodes, 1 to 7.
    #[schemars(range(min = 1, max = 7))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.deployment.atlas.electableNodes[].count is immutable: nodes are not added to a region that is there")
        .reason(Reason::FieldValueForbidden))]
    pub count: i32,
}

/// A workspace group of SingleStore Helios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode != 'Api' || self.acceptUnverifiedEncryption")
        .message("spec.deployment.singleStore.acceptUnverifiedEncryption must be true with mode: Api: SingleStore may ignore the keys without a word")
        .field_path(".acceptUnverifiedEncryption")
        .reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("self.mode == 'Api' || !has(self.attested) || has(self.workspaceGroupId)")
        .message("spec.deployment.singleStore.attested needs workspaceGroupId")
        .field_path(".attested"))]
#[x_kube(validation = Rule::new("!has(self.attested) || !has(self.workspaceGroupId) || self.attested.workspaceGroupId == self.workspaceGroupId")
        .message("spec.deployment.singleStore.attested.workspaceGroupId must be workspaceGroupId: what was attested is another group")
        .field_path(".attested.workspaceGroupId"))]
#[x_kube(validation = Rule::new("!has(oldSelf.workspaceGroupId) || (has(self.workspaceGroupId) && self.workspaceGroupId == oldSelf.workspaceGroupId)")
        .message("spec.deployment.singleStore.workspaceGroupId is immutable once set")
        .field_path(".workspaceGroupId")
        .reason(Reason::FieldValueForbidden))]
pub struct SingleStoreDeployment {
    /// HandOff (default): status shows what to paste where in SingleStore's portal; a human creates the group and sets
    /// workspaceGroupId. Api: the operator creates the group with key fields that SingleStore's published API no longer
    /// has, so the keys may be ignored without a word; needs acceptUnverifiedEncryption. Fixed once the creation has
    /// begun.
    #[serde(default)]
    pub mode: HandOffMode,

    /// Must be true with mode: Api. By it you say that you know: the group may come up unencrypted, and only its
    /// Security tab in the portal tells. Default: false.
    #[serde(default)]
    pub accept_unverified_encryption: bool,

    /// Id (UUID, lower case) of the workspace group that a human created, or that status.upstreamId already shows. It
    /// is never deleted. Immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub workspace_group_id: Option<String>,

    /// Name of the workspace group, 1 to 64 characters. SingleStore does not keep names unique; the operator reports a
    /// conflict if it finds one of this name that it did not create. Fixed once the creation has begun.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,

    /// IPv4 ranges (CIDR) from which the group may be reached, at most 64. Default: none, so nobody reaches it. Fixed
    /// once the creation has begun; later changes are made in the portal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(max = 18),
            regex(
                pattern = r"^((25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})/([0-9]|[12][0-9]|3[0-2])$"
            )
        )
    )]
    pub firewall_ranges: Vec<String>,

    /// Where the admin password of a group created by API comes from. Default: SingleStore makes one, which the
    /// operator does not keep; set another in the portal. Fixed once the creation has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_password_secret_ref: Option<PasswordSecretRef>,

    /// Id (UUID, lower case) of the SingleStore project. Default: the organization's own. Fixed once the creation has
    /// begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub project_id: Option<String>,

    /// Workspaces to create in the group, at most 16, once the group is attested. One that is there under its name is
    /// taken as it is; one that is taken out of this list stays. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub workspaces: Vec<Workspace>,

    /// Replication to the other region. Required with two regions, refused with one. Immutable while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.deployment.singleStore.replication is immutable while it is there: it is set up once")
        .reason(Reason::FieldValueForbidden))]
    pub replication: Option<Replication>,

    /// What a human saw in SingleStore's portal. It is the only proof of encryption that this cloud offers; without it
    /// EncryptionVerified stays Unknown (AwaitingAttestation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<Attestation>,

    /// Secret in this namespace with the key "apiKey". Default: the CustomerKey's, when that is in this namespace;
    /// otherwise required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

/// Who creates a workspace group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HandOffMode {
    /// A human, in the portal.
    #[default]
    HandOff,
    /// The operator, by API.
    Api,
}

/// A password in a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecretRef {
    /// Name of the Secret, in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub name: String,

    /// Key in the Secret. Default: password.
    #[serde(default = "password")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A workspace of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workspace {
    /// Name, unique in the group.
    #[schemars(length(min = 1, max = 64), regex(pattern = schema::LABEL))]
    pub name: String,

    /// Size in SingleStore's notation. Default: S-00. Immutable.
    #[serde(default = "smallest")]
    #[schemars(length(max = 16), regex(pattern = "^S-[0-9]{1,3}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.deployment.singleStore.workspaces[].size is immutable: the operator does not resize")
        .reason(Reason::FieldValueForbidden))]
    pub size: String,
}

/// Replication of a workspace group to the second region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    /// Names of the databases to replicate, at most 64. Default: none but those that autoReplication takes in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub database_names: Vec<String>,

    /// Whether databases made later are replicated too. Default: true.
    #[serde(default = "yes")]
    pub auto_replication: bool,
}

/// What a human saw in SingleStore's portal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// Id of the workspace group that was looked at.
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub workspace_group_id: String,

    /// Who looked: a name or an address, at most 256 characters.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,

    /// When, as YYYY-MM-DD.
    #[schemars(length(max = 10), regex(pattern = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))]
    pub date: String,

    /// ARN of the key that the Security tab shows for the data bucket.
    #[schemars(length(max = 160), regex(pattern = schema::KEY_ARN))]
    pub data_bucket_key_arn: String,

    /// ARN of the key that the Security tab shows for the backup bucket. Default: the same as for the data bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 160), regex(pattern = schema::KEY_ARN))]
    pub backup_bucket_key_arn: Option<String>,
}

fn one() -> i32 {
    1
}

fn yes() -> bool {
    true
}

fn password() -> String {
    "password".to_owned()
}

fn smallest() -> String {
    "S-00".to_owned()
}
