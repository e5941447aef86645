//! The least IAM policy, made from the operations: a new one does not compile before it says here what it needs.
//!
//! Which resources and condition keys an action knows is AWS's
//! (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_kms.html>,
//! <https://docs.aws.amazon.com/kms/latest/developerguide/kms-api-permissions-reference.html>).
//!
//! # Caveats
//! A condition on tags keeps an operator from what belongs to others by mistake. It does not hold back one that is in an
//! attacker's hands: whoever may tag keys at creation may tag any key, and so make it its own.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::operation::Operation;
use crate::domain::id::{AccountId, Name, Region, tag};

/// What a policy is for. All parts can stand in one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Making and keeping keys: for whoever acts in the account of the keys.
    Keys,
    /// Making multi-Region keys and replicas of them: for whoever acts in the account of the keys.
    Replicas,
    /// Scheduling keys for deletion.
    Deletion,
    /// Taking a deletion back that was scheduled before: for whoever acts in the account of the keys.
    Restoring,
    /// Assuming roles: for the operator itself.
    Roles,
    /// Making the roles as which a cloud uses keys, and keeping them: for whoever acts in the account of the keys.
    CloudRoles,
    /// Deleting such roles, with the key.
    CloudRoleEnds,
}

/// What the policy is narrowed to. Nothing given: every key of the account that it is attached in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// The account of the keys.
    pub account: Option<AccountId>,
    /// The regions of the keys; none: all.
    pub regions: Vec<Region>,
    /// The installation: only keys that carry its tags, or its owner's consent, are written to.
    pub installation: Option<Name>,
    /// The roles that are assumed.
    pub roles: Vec<String>,
    /// The permissions boundary without which no role is made.
    pub boundary: Option<String>,
}

/// Why an operation needs its action, which decides on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// No resource can be named.
    Search,
    /// Any key: that one is not ours is seen by looking at it, and a search reads the tags of every key.
    Look,
    /// A key that does not exist yet. AWS checks `CreateKey` as all three of `CreateKey`, `PutKeyPolicy` and
    /// `TagResource`, and no tag is on the key then, so the tags of the request count.
    Create,
    /// An alias, which has no tags.
    Alias,
    /// A key that the operator made.
    Own,
    /// A key that its owner lets the operator use.
    Adopted,
    /// A key that the operator made, of which replicas are made. What is made is a key that does not exist yet: it needs
    /// what `CreateKey` needs, in its own region.
    Primary,
    /// The same of one that its owner lets the operator use.
    AdoptedPrimary,
    /// A key that the operator made and a human gave up.
    Doomed,
    /// Such a key, once it is wanted again.
    Restored,
    /// A role.
    Role,
    /// Any role of IAM: that one is not ours is seen by looking at it, and of one that is not there AWS does not know the
    /// path.
    LookAtRole,
    /// A role of IAM under the path that belongs to the operator, and what it may do.
    CloudRole,
    /// Whom such a role trusts.
    KeptRole,
    /// Such a role, once its key is given up.
    DoomedRole,
}

const USES: [Use; 15] = [
    Use::Search,
    Use::Look,
    Use::Create,
    Use::Alias,
    Use::Own,
    Use::Adopted,
    Use::Primary,
    Use::AdoptedPrimary,
    Use::Doomed,
    Use::Restored,
    Use::Role,
    Use::LookAtRole,
    Use::CloudRole,
    Use::KeptRole,
    Use::DoomedRole,
];

impl Operation {
    /// What the operation's action is needed for.
    const fn uses(self) -> &'static [Use] {
        match self {
            // No permission is needed, and none can keep anybody from it
            // (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>).
            Self::GetCallerIdentity => &[],
            Self::AssumeRole => &[Use::Role],
            Self::ListKeys | Self::GetResources => &[Use::Search],
            // By an alias too. One that does not exist belongs to no key, so the right stands on the alias as well.
            Self::DescribeKey => &[Use::Look, Use::Alias],
            Self::ListResourceTags | Self::GetKeyPolicy | Self::GetKeyRotationStatus => &[Use::Look],
            Self::CreateKey => &[Use::Create],
            Self::ReplicateKey => &[Use::Primary, Use::AdoptedPrimary],
            Self::CreateAlias => &[Use::Alias, Use::Own],
            Self::PutKeyPolicy | Self::TagResource => &[Use::Create, Use::Own, Use::Adopted],
            Self::EnableKeyRotation | Self::UpdateKeyDescription => &[Use::Own],
            Self::ScheduleKeyDeletion => &[Use::Doomed],
            Self::CancelKeyDeletion | Self::EnableKey => &[Use::Restored],
            Self::GetRole | Self::GetRolePolicy | Self::SimulatePrincipalPolicy => &[Use::LookAtRole],
            Self::CreateRole | Self::PutRolePolicy => &[Use::CloudRole],
            Self::UpdateAssumeRolePolicy => &[Use::KeptRole],
            Self::DeleteRolePolicy | Self::DeleteRole => &[Use::DoomedRole],
        }
    }
}

