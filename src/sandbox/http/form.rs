//! Forms, as the Query protocol of AWS and OAuth send them.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The fields of a form.
#[derive(Debug, Default)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    pub(super) fn read(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// `<name>.member.1`, `<name>.member.2`, ...
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        (1..).map_while(|n| self.get(&format!("{name}.member.{n}")).map(str::to_owned)).collect()
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

/// `%41+` -> `A `: one value of a form.
pub(super) fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Everything but letters, digits and `-._~` as `%41` (RFC 3986).
pub(super) fn encode(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}
