//! `SingleStore` Helios, the Management API v1: what an organization holds and who may ask; and its portal.
//!
//! Source: the vendor's published spec (1.1.33), its Go and Python clients and its guide to customer-managed keys;
//! where they are silent (which principal uses a key, what a refusal says, how a group ends) the answer is made up and
//! the comment says so. No call shows whether a group is under the customer's key: only the portal does ([`portal`]).

mod command;
mod encryption;
mod groups;
pub mod portal;
mod replication;
mod replication_stored;
mod shown;
mod stored;
mod workspaces;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use command::Command;
pub use encryption::BucketKeys;
pub use groups::{CreateGroup, UpdateGroup, UpdateWindow};
pub use replication::{Operation, SetUpReplication};
pub use replication_stored::{Replication, Run};
pub use shown::{Compute, Group, Project, Region, RegionV2, ReplicatedDatabase, ReplicationStatus, Workspace};
pub use stored::{StoredGroup, StoredWorkspace};
pub use workspaces::{AutoSuspend, CreateWorkspace, UpdateWorkspace};

use super::failure::{Failure, ServiceError, refused};
use super::fault::Access;
use super::ident::uuid;
use super::versioned::Versioned;
use super::world::{Call, Service, World};

/// A region that an organization may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OfferedRegion {
    /// What the API calls it.
    pub id: String,
    /// `AWS`, `GCP` or `Azure`.
    pub provider: String,
    /// For people, as `Europe West 1 (Ireland)`. Two clouds may share a name.
    pub display: String,
    /// The vendor's AWS account that uses customers' keys there, as the portal's suggested policy names it.
    pub key_account: String,
    /// The vendor's AWS account that connections go out from. It is no principal of a key policy.
    pub outbound_account: String,
}

/// What the server makes of `dataBucketKMSKeyID` and `backupBucketKMSKeyID`. The vendor's public contract had them until
/// the end of 2025 and has them no more; what the server of today does is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyFields {
    /// They do what they were documented to do.
    #[default]
    Honoured,
    /// They are read past: the answer is good, and nothing is under the customer's key.
    Ignored,
    /// A request with one of them is answered with 400.
    Refused,
}

/// How an organization behaves where the vendor's documents leave room, and how fast.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a doubt about the vendor, and they are independent")]
pub struct OrgSettings {
    /// From the creation of a group to its end in `ACTIVE` or `FAILED`, ms.
    pub deploy_ms: i64,
    /// Every change of a workspace, from `PENDING` to what it becomes, ms.
    pub workspace_ms: i64,
    /// From the termination of a group or workspace to `TERMINATED`, ms.
    pub terminate_ms: i64,
    /// From set-up to the first replicated state, ms.
    pub replicate_ms: i64,
    /// A failover, failback or change of provisioning, ms.
    pub failover_ms: i64,
    /// What becomes of the fields for keys.
    pub key_fields: KeyFields,
    /// As the project shows it. The guide wants `ENTERPRISE` or `PREMIUM` for customer-managed keys; how the API spells
    /// an edition is not documented.
    pub edition: String,
    /// Set-up is accepted although the keys won't do, and replication then never becomes active.
    pub late_replication_errors: bool,
    /// A second group of the same name is refused with 500, as the vendor's Python client tells of collisions.
    pub refuse_taken_name: bool,
    /// For this long after a creation another one is refused with 500 for want of the organization's lock, as the
    /// vendor's Python client has seen it.
    pub creation_lock_ms: i64,
    /// Nothing can be made: 403.
    pub out_of_credits: bool,
    /// Errors of the server come as a page of HTML from something in front of it.
    pub html_errors: bool,
    /// The role that the vendor uses keys with, in its accounts.
    pub principal_role: String,
}

impl Default for OrgSettings {
    fn default() -> Self {
        Self {
            deploy_ms: 3000,
            workspace_ms: 2000,
            terminate_ms: 1000,
            replicate_ms: 2000,
            failover_ms: 2000,
            key_fields: KeyFields::Honoured,
            edition: "ENTERPRISE".into(),
            late_replication_errors: false,
            refuse_taken_name: false,
            creation_lock_ms: 0,
            out_of_credits: false,
            html_errors: false,
            principal_role: "singlestore-cmek".into(),
        }
    }
}

