//! The process: waits for the CRDs and for leadership, watches, works, and stops in order.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, select_all};
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Config, ResourceExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::api::{CustomerKey, EncryptedCluster};
use crate::clock::Clock;
use crate::controller::context::{Context, Notes, ObjectName, Pacing, Users};
use crate::controller::pass::pass;
use crate::controller::queue::{self, Driver, Handle, queue};
use crate::controller::schemas::Schemas;
use crate::controller::slots::Slots;
use crate::controller::watch::watch;
use crate::domain::capabilities::Cloud;
use crate::domain::id::Name;
use crate::execute::Witness;
use crate::leader::{Elector, Ended, Leadership, Standing, Terms};
use crate::plan::Settings;
use crate::ports::{KeyService, Upstream};
use crate::telemetry::http::{Readiness, Telemetry, serve};
use crate::telemetry::metrics::{Kind, Metrics};

/// How long a connection to the API server may be silent while an answer is due. A watch is silent for 290 s and then ends,
/// and kube gives it 5 s more.
const SILENCE: Duration = Duration::from_mins(5);

/// How long one small answer of the API server is waited for.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// The name of the Lease that replicas contend for.
pub const LEASE: &str = "cmk-operator";

/// Everything that a run needs.
pub struct Parts<A, U> {
    /// The Kubernetes client.
    pub client: Client,
    /// AWS.
    pub keys: A,
    /// The database clouds.
    pub upstream: U,
    /// Which secret keys the clouds need.
    pub lacking: fn(Cloud, &std::collections::BTreeMap<String, String>) -> Vec<String>,
    /// The name of this installation.
    pub installation: Name,
    /// The planner's settings; the holder is filled in.
    pub settings: Settings,
    /// How passes behave.
    pub pacing: Pacing,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who is told of every effect.
    pub witness: Arc<dyn Witness>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The namespaces to watch; none: all.
    pub namespaces: Vec<String>,
    /// Passes at once, of each kind.
    pub concurrency: usize,
    /// Where metrics and health are served.
    pub http: Option<TcpListener>,
    /// Leader election: the namespace of the Lease, who we are, and the times; none: there is only one replica.
    pub election: Option<(String, String, Terms)>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to stop.
    Stopped,
    /// Another replica leads.
    LeadershipLost,
}

/// The Kubernetes client, of the environment.
pub async fn client() -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Client::try_from(never_silent(Config::infer().await?))?)
}

/// Ends connections that are silent for too long: kube waits for an answer for ever, and a leader that does that keeps its
/// Lease.
fn never_silent(mut config: Config) -> Config {
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    config
}

