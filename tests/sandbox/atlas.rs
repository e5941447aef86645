//! Atlas: roles that really assume, keys that are really tried, clusters over time, what an administrator does by hand.

use std::collections::BTreeMap;

use cmk_operator::sandbox::atlas::{
    Addresses, AtlasCommand, AwsKms, Cluster, ClusterState, EncryptionAtRestUpdate, KeyAccess, Login, NewProject,
    PageQuery, ProjectRole,
};
use cmk_operator::sandbox::{
    ACCOUNT, ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET, ATLAS_ORGANIZATION, ATLAS_PROJECT, Command, CreateRole, Failure,
    Fault, Identity, Rule, Settings, World,
};
use serde_json::{Value, json};

use super::{REGION, START, code, new_key, world};

const P: &str = ATLAS_PROJECT;
const NAME: &str = "atlas";
const ARN: &str = "arn:aws:iam::111111111111:role/atlas";
/// Where the control plane of the default world calls from.
const CONTROL_PLANE: &str = "192.0.2.20";

fn me() -> Login {
    Login::ServiceAccount { client_id: ATLAS_CLIENT_ID.into(), client_secret: ATLAS_CLIENT_SECRET.into() }
}

fn trust(atlas_arn: &str, external_id: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": atlas_arn}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}}
    }]})
    .to_string()
}

fn use_of(key: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"], "Resource": key}
    ]})
    .to_string()
}

/// Atlas's side of a role, and the role itself with the right trust and no permissions.
fn new_role(world: &mut World) -> String {
    let role = world.atlas(&me()).create_role(P, "AWS").unwrap();
    let document = trust(&role.atlas_aws_account_arn, &role.atlas_assumed_role_external_id);
    let input = CreateRole { role_name: NAME.into(), assume_role_policy_document: document, ..CreateRole::default() };
    world.iam(ACCOUNT).create_role(&input).unwrap();
    role.role_id
}

/// An authorized role that may use the key.
fn good_role(world: &mut World, key: &str) -> String {
    let role = new_role(world);
    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &use_of(key)).unwrap();
    world.atlas(&me()).authorize_role(P, &role, "AWS", ARN).unwrap();
    role
}

fn key_of(key: &str, role: &str) -> EncryptionAtRestUpdate {
    EncryptionAtRestUpdate {
        aws_kms: Some(AwsKms {
            enabled: Some(true),
            customer_master_key_id: Some(key.into()),
            region: Some("US_EAST_1".into()),
            role_id: Some(role.into()),
            ..AwsKms::default()
        }),
        ..EncryptionAtRestUpdate::default()
    }
}

fn disabled() -> EncryptionAtRestUpdate {
    let aws_kms = Some(AwsKms { enabled: Some(false), ..AwsKms::default() });
    EncryptionAtRestUpdate { aws_kms, ..EncryptionAtRestUpdate::default() }
}

/// A project whose key is registered: the key and the role.
fn registered(world: &mut World) -> (String, String) {
    let key = new_key(world);
    let role = good_role(world, &key);
    world.atlas(&me()).update_encryption_at_rest(P, &key_of(&key, &role)).unwrap();
    (key, role)
}

fn valid(world: &mut World) -> bool {
    world.atlas(&me()).encryption_at_rest(P).unwrap().aws_kms.valid
}

fn region(name: &str, priority: i64, nodes: i64) -> Value {
    json!({"providerName": "AWS", "regionName": name, "priority": priority,
        "electableSpecs": {"instanceSize": "M10", "nodeCount": nodes}})
}

fn body(value: &Value) -> Cluster {
    serde_json::from_value(value.clone()).unwrap()
}

fn cluster(name: &str, provider: &str) -> Cluster {
    body(
        &json!({"name": name, "clusterType": "REPLICASET", "backupEnabled": true, "encryptionAtRestProvider": provider,
        "replicationSpecs": [{"regionConfigs": [region("US_EAST_1", 7, 3)]}]}),
    )
}

fn state(world: &mut World, name: &str) -> String {
    match world.atlas(&me()).cluster(P, name) {
        Ok(cluster) => cluster.state_name.unwrap(),
        Err(failure) => failure.code().to_owned(),
    }
}

fn act(world: &mut World, command: AtlasCommand) {
    world.command(Command::Atlas(command)).unwrap();
}

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

