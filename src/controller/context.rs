//! What every pass shares, and the little that this process remembers of each object.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::runtime::events::Recorder;

use crate::clock::Clock;
use crate::controller::queue::{Handle, Lane};
use crate::controller::schemas::Schemas;
use crate::controller::slots::Slots;
use crate::controller::watch::News;
use crate::domain::condition::Reason;
use crate::domain::fault::Cause;
use crate::domain::id::{Name, Region};
use crate::domain::memory::{LastLooks, Looks, Memory, PolicyWrite, Subject};
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::Depth;
use crate::execute::{Outcome, Witness};
use crate::leader::Leadership;
use crate::plan::step::Step;
use crate::plan::{NextLook, Plan, Settings};
use crate::ports::{Authority, KeyService, Upstream};
use crate::telemetry::metrics::Metrics;

/// The namespace and name of an object.
pub type ObjectName = (String, String);

/// How passes behave beside the planner's settings.
#[derive(Clone, Copy, Debug)]
pub struct Pacing {
    /// The longest a pass may take.
    pub deadline: Duration,
    /// Between looks at a Secret that keeps an object from going on.
    pub secret_poll: Duration,
    /// The longest pause between looks at something that is on its way.
    pub slowest_poll: Duration,
    /// The longest pause after a failure; tests shorten it.
    pub longest_backoff: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(45),
            secret_poll: Duration::from_secs(10),
            slowest_poll: Duration::from_mins(1),
            longest_backoff: Duration::from_hours(1),
        }
    }
}

/// What every pass shares.
pub struct Context<A, U> {
    /// The Kubernetes client.
    pub client: Client,
    /// AWS.
    pub keys: A,
    /// The database clouds.
    pub upstream: U,
    /// Which secret keys the clouds need.
    pub lacking: fn(crate::domain::capabilities::Cloud, &BTreeMap<String, String>) -> Vec<String>,
    /// The name of this installation.
    pub installation: Name,
    /// The planner's settings.
    pub settings: Settings,
    /// How passes behave.
    pub pacing: Pacing,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether this process may act.
    pub leadership: Arc<Leadership>,
    /// Who is told of every effect.
    pub witness: Arc<dyn Witness>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Publishes events.
    pub recorder: Recorder,
    /// What this process remembers of keys.
    pub key_notes: Notes,
    /// What this process remembers of clusters.
    pub cluster_notes: Notes,
    /// Which clusters refer to which key, as far as their passes have told.
    pub users: Users,
    /// Who claims which registration.
    pub slots: Slots,
    /// Whether the served CRDs hold all that has to be remembered.
    pub schemas: Schemas,
    /// Triggers passes of keys.
    pub key_queue: Handle<ObjectName>,
    /// Triggers passes of clusters.
    pub clusters: Handle<ObjectName>,
    /// The namespaces that are watched; none: all.
    pub namespaces: Vec<String>,
}

impl<A: KeyService, U: Upstream> Context<A, U> {
    /// Takes note of what a watch of keys tells. A watch that lists anew has told of everything before.
    pub fn heard(&self, news: News<'_>, listed: &AtomicBool) {
        match news {
            News::There(key) => self.slots.heard_of(key),
            News::Changed(key) => self.key_changed(key),
            News::Listed => {
                if !listed.swap(true, Ordering::Relaxed) {
                    self.slots.listed();
                }
            }
        }
    }

    /// Triggers the clusters that refer to a key.
    pub fn key_changed(&self, key: &ObjectName) {
        for cluster in self.users.of(key) {
            self.clusters.trigger(cluster, Lane::Fresh);
        }
    }
}

impl<A, U> Context<A, U> {
    /// Triggers keys, as those whose rival gave up a claim.
    pub fn trigger_keys(&self, keys: Vec<ObjectName>) {
        for key in keys {
            self.key_queue.trigger(key, Lane::Fresh);
        }
    }

    /// Triggers the keys that a cluster refers to: one of them may wait for it to go.
    pub fn cluster_changed(&self, cluster: &ObjectName) {
        for key in self.users.keys_of(cluster) {
            self.key_queue.trigger(key, Lane::Fresh);
        }
    }
}

impl Authority for Leadership {
    fn may_act(&self) -> bool {
        Self::may_act(self)
    }
}

/// What this process remembers of one object. A new process starts without it.
#[derive(Clone, Debug, Default)]
pub struct Note {
    looks: BTreeMap<Subject, Looks>,
    recent: BTreeMap<u64, Moment>,
    policy_writes: BTreeMap<Region, Vec<PolicyWrite>>,
    unknown_principals: BTreeMap<Region, Moment>,
    refused_roles: BTreeMap<Region, Moment>,
    looked: LastLooks,
    /// The look that is due next, and when.
    due: Option<(Moment, Depth)>,
    /// How often in a row the object was found still on its way.
    polls: u32,
    /// How often in a row a pass was put off because the claims of other objects were not known.
    pub put_off: u32,
    /// The version of the object that this process last read or wrote, and a number for what its status remembered.
    pub seen: Option<(String, u64)>,
    /// How often in a row the same version remembered something else.
    pub pruned: u32,
    /// The version of the Secret that did not work, the generation it was for, and when to look outside all the same.
    pub stuck_on: Option<(String, i64, Moment)>,
}

/// The notes of one kind's objects.
#[derive(Debug, Default)]
pub struct Notes(Mutex<HashMap<ObjectName, Note>>);

