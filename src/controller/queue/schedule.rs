//! Which object's pass starts next. Synchronous: no clock, no task, no channel; time is passed in.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;

/// The two lanes of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Somebody waits for it: a changed spec, a request, the slot of a quota that was reserved.
    Fresh,
    /// Nobody waits for it: the periodic look, a retry, the first listing after a start.
    Resync,
}

impl Lane {
    /// The word used as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Fresh => "fresh",
            Lane::Resync => "resync",
        }
    }
}

/// When and in which lane an object wants its next pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Monotonic milliseconds.
    pub at_ms: i64,
    /// The lane it enters at that time.
    pub lane: Lane,
}

/// What a finished pass says about its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Nothing to do until the next trigger; the queue keeps no memory of the object.
    Idle,
    /// Look again then, or earlier if something triggers.
    Again(Due),
    /// The object does not exist any more.
    Gone,
}

/// How many objects are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready in the fresh lane.
    pub fresh: usize,
    /// Ready in the resync lane.
    pub resync: usize,
    /// Waiting for their time.
    pub later: usize,
    /// In a pass.
    pub running: usize,
}

/// The state of the queue: every known object is in exactly one place.
///
/// # Guarantees
///
/// - Never two passes at once for one object, never more than `concurrency` in all.
/// - First in, first out within a lane; waiting is counted from when the object first became ready, so moving to
///   the fresh lane costs no place.
/// - While resyncs wait, at most `fresh_in_a_row` fresh passes start between two of them; while fresh ones wait, at
///   most one resync starts between two of those. Neither lane can starve the other, whatever arrives.
/// - However many triggers arrive during a pass, exactly one more pass follows, at once.
/// - The earliest wish holds: an earlier time or a trigger replaces a later one, never the other way round.
///
/// Every operation is logarithmic in the number of objects.
#[derive(Debug)]
pub struct Schedule<K> {
    concurrency: usize,
    fresh_in_a_row: usize,
    /// Fresh passes started since the last resync, while resyncs were waiting.
    fresh_run: usize,
    tickets: u64,
    places: HashMap<K, Place>,
    /// Ordered by ticket, that is by arrival; a map and not a deque because an object leaves from the middle when it
    /// changes lanes or is forgotten.
    fresh: BTreeMap<u64, Waiting<K>>,
    resync: BTreeMap<u64, Waiting<K>>,
    /// Ordered by due time, then by arrival.
    later: BTreeMap<(i64, u64), K>,
    running: usize,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ready { lane: Lane, ticket: u64 },
    Later { due: Due, ticket: u64 },
    Running { lane: Lane, wish: Wish, forgotten: bool },
}

/// What was asked for while the pass was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    At(Due),
    AtOnce(Lane),
}

#[derive(Debug)]
struct Waiting<K> {
    key: K,
    since_ms: i64,
}

impl<K: Clone + Eq + Hash + Ord + Debug> Schedule<K> {
    /// An empty schedule. Zero is taken as one in both limits.
    pub fn new(concurrency: usize, fresh_in_a_row: usize) -> Self {
        Self {
            concurrency: concurrency.max(1),
            fresh_in_a_row: fresh_in_a_row.max(1),
            fresh_run: 0,
            tickets: 0,
            places: HashMap::new(),
            fresh: BTreeMap::new(),
            resync: BTreeMap::new(),
            later: BTreeMap::new(),
            running: 0,
        }
    }

    /// Something happened to the object: it wants a pass as soon as there is room.
    pub fn trigger(&mut self, key: K, lane: Lane, now_ms: i64) {
        match self.places.get_mut(&key) {
            None => self.make_ready(key, lane, now_ms),
            Some(Place::Running { wish, .. }) => {
                *wish = match *wish {
                    Wish::AtOnce(earlier) => Wish::AtOnce(earlier.min(lane)),
                    Wish::Nothing | Wish::At(_) => Wish::AtOnce(lane),
                };
            }
            Some(Place::Later { due, ticket }) => {
                let slot = (due.at_ms, *ticket);
                self.later.remove(&slot);
                self.make_ready(key, lane, now_ms);
            }
            Some(Place::Ready { lane: at, ticket }) => {
                // It keeps its ticket: in the fresh lane it stands where its waiting so far puts it.
                if lane < *at
                    && let Some(waiting) = self.resync.remove(ticket)
                {
                    *at = lane;
                    self.fresh.insert(*ticket, waiting);
                }
            }
        }
    }

    /// The object wants a pass at that time; an earlier wish stands.
    pub fn trigger_at(&mut self, key: K, wanted: Due, now_ms: i64) {
        if wanted.at_ms <= now_ms {
            return self.trigger(key, wanted.lane, now_ms);
        }
        match self.places.get_mut(&key) {
            None => self.make_later(key, wanted),
            Some(Place::Ready { .. }) => {}
            Some(Place::Running { wish, .. }) => match *wish {
                Wish::Nothing => *wish = Wish::At(wanted),
                Wish::At(due) if wanted.at_ms < due.at_ms => *wish = Wish::At(wanted),
                Wish::At(_) | Wish::AtOnce(_) => {}
            },
            Some(Place::Later { due, ticket }) => {
                if wanted.at_ms < due.at_ms {
                    let slot = (due.at_ms, *ticket);
                    self.later.remove(&slot);
                    self.make_later(key, wanted);
                }
            }
        }
    }

