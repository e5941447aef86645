//! A cluster is created and deleted while its key is torn down, in a race whose order a seed decides: there is never a
//! database under a key that is being deleted.
//!
//! The operator's passes and the users' wishes are put together from the same parts as in `controller::pass`, on the
//! simulated clouds and an API server of a few lines, and are interleaved at every call of that API server. What protects in
//! life is made blind here, one thing at a time: the cloud shows a key's teardown no registration, so that only the claims
//! are left; and once the claims are made blind too, the race is lost, which shows that it is one.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test should stop at the place")]

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context as TaskContext, Poll, Waker};

use cmk_operator::api::parse::{self, allows};
use cmk_operator::api::{CustomerKey, EncryptedCluster, FINALIZER};
use cmk_operator::clock::Clock;
use cmk_operator::controller::context::Note;
use cmk_operator::controller::kind::Kind;
use cmk_operator::domain::desired::{Desired, LinkedKey};
use cmk_operator::domain::moment::{Moment, Span};
use cmk_operator::domain::observed::{CredentialsSeen, Depth};
use cmk_operator::domain::reading::Reading;
use cmk_operator::execute::{Hands, Witness, execute};
use cmk_operator::observe::{Credentials, observe};
use cmk_operator::plan::check::check;
use cmk_operator::plan::step::{Site, Step};
use cmk_operator::plan::{Pass, Settings, decide};
use cmk_operator::ports::{Authority, Fault, FaultClass, Ledger, Record, Session};
use cmk_operator::sandbox::kms::KeyState;
use cmk_operator::sandbox::{ACCOUNT, Clouds, ORGANIZATION, TOKEN, World};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

const REGION: &str = "us-east-1";
const OTHER: &str = "eu-west-1";
const CONFIRM: &str = "cmk-operator.io/confirm-deletion";

/// What protects, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claims {
    Heeded,
    /// The teardown is told that no cluster uses the key.
    Blind,
}

/// What the user does to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Delete,
    /// Takes the cluster's region out of the spec, and perhaps puts it back.
    TakeOut,
}

#[derive(Default)]
struct Store {
    version: u64,
    key: Option<CustomerKey>,
    cluster: Option<EncryptedCluster>,
}

struct Lab {
    clouds: Clouds,
    store: Mutex<Store>,
    claims: Claims,
    nonces: Mutex<u64>,
}

impl Lab {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    fn nonce(&self) -> String {
        let mut nonces = self.nonces.lock().unwrap();
        *nonces += 1;
        format!("n{nonces}")
    }
}

impl Clock for Lab {
    fn now(&self) -> Moment {
        Moment(self.clouds.world().now_ms())
    }

    fn monotonic_ms(&self) -> i64 {
        self.clouds.world().now_ms()
    }
}

impl Authority for Lab {
    fn may_act(&self) -> bool {
        true
    }
}

impl Witness for Lab {
    fn before(&self, _: Site) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn after(&self, _: Site, _: Option<&Fault>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

trait Held: Kind {
    fn slot(store: &mut Store) -> &mut Option<Self>;
    fn desired(&self, lab: &Lab) -> impl Future<Output = Desired>;
}

impl Held for CustomerKey {
    fn slot(store: &mut Store) -> &mut Option<Self> {
        &mut store.key
    }

    async fn desired(&self, lab: &Lab) -> Desired {
        let mut desired = parse::customer_key(self, &"test".parse().unwrap()).unwrap();
        // As if the cloud could withdraw a registration: else that alone would protect.
        desired.capabilities.registration_is_final = false;
        turn().await;
        let users = lab.store().cluster.iter().filter_map(|cluster| parse::user(cluster, self)).collect();
        desired.users = Reading::Present(if lab.claims == Claims::Heeded { users } else { Vec::new() });
        Desired::Key(desired)
    }
}

impl Held for EncryptedCluster {
    fn slot(store: &mut Store) -> &mut Option<Self> {
        &mut store.cluster
    }

    async fn desired(&self, lab: &Lab) -> Desired {
        turn().await;
        let linked = match &lab.store().key {
            Some(key) => {
                let allowed = allows(key, "team", &std::collections::BTreeMap::new());
                Reading::Present(LinkedKey {
                    key: parse::customer_key(key, &"test".parse().unwrap()).unwrap(),
                    allowed,
                })
            }
            None => Reading::Absent,
        };
        Desired::Cluster(parse::encrypted_cluster(self, linked).unwrap())
    }
}

/// Lets somebody else have a turn.
async fn turn() {
    let mut had = false;
    poll_fn(|_| {
        if had {
            return Poll::Ready(());
        }
        had = true;
        Poll::Pending
    })
    .await;
}

fn conflict() -> Fault {
    Fault::new(FaultClass::Conflict, "replace", "team/object", "the object has been modified")
}

/// Puts an object in the place of another version of it; one without finalizers that is being deleted goes.
fn put<K: Held>(lab: &Lab, seen: &K, mut object: K) -> Result<K, Fault> {
    let mut store = lab.store();
    let now = K::slot(&mut store).clone().ok_or_else(conflict)?;
    if now.resource_version() != seen.resource_version() || now.uid() != seen.uid() {
        return Err(conflict());
    }
    store.version += 1;
    object.meta_mut().resource_version = Some(store.version.to_string());
    let goes = object.meta().deletion_timestamp.is_some() && object.finalizers().is_empty();
    *K::slot(&mut store) = (!goes).then(|| object.clone());
    Ok(object)
}

struct Shelf<'l, K> {
    lab: &'l Lab,
    object: K,
}

impl<K: Held> Shelf<'_, K> {
    fn finalizers(&mut self, change: impl FnOnce(&mut Vec<String>)) -> Result<(), Fault> {
        let mut object = self.object.clone();
        change(object.meta_mut().finalizers.get_or_insert_default());
        self.object = put(self.lab, &self.object, object)?;
        Ok(())
    }

