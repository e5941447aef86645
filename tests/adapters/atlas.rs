//! Atlas through its adapter on the simulated cloud: who asks, roles, the project's key, and clusters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cmk_operator::adapters::upstream::{Clouds, Options};
use cmk_operator::adapters::watch::Unwatched;
use cmk_operator::clock::ManualClock;
use cmk_operator::domain::capabilities::{Cloud, Scope};
use cmk_operator::domain::desired::{ClusterRequest, DatabaseRequest};
use cmk_operator::domain::fault::{Applied, Cause, Fault, FaultClass};
use cmk_operator::domain::id::{KeyArn, Region};
use cmk_operator::domain::moment::Span;
use cmk_operator::domain::observed::{DatabaseState, Encryption};
use cmk_operator::domain::reading::Reading;
use cmk_operator::domain::role_link::{RegistrationSeen, RoleLink, Through};
use cmk_operator::domain::source::{Source, SourcesOf, SourcesSeen};
use cmk_operator::ports::{Credentials, Session, Upstream};
use cmk_operator::sandbox::atlas::AtlasCommand;
use cmk_operator::sandbox::http::{Running, serve};
use cmk_operator::sandbox::kms::CreateKey;
use cmk_operator::sandbox::{
    ACCOUNT, ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET, ATLAS_ORGANIZATION, ATLAS_PRIVATE_KEY, ATLAS_PROJECT,
    ATLAS_PUBLIC_KEY, Command, CreateRole,
};
use serde_json::{Value, json};

use super::aws::NOW;

const ROLE: &str = "arn:aws:iam::111111111111:role/atlas";
const OTHER_PROJECT: &str = "5a9db0c500000000000000b2";

fn scope(project: &str) -> Scope {
    let (database_type, principal_role) = (String::new(), ROLE.to_owned());
    Scope { cloud: Cloud::Atlas, id: project.to_owned(), database_type, principal_role }
}

fn session(pairs: &[(&str, &str)]) -> Session {
    // As a Secret made from files has them.
    let values = pairs.iter().map(|(name, value)| ((*name).to_owned(), format!("{value}\n"))).collect();
    Session { scope: scope(ATLAS_PROJECT), credentials: Credentials(values) }
}

fn account() -> Session {
    session(&[("clientId", ATLAS_CLIENT_ID), ("clientSecret", ATLAS_CLIENT_SECRET)])
}

fn api_key() -> Session {
    session(&[("publicKey", ATLAS_PUBLIC_KEY), ("privateKey", ATLAS_PRIVATE_KEY)])
}

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

struct Scene {
    running: Running,
    cloud: Clouds,
    clock: Arc<ManualClock>,
}

impl Scene {
    async fn start() -> Self {
        let running = serve(cmk_operator::sandbox::http::Options::default()).await.unwrap();
        running.shared.set_speed(0.0);
        let clock = Arc::new(ManualClock::new(NOW));
        let options = Options {
            atlas_endpoint: format!("{}/", running.addresses.atlas),
            timeout: Duration::from_secs(5),
            ..Options::default()
        };
        let cloud = Clouds::new(&options, clock.clone(), Arc::new(Unwatched)).unwrap();
        Self { running, cloud, clock }
    }

    fn command(&self, command: Value) {
        let command: Command = serde_json::from_value(command).unwrap();
        self.running.shared.with(|world| world.command(command)).unwrap();
    }

    fn atlas(&self, command: AtlasCommand) {
        self.running.shared.with(|world| world.command(Command::Atlas(command))).unwrap();
    }

    /// How often an operation of Atlas was called.
    fn count(&self, operation: &str) -> usize {
        self.running.shared.with(|world| world.log().iter().filter(|call| call.operation == operation).count())
    }

