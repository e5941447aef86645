//! The world over HTTP: the real AWS SDK and plain HTTP clients against it.

use std::time::{Duration, Instant};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_kms::error::ProvideErrorMetadata as _;
use aws_sdk_kms::types::{KeyState, Tag};
use aws_sdk_resourcegroupstagging::types::TagFilter;
use cmk_operator::sandbox::http::{Options, Running, serve};
use cmk_operator::sandbox::{ACCESS_KEY, ORGANIZATION, TOKEN, provider_account};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::REGION;

async fn start() -> Running {
    serve(Options::default()).await.unwrap()
}

async fn config(running: &Running, key: &str, session: Option<String>, attempts: u32) -> SdkConfig {
    let retries = RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(Duration::from_millis(1));
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(&running.addresses.aws)
        .credentials_provider(Credentials::new(key, "secret", session, None, "test"))
        .retry_config(retries)
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(10)).build())
        .load()
        .await
}

async fn kms(running: &Running, attempts: u32) -> aws_sdk_kms::Client {
    aws_sdk_kms::Client::new(&config(running, ACCESS_KEY, None, attempts).await)
}

/// A call to the control address that must be accepted.
async fn control(running: &Running, method: Method, path: &str, body: Value) -> Value {
    let url = format!("{}{path}", running.addresses.control);
    let response = Client::new().request(method, url).json(&body).send().await.unwrap();
    let (status, value) = (response.status(), response.json::<Value>().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{value}");
    value
}

async fn fault(running: &Running, operation: &str, fault: Value) {
    let rule = json!({"match": {"operation": operation, "nth": 1}, "fault": fault});
    control(running, Method::POST, "/faults", rule).await;
}

async fn keys(running: &Running) -> usize {
    let state = control(running, Method::GET, "/state", Value::Null).await;
    state["keys"].as_object().unwrap().len()
}

async fn astra(
    running: &Running,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Option<String>, Value) {
    let url = format!("{}{path}", running.addresses.astra);
    let mut request = Client::new().request(method, url).bearer_auth(TOKEN);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let location = response.headers().get("location").map(|l| l.to_str().unwrap().to_owned());
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, location, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}

#[tokio::test]
async fn the_main_chain_with_the_sdk() {
    let running = start().await;
    let config = config(&running, ACCESS_KEY, None, 1).await;
    let sts = aws_sdk_sts::Client::new(&config);
    let me = sts.get_caller_identity().send().await.unwrap();
    assert_eq!(me.account(), Some("111111111111"));
    assert_eq!(me.arn(), Some("arn:aws:iam::111111111111:user/sandbox"));

    let kms = aws_sdk_kms::Client::new(&config);
    let tag = Tag::builder().tag_key("nonce").tag_value("n1").build().unwrap();
    let made = kms.create_key().description("d").tags(tag).send().await.unwrap().key_metadata.unwrap();
    let arn = made.arn().unwrap().to_owned();
    assert_eq!((made.key_state(), made.enabled()), (Some(&KeyState::Enabled), true));
    assert!(made.creation_date().unwrap().secs() > 1_700_000_000);
    kms.create_alias().alias_name("alias/cmk-operator/a/b/c").target_key_id(&arn).send().await.unwrap();
    let found = kms.describe_key().key_id("alias/cmk-operator/a/b/c").send().await.unwrap();
    assert_eq!(found.key_metadata().unwrap().arn(), Some(arn.as_str()));
    let again = kms.create_alias().alias_name("alias/cmk-operator/a/b/c").target_key_id(&arn).send().await;
    assert!(again.unwrap_err().into_service_error().is_already_exists_exception());
    let aliases = kms.list_aliases().key_id(&arn).send().await.unwrap();
    assert_eq!(aliases.aliases()[0].alias_name(), Some("alias/cmk-operator/a/b/c"));

    let policy = kms.get_key_policy().key_id(&arn).policy_name("default").send().await.unwrap().policy.unwrap();
    kms.put_key_policy().key_id(&arn).policy(&policy).send().await.unwrap();
    let refused = kms.put_key_policy().key_id(&arn).policy("{}").send().await.unwrap_err().into_service_error();
    assert!(refused.is_malformed_policy_document_exception(), "{refused}");
    kms.enable_key_rotation().key_id(&arn).rotation_period_in_days(180).send().await.unwrap();
    let rotation = kms.get_key_rotation_status().key_id(&arn).send().await.unwrap();
    assert_eq!((rotation.key_rotation_enabled(), rotation.rotation_period_in_days()), (true, Some(180)));
    assert!(rotation.next_rotation_date().is_some());
    kms.update_key_description().key_id(&arn).description("e").send().await.unwrap();
    let tag = Tag::builder().tag_key("more").tag_value("").build().unwrap();
    kms.tag_resource().key_id(&arn).tags(tag).send().await.unwrap();
    kms.untag_resource().key_id(&arn).tag_keys("more").send().await.unwrap();
    assert_eq!(kms.list_resource_tags().key_id(&arn).send().await.unwrap().tags().len(), 1);
    assert_eq!(kms.list_keys().send().await.unwrap().keys().len(), 1);

    let tagging = aws_sdk_resourcegroupstagging::Client::new(&config);
    let filter = TagFilter::builder().key("nonce").values("n1").build();
    let page = tagging.get_resources().tag_filters(filter).resource_type_filters("kms:key").send().await.unwrap();
    assert_eq!(page.resource_tag_mapping_list()[0].resource_arn(), Some(arn.as_str()));

    let scheduled = kms.schedule_key_deletion().key_id(&arn).pending_window_in_days(7).send().await.unwrap();
    assert_eq!(scheduled.key_state(), Some(&KeyState::PendingDeletion));
    let refused = kms.disable_key().key_id(&arn).send().await.unwrap_err().into_service_error();
    assert!(refused.is_kms_invalid_state_exception());
    kms.cancel_key_deletion().key_id(&arn).send().await.unwrap();
    kms.enable_key().key_id(&arn).send().await.unwrap();
    kms.schedule_key_deletion().key_id(&arn).pending_window_in_days(7).send().await.unwrap();
    control(&running, Method::POST, "/clock", json!({"advance_ms": 7 * 86_400_000_i64})).await;
    let gone = kms.describe_key().key_id(&arn).send().await.unwrap_err().into_service_error();
    assert!(gone.is_not_found_exception());
    running.shutdown().await;
}

#[tokio::test]
async fn becoming_a_role_of_another_account() {
    let running = start().await;
    let role = "arn:aws:iam::222222222222:role/cmk";
    let trust = json!({"principals": ["111111111111"], "external_ids": ["cmk:prod:team"]});
    control(&running, Method::POST, "/world", json!({"create_principal": {"arn": role, "trust": trust}})).await;
    let sts = aws_sdk_sts::Client::new(&config(&running, ACCESS_KEY, None, 1).await);
    let open = sts.assume_role().role_arn(role).role_session_name("cmk").send().await.unwrap_err();
    assert_eq!(open.into_service_error().code(), Some("AccessDenied"));
    let assumed =
        sts.assume_role().role_arn(role).role_session_name("cmk").external_id("cmk:prod:team").send().await.unwrap();
    let c = assumed.credentials().unwrap();
    let config = config(&running, c.access_key_id(), Some(c.session_token().to_owned()), 1).await;
    let me = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await.unwrap();
    assert_eq!(me.arn(), Some("arn:aws:sts::222222222222:assumed-role/cmk/cmk"));
    let made = aws_sdk_kms::Client::new(&config).create_key().send().await.unwrap();
    assert!(made.key_metadata().unwrap().arn().unwrap().contains(":222222222222:"));
    control(&running, Method::POST, "/clock", json!({"advance_ms": 3_600_001})).await;
    let late = aws_sdk_kms::Client::new(&config).list_keys().send().await.unwrap_err();
    assert_eq!(late.into_service_error().code(), Some("ExpiredTokenException"));
    running.shutdown().await;
}

#[tokio::test]
async fn credentials_that_are_nobody() {
    let running = start().await;
    let nobody = config(&running, "AKIANOBODY", None, 1).await;
    let refused = aws_sdk_kms::Client::new(&nobody).list_keys().send().await.unwrap_err();
    assert_eq!(refused.into_service_error().code(), Some("UnrecognizedClientException"));
    let refused = aws_sdk_sts::Client::new(&nobody).get_caller_identity().send().await.unwrap_err();
    assert_eq!(refused.into_service_error().code(), Some("InvalidClientTokenId"));
    let account = config(&running, "444444444444", None, 1).await;
    let me = aws_sdk_sts::Client::new(&account).get_caller_identity().send().await.unwrap();
    assert_eq!(me.account(), Some("444444444444"));
    let unsigned = Client::new()
        .post(&running.addresses.aws)
        .header("x-amz-target", "TrentService.ListKeys")
        .send()
        .await
        .unwrap();
    assert_eq!(unsigned.status(), StatusCode::BAD_REQUEST);
    assert!(unsigned.headers().contains_key("x-amzn-requestid"));
    assert_eq!(unsigned.headers()["x-amzn-errortype"], "MissingAuthenticationTokenException");
    running.shutdown().await;
}

/// The SDK's own retries duplicate keys: with one attempt there is one key and an error, with three there are two
/// keys and no error at all.
#[tokio::test]
async fn a_lost_reply_and_the_retries_of_the_sdk() {
    for (attempts, succeeds, made) in [(1, false, 1), (3, true, 2)] {
        let running = start().await;
        fault(&running, "kms:CreateKey", json!("applied_but_lost")).await;
        let result = kms(&running, attempts).await.create_key().send().await;
        assert_eq!(result.is_ok(), succeeds, "{result:?}");
        assert_eq!(keys(&running).await, made);
        let rules = control(&running, Method::GET, "/faults", Value::Null).await;
        assert_eq!(rules[0]["fired"], 1);
        let log = control(&running, Method::GET, "/log", Value::Null).await;
        assert_eq!(
            (&log[0]["outcome"], &log[0]["applied"], &log[0]["fault"]),
            (&json!("lost"), &json!(true), &json!(1))
        );
        assert_eq!(log[0]["resource"].as_str().unwrap().split(':').nth(2), Some("kms"));
        running.shutdown().await;
    }
}

#[tokio::test]
async fn faults_as_the_sdk_sees_them() {
    for (rule, code, made) in [
        (json!("lost_before"), None, 0),
        (json!("partial_reply"), None, 1),
        (json!({"http500": {"applied": true}}), Some("KMSInternalException"), 1),
        (json!({"throttle": {}}), Some("ThrottlingException"), 0),
        (
            json!({"error": {"status": 400, "code": "LimitExceededException", "message": "full"}}),
            Some("LimitExceededException"),
            0,
        ),
    ] {
        let running = start().await;
        fault(&running, "kms:CreateKey", rule.clone()).await;
        let error = kms(&running, 1).await.create_key().send().await.unwrap_err();
        assert_eq!(error.code(), code, "{rule}: {error:?}");
        assert_eq!(error.as_service_error().is_some(), code.is_some());
        assert_eq!(keys(&running).await, made, "{rule}");
        running.shutdown().await;
    }
}

#[tokio::test]
async fn a_hang_is_a_late_answer_or_none() {
    let running = start().await;
    fault(&running, "kms:CreateKey", json!({"hang": {"ms": 300, "applied": true}})).await;
    let before = Instant::now();
    kms(&running, 1).await.create_key().send().await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(300));
    fault(&running, "kms:CreateKey", json!({"hang": {"ms": 50, "applied": false}})).await;
    let error = kms(&running, 1).await.create_key().send().await.unwrap_err();
    assert!(error.as_service_error().is_none(), "{error:?}");
    assert_eq!(keys(&running).await, 1);
    running.shutdown().await;
}