    fn status(&mut self, status: K::Status) -> Result<(), Fault> {
        let mut object = self.object.clone();
        object.set_status(status);
        self.object = put(self.lab, &self.object, object)?;
        Ok(())
    }
}

impl<K: Held> Ledger for Shelf<'_, K> {
    async fn add_finalizer(&mut self) -> Result<(), Fault> {
        turn().await;
        self.finalizers(|all| all.push(FINALIZER.to_owned()))
    }

    async fn remove_finalizer(&mut self) -> Result<(), Fault> {
        turn().await;
        self.finalizers(|all| all.retain(|f| f != FINALIZER))
    }

    async fn record(&mut self, record: &Record) -> Result<(), Fault> {
        turn().await;
        let mut status = self.object.status().cloned().unwrap_or_else(|| K::initial(1, self.lab.now()));
        K::put(&mut status, record);
        self.status(status)
    }
}

fn settings() -> Settings {
    Settings {
        gate_spacing: Span(100),
        poll: Span(100),
        repair_holdoff: Span(200),
        create_settle: Span(500),
        deploy_settle: Span(500),
        look_valid: Span(10_000),
        holder: "here".to_owned(),
        ..Settings::default()
    }
}

fn credentials() -> Credentials {
    let scope = parse::customer_key(&key(&[REGION]), &"test".parse().unwrap()).unwrap().scope;
    let values = [("token".to_owned(), TOKEN.to_owned())].into();
    let session = Session { scope, credentials: cmk_operator::ports::Credentials(values) };
    let seen = CredentialsSeen { secret: "team/astra".to_owned(), lacking: Vec::new() };
    Credentials { seen: Reading::Present(seen), session: Some(session.clone()), deploy: Some(session) }
}

/// One pass, with a turn for the others at every call of the API server.
async fn pass<K: Held>(lab: &Lab, note: &mut Note) {
    turn().await;
    let Some(object) = K::slot(&mut lab.store()).clone() else {
        *note = Note::default();
        return;
    };
    let now = lab.now();
    let desired = object.desired(lab).await;
    let credentials = credentials();
    let mut memory = K::remember(object.status());
    note.enrich(&mut memory);
    let pass = Pass { now, nonce: lab.nonce(), settings: settings() };
    turn().await;
    let mut observed =
        observe(&lab.clouds, &lab.clouds, &desired, &credentials, &memory, Depth::Everything, &pass).await;
    let ends = desired.object().deleting || !memory.regions.keys().all(|r| desired.regions().contains(&r));
    if ends && matches!(desired, Desired::Key(_)) {
        for (region, seen) in &mut observed.regions {
            if desired.object().deleting || !desired.regions().contains(&region) {
                seen.registration = Reading::Absent;
            }
        }
    }
    let plan = decide(&desired, &observed, &memory, &pass);
    let checked = check(&desired, &observed, &memory, &pass, plan).unwrap();
    let mut shelf = Shelf { lab, object };
    turn().await;
    let hands = Hands {
        keys: &lab.clouds,
        upstream: &lab.clouds,
        ledger: &mut shelf,
        credentials: &credentials,
        authority: lab,
        clock: lab,
        witness: lab,
    };
    let outcome = execute(hands, &desired, &checked).await;
    let plan = checked.plan();
    note.passed(Depth::Everything, plan, &outcome.done, now, &settings());
    if outcome.over || outcome.done.contains(&Step::RemoveFinalizer) {
        return;
    }
    turn().await;
    if let Some(status) = K::render(shelf.object.status(), &desired, &memory, plan, &outcome, now)
        && shelf.object.status() != Some(&status)
    {
        let _ = shelf.status(status);
    }
}

