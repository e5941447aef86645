//! `SingleStore`: what is sent to the letter, and answers that no simulated cloud gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use cmk_operator::adapters::upstream::Options;
use cmk_operator::adapters::upstream::singlestore::{
    CopyState, Group, GroupState, Keys, NewGroup, NewReplication, Operation, OperationState, Password, SingleStore,
};
use cmk_operator::adapters::watch::Unwatched;
use cmk_operator::clock::ManualClock;
use cmk_operator::domain::capabilities::{Cloud, Scope};
use cmk_operator::domain::fault::{Applied, FaultClass};
use cmk_operator::ports::{Credentials, Session};
use serde_json::{Value, json};

use super::aws::NOW;
use super::server::{Answer, Server, nobody};

pub(super) const KEY: &str = "api-key-0123456789";
pub(super) const ID: &str = "7d6b3a5a-0000-4000-8000-d454af4c785b";
const ARN: &str = "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-4333-8444-555555555555";

pub(super) fn session() -> Session {
    let scope = Scope {
        cloud: Cloud::SingleStore,
        id: "org-1".to_owned(),
        database_type: String::new(),
        principal_role: String::new(),
    };
    Session { scope, credentials: Credentials(BTreeMap::from([("apiKey".to_owned(), format!("{KEY}\n"))])) }
}

pub(super) fn cloud(url: &str) -> SingleStore {
    let options = Options { singlestore_endpoint: format!("{url}/"), ..Options::default() };
    SingleStore::new(&options, Arc::new(ManualClock::new(NOW)), Arc::new(Unwatched)).unwrap()
}

fn group() -> NewGroup {
    NewGroup {
        name: "g".to_owned(),
        region: "us-east-1".parse().unwrap(),
        firewall_ranges: vec![],
        project: Some("p-1".to_owned()),
        admin_password: Some(Password("Secret-1234".to_owned())),
        keys: Keys { data: Some(ARN.parse().unwrap()), backup: None },
    }
}

pub(super) async fn answering(status: u16, body: Value) -> Server {
    Server::start(move |_| Answer::json(status, &body)).await
}

#[tokio::test]
async fn what_is_sent() {
    let server = answering(200, json!({"workspaceGroupID": ID, "adminPassword": "Made-up-1"})).await;
    let cloud = cloud(&server.url);
    assert_eq!(cloud.create_group(&session(), &group()).await.unwrap(), ID);
    cloud.delete_group(&session(), "a/b", true).await.unwrap();
    let plain = NewGroup { project: None, admin_password: None, keys: Keys::default(), ..group() };
    cloud.create_group(&session(), &plain).await.unwrap();
    let keys = Keys { data: Some(ARN.parse().unwrap()), backup: Some(ARN.parse().unwrap()) };
    let new = NewReplication { region_id: "r-1".to_owned(), databases: vec![], automatic: true, keys };
    cloud.set_up_replication(&session(), ID, &new).await.unwrap();
    let seen = server.seen();
    assert_eq!(
        server.calls(),
        [
            "POST /v1/workspaceGroups".to_owned(),
            "DELETE /v1/workspaceGroups/a%2Fb?force=true".to_owned(),
            "POST /v1/workspaceGroups".to_owned(),
            format!("POST /v1/workspaceGroups/{ID}/storage/DR/setup"),
        ]
    );
    assert!(seen.iter().all(|s| s.headers["authorization"] == format!("Bearer {KEY}")));
    let body = json!({"name": "g", "provider": "AWS", "regionName": "us-east-1", "firewallRanges": []});
    assert_eq!(seen[2].json(), body, "no field for a key that is not given");
    let mut whole = body;
    whole["projectID"] = json!("p-1");
    whole["adminPassword"] = json!("Secret-1234");
    whole["dataBucketKMSKeyID"] = json!(ARN);
    assert_eq!(seen[0].json(), whole);
    assert_eq!(seen[1].body, "");
    let set_up = json!({"regionID": "r-1", "databaseNames": [], "autoReplication": true,
        "dataBucketKMSKeyID": ARN, "backupBucketKMSKeyID": ARN});
    assert_eq!(seen[3].json(), set_up);
}

/// A password that the other side echoes is in no fault, and one that it made up is not read.
#[tokio::test]
async fn no_secret_is_told() {
    assert_eq!(format!("{:?}", group().admin_password), "Some(Password([redacted]))");
    for (status, body) in [
        (400, format!("bad adminPassword Secret-1234 from {KEY}")),
        (500, format!("<html><head><title>Secret-1234 {KEY}</title></head></html>")),
        (200, "{\"workspaceGroupID\": [\"Secret-1234\"]}".to_owned()),
    ] {
        let server = Server::start(move |_| Answer::text(status, &body)).await;
        let told = cloud(&server.url).create_group(&session(), &group()).await.unwrap_err();
        assert!(!told.to_string().contains("Secret-1234") && !told.to_string().contains(KEY), "{told}");
    }
    let server =
        Server::start(|_| Answer::text(502, "<html>\n<head><title>502 Bad Gateway</title></head></html>")).await;
    let told = cloud(&server.url).group(&session(), ID).await.unwrap_err();
    assert_eq!(told.message, "HTTP 502: 502 Bad Gateway");
}

