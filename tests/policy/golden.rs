//! Whole policies, committed and compared. Write them anew with `UPDATE_GOLDEN=1 cargo test --test policy golden`.

use std::path::Path;

use cmk_operator::domain::policy::{
    Condition, Grant, MergeOptions, PolicyDocument, Review, RootRule, Setting, holds, merge, review, template,
};

use super::{CALLER, account, own};

/// What the Astra guide asks for
/// (<https://docs.datastax.com/en/astra-db-classic/administration/customer-keys-aws.html>).
fn astra() -> [Grant; 2] {
    let actions = |names: &[&str]| names.iter().map(|name| format!("kms:{name}")).collect();
    let usage = Grant {
        label: "use".to_owned(),
        actions: actions(&[
            "EnableKey",
            "Encrypt",
            "Decrypt",
            "GenerateDataKey",
            "GenerateDataKeyWithoutPlaintext",
            "ReEncryptTo",
            "ReEncryptFrom",
            "DescribeKey",
        ]),
        conditions: Vec::new(),
    };
    let resources = Grant {
        label: "persistent resources".to_owned(),
        actions: actions(&["CreateGrant", "ListGrants", "RevokeGrant"]),
        conditions: vec![Condition::new("Bool", "kms:GrantIsForAWSResource", ["true"])],
    };
    [usage, resources]
}

/// What Atlas's role in the customer's own account needs
/// (<https://www.mongodb.com/docs/atlas/security/aws-kms-over-public-network/>).
fn atlas() -> [Grant; 1] {
    let actions = ["kms:DescribeKey", "kms:Decrypt", "kms:Encrypt"].map(str::to_owned).to_vec();
    [Grant { label: "use".to_owned(), actions, conditions: Vec::new() }]
}

#[test]
fn astra_classic() {
    check("astra-classic.json", &astra(), &["222222222222", "333333333333"].map(creator));
}

#[test]
fn astra_serverless() {
    check("astra-serverless.json", &astra(), &["444444444444", "555555555555"].map(creator));
}

#[test]
fn atlas_role() {
    check("atlas.json", &atlas(), &["arn:aws:iam::111111111111:role/cmk-operator/prod/team-a/atlas".to_owned()]);
}

fn creator(provider: &str) -> String {
    format!("arn:aws:iam::{provider}:role/creator")
}

fn check(file: &str, grants: &[Grant], principals: &[String]) {
    let (own, account) = (own(), account());
    let mut authored = vec![template::root(&own, &account).unwrap(), template::operator(&own, CALLER, false).unwrap()];
    authored.extend(template::administrators(&own, &["arn:aws:iam::111111111111:role/kms-admins".to_owned()]).unwrap());
    for grant in grants {
        authored.extend(template::grant(&own, grant, principals).unwrap());
    }
    let nothing = PolicyDocument::new(Vec::new());
    let merged = merge(&nothing, &authored, &own, &account, MergeOptions::default());

    let setting = Setting { account: &account, own: &own, caller: Some(CALLER), root: RootRule::Required };
    assert_eq!(review(&merged, &authored, &setting), Review::default());
    for grant in grants {
        let holding = holds(&merged.document, grant, principals, &account);
        assert!(holding.is_held(), "{:?}", holding.explain());
    }

    let text = format!("{}\n", merged.document.render_pretty());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy/golden").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, text, "{file} differs: look why, then write it anew with UPDATE_GOLDEN=1");
}
