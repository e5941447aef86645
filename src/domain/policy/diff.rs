//! What changes between two policies, in sentences.

use std::collections::{BTreeMap, BTreeSet};

use super::canonical::CanonicalStatement;
use super::principal::KeyAccount;
use super::statement::{Condition, PolicyDocument, PrincipalKind, Principals, Scalar, Selector, Statement};

/// How many of a list are named before "and N more".
const NAMED: usize = 6;

/// One sentence for each statement that is added, changed or removed; empty if both mean the same. Statements are
/// paired by Sid.
pub fn diff(before: &PolicyDocument, after: &PolicyDocument, account: &KeyAccount) -> Vec<String> {
    let mut gone = only_in(before, after, account);
    let mut sentences = Vec::new();
    for (position, new) in only_in(after, before, account) {
        let twin = gone.iter().position(|(_, old)| old.sid.is_some() && old.sid == new.sid);
        match twin.map(|index| gone.remove(index)) {
            Some((_, old)) => {
                let changes = changes(old, new, account).join(", ");
                sentences.push(format!("statement {}: {changes}", new.name(position)));
            }
            None => sentences.push(format!("adds statement {}: {}", new.name(position), summary(new, account))),
        }
    }
    let removed = gone.into_iter();
    sentences.extend(
        removed.map(|(position, old)| format!("removes statement {}: {}", old.name(position), summary(old, account))),
    );
    sentences
}

fn only_in<'a>(
    document: &'a PolicyDocument,
    other: &PolicyDocument,
    account: &KeyAccount,
) -> Vec<(usize, &'a Statement)> {
    let known = super::canonical::canonical_set(other.statements.iter(), account);
    let mut seen = BTreeSet::new();
    let statements = document.statements.iter().enumerate();
    statements
        .filter(|(_, statement)| {
            let canonical = CanonicalStatement::of(statement, account);
            !known.contains(&canonical) && seen.insert(canonical)
        })
        .collect()
}

fn changes(old: &Statement, new: &Statement, account: &KeyAccount) -> Vec<String> {
    let mut changes = Vec::new();
    if old.effect != new.effect {
        changes.push(format!("becomes {}", new.effect.as_str()));
    }
    let of = |spell: &dyn Fn(&Statement) -> Items| (spell(old), spell(new));
    let parts = [
        ("principal", of(&|statement| principals(&statement.principals, account))),
        ("action", of(&|statement| actions(&statement.actions))),
        ("resource", of(&|statement| resources(&statement.resources))),
        ("condition", of(&|statement| conditions(&statement.conditions))),
    ];
    for (what, (old, new)) in &parts {
        for (verb, from, to) in [("adds", new, old), ("removes", old, new)] {
            let items = from.iter().filter(|(key, _)| !to.contains_key(*key));
            let items: Vec<&str> = items.map(|(_, shown)| shown.as_str()).collect();
            if !items.is_empty() {
                let plural = if items.len() > 1 { "s" } else { "" };
                changes.push(format!("{verb} {what}{plural} {}", some(&items)));
            }
        }
    }
    if changes.is_empty() {
        changes.push("changes in elements that are not known here".to_owned());
    }
    changes
}

/// Such as "Allow kms:Decrypt to arn:... if Bool kms:GrantIsForAWSResource true".
fn summary(statement: &Statement, account: &KeyAccount) -> String {
    let list = |items: &Items| some(&items.values().map(String::as_str).collect::<Vec<_>>());
    let actions = list(&actions(&statement.actions));
    let to = list(&principals(&statement.principals, account));
    let mut text = format!("{} {actions} to {to}", statement.effect.as_str());
    if !statement.conditions.is_empty() {
        text.push_str(" if ");
        text.push_str(&list(&conditions(&statement.conditions)));
    }
    text
}

/// What is compared, and how it is shown.
type Items = BTreeMap<String, String>;

fn principals(principals: &Principals, account: &KeyAccount) -> Items {
    let prefix = if matches!(principals, Principals::AllBut(_)) { "not " } else { "" };
    let listed = principals.listed().into_iter().map(|(kind, value)| match kind {
        PrincipalKind::Aws => format!("{prefix}{}", account.canonical(value)),
        other => format!("{prefix}{} {value}", other.as_str()),
    });
    listed.map(|shown| (shown.clone(), shown)).collect()
}

fn actions(selector: &Selector) -> Items {
    patterns(selector).into_iter().map(|shown| (shown.to_ascii_lowercase(), shown)).collect()
}

fn resources(selector: &Selector) -> Items {
    patterns(selector).into_iter().map(|shown| (shown.clone(), shown)).collect()
}

fn patterns(selector: &Selector) -> Vec<String> {
    let prefix = if matches!(selector, Selector::AllBut(_)) { "all but " } else { "" };
    selector.patterns().iter().map(|pattern| format!("{prefix}{pattern}")).collect()
}

fn conditions(conditions: &[Condition]) -> Items {
    let show = |condition: &Condition| {
        let values: BTreeSet<String> = condition.values.iter().map(Scalar::text).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        format!("{} {} {}", condition.operator, condition.key, values.join(" or "))
    };
    conditions.iter().map(|condition| (condition.canonical(), show(condition))).collect()
}

fn some(items: &[&str]) -> String {
    let named = items.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(NAMED) {
        0 if items.is_empty() => "nothing".to_owned(),
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
