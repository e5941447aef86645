//! Whether a policy, as read, gives principals what a grant asks for: the gate's question.
//!
//! By anybody's statements, not only ours. What counts:
//! - an Allow on this key that covers the action (wildcards included) for the principal, and whose conditions ask for no more than
//!   the grant's own conditions do;
//! - the account principal of *another* account counts, since that account's IAM policies are needed across accounts anyway; it is
//!   reported as [`Delegated`];
//! - the account principal of the *key's own* account does not make [`Holding::is_held`] true: every key's root statement names it,
//!   so it says nothing about one role. [`Holding::is_held_if_iam_allows`] takes it, for those who know the IAM side;
//! - any Deny that might hit the principal and the action, unless its conditions surely don't hold.
//!
//! What a policy can't tell: grants, IAM and organization policies, whether the principal exists.

use std::fmt;

use super::principal::{KeyAccount, account_of};
use super::reach::{Reach, Truth, allow_reach, deny_reaches, names_this_key, truth_of_all};
use super::statement::{Effect, PolicyDocument};
use super::template::Grant;

/// What a policy gives of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holding {
    /// What it does not give, by principal and reason.
    pub missing: Vec<Missing>,
    /// What it leaves to the IAM policies of an account.
    pub delegated: Vec<Delegated>,
}

/// Actions that a principal does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The principal asked for.
    pub principal: String,
    /// The actions asked for.
    pub actions: Vec<String>,
    /// Why not.
    pub why: Why,
}

/// Why a principal does not have an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No Allow reaches it.
    NotAllowed,
    /// The named statement allows it under conditions that the grant does not ask for.
    OnlyUnderConditions(String),
    /// The named statement denies it.
    Denied(String),
    /// The named statement denies it under conditions that may hold.
    DeniedUnderConditions(String),
}

/// Actions that a principal has only by the account principal of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegated {
    /// The principal asked for.
    pub principal: String,
    /// The actions asked for.
    pub actions: Vec<String>,
    /// Whether that account is the key's own.
    pub own_account: bool,
}

impl Holding {
    /// Everything is there, by name or by another account's account principal.
    pub fn is_held(&self) -> bool {
        self.missing.is_empty() && !self.delegated.iter().any(|delegated| delegated.own_account)
    }

    /// Everything is there if the IAM policies of the key's own account play along.
    pub fn is_held_if_iam_allows(&self) -> bool {
        self.missing.is_empty()
    }

    /// Sentences for humans: what is missing first, then what is delegated.
    pub fn explain(&self) -> Vec<String> {
        let missing = self.missing.iter().map(ToString::to_string);
        missing.chain(self.delegated.iter().map(ToString::to_string)).collect()
    }
}

/// What the policy gives of the grant to these principals (ARNs or account ids). No principals at all is nothing held:
/// one entry in `missing` with an empty principal.
pub fn holds(document: &PolicyDocument, grant: &Grant, principals: &[String], account: &KeyAccount) -> Holding {
    let mut holding = Holding::default();
    if principals.is_empty() {
        let actions = grant.actions.clone();
        holding.missing.push(Missing { principal: String::new(), actions, why: Why::NotAllowed });
    }
    for principal in principals {
        for action in &grant.actions {
            match one(document, grant, principal, action, account) {
                Ok(Reach::ByAccount) => {
                    holding.add_delegated(principal, action, account.owns(principal));
                }
                Ok(Reach::Named) => {}
                Ok(Reach::No) => holding.add_missing(principal, action, Why::NotAllowed),
                Err(why) => holding.add_missing(principal, action, why),
            }
        }
    }
    holding
}

fn one(
    document: &PolicyDocument,
    grant: &Grant,
    principal: &str,
    action: &str,
    account: &KeyAccount,
) -> Result<Reach, Why> {
    let mut reach = Reach::No;
    let mut conditional = None;
    for (position, statement) in document.statements.iter().enumerate() {
        let truth = || truth_of_all(&statement.conditions, principal, &grant.conditions);
        let name = || statement.name(position);
        match statement.effect {
            Effect::Deny => {
                if statement.actions.selects_some(action) && deny_reaches(statement, principal, account) {
                    match truth() {
                        Truth::True => return Err(Why::Denied(name())),
                        Truth::Unknown => return Err(Why::DeniedUnderConditions(name())),
                        Truth::False => {}
                    }
                }
            }
            Effect::Allow => {
                let here = allow_reach(statement, principal, account);
                if here > reach && statement.actions.selects_all(action) && names_this_key(statement) {
                    match truth() {
                        Truth::True => reach = here,
                        Truth::Unknown => conditional = conditional.or_else(|| Some(name())),
                        Truth::False => {}
                    }
                }
            }
        }
    }
    match (reach, conditional) {
        (Reach::No, Some(name)) => Err(Why::OnlyUnderConditions(name)),
        (reach, _) => Ok(reach),
    }
}

impl Holding {
    fn add_missing(&mut self, principal: &str, action: &str, why: Why) {
        match self.missing.iter_mut().find(|missing| missing.principal == principal && missing.why == why) {
            Some(missing) => missing.actions.push(action.to_owned()),
            None => {
                self.missing.push(Missing { principal: principal.to_owned(), actions: vec![action.to_owned()], why });
            }
        }
    }

    fn add_delegated(&mut self, principal: &str, action: &str, own_account: bool) {
        match self.delegated.iter_mut().find(|delegated| delegated.principal == principal) {
            Some(delegated) => delegated.actions.push(action.to_owned()),
            None => self.delegated.push(Delegated {
                principal: principal.to_owned(),
                actions: vec![action.to_owned()],
                own_account,
            }),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions = self.actions.join(", ");
        if self.principal.is_empty() {
            return write!(f, "no principal is known to give {actions} to");
        }
        let principal = &self.principal;
        match &self.why {
            Why::NotAllowed => write!(f, "{principal} lacks {actions}"),
            Why::OnlyUnderConditions(name) => {
                write!(f, "{principal} has {actions} only under the conditions of statement {name}")
            }
            Why::Denied(name) => write!(f, "statement {name} denies {actions} to {principal}"),
            Why::DeniedUnderConditions(name) => {
                write!(f, "statement {name} may deny {actions} to {principal}, depending on its conditions")
            }
        }
    }
}

impl fmt::Display for Delegated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = account_of(&self.principal).unwrap_or_default();
        let whose = if self.own_account { "the key's own account" } else { "account" };
        write!(
            f,
            "{} has {} only as far as the IAM policies of {whose} {account} give it",
            self.principal,
            self.actions.join(", ")
        )
    }
}
