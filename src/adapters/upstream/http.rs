//! One HTTP request to a cloud, and what its failure means.
//!
//! # Guarantees
//! - One request is sent per call: nothing is retried here, no redirect is followed, since that would carry the token
//!   elsewhere.
//! - No credential is in any fault, whatever the other side echoes.

#[cfg(feature = "sandbox")]
pub(super) mod carried;
pub(super) mod raw;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::debug;

use super::Options;
use crate::adapters::watch::{Call, Watch};
use crate::clock::Clock;
use crate::domain::fault::{Applied, Cause, Fault, FaultClass};
use crate::domain::moment::Span;
use crate::ports::Credentials;

/// How much of an answer that says no is kept.
const KEPT: usize = 4096;

/// A request.
pub(super) struct Request<'a> {
    method: Method,
    /// The operation in the vendor's words, with no id in it.
    pub(super) operation: &'static str,
    /// What it is done to.
    pub(super) target: &'a str,
    /// The path and query, ready to be sent.
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl<'a> Request<'a> {
    /// A request that only looks.
    pub(super) fn get(operation: &'static str, target: &'a str, path: String) -> Self {
        Self { method: Method::GET, operation, target, path, body: None }
    }

    /// A request that changes something.
    pub(super) fn post(operation: &'static str, target: &'a str, path: String, body: Value) -> Self {
        Self { method: Method::POST, operation, target, path, body: Some(body) }
    }

    /// A request that ends something.
    pub(super) fn delete(operation: &'static str, target: &'a str, path: String) -> Self {
        Self { method: Method::DELETE, operation, target, path, body: None }
    }
}

/// A value in a path or query: ids come from status, spec or the other side, and must not lead elsewhere.
pub(super) fn quoted(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~');
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// An answer that says yes.
pub(super) struct Reply {
    /// The header `Location`.
    pub(super) location: Option<String>,
    body: Vec<u8>,
}

/// An answer that says no, or none.
pub(super) struct Refusal {
    /// The HTTP status, if there was an answer.
    pub(super) status: Option<u16>,
    pub(super) fault: Fault,
}

/// A client of one cloud.
pub(super) struct Http {
    client: reqwest::Client,
    service: &'static str,
    base: String,
    body_cap: usize,
    clock: Arc<dyn Clock>,
    watch: Arc<dyn Watch>,
    /// What carries requests in place of a network.
    #[cfg(feature = "sandbox")]
    carrier: Option<carried::Carrier>,
}

/// Why no answer was heard, or not all of it.
struct Unheard {
    /// The request could not even be built.
    unbuilt: bool,
    /// The connection never stood, so that nothing was sent.
    unconnected: bool,
    words: String,
}

impl From<reqwest::Error> for Unheard {
    fn from(error: reqwest::Error) -> Self {
        let (unbuilt, unconnected) = (error.is_builder(), error.is_connect());
        Self { unbuilt, unconnected, words: lines(&error.without_url()) }
    }
}

impl Http {
    pub(super) fn new(
        service: &'static str,
        base: &str,
        options: &Options,
        clock: Arc<dyn Clock>,
        watch: Arc<dyn Watch>,
    ) -> Result<Self, Fault> {
        let client = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("cmk-operator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Fault::new(FaultClass::Terminal, "set up HTTP", base, lines(&e)))?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self {
            client,
            service,
            base,
            body_cap: options.body_cap,
            clock,
            watch,
            #[cfg(feature = "sandbox")]
            carrier: None,
        })
    }

    /// Sends a request on its way and hears the head of the answer.
    async fn reach(&self, call: RequestBuilder) -> Result<Response, Unheard> {
        #[cfg(feature = "sandbox")]
        if let Some(carrier) = &self.carrier {
            return carried::carry(carrier, call);
        }
        Ok(call.send().await?)
    }

    /// Sends a request and reads the answer.
    pub(super) async fn send(
        &self,
        token: &str,
        credentials: &Credentials,
        request: Request<'_>,
    ) -> Result<Reply, Refusal> {
        let operation = request.operation;
        let began = self.clock.monotonic_ms();
        let outcome = self.exchange(token, credentials, request).await;
        let took = u64::try_from(self.clock.monotonic_ms() - began).map(Duration::from_millis).unwrap_or_default();
        let fault = outcome.as_ref().err().filter(|r| r.status != Some(404)).map(|r| r.fault.class);
        debug!(service = self.service, operation, ?fault, ?took, "called");
        self.watch.called(&Call { service: self.service, operation, fault, took });
        outcome
    }

    async fn exchange(&self, token: &str, credentials: &Credentials, request: Request<'_>) -> Result<Reply, Refusal> {
        let Request { method, operation, target, path, body } = request;
        let writes = method != Method::GET;
        let refusal = |status: Option<u16>, class: FaultClass, cause: Cause, perhaps: bool, message: &str| {
            let mut fault = Fault::new(class, operation, target, redacted(message, credentials)).because(cause);
            if perhaps && writes {
                fault.applied = Applied::Perhaps;
            }
            Refusal { status, fault }
        };
        let broken = |error: &Unheard, status: Option<u16>| {
            if error.unbuilt {
                return refusal(None, FaultClass::Terminal, Cause::Other, false, &error.words);
            }
            refusal(status, FaultClass::Transient, Cause::Other, !error.unconnected, &error.words)
        };
        let Ok(mut bearer) = HeaderValue::try_from(format!("Bearer {token}")) else {
            let message = "the token holds characters that no token has";
            return Err(refusal(None, FaultClass::Refused, Cause::Credentials, false, message));
        };
        bearer.set_sensitive(true);
        let call = self.client.request(method, format!("{}{path}", self.base));
        let mut call = call.header(AUTHORIZATION, bearer).header("accept", "application/json");
        if let Some(body) = &body {
            call = call.json(body);
        }
        let response = self.reach(call).await.map_err(|e| broken(&e, None))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let location = headers.get(LOCATION).and_then(|l| l.to_str().ok()).map(ToOwned::to_owned);
        if !(200..300).contains(&status) {
            // What can be read of the reason; that it breaks off changes nothing about the answer.
            let body = read(response, KEPT * 4).await.unwrap_or_else(|_| Body::default());
            let meaning = meaning(status);
            let message = format!("HTTP {status}: {}", reason(&body.bytes));
            let mut refusal = refusal(Some(status), meaning.0, meaning.1, meaning.2, &message);
            refusal.fault.retry_after = retry_after(&headers);
            return Err(refusal);
        }
        // The answer is in its head: whatever becomes of the body, the id is known.
        let body = match read(response, self.body_cap).await {
            Err(error) if location.is_none() => return Err(broken(&error.into(), Some(status))),
            Ok(body) if body.cut && location.is_none() => {
                let message = format!("the answer is longer than {} bytes", self.body_cap);
                return Err(refusal(Some(status), FaultClass::Terminal, Cause::Other, true, &message));
            }
            Ok(body) => body.bytes,
            Err(_) => Vec::new(),
        };
        Ok(Reply { location, body })
    }
}

