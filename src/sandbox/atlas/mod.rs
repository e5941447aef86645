//! Atlas of `MongoDB`, the Administration API v2: what projects hold and who may ask.
//!
//! Source: the vendor's spec, its list of error codes and its guides as gathered for this project. Where they are
//! silent, the answer is made up and the comment says so.
//!
//! Reading order: [`Project`] and what is in it ([`StoredRole`], [`KeyConfig`], [`StoredCluster`]), `access` (who may
//! ask), `roles`, `keys` (with `usable`: whether Atlas can use a key), `clusters` (with `checked`: what is
//! accepted), `life` (what happens by itself).

mod access;
mod addresses;
mod checked;
mod cluster;
mod clusters;
mod command;
mod keys;
mod life;
mod limits;
mod projects;
mod roles;
mod usable;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use access::{AccessToken, Login, ProjectRole};
pub use addresses::{Addresses, ClusterAddresses, ControlPlane};
pub use cluster::{Cluster, ClusterState, HardwareSpec, RegionConfig, ReplicationSpec, StoredCluster};
pub use clusters::{OfferedRegion, ProviderRegions, SizeRegions};
pub use command::AtlasCommand;
pub use keys::{AwsKms, AwsKmsView, EncryptionAtRest, EncryptionAtRestUpdate, KeyAccess, KeyConfig, OtherKms};
pub use limits::RateLimitSet;
pub(super) use limits::rate_limited;
pub use projects::{NewProject, ProjectView};
pub use roles::{AccessRole, FeatureUsage, StoredRole};

use super::failure::{Failure, ServiceError};
use super::fault::Access;
use super::versioned::Versioned;
use super::world::{Call, Service, World};

/// How Atlas behaves, and how fast. Times are simulated milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AtlasSettings {
    /// From the creation of a cluster to `IDLE`.
    pub deploy_ms: i64,
    /// From a change of a cluster to `IDLE`; turning encryption on or off means a first sync of every node.
    pub change_ms: i64,
    /// From the deletion of a cluster to its end.
    pub delete_ms: i64,
    /// How long a node that could not use the key waits before it tries again.
    pub retry_ms: i64,
    /// How often Atlas checks the keys by itself (guide: every 15 minutes).
    pub check_ms: i64,
    /// Calls are limited as published; the headers are there in any case.
    pub rate_limits: bool,
    /// Another capacity than the published one, for all sets of endpoints.
    pub capacity: Option<u32>,
    /// The list of a project's addresses comes back without any cluster.
    pub hide_addresses: bool,
    /// The AWS account that Atlas assumes roles from.
    pub aws_account: String,
    /// Regions, in the spelling of AWS.
    pub regions: Vec<String>,
}

impl Default for AtlasSettings {
    fn default() -> Self {
        Self {
            deploy_ms: 3000,
            change_ms: 2000,
            delete_ms: 1000,
            retry_ms: 1000,
            check_ms: 15 * 60_000,
            rate_limits: false,
            capacity: None,
            hide_addresses: false,
            aws_account: "900000009900".into(),
            regions: super::scene::REGIONS.map(str::to_owned).to_vec(),
        }
    }
}

/// What is not in a project: organizations, credentials, the vendor's own addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Vendor {
    pub(super) settings: AtlasSettings,
    pub(super) control_plane: ControlPlane,
    orgs: BTreeSet<String>,
    /// client id or public key -> credential
    credentials: BTreeMap<String, access::Credential>,
    /// access token -> (client id, when it is over)
    tokens: BTreeMap<String, (String, i64)>,
    /// (project, set of endpoints) -> what is left
    limits: BTreeMap<(String, &'static str), limits::Level>,
}

/// A project. The API calls it a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Project {
    /// 24 hex digits.
    pub id: String,
    /// Unique in the organization.
    pub name: String,
    /// Organization.
    pub org: String,
    /// Simulated time.
    pub created_at_ms: i64,
    /// Atlas's side of roles in AWS, in order of creation.
    pub roles: Vec<StoredRole>,
    /// The customer's key.
    pub key: Option<KeyConfig>,
    /// Keys that only snapshots need any more.
    pub snapshot_keys: BTreeSet<String>,
    /// In order of creation.
    pub clusters: Vec<Arc<StoredCluster>>,
    /// When Atlas looks at the key next by itself.
    next_check_ms: i64,
}

/// The Administration API on behalf of one credential.
#[derive(Debug)]
pub struct Atlas<'w> {
    world: &'w mut World,
    login: Login,
}

/// An error in the vendor's shape, with the texts that it is about.
fn refused(status: u16, code: &str, message: impl Into<String>, parameters: &[&str]) -> ServiceError {
    let parameters = parameters.iter().map(|p| (*p).to_owned()).collect();
    ServiceError { parameters, ..ServiceError::new(status, code, message) }
}

fn missing(attribute: &str) -> ServiceError {
    let text = format!("The required attribute {attribute} was not specified.");
    refused(400, "MISSING_ATTRIBUTE", text, &[attribute])
}

fn invalid(attribute: &str) -> ServiceError {
    refused(400, "INVALID_ATTRIBUTE", format!("Invalid attribute {attribute} specified."), &[attribute])
}

/// A region in the spelling of Atlas (`US_EAST_1`) from that of AWS.
pub fn atlas_region(aws: &str) -> String {
    aws.to_ascii_uppercase().replace('-', "_")
}

/// A region in the spelling of AWS from that of Atlas.
pub fn aws_region(atlas: &str) -> String {
    atlas.to_ascii_lowercase().replace('_', "-")
}