impl Use {
    const fn part(self) -> Part {
        match self {
            Self::Search | Self::Look | Self::Create | Self::Alias | Self::Own | Self::Adopted => Part::Keys,
            Self::Primary | Self::AdoptedPrimary => Part::Replicas,
            Self::Doomed => Part::Deletion,
            Self::Restored => Part::Restoring,
            Self::Role => Part::Roles,
            Self::LookAtRole | Self::CloudRole | Self::KeptRole => Part::CloudRoles,
            Self::DoomedRole => Part::CloudRoleEnds,
        }
    }

    const fn sid(self) -> &'static str {
        match self {
            Self::Search => "SearchKeys",
            Self::Look => "LookAtKeys",
            Self::Create => "CreateKeys",
            Self::Alias => "ClaimAliases",
            Self::Own => "KeepOwnKeys",
            Self::Adopted => "KeepAdoptedKeys",
            Self::Primary => "ReplicateOwnKeys",
            Self::AdoptedPrimary => "ReplicateAdoptedKeys",
            Self::Doomed => "DeleteOwnKeys",
            Self::Restored => "RestoreOwnKeys",
            Self::Role => "AssumeRoles",
            Self::LookAtRole => "LookAtRoles",
            Self::CloudRole => "MakeCloudRoles",
            Self::KeptRole => "KeepCloudRoles",
            Self::DoomedRole => "DeleteCloudRoles",
        }
    }

    /// Whether it says more than the other uses of the action do. Without an installation no tags tell keys apart, and
    /// what is allowed for keys that do not exist yet is allowed for all.
    fn is_told_apart(self, operation: Operation, to: &Narrowing) -> bool {
        let whole = to.installation.is_none() && operation.uses().contains(&Self::Create);
        match self {
            Self::Adopted | Self::AdoptedPrimary => to.installation.is_some(),
            Self::Own => !whole,
            _ => true,
        }
    }

    fn resources(self, to: &Narrowing) -> Vec<String> {
        match self {
            Self::Search | Self::Create => vec!["*".to_owned()],
            Self::Look
            | Self::Own
            | Self::Adopted
            | Self::Primary
            | Self::AdoptedPrimary
            | Self::Doomed
            | Self::Restored => to.arns("key/*"),
            Self::Alias => match &to.installation {
                Some(installation) => to.arns(&format!("alias/cmk-operator/{installation}/*")),
                None => to.arns("alias/cmk-operator/*"),
            },
            Self::Role if to.roles.is_empty() => vec!["*".to_owned()],
            // Never on a condition that the External ID be given: the operator also tries without, and takes the role
            // for closed to strangers if it is denied.
            // As in the flags of `run`, `{account}` stands for the account of the keys.
            Self::Role => {
                let account = to.account.as_ref().map_or("*", AccountId::as_str);
                to.roles.iter().map(|role| role.replace("{account}", account)).collect()
            }
            Self::LookAtRole => to.iam_arns("role/*"),
            Self::CloudRole | Self::KeptRole | Self::DoomedRole => match &to.installation {
                Some(installation) => to.iam_arns(&format!("role/cmk-operator/{installation}/*")),
                None => to.iam_arns("role/cmk-operator/*"),
            },
        }
    }

    fn conditions(self, to: &Narrowing) -> Value {
        let mut conditions = Map::new();
        let mut add = |operator: &str, key: String, value: Value| {
            let entry = conditions.entry(operator.to_owned()).or_insert_with(|| json!({}));
            entry[key] = value;
        };
        // Where there is no ARN to name the region.
        if matches!(self, Self::Search | Self::Create) && !to.regions.is_empty() {
            add("StringEquals", "aws:RequestedRegion".to_owned(), json!(to.regions));
        }
        if let Some(installation) = &to.installation {
            match self {
                Self::Create => {
                    add("StringEquals", format!("aws:RequestTag/{}", tag::INSTALLATION), json!(installation));
                }
                Self::Own | Self::Primary | Self::Doomed | Self::Restored => {
                    add("StringEquals", format!("aws:ResourceTag/{}", tag::INSTALLATION), json!(installation));
                }
                Self::Adopted | Self::AdoptedPrimary => {
                    let consent = format!("{installation}/*");
                    add("StringLike", format!("aws:ResourceTag/{}", tag::ADOPT_BY), json!(consent));
                }
                Self::Search
                | Self::Look
                | Self::Alias
                | Self::Role
                | Self::LookAtRole
                | Self::CloudRole
                | Self::KeptRole
                | Self::DoomedRole => {}
            }
        }
        if let (Self::CloudRole, Some(boundary)) = (self, &to.boundary) {
            let account = to.account.as_ref().map_or("*", AccountId::as_str);
            let boundary = boundary.replace("{account}", account);
            let operator = if boundary.contains('*') { "StringLike" } else { "StringEquals" };
            add(operator, "iam:PermissionsBoundary".to_owned(), json!(boundary));
        }
        Value::Object(conditions)
    }
}

