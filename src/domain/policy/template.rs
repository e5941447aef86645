//! The statements we author.
//!
//! What a database cloud needs comes in as data ([`Grant`]); nothing here knows any of them.

use super::ownership::{Label, LabelError, Ownership};
use super::principal::KeyAccount;
use super::statement::{Condition, Principals, Statement};

/// Labels of the built-in statements; no grant may take them.
pub const ROOT_LABEL: &str = "Enable IAM User Permissions";
/// See [`operator`].
pub const OPERATOR_LABEL: &str = "operator";
/// See [`administrators`].
pub const ADMINISTRATORS_LABEL: &str = "administrators";
pub(super) const USER_KIND: &str = "user";
pub(super) const DOCUMENT_KIND: &str = "doc";

/// What the operator does to a key that it keeps: its policy, tags, alias, rotation and state. No cryptography, no
/// grants, no deletion, no disabling. `kms:CancelKeyDeletion` and `kms:EnableKey` are for a deletion that the operator
/// scheduled itself and takes back.
pub const OPERATOR_ACTIONS: [&str; 15] = [
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListKeyPolicies",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
];

/// What the operator does in addition to the primary of a multi-Region key. Any of the related keys may be made the
/// primary, so all their policies have it. That it stands in the key policy is AWS's advice
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_ReplicateKey.html>, "Required permissions").
pub const OPERATOR_REPLICATION_ACTIONS: [&str; 1] = ["kms:ReplicateKey"];

/// The AWS console's "Allow access for Key Administrators" as it is with the box "Allow key administrators to delete
/// this key" cleared, but for `kms:CancelKeyDeletion`, which stays because it can only save a key.
///
/// `kms:ScheduleKeyDeletion` is left out: a key that is lost takes the database with it, so deletion goes through the
/// operator's confirmation, or through an IAM policy (which the root statement enables), never through a list of
/// administrators alone. The list has no cryptographic action; but administrators hold `kms:Put*` and `kms:Create*`, so they can
/// give themselves any: choose them as AWS warns.
///
/// Source: <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html#key-policy-default-allow-administrators>.
pub const ADMINISTRATOR_ACTIONS: [&str; 14] = [
    "kms:CancelKeyDeletion",
    "kms:Create*",
    "kms:Delete*",
    "kms:Describe*",
    "kms:Disable*",
    "kms:Enable*",
    "kms:Get*",
    "kms:List*",
    "kms:Put*",
    "kms:Revoke*",
    "kms:RotateKeyOnDemand",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:Update*",
];

/// What a database cloud needs of a key: one statement, for every principal it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names the statement; see [`Label`].
    pub label: String,
    /// Such as `kms:Decrypt`; wildcards are allowed.
    pub actions: Vec<String>,
    /// All of them have to be true.
    pub conditions: Vec<Condition>,
}

/// A statement of ours, with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authored {
    /// The statement, its Sid set.
    pub statement: Statement,
    /// The last part of the Sid.
    pub label: Label,
    /// Who wrote it.
    pub source: Source,
    /// The author took the risk that [`guard`](super::guard) would refuse.
    pub accept_risk: bool,
}

/// Who wrote a statement of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// [`root`]
    Root,
    /// [`operator`]
    Operator,
    /// [`administrators`]
    Administrators,
    /// [`grant`]
    Grant,
    /// [`restriction`](super::addresses::restriction)
    Addresses,
    /// A typed statement of the user, by name.
    User(String),
    /// A document that the user pasted, by name.
    Document(String),
}

impl Authored {
    /// Marks a statement as ours.
    pub fn new(own: &Ownership, label: Label, source: Source, mut statement: Statement) -> Self {
        statement.sid = Some(own.sid(&label));
        Self { statement, label, source, accept_risk: false }
    }
}

/// Gives the key's own account everything, by its account principal: IAM policies of the account take effect on the key, and
/// no deleted role can leave it unmanageable.
///
/// Source: <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html#key-policy-default-allow-root-enable-iam>.
pub fn root(own: &Ownership, account: &KeyAccount) -> Result<Authored, LabelError> {
    let statement = Statement::allow(Principals::aws([account.root_arn()]), ["kms:*"]);
    Ok(Authored::new(own, Label::new(ROOT_LABEL)?, Source::Root, statement))
}

/// Names the operator's own principal (see [`lasting_principal`](super::principal::lasting_principal)), so that the lockout
/// check and the daily management do not hang on IAM or on tags that are not yet visible.
pub fn operator(own: &Ownership, principal: &str, multi_region: bool) -> Result<Authored, LabelError> {
    let more: &[&str] = if multi_region { &OPERATOR_REPLICATION_ACTIONS } else { &[] };
    let statement = Statement::allow(Principals::aws([principal]), OPERATOR_ACTIONS.iter().chain(more).copied());
    Ok(Authored::new(own, Label::new(OPERATOR_LABEL)?, Source::Operator, statement))
}

/// Lets these users or roles administer the key; `None` when there are none.
pub fn administrators(own: &Ownership, arns: &[String]) -> Result<Option<Authored>, LabelError> {
    let Some(principals) = sorted_principals(arns) else {
        return Ok(None);
    };
    let statement = Statement::allow(principals, ADMINISTRATOR_ACTIONS);
    Ok(Some(Authored::new(own, Label::new(ADMINISTRATORS_LABEL)?, Source::Administrators, statement)))
}

/// One statement for all principals of a grant; `None` while no principal is known.
///
/// Errors: a label that is no label, or that belongs to a statement of another kind.
pub fn grant(own: &Ownership, grant: &Grant, principals: &[String]) -> Result<Option<Authored>, LabelError> {
    let label = grant_label(grant)?;
    let Some(principals) = sorted_principals(principals) else {
        return Ok(None);
    };
    let mut statement = Statement::allow(principals, grant.actions.iter().cloned());
    statement.conditions.clone_from(&grant.conditions);
    Ok(Some(Authored::new(own, label, Source::Grant, statement)))
}

/// A statement that the user typed; `name` is a DNS label, a Sid in it is replaced.
pub fn user(own: &Ownership, name: &str, statement: Statement, accept_risk: bool) -> Result<Authored, LabelError> {
    let label = Label::of_name(USER_KIND, name)?;
    let authored = Authored::new(own, label, Source::User(name.to_owned()), statement);
    Ok(Authored { accept_risk, ..authored })
}

fn grant_label(grant: &Grant) -> Result<Label, LabelError> {
    let label = Label::new(grant.label.clone())?;
    let first = label.as_str().split(' ').next().unwrap_or_default();
    let taken = [ROOT_LABEL, OPERATOR_LABEL, ADMINISTRATORS_LABEL, super::addresses::LABEL].contains(&label.as_str())
        || [USER_KIND, DOCUMENT_KIND].contains(&first);
    if taken { Err(LabelError::taken(&label)) } else { Ok(label) }
}

/// Sorted and without duplicates, so that the same set always gives the same text.
fn sorted_principals(arns: &[String]) -> Option<Principals> {
    let set: std::collections::BTreeSet<_> = arns.iter().cloned().collect();
    (!set.is_empty()).then(|| Principals::aws(set))
}