impl Notes {
    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The note of an object.
    pub fn get(&self, name: &ObjectName) -> Note {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    /// Keeps the note of an object.
    pub fn keep(&self, name: &ObjectName, note: Note) {
        self.lock().insert(name.clone(), note);
    }

    /// Forgets an object.
    pub fn forget(&self, name: &ObjectName) {
        self.lock().remove(name);
    }
}

impl Note {
    /// Adds what this process remembers to what status remembers.
    pub fn enrich(&self, memory: &mut Memory) {
        memory.looks.clone_from(&self.looks);
        memory.recent.clone_from(&self.recent);
        memory.policy_writes.clone_from(&self.policy_writes);
        memory.unknown_principals.clone_from(&self.unknown_principals);
        memory.refused_roles.clone_from(&self.refused_roles);
        memory.looked = self.looked;
    }

    /// Somebody asks for another attempt at what was given up for now.
    pub fn try_again(&mut self) {
        self.policy_writes.clear();
        self.stuck_on = None;
    }

    /// How much a pass looks at now: the look that was due, unless somebody asked for one before.
    pub fn depth(&self, now: Moment, settled: bool) -> Depth {
        match self.due {
            Some((due, depth)) if settled && now >= due => depth,
            _ => Depth::Everything,
        }
    }

    /// Takes note of a pass.
    pub fn passed(&mut self, depth: Depth, plan: &Plan, outcome: &Outcome, now: Moment, settings: &Settings) {
        let done = &outcome.done;
        self.refused(plan, outcome, now);
        self.looks.clone_from(&plan.looks);
        self.recent.retain(|_, at| now.since(*at) < settings.repair_holdoff);
        self.recent.extend(done.iter().filter(|step| step.is_outside()).map(|step| (step.effect(), now)));
        self.policy_writes.retain(|_, writes| {
            writes.retain(|write| now.since(write.at) < settings.contest);
            !writes.is_empty()
        });
        for step in done {
            let Step::PutPolicy { region, .. } = step else { continue };
            let wish = plan.regions.get(region).and_then(|report| report.policy_wish.clone()).unwrap_or_default();
            let writes = self.policy_writes.entry(region.clone()).or_default();
            // An author who goes back and forth undoes his own policy; only the same wish, unmet again, is a contest.
            writes.retain(|write| write.wish == wish);
            writes.push(PolicyWrite { wish, at: now });
        }
        if depth >= Depth::Policy {
            self.looked.policy = now;
        }
        if depth == Depth::Everything {
            self.looked.everything = now;
        }
    }

    /// Takes note of the policies that AWS refused because it does not know a principal, and forgets those that it took,
    /// or that need no write any more.
    fn refused(&mut self, plan: &Plan, outcome: &Outcome, now: Moment) {
        let written = |region: &Region| {
            outcome.done.iter().any(|step| matches!(step, Step::PutPolicy { .. }) && step.region() == Some(region))
        };
        let holds = |region: &Region| {
            plan.findings.iter().any(|f| f.reason == Reason::PoliciesHold && f.region.as_ref() == Some(region))
        };
        self.unknown_principals.retain(|region, _| !written(region) && !holds(region));
        let went = |region: &Region| {
            outcome
                .done
                .iter()
                .any(|step| matches!(step, Step::Role(_)) && step.is_outside() && step.region() == Some(region))
        };
        self.refused_roles.retain(|region, _| !went(region));
        for (step, fault) in &outcome.failed {
            if let (Step::Role(step), Cause::CloudRole) = (step, fault.cause) {
                self.refused_roles.entry(step.region().clone()).or_insert(now);
            }
            if let (Step::PutPolicy { region, .. }, Cause::Principal) = (step, fault.cause) {
                self.unknown_principals.entry(region.clone()).or_insert(now);
            }
        }
    }

    /// When to look again. Looks at something that is on its way grow rarer, from the given pause up to the slowest.
    pub fn next(&mut self, next: NextLook, now: Moment, slowest: Duration, jitter: f64) -> Duration {
        self.polls = if next.polling { self.polls.saturating_add(1) } else { 0 };
        let after = next.after.to_duration();
        let pause = if next.polling {
            after.saturating_mul(1 << (self.polls / 4).min(8)).min(slowest.max(after))
        } else if next.depth == Depth::Everything {
            after
        } else {
            after.mul_f64(0.9 + 0.2 * jitter)
        };
        self.due = Some((now + Span::from(pause), next.depth));
        pause
    }
}

/// Which clusters refer to which key.
#[derive(Debug, Default)]
pub struct Users(Mutex<HashMap<ObjectName, HashSet<ObjectName>>>);

impl Users {
    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, HashSet<ObjectName>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cluster refers to a key.
    pub fn refers(&self, cluster: &ObjectName, key: &ObjectName) {
        self.lock().entry(key.clone()).or_default().insert(cluster.clone());
    }

    /// The keys that a cluster refers to.
    pub fn keys_of(&self, cluster: &ObjectName) -> Vec<ObjectName> {
        let all = self.lock();
        all.iter().filter(|(_, users)| users.contains(cluster)).map(|(key, _)| key.clone()).collect()
    }

    /// A cluster is gone.
    pub fn forget(&self, cluster: &ObjectName) {
        self.lock().retain(|_, users| {
            users.remove(cluster);
            !users.is_empty()
        });
    }

    /// The clusters that refer to a key.
    pub fn of(&self, key: &ObjectName) -> Vec<ObjectName> {
        self.lock().get(key).map(|users| users.iter().cloned().collect()).unwrap_or_default()
    }
}