impl World {
    /// The API as a credential calls it.
    pub fn atlas(&mut self, login: &Login) -> Atlas<'_> {
        Atlas { world: self, login: login.clone() }
    }

    /// How Atlas behaves.
    pub fn atlas_settings_mut(&mut self) -> &mut AtlasSettings {
        &mut Arc::make_mut(&mut self.atlas).settings
    }

    pub(super) fn vendor_mut(&mut self) -> &mut Vendor {
        Arc::make_mut(&mut self.atlas)
    }

    fn project(&self, id: &str, at_ms: i64) -> Result<&Project, ServiceError> {
        let found = self.atlas_projects.get(id).map(|p| p.at(at_ms)).filter(|p| !p.id.is_empty());
        found.ok_or_else(|| refused(404, "GROUP_NOT_FOUND", format!("No group with ID {id} exists."), &[id]))
    }

    /// Opens a project for a change.
    fn project_mut(&mut self, id: &str) -> Result<&mut Project, ServiceError> {
        self.project(id, i64::MAX)?;
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        let found = self.atlas_projects.get_mut(id).map(|p| p.change(now_ms, keep_ms));
        found.ok_or_else(|| refused(404, "GROUP_NOT_FOUND", format!("No group with ID {id} exists."), &[id]))
    }

    /// A project as it really is, for judges of safety.
    pub fn true_project(&self, id: &str) -> Option<&Project> {
        self.project(id, i64::MAX).ok()
    }

    /// Everything about Atlas but its credentials.
    pub(super) fn dump_atlas(&self) -> Value {
        let projects = self.atlas_projects.iter().filter(|(_, p)| !p.get().id.is_empty()).map(|(id, project)| {
            let p = project.get();
            let clusters: Vec<Value> = p.clusters.iter().map(|c| c.dump()).collect();
            let shown = json!({
                "name": p.name, "org": p.org, "roles": p.roles, "key": p.key, "snapshot_keys": p.snapshot_keys,
                "clusters": clusters
            });
            (id.clone(), shown)
        });
        json!({"settings": self.atlas.settings, "control_plane": self.atlas.control_plane,
            "projects": Value::Object(projects.collect())})
    }
}

/// What a call is about.
#[derive(Clone, Copy)]
struct About<'a> {
    project: &'a str,
    /// `clusters/<name>`, a role's id, ...
    what: &'a str,
    /// In the spelling of AWS, or empty.
    region: &'a str,
}

impl Atlas<'_> {
    /// A call about a project, which needs a role in it. `body` gets the project's id and the moment to look at.
    fn on_project<T>(
        &mut self,
        (operation, access): (&'static str, Access),
        set: &'static str,
        needs: ProjectRole,
        about: About<'_>,
        body: impl FnOnce(&mut World, i64) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        let credential = self.world.atlas_credential(&self.login);
        let org = credential.as_ref().map_or_else(|_| String::new(), |(_, c)| c.org.clone());
        let resource = [about.project, about.what].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join("/");
        let call = Call {
            service: Service::Atlas,
            operation,
            access,
            account: org,
            principal: credential.as_ref().map_or_else(|_| String::new(), |(id, _)| id.clone()),
            region: about.region.to_owned(),
            resource,
        };
        self.world.age_atlas();
        self.world.perform(call, |world, at_ms| {
            let (_, credential) = credential?;
            world.take_atlas(about.project, set)?;
            credential.may(world.project(about.project, at_ms)?, needs)?;
            body(world, at_ms)
        })
    }

    /// A call that is not about one project.
    fn on_org<T>(
        &mut self,
        (operation, access): (&'static str, Access),
        set: &'static str,
        what: &str,
        body: impl FnOnce(&mut World, &access::Credential, i64) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        let credential = self.world.atlas_credential(&self.login);
        let org = credential.as_ref().map_or_else(|_| String::new(), |(_, c)| c.org.clone());
        let call = Call {
            service: Service::Atlas,
            operation,
            access,
            account: org.clone(),
            principal: credential.as_ref().map_or_else(|_| String::new(), |(id, _)| id.clone()),
            region: String::new(),
            resource: what.to_owned(),
        };
        self.world.age_atlas();
        self.world.perform(call, |world, at_ms| {
            let (_, credential) = credential?;
            world.take_atlas(&org, set)?;
            body(world, &credential, at_ms)
        })
    }
}

/// A page of a list: `pageNum` from 1, `itemsPerPage` 1 to 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PageQuery {
    /// From 1.
    pub page_num: usize,
    /// Default 100.
    pub items_per_page: usize,
    /// Whether the answer says how many there are.
    pub include_count: bool,
}

impl Default for PageQuery {
    fn default() -> Self {
        Self { page_num: 1, items_per_page: 100, include_count: true }
    }
}

/// A page of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Paged<T> {
    /// What is on it.
    pub results: Vec<T>,
    /// How many there are in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_count: Option<usize>,
}

impl PageQuery {
    fn of<T>(self, all: Vec<T>) -> Result<Paged<T>, ServiceError> {
        if self.page_num == 0 || !(1..=500).contains(&self.items_per_page) {
            return Err(invalid(if self.page_num == 0 { "pageNum" } else { "itemsPerPage" }));
        }
        let total = all.len();
        let skipped = (self.page_num - 1).saturating_mul(self.items_per_page);
        let results = all.into_iter().skip(skipped).take(self.items_per_page).collect();
        Ok(Paged { results, total_count: self.include_count.then_some(total) })
    }
}

/// A project that was never there, to remember that one was deleted.
fn gone() -> Versioned<Project> {
    Versioned::default()
}