#[test]
fn the_life_of_a_cluster() {
    let mut world = world();
    let create = |world: &mut World, body: &Cluster| code(world.atlas(&me()).create_cluster(P, body));
    assert_eq!(create(&mut world, &cluster("c1", "AWS")), "ENCRYPTION_AT_REST_NOT_ENABLED");
    let (key, _) = registered(&mut world);
    let made = world.atlas(&me()).create_cluster(P, &cluster("c1", "AWS")).unwrap();
    assert_eq!(
        (made.state_name.as_deref(), made.encryption_at_rest_provider.as_deref()),
        (Some("CREATING"), Some("AWS"))
    );
    let shard = made.replication_specs.unwrap()[0].id.clone().unwrap();
    assert_eq!(shard.len(), 24);
    assert_eq!(world.true_project(P).unwrap().cluster("c1").unwrap().created_with.as_deref(), Some(key.as_str()));
    assert_eq!(create(&mut world, &cluster("c1", "AWS")), "DUPLICATE_CLUSTER_NAME");
    world.advance(2999);
    assert_eq!(state(&mut world, "c1"), "CREATING");
    world.advance(1);
    assert_eq!(state(&mut world, "c1"), "IDLE");
    assert_eq!(code(world.atlas(&me()).update_encryption_at_rest(P, &disabled())), "CANNOT_DISABLE_ENCRYPTION_AT_REST");
    assert_eq!(code(world.atlas(&me()).delete_project(P)), "CANNOT_CLOSE_GROUP_ACTIVE_ATLAS_CLUSTERS");

    // A region more: the shard is sent again with its id, or it would be another one.
    let more = |id: Option<&str>| {
        body(
            &json!({"replicationSpecs": [{"id": id, "regionConfigs": [region("US_EAST_1", 7, 3), region("EU_WEST_1", 6, 2)]}]}),
        )
    };
    assert_eq!(code(world.atlas(&me()).update_cluster(P, "c1", &more(None))), "MISSING_ATTRIBUTE");
    assert_eq!(code(world.atlas(&me()).update_cluster(P, "c1", &more(Some("0")))), "INVALID_ATTRIBUTE");
    let before = world.atlas(&me()).ip_addresses(P).unwrap()[0].addresses.clone();
    assert_eq!((before.outbound.len(), before.future_outbound.len()), (3, 0));
    let changed = world.atlas(&me()).update_cluster(P, "c1", &more(Some(&shard))).unwrap();
    assert_eq!((changed.state_name.as_deref(), changed.backup_enabled), (Some("UPDATING"), Some(true)));
    let during = world.atlas(&me()).ip_addresses(P).unwrap()[0].addresses.clone();
    assert_eq!((during.outbound.len(), during.future_outbound.len()), (3, 2));
    world.advance(2000);
    assert_eq!(state(&mut world, "c1"), "IDLE");
    let after = world.atlas(&me()).ip_addresses(P).unwrap()[0].addresses.clone();
    assert_eq!((after.outbound.len(), after.future_outbound.len()), (5, 0));
    assert_eq!(world.true_project(P).unwrap().cluster("c1").unwrap().regions(), ["us-east-1", "eu-west-1"]);

    // Off again, and gone.
    let off = body(&json!({"encryptionAtRestProvider": "NONE"}));
    world.atlas(&me()).update_cluster(P, "c1", &off).unwrap();
    assert_eq!(code(world.atlas(&me()).update_encryption_at_rest(P, &disabled())), "CANNOT_DISABLE_ENCRYPTION_AT_REST");
    world.advance(2000);
    world.atlas(&me()).update_encryption_at_rest(P, &disabled()).unwrap();
    assert!(!world.atlas(&me()).encryption_at_rest(P).unwrap().aws_kms.enabled);
    let protect = |on: bool| body(&json!({"terminationProtectionEnabled": on}));
    world.atlas(&me()).update_cluster(P, "c1", &protect(true)).unwrap();
    let refused = code(world.atlas(&me()).delete_cluster(P, "c1"));
    assert_eq!(refused, "CANNOT_TERMINATE_CLUSTER_WHEN_TERMINATION_PROTECTION_ENABLED");
    world.atlas(&me()).update_cluster(P, "c1", &protect(false)).unwrap();
    world.atlas(&me()).delete_cluster(P, "c1").unwrap();
    assert_eq!(state(&mut world, "c1"), "DELETING");
    assert_eq!(code(world.atlas(&me()).delete_cluster(P, "c1")), "CLUSTER_ALREADY_REQUESTED_DELETION");
    assert_eq!(code(world.atlas(&me()).update_cluster(P, "c1", &protect(true))), "CLUSTER_ALREADY_REQUESTED_DELETION");
    world.advance(1000);
    assert_eq!(state(&mut world, "c1"), "CLUSTER_NOT_FOUND");
}

