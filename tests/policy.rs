//! The key policy engine: tables of cases, golden policies, and properties of generated policies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test should stop at the place")]

#[path = "policy/golden.rs"]
mod golden;
#[path = "policy/properties.rs"]
mod properties;
#[path = "policy/table.rs"]
mod table;

use cmk_operator::domain::policy::{
    Authored, KeyAccount, MergeOptions, Ownership, PolicyDocument, Problem, RootRule, Setting, is_ours, merge, review,
    template,
};

/// The installation, namespace, name, account and region of the key in every test.
const IDENTITY: &str = "prod/team-a/orders/111111111111/us-east-1";
const CALLER: &str = "arn:aws:iam::111111111111:role/cmk-operator";

fn account() -> KeyAccount {
    KeyAccount::new("aws", "111111111111")
}

fn own() -> Ownership {
    Ownership::of(IDENTITY)
}

#[test]
fn the_hash_of_an_identity_never_changes() {
    // Another hash would make every statement ever written foreign.
    assert_eq!(own().hash(), "cd0a69b2");
}

#[test]
fn the_operator_never_gives_itself_use_or_deletion() {
    let operator = template::operator(&own(), CALLER, true).unwrap();
    for action in [
        "kms:Decrypt",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:CreateGrant",
        "kms:ScheduleKeyDeletion",
        "kms:DisableKey",
    ] {
        assert!(!operator.statement.actions.selects_some(action), "{action}");
    }
    assert!(operator.statement.actions.selects_all("kms:PutKeyPolicy"));
    assert!(operator.statement.actions.selects_all("kms:ReplicateKey"));
}

#[test]
fn administrators_administer_but_do_not_delete() {
    let administrators = template::administrators(&own(), &[CALLER.to_owned()]).unwrap().unwrap();
    for action in ["kms:ScheduleKeyDeletion", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"] {
        assert!(!administrators.statement.actions.selects_some(action), "{action}");
    }
    for action in ["kms:PutKeyPolicy", "kms:CancelKeyDeletion", "kms:DisableKey", "kms:RotateKeyOnDemand"] {
        assert!(administrators.statement.actions.selects_all(action), "{action}");
    }
}

fn refusals(authored: &[Authored], read: &PolicyDocument, account: &KeyAccount, root: RootRule) -> Vec<Problem> {
    let own = own();
    let merged = merge(read, authored, &own, account, MergeOptions::default());
    review(&merged, authored, &Setting { account, own: &own, caller: Some(CALLER), root }).refusals
}

#[test]
fn a_policy_without_the_root_statement_is_refused_where_it_is_required() {
    let (account, operator) = (account(), template::operator(&own(), CALLER, false).unwrap());
    let authored = [operator];
    let nothing = PolicyDocument::new(Vec::new());
    let missing = vec![Problem::RootMissing("arn:aws:iam::111111111111:root".to_owned())];
    assert_eq!(refusals(&authored, &nothing, &account, RootRule::Required), missing);
    assert_eq!(refusals(&authored, &nothing, &account, RootRule::AsFound), vec![]);

    // Half a root statement is none; somebody else's whole one is.
    let with = |statement: &str| PolicyDocument::parse(&format!("{{\"Statement\":[{statement}]}}")).unwrap();
    let whole = r#"{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"kms:*","Resource":"*"}"#;
    let half = [
        whole.replace("kms:*", "kms:P*"),
        whole.replace("111111111111", "222222222222"),
        whole.replace("Allow", "Deny").replace("kms:*", "kms:Encrypt"),
        whole.replace('}', "").replace("\"111111111111\"", "\"111111111111\"}")
            + r#","Condition":{"Bool":{"x":"true"}}}"#,
        whole.replace(r#""Resource":"*""#, r#""Resource":"arn:aws:kms:us-east-1:111111111111:key/k""#),
    ];
    for statement in half {
        assert_eq!(refusals(&authored, &with(&statement), &account, RootRule::Required), missing, "{statement}");
    }
    assert_eq!(refusals(&authored, &with(whole), &account, RootRule::Required), vec![]);
}

#[test]
fn the_root_statement_is_that_of_the_keys_partition() {
    let china = KeyAccount::new("aws-cn", "111111111111");
    let root = template::root(&own(), &china).unwrap();
    assert!(root.statement.to_json().to_compact().contains(r#""AWS":"arn:aws-cn:iam::111111111111:root""#));
    // An ARN of the common partition says nothing in this one.
    let common = [template::root(&own(), &account()).unwrap()];
    let codes: Vec<_> = refusals(&common, &PolicyDocument::new(Vec::new()), &china, RootRule::Required)
        .iter()
        .map(Problem::code)
        .collect();
    assert_eq!(codes, ["PrincipalInvalid", "RootStatementMissing", "PolicyLockout"]);
}

#[test]
fn only_the_exact_mark_makes_a_statement_ours() {
    assert!(is_ours("cmk cd0a69b2 use", "cd0a69b2"));
    for sid in [
        "cmk cd0a69b2",
        "cmk cd0a69b2 ",
        "cmk cd0a69b2use",
        "cmk cd0a69b3 use",
        "CMK cd0a69b2 use",
        " cmk cd0a69b2 use",
        "cmk cd0a69b2  use",
        "cmk cd0a69b2 use-it",
        "cmk CD0A69B2 use",
        "Enable IAM User Permissions",
    ] {
        assert!(!is_ours(sid, "cd0a69b2"), "{sid:?}");
    }
}

#[test]
fn labels_of_users_never_meet_those_of_others() {
    use cmk_operator::domain::policy::{Grant, Label};
    for label in
        ["operator", "administrators", "Enable IAM User Permissions", "user x", "doc x 1", "a-b", "", " a", "é"]
    {
        let grant = Grant { label: label.to_owned(), actions: vec![], conditions: vec![] };
        assert!(template::grant(&own(), &grant, &[CALLER.to_owned()]).is_err(), "{label:?}");
    }
    for name in ["", "-a", "a-", "A", "a b", "a.b"] {
        assert!(Label::of_name("user", name).is_err(), "{name:?}");
    }
    let labels = ["a", "a-b", "a--b", "ab"].map(|name| Label::of_name("user", name).unwrap().as_str().to_owned());
    assert_eq!(labels, ["user a", "user a b", "user a  b", "user ab"]);
}
