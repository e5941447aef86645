//! What to write: the policy as read, with our statements replaced and everything else as it was.
//!
//! Guarantees: a foreign statement keeps its place among the others and its meaning; no change is reported when the result
//! means the same as what was read (then the document is the one read, to the letter). Nothing is judged here: ask
//! [`guard`](super::guard) before writing.

use std::collections::{BTreeMap, BTreeSet};

use super::canonical::{CanonicalStatement, canonical_set};
use super::ownership::Ownership;
use super::principal::{KeyAccount, is_unique_id};
use super::statement::{
    CURRENT_VERSION, PolicyDocument, PrincipalGroup, PrincipalKind, PrincipalSet, Principals, Statement,
};
use super::template::Authored;

/// What may happen to foreign statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MergeOptions {
    /// Drop every foreign statement (`foreignStatements: Remove`).
    pub remove_foreign: bool,
    /// Take the principals of deleted users and roles out of foreign statements (`removeOrphanedPrincipals`).
    pub remove_orphans: bool,
}

/// The policy to have, and how it differs from the one read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The policy to have; the one read if nothing changed.
    pub document: PolicyDocument,
    /// Whether the two differ in meaning. False: do not write.
    pub changed: bool,
    /// Labels of ours that are new.
    pub added: Vec<String>,
    /// Labels of ours that go.
    pub removed: Vec<String>,
    /// Labels of ours whose statement changes.
    pub altered: Vec<String>,
    /// How many foreign statements stay.
    pub foreign_kept: usize,
    /// Names of the foreign statements that go, by option.
    pub foreign_removed: Vec<String>,
    /// Principals of deleted users and roles in foreign statements, removed or not.
    pub orphans: Vec<Orphan>,
}

/// A unique id (`AROA...`, `AIDA...`) where a foreign statement once named a user or role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The statement's name for messages.
    pub statement: String,
    /// The unique id.
    pub id: String,
    /// Whether it is gone in the new document. One in a `NotPrincipal` never is: without it the statement would mean
    /// something else.
    pub removed: bool,
    /// Whether its statement went with it, since no principal was left.
    pub statement_dropped: bool,
}

/// Merges our statements into the policy as read. For a key without a policy yet give [`PolicyDocument::new`] of nothing.
pub fn merge(
    observed: &PolicyDocument,
    desired: &[Authored],
    own: &Ownership,
    account: &KeyAccount,
    options: MergeOptions,
) -> Merge {
    let ours_before: Vec<&Statement> = observed.statements.iter().filter(|statement| own.owns(statement)).collect();
    let ours_after = desired.iter().map(|authored| &authored.statement);
    let same_ours = canonical_set(ours_before.iter().copied(), account) == canonical_set(ours_after.clone(), account);

    let foreign = keep_foreign(observed, own, options);
    let changed = !same_ours || foreign.changed;
    let (added, removed, altered) = labels(&ours_before, desired, own, account);
    let document = if changed { assemble(observed, &foreign, desired, own) } else { observed.clone() };
    Merge {
        document,
        changed,
        added,
        removed,
        altered,
        foreign_kept: foreign.kept.len(),
        foreign_removed: foreign.removed,
        orphans: foreign.orphans,
    }
}

/// Foreign statements by their position in the policy as read.
struct Foreign {
    kept: BTreeMap<usize, Statement>,
    removed: Vec<String>,
    orphans: Vec<Orphan>,
    changed: bool,
}

