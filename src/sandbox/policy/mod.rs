//! Policies as AWS treats them: what is accepted, what is stored, what comes back, what they allow.

mod accept;
mod condition;
mod evaluate;
mod render;

use serde_json::Value;

use super::iam::{Iam, Identity};
use super::ident::{arn_parts, partition};
use crate::domain::policy::PolicyDocument;

pub(super) use accept::{MOST_INLINE, accept, accept_identity, accept_trust, without_space};
pub use condition::Facts;
pub use evaluate::{Decision, Policies, Request, decide};

/// An accepted policy on a resource, with principals of simulated accounts replaced by their unique ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Policy {
    stored: String,
    /// Unconditional `Allow kms:*` to the account's root and no `Deny`: every administrator of the account may act.
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

impl Policy {
    /// Any text, unchecked: for tests that put into a key what no caller could.
    pub(super) fn unchecked(text: &str) -> Self {
        Self { stored: text.to_owned(), open_to_account: false }
    }

    /// What was accepted, as it is evaluated; `None` if it is no policy at all, which allows nothing.
    pub(super) fn document(&self) -> Option<PolicyDocument> {
        PolicyDocument::parse(&self.stored).ok()
    }

    /// Whether `who` may do `action` on a resource of `owner` that carries this policy, by this policy together with
    /// the caller's own policies as they were at `at_ms`.
    pub(super) fn permits(
        &self,
        iam: &Iam,
        who: &Identity,
        (resource, owner): (&str, &str),
        action: &str,
        at_ms: i64,
        facts: impl FnOnce() -> Facts,
    ) -> bool {
        let own = iam.own_policies(who, at_ms);
        if self.open_to_account && who.account == owner && own.is_administrator() {
            return true;
        }
        let Some(document) = self.document() else {
            return false;
        };
        let unique_id = iam.stored_name(who);
        // Most policies have no conditions: a model that asks a million times does without the facts then.
        let conditional = document.statements.iter().any(|s| !s.conditions.is_empty());
        let facts = if conditional || !own.is_administrator() { facts() } else { Facts::default() };
        let request = Request { caller: who, unique_id: &unique_id, action, resource, facts: &facts };
        let policies = Policies { on_resource: Some((&document, owner)), ..own.policies() };
        decide(&request, &policies) == Decision::Allowed
    }
}
