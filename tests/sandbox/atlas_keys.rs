//! Atlas: roles that are really assumed, and keys that are really tried.

use cmk_operator::sandbox::atlas::{AtlasCommand, AwsKms, EncryptionAtRestUpdate, KeyAccess};
use cmk_operator::sandbox::{ACCOUNT, Command, CreateRole, Identity, Settings, World};
use serde_json::json;

use super::atlas::{ARN, NAME, P, act, cluster, good_role, key_of, me, new_role, registered, trust, use_of, valid};
use super::{REGION, START, code, new_key, world};

#[test]
fn a_role_is_authorized_when_atlas_can_assume_it() {
    let mut world = world();
    let role = new_role(&mut world);
    let shown = world.atlas(&me()).role(P, &role).unwrap();
    assert_eq!((shown.authorized_date.as_deref(), shown.iam_assumed_role_arn.as_deref()), (None, None));
    assert!(shown.atlas_aws_account_arn.starts_with("arn:aws:iam::") && shown.atlas_aws_account_arn.ends_with(":root"));
    let authorize = |world: &mut World, arn: &str| code(world.atlas(&me()).authorize_role(P, &role, "AWS", arn));
    // The trust, word by word.
    let good = world.iam(ACCOUNT).get_role(NAME).unwrap().assume_role_policy_document;
    for (document, want) in [
        (trust(&shown.atlas_aws_account_arn, "another word"), "CANNOT_ASSUME_ROLE"),
        (trust("arn:aws:iam::222222222222:root", &shown.atlas_assumed_role_external_id), "CANNOT_ASSUME_ROLE"),
        (good, "ok"),
    ] {
        world.iam(ACCOUNT).update_assume_role_policy(NAME, &document).unwrap();
        assert_eq!(authorize(&mut world, ARN), want, "{document}");
    }
    assert_eq!(authorize(&mut world, "arn:aws:iam::111111111111:role/none"), "CANNOT_ASSUME_ROLE");
    assert_eq!(authorize(&mut world, "arn:aws:iam::111111111111:user/sandbox"), "VALIDATION_ERROR");
    assert_eq!(authorize(&mut world, ""), "MISSING_ATTRIBUTE");
    let shown = world.atlas(&me()).role(P, &role).unwrap();
    assert_eq!(shown.iam_assumed_role_arn.as_deref(), Some(ARN));
    assert!(shown.authorized_date.is_some() && shown.feature_usages.is_empty());
    // Each creation makes another one.
    let second = world.atlas(&me()).create_role(P, "AWS").unwrap();
    assert_ne!(second.atlas_assumed_role_external_id, shown.atlas_assumed_role_external_id);
    assert_eq!(world.atlas(&me()).roles(P).unwrap().len(), 2);
    world.atlas(&me()).deauthorize_role(P, "AWS", &second.role_id).unwrap();
    assert_eq!(code(world.atlas(&me()).role(P, &second.role_id)), "CLOUD_PROVIDER_ACCESS_ROLE_NOT_FOUND");
    assert_eq!(code(world.atlas(&me()).create_role(P, "AZURE")), "PROVIDER_UNSUPPORTED");
}

#[test]
fn trust_spreads_over_some_seconds() {
    let mut world = World::sandbox(START, Settings { iam_lag_ms: 10_000, ..Settings::default() });
    world.advance(60_000);
    let role = new_role(&mut world);
    let authorize = |world: &mut World| code(world.atlas(&me()).authorize_role(P, &role, "AWS", ARN));
    assert_eq!(authorize(&mut world), "CANNOT_ASSUME_ROLE");
    world.advance(10_000);
    assert_eq!(authorize(&mut world), "ok");
}