impl Narrowing {
    /// The ARNs of something of KMS.
    fn arns(&self, resource: &str) -> Vec<String> {
        let account = self.account.as_ref().map_or("*", AccountId::as_str);
        if self.regions.is_empty() {
            return vec![format!("arn:*:kms:*:{account}:{resource}")];
        }
        self.regions.iter().map(|r| format!("arn:{}:kms:{r}:{account}:{resource}", r.partition())).collect()
    }

    /// The ARNs of something of IAM, which knows no regions.
    fn iam_arns(&self, resource: &str) -> Vec<String> {
        let account = self.account.as_ref().map_or("*", AccountId::as_str);
        let partitions: BTreeSet<&str> = self.regions.iter().map(Region::partition).collect();
        let partitions = if partitions.is_empty() { BTreeSet::from(["*"]) } else { partitions };
        partitions.iter().map(|partition| format!("arn:{partition}:iam::{account}:{resource}")).collect()
    }
}

/// The identity policy that allows these parts, and nothing else.
pub fn policy(parts: &[Part], to: &Narrowing) -> Value {
    let mut statements: Vec<Value> = USES.iter().filter_map(|wanted| statement(*wanted, parts, to)).collect();
    if parts.contains(&Part::Replicas) {
        statements.push(link(to));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// The first multi-Region key of an account has AWS make a role by which it keeps the members of a family alike; whoever
/// makes the key must be allowed that
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-auth-slr.html>). The operator itself never makes that role.
fn link(to: &Narrowing) -> Value {
    const ROLE: &str =
        "role/aws-service-role/mrk.kms.amazonaws.com/AWSServiceRoleForKeyManagementServiceMultiRegionKeys";
    json!({
        "Sid": "LinkMultiRegionKeys", "Effect": "Allow", "Action": ["iam:CreateServiceLinkedRole"],
        "Resource": to.iam_arns(ROLE),
        "Condition": { "StringEquals": { "iam:AWSServiceName": "mrk.kms.amazonaws.com" } },
    })
}

fn statement(wanted: Use, parts: &[Part], to: &Narrowing) -> Option<Value> {
    if !parts.contains(&wanted.part()) {
        return None;
    }
    let needs = |operation: &&Operation| operation.uses().contains(&wanted) && wanted.is_told_apart(**operation, to);
    let mut actions: BTreeSet<&str> = Operation::ALL.iter().filter(needs).map(|operation| operation.action()).collect();
    if wanted == Use::KeptRole {
        // `CreateRole` with tags is both (<https://docs.aws.amazon.com/IAM/latest/UserGuide/access_tags.html>).
        actions.insert("iam:TagRole");
    }
    if actions.is_empty() {
        return None;
    }
    let mut statement = json!({
        "Sid": wanted.sid(), "Effect": "Allow", "Action": actions, "Resource": wanted.resources(to),
    });
    let conditions = wanted.conditions(to);
    if conditions.as_object().is_some_and(|all| !all.is_empty()) {
        statement["Condition"] = conditions;
    }
    Some(statement)
}
