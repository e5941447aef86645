//! Reads from the past, and the world as a value.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use cmk_operator::sandbox::kms::{CreateKey, Tag};
use cmk_operator::sandbox::{ACCOUNT, Failure, GetResources, Identity, Settings, TagFilter, World};
use serde_json::json;

use super::{REGION, START, code, new_key, world};

fn lagging() -> World {
    World::sandbox(START, Settings { kms_read_lag_ms: 5000, seed: 7, ..Settings::default() })
}

#[test]
fn a_new_key_is_not_found_for_a_while_and_never_after_the_lag() {
    let mut world = lagging();
    let key = new_key(&mut world);
    let look = |world: &mut World| code(world.kms(ACCOUNT, REGION).describe_key(&key));
    let early: Vec<String> = (0..20).map(|_| look(&mut world)).collect();
    assert!(early.iter().any(|c| c == "NotFoundException"), "{early:?}");
    world.advance(2500);
    let middle: Vec<String> = (0..40).map(|_| look(&mut world)).collect();
    assert!(middle.iter().any(|c| c == "ok") && middle.iter().any(|c| c != "ok"), "{middle:?}");
    world.advance(2501);
    assert!((0..100).all(|_| look(&mut world) == "ok"));
}

#[test]
fn writes_can_miss_a_new_key_too() {
    let mut world = lagging();
    let key = new_key(&mut world);
    let tag = [Tag::new("a", "b")];
    let outcomes: Vec<String> = (0..20).map(|_| code(world.kms(ACCOUNT, REGION).tag_resource(&key, &tag))).collect();
    assert!(outcomes.iter().any(|c| c == "NotFoundException"), "{outcomes:?}");
    world.advance(5001);
    assert_eq!(code(world.kms(ACCOUNT, REGION).tag_resource(&key, &tag)), "ok");
}

#[test]
fn reads_are_not_monotonic() {
    let mut world = lagging();
    let key = new_key(&mut world);
    world.advance(6000);
    world.kms(ACCOUNT, REGION).disable_key(&key).unwrap();
    world.advance(2500);
    let seen: Vec<bool> = (0..50).map(|_| world.kms(ACCOUNT, REGION).describe_key(&key).unwrap().enabled).collect();
    let went_back = seen.windows(2).any(|pair| !pair[0] && pair[1]);
    assert!(went_back, "a newer read was followed by an older one: {seen:?}");
    world.advance(2501);
    assert!((0..50).all(|_| { !world.kms(ACCOUNT, REGION).describe_key(&key).unwrap().enabled }));
}

#[test]
fn the_tag_index_runs_behind() {
    let settings = Settings { tag_index_lag_ms: 60_000, ..Settings::default() };
    let mut world = World::sandbox(START, settings);
    let who = Identity::of_account(ACCOUNT);
    let input = CreateKey { tags: vec![Tag::new("a", "1")], ..CreateKey::default() };
    let key = world.kms(ACCOUNT, REGION).create_key(&input).unwrap().arn;
    let filter = |value: &str| GetResources {
        tag_filters: vec![TagFilter { key: "a".into(), values: vec![value.into()] }],
        ..GetResources::default()
    };
    let found = |world: &mut World, value: &str| {
        world.tagging(&who, REGION).get_resources(&filter(value)).unwrap().resources.len()
    };
    assert_eq!(found(&mut world, "1"), 0);
    assert_eq!(world.kms(ACCOUNT, REGION).list_resource_tags(&key, None, None).unwrap().tags.len(), 1);
    world.advance(60_000);
    assert_eq!(found(&mut world, "1"), 1);
    world.kms(ACCOUNT, REGION).tag_resource(&key, &[Tag::new("a", "2")]).unwrap();
    assert_eq!((found(&mut world, "1"), found(&mut world, "2")), (1, 0));
    world.advance(60_000);
    assert_eq!((found(&mut world, "1"), found(&mut world, "2")), (0, 1));
}

#[test]
fn a_new_principal_is_invalid_for_a_while() {
    let mut world = World::sandbox(START, Settings { principal_lag_ms: 10_000, ..Settings::default() });
    world.advance(60_000);
    let key = new_key(&mut world);
    let role = "arn:aws:iam::111111111111:role/new";
    world.create_principal(role, None).unwrap();
    let text = json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": [ACCOUNT, role]}, "Action": "kms:*", "Resource": "*"}]});
    let put = |world: &mut World| world.kms(ACCOUNT, REGION).put_key_policy(&key, None, &text.to_string(), false);
    let Err(Failure::Service(error)) = put(&mut world) else { panic!("the principal was visible at once") };
    assert_eq!(error.code, "MalformedPolicyDocumentException");
    assert!(error.message.contains("invalid principals"));
    world.advance(10_000);
    put(&mut world).unwrap();
}

fn hash(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn the_same_calls_make_the_same_world() {
    let run = || {
        let mut world = lagging();
        let key = new_key(&mut world);
        let reads: Vec<String> = (0..20).map(|_| code(world.kms(ACCOUNT, REGION).describe_key(&key))).collect();
        (world, reads)
    };
    let ((one, reads_one), (other, reads_other)) = (run(), run());
    assert_eq!((&one, hash(&one), reads_one), (&other, hash(&other), reads_other));
    let mut changed = one.clone();
    new_key(&mut changed);
    assert_ne!(one, changed);
    assert_ne!(hash(&one), hash(&changed));
}

#[test]
fn the_log_is_no_part_of_the_state() {
    let mut world = world();
    let key = new_key(&mut world);
    let silent = world.clone();
    world.record(true);
    world.kms(ACCOUNT, REGION).describe_key(&key).unwrap();
    assert_eq!(world.log().len(), 1);
    assert_eq!((&world, hash(&world)), (&silent, hash(&silent)));
}
