//! `spec.upstream` of a CustomerKey: the database cloud, and the one scope in it, that the key is for.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The database cloud that encrypts with this key: exactly one of astra, atlas, singleStore.
///
/// Cloud and scope are immutable, because a registration with a cloud cannot be moved. There is no endpoint here on
/// purpose: where the clouds are reached is a flag of the operator, so that nobody who writes YAML can send a token
/// somewhere else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.astra), has(self.atlas), has(self.singleStore)].exists_one(x, x)")
        .message("spec.upstream must have exactly one of astra, atlas, singleStore"))]
#[x_kube(validation = Rule::new("has(self.astra) == has(oldSelf.astra) && has(self.atlas) == has(oldSelf.atlas) && has(self.singleStore) == has(oldSelf.singleStore)")
        .message("spec.upstream is immutable: a key cannot be moved to another cloud; make a new CustomerKey")
        .reason(Reason::FieldValueForbidden))]
pub struct Upstream {
    /// DataStax Astra.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub astra: Option<AstraUpstream>,

    /// MongoDB Atlas. Atlas takes one key per project, so spec.regions must have exactly one entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atlas: Option<AtlasUpstream>,

    /// SingleStore Helios. It publishes no key policy: paste what its portal shows under spec.policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_store: Option<SingleStoreUpstream>,
}

/// A Secret in the namespace of the object that refers to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub name: String,
}

/// One organization of DataStax Astra, and one of its two database types.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AstraUpstream {
    /// Id (UUID, lower case) of the Astra organization. The token has to belong to it. Immutable.
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.upstream.astra.organizationId is immutable: a registration with the cloud cannot be moved; make a new CustomerKey")
        .reason(Reason::FieldValueForbidden))]
    pub organization_id: String,

    /// Type of the databases that this key is for. Astra keeps the keys of the two types apart, even in one region
    /// (https://docs.datastax.com/en/astra-db-classic/administration/customer-keys-overview.html), so a second type
    /// needs a second CustomerKey. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.upstream.astra.databaseType is immutable: a registration with the cloud cannot be moved; make a new CustomerKey")
        .reason(Reason::FieldValueForbidden))]
    pub database_type: AstraDatabaseType,

    /// Name of the IAM role in Astra's AWS accounts that the key policy lets use the key. Default: creator, which is
    /// what Astra documents for Classic
    /// (https://docs.datastax.com/en/astra-db-classic/administration/customer-keys-aws.html); for Serverless it is not
    /// documented, so compare it with the policy that the portal shows. With a wrong name Astra cannot use the key.
    /// Immutable.
    #[serde(default = "creator")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9+=,.@_-]+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.upstream.astra.principalRole is immutable: what was let in by a key policy must stay let in; make a new CustomerKey")
        .reason(Reason::FieldValueForbidden))]
    pub principal_role: String,

    /// Secret in this namespace with the key "token": an Astra application token (AstraCS:...) that may read and write
    /// customer keys and list databases.
    pub credentials_secret_ref: SecretRef,
}

/// The two types of Astra databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AstraDatabaseType {
    /// Managed clusters, formerly called classic.
    Classic,
    /// Serverless databases, with or without vectors.
    Serverless,
}

/// One project of MongoDB Atlas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AtlasUpstream {
    /// Id (24 hexadecimal digits) of the Atlas project. Immutable.
    #[schemars(length(max = 24), regex(pattern = schema::ATLAS_ID))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.upstream.atlas.projectId is immutable: a registration with the cloud cannot be moved; make a new CustomerKey")
        .reason(Reason::FieldValueForbidden))]
    pub project_id: String,

    /// The IAM role of yours that Atlas assumes to use the key.
    pub role: AtlasRole,

    /// Secret in this namespace with either the keys "clientId" and "clientSecret" (a service account, recommended) or
    /// "publicKey" and "privateKey" (an API key). It needs the role Project Owner, which Atlas demands for setting a
    /// customer key.
    pub credentials_secret_ref: SecretRef,

    /// Whether the key policy lets the role use the key only from the addresses that Atlas publishes for its control
    /// plane and for this project's clusters. Default: false. The operator follows the addresses as Atlas changes them;
    /// between such a change and the next look Atlas may fail to reach the key. Lifted while a cluster of the project is
    /// made or changed, and until the first one is under the key. Take it out before you delete this object under Retain:
    /// nobody follows the addresses after that.
    #[serde(default)]
    pub restrict_source_ips: bool,

    /// Whether the operator may replace a customer key that this project uses through an access key pair (the old way)
    /// by one used through the role. Default: false: a project that is configured the old way is reported as a conflict
    /// and left alone. Snapshots taken before keep needing the old key.
    #[serde(default)]
    pub switch_from_credentials: bool,
}

/// The IAM role of yours that Atlas assumes: exactly one of arn, create.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.arn) != has(self.create)")
        .message("spec.upstream.atlas.role must have exactly one of arn, create"))]
pub struct AtlasRole {
    /// ARN of a role that exists. Its trust policy must name Atlas's AWS account and external id, which status shows.
    /// In the account of the key its key policy is enough; a role of another account must itself be allowed
    /// kms:Encrypt, kms:Decrypt, kms:DescribeKey and kms:GenerateDataKey* on the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 640), regex(pattern = schema::ROLE_ARN))]
    pub arn: Option<String>,

    /// Have the operator make the role, in spec.aws.accountId, under the path /cmk-operator/INSTALLATION/NAMESPACE/.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<CreateRole>,
}

/// An IAM role that the operator makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateRole {
    /// Name of the role, 1 to 64 characters
    /// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html). Immutable once set: a new name
    /// would leave the old role behind.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9+=,.@_-]+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.upstream.atlas.role.create.name is immutable: a new name would leave the old role behind")
        .reason(Reason::FieldValueForbidden))]
    pub name: String,
}

/// SingleStore Helios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.organizationId) || (has(self.organizationId) && self.organizationId == oldSelf.organizationId)")
        .message("spec.upstream.singleStore.organizationId is immutable once set: a key cannot be moved; make a new CustomerKey")
        .field_path(".organizationId")
        .reason(Reason::FieldValueForbidden))]
pub struct SingleStoreUpstream {
    /// Id (UUID, lower case) of the SingleStore organization. Default: whichever the API key belongs to. When given, an
    /// API key of another organization is refused. Immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36), regex(pattern = schema::UUID))]
    pub organization_id: Option<String>,

    /// Must be true. By it you say that you know: SingleStore offers no way to read back whether a workspace group is
    /// encrypted with your key, so nothing here ever proves it; and revoking the key stops the workspaces at once and
    /// may damage data (https://docs.singlestore.com/cloud/security/encryption/customer-managed-encryption-keys/).
    #[x_kube(validation = Rule::new("self")
        .message("spec.upstream.singleStore.acknowledgeRisk must be true: SingleStore gives no proof that a group is encrypted with your key")
        .reason(Reason::FieldValueRequired))]
    pub acknowledge_risk: bool,

    /// Secret in this namespace with the key "apiKey": a SingleStore Management API key.
    pub credentials_secret_ref: SecretRef,
}

fn creator() -> String {
    "creator".to_owned()
}
