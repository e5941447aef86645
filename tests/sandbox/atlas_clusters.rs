//! Atlas: clusters over time, what is accepted of them, and what becomes of them with their key.

use cmk_operator::sandbox::atlas::{Addresses, AtlasCommand, Cluster};
use cmk_operator::sandbox::{ACCOUNT, Command, World};
use serde_json::{Value, json};

use super::atlas::{ARN, P, act, body, cluster, disabled, me, region, registered, state, valid};
use super::{REGION, code, world};

/// Where the control plane of the default world calls from.
const CONTROL_PLANE: &str = "192.0.2.20";

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
