//! Key policies: what is accepted, how it comes back, who is locked out.

use cmk_operator::sandbox::kms::CreateKey;
use cmk_operator::sandbox::{ACCOUNT, Command, Identity, World};
use serde_json::{Value, json};

use super::{REGION, code, new_key, world};

const BAD: &str = "MalformedPolicyDocumentException";

fn root() -> Value {
    json!({"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}, "Action": "kms:*", "Resource": "*"})
}

fn with(statement: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [root(), statement]}).to_string()
}

fn allow(principal: &Value) -> Value {
    json!({"Effect": "Allow", "Principal": principal, "Action": "kms:DescribeKey", "Resource": "*"})
}

fn put(world: &mut World, key: &str, text: &str) -> String {
    code(world.kms(ACCOUNT, REGION).put_key_policy(key, Some("default"), text, false))
}

#[test]
fn validation() {
    let fields = |edit: fn(&mut Value)| {
        let mut statement = allow(&json!({"AWS": ACCOUNT}));
        edit(&mut statement);
        with(&statement)
    };
    let size = |n: usize| {
        let empty = with(
            &json!({"Sid": "", "Effect": "Allow", "Principal": "*", "Action": "kms:DescribeKey", "Resource": "*"}),
        );
        let sid = "x".repeat(n - empty.len());
        with(&json!({"Sid": sid, "Effect": "Allow", "Principal": "*", "Action": "kms:DescribeKey", "Resource": "*"}))
    };
    let table: Vec<(&str, String, &str)> = vec![
        ("as it should be", with(&allow(&json!({"AWS": ACCOUNT}))), "ok"),
        ("one statement without array", json!({"Version": "2012-10-17", "Statement": root()}).to_string(), "ok"),
        ("no version", json!({"Statement": [root()]}).to_string(), "ok"),
        ("unknown version", json!({"Version": "2020-01-01", "Statement": [root()]}).to_string(), BAD),
        ("not JSON", "{".into(), BAD),
        ("not an object", "[]".into(), BAD),
        ("empty", String::new(), "ValidationException"),
        ("no statement", json!({"Version": "2012-10-17", "Statement": []}).to_string(), BAD),
        ("unknown element", json!({"Version": "2012-10-17", "Foo": 1, "Statement": [root()]}).to_string(), BAD),
        ("no effect", fields(|s| drop(s.as_object_mut().unwrap().remove("Effect"))), BAD),
        ("odd effect", fields(|s| s["Effect"] = json!("Maybe")), BAD),
        ("no action", fields(|s| drop(s.as_object_mut().unwrap().remove("Action"))), BAD),
        ("action without service", fields(|s| s["Action"] = json!("DescribeKey")), BAD),
        ("no resource", fields(|s| drop(s.as_object_mut().unwrap().remove("Resource"))), BAD),
        ("a resource", fields(|s| s["Resource"] = json!("arn:aws:kms:us-east-1:111111111111:key/x")), BAD),
        ("no principal", fields(|s| drop(s.as_object_mut().unwrap().remove("Principal"))), BAD),
        ("empty principal", fields(|s| s["Principal"] = json!({})), BAD),
        ("anybody", with(&allow(&json!("*"))), "ok"),
        ("a service", with(&allow(&json!({"Service": "logs.amazonaws.com"}))), "ok"),
        ("our user", with(&allow(&json!({"AWS": "arn:aws:iam::111111111111:user/sandbox"}))), "ok"),
        ("no such role of ours", with(&allow(&json!({"AWS": "arn:aws:iam::111111111111:role/none"}))), BAD),
        ("a vendor's role", with(&allow(&json!({"AWS": "arn:aws:iam::900000000000:role/creator"}))), "ok"),
        ("a wildcard in a role", with(&allow(&json!({"AWS": "arn:aws:iam::900000000000:role/*"}))), BAD),
        ("a unique id", with(&allow(&json!({"AWS": "AROAABCDEFGHIJKLMNOPQ"}))), BAD),
        (
            "beyond latin-1",
            with(&json!({"Sid": "\u{100}", "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"})),
            "ValidationException",
        ),
        ("the longest", size(32_768), "ok"),
        ("one byte more", size(32_769), "LimitExceededException"),
    ];
    for (name, text, want) in table {
        let mut world = world();
        let key = new_key(&mut world);
        assert_eq!(put(&mut world, &key, &text), want, "{name}");
        let input = CreateKey { policy: Some(text), ..CreateKey::default() };
        assert_eq!(code(world.kms(ACCOUNT, REGION).create_key(&input)), want, "CreateKey: {name}");
    }
    let mut world = world();
    let key = new_key(&mut world);
    let text = json!({"Statement": [root()]}).to_string();
    assert_eq!(
        code(world.kms(ACCOUNT, REGION).put_key_policy(&key, Some("AWS_RAM"), &text, false)),
        "ValidationException"
    );
}

