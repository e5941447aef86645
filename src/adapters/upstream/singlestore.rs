//! `SingleStore` Helios's Management API v1
//! (<https://docs.singlestore.com/cloud/reference/management-api/>).
//!
//! # Guarantees
//! - One call sends one request, but for [`SingleStore::regions`], which reads two lists.
//! - The admin password that an answer may hold is never read; one that is sent is in no fault.
//!
//! # What is inferred
//! The vendor does not document these; each is read so that a wrong guess stops rather than harms.
//! - *Fields for keys* (`dataBucketKMSKeyID`, `backupBucketKMSKeyID`) left the public contract at the end of 2025 (history
//!   of the vendor's Go client). They are sent as they were documented; an answer that says yes proves nothing.
//! - *Errors* have no body that is described: text, or a page of something in between. A page in place of a good answer
//!   is transient, and after a write the outcome is unknown.
//! - *A creation refused for want of the organization's lock* is a 500 that made nothing: the vendor's Python client
//!   sends it again on these words alone. It is throttled here. One that says `already exists` is a conflict.
//! - *No set-up of replication* is told from a missing group by nothing: both are 404, and `None` here.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Options;
use super::http::{Http, Refusal, Reply, Request, quoted};
use super::singlestore_wire::{Created, Organization, RegionById, RegionByName, WireGroup, WireStatus, joined};
use crate::adapters::watch::Watch;
use crate::clock::Clock;
use crate::domain::fault::{Applied, Cause, Fault, FaultClass};
use crate::domain::id::{KeyArn, Region};
use crate::domain::moment::Moment;
use crate::ports::{Credentials, Session};

const CURRENT_ORG: &str = "GET /v1/organizations/current";
const REGIONS: &str = "GET /v1/regions";
const REGIONS_V2: &str = "GET /v2/regions";
const LIST: &str = "GET /v1/workspaceGroups";
const CREATE: &str = "POST /v1/workspaceGroups";
const GET: &str = "GET /v1/workspaceGroups/{id}";
const DELETE: &str = "DELETE /v1/workspaceGroups/{id}";
const SET_UP: &str = "POST /v1/workspaceGroups/{id}/storage/DR/setup";
const STATUS: &str = "GET /v1/workspaceGroups/{id}/storage/DR/status";

/// A region of AWS that the organization may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedRegion {
    /// What `SingleStore` calls it: a UUID.
    pub id: String,
    /// What AWS calls it.
    pub region: Region,
    /// The name for people.
    pub display: String,
}

/// A workspace group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// UUID.
    pub id: String,
    /// Not unique.
    pub name: String,
    /// Its state. Reads are eventually consistent: believe one that was seen several times in a row.
    pub state: GroupState,
    /// UUID of its region.
    pub region_id: String,
    /// What AWS calls its region; absent for one of another cloud, and where the server does not say.
    pub region: Option<Region>,
    /// When it was made; absent where the server does not say, or not in a way that can be read.
    pub created_at: Option<Moment>,
}

/// The state of a group. The set is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// It serves.
    Active,
    /// It is being made, changed, updated or ended.
    Pending,
    /// It does not come up, or not any more.
    Failed,
    /// It is gone.
    Terminated,
    /// Something that this version does not know.
    Other(String),
}

/// The keys of the two buckets of a group, or of its copy in the second region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// For data bucket and volumes.
    pub data: Option<KeyArn>,
    /// For the backup bucket.
    pub backup: Option<KeyArn>,
}

/// A group to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Not unique.
    pub name: String,
    /// Where.
    pub region: Region,
    /// Who may connect; empty: nobody.
    pub firewall_ranges: Vec<String>,
    /// The project; absent: the organization's own.
    pub project: Option<String>,
    /// Absent: the vendor makes one up.
    pub admin_password: Option<Password>,
    /// The customer's keys.
    pub keys: Keys,
}

/// A password. It is in no debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password([redacted])")
    }
}

/// Replication to be set up: once, and for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReplication {
    /// UUID of the second region.
    pub region_id: String,
    /// May be empty if automatic.
    pub databases: Vec<String>,
    /// All databases, and those made later.
    pub automatic: bool,
    /// The customer's keys in the second region.
    pub keys: Keys,
}

/// What replication of a group is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// The last operation.
    pub operation: Operation,
    /// What became of it.
    pub state: OperationState,
    /// The copied databases.
    pub copies: Vec<Copy>,
}

/// An operation of replication. The set is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The second region takes over.
    Failover,
    /// Back to the first one.
    Failback,
    /// Compute is made ready in the second region.
    PreProvisionStart,
    /// And given up.
    PreProvisionStop,
    /// Something that this version does not know.
    Other(String),
}

