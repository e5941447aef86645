//! Which policies are accepted, and as what they are stored.

use serde_json::{Map, Value};

use super::{Policy, is_root, strings};
use crate::sandbox::failure::ServiceError;
use crate::sandbox::iam::{Iam, Identity};
use crate::sandbox::ident::is_account;

/// The hard limit in bytes (KMS guide, "Key policies").
const MOST_BYTES: usize = 32_768;

fn malformed(text: &str) -> ServiceError {
    ServiceError::aws("MalformedPolicyDocumentException", text)
}

/// Accepts a policy or says why not, in the order of checks that a caller sees.
pub(in crate::sandbox) fn accept(
    text: &str,
    iam: &Iam,
    caller: &Identity,
    visible_before_ms: i64,
    bypass_lockout_check: bool,
) -> Result<Policy, ServiceError> {
    if text.is_empty() || text.len() > 131_072 {
        return Err(ServiceError::validation(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length between 1 and 131072",
        ));
    }
    if text.chars().any(|c| !matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}')) {
        return Err(ServiceError::validation(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+",
        ));
    }
    if text.len() > MOST_BYTES {
        return Err(ServiceError::aws("LimitExceededException", "Policy exceeds the maximum size of 32768 bytes"));
    }
    let Ok(Value::Object(mut document)) = serde_json::from_str::<Value>(text) else {
        return Err(malformed("Policy is not a valid JSON document"));
    };
    if let Some(unknown) = document.keys().find(|k| !matches!(k.as_str(), "Version" | "Id" | "Statement")) {
        return Err(malformed(&format!("Policy has an unknown element {unknown}")));
    }
    match document.get("Version").map(Value::as_str) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => {}
        _ => return Err(malformed("The policy must contain a valid version string")),
    }
    if document.get("Id").is_some_and(|id| !id.is_string()) {
        return Err(malformed("The policy Id must be a string"));
    }
    let mut statements = match document.remove("Statement") {
        Some(Value::Array(all)) if !all.is_empty() => all,
        Some(Value::Object(one)) => vec![Value::Object(one)],
        _ => return Err(malformed("The policy must contain at least one statement")),
    };
    for statement in &mut statements {
        let Value::Object(statement) = statement else {
            return Err(malformed("A statement must be a JSON object"));
        };
        accept_statement(statement, iam, visible_before_ms)?;
    }
    let open_to_account =
        statements.iter().all(|s| s["Effect"] == "Allow") && statements.iter().any(|s| opens_to(s, &caller.account));
    document.insert("Statement".into(), Value::Array(statements));
    let stored = Value::Object(document).to_string();
    let policy = Policy { stored, open_to_account };
    let may_put =
        policy.allows(iam, caller, &caller.account, "kms:PutKeyPolicy") && !iam.denies(caller, "kms:PutKeyPolicy");
    if !bypass_lockout_check && !may_put {
        return Err(malformed("The new key policy will not allow you to update the key policy in the future."));
    }
    Ok(policy)
}

fn accept_statement(s: &mut Map<String, Value>, iam: &Iam, visible_before_ms: i64) -> Result<(), ServiceError> {
    const KNOWN: [&str; 10] = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
        "Id",
    ];
    if let Some(unknown) = s.keys().find(|k| !KNOWN.contains(&k.as_str()) || *k == "Id") {
        return Err(malformed(&format!("A statement has an unknown element {unknown}")));
    }
    if s.get("Sid").is_some_and(|sid| !sid.is_string()) {
        return Err(malformed("A Sid must be a string"));
    }
    match s.get("Effect").and_then(Value::as_str) {
        Some("Allow" | "Deny") => {}
        _ => return Err(malformed("A statement must have the Effect Allow or Deny")),
    }
    let actions = s.get("Action").or_else(|| s.get("NotAction")).map(strings);
    match actions {
        Some(Some(all)) if !all.is_empty() && all.iter().all(|a| *a == "*" || a.contains(':')) => {}
        _ => return Err(malformed("A statement must have an Action or NotAction")),
    }
    match s.get("Resource").and_then(strings).as_deref() {
        Some(["*"]) => {}
        _ => return Err(malformed("A statement must have the Resource \"*\"")),
    }
    if s.get("Condition").is_some_and(|c| !c.as_object().is_some_and(|c| c.values().all(Value::is_object))) {
        return Err(malformed("A Condition must be an object of operators"));
    }
    let name = if s.contains_key("NotPrincipal") { "NotPrincipal" } else { "Principal" };
    let Some(principal) = s.get_mut(name) else {
        return Err(malformed("A statement must have a Principal"));
    };
    accept_principal(principal, iam, visible_before_ms)
}

fn accept_principal(principal: &mut Value, iam: &Iam, visible_before_ms: i64) -> Result<(), ServiceError> {
    let invalid = || malformed("Policy contains a statement with one or more invalid principals.");
    match principal {
        Value::String(all) if all == "*" => Ok(()),
        Value::Object(kinds) if !kinds.is_empty() => {
            for (kind, names) in kinds {
                let mut stored = Vec::new();
                for name in strings(names).filter(|n| !n.is_empty()).ok_or_else(invalid)? {
                    stored.push(Value::String(match kind.as_str() {
                        "AWS" if name == "*" => name.to_owned(),
                        "AWS" if is_account(name) => format!("arn:aws:iam::{name}:root"),
                        "AWS" => iam.resolve(name, visible_before_ms).ok_or_else(invalid)?,
                        "Service" if name.contains(".amazonaws.com") => name.to_owned(),
                        "Federated" => name.to_owned(),
                        _ => return Err(invalid()),
                    }));
                }
                *names = Value::Array(stored);
            }
            Ok(())
        }
        _ => Err(invalid()),
    }
}

fn opens_to(statement: &Value, account: &str) -> bool {
    let names = |v: &Value, wanted: &str| strings(v).is_some_and(|all| all.contains(&wanted));
    statement["Effect"] == "Allow"
        && statement.get("Condition").is_none()
        && strings(&statement["Principal"]["AWS"]).is_some_and(|all| all.iter().any(|p| is_root(p, account)))
        && names(&statement["Action"], "kms:*")
}
