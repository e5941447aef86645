//! What a statement gives away.

use std::fmt;

use super::principal::{KeyAccount, is_unique_id};
use super::statement::{Condition, Effect, PrincipalKind, Principals, Statement};

/// What nobody outside the key's account should have (invariant S14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Anybody in any account.
    Everyone,
    /// `kms:*`
    Everything,
    /// `kms:PutKeyPolicy`: may give itself the rest.
    PolicyWrite,
    /// `kms:ScheduleKeyDeletion`
    Deletion,
    /// `kms:CreateGrant` without a condition that narrows it: may pass the key on.
    Grants,
}

/// The worst that an Allow gives to each principal outside the key's account. Empty for a Deny.
///
/// Outside are: other accounts, services, federated and unknown kinds of principals, `*`. A `*` is a risk whatever the
/// actions and conditions are; AWS advises against it.
pub fn risks(statement: &Statement, account: &KeyAccount) -> Vec<(Risk, String)> {
    if statement.effect == Effect::Deny {
        return Vec::new();
    }
    if let Principals::AllBut(_) = &statement.principals {
        return vec![(Risk::Everyone, "everybody but the listed".to_owned())];
    }
    let given = given(statement);
    let outside = statement.principals.listed().into_iter().filter_map(|(kind, value)| match kind {
        PrincipalKind::Aws if value == "*" => Some((Some(Risk::Everyone), value.to_owned())),
        // Whom a unique id stood for is deleted and can do nothing.
        PrincipalKind::Aws if account.owns(value) || is_unique_id(value) => None,
        PrincipalKind::Aws => Some((given, value.to_owned())),
        _ if value == "*" => Some((Some(Risk::Everyone), format!("{} *", kind.as_str()))),
        PrincipalKind::Federated if account.owns(value) => None,
        _ => Some((given, format!("{} {value}", kind.as_str()))),
    });
    outside.filter_map(|(risk, principal)| risk.map(|risk| (risk, principal))).collect()
}

/// The worst of the actions.
fn given(statement: &Statement) -> Option<Risk> {
    let actions = &statement.actions;
    if actions.selects_all("kms:*") {
        Some(Risk::Everything)
    } else if actions.selects_some("kms:PutKeyPolicy") {
        Some(Risk::PolicyWrite)
    } else if actions.selects_some("kms:ScheduleKeyDeletion") {
        Some(Risk::Deletion)
    } else if actions.selects_some("kms:CreateGrant") && !statement.conditions.iter().any(narrows_grants) {
        Some(Risk::Grants)
    } else {
        None
    }
}

/// Source: <https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html>. Operators with `IfExists` don't count.
fn narrows_grants(condition: &Condition) -> bool {
    let operator = condition.operator.as_str();
    let positive = matches!(
        operator,
        "StringEquals"
            | "StringEqualsIgnoreCase"
            | "StringLike"
            | "ForAllValues:StringEquals"
            | "ForAnyValue:StringEquals"
    );
    let texts: Vec<String> = condition.values.iter().map(super::statement::Scalar::text).collect();
    match condition.key.to_ascii_lowercase().as_str() {
        "kms:grantisforawsresource" => operator == "Bool" && texts.iter().all(|text| text.eq_ignore_ascii_case("true")),
        // With ForAnyValue one listed operation would be enough to pass any other along.
        "kms:grantoperations" => {
            operator == "ForAllValues:StringEquals" && !texts.iter().any(|text| text.contains(['*', '?']))
        }
        "kms:granteeprincipal" | "kms:grantconstrainttype" | "kms:viaservice" => {
            positive && !texts.iter().any(|text| text == "*")
        }
        _ => false,
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everyone => "use of the key",
            Self::Everything => "every action (kms:*)",
            Self::PolicyWrite => "the change of this policy (kms:PutKeyPolicy)",
            Self::Deletion => "the deletion of the key (kms:ScheduleKeyDeletion)",
            Self::Grants => "unconstrained grants (kms:CreateGrant)",
        })
    }
}
