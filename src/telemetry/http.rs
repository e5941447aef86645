//! `/metrics`, `/healthz` and `/readyz`.
//!
//! # Guarantees
//!
//! - `/healthz` is about this process alone: it fails if the loop of a queue has not moved for [`STALLED`], and
//!   never because something outside is unreachable; a restart would not help there.
//! - `/readyz` answers 200 if nothing is missing, else 503; either way with the list of what is missing, in words. A
//!   replica that stands by for another one is ready: it does all that it should, and a rollout waits for no more.
//!
//! # Caveats
//!
//! - Plain HTTP without authentication: it tells nothing that is secret, but the names of abnormal objects.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;

use super::metrics::Metrics;
use crate::clock::Clock;
use crate::controller::queue::QueueStats;

/// A loop that has not moved for so long is stuck: it wakes every second when idle.
pub const STALLED: Duration = Duration::from_mins(1);

/// How long connections may linger after the stop; a kept-alive one would hold up the exit.
const LINGER: Duration = Duration::from_secs(1);

/// The named conditions that have to be met before the process counts as ready.
#[derive(Debug, Default)]
pub struct Readiness {
    unmet: Mutex<BTreeMap<String, Unmet>>,
}

#[derive(Debug)]
struct Unmet {
    message: String,
    standing_by: bool,
}

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The name of the condition.
    pub name: String,
    /// What is missing, and what would help.
    pub message: String,
}

impl Readiness {
    /// The condition is not met (any more), and why. Register each condition so before serving, or the process
    /// would be ready too early.
    pub fn missing(&self, name: impl Into<String>, message: impl Into<String>) {
        self.lock().insert(name.into(), Unmet { message: message.into(), standing_by: false });
    }

    /// The condition is not met, as it should be, because another replica does the work.
    pub fn standing_by(&self, name: impl Into<String>, message: impl Into<String>) {
        self.lock().insert(name.into(), Unmet { message: message.into(), standing_by: true });
    }

    /// The condition is met.
    pub fn met(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Everything that is missing, by name.
    pub fn list(&self) -> Vec<Missing> {
        self.unmet(false)
    }

    /// Everything that waits for another replica to be gone, by name.
    pub fn waiting(&self) -> Vec<Missing> {
        self.unmet(true)
    }

    fn unmet(&self, standing_by: bool) -> Vec<Missing> {
        let unmet = self.lock();
        let such = unmet.iter().filter(|(_, unmet)| unmet.standing_by == standing_by);
        such.map(|(name, unmet)| Missing { name: name.clone(), message: unmet.message.clone() }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Unmet>> {
        self.unmet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the server tells about.
#[derive(Clone)]
pub struct Telemetry {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` answers from.
    pub readiness: Arc<Readiness>,
    /// The queues whose loops must move.
    pub queues: Vec<Arc<QueueStats>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    telemetry: Telemetry,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stopping, mut stopped) = tokio::sync::watch::channel(());
    let serving = axum::serve(listener, router(telemetry)).with_graceful_shutdown(async move {
        stop.await;
        drop(stopping);
    });
    tokio::select! {
        done = serving.into_future() => done,
        () = async {
            // Resolves when the sender is dropped, that is at the stop.
            let _ = stopped.changed().await;
            tokio::time::sleep(LINGER).await;
        } => Ok(()),
    }
}

fn router(telemetry: Telemetry) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(telemetry)
}

async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match telemetry.metrics.text(&*telemetry.clock) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn health(State(telemetry): State<Telemetry>) -> Response {
    let now = telemetry.clock.monotonic_ms();
    // A queue that has not started is fine: a standby waits for leadership.
    let stalls = telemetry.queues.iter().filter_map(|stats| stats.stalled_for(now));
    match stalls.max() {
        Some(stall) if stall > STALLED => {
            let message = format!("the work queue has not moved for {} s", stall.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
        }
        _ => "ok".into_response(),
    }
}

async fn ready(State(telemetry): State<Telemetry>) -> Response {
    #[derive(Serialize)]
    struct Answer {
        ready: bool,
        missing: Vec<Missing>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        waiting: Vec<Missing>,
    }
    let missing = telemetry.readiness.list();
    let ready = missing.is_empty();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Answer { ready, missing, waiting: telemetry.readiness.waiting() })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::controller::queue::{Next, Options, queue};
    use crate::domain::moment::{Moment, Span};

    struct Served {
        address: String,
        readiness: Arc<Readiness>,
        clock: Arc<ManualClock>,
        stats: Arc<QueueStats>,
        run_queue: Option<crate::controller::queue::Driver<u32>>,
        stop: tokio::sync::oneshot::Sender<()>,
        server: tokio::task::JoinHandle<std::io::Result<()>>,
    }

    async fn served() -> Served {
        let clock = Arc::new(ManualClock::new(Moment(0)));
        let (_, driver) = queue(Options::default(), clock.clone());
        let stats = driver.stats();
        let readiness = Arc::new(Readiness::default());
        let telemetry = Telemetry {
            metrics: Arc::new(Metrics::new("1", "r")),
            readiness: Arc::clone(&readiness),
            queues: vec![Arc::clone(&stats)],
            clock: clock.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, telemetry, async {
            let _ = stopped.await;
        }));
        Served { address, readiness, clock, stats, run_queue: Some(driver), stop, server }
    }

    async fn ask(served: &Served, path: &str) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("{}{path}", served.address)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let served = served().await;
        served.readiness.missing("crds", "the CRDs are not served: kubectl apply -f crds/");
        served.readiness.missing("watch", "the first listing is not complete");
        let missing = concat!(
            r#"{"ready":false,"missing":[{"name":"crds","message":"the CRDs are not served: kubectl apply -f crds/"},"#,
            r#"{"name":"watch","message":"the first listing is not complete"}]}"#
        );
        assert_eq!(ask(&served, "/readyz").await, (503, missing.into()));
        assert_eq!(ask(&served, "/healthz").await, (200, "ok".into()));
        served.readiness.met("crds");
        served.readiness.standing_by("watch", "another replica leads");
        let waiting = concat!(
            r#"{"ready":true,"missing":[],"#,
            r#""waiting":[{"name":"watch","message":"another replica leads"}]}"#
        );
        assert_eq!(ask(&served, "/readyz").await, (200, waiting.into()));
        served.readiness.met("watch");
        assert_eq!(ask(&served, "/readyz").await, (200, r#"{"ready":true,"missing":[]}"#.into()));
        let (code, text) = ask(&served, "/metrics").await;
        assert!(code == 200 && text.ends_with("# EOF\n"), "{text}");
        served.stop.send(()).unwrap();
        tokio::time::timeout(LINGER * 2, served.server).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn health_fails_when_the_loop_of_a_queue_stands_still() {
        let mut served = served().await;
        served.clock.advance(Span(3_600_000));
        assert_eq!(ask(&served, "/healthz").await.0, 200, "not started: waiting for leadership");
        let driver = served.run_queue.take().unwrap();
        let run = tokio::spawn(driver.run(|_| async { Next::Done }, std::future::pending()));
        while served.stats.stalled_for(0).is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&served, "/healthz").await.0, 200);
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        served.clock.advance(Span(61_000));
        let stuck = "the work queue has not moved for 61 s";
        assert_eq!(ask(&served, "/healthz").await, (503, stuck.into()));
    }
}