#[test]
fn what_is_accepted_of_a_cluster() {
    let mut world = world();
    registered(&mut world);
    world.atlas(&me()).create_cluster(P, &cluster("a-name-of-23-characters-1", "NONE")).unwrap();
    let edited = |edit: fn(&mut Value)| {
        let mut value = json!({"name": "c1", "clusterType": "REPLICASET", "encryptionAtRestProvider": "AWS",
            "replicationSpecs": [{"regionConfigs": [region("US_EAST_1", 7, 3)]}]});
        edit(&mut value);
        body(&value)
    };
    let first = "/replicationSpecs/0/regionConfigs/0";
    assert!(json!({"replicationSpecs": [{"regionConfigs": [1]}]}).pointer(first).is_some());
    for (name, body, want) in [
        ("as it should be", edited(|_| {}), "ok"),
        ("no name", edited(|c| c["name"] = Value::Null), "MISSING_ATTRIBUTE"),
        ("a bad name", edited(|c| c["name"] = json!("a_b")), "CLUSTER_NAME_INVALID"),
        ("a long name", edited(|c| c["name"] = json!("x".repeat(65))), "CLUSTER_NAME_TOO_LONG"),
        (
            "the same prefix",
            edited(|c| c["name"] = json!("a-name-of-23-characters-2")),
            "DUPLICATE_CLUSTER_NAME_PREFIX",
        ),
        ("no type", edited(|c| c["clusterType"] = Value::Null), "MISSING_ATTRIBUTE"),
        ("no shard", edited(|c| c["replicationSpecs"] = json!([])), "MISSING_ATTRIBUTE"),
        ("an unknown field", edited(|c| c["colour"] = json!("red")), "INVALID_ATTRIBUTE"),
        (
            "an unknown region",
            edited(|c| c["replicationSpecs"][0]["regionConfigs"][0]["regionName"] = json!("MARS_1")),
            "INVALID_REGION",
        ),
        (
            "a low priority",
            edited(|c| c["replicationSpecs"][0]["regionConfigs"][0]["priority"] = json!(6)),
            "REPLICATION_SPECS_INVALID",
        ),
        (
            "four nodes",
            edited(|c| c["replicationSpecs"][0]["regionConfigs"][0]["electableSpecs"]["nodeCount"] = json!(4)),
            "CLUSTER_REPLICATION_FACTOR_INVALID",
        ),
        (
            "too small",
            edited(|c| c["replicationSpecs"][0]["regionConfigs"][0]["electableSpecs"]["instanceSize"] = json!("M5")),
            "INSUFFICIENT_INSTANCE_SIZE",
        ),
        (
            "another cloud's key",
            edited(|c| c["encryptionAtRestProvider"] = json!("GCP")),
            "ENCRYPTION_AT_REST_NOT_ENABLED",
        ),
        (
            "nobody's key",
            edited(|c| c["encryptionAtRestProvider"] = json!("ME")),
            "INVALID_ENCRYPTION_AT_REST_PROVIDER",
        ),
        ("paused", edited(|c| c["paused"] = json!(true)), "CANNOT_CREATE_PAUSED_CLUSTER"),
        (
            "shared",
            edited(|c| {
                c["replicationSpecs"][0]["regionConfigs"][0]["providerName"] = json!("TENANT");
                c["replicationSpecs"][0]["regionConfigs"][0]["electableSpecs"]["instanceSize"] = json!("M0");
            }),
            "CANNOT_USE_ENCRYPTION_AT_REST_TENANT",
        ),
    ] {
        assert_eq!(code(world.clone().atlas(&me()).create_cluster(P, &body)), want, "{name}");
    }
}

