//! The AWS wire: JSON 1.1 for KMS and tagging, the Query protocol with XML for STS and IAM.

use axum::body::Body;
use axum::http::Response;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::form::Form;
use super::{Reply, Shared, aws_iam, aws_kms, aws_sts, respond, unheard};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::iam::{Identity, KeyRefused};
use crate::sandbox::ident::uuid;
use crate::sandbox::world::World;

/// Who signed, and for which region.
struct Signature {
    access_key: String,
    region: String,
}

/// Reads `AWS4-HMAC-SHA256 Credential=AKID/date/region/service/aws4_request, ...`; the hash is not verified.
fn signature(parts: &Parts) -> Option<Signature> {
    let header = parts.headers.get("authorization")?.to_str().ok()?;
    let scope = header.strip_prefix("AWS4-HMAC-SHA256")?.split("Credential=").nth(1)?.split(',').next()?;
    let mut fields = scope.trim().split('/');
    let (access_key, _date, region) = (fields.next()?, fields.next()?, fields.next()?);
    header.contains("Signature=").then(|| Signature { access_key: access_key.into(), region: region.into() })
}

pub(super) fn answer(shared: &Shared, parts: &Parts, body: &[u8]) -> Reply {
    let target = parts.headers.get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default();
    let form = if target.is_empty() { Form::read(body) } else { Form::default() };
    let iam = form.get("Version") == Some(aws_iam::VERSION);
    let ((result, request_id), travel) = shared.answer(|world| {
        let n = world.next_request();
        let request_id = uuid(world.settings().seed, "request", n);
        let result = if iam {
            aws_iam::call(world, parts, &form, &request_id)
        } else if target.is_empty() {
            aws_sts::call(world, parts, &form, &request_id)
        } else {
            json_call(world, parts, target, body)
        };
        (result, request_id)
    });
    let xml = target.is_empty();
    let response = match result {
        Ok(text) if xml => Some(respond(200, &[("content-type", "text/xml"), ("x-amzn-requestid", &request_id)], text)),
        Ok(text) => {
            let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amzn-requestid", request_id.as_str())];
            Some(respond(200, &headers, text))
        }
        Err(failure) if unheard(&failure) => None,
        Err(Failure::Service(error)) if xml => Some(xml_error(&error, &request_id, iam)),
        Err(Failure::Service(error)) => Some(json_error(&error, &request_id)),
        Err(_) => None,
    };
    Reply { response, travel }
}

fn json_error(error: &ServiceError, request_id: &str) -> Response<Body> {
    let headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amzn-requestid", request_id),
        ("x-amzn-errortype", error.code.as_str()),
    ];
    respond(error.status, &headers, json!({"__type": error.code, "message": error.message}).to_string())
}

fn xml_error(error: &ServiceError, request_id: &str, iam: bool) -> Response<Body> {
    let name = if iam { "iam.amazonaws.com/doc/2010-05-08" } else { "sts.amazonaws.com/doc/2011-06-15" };
    let side = if error.status < 500 { "Sender" } else { "Receiver" };
    let text = format!(
        "<ErrorResponse xmlns=\"https://{name}/\"><Error><Type>{side}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(&error.code),
        escape(&error.message)
    );
    respond(error.status, &[("content-type", "text/xml"), ("x-amzn-requestid", request_id)], text)
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The caller, or the refusal in the words of a JSON service.
pub(super) fn caller(world: &mut World, parts: &Parts, query: bool) -> Result<(Identity, String), Failure> {
    let missing = || {
        let text = "Request is missing Authentication Token";
        ServiceError::new(
            if query { 403 } else { 400 },
            if query { "MissingAuthenticationToken" } else { "MissingAuthenticationTokenException" },
            text,
        )
    };
    let signed = signature(parts).ok_or_else(missing)?;
    let who = world.identify(&signed.access_key).map_err(|refused| match (refused, query) {
        (KeyRefused::Unknown, false) => ServiceError::new(
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        (KeyRefused::Unknown, true) => {
            ServiceError::new(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
        }
        (KeyRefused::Expired, false) => {
            ServiceError::new(400, "ExpiredTokenException", "The security token included in the request is expired")
        }
        (KeyRefused::Expired, true) => {
            ServiceError::new(403, "ExpiredToken", "The security token included in the request is expired")
        }
    })?;
    Ok((who, signed.region))
}

fn json_call(world: &mut World, parts: &Parts, target: &str, body: &[u8]) -> Result<String, Failure> {
    let (who, region) = caller(world, parts, false)?;
    let body = if body.is_empty() { b"{}" } else { body };
    let answer = match target.split_once('.') {
        Some(("TrentService", operation)) => aws_kms::call(&mut world.kms_as(&who, &region), operation, body)?,
        Some(("ResourceGroupsTaggingAPI_20170126", "GetResources")) => {
            let page = world.tagging(&who, &region).get_resources(&parse(body)?)?;
            json!(page)
        }
        _ => return Err(unknown_operation(target)),
    };
    Ok(if answer.is_null() { "{}".into() } else { answer.to_string() })
}

pub(super) fn unknown_operation(name: &str) -> Failure {
    ServiceError::aws("UnknownOperationException", format!("the sandbox does not know {name}")).into()
}

/// Input with the names of the API; what is missing or of the wrong type is the caller's fault.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body).map_err(|e| {
        let code = if e.is_data() && e.to_string().starts_with("missing field") {
            "ValidationException"
        } else {
            "SerializationException"
        };
        ServiceError::aws(code, format!("1 validation error detected: {e}"))
    })
}
