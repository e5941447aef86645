//! The list of a cloud's principals only grows.
//!
//! A cloud that answers with fewer principals than before, or none, may be in trouble, and a database that runs may still
//! use the one it left out. Taking it away is a decision of a teardown, never of an answer (invariant S13).

use std::collections::BTreeSet;

use super::ownership::Ownership;
use super::principal::{KeyAccount, is_unique_id};
use super::statement::{Effect, PolicyDocument, PrincipalKind, Principals};

/// The principals that our live statement with this label names, in canonical spelling. Unique ids of deleted
/// roles are left out: they cannot be written back.
///
/// Whoever can edit the policy can put a name there: take the answer for what the operator once wrote only where
/// nothing better remembers it (the status does), and only what has the form that the cloud's principals have.
pub fn principals_in(document: &PolicyDocument, own: &Ownership, label: &str, account: &KeyAccount) -> Vec<String> {
    let ours = document.statements.iter().filter(|statement| {
        statement.effect == Effect::Allow
            && matches!(statement.principals, Principals::Only(_))
            && statement.sid.as_deref().and_then(|sid| own.label_in(sid)) == Some(label)
    });
    let listed = ours.flat_map(|statement| statement.principals.listed());
    let names = listed.filter(|(kind, value)| **kind == PrincipalKind::Aws && *value != "*" && !is_unique_id(value));
    names.map(|(_, value)| account.canonical(value)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Everything seen or learned, sorted, once each: nothing is ever taken away.
pub fn additive_principals<'a>(
    seen: impl IntoIterator<Item = &'a String>,
    learned: impl IntoIterator<Item = &'a String>,
) -> Vec<String> {
    seen.into_iter().chain(learned).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}