    /// A role that trusts a link, and a key that lets it in.
    fn trusted(&self, link: &RoleLink) -> KeyArn {
        let trust = cmk_operator::domain::policy::role::trust_policy(link);
        self.running.shared.with(|world| {
            let role = CreateRole {
                role_name: "atlas".to_owned(),
                assume_role_policy_document: trust.clone(),
                ..CreateRole::default()
            };
            world.iam(ACCOUNT).create_role(&role).unwrap();
            let arn = world.kms(ACCOUNT, "us-east-1").create_key(&CreateKey::default()).unwrap().arn;
            let policy = json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}, "Action": "kms:*",
                 "Resource": "*"},
                {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Resource": "*",
                 "Action": ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*"]},
            ]});
            world.kms(ACCOUNT, "us-east-1").put_key_policy(&arn, None, &policy.to_string(), false).unwrap();
            arn.parse().unwrap()
        })
    }

    /// A project with a key that is registered and usable; the key and the link.
    async fn registered(&self) -> (KeyArn, RoleLink) {
        let session = account();
        let link = self.cloud.create_role_link(&session).await.unwrap();
        let key = self.trusted(&link);
        self.cloud.authorize_role_link(&session, &link.id, ROLE).await.unwrap();
        self.cloud.register_by_role(&session, &region("us-east-1"), &key, &link.id).await.unwrap();
        (key, link)
    }
}

fn is(fault: &Fault) -> (FaultClass, Cause) {
    (fault.class, fault.cause)
}

fn fault<T: std::fmt::Debug>(reading: &Reading<T>) -> Fault {
    reading.fault().unwrap_or_else(|| panic!("{reading:?}")).clone()
}

#[tokio::test]
async fn a_service_accounts_token_is_asked_for_once_and_again_shortly_before_it_is_over() {
    let scene = Scene::start().await;
    let session = account();
    let many = futures::future::join_all((0..8).map(|_| scene.cloud.scope(&session))).await;
    assert!(many.iter().all(|r| *r == Reading::Present(ATLAS_PROJECT.to_owned())), "{many:?}");
    assert_eq!(scene.count("atlas:CreateToken"), 1, "whoever comes while a token is asked for waits for it");
    scene.clock.advance(Span::seconds(3600 - 121));
    scene.cloud.scope(&session).await;
    assert_eq!(scene.count("atlas:CreateToken"), 1);
    scene.clock.advance(Span::seconds(2));
    scene.cloud.scope(&session).await;
    assert_eq!(scene.count("atlas:CreateToken"), 2, "two minutes before its end it is replaced");
    // A token that was ended before its time is replaced, and the refused request sent again.
    scene.atlas(AtlasCommand::KillTokens {});
    assert_eq!(scene.cloud.scope(&session).await, Reading::Present(ATLAS_PROJECT.to_owned()));
    assert_eq!(scene.count("atlas:CreateToken"), 3);
    scene.running.shutdown().await;
}

#[tokio::test]
async fn who_waits_for_a_token_that_does_not_come_does_not_ask_for_it_again() {
    let scene = Scene::start().await;
    let rule = json!({"match": {"operation": "atlas:CreateToken"}, "fault": {"hang": {"ms": 300, "applied": false}}});
    scene.running.shared.with(|world| world.add_fault(serde_json::from_value(rule).unwrap()));
    let session = account();
    let many = futures::future::join_all((0..8).map(|_| scene.cloud.scope(&session))).await;
    assert!(many.iter().all(|reading| fault(reading).class == FaultClass::Transient), "{many:?}");
    assert_eq!(scene.count("atlas:CreateToken"), 1, "they wait for one silence, and not each for its own");
    scene.running.shared.with(cmk_operator::sandbox::World::clear_faults);
    let later = scene.cloud.scope(&session).await;
    assert_eq!(later, Reading::Present(ATLAS_PROJECT.to_owned()), "who comes later asks again");
    scene.running.shutdown().await;
}

#[tokio::test]
async fn an_api_key_answers_the_servers_challenge_and_keeps_it() {
    let scene = Scene::start().await;
    let session = api_key();
    for _ in 0..3 {
        assert_eq!(scene.cloud.scope(&session).await, Reading::Present(ATLAS_PROJECT.to_owned()));
    }
    // A nonce that is too old is answered with another one.
    scene.running.shared.set_speed(0.0);
    scene.running.shared.advance(600_000);
    assert_eq!(scene.cloud.scope(&session).await, Reading::Present(ATLAS_PROJECT.to_owned()));
    let link = scene.cloud.create_role_link(&session).await.unwrap();
    assert_eq!(scene.cloud.role_links(&session).await, Reading::Present(vec![link]));
    scene.running.shutdown().await;
}

