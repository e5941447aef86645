//! The `SingleStore` wire: paths, queries and bodies of the Management API. Errors are plain text, or a page.

use axum::body::Body;
use axum::extract::Query;
use axum::http::Response;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{respond, unheard};
use crate::sandbox::failure::{Failure, ServiceError, refused};
use crate::sandbox::singlestore::{Operation, SingleStore};
use crate::sandbox::world::World;

/// The response; none: the client hears nothing.
pub(super) fn answer(world: &mut World, parts: &Parts, body: &[u8]) -> Option<Response<Body>> {
    let header = parts.headers.get("authorization").and_then(|h| h.to_str().ok()).unwrap_or_default();
    let api_key = header.strip_prefix("Bearer ").unwrap_or_default().trim().to_owned();
    match route(&mut world.singlestore(&api_key), parts, body) {
        Ok(Some(value)) => Some(respond(200, &[("content-type", "application/json")], value.to_string())),
        Ok(None) => Some(respond(200, &[], Body::empty())),
        Err(failure) if unheard(&failure) => None,
        Err(Failure::Service(error)) => Some(error_response(&error, world.singlestore_pages(&api_key))),
        Err(_) => None,
    }
}

/// A line of text, or the page of something in front of the server: the vendor documents no body.
fn error_response(error: &ServiceError, pages: bool) -> Response<Body> {
    let retry_after = error.retry_after_s.map(|s| s.to_string());
    let page = error.code == "html" || pages && error.status >= 500;
    let (kind, body) = if page {
        let ServiceError { status, message, .. } = error;
        let title = format!("{status} {message}");
        ("text/html", format!("<html>\r\n<head><title>{title}</title></head>\r\n<body>{title}</body>\r\n</html>\r\n"))
    } else {
        ("text/plain; charset=utf-8", format!("{}\n", error.message))
    };
    let mut headers = vec![("content-type", kind)];
    if let Some(seconds) = &retry_after {
        headers.push(("retry-after", seconds));
    }
    respond(error.status, &headers, body)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body).map_err(|e| refused(400, format!("Invalid request: {e}")))
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, ServiceError> {
    Query::try_from_uri(&parts.uri).map(|Query(q)| q).map_err(|e| refused(400, format!("Invalid request: {e}")))
}

/// All parameters that any call knows. Others are read past, as the vendor's own client sends some.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Only these fields.
    fields: Option<String>,
    include_terminated: bool,
    force: bool,
    #[serde(rename = "workspaceGroupID")]
    group: String,
}

impl Parameters {
    /// An answer with the fields that were asked for.
    fn shown(&self, answer: &impl Serialize) -> Value {
        let mut value = json!(answer);
        if let Some(fields) = &self.fields {
            let wanted: Vec<&str> = fields.split(',').map(str::trim).collect();
            let only = |value: &mut Value| {
                if let Some(object) = value.as_object_mut() {
                    object.retain(|name, _| wanted.contains(&name.as_str()));
                }
            };
            match value.as_array_mut() {
                Some(all) => all.iter_mut().for_each(only),
                None => only(&mut value),
            }
        }
        value
    }
}

/// The answer; `None` is a good one without a body.
type Answer = Result<Option<Value>, Failure>;

fn route(cloud: &mut SingleStore<'_>, parts: &Parts, body: &[u8]) -> Answer {
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    let asked: Parameters = query(parts)?;
    Ok(Some(match (parts.method.as_str(), path.as_slice()) {
        ("GET", ["v1", "organizations", "current"]) => {
            let (id, name) = cloud.current_org()?;
            json!({"orgID": id, "name": name, "firewallRanges": []})
        }
        ("GET", ["v1", "projects"]) => json!(cloud.projects()?),
        ("GET", ["v1", "regions"]) => asked.shown(&cloud.regions()?),
        ("GET", ["v2", "regions"]) => json!(cloud.regions_v2()?),
        (_, ["v1", "workspaceGroups", rest @ ..]) => return groups(cloud, parts, rest, &asked, body),
        (_, ["v1", "workspaces", rest @ ..]) => return workspaces(cloud, parts, rest, &asked, body),
        _ => return Err(no_such_call(parts)),
    }))
}

fn no_such_call(parts: &Parts) -> Failure {
    refused(404, format!("no such call: {} {}", parts.method, parts.uri.path())).into()
}

fn groups(cloud: &mut SingleStore<'_>, parts: &Parts, path: &[&str], asked: &Parameters, body: &[u8]) -> Answer {
    let id_of = |id: &str| json!({"workspaceGroupID": id});
    Ok(Some(match (parts.method.as_str(), path) {
        ("GET", []) => asked.shown(&cloud.groups(asked.include_terminated)?),
        ("POST", []) => json!(cloud.create_group(&parse(body)?)?),
        ("GET", [id]) => asked.shown(&cloud.group(id)?),
        ("PATCH", [id]) => {
            cloud.update_group(id, &parse(body)?)?;
            id_of(id)
        }
        ("DELETE", [id]) => {
            cloud.terminate_group(id, asked.force)?;
            id_of(id)
        }
        ("GET", [id, "identity"]) => json!({"identity": cloud.identity(id)?}),
        ("GET", [id, "storage", "DR", "regions"]) => asked.shown(&cloud.replication_regions(id)?),
        ("GET", [id, "storage", "DR", "status"]) => json!(cloud.replication_status(id)?),
        ("POST", [id, "storage", "DR", "setup"]) => {
            cloud.set_up_replication(id, &parse(body)?)?;
            return Ok(None);
        }
        ("PATCH", [id, "storage", "DR", operation]) => {
            let operation = match *operation {
                "failover" => Operation::Failover,
                "failback" => Operation::Failback,
                "startPreProvision" => Operation::PreProvisionStart,
                "stopPreProvision" => Operation::PreProvisionStop,
                _ => return Err(no_such_call(parts)),
            };
            cloud.operate_replication(id, operation)?;
            return Ok(None);
        }
        _ => return Err(no_such_call(parts)),
    }))
}

fn workspaces(cloud: &mut SingleStore<'_>, parts: &Parts, path: &[&str], asked: &Parameters, body: &[u8]) -> Answer {
    let id_of = |id: &str| json!({"workspaceID": id});
    Ok(Some(match (parts.method.as_str(), path) {
        ("GET", []) => asked.shown(&cloud.workspaces(&asked.group, asked.include_terminated)?),
        ("POST", []) => id_of(&cloud.create_workspace(&parse(body)?)?),
        ("GET", [id]) => asked.shown(&cloud.workspace(id)?),
        ("PATCH", [id]) => {
            cloud.update_workspace(id, &parse(body)?)?;
            id_of(id)
        }
        ("DELETE", [id]) => {
            cloud.terminate_workspace(id)?;
            id_of(id)
        }
        ("POST", [id, "suspend"]) => {
            cloud.suspend(id)?;
            id_of(id)
        }
        ("POST", [id, "resume"]) => {
            cloud.resume(id)?;
            id_of(id)
        }
        ("GET", [id, "privateConnections", "outboundAllowList"]) => {
            let accounts = cloud.outbound_allow_list(id)?;
            accounts.into_iter().map(|account| json!({"outboundAllowList": account})).collect()
        }
        _ => return Err(no_such_call(parts)),
    }))
}
