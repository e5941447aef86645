//! The AWS clients, one set per (access, region), shared by all objects.
//!
//! # Guarantees
//! - The External ID is part of what distinguishes two sets, so that no tenant ever acts with credentials that were
//!   obtained for another.
//! - At most one set per (access, region) exists at a time, however many ask for it at once; their number is bounded.
//! - Credentials that AWS rejected are fetched anew from where they come from: a file that was replaced, or a role, helps
//!   without a restart.
//! - Writes go through clients that never retry: the SDK's own retries of a `CreateKey` whose reply was lost make a
//!   second key (research: two keys and an `Ok` from one call).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, ConnectorBuilder, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::identity::SharedIdentityCache;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use tokio::sync::OnceCell;

use super::assume::{ClosedRoles, RoleCredentials};
use super::operation::Operation;
use super::scan::Scans;
use super::send::Sender;
use crate::domain::desired::Access;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::id::Region;
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::Caller;
use crate::ports::Place;

/// Between two drops of all clients.
const SELDOM: Span = Span::seconds(5);

/// The clients for one (access, region).
pub(super) struct ClientSet {
    /// Retries a little.
    pub(super) reads: aws_sdk_kms::Client,
    /// Never retries.
    pub(super) writes: aws_sdk_kms::Client,
    pub(super) sts: aws_sdk_sts::Client,
    pub(super) tagging: aws_sdk_resourcegroupstagging::Client,
    /// Retries a little.
    pub(super) iam: aws_sdk_iam::Client,
    /// Never retries.
    pub(super) iam_writes: aws_sdk_iam::Client,
    /// Whom AWS took us for, and when.
    pub(super) caller: tokio::sync::Mutex<Option<(Moment, Caller)>>,
    pub(super) scans: Arc<Scans>,
}

/// What distinguishes two sets of clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    access: Access,
    region: Region,
}

struct Entry {
    set: Arc<ClientSet>,
    used: Moment,
}

/// All sets of clients.
pub(super) struct Clients {
    sender: Arc<Sender>,
    /// What all have in common: the operator's own credentials, the connection pool, the endpoints.
    base: Mutex<Arc<OnceCell<SdkConfig>>>,
    /// When the clients were last dropped because AWS rejected their credentials.
    renewed: Mutex<Option<Moment>>,
    sets: Mutex<HashMap<Identity, Entry>>,
    /// STS of each region with the operator's own credentials: what roles are assumed with.
    own: Mutex<HashMap<Region, aws_sdk_sts::Client>>,
    closed: Arc<ClosedRoles>,
}

impl Clients {
    pub(super) fn new(sender: Arc<Sender>) -> Self {
        Self {
            sender,
            base: Mutex::default(),
            renewed: Mutex::default(),
            sets: Mutex::default(),
            own: Mutex::default(),
            closed: Arc::default(),
        }
    }

    /// Drops all clients and what they know of credentials, since AWS rejected some: the SDK would use them until they
    /// expire by its own clock, and reads a file of credentials only once. Seldom enough that it costs nothing.
    pub(super) fn renew(&self) {
        let now = self.sender.clock.now();
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed.is_some_and(|at| now.since(at) < SELDOM) {
            return;
        }
        *renewed = Some(now);
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        self.sets.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The clients for a place.
    pub(super) async fn of(&self, place: &Place) -> Result<Arc<ClientSet>, Fault> {
        let mut access = place.access.clone();
        match &access.role_arn {
            Some(role) => in_partition(role, &place.region)?,
            // Nothing is assumed, so the External ID makes no difference: all namespaces share one set.
            None => access.external_id.clear(),
        }
        let cell = self.base.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let base = cell.get_or_init(|| self.load(&place.region)).await;
        let identity = Identity { access, region: place.region.clone() };
        let now = self.sender.clock.now();
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if !sets.contains_key(&identity) {
            self.make_room(&mut sets, now);
        }
        // Built under the lock, which makes it one per identity; it sends nothing and takes a millisecond.
        let entry = sets
            .entry(identity)
            .or_insert_with_key(|identity| Entry { set: Arc::new(self.build(base, identity)), used: now });
        entry.used = now;
        Ok(entry.set.clone())
    }

    /// Drops the sets that nobody uses, and the one longest unused if that is not enough. A set that is in use lives on
    /// with whoever uses it.
    fn make_room(&self, sets: &mut HashMap<Identity, Entry>, now: Moment) {
        let options = &self.sender.options;
        sets.retain(|_, entry| now.since(entry.used) < options.idle);
        if sets.len() >= options.max_clients
            && let Some(oldest) = sets.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| id.clone())
        {
            sets.remove(&oldest);
        }
    }