#[tokio::test]
async fn dead_credentials_those_of_another_organization_and_those_that_lack_a_role_are_told_apart() {
    let scene = Scene::start().await;
    scene.atlas(AtlasCommand::SetServiceAccount {
        client_id: "mdb_sa_id_other".into(),
        client_secret: "s".into(),
        org: "5a9db0c500000000000000a2".into(),
        roles: None,
    });
    let reader = BTreeMap::from([("*".to_owned(), cmk_operator::sandbox::atlas::ProjectRole::GroupReadOnly)]);
    scene.atlas(AtlasCommand::SetApiKey {
        public_key: "reader".into(),
        private_key: "p".into(),
        org: ATLAS_ORGANIZATION.into(),
        roles: Some(reader),
    });
    for wrong in [
        session(&[("clientId", ATLAS_CLIENT_ID), ("clientSecret", "wrong")]),
        session(&[("publicKey", ATLAS_PUBLIC_KEY), ("privateKey", "wrong")]),
        session(&[]),
    ] {
        let fault = fault(&scene.cloud.scope(&wrong).await);
        assert_eq!(is(&fault), (FaultClass::Refused, Cause::Credentials), "{fault}");
        assert!(!fault.message.contains("wrong"), "{fault}");
    }
    let dead = session(&[("clientId", ATLAS_CLIENT_ID), ("clientSecret", "dead")]);
    let asked = scene.count("atlas:CreateToken");
    futures::future::join_all((0..4).map(|_| scene.cloud.scope(&dead))).await;
    assert_eq!(scene.count("atlas:CreateToken"), asked + 1, "the reads of one pass ask once");
    let other = session(&[("clientId", "mdb_sa_id_other"), ("clientSecret", "s")]);
    assert_eq!(is(&fault(&scene.cloud.scope(&other).await)), (FaultClass::Refused, Cause::Scope));
    let nowhere = Session { scope: scope(OTHER_PROJECT), ..account() };
    assert_eq!(is(&fault(&scene.cloud.scope(&nowhere).await)), (FaultClass::Refused, Cause::Scope));
    let reader = session(&[("publicKey", "reader"), ("privateKey", "p")]);
    assert_eq!(scene.cloud.scope(&reader).await, Reading::Present(ATLAS_PROJECT.to_owned()));
    let refused = scene.cloud.create_role_link(&reader).await.unwrap_err();
    assert_eq!(is(&refused), (FaultClass::Refused, Cause::Permission), "{refused}");
    scene.running.shutdown().await;
}

#[tokio::test]
async fn a_role_is_linked_authorized_once_it_trusts_atlas_and_the_key_registered_through_it() {
    let scene = Scene::start().await;
    let (cloud, session) = (&scene.cloud, account());
    assert_eq!(cloud.role_links(&session).await, Reading::Present(Vec::new()));
    assert_eq!(cloud.registration_by_role(&session).await, Reading::Absent);
    assert_eq!(cloud.principals(&session, &region("us-east-1")).await, Reading::Present(vec![ROLE.to_owned()]));

    let link = cloud.create_role_link(&session).await.unwrap();
    assert_eq!((link.role_arn.as_deref(), link.authorized), (None, false));
    assert!(link.created_at.is_some());
    let early = cloud.authorize_role_link(&session, &link.id, ROLE).await.unwrap_err();
    assert_eq!(is(&early), (FaultClass::Settling, Cause::CloudRole), "{early}");
    assert!(early.message.contains("CANNOT_ASSUME_ROLE"), "{early}");

    let key = scene.trusted(&link);
    let unready = cloud.register_by_role(&session, &region("us-east-1"), &key, &link.id).await.unwrap_err();
    assert_eq!(is(&unready), (FaultClass::Settling, Cause::CloudRole), "{unready}");
    cloud.authorize_role_link(&session, &link.id, ROLE).await.unwrap();
    let links = cloud.role_links(&session).await;
    let [linked] = links.present().unwrap().as_slice() else { panic!("{links:?}") };
    assert_eq!((linked.role_arn.as_deref(), linked.authorized, &linked.id), (Some(ROLE), true, &link.id));

    cloud.register_by_role(&session, &region("us-east-1"), &key, &link.id).await.unwrap();
    // It can be said again.
    cloud.register_by_role(&session, &region("us-east-1"), &key, &link.id).await.unwrap();
    let through = Through::Link(link.id.clone());
    let expected = RegistrationSeen { key: key.to_string(), usable: true, through };
    assert_eq!(cloud.registration_by_role(&session).await, Reading::Present(expected.clone()));
    assert_eq!(cloud.registration(&session, &region("us-east-1")).await, Reading::Present(key.to_string()));

    scene.command(json!({ "disable_key": { "arn": key.to_string() } }));
    let unusable = RegistrationSeen { usable: false, ..expected };
    assert_eq!(cloud.registration_by_role(&session).await, Reading::Present(unusable));
    let refused = cloud.register_by_role(&session, &region("us-east-1"), &key, &link.id).await.unwrap_err();
    assert_eq!(is(&refused), (FaultClass::Settling, Cause::Other), "{refused}");

    let in_use = cloud.remove_role_link(&session, &link.id).await.unwrap_err();
    assert_eq!(in_use.class, FaultClass::Refused, "{in_use}");
    cloud.withdraw(&session).await.unwrap();
    assert_eq!(cloud.registration_by_role(&session).await, Reading::Absent);
    cloud.remove_role_link(&session, &link.id).await.unwrap();
    assert_eq!(cloud.role_links(&session).await, Reading::Present(Vec::new()));
    scene.running.shutdown().await;
}

