//! Atlas of `MongoDB`, the Administration API v2 (<https://www.mongodb.com/docs/api/doc/atlas-admin-api-v2/>).
//!
//! # What is inferred
//! The vendor does not document these; each is read so that a wrong guess stops rather than harms.
//! - *A cluster's id* stands for the cluster: names are unique in a project, but one that was deleted and made again under the
//!   same name is another cluster. The API knows clusters by name alone, so every call about an id lists them first.
//! - *A refusal without a code* (401) to a service account that just got a token is about the project, not the account.
//! - *An incomplete answer* (a key that is enabled and not named, a page that is too short) is a broken contract, never an
//!   absence.

use std::sync::Arc;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::atlas_login::{Heard, Logins};
use super::atlas_wire::{
    ApiError, Cluster, Clusters, EncryptionAtRest, Project, Role, Roles, creation, meaning, spelled,
};
use super::http::raw::{Answer, Raw, without_secrets};
use super::http::{Http, quoted};
use crate::clock::Clock;
use crate::domain::desired::DatabaseRequest;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::id::{KeyArn, Region};
use crate::domain::observed::{Database, DatabaseState};
use crate::domain::role_link::{RegistrationSeen, RoleLink};
use crate::ports::Session;

/// The most clusters on a page.
const PAGE: usize = 500;

/// The versions of the resources that are asked for.
const COMMON: &str = "application/vnd.atlas.2023-01-01+json";
const CLUSTERS: &str = "application/vnd.atlas.2024-08-05+json";
const CLUSTER_WRITES: &str = "application/vnd.atlas.2024-10-23+json";
const CLUSTER_ENDS: &str = "application/vnd.atlas.2023-02-01+json";

const PROJECT: &str = "GET /groups/{groupId}";
const LIST_ROLES: &str = "GET /groups/{groupId}/cloudProviderAccess";
const CREATE_ROLE: &str = "POST /groups/{groupId}/cloudProviderAccess";
const AUTHORIZE: &str = "PATCH /groups/{groupId}/cloudProviderAccess/{roleId}";
const DEAUTHORIZE: &str = "DELETE /groups/{groupId}/cloudProviderAccess/AWS/{roleId}";
const READ_KEY: &str = "GET /groups/{groupId}/encryptionAtRest";
const SET_KEY: &str = "PATCH /groups/{groupId}/encryptionAtRest";
const LIST: &str = "GET /groups/{groupId}/clusters";
const CREATE: &str = "POST /groups/{groupId}/clusters";
const CHANGE: &str = "PATCH /groups/{groupId}/clusters/{clusterName}";
const DELETE: &str = "DELETE /groups/{groupId}/clusters/{clusterName}";

/// Atlas.
pub(super) struct Atlas {
    http: Http,
    clock: Arc<dyn Clock>,
    logins: Logins,
}

/// A call about the session's project.
struct Call<'a> {
    method: Method,
    operation: &'static str,
    target: &'a str,
    /// What comes after the project's id.
    path: String,
    version: &'static str,
    body: Option<Value>,
}

impl<'a> Call<'a> {
    fn get(operation: &'static str, target: &'a str, path: impl Into<String>, version: &'static str) -> Self {
        Self { method: Method::GET, operation, target, path: path.into(), version, body: None }
    }

    fn write(
        method: Method,
        operation: &'static str,
        target: &'a str,
        path: impl Into<String>,
        version: &'static str,
        body: Option<Value>,
    ) -> Self {
        Self { method, operation, target, path: path.into(), version, body }
    }
}

/// An answer that says no, or none at all.
struct Refusal {
    status: Option<u16>,
    code: Option<String>,
    fault: Fault,
}

impl Atlas {
    pub(super) fn new(http: Http, clock: Arc<dyn Clock>) -> Self {
        Self { http, clock, logins: Logins::default() }
    }

