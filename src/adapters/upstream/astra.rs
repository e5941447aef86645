//! `DataStax` Astra's DevOps API (<https://docs.datastax.com/en/astra-api-docs/_attachments/devops-api/index.html>).
//!
//! # What is inferred
//! The vendor does not document these; each is read so that a wrong guess stops rather than harms.
//! - *401 and 403* are both used for a dead token and for a missing permission, differently on different paths. What the
//!   token can do is asked of `GET /v2/currentOrg`, which every live token may call: where that works, a refusal
//!   elsewhere is a missing permission (`Permission`); where it does not, the token is dead (`Credentials`).
//! - *A rejected registration* (400, 422) is `Refused`, not `Invalid`: its body holds the region and our key's ARN,
//!   nothing that another spec would say better. Somebody has to open the region or the feature to the organization,
//!   and then it goes through unchanged.
//! - *No classic databases by API*: some organizations may create them in the portal only. How the API says so is not
//!   known. A 4xx to the creation of a classic database whose words are about classic databases or tiers and about
//!   impossibility is taken as that (`PortalOnly`).
//! - *An incomplete answer* (a registration without a key, a page that repeats) is a broken contract, never an absence.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::astra_wire::{
    ClassicRegion, Datacenter, Organization, ProviderAccount, RegisteredKey, ServerlessRegion, WireDatabase,
    classic_offer, serverless_offer,
};
use super::http::{Http, Refusal, Reply, Request, quoted};
use crate::clock::Clock;
use crate::domain::desired::DatabaseRequest;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::id::{AccountId, KeyArn, Region};
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{Database, DatabaseState, RegionOffer};
use crate::ports::Session;

/// The most that a page of databases can hold.
const PAGE: usize = 100;
/// The vendor's default size of a page. A server that holds less than we ask for holds at least this much.
const SMALLEST_FULL_PAGE: usize = 25;
/// What a token was found to be is believed for so long.
const TOKEN_TTL: Span = Span::seconds(60);

const CURRENT_ORG: &str = "GET /v2/currentOrg";
const CREATE: &str = "POST /v2/databases";
const ADD_REGION: &str = "POST /v2/databases/{id}/datacenters";
const LIST: &str = "GET /v2/databases";
const DATACENTERS: &str = "GET /v2/databases/{id}/datacenters";
const REMOVE_REGION: &str = "POST /v2/databases/{id}/datacenters/{datacenter}/terminate";
const TERMINATE: &str = "POST /v2/databases/{id}/terminate";

/// Astra.
pub(super) struct Astra {
    http: Http,
    clock: Arc<dyn Clock>,
    /// What `currentOrg` last said of a token (its hash), and when.
    tokens: Mutex<HashMap<[u8; 32], (Moment, bool)>>,
}

/// The two kinds of databases have separate registrations, under separate paths.
fn is_classic(session: &Session) -> bool {
    session.scope.database_type.eq_ignore_ascii_case("classic")
}

fn token(session: &Session) -> Result<&str, Fault> {
    let token = session.credentials.0.get("token").map(|t| t.trim()).filter(|t| !t.is_empty());
    let missing = || {
        let message = "the Secret with the credentials lacks the key token";
        Fault::new(FaultClass::Refused, CURRENT_ORG, &session.scope.id, message).because(Cause::Credentials)
    };
    token.ok_or_else(missing)
}

impl Astra {
    pub(super) fn new(http: Http, clock: Arc<dyn Clock>) -> Self {
        Self { http, clock, tokens: Mutex::default() }
    }

    async fn send(&self, session: &Session, request: Request<'_>) -> Result<Reply, Refusal> {
        let token = token(session).map_err(|fault| Refusal { status: None, fault })?;
        match self.http.send(token, &session.credentials, request).await {
            Err(refusal) if matches!(refusal.status, Some(401 | 403)) => Err(self.explained(session, refusal).await),
            outcome => outcome,
        }
    }

    /// A read, of which 404 is a good answer: none.
    async fn get<T: DeserializeOwned>(
        &self,
        session: &Session,
        operation: &'static str,
        target: &str,
        path: String,
    ) -> Result<Option<T>, Fault> {
        match self.send(session, Request::get(operation, target, path)).await {
            Ok(reply) => reply.parse(operation, target, &session.credentials).map(Some),
            Err(Refusal { status: Some(404), .. }) => Ok(None),
            Err(Refusal { fault, .. }) => Err(fault),
        }
    }

