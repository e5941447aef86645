//! The CustomerKey: one KMS key per region, for one scope of one database cloud.

#![expect(
    clippy::duplicated_attributes,
    reason = "kube takes one `printcolumn` per column, and columns share types and priorities"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CustomerKeyStatus, PolicySpec, Upstream, schema};

/// The AWS KMS keys that one scope of one database cloud encrypts with.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "cmk-operator.io",
    version = "v1alpha1",
    kind = "CustomerKey",
    plural = "customerkeys",
    singular = "customerkey",
    shortname = "ck",
    category = "cmk",
    namespaced,
    status = "CustomerKeyStatus",
    derive = "PartialEq",
    doc = "A CustomerKey says: this AWS KMS key, in these regions, for this scope of this database cloud.",
    annotation("cmk-operator.io/schema-version", "1"),
    selectable = ".spec.aws.accountId",
    selectable = ".spec.upstream.astra.organizationId",
    selectable = ".spec.upstream.astra.databaseType",
    selectable = ".spec.upstream.atlas.projectId",
    selectable = ".spec.upstream.singleStore.organizationId",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Upstream", type_ = "string", json_path = ".status.upstream"),
    printcolumn(
        name = "Registered",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Registered")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.aws.accountId", priority = 1),
    printcolumn(name = "Regions", type_ = "string", json_path = ".spec.regions", priority = 1),
    printcolumn(name = "Used-By", type_ = "integer", json_path = ".status.usedBy.count", priority = 1),
    printcolumn(name = "Deletion", type_ = "string", json_path = ".spec.deletionPolicy", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[kube(validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("metadata.name must be a DNS label: at most 63 characters and no dots, which an alias in AWS does not allow"))]
#[x_kube(validation = Rule::new("!has(self.key.multiRegion) || self.regions.exists(r, r.name == self.key.multiRegion.primaryRegion)")
        .message("spec.key.multiRegion.primaryRegion must be one of spec.regions; the region of the primary key cannot be removed")
        .field_path(".key.multiRegion.primaryRegion"))]
#[x_kube(validation = Rule::new("self.regions.all(r, !has(r.keyArn) || !r.keyArn.startsWith('arn:') || r.keyArn.contains(':' + self.aws.accountId + ':key/'))")
        .message("spec.regions[].keyArn must be a key in the account spec.aws.accountId")
        .field_path(".regions"))]
#[x_kube(validation = Rule::new("self.policy.foreignStatements != 'Remove' || self.regions.all(r, !has(r.keyArn))")
        .message("spec.policy.foreignStatements: Remove is refused with any keyArn: only the operator's own statements of an adopted key may be touched")
        .field_path(".policy.foreignStatements")
        .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("has(self.upstream.atlas) || self.regions.all(r, !has(r.previousKeyArns) || r.previousKeyArns.size() == 0)")
        .message("spec.regions[].previousKeyArns is only for atlas: the other clouds cannot change a registered key")
        .field_path(".regions")
        .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(self.upstream.atlas) || self.regions.size() == 1")
        .message("spec.regions must have exactly one entry with atlas: Atlas takes one key, in one region, for a whole project")
        .field_path(".regions"))]
#[x_kube(validation = Rule::new("self.regions.all(r, r.name.startsWith('cn-') == self.regions[0].name.startsWith('cn-') && r.name.startsWith('us-gov-') == self.regions[0].name.startsWith('us-gov-'))")
        .message("spec.regions must all be in one AWS partition (aws, aws-cn or aws-us-gov): an account is in one")
        .field_path(".regions"))]
#[x_kube(validation = Rule::new("!has(self.policy.statements) || self.policy.statements.all(s, !has(s.regions) || s.regions.all(n, self.regions.exists(r, r.name == n)))")
        .message("spec.policy.statements[].regions must all be in spec.regions")
        .field_path(".policy.statements"))]
#[x_kube(validation = Rule::new("!has(self.policy.documents) || self.policy.documents.all(d, !has(d.regions) || d.regions.all(n, self.regions.exists(r, r.name == n)))")
        .message("spec.policy.documents[].regions must all be in spec.regions")
        .field_path(".policy.documents"))]
#[x_kube(validation = Rule::new("!has(self.policy.documents) || self.policy.documents.all(d, !has(d.replicationTo) || (has(self.upstream.singleStore) && self.regions.exists(r, r.name == d.replicationTo)))")
        .message("spec.policy.documents[].replicationTo is only for singleStore, and must be in spec.regions: the second region needs a key of its own")
        .field_path(".policy.documents"))]