#[test]
fn an_existing_cluster_is_put_under_the_key() {
    let mut world = world();
    let mut old = cluster("old", "NONE");
    old.rest.insert("pitEnabled".into(), json!(true));
    act(&mut world, AtlasCommand::AddCluster { project: P.into(), cluster: Box::new(old) });
    let on = body(&json!({"encryptionAtRestProvider": "AWS"}));
    let patch = |world: &mut World| code(world.atlas(&me()).update_cluster(P, "old", &on));
    assert_eq!(patch(&mut world), "ENCRYPTION_AT_REST_NOT_ENABLED");
    registered(&mut world);
    let legacy = |on: bool| AtlasCommand::SetLegacyBackup { project: P.into(), cluster: "old".into(), on };
    act(&mut world, legacy(true));
    assert_eq!(world.atlas(&me()).cluster(P, "old").unwrap().backup_enabled, Some(false));
    assert_eq!(patch(&mut world), "ENCRYPTION_AT_REST_PROVIDER_NOT_SUPPORTED");
    act(&mut world, legacy(false));
    assert_eq!(patch(&mut world), "ok");
    assert_eq!(state(&mut world, "old"), "UPDATING");
    world.advance(2000);
    let shown = world.atlas(&me()).cluster(P, "old").unwrap();
    assert_eq!(
        (shown.state_name.as_deref(), shown.encryption_at_rest_provider.as_deref()),
        (Some("IDLE"), Some("AWS"))
    );
    assert_eq!(shown.rest["pitEnabled"], json!(true), "nothing else is touched");
    let other = body(&json!({"encryptionAtRestProvider": "AZURE"}));
    assert_eq!(code(world.atlas(&me()).update_cluster(P, "old", &other)), "CANNOT_CHANGE_ENCRYPTION_AT_REST_PROVIDER");
    let name = body(&json!({"name": "new"}));
    assert_eq!(code(world.atlas(&me()).update_cluster(P, "old", &name)), "CLUSTER_CANNOT_CHANGE_NAME");
    // A shared cluster can't be.
    let shared = body(&json!({"name": "m0", "clusterType": "REPLICASET", "replicationSpecs": [{"regionConfigs": [
        {"providerName": "TENANT", "backingProviderName": "AWS", "regionName": "US_EAST_1", "priority": 7,
         "electableSpecs": {"instanceSize": "M0"}}]}]}));
    act(&mut world, AtlasCommand::AddCluster { project: P.into(), cluster: Box::new(shared) });
    assert_eq!(code(world.atlas(&me()).update_cluster(P, "m0", &on)), "CANNOT_USE_ENCRYPTION_AT_REST_TENANT");
}

#[test]
fn clusters_go_down_with_the_key_and_come_back_with_it() {
    let mut world = world();
    let (key, _) = registered(&mut world);
    for name in ["under", "beside"] {
        let provider = if name == "under" { "AWS" } else { "NONE" };
        world.atlas(&me()).create_cluster(P, &cluster(name, provider)).unwrap();
    }
    world.advance(3000);
    let down =
        |world: &World, name: &str| world.true_project(P).unwrap().cluster(name).unwrap().down_since_ms.is_some();
    world.command(Command::DisableKey { arn: key.clone() }).unwrap();
    world.advance(60_000);
    assert!(!down(&world, "under"), "nobody has looked yet");
    world.advance(15 * 60_000);
    assert!(down(&world, "under") && !down(&world, "beside"));
    assert_eq!(state(&mut world, "under"), "IDLE", "the API does not say so");
    assert!(!valid(&mut world));
    world.command(Command::EnableKey { arn: key }).unwrap();
    assert!(valid(&mut world), "a look is a check");
    assert!(!down(&world, "under"));
}

/// Puts a Deny beside the root statement: nobody but these addresses.
fn restrict(world: &mut World, key: &str, addresses: &[String]) {
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Principal": {"AWS": ARN}, "Action": "kms:*", "Resource": "*",
         "Condition": {"NotIpAddress": {"aws:SourceIp": addresses}}}
    ]});
    world.kms(ACCOUNT, REGION).put_key_policy(key, None, &policy.to_string(), false).unwrap();
}

