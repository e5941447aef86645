//! Names, tags, identifiers, numbers and pages: what is accepted and what is found.

use cmk_operator::sandbox::ACCOUNT;
use cmk_operator::sandbox::kms::{CreateKey, Tag};

use super::{REGION, code, new_key, world};

#[test]
fn alias_moves_away_from_a_pending_key_but_not_to_one() {
    let mut world = world();
    let (old, new) = (new_key(&mut world), new_key(&mut world));
    let mut kms = world.kms(ACCOUNT, REGION);
    kms.create_alias("alias/a", &old).unwrap();
    kms.schedule_key_deletion(&old, None).unwrap();
    assert_eq!(kms.describe_key("alias/a").unwrap().arn, old);
    kms.update_alias("alias/a", &new).unwrap();
    assert_eq!(kms.describe_key("alias/a").unwrap().arn, new);
    assert_eq!(code(kms.update_alias("alias/a", &old)), "KMSInvalidStateException");
    kms.delete_alias("alias/a").unwrap();
    assert_eq!(code(kms.delete_alias("alias/a")), "NotFoundException");
}

#[test]
fn alias_names() {
    let long = format!("alias/{}", "a".repeat(251));
    let fits = format!("alias/{}", "a".repeat(250));
    for (name, want) in [
        ("alias/cmk-operator/prod/team/key_1:x", "ok"),
        (fits.as_str(), "ok"),
        (long.as_str(), "ValidationException"),
        ("cmk/x", "ValidationException"),
        ("alias/", "ValidationException"),
        ("alias/with.dot", "ValidationException"),
        ("alias/with space", "ValidationException"),
        ("alias/aws/x", "InvalidAliasNameException"),
    ] {
        let mut world = world();
        let key = new_key(&mut world);
        assert_eq!(code(world.kms(ACCOUNT, REGION).create_alias(name, &key)), want, "{name}");
    }
}

#[test]
fn a_name_points_at_a_key_and_not_at_a_name() {
    let mut world = world();
    let (one, other) = (new_key(&mut world), new_key(&mut world));
    let mut kms = world.kms(ACCOUNT, REGION);
    kms.create_alias("alias/a", &one).unwrap();
    kms.create_alias("alias/b", &other).unwrap();
    for name in ["alias/a", "arn:aws:kms:us-east-1:111111111111:alias/a"] {
        assert_eq!(code(kms.create_alias("alias/c", name)), "ValidationException", "{name}");
        assert_eq!(code(kms.update_alias("alias/b", name)), "ValidationException", "{name}");
    }
}

#[test]
fn alias_is_unique_per_region_and_fifty_per_key() {
    let mut world = world();
    let (one, other) = (new_key(&mut world), new_key(&mut world));
    let elsewhere = world.kms(ACCOUNT, "eu-west-1").create_key(&CreateKey::default()).unwrap().arn;
    let mut kms = world.kms(ACCOUNT, REGION);
    for n in 0..50 {
        kms.create_alias(&format!("alias/{n}"), &one).unwrap();
    }
    assert_eq!(code(kms.create_alias("alias/50", &one)), "LimitExceededException");
    assert_eq!(code(kms.create_alias("alias/0", &other)), "AlreadyExistsException");
    assert_eq!(code(kms.create_alias("alias/0", &one)), "AlreadyExistsException");
    let page = kms.list_aliases(Some(&one), Some(30), None).unwrap();
    let rest = kms.list_aliases(Some(&one), Some(30), page.next_marker.as_deref()).unwrap();
    assert_eq!((page.aliases.len(), page.truncated, rest.aliases.len(), rest.truncated), (30, true, 20, false));
    world.kms(ACCOUNT, "eu-west-1").create_alias("alias/0", &elsewhere).unwrap();
}

