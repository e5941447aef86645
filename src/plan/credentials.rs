//! Whether AWS and the database cloud take us for whom the spec means.

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::DesiredKey;
use crate::domain::reading::{Reading, Why};

use super::draft::Draft;

/// Whether AWS takes us for somebody in the declared account. If not, nothing in AWS is touched or believed.
pub(super) fn aws_is_ours(draft: &mut Draft<'_>, key: &DesiredKey) -> bool {
    if !draft.pass.settings.may_call_aws_for(key) {
        let message = format!(
            "Namespace {} may not use the operator's own AWS credentials, and spec.aws.roleArn is not set.",
            key.object.namespace
        );
        let fix = format!(
            "set spec.aws.roleArn to a role that trusts the operator with the External ID {}, or have the operator run with this namespace among its --ambient-namespaces.",
            key.access.external_id
        );
        draft.stuck(ConditionType::CredentialsValid, None, Reason::AmbientNotAllowed, message, &fix);
        return false;
    }
    match &draft.observed.caller {
        Reading::Present(caller) if caller.account == key.access.account.as_str() => true,
        Reading::Present(caller) => {
            let message = format!(
                "The AWS credentials belong to account {}, and spec.aws.accountId is {}.",
                caller.account, key.access.account
            );
            draft.stuck(
                ConditionType::CredentialsValid,
                None,
                Reason::AccountMismatch,
                message,
                "set spec.aws.roleArn to a role of the declared account, or re-create the object with the right account.",
            );
            false
        }
        Reading::Unknown(Why::Failed(fault)) => {
            let fault = fault.clone();
            draft.fault(ConditionType::CredentialsValid, None, &fault);
            false
        }
        Reading::Absent | Reading::Unknown(_) => {
            draft.blocked(&[ConditionType::CredentialsValid], None, Reason::NotLookedYet, "AWS was not asked yet.");
            false
        }
    }
}

/// Whether the cloud takes the credentials for the declared scope. If not, it is not told anything.
pub(super) fn cloud_is_ours(draft: &mut Draft<'_>, key: &DesiredKey) -> bool {
    let condition = ConditionType::CredentialsValid;
    match &draft.observed.credentials {
        Reading::Present(seen) if seen.lacking.is_empty() => {}
        Reading::Present(seen) => {
            let message = format!("Secret {} has no key {}.", seen.secret, seen.lacking.join(", "));
            draft.stuck(condition, None, Reason::SecretKeyMissing, message, "add the key to the Secret.");
            return false;
        }
        Reading::Absent => {
            let message = "There is no Secret with the cloud's credentials: credentialsSecretRef names none in this namespace, or is not set.".to_owned();
            draft.stuck(
                condition,
                None,
                Reason::SecretMissing,
                message,
                "create the Secret with the cloud's credentials.",
            );
            return false;
        }
        Reading::Unknown(Why::Failed(fault)) => {
            let fault = fault.clone();
            draft.fault(condition, None, &fault);
            return false;
        }
        Reading::Unknown(_) => return false,
    }
    match &draft.observed.scope {
        // A scope without an id is whichever the credentials belong to.
        Reading::Present(id) if *id == key.scope.id || key.scope.id.is_empty() => true,
        Reading::Present(id) => {
            let message = format!("The credentials belong to {id}, and the spec names {}.", key.scope.id);
            draft.stuck(
                condition,
                None,
                Reason::ScopeMismatch,
                message,
                "put credentials of the declared organization into the Secret, or correct the spec.",
            );
            false
        }
        Reading::Unknown(Why::Failed(fault)) => {
            let fault = fault.clone();
            draft.fault(condition, None, &fault);
            false
        }
        Reading::Absent | Reading::Unknown(_) => {
            draft.blocked(&[condition], None, Reason::NotLookedYet, "The cloud was not asked yet.");
            false
        }
    }
}
