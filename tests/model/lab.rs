//! Where a pass of the model happens: the clouds, the two objects as the API server holds them, and what the judges
//! keep in mind. One lab lives for one transition.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use cmk_operator::adapters::upstream;
use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::clock::Clock;
use cmk_operator::domain::moment::Moment;
use cmk_operator::execute::Witness;
use cmk_operator::plan::step::Site;
use cmk_operator::ports::{Authority, Fault};
use cmk_operator::sandbox::{Clouds, World};

use super::act::{Clash, Disturbance, Who};
use super::adapters::adapters;
use super::judge::{self, Event, Violation};
use super::pass::{self, Process, Tape};
use super::scene::{Config, FENCE, FREEZE};
use super::stopped::{Answer, Stopped};

/// What the judges remember of a path. Part of the state, but for what only gives names: `intents`, `removals`, `born`
/// and `git`, of which nothing is ever compared but whether two are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ghost {
    /// How many creation intents were written, and how many removals of regions: the source of nonces.
    pub(crate) intents: u64,
    pub(crate) removals: u64,
    /// How often each object was created: the source of its uid.
    pub(crate) born: [u32; 2],
    /// The confirmations that stood in an object that is gone: somebody has put them into Git.
    pub(crate) git: [Option<String>; 2],
    /// The first key that was named for a region by a status, an alias, a registration or a database.
    pub(crate) published: BTreeMap<String, String>,
    /// When `CreateKey` was last sent for a region with an outcome that the sender never learned.
    pub(crate) unresolved: BTreeMap<String, i64>,
    /// How often in a row a cluster's passes of this process saw a region right, and when last.
    pub(crate) right_looks: BTreeMap<String, (u8, i64)>,
    /// Whether the key's status was lost.
    pub(crate) rebuilt: bool,
    /// What the user has confirmed of each of the two: by token, what it stood for.
    pub(crate) confirmed: [BTreeMap<String, String>; 2],
    /// The keys of which the object or the key itself once said that they are registered.
    pub(crate) registered: BTreeSet<String>,
    /// The keys that the operator scheduled for deletion, and that nobody saved since.
    pub(crate) scheduled: BTreeSet<String>,
    /// How many unfinished records of roles there were when the key's object last went: nobody finds them again.
    pub(crate) released: usize,
}

/// Where a pass happens.
pub(crate) struct Lab<'c> {
    pub(crate) config: &'c Config,
    pub(crate) clouds: Clouds,
    adapters: OnceLock<upstream::Clouds>,
    key: Mutex<Option<Arc<CustomerKey>>>,
    cluster: Mutex<Option<Arc<EncryptedCluster>>>,
    pub(crate) ghost: Mutex<Ghost>,
    pub(crate) tape: Mutex<Tape>,
    pub(crate) counts: Mutex<Counts>,
    disturbance: Disturbance,
    /// Of a pass that goes on after a stop: when it began, and where it stopped.
    resumed: Option<(i64, u8, bool)>,
    /// What the effects before the stop came to: told again instead of made again.
    known: Mutex<VecDeque<Answer>>,
    /// What the effects of this pass came to, if it stops.
    pub(crate) answers: Mutex<Vec<Answer>>,
    pub(crate) stopped: Mutex<Option<Stopped>>,
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

/// The two objects, as far as they are there.
pub(crate) type Objects = (Option<Arc<CustomerKey>>, Option<Arc<EncryptedCluster>>);

impl<'c> Lab<'c> {
    pub(crate) fn new(
        config: &'c Config,
        world: World,
        objects: Objects,
        ghost: Ghost,
        disturbance: Disturbance,
    ) -> Self {
        Self {
            config,
            clouds: Clouds::new(world),
            adapters: OnceLock::new(),
            key: Mutex::new(objects.0),
            cluster: Mutex::new(objects.1),
            ghost: Mutex::new(ghost),
            tape: Mutex::default(),
            counts: Mutex::default(),
            disturbance,
            resumed: None,
            known: Mutex::default(),
            answers: Mutex::default(),
            stopped: Mutex::default(),
        }
    }

    /// A lab in which a stopped pass goes on.
    pub(crate) fn going_on(mut self, stopped: &Stopped, flies: bool) -> Self {
        self.resumed = Some((stopped.began.0, stopped.at, flies));
        self.known = Mutex::new(stopped.answers.iter().cloned().collect());
        let tape = Tape { disturbed: true, flies, ..stopped.tape.clone() };
        self.tape = Mutex::new(tape);
        self
    }

    /// The real adapters of the database clouds.
    pub(crate) fn adapters(&self) -> &upstream::Clouds {
        self.adapters.get_or_init(|| adapters(&self.clouds))
    }

    pub(crate) fn objects(&self) -> Objects {
        (self.key(), self.cluster())
    }

    pub(crate) fn key(&self) -> Option<Arc<CustomerKey>> {
        lock(&self.key).clone()
    }

    pub(crate) fn cluster(&self) -> Option<Arc<EncryptedCluster>> {
        lock(&self.cluster).clone()
    }

    pub(crate) fn key_slot(&self) -> &Mutex<Option<Arc<CustomerKey>>> {
        &self.key
    }

    pub(crate) fn cluster_slot(&self) -> &Mutex<Option<Arc<EncryptedCluster>>> {
        &self.cluster
    }

    /// Has every judge look at an event.
    pub(crate) fn judge(&self, event: &Event<'_>) {
        let (key, cluster) = self.objects();
        let (world, mut ghost, tape) = (self.clouds.world(), lock(&self.ghost), lock(&self.tape));
        let (key, cluster) = (key.as_deref(), cluster.as_deref());
        let verdict = judge::judge(self.config, &world, key, cluster, &mut ghost, &tape, event);
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

    /// What an effect came to that was made before the pass stopped.
    pub(crate) fn known(&self) -> Option<Answer> {
        lock(&self.known).pop_front()
    }

    /// Keeps what an effect came to.
    pub(crate) fn answered(&self, answer: impl FnOnce() -> Answer) {
        if matches!(self.disturbance, Disturbance::Stops(_) | Disturbance::Flies(_)) {
            lock(&self.answers).push(answer());
        }
    }

    /// When a resumed pass believes it is: what was done or sent before it stopped was so in time.
    fn back_then(&self) -> Option<Moment> {
        let (began, at, flies) = self.resumed?;
        let effects = lock(&self.counts).effects;
        (effects < at || (flies && effects == at)).then_some(Moment(began))
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
        let (asleep, effects) = {
            let counts = lock(&self.lab.counts);
            (counts.asleep, counts.effects)
        };
        if asleep {
            return ControlFlow::Continue(());
        }
        match self.lab.disturbance {
            Disturbance::Overtaken(n) if n == effects => self.lab.other_replica(self.who, 0),
            Disturbance::Frozen(n) if n == effects => self.lab.other_replica(self.who, FREEZE),
            Disturbance::Stops(n) | Disturbance::Flies(n) if n == effects => return ControlFlow::Break(()),
            _ => {}
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

/// Every replica believes that it leads: only the records and the windows protect. One that stopped in a pass and went on
/// knows by its clock that it may have been deposed.
impl Authority for Lab<'_> {
    fn may_act(&self) -> bool {
        match (self.resumed, self.back_then()) {
            (Some((began, ..)), None) => self.clouds.world().now_ms() - began < FENCE,
            _ => true,
        }
    }
}

impl Clock for Lab<'_> {
    fn now(&self) -> Moment {
        self.back_then().unwrap_or_else(|| Moment(self.clouds.world().now_ms()))
    }

    fn monotonic_ms(&self) -> i64 {
        self.now().0
    }
}
