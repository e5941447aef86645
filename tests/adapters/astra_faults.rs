//! The table of Astra's errors, as data.

use std::time::Duration;

use cmk_operator::domain::fault::{Applied, Cause, Fault, FaultClass};
use cmk_operator::domain::id::KeyArn;
use cmk_operator::domain::moment::Span;
use cmk_operator::ports::Upstream;
use serde_json::json;

use super::astra::{TOKEN, clouds, patient, region, request, session};
use super::server::{Answer, Seen, Server, nobody};
use Applied::{No, Perhaps};
use FaultClass::{Conflict, Invalid, Refused, Terminal, Throttled, Transient};

/// An answer, what it means for a creation, and its class for a registration.
const TABLE: &[(u16, FaultClass, Cause, Applied, FaultClass)] = &[
    (400, Invalid, Cause::Other, No, Refused),
    (422, Invalid, Cause::Other, No, Refused),
    (401, Refused, Cause::Permission, No, Refused),
    (403, Refused, Cause::Permission, No, Refused),
    (402, Refused, Cause::Quota, No, Refused),
    (404, Conflict, Cause::Other, No, Refused),
    (409, Conflict, Cause::Other, No, Conflict),
    (408, Transient, Cause::Other, Perhaps, Transient),
    (429, Throttled, Cause::Other, No, Throttled),
    (500, Transient, Cause::Other, Perhaps, Transient),
    (502, Transient, Cause::Other, Perhaps, Transient),
    (503, Transient, Cause::Other, Perhaps, Transient),
    (301, Terminal, Cause::Other, No, Terminal),
    (418, Terminal, Cause::Other, No, Terminal),
];

fn org_or(seen: &Seen, answer: Answer) -> Answer {
    if seen.path == "/v2/currentOrg" { Answer::json(200, &json!({"id": "org-1"})) } else { answer }
}

async fn create(url: &str, kind: &str) -> Fault {
    clouds(url).create_database(&session(kind), &request(), &region()).await.unwrap_err()
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let key: KeyArn = "arn:aws:kms:us-east-2:111111111111:key/0a".parse().unwrap();
    for (status, class, cause, applied, registering) in TABLE.iter().copied() {
        let body = json!({"errors": [{"ID": 340_018, "message": "the reason"}, {"id": "x", "message": "another"}]});
        let server = Server::start(move |seen| {
            let answer =
                Answer::json(status, &body).header("retry-after", "7").header("location", "http://127.0.0.1:1/");
            org_or(seen, answer)
        })
        .await;
        let fault = create(&server.url, "Serverless").await;
        assert_eq!((fault.class, fault.cause, fault.applied), (class, cause, applied), "{fault}");
        assert_eq!(fault.retry_after, Some(Span::seconds(7)));
        let said = format!("HTTP {status}: the reason (error 340018); another (error x)");
        assert_eq!(fault.message, said);
        assert_eq!((fault.operation.as_str(), fault.target.as_str()), ("POST /v2/databases", "orders in us-east-2"));
        assert_eq!(server.calls().iter().filter(|c| c.starts_with("POST")).count(), 1);
        let fault = clouds(&server.url).register(&session("Classic"), &region(), &key).await.unwrap_err();
        assert_eq!((fault.class, fault.applied), (registering, applied), "{fault}");
        assert_eq!((fault.operation.as_str(), fault.target.as_str()), ("POST /v2/kms/classic", "us-east-2"));
        // A read leaves nothing open, and of a database 404 is an answer.
        let reading = clouds(&server.url).database(&session("Classic"), "id-1").await;
        match reading.fault() {
            Some(fault) => assert_eq!((fault.class, fault.applied), (class, No)),
            None => assert!(status == 404 && reading.is_absent(), "{reading:?}"),
        }
    }
}

#[tokio::test]
async fn a_creation_is_sent_once_whatever_becomes_of_it() {
    for answer in [Answer::Drop, Answer::Hang, Answer::Torn(201, Vec::new()), Answer::text(201, "")] {
        let script = answer.clone();
        let server = Server::start(move |_| script.clone()).await;
        let timeout = Duration::from_millis(if matches!(answer, Answer::Hang) { 300 } else { 30_000 });
        let cloud = patient(&server.url, timeout);
        let fault = cloud.create_database(&session("Classic"), &request(), &region()).await.unwrap_err();
        assert_eq!((fault.class, fault.applied), (Transient, Perhaps), "{answer:?} {fault}");
        assert_eq!(server.seen().len(), 1);
    }
    let fault = create(&nobody().await, "Classic").await;
    assert_eq!((fault.class, fault.applied), (Transient, No), "{fault}");
}

