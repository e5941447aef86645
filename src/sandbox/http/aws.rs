//! The AWS wire: JSON 1.1 for KMS and tagging, the Query protocol with XML for STS.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::body::Body;
use axum::http::Response;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Reply, Shared, respond, unheard};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::iam::{Identity, KeyRefused};
use crate::sandbox::ident::{rfc3339, uuid};
use crate::sandbox::kms::{CreateKey, Kms, Tag};
use crate::sandbox::sts::AssumeRole;
use crate::sandbox::world::World;

/// Who signed, and for which region.
struct Signature {
    access_key: String,
    region: String,
}

/// Reads `AWS4-HMAC-SHA256 Credential=AKID/date/region/service/aws4_request, ...`; the hash is not verified.
fn signature(parts: &Parts) -> Option<Signature> {
    let header = parts.headers.get("authorization")?.to_str().ok()?;
    let scope = header
        .strip_prefix("AWS4-HMAC-SHA256")?
        .split("Credential=")
        .nth(1)?
        .split(',')
        .next()?;
    let mut fields = scope.trim().split('/');
    let (access_key, _date, region) = (fields.next()?, fields.next()?, fields.next()?);
    header.contains("Signature=").then(|| Signature {
        access_key: access_key.into(),
        region: region.into(),
    })
}

pub(super) fn answer(shared: &Shared, parts: &Parts, body: &[u8]) -> Reply {
    let target = parts
        .headers
        .get("x-amz-target")
        .and_then(|t| t.to_str().ok())
        .unwrap_or_default();
    let ((result, request_id), delay) = shared.answer(|world| {
        let n = world.next_request();
        let request_id = uuid(world.settings().seed, "request", n);
        let result = if target.is_empty() {
            sts(world, parts, body, &request_id)
        } else {
            json_call(world, parts, target, body)
        };
        (result, request_id)
    });
    let xml = target.is_empty();
    let response = match result {
        Ok(text) if xml => Some(respond(
            200,
            &[
                ("content-type", "text/xml"),
                ("x-amzn-requestid", &request_id),
            ],
            text,
        )),
        Ok(text) => {
            let headers = [
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amzn-requestid", request_id.as_str()),
            ];
            Some(respond(200, &headers, text))
        }
        Err(failure) if unheard(&failure) => None,
        Err(Failure::Service(error)) if xml => Some(xml_error(&error, &request_id)),
        Err(Failure::Service(error)) => Some(json_error(&error, &request_id)),
        Err(_) => None,
    };
    Reply { response, delay }
}

fn json_error(error: &ServiceError, request_id: &str) -> Response<Body> {
    let headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amzn-requestid", request_id),
        ("x-amzn-errortype", error.code.as_str()),
    ];
    respond(
        error.status,
        &headers,
        json!({"__type": error.code, "message": error.message}).to_string(),
    )
}

