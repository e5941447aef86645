//! One key: what is sent, and what is made of the answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cmk_operator::adapters::aws::{AwsKeys, Endpoints, Operation, Options};
use cmk_operator::adapters::limits::Limits;
use cmk_operator::adapters::watch::{Call, Unwatched, Watch};
use cmk_operator::clock::{Clock, ManualClock};
use cmk_operator::domain::desired::{Access, NewKey};
use cmk_operator::domain::fault::{Applied, Fault, FaultClass};
use cmk_operator::domain::id::KeyArn;
use cmk_operator::domain::moment::{Moment, Span};
use cmk_operator::domain::observed::{Caller, KeyState, Rotation};
use cmk_operator::domain::reading::Reading;
use cmk_operator::ports::{KeyService, Place};
use serde_json::json;

use super::server::{Answer, Seen, Server};

pub(crate) const ARN: &str = "arn:aws:kms:eu-west-1:111111111111:key/0a";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI-the-secret-key";
pub(crate) const NOW: Moment = Moment(1_800_000_000_000);

pub(crate) fn key() -> KeyArn {
    ARN.parse().unwrap()
}

pub(crate) fn place() -> Place {
    let access =
        Access { account: "111111111111".parse().unwrap(), role_arn: None, external_id: "cmk:prod:team-a".to_owned() };
    Place { access, region: "eu-west-1".parse().unwrap(), on_behalf_of: "team-a/orders".to_owned() }
}

/// The defaults, but with one attempt. Timeouts stay long: the machine may be busy.
pub(crate) fn options(url: &str) -> Options {
    Options {
        read_attempts: 1,
        endpoints: Endpoints::all(url),
        static_credentials: Some(("AKIAEXAMPLE".to_owned(), SECRET.to_owned())),
        ..Options::new("prod".parse().unwrap())
    }
}

pub(crate) struct Bench {
    pub(crate) keys: AwsKeys,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) fn bench(options: Options) -> Bench {
    watched(options, Arc::new(Unwatched))
}

fn watched(options: Options, watch: Arc<dyn Watch>) -> Bench {
    let clock = Arc::new(ManualClock::new(NOW));
    let limits = Arc::new(Limits::new(0.8));
    Bench { keys: AwsKeys::new(options, clock.clone() as Arc<dyn Clock>, limits, watch), clock }
}

pub(crate) fn new_key() -> NewKey {
    NewKey {
        description: "orders".to_owned(),
        tags: BTreeMap::from([("cmk-operator.io/nonce".to_owned(), "n1".to_owned())]),
        policy: "{}".to_owned(),
        multi_region: false,
    }
}

fn described(state: &str) -> serde_json::Value {
    json!({"KeyMetadata": {
        "KeyId": "0a", "Arn": ARN, "KeyState": state, "Enabled": true, "Description": "orders", "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "MultiRegion": false,
        "CreationDate": 1_800_000_000.5
    }})
}

#[tokio::test]
async fn a_key_is_created_as_it_was_asked_for_and_the_lockout_check_is_left_on() {
    let server = Server::start(|_| Answer::json(200, &described("Enabled"))).await;
    let keys = bench(options(&server.url)).keys;
    assert_eq!(keys.create_key(&place(), &new_key()).await, Ok(key()));
    let [seen] = &server.seen()[..] else { panic!("{:?}", server.seen()) };
    assert_eq!(seen.operation(), "CreateKey");
    let expected = json!({
        "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS", "Description": "orders",
        "MultiRegion": false, "Policy": "{}", "Tags": [{"TagKey": "cmk-operator.io/nonce", "TagValue": "n1"}]
    });
    assert_eq!(seen.json(), expected);
}

#[tokio::test]
async fn a_creation_is_sent_once_whatever_becomes_of_it() {
    let throttle =
        || Answer::aws_error(400, "ThrottlingException", "Rate exceeded").header("x-amz-retry-after", "1500");
    for (answer, class, applied, retry_after) in [
        (Answer::Drop, FaultClass::Transient, Applied::Perhaps, None),
        (Answer::Hang, FaultClass::Transient, Applied::Perhaps, None),
        (Answer::Torn(200, Vec::new()), FaultClass::Transient, Applied::Perhaps, None),
        (Answer::text(502, "<html>bad gateway</html>"), FaultClass::Transient, Applied::Perhaps, None),
        (Answer::aws_error(500, "KMSInternalException", "x"), FaultClass::Transient, Applied::Perhaps, None),
        (Answer::aws_error(400, "LimitExceededException", "x"), FaultClass::Refused, Applied::No, None),
        (Answer::json(200, &json!({})), FaultClass::Terminal, Applied::Perhaps, None),
        (throttle(), FaultClass::Throttled, Applied::No, Some(Span(1500))),
    ] {
        let script = answer.clone();
        let server = Server::start(move |_| script.clone()).await;
        let mut options = options(&server.url);
        if matches!(answer, Answer::Hang) {
            options.write_timeout = Duration::from_millis(300);
        }
        let fault = bench(options).keys.create_key(&place(), &new_key()).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.applied, fault.retry_after),
            (class, applied, retry_after),
            "{answer:?} {fault}"
        );
        assert_eq!(server.seen().len(), 1, "{answer:?}");
        assert_eq!((fault.operation.as_str(), fault.target.as_str()), ("kms:CreateKey", "eu-west-1"));
    }
}

