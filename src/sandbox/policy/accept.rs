//! Which policies are accepted, and as what they are stored.

use serde_json::{Map, Value};

use super::condition::is_operator;
use super::{Facts, Policy, is_root, strings};
use crate::sandbox::failure::ServiceError;
use crate::sandbox::iam::{Iam, Identity};
use crate::sandbox::ident::{arn_parts, is_account};

/// The hard limit of a key policy in bytes (KMS guide, "Key policies").
const MOST_BYTES: usize = 32_768;
/// Characters of a trust policy and of all inline policies of a role together, white space not counted (IAM user guide,
/// "IAM and AWS STS quotas").
const MOST_TRUST: usize = 2048;
pub(in crate::sandbox) const MOST_INLINE: usize = 10_240;

/// What a policy is attached to: each kind has elements that the others must not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Key,
    Trust,
    Identity,
}

fn malformed(text: &str) -> ServiceError {
    ServiceError::aws("MalformedPolicyDocumentException", text)
}

fn malformed_iam(text: &str) -> ServiceError {
    ServiceError::aws("MalformedPolicyDocument", text)
}

/// Accepts a key policy or says why not, in the order of checks that a caller sees. `key` is the ARN of the key.
pub(in crate::sandbox) fn accept(
    text: &str,
    iam: &Iam,
    caller: &Identity,
    key: &str,
    visible_before_ms: i64,
    bypass_lockout_check: bool,
) -> Result<Policy, ServiceError> {
    if text.is_empty() || text.len() > 131_072 {
        return Err(ServiceError::validation(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length between 1 and 131072",
        ));
    }
    if text.chars().any(|c| !is_printable(c)) {
        return Err(ServiceError::validation(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+",
        ));
    }
    if text.len() > MOST_BYTES {
        return Err(ServiceError::aws("LimitExceededException", "Policy exceeds the maximum size of 32768 bytes"));
    }
    let document = read(text, Kind::Key, iam, visible_before_ms).map_err(|text| malformed(&text))?;
    let statements = document["Statement"].as_array().map_or(&[][..], Vec::as_slice);
    let open_to_account =
        statements.iter().all(|s| s["Effect"] == "Allow") && statements.iter().any(|s| opens_to(s, &caller.account));
    let policy = Policy { stored: Value::Object(document).to_string(), open_to_account };
    let action = "kms:PutKeyPolicy";
    let may_put = policy.permits(iam, caller, (key, &caller.account), action, i64::MAX, Facts::default)
        && !iam.denies(caller, action);
    if !bypass_lockout_check && !may_put {
        return Err(malformed("The new key policy will not allow you to update the key policy in the future."));
    }
    Ok(policy)
}

/// Accepts the trust policy of a role.
pub(in crate::sandbox) fn accept_trust(text: &str, iam: &Iam, visible_before_ms: i64) -> Result<Policy, ServiceError> {
    if text.is_empty() || text.chars().any(|c| !is_printable(c)) {
        return Err(super::super::sts::invalid(
            "1 validation error detected: Value at 'assumeRolePolicyDocument' failed to satisfy constraint",
        ));
    }
    let document = read(text, Kind::Trust, iam, visible_before_ms).map_err(|text| malformed_iam(&text))?;
    if without_space(text) > MOST_TRUST {
        let text = format!("Cannot exceed quota for ACLSizePerRole: {MOST_TRUST}");
        return Err(ServiceError::new(409, "LimitExceeded", text));
    }
    Ok(Policy { stored: Value::Object(document).to_string(), open_to_account: false })
}

/// Accepts an inline policy of a role; it is stored as it is.
pub(in crate::sandbox) fn accept_identity(text: &str) -> Result<(), ServiceError> {
    if text.is_empty() || text.len() > 131_072 || text.chars().any(|c| !is_printable(c)) {
        return Err(super::super::sts::invalid(
            "1 validation error detected: Value at 'policyDocument' failed to satisfy constraint",
        ));
    }
    read(text, Kind::Identity, &Iam::default(), 0).map(drop).map_err(|text| malformed_iam(&text))
}

/// How many characters count.
pub(in crate::sandbox) fn without_space(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}')
}

/// The document with its statements as a list and its principals as they are stored, or what is wrong with it.
fn read(text: &str, kind: Kind, iam: &Iam, visible_before_ms: i64) -> Result<Map<String, Value>, String> {
    let no = |text: &str| Err(text.to_owned());
    let Ok(Value::Object(mut document)) = serde_json::from_str::<Value>(text) else {
        return no(if kind == Kind::Key {
            "Policy is not a valid JSON document"
        } else {
            "This policy contains invalid Json"
        });
    };
    if let Some(unknown) = document.keys().find(|k| !matches!(k.as_str(), "Version" | "Id" | "Statement")) {
        return Err(format!("Policy has an unknown element {unknown}"));
    }
    match document.get("Version").map(Value::as_str) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => {}
        _ => return no("The policy must contain a valid version string"),
    }
    if document.get("Id").is_some_and(|id| !id.is_string()) {
        return no("The policy Id must be a string");
    }
    let mut statements = match document.remove("Statement") {
        Some(Value::Array(all)) if !all.is_empty() => all,
        Some(Value::Object(one)) => vec![Value::Object(one)],
        _ => return no("The policy must contain at least one statement"),
    };
    for statement in &mut statements {
        let Value::Object(statement) = statement else {
            return no("A statement must be a JSON object");
        };
        read_statement(statement, kind, iam, visible_before_ms)?;
    }
    document.insert("Statement".into(), Value::Array(statements));
    Ok(document)
}

