//! Requests that something in this process carries and answers, with no network: the adapters as they are, for tests of
//! passes that need thousands of lives.

use std::sync::{Arc, OnceLock};

use axum::http::{Request, Response};
use reqwest::RequestBuilder;

use super::{Http, Unheard};
use crate::adapters::watch::Unwatched;
use crate::clock::Clock;

/// What carries a request and its answer. No answer: the connection broke before there was one, and nobody here knows
/// whether the request arrived. The host of the request is the name of the cloud in lower case.
pub type Carrier = Arc<dyn Fn(Request<Vec<u8>>) -> Option<Response<Vec<u8>>> + Send + Sync>;

impl Http {
    /// A client of a cloud whose requests are carried like this.
    pub(in crate::adapters::upstream) fn carried(
        service: &'static str,
        carrier: &Carrier,
        clock: Arc<dyn Clock>,
    ) -> Self {
        // It sends nothing, and to set one up takes milliseconds.
        static BUILDS: OnceLock<reqwest::Client> = OnceLock::new();
        Self {
            client: BUILDS.get_or_init(reqwest::Client::new).clone(),
            service,
            base: format!("http://{service}"),
            body_cap: usize::MAX,
            clock,
            watch: Arc::new(Unwatched),
            carrier: Some(Arc::clone(carrier)),
        }
    }
}

pub(super) fn carry(carrier: &Carrier, call: RequestBuilder) -> Result<reqwest::Response, Unheard> {
    let request: Request<reqwest::Body> = call.build()?.try_into()?;
    let request = request.map(|body| body.as_bytes().unwrap_or_default().to_vec());
    let broke = || Unheard { unbuilt: false, unconnected: false, words: "the connection broke".to_owned() };
    Ok(carrier(request).ok_or_else(broke)?.into())
}
