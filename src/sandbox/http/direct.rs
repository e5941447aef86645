//! The clouds' wires with no network in between: for the real adapters in process.

use axum::http::{Request, Response};
use futures::FutureExt as _;

use super::{astra, atlas, singlestore};
use crate::sandbox::ports::Clouds;

impl Clouds {
    /// What a database cloud answers to a request, by the name of its host: `astra`, `atlas` or `singlestore`. None: the
    /// connection breaks, or no answer comes in time.
    pub fn carry(&self, request: Request<Vec<u8>>) -> Option<Response<Vec<u8>>> {
        let (parts, body) = request.into_parts();
        let mut world = self.world();
        let response = match parts.uri.host()? {
            "astra" => astra::answer(&mut world, &parts, &body),
            "atlas" => atlas::answer(&mut world, &parts, &body),
            "singlestore" => singlestore::answer(&mut world, &parts, &body),
            _ => None,
        };
        let (parts, body) = response?.into_parts();
        // All of it is there already.
        let body = axum::body::to_bytes(body, usize::MAX).now_or_never()?.ok()?;
        Some(Response::from_parts(parts, body.to_vec()))
    }
}
