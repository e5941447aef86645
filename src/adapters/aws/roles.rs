//! The roles of IAM that the operator makes: reading and writing one.
//!
//! IAM is one service for all regions of a partition; the region of the key only says which partition.

use aws_sdk_iam::types::{EvaluationResult, PermissionsBoundaryDecisionDetail, PolicyEvaluationDecisionType};
use percent_encoding::percent_decode_str;

use super::clients::ClientSet;
use super::operation::Operation;
use super::send::Sender;
use crate::domain::fault::{Applied, Fault, FaultClass};
use crate::domain::iam_role::{IamRole, NewRole, PERMISSIONS, path_and_name};
use crate::domain::id::KeyArn;
use crate::domain::policy::pattern::covers;
use crate::domain::role_powers::{RolePowers, Word};
use crate::ports::Place;

/// The name in a role's ARN.
fn name(operation: Operation, arn: &str) -> Result<(&str, &str), Fault> {
    let malformed = || Fault::new(FaultClass::Terminal, operation.action(), arn, "that is no ARN of a role");
    path_and_name(arn).ok_or_else(malformed)
}

/// IAM shows policies percent-encoded (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html>).
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A role by the name in an ARN, with the inline policy that is ours.
pub(super) async fn role(sender: &Sender, set: &ClientSet, arn: &str) -> Result<Option<IamRole>, Fault> {
    let (_, name) = name(Operation::GetRole, arn)?;
    let asked = set.iam.get_role().role_name(name).send();
    let Some(role) = sender.look(Operation::GetRole, arn, Box::pin(asked)).await?.and_then(|reply| reply.role) else {
        return Ok(None);
    };
    let asked = set.iam.get_role_policy().role_name(name).policy_name(PERMISSIONS).send();
    let permissions = sender.look(Operation::GetRolePolicy, arn, Box::pin(asked)).await?;
    Ok(Some(IamRole {
        trust: decoded(role.assume_role_policy_document().unwrap_or_default()),
        tags: role.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect(),
        permissions: permissions.map(|reply| decoded(reply.policy_document())),
        arn: role.arn,
    }))
}

/// The actions of KMS by which data are encrypted and opened. The simulation takes no wildcards.
const USES_OF_A_KEY: [&str; 9] = [
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
];

/// What the policies of a role say of these actions on a key: AWS evaluates them, inline and attached ones and the boundary.
/// Policies on resources have no part in it: for roles they can't be simulated
/// (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>).
pub(super) async fn powers(
    sender: &Sender,
    set: &ClientSet,
    role: &str,
    actions: &[String],
    key: &KeyArn,
) -> Result<Option<RolePowers>, Fault> {
    let operation = Operation::SimulatePrincipalPolicy;
    let wanted = USES_OF_A_KEY.iter().filter(|action| actions.iter().any(|pattern| covers(pattern, action)));
    let wanted: Vec<String> = wanted.map(|action| (*action).to_owned()).collect();
    let (mut powers, mut marker) = (RolePowers::default(), None::<String>);
    loop {
        let call = set
            .iam
            .simulate_principal_policy()
            .policy_source_arn(role)
            .set_action_names(Some(wanted.clone()))
            .resource_arns(key.to_string())
            .set_marker(marker);
        let Some(page) = sender.look(operation, role, Box::pin(call.send())).await? else { return Ok(None) };
        powers.0.extend(page.evaluation_results().iter().map(|result| (result.eval_action_name.clone(), word(result))));
        marker = page.marker.filter(|_| page.is_truncated);
        if marker.is_none() {
            break;
        }
    }
    let unsaid: Vec<&String> = wanted.iter().filter(|action| !powers.0.contains_key(*action)).collect();
    if unsaid.is_empty() {
        return Ok(Some(powers));
    }
    let text = format!("the answer says nothing of {unsaid:?}");
    Err(Fault::new(FaultClass::Transient, operation.action(), role, text))
}

fn word(result: &EvaluationResult) -> Word {
    let within = result
        .permissions_boundary_decision_detail()
        .is_none_or(PermissionsBoundaryDecisionDetail::allowed_by_permissions_boundary);
    match result.eval_decision {
        PolicyEvaluationDecisionType::Allowed => Word::Allowed,
        PolicyEvaluationDecisionType::ImplicitDeny if within => Word::Silent,
        PolicyEvaluationDecisionType::ImplicitDeny => Word::HeldBack,
        // What AWS may say one day is no permission.
        _ => Word::Denied,
    }
}

pub(super) async fn create(sender: &Sender, set: &ClientSet, place: &Place, role: &NewRole) -> Result<(), Fault> {
    let (path, name) = name(Operation::CreateRole, &role.arn)?;
    let mut tags = Vec::new();
    for (key, value) in &role.tags {
        let tag = aws_sdk_iam::types::Tag::builder().key(key).value(value).build();
        tags.push(
            tag.map_err(|e| {
                Fault::new(FaultClass::Terminal, Operation::CreateRole.action(), &role.arn, e.to_string())
            })?,
        );
    }
    let call = set
        .iam_writes
        .create_role()
        .path(path)
        .role_name(name)
        .assume_role_policy_document(&role.trust)
        .description(&role.description)
        .set_permissions_boundary(role.boundary.clone())
        .set_tags(Some(tags));
    sender.write(Operation::CreateRole, place, &role.arn, Box::pin(call.send())).await.map(drop)
}

pub(super) async fn trust(
    sender: &Sender,
    set: &ClientSet,
    place: &Place,
    arn: &str,
    trust: &str,
) -> Result<(), Fault> {
    let (_, name) = name(Operation::UpdateAssumeRolePolicy, arn)?;
    let call = set.iam_writes.update_assume_role_policy().role_name(name).policy_document(trust);
    sender.write(Operation::UpdateAssumeRolePolicy, place, arn, Box::pin(call.send())).await.map(drop)
}

pub(super) async fn permit(
    sender: &Sender,
    set: &ClientSet,
    place: &Place,
    arn: &str,
    policy: &str,
) -> Result<(), Fault> {
    let (_, name) = name(Operation::PutRolePolicy, arn)?;
    let call = set.iam_writes.put_role_policy().role_name(name).policy_name(PERMISSIONS).policy_document(policy);
    sender.write(Operation::PutRolePolicy, place, arn, Box::pin(call.send())).await.map(drop)
}

/// Deletes a role and our policy on it; what is gone already is gone.
pub(super) async fn delete(sender: &Sender, set: &ClientSet, place: &Place, arn: &str) -> Result<(), Fault> {
    let (_, name) = name(Operation::DeleteRole, arn)?;
    let call = set.iam_writes.delete_role_policy().role_name(name).policy_name(PERMISSIONS);
    gone(sender.write(Operation::DeleteRolePolicy, place, arn, Box::pin(call.send())).await.map(drop))?;
    let call = set.iam_writes.delete_role().role_name(name);
    gone(sender.write(Operation::DeleteRole, place, arn, Box::pin(call.send())).await.map(drop))
}

/// AWS's word that there is nothing to delete is the end of it.
fn gone(outcome: Result<(), Fault>) -> Result<(), Fault> {
    match outcome {
        Err(fault) if fault.class == FaultClass::Settling && fault.applied == Applied::No => Ok(()),
        other => other,
    }
}
