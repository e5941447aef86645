//! Who claims which registration. A cloud has one slot per scope and region; of several objects that want it, the oldest
//! has it, and no other ever tries.
//!
//! The claims are told by the passes. Nobody is granted a slot while there is an object whose claim is not known: the
//! watch tells of every object before its pass can run, so an older one is always heard of first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::controller::context::ObjectName;
use crate::domain::capabilities::{Capabilities, Scope};
use crate::domain::desired::{DesiredKey, Rivals};
use crate::domain::id::Region;
use crate::domain::moment::Moment;

/// The claims of every object that this process watches.
#[derive(Debug)]
pub struct Slots(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    claims: HashMap<ObjectName, Claim>,
    /// Objects whose claim is not known yet.
    unread: HashSet<ObjectName>,
    /// Watches that have not told of everything there is.
    listings: usize,
}

/// What one object claims.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    /// Since when, and what tells two of the same second apart.
    since: (Moment, String),
    /// What; nothing for a spec that means nothing, or that only observes.
    what: Option<(Scope, Vec<Region>)>,
}

impl Claim {
    fn wants(&self, scope: &Scope, region: &Region) -> bool {
        let Scope { cloud, id, database_type, principal_role: _ } = scope;
        self.what.as_ref().is_some_and(|(own, regions)| {
            let here = regions.contains(region) || Capabilities::of(*cloud).one_key;
            own.cloud == *cloud && own.id == *id && own.database_type == *database_type && here
        })
    }
}

impl Inner {
    /// Who wants something of a claim.
    fn wanting(&self, claim: &Claim) -> Vec<ObjectName> {
        let wants = |other: &Claim| {
            other.what.as_ref().is_some_and(|(scope, regions)| regions.iter().any(|region| claim.wants(scope, region)))
        };
        self.claims.iter().filter(|(_, other)| wants(other)).map(|(name, _)| name.clone()).collect()
    }
}

impl Slots {
    /// No claim is known, and that many watches have yet to tell of everything there is.
    pub fn new(listings: usize) -> Self {
        Self(Mutex::new(Inner { claims: HashMap::new(), unread: HashSet::new(), listings }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is an object.
    pub fn heard_of(&self, name: &ObjectName) {
        let mut inner = self.lock();
        if !inner.claims.contains_key(name) {
            inner.unread.insert(name.clone());
        }
    }

    /// A watch has told of everything there is.
    pub fn listed(&self) {
        let mut inner = self.lock();
        inner.listings = inner.listings.saturating_sub(1);
    }

    /// An object claims what its spec declares; nothing, if that means nothing or only observes. Yields those that
    /// wanted what it claims no more.
    pub fn claims(&self, name: &ObjectName, since: (Moment, String), key: Option<&DesiredKey>) -> Vec<ObjectName> {
        let what =
            key.filter(|key| !key.observe_only).map(|key| (key.scope.clone(), key.regions.keys().cloned().collect()));
        let claim = Claim { since, what };
        let mut inner = self.lock();
        inner.unread.remove(name);
        match inner.claims.insert(name.clone(), claim.clone()) {
            Some(before) if before != claim => inner.wanting(&before),
            _ => Vec::new(),
        }
    }

    /// An object is gone. Yields those that wanted what it had.
    pub fn forget(&self, name: &ObjectName) -> Vec<ObjectName> {
        let mut inner = self.lock();
        inner.unread.remove(name);
        inner.claims.remove(name).map(|gone| inner.wanting(&gone)).unwrap_or_default()
    }

    /// Who claims what an object declares, and has done so for longer.
    pub fn rivals(&self, name: &ObjectName, key: &DesiredKey) -> Rivals {
        let inner = self.lock();
        let Some(own) = inner.claims.get(name) else { return Rivals { unknown: true, older: BTreeMap::new() } };
        let mut older: BTreeMap<Region, String> = BTreeMap::new();
        for region in key.regions.keys() {
            let claimants = inner
                .claims
                .iter()
                .filter(|(other, claim)| *other != name && claim.since < own.since && claim.wants(&key.scope, region));
            let Some((first, _)) = claimants.min_by_key(|(_, claim)| &claim.since) else { continue };
            // What another namespace holds is nobody's business but its own.
            let who = if first.0 == name.0 {
                format!("CustomerKey {}", first.1)
            } else {
                "an object of another namespace".to_owned()
            };
            older.insert(region.clone(), who);
        }
        Rivals { unknown: inner.listings > 0 || !inner.unread.is_empty(), older }
    }
}