    /// A refusal with 401 or 403, with its cause: the token, or what it lacks.
    async fn explained(&self, session: &Session, mut refusal: Refusal) -> Refusal {
        refusal.fault.cause = match self.token_is_alive(session).await {
            Some(true) => Cause::Permission,
            Some(false) => Cause::Credentials,
            // Not to be found out now: by the status alone, as most of the vendor's paths have it.
            None => refusal.fault.cause,
        };
        refusal
    }

    async fn token_is_alive(&self, session: &Session) -> Option<bool> {
        if let Some(alive) = self.remembered(session) {
            return Some(alive);
        }
        match self.current_org(session).await {
            Ok(_) => Some(true),
            Err(Refusal { status: Some(401 | 403), .. }) => Some(false),
            Err(_) => None,
        }
    }

    fn remembered(&self, session: &Session) -> Option<bool> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, alive) = tokens.get(&fingerprint(session))?;
        (self.clock.now().since(*at) < TOKEN_TTL).then_some(*alive)
    }

    fn remember(&self, session: &Session, alive: bool) {
        let now = self.clock.now();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (at, _)| now.since(*at) < TOKEN_TTL);
        tokens.insert(fingerprint(session), (now, alive));
    }

    /// Asks whose the token is. Not through [`Self::send`]: that comes here to explain refusals.
    async fn current_org(&self, session: &Session) -> Result<Reply, Refusal> {
        let token = token(session).map_err(|fault| Refusal { status: None, fault })?;
        let request = Request::get(CURRENT_ORG, &session.scope.id, "/v2/currentOrg".to_owned());
        let outcome = self.http.send(token, &session.credentials, request).await;
        match &outcome {
            Ok(_) => self.remember(session, true),
            Err(Refusal { status: Some(401 | 403), .. }) => self.remember(session, false),
            Err(_) => {}
        }
        outcome
    }

    pub(super) async fn scope(&self, session: &Session) -> Result<Option<String>, Fault> {
        let reply = self.current_org(session).await.map_err(|refusal| match refusal.status {
            Some(401 | 403) => refusal.fault.because(Cause::Credentials),
            _ => refusal.fault,
        })?;
        let organization: Organization = reply.parse(CURRENT_ORG, &session.scope.id, &session.credentials)?;
        Ok(Some(organization.id).filter(|id| !id.is_empty()))
    }

    pub(super) async fn principals(&self, session: &Session, region: &Region) -> Result<Option<Vec<String>>, Fault> {
        let (operation, path) = if is_classic(session) {
            ("GET /v2/kms/classic/provider/aws/region/{region}/accounts", "/v2/kms/classic/provider/aws/region")
        } else {
            ("GET /v2/kms/provider/aws/region/{region}/accounts", "/v2/kms/provider/aws/region")
        };
        let path = format!("{path}/{region}/accounts");
        let target = region.as_str();
        let accounts: Vec<ProviderAccount> = self.get(session, operation, target, path).await?.unwrap_or_default();
        let mut principals = Vec::new();
        for account in accounts.iter().filter(|a| a.provider.eq_ignore_ascii_case("aws")) {
            let id: AccountId = account.provider_id.parse().map_err(|error| {
                Fault::new(FaultClass::Terminal, operation, target, format!("the answer cannot be read: {error}"))
            })?;
            principals.push(format!("arn:{}:iam::{id}:role/{}", region.partition(), session.scope.principal_role));
        }
        principals.sort();
        principals.dedup();
        Ok(Some(principals).filter(|p| !p.is_empty()))
    }

    pub(super) async fn offer(&self, session: &Session, region: &Region) -> Result<RegionOffer, Fault> {
        let target = region.as_str();
        if is_classic(session) {
            let operation = "GET /v2/availableRegions";
            let regions: Option<Vec<ClassicRegion>> =
                self.get(session, operation, target, "/v2/availableRegions".to_owned()).await?;
            return regions.map(|r| classic_offer(&r, region)).ok_or_else(|| not_found(operation, target));
        }
        let operation = "GET /v2/regions/serverless";
        let path = "/v2/regions/serverless?region-type=all&filter-by-org=enabled".to_owned();
        let regions: Option<Vec<ServerlessRegion>> = self.get(session, operation, target, path).await?;
        regions.map(|r| serverless_offer(&r, region)).ok_or_else(|| not_found(operation, target))
    }

    pub(super) async fn registration(&self, session: &Session, region: &Region) -> Result<Option<String>, Fault> {
        let (operation, path) = if is_classic(session) {
            ("GET /v2/kms/classic/provider/aws/region/{region}", "/v2/kms/classic/provider/aws/region")
        } else {
            ("GET /v2/kms/provider/aws/region/{region}", "/v2/kms/provider/aws/region")
        };
        let target = region.as_str();
        let key: Option<RegisteredKey> = self.get(session, operation, target, format!("{path}/{region}")).await?;
        let Some(RegisteredKey { aws }) = key else { return Ok(None) };
        if aws.key_id.is_empty() || aws.region.as_deref().is_some_and(|r| r != target) {
            let message = "the answer names no key, or one of another region";
            return Err(Fault::new(FaultClass::Terminal, operation, target, message));
        }
        Ok(Some(aws.key_id))
    }

    pub(super) async fn register(&self, session: &Session, region: &Region, key: &KeyArn) -> Result<(), Fault> {
        let (operation, path) =
            if is_classic(session) { ("POST /v2/kms/classic", "/v2/kms/classic") } else { ("POST /v2/kms", "/v2/kms") };
        let body = json!({"orgId": session.scope.id, "aws": {"keyID": key.to_string(), "region": region.as_str()}});
        match self.send(session, Request::post(operation, region.as_str(), path.to_owned(), body)).await {
            Ok(_) => Ok(()),
            Err(Refusal { status: Some(400 | 404 | 422), fault }) => Err(Fault { class: FaultClass::Refused, ..fault }),
            Err(Refusal { fault, .. }) => Err(fault),
        }
    }

    pub(super) async fn database(&self, session: &Session, id: &str) -> Result<Option<Database>, Fault> {
        let path = format!("/v2/databases/{}", quoted(id));
        let database: Option<WireDatabase> = self.get(session, "GET /v2/databases/{id}", id, path).await?;
        match database {
            Some(database) => self.whole(session, database).await.map(Some),
            None => Ok(None),
        }
    }

    /// A database with its regions, asked for apart where they are not there.
    async fn whole(&self, session: &Session, database: WireDatabase) -> Result<Database, Fault> {
        let apart: Option<Vec<Datacenter>> = if database.lacks_datacenters() {
            let path = format!("/v2/databases/{}/datacenters", quoted(&database.id));
            self.get(session, "GET /v2/databases/{id}/datacenters", &database.id, path).await?
        } else {
            None
        };
        Ok(database.into_database(apart))
    }

    pub(super) async fn databases_named(&self, session: &Session, name: &str) -> Result<Vec<Database>, Fault> {
        let named = self.list(session, name, |database| database.info.name.as_deref() == Some(name)).await?;
        let mut databases = Vec::with_capacity(named.len());
        for database in named {
            databases.push(self.whole(session, database).await?);
        }
        databases.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(databases)
    }

    /// Every database that may be of the session's kind, as the list shows it.
    pub(super) async fn databases(&self, session: &Session) -> Result<Vec<Database>, Fault> {
        let classic = is_classic(session);
        let ours = |database: &WireDatabase| {
            database.is_on_aws() && database.is_classic().is_none_or(|is_classic| is_classic == classic)
        };
        let all = self.list(session, &session.scope.id, ours).await?;
        Ok(all.into_iter().map(|database| database.into_database(None)).collect())
    }

    /// The databases that are not terminated and are asked for: of every page, or none at all.
    async fn list(
        &self,
        session: &Session,
        target: &str,
        wanted: impl Fn(&WireDatabase) -> bool,
    ) -> Result<Vec<WireDatabase>, Fault> {
        let (mut all, mut last): (Vec<WireDatabase>, Option<String>) = (Vec::new(), None);
        let mut seen = std::collections::HashSet::new();
        loop {
            let after = last.as_deref().map(|id| format!("&starting_after={}", quoted(id))).unwrap_or_default();
            let path = format!("/v2/databases?include=nonterminated&limit={PAGE}{after}");
            let page: Option<Vec<WireDatabase>> = self.get(session, LIST, target, path).await?;
            let page = page.ok_or_else(|| not_found(LIST, target))?;
            let length = page.len();
            for database in page {
                if !seen.insert(database.id.clone()) {
                    let message = "the pages overlap, so the list cannot be taken for complete";
                    return Err(Fault::new(FaultClass::Terminal, LIST, target, message));
                }
                last = Some(database.id.clone());
                if wanted(&database) && database.state() != DatabaseState::Terminated {
                    all.push(database);
                }
            }
            if length < SMALLEST_FULL_PAGE {
                return Ok(all);
            }
        }
    }

    pub(super) async fn create_database(
        &self,
        session: &Session,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<String, Fault> {
        let DatabaseRequest { name, tier, capacity_units, keyspace, database_type, group: _, cluster: _ } = request;
        let mut body = json!({
            "name": name,
            "cloudProvider": "AWS",
            "region": region.as_str(),
            "tier": tier,
            "capacityUnits": capacity_units.unwrap_or(1),
        });
        for (field, value) in [("keyspace", keyspace), ("dbType", database_type)] {
            if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
                body[field] = json!(value);
            }
        }
        let target = format!("{name} in {region}");
        let reply = self.send(session, Request::post(CREATE, &target, "/v2/databases".to_owned(), body)).await;
        let reply = reply.map_err(|refusal| {
            let portal =
                is_classic(session) && refusal.status.is_some_and(|s| is_portal_only(s, &refusal.fault.message));
            if portal {
                Fault { class: FaultClass::Refused, cause: Cause::PortalOnly, ..refusal.fault }
            } else {
                refusal.fault
            }
        })?;
        // It was made, and we cannot tell which: the same as a lost reply.
        let lost = || {
            let message = "the answer does not name the new database";
            Fault::new(FaultClass::Transient, CREATE, &target, message).uncertain()
        };
        reply.location.as_deref().and_then(last_segment).map(ToOwned::to_owned).ok_or_else(lost)
    }

    pub(super) async fn add_region(
        &self,
        session: &Session,
        id: &str,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<(), Fault> {
        let body = json!([{"tier": request.tier, "cloudProvider": "AWS", "region": region.as_str()}]);
        let path = format!("/v2/databases/{}/datacenters", quoted(id));
        let target = format!("{region} of {id}");
        let sent = self.send(session, Request::post(ADD_REGION, &target, path, body)).await;
        sent.map(drop).map_err(|refusal| refusal.fault)
    }

    /// Removes a region. The vendor wants the id of its datacenter, which only the list of these says.
    pub(super) async fn remove_region(&self, session: &Session, id: &str, region: &Region) -> Result<(), Fault> {
        let target = format!("{region} of {id}");
        let path = format!("/v2/databases/{}/datacenters", quoted(id));
        let all: Option<Vec<Datacenter>> = self.get(session, DATACENTERS, &target, path).await?;
        let here = all.unwrap_or_default().into_iter().filter(|d| d.is_live() && d.region() == region.as_str());
        let mut ids = here.filter_map(Datacenter::into_id);
        // None, or several of which it is not known which one is meant: nothing is removed on a guess.
        let (Some(datacenter), None) = (ids.next(), ids.next()) else {
            let message = "the list of the database's regions does not name one datacenter there";
            return Err(Fault::new(FaultClass::Conflict, DATACENTERS, &target, message));
        };
        let path = format!("/v2/databases/{}/datacenters/{}/terminate", quoted(id), quoted(&datacenter));
        let sent = self.send(session, Request::post(REMOVE_REGION, &target, path, json!({}))).await;
        sent.map(drop).map_err(|refusal| refusal.fault)
    }

    pub(super) async fn terminate_database(&self, session: &Session, id: &str) -> Result<(), Fault> {
        let path = format!("/v2/databases/{}/terminate", quoted(id));
        let sent = self.send(session, Request::post(TERMINATE, id, path, json!({}))).await;
        sent.map(drop).map_err(|refusal| refusal.fault)
    }
}

