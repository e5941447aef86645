//! [`Upstream`] over the clouds' HTTP APIs.

mod astra;
mod astra_wire;
mod atlas;
mod atlas_login;
mod atlas_sources;
mod atlas_wire;
mod http;
pub mod singlestore;
mod singlestore_port;
mod singlestore_wire;
mod singlestore_workspaces;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use astra::Astra;
use atlas::Atlas;
use http::Http;
#[cfg(feature = "sandbox")]
pub use http::carried::Carrier;
use singlestore::SingleStore;

use crate::adapters::watch::Watch;
use crate::clock::Clock;
use crate::domain::capabilities::Cloud;
use crate::domain::desired::DatabaseRequest;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::id::{KeyArn, Region};
use crate::domain::observed::{Database, RegionOffer};
use crate::domain::part::{NewPart, Part};
use crate::domain::portal::Replica;
use crate::domain::reading::{Reading, Why};
use crate::domain::role_link::{RegistrationSeen, RoleLink};
use crate::domain::source::SourcesSeen;
use crate::ports::{Session, Upstream};

/// How the clouds are called. Never from an object's spec: a tenant could send a token elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The base of Astra's API.
    pub astra_endpoint: String,
    /// The base of Atlas's Administration API and its token endpoint, without `/api`.
    pub atlas_endpoint: String,
    /// The base of `SingleStore`'s Management API.
    pub singlestore_endpoint: String,
    /// Time for a connection to be made.
    pub connect_timeout: Duration,
    /// Time for a call.
    pub timeout: Duration,
    /// The longest answer that is read, in bytes.
    pub body_cap: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            astra_endpoint: "https://api.astra.datastax.com".to_owned(),
            atlas_endpoint: "https://cloud.mongodb.com".to_owned(),
            singlestore_endpoint: "https://api.singlestore.com".to_owned(),
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(30),
            body_cap: 8 << 20,
        }
    }
}

/// The keys that a cloud needs in the Secret with its credentials, and that are not given or empty.
pub fn required_keys(cloud: Cloud, given: &BTreeMap<String, String>) -> Vec<String> {
    let there = |key: &str| given.get(key).is_some_and(|value| !value.trim().is_empty());
    let lacking =
        |keys: &[&str]| keys.iter().filter(|key| !there(key)).map(|key| (*key).to_owned()).collect::<Vec<_>>();
    match cloud {
        Cloud::Astra => lacking(&["token"]),
        // Either a service account or an API key; what is lacking of the one that was begun, or else of the former.
        Cloud::Atlas if there("publicKey") || there("privateKey") => {
            let (account, key) = (lacking(&["clientId", "clientSecret"]), lacking(&["publicKey", "privateKey"]));
            if account.is_empty() { account } else { key }
        }
        Cloud::Atlas => lacking(&["clientId", "clientSecret"]),
        Cloud::SingleStore => lacking(&["apiKey"]),
    }
}

/// All clouds that this build can talk to, chosen by the scope of each call.
pub struct Clouds {
    astra: Astra,
    atlas: Atlas,
    single_store: SingleStore,
}

