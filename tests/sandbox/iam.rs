//! Roles through the API of IAM: shapes of errors, what a namesake is, what a role may do, and how that spreads.

use cmk_operator::sandbox::kms::CreateKey;
use cmk_operator::sandbox::{
    ACCOUNT, AssumeRole, Command, CreateRole, Decision, Failure, Fault, Identity, Rule, Settings, World,
};
use serde_json::{Value, json};

use super::{REGION, START, code, new_key, world};

const NAME: &str = "cmk-team-db";
const PATH: &str = "/cmk-operator/prod/team/";
const ARN: &str = "arn:aws:iam::111111111111:role/cmk-operator/prod/team/cmk-team-db";
const VENDOR: &str = "900000009900";

fn trust(external_id: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{VENDOR}:root")}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}}
    }]})
    .to_string()
}

fn role() -> CreateRole {
    CreateRole {
        role_name: NAME.into(),
        path: Some(PATH.into()),
        assume_role_policy_document: trust("word"),
        tags: vec![("owner".into(), "team".into())],
        ..CreateRole::default()
    }
}

fn use_of(key: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["kms:DescribeKey", "kms:GetKeyPolicy"], "Resource": key}
    ]})
    .to_string()
}

#[test]
fn a_simulation_tells_a_denial_silence_and_a_boundary_apart() {
    let mut world = world();
    let boundary = Some("arn:aws:iam::aws:policy/PowerUserAccess".to_owned());
    let made = world.iam(ACCOUNT).create_role(&CreateRole { permissions_boundary: boundary, ..role() }).unwrap();
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:Encrypt", "iam:GetRole"], "Resource": "*"},
        {"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "arn:aws:kms:*:*:key/shut"}
    ]});
    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &policy.to_string()).unwrap();
    let (open, shut) = ("arn:aws:kms:us-east-1:111111111111:key/open", "arn:aws:kms:us-east-1:111111111111:key/shut");
    let mut decide = |arn: &str, action: &str, key: &str| {
        let all = world.iam(ACCOUNT).simulate_principal_policy(arn, &[action.to_owned()], &[key.to_owned()])?;
        Ok::<_, Failure>((all[0].decision, all[0].within_boundary))
    };
    for (action, key, decision, within) in [
        ("kms:Decrypt", open, Decision::Allowed, true),
        ("kms:Encrypt", open, Decision::Allowed, true),
        ("kms:Encrypt", shut, Decision::DeniedExplicitly, true),
        ("kms:DescribeKey", open, Decision::DeniedImplicitly, true),
        ("iam:GetRole", open, Decision::DeniedImplicitly, false),
    ] {
        assert_eq!(decide(&made.arn, action, key).unwrap(), (decision, Some(within)), "{action} on {key}");
    }
    assert_eq!(code(decide(&made.arn, "kms:*", open)), "InvalidInput", "no wildcards");
    assert_eq!(code(decide("arn:aws:iam::111111111111:role/cmk-team-db", "kms:Decrypt", open)), "NoSuchEntity");
}

/// Becomes the role as the vendor does.
fn assume(world: &mut World, arn: &str, external_id: &str) -> Result<Identity, Failure> {
    let vendor = Identity { account: VENDOR.into(), arn: format!("arn:aws:iam::{VENDOR}:root"), session: None };
    let request = AssumeRole {
        role_arn: arn.into(),
        role_session_name: "vendor".into(),
        external_id: Some(external_id.into()),
        duration_seconds: None,
    };
    // The vendor's account is taken at its word.
    world.sts(&vendor, REGION).assume_role(&request).map(|c| c.identity)
}

#[test]
fn the_life_of_a_role() {
    let mut world = world();
    let made = world.iam(ACCOUNT).create_role(&role()).unwrap();
    assert_eq!((made.arn.as_str(), made.path.as_str(), made.role_name.as_str()), (ARN, PATH, NAME));
    assert!(made.role_id.starts_with("AROA") && made.role_id.len() == 21, "{}", made.role_id);
    assert_eq!(world.iam(ACCOUNT).get_role(NAME).unwrap(), made);
    let shown: Value = serde_json::from_str(&made.assume_role_policy_document).unwrap();
    assert_eq!(shown["Statement"][0]["Principal"]["AWS"], format!("arn:aws:iam::{VENDOR}:root"));
    assert_eq!(world.iam(ACCOUNT).list_role_tags(NAME, None, None).unwrap().tags, role().tags);
    world.iam(ACCOUNT).tag_role(NAME, &[("owner".into(), "b".into()), ("more".into(), String::new())]).unwrap();
    let page = world.iam(ACCOUNT).list_role_tags(NAME, Some(1), None).unwrap();
    assert_eq!((page.tags.len(), page.marker.as_deref()), (1, Some("more")));
    assert_eq!(world.iam(ACCOUNT).list_role_tags(NAME, None, page.marker.as_deref()).unwrap().tags[0].1, "b");

    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &use_of("*")).unwrap();
    assert_eq!(world.iam(ACCOUNT).get_role_policy(NAME, "keys").unwrap(), use_of("*"));
    assert_eq!(world.iam(ACCOUNT).list_role_policies(NAME, None, None).unwrap().names, ["keys"]);
    assert_eq!(code(world.iam(ACCOUNT).delete_role(NAME)), "DeleteConflict");
    world.iam(ACCOUNT).delete_role_policy(NAME, "keys").unwrap();
    world.iam(ACCOUNT).delete_role(NAME).unwrap();
    assert_eq!(code(world.iam(ACCOUNT).get_role(NAME)), "NoSuchEntity");

    let again = world.iam(ACCOUNT).create_role(&role()).unwrap();
    assert_eq!(again.arn, made.arn);
    assert_ne!(again.role_id, made.role_id, "a namesake is somebody else");
}

