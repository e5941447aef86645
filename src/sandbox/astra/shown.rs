//! Databases as answers show them (schemas `Database`, `DatabaseInfo`, `Datacenter` of the spec).

use serde::Serialize;

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
