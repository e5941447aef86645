//! The object's own record in Kubernetes: whole status writes and the finalizer, each against the version that was read.

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use serde_json::json;

use crate::api::FINALIZER;
use crate::clock::Clock;
use crate::controller::kind::Kind;
use crate::ports::{Cause, Fault, FaultClass, Ledger, Record};

/// The record of one object for one pass.
pub struct KubeLedger<'a, K: Kind> {
    api: Api<K>,
    /// The object as it was read, or last written.
    object: K,
    clock: &'a dyn Clock,
}

impl<'a, K: Kind> KubeLedger<'a, K> {
    /// The record of an object that was just read.
    pub fn new(api: Api<K>, object: K, clock: &'a dyn Clock) -> Self {
        Self { api, object, clock }
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
        self.object = self.replace(&object).await?;
        Ok(true)
    }

    /// Replaces the conditions of a status, and what they are about, and nothing else: a status of a newer version has
    /// parts that this binary does not know, and would drop if it wrote the whole. Whether anything differed.
    pub async fn amend(&mut self, mut status: K::Status) -> Result<bool, Fault> {
        if self.object.status().is_none() {
            return self.write(status).await;
        }
        if self.object.status() == Some(&status) {
            return Ok(false);
        }
        let (name, namespace) = (self.object.name_any(), self.object.namespace().unwrap_or_default());
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.api.clone().into_client(), &namespace, &resource);
        let told = |error: &kube::Error| fault("replace status", &self.object, error);
        let mut whole = api.get(&name).await.map_err(|error| told(&error))?;
        // What is written is what was judged.
        whole.metadata.resource_version.clone_from(&self.object.meta().resource_version);
        let shown = &mut whole.data["status"];
        shown["conditions"] = json!(K::conditions(&status));
        shown["observedGeneration"] = json!(K::observed_generation(&status));
        if let Some(handled) = K::handled(&mut status) {
            shown["lastHandledReconcileAt"] = json!(handled);
        }
        let written = api.replace_status(&name, &PostParams::default(), &whole).await.map_err(|error| told(&error))?;
        let written = serde_json::to_value(written).and_then(serde_json::from_value);
        self.object = written.map_err(|error| told(&kube::Error::SerdeError(error)))?;
        Ok(true)
    }

    async fn replace(&self, object: &K) -> Result<K, Fault> {
        let written = self.api.replace_status(&object.name_any(), &PostParams::default(), object).await;
        written.map_err(|error| fault("replace status", object, &error))
    }

    async fn patch_finalizers(&mut self, finalizers: Vec<String>) -> Result<(), Fault> {
        // A merge patch replaces the whole list, and the version makes it fail if anybody else wrote meanwhile.
        let meta = self.object.meta();
        let patch = json!({ "metadata": { "resourceVersion": meta.resource_version, "uid": meta.uid, "finalizers": finalizers } });
        let patched = self.api.patch(&self.object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        match patched {
            Ok(object) => {
                self.object = object;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() && finalizers.is_empty() => Ok(()),
            Err(error) => Err(fault("patch finalizers", &self.object, &error)),
        }
    }
}

impl<K: Kind> Ledger for KubeLedger<'_, K> {
    async fn add_finalizer(&mut self) -> Result<(), Fault> {
        let mut finalizers = self.object.finalizers().to_vec();
        if finalizers.iter().any(|f| f == FINALIZER) {
            return Ok(());
        }
        finalizers.push(FINALIZER.to_owned());
        self.patch_finalizers(finalizers).await
    }

    async fn remove_finalizer(&mut self) -> Result<(), Fault> {
        let mut finalizers = self.object.finalizers().to_vec();
        finalizers.retain(|f| f != FINALIZER);
        self.patch_finalizers(finalizers).await
    }

    async fn record(&mut self, record: &Record) -> Result<(), Fault> {
        let written = self.replace(&self.object.recorded(record, self.clock.now())).await?;
        let kept = written.status().is_some_and(|status| K::holds(status, record));
        self.object = written;
        if kept {
            return Ok(());
        }
        let message = "the API server dropped what was to be remembered; the served CRD is older than this operator";
        let fault = Fault::new(FaultClass::Terminal, "replace status", self.object.name_any(), message);
        Err(fault.because(Cause::Schema))
    }
}

/// What an error of the API server means.
pub(super) fn fault<K: Kind>(operation: &str, object: &K, error: &kube::Error) -> Fault {
    let target = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
    let (class, message) = match error {
        kube::Error::Api(status) => (class(status.code), status.message.clone()),
        other => (FaultClass::Transient, other.to_string()),
    };
    let fault = Fault::new(class, operation, target, message);
    // A reply that never came leaves open whether the write went through; the next pass reads the object anew anyway.
    if class == FaultClass::Transient { fault.uncertain() } else { fault }
}

fn class(code: u16) -> FaultClass {
    match code {
        404 | 409 => FaultClass::Conflict,
        429 => FaultClass::Throttled,
        401 | 403 => FaultClass::Refused,
        400..500 => FaultClass::Terminal,
        _ => FaultClass::Transient,
    }
}
