//! What may be written. A refusal is a reason not to send the policy; a warning is something to tell.
//!
//! The limits are KMS's (<https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html>,
//! <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html>); the rest are our invariants S8, S12 and S14.

use std::collections::BTreeSet;
use std::fmt;

use super::merge::{Merge, orphans_in};
use super::ownership::Ownership;
use super::pasted::refused_character_in;
use super::principal::{KeyAccount, malformed};
use super::reach::{Reach, Truth, allow_reach, names_this_key, truth_of_all};
use super::risk::{Risk, risks};
use super::statement::{Effect, PolicyDocument, PrincipalKind, Principals, Selector, Statement};
use super::template::Authored;

/// The largest policy that KMS takes, in bytes.
pub const LARGEST_POLICY: usize = 32_768;

const PUT_KEY_POLICY: &str = "kms:PutKeyPolicy";

/// What the checks need to know.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Whose key it is.
    pub account: &'a KeyAccount,
    /// Which statements are ours.
    pub own: &'a Ownership,
    /// The operator's [`lasting_principal`](super::principal::lasting_principal); `None` when it is not known, then the
    /// account principal alone counts against the lockout.
    pub caller: Option<&'a str>,
    /// Whether the root statement has to be there.
    pub root: RootRule,
}

/// Whether a policy has to give the key's own account everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootRule {
    /// On a key that we made, on an adopted one with `ensureRoot`, and wherever it was found.
    Required,
    /// On an adopted key that had none: never added unasked.
    AsFound,
}

/// The verdict on a policy to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Review {
    /// Not empty: do not write.
    pub refusals: Vec<Problem>,
    /// To be told, but no obstacle.
    pub warnings: Vec<Problem>,
}