pub struct CustomerKeySpec {
    /// The regions that need a key, 1 to 32, each once.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 32))]
    pub regions: Vec<KeyRegion>,

    /// Settings of the keys that the operator makes. Adopted keys keep their own.
    #[serde(default)]
    pub key: KeySettings,

    /// What the key policies hold beyond the statements that the operator and the cloud need.
    #[serde(default)]
    pub policy: PolicySpec,

    /// The AWS account that holds the keys.
    pub aws: AwsAccount,

    /// The database cloud and the scope in it that the keys are for. Immutable.
    pub upstream: Upstream,

    /// The namespaces whose EncryptedClusters may use this key. Default: its own only.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,

    /// What happens to the AWS keys when this object is deleted or a region is removed from it. Retain (default): keys
    /// and registrations stay, nothing outside is touched. ScheduleDeletion: keys that the operator made are scheduled
    /// for deletion, once nothing uses them and the annotation cmk-operator.io/confirm-deletion holds the token that
    /// status shows. Changing back to Retain always releases a deletion that is blocked.
    #[serde(default)]
    pub deletion_policy: KeyDeletionPolicy,

    /// Days between the scheduling of a key's deletion and the deletion, during which it can be cancelled: 7 to 30,
    /// default 30 (https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html). Data encrypted
    /// with a deleted key is lost.
    #[serde(default = "thirty")]
    #[schemars(range(min = 7, max = 30))]
    pub deletion_window_days: i32,

    /// Manage (default) or Observe. Observe writes nothing, in AWS or in the cloud: it reports, and clusters may be
    /// deployed if everything is found right.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
}

/// A region that needs a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.keyArn) || !self.keyArn.startsWith('arn:') || self.keyArn.startsWith((self.name.startsWith('cn-') ? 'arn:aws-cn:kms:' : self.name.startsWith('us-gov-') ? 'arn:aws-us-gov:kms:' : 'arn:aws:kms:') + self.name + ':')")
        .message("keyArn must be a key in the region of the same entry, with that region's partition (arn:aws:, arn:aws-cn: or arn:aws-us-gov:)")
        .field_path(".keyArn"))]
#[x_kube(validation = Rule::new("!has(self.keyArn) || !has(self.previousKeyArns) || !(self.keyArn in self.previousKeyArns)")
        .message("previousKeyArns must not hold keyArn itself")
        .field_path(".previousKeyArns"))]
pub struct KeyRegion {
    /// Name of the AWS region, such as us-east-1.
    #[schemars(length(max = 32), regex(pattern = schema::REGION))]
    pub name: String,

    /// ARN of an existing key to adopt, in this region and in spec.aws.accountId. Default: the operator makes a key.
    /// The key must carry the tag cmk-operator.io/adopt-by with the value INSTALLATION/NAMESPACE/NAME of this object,
    /// set by whoever owns it; until then the reason is AdoptionNotConsented. An adopted key is never deleted, enabled
    /// or reconfigured; the operator keeps its own statements in its policy, notes the registration and databases as
    /// tags, and changes other statements only for removeOrphanedPrincipals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 160), regex(pattern = schema::KEY_ARN))]
    pub key_arn: Option<String>,

    /// ARNs of keys that may be found registered upstream and may be replaced by this one, at most 8. Only for clouds
    /// that can change keys (atlas). Default: none: any other registered key is a conflict. Do not delete a previous
    /// key while the cloud still has backups made under it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 160), regex(pattern = schema::KEY_ARN)))]
    pub previous_key_arns: Vec<String>,
}

/// Settings of the keys that the operator makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.multiRegion) == has(oldSelf.multiRegion) && (!has(self.multiRegion) || self.multiRegion.primaryRegion == oldSelf.multiRegion.primaryRegion)")
        .message("spec.key.multiRegion is immutable, its presence too: AWS cannot convert a key; make a new CustomerKey")
        .field_path(".multiRegion")
        .reason(Reason::FieldValueForbidden))]
pub struct KeySettings {
    /// Description of the keys, at most 8192 characters
    /// (https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html). Default: one that names this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub description: Option<String>,

