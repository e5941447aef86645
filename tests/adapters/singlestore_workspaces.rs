//! The workspaces of a workspace group: on the simulated cloud, to the letter, and by answers that no simulated cloud gives.

use cmk_operator::adapters::upstream::singlestore::{Keys, SingleStore};
use cmk_operator::domain::fault::{Applied, FaultClass};
use cmk_operator::domain::part::{NewPart, Part, PartState};
use cmk_operator::ports::Session;
use cmk_operator::sandbox::http::Running;
use cmk_operator::sandbox::{Rule, SINGLESTORE_API_KEY, World};
use serde_json::{Value, json};

use super::server::{Answer, Server};
use super::singlestore::{fates, group, session, start};
use super::singlestore_faults::{self as scripted, ID, KEY, answering, cloud};

fn new(name: &str) -> NewPart {
    NewPart { name: name.to_owned(), size: "S-00".to_owned() }
}

/// A group that is up.
async fn in_a_group() -> (Running, SingleStore, Session, String) {
    let (running, cloud) = start().await;
    let session = session(SINGLESTORE_API_KEY);
    let id = cloud.create_group(&session, &group("g", Keys::default())).await.unwrap();
    running.shared.advance(3000);
    (running, cloud, session, id)
}

#[tokio::test]
async fn a_workspaces_life() {
    let (running, cloud, session, group) = in_a_group().await;
    assert_eq!(cloud.parts(&session, &group).await, Ok(Some(vec![])));
    let id = cloud.create_workspace(&session, &group, &new("reports")).await.unwrap();
    let shown = async || cloud.parts(&session, &group).await.unwrap().unwrap();
    let pending = shown().await;
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].id.as_str(), pending[0].name.as_str(), pending[0].size.as_str()), (&*id, "reports", "S-00"));
    assert_eq!((&pending[0].state, &pending[0].endpoint), (&PartState::Coming("PENDING".to_owned()), &None));
    running.shared.advance(60_000);
    let active = shown().await;
    assert_eq!(active[0].state, PartState::Active);
    assert!(active[0].endpoint.is_some());
    // Names are not unique.
    let other = cloud.create_workspace(&session, &group, &new("reports")).await.unwrap();
    let named: Vec<String> = shown().await.into_iter().map(|part| part.id).collect();
    assert!(named.len() == 2 && named.contains(&id) && named.contains(&other), "{named:?}");
    // With the group they go, by force alone; what is over is not shown.
    assert_eq!(cloud.delete_group(&session, &group, false).await.unwrap_err().class, FaultClass::Invalid);
    cloud.delete_group(&session, &group, true).await.unwrap();
    running.shared.advance(60_000);
    assert_eq!(shown().await, []);
    // A group that never was is told from an empty one.
    assert_eq!(cloud.parts(&session, "11111111-2222-4333-8444-555555555555").await, Ok(None));
    running.shutdown().await;
}

/// After a lost reply nobody knows; the workspace is there or not, and only a look tells.
#[tokio::test]
async fn a_creation_is_sent_once_and_its_fate_is_told_or_unknown() {
    let (running, cloud, session, group) = in_a_group().await;
    for (fault, class, applied, made) in fates("workspace") {
        let before = cloud.parts(&session, &group).await.unwrap().unwrap().len();
        running.shared.with(|world| {
            world.clear_log();
            world.add_fault(Rule::nth("singlestore:CreateWorkspace", 1, fault.clone()));
        });
        let told = cloud.create_workspace(&session, &group, &new("w")).await.unwrap_err();
        assert_eq!((told.class, told.applied), (class, applied), "{fault:?}: {told}");
        assert_eq!(running.shared.with(|world| world.log().len()), 1, "{fault:?}");
        running.shared.with(World::clear_faults);
        let after = cloud.parts(&session, &group).await.unwrap().unwrap().len();
        assert_eq!(after - before, made, "{fault:?}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn what_is_sent() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => Answer::json(200, &json!({ "workspaceID": "w-1" })),
        _ => Answer::json(200, &json!([])),
    })
    .await;
    let cloud = cloud(&server.url);
    let part = NewPart { name: "reports".to_owned(), size: "S-2".to_owned() };
    assert_eq!(cloud.create_workspace(&scripted::session(), ID, &part).await.unwrap(), "w-1");
    assert_eq!(cloud.parts(&scripted::session(), "a/b").await, Ok(Some(vec![])));
    assert_eq!(server.calls(), ["POST /v1/workspaces", "GET /v1/workspaces?workspaceGroupID=a%2Fb"]);
    let seen = server.seen();
    assert!(seen.iter().all(|s| s.headers["authorization"] == format!("Bearer {KEY}")));
    assert_eq!(seen[0].json(), json!({ "name": "reports", "workspaceGroupID": ID, "size": "S-2" }));
}

#[tokio::test]
async fn a_workspace_that_was_made_and_is_not_named_is_an_unknown_outcome() {
    for body in [json!({}), json!({ "workspaceID": "" }), json!([]), Value::Null] {
        let server = answering(200, body.clone()).await;
        let told = cloud(&server.url).create_workspace(&scripted::session(), ID, &new("w")).await.unwrap_err();
        assert_eq!((told.class, told.applied), (FaultClass::Transient, Applied::Perhaps), "{body}");
    }
}

fn shown(changes: &Value) -> Value {
    let mut body = json!({ "workspaceID": "w-1", "workspaceGroupID": ID, "name": "w", "size": "S-00",
        "createdAt": "2026-01-01T00:00:00Z", "state": "ACTIVE" });
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn workspaces_as_they_are_read() {
    let good = Part {
        id: "w-1".to_owned(),
        name: "w".to_owned(),
        size: "S-00".to_owned(),
        state: PartState::Active,
        endpoint: None,
    };
    let is = |state: PartState| vec![Part { state, ..good.clone() }];
    for (changes, expected) in [
        (json!({}), vec![good.clone()]),
        (json!({ "endpoint": "svc" }), vec![Part { endpoint: Some("svc".to_owned()), ..good.clone() }]),
        (json!({ "endpoint": "" }), vec![good.clone()]),
        (json!({ "state": "PENDING" }), is(PartState::Coming("PENDING".to_owned()))),
        (json!({ "state": "SUSPENDED" }), is(PartState::Resting("SUSPENDED".to_owned()))),
        (json!({ "state": "FAILED" }), is(PartState::Failed("FAILED".to_owned()))),
        (json!({ "state": "ODD" }), is(PartState::Coming("ODD".to_owned()))),
        (json!({ "state": "TERMINATED" }), vec![]),
        (json!({ "terminatedAt": "2026-01-01T00:00:00Z" }), vec![]),
        (json!({ "terminatedAt": null }), vec![good.clone()]),
    ] {
        let server = answering(200, json!([shown(&changes)])).await;
        assert_eq!(cloud(&server.url).parts(&scripted::session(), ID).await, Ok(Some(expected)), "{changes}");
    }
    for (status, body, class) in [
        (200, json!([shown(&json!({ "workspaceGroupID": "another" }))]), FaultClass::Terminal),
        (200, json!({}), FaultClass::Terminal),
        (401, json!("Unauthorized"), FaultClass::Refused),
        (429, json!("Too many requests"), FaultClass::Throttled),
        (500, json!("Internal server error"), FaultClass::Transient),
    ] {
        let server = answering(status, body.clone()).await;
        let told = cloud(&server.url).parts(&scripted::session(), ID).await.unwrap_err();
        assert_eq!((told.class, told.applied), (class, Applied::No), "{body}");
    }
}