/// What became of an operation. The set is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// Under way.
    Active,
    /// Done.
    Completed,
    /// Failed, expired or cancelled.
    Failed,
    /// Something that this version does not know.
    Other(String),
}

/// A copied database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its name.
    pub database: String,
    /// The second region, by its name for people.
    pub region: String,
    /// Its state.
    pub state: CopyState,
}

/// The state of a copy. The set is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// The first copy is under way.
    Pending,
    /// It follows.
    Active,
    /// It does not follow, as after a failover.
    Inactive,
    /// It can't follow.
    Error,
    /// Something that this version does not know.
    Other(String),
}

/// `SingleStore`.
pub struct SingleStore {
    http: Http,
}

impl SingleStore {
    /// The cloud, called in this way. Sends nothing.
    pub fn new(options: &Options, clock: Arc<dyn Clock>, watch: Arc<dyn Watch>) -> Result<Self, Fault> {
        let http = Http::new("singlestore", &options.singlestore_endpoint, options, clock, watch)?;
        Ok(Self { http })
    }

    /// The cloud, called by this client.
    #[cfg(feature = "sandbox")]
    pub(super) fn over(http: Http) -> Self {
        Self { http }
    }

    /// The organization of the API key.
    pub async fn scope(&self, session: &Session) -> Result<Option<String>, Fault> {
        let path = "/v1/organizations/current".to_owned();
        let organization: Option<Organization> = self.get(session, CURRENT_ORG, &session.scope.id, path).await?;
        let organization = organization.ok_or_else(|| not_found(CURRENT_ORG, &session.scope.id))?;
        Ok(Some(organization.id).filter(|id| !id.is_empty()))
    }

    /// The regions of AWS that the organization may use. Ids are in one list of the vendor, names in another.
    pub async fn regions(&self, session: &Session) -> Result<Vec<OfferedRegion>, Fault> {
        let target = session.scope.id.as_str();
        let ids: Option<Vec<RegionById>> = self.get(session, REGIONS, target, "/v1/regions".to_owned()).await?;
        let ids = ids.ok_or_else(|| not_found(REGIONS, target))?;
        let names: Option<Vec<RegionByName>> = self.get(session, REGIONS_V2, target, "/v2/regions".to_owned()).await?;
        let names = names.ok_or_else(|| not_found(REGIONS_V2, target))?;
        Ok(joined(&ids, &names))
    }

    /// A group; `None` if it never was. One that ended is still found.
    pub async fn group(&self, session: &Session, id: &str) -> Result<Option<Group>, Fault> {
        let path = format!("/v1/workspaceGroups/{}", quoted(id));
        let group: Option<WireGroup> = self.get(session, GET, id, path).await?;
        match group {
            // Whoever answers with another group is not to be believed about this one.
            Some(group) if group.id != id => {
                Err(Fault::new(FaultClass::Terminal, GET, id, "the answer is about another workspace group"))
            }
            group => Ok(group.map(WireGroup::into_group)),
        }
    }

    /// The groups of a name that did not end, by id: names are not unique.
    pub async fn groups_named(&self, session: &Session, name: &str) -> Result<Vec<Group>, Fault> {
        let all: Option<Vec<WireGroup>> = self.get(session, LIST, name, "/v1/workspaceGroups".to_owned()).await?;
        let all = all.ok_or_else(|| not_found(LIST, name))?;
        let named = all.into_iter().filter(|group| group.name == name).map(WireGroup::into_group);
        let mut groups: Vec<Group> = named.filter(|group| group.state != GroupState::Terminated).collect();
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(groups)
    }

    /// Makes a group and gives its id. Not idempotent: after a fault that is [`Applied::Perhaps`], look before you ask
    /// again.
    pub async fn create_group(&self, session: &Session, new: &NewGroup) -> Result<String, Fault> {
        let mut body = json!({
            "name": new.name,
            "provider": "AWS",
            "regionName": new.region.as_str(),
            "firewallRanges": new.firewall_ranges,
        });
        if let Some(project) = &new.project {
            body["projectID"] = json!(project);
        }
        // What is sent may come back in an error.
        let mut secrets = session.credentials.clone();
        if let Some(Password(password)) = &new.admin_password {
            body["adminPassword"] = json!(password);
            secrets.0.insert("adminPassword".to_owned(), password.clone());
        }
        add_keys(&mut body, &new.keys);
        let target = format!("{} in {}", new.name, new.region);
        let request = Request::post(CREATE, &target, "/v1/workspaceGroups".to_owned(), body);
        let reply = self.send(session, &secrets, request).await.map_err(|refusal| of_creation(refusal.fault))?;
        // It was made, and we cannot tell which: the same as a lost reply.
        let lost = |message: &str| Fault::new(FaultClass::Transient, CREATE, &target, message).uncertain();
        let created: Created =
            reply.parse(CREATE, &target, &secrets).map_err(|_| lost("the answer does not name the new group"))?;
        Some(created.id).filter(|id| !id.is_empty()).ok_or_else(|| lost("the answer does not name the new group"))
    }

