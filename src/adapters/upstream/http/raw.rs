//! A request in a cloud's own manner: its media types, its way to say who asks. Whatever is answered is an answer; what it
//! means is the cloud's to say.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use tracing::debug;

use super::{Body, Http, Unheard, meaning, read, redacted, retry_after};
use crate::adapters::watch::Call;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::moment::Span;
use crate::ports::Credentials;

/// A request.
#[derive(Clone)]
pub(in crate::adapters::upstream) struct Raw<'a> {
    pub(in crate::adapters::upstream) method: Method,
    /// The operation in the vendor's words, with no id in it.
    pub(in crate::adapters::upstream) operation: &'static str,
    /// What it is done to.
    pub(in crate::adapters::upstream) target: &'a str,
    /// The path and query, ready to be sent.
    pub(in crate::adapters::upstream) path: &'a str,
    /// The media type of the answer.
    pub(in crate::adapters::upstream) accept: &'a str,
    /// The body, and its media type.
    pub(in crate::adapters::upstream) body: Option<(&'a str, Vec<u8>)>,
}

/// Whatever was answered.
pub(in crate::adapters::upstream) struct Answer {
    pub(in crate::adapters::upstream) status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Http {
    /// The path and query of a request as the other side sees them: the base may have a path of its own.
    pub(in crate::adapters::upstream) fn sent_path(&self, path: &str) -> String {
        match Url::parse(&format!("{}{path}", self.base)) {
            Ok(url) => match url.query() {
                Some(query) => format!("{}?{query}", url.path()),
                None => url.path().to_owned(),
            },
            Err(_) => path.to_owned(),
        }
    }

    /// Sends a request once. A fault is one of the way there or back, not the other side's word.
    pub(in crate::adapters::upstream) async fn raw(
        &self,
        request: Raw<'_>,
        authorization: Option<&str>,
        secrets: &Credentials,
    ) -> Result<Answer, Fault> {
        let operation = request.operation;
        let began = self.clock.monotonic_ms();
        let outcome = self.transmit(request, authorization, secrets).await;
        let took = u64::try_from(self.clock.monotonic_ms() - began).map(Duration::from_millis).unwrap_or_default();
        let fault = match &outcome {
            Ok(answer) if answer.is_good() || answer.status == 404 => None,
            Ok(answer) => Some(meaning(answer.status).0),
            Err(fault) => Some(fault.class),
        };
        debug!(service = self.service, operation, ?fault, ?took, "called");
        self.watch.called(&Call { service: self.service, operation, fault, took });
        outcome
    }

    async fn transmit(
        &self,
        request: Raw<'_>,
        authorization: Option<&str>,
        secrets: &Credentials,
    ) -> Result<Answer, Fault> {
        let Raw { method, operation, target, path, accept, body } = request;
        let writes = method != Method::GET;
        let broken = |error: &Unheard| {
            let class = if error.unbuilt { FaultClass::Terminal } else { FaultClass::Transient };
            let fault = Fault::new(class, operation, target, redacted(&error.words, secrets));
            if writes && !error.unconnected && !error.unbuilt { fault.uncertain() } else { fault }
        };
        let mut call = self.client.request(method, format!("{}{path}", self.base)).header(ACCEPT, accept);
        if let Some(text) = authorization {
            let Ok(mut value) = HeaderValue::try_from(text) else {
                let message = "the credentials hold characters that no credentials have";
                let fault = Fault::new(FaultClass::Refused, operation, target, message);
                return Err(fault.because(Cause::Credentials));
            };
            value.set_sensitive(true);
            call = call.header(AUTHORIZATION, value);
        }
        if let Some((media, bytes)) = body {
            call = call.header(CONTENT_TYPE, media).body(bytes);
        }
        let response = self.reach(call).await.map_err(|e| broken(&e))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let good = (200..300).contains(&status);
        let body = match read(response, self.body_cap).await {
            Ok(body) if body.cut && good => {
                let message = format!("the answer is longer than {} bytes", self.body_cap);
                let fault = Fault::new(FaultClass::Terminal, operation, target, message);
                return Err(if writes { fault.uncertain() } else { fault });
            }
            Ok(body) => body,
            Err(error) if good => return Err(broken(&error.into())),
            // That the reason breaks off changes nothing about the answer.
            Err(_) => Body::default(),
        };
        Ok(Answer { status, headers, body: body.bytes })
    }
}

impl Answer {
    /// Whether it says yes.
    pub(in crate::adapters::upstream) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header.
    pub(in crate::adapters::upstream) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// When the other side wants to be asked again.
    pub(in crate::adapters::upstream) fn retry_after(&self) -> Option<Span> {
        retry_after(&self.headers)
    }

    /// The body as text, as far as it is one.
    pub(in crate::adapters::upstream) fn text(&self) -> String {
        super::reason(&self.body)
    }

    /// The body as what it may be.
    pub(in crate::adapters::upstream) fn try_parse<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as what it should be.
    pub(in crate::adapters::upstream) fn parse<T: DeserializeOwned>(
        &self,
        operation: &str,
        target: &str,
        secrets: &Credentials,
    ) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Serde quotes what it found where it expected something else.
            let message = format!("the answer cannot be read: {}", redacted(&error.to_string(), secrets));
            Fault::new(FaultClass::Terminal, operation, target, message)
        })
    }

    /// What its status means, with nothing known of the cloud's own codes.
    pub(in crate::adapters::upstream) fn meaning(&self) -> (FaultClass, Cause, bool) {
        meaning(self.status)
    }
}

/// A text without any secret value, cut to a readable length.
pub(in crate::adapters::upstream) fn without_secrets(text: &str, secrets: &Credentials) -> String {
    redacted(text, secrets)
}
