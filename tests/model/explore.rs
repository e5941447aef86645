//! The exploration: every state that is reached with at most so many faults, each once.
//!
//! States are taken in order of the fewest faults that lead to them. A state that was reached with fewer faults has
//! more of them left, so nothing is lost by keeping it only once. Without a fault there are five transitions; the
//! states of the last layer, by far the most, are not kept but for their fingerprints.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cmk_operator::plan::step::Site;

use super::act::{Act, Disturbance, Who};
use super::judge::Violation;
use super::lab::lock;
use super::node::Node;
use super::scene::{Config, Menu};

/// The transitions of every state that are no faults, in the order of a calm schedule.
pub(crate) const CALM: [Act; 5] = [
    Act::Repair,
    Act::Resume,
    Act::Pass(Who::Key, Disturbance::Nothing),
    Act::Pass(Who::Cluster, Disturbance::Nothing),
    Act::Wait,
];

/// What is kept of a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// How it was first reached; the first state from itself.
    from: u128,
    by: Act,
    pub(crate) depth: u16,
    /// Whether both objects may stay as they are.
    pub(crate) rests: bool,
    /// Where the calm transitions lead, and whether they wrote anything.
    pub(crate) calm: [(u128, bool); 5],
}

/// A fingerprint is its own hash.
#[derive(Clone, Copy, Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u128(&mut self, value: u128) {
        self.0 = (value >> 64) as u64;
    }
}

pub(crate) type Graph = HashMap<u128, Kept, BuildHasherDefault<AsIs>>;

const SHARDS: usize = 64;

/// What an exploration found.
pub(crate) struct Found {
    pub(crate) graph: Graph,
    pub(crate) transitions: usize,
    pub(crate) sites: BTreeSet<Site>,
    /// What went wrong with which call, by how often it was tried.
    pub(crate) troubles: BTreeMap<String, usize>,
    pub(crate) deepest: u16,
    pub(crate) layers: Vec<usize>,
    pub(crate) took: Duration,
    pub(crate) violation: Option<(Vec<Act>, Violation)>,
    pub(crate) gave_up: bool,
}

struct Run<'c> {
    config: &'c Config,
    shards: Vec<Mutex<Graph>>,
    states: AtomicUsize,
    transitions: AtomicUsize,
    over: AtomicBool,
    violation: Mutex<Option<(u128, Act, Violation)>>,
    sites: Mutex<BTreeSet<Site>>,
    troubles: Mutex<BTreeMap<String, usize>>,
}

/// Explores.
pub(crate) fn explore(config: &Config) -> Found {
    let began = Instant::now();
    let run = Run {
        config,
        shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        states: AtomicUsize::new(0),
        transitions: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        violation: Mutex::new(None),
        sites: Mutex::default(),
        troubles: Mutex::default(),
    };
    let first = Node::first(config);
    let print = first.print(config);
    run.meet(print, print, Act::Wait, 0, &first);
    let mut layer = Mutex::new(Vec::new());
    run.calm_closure(vec![(print, Arc::new(first), 0)], (!config.menus.is_empty()).then_some(&layer));
    let mut layers = vec![run.states.load(Ordering::Relaxed)];
    for (n, menu) in config.menus.iter().enumerate() {
        let from = std::mem::take(lock(&layer).as_mut() as &mut Vec<_>);
        let last = n + 1 == config.menus.len();
        run.fault_layer(&from, *menu, (!last).then_some(&layer));
        layers.push(run.states.load(Ordering::Relaxed) - layers.iter().sum::<usize>());
        if run.over.load(Ordering::Relaxed) {
            break;
        }
    }
    layer.get_mut().unwrap().clear();
    run.found(began, layers)
}

type Pending = (u128, Arc<Node>, u16);

