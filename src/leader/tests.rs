//! The verdict as a table; the election against a Lease in memory, on paused time.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;

use super::elector::micro_time;
use super::*;
use crate::clock::ManualClock;
use crate::domain::moment::Span;

const NOW: i64 = 1_800_000_000_000;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn verdicts() {
    let spec = |holder: Option<&str>, renewed_ago: Option<i64>, lasts: Option<i32>| LeaseSpec {
        holder_identity: holder.map(Into::into),
        renew_time: renewed_ago.map(|ago| micro_time(Moment(NOW - ago * 1_000))),
        lease_duration_seconds: lasts,
        ..LeaseSpec::default()
    };
    let until = |after: i64| Verdict::Yield(Moment(NOW + after * 1_000));
    let table = [
        ("never held", spec(None, None, None), 0, Verdict::Take),
        ("given back", spec(Some(""), Some(1), Some(60)), 0, Verdict::Take),
        ("given back, field cleared", spec(None, Some(1), Some(60)), 0, Verdict::Take),
        ("ours", spec(Some("me"), Some(5), Some(60)), 0, Verdict::Hold),
        ("ours, long ago", spec(Some("me"), Some(500), Some(60)), 0, Verdict::Hold),
        ("just renewed", spec(Some("you"), Some(0), Some(60)), 0, until(60)),
        ("renewed a while ago", spec(Some("you"), Some(50), Some(60)), 5, until(15)),
        ("run out, but just seen for the first time", spec(Some("you"), Some(500), Some(60)), 0, until(20)),
        ("run out, not watched long enough", spec(Some("you"), Some(61), Some(60)), 19, until(1)),
        ("run out and watched", spec(Some("you"), Some(60), Some(60)), 20, Verdict::Take),
        ("watched, not run out", spec(Some("you"), Some(59), Some(60)), 25, until(1)),
        ("its own duration counts", spec(Some("you"), Some(61), Some(90)), 30, until(29)),
        ("our duration where it has none", spec(Some("you"), Some(59), None), 30, until(1)),
        ("never renewed", spec(Some("you"), None, Some(60)), 0, until(20)),
        ("renewed in our future: a wrong clock", spec(Some("you"), Some(-100), Some(60)), 30, until(160)),
    ];
    for (what, lease, watched, expected) in table {
        let verdict = verdict(&lease, "me", Moment(NOW), secs(watched), &Terms::default());
        assert_eq!(verdict, expected, "{what}");
    }
}

#[test]
fn acting_is_allowed_only_shortly_after_a_renewal_was_sent() {
    let clock = Arc::new(ManualClock::new(Moment(NOW)));
    let leadership = Leadership::contested(clock.clone());
    assert!(!leadership.may_act());
    let sent = clock.monotonic_ms();
    // The answer takes six seconds; they count.
    clock.advance(Span(6_000));
    leadership.renewed(sent, secs(20));
    clock.advance(Span(13_999));
    assert!(leadership.may_act());
    clock.advance(Span(1));
    assert!(!leadership.may_act());
    leadership.renewed(clock.monotonic_ms(), secs(20));
    // A wrong wall clock changes nothing.
    clock.step_wall(Span(-3_600_000));
    assert!(leadership.may_act());
    leadership.resign(Standing::Lost);
    assert!(!leadership.may_act());
    assert!(Leadership::undisputed(clock).may_act());
}

#[test]
fn terms_in_the_wrong_order_are_unsound() {
    let good = Terms::default();
    assert!(good.are_sound());
    assert!(!Terms { act_within: good.lease, ..good }.are_sound());
    assert!(!Terms { renew_every: good.act_within, ..good }.are_sound());
    assert!(!Terms { renew_every: Duration::ZERO, ..good }.are_sound());
}

/// Follows tokio's paused time on both clocks; `skew` is how wrong the wall clock is.
struct Paused {
    start: Instant,
    skew: i64,
}

impl Clock for Paused {
    fn now(&self) -> Moment {
        Moment(NOW + self.skew + self.monotonic_ms())
    }

    fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap()
    }
}

/// One Lease, with the API server's optimistic locking.
#[derive(Default)]
struct Server {
    lease: Mutex<Option<Value>>,
    version: AtomicI64,
    down: AtomicBool,
    /// Writes take effect at once but are answered after four seconds.
    slow: AtomicBool,
    /// Writes take effect after two seconds, whether or not their sender still waits.
    late: AtomicBool,
}

impl Server {
    fn store(&self, mut lease: Value) -> Response {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        lease["metadata"]["resourceVersion"] = json!(version.to_string());
        *self.lease.lock().unwrap() = Some(lease.clone());
        Json(lease).into_response()
    }

    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut lease = self.lease.lock().unwrap().clone().unwrap();
        edit(&mut lease);
        self.store(lease);
    }

    fn holder(&self) -> Option<String> {
        let lease = self.lease.lock().unwrap();
        lease.as_ref()?["spec"]["holderIdentity"].as_str().map(Into::into)
    }

    fn leases(self: &Arc<Self>) -> Api<Lease> {
        let one = get(read).put(write);
        let router = axum::Router::new()
            .route("/apis/coordination.k8s.io/v1/namespaces/ops/leases/{name}", one)
            .route("/apis/coordination.k8s.io/v1/namespaces/ops/leases", post(create))
            .with_state(Arc::clone(self));
        Api::namespaced(kube::Client::new(router, "ops"), "ops")
    }
}

