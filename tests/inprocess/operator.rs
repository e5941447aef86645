//! One operator process: whoever is due has a pass, and time goes on to the next one who is. What it holds in memory is
//! gone when it dies.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use cmk_operator::api::{CustomerKey, EncryptedCluster, parse};
use cmk_operator::clock::Clock;
use cmk_operator::controller::backoff::{Failure, delay};
use cmk_operator::controller::context::Note;
use cmk_operator::controller::queue::Next;
use cmk_operator::domain::fault::FaultClass;
use cmk_operator::domain::moment::{Moment, Span};

use super::lab::Lab;
use super::pass::{Passed, pass};
use super::store::Held;
use super::turn::finish;

/// How long it takes until a process that died is there again.
const RESTART_MS: i64 = 1000;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Key(String),
    Cluster(String),
}

/// What a process knows of an object.
#[derive(Clone, Default)]
struct Mind {
    note: Note,
    due: Moment,
    /// What the watch told of last.
    print: u64,
    quiet: bool,
    strikes: Strikes,
}

/// A run of failures, as `controller::backoff` counts it.
#[derive(Clone, Default)]
struct Strikes {
    attempts: BTreeMap<FaultClass, u32>,
    calls: u32,
}

impl Strikes {
    fn wait(&mut self, failure: &Failure) -> Span {
        self.calls += failure.calls;
        let attempts = self.attempts.entry(failure.class).or_default();
        *attempts += 1;
        Span::from(delay(failure, *attempts, self.calls))
    }
}

/// One operator process after another.
#[derive(Clone, Default)]
pub struct Operator {
    minds: BTreeMap<Who, Mind>,
    /// How many passes there were.
    pub passes: u32,
}

impl Operator {
    /// Lets whoever is due first have a pass. Nothing, if there is no object.
    pub fn turn(&mut self, lab: &Lab) {
        self.watch(lab);
        let first = self.minds.iter().min_by_key(|(who, mind)| (mind.due, (*who).clone()));
        let Some((who, due)) = first.map(|(who, mind)| (who.clone(), mind.due)) else { return };
        lab.clouds.world().advance_to(due.0);
        self.passes += 1;
        let mind = self.minds.get_mut(&who).unwrap();
        let passed = match &who {
            Who::Key(name) => finish(pass::<CustomerKey>(lab, name, &mut mind.note)),
            Who::Cluster(name) => finish(pass::<EncryptedCluster>(lab, name, &mut mind.note)),
        };
        if passed.died {
            lab.tell(|| "the process died".to_owned());
            self.minds.clear();
            lab.trouble().take_dead();
            lab.clouds.world().advance(RESTART_MS);
            return;
        }
        self.passed(lab, &who, &passed);
    }

    fn passed(&mut self, lab: &Lab, who: &Who, passed: &Passed) {
        let mind = self.minds.get_mut(who).unwrap();
        mind.quiet = passed.quiet;
        let wait = match &passed.next {
            Next::Failed(failure) => mind.strikes.wait(failure),
            Next::After(pause, _) => {
                mind.strikes = Strikes::default();
                Span::from(*pause)
            }
            Next::Meanwhile(pause, _) => Span::from(*pause),
            Next::Done | Next::Gone => Span(0),
        };
        mind.due = lab.now() + wait;
        if let (true, Who::Key(key)) = (passed.wrote, who) {
            self.trigger_clusters_of(lab, key);
        }
    }

    /// Whether every object, but for those of which it is known, was found with nothing to do, and nothing has changed since.
    pub fn is_quiet(&mut self, lab: &Lab, but: &[Who]) -> bool {
        self.watch(lab);
        self.minds.iter().all(|(who, mind)| mind.quiet || but.contains(who))
    }

    /// What the watches tell: a change of spec, annotations or finalizers triggers a pass, and one of those who refer to
    /// the object; its own status does not.
    fn watch(&mut self, lab: &Lab) {
        let mut told: BTreeMap<Who, u64> = BTreeMap::new();
        let mut refers: Vec<(String, String)> = Vec::new();
        {
            let store = lab.store();
            told.extend(store.keys.iter().map(|(name, key)| (Who::Key(name.clone()), print(key))));
            told.extend(store.clusters.iter().map(|(name, cluster)| (Who::Cluster(name.clone()), print(cluster))));
            refers.extend(
                store.clusters.iter().flat_map(|(name, cluster)| keys_of(cluster).map(|key| (name.clone(), key))),
            );
        }
        let gone: Vec<Who> = self.minds.keys().filter(|who| !told.contains_key(*who)).cloned().collect();
        let known = |who: &Who, print: &u64| self.minds.get(who).is_some_and(|mind| mind.print == *print);
        let changed: Vec<Who> =
            told.iter().filter(|(who, print)| !known(who, print)).map(|(who, _)| who.clone()).collect();
        for who in &gone {
            self.minds.remove(who);
        }
        let now = lab.now();
        for (who, print) in told {
            let mind = self.minds.entry(who.clone()).or_default();
            if changed.contains(&who) {
                (mind.print, mind.due, mind.quiet) = (print, now, false);
            }
        }
        for who in gone.iter().chain(&changed) {
            match who {
                Who::Key(key) => self.trigger_clusters_of(lab, key),
                Who::Cluster(cluster) => {
                    let of: Vec<&String> =
                        refers.iter().filter(|(name, _)| name == cluster).map(|(_, key)| key).collect();
                    // Of one that is gone it is not known any more which key it referred to.
                    let keys = self.minds.iter_mut().filter_map(|(who, mind)| match who {
                        Who::Key(key) if of.is_empty() || of.contains(&key) => Some(mind),
                        _ => None,
                    });
                    for mind in keys {
                        (mind.due, mind.quiet) = (now, false);
                    }
                }
            }
        }
    }

    fn trigger_clusters_of(&mut self, lab: &Lab, key: &str) {
        let now = lab.now();
        let store = lab.store();
        for (who, mind) in &mut self.minds {
            let Who::Cluster(name) = who else { continue };
            if store.clusters.get(name).is_some_and(|cluster| keys_of(cluster).any(|of| of == key)) {
                (mind.due, mind.quiet) = (now, false);
            }
        }
    }
}

/// The keys that a cluster refers to.
fn keys_of(cluster: &EncryptedCluster) -> impl Iterator<Item = String> {
    [parse::key_ref(cluster)].into_iter().chain(parse::backup_key_ref(cluster)).map(|(_, name)| name)
}

/// A number that changes with everything that is worth a pass.
fn print<K: Held>(object: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    let meta = object.meta();
    (&meta.uid, meta.generation, &meta.finalizers, meta.deletion_timestamp.is_some(), &meta.annotations)
        .hash(&mut hasher);
    hasher.finish()
}