/// The adapter that a call is for.
enum One<'c> {
    Astra(&'c Astra),
    Atlas(&'c Atlas),
    SingleStore(&'c SingleStore),
}

impl Clouds {
    /// The clouds, called in this way. Sends nothing.
    pub fn new(options: &Options, clock: Arc<dyn Clock>, watch: Arc<dyn Watch>) -> Result<Self, Fault> {
        let astra = Http::new("astra", &options.astra_endpoint, options, clock.clone(), watch.clone())?;
        let atlas = Http::new("atlas", &options.atlas_endpoint, options, clock.clone(), watch.clone())?;
        let single_store = SingleStore::new(options, clock.clone(), watch)?;
        Ok(Self { astra: Astra::new(astra, clock.clone()), atlas: Atlas::new(atlas, clock), single_store })
    }

    /// The clouds, with something in this process that carries and answers requests in place of a network. Every future is
    /// then ready at its first poll.
    #[cfg(feature = "sandbox")]
    pub fn carried(carrier: &Carrier, clock: &Arc<dyn Clock>) -> Self {
        let http = |service| Http::carried(service, carrier, Arc::clone(clock));
        Self {
            astra: Astra::new(http("astra"), Arc::clone(clock)),
            atlas: Atlas::new(http("atlas"), Arc::clone(clock)),
            single_store: SingleStore::over(http("singlestore")),
        }
    }

    /// The adapter of a cloud.
    fn of(&self, session: &Session) -> One<'_> {
        match session.scope.cloud {
            Cloud::Astra => One::Astra(&self.astra),
            Cloud::Atlas => One::Atlas(&self.atlas),
            Cloud::SingleStore => One::SingleStore(&self.single_store),
        }
    }

    /// The adapter of a cloud that uses keys as roles.
    fn by_role(&self, session: &Session) -> Result<&Atlas, Fault> {
        match self.of(session) {
            One::Atlas(cloud) => Ok(cloud),
            One::Astra(_) | One::SingleStore(_) => Err(no_such_call(session, "use a key as a role")),
        }
    }
}

fn unknown<T>(fault: Fault) -> Reading<T> {
    Reading::Unknown(Why::Failed(fault))
}

/// A cloud has no call for this, and the planner does not ask for it.
fn no_such_call(session: &Session, operation: &str) -> Fault {
    let message = format!("{} has no call for this", session.scope.cloud);
    Fault::new(FaultClass::Terminal, operation, &session.scope.id, message)
}

impl Upstream for Clouds {
    async fn scope(&self, session: &Session) -> Reading<String> {
        match self.of(session) {
            One::Astra(cloud) => cloud.scope(session).await.into(),
            One::Atlas(cloud) => cloud.scope(session).await.into(),
            One::SingleStore(cloud) => cloud.scope(session).await.into(),
        }
    }

    async fn principals(&self, session: &Session, region: &Region) -> Reading<Vec<String>> {
        match self.of(session) {
            One::Astra(cloud) => cloud.principals(session, region).await.into(),
            // The cloud uses the key as the customer's own role, which the spec names.
            One::Atlas(_) => Reading::Present(vec![session.scope.principal_role.clone()]),
            // Its portal alone names them.
            One::SingleStore(_) => Reading::Absent,
        }
    }

    async fn offer(&self, session: &Session, region: &Region) -> Reading<RegionOffer> {
        match self.of(session) {
            One::Astra(cloud) => cloud.offer(session, region).await.map(Some).into(),
            // A key of any region is taken; where clusters can be is said when one is created.
            One::Atlas(_) => Reading::Present(RegionOffer::Open),
            One::SingleStore(_) => Reading::NOT_LOOKED,
        }
    }

    async fn registration(&self, session: &Session, region: &Region) -> Reading<String> {
        match self.of(session) {
            One::Astra(cloud) => cloud.registration(session, region).await.into(),
            One::Atlas(cloud) => cloud.registration(session).await.map(|r| r.map(|r| r.key)).into(),
            // No call says which key anything is under.
            One::SingleStore(_) => Reading::NOT_LOOKED,
        }
    }

    async fn register(&self, session: &Session, region: &Region, key: &KeyArn) -> Result<(), Fault> {
        match self.of(session) {
            One::Astra(cloud) => cloud.register(session, region, key).await,
            One::Atlas(_) | One::SingleStore(_) => Err(no_such_call(session, "register a key")),
        }
    }

    async fn database(&self, session: &Session, id: &str) -> Reading<Database> {
        match self.of(session) {
            One::Astra(cloud) => cloud.database(session, id).await.into(),
            One::Atlas(cloud) => cloud.database(session, id).await.into(),
            One::SingleStore(cloud) => cloud.database(session, id).await.into(),
        }
    }

    async fn replica(&self, session: &Session, id: &str) -> Reading<Replica> {
        match self.of(session) {
            One::Astra(_) | One::Atlas(_) => Reading::NOT_LOOKED,
            One::SingleStore(cloud) => cloud.replica(session, id).await.into(),
        }
    }

    async fn databases_named(&self, session: &Session, name: &str) -> Reading<Vec<Database>> {
        match self.of(session) {
            One::Astra(cloud) => cloud.databases_named(session, name).await.map(Some).into(),
            One::Atlas(cloud) => cloud.databases_named(session, name).await.map(Some).into(),
            One::SingleStore(cloud) => cloud.databases_named(session, name).await.map(Some).into(),
        }
    }

    async fn databases(&self, session: &Session) -> Reading<Vec<Database>> {
        match self.of(session) {
            One::Astra(cloud) => cloud.databases(session).await.map(Some).into(),
            One::Atlas(cloud) => cloud.databases(session).await.map(Some).into(),
            One::SingleStore(_) => Reading::NOT_LOOKED,
        }
    }

    async fn create_database(
        &self,
        session: &Session,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<String, Fault> {
        match self.of(session) {
            One::Astra(cloud) => cloud.create_database(session, request, region).await,
            One::Atlas(cloud) => cloud.create_database(session, request, region).await,
            One::SingleStore(cloud) => cloud.create_database(session, request, region).await,
        }
    }

    async fn add_region(
        &self,
        session: &Session,
        id: &str,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<(), Fault> {
        match self.of(session) {
            One::Astra(cloud) => cloud.add_region(session, id, request, region).await,
            One::Atlas(cloud) => cloud.add_region(session, id, request, region).await,
            One::SingleStore(cloud) => cloud.add_copy(session, id, request, region).await,
        }
    }

    async fn remove_region(&self, session: &Session, id: &str, region: &Region) -> Result<(), Fault> {
        match self.of(session) {
            One::Astra(cloud) => cloud.remove_region(session, id, region).await,
            One::Atlas(cloud) => cloud.remove_region(session, id, region).await,
            One::SingleStore(_) => Err(no_such_call(session, "end replication")),
        }
    }

    async fn terminate_database(&self, session: &Session, id: &str) -> Result<(), Fault> {
        match self.of(session) {
            One::Astra(cloud) => cloud.terminate_database(session, id).await,
            One::Atlas(cloud) => cloud.terminate_database(session, id).await,
            One::SingleStore(cloud) => cloud.delete_group(session, id, true).await,
        }
    }

    async fn parts(&self, session: &Session, id: &str) -> Reading<Vec<Part>> {
        match self.of(session) {
            One::Astra(_) | One::Atlas(_) => Reading::NOT_LOOKED,
            One::SingleStore(cloud) => cloud.parts(session, id).await.into(),
        }
    }

    async fn create_part(&self, session: &Session, id: &str, part: &NewPart) -> Result<String, Fault> {
        match self.of(session) {
            One::Astra(_) | One::Atlas(_) => Err(no_such_call(session, "make a part of a database")),
            One::SingleStore(cloud) => cloud.create_workspace(session, id, part).await,
        }
    }

    async fn registration_by_role(&self, session: &Session) -> Reading<RegistrationSeen> {
        match self.by_role(session) {
            Ok(cloud) => cloud.registration(session).await.into(),
            Err(fault) => unknown(fault),
        }
    }

    async fn role_links(&self, session: &Session) -> Reading<Vec<RoleLink>> {
        match self.by_role(session) {
            Ok(cloud) => cloud.role_links(session).await.map(Some).into(),
            Err(fault) => unknown(fault),
        }
    }

    async fn sources(&self, session: &Session) -> SourcesSeen {
        match self.of(session) {
            One::Atlas(cloud) => cloud.sources(session).await,
            One::Astra(_) | One::SingleStore(_) => SourcesSeen::default(),
        }
    }

    async fn create_role_link(&self, session: &Session) -> Result<RoleLink, Fault> {
        self.by_role(session)?.create_role_link(session).await
    }

    async fn authorize_role_link(&self, session: &Session, link: &str, role: &str) -> Result<(), Fault> {
        self.by_role(session)?.authorize_role_link(session, link, role).await
    }

    async fn register_by_role(
        &self,
        session: &Session,
        region: &Region,
        key: &KeyArn,
        link: &str,
    ) -> Result<(), Fault> {
        self.by_role(session)?.register(session, region, key, link).await
    }

    async fn withdraw(&self, session: &Session) -> Result<(), Fault> {
        self.by_role(session)?.withdraw(session).await
    }

    async fn remove_role_link(&self, session: &Session, link: &str) -> Result<(), Fault> {
        self.by_role(session)?.remove_role_link(session, link).await
    }

    async fn encrypt_database(&self, session: &Session, id: &str) -> Result<(), Fault> {
        self.by_role(session)?.encrypt_database(session, id).await
    }
}