#[tokio::test]
async fn astra_from_nothing_to_active() {
    let running = start().await;
    let get = |path: &'static str| astra(&running, Method::GET, path, None);
    assert_eq!(get("/v2/currentOrg").await.2, json!({"id": ORGANIZATION}));
    let accounts =
        json!([{"organization_id": ORGANIZATION, "provider_id": provider_account(REGION), "provider": "aws"}]);
    assert_eq!(get("/v2/kms/provider/aws/region/us-east-1/accounts").await.2, accounts);
    assert_eq!(get("/v2/kms/classic/provider/aws/region/us-east-1/accounts").await.2, accounts);
    let (status, _, body) = get("/v2/kms/classic/provider/aws/region/us-east-1").await;
    assert_eq!((status, &body["errors"][0]["ID"]), (StatusCode::NOT_FOUND, &json!(404)));

    let arn = kms(&running, 1).await.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    let registration = json!({"orgId": ORGANIZATION, "aws": {"keyID": arn, "region": REGION}});
    let (status, _, body) = astra(&running, Method::POST, "/v2/kms/classic", Some(registration.clone())).await;
    assert_eq!((status, body), (StatusCode::CREATED, Value::Null));
    assert_eq!(get("/v2/kms/classic/provider/aws/region/us-east-1").await.2, registration);
    let listed = json!([{"OrganizationID": ORGANIZATION, "CloudProvider": "aws", "KeyID": arn, "Region": REGION}]);
    assert_eq!(get("/v2/kms/classic").await.2, listed);
    assert_eq!(get("/v2/kms").await.2, json!([]));

    let create = json!({"name": "db", "cloudProvider": "AWS", "region": REGION, "tier": "D10", "capacityUnits": 1, "keyspace": "ks"});
    let (status, location, body) = astra(&running, Method::POST, "/v2/databases", Some(create)).await;
    assert_eq!((status, body), (StatusCode::CREATED, Value::Null));
    let id = location.unwrap();
    let path = format!("/v2/databases/{id}");
    let shown = astra(&running, Method::GET, &path, None).await.2;
    assert_eq!(
        (&shown["info"]["name"], &shown["info"]["keyspace"], &shown["orgId"]),
        (&json!("db"), &json!("ks"), &json!(ORGANIZATION))
    );
    control(&running, Method::POST, "/clock", json!({"advance_ms": 3000})).await;
    let list = get("/v2/databases?include=nonterminated&provider=AWS&limit=10").await.2;
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!(id), &json!("ACTIVE")));
    let add = json!([{"tier": "D10", "cloudProvider": "AWS", "region": "eu-west-1"}]);
    let (status, ..) = astra(&running, Method::POST, &format!("{path}/datacenters"), Some(add)).await;
    assert_eq!(status, StatusCode::CREATED);
    let regions = astra(&running, Method::GET, &format!("{path}/datacenters"), None).await.2;
    assert_eq!(regions.as_array().unwrap().len(), 2);
    let (status, ..) = astra(&running, Method::POST, &format!("{path}/terminate"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let state = control(&running, Method::GET, "/state", Value::Null).await;
    let regions = &state["astra"][ORGANIZATION]["databases"][0]["regions"];
    assert_eq!((&regions[0]["encrypted_with"], &regions[1]["encrypted_with"]), (&json!(arn), &Value::Null));
    assert_eq!(get("/v2/availableRegions").await.2.as_array().unwrap().len(), 6);
    assert_eq!(get("/v2/regions/serverless?region-type=all").await.2[0]["cloudProvider"], "AWS");
    let locked = json!({"set_locked": {"org": ORGANIZATION, "region": "us-west-2", "locked": true}});
    control(&running, Method::POST, "/world", locked).await;
    for (path, count) in [
        ("/v2/regions/serverless?region-type=all", 6),
        ("/v2/regions/serverless?region-type=all&filter-by-org=disabled", 6),
        ("/v2/regions/serverless?region-type=all&filter-by-org=enabled", 5),
    ] {
        assert_eq!(get(path).await.2.as_array().unwrap().len(), count, "{path}");
    }
    assert_eq!(get("/v2/nothing").await.0, StatusCode::NOT_FOUND);
    running.shutdown().await;
}

#[tokio::test]
async fn astra_says_when_to_come_back() {
    let running = start().await;
    fault(&running, "astra:GetCurrentOrganization", json!({"throttle": {"retry_after_s": 3}})).await;
    let url = format!("{}/v2/currentOrg", running.addresses.astra);
    let response = Client::new().get(&url).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"3".parse().unwrap())
    );
    fault(&running, "astra:GetCurrentOrganization", json!("lost_before")).await;
    assert!(Client::new().get(&url).bearer_auth(TOKEN).send().await.is_err());
    let nobody = Client::new().get(&url).bearer_auth("AstraCS:x").send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    running.shutdown().await;
}

