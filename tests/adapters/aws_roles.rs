//! As whom AWS is called.

use std::sync::{Arc, Mutex};

use cmk_operator::adapters::aws::Options;
use cmk_operator::domain::fault::{Applied, Cause, FaultClass};
use cmk_operator::domain::moment::Span;
use cmk_operator::ports::{KeyService, Place};

use super::aws::{ARN, Bench, bench, new_key, options, place};
use super::server::{Answer, Seen, Server};

const ROLE: &str = "arn:aws:iam::111111111111:role/cmk";

fn with_role(role: &str, external_id: &str) -> Place {
    let mut place = place();
    place.access.role_arn = Some(role.to_owned());
    external_id.clone_into(&mut place.access.external_id);
    place
}

fn issued(seen: &Seen) -> Answer {
    // The issued key id tells for whom it was issued.
    let id = seen.form("ExternalId").unwrap_or_default().replace(':', "");
    Answer::text(
        200,
        &format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{id}</AccessKeyId>\
             <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        ),
    )
}

fn denied() -> Answer {
    Answer::sts_error(403, "AccessDenied", "User is not authorized to perform: sts:AssumeRole")
}

/// A role whose trust policy demands the External ID.
fn closed(seen: &Seen) -> Answer {
    match (seen.operation().as_str(), seen.form("ExternalId")) {
        ("AssumeRole", Some(_)) => issued(seen),
        ("AssumeRole", None) => denied(),
        _ => Answer::aws_error(400, "NotFoundException", "no"),
    }
}

#[tokio::test]
async fn a_role_is_assumed_with_the_external_id_and_proven_closed_once() {
    let server = Server::start(closed).await;
    let Bench { keys, clock } = bench(options(&server.url));
    for region in ["eu-west-1", "eu-west-2"] {
        let place = Place { region: region.parse().unwrap(), ..with_role(ROLE, "cmk:prod:team-a") };
        for _ in 0..2 {
            assert!(keys.describe(&place, ARN).await.is_absent());
        }
    }
    let assumed: Vec<_> = server.seen().into_iter().filter(|s| s.operation() == "AssumeRole").collect();
    let ids: Vec<_> = assumed.iter().map(|s| s.form("ExternalId")).collect();
    let id = Some("cmk:prod:team-a".to_owned());
    // With the id, the check, and with the id in the other region, where the check still holds.
    assert_eq!(ids, [id.clone(), None, id]);
    assert_eq!(assumed[0].form("RoleArn").as_deref(), Some(ROLE));
    assert_eq!(assumed[0].form("RoleSessionName").as_deref(), Some("cmk-operator-prod"));
    let described = server.seen().into_iter().find(|s| s.operation() == "DescribeKey").unwrap();
    assert!(described.headers["authorization"].contains("ASIAcmkprodteam-a"), "{described:?}");
    // A set of clients that was dropped and made again finds the role closed an hour later, by asking.
    clock.advance(Span::seconds(3601));
    assert!(keys.describe(&with_role(ROLE, "cmk:prod:team-b"), ARN).await.is_absent());
    assert_eq!(server.count("AssumeRole"), 5);
}

#[tokio::test]
async fn two_namespaces_never_share_credentials_of_a_role() {
    let server = Server::start(closed).await;
    let keys = bench(options(&server.url)).keys;
    for id in ["cmk:prod:team-a", "cmk:prod:team-b", "cmk:prod:team-a"] {
        keys.describe(&with_role(ROLE, id), ARN).await;
    }
    let signed: Vec<_> = server.seen().into_iter().filter(|s| s.operation() == "DescribeKey").collect();
    let team = |n: usize| signed[n].headers["authorization"].contains("ASIAcmkprodteam-a");
    assert_eq!([team(0), team(1), team(2)], [true, false, true]);
}

#[tokio::test]
async fn an_open_role_is_refused_unless_allowed() {
    let script = |seen: &Seen| match seen.operation().as_str() {
        "AssumeRole" => issued(seen),
        _ => Answer::aws_error(400, "NotFoundException", "no"),
    };
    let server = Server::start(script).await;
    let keys = bench(options(&server.url)).keys;
    let fault = keys.create_key(&with_role(ROLE, "cmk:prod:team-a"), &new_key()).await.unwrap_err();
    assert_eq!((fault.class, fault.cause, fault.applied), (FaultClass::Refused, Cause::OpenRole, Applied::No));
    assert_eq!((fault.operation.as_str(), fault.target.as_str()), ("sts:AssumeRole", ROLE));
    assert_eq!(server.count("CreateKey"), 0);
    let keys = bench(Options { allow_open_roles: true, ..options(&server.url) }).keys;
    assert!(keys.describe(&with_role(ROLE, "cmk:prod:team-a"), ARN).await.is_absent());
}

