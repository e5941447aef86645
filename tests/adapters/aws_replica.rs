//! Multi-Region keys on the wire, and where calls go in the other partitions.

use aws_sdk_kms::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use cmk_operator::domain::family::{Family, Role};
use cmk_operator::domain::fault::{Applied, FaultClass};
use cmk_operator::domain::id::{KeyArn, Region};
use cmk_operator::ports::KeyService;
use serde_json::{Value, json};

use super::aws::{bench, new_key, options, place};
use super::server::{Answer, Server};

const PRIMARY: &str = "arn:aws:kms:eu-west-1:111111111111:key/mrk-0a";
const REPLICA: &str = "arn:aws:kms:us-east-1:111111111111:key/mrk-0a";

fn arn(text: &str) -> KeyArn {
    text.parse().unwrap()
}

fn there() -> Region {
    "us-east-1".parse().unwrap()
}

fn described(configuration: &Value) -> Value {
    json!({ "KeyMetadata": {
        "KeyId": "mrk-0a", "Arn": PRIMARY, "KeyState": "PendingReplicaDeletion", "MultiRegion": true,
        "PendingDeletionWindowInDays": 7, "MultiRegionConfiguration": configuration
    } })
}

#[tokio::test]
async fn a_replica_is_made_by_the_primarys_region_with_everything_that_is_not_copied() {
    let server =
        Server::start(|_| Answer::json(200, &json!({ "ReplicaKeyMetadata": { "KeyId": "mrk-0a", "Arn": REPLICA } })))
            .await;
    let keys = bench(options(&server.url)).keys;
    assert_eq!(keys.replicate_key(&place(), &arn(PRIMARY), &there(), &new_key()).await, Ok(arn(REPLICA)));
    let [seen] = &server.seen()[..] else { panic!("{:?}", server.seen()) };
    assert_eq!(seen.operation(), "ReplicateKey");
    assert!(seen.headers["authorization"].contains("/eu-west-1/kms/"), "the primary's region is asked");
    let expected = json!({
        "KeyId": PRIMARY, "ReplicaRegion": "us-east-1", "Description": "orders", "Policy": "{}",
        "Tags": [{ "TagKey": "cmk-operator.io/nonce", "TagValue": "n1" }]
    });
    assert_eq!(seen.json(), expected, "and the lockout check is left on");
}

#[tokio::test]
async fn a_replication_is_sent_once_and_one_that_is_there_is_a_conflict() {
    for (answer, class, applied) in [
        (Answer::Drop, FaultClass::Transient, Applied::Perhaps),
        (Answer::aws_error(500, "KMSInternalException", "x"), FaultClass::Transient, Applied::Perhaps),
        (Answer::aws_error(400, "AlreadyExistsException", "x"), FaultClass::Conflict, Applied::No),
        (Answer::aws_error(400, "KMSInvalidStateException", "is creating"), FaultClass::Conflict, Applied::No),
        (Answer::aws_error(400, "LimitExceededException", "x"), FaultClass::Refused, Applied::No),
        (Answer::json(200, &json!({})), FaultClass::Terminal, Applied::Perhaps),
    ] {
        let script = answer.clone();
        let server = Server::start(move |_| script.clone()).await;
        let keys = bench(options(&server.url)).keys;
        let fault = keys.replicate_key(&place(), &arn(PRIMARY), &there(), &new_key()).await.unwrap_err();
        assert_eq!((fault.class, fault.applied), (class, applied), "{answer:?} {fault}");
        assert_eq!(server.seen().len(), 1, "{answer:?}");
        assert_eq!(fault.operation, "kms:ReplicateKey");
        assert_eq!(fault.target, format!("{PRIMARY} into us-east-1"));
    }
}

/// Five creations a second are AWS's, of which the operator takes four; a replication counts as two of them where the
/// replica is made.
#[tokio::test]
async fn a_replication_takes_two_creations_of_the_replicas_region() {
    let server = Server::start(|_| Answer::json(200, &json!({ "ReplicaKeyMetadata": { "Arn": REPLICA } }))).await;
    let keys = bench(options(&server.url)).keys;
    let mut sent = 0;
    let fault = loop {
        match keys.replicate_key(&place(), &arn(PRIMARY), &there(), &new_key()).await {
            Ok(_) => sent += 1,
            Err(fault) => break fault,
        }
    };
    assert!((1..=3).contains(&sent), "{sent} replications at once");
    assert_eq!((fault.class, server.seen().len()), (FaultClass::Throttled, sent), "{fault}");
    assert!(fault.message.contains("in us-east-1"), "it is the replica's region that is full: {fault}");
}

#[tokio::test]
async fn a_family_is_shown_with_its_primary_or_not_at_all() {
    let both = json!({
        "MultiRegionKeyType": "PRIMARY", "PrimaryKey": { "Arn": PRIMARY, "Region": "eu-west-1" },
        "ReplicaKeys": [{ "Arn": REPLICA, "Region": "us-east-1" }]
    });
    let family = Family { primary: arn(PRIMARY), replicas: [arn(REPLICA)].into() };
    assert_eq!((family.role_of(&arn(PRIMARY)), family.role_of(&arn(REPLICA))), (Role::Primary, Role::Replica));
    let none = json!({ "MultiRegionKeyType": "REPLICA", "ReplicaKeys": [{ "Arn": REPLICA, "Region": "us-east-1" }] });
    let odd = json!({ "PrimaryKey": { "Arn": PRIMARY }, "ReplicaKeys": [{ "Arn": "what is this" }] });
    for (shown, expected) in [(both, Some(family)), (none, None), (odd, None), (Value::Null, None)] {
        let answer = described(&shown);
        let server = Server::start(move |_| Answer::json(200, &answer)).await;
        let reading = bench(options(&server.url)).keys.describe(&place(), PRIMARY).await;
        let facts = reading.present().unwrap_or_else(|| panic!("{reading:?}"));
        assert!(facts.multi_region);
        assert_eq!((&facts.family, facts.window_days), (&expected, Some(7)), "{shown}");
    }
}

#[tokio::test]
async fn calls_for_the_other_partitions_go_to_their_endpoints() {
    for (region, expected) in [
        ("us-east-1", "https://kms.us-east-1.amazonaws.com"),
        ("cn-northwest-1", "https://kms.cn-northwest-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://kms.us-gov-west-1.amazonaws.com"),
    ] {
        let parameters = Params::builder().region(region).build().unwrap();
        let endpoint = DefaultResolver::new().resolve_endpoint(&parameters).await.unwrap();
        assert_eq!(endpoint.url(), expected);
    }
}
