//! Patterns with `*` (any run of characters) and `?` (one character), as actions have them.
//!
//! Service prefixes and action names are compared without case, as IAM does:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html>.

use std::collections::BTreeSet;

use super::statement::Selector;

/// Whether everything that `wanted` can match is matched by `live` too. Both may hold wildcards; false when in doubt.
pub fn covers(live: &str, wanted: &str) -> bool {
    walk(live, wanted, |live, wanted| match (live, wanted) {
        (Some('*'), None) => Next::Left,
        (Some('*'), Some(_)) => Next::Either,
        (Some('?'), Some(c)) if c != '*' => Next::Both,
        (Some(a), Some(b)) if a == b => Next::Both,
        _ => Next::Stop,
    })
}

/// Whether some action is matched by both patterns.
pub fn overlaps(one: &str, other: &str) -> bool {
    walk(one, other, |one, other| match (one, other) {
        (Some('*'), None) => Next::Left,
        (None, Some('*')) => Next::Right,
        (Some('*'), Some(_)) | (Some(_), Some('*')) => Next::Either,
        (Some('?'), Some(_)) | (Some(_), Some('?')) => Next::Both,
        (Some(a), Some(b)) if a == b => Next::Both,
        _ => Next::Stop,
    })
}

/// Whether a text without wildcards of its own is matched, case included (as `StringLike` does).
pub fn matches_exactly(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    search(&pattern, &text, |pattern, text| match (pattern, text) {
        (Some('*'), None) => Next::Left,
        (Some('*'), Some(_)) => Next::Either,
        (Some('?'), Some(_)) => Next::Both,
        (Some(a), Some(b)) if a == b => Next::Both,
        _ => Next::Stop,
    })
}

impl Selector {
    /// Whether every action that `wanted` can match is selected.
    pub fn selects_all(&self, wanted: &str) -> bool {
        match self {
            Self::Missing => false,
            Self::Only(patterns) => patterns.iter().any(|pattern| covers(pattern, wanted)),
            Self::AllBut(patterns) => !patterns.iter().any(|pattern| overlaps(pattern, wanted)),
        }
    }

    /// Whether some action that `wanted` can match is selected.
    pub fn selects_some(&self, wanted: &str) -> bool {
        match self {
            Self::Missing => false,
            Self::Only(patterns) => patterns.iter().any(|pattern| overlaps(pattern, wanted)),
            Self::AllBut(patterns) => !patterns.iter().any(|pattern| covers(pattern, wanted)),
        }
    }
}

/// Which side moves on by one character.
enum Next {
    Left,
    Right,
    Both,
    /// Either one alone.
    Either,
    Stop,
}

fn walk(left: &str, right: &str, step: impl Fn(Option<char>, Option<char>) -> Next) -> bool {
    let lower = |text: &str| text.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>();
    search(&lower(left), &lower(right), step)
}

/// Looks at each pair of positions once, so that hostile patterns cost no more than the product of their lengths.
fn search(left: &[char], right: &[char], step: impl Fn(Option<char>, Option<char>) -> Next) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![(0, 0)];
    while let Some((i, j)) = open.pop() {
        let (a, b) = (left.get(i).copied(), right.get(j).copied());
        if a.is_none() && b.is_none() {
            return true;
        }
        if !seen.insert((i, j)) {
            continue;
        }
        match step(a, b) {
            Next::Left => open.push((i + 1, j)),
            Next::Right => open.push((i, j + 1)),
            Next::Both => open.push((i + 1, j + 1)),
            Next::Either => open.extend([(i + 1, j), (i, j + 1)]),
            Next::Stop => {}
        }
    }
    false
}
