//! The life of a key: states, rotation, deletion, replicas.

use cmk_operator::sandbox::kms::{CreateKey, KeyState, Kms, ReplicateKey, Tag};
use cmk_operator::sandbox::{ACCOUNT, Command, Failure, Identity, Quotas, Settings, World};

use super::{REGION, START, code, new_key, world};

const DAY_MS: i64 = 86_400_000;

/// A name, and how to do it to a key.
type Operation = (&'static str, fn(&mut Kms<'_>, &str) -> Result<(), Failure>);

/// KMS guide, "Key state table": outcomes when enabled, disabled, pending deletion, pending
/// replica deletion and creating.
#[test]
fn key_state_matrix() {
    const OK: &str = "ok";
    const STATE: &str = "KMSInvalidStateException";
    const DISABLED: &str = "DisabledException";
    let policy = |k: &mut Kms<'_>, key: &str| {
        let text = k.get_key_policy(key, None)?;
        k.put_key_policy(key, None, &text, false)
    };
    let replicate = |k: &mut Kms<'_>, key: &str| {
        let input = ReplicateKey { key_id: key.into(), replica_region: "eu-west-1".into(), ..ReplicateKey::default() };
        k.replicate_key(&input).map(drop)
    };
    let table: [(Operation, [&str; 5]); 18] = [
        (("DescribeKey", |k, a| k.describe_key(a).map(drop)), [OK, OK, OK, OK, OK]),
        (("GetKeyPolicy", |k, a| k.get_key_policy(a, None).map(drop)), [OK, OK, OK, OK, OK]),
        (("PutKeyPolicy", policy), [OK, OK, OK, OK, OK]),
        (("ListKeyPolicies", |k, a| k.list_key_policies(a).map(drop)), [OK, OK, OK, OK, OK]),
        (("ListResourceTags", |k, a| k.list_resource_tags(a, None, None).map(drop)), [OK, OK, OK, OK, OK]),
        (("ListAliases", |k, a| k.list_aliases(Some(a), None, None).map(drop)), [OK, OK, OK, OK, OK]),
        (("GetKeyRotationStatus", |k, a| k.get_key_rotation_status(a).map(drop)), [OK, OK, OK, OK, OK]),
        (("CreateAlias", |k, a| k.create_alias("alias/new", a)), [OK, OK, STATE, STATE, OK]),
        (("TagResource", |k, a| k.tag_resource(a, &[Tag::new("a", "b")])), [OK, OK, STATE, STATE, OK]),
        (("UntagResource", |k, a| k.untag_resource(a, &["a".into()])), [OK, OK, STATE, STATE, OK]),
        (("UpdateKeyDescription", |k, a| k.update_key_description(a, "x")), [OK, OK, STATE, STATE, OK]),
        (("EnableKey", |k, a| k.enable_key(a)), [OK, OK, STATE, STATE, STATE]),
        (("DisableKey", |k, a| k.disable_key(a)), [OK, OK, STATE, STATE, STATE]),
        (("EnableKeyRotation", |k, a| k.enable_key_rotation(a, None)), [OK, DISABLED, STATE, STATE, STATE]),
        (("DisableKeyRotation", |k, a| k.disable_key_rotation(a)), [OK, DISABLED, STATE, STATE, STATE]),
        (("ReplicateKey", replicate), [OK, DISABLED, STATE, STATE, "UnsupportedOperationException"]),
        (("ScheduleKeyDeletion", |k, a| k.schedule_key_deletion(a, None).map(drop)), [OK, OK, STATE, STATE, OK]),
        (("CancelKeyDeletion", |k, a| k.cancel_key_deletion(a).map(drop)), [STATE, STATE, OK, OK, STATE]),
    ];
    for ((name, act), expected) in table {
        for (n, want) in expected.into_iter().enumerate() {
            let (mut world, region, arn) = key_in_state(n);
            let got = code(act(&mut world.kms(ACCOUNT, region), &arn));
            assert_eq!(got, want, "{name} in state {n}");
        }
    }
}

