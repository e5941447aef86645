//! Databases and their regions. Statuses follow from the simulated time; nothing runs in the background.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Astra, DatabaseType, Org, refused};
use crate::sandbox::failure::{Failure, ServiceError};
use crate::sandbox::fault::Access;
use crate::sandbox::iam::Identity;
use crate::sandbox::ident::{arn_parts, rfc3339, uuid};
use crate::sandbox::kms::KeyState;
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

/// A database in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Uuid.
    pub id: String,
    /// Organization.
    pub org_id: String,
    /// Somebody.
    pub owner_id: String,
    /// What was asked for.
    pub info: DatabaseInfo,
    /// RFC 3339.
    pub creation_time: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_time: Option<String>,
    /// `PENDING`, `INITIALIZING`, `ACTIVE`, `MAINTENANCE`, `ERROR`, `TERMINATING`, `TERMINATED`.
    pub status: String,
    /// What is possible now.
    pub available_actions: Vec<&'static str>,
    /// Text for the customer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// `DatabaseInfo` of the spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseInfo {
    /// Name.
    pub name: String,
    /// First keyspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyspace: Option<String>,
    /// `AWS`.
    pub cloud_provider: &'static str,
    /// Tier.
    pub tier: String,
    /// Capacity units.
    pub capacity_units: i64,
    /// Region of the creation.
    pub region: String,
    /// All regions.
    pub datacenters: Vec<Datacenter>,
    /// `vector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_type: Option<String>,
}

/// A region of a database in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Datacenter {
    /// Id of the database and a number.
    pub id: String,
    /// `dc-1`.
    pub name: String,
    /// Tier.
    pub tier: String,
    /// `AWS`.
    pub cloud_provider: &'static str,
    /// Region.
    pub region: String,
    /// Status of this region alone.
    pub status: String,
    /// Capacity units.
    pub capacity_units: i64,
}

/// A database as it really is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredDatabase {
    /// Uuid.
    pub id: String,
    /// What was asked for.
    pub asked: CreateDatabase,
    /// Type, from the tier.
    pub kind: DatabaseType,
    /// Simulated time.
    pub created_at_ms: i64,
    /// When termination was asked for, and when it is over.
    pub terminated_ms: Option<(i64, i64)>,
    /// Regions, the first one is that of the creation.
    pub datacenters: Vec<StoredDatacenter>,
}

/// A region of a database as it really is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct StoredDatacenter {
    /// Id.
    pub id: String,
    /// Region.
    pub region: String,
    /// Simulated time.
    pub created_at_ms: i64,
    /// When it is (or was) `ACTIVE`.
    pub ready_at_ms: i64,
    /// When its removal is over.
    pub terminated_at_ms: Option<i64>,
    /// The customer's key at the moment of creation. `None`: NOT under the customer's key, and never will be.
    pub encrypted_with: Option<String>,
    /// Whether the vendor could use that key at that moment.
    pub key_was_usable: bool,
    /// Why it ended in `ERROR`.
    pub failed: Option<String>,
}

impl StoredDatacenter {
    fn gone(&self, now_ms: i64) -> bool {
        self.terminated_at_ms.is_some_and(|at| at <= now_ms)
    }

    /// Its status at this moment.
    pub fn status(&self, now_ms: i64) -> &'static str {
        let (age, takes) = (
            now_ms - self.created_at_ms,
            self.ready_at_ms - self.created_at_ms,
        );
        if let Some(at) = self.terminated_at_ms {
            if at <= now_ms {
                "TERMINATED"
            } else {
                "TERMINATING"
            }
        } else if age * 3 < takes {
            "PENDING"
        } else if self.failed.is_some() {
            "ERROR"
        } else if age < takes {
            "INITIALIZING"
        } else {
            "ACTIVE"
        }
    }
}