impl Reply {
    /// Whether a page came, as something between us and the cloud sends it, in place of an answer.
    pub(super) fn is_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    /// The body as what it should be.
    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        operation: &str,
        target: &str,
        credentials: &Credentials,
    ) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Serde quotes what it found where it expected something else.
            let message = format!("the answer cannot be read: {}", redacted(&error.to_string(), credentials));
            Fault::new(FaultClass::Terminal, operation, target, message)
        })
    }
}

/// What a status means: the class, the cause, and whether a write may have taken effect.
fn meaning(status: u16) -> (FaultClass, Cause, bool) {
    match status {
        401 => (FaultClass::Refused, Cause::Credentials, false),
        403 => (FaultClass::Refused, Cause::Permission, false),
        402 => (FaultClass::Refused, Cause::Quota, false),
        // What was there when we looked is not there any more, or the other way round.
        404 | 409 | 410 | 412 => (FaultClass::Conflict, Cause::Other, false),
        400 | 413 | 422 => (FaultClass::Invalid, Cause::Other, false),
        408 | 500.. => (FaultClass::Transient, Cause::Other, true),
        425 | 429 => (FaultClass::Throttled, Cause::Other, false),
        // Redirects, and what no cloud of ours documents.
        _ => (FaultClass::Terminal, Cause::Other, false),
    }
}

#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    cut: bool,
}

async fn read(mut response: Response, cap: usize) -> Result<Body, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > cap {
            bytes.truncate(cap);
            return Ok(Body { bytes, cut: true });
        }
    }
    Ok(Body { bytes, cut: false })
}

/// The reason in the body of a refusal: the messages of `{"errors":[{"ID":1,"message":"..."}]}`, the title of a page, or
/// the text as it is.
fn reason(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok().and_then(|body| {
        let errors = body.get("errors")?.as_array()?.iter().filter_map(one_error).collect::<Vec<_>>();
        (!errors.is_empty()).then(|| errors.join("; "))
    });
    said.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        let text = title(text.trim()).unwrap_or(text.trim());
        if text.is_empty() { "no reason given".to_owned() } else { text.to_owned() }
    })
}

/// The title of a page: the rest of it is for browsers.
fn title(text: &str) -> Option<&str> {
    let (_, rest) = text.starts_with('<').then_some(text)?.split_once("<title>")?;
    let (title, _) = rest.split_once("</title>")?;
    Some(title.trim()).filter(|title| !title.is_empty())
}

/// The vendor's schema spells the number `ID` in one place and `id` in another.
fn one_error(error: &Value) -> Option<String> {
    let message = error.get("message").and_then(Value::as_str)?;
    let id =
        error.get("ID").or(error.get("id")).map(|id| id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned));
    Some(match id {
        Some(id) => format!("{message} (error {id})"),
        None => message.to_owned(),
    })
}

/// The text without any secret value and without control characters, then cut: a secret at the cut is gone before.
fn redacted(text: &str, credentials: &Credentials) -> String {
    let mut text = text.to_owned();
    for secret in credentials.0.values().map(|s| s.trim()).filter(|s| !s.is_empty()) {
        text = text.replace(secret, "[redacted]");
    }
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(text, KEPT)
}

fn cut(mut text: String, length: usize) -> String {
    if text.len() > length {
        text.truncate(text.floor_char_boundary(length));
        text.push('…');
    }
    text
}

/// A chain of causes as one line.
fn lines(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |&e| e.source()) {
        let text = error.to_string();
        if !parts.iter().any(|p| p.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

/// `Retry-After` in seconds. Its other form, a date, would have to be held against a clock that is not ours.
fn retry_after(headers: &HeaderMap) -> Option<Span> {
    let seconds: i64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    (seconds >= 0).then(|| Span(seconds.saturating_mul(1000)))
}