#[test]
fn refusals() {
    let bad = |edit: fn(&mut CreateRole)| {
        let mut input = role();
        edit(&mut input);
        input
    };
    let trusting = |statement: Value| CreateRole {
        assume_role_policy_document: json!({"Version": "2012-10-17", "Statement": [statement]}).to_string(),
        ..role()
    };
    let allow = |principal: Value| json!({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"});
    let mut with_resource = allow(json!("*"));
    with_resource["Resource"] = json!("*");
    let mut other_action = allow(json!("*"));
    other_action["Action"] = json!("kms:Decrypt");
    for (name, input, want) in [
        ("as it should be", role(), "ok"),
        ("the root path", bad(|r| r.path = None), "ok"),
        ("no name", bad(|r| r.role_name.clear()), "ValidationError"),
        ("a long name", bad(|r| r.role_name = "x".repeat(65)), "ValidationError"),
        ("a slash in the name", bad(|r| r.role_name = "a/b".into()), "ValidationError"),
        ("a path with no end", bad(|r| r.path = Some("/a".into())), "ValidationError"),
        ("no document", bad(|r| r.assume_role_policy_document = "{".into()), "MalformedPolicyDocument"),
        ("trust with a resource", trusting(with_resource), "MalformedPolicyDocument"),
        ("trust for another action", trusting(other_action), "MalformedPolicyDocument"),
        (
            "trust for nobody",
            trusting(json!({"Effect": "Allow", "Action": "sts:AssumeRole"})),
            "MalformedPolicyDocument",
        ),
        ("trust for a role that is not there", trusting(allow(json!({"AWS": ARN}))), "MalformedPolicyDocument"),
        (
            "too much trust",
            trusting(allow(json!({"AWS": vec![format!("arn:aws:iam::{VENDOR}:root"); 60]}))),
            "LimitExceeded",
        ),
        (
            "an unknown boundary",
            bad(|r| r.permissions_boundary = Some("arn:aws:iam::111111111111:policy/b".into())),
            "NoSuchEntity",
        ),
        (
            "a boundary of AWS",
            bad(|r| r.permissions_boundary = Some("arn:aws:iam::aws:policy/AdministratorAccess".into())),
            "ok",
        ),
        ("a reserved tag", bad(|r| r.tags = vec![("aws:x".into(), String::new())]), "InvalidInput"),
        ("a short session", bad(|r| r.max_session_duration = Some(900)), "ValidationError"),
    ] {
        assert_eq!(code(world().iam(ACCOUNT).create_role(&input)), want, "{name}");
    }
    let mut world = world();
    world.iam(ACCOUNT).create_role(&role()).unwrap();
    let mut namesake = bad(|r| r.path = None);
    namesake.role_name = NAME.to_uppercase();
    assert_eq!(code(world.iam(ACCOUNT).create_role(&namesake)), "EntityAlreadyExists");
    let mut iam = world.iam(ACCOUNT);
    assert_eq!(code(iam.get_role_policy(NAME, "none")), "NoSuchEntity");
    assert_eq!(code(iam.delete_role_policy(NAME, "none")), "NoSuchEntity");
    assert_eq!(code(iam.put_role_policy("none", "p", &use_of("*"))), "NoSuchEntity");
    assert_eq!(code(iam.put_role_policy(NAME, "p", "[]")), "MalformedPolicyDocument");
    let principal =
        json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}).to_string();
    assert_eq!(code(iam.put_role_policy(NAME, "p", &principal)), "MalformedPolicyDocument");
    let nowhere = json!({"Statement": [{"Effect": "Allow", "Action": "kms:*"}]}).to_string();
    assert_eq!(code(iam.put_role_policy(NAME, "p", &nowhere)), "MalformedPolicyDocument");
    let unknown =
        json!({"Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": {"Sounds": {}}}]});
    assert_eq!(code(iam.put_role_policy(NAME, "p", &unknown.to_string())), "MalformedPolicyDocument");
    let long = use_of(&format!("arn:aws:kms:{}:1:key/a", "x".repeat(11_000)));
    assert_eq!(code(iam.put_role_policy(NAME, "p", &long)), "LimitExceeded");
    assert!(iam.list_role_policies(NAME, None, None).unwrap().names.is_empty());
    assert_eq!(code(iam.update_assume_role_policy(NAME, "{}")), "MalformedPolicyDocument");
}

