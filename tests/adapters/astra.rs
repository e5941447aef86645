//! Astra: what is sent, and what is made of the answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cmk_operator::adapters::upstream::{Clouds, Options, required_keys};
use cmk_operator::adapters::watch::Unwatched;
use cmk_operator::clock::ManualClock;
use cmk_operator::domain::capabilities::{Cloud, Scope};
use cmk_operator::domain::desired::DatabaseRequest;
use cmk_operator::domain::fault::{Cause, FaultClass};
use cmk_operator::domain::id::{KeyArn, Region};
use cmk_operator::domain::observed::{Database, DatabaseState, RegionOffer};
use cmk_operator::domain::reading::Reading;
use cmk_operator::ports::{Credentials, Session, Upstream};
use serde_json::{Value, json};

use super::aws::NOW;
use super::server::{Answer, Seen, Server};

pub(crate) const TOKEN: &str = "AstraCS:abc:0123456789";
const ARN: &str = "arn:aws:kms:us-east-2:111111111111:key/0a";

pub(crate) fn region() -> Region {
    "us-east-2".parse().unwrap()
}

pub(crate) fn session(database_type: &str) -> Session {
    Session {
        scope: Scope {
            cloud: Cloud::Astra,
            id: "org-1".to_owned(),
            database_type: database_type.to_owned(),
            principal_role: "creator".to_owned(),
        },
        // As a Secret made from a file has it.
        credentials: Credentials(BTreeMap::from([("token".to_owned(), format!("{TOKEN}\n"))])),
    }
}

pub(crate) fn clouds(url: &str) -> Clouds {
    patient(url, Options::default().timeout)
}

pub(crate) fn patient(url: &str, timeout: Duration) -> Clouds {
    let options = Options { astra_endpoint: format!("{url}/"), timeout, ..Options::default() };
    Clouds::new(&options, Arc::new(ManualClock::new(NOW)), Arc::new(Unwatched)).unwrap()
}

pub(crate) fn request() -> DatabaseRequest {
    DatabaseRequest {
        name: "orders".to_owned(),
        tier: "D10".to_owned(),
        capacity_units: None,
        keyspace: Some("ks".to_owned()),
        database_type: None,
        group: None,
        cluster: None,
    }
}

async fn answering(status: u16, body: Value) -> Server {
    Server::start(move |_| Answer::json(status, &body)).await
}

#[tokio::test]
async fn the_organization_is_the_tokens() {
    let server = answering(200, json!({"id": "org-1"})).await;
    assert_eq!(clouds(&server.url).scope(&session("Serverless")).await, Reading::Present("org-1".to_owned()));
    assert_eq!(server.calls(), ["GET /v2/currentOrg"]);
    assert_eq!(server.seen()[0].headers["authorization"], format!("Bearer {TOKEN}"));
}

#[tokio::test]
async fn every_account_of_the_provider_is_trusted_and_no_other() {
    let account =
        |provider: &str, id: &str| json!({"organization_id": "org-1", "provider": provider, "provider_id": id});
    let body = json!([account("aws", "222222222222"), account("gcp", "x@y.iam"), account("AWS", "111111111111")]);
    let server = answering(200, body).await;
    let cloud = clouds(&server.url);
    let expected = ["arn:aws:iam::111111111111:role/creator", "arn:aws:iam::222222222222:role/creator"];
    for (kind, path) in [("Serverless", "/v2/kms/provider"), ("Classic", "/v2/kms/classic/provider")] {
        let principals = cloud.principals(&session(kind), &region()).await;
        assert_eq!(principals, Reading::Present(expected.map(ToOwned::to_owned).to_vec()));
        let call = server.calls().pop();
        assert_eq!(call, Some(format!("GET {path}/aws/region/us-east-2/accounts")));
    }
    let gov = cloud.principals(&session("Classic"), &"us-gov-west-1".parse().unwrap()).await;
    assert!(gov.present().unwrap()[0].starts_with("arn:aws-us-gov:iam::"), "{gov:?}");
}

#[tokio::test]
async fn no_account_is_an_absence_and_a_strange_one_is_not() {
    let empty = answering(200, json!([])).await;
    assert_eq!(clouds(&empty.url).principals(&session("Classic"), &region()).await, Reading::Absent);
    let strange = answering(200, json!([{"provider": "aws", "provider_id": "*"}])).await;
    let reading = clouds(&strange.url).principals(&session("Classic"), &region()).await;
    assert_eq!(reading.fault().map(|f| f.class), Some(FaultClass::Terminal), "{reading:?}");
}