    /// Ends a group; `force` ends the workspaces in it too. One that is gone is a `Conflict`.
    pub async fn delete_group(&self, session: &Session, id: &str, force: bool) -> Result<(), Fault> {
        let path = format!("/v1/workspaceGroups/{}?force={force}", quoted(id));
        let sent = self.send(session, &session.credentials, Request::delete(DELETE, id, path)).await;
        sent.map(drop).map_err(|refusal| refusal.fault)
    }

    /// Sets replication up. Nothing changes or ends it afterwards.
    pub async fn set_up_replication(&self, session: &Session, id: &str, new: &NewReplication) -> Result<(), Fault> {
        let mut body = json!({
            "regionID": new.region_id,
            "databaseNames": new.databases,
            "autoReplication": new.automatic,
        });
        add_keys(&mut body, &new.keys);
        let path = format!("/v1/workspaceGroups/{}/storage/DR/setup", quoted(id));
        let sent = self.send(session, &session.credentials, Request::post(SET_UP, id, path, body)).await;
        sent.map(drop).map_err(|refusal| refusal.fault)
    }

    /// What replication of a group is doing; `None` without a set-up, and without the group.
    pub async fn replication(&self, session: &Session, id: &str) -> Result<Option<Replication>, Fault> {
        let path = format!("/v1/workspaceGroups/{}/storage/DR/status", quoted(id));
        let status: Option<WireStatus> = self.get(session, STATUS, id, path).await?;
        Ok(status.map(Replication::from))
    }

    /// A request, with a page in place of a good answer made a refusal.
    pub(super) async fn send(
        &self,
        session: &Session,
        secrets: &Credentials,
        request: Request<'_>,
    ) -> Result<Reply, Refusal> {
        let key = api_key(session).map_err(|fault| Refusal { status: None, fault })?;
        let (operation, target) = (request.operation, request.target.to_owned());
        let reply = self.http.send(key, secrets, request).await?;
        if reply.is_page() {
            let message = "a page came in place of an answer: something stands between us and SingleStore";
            let fault = Fault::new(FaultClass::Transient, operation, target, message);
            let fault = if operation.starts_with("GET ") { fault } else { fault.uncertain() };
            return Err(Refusal { status: None, fault });
        }
        Ok(reply)
    }

    /// A read, of which 404 is a good answer: none.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        session: &Session,
        operation: &'static str,
        target: &str,
        path: String,
    ) -> Result<Option<T>, Fault> {
        match self.send(session, &session.credentials, Request::get(operation, target, path)).await {
            Ok(reply) => reply.parse(operation, target, &session.credentials).map(Some),
            Err(Refusal { status: Some(404), .. }) => Ok(None),
            Err(Refusal { fault, .. }) => Err(fault),
        }
    }
}

fn api_key(session: &Session) -> Result<&str, Fault> {
    let key = session.credentials.0.get("apiKey").map(|k| k.trim()).filter(|k| !k.is_empty());
    let missing = || {
        let message = "the Secret with the credentials lacks the key apiKey";
        Fault::new(FaultClass::Refused, CURRENT_ORG, &session.scope.id, message).because(Cause::Credentials)
    };
    key.ok_or_else(missing)
}

fn add_keys(body: &mut Value, keys: &Keys) {
    for (field, key) in [("dataBucketKMSKeyID", &keys.data), ("backupBucketKMSKeyID", &keys.backup)] {
        if let Some(key) = key {
            body[field] = json!(key.to_string());
        }
    }
}

/// A refused creation, by its words where the status says less than they do.
pub(super) fn of_creation(fault: Fault) -> Fault {
    let message = fault.message.to_ascii_lowercase();
    if !message.starts_with("http 5") {
        return fault;
    }
    if message.contains("acquire") && message.contains("lock") {
        return Fault { class: FaultClass::Throttled, applied: Applied::No, ..fault };
    }
    if message.contains("already exists") {
        return Fault { class: FaultClass::Conflict, applied: Applied::No, ..fault };
    }
    fault
}

/// A call that is always there is not: the endpoint is not the Management API, or not this version of it.
fn not_found(operation: &str, target: &str) -> Fault {
    let message = "HTTP 404: no such call; is this the Management API of SingleStore?";
    Fault::new(FaultClass::Terminal, operation, target, message)
}