#[test]
fn a_key_is_tried_before_it_is_taken() {
    let mut world = world();
    let key = new_key(&mut world);
    let role = new_role(&mut world);
    let patch = |world: &mut World, update: &EncryptionAtRestUpdate| {
        code(world.atlas(&me()).update_encryption_at_rest(P, update))
    };
    let good = key_of(&key, &role);
    assert_eq!(patch(&mut world, &good), "CLOUD_PROVIDER_ACCESS_ROLE_NOT_AUTHORIZED");
    world.atlas(&me()).authorize_role(P, &role, "AWS", ARN).unwrap();
    assert_eq!(patch(&mut world, &good), "INVALID_AWS_CREDENTIALS", "the role may do nothing yet");
    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &use_of(&key)).unwrap();

    let edited = |edit: fn(&mut AwsKms)| {
        let mut update = good.clone();
        edit(update.aws_kms.as_mut().unwrap());
        update
    };
    for (name, update, want) in [
        ("no role", edited(|k| k.role_id = None), "MISSING_ATTRIBUTE"),
        ("no key", edited(|k| k.customer_master_key_id = None), "MISSING_ATTRIBUTE"),
        ("no region", edited(|k| k.region = None), "MISSING_ATTRIBUTE"),
        ("not enabled", edited(|k| k.enabled = None), "MISSING_ATTRIBUTE"),
        ("an unknown role", edited(|k| k.role_id = Some("0".repeat(24))), "CLOUD_PROVIDER_ACCESS_ROLE_NOT_AUTHORIZED"),
        ("an unknown region", edited(|k| k.region = Some("us-east-1".into())), "AWS_KMS_REGION_NOT_SUPPORTED"),
        (
            "a region without the key",
            edited(|k| k.region = Some("EU_WEST_1".into())),
            "AWS_CUSTOMER_MASTER_KEY_NOT_FOUND",
        ),
        (
            "an unknown key",
            edited(|k| k.customer_master_key_id = Some("none".into())),
            "AWS_CUSTOMER_MASTER_KEY_NOT_FOUND",
        ),
        (
            "by credentials",
            edited(|k| k.access_key_id = Some("AKIAXXXXXXXXXXXXXXXX".into())),
            "AWS_KMS_CREDENTIALS_AUTH_DEPRECATED",
        ),
        ("by private network", edited(|k| k.require_private_networking = Some(true)), "UNSUPPORTED_FEATURE"),
    ] {
        assert_eq!(patch(&mut world, &update), want, "{name}");
    }
    world.command(Command::DisableKey { arn: key.clone() }).unwrap();
    assert_eq!(patch(&mut world, &good), "AWS_KMS_CUSTOMER_MASTER_KEY_NOT_ENABLED");
    world.command(Command::ScheduleKeyDeletion { arn: key.clone(), window_days: 7 }).unwrap();
    assert_eq!(patch(&mut world, &good), "AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_DELETION");
    world.command(Command::EnableKey { arn: key.clone() }).unwrap();
    assert!(!world.atlas(&me()).encryption_at_rest(P).unwrap().aws_kms.enabled, "nothing was taken so far");

    assert_eq!(patch(&mut world, &good), "ok");
    assert_eq!(patch(&mut world, &good), "ok", "the same again");
    let shown = world.atlas(&me()).encryption_at_rest(P).unwrap().aws_kms;
    assert_eq!((shown.customer_master_key_id, shown.role_id), (Some(key.clone()), Some(role.clone())));
    assert!(shown.enabled && shown.valid);
    let used = world.atlas(&me()).role(P, &role).unwrap().feature_usages;
    assert_eq!(used[0].feature_type, "ENCRYPTION_AT_REST");
    assert_eq!(code(world.atlas(&me()).deauthorize_role(P, "AWS", &role)), "CLOUD_PROVIDER_ACCESS_ROLE_IN_USE");
    // By key id too: then the role's account is meant.
    let id = key.rsplit('/').next().unwrap().to_owned();
    assert_eq!(patch(&mut world, &key_of(&id, &role)), "ok");
}

#[test]
fn valid_follows_the_role_and_the_key() {
    let mut world = world();
    let (key, _) = registered(&mut world);
    let policy = world.kms(ACCOUNT, REGION).get_key_policy(&key, None).unwrap();
    let put = |world: &mut World, text: &str| {
        world.command(Command::PutPolicy { arn: key.clone(), policy: text.to_owned() }).unwrap();
    };
    let check = |world: &mut World, name: &str, want: bool| {
        assert_eq!(valid(world), want, "{name}");
    };
    check(&mut world, "at first", true);

    world.command(Command::DisableKey { arn: key.clone() }).unwrap();
    check(&mut world, "the key is disabled", false);
    world.command(Command::EnableKey { arn: key.clone() }).unwrap();
    check(&mut world, "and enabled", true);

    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &use_of("arn:aws:kms:us-east-1:111111111111:key/other")).unwrap();
    check(&mut world, "the role may use another key", false);
    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &use_of(&key)).unwrap();
    check(&mut world, "and this one", true);

    let named = json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalArn": "arn:aws:iam::111111111111:user/sandbox"}}}]});
    put(&mut world, &named.to_string());
    check(&mut world, "the key does not delegate to the role", false);
    put(&mut world, &policy);
    check(&mut world, "and does", true);

    let trust_before = world.iam(ACCOUNT).get_role(NAME).unwrap().assume_role_policy_document;
    world.iam(ACCOUNT).update_assume_role_policy(NAME, &trust("arn:aws:iam::900000009900:root", "x")).unwrap();
    check(&mut world, "the external id is another", false);
    world.iam(ACCOUNT).update_assume_role_policy(NAME, &trust_before).unwrap();
    check(&mut world, "and the right one", true);

    world.iam(ACCOUNT).delete_role_policy(NAME, "keys").unwrap();
    world.iam(ACCOUNT).delete_role(NAME).unwrap();
    check(&mut world, "the role is gone", false);
}