/// Something wrong with a policy; its text says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// More bytes than [`LARGEST_POLICY`].
    TooLarge(usize),
    /// A character that KMS does not take, with its statement.
    Character(String, char),
    /// No statement gives the key's own account everything.
    RootMissing(String),
    /// The caller could not change the policy any more.
    Lockout(String),
    /// A Deny that touches `kms:PutKeyPolicy`.
    PolicyWriteDenied(String),
    /// A foreign statement names a deleted user or role.
    Orphaned(String, String),
    /// Statement, what it gives, to whom.
    Risky(String, Risk, String),
    /// A statement without one of its elements.
    Incomplete(String, &'static str),
    /// A statement about another resource than "this key".
    OtherResource(String),
    /// A principal that KMS would refuse: statement, principal, why.
    Principal(String, String, &'static str),
    /// An Allow with `NotPrincipal`.
    AllowAllBut(String),
    /// An element that the policy language does not know: statement, element.
    UnknownElement(String, String),
    /// A policy variable in a document whose version has none.
    Variable(String),
    /// Two statements of ours with one label.
    SameLabel(String),
}

/// Judges a merge before it is written. Worth asking when nothing changed too: the warnings, and a Deny on the policy write, are
/// findings in themselves.
pub fn review(merge: &Merge, authored: &[Authored], setting: &Setting<'_>) -> Review {
    let mut review = Review::default();
    review_authored(authored, &merge.document, setting, &mut review);
    review_foreign(&merge.document, setting, &mut review);
    review_whole(&merge.document, setting, &mut review);
    review
}

/// Invariants S12 and S14 on what we write ourselves.
fn review_authored(authored: &[Authored], document: &PolicyDocument, setting: &Setting<'_>, review: &mut Review) {
    let mut labels = BTreeSet::new();
    for (position, one) in authored.iter().enumerate() {
        let (statement, name) = (&one.statement, one.statement.name(position));
        if !labels.insert(&one.label) {
            review.refusals.push(Problem::SameLabel(one.label.to_string()));
        }
        review.refusals.extend(form_problems(statement, &name));
        if statement.effect == Effect::Allow && matches!(statement.principals, Principals::AllBut(_)) {
            review.refusals.push(Problem::AllowAllBut(name.clone()));
        }
        for (kind, value) in statement.principals.listed() {
            if let Some(why) = (*kind == PrincipalKind::Aws).then(|| malformed(value, setting.account)).flatten() {
                review.refusals.push(Problem::Principal(name.clone(), value.to_owned(), why));
            }
        }
        if let Some((key, _)) = statement.extra.first() {
            review.refusals.push(Problem::UnknownElement(name.clone(), key.clone()));
        }
        if statement.uses_variables() && !document.has_variables() {
            review.refusals.push(Problem::Variable(name.clone()));
        }
        let risky =
            risks(statement, setting.account).into_iter().map(|(risk, to)| Problem::Risky(name.clone(), risk, to));
        if one.accept_risk {
            review.warnings.extend(risky);
        } else {
            review.refusals.extend(risky);
        }
    }
}

/// What others wrote is theirs: only what makes every write fail is a refusal.
fn review_foreign(document: &PolicyDocument, setting: &Setting<'_>, review: &mut Review) {
    for (position, statement) in document.statements.iter().enumerate() {
        if setting.own.owns(statement) {
            continue;
        }
        let name = statement.name(position);
        let orphans = orphans_in(&statement.principals).into_iter();
        review.refusals.extend(orphans.map(|id| Problem::Orphaned(name.clone(), id)));
        review.warnings.extend(form_problems(statement, &name));
        let risky = risks(statement, setting.account).into_iter();
        review.warnings.extend(risky.map(|(risk, to)| Problem::Risky(name.clone(), risk, to)));
    }
}

/// Invariant S8 and the limits of KMS on the document.
fn review_whole(document: &PolicyDocument, setting: &Setting<'_>, review: &mut Review) {
    let bytes = document.render().len();
    if bytes > LARGEST_POLICY {
        review.refusals.push(Problem::TooLarge(bytes));
    }
    for (position, statement) in document.statements.iter().enumerate() {
        let name = statement.name(position);
        if let Some(character) = refused_character_in(&statement.to_json()) {
            review.refusals.push(Problem::Character(name.clone(), character));
        }
        if statement.effect == Effect::Deny && statement.actions.selects_some(PUT_KEY_POLICY) {
            review.refusals.push(Problem::PolicyWriteDenied(name));
        }
    }
    let root = setting.account.root_arn();
    if setting.root == RootRule::Required && !gives_root(document, setting.account) {
        review.refusals.push(Problem::RootMissing(root.clone()));
    }
    let caller = setting.caller.unwrap_or(&root);
    if !gives(document, PUT_KEY_POLICY, caller, setting.account) {
        review.refusals.push(Problem::Lockout(caller.to_owned()));
    }
}

/// Whether an Allow surely gives the account everything, so that its IAM can give it to others.
pub fn gives_root(document: &PolicyDocument, account: &KeyAccount) -> bool {
    gives(document, "kms:*", &account.root_arn(), account)
}

/// Whether an Allow surely gives the action to a principal of the key's account, by name or through IAM.
fn gives(document: &PolicyDocument, action: &str, principal: &str, account: &KeyAccount) -> bool {
    document.statements.iter().any(|statement| {
        statement.effect == Effect::Allow
            && statement.actions.selects_all(action)
            && names_this_key(statement)
            && allow_reach(statement, principal, account) > Reach::No
            && truth_of_all(&statement.conditions, principal, &[]) == Truth::True
    })
}

/// KMS refuses such statements since August 2025; before, it stored them without effect.
fn form_problems(statement: &Statement, name: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let principals = statement.principals.listed();
    if principals.is_empty() {
        problems.push(Problem::Incomplete(name.to_owned(), "Principal"));
    }
    if statement.actions.patterns().is_empty() {
        problems.push(Problem::Incomplete(name.to_owned(), "Action"));
    }
    match &statement.resources {
        Selector::Missing => problems.push(Problem::Incomplete(name.to_owned(), "Resource")),
        Selector::Only(patterns) if patterns.iter().all(|pattern| pattern == "*") && !patterns.is_empty() => {}
        Selector::Only(_) | Selector::AllBut(_) => {
            problems.push(Problem::OtherResource(name.to_owned()));
        }
    }
    problems
}

impl Problem {
    /// A short name for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "PolicyTooLarge",
            Self::Character(..) => "CharacterNotAllowed",
            Self::RootMissing(_) => "RootStatementMissing",
            Self::Lockout(_) => "PolicyLockout",
            Self::PolicyWriteDenied(_) => "PolicyWriteDenied",
            Self::Orphaned(..) => "OrphanedPrincipal",
            Self::Risky(..) => "RiskyStatement",
            Self::Incomplete(..) => "StatementIncomplete",
            Self::OtherResource(_) => "ResourceNotThisKey",
            Self::Principal(..) => "PrincipalInvalid",
            Self::AllowAllBut(_) => "AllowWithNotPrincipal",
            Self::UnknownElement(..) => "UnknownElement",
            Self::Variable(_) => "VariableWithoutVersion",
            Self::SameLabel(_) => "DuplicateLabel",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes) => write!(
                f,
                "the policy would have {bytes} bytes, KMS takes {LARGEST_POLICY}; remove statements or principals"
            ),
            Self::Character(name, c) => write!(
                f,
                "statement {name} holds the character {c:?} (U+{:04X}); a key policy takes tab, line ends and U+0020 to \
                 U+00FF: replace it",
                u32::from(*c)
            ),
            Self::RootMissing(root) => write!(
                f,
                "no statement allows kms:* to {root}; without it a deleted role can make the key unmanageable: add one, \
                 or set ensureRoot"
            ),
            Self::Lockout(caller) => write!(
                f,
                "after this write {caller} could not change the policy any more; keep a statement that allows \
                 kms:PutKeyPolicy to it or to the account"
            ),
            Self::PolicyWriteDenied(name) => write!(
                f,
                "statement {name} denies kms:PutKeyPolicy, and a policy with such a Deny is never written; take that \
                 action out of the Deny, or remove the statement by hand"
            ),
            Self::Orphaned(name, id) => write!(
                f,
                "statement {name} names {id}, a user or role that was deleted, and KMS refuses every policy that holds \
                 it; take it out by hand, or set removeOrphanedPrincipals"
            ),
            Self::Risky(name, risk, to) => write!(
                f,
                "statement {name} gives {risk} to {to}, outside the key's account; narrow it, or set acceptRisk on it if \
                 it is yours and meant"
            ),
            Self::Incomplete(name, element) => {
                write!(f, "statement {name} has no {element}; add it, KMS refuses it so")
            }
            Self::OtherResource(name) => {
                write!(
                    f,
                    "statement {name} has a Resource other than \"*\" (this key); write \"*\", KMS refuses the rest"
                )
            }
            Self::Principal(name, principal, why) => {
                write!(f, "statement {name}, principal {principal:?}: {why}")
            }
            Self::AllowAllBut(name) => {
                write!(f, "statement {name} allows by NotPrincipal, which AWS does not support; list the principals")
            }
            Self::UnknownElement(name, key) => {
                write!(f, "statement {name} has an element {key:?} that no policy has; remove it")
            }
            Self::Variable(name) => write!(
                f,
                "statement {name} uses a policy variable (${{...}}), but the policy's Version, kept for its foreign \
                 statements, has none; set the policy's Version to 2012-10-17 by hand first"
            ),
            Self::SameLabel(label) => {
                write!(f, "two statements have the label {label:?}; rename one")
            }
        }
    }
}
