//! The API server, as far as a pass sees it: whole status writes and finalizers, each against the version that was
//! read. The same as `controller::ledger` does with a real one.

use std::sync::{Arc, Mutex};

use cmk_operator::api::{CustomerKey, EncryptedCluster, FINALIZER};
use cmk_operator::clock::Clock;
use cmk_operator::controller::kind::Kind;
use cmk_operator::domain::moment::Moment;
use cmk_operator::ports::{Fault, FaultClass, Ledger, Record};

use super::act::{Clash, Who};
use super::judge::Event;
use super::lab::{Lab, lock};

/// A kind, and where its object is held.
pub(crate) trait Held: Kind {
    const WHO: Who;

    fn slot<'l>(lab: &'l Lab<'_>) -> &'l Mutex<Arc<Self>>;
}

impl Held for CustomerKey {
    const WHO: Who = Who::Key;

    fn slot<'l>(lab: &'l Lab<'_>) -> &'l Mutex<Arc<Self>> {
        lab.key_slot()
    }
}

impl Held for EncryptedCluster {
    const WHO: Who = Who::Cluster;

    fn slot<'l>(lab: &'l Lab<'_>) -> &'l Mutex<Arc<Self>> {
        lab.cluster_slot()
    }
}

/// The record of one object for one pass.
pub(crate) struct Shelf<'l, 'c, K> {
    lab: &'l Lab<'c>,
    object: Arc<K>,
}

/// The version of an object.
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

    fn replace(&mut self, mut object: K) -> Result<(), Fault> {
        let clash = self.lab.clash();
        let fault = |class, message: &str| Fault::new(class, "replace status", "team/orders", message);
        let before = lock(K::slot(self.lab)).clone();
        if clash == Some(Clash::Conflict) || version(&*before) != version(&*self.object) {
            return Err(fault(FaultClass::Conflict, "the object has been modified"));
        }
        if clash == Some(Clash::Lost) {
            return Err(fault(FaultClass::Transient, "no reply").uncertain());
        }
        bump(&mut object);
        let after = Arc::new(object);
        *lock(K::slot(self.lab)) = after.clone();
        let conditions = |object: &K| object.status().map(|s| K::conditions(s).to_vec()).unwrap_or_default();
        let (was, is) = (conditions(&before), conditions(&after));
        lock(&self.lab.counts).status_writes += 1;
        self.lab.judge(&Event::Status { who: K::WHO, before: &was, after: &is });
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
        let mut object = (*self.object).clone();
        let generation = object.meta().generation.unwrap_or_default();
        let now: Moment = self.lab.now();
        let mut status = object.status().cloned().unwrap_or_else(|| K::initial(generation, now));
        K::put(&mut status, record);
        object.set_status(status);
        if matches!(record, Record::KeyIntent(..)) {
            lock(&self.lab.ghost).intents += 1;
        }
        self.replace(object)
    }
}