/// An organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Org {
    pub(super) settings: OrgSettings,
    /// By the name that AWS gives the region, or that its own cloud does.
    pub(super) regions: Arc<BTreeMap<String, OfferedRegion>>,
    /// In order of creation.
    pub(super) groups: Vec<Arc<StoredGroup>>,
    /// In order of creation.
    pub(super) workspaces: Vec<Arc<StoredWorkspace>>,
}

/// What the owner of an API key may do. The guide names owner and operator as the roles for replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    #[default]
    Owner,
    /// Everything.
    Operator,
    /// Everything but replication.
    Writer,
    /// Looks only.
    Reader,
}

/// An API key: it belongs to one organization.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ApiKey {
    org: String,
    role: Role,
}

/// All organizations and API keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SingleStoreCloud {
    pub(super) orgs: BTreeMap<String, Versioned<Org>>,
    keys: Arc<BTreeMap<String, ApiKey>>,
}

/// The Management API on behalf of one API key.
#[derive(Debug)]
pub struct SingleStore<'w> {
    world: &'w mut World,
    api_key: String,
}

/// What a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    Writing,
    Replicating,
}

/// What a call is about: its name in fault rules, whether it writes, what it takes, region and resource.
#[derive(Clone, Copy)]
struct About<'a> {
    operation: &'static str,
    access: Access,
    takes: Takes,
    region: &'a str,
    resource: &'a str,
}

impl<'a> About<'a> {
    fn read(operation: &'static str, resource: &'a str) -> Self {
        Self { operation, access: Access::Read, takes: Takes::Nothing, region: "", resource }
    }

    fn write(operation: &'static str, resource: &'a str) -> Self {
        Self { operation, access: Access::Write, takes: Takes::Writing, region: "", resource }
    }

    fn replication(operation: &'static str, resource: &'a str) -> Self {
        Self { operation, access: Access::Write, takes: Takes::Replicating, region: "", resource }
    }

    fn in_region(self, region: &'a str) -> Self {
        Self { region, ..self }
    }
}

/// The vendor's own tests expect the word UUID in the answer to an id that is none; status 400 is a guess.
fn checked_id(id: &str) -> Result<(), ServiceError> {
    let lengths = [8, 4, 4, 4, 12];
    let mut parts = id.split('-');
    let shaped = lengths
        .iter()
        .all(|n| parts.next().is_some_and(|part| part.len() == *n && part.bytes().all(|b| b.is_ascii_hexdigit())));
    if shaped && parts.next().is_none() { Ok(()) } else { Err(refused(400, "invalid UUID in the path")) }
}

impl World {
    /// The Management API as an API key calls it.
    pub fn singlestore(&mut self, api_key: &str) -> SingleStore<'_> {
        SingleStore { world: self, api_key: api_key.into() }
    }

    /// Adds an organization that has no API key yet.
    pub fn add_singlestore_org(&mut self, id: &str, regions: BTreeMap<String, OfferedRegion>, settings: OrgSettings) {
        let org = Org { settings, regions: Arc::new(regions), ..Org::default() };
        self.singlestore.orgs.insert(id.to_owned(), Versioned::new(org));
    }

    /// Adds an API key, or changes what it may do.
    pub fn set_singlestore_key(&mut self, key: &str, org: &str, role: Role) {
        let value = ApiKey { org: org.to_owned(), role };
        Arc::make_mut(&mut self.singlestore.keys).insert(key.to_owned(), value);
    }

    /// Kills an API key: every call with it is 401 from now on.
    pub fn kill_singlestore_key(&mut self, key: &str) -> bool {
        Arc::make_mut(&mut self.singlestore.keys).remove(key).is_some()
    }

    /// Every group that was ever made, in order of creation, as it really is.
    pub fn true_groups(&self, org: &str) -> &[Arc<StoredGroup>] {
        self.singlestore.orgs.get(org).map_or(&[], |org| &org.get().groups)
    }

    /// Whether errors of an organization's server come as pages.
    pub(super) fn singlestore_pages(&self, api_key: &str) -> bool {
        let org = self.singlestore.keys.get(api_key).and_then(|key| self.singlestore.orgs.get(&key.org));
        org.is_some_and(|org| org.get().settings.html_errors)
    }

    fn helios(&self, org: &str, at_ms: i64) -> Result<&Org, ServiceError> {
        let found = self.singlestore.orgs.get(org).map(|org| org.at(at_ms));
        found.ok_or_else(|| refused(404, "organization not found"))
    }

    fn helios_to_change(&mut self, org: &str) -> Result<&mut Org, ServiceError> {
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        let found = self.singlestore.orgs.get_mut(org).ok_or_else(|| refused(404, "organization not found"))?;
        Ok(found.change(now_ms, keep_ms))
    }
}