    async fn load(&self, region: &Region) -> SdkConfig {
        // The region matters only to credentials from a web identity. Without the metadata service in the chain: asking
        // it takes seconds where there is none.
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new())
            .or_else(aws_config::Region::new(region.to_string()));
        let options = &self.sender.options;
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(region)
            .http_client(http_client())
            .identity_cache(self.identity_cache());
        if let Some((id, secret)) = &options.static_credentials {
            let credentials = Credentials::new(id, secret, None, None, "given");
            loader = loader.credentials_provider(SharedCredentialsProvider::new(credentials));
        }
        loader.load().await
    }

    fn identity_cache(&self) -> SharedIdentityCache {
        IdentityCache::lazy().load_timeout(self.sender.options.operation_timeout).build()
    }

    fn build(&self, base: &SdkConfig, identity: &Identity) -> ClientSet {
        let Identity { access, region } = identity;
        let base = base.to_builder().region(aws_config::Region::new(region.to_string())).build();
        let config = match &access.role_arn {
            None => base,
            Some(role) => {
                let provider = RoleCredentials {
                    sts: self.own_sts(&base, region),
                    sender: self.sender.clone(),
                    closed: self.closed.clone(),
                    role: role.clone(),
                    external_id: access.external_id.clone(),
                    refused: tokio::sync::Mutex::default(),
                };
                // A cache of its own, so that the credentials go when the set goes.
                base.to_builder()
                    .credentials_provider(SharedCredentialsProvider::new(provider))
                    .identity_cache(self.identity_cache())
                    .build()
            }
        };
        let options = &self.sender.options;
        let kms = || {
            let builder = aws_sdk_kms::config::Builder::from(&config);
            match &options.endpoints.kms {
                Some(url) => builder.endpoint_url(url),
                None => builder,
            }
        };
        let mut tagging = aws_sdk_resourcegroupstagging::config::Builder::from(&config)
            .retry_config(self.some_retries())
            .timeout_config(self.timeouts(options.read_timeout));
        if let Some(url) = &options.endpoints.tagging {
            tagging = tagging.endpoint_url(url);
        }
        let iam = || {
            let builder = aws_sdk_iam::config::Builder::from(&config);
            match &options.endpoints.iam {
                Some(url) => builder.endpoint_url(url),
                None => builder,
            }
        };
        let iam_reads = iam().retry_config(self.some_retries()).timeout_config(self.timeouts(options.read_timeout));
        let iam_writes =
            iam().retry_config(RetryConfig::disabled()).timeout_config(self.timeouts(options.write_timeout));
        let reads = kms().retry_config(self.some_retries()).timeout_config(self.timeouts(options.read_timeout));
        let writes = kms().retry_config(RetryConfig::disabled()).timeout_config(self.timeouts(options.write_timeout));
        ClientSet {
            reads: aws_sdk_kms::Client::from_conf(reads.build()),
            writes: aws_sdk_kms::Client::from_conf(writes.build()),
            sts: self.sts(&config),
            tagging: aws_sdk_resourcegroupstagging::Client::from_conf(tagging.build()),
            iam: aws_sdk_iam::Client::from_conf(iam_reads.build()),
            iam_writes: aws_sdk_iam::Client::from_conf(iam_writes.build()),
            caller: tokio::sync::Mutex::default(),
            scans: Arc::default(),
        }
    }

    fn own_sts(&self, base: &SdkConfig, region: &Region) -> aws_sdk_sts::Client {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.entry(region.clone()).or_insert_with(|| self.sts(base)).clone()
    }

    /// STS of the region itself: the global endpoint's tokens are not valid in every region
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html>).
    fn sts(&self, config: &SdkConfig) -> aws_sdk_sts::Client {
        let options = &self.sender.options;
        let mut builder = aws_sdk_sts::config::Builder::from(config)
            .retry_config(self.some_retries())
            .timeout_config(self.timeouts(options.read_timeout));
        if let Some(url) = &options.endpoints.sts {
            builder = builder.endpoint_url(url);
        }
        aws_sdk_sts::Client::from_conf(builder.build())
    }

    fn some_retries(&self) -> RetryConfig {
        RetryConfig::standard().with_max_attempts(self.sender.options.read_attempts.max(1))
    }

    fn timeouts(&self, attempt: std::time::Duration) -> TimeoutConfig {
        let options = &self.sender.options;
        TimeoutConfig::builder()
            .connect_timeout(options.connect_timeout)
            .operation_attempt_timeout(attempt)
            .operation_timeout(options.operation_timeout)
            .build()
    }
}

/// The SDK's default HTTP client, but one for all: each client would otherwise make its own, with its own connections.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
}

/// Refuses a role of another partition than the region's: no credentials cross that border.
fn in_partition(role: &str, region: &Region) -> Result<(), Fault> {
    let partition = role.split(':').nth(1).unwrap_or_default();
    if partition == region.partition() {
        return Ok(());
    }
    let message = format!("the role is not in the partition {} of {region}", region.partition());
    Err(Fault::new(FaultClass::Invalid, Operation::AssumeRole.action(), role, message).because(Cause::Role))
}
