//! The calls about databases and their regions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::shown::{Database, Datacenter};
use super::stored::{StoredDatabase, StoredDatacenter};
use super::{Astra, DatabaseType, Org, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::ident::uuid;
use crate::sandbox::world::World;

/// Body of a creation (`DatabaseInfoCreate` of the spec).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateDatabase {
    /// Not unique.
    pub name: String,
    /// `AWS` here.
    pub cloud_provider: String,
    /// `serverless`, or a classic size such as `D10`.
    pub tier: String,
    /// 1 to 100.
    pub capacity_units: i64,
    /// Region.
    pub region: String,
    /// First keyspace.
    pub keyspace: Option<String>,
    /// `vector`.
    pub db_type: Option<String>,
}

/// An item of the body that adds a region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DatacenterSpec {
    /// Tier of the database.
    pub tier: String,
    /// `AWS` here.
    pub cloud_provider: String,
    /// Region.
    pub region: String,
}

/// Query of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct ListDatabases {
    /// `nonterminated` (default), `all`, or a status in lower case.
    pub include: Option<String>,
    /// `ALL` (default), `AWS`, `GCP`, `Azure`.
    pub provider: Option<String>,
    /// Id of the last database of the page before.
    pub starting_after: Option<String>,
    /// 1 to 100, default 25.
    pub limit: Option<u32>,
}

/// The type that a tier belongs to (spec, schema `Tier`).
pub(in crate::sandbox) fn kind_of(tier: &str) -> Option<DatabaseType> {
    match tier {
        "serverless" => Some(DatabaseType::Serverless),
        "developer" | "A5" | "A10" | "A20" | "A40" | "C10" | "C20" | "C40" | "D10" | "D20" | "D40" | "cloudnative" => {
            Some(DatabaseType::Classic)
        }
        _ => None,
    }
}

fn found<'o>(org: &'o Org, id: &str) -> Result<&'o Arc<StoredDatabase>, ServiceError> {
    let known = org.databases.iter().find(|d| d.id == id);
    known.ok_or_else(|| refused(404, format!("database {id} not found")))
}

fn found_to_change<'o>(org: &'o mut Org, id: &str) -> Result<&'o mut StoredDatabase, ServiceError> {
    let known = org.databases.iter_mut().find(|d| d.id == id);
    known.map(Arc::make_mut).ok_or_else(|| refused(404, format!("database {id} not found")))
}

