//! Where a pass of the model happens: the clouds, the two objects as the API server holds them, and what the judges
//! keep in mind. One lab lives for one transition.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::clock::Clock;
use cmk_operator::domain::moment::Moment;
use cmk_operator::execute::Witness;
use cmk_operator::plan::step::Site;
use cmk_operator::ports::{Authority, Fault};
use cmk_operator::sandbox::{Clouds, World};

use super::act::{Clash, Disturbance, Who};
use super::judge::{self, Event, Violation};
use super::pass::{self, Process, Tape};
use super::scene::{Config, FREEZE};

/// What the judges remember of a path. Part of the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ghost {
    /// How many creation intents were written: the source of nonces.
    pub(crate) intents: u64,
    /// The first key that was named for a region by a status, an alias, a registration or a database.
    pub(crate) published: BTreeMap<String, String>,
    /// When `CreateKey` was last sent for a region with an outcome that the sender never learned.
    pub(crate) unresolved: BTreeMap<String, i64>,
    /// How often in a row a cluster's passes of this process saw a region right, and when last.
    pub(crate) right_looks: BTreeMap<String, (u8, i64)>,
    /// Whether the key's status was lost.
    pub(crate) rebuilt: bool,
}

/// Where a pass happens.
pub(crate) struct Lab<'c> {
    pub(crate) config: &'c Config,
    pub(crate) clouds: Clouds,
    key: Mutex<Arc<CustomerKey>>,
    cluster: Mutex<Arc<EncryptedCluster>>,
    pub(crate) ghost: Mutex<Ghost>,
    pub(crate) tape: Mutex<Tape>,
    pub(crate) counts: Mutex<Counts>,
    disturbance: Disturbance,
}

/// What was counted during a pass, another replica's apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) effects: u8,
    pub(crate) object_writes: u8,
    pub(crate) outside: u8,
    pub(crate) status_writes: u8,
    pub(crate) sites: Vec<Site>,
    pub(crate) violation: Option<Violation>,
    asleep: bool,
}

impl Counts {
    pub(crate) fn asleep(&self) -> bool {
        self.asleep
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl<'c> Lab<'c> {
    pub(crate) fn new(
        config: &'c Config,
        world: World,
        objects: (Arc<CustomerKey>, Arc<EncryptedCluster>),
        ghost: Ghost,
        disturbance: Disturbance,
    ) -> Self {
        Self {
            config,
            clouds: Clouds::new(world),
            key: Mutex::new(objects.0),
            cluster: Mutex::new(objects.1),
            ghost: Mutex::new(ghost),
            tape: Mutex::default(),
            counts: Mutex::default(),
            disturbance,
        }
    }

    pub(crate) fn key(&self) -> Arc<CustomerKey> {
        lock(&self.key).clone()
    }

    pub(crate) fn cluster(&self) -> Arc<EncryptedCluster> {
        lock(&self.cluster).clone()
    }

    pub(crate) fn key_slot(&self) -> &Mutex<Arc<CustomerKey>> {
        &self.key
    }

    pub(crate) fn cluster_slot(&self) -> &Mutex<Arc<EncryptedCluster>> {
        &self.cluster
    }

    /// Has every judge look at an event.
    pub(crate) fn judge(&self, event: &Event<'_>) {
        let (key, cluster) = (self.key(), self.cluster());
        let (world, mut ghost, tape) = (self.clouds.world(), lock(&self.ghost), lock(&self.tape));
        let verdict = judge::judge(self.config, &world, &key, &cluster, &mut ghost, &tape, event);
        if let Err(violation) = verdict {
            lock(&self.counts).violation.get_or_insert(violation);
        }
    }

    pub(crate) fn disturbance(&self) -> Disturbance {
        self.disturbance
    }

    /// The operator's own check refused a plan.
    pub(crate) fn refused(&self, why: &str) {
        if self.config.muted.contains(&judge::PLAN_REFUSED) {
            return;
        }
        let violation = Violation { invariant: judge::PLAN_REFUSED, what: why.to_owned() };
        lock(&self.counts).violation.get_or_insert(violation);
    }

    /// What goes wrong with the next write of the object.
    pub(crate) fn clash(&self) -> Option<Clash> {
        let mut counts = lock(&self.counts);
        if counts.asleep {
            return None;
        }
        counts.object_writes += 1;
        match self.disturbance {
            Disturbance::Write(n, clash) if n + 1 == counts.object_writes => Some(clash),
            _ => None,
        }
    }

    /// Another replica, fresh from its start, makes a whole pass over the same object.
    fn other_replica(&self, who: Who, sleep: i64) {
        lock(&self.counts).asleep = true;
        self.clouds.world().advance(sleep);
        let tape = std::mem::take(&mut *lock(&self.tape));
        let mut other = Process::default();
        pass::run(self, who, &mut other, "b");
        *lock(&self.tape) = tape;
        lock(&self.tape).disturbed = true;
        lock(&self.counts).asleep = false;
    }
}

/// The pass of one of the two, as its effects come and go.
pub(crate) struct Passing<'l, 'c> {
    pub(crate) lab: &'l Lab<'c>,
    pub(crate) who: Who,
}

impl Witness for Passing<'_, '_> {
    fn before(&self, _: Site) -> ControlFlow<()> {
        let counts = lock(&self.lab.counts).clone();
        if !counts.asleep {
            match self.lab.disturbance {
                Disturbance::Overtaken(n) if n == counts.effects => self.lab.other_replica(self.who, 0),
                Disturbance::Frozen(n) if n == counts.effects => self.lab.other_replica(self.who, FREEZE),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn after(&self, site: Site, _: Option<&Fault>) -> ControlFlow<()> {
        let mut counts = lock(&self.lab.counts);
        counts.sites.push(site);
        if counts.asleep {
            return ControlFlow::Continue(());
        }
        counts.effects += 1;
        match self.lab.disturbance {
            Disturbance::Dies(n) if n + 1 == counts.effects => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Every replica believes that it leads: only the records and the windows protect.
impl Authority for Lab<'_> {
    fn may_act(&self) -> bool {
        true
    }
}

impl Clock for Lab<'_> {
    fn now(&self) -> Moment {
        Moment(self.clouds.world().now_ms())
    }

    fn monotonic_ms(&self) -> i64 {
        self.clouds.world().now_ms()
    }
}
