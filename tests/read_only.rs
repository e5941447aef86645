//! What `plan --live` is given to look with: every read goes through to the simulated clouds, and no write does.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, reason = "a failed test should stop at the place")]

#[path = "inprocess/adapters.rs"]
mod adapters;

use std::collections::BTreeMap;

use cmk_operator::commands::read_only::ReadOnly;
use cmk_operator::domain::capabilities::{Cloud, Scope};
use cmk_operator::domain::desired::{Access as As, DatabaseRequest, NewKey};
use cmk_operator::domain::id::{KeyArn, Owner, Region};
use cmk_operator::domain::moment::Moment;
use cmk_operator::ports::{Credentials, Fault, FaultClass, KeyService, Place, Session, Upstream};
use cmk_operator::sandbox::{ACCOUNT, Access, Clouds, ORGANIZATION, Settings, TOKEN, World};
use futures::FutureExt;

const NOW: i64 = 1_800_000_000_000;

/// The simulated clouds are ready at the first poll.
fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

fn place(region: &Region) -> Place {
    let account = ACCOUNT.parse().unwrap();
    let access = As { account, role_arn: None, external_id: "cmk:test:team".to_owned() };
    Place { access, region: region.clone(), on_behalf_of: "team/orders".to_owned() }
}

fn session() -> Session {
    let scope = Scope {
        cloud: Cloud::Astra,
        id: ORGANIZATION.to_owned(),
        database_type: "Serverless".to_owned(),
        principal_role: "creator".to_owned(),
    };
    Session { scope, credentials: Credentials(BTreeMap::from([("token".to_owned(), TOKEN.to_owned())])) }
}

fn request() -> DatabaseRequest {
    DatabaseRequest {
        name: "orders".to_owned(),
        tier: "serverless".to_owned(),
        capacity_units: Some(1),
        keyspace: None,
        database_type: None,
        group: None,
        cluster: None,
    }
}

#[test]
fn reads_go_through_and_writes_do_not() {
    let mut world = World::sandbox(NOW, Settings::default());
    world.record(true);
    let clouds = Clouds::new(world);
    let (port, cloud) = (ReadOnly::new(clouds.clone()), ReadOnly::new(adapters::adapters(&clouds)));
    let region: Region = "us-east-1".parse().unwrap();
    let (place, session, request) = (place(&region), session(), request());
    let owner = Owner {
        installation: "test".parse().unwrap(),
        namespace: "team".parse().unwrap(),
        name: "orders".parse().unwrap(),
    };
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{ACCOUNT}:root"}},"Action":"kms:*","Resource":"*"}}]}}"#
    );
    let new = NewKey { description: String::new(), tags: BTreeMap::new(), policy: policy.clone(), multi_region: false };
    // One key and one database are there, made by somebody who may.
    let key: KeyArn = ready(clouds.create_key(&place, &new)).unwrap();
    let database = ready(adapters::adapters(&clouds).create_database(&session, &request, &region)).unwrap();
    let before = clouds.world().log().len();

    assert!(ready(port.caller(&place)).present().is_some());
    assert!(ready(port.describe(&place, &key.to_string())).present().is_some());
    assert!(ready(port.tags(&place, &key)).present().is_some());
    assert!(ready(port.policy(&place, &key)).present().is_some());
    assert!(ready(port.rotation(&place, &key)).present().is_some());
    assert!(ready(port.search(&place, &owner)).fault().is_none());
    assert!(ready(port.scan(&place, &owner, Moment(NOW))).fault().is_none());
    assert!(ready(cloud.scope(&session)).present().is_some());
    assert!(ready(cloud.principals(&session, &region)).present().is_some());
    assert!(ready(cloud.offer(&session, &region)).present().is_some());
    assert!(ready(cloud.registration(&session, &region)).is_absent());
    assert!(ready(cloud.database(&session, &database)).present().is_some());
    assert!(ready(cloud.databases_named(&session, "orders")).present().is_some());
    let reads = clouds.world().log().len();
    assert!(reads >= before + 13, "{before}, {reads}");

    let tags = BTreeMap::from([("team".to_owned(), "orders".to_owned())]);
    let refused: [Result<(), Fault>; 15] = [
        ready(port.create_key(&place, &new)).map(drop),
        ready(port.replicate_key(&place, &key, &region, &new)).map(drop),
        ready(port.create_alias(&place, "alias/orders", &key)),
        ready(port.put_policy(&place, &key, &policy)),
        ready(port.enable_rotation(&place, &key, 365)),
        ready(port.describe_as(&place, &key, "another")),
        ready(port.tag(&place, &key, &tags)),
        ready(port.schedule_deletion(&place, &key, 30)),
        ready(port.cancel_deletion(&place, &key)),
        ready(port.enable(&place, &key)),
        ready(cloud.register(&session, &region, &key)),
        ready(cloud.create_database(&session, &request, &region)).map(drop),
        ready(cloud.add_region(&session, &database, &request, &region)),
        ready(cloud.remove_region(&session, &database, &region)),
        ready(cloud.terminate_database(&session, &database)),
    ];
    for result in refused {
        let fault = result.unwrap_err();
        assert_eq!(fault.class, FaultClass::Refused, "{fault}");
        assert!(fault.message.contains("not sent"), "{fault}");
    }
    let world = clouds.world();
    assert_eq!(world.log().len(), reads, "nothing reached the clouds");
    assert!(world.log()[before..].iter().all(|call| call.access == Access::Read));
}