async fn operate<K: Held>(lab: &Lab) {
    let mut note = Note::default();
    loop {
        pass::<K>(lab, &mut note).await;
    }
}

fn key(regions: &[&str]) -> CustomerKey {
    let regions: Vec<_> = regions.iter().map(|name| json!({ "name": name })).collect();
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "CustomerKey",
        "metadata": { "name": "key", "namespace": "team" },
        "spec": {
            "regions": regions, "aws": { "accountId": ACCOUNT }, "deletionPolicy": "ScheduleDeletion",
            "upstream": { "astra": {
                "organizationId": ORGANIZATION, "databaseType": "Serverless", "credentialsSecretRef": { "name": "astra" },
            } },
        },
    }))
    .unwrap()
}

fn cluster() -> EncryptedCluster {
    serde_json::from_value(json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": "EncryptedCluster",
        "metadata": { "name": "db", "namespace": "team" },
        "spec": {
            "customerKeyRef": { "name": "key" }, "deletionPolicy": "Delete", "regions": [{ "name": REGION }],
            "deployment": { "astra": { "name": "db", "tier": "serverless", "keyspace": "ks" } },
        },
    }))
    .unwrap()
}

/// What a user does: creates, changes or deletes.
fn wish<K: Held>(lab: &Lab, change: impl FnOnce(&mut Option<K>)) {
    let mut store = lab.store();
    store.version += 1;
    let version = store.version.to_string();
    let slot = K::slot(&mut store);
    change(slot);
    if let Some(object) = slot {
        let uid = object.uid().unwrap_or_else(|| format!("uid-{version}"));
        object.meta_mut().resource_version = Some(version);
        object.meta_mut().uid = Some(uid);
        object.meta_mut().generation = Some(object.meta().generation.unwrap_or_default() + 1);
    }
    if slot.as_ref().is_some_and(|o| o.meta().deletion_timestamp.is_some() && o.finalizers().is_empty()) {
        *slot = None;
    }
}

fn delete<K: Held>(lab: &Lab) {
    let at = Time(Timestamp::from_millisecond(lab.now().0).unwrap());
    wish::<K>(lab, |object| {
        if let Some(object) = object {
            object.meta_mut().deletion_timestamp.get_or_insert(at);
        }
    });
}

/// Confirms whatever status shows a token of.
fn confirm<K: Kind + Held>(lab: &Lab, tokens: fn(&K) -> Vec<String>) {
    let Some(object) = K::slot(&mut lab.store()).clone() else { return };
    let tokens = tokens(&object);
    let annotation = object.annotations().get(CONFIRM).cloned().unwrap_or_default();
    if tokens.iter().all(|token| annotation.contains(token.as_str())) {
        return;
    }
    wish::<K>(lab, |object| {
        if let Some(object) = object {
            object.annotations_mut().insert(CONFIRM.to_owned(), tokens.join(","));
        }
    });
}

fn of_key(key: &CustomerKey) -> Vec<String> {
    let Some(status) = &key.status else { return Vec::new() };
    let regions = status.regions.iter().filter_map(|r| r.deletion.as_ref());
    status.deletion.iter().chain(regions).filter_map(|d| d.confirmation_token.clone()).collect()
}

fn of_cluster(cluster: &EncryptedCluster) -> Vec<String> {
    let deletion = cluster.status.as_ref().and_then(|status| status.deletion.as_ref());
    deletion.and_then(|d| d.confirmation_token.clone()).into_iter().collect()
}

/// A small generator of numbers that looks random and is the same for a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    async fn rest(&mut self, most: u64) {
        for _ in 0..self.below(most) {
            turn().await;
        }
    }
}

/// The user: the key is there and ready; then everything at once, in an order of the seed's.
async fn user(lab: &Lab, seed: u64, wished: Wish) {
    let mut dice = Dice(seed.wrapping_mul(31).wrapping_add(7));
    dice.rest(25).await;
    wish::<EncryptedCluster>(lab, |slot| *slot = Some(cluster()));
    dice.rest(45).await;
    match wished {
        Wish::Delete => delete::<CustomerKey>(lab),
        Wish::TakeOut => wish::<CustomerKey>(lab, |slot| take_out(slot, &[OTHER])),
    }
    let comes_back = dice.below(2) == 0;
    let leaves = dice.below(3) == 0;
    for round in 0.. {
        confirm(lab, of_key);
        confirm(lab, of_cluster);
        dice.rest(6).await;
        turn().await;
        if round == 10 && comes_back && wished == Wish::TakeOut {
            wish::<CustomerKey>(lab, |slot| take_out(slot, &[REGION, OTHER]));
        }
        if round == 20 && leaves {
            delete::<EncryptedCluster>(lab);
        }
    }
}