#[test]
fn a_key_that_is_restricted_to_addresses() {
    let mut world = world();
    let (key, _) = registered(&mut world);
    world.atlas(&me()).create_cluster(P, &cluster("c1", "AWS")).unwrap();
    world.advance(3000);
    let own = world.atlas(&me()).ip_addresses(P).unwrap()[0].addresses.outbound.clone();
    let control_plane: Vec<String> = world.atlas_control_plane().unwrap().outbound.into_values().flatten().collect();
    assert_eq!(control_plane, [format!("{CONTROL_PLANE}/32")]);
    let down = |world: &World| world.true_project(P).unwrap().cluster("c1").unwrap().down_since_ms.is_some();

    restrict(&mut world, &key, &own);
    assert!(!valid(&mut world), "the control plane is shut out");
    restrict(&mut world, &key, &control_plane);
    assert!(valid(&mut world));
    assert!(down(&world), "the nodes are shut out");
    let all = [control_plane, own.clone()].concat();
    restrict(&mut world, &key, &all);
    assert!(valid(&mut world) && !down(&world));

    // A new cluster has addresses that nobody knows yet: it does not come up until they are let in.
    world.atlas(&me()).create_cluster(P, &cluster("c2", "AWS")).unwrap();
    world.advance(600_000);
    assert_eq!(state(&mut world, "c2"), "CREATING");
    assert_eq!(world.atlas(&me()).ip_addresses(P).unwrap().len(), 1);
    world.kms(ACCOUNT, REGION).put_key_policy(&key, None, &open(), false).unwrap();
    world.advance(1000);
    assert_eq!(state(&mut world, "c2"), "IDLE");
    let both: Vec<String> =
        world.atlas(&me()).ip_addresses(P).unwrap().into_iter().flat_map(|c| c.addresses.outbound).collect();
    assert_eq!(both.len(), 6);

    // Addresses change, and the list can come back empty.
    let moved = Addresses { outbound: vec!["198.51.99.1".into()], ..Addresses::default() };
    act(&mut world, AtlasCommand::SetClusterAddresses { project: P.into(), cluster: "c1".into(), addresses: moved });
    restrict(&mut world, &key, &[all, both].concat());
    assert!(valid(&mut world) && down(&world), "it moved out of what is let in");
    let patch = json!({"hide_addresses": true}).as_object().unwrap().clone();
    act(&mut world, AtlasCommand::PatchSettings(patch));
    assert!(world.atlas(&me()).ip_addresses(P).unwrap().is_empty());
}

fn open() -> String {
    json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"}]})
        .to_string()
}

#[test]
fn lists_are_paged() {
    let mut world = world();
    for n in 0..5 {
        world.atlas(&me()).create_cluster(P, &cluster(&format!("c{n}"), "NONE")).unwrap();
    }
    let page = |world: &mut World, page_num, items_per_page| {
        let query = PageQuery { page_num, items_per_page, include_count: true };
        world.atlas(&me()).clusters(P, query).map(|p| (p.results.len(), p.total_count.unwrap()))
    };
    assert_eq!(page(&mut world, 1, 2).unwrap(), (2, 5));
    assert_eq!(page(&mut world, 3, 2).unwrap(), (1, 5));
    assert_eq!(page(&mut world, 4, 2).unwrap(), (0, 5));
    assert_eq!(code(page(&mut world, 0, 2)), "INVALID_ATTRIBUTE");
    assert_eq!(code(page(&mut world, 1, 501)), "INVALID_ATTRIBUTE");
}

#[test]
fn who_may_what() {
    let mut world = world();
    let add = |world: &mut World, id: &str, org: &str, roles: Option<BTreeMap<String, ProjectRole>>| {
        act(
            world,
            AtlasCommand::SetServiceAccount { client_id: id.into(), client_secret: "s".into(), org: org.into(), roles },
        );
    };
    let only = |role| Some(BTreeMap::from([(P.to_owned(), role)]));
    add(&mut world, "reader", ATLAS_ORGANIZATION, only(ProjectRole::GroupReadOnly));
    add(&mut world, "manager", ATLAS_ORGANIZATION, only(ProjectRole::GroupClusterManager));
    add(&mut world, "stranger", "0000000000000000000000a2", None);
    add(&mut world, "nowhere", ATLAS_ORGANIZATION, Some(BTreeMap::new()));
    let login = |id: &str| Login::ServiceAccount { client_id: id.into(), client_secret: "s".into() };
    for (who, read, write, key) in [
        (me(), "ok", "ok", "ok"),
        (login("reader"), "ok", "USER_UNAUTHORIZED", "USER_UNAUTHORIZED"),
        (login("manager"), "ok", "ok", "USER_UNAUTHORIZED"),
        (login("stranger"), "NOT_IN_GROUP", "NOT_IN_GROUP", "NOT_IN_GROUP"),
        (login("nowhere"), "NOT_IN_GROUP", "NOT_IN_GROUP", "NOT_IN_GROUP"),
        (login("nobody"), "401", "401", "401"),
        (Login::Nobody, "401", "401", "401"),
        (Login::Token("none".into()), "401", "401", "401"),
    ] {
        let mut world = world.clone();
        assert_eq!(code(world.atlas(&who).encryption_at_rest(P)), read, "{who:?}");
        assert_eq!(code(world.atlas(&who).create_cluster(P, &cluster("c1", "NONE"))), write, "{who:?}");
        assert_eq!(code(world.atlas(&who).create_role(P, "AWS")), key, "{who:?}");
    }
    assert_eq!(code(world.atlas(&me()).project("0000000000000000000000ff")), "GROUP_NOT_FOUND");
    let project = |name: &str, org: &str| NewProject { name: name.into(), org_id: org.into() };
    let made = world.atlas(&me()).create_project(&project("two", ATLAS_ORGANIZATION)).unwrap();
    assert_eq!(code(world.atlas(&me()).create_project(&project("two", ATLAS_ORGANIZATION))), "GROUP_ALREADY_EXISTS");
    assert_eq!(
        code(world.atlas(&me()).create_project(&project("x", "0000000000000000000000a2"))),
        "NOT_ORG_GROUP_CREATOR"
    );
    assert_eq!(world.atlas(&me()).projects(PageQuery::default()).unwrap().results.len(), 2);
    world.atlas(&me()).delete_project(&made.id).unwrap();
    assert_eq!(code(world.atlas(&me()).project(&made.id)), "GROUP_NOT_FOUND");
}

