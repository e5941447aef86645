//! One pass, put together as `controller::pass` does it: remember, look, decide, check, act, render, write.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use cmk_operator::api::parse::{self, allows};
use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::clock::Clock;
use cmk_operator::controller::context::Note;
use cmk_operator::domain::desired::{Desired, LinkedKey};
use cmk_operator::domain::id::{Region, tag};
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::moment::{Moment, Span};
use cmk_operator::domain::observed::{Depth, KeyState, Observed, RegionSeen};
use cmk_operator::domain::reading::Reading;
use cmk_operator::execute::{Hands, Witness, execute};
use cmk_operator::observe::{Credentials, Sight, observe};
use cmk_operator::plan::Pass;
use cmk_operator::plan::step::{Site, Step};
use cmk_operator::ports::{Authority, Endless};
use futures::FutureExt;

use super::act::{Disturbance, Who};
use super::files::{REGIONS, credentials, installation};
use super::lab::{Lab, Passing, lock};
use super::ledger::{Held, Shelf};
use super::memo::Decision;
use super::print::Print;
use super::stopped::{Snapshot, Stopped};
use super::truth::Truth;
use super::users::{self, Used};
use super::wire::Wire;

/// What a process remembers of the two objects, and loses when it dies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    notes: [Noted; 2],
}

/// What a process remembers of one object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    note: Note,
    /// The look that is due, where it is not a look at everything.
    due: Option<(Moment, Depth)>,
    /// Only where a device is out: what an earlier pass saw.
    seen: Option<BTreeMap<Region, RegionSeen>>,
}

/// What happened in the present pass, for the judges.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape {
    /// What it saw.
    pub(crate) observed: Option<Observed>,
    /// Whether something changed or was hidden behind its back, so that it cannot be held to the truth of the moment.
    pub(crate) disturbed: bool,
    /// Whether the effect that it makes now was on its way before.
    pub(crate) flies: bool,
    /// What it read of the objects.
    pub(crate) read: Read,
}

/// What a pass read of the objects, as it truly was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    /// Whether its object is being deleted, with what is outside or without.
    pub(crate) deleting: bool,
    pub(crate) tears_down: bool,
    /// The regions that its object declares.
    pub(crate) regions: BTreeSet<String>,
    /// The keys that the key's status recorded.
    pub(crate) recorded: BTreeSet<String>,
    /// What the user had confirmed.
    pub(crate) confirmed: BTreeSet<String>,
    /// The regions of the key that a cluster used, or wanted to.
    pub(crate) used: BTreeSet<String>,
    /// The regions whose key was being torn down, or was not declared by any key.
    pub(crate) torn: BTreeSet<String>,
}

impl Process {
    /// The moments at which something of what is remembered changes its meaning.
    pub(crate) fn moments(&self, settings: &cmk_operator::plan::Settings) -> Vec<Moment> {
        let mut all = Vec::new();
        for noted in &self.notes {
            let memory = noted.memory();
            all.extend(memory.looks.values().map(|looks| looks.last + settings.gate_spacing));
            all.extend(memory.recent.values().map(|made| *made + settings.repair_holdoff));
            all.extend(memory.policy_writes.values().flatten().map(|write| write.at + settings.contest));
            all.extend(memory.refused_roles.values().map(|since| *since + settings.deploy_settle));
            all.extend(noted.due.map(|(at, _)| at));
        }
        all
    }

    pub(crate) fn print(&self, print: &mut Print, now: Moment, settings: &cmk_operator::plan::Settings) {
        for Noted { note: _, due, seen } in &self.notes {
            let due = due.map(|(at, depth)| ((at.0 - now.0).max(0), depth as u8));
            let (left, depth) = due.unwrap_or((-1, 9));
            print.write_i64(left);
            print.write_u8(depth);
            if let Some(seen) = seen {
                print.write(format!("{seen:?}").as_bytes());
            }
        }
        for noted in &self.notes {
            let memory = noted.memory();
            for (subject, looks) in &memory.looks {
                subject.hash(print);
                print.write_u64(looks.fingerprint);
                print.write_u8(u8::try_from(looks.count.min(settings.gate_looks)).unwrap());
                print.age(looks.last, settings.gate_spacing.0);
            }
            for (effect, made) in &memory.recent {
                if now.since(*made) < settings.repair_holdoff {
                    print.write_u64(*effect);
                    print.moment(*made);
                }
            }
            for (region, since) in &memory.refused_roles {
                region.hash(print);
                print.age(*since, settings.deploy_settle.0);
            }
            for (region, writes) in &memory.policy_writes {
                region.hash(print);
                for write in writes.iter().filter(|write| now.since(write.at) < settings.contest) {
                    write.wish.hash(print);
                    print.age(write.at, settings.contest.0);
                }
            }
            if settings.resync > settings.state_interval {
                print.age(memory.looked.everything, settings.resync.0);
                print.age(memory.looked.policy, settings.policy_interval.0);
            }
        }
    }
}