fn take_out(slot: &mut Option<CustomerKey>, regions: &[&str]) {
    if let Some(key) = slot {
        key.spec.regions = self::key(regions).spec.regions;
    }
}

/// A database that lives, under a key that is being deleted.
fn violation(world: &World) -> Option<String> {
    let pending: Vec<&str> =
        world.true_keys().filter(|key| key.state == KeyState::PendingDeletion).map(|key| key.arn).collect();
    if pending.is_empty() {
        return None;
    }
    let state = world.dump();
    let databases = state["astra"][ORGANIZATION]["databases"].as_array().unwrap();
    let live = databases.iter().filter(|d| !d["status"].as_str().unwrap().starts_with("TERMINAT"));
    let mut regions = live.flat_map(|d| d["regions"].as_array().unwrap());
    let bad = regions.find(|r| r["encrypted_with"].as_str().is_some_and(|arn| pending.contains(&arn)));
    bad.map(|region| format!("a database under a key that is being deleted: {region}"))
}

/// What became of a race.
#[derive(Debug, Default)]
struct End {
    violation: Option<String>,
    scheduled: bool,
    deployed: bool,
}

fn poll(task: &mut Pin<Box<dyn Future<Output = ()> + '_>>) {
    let _ = task.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
}

fn race(seed: u64, wished: Wish, claims: Claims) -> End {
    let world = World::sandbox(1_767_225_600_000, cmk_operator::sandbox::Settings::default());
    let lab = Lab { clouds: Clouds::new(world), store: Mutex::default(), claims, nonces: Mutex::default() };
    wish::<CustomerKey>(&lab, |slot| *slot = Some(key(&[REGION, OTHER])));
    let mut dice = Dice(seed);
    let mut keys: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(operate::<CustomerKey>(&lab));
    for _ in 0..160 {
        poll(&mut keys);
        lab.clouds.world().advance(60);
    }
    let ready = lab.store().key.as_ref().and_then(|key| key.status.clone()).unwrap();
    assert!(
        ready.regions.iter().all(|r| r.registered_key_arn.is_some()),
        "seed {seed}: the key is not ready: {ready:#?}"
    );
    let mut clusters: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(operate::<EncryptedCluster>(&lab));
    let mut user: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(user(&lab, seed, wished));
    let mut end = End::default();
    for _ in 0..800 {
        match dice.below(5) {
            0 | 1 => poll(&mut keys),
            2 | 3 => poll(&mut clusters),
            _ => poll(&mut user),
        }
        let mut world = lab.clouds.world();
        world.advance(i64::try_from(dice.below(60)).unwrap());
        if let Some(what) = violation(&world) {
            end.violation = Some(what);
            break;
        }
    }
    let world = lab.clouds.world();
    end.scheduled = world.true_keys().any(|key| key.state == KeyState::PendingDeletion);
    end.deployed = !world.true_databases(ORGANIZATION).is_empty();
    end
}

#[test]
fn there_is_never_a_database_under_a_key_that_is_being_deleted() {
    for wished in [Wish::Delete, Wish::TakeOut] {
        let ends: Vec<(u64, End)> = (0..100).map(|seed| (seed, race(seed, wished, Claims::Heeded))).collect();
        for (seed, end) in &ends {
            assert!(end.violation.is_none(), "{wished:?}, seed {seed}: {:?}", end.violation);
        }
        let count = |what: fn(&End) -> bool| ends.iter().filter(|(_, end)| what(end)).count();
        let (scheduled, deployed) = (count(|end| end.scheduled), count(|end| end.deployed));
        // Each of the two wins now and then, or it was no race.
        assert!(scheduled >= 10 && deployed >= 10, "{wished:?}: {scheduled} scheduled, {deployed} deployed");
    }
}

#[test]
fn without_the_claims_the_race_is_lost() {
    for wished in [Wish::Delete, Wish::TakeOut] {
        let lost = (0..30).filter(|seed| race(*seed, wished, Claims::Blind).violation.is_some()).count();
        assert!(lost > 0, "{wished:?}: without the claims {lost} of 30 races are lost");
    }
}