/// A multi-Region key in the n-th state of the table.
fn key_in_state(n: usize) -> (World, &'static str, String) {
    let settings = Settings { replica_creating_ms: 5000, ..Settings::default() };
    let mut world = World::sandbox(START, settings);
    let input = CreateKey { multi_region: true, ..CreateKey::default() };
    let arn = world.kms(ACCOUNT, REGION).create_key(&input).unwrap().arn;
    let replica = ReplicateKey { key_id: arn.clone(), replica_region: "us-west-2".into(), ..ReplicateKey::default() };
    match n {
        1 => world.kms(ACCOUNT, REGION).disable_key(&arn).unwrap(),
        2 => drop(world.kms(ACCOUNT, REGION).schedule_key_deletion(&arn, None).unwrap()),
        3 => {
            world.kms(ACCOUNT, REGION).replicate_key(&replica).unwrap();
            world.kms(ACCOUNT, REGION).schedule_key_deletion(&arn, None).unwrap();
        }
        4 => {
            let made = world.kms(ACCOUNT, REGION).replicate_key(&replica).unwrap();
            assert_eq!(made.metadata.key_state, KeyState::Creating);
            return (world, "us-west-2", made.metadata.arn);
        }
        _ => {}
    }
    (world, REGION, arn)
}

#[test]
fn rotation_is_reported_and_pauses_while_pending() {
    let mut world = world();
    let key = new_key(&mut world);
    world.kms(ACCOUNT, REGION).enable_key_rotation(&key, Some(100)).unwrap();
    world.advance(150 * DAY_MS);
    let mut kms = world.kms(ACCOUNT, REGION);
    let status = kms.get_key_rotation_status(&key).unwrap();
    assert_eq!(status.next_rotation_ms, Some(START + 200 * DAY_MS));
    kms.schedule_key_deletion(&key, None).unwrap();
    assert!(!kms.get_key_rotation_status(&key).unwrap().key_rotation_enabled);
    kms.cancel_key_deletion(&key).unwrap();
    assert_eq!(kms.describe_key(&key).unwrap().key_state, KeyState::Disabled);
    assert_eq!(kms.get_key_rotation_status(&key).unwrap().rotation_period_in_days, Some(100));
}

/// `RotationPeriodInDays` of `EnableKeyRotation`: "If no value is specified, the default value is 365 days."
#[test]
fn a_period_that_is_not_named_is_a_year() {
    let mut world = world();
    let key = new_key(&mut world);
    let mut kms = world.kms(ACCOUNT, REGION);
    kms.enable_key_rotation(&key, Some(100)).unwrap();
    kms.enable_key_rotation(&key, None).unwrap();
    assert_eq!(kms.get_key_rotation_status(&key).unwrap().rotation_period_in_days, Some(365));
}

#[test]
fn a_spec_is_unknown_or_just_not_simulated() {
    let mut world = world();
    let mut kms = world.kms(ACCOUNT, REGION);
    for (value, want) in [
        ("SYMMETRIC_DEFAULT", "ok"),
        ("RSA_2048", "UnsupportedOperationException"),
        ("NONSENSE", "ValidationException"),
    ] {
        let input = CreateKey { key_spec: Some(value.into()), ..CreateKey::default() };
        assert_eq!(code(kms.create_key(&input)), want, "{value}");
    }
}

#[test]
fn a_key_disappears_with_its_aliases_when_its_window_ends() {
    let mut world = world();
    let key = new_key(&mut world);
    world.kms(ACCOUNT, REGION).create_alias("alias/a", &key).unwrap();
    world.kms(ACCOUNT, REGION).schedule_key_deletion(&key, Some(7)).unwrap();
    world.advance(7 * DAY_MS - 1);
    assert_eq!(world.kms(ACCOUNT, REGION).describe_key("alias/a").unwrap().key_state, KeyState::PendingDeletion);
    world.advance(1);
    let mut kms = world.kms(ACCOUNT, REGION);
    assert_eq!(code(kms.describe_key(&key)), "NotFoundException");
    assert_eq!(code(kms.describe_key("alias/a")), "NotFoundException");
    assert!(kms.list_aliases(None, None, None).unwrap().aliases.is_empty());
    assert!(kms.list_keys(None, None).unwrap().keys.is_empty());
    let next = new_key(&mut world);
    assert_eq!(code(world.kms(ACCOUNT, REGION).create_alias("alias/a", &next)), "ok");
}