/// A list that is always there is not: the endpoint is not Astra's API, or not this version of it.
fn not_found(operation: &str, target: &str) -> Fault {
    Fault::new(FaultClass::Terminal, operation, target, "HTTP 404: no such call; is this the API of Astra?")
}

/// The id in a `Location`, which may be the id alone, a path or a URL.
fn last_segment(location: &str) -> Option<&str> {
    let path = location.split(['?', '#']).next()?;
    path.trim_end_matches('/').rsplit('/').next().map(str::trim).filter(|id| !id.is_empty())
}

/// Whether the refusal of a classic database says that the API makes none for this organization.
fn is_portal_only(status: u16, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| message.contains(w));
    (400..500).contains(&status)
        && !matches!(status, 401 | 408 | 409 | 429)
        && says(&["classic", "tier"])
        && says(&[
            "no longer",
            "not available",
            "unavailable",
            "cannot",
            "can't",
            "can not",
            "not supported",
            "unsupported",
            "not allowed",
            "not permitted",
            "not enabled",
            "disabled",
            "deprecated",
            "discontinued",
        ])
}

/// A token, so that what was learned of it can be kept without it.
fn fingerprint(session: &Session) -> [u8; 32] {
    let token = session.credentials.0.get("token").map(|t| t.trim()).unwrap_or_default();
    Sha256::digest(token.as_bytes()).into()
}
