//! Who may call, how often, and finding keys by tag.

use cmk_operator::sandbox::kms::{CreateKey, Tag};
use cmk_operator::sandbox::{
    ACCOUNT, AssumeRole, Command, GetResources, Identity, Quotas, Settings, TagFilter, Trust, World,
};

use super::{REGION, START, code, new_key, world};

#[test]
fn quotas_are_per_account_region_and_operation() {
    let mut world = World::sandbox(START, Settings { quotas: Quotas::Aws, key_limit: Some(7), ..Settings::default() });
    let create = |world: &mut World, account: &str, region: &str| {
        code(world.kms(account, region).create_key(&CreateKey::default()))
    };
    for _ in 0..5 {
        assert_eq!(create(&mut world, ACCOUNT, REGION), "ok");
    }
    assert_eq!(create(&mut world, ACCOUNT, REGION), "ThrottlingException");
    assert_eq!(create(&mut world, ACCOUNT, "eu-west-1"), "ok");
    assert_eq!(create(&mut world, "222222222222", REGION), "ok");
    assert_eq!(code(world.kms(ACCOUNT, REGION).list_keys(None, None)), "ok");
    world.advance(200);
    assert_eq!(create(&mut world, ACCOUNT, REGION), "ok");
    assert_eq!(create(&mut world, ACCOUNT, REGION), "ThrottlingException");
    world.advance(5000);
    assert_eq!(create(&mut world, ACCOUNT, REGION), "ok");
    assert_eq!(create(&mut world, ACCOUNT, REGION), "LimitExceededException");
}

#[test]
fn denied_actions() {
    let mut world = world();
    let key = new_key(&mut world);
    let me = Identity::of_account(ACCOUNT).arn;
    for action in ["kms:PutKeyPolicy", "kms:Describe*", "kms:TagResource", "tag:*"] {
        world.command(Command::SetDenied { principal: me.clone(), action: action.into(), denied: true }).unwrap();
    }
    let mut kms = world.kms(ACCOUNT, REGION);
    assert_eq!(code(kms.describe_key(&key)), "AccessDeniedException");
    assert_eq!(code(kms.get_key_policy(&key, None)), "ok");
    // CreateKey is also a PutKeyPolicy, and with tags a TagResource.
    assert_eq!(code(kms.create_key(&CreateKey::default())), "AccessDeniedException");
    let who = Identity::of_account(ACCOUNT);
    assert_eq!(code(world.tagging(&who, REGION).get_resources(&GetResources::default())), "AccessDeniedException");
    world.command(Command::SetDenied { principal: me, action: "kms:Describe*".into(), denied: false }).unwrap();
    assert_eq!(code(world.kms(ACCOUNT, REGION).describe_key(&key)), "ok");
}

#[test]
fn assume_role_checks_trust_and_external_id() {
    let mut world = world();
    let role = "arn:aws:iam::222222222222:role/path/keys";
    let trust = Trust { principals: vec![ACCOUNT.into()], external_ids: vec!["cmk:prod:team".into()] };
    world.create_principal(role, Some(trust)).unwrap();
    world.create_principal("arn:aws:iam::222222222222:user/somebody", None).unwrap();
    let (me, stranger) = (Identity::of_account(ACCOUNT), Identity::of_account("333333333333"));
    for (who, arn, external_id, want) in [
        (&me, role, Some("cmk:prod:team"), "ok"),
        (&me, role, Some("cmk:prod:other"), "AccessDenied"),
        (&me, role, None, "AccessDenied"),
        (&stranger, role, Some("cmk:prod:team"), "AccessDenied"),
        (&me, "arn:aws:iam::222222222222:role/keys", Some("cmk:prod:team"), "AccessDenied"),
        (&me, "arn:aws:iam::222222222222:user/somebody", None, "AccessDenied"),
        (&me, "nonsense", None, "ValidationError"),
        (&me, role, Some("bad id"), "ValidationError"),
    ] {
        let request = AssumeRole {
            role_arn: arn.into(),
            role_session_name: "session".into(),
            external_id: external_id.map(Into::into),
            duration_seconds: None,
        };
        assert_eq!(code(world.sts(who, REGION).assume_role(&request)), want, "{arn} {external_id:?}");
    }
    let request = AssumeRole {
        role_arn: role.into(),
        role_session_name: "session".into(),
        external_id: Some("cmk:prod:team".into()),
        duration_seconds: Some(900),
    };
    for (seconds, want) in [(899, "ValidationError"), (3600, "ok"), (3601, "ValidationError")] {
        let request = AssumeRole { duration_seconds: Some(seconds), ..request.clone() };
        assert_eq!(code(world.sts(&me, REGION).assume_role(&request)), want, "{seconds} s");
    }
    let made = world.sts(&me, REGION).assume_role(&request).unwrap();
    let identity = world.identify(&made.access_key_id).unwrap();
    let shown = world.sts(&identity, REGION).get_caller_identity().unwrap();
    assert_eq!(shown.account, "222222222222");
    assert_eq!(shown.arn, "arn:aws:sts::222222222222:assumed-role/keys/session");
    world.advance(900_000);
    assert!(world.identify(&made.access_key_id).is_err());
}

#[test]
fn tag_search() {
    let mut world = world();
    for n in 0..120 {
        let tags = vec![Tag::new("all", "yes"), Tag::new("parity", if n % 2 == 0 { "even" } else { "odd" })];
        world.kms(ACCOUNT, REGION).create_key(&CreateKey { tags, ..CreateKey::default() }).unwrap();
    }
    new_key(&mut world);
    let who = Identity::of_account(ACCOUNT);
    let filter = |key: &str, values: &[&str]| TagFilter {
        key: key.into(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    let mut input = GetResources {
        tag_filters: vec![filter("all", &["yes", "no"]), filter("parity", &["odd"])],
        resource_type_filters: vec!["kms:key".into()],
        resources_per_page: Some(50),
        ..GetResources::default()
    };
    let first = world.tagging(&who, REGION).get_resources(&input).unwrap();
    assert_eq!(first.resources.len(), 50);
    input.pagination_token = Some(first.pagination_token);
    let second = world.tagging(&who, REGION).get_resources(&input).unwrap();
    assert_eq!((second.resources.len(), second.pagination_token.as_str()), (10, ""));
    // Never tagged: absent. Once tagged: there, with no tags, when no filter is given.
    let all = GetResources { resources_per_page: Some(100), ..GetResources::default() };
    assert_eq!(world.tagging(&who, REGION).get_resources(&all).unwrap().resources.len(), 100);
    assert!(world.tagging(&who, "eu-west-1").get_resources(&all).unwrap().resources.is_empty());
    let other = GetResources { resource_type_filters: vec!["s3".into()], ..GetResources::default() };
    assert!(world.tagging(&who, REGION).get_resources(&other).unwrap().resources.is_empty());
}