#[tokio::test]
async fn a_region_is_open_only_if_the_list_says_so() {
    let item = |name: &str, provider: &str, enabled: Value, reserved: bool| {
        json!({"name": name, "cloudProvider": provider, "displayName": "", "zone": "na", "classification": "standard",
               "enabled": enabled, "reservedForQualifiedUsers": reserved})
    };
    for (list, open) in [
        (json!([item("us-east-2", "AWS", json!(true), false)]), true),
        (json!([item("us-east-2", "aws", json!(null), false)]), true),
        // Reserved, and opened to this organization.
        (json!([item("us-east-2", "AWS", json!(true), true)]), true),
        (json!([item("us-east-2", "AWS", json!(false), true)]), false),
        (json!([item("us-east-2", "GCP", json!(true), false)]), false),
        (json!([item("us-east-1", "AWS", json!(true), false)]), false),
        (json!([]), false),
    ] {
        let server = answering(200, list.clone()).await;
        let offer = clouds(&server.url).offer(&session("Serverless"), &region()).await;
        let offer = offer.present().unwrap_or_else(|| panic!("{offer:?}"));
        assert_eq!(matches!(offer, RegionOffer::Open), open, "{list} {offer:?}");
        assert_eq!(server.calls(), ["GET /v2/regions/serverless?region-type=all&filter-by-org=enabled"]);
    }
    for (region_listed, open) in [("us-east-2", true), ("us-east-1", false)] {
        let server = answering(200, json!([{"region": region_listed, "cloudProvider": "AWS", "tier": "D10"}])).await;
        let offer = clouds(&server.url).offer(&session("Classic"), &region()).await;
        assert_eq!(matches!(offer, Reading::Present(RegionOffer::Open)), open, "{offer:?}");
        assert_eq!(server.calls(), ["GET /v2/availableRegions"]);
    }
}

#[tokio::test]
async fn a_registration_is_read_and_only_404_is_an_absence() {
    let present = Reading::Present(ARN.to_owned());
    for (status, body, expected) in [
        (200, json!({"orgId": "org-1", "aws": {"keyID": ARN, "region": "us-east-2"}}), Some(present)),
        (404, json!({"errors": [{"ID": 1, "message": "none"}]}), Some(Reading::Absent)),
        (200, json!({}), None),
        (200, json!({"aws": {}}), None),
        (200, json!({"aws": {"keyID": ""}}), None),
        (200, json!({"aws": {"keyID": ARN, "region": "us-east-1"}}), None),
        (200, json!([]), None),
        (500, json!({}), None),
    ] {
        let server = answering(status, body.clone()).await;
        let reading = clouds(&server.url).registration(&session("Classic"), &region()).await;
        match expected {
            Some(expected) => assert_eq!(reading, expected),
            None => assert!(reading.fault().is_some(), "{body} {reading:?}"),
        }
        assert_eq!(server.calls(), ["GET /v2/kms/classic/provider/aws/region/us-east-2"]);
    }
}

#[tokio::test]
async fn a_key_is_registered_under_the_path_of_its_kind() {
    let key: KeyArn = ARN.parse().unwrap();
    for (kind, path, status) in [("Serverless", "/v2/kms", 200), ("Classic", "/v2/kms/classic", 201)] {
        let server = Server::start(move |_| Answer::text(status, "")).await;
        assert_eq!(clouds(&server.url).register(&session(kind), &region(), &key).await, Ok(()));
        assert_eq!(server.calls(), [format!("POST {path}")]);
        let body = json!({"orgId": "org-1", "aws": {"keyID": ARN, "region": "us-east-2"}});
        assert_eq!(server.seen()[0].json(), body);
    }
}

fn wire(id: &str, name: &str, status: &str) -> Value {
    json!({"id": id, "orgId": "org-1", "ownerId": "u", "status": status, "creationTime": "2026-11-01T22:08:41+00:00",
           "message": "hello", "dataEndpointUrl": "https://d",
           "info": {"name": name, "tier": "D10", "region": "us-east-2", "cloudProvider": "AWS", "capacityUnits": 1,
                    "datacenters": [
                        {"region": "us-east-2", "status": status, "tier": "D10", "cloudProvider": "AWS"},
                        {"region": "us-west-2", "status": "TERMINATED", "tier": "D10", "cloudProvider": "AWS"},
                        {"region": "us-west-2", "status": "PENDING", "tier": "D10", "cloudProvider": "AWS"}]}})
}