#[tokio::test]
async fn a_role_that_refuses_us_is_asked_seldom() {
    let server = Server::start(|_| denied()).await;
    let Bench { keys, clock } = bench(options(&server.url));
    let place = with_role(ROLE, "cmk:prod:team-a");
    for _ in 0..8 {
        let reading = keys.describe(&place, ARN).await;
        let fault = reading.fault().unwrap();
        assert_eq!((fault.class, fault.cause), (FaultClass::Refused, Cause::Role), "{fault}");
        assert!(fault.message.starts_with("AccessDenied: "), "{fault}");
        assert!(!fault.message.contains("cmk:prod:team-a"), "{fault}");
    }
    assert_eq!(server.count("AssumeRole"), 1);
    clock.advance(Span::seconds(30));
    keys.describe(&place, ARN).await;
    assert_eq!(server.count("AssumeRole"), 2);
}

#[tokio::test]
async fn a_check_that_finds_nothing_out_stops_for_now() {
    let healthy = Arc::new(Mutex::new(false));
    let script = healthy.clone();
    let server = Server::start(move |seen: &Seen| match seen.form("ExternalId") {
        None if seen.operation() == "AssumeRole" && !*script.lock().unwrap() => {
            Answer::sts_error(500, "InternalFailure", "")
        }
        _ => closed(seen),
    })
    .await;
    let keys = bench(options(&server.url)).keys;
    let place = with_role(ROLE, "cmk:prod:team-a");
    let reading = keys.describe(&place, ARN).await;
    assert_eq!(reading.fault().map(|f| f.class), Some(FaultClass::Transient), "{reading:?}");
    *healthy.lock().unwrap() = true;
    assert!(keys.describe(&place, ARN).await.is_absent());
}

#[tokio::test]
async fn a_role_of_another_partition_is_not_even_tried() {
    let server = Server::start(closed).await;
    let keys = bench(options(&server.url)).keys;
    let reading = keys.describe(&with_role("arn:aws-cn:iam::111111111111:role/x", "cmk:prod:team-a"), ARN).await;
    assert_eq!(reading.fault().map(|f| f.class), Some(FaultClass::Invalid));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn many_at_once_assume_a_role_once() {
    let server = Server::start(closed).await;
    let keys = bench(options(&server.url)).keys;
    let place = with_role(ROLE, "cmk:prod:team-a");
    futures::future::join_all((0..20).map(|_| keys.describe(&place, ARN))).await;
    assert_eq!((server.count("AssumeRole"), server.count("DescribeKey")), (2, 20));
}

const DELETER: &str = "arn:aws:iam::{account}:role/deleter";

/// Both roles are closed; KMS takes everything.
fn willing(seen: &Seen) -> Answer {
    match seen.operation().as_str() {
        "ScheduleKeyDeletion" => Answer::json(200, &serde_json::json!({ "KeyId": ARN, "PendingWindowInDays": 7 })),
        _ => closed(seen),
    }
}

#[tokio::test]
async fn keys_are_scheduled_as_the_role_for_deletions_and_nothing_else_is() {
    let server = Server::start(willing).await;
    let keys = bench(Options { deletion_role: Some(DELETER.to_owned()), ..options(&server.url) }).keys;
    let place = with_role(ROLE, "cmk:prod:team-a");
    keys.describe(&place, ARN).await;
    keys.schedule_deletion(&place, &ARN.parse().unwrap(), 7).await.unwrap();
    let assumed: Vec<_> = server.seen().into_iter().filter(|s| s.operation() == "AssumeRole").collect();
    let with: Vec<_> = assumed.iter().map(|s| (s.form("RoleArn").unwrap(), s.form("ExternalId"))).collect();
    let deleter = DELETER.replace("{account}", "111111111111");
    let id = Some("cmk:prod:team-a".to_owned());
    // Each with the namespace's External ID, and each proven to demand one.
    let expected = [(ROLE, id.clone()), (ROLE, None), (deleter.as_str(), id), (deleter.as_str(), None)];
    assert_eq!(with, expected.map(|(role, id)| (role.to_owned(), id)));
    let scheduled = server.seen().into_iter().find(|s| s.operation() == "ScheduleKeyDeletion").unwrap();
    assert_eq!(scheduled.json(), serde_json::json!({ "KeyId": ARN, "PendingWindowInDays": 7 }));
}

#[tokio::test]
async fn a_role_for_deletions_in_another_account_is_refused_before_anything_is_sent() {
    let server = Server::start(willing).await;
    let other = DELETER.replace("{account}", "222222222222");
    let keys = bench(Options { deletion_role: Some(other), ..options(&server.url) }).keys;
    let fault = keys.schedule_deletion(&place(), &ARN.parse().unwrap(), 30).await.unwrap_err();
    assert_eq!((fault.class, fault.cause, fault.applied), (FaultClass::Refused, Cause::Role, Applied::No));
    assert!(fault.message.contains("is not in account 111111111111"), "{fault}");
    assert!(server.seen().is_empty());
}