impl Astra<'_> {
    /// `POST /v2/databases`. Not idempotent, and two databases may share a name. Gives the id.
    pub fn create_database(&mut self, input: &CreateDatabase) -> Result<String, Failure> {
        let permission = (Some("org-db-create"), 401);
        let about = (input.region.as_str(), input.name.as_str());
        self.perform("CreateDatabase", Access::Write, about, permission, |world, org, now_ms| {
            let state = world.org(org, now_ms)?;
            let kind = checked(state, input)?;
            let state = state.clone();
            let n = world.next_id();
            let id = uuid(world.settings.seed, "database", n);
            let first = world.deploy(&state, kind, format!("{id}-1"), &input.region);
            world.note_unencrypted(&first);
            let database = StoredDatabase {
                id: id.clone(),
                asked: input.clone(),
                kind,
                created_at_ms: now_ms,
                terminated_ms: None,
                datacenters: vec![first],
            };
            world.org_to_change(org)?.databases.push(Arc::new(database));
            world.link.touched = Some(id.clone());
            Ok(id)
        })
    }

    /// `GET /v2/databases`, a page.
    pub fn list_databases(&mut self, query: &ListDatabases) -> Result<Vec<Database>, Failure> {
        let permission = (Some("org-db-view"), 401);
        self.perform("ListDatabases", Access::Read, ("", ""), permission, |world, org, at_ms| {
            let limit = query.limit.unwrap_or(25);
            if !(1..=100).contains(&limit) {
                return Err(refused(400, "limit is between 1 and 100"));
            }
            let state = world.org(org, at_ms)?;
            let (now_ms, lag_ms) = (at_ms, world.settings.astra_list_lag_ms);
            let include = query.include.as_deref().unwrap_or("nonterminated");
            let aws = query.provider.as_deref().is_none_or(|p| matches!(p, "ALL" | "AWS"));
            let wanted = |d: &&Arc<StoredDatabase>| {
                let status = d.status(now_ms);
                let visible = d.created_at_ms + lag_ms <= world.now_ms;
                aws && visible
                    && match include {
                        "nonterminated" => status != "TERMINATED",
                        "all" => true,
                        other => status.eq_ignore_ascii_case(other),
                    }
            };
            let start = match &query.starting_after {
                None => 0,
                Some(id) => state.databases.iter().position(|d| d.id == *id).map_or(state.databases.len(), |n| n + 1),
            };
            let page = state.databases[start..].iter().filter(wanted).take(limit as usize);
            Ok(page.map(|d| d.shown(org, now_ms)).collect())
        })
    }

    /// `GET /v2/databases/{id}`; terminated ones are still found.
    pub fn database(&mut self, id: &str) -> Result<Database, Failure> {
        self.perform("GetDatabase", Access::Read, ("", id), (Some("org-db-view"), 401), |world, org, at_ms| {
            Ok(found(world.org(org, at_ms)?, id)?.shown(org, at_ms))
        })
    }

    /// `GET /v2/databases/{id}/datacenters`; terminated ones only if asked for.
    pub fn datacenters(&mut self, id: &str, all: bool) -> Result<Vec<Datacenter>, Failure> {
        self.perform("ListDatacenters", Access::Read, ("", id), (Some("org-db-view"), 401), |world, org, at_ms| {
            let database = found(world.org(org, at_ms)?, id)?;
            let shown = database.datacenters.iter().filter(|d| all || !d.gone(at_ms));
            Ok(shown.map(|d| database.datacenter(d, at_ms)).collect())
        })
    }

    /// `POST /v2/databases/{id}/datacenters`: one region per call, and only while the database is `ACTIVE`.
    pub fn add_datacenters(&mut self, id: &str, regions: &[DatacenterSpec]) -> Result<(), Failure> {
        let region = regions.first().map_or("", |r| r.region.as_str());
        let permission = (Some("org-db-expand"), 401);
        self.perform("AddDatacenters", Access::Write, (region, id), permission, |world, org, now_ms| {
            let state = world.org(org, now_ms)?;
            let database = found(state, id)?;
            let [spec] = regions else {
                return Err(refused(400, "exactly one region can be added per call"));
            };
            if !on_aws(&spec.cloud_provider) || spec.tier != database.asked.tier {
                return Err(refused(400, "cloudProvider and tier must be those of the database"));
            }
            if state.open_region(&spec.region).is_none() {
                return Err(refused(400, format!("region {} is not available to this organization", spec.region)));
            }
            if database.status(now_ms) != "ACTIVE" {
                let text = format!("database is {}, regions can be added when it is ACTIVE", database.status(now_ms));
                return Err(refused(409, text));
            }
            if database.datacenters.iter().any(|d| d.region == spec.region && !d.gone(now_ms)) {
                return Err(refused(400, format!("the database already has a region {}", spec.region)));
            }
            let (kind, n) = (database.kind, database.datacenters.len() + 1);
            let added = world.deploy(state, kind, format!("{id}-{n}"), &spec.region);
            world.note_unencrypted(&added);
            found_to_change(world.org_to_change(org)?, id)?.datacenters.push(added);
            Ok(())
        })
    }

    /// `POST /v2/databases/{id}/datacenters/{datacenter}/terminate`; not the last one.
    pub fn terminate_datacenter(&mut self, id: &str, datacenter: &str) -> Result<(), Failure> {
        let permission = (Some("org-db-terminate"), 401);
        self.perform("TerminateDatacenter", Access::Write, ("", id), permission, |world, org, now_ms| {
            let state = world.org(org, now_ms)?;
            let over = now_ms + state.settings.terminate_ms;
            let database = found(state, id)?;
            let live = |d: &&StoredDatacenter| !d.gone(now_ms);
            if !database.datacenters.iter().filter(live).any(|d| d.id == datacenter) {
                return Err(refused(404, format!("datacenter {datacenter} not found")));
            }
            if database.status(now_ms) != "ACTIVE" || database.datacenters.iter().filter(live).count() == 1 {
                return Err(refused(409, "the database is not in a valid state to remove this region"));
            }
            let database = found_to_change(world.org_to_change(org)?, id)?;
            for d in database.datacenters.iter_mut().filter(|d| d.id == datacenter) {
                d.terminated_at_ms = Some(over);
            }
            Ok(())
        })
    }

    /// `POST /v2/databases/{id}/terminate`.
    pub fn terminate_database(&mut self, id: &str) -> Result<(), Failure> {
        let permission = (Some("org-db-terminate"), 401);
        self.perform("TerminateDatabase", Access::Write, ("", id), permission, |world, org, now_ms| {
            let state = world.org(org, now_ms)?;
            let over = now_ms + state.settings.terminate_ms;
            match found(state, id)?.status(now_ms) {
                "TERMINATED" => return Err(refused(404, format!("database {id} not found"))),
                "TERMINATING" => {
                    let text = "the database is not in a valid state to be terminated";
                    return Err(refused(409, text));
                }
                _ => {}
            }
            found_to_change(world.org_to_change(org)?, id)?.terminated_ms = Some((now_ms, over));
            Ok(())
        })
    }

    /// The regions of the organization with what it may use, for both kinds of lists.
    pub fn regions(&mut self, kind: DatabaseType) -> Result<Vec<(String, bool)>, Failure> {
        let operation = match kind {
            DatabaseType::Classic => "ListAvailableRegions",
            DatabaseType::Serverless => "ListServerlessRegions",
        };
        self.perform(operation, Access::Read, ("", ""), (Some("org-db-create"), 401), |world, org, at_ms| {
            let regions = &world.org(org, at_ms)?.regions;
            Ok(regions.iter().map(|(name, r)| (name.clone(), !r.locked)).collect())
        })
    }
}

