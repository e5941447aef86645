//! Looking for keys by their tags.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cmk_operator::domain::fault::{Applied, Cause, FaultClass};
use cmk_operator::domain::id::{KeyArn, Owner};
use cmk_operator::domain::moment::{Moment, Span};
use cmk_operator::domain::observed::Candidate;
use cmk_operator::domain::reading::Reading;
use cmk_operator::ports::KeyService;
use serde_json::{Value, json};

use super::aws::{Bench, NOW, bench, key, options, place};
use super::server::{Answer, Seen, Server};

fn owner() -> Owner {
    Owner {
        installation: "prod".parse().unwrap(),
        namespace: "team-a".parse().unwrap(),
        name: "orders".parse().unwrap(),
    }
}

fn arn(id: &str) -> String {
    format!("arn:aws:kms:eu-west-1:111111111111:key/{id}")
}

fn candidate(id: &str, nonce: Option<&str>) -> Candidate {
    Candidate {
        arn: arn(id).parse::<KeyArn>().unwrap(),
        nonce: nonce.map(ToOwned::to_owned),
        holder: None,
        registered: false,
    }
}

/// Our tags, in the words of KMS or of the tagging API.
fn tags(name: &str, nonce: Option<&str>, (key, value): (&str, &str)) -> Value {
    let mut tags = vec![
        json!({key: "cmk-operator.io/installation", value: "prod"}),
        json!({key: "cmk-operator.io/namespace", value: "team-a"}),
        json!({key: "cmk-operator.io/name", value: name}),
    ];
    tags.extend(nonce.map(|n| json!({key: "cmk-operator.io/nonce", value: n})));
    Value::from(tags)
}

const KMS: (&str, &str) = ("TagKey", "TagValue");
const INDEX: (&str, &str) = ("Key", "Value");

#[tokio::test]
async fn tags_are_read_to_the_last_page() {
    let server = Server::start(|seen| match seen.json().get("Marker") {
        None => Answer::json(
            200,
            &json!({"Tags": [{"TagKey": "a", "TagValue": "1"}], "Truncated": true, "NextMarker": "m"}),
        ),
        Some(_) => Answer::json(200, &json!({"Tags": [{"TagKey": "b", "TagValue": "2"}], "Truncated": false})),
    })
    .await;
    let reading = bench(options(&server.url)).keys.tags(&place(), &key()).await;
    assert_eq!(reading.present().map(BTreeMap::len), Some(2), "{reading:?}");
}

#[tokio::test]
async fn a_list_that_does_not_say_where_it_goes_on_is_unknown() {
    for more in [json!({"Truncated": true}), json!({"Truncated": true, "NextMarker": "m"})] {
        let server = Server::start(move |_| Answer::json(200, &more)).await;
        let keys = bench(options(&server.url)).keys;
        let reading = keys.tags(&place(), &key()).await;
        assert_eq!(reading.fault().map(|f| f.class), Some(FaultClass::Terminal), "{reading:?}");
        let reading = keys.scan(&place(), &owner(), NOW).await;
        assert_eq!(reading.fault().map(|f| f.class), Some(FaultClass::Terminal), "{reading:?}");
        assert!(server.seen().len() <= 4);
    }
}

#[tokio::test]
async fn the_index_is_searched_to_the_last_page_and_not_trusted() {
    let server = Server::start(|seen| {
        let found = |list: Value, token: &str| {
            Answer::json(200, &json!({"ResourceTagMappingList": list, "PaginationToken": token}))
        };
        match seen.json().get("PaginationToken").and_then(Value::as_str) {
            None => found(json!([{"ResourceARN": arn("b"), "Tags": tags("orders", Some("n2"), INDEX)}]), "p2"),
            Some("p2") => found(
                json!([
                    {"ResourceARN": arn("lost-its-tags"), "Tags": []},
                    {"ResourceARN": arn("other"), "Tags": tags("stock", None, INDEX)},
                ]),
                "p3",
            ),
            Some(_) => found(json!([{"ResourceARN": arn("a"), "Tags": tags("orders", None, INDEX)}]), ""),
        }
    })
    .await;
    let reading = bench(options(&server.url)).keys.search(&place(), &owner()).await;
    assert_eq!(reading, Reading::Present(vec![candidate("a", None), candidate("b", Some("n2"))]));
    let asked = server.seen()[0].json();
    assert_eq!(asked["ResourceTypeFilters"], json!(["kms:key"]));
    assert_eq!(asked["TagFilters"][2], json!({"Key": "cmk-operator.io/name", "Values": ["orders"]}));
}

#[tokio::test]
async fn no_key_at_all_is_an_answer() {
    let server = Server::start(|seen| match seen.operation().as_str() {
        "ListKeys" => Answer::json(200, &json!({"Keys": [], "Truncated": false})),
        _ => Answer::json(200, &json!({"ResourceTagMappingList": [], "PaginationToken": ""})),
    })
    .await;
    let keys = bench(options(&server.url)).keys;
    assert_eq!(keys.search(&place(), &owner()).await, Reading::Present(vec![]));
    assert_eq!(keys.scan(&place(), &owner(), NOW).await, Reading::Present(vec![]));
}