impl Run<'_> {
    fn shard(&self, print: u128) -> &Mutex<Graph> {
        &self.shards[(print % SHARDS as u128) as usize]
    }

    /// Takes note of a state. Whether it is new.
    fn meet(&self, print: u128, from: u128, by: Act, depth: u16, node: &Node) -> bool {
        let mut shard = lock(self.shard(print));
        if shard.contains_key(&print) {
            return false;
        }
        shard.insert(print, Kept { from, by, depth, rests: node.rests(&self.config.scene), calm: [(0, false); 5] });
        let states = self.states.fetch_add(1, Ordering::Relaxed);
        if states >= self.config.limit {
            self.over.store(true, Ordering::Relaxed);
        }
        if states % 20_000 == 19_999 {
            println!("  {} states, {} transitions", states + 1, self.transitions.load(Ordering::Relaxed));
        }
        true
    }

    /// One transition: where it leads, and whether that is new; nothing if it is not possible or breaks an invariant.
    fn step(&self, at: &Pending, act: Act) -> Option<(u128, bool, Option<Pending>)> {
        let (print, node, depth) = at;
        let (next, report) = node.apply(act, self.config)?;
        self.transitions.fetch_add(1, Ordering::Relaxed);
        if !report.sites.is_empty() {
            lock(&self.sites).extend(report.sites.iter().copied());
        }
        if let Act::Pass(who, disturbance) = act
            && let Some(name) = name(who, disturbance, &report.calls)
        {
            *lock(&self.troubles).entry(name).or_default() += 1;
        }
        if let Some(violation) = report.violation {
            lock(&self.violation).get_or_insert((*print, act, violation));
            self.over.store(true, Ordering::Relaxed);
            return None;
        }
        let to = next.print(self.config);
        // A write of words alone leads to where it began; only if it is made again and again is it one.
        let again = || next.apply(act, self.config).is_some_and(|(_, again)| again.wrote);
        let wrote = report.wrote && (to != *print || again());
        let new = self.meet(to, *print, act, depth + 1, &next);
        Some((to, wrote, new.then(|| (to, Arc::new(next), depth + 1))))
    }

    /// Everything that the given new states lead to without a fault.
    fn calm_closure(&self, mut pending: Vec<Pending>, keep: Option<&Mutex<Vec<Pending>>>) {
        while let Some(at) = pending.pop() {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let mut calm = [(at.0, false); 5];
            for (n, act) in CALM.into_iter().enumerate() {
                // Time passes by itself only when there is nothing to do; else a pass is late, and that is a fault.
                if act == Act::Wait && (calm[2].0 != at.0 || calm[3].0 != at.0) {
                    continue;
                }
                if let Some((to, wrote, new)) = self.step(&at, act) {
                    calm[n] = (to, wrote);
                    pending.extend(new);
                }
            }
            if let Some(kept) = lock(self.shard(at.0)).get_mut(&at.0) {
                kept.calm = calm;
            }
            if let Some(keep) = keep {
                lock(keep).push(at);
            }
        }
    }

    /// One fault from each of the given states, and everything that follows without another.
    fn fault_layer(&self, from: &[Pending], menu: Menu, keep: Option<&Mutex<Vec<Pending>>>) {
        let turn = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(at) = from.get(turn.fetch_add(1, Ordering::Relaxed)) {
                        for act in at.1.faults(menu, self.config) {
                            if self.over.load(Ordering::Relaxed) {
                                return;
                            }
                            if let Some((_, _, Some(new))) = self.step(at, act) {
                                self.calm_closure(vec![new], keep);
                            }
                        }
                    }
                });
            }
        });
    }

    fn found(self, began: Instant, layers: Vec<usize>) -> Found {
        let mut graph = Graph::default();
        for shard in self.shards {
            graph.extend(shard.into_inner().unwrap());
        }
        let violation = self.violation.into_inner().unwrap();
        let gave_up = violation.is_none() && self.over.load(Ordering::Relaxed);
        let violation = violation.map(|(at, act, violation)| {
            let mut path = path(&graph, at);
            path.push(act);
            (path, violation)
        });
        Found {
            transitions: self.transitions.into_inner(),
            sites: self.sites.into_inner().unwrap(),
            troubles: self.troubles.into_inner().unwrap(),
            deepest: graph.values().map(|kept| kept.depth).max().unwrap_or_default(),
            layers,
            took: began.elapsed(),
            violation,
            gave_up,
            graph,
        }
    }
}

fn name(who: Who, disturbance: Disturbance, calls: &[(String, cmk_operator::sandbox::Access)]) -> Option<String> {
    match disturbance {
        Disturbance::Nothing => None,
        Disturbance::Call(n, trouble) => {
            let call = calls.get(usize::from(n)).map_or("", |(operation, _)| operation.as_str());
            Some(format!("{call} {trouble:?}"))
        }
        Disturbance::Write(_, clash) => Some(format!("{who:?} object {clash:?}")),
        Disturbance::Dies(_) => Some(format!("{who:?} pass Dies")),
        Disturbance::Overtaken(_) => Some(format!("{who:?} pass Overtaken")),
        Disturbance::Frozen(_) => Some(format!("{who:?} pass Frozen")),
        Disturbance::Stops(_) => Some(format!("{who:?} pass Stops")),
        Disturbance::Flies(_) => Some(format!("{who:?} pass Flies")),
    }
}

/// How a state was first reached.
pub(crate) fn path(graph: &Graph, to: u128) -> Vec<Act> {
    let (mut path, mut at) = (Vec::new(), to);
    while let Some(kept) = graph.get(&at).filter(|kept| kept.from != at) {
        path.push(kept.by);
        at = kept.from;
    }
    path.reverse();
    path
}

/// The violation at the end of a path, if there still is one.
fn replay(path: &[Act], config: &Config) -> Option<(usize, Violation)> {
    let mut node = Node::first(config);
    for (n, act) in path.iter().enumerate() {
        let Some((next, report)) = node.apply(*act, config) else { continue };
        if let Some(violation) = report.violation {
            return Some((n + 1, violation));
        }
        node = next;
    }
    None
}

/// A path to a violation of the same invariant from which nothing can be left out.
pub(crate) fn shortened(path: &[Act], violation: &Violation, config: &Config) -> Vec<Act> {
    let mut path = path.to_vec();
    let mut at = 0;
    while at < path.len() {
        let mut shorter = path.clone();
        shorter.remove(at);
        match replay(&shorter, config) {
            Some((length, found)) if found.invariant == violation.invariant => {
                shorter.truncate(length);
                path = shorter;
                at = 0;
            }
            _ => at += 1,
        }
    }
    path
}

/// A path as lines of text: what happened, and what it wrote.
pub(crate) fn told(path: &[Act], config: &Config) -> String {
    let mut node = Node::first(config);
    let mut lines = Vec::new();
    let began = node.now();
    for act in path {
        let Some((next, report)) = node.apply(*act, config) else { continue };
        let seconds = next.now().since(began).as_seconds();
        let sites: Vec<_> = report.sites.iter().map(|site| site.as_str()).collect();
        let struck = match act {
            Act::Pass(_, Disturbance::Call(n, _)) => report.calls.get(usize::from(*n)).map(|(call, _)| call.clone()),
            _ => None,
        };
        lines.push(format!("  {seconds:>4} s  {act:?} {} {}", struck.unwrap_or_default(), sites.join(", ")));
        node = next;
    }
    lines.join("\n")
}
