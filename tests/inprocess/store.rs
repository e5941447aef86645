//! The API server, in a few lines: whole objects, each replaced only against the version that was read.

use std::collections::BTreeMap;

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::controller::kind::Kind;
use cmk_operator::domain::moment::Moment;
use cmk_operator::ports::{Fault, FaultClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

/// The namespace of everything.
pub const NAMESPACE: &str = "team";

/// Both kinds' objects by name.
#[derive(Clone, Default)]
pub struct Store {
    version: u64,
    pub keys: BTreeMap<String, CustomerKey>,
    pub clusters: BTreeMap<String, EncryptedCluster>,
}

/// A kind that the store holds.
pub trait Held: Kind {
    fn shelf(store: &Store) -> &BTreeMap<String, Self>;
    fn shelf_mut(store: &mut Store) -> &mut BTreeMap<String, Self>;
}

impl Held for CustomerKey {
    fn shelf(store: &Store) -> &BTreeMap<String, Self> {
        &store.keys
    }

    fn shelf_mut(store: &mut Store) -> &mut BTreeMap<String, Self> {
        &mut store.keys
    }
}

impl Held for EncryptedCluster {
    fn shelf(store: &Store) -> &BTreeMap<String, Self> {
        &store.clusters
    }

    fn shelf_mut(store: &mut Store) -> &mut BTreeMap<String, Self> {
        &mut store.clusters
    }
}

pub fn conflict() -> Fault {
    Fault::new(FaultClass::Conflict, "replace", "team/object", "the object has been modified")
}

impl Store {
    /// Puts an object in the place of another version of it.
    pub fn put<K: Held>(&mut self, seen: &K, object: K) -> Result<K, Fault> {
        let now = K::shelf(self).get(&seen.name_any()).ok_or_else(conflict)?;
        if now.resource_version() != seen.resource_version() || now.uid() != seen.uid() {
            return Err(conflict());
        }
        Ok(self.keep(object))
    }

    /// Keeps an object as a new version; one without finalizers that is being deleted goes.
    fn keep<K: Held>(&mut self, mut object: K) -> K {
        self.version += 1;
        object.meta_mut().resource_version = Some(self.version.to_string());
        let goes = object.meta().deletion_timestamp.is_some() && object.finalizers().is_empty();
        let shelf = K::shelf_mut(self);
        if goes {
            shelf.remove(&object.name_any());
        } else {
            shelf.insert(object.name_any(), object.clone());
        }
        object
    }

    /// A user applies an object: what is there keeps its status and whatever else is not in the manifest.
    pub fn apply<K: Held>(&mut self, manifest: &K) {
        let name = manifest.name_any();
        let spec = |object: &K| json!(object)["spec"].clone();
        let Some(old) = K::shelf(self).get(&name).cloned() else {
            let mut object = manifest.clone();
            let uid = format!("uid-{}", self.version + 1);
            object.meta_mut().uid = Some(uid);
            object.meta_mut().generation = Some(1);
            self.keep(object);
            return;
        };
        if spec(&old) == spec(manifest) {
            return;
        }
        let mut object = manifest.clone();
        *object.meta_mut() = old.meta().clone();
        object.meta_mut().generation = Some(old.meta().generation.unwrap_or_default() + 1);
        if let Some(status) = old.status() {
            object.set_status(status.clone());
        }
        self.keep(object);
    }

    /// A user annotates an object.
    pub fn annotate<K: Held>(&mut self, name: &str, annotation: &str, value: String) {
        let Some(mut object) = K::shelf(self).get(name).cloned() else { return };
        object.annotations_mut().insert(annotation.to_owned(), value);
        self.keep(object);
    }

    /// A user deletes an object.
    pub fn delete<K: Held>(&mut self, name: &str, now: Moment) {
        let Some(mut object) = K::shelf(self).get(name).cloned() else { return };
        if object.meta().deletion_timestamp.is_none() {
            object.meta_mut().deletion_timestamp = Some(Time(Timestamp::from_millisecond(now.0).unwrap()));
            object.meta_mut().generation = Some(object.meta().generation.unwrap_or_default() + 1);
            self.keep(object);
        }
    }
}