    /// Drops an object that is gone. A pass in flight ends, and the object comes back only if triggered after this.
    pub fn forget(&mut self, key: &K) {
        match self.places.get_mut(key) {
            None => {}
            Some(Place::Running { wish, forgotten, .. }) => {
                *wish = Wish::Nothing;
                *forgotten = true;
            }
            Some(Place::Ready { lane, ticket }) => {
                match lane {
                    Lane::Fresh => self.fresh.remove(ticket),
                    Lane::Resync => self.resync.remove(ticket),
                };
                self.places.remove(key);
            }
            Some(Place::Later { due, ticket }) => {
                let slot = (due.at_ms, *ticket);
                self.later.remove(&slot);
                self.places.remove(key);
            }
        }
    }

    /// Moves what is due into its lane.
    pub fn advance(&mut self, now_ms: i64) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now_ms {
                break;
            }
            let key = entry.remove();
            let lane = match self.places.get(&key) {
                Some(Place::Later { due, .. }) => due.lane,
                _ => Lane::Resync,
            };
            self.make_ready(key, lane, now_ms);
        }
    }

    /// Takes the object whose pass starts now; `None` when there is no room or nobody waits.
    pub fn start(&mut self) -> Option<K> {
        if self.running >= self.concurrency {
            return None;
        }
        let resync_waits = !self.resync.is_empty();
        let turn_of_resync = self.fresh.is_empty() || self.fresh_run >= self.fresh_in_a_row;
        let (lane, taken) = if resync_waits && turn_of_resync {
            self.fresh_run = 0;
            (Lane::Resync, self.resync.pop_first())
        } else {
            self.fresh_run = if resync_waits { self.fresh_run + 1 } else { 0 };
            (Lane::Fresh, self.fresh.pop_first())
        };
        let (_, Waiting { key, .. }) = taken?;
        self.running += 1;
        let place = Place::Running { lane, wish: Wish::Nothing, forgotten: false };
        self.places.insert(key.clone(), place);
        Some(key)
    }

    /// The pass of this object is over.
    pub fn finish(&mut self, key: &K, finished: Finished, now_ms: i64) {
        let Some(Place::Running { wish, forgotten, .. }) = self.places.get(key).copied() else {
            return;
        };
        self.running -= 1;
        self.places.remove(key);
        let own = match finished {
            Finished::Again(due) if !forgotten => Some(due),
            Finished::Again(_) | Finished::Idle | Finished::Gone => None,
        };
        let next = match (wish, own) {
            (Wish::AtOnce(lane), _) => return self.make_ready(key.clone(), lane, now_ms),
            // A look at a later time was asked for before the pass found that there is nothing to look at.
            (Wish::At(_), _) if finished == Finished::Gone => None,
            (Wish::At(asked), Some(own)) => Some(if own.at_ms < asked.at_ms { own } else { asked }),
            (Wish::At(asked), None) => Some(asked),
            (Wish::Nothing, own) => own,
        };
        if let Some(due) = next {
            self.trigger_at(key.clone(), due, now_ms);
        }
    }

    /// The lane from which the pass in flight for this object was started.
    pub fn running_in(&self, key: &K) -> Option<Lane> {
        match self.places.get(key) {
            Some(Place::Running { lane, .. }) => Some(*lane),
            _ => None,
        }
    }

    /// Whether the object is anywhere in here.
    pub fn knows(&self, key: &K) -> bool {
        self.places.contains_key(key)
    }

    /// The moment at which [`advance`](Self::advance) has something to do.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.later.first_key_value().map(|((at, _), _)| *at)
    }

    /// How many objects are where.
    pub fn depth(&self) -> Depth {
        Depth { fresh: self.fresh.len(), resync: self.resync.len(), later: self.later.len(), running: self.running }
    }

    /// Since when the object that is ready longest has been waiting.
    pub fn oldest_since_ms(&self) -> Option<i64> {
        let first = |lane: &BTreeMap<u64, Waiting<K>>| lane.first_key_value().map(|(_, w)| w.since_ms);
        match (first(&self.fresh), first(&self.resync)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn make_ready(&mut self, key: K, lane: Lane, now_ms: i64) {
        let ticket = self.ticket();
        self.places.insert(key.clone(), Place::Ready { lane, ticket });
        let waiting = Waiting { key, since_ms: now_ms };
        match lane {
            Lane::Fresh => self.fresh.insert(ticket, waiting),
            Lane::Resync => self.resync.insert(ticket, waiting),
        };
    }

    fn make_later(&mut self, key: K, due: Due) {
        let ticket = self.ticket();
        self.places.insert(key.clone(), Place::Later { due, ticket });
        self.later.insert((due.at_ms, ticket), key);
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

#[cfg(test)]
mod tests;