impl Noted {
    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        self.note.enrich(&mut memory);
        memory
    }
}

/// A pass over one of the two objects. Whether the process died in it.
pub(crate) fn run(lab: &Lab<'_>, who: Who, process: &mut Process, replica: &str) -> bool {
    let noted = &mut process.notes[who as usize];
    let dead = match who {
        Who::Key => pass::<CustomerKey>(lab, noted, replica),
        Who::Cluster => pass::<EncryptedCluster>(lab, noted, replica),
    };
    if dead {
        *process = Process::default();
    }
    dead
}

/// Lets a stopped pass go on. What its process then remembers of the object.
pub(crate) fn resume(lab: &Lab<'_>, stopped: &Stopped) -> Noted {
    let mut going = stopped.clone();
    match &stopped.object {
        Snapshot::Key(key) => act(lab, key.clone(), &mut going),
        Snapshot::Cluster(cluster) => act(lab, cluster.clone(), &mut going),
    };
    going.noted
}

impl Process {
    /// Puts in place what it remembers of an object after a pass that had stopped.
    pub(crate) fn remember(&mut self, who: Who, noted: Noted) {
        self.notes[who as usize] = noted;
    }
}

/// A kind, and what its object declares.
trait Declares: Held + Used {
    fn desired(&self, lab: &Lab<'_>) -> Desired;
}

impl Declares for CustomerKey {
    fn desired(&self, lab: &Lab<'_>) -> Desired {
        let mut key = parse::customer_key(self, &installation()).unwrap();
        lab.config.scene.adjust(&mut key);
        // As `controller::dereference` lists them: only where something may be torn down.
        let declared = |name: &str| self.spec.regions.iter().any(|region| region.name == name);
        let left = self.status.iter().flat_map(|status| &status.regions).any(|region| !declared(&region.name));
        if left || (key.object.deleting && self.tears_down()) {
            key.users =
                Reading::Present(lab.cluster().iter().filter_map(|cluster| parse::user(cluster, self)).collect());
        }
        Desired::Key(key)
    }
}

impl Declares for EncryptedCluster {
    fn desired(&self, lab: &Lab<'_>) -> Desired {
        let linked = match lab.key() {
            Some(key) => {
                let allowed = allows(&key, "team", &BTreeMap::new());
                let mut key = parse::customer_key(&key, &installation()).unwrap();
                lab.config.scene.adjust(&mut key);
                Reading::Present(LinkedKey { key, allowed })
            }
            None => Reading::Absent,
        };
        Desired::Cluster(parse::encrypted_cluster(self, linked).unwrap())
    }
}

fn credentials_for(desired: &Desired) -> Credentials {
    desired.key().map_or_else(Credentials::default, |key| credentials(&key.scope))
}

/// What is true of the objects while a pass reads them.
fn read<K: Used>(lab: &Lab<'_>, object: &K) -> Read {
    let (key, cluster) = lab.objects();
    let owned = |regions: Vec<&str>| regions.into_iter().map(ToOwned::to_owned).collect::<BTreeSet<_>>();
    let user = key.as_ref().zip(cluster.as_ref()).and_then(|(key, cluster)| parse::user(cluster, key));
    let declared = key.as_ref().filter(|key| !users::is_deleting(&***key)).map(|key| owned(key.regions()));
    // One that clusters block was never begun: only a token says that it was.
    let removals = key.iter().flat_map(|key| key.removals());
    let begun = removals.filter(|(_, status)| status.confirmation_token.is_some());
    let leaving: Vec<&str> = begun.map(|(region, _)| region).collect();
    let torn = |region: &&str| {
        leaving.contains(region) || !declared.as_ref().is_some_and(|declared| declared.contains(*region))
    };
    let confirmed = &lock(&lab.ghost).confirmed[K::WHO as usize];
    let annotated = users::annotated(object);
    let shown = key.iter().flat_map(|key| &key.status).flat_map(|status| &status.regions);
    Read {
        recorded: shown.filter_map(|region| region.key_arn.clone()).collect(),
        deleting: users::is_deleting(object),
        tears_down: object.tears_down(),
        regions: owned(object.regions()),
        confirmed: annotated.iter().filter_map(|token| confirmed.get(token).cloned()).collect(),
        used: user.iter().flat_map(|user| &user.regions).map(ToString::to_string).collect(),
        torn: REGIONS.iter().copied().filter(torn).map(ToOwned::to_owned).collect(),
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

fn pass<K: Declares>(lab: &Lab<'_>, noted: &mut Noted, replica: &str) -> bool {
    let now = lab.now();
    let devices = lab.config.devices.as_ref();
    let Some(object) = lock(K::slot(lab)).clone() else {
        // The process learns that the object is gone, and forgets it.
        *noted = Noted::default();
        if K::WHO == Who::Cluster {
            lock(&lab.ghost).right_looks.clear();
        }
        return false;
    };
    lock(&lab.tape).read = read(lab, &*object);
    let generation = object.meta().generation.unwrap_or_default();
    let mut desired = object.desired(lab);

    let mut memory = K::remember(object.status());
    noted.note.enrich(&mut memory);
    devices.read(&mut desired, &mut memory);
    let credentials = credentials_for(&desired);
    let settled = object.status().and_then(K::observed_generation) == Some(generation) && !desired.object().deleting;
    let depth = noted.note.depth(now, settled);
    let nonce = {
        let ghost = lock(&lab.ghost);
        format!("{}.{}{replica}", ghost.intents, ghost.removals)
    };
    let pass = Pass { now, nonce, settings: lab.config.settings.clone() };
    let wire = Wire { lab, who: K::WHO };

    let sight = Sight { keys: &wire, upstream: &wire, patience: &Endless };
    let mut observed = ready(observe(sight, &desired, &credentials, &memory, depth, &pass));
    if devices.reuses_observation() && K::WHO == Who::Cluster {
        let good = !observed.regions.is_empty() && observed.regions.values().all(is_registered_and_noted);
        match &noted.seen {
            Some(seen) => observed.regions.clone_from(seen),
            None if good => noted.seen = Some(observed.regions.clone()),
            None => {}
        }
    }
    devices.observed(K::WHO, &mut observed);
    if K::WHO == Who::Cluster && depth == Depth::Everything {
        count_looks(lab, &observed);
    }
    let decision = lab.config.memo.decide(devices, &desired, &observed, &memory, &pass);
    lock(&lab.tape).observed = Some(observed);
    let tape = lock(&lab.tape).clone();
    let mut going = Stopped {
        who: K::WHO,
        began: now,
        at: 0,
        flies: false,
        deposed: false,
        object: K::snapshot(object.clone()),
        desired: Arc::new(desired),
        memory: Arc::new(memory),
        decision,
        depth,
        noted: std::mem::take(noted),
        answers: Vec::new(),
        tape,
    };
    let before = going.noted.clone();
    lock(&lab.answers).clear();
    let dead = act(lab, object, &mut going);
    if let Disturbance::Stops(at) | Disturbance::Flies(at) = lab.disturbance() {
        // It is not over, and its process remembers nothing of it yet.
        noted.clone_from(&before);
        going.noted = before;
        going.at = at;
        going.flies = matches!(lab.disturbance(), Disturbance::Flies(_));
        going.answers = std::mem::take(&mut *lock(&lab.answers));
        *lock(&lab.stopped) = Some(going);
    } else {
        *noted = going.noted;
    }
    dead
}

/// Acts on a decision, and writes down what came of it. Whether the process died in it.
fn act<K: Declares>(lab: &Lab<'_>, object: Arc<K>, going: &mut Stopped) -> bool {
    let Stopped { began: now, desired, memory, decision, depth, noted, .. } = going;
    let (now, decision): (Moment, Decision) = (*now, decision.clone());
    let settings = &lab.config.settings;
    let checked = match decision.as_ref() {
        Ok(checked) => checked,
        // A judge has noted it; nothing can be executed that `check` refused.
        Err(refused) => {
            lab.refused(&refused.to_string());
            return false;
        }
    };
    let plan = checked.plan();
    let wire = Wire { lab, who: K::WHO };
    let mut shelf = Shelf::new(lab, object);
    let passing = Passing { lab, who: K::WHO };
    let hands = Hands {
        keys: &wire,
        upstream: &wire,
        ledger: &mut shelf,
        credentials: &credentials_for(desired),
        authority: lab,
        clock: lab,
        witness: &passing,
    };
    let outcome = ready(execute(hands, desired, checked));
    if lab.is_dead() {
        return true;
    }
    if outcome.done.contains(&Step::AddFinalizer) {
        return false;
    }
    noted.note.passed(*depth, plan, &outcome, now, settings);
    if outcome.over || outcome.done.contains(&Step::RemoveFinalizer) {
        return false;
    }
    let object = shelf.object().clone();
    let status = if plan.is_unchanged() && outcome.failed.is_empty() {
        None
    } else {
        K::render(object.status(), desired, memory, plan, &outcome, now)
    };
    if let Some(status) = status.filter(|status| object.status() != Some(status)) {
        if !lab.may_act() || passing.before(Site::WriteStatus).is_break() {
            return false;
        }
        let written = shelf.write(status);
        let _ = passing.after(Site::WriteStatus, written.as_ref().err());
        if lab.is_dead() {
            return true;
        }
    }
    let pause = noted.note.next(plan.next_look, now, Duration::from_secs(10), 0.5);
    noted.due = Some((now + Span::from(pause), plan.next_look.depth)).filter(|(_, depth)| *depth != Depth::Everything);
    false
}

/// Whether a gate could open on this look, if it were one of several.
fn is_registered_and_noted(seen: &RegionSeen) -> bool {
    let noted = seen.tags.present().is_some_and(|tags| tags.contains_key(tag::REGISTERED_AT));
    noted && seen.registration.present().is_some()
}

/// Counts what a cluster's pass saw of each region, apart from the planner's own count. A look that failed says nothing.
fn count_looks(lab: &Lab<'_>, observed: &Observed) {
    let spacing = lab.config.settings.gate_spacing.0;
    let mut ghost = lock(&lab.ghost);
    for (region, seen) in &observed.regions {
        let failed = [
            seen.by_alias.fault(),
            seen.registration.fault(),
            seen.role.registration.fault(),
            seen.policy.fault(),
            seen.tags.fault(),
        ];
        if failed.iter().any(Option::is_some) || observed.caller.fault().is_some() || observed.scope.fault().is_some() {
            continue;
        }
        let arn = seen.by_alias.present().filter(|key| key.state == KeyState::Enabled).map(|key| key.arn.to_string());
        let through_role = seen.role.registration.present().filter(|found| found.usable).map(|found| &found.key);
        let registered = seen.registration.present().or(through_role);
        let user = Truth::of(&lab.clouds.world(), &lab.config.scene).user(region.as_str());
        let right = arn.is_some()
            && registered == arn.as_ref()
            && seen.policy.present().is_some_and(|text| text.contains(&user));
        let looks = ghost.right_looks.entry(region.to_string()).or_default();
        *looks = match *looks {
            _ if !right => (0, 0),
            (0, _) => (1, observed.at.0),
            (count, last) if observed.at.0 - last >= spacing => (count.saturating_add(1).min(3), observed.at.0),
            same => same,
        };
    }
}

impl Lab<'_> {
    /// Whether the process died where the disturbance says so.
    fn is_dead(&self) -> bool {
        let counts = lock(&self.counts);
        self.dies_at().is_some_and(|n| counts.effects > n) && !counts.asleep()
    }

    fn dies_at(&self) -> Option<u8> {
        match self.disturbance() {
            Disturbance::Dies(n) => Some(n),
            _ => None,
        }
    }
}