fn request(name: &str, regions: &[&str]) -> DatabaseRequest {
    DatabaseRequest {
        name: name.to_owned(),
        tier: "M10".to_owned(),
        capacity_units: None,
        keyspace: None,
        database_type: None,
        group: None,
        cluster: Some(ClusterRequest {
            regions: regions.iter().map(|name| region(name)).collect(),
            version: Some("8.0".to_owned()),
            disk_gb: Some(20),
            backup: true,
            ..ClusterRequest::default()
        }),
    }
}

#[tokio::test]
async fn a_cluster_is_made_in_all_its_regions_under_the_key_and_gets_another_one() {
    let scene = Scene::start().await;
    let (cloud, session) = (&scene.cloud, account());
    let early =
        cloud.create_database(&session, &request("shop", &["us-east-1"]), &region("us-east-1")).await.unwrap_err();
    assert_eq!(early.class, FaultClass::Conflict, "without a key there is no such cluster: {early}");
    scene.registered().await;

    let wanted = request("shop", &["eu-west-1", "us-east-1"]);
    let id = cloud.create_database(&session, &wanted, &region("us-east-1")).await.unwrap();
    let database = cloud.database(&session, &id).await.present().unwrap().clone();
    assert_eq!(database.state, DatabaseState::Busy("CREATING".to_owned()));
    assert_eq!((database.region.as_str(), database.tier.as_str()), ("us-east-1", "M10"), "the primary comes first");
    assert_eq!(database.regions.keys().collect::<Vec<_>>(), ["eu-west-1", "us-east-1"]);
    let again = cloud.create_database(&session, &wanted, &region("us-east-1")).await.unwrap_err();
    assert_eq!(is(&again), (FaultClass::Conflict, Cause::Other), "{again}");

    scene.running.shared.advance(10_000);
    let database = cloud.database(&session, &id).await.present().unwrap().clone();
    assert_eq!((database.state, database.encryption), (DatabaseState::Active, Some(Encryption::On)));
    assert_eq!(database.endpoints, ["mongodb+srv://shop.sandbox.mongodb.net"]);
    let named = cloud.databases_named(&session, "shop").await;
    assert_eq!(named.present().map(Vec::len), Some(1), "{named:?}");
    assert_eq!(cloud.databases_named(&session, "other").await, Reading::Present(Vec::new()));

    let shard = |scene: &Scene| {
        let state = scene.running.shared.with(|world| world.dump());
        state["atlas"]["projects"][ATLAS_PROJECT]["clusters"][0]["spec"]["replicationSpecs"].clone()
    };
    let before = shard(&scene);
    let nodes: Vec<&Value> =
        before[0]["regionConfigs"].as_array().unwrap().iter().map(|c| &c["electableSpecs"]).collect();
    assert_eq!(nodes[0]["nodeCount"], 3);
    assert_eq!(nodes[1], &json!({"instanceSize": "M10", "nodeCount": 2, "diskSizeGB": 20}));
    cloud.add_region(&session, &id, &wanted, &region("eu-central-1")).await.unwrap();
    let after = shard(&scene);
    assert_eq!(after.as_array().unwrap().len(), 1);
    assert_eq!(after[0]["id"], before[0]["id"], "the shard is sent again with its id");
    let configs = after[0]["regionConfigs"].as_array().unwrap();
    assert_eq!(configs[..2], before[0]["regionConfigs"].as_array().unwrap()[..], "nothing else of it is touched");
    assert_eq!((&configs[2]["regionName"], &configs[2]["priority"]), (&json!("EU_CENTRAL_1"), &json!(5)));

    scene.running.shared.advance(10_000);
    cloud.remove_region(&session, &id, &region("eu-west-1")).await.unwrap();
    let regions = cloud.database(&session, &id).await.present().unwrap().regions.clone();
    assert_eq!(regions.keys().collect::<Vec<_>>(), ["eu-central-1", "us-east-1"]);
    scene.running.shared.advance(10_000);
    let held = cloud.withdraw(&session).await.unwrap_err();
    assert_eq!(held.class, FaultClass::Refused, "{held}");
    cloud.terminate_database(&session, &id).await.unwrap();
    assert_eq!(cloud.databases_named(&session, "shop").await, Reading::Present(Vec::new()), "it is going");
    scene.running.shared.advance(10_000);
    assert_eq!(cloud.database(&session, &id).await, Reading::Absent);
    let gone = cloud.terminate_database(&session, &id).await.unwrap_err();
    assert_eq!(gone.class, FaultClass::Conflict, "{gone}");
    scene.running.shutdown().await;
}