    /// Tags of the keys, at most 40; the rest of the 50 that AWS allows
    /// (https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html) is the operator's. Names of at most
    /// 128 characters, values of at most 256; the prefixes cmk-operator.io/ and aws: are reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::tags")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('cmk-operator.io/') && !k.lowerAscii().startsWith('aws:'))")
        .message("spec.key.tags must not begin with cmk-operator.io/ or aws:, which are reserved")
        .reason(Reason::FieldValueForbidden))]
    #[x_kube(validation = Rule::new(r"self.all(k, k.matches('^[\\p{L}\\p{Z}\\p{N}_.:/=+@-]{1,128}$'))")
        .message("spec.key.tags must have names of 1 to 128 letters, digits, spaces and _ . : / = + @ -"))]
    pub tags: BTreeMap<String, String>,

    /// Automatic rotation of the key material. Default: left as it is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,

    /// Make one multi-Region key and its replicas in place of independent keys. A region with a keyArn uses that key, which
    /// has to be the primary or a replica of the same multi-Region key. Whether it is set, and to what, is immutable, since AWS cannot convert one kind of key into the other
    /// (https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_region: Option<MultiRegion>,
}

/// Automatic rotation of the key material.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Days between rotations, 90 to 2560
    /// (https://docs.aws.amazon.com/kms/latest/APIReference/API_EnableKeyRotation.html).
    #[schemars(range(min = 90, max = 2560))]
    pub period_days: i32,
}

/// One multi-Region key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MultiRegion {
    /// The region in which the primary key is made, one of spec.regions. The others get replicas. If somebody moves the
    /// primary, the operator follows: status shows which region has it.
    #[schemars(length(max = 32), regex(pattern = schema::REGION))]
    pub primary_region: String,
}

/// The AWS account that holds the keys, and how the operator gets there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.roleArn) || !self.roleArn.startsWith('arn:') || self.roleArn.contains('::' + self.accountId + ':')")
        .message("spec.aws.roleArn must be a role in the account spec.aws.accountId: keys are made in the account of the role")
        .field_path(".roleArn"))]
pub struct AwsAccount {
    /// The 12-digit id of the account. Credentials of another account are refused (AccountMismatch). Immutable.
    #[schemars(length(max = 12), regex(pattern = schema::ACCOUNT))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.aws.accountId is immutable: keys cannot be moved to another account")
        .reason(Reason::FieldValueForbidden))]
    pub account_id: String,

    /// ARN of the IAM role, in that account, that the operator assumes. Its trust policy has to demand the External ID
    /// that status.aws.externalId shows: a role that can be assumed without it is refused (RoleTrustOpen). Default: the
    /// operator's own credentials, where the operator's administrator allows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 640), regex(pattern = schema::ROLE_ARN))]
    pub role_arn: Option<String>,
}

/// The namespaces whose EncryptedClusters may use a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.from != 'Selector' || has(self.selector)")
        .message("spec.allowedNamespaces.selector is required with from: Selector")
        .field_path(".selector")
        .reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("self.from == 'Selector' || !has(self.selector)")
        .message("spec.allowedNamespaces.selector is only for from: Selector")
        .field_path(".selector")
        .reason(Reason::FieldValueForbidden))]
pub struct AllowedNamespaces {
    /// Same (default): the key's own namespace. All: every namespace. Selector: those that selector matches.
    #[serde(default)]
    pub from: NamespacesFrom,

    /// Labels of the namespaces that may use the key. Required with from: Selector, refused otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces may use a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    /// The key's own namespace.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// The namespaces that the selector matches.
    Selector,
}

/// Labels that a namespace must carry: every entry has to match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.matchLabels) && self.matchLabels.size() > 0) || (has(self.matchExpressions) && self.matchExpressions.size() > 0)")
        .message("spec.allowedNamespaces.selector needs matchLabels or matchExpressions: an empty one would match every namespace; say from: All for that"))]
pub struct LabelSelector {
    /// Labels with exactly these values. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub match_labels: BTreeMap<String, String>,

    /// Further demands on labels. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A demand on one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)")
        .message("values must be given with the operators In and NotIn, and only with them")
        .field_path(".values"))]
pub struct LabelRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,

    /// In, NotIn, Exists or DoesNotExist.
    pub operator: SelectorOperator,

    /// The values, for In and NotIn. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectorOperator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// What happens to the AWS keys in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyDeletionPolicy {
    /// They stay.
    #[default]
    Retain,
    /// They are scheduled for deletion, once that is confirmed and nothing uses them.
    ScheduleDeletion,
}

/// Whether the operator writes or only looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ManagementPolicy {
    /// It makes the world as declared.
    #[default]
    Manage,
    /// It only looks.
    Observe,
}

fn thirty() -> i32 {
    30
}
