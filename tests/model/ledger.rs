//! The API server, as far as a pass sees it: whole status writes and finalizers, each against the version that was
//! read. The same as `controller::ledger` does with a real one.

use std::sync::{Arc, Mutex};

use cmk_operator::api::{CustomerKey, EncryptedCluster, FINALIZER};
use cmk_operator::clock::Clock;
use cmk_operator::controller::kind::Kind;
use cmk_operator::ports::{Fault, FaultClass, Ledger, Record};

use super::act::{Clash, Who};
use super::judge::Event;
use super::lab::{Lab, lock};
use super::stopped::{Answer, Snapshot};
use super::truth::Truth;

/// A kind, and where its object is held.
pub(crate) trait Held: Kind {
    const WHO: Who;

    fn slot<'l>(lab: &'l Lab<'_>) -> &'l Mutex<Option<Arc<Self>>>;

    fn snapshot(object: Arc<Self>) -> Snapshot;

    fn of(snapshot: &Snapshot) -> Option<&Arc<Self>>;
}

impl Held for CustomerKey {
    const WHO: Who = Who::Key;

    fn slot<'l>(lab: &'l Lab<'_>) -> &'l Mutex<Option<Arc<Self>>> {
        lab.key_slot()
    }

    fn snapshot(object: Arc<Self>) -> Snapshot {
        Snapshot::Key(object)
    }

    fn of(snapshot: &Snapshot) -> Option<&Arc<Self>> {
        match snapshot {
            Snapshot::Key(key) => Some(key),
            Snapshot::Cluster(_) => None,
        }
    }
}

impl Held for EncryptedCluster {
    const WHO: Who = Who::Cluster;

    fn slot<'l>(lab: &'l Lab<'_>) -> &'l Mutex<Option<Arc<Self>>> {
        lab.cluster_slot()
    }

    fn snapshot(object: Arc<Self>) -> Snapshot {
        Snapshot::Cluster(object)
    }

    fn of(snapshot: &Snapshot) -> Option<&Arc<Self>> {
        match snapshot {
            Snapshot::Cluster(cluster) => Some(cluster),
            Snapshot::Key(_) => None,
        }
    }
}

/// The record of one object for one pass.
pub(crate) struct Shelf<'l, 'c, K> {
    lab: &'l Lab<'c>,
    object: Arc<K>,
}

/// The version of an object. No two versions of objects of a kind are ever the same, whatever incarnation they are of.
pub(crate) fn version<K: Kind>(object: &K) -> u64 {
    object.meta().resource_version.as_ref().and_then(|v| v.parse().ok()).unwrap()
}

pub(crate) fn bump<K: Kind>(object: &mut K) {
    let next = version(object) + 1;
    object.meta_mut().resource_version = Some(next.to_string());
}

impl<'l, 'c, K: Held> Shelf<'l, 'c, K> {
    pub(crate) fn new(lab: &'l Lab<'c>, object: Arc<K>) -> Self {
        Self { lab, object }
    }

    pub(crate) fn object(&self) -> &Arc<K> {
        &self.object
    }

    /// Replaces the status if it differs. Whether it did.
    pub(crate) fn write(&mut self, status: K::Status) -> Result<bool, Fault> {
        if self.object.status() == Some(&status) {
            return Ok(false);
        }
        let mut object = (*self.object).clone();
        object.set_status(status);
        self.replace(object)?;
        Ok(true)
    }

    fn replace(&mut self, object: K) -> Result<(), Fault> {
        if let Some(Answer::Object(known)) = self.lab.known() {
            self.object = known.map(|snapshot| K::of(&snapshot).unwrap().clone())?;
            return Ok(());
        }
        let written = self.put(object);
        self.lab.answered(|| Answer::Object(written.clone().map(|()| K::snapshot(self.object.clone()))));
        written
    }

    fn put(&mut self, mut object: K) -> Result<(), Fault> {
        let clash = self.lab.clash();
        let fault = |class, message: &str| Fault::new(class, "replace status", "team/orders", message);
        let before = lock(K::slot(self.lab)).clone();
        let Some(before) = before.filter(|before| version(&**before) == version(&*self.object)) else {
            return Err(fault(FaultClass::Conflict, "the object has been modified, or is gone"));
        };
        match clash {
            Some(Clash::Conflict) => return Err(fault(FaultClass::Conflict, "the object has been modified")),
            Some(Clash::Lost) => return Err(fault(FaultClass::Transient, "no reply").uncertain()),
            Some(Clash::ReplyLost) | None => {}
        }
        bump(&mut object);
        let gone =
            object.meta().deletion_timestamp.is_some() && object.meta().finalizers.as_ref().is_none_or(Vec::is_empty);
        let after = Arc::new(object);
        if gone {
            self.lab.judge(&Event::Gone { who: K::WHO });
        }
        *lock(K::slot(self.lab)) = (!gone).then(|| after.clone());
        if gone {
            let records = Truth::of(&self.lab.clouds.world(), &self.lab.config.scene).unfinished_records();
            let ghost = &mut lock(&self.lab.ghost);
            if K::WHO == Who::Key {
                ghost.released = records;
            }
            super::users::forget(K::WHO, &*after, ghost);
        }
        let conditions = |object: &K| object.status().map(|s| K::conditions(s).to_vec()).unwrap_or_default();
        let (was, is) = (conditions(&before), conditions(&after));
        lock(&self.lab.counts).status_writes += 1;
        if !gone {
            self.lab.judge(&Event::Status { who: K::WHO, before: &was, after: &is });
        }
        if clash == Some(Clash::ReplyLost) {
            return Err(fault(FaultClass::Transient, "no reply").uncertain());
        }
        self.object = after;
        Ok(())
    }
}

impl<K: Held> Ledger for Shelf<'_, '_, K> {
    async fn add_finalizer(&mut self) -> Result<(), Fault> {
        let mut object = (*self.object).clone();
        let finalizers = object.meta_mut().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
        self.replace(object)
    }

    async fn remove_finalizer(&mut self) -> Result<(), Fault> {
        let mut object = (*self.object).clone();
        object.meta_mut().finalizers.get_or_insert_default().retain(|f| f != FINALIZER);
        self.replace(object)
    }

    async fn record(&mut self, record: &Record) -> Result<(), Fault> {
        let object = self.object.recorded(record, self.lab.now());
        if matches!(record, Record::KeyIntent(..)) {
            lock(&self.lab.ghost).intents += 1;
        }
        self.replace(object)
    }
}
