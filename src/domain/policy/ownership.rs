//! Which statements are ours: `cmk <8 hex of the identity's hash> <label>`.
//!
//! A Sid in a key policy may hold spaces ("The Sid element in a key policy statement can include spaces",
//! <https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html>); no other character beside letters
//! and digits is used, because nothing else is documented as safe. AWS states no length; we stay within 128.

use std::fmt;

use sha2::{Digest, Sha256};

use super::canonical::hex;
use super::statement::Statement;

/// The longest label; a Sid is 13 characters longer.
pub const LONGEST_LABEL: usize = 115;

const PREFIX: &str = "cmk ";
const HASH_DIGITS: usize = 8;

/// The mark of one identity's statements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ownership {
    hash: String,
}

/// The last part of our Sids: what the statement is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

/// Why a text can't be a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelError(String);

impl Ownership {
    /// The mark of `installation/namespace/name/account/region`, taken as it is.
    pub fn of(identity: &str) -> Self {
        Self { hash: hex(Sha256::digest(identity.as_bytes()).iter().take(HASH_DIGITS / 2)) }
    }

    /// The eight hex digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The Sid of our statement with this label.
    pub fn sid(&self, label: &Label) -> String {
        format!("{PREFIX}{} {}", self.hash, label.0)
    }

    /// The label of a Sid of ours; `None` for foreign ones, those of another identity included.
    pub fn label_in<'a>(&self, sid: &'a str) -> Option<&'a str> {
        let rest = sid.strip_prefix(PREFIX)?.strip_prefix(self.hash.as_str())?.strip_prefix(' ')?;
        check(rest).is_ok().then_some(rest)
    }

    /// Whether the statement is ours.
    pub fn owns(&self, statement: &Statement) -> bool {
        statement.sid.as_deref().is_some_and(|sid| self.label_in(sid).is_some())
    }
}

/// Whether a Sid marks a statement of the identity with this hash.
pub fn is_ours(sid: &str, identity_hash: &str) -> bool {
    Ownership { hash: identity_hash.to_owned() }.label_in(sid).is_some()
}

impl LabelError {
    pub(super) fn taken(label: &Label) -> Self {
        Self(format!("the label {:?} belongs to a statement of another kind", label.0))
    }
}

impl Label {
    /// Letters, digits and spaces; no space at either end; 1 to [`LONGEST_LABEL`] characters.
    pub fn new(text: impl Into<String>) -> Result<Self, LabelError> {
        let text = text.into();
        check(&text).map(|()| Self(text))
    }

    /// The label for a name that a user chose (a DNS label): `kind` and the name with its hyphens as spaces. Distinct
    /// names give distinct labels.
    pub fn of_name(kind: &str, name: &str) -> Result<Self, LabelError> {
        if name.contains(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')) {
            return Err(LabelError(format!("the name {name:?} may hold only lower-case letters, digits and '-'")));
        }
        if name.is_empty() || name.starts_with('-') || name.ends_with('-') {
            return Err(LabelError(format!("the name {name:?} is empty or has '-' at an end")));
        }
        Self::new(format!("{kind} {}", name.replace('-', " ")))
    }

    /// The label's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), LabelError> {
    if text.is_empty() || text.len() > LONGEST_LABEL {
        return Err(LabelError(format!("the label {text:?} has {} characters, not 1 to {LONGEST_LABEL}", text.len())));
    }
    if text.starts_with(' ') || text.ends_with(' ') || text.contains(|c: char| !(c.is_ascii_alphanumeric() || c == ' '))
    {
        return Err(LabelError(format!("the label {text:?} may hold only letters, digits and inner spaces")));
    }
    Ok(())
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LabelError {}