fn refusal(code: StatusCode, reason: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason,
        "reason": reason, "code": code.as_u16()});
    (code, Json(body)).into_response()
}

async fn available(server: &Server) {
    while server.down.load(Ordering::SeqCst) {
        sleep(secs(3_600)).await;
    }
}

async fn read(State(server): State<Arc<Server>>) -> Response {
    available(&server).await;
    let lease = server.lease.lock().unwrap().clone();
    lease.map_or_else(|| refusal(StatusCode::NOT_FOUND, "NotFound"), |lease| Json(lease).into_response())
}

async fn create(State(server): State<Arc<Server>>, Json(lease): Json<Value>) -> Response {
    available(&server).await;
    if server.lease.lock().unwrap().is_some() {
        return refusal(StatusCode::CONFLICT, "AlreadyExists");
    }
    server.store(lease)
}

async fn write(State(server): State<Arc<Server>>, Json(lease): Json<Value>) -> Response {
    available(&server).await;
    if server.late.load(Ordering::SeqCst) {
        let writing = tokio::spawn(async move {
            sleep(secs(2)).await;
            write_now(&server, lease).await
        });
        return writing.await.unwrap();
    }
    write_now(&server, lease).await
}

async fn write_now(server: &Server, lease: Value) -> Response {
    let current = server.lease.lock().unwrap().as_ref().map(|l| l["metadata"]["resourceVersion"].clone());
    if current.as_ref() != Some(&lease["metadata"]["resourceVersion"]) {
        return refusal(StatusCode::CONFLICT, "Conflict");
    }
    let answer = server.store(lease);
    if server.slow.load(Ordering::SeqCst) {
        sleep(secs(4)).await;
    }
    answer
}

struct Candidate {
    leadership: Arc<Leadership>,
    stop: tokio::sync::oneshot::Sender<()>,
    run: tokio::task::JoinHandle<Ended>,
}