impl StoredDatabase {
    /// Its status at this moment.
    pub fn status(&self, now_ms: i64) -> &'static str {
        if let Some((_, over)) = self.terminated_ms {
            return if over <= now_ms {
                "TERMINATED"
            } else {
                "TERMINATING"
            };
        }
        let mut regions = self
            .datacenters
            .iter()
            .filter(|d| !d.gone(now_ms))
            .map(|d| d.status(now_ms));
        let primary = regions.next().unwrap_or("ERROR");
        if primary != "ACTIVE" {
            return primary;
        }
        let others: Vec<_> = regions.collect();
        if others.contains(&"ERROR") {
            "ERROR"
        } else if others.iter().all(|s| *s == "ACTIVE") {
            "ACTIVE"
        } else {
            "MAINTENANCE"
        }
    }

    fn shown(&self, org: &str, now_ms: i64) -> Database {
        let status = self.status(now_ms);
        let shown = |d: &StoredDatacenter| self.datacenter(d, now_ms);
        let failed = self
            .datacenters
            .iter()
            .find_map(|d| d.failed.clone().filter(|_| d.status(now_ms) == "ERROR"));
        Database {
            id: self.id.clone(),
            org_id: org.to_owned(),
            owner_id: "sandbox".into(),
            info: DatabaseInfo {
                name: self.asked.name.clone(),
                keyspace: self.asked.keyspace.clone(),
                cloud_provider: "AWS",
                tier: self.asked.tier.clone(),
                capacity_units: self.asked.capacity_units,
                region: self.asked.region.clone(),
                datacenters: self
                    .datacenters
                    .iter()
                    .filter(|d| !d.gone(now_ms))
                    .map(shown)
                    .collect(),
                db_type: self.asked.db_type.clone(),
            },
            creation_time: rfc3339(self.created_at_ms),
            termination_time: self.terminated_ms.map(|(asked, _)| rfc3339(asked)),
            status: status.into(),
            available_actions: match status {
                "ACTIVE" => vec![
                    "getCreds",
                    "addDatacenters",
                    "terminateDatacenter",
                    "terminate",
                ],
                "TERMINATING" | "TERMINATED" => vec![],
                _ => vec!["terminate"],
            },
            message: failed.unwrap_or_default(),
        }
    }

    fn datacenter(&self, d: &StoredDatacenter, now_ms: i64) -> Datacenter {
        Datacenter {
            id: d.id.clone(),
            name: format!("dc-{}", d.id.rsplit('-').next().unwrap_or_default()),
            tier: self.asked.tier.clone(),
            cloud_provider: "AWS",
            region: d.region.clone(),
            status: if self.terminated_ms.is_some() {
                self.status(now_ms)
            } else {
                d.status(now_ms)
            }
            .into(),
            capacity_units: self.asked.capacity_units,
        }
    }
}

/// The type that a tier belongs to (spec, schema `Tier`).
fn kind_of(tier: &str) -> Option<DatabaseType> {
    match tier {
        "serverless" => Some(DatabaseType::Serverless),
        "developer" | "A5" | "A10" | "A20" | "A40" | "C10" | "C20" | "C40" | "D10" | "D20"
        | "D40" | "cloudnative" => Some(DatabaseType::Classic),
        _ => None,
    }
}

impl World {
    /// Deploys a region now: with the key registered at this moment, or without any.
    fn deploy(&self, org: &Org, kind: DatabaseType, id: String, region: &str) -> StoredDatacenter {
        let key = org
            .registrations
            .get(&(kind, region.to_owned()))
            .map(|r| r.arn.clone());
        let trouble = key
            .as_ref()
            .and_then(|arn| self.vendor_refusal(org, kind, region, arn));
        StoredDatacenter {
            id,
            region: region.to_owned(),
            created_at_ms: self.now_ms,
            ready_at_ms: self.now_ms + org.settings.deploy_ms,
            terminated_at_ms: None,
            key_was_usable: key.is_some() && trouble.is_none(),
            encrypted_with: key,
            failed: trouble.filter(|_| org.settings.try_key),
        }
    }

    /// Why the vendor can't use a key, if so. Each database may use another of the vendor's accounts.
    fn vendor_refusal(
        &self,
        org: &Org,
        kind: DatabaseType,
        region: &str,
        arn: &str,
    ) -> Option<String> {
        let Some(key) = self.key_by_arn(arn) else {
            return Some(format!("key {arn} was not found"));
        };
        if key.state != KeyState::Enabled {
            return Some(format!("key {arn} is {:?}", key.state));
        }
        let offered = org.regions.get(region)?;
        let accounts = match kind {
            DatabaseType::Classic => &offered.classic_accounts,
            DatabaseType::Serverless => &offered.serverless_accounts,
        };
        let account = accounts.get(org.databases.len() % accounts.len().max(1))?;
        let role = format!(
            "arn:aws:iam::{account}:role/{}",
            org.settings.principal_role
        );
        let vendor = Identity {
            account: account.clone(),
            arn: role,
            session: None,
        };
        let owner = arn_parts(arn).map_or("", |p| p[4]);
        let needed = [
            "kms:DescribeKey",
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:GenerateDataKey",
        ];
        let refused = needed
            .into_iter()
            .find(|action| !key.policy.allows(&self.iam, &vendor, owner, action));
        refused.map(|action| {
            format!(
                "{} is not authorized to perform {action} on {arn}",
                vendor.arn
            )
        })
    }
}