fn xml_error(error: &ServiceError, request_id: &str) -> Response<Body> {
    let side = if error.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    let text = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>{side}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(&error.code),
        escape(&error.message)
    );
    respond(
        error.status,
        &[
            ("content-type", "text/xml"),
            ("x-amzn-requestid", request_id),
        ],
        text,
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The caller, or the refusal in the words of a JSON service.
fn caller(world: &mut World, parts: &Parts, query: bool) -> Result<(Identity, String), Failure> {
    let missing = || {
        let text = "Request is missing Authentication Token";
        ServiceError::new(
            if query { 403 } else { 400 },
            if query {
                "MissingAuthenticationToken"
            } else {
                "MissingAuthenticationTokenException"
            },
            text,
        )
    };
    let signed = signature(parts).ok_or_else(missing)?;
    let who = world
        .identify(&signed.access_key)
        .map_err(|refused| match (refused, query) {
            (KeyRefused::Unknown, false) => ServiceError::new(
                400,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            (KeyRefused::Unknown, true) => ServiceError::new(
                403,
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
            ),
            (KeyRefused::Expired, false) => ServiceError::new(
                400,
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ),
            (KeyRefused::Expired, true) => ServiceError::new(
                403,
                "ExpiredToken",
                "The security token included in the request is expired",
            ),
        })?;
    Ok((who, signed.region))
}

fn json_call(
    world: &mut World,
    parts: &Parts,
    target: &str,
    body: &[u8],
) -> Result<String, Failure> {
    let (who, region) = caller(world, parts, false)?;
    let body = if body.is_empty() { b"{}" } else { body };
    let answer = match target.split_once('.') {
        Some(("TrentService", operation)) => {
            kms(&mut world.kms_as(&who, &region), operation, body)?
        }
        Some(("ResourceGroupsTaggingAPI_20170126", "GetResources")) => {
            let page = world.tagging(&who, &region).get_resources(&parse(body)?)?;
            json!(page)
        }
        _ => return Err(unknown_operation(target)),
    };
    Ok(if answer.is_null() {
        "{}".into()
    } else {
        answer.to_string()
    })
}

fn unknown_operation(name: &str) -> Failure {
    ServiceError::aws(
        "UnknownOperationException",
        format!("the sandbox does not know {name}"),
    )
    .into()
}

/// Input with the names of the API; what is missing or of the wrong type is the caller's fault.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body).map_err(|e| {
        let code = if e.is_data() && e.to_string().starts_with("missing field") {
            "ValidationException"
        } else {
            "SerializationException"
        };
        ServiceError::aws(code, format!("1 validation error detected: {e}"))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnKey {
    key_id: String,
    policy_name: Option<String>,
    policy: Option<String>,
    #[serde(default)]
    bypass_policy_lockout_safety_check: bool,
    description: Option<String>,
    rotation_period_in_days: Option<i32>,
    pending_window_in_days: Option<i32>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
    limit: Option<i32>,
    marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OnAlias {
    alias_name: String,
    target_key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Paged {
    key_id: Option<String>,
    limit: Option<i32>,
    marker: Option<String>,
}

fn required(value: Option<String>, name: &str) -> Result<String, ServiceError> {
    value.ok_or_else(|| ServiceError::validation(format!("1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null")))
}

fn kms(kms: &mut Kms<'_>, operation: &str, body: &[u8]) -> Result<Value, Failure> {
    let done = |()| Value::Null;
    Ok(match operation {
        "CreateKey" => json!({"KeyMetadata": kms.create_key(&parse::<CreateKey>(body)?)?}),
        "ListKeys" => {
            let i: Paged = parse(body)?;
            json!(kms.list_keys(i.limit, i.marker.as_deref())?)
        }
        "ListAliases" => {
            let i: Paged = parse(body)?;
            json!(kms.list_aliases(i.key_id.as_deref(), i.limit, i.marker.as_deref())?)
        }
        "CreateAlias" | "UpdateAlias" => {
            let i: OnAlias = parse(body)?;
            let key = required(i.target_key_id, "targetKeyId")?;
            let result = if operation == "CreateAlias" {
                kms.create_alias(&i.alias_name, &key)
            } else {
                kms.update_alias(&i.alias_name, &key)
            };
            result.map(done)?
        }
        "DeleteAlias" => kms
            .delete_alias(&parse::<OnAlias>(body)?.alias_name)
            .map(done)?,
        _ => on_key(kms, operation, body)?,
    })
}

fn on_key(kms: &mut Kms<'_>, operation: &str, body: &[u8]) -> Result<Value, Failure> {
    const KNOWN: [&str; 16] = [
        "DescribeKey",
        "GetKeyPolicy",
        "PutKeyPolicy",
        "ListKeyPolicies",
        "EnableKey",
        "DisableKey",
        "EnableKeyRotation",
        "DisableKeyRotation",
        "GetKeyRotationStatus",
        "UpdateKeyDescription",
        "TagResource",
        "UntagResource",
        "ListResourceTags",
        "ScheduleKeyDeletion",
        "CancelKeyDeletion",
        "",
    ];
    if operation.is_empty() || !KNOWN.contains(&operation) {
        return Err(unknown_operation(operation));
    }
    let i: OnKey = parse(body)?;
    let key = i.key_id.as_str();
    let done = |()| Value::Null;
    Ok(match operation {
        "DescribeKey" => json!({"KeyMetadata": kms.describe_key(key)?}),
        "GetKeyPolicy" => {
            json!({"Policy": kms.get_key_policy(key, i.policy_name.as_deref())?, "PolicyName": "default"})
        }
        "PutKeyPolicy" => {
            let policy = required(i.policy, "policy")?;
            kms.put_key_policy(
                key,
                i.policy_name.as_deref(),
                &policy,
                i.bypass_policy_lockout_safety_check,
            )
            .map(done)?
        }
        "ListKeyPolicies" => {
            json!({"PolicyNames": kms.list_key_policies(key)?, "Truncated": false})
        }
        "EnableKey" => kms.enable_key(key).map(done)?,
        "DisableKey" => kms.disable_key(key).map(done)?,
        "EnableKeyRotation" => kms
            .enable_key_rotation(key, i.rotation_period_in_days)
            .map(done)?,
        "DisableKeyRotation" => kms.disable_key_rotation(key).map(done)?,
        "GetKeyRotationStatus" => json!(kms.get_key_rotation_status(key)?),
        "UpdateKeyDescription" => kms
            .update_key_description(key, &required(i.description, "description")?)
            .map(done)?,
        "TagResource" => kms.tag_resource(key, &i.tags).map(done)?,
        "UntagResource" => kms.untag_resource(key, &i.tag_keys).map(done)?,
        "ListResourceTags" => json!(kms.list_resource_tags(key, i.limit, i.marker.as_deref())?),
        "ScheduleKeyDeletion" => json!(kms.schedule_key_deletion(key, i.pending_window_in_days)?),
        _ => json!({"KeyId": kms.cancel_key_deletion(key)?}),
    })
}

fn sts(world: &mut World, parts: &Parts, body: &[u8], request_id: &str) -> Result<String, Failure> {
    let text = String::from_utf8_lossy(body);
    let form: BTreeMap<String, String> = text
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect();
    let action = form.get("Action").map_or("", String::as_str);
    let (who, region) = caller(world, parts, true)?;
    let mut out = String::new();
    match action {
        "GetCallerIdentity" => {
            let me = world.sts(&who, &region).get_caller_identity()?;
            let _ = write!(
                out,
                "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
                escape(&me.arn),
                escape(&me.user_id),
                me.account
            );
        }
        "AssumeRole" => {
            let missing = |name: &str| {
                ServiceError::new(
                    400,
                    "ValidationError",
                    format!("1 validation error detected: Value null at '{name}'"),
                )
            };
            let field = |name: &str| form.get(name).cloned().ok_or_else(|| missing(name));
            let request = AssumeRole {
                role_arn: field("RoleArn")?,
                role_session_name: field("RoleSessionName")?,
                external_id: form.get("ExternalId").cloned(),
                duration_seconds: form.get("DurationSeconds").and_then(|d| d.parse().ok()),
            };
            let c = world.sts(&who, &region).assume_role(&request)?;
            let me = world.sts_user_id(&c.identity);
            let _ = write!(
                out,
                "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials><AssumedRoleUser><Arn>{}</Arn><AssumedRoleId>{}</AssumedRoleId></AssumedRoleUser>",
                c.access_key_id,
                c.secret_access_key,
                c.session_token,
                rfc3339(c.expires_at_ms),
                escape(&c.identity.caller_arn()),
                escape(&me)
            );
        }
        other => {
            return Err(ServiceError::new(
                400,
                "InvalidAction",
                format!("Could not find operation {other}"),
            )
            .into());
        }
    }
    Ok(format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{out}</{action}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    ))
}

/// `%41+` -> `A `.
fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let value = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|d| u8::from_str_radix(d, 16).ok());
                out.push(value.unwrap_or(b'?'));
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
