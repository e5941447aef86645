//! `SingleStore` through its adapter on the simulated cloud: groups under a key, and replication.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cmk_operator::adapters::upstream::Options;
use cmk_operator::adapters::upstream::singlestore::{
    CopyState, GroupState, Keys, NewGroup, NewReplication, Operation, OperationState, Password, SingleStore,
};
use cmk_operator::adapters::watch::Unwatched;
use cmk_operator::clock::ManualClock;
use cmk_operator::domain::capabilities::{Cloud, Scope};
use cmk_operator::domain::fault::{Applied, Cause, FaultClass};
use cmk_operator::domain::id::{KeyArn, Region};
use cmk_operator::ports::{Credentials, Session};
use cmk_operator::sandbox::http::{Running, serve};
use cmk_operator::sandbox::kms::CreateKey;
use cmk_operator::sandbox::singlestore::portal::Portal;
use cmk_operator::sandbox::singlestore::{Command as Act, Role};
use cmk_operator::sandbox::{
    ACCOUNT, Command, Fault, Rule, SINGLESTORE_API_KEY, SINGLESTORE_ORGANIZATION as ORG, World,
};
use serde_json::{Value, json};

use super::aws::NOW;

const FIRST: &str = "us-east-1";
const SECOND: &str = "us-west-2";

pub(super) fn session(key: &str) -> Session {
    let scope = Scope {
        cloud: Cloud::SingleStore,
        id: ORG.to_owned(),
        database_type: String::new(),
        principal_role: String::new(),
    };
    // As a Secret made from a file has it.
    Session { scope, credentials: Credentials(BTreeMap::from([("apiKey".to_owned(), format!("{key}\n"))])) }
}

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

pub(super) async fn start() -> (Running, SingleStore) {
    let running = serve(cmk_operator::sandbox::http::Options::default()).await.unwrap();
    running.shared.set_speed(0.0);
    let options = Options {
        singlestore_endpoint: format!("{}/", running.addresses.singlestore),
        timeout: Duration::from_secs(2),
        ..Options::default()
    };
    let cloud = SingleStore::new(&options, Arc::new(ManualClock::new(NOW)), Arc::new(Unwatched)).unwrap();
    (running, cloud)
}

/// A key with the root statement and these documents.
fn key(world: &mut World, region: &str, documents: &[&Value]) -> KeyArn {
    let arn = world.kms(ACCOUNT, region).create_key(&CreateKey::default()).unwrap().arn;
    put(world, &arn, documents);
    arn.parse().unwrap()
}

fn put(world: &mut World, arn: &str, documents: &[&Value]) {
    let root = json!({"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")},
        "Action": "kms:*", "Resource": "*"});
    let pasted = documents.iter().flat_map(|d| d["Statement"].as_array().unwrap().clone());
    let statements: Vec<Value> = std::iter::once(root).chain(pasted).collect();
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    world.kms(ACCOUNT, arn.split(':').nth(3).unwrap()).put_key_policy(arn, None, &policy, false).unwrap();
}

fn suggested(world: &mut World, region: &str) -> Value {
    let form = Portal::SuggestedPolicy { org: ORG.into(), region: region.into() };
    world.singlestore_portal(&form).unwrap()["key"].clone()
}

pub(super) fn group(name: &str, keys: Keys) -> NewGroup {
    NewGroup {
        name: name.to_owned(),
        region: region(FIRST),
        firewall_ranges: vec!["10.0.0.0/8".to_owned()],
        project: None,
        admin_password: Some(Password("Secret-1234".to_owned())),
        keys,
    }
}

#[tokio::test]
async fn the_organization_and_its_regions() {
    let (running, cloud) = start().await;
    let good = session(SINGLESTORE_API_KEY);
    assert_eq!(cloud.scope(&good).await.unwrap().as_deref(), Some(ORG));
    let regions = cloud.regions(&good).await.unwrap();
    let names: Vec<&str> = regions.iter().map(|r| r.region.as_str()).collect();
    assert_eq!(names, ["ap-southeast-1", "eu-central-1", "eu-west-1", "us-east-1", "us-east-2", "us-west-2"]);
    let ids: std::collections::BTreeSet<_> = regions.iter().map(|r| &r.id).collect();
    assert_eq!(ids.len(), regions.len());
    // The id is that of AWS's region, and not of the other cloud's region of that name.
    let ireland = regions.iter().find(|r| r.region.as_str() == "eu-west-1").unwrap();
    let new = NewGroup { region: region("eu-west-1"), ..group("g", Keys::default()) };
    let made = cloud.create_group(&good, &new).await.unwrap();
    let shown = cloud.group(&good, &made).await.unwrap().unwrap();
    assert_eq!((&shown.region_id, &shown.region), (&ireland.id, &Some(region("eu-west-1"))));
    let refused = cloud.scope(&session("nobody")).await.unwrap_err();
    assert_eq!((refused.class, refused.cause), (FaultClass::Refused, Cause::Credentials));
    let none = Session { credentials: Credentials(BTreeMap::new()), ..good };
    let missing = cloud.scope(&none).await.unwrap_err();
    assert_eq!((missing.class, missing.cause), (FaultClass::Refused, Cause::Credentials));
    running.shutdown().await;
}