fn read_statement(s: &mut Map<String, Value>, kind: Kind, iam: &Iam, visible_before_ms: i64) -> Result<(), String> {
    const KNOWN: [&str; 9] =
        ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    let no = |text: &str| Err(text.to_owned());
    if let Some(unknown) = s.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        return Err(format!("A statement has an unknown element {unknown}"));
    }
    if s.get("Sid").is_some_and(|sid| !sid.is_string()) {
        return no("A Sid must be a string");
    }
    match s.get("Effect").and_then(Value::as_str) {
        Some("Allow" | "Deny") => {}
        _ => return no("A statement must have the Effect Allow or Deny"),
    }
    let actions = s.get("Action").or_else(|| s.get("NotAction")).map(strings);
    match actions {
        Some(Some(all)) if !all.is_empty() && all.iter().all(|a| *a == "*" || a.contains(':')) => {
            if kind == Kind::Trust && !all.iter().all(|a| a.to_ascii_lowercase().starts_with("sts:")) {
                return no("AssumeRole policy may only specify STS AssumeRole actions.");
            }
        }
        _ => return no("A statement must have an Action or NotAction"),
    }
    read_resource(s, kind)?;
    read_condition(s, kind)?;
    let name = if s.contains_key("NotPrincipal") { "NotPrincipal" } else { "Principal" };
    match (s.get_mut(name), kind) {
        (Some(_), Kind::Identity) => no("Policy document should not specify a principal."),
        (None, Kind::Identity) => Ok(()),
        (None, _) => no("A statement must have a Principal"),
        (Some(principal), _) => read_principal(principal, iam, visible_before_ms).map_err(|name| match kind {
            Kind::Trust => format!("Invalid principal in policy: \"AWS\":\"{name}\""),
            _ => "Policy contains a statement with one or more invalid principals.".to_owned(),
        }),
    }
}

fn read_resource(s: &Map<String, Value>, kind: Kind) -> Result<(), String> {
    let given = s.get("Resource").or_else(|| s.get("NotResource"));
    match kind {
        Kind::Key => match s.get("Resource").and_then(strings).as_deref() {
            Some(["*"]) => Ok(()),
            _ => Err("A statement must have the Resource \"*\"".to_owned()),
        },
        Kind::Trust if given.is_some() => Err("Has prohibited field Resource".to_owned()),
        Kind::Trust => Ok(()),
        Kind::Identity => {
            let all = given.and_then(strings).filter(|all| !all.is_empty());
            let all = all.ok_or("Policy statement must contain resources.")?;
            match all.iter().find(|r| **r != "*" && arn_parts(r).is_none()) {
                None => Ok(()),
                Some(wrong) => Err(format!("Resource {wrong} must be in ARN format or \"*\".")),
            }
        }
    }
}

fn read_condition(s: &Map<String, Value>, kind: Kind) -> Result<(), String> {
    let Some(condition) = s.get("Condition") else {
        return Ok(());
    };
    let operators = condition.as_object().filter(|all| all.values().all(Value::is_object));
    let operators = operators.ok_or("A Condition must be an object of operators")?;
    match operators.keys().find(|name| kind != Kind::Key && !is_operator(name)) {
        Some(unknown) => Err(format!("Invalid Condition type : {unknown}.")),
        None => Ok(()),
    }
}

/// Puts the principals as they are stored; the error is the one that does not exist.
fn read_principal(principal: &mut Value, iam: &Iam, visible_before_ms: i64) -> Result<(), String> {
    match principal {
        Value::String(all) if all == "*" => Ok(()),
        Value::Object(kinds) if !kinds.is_empty() => {
            for (kind, names) in kinds {
                let mut stored = Vec::new();
                for name in strings(names).filter(|n| !n.is_empty()).ok_or_else(String::new)? {
                    let invalid = || name.to_owned();
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
        other => Err(other.to_string()),
    }
}

fn opens_to(statement: &Value, account: &str) -> bool {
    let names = |v: &Value, wanted: &str| strings(v).is_some_and(|all| all.contains(&wanted));
    statement["Effect"] == "Allow"
        && statement.get("Condition").is_none()
        && strings(&statement["Principal"]["AWS"]).is_some_and(|all| all.iter().any(|p| is_root(p, account)))
        && names(&statement["Action"], "kms:*")
}
