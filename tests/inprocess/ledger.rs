//! The object's own record, as `controller::ledger` keeps it with a real API server.

use cmk_operator::api::FINALIZER;
use cmk_operator::clock::Clock;
use cmk_operator::ports::{Fault, FaultClass, Ledger, Record};
use kube::ResourceExt;

use super::lab::Lab;
use super::store::{Held, conflict};
use super::trouble::Kind;
use super::turn::turn;

/// The record of one object for one pass.
pub struct Shelf<'l, K> {
    lab: &'l Lab,
    object: K,
}

impl<'l, K: Held> Shelf<'l, K> {
    pub fn new(lab: &'l Lab, object: K) -> Self {
        Self { lab, object }
    }

    /// The object as it was read, or last written.
    pub fn object(&self) -> &K {
        &self.object
    }

    /// Replaces the status if it differs. Whether it did.
    pub async fn write(&mut self, status: K::Status) -> Result<bool, Fault> {
        if self.object.status() == Some(&status) {
            return Ok(false);
        }
        let mut object = self.object.clone();
        object.set_status(status);
        self.replace(object).await?;
        Ok(true)
    }

    async fn replace(&mut self, object: K) -> Result<(), Fault> {
        turn().await;
        let fault = |class, words: &str| Fault::new(class, "replace", "team/object", words);
        let clash = self.lab.clash();
        match clash {
            None | Some(Kind::ReplyLost) => {}
            Some(Kind::Conflict) => return Err(conflict()),
            Some(Kind::Refused) => return Err(fault(FaultClass::Refused, "forbidden")),
            Some(Kind::Throttled) => return Err(fault(FaultClass::Throttled, "too many requests")),
            Some(_) => return Err(fault(FaultClass::Transient, "no reply").uncertain()),
        }
        let written = self.lab.store().put(&self.object, object)?;
        if clash.is_some() {
            return Err(fault(FaultClass::Transient, "no reply").uncertain());
        }
        self.object = written;
        Ok(())
    }

    async fn finalizers(&mut self, change: impl FnOnce(&mut Vec<String>)) -> Result<(), Fault> {
        let mut object = self.object.clone();
        change(object.meta_mut().finalizers.get_or_insert_default());
        self.replace(object).await
    }
}

impl<K: Held> Ledger for Shelf<'_, K> {
    async fn add_finalizer(&mut self) -> Result<(), Fault> {
        if self.object.finalizers().iter().any(|f| f == FINALIZER) {
            return Ok(());
        }
        self.finalizers(|all| all.push(FINALIZER.to_owned())).await
    }

    async fn remove_finalizer(&mut self) -> Result<(), Fault> {
        self.finalizers(|all| all.retain(|f| f != FINALIZER)).await
    }

    async fn record(&mut self, record: &Record) -> Result<(), Fault> {
        self.replace(self.object.recorded(record, self.lab.now())).await
    }
}