#[tokio::test]
async fn a_groups_life_under_a_key() {
    let (running, cloud) = start().await;
    let session = session(SINGLESTORE_API_KEY);
    let arn = running.shared.with(|world| {
        let policy = suggested(world, FIRST);
        key(world, FIRST, &[&policy])
    });
    assert_eq!(cloud.groups_named(&session, "g").await.unwrap(), []);
    let keys = Keys { data: Some(arn.clone()), backup: Some(arn.clone()) };
    let id = cloud.create_group(&session, &group("g", keys)).await.unwrap();
    let state = async || cloud.group(&session, &id).await.unwrap().unwrap().state;
    assert_eq!(state().await, GroupState::Pending);
    running.shared.advance(3000);
    assert_eq!(state().await, GroupState::Active);
    let stored = running.shared.with(|world| world.true_groups(ORG)[0].encrypted_with.clone());
    assert_eq!((stored.data, stored.backup), (Some(arn.to_string()), Some(arn.to_string())));
    // Names are not unique, and a plain group asks for no key at all.
    let other = cloud.create_group(&session, &group("g", Keys::default())).await.unwrap();
    let named: Vec<String> = cloud.groups_named(&session, "g").await.unwrap().into_iter().map(|g| g.id).collect();
    assert_eq!(named.len(), 2);
    assert!(named.is_sorted() && named.contains(&id) && named.contains(&other));
    cloud.delete_group(&session, &id, false).await.unwrap();
    running.shared.advance(1000);
    assert_eq!(state().await, GroupState::Terminated);
    assert_eq!(cloud.groups_named(&session, "g").await.unwrap().len(), 1);
    let again = cloud.delete_group(&session, &id, true).await.unwrap_err();
    assert_eq!((again.class, again.applied), (FaultClass::Conflict, Applied::No));
    assert_eq!(cloud.group(&session, "11111111-2222-4333-8444-555555555555").await, Ok(None));
    running.shutdown().await;
}

#[tokio::test]
async fn replication_to_a_second_region() {
    let (running, cloud) = start().await;
    let session = session(SINGLESTORE_API_KEY);
    let (policy, first) = running.shared.with(|world| {
        let policy = suggested(world, FIRST);
        let arn = key(world, FIRST, &[&policy]);
        (policy, arn)
    });
    let keys = Keys { data: Some(first.clone()), backup: None };
    let id = cloud.create_group(&session, &group("g", keys)).await.unwrap();
    running.shared.advance(3000);
    assert_eq!(cloud.replication(&session, &id).await, Ok(None));
    let form = Portal::SuggestedReplicationPolicies { org: ORG.into(), group: id.clone(), region: SECOND.into() };
    let (second, appended) = running.shared.with(|world| {
        let shown = world.singlestore_portal(&form).unwrap();
        (key(world, SECOND, &[&shown["secondary_key"]]), shown["append_to_primary_key"].clone())
    });
    let regions = cloud.regions(&session).await.unwrap();
    let region_id = regions.into_iter().find(|r| r.region.as_str() == SECOND).unwrap().id;
    let new = |data: Option<KeyArn>| NewReplication {
        region_id: region_id.clone(),
        databases: vec!["db".to_owned()],
        automatic: true,
        keys: Keys { data, backup: None },
    };
    let early = cloud.set_up_replication(&session, &id, &new(Some(second.clone()))).await.unwrap_err();
    assert_eq!(early.class, FaultClass::Invalid);
    assert!(early.message.contains("is not authorized to perform kms:DescribeKey"), "{early}");
    running.shared.with(|world| put(world, &first.to_string(), &[&policy, &appended]));
    let bare = cloud.set_up_replication(&session, &id, &new(None)).await.unwrap_err();
    assert!(bare.message.contains("is required for the data bucket"), "{bare}");
    cloud.set_up_replication(&session, &id, &new(Some(second))).await.unwrap();
    let state = async || cloud.replication(&session, &id).await.unwrap().unwrap().copies.remove(0).state;
    assert_eq!(state().await, CopyState::Pending);
    running.shared.advance(2000);
    assert_eq!(state().await, CopyState::Active);
    let told = cloud.replication(&session, &id).await.unwrap().unwrap();
    assert_eq!((told.operation, told.state), (Operation::Failback, OperationState::Completed));
    let again = cloud.set_up_replication(&session, &id, &new(None)).await.unwrap_err();
    assert_eq!(again.class, FaultClass::Conflict);
    running.shutdown().await;
}

