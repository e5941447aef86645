//! The control address: faults, the clock, the call log, the state, commands.

use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Reply, Shared, respond};
use crate::sandbox::command::Command;
use crate::sandbox::fault::Rule;

/// Body of `POST /clock`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    /// Lets simulated time jump forward.
    advance_ms: Option<i64>,
    /// Simulated seconds per real second.
    speed: Option<f64>,
}

pub(super) fn answer(shared: &Shared, parts: &Parts, body: &[u8]) -> Reply {
    let (status, value) = match route(shared, parts, body) {
        Ok(value) => (200, value),
        Err((status, text)) => (status, json!({"error": text})),
    };
    Reply::now(respond(
        status,
        &[("content-type", "application/json")],
        value.to_string(),
    ))
}

fn route(shared: &Shared, parts: &Parts, body: &[u8]) -> Result<Value, (u16, String)> {
    let bad = |e: serde_json::Error| (400, e.to_string());
    Ok(match (parts.method.as_str(), parts.uri.path()) {
        ("GET", "/faults") => shared.with(|w| json!(w.faults())),
        ("POST", "/faults") => {
            let rule: Rule = serde_json::from_slice(body).map_err(bad)?;
            json!({"id": shared.with(|w| w.add_fault(rule))})
        }
        ("DELETE", "/faults") => {
            shared.with(super::World::clear_faults);
            json!({})
        }
        ("GET", "/clock") => json!({"now_ms": shared.with(|w| w.now_ms())}),
        ("POST", "/clock") => {
            let change: ClockChange = serde_json::from_slice(body).map_err(bad)?;
            if let Some(speed) = change.speed {
                shared.set_speed(speed);
            }
            shared.advance(change.advance_ms.unwrap_or(0));
            json!({"now_ms": shared.with(|w| w.now_ms())})
        }
        ("GET", "/log") => shared.with(|w| json!(w.log().iter().map(|e| &**e).collect::<Vec<_>>())),
        ("DELETE", "/log") => {
            shared.with(super::World::clear_log);
            json!({})
        }
        ("GET", "/state") => shared.with(|w| w.dump()),
        ("POST", "/world") => {
            let command: Command = serde_json::from_slice(body).map_err(bad)?;
            shared
                .with(|w| w.command(command))
                .map_err(|text| (404, text))?;
            json!({})
        }
        (method, path) => return Err((404, format!("no such control call: {method} {path}"))),
    })
}
