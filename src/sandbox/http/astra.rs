//! The Astra wire: paths, queries and bodies of the DevOps API.

use axum::body::Body;
use axum::extract::Query;
use axum::http::Response;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{respond, unheard};
use crate::sandbox::astra::{Astra, DatabaseType, ListDatabases};
use crate::sandbox::failure::{Failure, ServiceError, refused};
use crate::sandbox::world::World;

/// A good answer.
struct Good {
    status: u16,
    location: Option<String>,
    body: Option<Value>,
}

fn ok(body: Value) -> Good {
    Good { status: 200, location: None, body: Some(body) }
}

fn empty(status: u16) -> Good {
    Good { status, location: None, body: None }
}

/// The response; none: the client hears nothing.
pub(super) fn answer(world: &mut World, parts: &Parts, body: &[u8]) -> Option<Response<Body>> {
    let header = parts.headers.get("authorization").and_then(|h| h.to_str().ok()).unwrap_or_default();
    let token = header.strip_prefix("Bearer ").unwrap_or_default().trim().to_owned();
    match route(&mut world.astra(&token), parts, body) {
        Ok(good) => Some(written(good)),
        Err(failure) if unheard(&failure) => None,
        Err(Failure::Service(error)) => Some(error_response(&error)),
        Err(_) => None,
    }
}

fn written(good: Good) -> Response<Body> {
    let mut headers = vec![("content-type", "application/json")];
    if let Some(location) = &good.location {
        headers.push(("location", location));
    }
    respond(good.status, &headers, good.body.map(|b| b.to_string()).unwrap_or_default())
}

fn error_response(error: &ServiceError) -> Response<Body> {
    let number = error.code.parse::<u64>().map_or_else(|_| json!(error.code), |n| json!(n));
    let body = json!({"errors": [{"ID": number, "message": error.message}]}).to_string();
    let retry_after = error.retry_after_s.map(|s| s.to_string());
    let mut headers = vec![("content-type", "application/json")];
    if let Some(seconds) = &retry_after {
        headers.push(("retry-after", seconds));
    }
    respond(error.status, &headers, body)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body).map_err(|e| refused(400, format!("could not read the body: {e}")))
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, ServiceError> {
    Query::try_from_uri(&parts.uri).map(|Query(q)| q).map_err(|e| refused(400, e.to_string()))
}

#[derive(serde::Deserialize)]
struct All {
    #[serde(default)]
    all: bool,
}

/// Query of the list of serverless regions.
#[derive(serde::Deserialize)]
struct RegionFilter {
    /// `enabled`: only what the organization may use.
    #[serde(rename = "filter-by-org")]
    by_org: Option<String>,
}

fn route(astra: &mut Astra<'_>, parts: &Parts, body: &[u8]) -> Result<Good, Failure> {
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    let kind = |classic: bool| {
        if classic { DatabaseType::Classic } else { DatabaseType::Serverless }
    };
    Ok(match (parts.method.as_str(), path.as_slice()) {
        ("GET", ["v2", "currentOrg"]) => ok(json!({"id": astra.current_org()?})),
        ("GET", ["v2", "kms"]) => ok(json!(astra.keys(kind(false))?)),
        ("GET", ["v2", "kms", "classic"]) => ok(json!(astra.keys(kind(true))?)),
        ("POST", ["v2", "kms", rest @ ..]) if matches!(rest, [] | ["classic"]) => {
            empty(astra.register_key(kind(!rest.is_empty()), &parse(body)?)?)
        }
        ("GET", ["v2", "kms", "provider", provider, "region", region]) => {
            ok(json!(astra.key(kind(false), provider, region)?))
        }
        ("GET", ["v2", "kms", "classic", "provider", provider, "region", region]) => {
            ok(json!(astra.key(kind(true), provider, region)?))
        }
        ("GET", ["v2", "kms", "provider", provider, "region", region, "accounts"]) => {
            ok(json!(astra.accounts(kind(false), provider, region)?))
        }
        ("GET", ["v2", "kms", "classic", "provider", provider, "region", region, "accounts"]) => {
            ok(json!(astra.accounts(kind(true), provider, region)?))
        }
        ("GET", ["v2", "availableRegions"]) => ok(available_regions(&astra.regions(kind(true))?)),
        ("GET", ["v2", "regions", "serverless"]) => {
            let filter = query::<RegionFilter>(parts)?;
            let mut regions = astra.regions(kind(false))?;
            // The vendor's own clients take the filtered list for what the organization may use, item by item.
            regions.retain(|(_, open)| *open || filter.by_org.as_deref() != Some("enabled"));
            ok(serverless_regions(&regions))
        }
        _ => return databases(astra, parts, &path, body),
    })
}

fn databases(astra: &mut Astra<'_>, parts: &Parts, path: &[&str], body: &[u8]) -> Result<Good, Failure> {
    Ok(match (parts.method.as_str(), path) {
        ("GET", ["v2", "databases"]) => ok(json!(astra.list_databases(&query::<ListDatabases>(parts)?)?)),
        ("POST", ["v2", "databases"]) => {
            let id = astra.create_database(&parse(body)?)?;
            Good { location: Some(id), ..empty(201) }
        }
        ("GET", ["v2", "databases", id]) => ok(json!(astra.database(id)?)),
        ("POST", ["v2", "databases", id, "terminate"]) => {
            astra.terminate_database(id)?;
            empty(202)
        }
        ("GET", ["v2", "databases", id, "datacenters"]) => ok(json!(astra.datacenters(id, query::<All>(parts)?.all)?)),
        ("POST", ["v2", "databases", id, "datacenters"]) => {
            astra.add_datacenters(id, &parse::<Vec<_>>(body)?)?;
            empty(201)
        }
        ("POST", ["v2", "databases", id, "datacenters", datacenter, "terminate"]) => {
            astra.terminate_datacenter(id, datacenter)?;
            empty(202)
        }
        (method, _) => {
            return Err(refused(404, format!("no such call: {method} {}", parts.uri.path())).into());
        }
    })
}

fn available_regions(regions: &[(String, bool)]) -> Value {
    let offered = regions.iter().filter(|(_, open)| *open).map(|(region, _)| {
        json!({
            "tier": "D10", "cloudProvider": "AWS", "region": region, "cost": {"costPerMinCents": 0},
            "databaseCountUsed": 0, "databaseCountLimit": 100, "capacityUnitsUsed": 0, "capacityUnitsLimit": 100,
            "defaultStoragePerCapacityUnitGb": 500
        })
    });
    offered.collect()
}

fn serverless_regions(regions: &[(String, bool)]) -> Value {
    let offered = regions.iter().map(|(region, open)| {
        let zone = match region.split('-').next() {
            Some("eu") => "emea",
            Some("ap") => "apac",
            Some("sa") => "sa",
            _ => "na",
        };
        json!({
            "name": region, "cloudProvider": "AWS", "displayName": region, "zone": zone, "classification": "standard",
            "region_type": "serverless", "enabled": open, "reservedForQualifiedUsers": !open
        })
    });
    offered.collect()
}
