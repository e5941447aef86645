//! The Atlas wire: the token endpoint, bearer tokens and digests, dated media types, paths and bodies of the
//! Administration API.

use axum::body::Body;
use axum::extract::Query;
use axum::http::Response;
use axum::http::request::Parts;
use md5::Md5;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::form::{Form, decode};
use super::versions::{self, Version};
use super::{respond, unheard};
use crate::sandbox::atlas::{Atlas, Login, PageQuery, Paged, RateLimitSet};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::ident::hex;
use crate::sandbox::world::World;

const REALM: &str = "MMS Public API";
/// How long a nonce is good for, in simulated milliseconds.
const NONCE_MS: i64 = 300_000;
const BASE: [&str; 3] = ["api", "atlas", "v2"];

/// The response; none: the client hears nothing.
pub(super) fn answer(world: &mut World, parts: &Parts, body: &[u8]) -> Option<Response<Body>> {
    match parts.uri.path() {
        "/api/oauth/token" => token(world, parts, body),
        "/api/oauth/revoke" => Some(respond(200, &[], "")),
        _ => api(world, parts, body),
    }
}

fn header<'p>(parts: &'p Parts, name: &str) -> Option<&'p str> {
    parts.headers.get(name).and_then(|h| h.to_str().ok())
}

/// `POST /api/oauth/token`: the client in a Basic header or in the form.
fn token(world: &mut World, parts: &Parts, body: &[u8]) -> Option<Response<Body>> {
    let oauth = |status: u16, code: &str, text: &str| {
        let body = json!({"error": code, "error_description": text}).to_string();
        Some(respond(status, &[("content-type", "application/json")], body))
    };
    let form = Form::read(body);
    if parts.method != "POST"
        || !header(parts, "content-type").is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"))
    {
        return oauth(400, "invalid_request", "a form has to be posted");
    }
    match form.get("grant_type") {
        Some("client_credentials") => {}
        Some(_) => return oauth(400, "unsupported_grant_type", "only client_credentials is supported"),
        None => return oauth(400, "invalid_request", "grant_type is missing"),
    }
    let basic = header(parts, "authorization").and_then(|h| h.strip_prefix("Basic ")).and_then(base64);
    let basic = basic.and_then(|text| text.split_once(':').map(|(id, secret)| (decode(id), decode(secret))));
    let Some((id, secret)) = basic else {
        return oauth(401, "invalid_client", "Client authentication failed");
    };
    match world.atlas_token(&id, &secret) {
        Ok(token) => {
            let headers = [("content-type", "application/json"), ("cache-control", "no-store")];
            Some(respond(200, &headers, json!(token).to_string()))
        }
        Err(failure) if unheard(&failure) => None,
        Err(Failure::Service(error)) => oauth(error.status, &error.code, &error.message),
        Err(_) => None,
    }
}

