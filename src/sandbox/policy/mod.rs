//! Key policies as KMS treats them: what is accepted, what is stored, what comes back, what it allows.

mod accept;
mod evaluate;
mod render;

use serde_json::Value;

use super::ident::{arn_parts, partition};

pub(super) use accept::accept;

/// An accepted policy, with principals of simulated accounts replaced by their unique ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Policy {
    stored: String,
    /// Unconditional `Allow kms:*` to the account's root and no `Deny`: every principal of the account may act.
    open_to_account: bool,
}

/// The policy a key gets when none is given (KMS guide, "Default key policy").
pub(super) fn default_text(account: &str, region: &str) -> String {
    serde_json::json!({
        "Version": "2012-10-17", "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions", "Effect": "Allow",
            "Principal": {"AWS": format!("arn:{}:iam::{account}:root", partition(region))},
            "Action": "kms:*", "Resource": "*"
        }]
    })
    .to_string()
}

/// A string or an array of strings.
fn strings(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(all) => all.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// Whether an ARN is the root of an account, in whatever partition.
fn is_root(arn: &str, account: &str) -> bool {
    arn_parts(arn).is_some_and(|p| p[2] == "iam" && p[4] == account && p[5] == "root")
}

/// `*` and `?` as in IAM; case is ignored, as for actions.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    fn matches(p: &[u8], t: &[u8]) -> bool {
        match p.split_first() {
            None => t.is_empty(),
            Some((b'*', rest)) => (0..=t.len()).any(|n| matches(rest, &t[n..])),
            Some((b'?', rest)) => t.split_first().is_some_and(|(_, t)| matches(rest, t)),
            Some((c, rest)) => t.split_first().is_some_and(|(d, t)| c.eq_ignore_ascii_case(d) && matches(rest, t)),
        }
    }
    matches(pattern.as_bytes(), text.as_bytes())
}

impl Policy {
    /// Any text, unchecked: for tests that put into a key what no caller could.
    pub(super) fn unchecked(text: &str) -> Self {
        Self { stored: text.to_owned(), open_to_account: false }
    }
}