#[test]
fn tokens_last_an_hour() {
    let mut world = world();
    assert_eq!(code(world.atlas_token(ATLAS_CLIENT_ID, "wrong")), "invalid_client");
    let token = world.atlas_token(ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET).unwrap();
    assert_eq!((token.expires_in, token.token_type), (3600, "Bearer"));
    let login = Login::Token(token.access_token);
    world.advance(3_599_999);
    assert_eq!(code(world.atlas(&login).project(P)), "ok");
    world.advance(1);
    assert_eq!(code(world.atlas(&login).project(P)), "401");
    let token = world.atlas_token(ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET).unwrap();
    act(&mut world, AtlasCommand::KillTokens {});
    assert_eq!(code(world.atlas(&Login::Token(token.access_token)).project(P)), "401");
    act(&mut world, AtlasCommand::KillCredential { id: ATLAS_CLIENT_ID.into() });
    assert_eq!(code(world.atlas_token(ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET)), "invalid_client");
}

#[test]
fn faults_hit_every_call_by_its_name() {
    type Act = fn(&mut World) -> String;
    let calls: [(&str, Act); 13] = [
        ("CreateToken", |w| code(w.atlas_token(ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET))),
        ("ListProjects", |w| code(w.atlas(&me()).projects(PageQuery::default()))),
        ("GetProject", |w| code(w.atlas(&me()).project(P))),
        ("CreateCloudProviderAccess", |w| code(w.atlas(&me()).create_role(P, "AWS"))),
        ("ListCloudProviderAccess", |w| code(w.atlas(&me()).roles(P))),
        ("GetEncryptionAtRest", |w| code(w.atlas(&me()).encryption_at_rest(P))),
        ("UpdateEncryptionAtRest", |w| code(w.atlas(&me()).update_encryption_at_rest(P, &disabled()))),
        ("CreateCluster", |w| code(w.atlas(&me()).create_cluster(P, &cluster("c1", "NONE")))),
        ("ListClusters", |w| code(w.atlas(&me()).clusters(P, PageQuery::default()))),
        ("ListProviderRegions", |w| code(w.atlas(&me()).provider_regions(P, &[], Some("M10"), PageQuery::default()))),
        ("GetIpAddresses", |w| code(w.atlas(&me()).ip_addresses(P))),
        ("ListControlPlaneIpAddresses", |w| code(w.atlas_control_plane())),
        ("ListRateLimits", |w| code(w.atlas(&me()).rate_limits(PageQuery::default()))),
    ];
    for (operation, call) in calls {
        let mut world = world();
        world.record(true);
        let site = format!("atlas:{operation}");
        for fault in [Fault::LostBefore, Fault::AppliedButLost] {
            world.clear_faults();
            world.add_fault(Rule::nth(&site, 1, fault));
            assert_eq!(call(&mut world), "lost", "{site}");
        }
        let applied: Vec<bool> = world.log().iter().map(|e| e.applied).collect();
        assert_eq!(applied, [false, true], "{site}");
        assert!(world.log().iter().all(|e| e.operation == site), "{site}");
        world.clear_faults();
        world.add_fault(Rule::nth(&site, 1, Fault::Throttle { retry_after_s: Some(7) }));
        assert_eq!(call(&mut world), "RATE_LIMITED_TOKEN_BUCKET", "{site}");
    }
    // What was applied is there.
    let mut world = world();
    world.add_fault(Rule::nth("atlas:CreateCloudProviderAccess", 1, Fault::AppliedButLost));
    assert_eq!(code(world.atlas(&me()).create_role(P, "AWS")), "lost");
    assert_eq!(world.atlas(&me()).roles(P).unwrap().len(), 1);
}

