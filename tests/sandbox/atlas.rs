//! Atlas: who may what, how calls fail, what an administrator does by hand; and what the tests beside this one share.

use std::collections::BTreeMap;

use cmk_operator::sandbox::atlas::{
    AtlasCommand, AwsKms, Cluster, ClusterState, EncryptionAtRestUpdate, KeyAccess, Login, NewProject, PageQuery,
    ProjectRole,
};
use cmk_operator::sandbox::{
    ACCOUNT, ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET, ATLAS_ORGANIZATION, ATLAS_PROJECT, Command, CreateRole, Failure,
    Fault, Rule, Settings, World,
};
use serde_json::{Value, json};

use super::{START, code, new_key, world};

pub(super) const P: &str = ATLAS_PROJECT;
pub(super) const NAME: &str = "atlas";
pub(super) const ARN: &str = "arn:aws:iam::111111111111:role/atlas";

pub(super) fn me() -> Login {
    Login::ServiceAccount { client_id: ATLAS_CLIENT_ID.into(), client_secret: ATLAS_CLIENT_SECRET.into() }
}

pub(super) fn trust(atlas_arn: &str, external_id: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": atlas_arn}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}}
    }]})
    .to_string()
}

pub(super) fn use_of(key: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"], "Resource": key}
    ]})
    .to_string()
}

/// Atlas's side of a role, and the role itself with the right trust and no permissions.
pub(super) fn new_role(world: &mut World) -> String {
    let role = world.atlas(&me()).create_role(P, "AWS").unwrap();
    let document = trust(&role.atlas_aws_account_arn, &role.atlas_assumed_role_external_id);
    let input = CreateRole { role_name: NAME.into(), assume_role_policy_document: document, ..CreateRole::default() };
    world.iam(ACCOUNT).create_role(&input).unwrap();
    role.role_id
}

/// An authorized role that may use the key.
pub(super) fn good_role(world: &mut World, key: &str) -> String {
    let role = new_role(world);
    world.iam(ACCOUNT).put_role_policy(NAME, "keys", &use_of(key)).unwrap();
    world.atlas(&me()).authorize_role(P, &role, "AWS", ARN).unwrap();
    role
}

pub(super) fn key_of(key: &str, role: &str) -> EncryptionAtRestUpdate {
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

pub(super) fn disabled() -> EncryptionAtRestUpdate {
    let aws_kms = Some(AwsKms { enabled: Some(false), ..AwsKms::default() });
    EncryptionAtRestUpdate { aws_kms, ..EncryptionAtRestUpdate::default() }
}

/// A project whose key is registered: the key and the role.
pub(super) fn registered(world: &mut World) -> (String, String) {
    let key = new_key(world);
    let role = good_role(world, &key);
    world.atlas(&me()).update_encryption_at_rest(P, &key_of(&key, &role)).unwrap();
    (key, role)
}

pub(super) fn valid(world: &mut World) -> bool {
    world.atlas(&me()).encryption_at_rest(P).unwrap().aws_kms.valid
}

pub(super) fn region(name: &str, priority: i64, nodes: i64) -> Value {
    json!({"providerName": "AWS", "regionName": name, "priority": priority,
        "electableSpecs": {"instanceSize": "M10", "nodeCount": nodes}})
}

pub(super) fn body(value: &Value) -> Cluster {
    serde_json::from_value(value.clone()).unwrap()
}

pub(super) fn cluster(name: &str, provider: &str) -> Cluster {
    body(
        &json!({"name": name, "clusterType": "REPLICASET", "backupEnabled": true, "encryptionAtRestProvider": provider,
        "replicationSpecs": [{"regionConfigs": [region("US_EAST_1", 7, 3)]}]}),
    )
}

pub(super) fn state(world: &mut World, name: &str) -> String {
    match world.atlas(&me()).cluster(P, name) {
        Ok(cluster) => cluster.state_name.unwrap(),
        Err(failure) => failure.code().to_owned(),
    }
}

pub(super) fn act(world: &mut World, command: AtlasCommand) {
    world.command(Command::Atlas(command)).unwrap();
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
