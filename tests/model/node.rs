//! A state of the model and its transitions.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::controller::kind::Kind;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::moment::Moment;
use cmk_operator::plan::step::Site;
use cmk_operator::sandbox::{ACCOUNT, Access, Command, Fault, Match, ORGANIZATION, Rule, World};
use serde_json::json;

use super::act::{Act, Clash, Disturbance, Trouble, Who};
use super::judge::{Event, Violation};
use super::lab::{Ghost, Lab, lock};
use super::ledger::bump;
use super::pass::{self, Process};
use super::print::Print;
use super::scene::{self, ALIAS, AUDITOR, Config, Index, KIND, LAG, Menu, REGIONS};

/// A state: the clouds, both objects as the API server holds them, what the process remembers, and what the judges do.
#[derive(Clone)]
pub(crate) struct Node {
    world: World,
    key: Arc<CustomerKey>,
    cluster: Arc<EncryptedCluster>,
    process: Process,
    ghost: Ghost,
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
    pub(crate) fn first() -> Self {
        Self {
            world: scene::world(),
            key: scene::key(),
            cluster: scene::cluster(),
            process: Process::default(),
            ghost: Ghost::default(),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(self.world.now_ms())
    }

    /// Whether both objects say Ready, as declared.
    pub(crate) fn both_ready(&self) -> bool {
        let ready = |conditions: &[cmk_operator::api::condition::Condition]| {
            conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True" && c.reason == "AsDeclared")
        };
        let key = self.key.status.as_ref().is_some_and(|s| ready(&s.conditions));
        key && self.cluster.status.as_ref().is_some_and(|s| ready(&s.conditions))
    }

    /// The state's fingerprint. What neither decisions nor judges ever read is left out: messages, the object's
    /// version, the moment of a condition's flip.
    pub(crate) fn print(&self, config: &Config) -> u128 {
        let now = self.now();
        let mut print = Print::new(now);
        self.world.hash(&mut print);
        print_object(&*self.key, &mut print);
        print_object(&*self.cluster, &mut print);
        self.process.print(&mut print, now, &config.settings);
        let Ghost { intents, published, unresolved, right_looks, rebuilt } = &self.ghost;
        (intents, published, unresolved, rebuilt).hash(&mut print);
        for (region, (count, last)) in right_looks {
            region.hash(&mut print);
            print.write_u8(*count);
            print.age(Moment(*last), config.settings.gate_spacing.0);
        }
        // Which of the databases an attempt can have made depends on how far apart the two were, however long ago.
        if let Some(creation) = self.cluster.status.as_ref().and_then(|s| s.creation.as_ref()) {
            for database in self.world.true_databases(ORGANIZATION) {
                print.write_i64(database.created_at_ms - creation.started_at.0.as_millisecond());
            }
        }
        print.finish128()
    }

    /// The state after a transition, and what the transition did. None: it is not possible here.
    pub(crate) fn apply(&self, act: Act, config: &Config) -> Option<(Self, Report)> {
        let (mut next, mut report) = match act {
            Act::Pass(who, disturbance) => self.pass(who, disturbance, config),
            other => (self.happens(other, config)?, Report::default()),
        };
        next.world.forget_before(next.world.now_ms() - LAG);
        let lab = next.lab(config, Disturbance::Nothing);
        lab.judge(&Event::State);
        next.ghost = lock(&lab.ghost).clone();
        report.violation = report.violation.or(lock(&lab.counts).violation.take());
        Some((next, report))
    }

    fn lab<'c>(&self, config: &'c Config, disturbance: Disturbance) -> Lab<'c> {
        let objects = (self.key.clone(), self.cluster.clone());
        Lab::new(config, self.world.clone(), objects, self.ghost.clone(), disturbance)
    }

    fn pass(&self, who: Who, disturbance: Disturbance, config: &Config) -> (Self, Report) {
        let lab = self.lab(config, disturbance);
        {
            let mut world = lab.clouds.world();
            world.record(true);
            if let Disturbance::Call(n, trouble) = disturbance {
                let any = Match { operation: "*".to_owned(), nth: Some(u32::from(n) + 1), ..Match::default() };
                world.add_fault(Rule::new(any, fault(trouble)));
            }
        }
        lock(&lab.tape).disturbed = matches!(disturbance, Disturbance::Call(_, Trouble::StaleJust | Trouble::StaleFar));
        let mut process = self.process.clone();
        pass::run(&lab, who, &mut process, "a");
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
            violation: counts.violation,
        };
        let mut ghost = lock(&lab.ghost).clone();
        if matches!(disturbance, Disturbance::Dies(_)) {
            ghost.right_looks.clear();
        }
        (Self { world, key: lab.key(), cluster: lab.cluster(), process, ghost }, report)
    }

    fn happens(&self, act: Act, config: &Config) -> Option<Self> {
        let mut next = self.clone();
        match act {
            Act::Pass(..) => return None,
            Act::Wait | Act::Delay => next.world.advance_to(self.next_moment(config)?.0),
            Act::Crash => {
                next.process = Process::default();
                next.ghost.right_looks.clear();
            }
            Act::Repair => {
                let resting: Vec<String> = self
                    .world
                    .true_keys()
                    .filter(|key| key.state != cmk_operator::sandbox::kms::KeyState::Enabled)
                    .map(|key| key.arn.to_owned())
                    .collect();
                for arn in resting {
                    next.world.command(Command::EnableKey { arn }).unwrap();
                }
            }
            Act::Disable => next.world.command(Command::DisableKey { arn: self.our_key()? }).unwrap(),
            Act::Doom => {
                next.world.command(Command::ScheduleKeyDeletion { arn: self.our_key()?, window_days: 30 }).unwrap();
            }
            Act::Strip => {
                let statement = |principal: &str, action: &str| json!({ "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{principal}:root") }, "Action": action, "Resource": "*" });
                let statements = [statement(ACCOUNT, "kms:*"), statement(AUDITOR, "kms:DescribeKey")];
                let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
                next.world.command(Command::PutPolicy { arn: self.our_key()?, policy }).unwrap();
            }
            Act::Rebuild => {
                self.key.status.as_ref()?;
                let mut key = (*self.key).clone();
                (key.status, key.metadata.finalizers) = (None, None);
                bump(&mut key);
                (next.key, next.process) = (Arc::new(key), Process::default());
                next.ghost.right_looks.clear();
                next.ghost.rebuilt = true;
            }
            Act::Edit => {
                if self.key.metadata.generation != Some(1) {
                    return None;
                }
                let mut key = (*self.key).clone();
                key.spec.key.description = Some("another".to_owned());
                key.metadata.generation = Some(2);
                bump(&mut key);
                next.key = Arc::new(key);
            }
            Act::Unregister => {
                self.world.true_registration(ORGANIZATION, KIND, REGIONS[1])?;
                next.world.edit_astra_org(ORGANIZATION, |org| org.forget_registration(KIND, REGIONS[1]));
            }
        }
        Some(next)
    }

    /// The key of the primary region.
    fn our_key(&self) -> Option<String> {
        self.world.true_alias(ACCOUNT, REGIONS[0], ALIAS).map(ToOwned::to_owned)
    }

    /// The next moment at which anything can be decided differently than now.
    fn next_moment(&self, config: &Config) -> Option<Moment> {
        let settings = &config.settings;
        let mut all = self.process.moments(settings);
        for region in self.key.status.iter().flat_map(|s| &s.regions) {
            let at = |time: &cmk_operator::api::condition::Time| Moment(time.0.as_millisecond());
            all.extend(region.creation.as_ref().map(|c| at(&c.started_at) + settings.create_settle));
            all.extend(region.registration.as_ref().map(|r| at(&r.started_at) + settings.deploy_settle));
        }
        if let Some(creation) = self.cluster.status.as_ref().and_then(|s| s.creation.as_ref()) {
            all.push(Moment(creation.started_at.0.as_millisecond()) + settings.deploy_settle);
        }
        for database in self.world.true_databases(ORGANIZATION) {
            all.push(Moment(database.created_at_ms + LAG));
            all.extend(database.datacenters.iter().map(|d| Moment(d.ready_at_ms)));
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
        !self.key.status.iter().flat_map(|s| &s.regions).any(|r| r.key_arn.as_deref() == Some(arn))
    }

    /// Everything that can go wrong next, as far as a menu has it.
    pub(crate) fn faults(&self, menu: Menu, config: &Config) -> Vec<Act> {
        let mut all = Vec::new();
        let could_be_stale = |age: i64| self.world.changed_after(self.world.now_ms() - age);
        let (stale_just, stale_far) = (could_be_stale(1), could_be_stale(LAG));
        for who in [Who::Key, Who::Cluster] {
            let (_, report) = self.pass(who, Disturbance::Nothing, config);
            for (n, (_, access)) in report.calls.iter().enumerate() {
                let mut call = |wanted: bool, trouble: Trouble| {
                    if wanted {
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
            }
        }
        if menu.crash {
            all.push(Act::Crash);
        }
        if menu.delay {
            all.push(Act::Delay);
        }
        if menu.people {
            all.extend([Act::Disable, Act::Doom, Act::Strip, Act::Rebuild, Act::Edit]);
        }
        if menu.support {
            all.push(Act::Unregister);
        }
        all
    }
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

fn print_object<K: Kind>(object: &K, print: &mut Print) {
    print.write_i64(object.meta().generation.unwrap_or_default());
    print.write_usize(object.meta().finalizers.as_ref().map_or(0, Vec::len));
    let Some(status) = object.status() else { return print.write_u8(0) };
    print.write_i64(K::observed_generation(status).unwrap_or_default());
    for condition in K::conditions(status) {
        (&condition.status, &condition.reason, condition.observed_generation).hash(print);
    }
    print_memory(&K::remember(Some(status)), print);
}

fn print_memory(memory: &Memory, print: &mut Print) {
    let Memory {
        version: _,
        was_ready,
        unseen_since,
        regions,
        database,
        deploying,
        claims,
        deletion,
        looks: _,
        looked: _,
        recent: _,
        policy_writes: _,
    } = memory;
    was_ready.hash(print);
    unseen_since.is_some().hash(print);
    for (name, region) in regions {
        name.as_str().hash(print);
        region.key.is_some().hash(print);
        region.creating.hash(print);
        region.registering.hash(print);
        region.registered.hash(print);
        (&region.key_state, &region.policy_hash, &region.principals).hash(print);
        (&region.deployment, region.gate_was_open, &region.removal).hash(print);
    }
    (claims, deletion).hash(print);
    database.hash(print);
    deploying.hash(print);
}
