//! The world served over HTTP on loopback: one address for all of AWS, one for each database cloud, one to control it.

mod astra;
mod atlas;
mod aws;
mod aws_iam;
mod aws_kms;
mod aws_sts;
mod control;
mod cut;
mod direct;
mod form;
mod singlestore;
mod versions;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Response;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::failure::Failure;
use super::quota::Quotas;
use super::settings::Settings;
use super::world::World;
use cut::{Cut, CutListener};

/// How to serve.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The world to serve; absent: [`World::sandbox`] at the present real time with [`Options::settings`].
    pub world: Option<World>,
    /// Settings of the default world; absent: no lag, the quotas of AWS.
    pub settings: Option<Settings>,
    /// Port of the AWS address; 0: a free one.
    pub aws_port: u16,
    /// Port of the Astra address; 0: a free one.
    pub astra_port: u16,
    /// Port of the Atlas address; 0: a free one.
    pub atlas_port: u16,
    /// Port of the `SingleStore` address; 0: a free one.
    pub singlestore_port: u16,
    /// Port of the control address; 0: a free one.
    pub control_port: u16,
}

/// Where it is served, as printed by `cmk-operator sandbox`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// Endpoint URL of every AWS service in every region.
    pub aws: String,
    /// Base URL of the `DevOps` API.
    pub astra: String,
    /// Base URL of the Atlas Administration API and its token endpoint, without `/api`.
    pub atlas: String,
    /// Base URL of `SingleStore`'s Management API.
    pub singlestore: String,
    /// Control address.
    pub control: String,
}

/// A served world.
#[derive(Debug)]
pub struct Running {
    /// Where.
    pub addresses: Addresses,
    /// The world, shared with the listeners.
    pub shared: Shared,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// Stops listening and waits for the listeners to end. Open connections are closed.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

/// The world and its clock, shared by everything that serves it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Timed>>);

#[derive(Debug)]
struct Timed {
    world: World,
    clock: SimulatedClock,
}

/// Simulated time as a line through a point of real time.
#[derive(Clone, Copy, Debug)]
struct SimulatedClock {
    real: Instant,
    simulated_ms: i64,
    /// Simulated milliseconds per 1000 real ones.
    per_mille: i64,
}

impl SimulatedClock {
    fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.real.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.simulated_ms.saturating_add(elapsed.saturating_mul(self.per_mille) / 1000)
    }

    fn restart(&mut self, simulated_ms: i64, per_mille: i64) {
        *self = Self { real: Instant::now(), simulated_ms, per_mille };
    }
}

impl Shared {
    fn new(mut world: World) -> Self {
        world.record(true);
        world.link.wire = true;
        let clock = SimulatedClock { real: Instant::now(), simulated_ms: world.now_ms, per_mille: 1000 };
        Self(Arc::new(Mutex::new(Timed { world, clock })))
    }

    /// Looks at or changes the world, at its present time.
    pub fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut timed = self.lock();
        let now_ms = timed.clock.now_ms();
        timed.world.advance_to(now_ms);
        act(&mut timed.world)
    }

    /// Lets time jump forward.
    pub fn advance(&self, ms: i64) {
        let mut timed = self.lock();
        let (now_ms, per_mille) = (timed.clock.now_ms(), timed.clock.per_mille);
        timed.clock.restart(now_ms.saturating_add(ms.max(0)), per_mille);
    }

    /// Sets how fast simulated time runs: 1.0 is real time, 0.0 stands still.
    pub fn set_speed(&self, speed: f64) {
        let mut timed = self.lock();
        let now_ms = timed.clock.now_ms();
        #[expect(clippy::cast_possible_truncation, reason = "clamped to a small range")]
        let per_mille = (speed.clamp(0.0, 1e6) * 1000.0) as i64;
        timed.clock.restart(now_ms, per_mille);
    }

    fn lock(&self) -> MutexGuard<'_, Timed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call on behalf of a client: its result, and how the reply travels.
    fn answer<T>(&self, act: impl FnOnce(&mut World) -> T) -> (T, Travel) {
        self.with(|world| {
            world.link.delay_ms = 0;
            world.link.partial = false;
            let result = act(world);
            let delay = Duration::from_millis(std::mem::take(&mut world.link.delay_ms));
            (result, Travel { delay, partial: std::mem::take(&mut world.link.partial) })
        })
    }

    /// One request of a client; no response: the connection is cut.
    fn reply(&self, act: impl FnOnce(&mut World) -> Option<Response<Body>>) -> Reply {
        let (response, travel) = self.answer(act);
        Reply { response, travel }
    }
}

