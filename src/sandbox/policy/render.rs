//! The text that `GetKeyPolicy` returns.

use std::fmt::Write as _;

use serde_json::Value;

use super::Policy;
use crate::sandbox::iam::Iam;

impl Policy {
    /// The text as `GetKeyPolicy` returns it: spaced JSON.
    pub(in crate::sandbox) fn render(&self, iam: &Iam) -> String {
        match self.shown(iam) {
            Value::String(unreadable) => unreadable,
            document => {
                let mut out = String::new();
                print(&document, 0, &mut out);
                out
            }
        }
    }

    /// What is shown of it: unique ids as ARNs while their owners exist, one-element lists as scalars. A policy
    /// that is no JSON comes as a string.
    pub(in crate::sandbox) fn shown(&self, iam: &Iam) -> Value {
        let Ok(mut document) = serde_json::from_str::<Value>(&self.stored) else {
            return Value::String(self.stored.clone());
        };
        let statements = document.get_mut("Statement").and_then(Value::as_array_mut);
        for statement in statements.into_iter().flatten() {
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
                if let Some([one]) = statement.get(name).and_then(Value::as_array).map(Vec::as_slice) {
                    statement[name] = one.clone();
                }
            }
        }
        document
    }
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
                let _ = write!(out, "{:1$}{2} : ", "", (depth + 1) * 2, Value::String(key.clone()));
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
