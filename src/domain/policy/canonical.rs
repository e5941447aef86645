//! When two policies mean the same.
//!
//! AWS reformats what it stores: spaces, one value or an array, the order inside arrays, an account id or the ARN of
//! the account principal, duplicates. None of these is a difference; everything is compared as sets:
//! statements, actions (without case), principals, resources, condition operators, keys (without case) and values
//! (`true` and `"true"` are one). What stays a difference: Sid, effect, a wildcard instead of the list it stands for.

use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest, Sha256};

use super::json::Json;
use super::ownership::Ownership;
use super::principal::KeyAccount;
use super::statement::{PolicyDocument, PrincipalKind, PrincipalSet, Principals, Selector, Statement};

/// The one text for all statements of the same meaning (and Sid).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalStatement(String);

/// A short hash (16 hex digits of SHA-256) of what a policy means; equal for equal meaning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyHash(String);

impl CanonicalStatement {
    /// The canonical form in a policy of this account's key.
    pub fn of(statement: &Statement, account: &KeyAccount) -> Self {
        let mut entries = Vec::new();
        let mut push = |key: &str, value| entries.push((key.to_owned(), value));
        if let Some(sid) = &statement.sid {
            push("Sid", Json::String(sid.clone()));
        }
        push("Effect", Json::String(statement.effect.as_str().to_owned()));
        match &statement.principals {
            Principals::Missing => {}
            Principals::Only(set) => push("Principal", principal_set(set, account)),
            Principals::AllBut(set) => push("NotPrincipal", principal_set(set, account)),
        }
        match &statement.actions {
            Selector::Missing => {}
            Selector::Only(patterns) => push("Action", lower(patterns)),
            Selector::AllBut(patterns) => push("NotAction", lower(patterns)),
        }
        match &statement.resources {
            Selector::Missing => {}
            Selector::Only(patterns) => push("Resource", set(patterns.iter().cloned())),
            Selector::AllBut(patterns) => push("NotResource", set(patterns.iter().cloned())),
        }
        if !statement.conditions.is_empty() {
            push("Condition", set(statement.conditions.iter().map(super::statement::Condition::canonical)));
        }
        push("extra", Json::Object(statement.extra.clone()).sorted());
        Self(Json::Object(entries).to_compact())
    }
}

impl super::statement::Condition {
    /// The one text for all forms of this test.
    pub fn canonical(&self) -> String {
        let values = set(self.values.iter().map(super::statement::Scalar::text));
        let parts = [&self.operator, &self.key.to_ascii_lowercase()].map(|text| Json::String(text.clone()));
        Json::Array(parts.into_iter().chain([values]).collect()).to_compact()
    }
}

impl PolicyHash {
    /// The hash of the whole document. `Id` and formatting do not count; `Version` counts only where a policy variable
    /// gives it a meaning.
    pub fn of(document: &PolicyDocument, account: &KeyAccount) -> Self {
        Self::over(document, document.statements.iter(), account)
    }

    /// The hash of the statements that are not ours: what a write of ours must leave as it is.
    pub fn of_foreign(document: &PolicyDocument, own: &Ownership, account: &KeyAccount) -> Self {
        Self::over(document, document.statements.iter().filter(|statement| !own.owns(statement)), account)
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash over some statements of a document, in any order.
    pub(crate) fn of_statements<'a>(
        statements: impl Iterator<Item = &'a Statement> + Clone,
        account: &KeyAccount,
    ) -> Self {
        Self::over(&PolicyDocument::new(Vec::new()), statements, account)
    }

    fn over<'a>(
        document: &PolicyDocument,
        statements: impl Iterator<Item = &'a Statement> + Clone,
        account: &KeyAccount,
    ) -> Self {
        let mut text = String::new();
        if statements.clone().any(Statement::uses_variables) {
            text.push_str(document.version.as_deref().unwrap_or_default());
        }
        for statement in canonical_set(statements, account) {
            text.push('\n');
            text.push_str(&statement.0);
        }
        text.push('\n');
        text.push_str(&Json::Object(document.extra.clone()).sorted().to_compact());
        Self(hex(Sha256::digest(text.as_bytes()).iter().take(8)))
    }
}

impl fmt::Display for PolicyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether two policies of this account's key mean the same, Sids included.
pub fn same_meaning(one: &PolicyDocument, other: &PolicyDocument, account: &KeyAccount) -> bool {
    PolicyHash::of(one, account) == PolicyHash::of(other, account)
}

/// The statements as a set of meanings.
pub fn canonical_set<'a>(
    statements: impl Iterator<Item = &'a Statement>,
    account: &KeyAccount,
) -> BTreeSet<CanonicalStatement> {
    statements.map(|statement| CanonicalStatement::of(statement, account)).collect()
}

/// Lower-case hex digits.
pub(super) fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    let digits = bytes.flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

fn principal_set(principals: &PrincipalSet, account: &KeyAccount) -> Json {
    let spelled = principals.listed().into_iter().map(|(kind, value)| match kind {
        PrincipalKind::Aws => format!("AWS {}", account.canonical(value)),
        other => format!("{} {value}", other.as_str()),
    });
    set(spelled)
}

fn lower(patterns: &[String]) -> Json {
    set(patterns.iter().map(|pattern| pattern.to_ascii_lowercase()))
}

fn set(values: impl Iterator<Item = String>) -> Json {
    Json::Array(values.collect::<BTreeSet<_>>().into_iter().map(Json::String).collect())
}