/// Serves a world on loopback until [`Running::shutdown`], or until the runtime ends.
pub async fn serve(options: Options) -> io::Result<Running> {
    let world = options.world.unwrap_or_else(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(0);
        let settings = options.settings.unwrap_or_else(|| Settings { quotas: Quotas::Aws, ..Settings::default() });
        World::sandbox(now_ms, settings)
    });
    let shared = Shared::new(world);
    let (stop, stopped) = watch::channel(false);
    let aws = TcpListener::bind(("127.0.0.1", options.aws_port)).await?;
    let astra = TcpListener::bind(("127.0.0.1", options.astra_port)).await?;
    let atlas = TcpListener::bind(("127.0.0.1", options.atlas_port)).await?;
    let singlestore = TcpListener::bind(("127.0.0.1", options.singlestore_port)).await?;
    let control = TcpListener::bind(("127.0.0.1", options.control_port)).await?;
    let url = |listener: &TcpListener| listener.local_addr().map(|a: SocketAddr| format!("http://{a}"));
    let addresses = Addresses {
        aws: url(&aws)?,
        astra: url(&astra)?,
        atlas: url(&atlas)?,
        singlestore: url(&singlestore)?,
        control: url(&control)?,
    };
    let state = |kind| Front { shared: shared.clone(), kind };
    let fronts = [
        (aws, Kind::Aws),
        (astra, Kind::Astra),
        (atlas, Kind::Atlas),
        (singlestore, Kind::SingleStore),
        (control, Kind::Control),
    ];
    let tasks = fronts
        .into_iter()
        .map(|(listener, kind)| tokio::spawn(listen(listener, state(kind), stopped.clone())))
        .collect();
    Ok(Running { addresses, shared, stop, tasks })
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Aws,
    Astra,
    Atlas,
    SingleStore,
    Control,
}

#[derive(Clone, Debug)]
struct Front {
    shared: Shared,
    kind: Kind,
}

async fn listen(listener: TcpListener, front: Front, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    let app = Router::new().fallback(handle).with_state(front);
    let service = app.into_make_service_with_connect_info::<Cut>();
    axum::serve(CutListener(listener), service)
        .with_graceful_shutdown(async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        })
        .await
}

/// What a front makes of a request.
struct Reply {
    /// `None`: the connection is cut without a reply.
    response: Option<Response<Body>>,
    travel: Travel,
}

/// How a reply travels.
#[derive(Clone, Copy, Default)]
struct Travel {
    /// Held back for this long.
    delay: Duration,
    /// Breaks off in the middle.
    partial: bool,
}

impl Reply {
    fn now(response: Response<Body>) -> Self {
        Self { response: Some(response), travel: Travel::default() }
    }
}

async fn handle(State(front): State<Front>, ConnectInfo(cut): ConnectInfo<Cut>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // Far above what any of these APIs accepts.
    let Ok(body) = axum::body::to_bytes(body, 1 << 20).await else {
        cut.cut();
        return Response::default();
    };
    let reply = match front.kind {
        Kind::Aws => aws::answer(&front.shared, &parts, &body),
        Kind::Astra => front.shared.reply(|world| astra::answer(world, &parts, &body)),
        Kind::Atlas => front.shared.reply(|world| atlas::answer(world, &parts, &body)),
        Kind::SingleStore => front.shared.reply(|world| singlestore::answer(world, &parts, &body)),
        Kind::Control => control::answer(&front.shared, &parts, &body),
    };
    if !reply.travel.delay.is_zero() {
        tokio::time::sleep(reply.travel.delay).await;
    }
    if let Some(response) = reply.response.as_ref().filter(|_| reply.travel.partial) {
        // In the body, or in the head if there is no body.
        let body = response.body().size_hint().lower();
        cut.after(if body == 0 { 20 } else { head_size(response, body) + body / 2 });
    }
    reply.response.unwrap_or_else(|| {
        cut.cut();
        Response::default()
    })
}

/// The bytes of a reply before its body, with the two headers that the server adds.
fn head_size(response: &Response<Body>, body: u64) -> u64 {
    let reason = response.status().canonical_reason().unwrap_or_default();
    let first = "HTTP/1.1 200 \r\n".len() + reason.len();
    let headers: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let date = "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n".len();
    let length = "content-length: \r\n\r\n".len() + body.to_string().len();
    u64::try_from(first + headers + date + length).unwrap_or(u64::MAX / 2)
}

/// A response, or a plain 500 if it can't be built.
fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap_or_else(|_| {
        let mut broken = Response::default();
        *broken.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}

/// Whether a failure means that the client hears nothing.
fn unheard(failure: &Failure) -> bool {
    matches!(failure, Failure::Lost | Failure::TimedOut)
}