fn keep_foreign(observed: &PolicyDocument, own: &Ownership, options: MergeOptions) -> Foreign {
    let mut foreign = Foreign { kept: BTreeMap::new(), removed: Vec::new(), orphans: Vec::new(), changed: false };
    for (position, statement) in observed.statements.iter().enumerate() {
        if own.owns(statement) {
            continue;
        }
        let name = statement.name(position);
        if options.remove_foreign {
            foreign.removed.push(name);
            foreign.changed = true;
            continue;
        }
        let ids = orphans_in(&statement.principals);
        let cleaned =
            if options.remove_orphans && !ids.is_empty() { without_orphans(statement) } else { Cleaned::AsItIs };
        let removed = !matches!(cleaned, Cleaned::AsItIs);
        let statement_dropped = matches!(cleaned, Cleaned::Nothing);
        foreign.orphans.extend(ids.into_iter().map(|id| Orphan {
            statement: name.clone(),
            id,
            removed,
            statement_dropped,
        }));
        foreign.changed |= removed;
        let kept = match cleaned {
            Cleaned::AsItIs => statement.clone(),
            Cleaned::Rest(rest) => rest,
            Cleaned::Nothing => {
                foreign.removed.push(name);
                continue;
            }
        };
        foreign.kept.insert(position, kept);
    }
    foreign
}

/// The unique ids among the AWS principals.
pub(super) fn orphans_in(principals: &Principals) -> Vec<String> {
    let listed = principals.listed().into_iter();
    let ids = listed.filter(|(kind, value)| **kind == PrincipalKind::Aws && is_unique_id(value));
    ids.map(|(_, value)| value.to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A foreign statement after its orphans were taken out.
enum Cleaned {
    /// It has to stay as it is: without the orphan it would mean something else.
    AsItIs,
    /// With the principals that are left.
    Rest(Statement),
    /// No principal is left.
    Nothing,
}

fn without_orphans(statement: &Statement) -> Cleaned {
    let Principals::Only(PrincipalSet::Listed(groups)) = &statement.principals else {
        return Cleaned::AsItIs;
    };
    let groups: Vec<PrincipalGroup> = groups
        .iter()
        .map(|group| match group.kind {
            PrincipalKind::Aws => PrincipalGroup {
                kind: PrincipalKind::Aws,
                values: group.values.iter().filter(|value| !is_unique_id(value)).cloned().collect(),
            },
            _ => group.clone(),
        })
        .filter(|group| !group.values.is_empty())
        .collect();
    if groups.is_empty() {
        return Cleaned::Nothing;
    }
    let principals = Principals::Only(PrincipalSet::Listed(groups));
    Cleaned::Rest(Statement { principals, ..statement.clone() })
}

/// Our statements go, as one block and in the order given, to where the first of them was, or to the end.
fn assemble(observed: &PolicyDocument, foreign: &Foreign, desired: &[Authored], own: &Ownership) -> PolicyDocument {
    let block = || desired.iter().map(|authored| authored.statement.clone());
    let mut statements = Vec::new();
    let mut placed = false;
    for (position, statement) in observed.statements.iter().enumerate() {
        if own.owns(statement) && !placed {
            statements.extend(block());
            placed = true;
        }
        statements.extend(foreign.kept.get(&position).cloned());
    }
    if !placed {
        statements.extend(block());
    }
    // Another version could change what a foreign statement means.
    let version = if foreign.kept.is_empty() { Some(CURRENT_VERSION.to_owned()) } else { observed.version.clone() };
    PolicyDocument { version, id: observed.id.clone(), statements, extra: observed.extra.clone() }
}

fn labels(
    before: &[&Statement],
    desired: &[Authored],
    own: &Ownership,
    account: &KeyAccount,
) -> (Vec<String>, Vec<String>, Vec<String>) {
    let by_label = |statements: &mut dyn Iterator<Item = &'_ Statement>| -> BTreeMap<String, BTreeSet<_>> {
        let mut map: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
        for statement in statements {
            let label = statement.sid.as_deref().and_then(|sid| own.label_in(sid)).unwrap_or_default();
            map.entry(label.to_owned()).or_default().insert(CanonicalStatement::of(statement, account));
        }
        map
    };
    let before = by_label(&mut before.iter().copied());
    let after = by_label(&mut desired.iter().map(|authored| &authored.statement));
    let added = after.keys().filter(|label| !before.contains_key(*label)).cloned().collect();
    let removed = before.keys().filter(|label| !after.contains_key(*label)).cloned().collect();
    let altered = after.iter().filter(|(label, set)| before.get(*label).is_some_and(|old| old != *set));
    let altered = altered.map(|(label, _)| label.clone()).collect();
    (added, removed, altered)
}