/// Text in base64 (RFC 4648).
fn base64(text: &str) -> Option<String> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.trim().trim_end_matches('=').bytes() {
        bits = (bits << 6) | u32::from(value(c)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    String::from_utf8(out).ok()
}

/// A good answer.
struct Good {
    status: u16,
    body: Option<Value>,
}

fn ok(body: Value) -> Good {
    Good { status: 200, body: Some(body) }
}

fn api(world: &mut World, parts: &Parts, body: &[u8]) -> Option<Response<Body>> {
    let now_ms = world.now_ms();
    let path = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8_lossy();
    let path: Vec<&str> = path.trim_matches('/').split('/').collect();
    let Some(path) = path.strip_prefix(&BASE) else {
        return Some(error_response(&no_such_call(parts), None, None));
    };
    let known = versions_of(parts.method.as_str(), path);
    let version = match versions::chosen(header(parts, "accept"), known, now_ms) {
        Ok(version) => version,
        Err(error) => return Some(error_response(&error, None, None)),
    };
    if let Err(error) = versioned_body(parts, body, known, now_ms) {
        return Some(error_response(&error, None, None));
    }
    let open = path.first() == Some(&"unauth");
    let result = match login(world, parts, now_ms) {
        Ok(login) => route(world, &login, parts, path, body),
        Err(_) if open => route(world, &Login::Nobody, parts, path, body),
        Err(challenge) => return Some(error_response(&nobody(), None, Some(&challenge))),
    };
    match result {
        Ok(good) => Some(written(good, version, world.link.rate)),
        Err(failure) if unheard(&failure) => None,
        Err(Failure::Service(error)) => Some(error_response(&error, world.link.rate, None)),
        Err(_) => None,
    }
}

/// A body has to name a version too.
fn versioned_body(parts: &Parts, body: &[u8], known: &[Version], now_ms: i64) -> Result<(), ServiceError> {
    if body.is_empty() {
        return Ok(());
    }
    match versions::chosen(header(parts, "content-type"), known, now_ms) {
        Err(error) if error.status == 406 => {
            let text = "Unsupported media type: the body names no version of the resource.";
            Err(ServiceError::new(415, "UNSUPPORTED_MEDIA_TYPE", text))
        }
        other => other.map(drop),
    }
}

fn nobody() -> ServiceError {
    ServiceError::new(401, "401", "You are not authorized for this resource.")
}

/// Who asks, or how it has to be said.
fn login(world: &World, parts: &Parts, now_ms: i64) -> Result<Login, String> {
    let given = header(parts, "authorization").unwrap_or_default();
    if let Some(token) = given.strip_prefix("Bearer ") {
        return Ok(Login::Token(token.trim().to_owned()));
    }
    let stale = match given.strip_prefix("Digest ") {
        None => false,
        Some(digest) => match verified(world, digest, parts, now_ms) {
            Ok(login) => return Ok(login),
            Err(stale) => stale,
        },
    };
    let nonce = nonce_of(world, now_ms);
    Err(format!("Digest realm=\"{REALM}\", domain=\"\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\", stale={stale}"))
}

fn nonce_of(world: &World, at_ms: i64) -> String {
    let mut hash = Sha256::new();
    hash.update(world.settings().seed.to_be_bytes());
    hash.update(at_ms.to_be_bytes());
    format!("{at_ms:x}.{}", hex(&hash.finalize()[..12]))
}

/// The API key behind a digest (RFC 7616 with MD5 and `qop=auth`); else whether only its nonce is too old.
fn verified(world: &World, digest: &str, parts: &Parts, now_ms: i64) -> Result<Login, bool> {
    let fields = digest_fields(digest);
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    let uri = parts.uri.path_and_query().map_or("", axum::http::uri::PathAndQuery::as_str);
    let user = field("username");
    let Some(private_key) = world.atlas_private_key(user).filter(|_| field("uri") == uri && field("realm") == REALM)
    else {
        return Err(false);
    };
    let who = md5_hex(&format!("{user}:{REALM}:{private_key}"));
    let what = md5_hex(&format!("{}:{uri}", parts.method));
    let nonce = field("nonce");
    let (count, cnonce, qop) = (field("nc"), field("cnonce"), field("qop"));
    let want = md5_hex(&format!("{who}:{nonce}:{count}:{cnonce}:{qop}:{what}"));
    if field("response") != want || qop != "auth" {
        return Err(false);
    }
    let made_ms = nonce.split('.').next().and_then(|t| i64::from_str_radix(t, 16).ok());
    match made_ms {
        Some(made_ms) if nonce_of(world, made_ms) == nonce && now_ms - made_ms <= NONCE_MS => {
            Ok(Login::ApiKey { public_key: user.to_owned(), private_key })
        }
        _ => Err(true),
    }
}

/// `a="b, c", d=e` in pairs.
fn digest_fields(text: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        fields.push((name.trim_matches([' ', ',']).to_ascii_lowercase(), value.trim().to_owned()));
        rest = next.trim_start_matches([' ', ',']);
    }
    fields
}

fn written(good: Good, version: Version, rate: Option<(u32, u32)>) -> Response<Body> {
    let media = format!("application/vnd.atlas.{}+json;charset=utf-8", version.date);
    let rate = rate.map(|(limit, left)| (limit.to_string(), left.to_string()));
    let mut headers = vec![("content-type", media.as_str())];
    if let Some((limit, left)) = &rate {
        headers.extend([("ratelimit-limit", limit.as_str()), ("ratelimit-remaining", left.as_str())]);
    }
    if let Some(sunset) = version.sunset {
        headers.extend([("deprecation", "true"), ("sunset", sunset)]);
    }
    respond(good.status, &headers, good.body.map(|b| b.to_string()).unwrap_or_default())
}