#[test]
fn lockout() {
    let me = Identity::of_account(ACCOUNT).arn;
    let only = |principal: Value, action: &str| {
        json!({"Statement": [{"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"}]})
            .to_string()
    };
    let denied = json!({"Statement": [root(), {"Effect": "Deny", "Principal": {"AWS": me}, "Action": "kms:Put*", "Resource": "*"}]});
    let conditional = json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": me}, "Action": "kms:*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "x"}}}]});
    for (text, want) in [
        (only(json!({"AWS": ACCOUNT}), "kms:*"), "ok"),
        // It protects the caller, not the root of the account.
        (only(json!({"AWS": me}), "kms:PutKeyPolicy"), "ok"),
        (only(json!({"AWS": me}), "kms:Describe*"), BAD),
        (only(json!({"AWS": "arn:aws:iam::900000000000:root"}), "kms:*"), BAD),
        (denied.to_string(), BAD),
        (conditional.to_string(), BAD),
    ] {
        let mut world = world();
        let key = new_key(&mut world);
        assert_eq!(put(&mut world, &key, &text), want, "{text}");
        assert_eq!(code(world.kms(ACCOUNT, REGION).put_key_policy(&key, None, &text, true)), "ok", "bypass {text}");
        if want != "ok" {
            assert_eq!(
                put(&mut world, &key, &with(&allow(&json!("*")))),
                "AccessDeniedException",
                "locked out by {text}"
            );
        }
    }
}

#[test]
fn what_comes_back_is_reformatted_but_means_the_same() {
    let mut world = world();
    let key = new_key(&mut world);
    let text = with(
        &json!({"Sid": "cmk 1", "Effect": "Allow", "Principal": {"AWS": [ACCOUNT]}, "Action": ["kms:DescribeKey"], "Resource": ["*"]}),
    );
    assert_eq!(put(&mut world, &key, &text), "ok");
    let back = world.kms(ACCOUNT, REGION).get_key_policy(&key, None).unwrap();
    assert!(back.starts_with("{\n  \"Version\" : \"2012-10-17\",\n  \"Statement\" : [ {\n"), "{back}");
    let back: Value = serde_json::from_str(&back).unwrap();
    let statement = &back["Statement"][1];
    assert_eq!(statement["Principal"]["AWS"], format!("arn:aws:iam::{ACCOUNT}:root"));
    assert_eq!((&statement["Action"], &statement["Resource"]), (&json!("kms:DescribeKey"), &json!("*")));
    assert_eq!(code(world.kms(ACCOUNT, REGION).get_key_policy(&key, Some("other"))), "NotFoundException");
}

#[test]
fn a_deleted_role_leaves_its_unique_id_behind() {
    let role = "arn:aws:iam::111111111111:role/app";
    let mut world = world();
    let key = new_key(&mut world);
    let id = world.create_principal(role, None).unwrap();
    assert!(id.starts_with("AROA"));
    let text = with(&allow(&json!({"AWS": role})));
    assert_eq!(put(&mut world, &key, &text), "ok");
    let shown = |world: &mut World| {
        let text = world.kms(ACCOUNT, REGION).get_key_policy(&key, None).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["Statement"][1]["Principal"]["AWS"].clone()
    };
    assert_eq!(shown(&mut world), role);
    world.command(Command::DeletePrincipal { arn: role.into() }).unwrap();
    assert_eq!(shown(&mut world), id.as_str());
    // Putting back what was read is refused.
    let read = world.kms(ACCOUNT, REGION).get_key_policy(&key, None).unwrap();
    assert_eq!(put(&mut world, &key, &read), "MalformedPolicyDocumentException");
    // A namesake is somebody else.
    world.command(Command::CreatePrincipal { arn: role.into(), trust: None }).unwrap();
    assert_eq!(shown(&mut world), id.as_str());
    assert_eq!(put(&mut world, &key, &text), "ok");
    assert_eq!(shown(&mut world), role);
}

#[test]
fn principals_of_other_accounts_can_be_missing() {
    let vendor = "arn:aws:iam::900000000000:role/creator";
    let mut world = world();
    let key = new_key(&mut world);
    let text = with(&allow(&json!({"AWS": vendor})));
    world.command(Command::SetExternalPrincipal { arn: vendor.into(), exists: false }).unwrap();
    assert_eq!(put(&mut world, &key, &text), "MalformedPolicyDocumentException");
    world.command(Command::SetExternalPrincipal { arn: vendor.into(), exists: true }).unwrap();
    assert_eq!(put(&mut world, &key, &text), "ok");
}

#[test]
fn another_account_sees_a_key_only_if_its_policy_says_so() {
    let mut world = world();
    let key = new_key(&mut world);
    assert_eq!(code(world.kms("222222222222", REGION).describe_key(&key)), "AccessDeniedException");
    let text = with(&allow(&json!({"AWS": "222222222222"})));
    assert_eq!(put(&mut world, &key, &text), "ok");
    assert_eq!(code(world.kms("222222222222", REGION).describe_key(&key)), "ok");
    assert_eq!(code(world.kms("222222222222", REGION).get_key_policy(&key, None)), "AccessDeniedException");
}
