//! What a policy allows.

use serde_json::Value;

use super::{Policy, is_root, strings, wildcard};
use crate::sandbox::iam::{Iam, Identity};

impl Policy {
    /// Whether this policy, together with an identity policy that allows everything, lets `who` do `action` on a
    /// key of `owner`. A principal of another account must be named itself or through its root.
    pub(in crate::sandbox) fn allows(&self, iam: &Iam, who: &Identity, owner: &str, action: &str) -> bool {
        if self.open_to_account && who.account == owner {
            return true;
        }
        let Ok(document) = serde_json::from_str::<Value>(&self.stored) else {
            return false;
        };
        let Some(statements) = document["Statement"].as_array() else {
            return false;
        };
        let stored_name = iam.stored_name(who);
        let applies =
            |s: &&Value| names_principal(s, who, &stored_name) && names_action(s, action) && condition_holds(s, who);
        let mut allowed = false;
        for statement in statements.iter().filter(applies) {
            if statement["Effect"] == "Deny" {
                return false;
            }
            allowed = true;
        }
        allowed
    }
}

fn names_principal(statement: &Value, who: &Identity, stored_name: &str) -> bool {
    let caller = who.caller_arn();
    let in_list = |principal: &Value| match principal {
        Value::String(all) => all == "*",
        other => strings(&other["AWS"]).is_some_and(|all| {
            all.iter()
                .any(|p| *p == "*" || *p == stored_name || *p == who.arn || *p == caller || is_root(p, &who.account))
        }),
    };
    match statement.get("NotPrincipal") {
        Some(not) => !in_list(not),
        None => in_list(&statement["Principal"]),
    }
}

fn names_action(statement: &Value, action: &str) -> bool {
    let any = |v: &Value| strings(v).is_some_and(|all| all.iter().any(|p| wildcard(p, action)));
    match statement.get("NotAction") {
        Some(not) => !any(not),
        None => any(&statement["Action"]),
    }
}

/// Conditions about the caller alone are evaluated; any other key counts as not met.
fn condition_holds(statement: &Value, who: &Identity) -> bool {
    let Some(condition) = statement.get("Condition") else {
        return true;
    };
    let Some(operators) = condition.as_object() else {
        return false;
    };
    operators.iter().all(|(operator, keys)| {
        keys.as_object().is_some_and(|keys| {
            keys.iter().all(|(key, wanted)| {
                let actual = match key.to_ascii_lowercase().as_str() {
                    "kms:calleraccount" | "aws:principalaccount" => who.account.as_str(),
                    "aws:principalarn" => who.arn.as_str(),
                    _ => return false,
                };
                let wanted = strings(wanted).unwrap_or_default();
                match operator.as_str() {
                    "StringEquals" | "ArnEquals" => wanted.contains(&actual),
                    "StringLike" | "ArnLike" => wanted.iter().any(|w| wildcard(w, actual)),
                    "StringNotEquals" | "ArnNotEquals" => !wanted.contains(&actual),
                    _ => false,
                }
            })
        })
    })
}
