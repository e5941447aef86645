//! One pass, put together as `controller::pass` does it: remember, look, decide, check, act, render, write.

use std::collections::BTreeMap;
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
use cmk_operator::execute::{Hands, execute};
use cmk_operator::observe::observe;
use cmk_operator::plan::Pass;
use futures::FutureExt;

use super::act::{Disturbance, Who};
use super::lab::{Lab, Passing, lock};
use super::ledger::{Held, Shelf};
use super::print::Print;
use super::scene::{credentials, installation, vendor};
use super::wire::Wire;

/// What a process remembers of the two objects, and loses when it dies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    notes: [Noted; 2],
}

#[derive(Clone, Debug, Default)]
struct Noted {
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

/// A kind, and what its object declares.
trait Declares: Held {
    fn desired(&self, lab: &Lab<'_>) -> Desired;
}

impl Declares for CustomerKey {
    fn desired(&self, _: &Lab<'_>) -> Desired {
        Desired::Key(parse::customer_key(self, &installation()).unwrap())
    }
}

impl Declares for EncryptedCluster {
    fn desired(&self, lab: &Lab<'_>) -> Desired {
        let key = lab.key();
        let allowed = allows(&key, "team", &BTreeMap::new());
        let linked = LinkedKey { key: parse::customer_key(&key, &installation()).unwrap(), allowed };
        Desired::Cluster(parse::encrypted_cluster(self, Reading::Present(linked)).unwrap())
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

fn pass<K: Declares>(lab: &Lab<'_>, noted: &mut Noted, replica: &str) -> bool {
    let now = lab.now();
    let settings = &lab.config.settings;
    let devices = lab.config.devices.as_ref();
    let object: Arc<K> = lock(K::slot(lab)).clone();
    let generation = object.meta().generation.unwrap_or_default();
    let (desired, credentials) = (object.desired(lab), credentials());

    let mut memory = K::remember(object.status());
    noted.note.enrich(&mut memory);
    devices.memory(&mut memory);
    let settled = object.status().and_then(K::observed_generation) == Some(generation);
    let depth = noted.note.depth(now, settled);
    let nonce = format!("{}{replica}", lock(&lab.ghost).intents);
    let pass = Pass { now, nonce, settings: settings.clone() };
    let wire = Wire { lab, who: K::WHO };

    let mut observed = ready(observe(&wire, &wire, &desired, &credentials, &memory, depth, &pass));
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
    lock(&lab.tape).observed = Some(observed.clone());

    let decision = lab.config.memo.decide(&desired, &observed, &memory, &pass);
    let checked = match decision.as_ref() {
        Ok(checked) => checked,
        // A judge has noted it; nothing can be executed that `check` refused.
        Err(refused) => {
            lab.refused(&refused.to_string());
            return false;
        }
    };
    let plan = checked.plan();

    let mut shelf = Shelf::new(lab, object);
    let passing = Passing { lab, who: K::WHO };
    let hands = Hands {
        keys: &wire,
        upstream: &wire,
        ledger: &mut shelf,
        credentials: &credentials,
        authority: lab,
        clock: lab,
        witness: &passing,
    };
    let outcome = ready(execute(hands, &desired, checked));
    if lab.is_dead() {
        return true;
    }
    noted.note.passed(depth, plan, &outcome.done, now, settings);
    if outcome.over {
        return false;
    }
    let object = shelf.object().clone();
    let status = if plan.is_unchanged() && outcome.failed.is_empty() {
        None
    } else {
        K::render(object.status(), &desired, &memory, plan, &outcome, now)
    };
    if let Some(status) = status.filter(|status| object.status() != Some(status)) {
        use cmk_operator::execute::Witness;
        let _ = passing.before(cmk_operator::plan::step::Site::WriteStatus);
        let written = shelf.write(status);
        let _ = passing.after(cmk_operator::plan::step::Site::WriteStatus, written.as_ref().err());
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
        let failed = [seen.by_alias.fault(), seen.registration.fault(), seen.policy.fault(), seen.tags.fault()];
        if failed.iter().any(Option::is_some) || observed.caller.fault().is_some() || observed.scope.fault().is_some() {
            continue;
        }
        let arn = seen.by_alias.present().filter(|key| key.state == KeyState::Enabled).map(|key| key.arn.to_string());
        let right = arn.is_some()
            && seen.registration.present() == arn.as_ref()
            && seen.policy.present().is_some_and(|text| text.contains(&vendor(region.as_str())));
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
