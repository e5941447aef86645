//! Forms, as the Query protocol of AWS and OAuth send them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The fields of a form.
#[derive(Debug, Default)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    pub(super) fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(k, v)| (decode(k), decode(v))).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// `Tags.member.1.Key`, `Tags.member.1.Value`, `Tags.member.2.Key`, ...
    pub(super) fn tags(&self) -> Vec<(String, String)> {
        let one = |n: usize| {
            let field = |name: &str| self.get(&format!("Tags.member.{n}.{name}")).map(str::to_owned);
            Some((field("Key")?, field("Value").unwrap_or_default()))
        };
        (1..).map_while(one).collect()
    }
}

/// `%41+` -> `A `.
pub(super) fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let value = std::str::from_utf8(&digits).ok().and_then(|d| u8::from_str_radix(d, 16).ok());
                out.push(value.unwrap_or(b'?'));
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Everything but letters, digits and `-._~` as `%41` (RFC 3986).
pub(super) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}
