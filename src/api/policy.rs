//! `spec.policy` of a CustomerKey: what the key policy holds beyond the operator's own statements.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// `operator -> context key -> values`, as in a key policy's `Condition`.
pub type ConditionMap = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// What the key policy holds beyond the statements that the operator and the cloud need.
///
/// A key policy has at most 32 KiB (https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html); one
/// that would be larger is refused before it is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.statements) || !has(self.documents) || self.statements.all(s, !self.documents.exists(d, d.name == s.name))")
        .message("spec.policy.documents[].name must differ from every spec.policy.statements[].name: the policy tells them apart by name")
        .field_path(".documents"))]
pub struct PolicySpec {
    /// ARNs of IAM roles, users or accounts that may administer the key, but not use it. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32), inner(length(max = 640), regex(pattern = schema::ADMINISTRATOR_ARN)))]
    pub administrators: Vec<String>,

    /// Statements of yours, in fields. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 32))]
    pub statements: Vec<Statement>,

    /// Policy documents of yours, as JSON: what a vendor's portal shows, pasted. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub documents: Vec<PolicyDocument>,

    /// What happens to statements that somebody else put into the key policy. Preserve (default): they stay. Remove:
    /// they go, which can lock others out of the key; not possible with an adopted key (spec.regions keyArn).
    #[serde(default)]
    pub foreign_statements: ForeignStatements,

    /// Whether the statement that lets the account's IAM policies govern the key ("Enable IAM User Permissions") is
    /// added to adopted keys that lack it. Default: false. Keys that the operator makes always have it: without it a
    /// key can become unmanageable (https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html).
    /// The operator never takes it away: set back to false, what was added stays.
    #[serde(default)]
    pub ensure_root: bool,

    /// Whether foreign statements may lose principals that no longer exist (shown by AWS as AROA... or AIDA...).
    /// Default: false: as long as such a principal stands in the policy AWS refuses every change of it, and the
    /// operator reports OrphanedPrincipal.
    #[serde(default)]
    pub remove_orphaned_principals: bool,
}

/// What happens to statements that are not the operator's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForeignStatements {
    /// They stay.
    #[default]
    Preserve,
    /// They are removed.
    Remove,
}

/// A statement of the key policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.effect == 'Deny' || !has(self.principals.aws) || !('*' in self.principals.aws) || (has(self.conditions) && self.conditions.size() > 0)")
        .message("principals.aws: * needs conditions in a statement that allows: it means everybody, in every AWS account")
        .field_path(".conditions")
        .reason(Reason::FieldValueRequired))]
pub struct Statement {
    /// Name, unique among the statements and documents of this object; the statement is known by it in the policy.
    #[schemars(length(min = 1, max = 40), regex(pattern = schema::LABEL))]
    pub name: String,

    /// The regions whose keys get the statement; each must be in spec.regions. Default: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32), inner(length(max = 32), regex(pattern = schema::REGION)))]
    pub regions: Vec<String>,

    /// Allow (default) or Deny. A Deny that would stop the operator from changing the policy is refused.
    #[serde(default)]
    pub effect: Effect,

    /// Whom the statement is about.
    pub principals: Principals,

    /// KMS actions such as kms:Decrypt; a trailing * is allowed. 1 to 64.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 64), inner(length(max = 64), regex(pattern = r"^kms:(\*|[A-Za-z]+\*?)$")))]
    pub actions: Vec<String>,

    /// Conditions as in a key policy: operator, then context key, then the list of values, for example StringEquals,
    /// kms:ViaService, s3.us-east-1.amazonaws.com. At most 16 operators, 16 keys of each and 64 values of each.
    /// Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: ConditionMap,

    /// Whether the statement may give a principal of another account more than the use of the key (administration,
    /// grants without the condition kms:GrantIsForAWSResource, kms:*). Default: false: such a statement is refused with
    /// the reason PolicyRisky.
    #[serde(default)]
    pub accept_risk: bool,
}

/// Whether a statement allows or denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Effect {
    /// It allows.
    #[default]
    Allow,
    /// It denies.
    Deny,
}

/// Whom a statement is about: at least one entry in aws or service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.aws) && self.aws.size() > 0) || (has(self.service) && self.service.size() > 0)")
        .message("principals must have at least one entry in aws or service"))]
pub struct Principals {
    /// ARNs of accounts, roles, users or sessions, account ids, or * (everybody; needs conditions). At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32), inner(length(max = 640), regex(pattern = schema::AWS_PRINCIPAL)))]
    pub aws: Vec<String>,

    /// AWS services such as logs.us-east-1.amazonaws.com. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(max = 32),
        inner(length(max = 128), regex(pattern = r"^[a-z0-9-]+(\.[a-z0-9-]+)*\.amazonaws\.com(\.cn)?$"))
    )]
    pub service: Vec<String>,
}

/// A policy document, or a single statement, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.replicationTo) || (has(self.regions) && self.regions.size() > 0 && !(self.replicationTo in self.regions))")
        .message("replicationTo needs regions, and must not be one of them: the document is for the key of the region that is copied from")
        .field_path(".regions"))]
pub struct PolicyDocument {
    /// Name, unique among the statements and documents of this object.
    #[schemars(length(min = 1, max = 40), regex(pattern = schema::LABEL))]
    pub name: String,

    /// The regions whose keys get the statements; each must be in spec.regions. Default: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32), inner(length(max = 32), regex(pattern = schema::REGION)))]
    pub regions: Vec<String>,

    /// The document ({"Version":..., "Statement":[...]}), a statement ({"Effect":...}) or an array of statements. At
    /// most 32768 characters, which is what AWS allows for a whole key policy. Only the statements are taken over,
    /// under Sids of the operator's.
    #[schemars(length(min = 2, max = 32768), regex(pattern = r"^\s*[\[{]"))]
    pub json: String,

    /// Only for singleStore: the second region whose copies the statements let be made. SingleStore's portal suggests
    /// two policies for replication, one for the key of the second region and one to append to the key of the first;
    /// this marks the latter, which is for the keys of regions. Replication is not set up before it is in place.
    /// Default: none; the document lets the cloud use the key in the key's own region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = schema::REGION))]
    pub replication_to: Option<String>,

    /// Whether its statements may give a principal of another account more than the use of the key. Default: false:
    /// such a document is refused with the reason PolicyRisky.
    #[serde(default)]
    pub accept_risk: bool,
}