#[tokio::test]
async fn a_database_is_read_with_its_regions() {
    let server = answering(200, wire("id-1", "orders", "ACTIVE")).await;
    let reading = clouds(&server.url).database(&session("Classic"), "../id/1").await;
    let regions = [
        ("us-east-2".to_owned(), DatabaseState::Active),
        ("us-west-2".to_owned(), DatabaseState::Busy("PENDING".to_owned())),
    ];
    let expected = Database {
        id: "id-1".to_owned(),
        name: "orders".to_owned(),
        state: DatabaseState::Active,
        created_at: "2026-11-01T22:08:41Z".parse().ok(),
        tier: "D10".to_owned(),
        region: "us-east-2".to_owned(),
        regions: regions.into(),
        message: "hello".to_owned(),
        endpoints: vec!["https://d".to_owned()],
        encryption: None,
    };
    assert_eq!(reading, Reading::Present(expected));
    // An id leads nowhere else.
    assert_eq!(server.calls(), ["GET /v2/databases/%2E%2E%2Fid%2F1"]);
}

#[tokio::test]
async fn states_are_an_open_set() {
    for (wire_state, state) in [
        ("ACTIVE", DatabaseState::Active),
        ("ERROR", DatabaseState::Failed("ERROR".to_owned())),
        ("TERMINATED", DatabaseState::Terminated),
        ("TERMINATING", DatabaseState::Terminated),
        ("MAINTENANCE", DatabaseState::Busy("MAINTENANCE".to_owned())),
        ("LEVITATING", DatabaseState::Busy("LEVITATING".to_owned())),
    ] {
        let server = answering(200, wire("id-1", "orders", wire_state)).await;
        let reading = clouds(&server.url).database(&session("Classic"), "id-1").await;
        assert_eq!(reading.present().map(|d| &d.state), Some(&state));
    }
}

#[tokio::test]
async fn regions_that_a_database_leaves_out_are_asked_for() {
    let server = Server::start(|seen| {
        if seen.path.ends_with("/datacenters") {
            return Answer::json(200, &json!([{"region": "eu-west-1", "status": "ACTIVE"}]));
        }
        let mut database = wire("id-1", "orders", "ACTIVE");
        database["info"]["datacenters"] = Value::Null;
        Answer::json(200, &database)
    })
    .await;
    let reading = clouds(&server.url).database(&session("Classic"), "id-1").await;
    let regions: Vec<_> = reading.present().unwrap().regions.keys().cloned().collect();
    assert_eq!(regions, ["eu-west-1"]);
    assert_eq!(server.calls()[1], "GET /v2/databases/id-1/datacenters");
}

#[tokio::test]
async fn databases_are_listed_to_the_last_page() {
    // A server that holds 40 to a page, whatever is asked for.
    let server = Server::start(|seen| {
        let after = seen.path.split("starting_after=d").nth(1).map_or(0, |n| n.parse::<usize>().unwrap() + 1);
        let name = |n: usize| if n % 50 == 3 { "orders" } else { "other" };
        let state = |n: usize| if n == 53 { "TERMINATING" } else { "ACTIVE" };
        let page: Vec<_> = (after..110).take(40).map(|n| wire(&format!("d{n}"), name(n), state(n))).collect();
        Answer::json(200, &Value::from(page))
    })
    .await;
    let reading = clouds(&server.url).databases_named(&session("Classic"), "orders").await;
    let ids: Vec<_> = reading.present().unwrap().iter().map(|d| d.id.clone()).collect();
    assert_eq!(ids, ["d103", "d3"]);
    let calls = [
        "GET /v2/databases?include=nonterminated&limit=100",
        "GET /v2/databases?include=nonterminated&limit=100&starting_after=d39",
        "GET /v2/databases?include=nonterminated&limit=100&starting_after=d79",
        "GET /v2/databases?include=nonterminated&limit=100&starting_after=d109",
    ];
    assert_eq!(server.calls(), calls);
}

