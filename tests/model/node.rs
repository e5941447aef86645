//! A state of the model and its transitions.

use std::collections::HashSet;
use std::sync::Arc;

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::domain::moment::Moment;
use cmk_operator::plan::step::Site;
use cmk_operator::sandbox::{Access, Fault, Match, Rule, World};

use super::act::{Act, Clash, Disturbance, Trouble, Who};
use super::judge::{Event, Violation};
use super::lab::{Ghost, Lab, Objects, lock};
use super::ledger::bump;
use super::pass::{self, Process};
use super::scene::{Config, FENCE, Index, LAG, Menu, Start};
use super::stopped::Stopped;
use super::truth::Truth;
use super::{admin, files, users};

/// A state: the clouds, both objects as the API server holds them, what the process remembers, a pass that stopped, and
/// what the judges remember.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) world: World,
    pub(crate) key: Option<Arc<CustomerKey>>,
    pub(crate) cluster: Option<Arc<EncryptedCluster>>,
    pub(crate) process: Process,
    pub(crate) stopped: Option<Arc<Stopped>>,
    pub(crate) ghost: Ghost,
}

/// What a transition did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The calls to the clouds, in order.
    pub(crate) calls: Vec<(String, Access)>,
    /// Effects: steps and the status write.
    pub(crate) effects: u8,
    /// Writes of the object.
    pub(crate) object_writes: u8,
    /// Whether anything was written, anywhere.
    pub(crate) wrote: bool,
    pub(crate) sites: Vec<Site>,
    pub(crate) violation: Option<Violation>,
}

impl Node {
    /// Where an exploration begins.
    pub(crate) fn first(config: &Config) -> Self {
        let scene = &config.scene;
        let mut node = Self {
            world: files::world(),
            key: Some(Arc::new(files::key(scene))),
            cluster: (scene.start != Start::Key).then(|| Arc::new(files::cluster(scene))),
            process: Process::default(),
            stopped: None,
            ghost: Ghost::default(),
        };
        if scene.start != Start::Nothing {
            node.rest(config);
        }
        node
    }

    /// Lets the calm schedule run until nothing changes any more.
    fn rest(&mut self, config: &Config) {
        let calm = [Act::Pass(Who::Key, Disturbance::Nothing), Act::Pass(Who::Cluster, Disturbance::Nothing)];
        let mut seen = HashSet::new();
        loop {
            let before = self.print(config);
            for act in calm {
                *self = self.apply(act, config).unwrap().0;
            }
            if self.print(config) == before {
                let next = self.apply(Act::Wait, config).filter(|_| seen.insert(before));
                let Some((next, _)) = next else { break };
                *self = next;
            }
        }
        assert!(self.rests(&config.scene), "the scene comes to rest where it may not");
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(self.world.now_ms())
    }

    /// The state after a transition, and what the transition did. None: it is not possible here.
    pub(crate) fn apply(&self, act: Act, config: &Config) -> Option<(Self, Report)> {
        let (mut next, mut report) = match act {
            Act::Pass(who, disturbance) => {
                let watch = matches!(disturbance, Disturbance::Call(..));
                self.pass(who, disturbance, watch, config)?
            }
            Act::Resume => self.resume(config)?,
            other => (self.happens(other, config)?, Report::default()),
        };
        next.world.catch_up();
        next.world.forget_before(next.world.now_ms() - LAG);
        let lab = next.lab(config, Disturbance::Nothing);
        lab.judge(&Event::State);
        next.ghost = lock(&lab.ghost).clone();
        report.violation = report.violation.or(lock(&lab.counts).violation.take());
        Some((next, report))
    }

    fn objects(&self) -> Objects {
        (self.key.clone(), self.cluster.clone())
    }

