//! Whether a statement reaches a principal, and whether its conditions hold for it, as far as the policy alone tells.
//!
//! Nothing is guessed in the direction that would open a gate: an Allow reaches only whom it surely reaches, a Deny
//! everyone whom it might.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html>.

use std::collections::BTreeSet;

use super::pattern::matches_exactly;
use super::principal::{KeyAccount, PrincipalArn, account_of};
use super::statement::{Condition, PrincipalKind, PrincipalSet, Principals, Selector, Statement};

/// How an Allow reaches a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It does not.
    No,
    /// By the account principal of its account: IAM policies over there decide.
    ByAccount,
    /// By name, or by `*`.
    Named,
}

/// What is known of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It holds in every request of the kind looked at.
    True,
    /// It holds in none of them.
    False,
    /// It depends on the request.
    Unknown,
}

/// How the principals of an Allow reach `principal`. An Allow with `NotPrincipal` reaches nobody: AWS does not support it.
pub fn allow_reach(statement: &Statement, principal: &str, account: &KeyAccount) -> Reach {
    let Principals::Only(set) = &statement.principals else {
        return Reach::No;
    };
    let wanted = account.canonical(principal);
    let root = account_of(principal).map(|id| account.root_arn_of(id));
    let of_one = |value: &str| {
        let value = account.canonical(value);
        if value == "*" || value == wanted {
            Reach::Named
        } else if Some(value) == root {
            Reach::ByAccount
        } else {
            Reach::No
        }
    };
    aws_values(set).into_iter().map(of_one).max().unwrap_or(Reach::No)
}

/// Whether a Deny might reach `principal`: by name, by `*`, by its account, by one of the role's sessions; with `NotPrincipal`
/// unless both the principal and its account are excepted, which AWS asks for.
pub fn deny_reaches(statement: &Statement, principal: &str, account: &KeyAccount) -> bool {
    let wanted = account.canonical(principal);
    let root = account_of(principal).map(|id| account.root_arn_of(id));
    match &statement.principals {
        Principals::Missing => false,
        Principals::Only(set) => aws_values(set).into_iter().any(|value| {
            let value = account.canonical(value);
            value == "*" || value == wanted || Some(&value) == root.as_ref() || is_session_of(&value, &wanted)
        }),
        Principals::AllBut(set) => {
            let excepted: Vec<String> = aws_values(set).into_iter().map(|value| account.canonical(value)).collect();
            let spares = |name: &String| excepted.iter().any(|value| value == name || value == "*");
            !(spares(&wanted) && root.as_ref().is_none_or(spares))
        }
    }
}

/// Whether the statement is about the key itself, for an Allow. In a key policy only `"*"` is documented to be.
pub fn names_this_key(statement: &Statement) -> bool {
    matches!(&statement.resources, Selector::Only(patterns) if patterns.iter().any(|pattern| pattern == "*"))
}

/// All conditions of a statement together, for requests of `principal` under which `assumed` holds.
pub fn truth_of_all(conditions: &[Condition], principal: &str, assumed: &[Condition]) -> Truth {
    let truths: Vec<Truth> = conditions.iter().map(|condition| truth(condition, principal, assumed)).collect();
    if truths.contains(&Truth::False) {
        Truth::False
    } else if truths.contains(&Truth::Unknown) {
        Truth::Unknown
    } else {
        Truth::True
    }
}