#[tokio::test]
async fn all_databases_of_a_kind_are_listed_and_none_is_asked_for_alone() {
    let server = Server::start(|seen| {
        let after = seen.path.split("starting_after=d").nth(1).map_or(0, |n| n.parse::<usize>().unwrap() + 1);
        let one = |n: usize| {
            let mut database = wire(&format!("d{n}"), "any", if n == 5 { "TERMINATING" } else { "ACTIVE" });
            let tiers = ["D10", "serverless", "cloudnative", ""];
            database["info"]["tier"] = json!(tiers[n % tiers.len()]);
            database["info"]["cloudProvider"] = json!(if n >= 32 { "GCP" } else { "AWS" });
            // The list may leave the regions out.
            database["info"]["datacenters"] = Value::Null;
            database
        };
        Answer::json(200, &(after..36).take(30).map(one).collect())
    })
    .await;
    for (kind, expected) in [("Classic", [0, 2, 3]), ("Serverless", [1, 2, 3])] {
        let reading = clouds(&server.url).databases(&session(kind)).await;
        let ids: Vec<usize> = reading.present().unwrap().iter().map(|d| d.id[1..].parse().unwrap()).collect();
        let wanted: Vec<usize> = (0..32).filter(|n| expected.contains(&(n % 4)) && *n != 5).collect();
        assert_eq!(ids, wanted, "{kind}: and those of which it is not known");
    }
    let calls = [
        "GET /v2/databases?include=nonterminated&limit=100",
        "GET /v2/databases?include=nonterminated&limit=100&starting_after=d29",
    ];
    assert_eq!(server.calls(), [calls, calls].concat());
}

#[tokio::test]
async fn a_list_that_is_not_complete_is_unknown() {
    // One that ignores where it should start, and one that breaks off.
    let page: Vec<_> = (0..100).map(|n| wire(&format!("d{n}"), "x", "ACTIVE")).collect();
    let server = answering(200, Value::from(page.clone())).await;
    let reading = clouds(&server.url).databases_named(&session("Classic"), "orders").await;
    assert_eq!(reading.fault().map(|f| f.class), Some(FaultClass::Terminal));
    let reading = clouds(&server.url).databases(&session("Classic")).await;
    assert_eq!(reading.fault().map(|f| f.class), Some(FaultClass::Terminal));
    let server = Server::start(move |seen| {
        if seen.path.contains("starting_after") {
            Answer::text(503, "later")
        } else {
            Answer::json(200, &Value::from(page.clone()))
        }
    })
    .await;
    let reading = clouds(&server.url).databases_named(&session("Classic"), "orders").await;
    assert_eq!(reading.fault().map(|f| f.class), Some(FaultClass::Transient));
    let reading = clouds(&server.url).databases(&session("Classic")).await;
    assert_eq!(reading.fault().map(|f| f.class), Some(FaultClass::Transient));
}

#[tokio::test]
async fn a_database_is_created_and_its_id_is_the_end_of_its_location() {
    for location in ["id-1", "/v2/databases/id-1", "https://api.astra.datastax.com/v2/databases/id-1/?x=y"] {
        let server = Server::start(move |_| Answer::text(201, "").header("location", location)).await;
        let created = clouds(&server.url).create_database(&session("Classic"), &request(), &region()).await;
        assert_eq!(created, Ok("id-1".to_owned()));
        assert_eq!(server.calls(), ["POST /v2/databases"]);
        let body = json!({"name": "orders", "cloudProvider": "AWS", "region": "us-east-2", "tier": "D10",
                          "capacityUnits": 1, "keyspace": "ks"});
        assert_eq!(server.seen()[0].json(), body);
    }
    let torn = Answer::Torn(201, vec![("location", "id-1".to_owned())]);
    let server = Server::start(move |_| torn.clone()).await;
    let created = clouds(&server.url).create_database(&session("Classic"), &request(), &region()).await;
    assert_eq!(created, Ok("id-1".to_owned()), "the id came before the answer broke off");
}

#[tokio::test]
async fn a_region_is_added_alone() {
    let server = Server::start(|_| Answer::text(201, "")).await;
    let added = clouds(&server.url).add_region(&session("Classic"), "id-1", &request(), &region()).await;
    assert_eq!(added, Ok(()));
    assert_eq!(server.calls(), ["POST /v2/databases/id-1/datacenters"]);
    let body = json!([{"tier": "D10", "cloudProvider": "AWS", "region": "us-east-2"}]);
    assert_eq!(server.seen()[0].json(), body);
}

