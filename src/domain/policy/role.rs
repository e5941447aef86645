//! The policies of the IAM role as which a cloud uses a key.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::id::KeyArn;
use super::super::role_link::RoleLink;
use super::super::source::Source;

/// The trust policy that lets the cloud, and nobody else by this statement, assume the role
/// (<https://www.mongodb.com/docs/atlas/security/set-up-unified-aws-access/>).
pub fn trust_policy(link: &RoleLink) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "AWS": link.trusted },
            "Action": "sts:AssumeRole",
            "Condition": { "StringEquals": { "sts:ExternalId": link.external_id } },
        }],
    })
    .to_string()
}

/// The permissions that the role needs on these keys; from these addresses alone, where some are given.
pub fn permissions(actions: &[String], keys: &[KeyArn], sources: Option<&BTreeSet<Source>>) -> String {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let mut statement = json!({ "Effect": "Allow", "Action": actions, "Resource": keys });
    if let Some(sources) = sources {
        let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
        statement["Condition"] = json!({ "IpAddress": { "aws:SourceIp": sources } });
    }
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// Whether two policies say the same in the same words, but for order and for lists of one.
pub fn same(one: &str, other: &str) -> bool {
    let meaning = |text: &str| serde_json::from_str::<Value>(text).ok().map(|value| normal(&value));
    one == other || meaning(one).is_some_and(|one| meaning(other) == Some(one))
}

fn normal(value: &Value) -> Value {
    match value {
        Value::Array(all) => {
            let mut all: Vec<Value> = all.iter().map(normal).collect();
            all.sort_by_cached_key(Value::to_string);
            Value::Array(all)
        }
        Value::Object(fields) => {
            let listed = |value: &Value| match normal(value) {
                list @ Value::Array(_) => list,
                one => Value::Array(vec![one]),
            };
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), listed(value))).collect())
        }
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_trusts_the_clouds_account_with_the_external_id_alone() {
        let link = RoleLink {
            id: "a".to_owned(),
            trusted: "arn:aws:iam::900000009900:root".to_owned(),
            external_id: "e-1".to_owned(),
            role_arn: None,
            authorized: false,
            created_at: None,
        };
        let policy: Value = serde_json::from_str(&trust_policy(&link)).unwrap();
        let statement = &policy["Statement"][0];
        assert_eq!(statement["Principal"]["AWS"], "arn:aws:iam::900000009900:root");
        assert_eq!(statement["Condition"]["StringEquals"]["sts:ExternalId"], "e-1");
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_permissions_name_the_keys_and_no_other() {
        let key: KeyArn = "arn:aws:kms:us-east-1:111111111111:key/0a".parse().unwrap();
        let policy: Value =
            serde_json::from_str(&permissions(&["kms:Decrypt".to_owned()], std::slice::from_ref(&key), None)).unwrap();
        assert_eq!(policy["Statement"][0]["Resource"][0], "arn:aws:kms:us-east-1:111111111111:key/0a");
        assert_eq!(policy["Statement"][0]["Action"][0], "kms:Decrypt");
        assert_eq!(policy["Statement"][0]["Condition"], Value::Null);
        let sources = BTreeSet::from(["192.0.2.1".parse().unwrap()]);
        let restricted: Value = serde_json::from_str(&permissions(&[], &[key], Some(&sources))).unwrap();
        let from = json!({ "IpAddress": { "aws:SourceIp": ["192.0.2.1/32"] } });
        assert_eq!(restricted["Statement"][0]["Condition"], from);
    }

    #[test]
    fn order_and_lists_of_one_make_no_difference_and_everything_else_does() {
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["a","b"],"Resource":["r"]}]}"#;
        let again = r#"{"Statement":{"Resource":"r","Action":["b","a"],"Effect":"Allow"},"Version":"2012-10-17"}"#;
        assert!(same(policy, again));
        assert!(!same(policy, &again.replace("\"a\"", "\"c\"")));
        assert!(!same(policy, &again.replace("Allow", "Deny")));
        assert!(!same(policy, "not a policy"));
        let more = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["a","b"],"Resource":["r"]},{"Effect":"Allow","Action":"a","Resource":"*"}]}"#;
        assert!(!same(policy, more));
    }
}