/// One condition, for requests of `principal` under which `assumed` holds.
///
/// Known are: the caller's account and ARN; that KMS is reached by TLS alone; that nobody skips the lockout check
/// (we never do, and it is absent from other requests); and what `assumed` implies or excludes.
pub fn truth(condition: &Condition, principal: &str, assumed: &[Condition]) -> Truth {
    let key = condition.key.to_ascii_lowercase();
    let operator = condition.operator.strip_suffix("IfExists").unwrap_or(&condition.operator);
    let values: Vec<String> = condition.values.iter().map(super::statement::Scalar::text).collect();
    if values.iter().any(|value| value.contains("${")) {
        return Truth::Unknown;
    }
    let says = |text: &str| values.iter().any(|value| value.eq_ignore_ascii_case(text));
    match (key.as_str(), operator) {
        ("kms:calleraccount" | "aws:principalaccount", _) => {
            account_of(principal).map_or(Truth::Unknown, |id| compare(operator, id, &values))
        }
        ("aws:principalarn", _) if names_one_identity(principal) => compare(operator, principal, &values),
        ("aws:securetransport", "Bool") => known(says("true")),
        ("kms:bypasspolicylockoutsafetycheck", "Bool") if condition.operator == "Bool" && !says("false") => {
            Truth::False
        }
        _ => from_assumed(operator, &key, &values, assumed),
    }
}

fn known(holds: bool) -> Truth {
    if holds { Truth::True } else { Truth::False }
}

fn compare(operator: &str, actual: &str, values: &[String]) -> Truth {
    let any = |matches: fn(&str, &str) -> bool| values.iter().any(|value| matches(value, actual));
    match operator {
        "StringEquals" => known(any(|value, actual| value == actual)),
        "StringNotEquals" => known(!any(|value, actual| value == actual)),
        "StringEqualsIgnoreCase" => known(any(str::eq_ignore_ascii_case)),
        "StringNotEqualsIgnoreCase" => known(!any(str::eq_ignore_ascii_case)),
        "StringLike" => known(any(matches_exactly)),
        "StringNotLike" => known(!any(matches_exactly)),
        "ArnEquals" | "ArnLike" => known(any(arn_like)),
        "ArnNotEquals" | "ArnNotLike" => known(!any(arn_like)),
        _ => Truth::Unknown,
    }
}

/// Each of the six parts of an ARN is matched on its own.
fn arn_like(pattern: &str, arn: &str) -> bool {
    let (pattern, arn): (Vec<_>, Vec<_>) = (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    pattern.len() == 6
        && arn.len() == 6
        && pattern.iter().zip(&arn).all(|(pattern, part)| matches_exactly(pattern, part))
}

fn from_assumed(operator: &str, key: &str, values: &[String], assumed: &[Condition]) -> Truth {
    let values: BTreeSet<String> = values.iter().cloned().collect();
    for fact in assumed.iter().filter(|fact| fact.operator == operator && fact.key.eq_ignore_ascii_case(key)) {
        let facts: BTreeSet<String> = fact.values.iter().map(super::statement::Scalar::text).collect();
        if facts == values || (grows_with_values(operator) && !facts.is_empty() && facts.is_subset(&values)) {
            return Truth::True;
        }
        if matches!(operator, "Bool" | "StringEquals") && facts.is_disjoint(&values) {
            return Truth::False;
        }
    }
    Truth::Unknown
}

/// Whether one more value can only make the condition hold more often.
fn grows_with_values(operator: &str) -> bool {
    let base = operator.rsplit(':').next().unwrap_or(operator);
    matches!(
        base,
        "StringEquals"
            | "StringEqualsIgnoreCase"
            | "StringLike"
            | "ArnEquals"
            | "ArnLike"
            | "Bool"
            | "NumericEquals"
            | "DateEquals"
            | "BinaryEquals"
            | "IpAddress"
    )
}

fn aws_values(set: &PrincipalSet) -> Vec<&str> {
    set.listed().into_iter().filter(|(kind, _)| **kind == PrincipalKind::Aws).map(|(_, value)| value).collect()
}

fn names_one_identity(principal: &str) -> bool {
    PrincipalArn::split(principal).is_some_and(|arn| {
        arn.service == "iam" && (arn.resource.starts_with("role/") || arn.resource.starts_with("user/"))
    })
}

fn is_session_of(session: &str, role: &str) -> bool {
    let (Some(session), Some(role)) = (PrincipalArn::split(session), PrincipalArn::split(role)) else {
        return false;
    };
    let name = role.resource.strip_prefix("role/").and_then(|path| path.rsplit('/').next());
    session.account == role.account && name.is_some() && session.session_role() == name
}
