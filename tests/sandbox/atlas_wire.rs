//! Atlas and IAM over HTTP: tokens, digests, dated media types, headers, error bodies.

use std::fmt::Write as _;

use cmk_operator::sandbox::http::{Options, Running, serve};
use cmk_operator::sandbox::{
    ACCESS_KEY, ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET, ATLAS_PRIVATE_KEY, ATLAS_PROJECT, ATLAS_PUBLIC_KEY,
};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

const MEDIA: &str = "application/vnd.atlas.2025-03-12+json";

async fn start() -> Running {
    serve(Options::default()).await.unwrap()
}

async fn token(running: &Running, secret: &str, form: &str) -> (StatusCode, Value) {
    let request = Client::new()
        .post(format!("{}/api/oauth/token", running.addresses.atlas))
        .basic_auth(ATLAS_CLIENT_ID, Some(secret))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.to_owned());
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// A call with a fresh token and these headers.
async fn send(
    running: &Running,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Response {
    let (_, token) = token(running, ATLAS_CLIENT_SECRET, "grant_type=client_credentials").await;
    let url = format!("{}/api/atlas/v2{path}", running.addresses.atlas);
    let mut request = Client::new().request(method, url).bearer_auth(token["access_token"].as_str().unwrap());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    request.send().await.unwrap()
}

async fn call(running: &Running, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let headers = [("accept", MEDIA), ("content-type", MEDIA)];
    let response = send(running, method, path, &headers, body.as_ref()).await;
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}

fn group(rest: &str) -> String {
    format!("/groups/{ATLAS_PROJECT}{rest}")
}

async fn act(running: &Running, command: Value) {
    let url = format!("{}/world", running.addresses.control);
    let response = Client::new().post(url).json(&command).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{}", response.text().await.unwrap());
}

#[tokio::test]
async fn the_token_endpoint() {
    let running = start().await;
    let (status, body) = token(&running, ATLAS_CLIENT_SECRET, "grant_type=client_credentials").await;
    assert_eq!((status, &body["token_type"], &body["expires_in"]), (StatusCode::OK, &json!("Bearer"), &json!(3600)));
    for (secret, form, status, error) in [
        ("wrong", "grant_type=client_credentials", 401, "invalid_client"),
        (ATLAS_CLIENT_SECRET, "grant_type=password", 400, "unsupported_grant_type"),
        (ATLAS_CLIENT_SECRET, "a=b", 400, "invalid_request"),
    ] {
        let (got, body) = token(&running, secret, form).await;
        assert_eq!((got.as_u16(), body["error"].as_str()), (status, Some(error)), "{form}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn dated_media_types() {
    let running = start().await;
    let read = |path: String, accept: &'static str| {
        let running = &running;
        async move {
            let response = send(running, Method::GET, &path, &[("accept", accept)], None).await;
            let media = response.headers()["content-type"].to_str().unwrap().to_owned();
            (response.status().as_u16(), media)
        }
    };
    let v = "application/vnd.atlas.2023-01-01+json;charset=utf-8";
    for (path, accept, status, media) in [
        (group("/encryptionAtRest"), MEDIA, 200, v),
        (group("/encryptionAtRest"), "application/vnd.atlas.2023-01-01+json", 200, v),
        (group("/encryptionAtRest"), "application/vnd.atlas.2022-12-31+json", 406, "application/json"),
        (group("/encryptionAtRest"), "application/json", 406, "application/json"),
        (group("/encryptionAtRest"), "*/*", 406, "application/json"),
        (group("/encryptionAtRest"), "application/vnd.atlas.upcoming+json", 406, "application/json"),
        (group("/encryptionAtRest"), "application/vnd.atlas.2025-13-01+json", 400, "application/json"),
        (group("/clusters"), MEDIA, 200, "application/vnd.atlas.2024-08-05+json;charset=utf-8"),
        (group("/clusters"), "application/vnd.atlas.2023-02-01+json", 410, "application/json"),
        ("/unauth/controlPlaneIPAddresses".into(), MEDIA, 200, "application/vnd.atlas.2023-11-15+json;charset=utf-8"),
        ("/unauth/controlPlaneIPAddresses".into(), "application/vnd.atlas.2023-01-01+json", 406, "application/json"),
    ] {
        assert_eq!(read(path.clone(), accept).await, (status, media.to_owned()), "{path} {accept}");
    }
    // A body names its version too; an older one says until when it is there.
    let cluster = json!({"name": "c1", "clusterType": "REPLICASET", "replicationSpecs": [{"regionConfigs": [
        {"providerName": "AWS", "regionName": "US_EAST_1", "priority": 7, "electableSpecs": {"instanceSize": "M10", "nodeCount": 3}}
    ]}]});
    let post = |media: &'static str, accept: &'static str| {
        let (running, cluster) = (&running, &cluster);
        async move {
            let headers = [("accept", accept), ("content-type", media)];
            send(running, Method::POST, &group("/clusters"), &headers, Some(cluster)).await
        }
    };
    assert_eq!(post("application/json", MEDIA).await.status().as_u16(), 415);
    let old = "application/vnd.atlas.2024-08-05+json";
    let made = post(old, old).await;
    assert_eq!((made.status().as_u16(), made.headers()["sunset"].to_str().unwrap()), (201, "2027-03-01"));
    let made: Value = made.json().await.unwrap();
    assert_eq!(
        (made["stateName"].as_str(), made["encryptionAtRestProvider"].as_str()),
        (Some("CREATING"), Some("NONE"))
    );
    running.shutdown().await;
}

#[tokio::test]
async fn errors_and_headers() {
    let running = start().await;
    let headers = [("accept", MEDIA)];
    let response = send(&running, Method::GET, &group("/clusters/none"), &headers, None).await;
    assert_eq!(response.headers()["ratelimit-limit"], "10000");
    assert!(response.headers().contains_key("ratelimit-remaining"));
    let error: Value = response.json().await.unwrap();
    assert_eq!(
        (&error["error"], &error["errorCode"], &error["reason"]),
        (&json!(404), &json!("CLUSTER_NOT_FOUND"), &json!("Not Found"))
    );
    assert_eq!(error["parameters"], json!(["none", ATLAS_PROJECT]));
    assert!(error["detail"].as_str().unwrap().contains("none"));
    let (status, error) = call(&running, Method::GET, "/nothing", None).await;
    assert_eq!((status.as_u16(), &error["errorCode"]), (404, &json!("RESOURCE_NOT_FOUND")));
    let (status, error) =
        call(&running, Method::PATCH, &group("/encryptionAtRest"), Some(json!({"awsKms": {"colour": 1}}))).await;
    assert_eq!((status.as_u16(), &error["errorCode"]), (400, &json!("INVALID_ATTRIBUTE")));
    let (status, error) = call(&running, Method::PATCH, &group("/encryptionAtRest"), Some(json!("{"))).await;
    assert_eq!(status.as_u16(), 400, "{error}");

    act(&running, json!({"atlas": {"patch_settings": {"rate_limits": true, "capacity": 1}}})).await;
    call(&running, Method::GET, &group("/clusters"), None).await;
    let limited = send(&running, Method::GET, &group("/clusters"), &headers, None).await;
    assert_eq!(limited.status().as_u16(), 429);
    assert_eq!(limited.headers()["ratelimit-remaining"], "0");
    assert!(limited.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    let (_, limits) = call(&running, Method::GET, "/rateLimits", None).await;
    assert_eq!(limits["results"][0]["capacity"], json!({"value": 1, "defaultValue": 1}));

    // A token of nobody.
    let url = format!("{}/api/atlas/v2/groups", running.addresses.atlas);
    let nobody = Client::new().get(&url).bearer_auth("none").header("accept", MEDIA).send().await.unwrap();
    assert_eq!(nobody.status().as_u16(), 401);
    assert_eq!(nobody.json::<Value>().await.unwrap()["errorCode"], "");
    running.shutdown().await;
}

/// What a client of RFC 7616 answers to a challenge.
fn digest(challenge: &str, key: (&str, &str), method: &str, uri: &str) -> String {
    let field = |name: &str| {
        let rest = challenge.split(&format!("{name}=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let (realm, nonce) = (field("realm"), field("nonce"));
    let who = md5(&format!("{}:{realm}:{}", key.0, key.1));
    let what = md5(&format!("{method}:{uri}"));
    let response = md5(&format!("{who}:{nonce}:00000001:abc:auth:{what}"));
    let mut out = String::new();
    write!(
        out,
        "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"abc\", response=\"{response}\"",
        key.0
    )
    .unwrap();
    out
}

/// By the system's own tool, so that this does not lean on the sandbox's code.
fn md5(text: &str) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let program = "import hashlib,sys; print(hashlib.md5(sys.stdin.buffer.read()).hexdigest())";
    let mut child = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed: it makes the digests");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn api_keys_by_digest() {
    let running = start().await;
    let uri = format!("/api/atlas/v2{}", group("/clusters?itemsPerPage=5"));
    let url = format!("{}{uri}", running.addresses.atlas);
    let get = |authorization: Option<String>| {
        let mut request = Client::new().get(&url).header("accept", MEDIA);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        async move { request.send().await.unwrap() }
    };
    let first = get(None).await;
    assert_eq!(first.status().as_u16(), 401);
    let challenge = first.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.starts_with("Digest ") && challenge.contains("stale=false"), "{challenge}");
    let good = digest(&challenge, (ATLAS_PUBLIC_KEY, ATLAS_PRIVATE_KEY), "GET", &uri);
    assert_eq!(get(Some(good.clone())).await.status().as_u16(), 200);
    for (name, wrong) in [
        ("another password", digest(&challenge, (ATLAS_PUBLIC_KEY, "wrong"), "GET", &uri)),
        ("another user", digest(&challenge, ("nobody", ATLAS_PRIVATE_KEY), "GET", &uri)),
        ("another method", digest(&challenge, (ATLAS_PUBLIC_KEY, ATLAS_PRIVATE_KEY), "POST", &uri)),
        ("another path", digest(&challenge, (ATLAS_PUBLIC_KEY, ATLAS_PRIVATE_KEY), "GET", "/api/atlas/v2/groups")),
    ] {
        assert_eq!(get(Some(wrong)).await.status().as_u16(), 401, "{name}");
    }
    // A nonce gets old; the client is told to take another.
    let url = format!("{}/clock", running.addresses.control);
    Client::new().post(url).json(&json!({"advance_ms": 600_000})).send().await.unwrap();
    let stale = get(Some(good)).await;
    assert_eq!(stale.status().as_u16(), 401);
    assert!(stale.headers()["www-authenticate"].to_str().unwrap().contains("stale=true"));
    running.shutdown().await;
}

/// A call of IAM in its Query protocol.
async fn iam(running: &Running, fields: &[(&str, &str)]) -> (u16, String) {
    let mut form = "Version=2010-05-08".to_owned();
    for (name, value) in fields {
        let escaped = value.bytes().fold(String::new(), |mut out, b| {
            write!(out, "%{b:02X}").unwrap();
            out
        });
        write!(form, "&{name}={escaped}").unwrap();
    }
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    );
    let response =
        Client::new().post(&running.addresses.aws).header("authorization", scope).body(form).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn the_query_protocol_of_iam() {
    let running = start().await;
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"900000009900"},"Action":"sts:AssumeRole"}]}"#;
    let create = [
        ("Action", "CreateRole"),
        ("RoleName", "r"),
        ("Path", "/a/"),
        ("AssumeRolePolicyDocument", trust),
        ("Tags.member.1.Key", "k"),
        ("Tags.member.1.Value", "v & w"),
    ];
    let (status, text) = iam(&running, &create).await;
    assert_eq!(status, 200, "{text}");
    for part in [
        "<CreateRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><CreateRoleResult><Role><Path>/a/</Path>",
        "<Arn>arn:aws:iam::111111111111:role/a/r</Arn>",
        "<AssumeRolePolicyDocument>%7B%22",
        "<Key>k</Key><Value>v &amp; w</Value>",
        "<ResponseMetadata><RequestId>",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (status, text) = iam(&running, &create).await;
    assert_eq!(status, 409);
    assert!(text.contains("<Code>EntityAlreadyExists</Code>") && text.contains("iam.amazonaws.com"), "{text}");
    let policy = r#"{"Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#;
    let put = [("Action", "PutRolePolicy"), ("RoleName", "r"), ("PolicyName", "p"), ("PolicyDocument", policy)];
    assert_eq!(iam(&running, &put).await.0, 200);
    let (_, text) = iam(&running, &[("Action", "GetRolePolicy"), ("RoleName", "r"), ("PolicyName", "p")]).await;
    assert!(text.contains("<PolicyDocument>%7B%22Statement%22%3A%5B"), "{text}");
    let (_, text) = iam(&running, &[("Action", "ListRolePolicies"), ("RoleName", "r")]).await;
    assert!(text.contains("<PolicyNames><member>p</member></PolicyNames><IsTruncated>false</IsTruncated>"), "{text}");
    let (_, text) = iam(&running, &[("Action", "ListRoleTags"), ("RoleName", "r")]).await;
    assert!(text.contains("<Tags><member><Key>k</Key>"), "{text}");
    let simulate = [
        ("Action", "SimulatePrincipalPolicy"),
        ("PolicySourceArn", "arn:aws:iam::111111111111:role/a/r"),
        ("ActionNames.member.1", "kms:Decrypt"),
        ("ActionNames.member.2", "s3:GetObject"),
        ("ResourceArns.member.1", "arn:aws:kms:us-east-1:111111111111:key/k"),
    ];
    let (_, text) = iam(&running, &simulate).await;
    for (action, decision) in [("kms:Decrypt", "allowed"), ("s3:GetObject", "implicitDeny")] {
        let part = format!(
            "<EvalActionName>{action}</EvalActionName><EvalResourceName>arn:aws:kms:us-east-1:111111111111:key/k</EvalResourceName><EvalDecision>{decision}</EvalDecision>"
        );
        assert!(text.contains(&part), "{part} in {text}");
    }
    for (fields, status, code) in [
        (
            &[("Action", "SimulatePrincipalPolicy"), ("PolicySourceArn", "arn:aws:iam::111111111111:role/r")][..],
            404,
            "NoSuchEntity",
        ),
        (&[("Action", "DeleteRole"), ("RoleName", "r")][..], 409, "DeleteConflict"),
        (&[("Action", "GetRole"), ("RoleName", "none")][..], 404, "NoSuchEntity"),
        (&[("Action", "GetRole")][..], 400, "ValidationError"),
        (&[("Action", "Nothing")][..], 400, "InvalidAction"),
    ] {
        let (got, text) = iam(&running, fields).await;
        assert_eq!(got, status, "{text}");
        assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
    }
    let log = running.shared.with(|w| w.log().iter().map(|e| e.operation.clone()).collect::<Vec<_>>());
    assert!(log.contains(&"iam:CreateRole".to_owned()), "{log:?}");
    running.shutdown().await;
}