/// A region with keys in two pages, of which each answers as told.
fn region(answer: impl Fn(&str) -> Answer) -> impl Fn(&Seen) -> Answer {
    move |seen| {
        let body = seen.json();
        if seen.operation() == "ListKeys" {
            let (id, more) = if body.get("Marker").is_none() { (["a", "b"], true) } else { (["c", "d"], false) };
            let keys: Vec<_> = id.iter().map(|id| json!({"KeyId": id, "KeyArn": arn(id)})).collect();
            let mut page = json!({"Keys": keys, "Truncated": more});
            if more {
                page["NextMarker"] = json!("m");
            }
            return Answer::json(200, &page);
        }
        answer(body["KeyId"].as_str().and_then(|arn| arn.rsplit('/').next()).unwrap_or_default())
    }
}

fn tagged(name: &str, nonce: &str) -> Answer {
    Answer::json(200, &json!({"Tags": tags(name, Some(nonce), KMS), "Truncated": false}))
}

fn closed() -> Answer {
    Answer::aws_error(400, "AccessDeniedException", "no resource-based policy allows it")
}

#[tokio::test]
async fn a_scan_reads_every_key_and_skips_what_is_closed_or_gone() {
    let server = Server::start(region(|id| match id {
        "a" => closed(),
        "b" => Answer::aws_error(400, "NotFoundException", "gone"),
        "c" => tagged("stock", "n1"),
        _ => tagged("orders", "n2"),
    }))
    .await;
    let reading = bench(options(&server.url)).keys.scan(&place(), &owner(), NOW).await;
    assert_eq!(reading, Reading::Present(vec![candidate("d", Some("n2"))]));
}

#[tokio::test]
async fn a_scan_that_could_not_read_a_key_found_nothing_out() {
    let server = Server::start(region(|id| match id {
        "b" => Answer::aws_error(500, "KMSInternalException", "x"),
        _ => tagged("orders", "n"),
    }))
    .await;
    let reading = bench(options(&server.url)).keys.scan(&place(), &owner(), NOW).await;
    assert_eq!(reading.fault().map(|f| (f.class, f.applied)), Some((FaultClass::Transient, Applied::No)));
}

#[tokio::test]
async fn if_no_key_can_be_read_the_permission_is_lacking_and_not_the_key() {
    let server = Server::start(region(|_| closed())).await;
    let reading = bench(options(&server.url)).keys.scan(&place(), &owner(), NOW).await;
    assert_eq!(reading.fault().map(|f| (f.class, f.cause)), Some((FaultClass::Refused, Cause::Permission)));
}

#[tokio::test]
async fn a_scan_is_shared_by_all_whom_it_is_young_enough_for() {
    let server = Server::start(region(|_| tagged("orders", "n"))).await;
    let Bench { keys, clock } = bench(options(&server.url));
    let mut elsewhere = place();
    elsewhere.access.external_id = "cmk:prod:team-b".to_owned();
    let scans = (0..20).map(|n| {
        let (keys, place) = (&keys, if n % 2 == 0 { place() } else { elsewhere.clone() });
        async move { keys.scan(&place, &owner(), NOW - Span::seconds(n)).await }
    });
    for reading in futures::future::join_all(scans).await {
        assert_eq!(reading.present().map(Vec::len), Some(4), "{reading:?}");
    }
    // Two pages of keys, four keys.
    assert_eq!((server.count("ListKeys"), server.count("ListResourceTags")), (2, 4));
    clock.advance(Span::seconds(60));
    for (not_before, pages) in [(NOW, 2), (NOW + Span(1), 4), (NOW + Span::seconds(60), 4)] {
        assert!(keys.scan(&place(), &owner(), not_before).await.present().is_some());
        assert_eq!(server.count("ListKeys"), pages);
    }
}

#[tokio::test]
async fn a_failed_scan_is_shared_by_those_who_waited_and_not_kept() {
    let broken = Arc::new(Mutex::new(true));
    let script = broken.clone();
    let server = Server::start(move |seen: &Seen| {
        if *script.lock().unwrap() {
            std::thread::sleep(std::time::Duration::from_millis(50));
            return Answer::aws_error(500, "KMSInternalException", "x");
        }
        region(|_| tagged("orders", "n"))(seen)
    })
    .await;
    let keys = bench(options(&server.url)).keys;
    let (place, owner) = (place(), owner());
    let readings = futures::future::join_all((0..10).map(|_| keys.scan(&place, &owner, Moment(0)))).await;
    assert!(readings.iter().all(|r| r.fault().is_some()));
    assert_eq!(server.count("ListKeys"), 1);
    *broken.lock().unwrap() = false;
    assert_eq!(keys.scan(&place, &owner, Moment(0)).await.present().map(Vec::len), Some(4));
}