#[tokio::test]
async fn an_existing_cluster_is_put_under_the_key_and_nothing_else_of_it_is_touched() {
    let scene = Scene::start().await;
    let (cloud, session) = (&scene.cloud, account());
    scene.registered().await;
    let config = |size: &str, provider: &str| {
        json!([{"regionConfigs": [{"providerName": provider, "regionName": "US_EAST_1", "priority": 7,
            "electableSpecs": {"instanceSize": size, "nodeCount": 3}}]}])
    };
    for (name, size, provider) in [("old", "M10", "AWS"), ("tiny", "M0", "TENANT")] {
        scene.command(json!({"atlas": {"add_cluster": {"project": ATLAS_PROJECT, "cluster": {
            "name": name, "clusterType": "REPLICASET", "replicationSpecs": config(size, provider), "pitEnabled": true,
        }}}}));
    }
    let named = |name: &'static str| {
        let session = session.clone();
        async move { cloud.databases_named(&session, name).await.present().unwrap()[0].clone() }
    };
    let (old, tiny) = (named("old").await, named("tiny").await);
    assert_eq!(old.encryption, Some(Encryption::Off));
    assert!(matches!(&tiny.encryption, Some(Encryption::Impossible(why)) if why.contains("M10")), "{tiny:?}");
    cloud.encrypt_database(&session, &old.id).await.unwrap();
    assert_eq!(named("old").await.state, DatabaseState::Busy("UPDATING".to_owned()));
    scene.running.shared.advance(10_000);
    let encrypted = named("old").await;
    assert_eq!((encrypted.state, encrypted.encryption), (DatabaseState::Active, Some(Encryption::On)));
    let state = scene.running.shared.with(|world| world.dump());
    let stored = &state["atlas"]["projects"][ATLAS_PROJECT]["clusters"][0]["spec"];
    assert_eq!((&stored["pitEnabled"], &stored["backupEnabled"]), (&json!(true), &Value::Null));

    scene.command(json!({"atlas": {"add_cluster": {"project": ATLAS_PROJECT, "cluster": {
        "name": "legacy", "clusterType": "REPLICASET", "replicationSpecs": config("M10", "AWS"),
    }}}}));
    scene.command(json!({"atlas": {"set_legacy_backup": {"project": ATLAS_PROJECT, "cluster": "legacy", "on": true}}}));
    let legacy = named("legacy").await;
    let refused = cloud.encrypt_database(&session, &legacy.id).await.unwrap_err();
    assert_eq!(refused.class, FaultClass::Refused, "{refused}");
    assert!(refused.message.contains("ENCRYPTION_AT_REST_PROVIDER_NOT_SUPPORTED"), "{refused}");
    scene.running.shutdown().await;
}