#[test]
fn a_primary_waits_for_its_replicas() {
    let mut world = world();
    let input = CreateKey { multi_region: true, ..CreateKey::default() };
    let primary = world.kms(ACCOUNT, REGION).create_key(&input).unwrap();
    assert!(primary.key_id.starts_with("mrk-"));
    let replica =
        ReplicateKey { key_id: primary.arn.clone(), replica_region: "eu-west-1".into(), ..ReplicateKey::default() };
    let made = world.kms(ACCOUNT, REGION).replicate_key(&replica).unwrap();
    assert_eq!(made.tags, replica.tags);
    assert!(made.policy.contains("Enable IAM User Permissions"), "{}", made.policy);
    let made = made.metadata;
    assert_eq!(made.current_key_material_id, primary.current_key_material_id);
    assert_eq!(made.current_key_material_id.len(), 64);
    assert_eq!(code(world.kms(ACCOUNT, REGION).replicate_key(&replica)), "AlreadyExistsException");
    let same = ReplicateKey { replica_region: REGION.into(), ..replica.clone() };
    assert_eq!(code(world.kms(ACCOUNT, REGION).replicate_key(&same)), "UnsupportedOperationException");
    let family = world.kms(ACCOUNT, REGION).describe_key(&primary.arn).unwrap().multi_region_view.unwrap();
    assert_eq!((family.multi_region_key_type, family.replica_keys[0].arn.as_str()), ("PRIMARY", made.arn.as_str()));
    world.kms(ACCOUNT, REGION).enable_key_rotation(&primary.arn, Some(90)).unwrap();
    let mut away = world.kms(ACCOUNT, "eu-west-1");
    assert!(away.get_key_rotation_status(&made.arn).unwrap().key_rotation_enabled);
    assert_eq!(code(away.disable_key_rotation(&made.arn)), "UnsupportedOperationException");
    away.schedule_key_deletion(&made.arn, Some(7)).unwrap();
    let scheduled = world.kms(ACCOUNT, REGION).schedule_key_deletion(&primary.arn, Some(10)).unwrap();
    assert_eq!((scheduled.key_state, scheduled.deletion_at_ms), (KeyState::PendingReplicaDeletion, None));
    world.advance(7 * DAY_MS);
    let view = world.kms(ACCOUNT, REGION).describe_key(&primary.arn).unwrap();
    assert_eq!(view.deletion_at_ms, Some(START + 17 * DAY_MS));
    world.advance(10 * DAY_MS);
    assert_eq!(code(world.kms(ACCOUNT, REGION).describe_key(&primary.arn)), "NotFoundException");
}

#[test]
fn a_replica_needs_rights_and_shares_of_quotas_where_it_is_made() {
    let settings = Settings { quotas: Quotas::Aws, ..Settings::default() };
    let mut world = World::sandbox(START, settings);
    let input = CreateKey { multi_region: true, ..CreateKey::default() };
    let arn = world.kms(ACCOUNT, REGION).create_key(&input).unwrap().arn;
    let into = |region: &str| ReplicateKey {
        key_id: arn.clone(),
        replica_region: region.into(),
        tags: vec![Tag::new("a", "b")],
        ..ReplicateKey::default()
    };
    let me = Identity::of_account(ACCOUNT).arn;
    for action in ["kms:CreateKey", "kms:PutKeyPolicy", "kms:TagResource", "kms:ReplicateKey"] {
        let deny = |denied| Command::SetDenied { principal: me.clone(), action: action.into(), denied };
        world.command(deny(true)).unwrap();
        assert_eq!(code(world.kms(ACCOUNT, REGION).replicate_key(&into("eu-west-1"))), "AccessDeniedException");
        world.command(deny(false)).unwrap();
        world.advance(1000);
    }
    // Two of the five creations a second of that region, and one of the replications of the primary's.
    for _ in 0..4 {
        world.kms(ACCOUNT, "eu-west-1").create_key(&CreateKey::default()).unwrap();
    }
    assert_eq!(code(world.kms(ACCOUNT, REGION).replicate_key(&into("eu-west-1"))), "ThrottlingException");
    assert_eq!(code(world.kms(ACCOUNT, REGION).replicate_key(&into("eu-central-1"))), "ok");
    world.advance(1000);
    assert_eq!(code(world.kms(ACCOUNT, REGION).replicate_key(&into("eu-west-1"))), "ok");
}

#[test]
fn the_primary_can_move() {
    let mut world = world();
    let input = CreateKey { multi_region: true, ..CreateKey::default() };
    let arn = world.kms(ACCOUNT, REGION).create_key(&input).unwrap().arn;
    let replica = ReplicateKey { key_id: arn.clone(), replica_region: "eu-west-1".into(), ..ReplicateKey::default() };
    world.kms(ACCOUNT, REGION).replicate_key(&replica).unwrap();
    world.kms(ACCOUNT, REGION).update_primary_region(&arn, "eu-west-1").unwrap();
    let view = world.kms(ACCOUNT, REGION).describe_key(&arn).unwrap().multi_region_view.unwrap();
    assert_eq!((view.multi_region_key_type, view.primary_key.region.as_str()), ("REPLICA", "eu-west-1"));
}