fn reason(status: u16) -> &'static str {
    axum::http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default()
}

fn error_response(error: &ServiceError, rate: Option<(u32, u32)>, challenge: Option<&str>) -> Response<Body> {
    // Who is not let in at all is told no code.
    let code = if error.code.bytes().all(|b| b.is_ascii_digit()) { "" } else { &error.code };
    let body = json!({
        "error": error.status, "errorCode": code, "detail": error.message, "reason": reason(error.status),
        "parameters": error.parameters, "badRequestDetail": null
    });
    let rate = rate.map(|(limit, left)| (limit.to_string(), left.to_string()));
    let retry_after = error.retry_after_s.map(|s| s.to_string());
    let mut headers = vec![("content-type", "application/json")];
    if let Some((limit, left)) = &rate {
        headers.extend([("ratelimit-limit", limit.as_str()), ("ratelimit-remaining", left.as_str())]);
    }
    if let Some(seconds) = &retry_after {
        headers.push(("retry-after", seconds));
    }
    if let Some(challenge) = challenge {
        headers.push(("www-authenticate", challenge));
    }
    respond(error.status, &headers, body.to_string())
}

fn no_such_call(parts: &Parts) -> ServiceError {
    let what = format!("{} {}", parts.method, parts.uri.path());
    ServiceError::new(404, "RESOURCE_NOT_FOUND", format!("Cannot find resource {what}."))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body).map_err(|e| {
        let code = if e.is_data() { "INVALID_ATTRIBUTE" } else { "MALFORMED_JSON" };
        ServiceError::new(400, code, format!("Received JSON could not be read: {e}."))
    })
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, ServiceError> {
    let invalid =
        |e: axum::extract::rejection::QueryRejection| ServiceError::new(400, "INVALID_QUERY_PARAMETER", e.to_string());
    Query::try_from_uri(&parts.uri).map(|Query(q)| q).map_err(invalid)
}

fn md5_hex(text: &str) -> String {
    hex(&Md5::digest(text.as_bytes()))
}

/// All values of a parameter that may stand several times.
fn repeated(parts: &Parts, name: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
}

fn versions_of(method: &str, path: &[&str]) -> &'static [Version] {
    match (method, path) {
        ("POST", ["groups", _, "clusters"]) | ("PATCH", ["groups", _, "clusters", _]) => versions::CLUSTER_WRITES,
        ("DELETE", ["groups", _, "clusters", _]) => versions::CLUSTER_ENDS,
        ("GET", ["groups", _, "clusters"] | ["groups", _, "clusters", _]) => versions::CLUSTERS,
        (_, ["rateLimits"]) => versions::RATE_LIMITS,
        (_, ["unauth", "controlPlaneIPAddresses"]) => versions::CONTROL_PLANE,
        _ => versions::COMMON,
    }
}

/// Body of the calls about roles.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleBody {
    #[serde(default)]
    provider_name: String,
    #[serde(default)]
    iam_assumed_role_arn: String,
}

/// Query of the list of regions.
#[derive(Deserialize)]
struct Tier {
    tier: Option<String>,
}