#[test]
fn tags() {
    let many: Vec<Tag> = (0..51).map(|n| Tag::new(format!("k{n}"), "")).collect();
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
    for (tags, want) in [
        (vec![Tag::new("cmk-operator.io/holder", "a b:c/d=e+f-g@h")], "ok"),
        (many[..50].to_vec(), "ok"),
        (many, "TagException"),
        (vec![Tag::new("aws:x", "")], "TagException"),
        (vec![Tag::new("a", "1"), Tag::new("a", "2")], "TagException"),
        (vec![Tag::new("a", "<script>")], "TagException"),
        (vec![Tag::new("", "")], "ValidationException"),
        (vec![Tag::new(long_key, "")], "ValidationException"),
        (vec![Tag::new("a", long_value)], "ValidationException"),
    ] {
        let mut world = world();
        let key = new_key(&mut world);
        let mut kms = world.kms(ACCOUNT, REGION);
        assert_eq!(code(kms.tag_resource(&key, &tags)), want, "{tags:?}");
        assert_eq!(code(kms.create_key(&CreateKey { tags, ..CreateKey::default() })), want);
    }
}

#[test]
fn numbers_out_of_bounds() {
    let mut world = world();
    let key = new_key(&mut world);
    let mut kms = world.kms(ACCOUNT, REGION);
    for (days, want) in [(89, "ValidationException"), (90, "ok"), (2560, "ok"), (2561, "ValidationException")] {
        assert_eq!(code(kms.enable_key_rotation(&key, Some(days))), want, "rotation {days}");
    }
    assert_eq!(code(kms.update_key_description(&key, &"x".repeat(8193))), "ValidationException");
    assert_eq!(code(kms.list_keys(Some(1001), None)), "ValidationException");
    assert_eq!(code(kms.list_keys(None, Some("junk"))), "InvalidMarkerException");
    for (days, want) in [(6, "ValidationException"), (31, "ValidationException"), (7, "ok")] {
        assert_eq!(code(kms.schedule_key_deletion(&key, Some(days))), want, "window {days}");
    }
}

#[test]
fn identifiers() {
    let mut world = world();
    let arn = new_key(&mut world);
    let id = arn.rsplit('/').next().unwrap().to_owned();
    world.kms(ACCOUNT, REGION).create_alias("alias/a", &arn).unwrap();
    let alias_arn = "arn:aws:kms:us-east-1:111111111111:alias/a";
    let other_region = arn.replace("us-east-1", "eu-west-1");
    let other_account = arn.replace("111111111111", "222222222222");
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (key, describe, policy) in [
        (id.as_str(), "ok", "ok"),
        (arn.as_str(), "ok", "ok"),
        ("alias/a", "ok", "NotFoundException"),
        (alias_arn, "ok", "InvalidArnException"),
        ("alias/b", "NotFoundException", "NotFoundException"),
        (unknown, "NotFoundException", "NotFoundException"),
        ("nonsense", "NotFoundException", "NotFoundException"),
        (other_region.as_str(), "NotFoundException", "NotFoundException"),
        (other_account.as_str(), "AccessDeniedException", "AccessDeniedException"),
        ("arn:aws:s3:::x", "InvalidArnException", "InvalidArnException"),
        ("", "ValidationException", "ValidationException"),
    ] {
        let mut kms = world.kms(ACCOUNT, REGION);
        assert_eq!(code(kms.describe_key(key)), describe, "describe {key}");
        assert_eq!(code(kms.get_key_policy(key, None)), policy, "policy of {key}");
    }
}

#[test]
fn lists_come_in_pages() {
    let mut world = world();
    let made: Vec<String> = (0..120).map(|_| new_key(&mut world)).collect();
    let mut kms = world.kms(ACCOUNT, REGION);
    let mut seen = Vec::new();
    let mut marker = None;
    loop {
        let page = kms.list_keys(Some(50), marker.as_deref()).unwrap();
        seen.extend(page.keys.into_iter().map(|k| k.arn));
        assert_eq!(page.truncated, page.next_marker.is_some());
        marker = page.next_marker;
        if marker.is_none() {
            break;
        }
    }
    seen.sort();
    let mut made = made;
    made.sort();
    assert_eq!(seen, made);
    assert_eq!(kms.list_keys(None, None).unwrap().keys.len(), 100);
}