#[tokio::test]
async fn control_refuses_what_it_does_not_understand() {
    let running = start().await;
    for (path, body) in [
        ("/faults", json!({"match": {"operation": "*", "typo": 1}, "fault": "lost_before"})),
        ("/faults", json!({"match": {"operation": "*"}, "fault": "explode"})),
        ("/world", json!({"explode": {}})),
        ("/world", json!({"patch_settings": {"typo": 1}})),
        ("/world", json!({"disable_key": {"arn": "arn:aws:kms:us-east-1:111111111111:key/none"}})),
        ("/clock", json!({"typo": 1})),
        ("/nothing", json!({})),
    ] {
        let url = format!("{}{path}", running.addresses.control);
        let response = Client::new().post(url).json(&body).send().await.unwrap();
        assert!(response.status().is_client_error(), "{path} {body}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn time_can_stand_still_and_jump() {
    let running = start().await;
    let now = |body: Value| async { control(&running, Method::POST, "/clock", body).await["now_ms"].as_i64().unwrap() };
    let stopped = now(json!({"speed": 0.0})).await;
    assert_eq!(now(json!({})).await, stopped);
    assert_eq!(now(json!({"advance_ms": 1234})).await, stopped + 1234);
    assert!(now(json!({"speed": 1000.0, "advance_ms": 1})).await > stopped + 1234);
    running.shutdown().await;
}