#[tokio::test]
async fn a_dead_token_and_a_lacking_permission_are_told_apart_whatever_the_status() {
    for (status, org_status, cause) in [
        (401, 200, Cause::Permission),
        (403, 200, Cause::Permission),
        (401, 401, Cause::Credentials),
        (403, 403, Cause::Credentials),
        // Cannot be told now: by the status.
        (401, 500, Cause::Credentials),
        (403, 500, Cause::Permission),
    ] {
        let server = Server::start(move |seen| match seen.path.as_str() {
            "/v2/currentOrg" => Answer::json(org_status, &json!({"id": "org-1"})),
            _ => Answer::text(status, "no"),
        })
        .await;
        let cloud = clouds(&server.url);
        for _ in 0..3 {
            let reading = cloud.registration(&session("Classic"), &region()).await;
            assert_eq!(reading.fault().map(|f| (f.class, f.cause)), Some((Refused, cause)), "{status} {org_status}");
        }
        let asked = server.calls().iter().filter(|c| c.ends_with("currentOrg")).count();
        assert_eq!(asked, if org_status == 500 { 3 } else { 1 }, "what is known is not asked again at once");
        let scope = cloud.scope(&session("Classic")).await;
        if matches!(org_status, 401 | 403) {
            assert_eq!(scope.fault().map(|f| f.cause), Some(Cause::Credentials));
        }
    }
}

#[tokio::test]
async fn an_organization_without_classic_databases_by_api_is_told_to_use_the_portal() {
    let sandbox = "classic databases can no longer be created by API in this organization";
    for (status, message, kind, portal) in [
        (422, sandbox, "Classic", true),
        (400, "Tier D10 is not available", "Classic", true),
        (403, "creating classic databases is not permitted", "Classic", true),
        (422, "region us-east-2 is not available to this organization", "Classic", false),
        (422, "classic name is taken", "Classic", false),
        (500, sandbox, "Classic", false),
        (409, sandbox, "Classic", false),
        (422, sandbox, "Serverless", false),
    ] {
        let body = json!({"errors": [{"ID": 1, "message": message}]});
        let server = Server::start(move |seen| org_or(seen, Answer::json(status, &body))).await;
        let fault = create(&server.url, kind).await;
        assert_eq!(fault.cause == Cause::PortalOnly, portal, "{status} {fault}");
        assert!(!portal || fault.class == Refused);
    }
}

#[tokio::test]
async fn no_fault_holds_the_token_however_it_is_echoed() {
    let echo = |lead: usize| format!("{}{TOKEN} is not welcome", "y".repeat(lead));
    for lead in [0, 4090, 16_380] {
        for status in [200, 401, 422, 500] {
            let body = echo(lead);
            let server = Server::start(move |_| Answer::text(status, &body)).await;
            let cloud = clouds(&server.url);
            let scope = cloud.scope(&session("Classic")).await;
            let created = cloud.create_database(&session("Classic"), &request(), &region()).await;
            let told = format!("{scope:?} {created:?} {:?}", session("Classic"));
            assert!(!told.contains("AstraCS") && !told.contains("0123456789"), "{told}");
            assert!(told.len() < 14_000, "{}", told.len());
        }
    }
    // Whoever reads the answer quotes what does not fit.
    let server = Server::start(|_| Answer::json(200, &json!({"aws": TOKEN}))).await;
    let registration = clouds(&server.url).registration(&session("Classic"), &region()).await;
    assert!(registration.fault().is_some() && !format!("{registration:?}").contains("AstraCS"), "{registration:?}");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    let server = Server::start(|_| Answer::text(200, &"x".repeat(9 << 20))).await;
    let reading = clouds(&server.url).scope(&session("Classic")).await;
    assert_eq!(reading.fault().map(|f| f.class), Some(Terminal), "{:?}", reading.fault().map(|f| &f.class));
}