/// Runs until `stop`, or until leadership is lost.
pub async fn run<A: KeyService + 'static, U: Upstream + 'static>(
    parts: Parts<A, U>,
    stop: impl Future<Output = ()> + Send,
) -> Exit {
    let (stopping, stopped) = watch::channel(false);
    let readiness = Arc::new(Readiness::default());
    for name in ["crds", "leadership"].map(str::to_owned).into_iter().chain(listings(&parts.namespaces)) {
        readiness.missing(name, "not there yet");
    }
    let options = queue::Options {
        concurrency: parts.concurrency,
        seed: u64::from(std::process::id()),
        longest_delay: parts.pacing.longest_backoff,
        ..queue::Options::default()
    };
    let (key_queue, keys) = queue::<ObjectName>(options, Arc::clone(&parts.clock));
    let (cluster_queue, clusters) = queue::<ObjectName>(options, Arc::clone(&parts.clock));
    let leadership = Arc::new(match &parts.election {
        Some(_) => Leadership::contested(Arc::clone(&parts.clock)),
        None => Leadership::undisputed(Arc::clone(&parts.clock)),
    });
    parts.metrics.watch_queue(Kind::CustomerKey, keys.stats());
    parts.metrics.watch_queue(Kind::EncryptedCluster, clusters.stats());
    parts.metrics.watch_leadership(Arc::clone(&leadership));
    let server = parts.http.map(|listener| {
        let telemetry = Telemetry {
            metrics: Arc::clone(&parts.metrics),
            readiness: Arc::clone(&readiness),
            queues: vec![keys.stats(), clusters.stats()],
            clock: Arc::clone(&parts.clock),
        };
        tokio::spawn(serve(listener, telemetry, until(stopped.clone())))
    });
    let elector = parts.election.map(|(namespace, identity, terms)| Elector {
        leases: Api::namespaced(parts.client.clone(), &namespace),
        name: LEASE.to_owned(),
        identity,
        terms,
        clock: Arc::clone(&parts.clock),
        leadership: Arc::clone(&leadership),
        witness: Arc::clone(&parts.witness),
    });
    // The lease is given up only after the last pass, or another replica could act beside it.
    let (release, released) = watch::channel(false);
    let election = elector.map(|elector| tokio::spawn(elector.run(until(released))));

    let context = Context {
        recorder: Recorder::new(parts.client.clone(), reporter()),
        client: parts.client,
        keys: parts.keys,
        upstream: parts.upstream,
        lacking: parts.lacking,
        installation: parts.installation,
        settings: parts.settings,
        pacing: parts.pacing,
        clock: parts.clock,
        leadership: Arc::clone(&leadership),
        witness: parts.witness,
        metrics: parts.metrics,
        key_notes: Notes::default(),
        cluster_notes: Notes::default(),
        users: Users::default(),
        slots: Slots::new(parts.namespaces.len().max(1)),
        schemas: Schemas::new(Arc::clone(&readiness)),
        key_queue: key_queue.clone(),
        clusters: cluster_queue.clone(),
        namespaces: parts.namespaces,
    };
    let work = work(context, (key_queue, keys), (cluster_queue, clusters), &readiness, stopped.clone());
    let lost = async {
        if election.is_some() {
            leadership.reaches(Standing::Lost).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(work, stop);
    let mut exit = Exit::Stopped;
    let mut working = true;
    tokio::select! {
        () = &mut stop => info!("stopping"),
        () = lost => {
            error!("leadership is lost; stopping");
            exit = Exit::LeadershipLost;
        }
        () = &mut work => working = false,
    }
    let _ = stopping.send(true);
    if working {
        work.await;
    }
    let _ = release.send(true);
    if let Some(election) = election {
        match election.await {
            Ok(Ended::Lost) => exit = Exit::LeadershipLost,
            Ok(Ended::Stopped) => {}
            Err(error) => warn!(%error, "the election ended badly"),
        }
    }
    if let Some(server) = server {
        let _ = server.await;
    }
    info!(?exit, "stopped");
    exit
}

type Queue = (Handle<ObjectName>, Driver<ObjectName>);

/// The work of a leader, until the stop.
async fn work<A: KeyService + 'static, U: Upstream + 'static>(
    mut context: Context<A, U>,
    keys: Queue,
    clusters: Queue,
    readiness: &Arc<Readiness>,
    stopped: watch::Receiver<bool>,
) {
    let namespaces = context.namespaces.clone();
    let prepared = async {
        crds_served(&context).await;
        lead(&context.leadership, readiness, &listings(&namespaces)).await;
        cluster_uid(&context.client).await
    };
    let holder = tokio::select! {
        holder = prepared => holder,
        () = until(stopped.clone()) => return,
    };
    context.settings.holder = holder;
    let context = Arc::new(context);
    let places: Vec<Option<String>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
    let watches = places.into_iter().flat_map(|namespace| {
        let client = context.client.clone();
        let told = Arc::clone(&context);
        let listed = AtomicBool::new(false);
        let of_keys = watch::<CustomerKey>(
            client.clone(),
            namespace.clone(),
            keys.0.clone(),
            move |news| told.heard(news, &listed),
            Arc::clone(readiness),
            listing("customerkeys", namespace.as_deref()),
        );
        let of_clusters = watch::<EncryptedCluster>(
            client,
            namespace.clone(),
            clusters.0.clone(),
            |_| {},
            Arc::clone(readiness),
            listing("encryptedclusters", namespace.as_deref()),
        );
        [of_keys.boxed(), of_clusters.boxed()]
    });
    let watches = select_all(watches);
    let (key_context, cluster_context) = (Arc::clone(&context), context);
    let key_passes = keys.1.run(
        move |name| {
            let context = Arc::clone(&key_context);
            async move { pass::<CustomerKey, A, U>(&context, name).await }
        },
        until(stopped.clone()),
    );
    let cluster_passes = clusters.1.run(
        move |name| {
            let context = Arc::clone(&cluster_context);
            async move { pass::<EncryptedCluster, A, U>(&context, name).await }
        },
        until(stopped.clone()),
    );
    let watching = async {
        tokio::select! {
            _ = watches => error!("a watch ended"),
            () = until(stopped) => {}
        }
    };
    let passes = join_all([key_passes.boxed(), cluster_passes.boxed()]);
    let (ended, ()) = futures::join!(passes, watching);
    for aborted in ended.into_iter().flat_map(|ended| ended.aborted) {
        warn!(namespace = aborted.0, name = aborted.1, "the pass was aborted by the stop");
    }
}

/// What readiness calls a first listing.
fn listing(kind: &str, namespace: Option<&str>) -> String {
    namespace.map_or_else(|| kind.to_owned(), |namespace| format!("{kind} in {namespace}"))
}

/// Every first listing that readiness waits for.
fn listings(namespaces: &[String]) -> Vec<String> {
    let kinds = ["customerkeys", "encryptedclusters"];
    if namespaces.is_empty() {
        return kinds.map(str::to_owned).to_vec();
    }
    kinds.iter().flat_map(|kind| namespaces.iter().map(|namespace| listing(kind, Some(namespace)))).collect()
}

/// Waits for leadership, and tells whether this replica stands by as it should or can't even see who leads.
async fn lead(leadership: &Leadership, readiness: &Readiness, listings: &[String]) {
    let mut standing = leadership.standing();
    while standing != Standing::Leading {
        for name in listings.iter().map(String::as_str).chain(["leadership"]) {
            match standing {
                Standing::StandingBy => readiness.standing_by(name, "another replica leads"),
                _ => readiness.missing(name, "not there yet"),
            }
        }
        standing = leadership.leaves(standing).await;
    }
    readiness.met("leadership");
    for name in listings {
        readiness.missing(name, "not there yet");
    }
}

async fn until(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

fn reporter() -> Reporter {
    Reporter { controller: "cmk-operator".to_owned(), instance: None }
}

/// Waits until both CRDs are served with at least the schema that this binary knows.
async fn crds_served(context: &Context<impl KeyService, impl Upstream>) {
    while !context.schemas.are_current(&context.client, context.clock.as_ref()).await {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// The uid of the kube-system namespace: it stands for the cluster.
async fn cluster_uid(client: &Client) -> String {
    let api: Api<Namespace> = Api::all(client.clone());
    loop {
        match timeout(ANSWER, api.get("kube-system")).await {
            Ok(Ok(namespace)) => return namespace.uid().unwrap_or_default(),
            Ok(Err(error)) => warn!(%error, "the kube-system namespace could not be read"),
            Err(error) => warn!(%error, "the kube-system namespace could not be read in time"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context as Waiting, Poll};

    use axum::http::{Request, Response};
    use futures::future::BoxFuture;
    use kube::client::Body;
    use tower::Service;

    use super::*;
    use crate::clock::SystemClock;

    /// An API server that never answers the first request.
    #[derive(Clone, Default)]
    struct SilentAtFirst(Arc<AtomicUsize>);

    impl Service<Request<Body>> for SilentAtFirst {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Waiting<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let silent = self.0.fetch_add(1, Ordering::SeqCst) == 0;
            let crd = request.uri().path().contains("customresourcedefinitions");
            let annotations = serde_json::json!({ crate::api::ANNOTATION_SCHEMA_VERSION: "1000" });
            let metadata = serde_json::json!({ "name": "any", "uid": "u", "annotations": annotations });
            let kind = if crd { "PartialObjectMetadata" } else { "Namespace" };
            let api = if crd { "meta.k8s.io/v1" } else { "v1" };
            let object = serde_json::json!({ "apiVersion": api, "kind": kind, "metadata": metadata });
            async move {
                if silent {
                    std::future::pending::<()>().await;
                }
                Ok(Response::new(Body::from(object.to_string().into_bytes())))
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_at_the_start_is_asked_for_again_if_no_answer_comes() {
        let client = || Client::new(SilentAtFirst::default(), "default");
        let day = Duration::from_hours(24);
        assert_eq!(timeout(day, cluster_uid(&client())).await.as_deref(), Ok("u"));
        let schemas = Schemas::new(Arc::default());
        assert_eq!(timeout(day, schemas.are_current(&client(), &SystemClock)).await, Ok(false), "and it is said");
    }

    #[test]
    fn a_watch_outlives_its_silence_and_nothing_else_does() {
        let config = never_silent(Config::new("https://127.0.0.1".parse().unwrap()));
        assert!(config.reset_reader_on_write && config.read_timeout > Some(Duration::from_secs(295)));
    }
}
