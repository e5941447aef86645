//! The word of a human without which nothing outside is deleted.
//!
//! # Guarantees
//! - A token depends on the object's uid, on something that is not known before the deletion was asked for, and on the
//!   ARNs or ids of everything that it confirms: what stands in Git beforehand confirms nothing, and a token for one key
//!   confirms no other.

use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};

/// What the annotation `cmk-operator.io/confirm-deletion` has to hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(String);

impl Token {
    /// The token for these things, whose deletion was asked for on this `occasion`: a moment, or a value that no other
    /// pass has. The order of the things does not matter.
    pub fn of<T: ToString>(uid: &str, occasion: &str, things: impl IntoIterator<Item = T>) -> Self {
        let mut things: Vec<String> = things.into_iter().map(|thing| thing.to_string()).collect();
        things.sort();
        things.dedup();
        let text = format!("{uid}\n{occasion}\n{}", things.join("\n"));
        let digest = Sha256::digest(text.as_bytes());
        let mut token = String::new();
        for byte in digest.iter().take(8) {
            let _ = write!(token, "{byte:02x}");
        }
        Self(token)
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tokens in the value of the annotation: several may stand there, apart by commas or blanks.
pub fn tokens(annotation: &str) -> Vec<String> {
    let parts = annotation.split(|c: char| c == ',' || c.is_whitespace());
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_deletion_of_certain_things() {
        let token = Token::of("uid", "2026-01-01", ["a", "b"]);
        assert_eq!(token, Token::of("uid", "2026-01-01", ["b", "a", "b"]), "the order does not matter");
        for other in [
            Token::of("uid-2", "2026-01-01", ["a", "b"]),
            Token::of("uid", "2026-01-02", ["a", "b"]),
            Token::of("uid", "2026-01-01", ["a"]),
            Token::of("uid", "2026-01-01", ["a", "c"]),
        ] {
            assert_ne!(token, other);
        }
        assert_eq!(token.as_str().len(), 16);
    }

    #[test]
    fn several_tokens_may_stand_in_one_annotation() {
        assert_eq!(tokens(" a, b\nc,,"), ["a", "b", "c"]);
        assert!(tokens("").is_empty());
    }
}