    fn lab<'c>(&self, config: &'c Config, disturbance: Disturbance) -> Lab<'c> {
        Lab::new(config, self.world.clone(), self.objects(), self.ghost.clone(), disturbance)
    }

    /// A pass. There is one of an object at a time in a process; while one is stopped, another has to be another
    /// replica's, which takes over everything. Its calls are told only if they are watched, or if there should be none.
    fn pass(&self, who: Who, disturbance: Disturbance, watch: bool, config: &Config) -> Option<(Self, Report)> {
        let mut stopped = self.stopped.clone();
        let mut process = self.process.clone();
        if let Some(stopped) = stopped.as_mut().filter(|stopped| stopped.who == who && !stopped.deposed) {
            if self.now().since(stopped.began).0 < FENCE {
                return None;
            }
            Arc::make_mut(stopped).deposed = true;
            process = Process::default();
        }
        let lab = self.lab(config, disturbance);
        {
            let mut world = lab.clouds.world();
            let goes = match who {
                Who::Key => self.key.as_deref().is_some_and(users::is_deleting),
                Who::Cluster => self.cluster.as_deref().is_some_and(users::is_deleting),
            };
            world.record(watch || goes);
            if let Disturbance::Call(n, trouble) = disturbance {
                let any = Match { operation: "*".to_owned(), nth: Some(u32::from(n) + 1), ..Match::default() };
                world.add_fault(Rule::new(any, fault(trouble)));
            }
        }
        lock(&lab.tape).disturbed = matches!(disturbance, Disturbance::Call(_, Trouble::StaleJust | Trouble::StaleFar));
        pass::run(&lab, who, &mut process, "a");
        if matches!(disturbance, Disturbance::Stops(_) | Disturbance::Flies(_)) {
            if stopped.is_some() {
                return None;
            }
            stopped = lock(&lab.stopped).take().map(Arc::new);
        }
        if matches!(disturbance, Disturbance::Dies(_)) {
            // Whatever stopped in this process is dead with it.
            stopped = stopped.filter(|stopped| stopped.deposed);
        }
        let asleep = matches!(disturbance, Disturbance::Overtaken(_) | Disturbance::Frozen(_));
        let retains = {
            let read = &lock(&lab.tape).read;
            read.deleting && !read.tears_down && !asleep
        };
        let (world, report) = watched(&lab);
        if retains {
            lab.judge(&Event::Retained { calls: &report.calls });
        }
        let violation = lock(&lab.counts).violation.take();
        let mut ghost = lock(&lab.ghost).clone();
        if matches!(disturbance, Disturbance::Dies(_)) {
            ghost.right_looks.clear();
        }
        let (key, cluster) = lab.objects();
        Some((Self { world, key, cluster, process, stopped, ghost }, Report { violation, ..report }))
    }

    /// A stopped pass goes on, if it still can, and is over.
    fn resume(&self, config: &Config) -> Option<(Self, Report)> {
        let stopped = self.stopped.as_ref()?;
        let in_time = stopped.matters(self.now());
        if !in_time && stopped.deposed {
            return Some((Self { stopped: None, ..self.clone() }, Report::default()));
        }
        // A process that leads still ends its pass, without another effect, and remembers what it saw.
        let lab = self.lab(config, Disturbance::Nothing).going_on(stopped, stopped.flies && in_time);
        let noted = pass::resume(&lab, stopped);
        let (world, report) = watched(&lab);
        let mut process = self.process.clone();
        if !stopped.deposed {
            process.remember(stopped.who, noted);
        }
        let ghost = lock(&lab.ghost).clone();
        let violation = lock(&lab.counts).violation.take();
        let (key, cluster) = lab.objects();
        Some((Self { world, key, cluster, process, stopped: None, ghost }, Report { violation, ..report }))
    }

    fn happens(&self, act: Act, config: &Config) -> Option<Self> {
        let mut next = self.clone();
        let Self { key, cluster, ghost, world, .. } = &mut next;
        match act {
            Act::Pass(..) | Act::Resume => return None,
            Act::Wait | Act::Delay => world.advance_to(self.next_moment(config)?.0),
            Act::Crash => next.lose_process(),
            Act::Rebuild => {
                let mut old = (**self.key.as_ref()?).clone();
                old.status.as_ref()?;
                (old.status, old.metadata.finalizers) = (None, None);
                (old.metadata.deletion_timestamp, old.metadata.annotations) = (None, None);
                bump(&mut old);
                next.key = Some(Arc::new(old));
                next.lose_process();
                next.ghost.rebuilt = true;
            }
            Act::Edit => {
                let mut edited = (**self.key.as_ref()?).clone();
                if edited.spec.key.description.is_some() {
                    return None;
                }
                edited.spec.key.description = Some("another".to_owned());
                edited.metadata.generation = edited.metadata.generation.map(|n| n + 1);
                bump(&mut edited);
                *key = Some(Arc::new(edited));
            }
            Act::Delete(Who::Key) => *key = users::delete(key, self.now(), ghost)?,
            Act::Delete(Who::Cluster) => *cluster = users::delete(cluster, self.now(), ghost)?,
            Act::Confirm(Who::Key) => *key = users::confirm(key, world, &config.scene, ghost)?,
            Act::Confirm(Who::Cluster) => *cluster = users::confirm(cluster, world, &config.scene, ghost)?,
            Act::Unconfirm(Who::Key) => *key = users::unconfirm(key, ghost)?,
            Act::Unconfirm(Who::Cluster) => *cluster = users::unconfirm(cluster, ghost)?,
            Act::Switch(Who::Key) => *key = users::switch(key)?,
            Act::Switch(Who::Cluster) => *cluster = users::switch(cluster)?,
            Act::TakeOut(Who::Key) => *key = users::take_out(key)?,
            Act::TakeOut(Who::Cluster) => *cluster = users::take_out(cluster)?,
            Act::Apply(Who::Key) => *key = users::apply(key, &config.scene, ghost)?,
            Act::Apply(Who::Cluster) => *cluster = users::apply(cluster, &config.scene, ghost)?,
            // Between the looks of a pass and its deployment nobody can keep the support from it; what that leaves is seen
            // and told by the next look.
            Act::Unregister | Act::Withdraw if self.stopped.is_some() => return None,
            other => admin::act(other, world, &config.scene, ghost)?,
        }
        Some(next)
    }

    fn lose_process(&mut self) {
        self.process = Process::default();
        // One that was deposed is another process.
        self.stopped = self.stopped.take().filter(|stopped| stopped.deposed);
        self.ghost.right_looks.clear();
    }

    /// The next moment at which anything can be decided differently than now.
    fn next_moment(&self, config: &Config) -> Option<Moment> {
        let settings = &config.settings;
        let mut all = self.process.moments(settings);
        let at = |time: &cmk_operator::api::condition::Time| Moment(time.0.as_millisecond());
        for region in self.key.iter().flat_map(|key| &key.status).flat_map(|status| &status.regions) {
            all.extend(region.creation.as_ref().map(|c| at(&c.started_at) + settings.create_settle));
            all.extend(region.registration.as_ref().map(|r| at(&r.started_at) + settings.deploy_settle));
            let link = region.cloud_role.as_ref().and_then(|role| role.requested_at.as_ref());
            all.extend(link.map(|asked| at(asked) + settings.deploy_settle));
        }
        let creation = self.cluster.as_ref().and_then(|cluster| cluster.status.as_ref()?.creation.as_ref());
        all.extend(creation.map(|creation| at(&creation.started_at) + settings.deploy_settle));
        all.extend(Truth::of(&self.world, &config.scene).moments());
        if let Some(stopped) = &self.stopped {
            all.push(Moment(stopped.began.0 + FENCE));
        }
        if config.index == Index::Late {
            let unclaimed =
                self.world.true_keys().filter(|k| k.description != "foreign" && self.key_is_unrecorded(k.arn));
            let made = unclaimed.count();
            if made > 0 && self.world.changed_after(self.world.now_ms() - LAG) {
                all.push(self.now() + settings.gate_spacing);
            }
        }
        all.into_iter().filter(|at| *at > self.now()).min()
    }

    fn key_is_unrecorded(&self, arn: &str) -> bool {
        let mut shown = self.key.iter().flat_map(|key| &key.status).flat_map(|status| &status.regions);
        !shown.any(|r| r.key_arn.as_deref() == Some(arn))
    }

    /// Everything that can go wrong next, as far as a menu has it.
    pub(crate) fn faults(&self, menu: Menu, config: &Config) -> Vec<Act> {
        let mut all = Vec::new();
        let could_be_stale = |age: i64| self.world.changed_after(self.world.now_ms() - age);
        let (stale_just, stale_far) = (could_be_stale(1), could_be_stale(LAG));
        let of_passes =
            menu.lost || menu.refused || menu.stale || menu.ledger || menu.crash || menu.replicas || menu.stops;
        for who in [Who::Key, Who::Cluster] {
            let Some((_, report)) = of_passes.then(|| self.pass(who, Disturbance::Nothing, true, config)).flatten()
            else {
                continue;
            };
            for (n, (name, access)) in report.calls.iter().enumerate() {
                let mut call = |wanted: bool, trouble: Trouble| {
                    if wanted && name.starts_with(menu.calls) {
                        all.push(Act::Pass(who, Disturbance::Call(u8::try_from(n).unwrap(), trouble)));
                    }
                };
                let reads = *access == Access::Read;
                call(menu.lost, Trouble::Lost);
                call(menu.lost && !reads, Trouble::ReplyLost);
                call(menu.refused, Trouble::Throttled);
                call(menu.refused, Trouble::Denied);
                call(menu.stale && reads && stale_just, Trouble::StaleJust);
                call(menu.stale && reads && stale_far, Trouble::StaleFar);
            }
            for n in 0..report.object_writes {
                let mut write = |wanted: bool, clash: Clash| {
                    if wanted {
                        all.push(Act::Pass(who, Disturbance::Write(n, clash)));
                    }
                };
                write(menu.ledger, Clash::Conflict);
                write(menu.ledger, Clash::Lost);
                write(menu.ledger, Clash::ReplyLost);
            }
            for n in 0..report.effects {
                let mut effect = |wanted: bool, disturbance: Disturbance| {
                    if wanted {
                        all.push(Act::Pass(who, disturbance));
                    }
                };
                effect(menu.crash, Disturbance::Dies(n));
                effect(menu.replicas, Disturbance::Overtaken(n));
                effect(menu.replicas, Disturbance::Frozen(n));
                effect(menu.stops && self.stopped.is_none(), Disturbance::Stops(n));
                effect(menu.stops && self.stopped.is_none(), Disturbance::Flies(n));
            }
        }
        if menu.crash {
            all.push(Act::Crash);
        }
        if menu.delay {
            all.push(Act::Delay);
        }
        all.extend(menu.acts);
        all
    }
}

/// The clouds after a pass, and what was seen of it from outside.
fn watched(lab: &Lab<'_>) -> (World, Report) {
    let counts = lock(&lab.counts).clone();
    let mut world = lab.clouds.world().clone();
    let calls = world.log().iter().map(|entry| (entry.operation.clone(), entry.access)).collect();
    world.clear_log();
    world.clear_faults();
    world.record(false);
    let report = Report {
        calls,
        effects: counts.effects,
        object_writes: counts.object_writes,
        wrote: counts.outside > 0 || counts.status_writes > 0,
        sites: counts.sites,
        violation: None,
    };
    (world, report)
}

fn fault(trouble: Trouble) -> Fault {
    let denied = || Fault::Error {
        status: 403,
        code: "AccessDeniedException".to_owned(),
        message: "denied by the model".to_owned(),
    };
    match trouble {
        Trouble::Lost => Fault::LostBefore,
        Trouble::ReplyLost => Fault::AppliedButLost,
        Trouble::Throttled => Fault::Throttle { retry_after_s: None },
        Trouble::Denied => denied(),
        Trouble::StaleJust => Fault::StaleRead { ms: 1 },
        Trouble::StaleFar => Fault::StaleRead { ms: LAG },
    }
}