impl Org {
    /// The group, ended or not.
    fn group(&self, id: &str) -> Result<&Arc<StoredGroup>, ServiceError> {
        checked_id(id)?;
        let found = self.groups.iter().find(|group| group.id == id);
        found.ok_or_else(|| refused(404, "A workspace group with the specified ID was not found"))
    }

    fn group_to_change(&mut self, id: &str) -> Result<&mut StoredGroup, ServiceError> {
        let found = self.groups.iter_mut().find(|group| group.id == id).map(Arc::make_mut);
        found.ok_or_else(|| refused(404, "A workspace group with the specified ID was not found"))
    }

    /// A group that no end was asked for.
    fn live_group(&self, id: &str) -> Result<&Arc<StoredGroup>, ServiceError> {
        let group = self.group(id)?;
        if group.terminated_ms.is_some() {
            return Err(refused(404, "A workspace group with the specified ID was not found"));
        }
        Ok(group)
    }

    /// The region's name and what is offered there, by its id.
    fn region_by_id(&self, id: &str) -> Option<(&str, &OfferedRegion)> {
        self.regions.iter().find(|(_, offered)| offered.id == id).map(|(name, offered)| (name.as_str(), offered))
    }
}

impl SingleStore<'_> {
    fn perform<T>(
        &mut self,
        about: About<'_>,
        body: impl FnOnce(&mut World, &str, i64) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        let key = self.world.singlestore.keys.get(&self.api_key).cloned();
        let call = Call {
            service: Service::SingleStore,
            operation: about.operation,
            access: about.access,
            account: key.as_ref().map_or_else(String::new, |k| k.org.clone()),
            principal: String::new(),
            region: about.region.into(),
            resource: about.resource.into(),
        };
        self.world.perform(call, |world, at_ms| {
            let key = key.ok_or_else(|| refused(401, "Unauthorized"))?;
            let may = match about.takes {
                Takes::Nothing => true,
                Takes::Writing => key.role != Role::Reader,
                Takes::Replicating => matches!(key.role, Role::Owner | Role::Operator),
            };
            if !may {
                return Err(refused(403, "the API key's owner does not have the role for this"));
            }
            body(world, &key.org, at_ms)
        })
    }

    /// `GET /v1/organizations/current`: the organization of the API key, and its name.
    pub fn current_org(&mut self) -> Result<(String, &'static str), Failure> {
        self.perform(About::read("GetCurrentOrganization", ""), |_, org, _| Ok((org.to_owned(), "sandbox")))
    }

    /// `GET /v1/projects`.
    pub fn projects(&mut self) -> Result<Vec<Project>, Failure> {
        self.perform(About::read("ListProjects", ""), |world, org, at_ms| {
            let edition = world.helios(org, at_ms)?.settings.edition.clone();
            Ok(vec![Project::of(&project_id(org), edition)])
        })
    }

    /// `GET /v1/regions`: it says ids and the names for people, and not the names that AWS uses.
    pub fn regions(&mut self) -> Result<Vec<Region>, Failure> {
        self.perform(About::read("ListRegions", ""), |world, org, at_ms| {
            Ok(world.helios(org, at_ms)?.regions.values().map(Region::of).collect())
        })
    }

    /// `GET /v2/regions`: it says both names, and no ids.
    pub fn regions_v2(&mut self) -> Result<Vec<RegionV2>, Failure> {
        self.perform(About::read("ListRegionsV2", ""), |world, org, at_ms| {
            let regions = &world.helios(org, at_ms)?.regions;
            Ok(regions.iter().map(|(name, offered)| RegionV2::of(name, offered)).collect())
        })
    }
}

/// The one project of an organization.
fn project_id(org: &str) -> String {
    let number = org.bytes().fold(0, |n: u64, b| n.wrapping_mul(31).wrapping_add(u64::from(b)));
    uuid(number, "singlestore-project", 1)
}