#[tokio::test]
async fn what_is_not_allowed_is_told_from_what_is_not_possible() {
    let (running, cloud) = start().await;
    let good = session(SINGLESTORE_API_KEY);
    let id = cloud.create_group(&good, &group("g", Keys::default())).await.unwrap();
    running.shared.advance(3000);
    let writer = Act::SetApiKey { api_key: "w".into(), org: ORG.into(), role: Role::Writer };
    running.shared.with(|world| world.command(Command::Singlestore(writer))).unwrap();
    let new = NewReplication { region_id: String::new(), databases: vec![], automatic: true, keys: Keys::default() };
    for (key, class, cause) in [
        ("w", FaultClass::Refused, Cause::Permission),
        (SINGLESTORE_API_KEY, FaultClass::Invalid, Cause::Other),
        ("nobody", FaultClass::Refused, Cause::Credentials),
    ] {
        let fault = cloud.set_up_replication(&session(key), &id, &new).await.unwrap_err();
        assert_eq!((fault.class, fault.cause, fault.applied), (class, cause, Applied::No), "{key}: {fault}");
        assert!(!fault.to_string().contains("sandbox-api-key"), "{fault}");
    }
    running.shutdown().await;
}

/// What can become of a creation that is sent once: the fault, its class, whether it was applied as far as anyone knows, and
/// how many were made.
pub(crate) fn fates(what: &str) -> Vec<(Fault, FaultClass, Applied, usize)> {
    let error =
        |status: u16, code: &str, message: &str| Fault::Error { status, code: code.into(), message: message.into() };
    let failed = |why: &str| error(500, "500", &format!("error creating {what}: {why}"));
    vec![
        (Fault::AppliedButLost, FaultClass::Transient, Applied::Perhaps, 1),
        (Fault::LostBefore, FaultClass::Transient, Applied::Perhaps, 0),
        (Fault::PartialReply, FaultClass::Transient, Applied::Perhaps, 1),
        (Fault::Http500 { applied: true }, FaultClass::Transient, Applied::Perhaps, 1),
        (Fault::Hang { ms: 3000, applied: true }, FaultClass::Transient, Applied::Perhaps, 1),
        (Fault::Throttle { retry_after_s: Some(7) }, FaultClass::Throttled, Applied::No, 0),
        (error(502, "html", "Bad Gateway"), FaultClass::Transient, Applied::Perhaps, 0),
        (error(200, "html", "Please wait"), FaultClass::Transient, Applied::Perhaps, 0),
        (error(403, "403", "no credits"), FaultClass::Refused, Applied::No, 0),
        (error(400, "400", "invalid"), FaultClass::Invalid, Applied::No, 0),
        (error(409, "409", "conflict"), FaultClass::Conflict, Applied::No, 0),
        (failed("could not acquire lock within duration [0]"), FaultClass::Throttled, Applied::No, 0),
        (failed("already exists"), FaultClass::Conflict, Applied::No, 0),
    ]
}

/// After a lost reply nobody knows; the group is there or not, and only a look tells.
#[tokio::test]
async fn a_creation_is_sent_once_and_its_fate_is_told_or_unknown() {
    let (running, cloud) = start().await;
    let session = session(SINGLESTORE_API_KEY);
    for (fault, class, applied, made) in fates("workspace group (g)") {
        let before = running.shared.with(|world| {
            world.clear_log();
            world.add_fault(Rule::nth("singlestore:CreateWorkspaceGroup", 1, fault.clone()));
            world.true_groups(ORG).len()
        });
        let told = cloud.create_group(&session, &group("g", Keys::default())).await.unwrap_err();
        assert_eq!((told.class, told.applied), (class, applied), "{fault:?}: {told}");
        assert_eq!(told.retry_after.map(|s| s.0), matches!(fault, Fault::Throttle { .. }).then_some(7000));
        let (after, sent) = running.shared.with(|world| (world.true_groups(ORG).len(), world.log().len()));
        assert_eq!((after - before, sent), (made, 1), "{fault:?}");
        running.shared.with(World::clear_faults);
    }
    // A page instead of a read is no absence.
    let page = Rule::always(
        "singlestore:Get*",
        Fault::Error { status: 200, code: "html".into(), message: "Please wait".into() },
    );
    running.shared.with(|world| world.add_fault(page));
    let told = cloud.scope(&session).await.unwrap_err();
    assert_eq!((told.class, told.applied), (FaultClass::Transient, Applied::No));
    running.shutdown().await;
}
