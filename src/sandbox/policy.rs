//! Key policies as KMS treats them: what is accepted, what is stored, what comes back, what it allows.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::failure::ServiceError;
use super::iam::{Iam, Identity};
use super::ident::is_account;

/// The hard limit in bytes (KMS guide, "Key policies").
const MOST_BYTES: usize = 32_768;

/// An accepted policy, with principals of simulated accounts replaced by their unique ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Policy {
    stored: String,
    /// Unconditional `Allow kms:*` to the account's root and no `Deny`: every principal of the account may act.
    open_to_account: bool,
}

/// The policy a key gets when none is given (KMS guide, "Default key policy").
pub(super) fn default_text(account: &str) -> String {
    serde_json::json!({
        "Version": "2012-10-17", "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions", "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
            "Action": "kms:*", "Resource": "*"
        }]
    })
    .to_string()
}

fn malformed(text: &str) -> ServiceError {
    ServiceError::aws("MalformedPolicyDocumentException", text)
}

/// Accepts a policy or says why not, in the order of checks that a caller sees.
pub(super) fn accept(
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
    if text
        .chars()
        .any(|c| !matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}'))
    {
        return Err(ServiceError::validation(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+",
        ));
    }
    if text.len() > MOST_BYTES {
        return Err(ServiceError::aws(
            "LimitExceededException",
            "Policy exceeds the maximum size of 32768 bytes",
        ));
    }
    let Ok(Value::Object(mut document)) = serde_json::from_str::<Value>(text) else {
        return Err(malformed("Policy is not a valid JSON document"));
    };
    if let Some(unknown) = document
        .keys()
        .find(|k| !matches!(k.as_str(), "Version" | "Id" | "Statement"))
    {
        return Err(malformed(&format!(
            "Policy has an unknown element {unknown}"
        )));
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
    let open_to_account = statements.iter().all(|s| s["Effect"] == "Allow")
        && statements.iter().any(|s| opens_to(s, &caller.account));
    document.insert("Statement".into(), Value::Array(statements));
    let stored = Value::Object(document).to_string();
    let policy = Policy {
        stored,
        open_to_account,
    };
    if !bypass_lockout_check && !policy.allows(iam, caller, &caller.account, "kms:PutKeyPolicy") {
        return Err(malformed(
            "The new key policy will not allow you to update the key policy in the future.",
        ));
    }
    Ok(policy)
}

fn accept_statement(
    s: &mut Map<String, Value>,
    iam: &Iam,
    visible_before_ms: i64,
) -> Result<(), ServiceError> {
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
    if let Some(unknown) = s
        .keys()
        .find(|k| !KNOWN.contains(&k.as_str()) || *k == "Id")
    {
        return Err(malformed(&format!(
            "A statement has an unknown element {unknown}"
        )));
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
    if s.get("Condition").is_some_and(|c| {
        !c.as_object()
            .is_some_and(|c| c.values().all(Value::is_object))
    }) {
        return Err(malformed("A Condition must be an object of operators"));
    }
    let name = if s.contains_key("NotPrincipal") {
        "NotPrincipal"
    } else {
        "Principal"
    };
    let Some(principal) = s.get_mut(name) else {
        return Err(malformed("A statement must have a Principal"));
    };
    accept_principal(principal, iam, visible_before_ms)
}

fn accept_principal(
    principal: &mut Value,
    iam: &Iam,
    visible_before_ms: i64,
) -> Result<(), ServiceError> {
    let invalid = || malformed("Policy contains a statement with one or more invalid principals.");
    match principal {
        Value::String(all) if all == "*" => Ok(()),
        Value::Object(kinds) if !kinds.is_empty() => {
            for (kind, names) in kinds {
                let mut stored = Vec::new();
                for name in strings(names)
                    .filter(|n| !n.is_empty())
                    .ok_or_else(invalid)?
                {
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

/// A string or an array of strings.
fn strings(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(all) => all.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn opens_to(statement: &Value, account: &str) -> bool {
    let root = format!("arn:aws:iam::{account}:root");
    let names = |v: &Value, wanted: &str| strings(v).is_some_and(|all| all.contains(&wanted));
    statement["Effect"] == "Allow"
        && statement.get("Condition").is_none()
        && names(&statement["Principal"]["AWS"], &root)
        && names(&statement["Action"], "kms:*")
}

/// `*` and `?` as in IAM; case is ignored, as for actions.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    fn matches(p: &[u8], t: &[u8]) -> bool {
        match p.split_first() {
            None => t.is_empty(),
            Some((b'*', rest)) => (0..=t.len()).any(|n| matches(rest, &t[n..])),
            Some((b'?', rest)) => t.split_first().is_some_and(|(_, t)| matches(rest, t)),
            Some((c, rest)) => t
                .split_first()
                .is_some_and(|(d, t)| c.eq_ignore_ascii_case(d) && matches(rest, t)),
        }
    }
    matches(pattern.as_bytes(), text.as_bytes())
}

impl Policy {
    /// Any text, unchecked: for tests that put into a key what no caller could.
    pub(super) fn unchecked(text: &str) -> Self {
        Self {
            stored: text.to_owned(),
            open_to_account: false,
        }
    }

    /// Whether this policy, together with an identity policy that allows everything, lets `who` do `action` on a
    /// key of `owner`. A principal of another account must be named itself or through its root.
    pub(super) fn allows(&self, iam: &Iam, who: &Identity, owner: &str, action: &str) -> bool {
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
        let applies = |s: &&Value| {
            names_principal(s, who, &stored_name)
                && names_action(s, action)
                && condition_holds(s, who)
        };
        let mut allowed = false;
        for statement in statements.iter().filter(applies) {
            if statement["Effect"] == "Deny" {
                return false;
            }
            allowed = true;
        }
        allowed
    }

    /// The text as `GetKeyPolicy` returns it: spaced JSON, unique ids as ARNs while their owners exist,
    /// one-element principal lists as scalars.
    pub(super) fn render(&self, iam: &Iam) -> String {
        let Ok(mut document) = serde_json::from_str::<Value>(&self.stored) else {
            return self.stored.clone();
        };
        for statement in document["Statement"].as_array_mut().into_iter().flatten() {
            for name in ["Principal", "NotPrincipal"] {
                let Some(Value::Object(kinds)) = statement.get_mut(name) else {
                    continue;
                };
                for (kind, names) in kinds {
                    let Some(all) = names.as_array_mut() else {
                        continue;
                    };
                    for one in all.iter_mut().filter(|_| kind == "AWS") {
                        if let Some(arn) = one.as_str().and_then(|id| iam.arn_of(id)) {
                            *one = Value::String(arn);
                        }
                    }
                    if let [one] = all.as_slice() {
                        *names = one.clone();
                    }
                }
            }
            for name in ["Action", "NotAction", "Resource"] {
                if let Some([one]) = statement
                    .get(name)
                    .and_then(Value::as_array)
                    .map(Vec::as_slice)
                {
                    statement[name] = one.clone();
                }
            }
        }
        let mut out = String::new();
        print(&document, 0, &mut out);
        out
    }
}

fn names_principal(statement: &Value, who: &Identity, stored_name: &str) -> bool {
    let root = format!("arn:aws:iam::{}:root", who.account);
    let caller = who.caller_arn();
    let in_list = |principal: &Value| match principal {
        Value::String(all) => all == "*",
        other => strings(&other["AWS"]).is_some_and(|all| {
            all.iter().any(|p| {
                *p == "*" || *p == stored_name || *p == who.arn || *p == caller || *p == root
            })
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

/// Keys first that people look for first, the way the console prints them; the rest by name.
fn rank(key: &str) -> usize {
    const ORDER: [&str; 11] = [
        "Version",
        "Id",
        "Statement",
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "Condition",
    ];
    ORDER.iter().position(|k| *k == key).unwrap_or(ORDER.len())
}

/// `"Version" : "2012-10-17"`, two spaces, arrays on one line: the style of the real service.
fn print(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_by_key(|k| (rank(k), *k));
            out.push('{');
            for (n, key) in keys.into_iter().enumerate() {
                out.push_str(if n == 0 { "\n" } else { ",\n" });
                let _ = write!(
                    out,
                    "{:1$}{2} : ",
                    "",
                    (depth + 1) * 2,
                    Value::String(key.clone())
                );
                print(&map[key], depth + 1, out);
            }
            let _ = write!(out, "\n{:1$}}}", "", depth * 2);
        }
        Value::Array(all) => {
            out.push_str("[ ");
            for (n, one) in all.iter().enumerate() {
                if n > 0 {
                    out.push_str(", ");
                }
                print(one, depth, out);
            }
            out.push_str(" ]");
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}