#[test]
fn a_key_policy_keeps_the_unique_id_of_a_role_that_was_deleted() {
    let mut world = world();
    let key = new_key(&mut world);
    let made = world.iam(ACCOUNT).create_role(&role()).unwrap();
    let text = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": ARN}, "Action": "kms:DescribeKey", "Resource": "*"}
    ]})
    .to_string();
    world.kms(ACCOUNT, REGION).put_key_policy(&key, None, &text, false).unwrap();
    let shown = |world: &mut World| {
        let text = world.kms(ACCOUNT, REGION).get_key_policy(&key, None).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["Statement"][1]["Principal"]["AWS"].clone()
    };
    assert_eq!(shown(&mut world), ARN);
    let session = assume(&mut world, ARN, "word").unwrap();
    assert_eq!(code(world.kms_as(&session, REGION).describe_key(&key)), "ok");
    world.iam(ACCOUNT).delete_role(NAME).unwrap();
    assert_eq!(shown(&mut world), made.role_id.as_str());
    world.iam(ACCOUNT).create_role(&role()).unwrap();
    assert_eq!(shown(&mut world), made.role_id.as_str());
    let session = assume(&mut world, ARN, "word").unwrap();
    assert_eq!(code(world.kms_as(&session, REGION).describe_key(&key)), "AccessDeniedException");
    // Put again, it is the new one.
    world.kms(ACCOUNT, REGION).put_key_policy(&key, None, &text, false).unwrap();
    assert_eq!(code(world.kms_as(&session, REGION).describe_key(&key)), "ok");
}

#[test]
fn a_trust_policy_keeps_the_unique_id_of_whom_it_named() {
    let mut world = world();
    let friend =
        world.iam(ACCOUNT).create_role(&CreateRole { role_name: "friend".into(), path: None, ..role() }).unwrap();
    let trusting =
        json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": friend.arn}, "Action": "sts:AssumeRole"}]});
    world.iam(ACCOUNT).create_role(&role()).unwrap();
    world.iam(ACCOUNT).update_assume_role_policy(NAME, &trusting.to_string()).unwrap();
    world.iam(ACCOUNT).delete_role("friend").unwrap();
    let shown: Value =
        serde_json::from_str(&world.iam(ACCOUNT).get_role(NAME).unwrap().assume_role_policy_document).unwrap();
    assert_eq!(shown["Statement"][0]["Principal"]["AWS"], friend.role_id.as_str());
}

#[test]
fn a_role_may_do_what_its_policies_say() {
    let mut world = world();
    let key = new_key(&mut world);
    let other = new_key(&mut world);
    world.iam(ACCOUNT).create_role(&role()).unwrap();
    assert_eq!(code(assume(&mut world, ARN, "another-word")), "AccessDenied");
    let me = assume(&mut world, ARN, "word").unwrap();
    assert_eq!(code(world.kms_as(&me, REGION).describe_key(&key)), "AccessDeniedException");
    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &use_of(&key)).unwrap();
    assert_eq!(code(world.kms_as(&me, REGION).describe_key(&key)), "ok");
    assert_eq!(code(world.kms_as(&me, REGION).describe_key(&other)), "AccessDeniedException");
    for denied in [
        code(world.kms_as(&me, REGION).disable_key(&key)),
        code(world.kms_as(&me, REGION).list_keys(None, None)),
        code(world.kms_as(&me, REGION).create_key(&CreateKey::default())),
        code(world.kms_as(&me, REGION).create_alias("alias/a", &key)),
    ] {
        assert_eq!(denied, "AccessDeniedException");
    }
    assert_eq!(code(world.iam_as(&me).get_role(NAME)), "AccessDenied");

    // Another account sees it only if both sides agree.
    let foreign = Identity::of_account("222222222222");
    assert_eq!(code(world.kms_as(&foreign, REGION).describe_key(&key)), "AccessDeniedException");

    // Nothing is left once the trust names somebody else.
    world.iam(ACCOUNT).update_assume_role_policy(NAME, &trust("new-word")).unwrap();
    assert_eq!(code(assume(&mut world, ARN, "word")), "AccessDenied");
    assert_eq!(code(assume(&mut world, ARN, "new-word")), "ok");
}

