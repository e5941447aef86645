//! The control address: faults, the clock, the call log, the state, commands. JSON in, JSON out.
//!
//! | call | body | answer |
//! | --- | --- | --- |
//! | `POST /faults` | a [`Rule`]: `{"match":{"operation":"kms:CreateKey","nth":1},"fault":"applied_but_lost"}` | `{"id":1}` |
//! | `GET /faults` | | the rules with `seen` and `fired` |
//! | `DELETE /faults` | | |
//! | `GET /clock`, `POST /clock` | `{"advance_ms":604800000}`, `{"speed":60}` | `{"now_ms":...}` |
//! | `GET /log?after=SEQ`, `DELETE /log` | | the calls, oldest first |
//! | `GET /state` | | everything there is, see `World::dump` |
//! | `POST /world` | a [`Command`]: `{"disable_key":{"arn":"arn:..."}}`, `{"patch_settings":{"kms_read_lag_ms":3000}}`, `{"atlas":{"set_legacy_backup":{...}}}` (see `AtlasCommand`) | |
//! | `POST /singlestore/portal` | a [`Portal`]: `{"security_tab":{"org":"...","group":"..."}}` | what a human sees |

use axum::extract::Query;
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Reply, Shared, respond};
use crate::sandbox::command::Command;
use crate::sandbox::fault::Rule;
use crate::sandbox::singlestore::portal::Portal;

/// Body of `POST /clock`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    /// Lets simulated time jump forward.
    advance_ms: Option<i64>,
    /// Simulated seconds per real second.
    speed: Option<f64>,
}

/// Query of `GET /log`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    /// Only entries with a higher number.
    #[serde(default)]
    after: u64,
}

/// What there is, for those who ask for something else.
const CALLS: &str = "GET POST DELETE /faults, GET POST /clock, GET DELETE /log, GET /state, POST /world, \
     POST /singlestore/portal";

pub(super) fn answer(shared: &Shared, parts: &Parts, body: &[u8]) -> Reply {
    let (status, value) = match route(shared, parts, body) {
        Ok(value) => (200, value),
        Err((status, text)) => (status, json!({"error": text})),
    };
    Reply::now(respond(status, &[("content-type", "application/json")], value.to_string()))
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
        ("GET", "/log") => {
            let Query(from) = Query::<From>::try_from_uri(&parts.uri).map_err(|e| (400, e.to_string()))?;
            shared.with(|w| {
                let wanted = w.log().iter().filter(|e| e.seq > from.after);
                json!(wanted.map(|e| &**e).collect::<Vec<_>>())
            })
        }
        ("DELETE", "/log") => {
            shared.with(super::World::clear_log);
            json!({})
        }
        ("GET", "/state") => shared.with(|w| w.dump()),
        ("POST", "/world") => {
            let command: Command = serde_json::from_slice(body).map_err(bad)?;
            shared.with(|w| w.command(command)).map_err(|text| (404, text))?;
            json!({})
        }
        ("POST", "/singlestore/portal") => {
            let act: Portal = serde_json::from_slice(body).map_err(bad)?;
            shared.with(|w| w.singlestore_portal(&act)).map_err(|text| (400, text))?
        }
        (method, path) => {
            return Err((404, format!("no such control call: {method} {path}; there are {CALLS}")));
        }
    })
}