#[tokio::test]
async fn what_only_other_clouds_have_is_not_asked_for() {
    let server = Server::start(|_| Answer::text(200, "")).await;
    let (clouds, session) = (clouds(&server.url), session("Classic"));
    let links = clouds.role_links(&session).await;
    assert_eq!(links.fault().map(|f| f.class), Some(FaultClass::Terminal));
    let refused = clouds.create_role_link(&session).await.unwrap_err();
    assert_eq!(refused.class, FaultClass::Terminal, "{refused}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let server = Server::start(|_| Answer::text(200, "")).await;
    for token in [None, Some(" \n"), Some("bad\u{1}token")] {
        let mut session = session("Classic");
        session.credentials.0 = token.map(|t| ("token".to_owned(), t.to_owned())).into_iter().collect();
        let reading = clouds(&server.url).scope(&session).await;
        let refused = Some((FaultClass::Refused, Cause::Credentials));
        assert_eq!(reading.fault().map(|f| (f.class, f.cause)), refused, "{reading:?}");
    }
    assert!(server.seen().is_empty());
}

#[test]
fn what_a_secret_lacks_is_named() {
    for (cloud, given, lacking) in [
        (Cloud::Astra, &[][..], &["token"][..]),
        (Cloud::Astra, &[("token", "x")], &[]),
        (Cloud::Astra, &[("token", " ")], &["token"]),
        (Cloud::Atlas, &[], &["clientId", "clientSecret"]),
        (Cloud::Atlas, &[("clientId", "x")], &["clientSecret"]),
        (Cloud::Atlas, &[("publicKey", "x")], &["privateKey"]),
        (Cloud::Atlas, &[("publicKey", "x"), ("privateKey", "y")], &[]),
        (Cloud::Atlas, &[("clientId", "x"), ("clientSecret", "y"), ("publicKey", "z")], &[]),
        (Cloud::SingleStore, &[], &["apiKey"]),
    ] {
        let given = given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(required_keys(cloud, &given), lacking, "{cloud} {given:?}");
    }
}

#[tokio::test]
async fn a_region_is_removed_by_its_datacenter_and_only_if_it_is_the_only_one_there() {
    let listed = |extra: Value| {
        let mut all = json!([
            { "id": "id-1-1", "region": "us-east-1", "status": "ACTIVE" },
            { "id": "id-1-2", "region": "eu-west-1", "status": "TERMINATED" },
            { "id": "id-1-3", "region": "eu-west-1", "status": "ACTIVE" },
        ]);
        all.as_array_mut().unwrap().extend(extra.as_array().unwrap().iter().cloned());
        all
    };
    for (extra, goes) in
        [(json!([]), true), (json!([{ "id": "id-1-4", "region": "eu-west-1", "status": "ACTIVE" }]), false)]
    {
        let body = listed(extra);
        let server = Server::start(move |seen: &Seen| match seen.method.as_str() {
            "GET" => Answer::json(200, &body),
            _ => Answer::text(202, ""),
        })
        .await;
        let (session, there) = (session("Serverless"), "eu-west-1".parse().unwrap());
        let removed = clouds(&server.url).remove_region(&session, "id-1", &there).await;
        let posts: Vec<String> = server.seen().into_iter().filter(|s| s.method == "POST").map(|s| s.path).collect();
        if goes {
            removed.unwrap();
            assert_eq!(posts, ["/v2/databases/id-1/datacenters/id-1-3/terminate"]);
        } else {
            assert_eq!(removed.unwrap_err().class, FaultClass::Conflict);
            assert!(posts.is_empty(), "{posts:?}");
        }
    }
}

#[tokio::test]
async fn a_database_is_terminated_by_its_id() {
    for (status, class) in [(202, None), (404, Some(FaultClass::Conflict)), (409, Some(FaultClass::Conflict))] {
        let server = Server::start(move |_| Answer::text(status, "")).await;
        let ended = clouds(&server.url).terminate_database(&session("Serverless"), "id/1").await;
        assert_eq!(ended.err().map(|fault| fault.class), class, "{status}");
        let seen = server.seen();
        assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/v2/databases/id%2F1/terminate"));
    }
}
