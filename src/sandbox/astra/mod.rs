//! Astra of `DataStax`, the `DevOps` API: what an organization holds and who may ask.
//!
//! Source: the vendor's spec 2.3.0 and guides as gathered for this project; where they are silent (a duplicate
//! registration, a bad ARN) the answer is made up and the comment says so.

mod databases;
mod keys;
mod shown;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use databases::{CreateDatabase, DatacenterSpec, ListDatabases};
pub use keys::{AwsKms, ExternalKms, ListedKey, OneKey, ProviderAccount};
pub use shown::{Database, DatabaseInfo, Datacenter};
pub use stored::{StoredDatabase, StoredDatacenter};

use super::failure::{Failure, ServiceError, refused};
use super::fault::Access;
use super::versioned::Versioned;
use super::world::{Call, Service, World};

/// The two kinds of databases; each has registrations of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseType {
    /// Managed clusters.
    Classic,
    /// Serverless.
    Serverless,
}

/// What a region offers an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AstraRegion {
    /// AWS accounts of the vendor, per type of database; the guide once wanted one per database.
    pub classic_accounts: Vec<String>,
    /// Likewise for serverless.
    pub serverless_accounts: Vec<String>,
    /// Shown as reserved; nothing can be registered or created there.
    pub locked: bool,
}

/// A registered key. There is no call that changes or removes one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Registration {
    /// Key ARN.
    pub arn: String,
    /// Simulated time.
    pub at_ms: i64,
}

/// How an organization behaves where the vendor's documents leave room, and how fast.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrgSettings {
    /// From creation to `ACTIVE`, ms.
    pub deploy_ms: i64,
    /// From termination to `TERMINATED`, ms.
    pub terminate_ms: i64,
    /// Status of a successful registration: 201 as the Terraform provider demands, or 200 as the spec says.
    pub register_status: u16,
    /// Registering the same ARN again is refused (undocumented; default: it is fine).
    pub refuse_same_arn: bool,
    /// Classic databases can't be created by API, as newer documents have it.
    pub refuse_classic: bool,
    /// The vendor tries the key when it creates a database; the database ends in `ERROR` if it can't use it.
    pub try_key: bool,
    /// The role that the vendor uses keys with, in its accounts.
    pub principal_role: String,
}

impl Default for OrgSettings {
    fn default() -> Self {
        Self {
            deploy_ms: 3000,
            terminate_ms: 1000,
            register_status: 201,
            refuse_same_arn: false,
            refuse_classic: false,
            try_key: false,
            principal_role: "creator".into(),
        }
    }
}

/// An organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Org {
    pub(super) settings: OrgSettings,
    pub(super) regions: BTreeMap<String, AstraRegion>,
    pub(super) registrations: BTreeMap<(DatabaseType, String), Registration>,
    /// In order of creation.
    pub(super) databases: Vec<Arc<StoredDatabase>>,
}

/// All that a token of the sandbox can be allowed to do, in the vendor's words.
pub const PERMISSIONS: [&str; 6] =
    ["org-cmk-read", "org-cmk-write", "org-db-create", "org-db-view", "org-db-terminate", "org-db-expand"];

/// An application token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Token {
    pub(super) org: String,
    pub(super) permissions: BTreeSet<String>,
}

/// The DevOps API on behalf of one token.
#[derive(Debug)]
pub struct Astra<'w> {
    world: &'w mut World,
    token: String,
}

impl World {
    /// The DevOps API as a token (`AstraCS:...`) calls it.
    pub fn astra(&mut self, token: &str) -> Astra<'_> {
        Astra { world: self, token: token.into() }
    }

    /// Adds an organization that has no token yet.
    pub fn add_astra_org(&mut self, id: &str, regions: BTreeMap<String, AstraRegion>, settings: OrgSettings) {
        let org = Org { settings, regions, ..Org::default() };
        self.astra.insert(id.to_owned(), Versioned::new(org));
    }

    /// Adds a token, or changes what it may do; no permissions named means all of them.
    pub fn set_astra_token(&mut self, token: &str, org: &str, permissions: Option<BTreeSet<String>>) {
        let permissions = permissions.unwrap_or_else(|| PERMISSIONS.iter().map(|p| (*p).to_owned()).collect());
        let token_value = Token { org: org.to_owned(), permissions };
        Arc::make_mut(&mut self.tokens).insert(token.to_owned(), token_value);
    }

    /// Kills a token: every call with it is 401 from now on.
    pub fn kill_astra_token(&mut self, token: &str) -> bool {
        Arc::make_mut(&mut self.tokens).remove(token).is_some()
    }

    /// Changes an organization behind the back of everybody.
    pub fn edit_astra_org(&mut self, id: &str, edit: impl FnOnce(&mut Org)) -> bool {
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        let Some(org) = self.astra.get_mut(id) else {
            return false;
        };
        edit(org.change(now_ms, keep_ms));
        true
    }

    fn org(&self, id: &str, at_ms: i64) -> Result<&Org, ServiceError> {
        self.astra.get(id).map(|org| org.at(at_ms)).ok_or_else(|| refused(404, "organization not found"))
    }

    fn org_to_change(&mut self, id: &str) -> Result<&mut Org, ServiceError> {
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        let org = self.astra.get_mut(id).ok_or_else(|| refused(404, "organization not found"))?;
        Ok(org.change(now_ms, keep_ms))
    }
}

impl Org {
    /// How it behaves.
    pub fn settings_mut(&mut self) -> &mut OrgSettings {
        &mut self.settings
    }

    /// What a region offers; made if unknown.
    pub fn region_mut(&mut self, region: &str) -> &mut AstraRegion {
        self.regions.entry(region.to_owned()).or_default()
    }

    /// Registers a key as if somebody else had done it earlier.
    pub fn preregister(&mut self, kind: DatabaseType, region: &str, arn: &str, at_ms: i64) {
        self.registrations.insert((kind, region.to_owned()), Registration { arn: arn.to_owned(), at_ms });
    }

    /// Forgets a registration, as support can.
    pub fn forget_registration(&mut self, kind: DatabaseType, region: &str) {
        self.registrations.remove(&(kind, region.to_owned()));
    }

    /// Whether a region exists and is not locked.
    fn open_region(&self, region: &str) -> Option<&AstraRegion> {
        self.regions.get(region).filter(|r| !r.locked)
    }
}

impl Astra<'_> {
    /// A call with one of these permissions; paths differ in the status they use for a missing one.
    fn perform<T>(
        &mut self,
        operation: &'static str,
        access: Access,
        (region, resource): (&str, &str),
        (permission, missing_status): (Option<&str>, u16),
        body: impl FnOnce(&mut World, &str, i64) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        let token = self.world.tokens.get(&self.token).cloned();
        let call = Call {
            service: Service::Astra,
            operation,
            access,
            account: token.as_ref().map_or_else(String::new, |t| t.org.clone()),
            principal: String::new(),
            region: region.into(),
            resource: resource.into(),
        };
        self.world.perform(call, |world, at_ms| {
            let token = token.ok_or_else(|| refused(401, "invalid or missing application token"))?;
            if permission.is_some_and(|p| !token.permissions.contains(p)) {
                let text = format!("the token lacks the permission {}", permission.unwrap_or_default());
                return Err(refused(missing_status, text));
            }
            body(world, &token.org, at_ms)
        })
    }

    /// `GET /v2/currentOrg`: the organization of the token.
    pub fn current_org(&mut self) -> Result<String, Failure> {
        self.perform("GetCurrentOrganization", Access::Read, ("", ""), (None, 403), |_, org, _| Ok(org.to_owned()))
    }
}