fn route(world: &mut World, login: &Login, parts: &Parts, path: &[&str], body: &[u8]) -> Result<Good, Failure> {
    let method = parts.method.as_str();
    if (method, path) == ("GET", &["unauth", "controlPlaneIPAddresses"]) {
        let shown = world.atlas_control_plane()?;
        let clouds = |aws: &Value| json!({"aws": aws, "azure": {}, "gcp": {}});
        return Ok(ok(json!({
            "inbound": clouds(&json!(shown.inbound)), "outbound": clouds(&json!(shown.outbound))
        })));
    }
    let url = format!("http://{}{}", header(parts, "host").unwrap_or_default(), parts.uri);
    let atlas = &mut world.atlas(login);
    Ok(match (method, path) {
        ("GET", ["groups"]) => ok(paged(&atlas.projects(query(parts)?)?, &url)),
        ("POST", ["groups"]) => ok(json!(atlas.create_project(&parse(body)?)?)),
        ("GET", ["groups", group]) => ok(json!(atlas.project(group)?)),
        ("DELETE", ["groups", group]) => {
            atlas.delete_project(group)?;
            Good { status: 204, body: None }
        }
        ("GET", ["rateLimits"]) => {
            let page = atlas.rate_limits(query(parts)?)?;
            let results = page.results.iter().map(limit_shown).collect();
            ok(paged(&Paged::<Value> { results, total_count: page.total_count }, &url))
        }
        ("GET", ["groups", group, "ipAddresses"]) => {
            ok(json!({"groupId": group, "services": {"clusters": atlas.ip_addresses(group)?}}))
        }
        ("GET", ["groups", group, "encryptionAtRest"]) => ok(json!(atlas.encryption_at_rest(group)?)),
        ("PATCH", ["groups", group, "encryptionAtRest"]) => {
            ok(json!(atlas.update_encryption_at_rest(group, &parse(body)?)?))
        }
        (_, ["groups", _, "cloudProviderAccess", ..]) => roles(atlas, parts, path, body)?,
        (_, ["groups", _, "clusters", ..]) => clusters(atlas, parts, path, body, &url)?,
        _ => return Err(no_such_call(parts).into()),
    })
}

fn roles(atlas: &mut Atlas<'_>, parts: &Parts, path: &[&str], body: &[u8]) -> Result<Good, Failure> {
    Ok(match (parts.method.as_str(), path) {
        ("GET", ["groups", group, "cloudProviderAccess"]) => ok(json!({
            "awsIamRoles": atlas.roles(group)?, "azureServicePrincipals": [], "gcpServiceAccounts": []
        })),
        ("POST", ["groups", group, "cloudProviderAccess"]) => {
            ok(json!(atlas.create_role(group, &parse::<RoleBody>(body)?.provider_name)?))
        }
        ("GET", ["groups", group, "cloudProviderAccess", role]) => ok(json!(atlas.role(group, role)?)),
        ("PATCH", ["groups", group, "cloudProviderAccess", role]) => {
            let given: RoleBody = parse(body)?;
            ok(json!(atlas.authorize_role(group, role, &given.provider_name, &given.iam_assumed_role_arn)?))
        }
        ("DELETE", ["groups", group, "cloudProviderAccess", provider, role]) => {
            atlas.deauthorize_role(group, provider, role)?;
            Good { status: 204, body: None }
        }
        _ => return Err(no_such_call(parts).into()),
    })
}

fn clusters(atlas: &mut Atlas<'_>, parts: &Parts, path: &[&str], body: &[u8], url: &str) -> Result<Good, Failure> {
    Ok(match (parts.method.as_str(), path) {
        ("GET", ["groups", group, "clusters"]) => ok(paged(&atlas.clusters(group, query(parts)?)?, url)),
        ("POST", ["groups", group, "clusters"]) => {
            Good { status: 201, body: Some(json!(atlas.create_cluster(group, &parse(body)?)?)) }
        }
        ("GET", ["groups", group, "clusters", "provider", "regions"]) => {
            let tier = query::<Tier>(parts)?.tier;
            let providers = repeated(parts, "providers");
            ok(paged(&atlas.provider_regions(group, &providers, tier.as_deref(), query::<PageQuery>(parts)?)?, url))
        }
        ("GET", ["groups", group, "clusters", name]) => ok(json!(atlas.cluster(group, name)?)),
        ("PATCH", ["groups", group, "clusters", name]) => {
            ok(json!(atlas.update_cluster(group, name, &parse(body)?)?))
        }
        ("DELETE", ["groups", group, "clusters", name]) => {
            atlas.delete_cluster(group, name)?;
            Good { status: 202, body: None }
        }
        _ => return Err(no_such_call(parts).into()),
    })
}

fn paged<T: serde::Serialize>(page: &Paged<T>, url: &str) -> Value {
    let mut shown = json!(page);
    shown["links"] = json!([{"href": url, "rel": "self"}]);
    shown
}

fn limit_shown(set: &RateLimitSet) -> Value {
    let number = |n: i64| json!({"value": n, "defaultValue": n});
    json!({
        "endpointSetName": set.endpoint_set_name, "scope": "GROUP", "capacity": number(set.capacity.into()),
        "refillRate": number(set.refill_rate.into()), "refillDurationSeconds": number(set.refill_duration_seconds)
    })
}