#[tokio::test]
async fn every_page_of_the_list_is_read_and_a_lost_reply_is_said_to_be_one() {
    let scene = Scene::start().await;
    let (cloud, session) = (&scene.cloud, account());
    scene.registered().await;
    cloud.scope(&session).await;
    scene.running.shared.with(|world| {
        world.add_fault(
            serde_json::from_value(json!({"match": {"operation": "atlas:CreateCluster"}, "fault": "applied_but_lost"}))
                .unwrap(),
        );
    });
    let wanted = request("shop", &["us-east-1"]);
    let lost = cloud.create_database(&session, &wanted, &region("us-east-1")).await.unwrap_err();
    assert_eq!((lost.class, lost.applied), (FaultClass::Transient, Applied::Perhaps), "{lost}");
    assert_eq!(cloud.databases_named(&session, "shop").await.present().map(Vec::len), Some(1));
    scene.running.shutdown().await;
}

#[tokio::test]
async fn the_addresses_are_those_of_the_control_plane_and_of_every_cluster_and_what_failed_is_not_known() {
    let scene = Scene::start().await;
    let (cloud, session) = (&scene.cloud, account());
    scene.registered().await;
    let set = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<Source>>();
    let control = Reading::Present(set(&["192.0.2.20"]));
    let bare = SourcesSeen { control: control.clone(), databases: Reading::Absent };
    assert_eq!(cloud.sources(&session).await, bare);

    let wanted = request("shop", &["us-east-1"]);
    cloud.create_database(&session, &wanted, &region("us-east-1")).await.unwrap();
    let shop = SourcesOf { name: "shop".to_owned(), uses_key: true, ..SourcesOf::default() };
    let creating = SourcesOf { changing: Some("CREATING".to_owned()), ..shop.clone() };
    assert_eq!(cloud.sources(&session).await.databases, Reading::Present(vec![creating]));
    scene.running.shared.advance(10_000);
    let addresses = |outbound: &[&str], future: &[&str]| {
        let addresses = json!({"inbound": ["192.0.2.99"], "outbound": outbound, "futureOutbound": future});
        scene.command(json!({"atlas": {"set_cluster_addresses": {
            "project": ATLAS_PROJECT, "cluster": "shop", "addresses": addresses,
        }}}));
    };
    addresses(&["198.51.100.7", "198.51.100.6/32"], &["2001:DB8::7"]);
    let (now, announced) = (set(&["198.51.100.6", "198.51.100.7"]), set(&["2001:db8::7"]));
    let there = Reading::Present(vec![SourcesOf { now, announced, ..shop.clone() }]);
    let seen = SourcesSeen { control: control.clone(), databases: there.clone() };
    assert_eq!(cloud.sources(&session).await, seen);

    // Without credentials that are accepted, what anybody may read is read all the same.
    let dead = session_with_secret("wrong");
    let half = cloud.sources(&dead).await;
    assert_eq!(half.control, control);
    assert_eq!(is(&fault(&half.databases)), (FaultClass::Refused, Cause::Credentials));
    // Each of the three calls can fail by itself.
    for (operation, of_control) in
        [("atlas:ListControlPlaneIpAddresses", true), ("atlas:GetIpAddresses", false), ("atlas:ListClusters", false)]
    {
        let rule = json!({"match": {"operation": operation}, "fault": {"http500": {"applied": false}}});
        scene.running.shared.with(|world| {
            world.add_fault(serde_json::from_value(rule).unwrap());
        });
        let SourcesSeen { control: plane, databases } = cloud.sources(&session).await;
        assert_eq!(if of_control { fault(&plane) } else { fault(&databases) }.class, FaultClass::Transient);
        assert!(if of_control { databases == there } else { plane == control }, "{operation}");
        scene.running.shared.with(cmk_operator::sandbox::World::clear_faults);
    }

    // What is no address makes the whole answer worthless.
    addresses(&["198.51.100.7", "somewhere"], &[]);
    assert_eq!(fault(&cloud.sources(&session).await.databases).class, FaultClass::Terminal);
    addresses(&["198.51.100.7"], &[]);
    scene.command(json!({"atlas": {"patch_settings": {"hide_addresses": true}}}));
    assert_eq!(
        cloud.sources(&session).await.databases,
        Reading::Present(vec![shop.clone()]),
        "it is there, without one"
    );
    scene.command(json!({"atlas": {"set_control_plane": {"inbound": {"us-east-1": ["192.0.2.1"]}, "outbound": {}}}}));
    assert_eq!(cloud.sources(&session).await.control, Reading::Absent);
    scene.running.shutdown().await;
}

fn session_with_secret(secret: &str) -> Session {
    session(&[("clientId", ATLAS_CLIENT_ID), ("clientSecret", secret)])
}