impl Candidate {
    fn start(server: &Arc<Server>, identity: &str, start: Instant, skew: i64) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Paused { start, skew });
        let leadership = Arc::new(Leadership::contested(Arc::clone(&clock)));
        let elector = Elector {
            leases: server.leases(),
            name: "cmk-operator".into(),
            identity: identity.into(),
            terms: Terms::default(),
            clock,
            leadership: Arc::clone(&leadership),
            witness: Arc::new(crate::controller::witness::Quiet),
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let run = tokio::spawn(elector.run(async {
            let _ = stopped.await;
        }));
        Self { leadership, stop, run }
    }

    /// The only one, which leads.
    async fn leading() -> (Arc<Server>, Self) {
        let server = Arc::new(Server::default());
        let only = Self::start(&server, "only", Instant::now(), 0);
        only.leadership.reaches(Standing::Leading).await;
        (server, only)
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_hands_over_at_once_when_it_stops() {
    let (server, start) = (Arc::new(Server::default()), Instant::now());
    let first = Candidate::start(&server, "first", start, 0);
    first.leadership.reaches(Standing::Leading).await;
    let second = Candidate::start(&server, "second", start, 0);
    for _ in 0..300 {
        sleep(secs(1)).await;
        assert!(first.leadership.may_act() && !second.leadership.may_act());
    }
    first.stop.send(()).unwrap();
    assert_eq!(first.run.await.unwrap(), Ended::Stopped);
    assert!(!first.leadership.may_act());
    let asked = Instant::now();
    second.leadership.reaches(Standing::Leading).await;
    assert!(asked.elapsed() <= secs(2), "{:?}", asked.elapsed());
    assert!(second.leadership.may_act());
    assert_eq!(server.holder().as_deref(), Some("second"));
}

#[tokio::test(start_paused = true)]
async fn of_many_that_start_together_one_leads() {
    let (server, start) = (Arc::new(Server::default()), Instant::now());
    let names = ["a", "b", "c", "d", "e"];
    let all: Vec<_> = names.iter().map(|name| Candidate::start(&server, name, start, 0)).collect();
    for _ in 0..120 {
        sleep(secs(1)).await;
        assert_eq!(all.iter().filter(|c| c.leadership.may_act()).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_and_a_wrong_wall_clock_takes_nothing_early() {
    // The second one's clock is ten minutes ahead: by its own wall clock every lease has long run out.
    for (skew, at_least, at_most) in [(0, 50, 75), (600_000, 8, 25)] {
        let (server, start) = (Arc::new(Server::default()), Instant::now());
        let first = Candidate::start(&server, "first", start, 0);
        first.leadership.reaches(Standing::Leading).await;
        let second = Candidate::start(&server, "second", start, skew);
        sleep(secs(100)).await;
        assert_eq!(second.leadership.standing(), Standing::StandingBy, "skew {skew}");
        let died = Instant::now();
        first.run.abort();
        while second.leadership.standing() != Standing::Leading {
            sleep(Duration::from_millis(100)).await;
            assert!(!(first.leadership.may_act() && second.leadership.may_act()), "both act, skew {skew}");
        }
        let took = died.elapsed().as_secs();
        assert!((at_least..=at_most).contains(&took), "skew {skew}: {took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_can_not_renew_stops_acting_and_then_gives_up() {
    let (server, only) = Candidate::leading().await;
    // A short outage: it may not act for a while and then goes on.
    server.down.store(true, Ordering::SeqCst);
    sleep(secs(25)).await;
    assert!(!only.leadership.may_act());
    assert_eq!(only.leadership.standing(), Standing::Leading);
    server.down.store(false, Ordering::SeqCst);
    sleep(secs(8)).await;
    assert!(only.leadership.may_act());
    // A long one: over once the lease has run out.
    server.down.store(true, Ordering::SeqCst);
    let down = Instant::now();
    only.leadership.reaches(Standing::Lost).await;
    let held_on = down.elapsed().as_secs();
    assert!((50..=70).contains(&held_on), "{held_on} s");
    assert_eq!(only.run.await.unwrap(), Ended::Lost);
    assert!(!only.leadership.may_act());
}

#[tokio::test(start_paused = true)]
async fn a_passer_by_does_not_end_leadership_a_rival_does() {
    let (server, only) = Candidate::leading().await;
    server.edit(|lease| lease["metadata"]["labels"] = json!({"a": "b"}));
    sleep(secs(60)).await;
    assert!(only.leadership.may_act());
    server.edit(|lease| lease["spec"]["holderIdentity"] = json!("rival"));
    assert_eq!(only.run.await.unwrap(), Ended::Lost);
    assert!(!only.leadership.may_act());
    assert_eq!(server.holder().as_deref(), Some("rival"), "what is somebody else's is left alone");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_renewal_takes_counts() {
    let (server, only) = Candidate::leading().await;
    server.slow.store(true, Ordering::SeqCst);
    // Sent after 10 s, answered after 14 s; nothing after that.
    sleep(secs(15)).await;
    server.down.store(true, Ordering::SeqCst);
    sleep(secs(14)).await;
    assert!(only.leadership.may_act());
    sleep(secs(2)).await;
    assert!(!only.leadership.may_act());
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_renewal_gives_the_lease_back_all_the_same() {
    let (server, only) = Candidate::leading().await;
    server.slow.store(true, Ordering::SeqCst);
    sleep(secs(12)).await;
    only.stop.send(()).unwrap();
    assert_eq!(only.run.await.unwrap(), Ended::Stopped);
    assert_eq!(server.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_arrives_after_the_stop_does_not_keep_the_lease() {
    let (server, only) = Candidate::leading().await;
    server.late.store(true, Ordering::SeqCst);
    sleep(secs(11)).await;
    let renewed = server.version.load(Ordering::SeqCst);
    only.stop.send(()).unwrap();
    assert_eq!(only.run.await.unwrap(), Ended::Stopped);
    assert_eq!(server.version.load(Ordering::SeqCst), renewed + 2, "the late renewal, and the lease given back");
    assert_eq!(server.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_api_server_to_take_the_lease_back_but_not_for_long() {
    for (outage, given_back) in [(4, true), (60, false)] {
        let (server, only) = Candidate::leading().await;
        server.down.store(true, Ordering::SeqCst);
        only.stop.send(()).unwrap();
        let stopping = Instant::now();
        let up_again = async {
            sleep(secs(outage)).await;
            server.down.store(false, Ordering::SeqCst);
        };
        let (ended, ()) = tokio::join!(async { (only.run.await.unwrap(), stopping.elapsed()) }, up_again);
        assert_eq!(ended.0, Ended::Stopped);
        assert!(ended.1 <= Terms::default().renew_every, "{:?}", ended.1);
        assert_eq!(server.holder().is_none(), given_back, "down for {outage} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_right_after_the_lease_was_taken_gives_it_back_too() {
    let (server, start) = (Arc::new(Server::default()), Instant::now());
    server.store(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "cmk-operator"},
        "spec": {"holderIdentity": ""}}));
    server.slow.store(true, Ordering::SeqCst);
    let only = Candidate::start(&server, "only", start, 0);
    sleep(secs(1)).await;
    assert_eq!(server.holder().as_deref(), Some("only"), "taken, and not answered yet");
    assert_eq!(only.leadership.standing(), Standing::Waiting);
    only.stop.send(()).unwrap();
    assert_eq!(only.run.await.unwrap(), Ended::Stopped);
    assert_eq!(server.holder(), None);
}