#[tokio::test]
async fn a_group_that_was_made_and_is_not_named_is_an_unknown_outcome() {
    for body in [json!({}), json!({"workspaceGroupID": ""}), json!([]), Value::Null] {
        let server = answering(200, body.clone()).await;
        let told = cloud(&server.url).create_group(&session(), &group()).await.unwrap_err();
        assert_eq!((told.class, told.applied), (FaultClass::Transient, Applied::Perhaps), "{body}");
    }
    // Nothing was sent: nothing can have happened.
    let told = cloud(&nobody().await).create_group(&session(), &group()).await.unwrap_err();
    assert_eq!((told.class, told.applied), (FaultClass::Transient, Applied::No));
}

fn shown(changes: &Value) -> Value {
    let mut body = json!({"workspaceGroupID": ID, "name": "g", "state": "ACTIVE", "createdAt": "2026-01-01T00:00:00Z",
        "regionID": "r-1", "regionName": "us-east-1", "provider": "AWS", "firewallRanges": []});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn groups_as_they_are_read() {
    let good = Group {
        id: ID.to_owned(),
        name: "g".to_owned(),
        state: GroupState::Active,
        region_id: "r-1".to_owned(),
        region: Some("us-east-1".parse().unwrap()),
        created_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
    };
    for (changes, expected) in [
        (json!({}), good.clone()),
        (json!({"state": "PENDING"}), Group { state: GroupState::Pending, ..good.clone() }),
        (json!({"state": "FAILED"}), Group { state: GroupState::Failed, ..good.clone() }),
        (json!({"state": "TERMINATED"}), Group { state: GroupState::Terminated, ..good.clone() }),
        (json!({"terminatedAt": "2026-01-01T00:00:00Z"}), Group { state: GroupState::Terminated, ..good.clone() }),
        (json!({"terminatedAt": null}), good.clone()),
        (json!({"state": "RESTING"}), Group { state: GroupState::Other("RESTING".into()), ..good.clone() }),
        (json!({"provider": "GCP"}), Group { region: None, ..good.clone() }),
        // As the published spec has it.
        (json!({"regionName": null, "provider": null}), Group { region: None, ..good }),
    ] {
        let server = answering(200, shown(&changes)).await;
        assert_eq!(cloud(&server.url).group(&session(), ID).await, Ok(Some(expected)), "{changes}");
    }
    for (status, body, class) in [
        (200, shown(&json!({"workspaceGroupID": "another"})), FaultClass::Terminal),
        (200, json!({}), FaultClass::Terminal),
        (401, json!("Unauthorized"), FaultClass::Refused),
        (429, json!("Too many requests"), FaultClass::Throttled),
        (500, json!("Internal server error"), FaultClass::Transient),
    ] {
        let server = answering(status, body.clone()).await;
        let told = cloud(&server.url).group(&session(), ID).await.unwrap_err();
        assert_eq!((told.class, told.applied), (class, Applied::No), "{body}");
    }
}

/// An empty or missing list is told from none of that name.
#[tokio::test]
async fn a_list_that_is_not_there_is_no_absence() {
    let server = answering(404, json!("not found")).await;
    let cloud_404 = cloud(&server.url);
    for told in [
        cloud_404.groups_named(&session(), "g").await.unwrap_err(),
        cloud_404.regions(&session()).await.unwrap_err(),
        cloud_404.scope(&session()).await.unwrap_err(),
    ] {
        assert_eq!(told.class, FaultClass::Terminal, "{told}");
    }
    let other = shown(&json!({"name": "h", "workspaceGroupID": "2"}));
    let over = shown(&json!({"state": "TERMINATED", "workspaceGroupID": "3"}));
    let server = answering(200, json!([shown(&json!({})), other, over])).await;
    let named = cloud(&server.url).groups_named(&session(), "g").await.unwrap();
    assert_eq!(named.iter().map(|g| g.id.as_str()).collect::<Vec<_>>(), [ID]);
    assert_eq!(server.calls(), ["GET /v1/workspaceGroups"]);
}

#[tokio::test]
async fn replication_as_it_is_read() {
    for (kind, state, expected) in [
        ("Failover", "Active", (Operation::Failover, OperationState::Active)),
        ("Failback", "Completed", (Operation::Failback, OperationState::Completed)),
        ("PreProvisionStart", "Failed", (Operation::PreProvisionStart, OperationState::Failed)),
        ("DRTestStart", "Expired", (Operation::PreProvisionStart, OperationState::Failed)),
        ("PreProvisionStop", "Canceled", (Operation::PreProvisionStop, OperationState::Failed)),
        ("New", "Odd", (Operation::Other("New".into()), OperationState::Other("Odd".into()))),
    ] {
        let copies: Vec<Value> = ["Pending", "Active", "Inactive", "Error", "Strange"]
            .map(|s| json!({"databaseName": "db", "region": "Ireland", "duplicationState": s}))
            .to_vec();
        let body = json!({"compute": {"storageDRType": kind, "storageDRState": state}, "storage": copies});
        let server = answering(200, body).await;
        let told = cloud(&server.url).replication(&session(), ID).await.unwrap().unwrap();
        assert_eq!((told.operation, told.state), expected);
        let states: Vec<CopyState> = told.copies.into_iter().map(|c| c.state).collect();
        let strange = CopyState::Other("Strange".into());
        assert_eq!(states, [CopyState::Pending, CopyState::Active, CopyState::Inactive, CopyState::Error, strange]);
    }
    let server = answering(200, json!({"storage": []})).await;
    assert_eq!(cloud(&server.url).replication(&session(), ID).await.unwrap_err().class, FaultClass::Terminal);
}