#[test]
fn a_boundary_is_part_of_the_request_and_of_the_role() {
    let mut world = world();
    let key = new_key(&mut world);
    let boundary = "arn:aws:iam::111111111111:policy/cmk-boundary";
    let document = json!({"Statement": [{"Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "*"}]});
    world.command(Command::PutManagedPolicy { arn: boundary.into(), document }).unwrap();
    // An operator that may make roles with this boundary only, and only under its path.
    let operator = "arn:aws:iam::111111111111:role/operator";
    world.create_principal(operator, None).unwrap();
    let policies = json!({"make": {"Statement": [
        {"Effect": "Allow", "Action": ["iam:CreateRole", "iam:TagRole"], "Resource": "arn:aws:iam::111111111111:role/cmk-operator/*",
         "Condition": {"StringEquals": {"iam:PermissionsBoundary": boundary}}}
    ]}});
    let policies = serde_json::from_value(policies).unwrap();
    world.command(Command::SetRolePolicies { arn: operator.into(), policies: Some(policies) }).unwrap();
    let me = Identity { account: ACCOUNT.into(), arn: operator.into(), session: None };
    let bounded = CreateRole { permissions_boundary: Some(boundary.into()), ..role() };
    assert_eq!(code(world.iam_as(&me).create_role(&role())), "AccessDenied");
    assert_eq!(code(world.iam_as(&me).create_role(&CreateRole { path: None, ..bounded.clone() })), "AccessDenied");
    let made = world.iam_as(&me).create_role(&bounded).unwrap();
    assert_eq!(made.permissions_boundary.as_deref(), Some(boundary));
    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &use_of("*")).unwrap();
    let session = assume(&mut world, ARN, "word").unwrap();
    assert_eq!(code(world.kms_as(&session, REGION).describe_key(&key)), "ok");
    assert_eq!(code(world.kms_as(&session, REGION).get_key_policy(&key, None)), "AccessDeniedException");
}

#[test]
fn changes_spread_over_some_seconds() {
    let mut world = World::sandbox(START, Settings { iam_lag_ms: 10_000, ..Settings::default() });
    world.advance(60_000);
    let outcomes = |results: Vec<String>| {
        let all: std::collections::BTreeSet<String> = results.into_iter().collect();
        all.into_iter().collect::<Vec<_>>()
    };
    world.iam(ACCOUNT).create_role(&role()).unwrap();
    world.advance(5000);
    // Some hosts have heard of the role and some have not; so it is for whom assumes it and for who writes to it.
    let reads = outcomes((0..40).map(|_| code(world.iam(ACCOUNT).get_role(NAME))).collect());
    assert_eq!(reads, ["NoSuchEntity", "ok"]);
    let assumed = outcomes((0..40).map(|_| code(assume(&mut world, ARN, "word"))).collect());
    assert_eq!(assumed, ["AccessDenied", "ok"]);
    let writes = outcomes((0..40).map(|_| code(world.iam(ACCOUNT).tag_role(NAME, &[]))).collect());
    assert_eq!(writes, ["NoSuchEntity", "ok"]);
    world.advance(5000);
    let settled = outcomes((0..40).map(|_| code(assume(&mut world, ARN, "word"))).collect());
    assert_eq!(settled, ["ok"]);
    world.iam(ACCOUNT).update_assume_role_policy(NAME, &trust("new")).unwrap();
    world.advance(5000);
    let changed = outcomes((0..40).map(|_| code(assume(&mut world, ARN, "new"))).collect());
    assert_eq!(changed, ["AccessDenied", "ok"]);
}

#[test]
fn faults_hit_iam_as_any_other_service() {
    let mut world = world();
    world.add_fault(Rule::nth("iam:CreateRole", 1, Fault::AppliedButLost));
    assert_eq!(code(world.iam(ACCOUNT).create_role(&role())), "lost");
    assert_eq!(code(world.iam(ACCOUNT).create_role(&role())), "EntityAlreadyExists");
    world.add_fault(Rule::nth("iam:PutRolePolicy", 1, Fault::Http500 { applied: false }));
    assert_eq!(code(world.iam(ACCOUNT).put_role_policy(NAME, "p", &use_of("*"))), "ServiceFailure");
    world.add_fault(Rule::nth("iam:GetRole", 1, Fault::Throttle { retry_after_s: None }));
    assert_eq!(code(world.iam(ACCOUNT).get_role(NAME)), "Throttling");
    let me = Identity::of_account(ACCOUNT).arn;
    world.command(Command::SetDenied { principal: me, action: "iam:*".into(), denied: true }).unwrap();
    assert_eq!(code(world.iam(ACCOUNT).get_role(NAME)), "AccessDenied");
}