impl World {
    /// Adds a database that was made at some moment, under no customer's key. Whether there is the organization.
    pub(in crate::sandbox) fn add_old_database(
        &mut self,
        org: &str,
        name: String,
        tier: String,
        region: String,
        created_at_ms: i64,
    ) -> Result<bool, String> {
        let kind = kind_of(&tier).ok_or_else(|| format!("unknown tier {tier}"))?;
        let n = self.next_id();
        let id = uuid(self.settings.seed, "database", n);
        let first = StoredDatacenter {
            id: format!("{id}-1"),
            region: region.clone(),
            created_at_ms,
            ready_at_ms: created_at_ms,
            terminated_at_ms: None,
            encrypted_with: None,
            key_was_usable: false,
            failed: None,
        };
        let asked = CreateDatabase {
            name,
            cloud_provider: "AWS".to_owned(),
            tier,
            capacity_units: 1,
            region,
            ..CreateDatabase::default()
        };
        let datacenters = vec![first];
        let database = StoredDatabase { id, asked, kind, created_at_ms, terminated_ms: None, datacenters };
        Ok(self.edit_astra_org(org, |o| o.databases.push(Arc::new(database))))
    }
}

/// Whether this is AWS: the spec writes it so, the vendor's own Python client in lower case.
fn on_aws(provider: &str) -> bool {
    provider.eq_ignore_ascii_case("AWS")
}

fn checked(org: &Org, input: &CreateDatabase) -> Result<DatabaseType, ServiceError> {
    if input.name.is_empty() || input.region.is_empty() {
        return Err(refused(400, "name and region are required"));
    }
    if !on_aws(&input.cloud_provider) {
        return Err(refused(400, format!("cloudProvider {} is not available", input.cloud_provider)));
    }
    let kind = kind_of(&input.tier).ok_or_else(|| refused(400, format!("unknown tier {}", input.tier)))?;
    if !(1..=100).contains(&input.capacity_units) {
        return Err(refused(400, "capacityUnits is between 1 and 100"));
    }
    if kind == DatabaseType::Classic && org.settings.refuse_classic {
        return Err(refused(422, "classic databases can no longer be created by API in this organization"));
    }
    if org.open_region(&input.region).is_none() {
        return Err(refused(422, format!("region {} is not available to this organization", input.region)));
    }
    Ok(kind)
}