fn found<'o>(org: &'o Org, id: &str) -> Result<&'o Arc<StoredDatabase>, ServiceError> {
    let known = org.databases.iter().find(|d| d.id == id);
    known.ok_or_else(|| refused(404, format!("database {id} not found")))
}

fn found_to_change<'o>(org: &'o mut Org, id: &str) -> Result<&'o mut StoredDatabase, ServiceError> {
    let known = org.databases.iter_mut().find(|d| d.id == id);
    known
        .map(Arc::make_mut)
        .ok_or_else(|| refused(404, format!("database {id} not found")))
}

impl Astra<'_> {
    /// `POST /v2/databases`. Not idempotent, and two databases may share a name. Gives the id.
    pub fn create_database(&mut self, input: &CreateDatabase) -> Result<String, Failure> {
        let permission = (Some("org-db-create"), 401);
        let about = (input.region.as_str(), input.name.as_str());
        self.perform(
            "CreateDatabase",
            Access::Write,
            about,
            permission,
            |world, org, now_ms| {
                let state = world.org(org, now_ms)?;
                let kind = checked(state, input)?;
                let state = state.clone();
                let n = world.next_id();
                let id = uuid(world.settings.seed, "database", n);
                let first = world.deploy(&state, kind, format!("{id}-1"), &input.region);
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
            },
        )
    }

    /// `GET /v2/databases`, a page.
    pub fn list_databases(&mut self, query: &ListDatabases) -> Result<Vec<Database>, Failure> {
        let permission = (Some("org-db-view"), 401);
        self.perform(
            "ListDatabases",
            Access::Read,
            ("", ""),
            permission,
            |world, org, at_ms| {
                let limit = query.limit.unwrap_or(25);
                if !(1..=100).contains(&limit) {
                    return Err(refused(400, "limit is between 1 and 100"));
                }
                let state = world.org(org, at_ms)?;
                let (now_ms, lag_ms) = (at_ms, world.settings.astra_list_lag_ms);
                let include = query.include.as_deref().unwrap_or("nonterminated");
                let aws = query
                    .provider
                    .as_deref()
                    .is_none_or(|p| matches!(p, "ALL" | "AWS"));
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
                    Some(id) => state
                        .databases
                        .iter()
                        .position(|d| d.id == *id)
                        .map_or(state.databases.len(), |n| n + 1),
                };
                let page = state.databases[start..]
                    .iter()
                    .filter(wanted)
                    .take(limit as usize);
                Ok(page.map(|d| d.shown(org, now_ms)).collect())
            },
        )
    }

    /// `GET /v2/databases/{id}`; terminated ones are still found.
    pub fn database(&mut self, id: &str) -> Result<Database, Failure> {
        self.perform(
            "GetDatabase",
            Access::Read,
            ("", id),
            (Some("org-db-view"), 401),
            |world, org, at_ms| Ok(found(world.org(org, at_ms)?, id)?.shown(org, at_ms)),
        )
    }

    /// `GET /v2/databases/{id}/datacenters`; terminated ones only if asked for.
    pub fn datacenters(&mut self, id: &str, all: bool) -> Result<Vec<Datacenter>, Failure> {
        self.perform(
            "ListDatacenters",
            Access::Read,
            ("", id),
            (Some("org-db-view"), 401),
            |world, org, at_ms| {
                let database = found(world.org(org, at_ms)?, id)?;
                let shown = database
                    .datacenters
                    .iter()
                    .filter(|d| all || !d.gone(at_ms));
                Ok(shown.map(|d| database.datacenter(d, at_ms)).collect())
            },
        )
    }

    /// `POST /v2/databases/{id}/datacenters`: one region per call, and only while the database is `ACTIVE`.
    pub fn add_datacenters(&mut self, id: &str, regions: &[DatacenterSpec]) -> Result<(), Failure> {
        let region = regions.first().map_or("", |r| r.region.as_str());
        let permission = (Some("org-db-expand"), 401);
        self.perform(
            "AddDatacenters",
            Access::Write,
            (region, id),
            permission,
            |world, org, now_ms| {
                let state = world.org(org, now_ms)?;
                let database = found(state, id)?;
                let [spec] = regions else {
                    return Err(refused(400, "exactly one region can be added per call"));
                };
                if spec.cloud_provider != "AWS" || spec.tier != database.asked.tier {
                    return Err(refused(
                        400,
                        "cloudProvider and tier must be those of the database",
                    ));
                }
                if state.open_region(&spec.region).is_none() {
                    return Err(refused(
                        400,
                        format!(
                            "region {} is not available to this organization",
                            spec.region
                        ),
                    ));
                }
                if database.status(now_ms) != "ACTIVE" {
                    let text = format!(
                        "database is {}, regions can be added when it is ACTIVE",
                        database.status(now_ms)
                    );
                    return Err(refused(409, text));
                }
                if database
                    .datacenters
                    .iter()
                    .any(|d| d.region == spec.region && !d.gone(now_ms))
                {
                    return Err(refused(
                        400,
                        format!("the database already has a region {}", spec.region),
                    ));
                }
                let (kind, n) = (database.kind, database.datacenters.len() + 1);
                let added = world.deploy(state, kind, format!("{id}-{n}"), &spec.region);
                found_to_change(world.org_to_change(org)?, id)?
                    .datacenters
                    .push(added);
                Ok(())
            },
        )
    }

    /// `POST /v2/databases/{id}/datacenters/{datacenter}/terminate`; not the last one.
    pub fn terminate_datacenter(&mut self, id: &str, datacenter: &str) -> Result<(), Failure> {
        let permission = (Some("org-db-terminate"), 401);
        self.perform(
            "TerminateDatacenter",
            Access::Write,
            ("", id),
            permission,
            |world, org, now_ms| {
                let state = world.org(org, now_ms)?;
                let over = now_ms + state.settings.terminate_ms;
                let database = found(state, id)?;
                let live = |d: &&super::StoredDatacenter| !d.gone(now_ms);
                if !database
                    .datacenters
                    .iter()
                    .filter(live)
                    .any(|d| d.id == datacenter)
                {
                    return Err(refused(404, format!("datacenter {datacenter} not found")));
                }
                if database.status(now_ms) != "ACTIVE"
                    || database.datacenters.iter().filter(live).count() == 1
                {
                    return Err(refused(
                        409,
                        "the database is not in a valid state to remove this region",
                    ));
                }
                let database = found_to_change(world.org_to_change(org)?, id)?;
                for d in database
                    .datacenters
                    .iter_mut()
                    .filter(|d| d.id == datacenter)
                {
                    d.terminated_at_ms = Some(over);
                }
                Ok(())
            },
        )
    }

    /// `POST /v2/databases/{id}/terminate`.
    pub fn terminate_database(&mut self, id: &str) -> Result<(), Failure> {
        let permission = (Some("org-db-terminate"), 401);
        self.perform(
            "TerminateDatabase",
            Access::Write,
            ("", id),
            permission,
            |world, org, now_ms| {
                let state = world.org(org, now_ms)?;
                let over = now_ms + state.settings.terminate_ms;
                if found(state, id)?.terminated_ms.is_some() {
                    return Err(refused(
                        409,
                        "the database is not in a valid state to be terminated",
                    ));
                }
                found_to_change(world.org_to_change(org)?, id)?.terminated_ms =
                    Some((now_ms, over));
                Ok(())
            },
        )
    }

    /// The regions of the organization with what it may use, for both kinds of lists.
    pub fn regions(&mut self, kind: DatabaseType) -> Result<Vec<(String, bool)>, Failure> {
        let operation = match kind {
            DatabaseType::Classic => "ListAvailableRegions",
            DatabaseType::Serverless => "ListServerlessRegions",
        };
        self.perform(
            operation,
            Access::Read,
            ("", ""),
            (Some("org-db-create"), 401),
            |world, org, at_ms| {
                let regions = &world.org(org, at_ms)?.regions;
                Ok(regions
                    .iter()
                    .map(|(name, r)| (name.clone(), !r.locked))
                    .collect())
            },
        )
    }
}

fn checked(org: &Org, input: &CreateDatabase) -> Result<DatabaseType, ServiceError> {
    if input.name.is_empty() || input.region.is_empty() {
        return Err(refused(400, "name and region are required"));
    }
    if input.cloud_provider != "AWS" {
        return Err(refused(
            400,
            format!("cloudProvider {} is not available", input.cloud_provider),
        ));
    }
    let kind =
        kind_of(&input.tier).ok_or_else(|| refused(400, format!("unknown tier {}", input.tier)))?;
    if !(1..=100).contains(&input.capacity_units) {
        return Err(refused(400, "capacityUnits is between 1 and 100"));
    }
    if kind == DatabaseType::Classic && org.settings.refuse_classic {
        return Err(refused(
            422,
            "classic databases can no longer be created by API in this organization",
        ));
    }
    if org.open_region(&input.region).is_none() {
        return Err(refused(
            422,
            format!(
                "region {} is not available to this organization",
                input.region
            ),
        ));
    }
    Ok(kind)
}
