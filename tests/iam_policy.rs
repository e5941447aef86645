//! `cmk-operator iam-policy`: what it prints, and that README and docs say the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test should stop at the place")]

use std::collections::BTreeSet;
use std::process::Command;

use cmk_operator::adapters::aws::Operation;
use serde_json::Value;

fn policy(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_cmk-operator"))
        .arg("iam-policy")
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn actions(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().unwrap().iter();
    statements.flat_map(|s| s["Action"].as_array().unwrap()).map(|a| a.as_str().unwrap().to_owned()).collect()
}

fn statement<'p>(policy: &'p Value, sid: &str) -> &'p Value {
    policy["Statement"].as_array().unwrap().iter().find(|s| s["Sid"] == sid).unwrap_or(&Value::Null)
}

/// The actions that a text names in backticks.
fn named(text: &str) -> BTreeSet<String> {
    let action = |word: &&str| ["kms:", "tag:", "sts:", "iam:"].iter().any(|service| word.starts_with(service));
    let whole = |word: &&str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':');
    text.split('`').skip(1).step_by(2).filter(action).filter(whole).map(str::to_owned).collect()
}

const EVERYTHING: [&str; 5] =
    ["--cloud-roles", "--multi-region", "--deletion", "--assume-role", "arn:aws:iam::111111111111:role/keys"];

#[test]
fn every_operation_is_in_it_and_nothing_else() {
    let needless = Operation::GetCallerIdentity.action();
    let all: BTreeSet<String> =
        Operation::ALL.iter().map(|o| o.action().to_owned()).filter(|action| action != needless).collect();
    // These are not called, but needed for what is called.
    let silent = ["iam:CreateServiceLinkedRole", "iam:TagRole"].map(str::to_owned);
    let all: BTreeSet<String> = all.into_iter().chain(silent).collect();
    assert_eq!(actions(&policy(&EVERYTHING)), all);
    let parts =
        ["keys", "deletion", "roles"].map(|part| actions(&policy(&[&EVERYTHING[..], &["--only", part]].concat())));
    assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), all.len(), "no action is in two parts: {parts:?}");
}

#[test]
fn the_readme_names_the_actions_that_keys_need() {
    let readme = include_str!("../README.md");
    let step = readme.lines().find(|line| line.contains("Give the operator AWS credentials")).unwrap();
    assert_eq!(named(step), actions(&policy(&[])));
    let tenancy = include_str!("../docs/tenancy.md");
    assert!(tenancy.contains("cmk-operator iam-policy"), "docs/tenancy.md names the command");
    assert_eq!(named(tenancy), actions(&policy(&[&EVERYTHING[3..], &["--only", "roles"]].concat())));
    let deletion = include_str!("../docs/deletion.md");
    assert!(named(deletion).is_superset(&actions(&policy(&["--only", "deletion"]))));
}

#[test]
fn narrowed_policies_are_as_they_are_committed() {
    let narrow =
        ["--account", "111111111111", "--region", "us-east-1", "--region", "cn-north-1", "--installation", "prod"];
    let mut wrong = Vec::new();
    for (name, arguments) in [
        ("keys", vec![]),
        ("multi-region", vec!["--multi-region", "--only", "keys"]),
        ("account", vec!["--account", "111111111111"]),
        (
            "cloud-roles",
            [
                &narrow[..],
                &["--cloud-roles", "--deletion", "--only", "keys"],
                &["--role-permissions-boundary", "arn:aws:iam::111111111111:policy/boundary"],
            ]
            .concat(),
        ),
        ("narrowed", narrow.to_vec()),
        ("everything", [&narrow[..], &EVERYTHING[..]].concat()),
        ("deletion-role", [&narrow[..], &["--only", "deletion"]].concat()),
        (
            "roles",
            vec![
                "--only",
                "roles",
                "--assume-role",
                "arn:aws:iam::*:role/cmk",
                "--deletion-role-arn",
                "arn:aws:iam::*:role/end",
            ],
        ),
        (
            "deletion-role-of-each-account",
            vec!["--only", "roles", "--deletion-role-arn", "arn:aws:iam::{account}:role/end"],
        ),
        (
            "deletion-role-of-one-account",
            [&narrow[..], &["--only", "roles", "--deletion-role-arn", "arn:aws:iam::{account}:role/end"]].concat(),
        ),
    ] {
        let path = format!("{}/tests/iam_policy/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let golden: Value =
            std::fs::read_to_string(&path).ok().and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default();
        let actual = policy(&arguments);
        if actual != golden {
            wrong.push(format!("{path}:\n{actual:#}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_conditions_are_those_that_the_operator_can_live_with() {
    let policy = policy(&[&EVERYTHING[..], &["--installation", "prod"]].concat());
    // Looking must not hang on tags: the search reads those of every key, and a key without ours has to be seen as such.
    for sid in ["SearchKeys", "LookAtKeys"] {
        assert!(statement(&policy, sid)["Condition"].is_null(), "{sid}");
    }
    // No tag is on a key yet while it is made, so the three actions that AWS checks then go by the tags of the request.
    let create = statement(&policy, "CreateKeys");
    assert_eq!(create["Action"], serde_json::json!(["kms:CreateKey", "kms:PutKeyPolicy", "kms:TagResource"]));
    assert_eq!(create["Condition"]["StringEquals"]["aws:RequestTag/cmk-operator.io/installation"], "prod");
    assert_eq!(create["Resource"], serde_json::json!(["*"]));
    // The operator tries roles without an External ID, to see that they are closed: it has to be the role that says no.
    assert!(statement(&policy, "AssumeRoles")["Condition"].is_null());
    assert!(!policy.to_string().contains("ExternalId"));
    // An adopted key is never deleted, rotated, described anew or claimed by an alias.
    let adopted = statement(&policy, "KeepAdoptedKeys");
    assert_eq!(adopted["Action"], serde_json::json!(["kms:PutKeyPolicy", "kms:TagResource"]));
    assert_eq!(adopted["Condition"]["StringLike"]["aws:ResourceTag/cmk-operator.io/adopt-by"], "prod/*");
    let doomed = statement(&policy, "DeleteOwnKeys");
    assert_eq!(doomed["Condition"]["StringEquals"]["aws:ResourceTag/cmk-operator.io/installation"], "prod");
}

#[test]
fn roles_that_nobody_named_are_not_assumed() {
    let output = Command::new(env!("CARGO_BIN_EXE_cmk-operator"))
        .args(["iam-policy", "--only", "roles"])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--assume-role"));
}