#[tokio::test]
async fn a_connection_that_was_never_made_applied_nothing() {
    let url = super::server::nobody().await;
    let fault = bench(options(&url)).keys.create_key(&place(), &new_key()).await.unwrap_err();
    assert_eq!((fault.class, fault.applied), (FaultClass::Transient, Applied::No), "{fault}");
}

#[tokio::test]
async fn reads_are_tried_again_inside() {
    let server = Server::start(|_| Answer::aws_error(500, "KMSInternalException", "x")).await;
    let keys = bench(Options { read_attempts: 2, ..options(&server.url) }).keys;
    let reading = keys.describe(&place(), ARN).await;
    assert_eq!(reading.fault().map(|f| (f.class, f.applied)), Some((FaultClass::Transient, Applied::No)));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_key_is_described_in_our_words_and_a_state_from_the_future_is_unavailable() {
    for (wire, state) in [
        ("Enabled", KeyState::Enabled),
        ("Disabled", KeyState::Disabled),
        ("PendingDeletion", KeyState::PendingDeletion),
        ("PendingReplicaDeletion", KeyState::PendingReplicaDeletion),
        ("PendingImport", KeyState::PendingImport),
        ("Creating", KeyState::Creating),
        ("Updating", KeyState::Updating),
        ("Unavailable", KeyState::Unavailable),
        ("Entangled", KeyState::Unavailable),
    ] {
        let server = Server::start(move |_| Answer::json(200, &described(wire))).await;
        let reading = bench(options(&server.url)).keys.describe(&place(), "alias/x").await;
        let facts = reading.present().unwrap_or_else(|| panic!("{reading:?}"));
        assert_eq!((facts.arn.clone(), facts.state, facts.created_at), (key(), state, Some(Moment(1_800_000_000_500))));
        assert!(facts.symmetric && facts.kms_origin && facts.customer_managed && !facts.multi_region);
    }
}

#[tokio::test]
async fn what_aws_does_not_find_is_absent_and_what_a_proxy_does_not_find_is_unknown() {
    let server = Server::start(|_| Answer::aws_error(400, "NotFoundException", "no")).await;
    let keys = bench(options(&server.url)).keys;
    assert_eq!(keys.describe(&place(), "alias/x").await, Reading::Absent);
    assert_eq!(keys.tags(&place(), &key()).await, Reading::Absent);
    assert_eq!(keys.policy(&place(), &key()).await, Reading::Absent);
    assert_eq!(keys.rotation(&place(), &key()).await, Reading::Absent);
    let server = Server::start(|_| Answer::text(404, "no such host")).await;
    let reading = bench(options(&server.url)).keys.describe(&place(), "alias/x").await;
    assert_eq!(reading.fault().map(|f| f.target.as_str()), Some("alias/x in eu-west-1"), "{reading:?}");
}

#[tokio::test]
async fn policy_and_rotation_are_read_and_the_policy_is_always_named() {
    let server = Server::start(|seen| match seen.operation().as_str() {
        "GetKeyPolicy" => Answer::json(200, &json!({"Policy": "{\"a\":1}", "PolicyName": "default"})),
        _ => Answer::json(
            200,
            &json!({"KeyRotationEnabled": true, "RotationPeriodInDays": 180, "NextRotationDate": 1_800_000_001.0}),
        ),
    })
    .await;
    let keys = bench(options(&server.url)).keys;
    assert_eq!(keys.policy(&place(), &key()).await, Reading::Present("{\"a\":1}".to_owned()));
    let rotation = Rotation { period_days: Some(180), next: Some(Moment(1_800_000_001_000)) };
    assert_eq!(keys.rotation(&place(), &key()).await, Reading::Present(rotation));
    assert_eq!(keys.put_policy(&place(), &key(), "{}").await, Ok(()));
    let seen = server.seen();
    assert_eq!(seen[0].json(), json!({"KeyId": ARN, "PolicyName": "default"}));
    assert_eq!(seen[2].json(), json!({"KeyId": ARN, "PolicyName": "default", "Policy": "{}"}));
}

#[tokio::test]
async fn the_other_writes_say_what_they_should() {
    let server = Server::start(|_| Answer::json(200, &json!({}))).await;
    let keys = bench(options(&server.url)).keys;
    let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(keys.create_alias(&place(), "alias/x", &key()).await, Ok(()));
    assert_eq!(keys.enable_rotation(&place(), &key(), 200).await, Ok(()));
    assert_eq!(keys.describe_as(&place(), &key(), "new").await, Ok(()));
    assert_eq!(keys.tag(&place(), &key(), &tags).await, Ok(()));
    let sent: Vec<_> = server.seen().iter().map(|s| (s.operation(), s.json())).collect();
    let expected = [
        ("CreateAlias", json!({"AliasName": "alias/x", "TargetKeyId": ARN})),
        ("EnableKeyRotation", json!({"KeyId": ARN, "RotationPeriodInDays": 200})),
        ("UpdateKeyDescription", json!({"KeyId": ARN, "Description": "new"})),
        ("TagResource", json!({"KeyId": ARN, "Tags": [{"TagKey": "a", "TagValue": "b"}]})),
    ];
    assert_eq!(sent, expected.map(|(o, b)| (o.to_owned(), b)));
}

#[tokio::test]
async fn without_a_slot_nothing_is_sent_and_the_slot_is_kept_for_the_object() {
    let server = Server::start(|_| Answer::json(200, &described("Enabled"))).await;
    let Bench { keys, clock } = bench(options(&server.url));
    let mut fault: Option<Fault> = None;
    for _ in 0..20 {
        if let Err(refused) = keys.create_key(&place(), &new_key()).await {
            fault = Some(refused);
            break;
        }
    }
    let fault = fault.expect("twenty creations at once are more than the quota");
    assert_eq!((fault.class, fault.applied), (FaultClass::Throttled, Applied::No));
    assert!(fault.message.contains("our own share"), "{fault}");
    let sent = server.seen().len();
    // Somebody else in the same region waits behind; another region does not.
    let mut other = place();
    other.on_behalf_of = "team-b/stock".to_owned();
    let behind = keys.create_key(&other, &new_key()).await.unwrap_err();
    assert!(behind.retry_after > fault.retry_after, "{behind:?} {fault:?}");
    other.region = "eu-west-2".parse().unwrap();
    assert!(keys.create_key(&other, &new_key()).await.is_ok());
    assert_eq!(server.seen().len(), sent + 1);
    clock.advance(fault.retry_after.unwrap());
    assert!(keys.create_key(&place(), &new_key()).await.is_ok());
}

#[tokio::test]
async fn the_caller_is_asked_for_once_in_a_while_and_again_after_bad_credentials() {
    let dead = Arc::new(Mutex::new(false));
    let script = dead.clone();
    let server = Server::start(move |seen: &Seen| match seen.operation().as_str() {
        "GetCallerIdentity" => Answer::text(
            200,
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::111111111111:user/op</Arn>\
             <UserId>AIDA</UserId><Account>111111111111</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
        ),
        _ if *script.lock().unwrap() => Answer::aws_error(400, "ExpiredTokenException", "expired"),
        _ => Answer::json(200, &described("Enabled")),
    })
    .await;
    let Bench { keys, clock } = bench(options(&server.url));
    let caller = Caller { account: "111111111111".to_owned(), arn: "arn:aws:iam::111111111111:user/op".to_owned() };
    for (wait, asked) in [(0, 1), (200, 1), (200, 2)] {
        clock.advance(Span::seconds(wait));
        assert_eq!(keys.caller(&place()).await, Reading::Present(caller.clone()));
        assert_eq!(server.count("GetCallerIdentity"), asked);
    }
    *dead.lock().unwrap() = true;
    assert!(keys.describe(&place(), ARN).await.fault().is_some());
    keys.caller(&place()).await;
    assert_eq!(server.count("GetCallerIdentity"), 3);
}

#[tokio::test]
async fn every_call_is_told_to_the_watch() {
    let server = Server::start(|_| Answer::aws_error(400, "NotFoundException", "no")).await;
    let heard: Arc<Mutex<Vec<Call>>> = Arc::default();
    let ear = heard.clone();
    let bench = watched(options(&server.url), Arc::new(move |call: &Call| ear.lock().unwrap().push(*call)));
    bench.keys.describe(&place(), ARN).await;
    let _ = bench.keys.put_policy(&place(), &key(), "{}").await;
    let heard: Vec<_> = heard.lock().unwrap().iter().map(|c| (c.service, c.operation, c.fault)).collect();
    let expected = [("kms", "kms:DescribeKey", None), ("kms", "kms:PutKeyPolicy", Some(FaultClass::Settling))];
    assert_eq!(heard, expected);
}

#[test]
fn every_operation_has_a_service_and_a_name() {
    for operation in Operation::ALL {
        assert_eq!(format!("{}:{}", operation.service(), operation.name()), operation.action());
        assert!(!operation.writes() || operation.is_scarce());
    }
}