    async fn send(&self, session: &Session, call: Call<'_>) -> Result<Answer, Refusal> {
        let Call { method, operation, target, path, version, body } = call;
        let writes = method != Method::GET;
        let path = format!("/api/atlas/v2/groups/{}{path}", quoted(&session.scope.id));
        let body = body.map(|body| (version, body.to_string().into_bytes()));
        let request = Raw { method, operation, target, path: &path, accept: version, body };
        let heard = self.logins.send(&self.http, self.clock.as_ref(), session, request).await;
        let Heard { answer, alive } = heard.map_err(|fault| Refusal { status: None, code: None, fault })?;
        if answer.is_good() {
            return Ok(answer);
        }
        let error: ApiError = answer.try_parse().unwrap_or_default();
        let (mut class, mut cause, perhaps) = answer.meaning();
        if let Some(known) = error.code().and_then(meaning) {
            (class, cause) = known;
        } else if answer.status == 401 && alive {
            cause = Cause::Scope;
        }
        let words = error.words().unwrap_or_else(|| answer.text());
        let message = format!("HTTP {}: {words}", answer.status);
        let mut fault = Fault::new(class, operation, target, without_secrets(&message, &session.credentials));
        fault.cause = cause;
        fault.retry_after = answer.retry_after();
        let fault = if perhaps && writes { fault.uncertain() } else { fault };
        Err(Refusal { status: Some(answer.status), code: error.code().map(ToOwned::to_owned), fault })
    }