#[test]
fn reads_lag_if_told_to() {
    let mut world = World::sandbox(START, Settings { atlas_read_lag_ms: 60_000, ..Settings::default() });
    world.advance(120_000);
    world.atlas(&me()).create_cluster(P, &cluster("c1", "NONE")).unwrap();
    world.advance(3000);
    world.advance(27_000);
    let seen: std::collections::BTreeSet<String> = (0..40).map(|_| state(&mut world, "c1")).collect();
    assert!(seen.contains("CLUSTER_NOT_FOUND") && seen.contains("IDLE"), "{seen:?}");
}

#[test]
fn limits_are_per_project_and_set() {
    let mut world = world();
    let patch = json!({"rate_limits": true, "capacity": 4}).as_object().unwrap().clone();
    act(&mut world, AtlasCommand::PatchSettings(patch));
    let get = |world: &mut World| world.atlas(&me()).encryption_at_rest(P).map(drop);
    for _ in 0..4 {
        assert_eq!(code(get(&mut world)), "ok");
    }
    let Err(Failure::Service(error)) = get(&mut world) else { panic!("it is limited") };
    assert_eq!((error.status, error.code.as_str()), (429, "RATE_LIMITED_TOKEN_BUCKET"));
    let wait_s = error.retry_after_s.unwrap();
    assert_eq!(error.parameters.len(), 5, "{:?}", error.parameters);
    assert_eq!(code(world.atlas(&me()).roles(P)), "ok", "another set");
    world.advance(i64::from(wait_s) * 1000);
    assert_eq!(code(get(&mut world)), "ok");
    assert_eq!(code(get(&mut world)), "RATE_LIMITED_TOKEN_BUCKET");
}

#[test]
fn by_hand() {
    let mut world = world();
    let key = new_key(&mut world);
    // A key of somebody else: whether Atlas can use it is seen at the next look.
    let access = KeyAccess::Role { role_id: "0".repeat(24) };
    act(&mut world, AtlasCommand::PutKey { project: P.into(), key, region: "US_EAST_1".into(), access });
    let shown = world.atlas(&me()).encryption_at_rest(P).unwrap().aws_kms;
    assert!(shown.enabled && !shown.valid);
    act(&mut world, AtlasCommand::RemoveKey { project: P.into() });
    assert!(!world.atlas(&me()).encryption_at_rest(P).unwrap().aws_kms.enabled);
    act(&mut world, AtlasCommand::AddRole { project: P.into(), iam_role: Some(ARN.into()), authorized: true });
    let roles = world.atlas(&me()).roles(P).unwrap();
    assert_eq!((roles.len(), roles[0].iam_assumed_role_arn.as_deref()), (1, Some(ARN)));
    act(&mut world, AtlasCommand::AddCluster { project: P.into(), cluster: Box::new(cluster("c1", "NONE")) });
    let state_of = |state| AtlasCommand::SetClusterState { project: P.into(), cluster: "c1".into(), state };
    act(&mut world, state_of(ClusterState::Repairing));
    world.advance(600_000);
    assert_eq!(state(&mut world, "c1"), "REPAIRING");
    act(&mut world, AtlasCommand::RemoveCluster { project: P.into(), cluster: "c1".into() });
    assert_eq!(state(&mut world, "c1"), "CLUSTER_NOT_FOUND");
    assert!(world.dump()["atlas"]["projects"][P]["roles"][0]["external_id"].is_string());
    let none = AtlasCommand::RemoveCluster { project: P.into(), cluster: "c1".into() };
    assert!(world.command(Command::Atlas(none)).unwrap_err().contains("CLUSTER_NOT_FOUND"));
}
