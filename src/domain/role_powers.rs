//! What the policies of an IAM role, without the key's, say of its use of a key.
//!
//! A key policy that names a role is enough within one account, unless something on the role's side forbids it: a Deny in one of
//! its policies, or a permissions boundary that does not allow it
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html>).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was found of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Word {
    /// A policy of the role allows it.
    Allowed,
    /// None says anything, so the key policy decides.
    Silent,
    /// The role's permissions boundary does not allow it, whatever the key policy says.
    HeldBack,
    /// A policy of the role denies it, whatever the key policy says.
    Denied,
}

/// What was found of each action that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RolePowers(pub BTreeMap<String, Word>);

impl RolePowers {
    /// What the role may not do, however the key policy lets it: one sentence; none where nothing is in the way.
    pub fn in_the_way(&self) -> Option<String> {
        let of = |wanted: Word| {
            let all: Vec<&str> =
                self.0.iter().filter(|(_, word)| **word == wanted).map(|(action, _)| action.as_str()).collect();
            (!all.is_empty()).then(|| all.join(", "))
        };
        let denied = of(Word::Denied).map(|actions| format!("a policy of the role denies it {actions}"));
        let held = of(Word::HeldBack).map(|actions| format!("its permissions boundary does not allow it {actions}"));
        let all: Vec<String> = denied.into_iter().chain(held).collect();
        (!all.is_empty()).then(|| all.join(", and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn powers(all: &[(&str, Word)]) -> RolePowers {
        RolePowers(all.iter().map(|(action, word)| ((*action).to_owned(), *word)).collect())
    }

    #[test]
    fn a_denial_and_a_boundary_are_in_the_way_and_silence_is_not() {
        assert_eq!(powers(&[("kms:Decrypt", Word::Allowed), ("kms:Encrypt", Word::Silent)]).in_the_way(), None);
        let both = powers(&[("kms:Decrypt", Word::Denied), ("kms:Encrypt", Word::HeldBack), ("k", Word::Denied)]);
        assert_eq!(
            both.in_the_way().as_deref(),
            Some(
                "a policy of the role denies it k, kms:Decrypt, and its permissions boundary does not allow it kms:Encrypt"
            )
        );
    }
}