#[test]
fn a_role_that_was_made_again_is_not_the_one_that_the_key_names() {
    let mut world = world();
    let key = new_key(&mut world);
    let role = new_role(&mut world);
    world.atlas(&me()).authorize_role(P, &role, "AWS", ARN).unwrap();
    // Only the key policy lets it in, by name.
    let by_name = json!({"Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:user/sandbox"}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": ARN}, "Action": ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"], "Resource": "*"}
    ]})
    .to_string();
    world.kms(ACCOUNT, REGION).put_key_policy(&key, None, &by_name, false).unwrap();
    world.atlas(&me()).update_encryption_at_rest(P, &key_of(&key, &role)).unwrap();
    assert!(valid(&mut world));
    let document = world.iam(ACCOUNT).get_role(NAME).unwrap().assume_role_policy_document;
    world.iam(ACCOUNT).delete_role(NAME).unwrap();
    let input = CreateRole { role_name: NAME.into(), assume_role_policy_document: document, ..CreateRole::default() };
    world.iam(ACCOUNT).create_role(&input).unwrap();
    assert!(!valid(&mut world));
    world.kms(ACCOUNT, REGION).put_key_policy(&key, None, &by_name, false).unwrap();
    assert!(valid(&mut world));
}

#[test]
fn role_and_key_in_different_accounts() {
    let mut world = world();
    let key = new_key(&mut world);
    let role = world.atlas(&me()).create_role(P, "AWS").unwrap();
    let arn = "arn:aws:iam::222222222222:role/atlas";
    let input = CreateRole {
        role_name: NAME.into(),
        assume_role_policy_document: trust(&role.atlas_aws_account_arn, &role.atlas_assumed_role_external_id),
        ..CreateRole::default()
    };
    world.iam("222222222222").create_role(&input).unwrap();
    world.atlas(&me()).authorize_role(P, &role.role_id, "AWS", arn).unwrap();
    let patch = |world: &mut World, key: &str| {
        code(world.atlas(&me()).update_encryption_at_rest(P, &key_of(key, &role.role_id)))
    };
    world.iam("222222222222").put_role_policy(NAME, "keys", &use_of(&key)).unwrap();
    assert_eq!(patch(&mut world, &key), "INVALID_AWS_CREDENTIALS", "the key policy does not know the other account");
    let both = json!({"Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": "222222222222"}, "Action": ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"], "Resource": "*"}
    ]})
    .to_string();
    world.kms(ACCOUNT, REGION).put_key_policy(&key, None, &both, false).unwrap();
    assert_eq!(patch(&mut world, &key), "ok");
    let id = key.rsplit('/').next().unwrap().to_owned();
    assert_ne!(patch(&mut world, &id), "ok", "an id alone is one of the role's account");
    world.iam("222222222222").delete_role_policy(NAME, "keys").unwrap();
    assert!(!valid(&mut world), "the role's own account has to agree too");
}

#[test]
fn another_key_needs_the_present_one_once_more() {
    let mut world = world();
    let (old, role) = registered(&mut world);
    world.atlas(&me()).create_cluster(P, &cluster("c1", "AWS")).unwrap();
    let new = new_key(&mut world);
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"], "Resource": [old, new]}
    ]});
    let patch = |world: &mut World| code(world.atlas(&me()).update_encryption_at_rest(P, &key_of(&new, &role)));
    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &policy.to_string()).unwrap();
    world.command(Command::DisableKey { arn: old.clone() }).unwrap();
    assert_eq!(patch(&mut world), "ENCRYPTION_AT_REST_SETTINGS_INVALID");
    world.command(Command::EnableKey { arn: old.clone() }).unwrap();
    assert_eq!(patch(&mut world), "ok");
    let project = world.true_project(P).unwrap();
    assert_eq!(project.key.as_ref().unwrap().key, new);
    assert!(project.snapshot_keys.contains(&old), "its snapshots still need the old one");
}

#[test]
fn from_credentials_to_a_role_by_way_of_the_present_key() {
    let mut world = world();
    let (old, new) = (new_key(&mut world), new_key(&mut world));
    let access = KeyAccess::Credentials { access_key_id: "AKIAOLDATLASUSER".into() };
    world.add_access_key("AKIAOLDATLASUSER", Identity::of_account(ACCOUNT));
    act(&mut world, AtlasCommand::PutKey { project: P.into(), key: old.clone(), region: "US_EAST_1".into(), access });
    let shown = world.atlas(&me()).encryption_at_rest(P).unwrap().aws_kms;
    assert_eq!((shown.access_key_id.as_deref(), shown.role_id), (Some("AKIAOLDATLASUSER"), None));
    assert!(shown.valid);
    // The role reaches the new key, not the present one.
    let role = good_role(&mut world, &new);
    let patch =
        |world: &mut World, key: &str| code(world.atlas(&me()).update_encryption_at_rest(P, &key_of(key, &role)));
    assert_eq!(patch(&mut world, &new), "ENCRYPTION_AT_REST_SETTINGS_INVALID");
    assert_eq!(patch(&mut world, &old), "INVALID_AWS_CREDENTIALS");
    let both = json!({"Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": [old, new]}]}).to_string();
    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &both).unwrap();
    assert_eq!(patch(&mut world, &old), "ok");
    assert_eq!(world.atlas(&me()).encryption_at_rest(P).unwrap().aws_kms.access_key_id, None);
    assert_eq!(patch(&mut world, &new), "ok");
}
