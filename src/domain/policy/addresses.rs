//! The statement that lets a role use the key from known addresses alone.
//!
//! It is a Deny: an Allow with a condition restricts nothing while another statement, or the role's own policy by way of
//! the account root's statement, allows the same without one.
//!
//! # Form
//! `NotIpAddress` on `aws:SourceIp` holds, and so denies, also where a request has no such address: one that comes through a VPC
//! endpoint is denied, which is meant, since whoever took the role's credentials could have an endpoint of his own
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>,
//! <https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html>, "Using the IP address condition in policies with
//! AWS KMS permissions"). Calls that an AWS service makes for the role come from that service's addresses; they are left out by
//! `aws:ViaAWSService`
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_aws_deny-ip.html>).

use std::collections::BTreeSet;

use super::super::source::Source;
use super::ownership::{Label, LabelError, Ownership};
use super::statement::{Condition, Effect, PolicyDocument, Principals, Selector, Statement};
use super::template::{self, Authored};

/// The label of the statement.
pub const LABEL: &str = "addresses";

/// The most bytes of addresses that a key policy is given: the rest of its 32,768 is for the other statements.
pub const MOST_BYTES: usize = 24_000;

/// The most bytes of addresses in a role's inline policies, which may have 10,240 characters in all
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
pub const MOST_BYTES_OF_ROLE: usize = 9_000;

/// What nobody who is denied the use of a key may do in its stead.
const DETOURS: [&str; 2] = ["kms:CreateGrant", "kms:ReEncrypt*"];

const NOT_FROM: (&str, &str) = ("NotIpAddress", "aws:SourceIp");
const DIRECTLY: (&str, &str) = ("Bool", "aws:ViaAWSService");

/// How many bytes addresses take up in a policy.
pub fn bytes(sources: &BTreeSet<Source>) -> usize {
    // Quotes and a comma each.
    sources.iter().map(|source| source.to_string().len() + 3).sum()
}

/// Denies these principals these actions from everywhere else; `None` while no principal is known.
pub fn restriction(
    own: &Ownership,
    actions: &[String],
    principals: &[String],
    sources: &BTreeSet<Source>,
) -> Result<Option<Authored>, LabelError> {
    let to: BTreeSet<String> = principals.iter().cloned().collect();
    if to.is_empty() {
        return Ok(None);
    }
    let all: BTreeSet<String> = actions.iter().cloned().chain(DETOURS.map(str::to_owned)).collect();
    let statement = Statement {
        effect: Effect::Deny,
        conditions: vec![
            Condition::new(DIRECTLY.0, DIRECTLY.1, ["false"]),
            Condition::new(NOT_FROM.0, NOT_FROM.1, sources.iter().map(ToString::to_string)),
        ],
        ..Statement::allow(Principals::aws(to), all)
    };
    Ok(Some(Authored::new(own, Label::new(LABEL)?, template::Source::Addresses, statement)))
}

/// From where a policy lets the key be used, by the statement of that kind that is ours; absent: from everywhere, as far as
/// that statement goes.
pub fn restricted_to(document: &PolicyDocument, own: &Ownership) -> Option<BTreeSet<Source>> {
    let lists: Vec<BTreeSet<Source>> =
        document.statements.iter().filter(|s| is_labelled(s, own)).filter_map(list).collect();
    lists.into_iter().reduce(|one, other| one.intersection(&other).copied().collect())
}

/// A policy without the statement of that kind that is ours, if it has the form that we give it: what it denies is not denied to
/// whoever calls from where it may. A statement of another form stays, and is judged as any Deny.
pub fn without_restriction(document: &PolicyDocument, own: &Ownership) -> PolicyDocument {
    let mut rest = document.clone();
    rest.statements.retain(|statement| !(is_labelled(statement, own) && list(statement).is_some()));
    rest
}

fn is_labelled(statement: &Statement, own: &Ownership) -> bool {
    statement.sid.as_deref().and_then(|sid| own.label_in(sid)) == Some(LABEL)
}

/// The addresses of a statement of our form.
fn list(statement: &Statement) -> Option<BTreeSet<Source>> {
    let texts = |condition: &Condition| -> Vec<String> { condition.values.iter().map(super::Scalar::text).collect() };
    let is = |condition: &&Condition, (operator, key): (&str, &str)| {
        condition.operator == operator && condition.key.eq_ignore_ascii_case(key)
    };
    let from = statement.conditions.iter().find(|c| is(c, NOT_FROM))?;
    let directly = statement.conditions.iter().find(|c| is(c, DIRECTLY)).is_some_and(|c| texts(c) == ["false"]);
    let of_form = directly
        && statement.conditions.len() == 2
        && statement.effect == Effect::Deny
        && matches!(statement.actions, Selector::Only(_))
        && matches!(statement.principals, Principals::Only(_))
        && statement.extra.is_empty();
    let sources: BTreeSet<Source> = texts(from).iter().map(|text| text.parse().ok()).collect::<Option<_>>()?;
    (of_form && !sources.is_empty()).then_some(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Ownership {
        Ownership::of("i/n/k/1/r")
    }

    fn sources(all: &[&str]) -> BTreeSet<Source> {
        all.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn document(all: &[&str]) -> PolicyDocument {
        let actions = ["kms:Decrypt".to_owned()];
        let role = ["arn:aws:iam::111111111111:role/r".to_owned()];
        let made = restriction(&own(), &actions, &role, &sources(all)).unwrap().unwrap();
        PolicyDocument::new(vec![made.statement])
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let written = document(&["192.0.2.1", "198.51.100.0/24"]);
        let read = PolicyDocument::parse(&written.render()).unwrap();
        assert_eq!(restricted_to(&read, &own()), Some(sources(&["192.0.2.1", "198.51.100.0/24"])));
        assert!(without_restriction(&read, &own()).statements.is_empty());
        assert_eq!(restricted_to(&read, &Ownership::of("other")), None, "another object's is not ours");
        assert_eq!(without_restriction(&read, &Ownership::of("other")).statements.len(), 1);
    }

    #[test]
    fn a_statement_that_somebody_changed_into_another_kind_of_deny_is_not_taken_for_ours() {
        let alterations: [fn(&mut Statement); 5] = [
            |s| s.conditions.clear(),
            |s| s.conditions.truncate(1),
            |s| s.conditions.push(Condition::new("Bool", "aws:SecureTransport", ["false"])),
            |s| s.conditions[1].values.clear(),
            |s| s.effect = Effect::Allow,
        ];
        for alter in alterations {
            let mut changed = document(&["192.0.2.1"]);
            alter(&mut changed.statements[0]);
            assert_eq!(restricted_to(&changed, &own()), None, "{changed:?}");
            assert_eq!(without_restriction(&changed, &own()), changed);
        }
    }

    #[test]
    fn the_policy_can_still_be_changed_from_everywhere() {
        let statement = &document(&["192.0.2.1"]).statements[0];
        assert!(!statement.actions.selects_some("kms:PutKeyPolicy"));
        for action in ["kms:Decrypt", "kms:CreateGrant", "kms:ReEncryptFrom"] {
            assert!(statement.actions.selects_some(action), "{action}");
        }
    }
}
