//! The table of AWS's errors, as data.

use std::collections::BTreeMap;

use cmk_operator::domain::fault::{Applied, Cause, FaultClass};
use cmk_operator::ports::KeyService;

use super::aws::{ARN, SECRET, bench, key, new_key, options, place};
use super::server::{Answer, Server};
use Applied::{No, Perhaps};
use FaultClass::{Conflict, Invalid, Refused, Settling, Terminal, Throttled, Transient};

/// What a code means for a write that may be repeated.
const TABLE: &[(u16, &str, &str, FaultClass, Cause, Applied)] = &[
    (400, "ThrottlingException", "Rate exceeded", Throttled, Cause::Other, No),
    (400, "ThrottledException", "", Throttled, Cause::Other, No),
    (503, "RequestLimitExceeded", "", Throttled, Cause::Other, No),
    (429, "SomethingNew", "", Throttled, Cause::Other, No),
    (400, "LimitExceededException", "too many", Refused, Cause::Quota, No),
    (400, "AccessDeniedException", "not authorized", Refused, Cause::Permission, No),
    (403, "SomethingNew", "", Refused, Cause::Permission, No),
    (400, "ExpiredTokenException", "", Refused, Cause::Credentials, No),
    (400, "UnrecognizedClientException", "", Refused, Cause::Credentials, No),
    (403, "InvalidClientTokenId", "", Refused, Cause::Credentials, No),
    (403, "InvalidSignatureException", "", Refused, Cause::Credentials, No),
    (400, "OptInRequired", "", Refused, Cause::Other, No),
    (
        400,
        "MalformedPolicyDocumentException",
        "Policy contains a statement with one or more invalid principals.",
        Settling,
        Cause::Principal,
        No,
    ),
    (400, "MalformedPolicyDocumentException", "Syntax error", Invalid, Cause::Policy, No),
    (400, "AlreadyExistsException", "", Conflict, Cause::Other, No),
    (400, "KMSInvalidStateException", "is pending deletion", Conflict, Cause::Other, No),
    (400, "DisabledException", "", Conflict, Cause::Other, No),
    (400, "NotFoundException", "", Settling, Cause::Other, No),
    (400, "TagException", "", Invalid, Cause::Other, No),
    (400, "InvalidAliasNameException", "", Invalid, Cause::Other, No),
    (400, "InvalidArnException", "", Invalid, Cause::Other, No),
    (400, "ValidationException", "", Invalid, Cause::Other, No),
    (400, "UnsupportedOperationException", "", Terminal, Cause::Other, No),
    (400, "InvalidAction", "", Terminal, Cause::Other, No),
    (400, "SomethingNew", "", Terminal, Cause::Other, No),
    (500, "KMSInternalException", "", Transient, Cause::Other, Perhaps),
    // As an emulator's fault proxy sends it.
    (400, "KMSInternalException", "", Transient, Cause::Other, Perhaps),
    (503, "DependencyTimeoutException", "", Transient, Cause::Other, Perhaps),
    (500, "SomethingNew", "", Transient, Cause::Other, Perhaps),
    (504, "", "", Transient, Cause::Other, Perhaps),
];

#[tokio::test]
async fn every_code_has_its_meaning() {
    for (status, code, message, class, cause, applied) in TABLE.iter().copied() {
        let server = Server::start(move |_| Answer::aws_error(status, code, message)).await;
        let keys = bench(options(&server.url)).keys;
        let fault = keys.tag(&place(), &key(), &BTreeMap::new()).await.unwrap_err();
        assert_eq!((fault.class, fault.cause, fault.applied), (class, cause, applied), "{status} {code}: {fault}");
        assert_eq!((fault.operation.as_str(), fault.target.as_str()), ("kms:TagResource", ARN));
        assert!(fault.message.contains(code) && fault.message.contains(message), "{fault}");
        assert_eq!(server.seen().len(), 1, "{code}");
        // The same answer to a read leaves nothing open.
        let reading = keys.describe(&place(), ARN).await;
        match reading.fault() {
            Some(fault) => assert_eq!((fault.class, fault.applied), (class, No), "{code}"),
            None => assert!(code == "NotFoundException" && reading.is_absent(), "{code} {reading:?}"),
        }
    }
}

#[tokio::test]
async fn a_policy_that_is_too_long_is_not_a_full_account() {
    let server = Server::start(|_| Answer::aws_error(400, "LimitExceededException", "too long")).await;
    let fault = bench(options(&server.url)).keys.put_policy(&place(), &key(), "{}").await.unwrap_err();
    assert_eq!((fault.class, fault.cause), (Invalid, Cause::Policy));
}

#[tokio::test]
async fn an_answer_that_is_not_from_aws_leaves_a_write_open() {
    let server = Server::start(|_| Answer::text(400, "<html>Bad Request</html>")).await;
    let fault = bench(options(&server.url)).keys.create_key(&place(), &new_key()).await.unwrap_err();
    assert_eq!((fault.class, fault.applied), (Terminal, Perhaps), "{fault}");
}

#[tokio::test]
async fn no_fault_holds_a_secret_or_a_book() {
    let long = "x".repeat(5000);
    let server = Server::start(move |_| Answer::aws_error(400, "ValidationException", &long)).await;
    let fault = bench(options(&server.url)).keys.create_key(&place(), &new_key()).await.unwrap_err();
    assert!(fault.message.len() < 1100, "{}", fault.message.len());
    for answer in [Answer::Drop, Answer::text(500, "?"), Answer::Torn(200, Vec::new())] {
        let server = Server::start(move |_| answer.clone()).await;
        let fault = bench(options(&server.url)).keys.create_key(&place(), &new_key()).await.unwrap_err();
        assert!(!format!("{fault:?}").contains(SECRET), "{fault:?}");
    }
}
