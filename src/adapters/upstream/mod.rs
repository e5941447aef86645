//! [`Upstream`] over the clouds' HTTP APIs.

mod astra;
mod astra_wire;
mod http;
pub mod singlestore;
mod singlestore_port;
mod singlestore_wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use astra::Astra;
use http::Http;
use singlestore::SingleStore;

use crate::adapters::watch::Watch;
use crate::clock::Clock;
use crate::domain::capabilities::Cloud;
use crate::domain::desired::DatabaseRequest;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::id::{KeyArn, Region};
use crate::domain::observed::{Database, RegionOffer};
use crate::domain::portal::Replica;
use crate::domain::reading::{Reading, Why};
use crate::ports::{Session, Upstream};

/// How the clouds are called. Never from an object's spec: a tenant could send a token elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The base of Astra's API.
    pub astra_endpoint: String,
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
    single_store: SingleStore,
}

/// The adapter that a call is for.
enum One<'c> {
    Astra(&'c Astra),
    SingleStore(&'c SingleStore),
}

impl Clouds {
    /// The clouds, called in this way. Sends nothing.
    pub fn new(options: &Options, clock: Arc<dyn Clock>, watch: Arc<dyn Watch>) -> Result<Self, Fault> {
        let http = Http::new("astra", &options.astra_endpoint, options, clock.clone(), watch.clone())?;
        let single_store = SingleStore::new(options, clock.clone(), watch)?;
        Ok(Self { astra: Astra::new(http, clock), single_store })
    }

    /// The adapter of a cloud. The planner asks nothing of a cloud whose capabilities say that it is not supported, so
    /// the fault is not expected to be seen.
    fn of(&self, session: &Session) -> Result<One<'_>, Fault> {
        match session.scope.cloud {
            Cloud::Astra => Ok(One::Astra(&self.astra)),
            Cloud::SingleStore => Ok(One::SingleStore(&self.single_store)),
            cloud @ Cloud::Atlas => {
                let message = "this version has no adapter for this cloud";
                Err(Fault::new(FaultClass::Terminal, "call", cloud.to_string(), message))
            }
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
            Ok(One::Astra(cloud)) => cloud.scope(session).await.into(),
            Ok(One::SingleStore(cloud)) => cloud.scope(session).await.into(),
            Err(fault) => unknown(fault),
        }
    }

    async fn principals(&self, session: &Session, region: &Region) -> Reading<Vec<String>> {
        match self.of(session) {
            Ok(One::Astra(cloud)) => cloud.principals(session, region).await.into(),
            // Its portal alone names them.
            Ok(One::SingleStore(_)) => Reading::Absent,
            Err(fault) => unknown(fault),
        }
    }

    async fn offer(&self, session: &Session, region: &Region) -> Reading<RegionOffer> {
        match self.of(session) {
            Ok(One::Astra(cloud)) => cloud.offer(session, region).await.map(Some).into(),
            Ok(One::SingleStore(_)) => Reading::NOT_LOOKED,
            Err(fault) => unknown(fault),
        }
    }

    async fn registration(&self, session: &Session, region: &Region) -> Reading<String> {
        match self.of(session) {
            Ok(One::Astra(cloud)) => cloud.registration(session, region).await.into(),
            // No call says which key anything is under.
            Ok(One::SingleStore(_)) => Reading::NOT_LOOKED,
            Err(fault) => unknown(fault),
        }
    }

    async fn register(&self, session: &Session, region: &Region, key: &KeyArn) -> Result<(), Fault> {
        match self.of(session)? {
            One::Astra(cloud) => cloud.register(session, region, key).await,
            One::SingleStore(_) => Err(no_such_call(session, "register a key")),
        }
    }

    async fn database(&self, session: &Session, id: &str) -> Reading<Database> {
        match self.of(session) {
            Ok(One::Astra(cloud)) => cloud.database(session, id).await.into(),
            Ok(One::SingleStore(cloud)) => cloud.database(session, id).await.into(),
            Err(fault) => unknown(fault),
        }
    }

    async fn replica(&self, session: &Session, id: &str) -> Reading<Replica> {
        match self.of(session) {
            Ok(One::Astra(_)) => Reading::NOT_LOOKED,
            Ok(One::SingleStore(cloud)) => cloud.replica(session, id).await.into(),
            Err(fault) => unknown(fault),
        }
    }

    async fn databases_named(&self, session: &Session, name: &str) -> Reading<Vec<Database>> {
        match self.of(session) {
            Ok(One::Astra(cloud)) => cloud.databases_named(session, name).await.map(Some).into(),
            Ok(One::SingleStore(cloud)) => cloud.databases_named(session, name).await.map(Some).into(),
            Err(fault) => unknown(fault),
        }
    }

    async fn databases(&self, session: &Session) -> Reading<Vec<Database>> {
        match self.of(session) {
            Ok(One::Astra(cloud)) => cloud.databases(session).await.map(Some).into(),
            Ok(One::SingleStore(_)) => Reading::NOT_LOOKED,
            Err(fault) => unknown(fault),
        }
    }

    async fn create_database(
        &self,
        session: &Session,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<String, Fault> {
        match self.of(session)? {
            One::Astra(cloud) => cloud.create_database(session, request, region).await,
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
        match self.of(session)? {
            One::Astra(cloud) => cloud.add_region(session, id, request, region).await,
            One::SingleStore(cloud) => cloud.add_copy(session, id, request, region).await,
        }
    }

    async fn remove_region(&self, session: &Session, id: &str, region: &Region) -> Result<(), Fault> {
        match self.of(session)? {
            One::Astra(cloud) => cloud.remove_region(session, id, region).await,
            One::SingleStore(_) => Err(no_such_call(session, "end replication")),
        }
    }

    async fn terminate_database(&self, session: &Session, id: &str) -> Result<(), Fault> {
        match self.of(session)? {
            One::Astra(cloud) => cloud.terminate_database(session, id).await,
            One::SingleStore(cloud) => cloud.delete_group(session, id, true).await,
        }
    }
}
