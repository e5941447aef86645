//! What policies allow: the one evaluator, for key policies, trust policies, identity policies and boundaries.
//!
//! Source: IAM user guide, "Policy evaluation logic" and its pages for one account and for several accounts,
//! "Permissions boundaries for IAM entities", "AWS JSON policy elements: Principal" and the one about `NotPrincipal`. A key policy and
//! the trust policy of a role are the two policies on a resource without which nothing is allowed, not even to the
//! resource's own account; both are evaluated here in the same way.

use serde::Serialize;

use super::condition::{Facts, all_hold};
use crate::domain::policy::pattern::{covers, matches_exactly};
use crate::domain::policy::{Effect, PolicyDocument, PrincipalKind, PrincipalSet, Principals, Selector, Statement};
use crate::sandbox::iam::Identity;
use crate::sandbox::ident::{arn_parts, is_account};

/// One request as the policies see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: &'a Identity,
    /// The caller's unique id, as a stored policy names it; its ARN where nobody knows a unique id.
    pub unique_id: &'a str,
    /// `kms:Decrypt`, `sts:AssumeRole`.
    pub action: &'a str,
    /// ARN of the resource; `*` for an action that has none.
    pub resource: &'a str,
    /// What else is known, for conditions.
    pub facts: &'a Facts,
}

/// The policies that have a say in a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'a> {
    /// The policy on the resource and the account that the resource belongs to; `None` for a resource that has none.
    pub on_resource: Option<(&'a PolicyDocument, &'a str)>,
    /// The caller's identity policies; `None`: an administrator, who is allowed everything.
    pub of_identity: Option<&'a [PolicyDocument]>,
    /// The caller's permissions boundary.
    pub boundary: Option<&'a PolicyDocument>,
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may be done.
    Allowed,
    /// A statement says no; nothing can outvote it.
    DeniedExplicitly,
    /// No statement says yes, or too few of the policies that have to.
    DeniedImplicitly,
}

/// How the policy on a resource lets a caller in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grant {
    /// By its account: the account's own policies decide who.
    ToAccount,
    /// By the name of the user or role, or by `*`.
    ByName,
    /// By the name of the role session: not even a boundary's silence takes it away.
    ToSession,
}

/// Decides one request.
pub fn decide(request: &Request<'_>, policies: &Policies<'_>) -> Decision {
    let identity = policies.of_identity.unwrap_or_default();
    let denied_by_identity = identity.iter().chain(policies.boundary).any(|p| identity_says(p, request, Effect::Deny));
    let denied_by_resource =
        policies.on_resource.is_some_and(|(p, _)| p.statements.iter().any(|s| denies_on_resource(s, request)));
    if denied_by_identity || denied_by_resource {
        return Decision::DeniedExplicitly;
    }
    let within_boundary = policies.boundary.is_none_or(|p| identity_says(p, request, Effect::Allow));
    let by_identity = within_boundary
        && policies.of_identity.is_none_or(|all| all.iter().any(|p| identity_says(p, request, Effect::Allow)));
    let allowed = match policies.on_resource {
        None => by_identity,
        Some((policy, owner)) => {
            let grant = policy.statements.iter().filter_map(|s| granted_on_resource(s, request)).max();
            match grant {
                None => false,
                Some(_) if request.caller.account != owner => by_identity,
                Some(Grant::ToSession) => true,
                // A user named in a policy on a resource is not held back by its boundary, a role is.
                Some(Grant::ByName) => within_boundary || is_user(request.caller),
                Some(Grant::ToAccount) => by_identity,
            }
        }
    };
    if allowed { Decision::Allowed } else { Decision::DeniedImplicitly }
}

fn is_user(caller: &Identity) -> bool {
    arn_parts(&caller.arn).is_some_and(|p| p[5].starts_with("user/"))
}

/// Whether an identity policy or a boundary has such a statement about this request.
fn identity_says(policy: &PolicyDocument, request: &Request<'_>, effect: Effect) -> bool {
    policy.statements.iter().any(|s| s.effect == effect && covers_request(s, request, false))
}

/// Action, resource and conditions. In a policy on a resource, `Resource` is `*` or missing, and means the resource.
fn covers_request(statement: &Statement, request: &Request<'_>, on_resource: bool) -> bool {
    let action = match &statement.actions {
        Selector::Missing => false,
        Selector::Only(all) => all.iter().any(|p| covers(p, request.action)),
        Selector::AllBut(all) => !all.iter().any(|p| covers(p, request.action)),
    };
    let named = |all: &[String]| all.iter().any(|p| matches_exactly(p, request.resource));
    let resource = match &statement.resources {
        Selector::Missing => on_resource,
        Selector::Only(all) => named(all),
        Selector::AllBut(all) => !named(all),
    };
    action && resource && all_hold(&statement.conditions, request)
}

fn granted_on_resource(statement: &Statement, request: &Request<'_>) -> Option<Grant> {
    let Principals::Only(set) = &statement.principals else {
        // AWS does not support NotPrincipal with Allow.
        return None;
    };
    let grant = grant_of(set, request)?;
    (statement.effect == Effect::Allow && covers_request(statement, request, true)).then_some(grant)
}

fn denies_on_resource(statement: &Statement, request: &Request<'_>) -> bool {
    let meant = match &statement.principals {
        Principals::Missing => false,
        Principals::Only(set) => grant_of(set, request).is_some(),
        // Only who is named together with its account is spared.
        Principals::AllBut(set) => {
            let named = grant_of(set, request).is_some_and(|g| g > Grant::ToAccount);
            let account = aws_names(set).any(|p| p == "*" || is_account_of(p, &request.caller.account));
            !(named && account)
        }
    };
    meant && statement.effect == Effect::Deny && covers_request(statement, request, true)
}

/// How a list of principals names the caller, in the strongest way that it does.
fn grant_of(set: &PrincipalSet, request: &Request<'_>) -> Option<Grant> {
    let caller = request.caller;
    let session = caller.session.as_ref().map(|_| caller.caller_arn());
    let of_one = |name: &str| {
        if session.as_deref() == Some(name) {
            Some(Grant::ToSession)
        } else if name == "*" || name == request.unique_id || name == caller.arn {
            Some(Grant::ByName)
        } else if is_account_of(name, &caller.account) {
            Some(Grant::ToAccount)
        } else {
            None
        }
    };
    match set {
        PrincipalSet::Everyone => Some(Grant::ByName),
        PrincipalSet::Listed(_) => aws_names(set).filter_map(of_one).max(),
    }
}

fn aws_names(set: &PrincipalSet) -> impl Iterator<Item = &str> {
    let groups = match set {
        PrincipalSet::Everyone => &[],
        PrincipalSet::Listed(groups) => groups.as_slice(),
    };
    let aws = groups.iter().filter(|g| g.kind == PrincipalKind::Aws).flat_map(|g| g.values.iter().map(String::as_str));
    aws.chain(matches!(set, PrincipalSet::Everyone).then_some("*"))
}

/// Whether a principal is an account as a whole, by number or by its root, in whatever partition.
fn is_account_of(name: &str, account: &str) -> bool {
    (is_account(name) && name == account) || super::is_root(name, account)
}