    /// A read of the project's.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        session: &Session,
        operation: &'static str,
        path: &str,
    ) -> Result<T, Fault> {
        self.ask(session, Call::get(operation, &session.scope.id, path, COMMON)).await
    }

    /// A read that anybody may make: no credentials are sent.
    pub(super) async fn read_openly<T: DeserializeOwned>(
        &self,
        session: &Session,
        operation: &'static str,
        path: &str,
        version: &'static str,
    ) -> Result<T, Fault> {
        let target = &session.scope.id;
        let request = Raw { method: Method::GET, operation, target, path, accept: version, body: None };
        let answer = self.http.raw(request, None, &session.credentials).await?;
        if answer.is_good() {
            return answer.parse(operation, target, &session.credentials);
        }
        let (class, cause, _) = answer.meaning();
        let message = format!("HTTP {}: {}", answer.status, answer.text());
        let mut fault = Fault::new(class, operation, target, without_secrets(&message, &session.credentials));
        fault.cause = cause;
        fault.retry_after = answer.retry_after();
        Err(fault)
    }

    async fn ask<T: DeserializeOwned>(&self, session: &Session, call: Call<'_>) -> Result<T, Fault> {
        let (operation, target) = (call.operation, call.target);
        let answer = self.send(session, call).await.map_err(|refusal| refusal.fault)?;
        answer.parse(operation, target, &session.credentials)
    }

    /// The project, if the credentials are let into it.
    pub(super) async fn scope(&self, session: &Session) -> Result<Option<String>, Fault> {
        let project: Project = self.ask(session, Call::get(PROJECT, &session.scope.id, "", COMMON)).await?;
        Ok(Some(project.id).filter(|id| !id.is_empty()))
    }

    pub(super) async fn role_links(&self, session: &Session) -> Result<Vec<RoleLink>, Fault> {
        let call = Call::get(LIST_ROLES, &session.scope.id, "/cloudProviderAccess", COMMON);
        let roles: Roles = self.ask(session, call).await?;
        Ok(roles.aws_iam_roles.into_iter().map(RoleLink::from).collect())
    }

    /// Makes a record of a role. **Not idempotent and never retried inside.**
    pub(super) async fn create_role_link(&self, session: &Session) -> Result<RoleLink, Fault> {
        let body = Some(json!({"providerName": "AWS"}));
        let target = &session.scope.id;
        let call = Call::write(Method::POST, CREATE_ROLE, target, "/cloudProviderAccess", COMMON, body);
        let answer = self.send(session, call).await.map_err(|refusal| refusal.fault)?;
        // It was made, and we cannot tell which: the same as a lost reply.
        let role: Role = answer.parse(CREATE_ROLE, target, &session.credentials).map_err(Fault::uncertain)?;
        Ok(role.into())
    }

    pub(super) async fn authorize_role_link(&self, session: &Session, id: &str, role: &str) -> Result<(), Fault> {
        let body = Some(json!({"providerName": "AWS", "iamAssumedRoleArn": role}));
        let path = format!("/cloudProviderAccess/{}", quoted(id));
        let call = Call::write(Method::PATCH, AUTHORIZE, role, path, COMMON, body);
        self.send(session, call).await.map(drop).map_err(|refusal| match refusal {
            // What we send holds the link's id and the role's ARN, nothing that another project would take.
            Refusal { status: Some(400), fault, .. } if fault.class == FaultClass::Invalid => {
                Fault { class: FaultClass::Refused, ..fault }
            }
            other => other.fault,
        })
    }

    pub(super) async fn remove_role_link(&self, session: &Session, id: &str) -> Result<(), Fault> {
        let path = format!("/cloudProviderAccess/AWS/{}", quoted(id));
        let call = Call::write(Method::DELETE, DEAUTHORIZE, id, path, COMMON, None);
        self.send(session, call).await.map(drop).map_err(|refusal| refusal.fault)
    }

    pub(super) async fn registration(&self, session: &Session) -> Result<Option<RegistrationSeen>, Fault> {
        let target = &session.scope.id;
        let seen: EncryptionAtRest =
            self.ask(session, Call::get(READ_KEY, target, "/encryptionAtRest", COMMON)).await?;
        seen.registration().map_err(|problem| Fault::new(FaultClass::Terminal, READ_KEY, target, problem))
    }

    /// Sets the project's key, or sets it again.
    pub(super) async fn register(
        &self,
        session: &Session,
        region: &Region,
        key: &KeyArn,
        link: &str,
    ) -> Result<(), Fault> {
        let body = json!({"awsKms": {
            "enabled": true, "customerMasterKeyID": key.to_string(), "region": spelled(region), "roleId": link,
        }});
        self.set_key(session, &key.to_string(), body).await
    }

    /// Takes the key out of the project. Atlas refuses it while a cluster is under it.
    pub(super) async fn withdraw(&self, session: &Session) -> Result<(), Fault> {
        self.set_key(session, &session.scope.id, json!({"awsKms": {"enabled": false}})).await
    }

    async fn set_key(&self, session: &Session, target: &str, body: Value) -> Result<(), Fault> {
        let call = Call::write(Method::PATCH, SET_KEY, target, "/encryptionAtRest", COMMON, Some(body));
        self.send(session, call).await.map(drop).map_err(|Refusal { status, fault, .. }| match status {
            // The body holds nothing that another spec would say better.
            Some(400 | 404 | 422) if fault.class == FaultClass::Invalid || fault.class == FaultClass::Conflict => {
                Fault { class: FaultClass::Refused, ..fault }
            }
            _ => fault,
        })
    }

    /// The clusters of every page, or none at all.
    pub(super) async fn list(&self, session: &Session, target: &str) -> Result<Vec<Cluster>, Fault> {
        let mut all: Vec<Cluster> = Vec::new();
        for page in 1.. {
            let path = format!("/clusters?itemsPerPage={PAGE}&pageNum={page}&includeCount=true");
            let mut clusters: Clusters = self.ask(session, Call::get(LIST, target, path, CLUSTERS)).await?;
            let length = clusters.results.len();
            if clusters.results.iter().any(|new| all.iter().any(|known| known.id == new.id)) {
                let message = "the pages overlap, so the list cannot be taken for complete";
                return Err(Fault::new(FaultClass::Terminal, LIST, target, message));
            }
            all.append(&mut clusters.results);
            match clusters.total_count {
                Some(total) if all.len() >= total => break,
                Some(_) if length == 0 => {
                    // Something went between two pages.
                    return Err(Fault::new(FaultClass::Transient, LIST, target, "the list is shorter than it says"));
                }
                None if length == 0 => break,
                Some(_) | None => {}
            }
        }
        Ok(all)
    }

    async fn cluster(&self, session: &Session, id: &str) -> Result<Option<Cluster>, Fault> {
        Ok(self.list(session, id).await?.into_iter().find(|cluster| cluster.id == id))
    }

    pub(super) async fn database(&self, session: &Session, id: &str) -> Result<Option<Database>, Fault> {
        Ok(self.cluster(session, id).await?.map(Cluster::into_database))
    }

    pub(super) async fn databases(&self, session: &Session) -> Result<Vec<Database>, Fault> {
        let all = self.list(session, &session.scope.id).await?;
        let live = all.into_iter().map(Cluster::into_database).filter(|d| d.state != DatabaseState::Terminated);
        Ok(live.collect())
    }

    pub(super) async fn databases_named(&self, session: &Session, name: &str) -> Result<Vec<Database>, Fault> {
        let all = self.list(session, name).await?;
        let named = all.into_iter().filter(|cluster| cluster.name == name).map(Cluster::into_database);
        Ok(named.filter(|d| d.state != DatabaseState::Terminated).collect())
    }

    pub(super) async fn create_database(
        &self,
        session: &Session,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<String, Fault> {
        let target = format!("{} in {region}", request.name);
        let body = Some(creation(request, region));
        let call = Call::write(Method::POST, CREATE, &target, "/clusters", CLUSTER_WRITES, body);
        let answer = self.send(session, call).await.map_err(|refusal| refusal.fault)?;
        let made: Result<Cluster, Fault> = answer.parse(CREATE, &target, &session.credentials);
        // It was made, and we cannot tell which: the same as a lost reply.
        made.map(|cluster| cluster.id).map_err(Fault::uncertain)
    }

    pub(super) async fn add_region(
        &self,
        session: &Session,
        id: &str,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<(), Fault> {
        let target = format!("{region} of {id}");
        let cluster = self.there(session, id, CHANGE).await?;
        let body = json!({"replicationSpecs": cluster.with_region(region, request)});
        self.change(session, &cluster.name, &target, body).await
    }

    /// Removes a region from every shard of a cluster.
    pub(super) async fn remove_region(&self, session: &Session, id: &str, region: &Region) -> Result<(), Fault> {
        let target = format!("{region} of {id}");
        let cluster = self.there(session, id, CHANGE).await?;
        let body = json!({"replicationSpecs": cluster.without_region(region)});
        self.change(session, &cluster.name, &target, body).await
    }

    /// Puts a cluster that has none under the project's key. Nothing else of it is touched.
    pub(super) async fn encrypt_database(&self, session: &Session, id: &str) -> Result<(), Fault> {
        let cluster = self.there(session, id, CHANGE).await?;
        self.change(session, &cluster.name, id, json!({"encryptionAtRestProvider": "AWS"})).await
    }

    async fn change(&self, session: &Session, name: &str, target: &str, body: Value) -> Result<(), Fault> {
        let path = format!("/clusters/{}", quoted(name));
        let call = Call::write(Method::PATCH, CHANGE, target, path, CLUSTER_WRITES, Some(body));
        self.send(session, call).await.map(drop).map_err(|refusal| refusal.fault)
    }

    pub(super) async fn terminate_database(&self, session: &Session, id: &str) -> Result<(), Fault> {
        let cluster = self.there(session, id, DELETE).await?;
        let path = format!("/clusters/{}", quoted(&cluster.name));
        let call = Call::write(Method::DELETE, DELETE, id, path, CLUSTER_ENDS, None);
        self.send(session, call).await.map(drop).map_err(|Refusal { code, fault, .. }| match code.as_deref() {
            Some("CLUSTER_NOT_FOUND") => Fault { class: FaultClass::Conflict, ..fault },
            _ => fault,
        })
    }

    /// The cluster of an id, which the call needs by its name.
    async fn there(&self, session: &Session, id: &str, operation: &str) -> Result<Cluster, Fault> {
        let gone = || Fault::new(FaultClass::Conflict, operation, id, "there is no cluster of this id any more");
        self.cluster(session, id).await?.ok_or_else(gone)
    }
}
