//! The watches: metadata only, no store. A change of spec, annotations or finalizers triggers a pass; status writes of our
//! own do not.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use tracing::{debug, warn};

use crate::controller::context::ObjectName;
use crate::controller::kind::Kind;
use crate::controller::queue::{Handle, Lane};
use crate::telemetry::http::Readiness;

/// The annotation in which `kubectl apply` keeps the last manifest; it changes with the spec.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What a watch tells of.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// There is an object; its pass has not been triggered yet.
    There(&'a ObjectName),
    /// An object changed, or is gone.
    Changed(&'a ObjectName),
    /// Every object that there is has been told of.
    Listed,
}

/// Watches one kind, in one namespace or all, until dropped, and tells of each object that is there, changed or gone.
pub async fn watch<K: Kind>(
    client: Client,
    namespace: Option<String>,
    queue: Handle<ObjectName>,
    told: impl Fn(News<'_>),
    readiness: Arc<Readiness>,
    listed: String,
) {
    let api: Api<PartialObjectMeta<K>> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let events = watcher(api, watcher::Config::default().streaming_lists()).default_backoff();
    pin_mut!(events);
    let mut known: HashMap<ObjectName, u64> = HashMap::new();
    let mut listing: HashMap<ObjectName, u64> = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(object)) => {
                let (name, print) = (name(&object), fingerprint(&object));
                told(News::There(&name));
                if known.get(&name) != Some(&print) {
                    queue.trigger(name.clone(), Lane::Resync);
                }
                listing.insert(name, print);
            }
            Ok(Event::InitDone) => {
                for gone in known.keys().filter(|name| !listing.contains_key(*name)) {
                    queue.trigger(gone.clone(), Lane::Fresh);
                    told(News::Changed(gone));
                }
                told(News::Listed);
                known = std::mem::take(&mut listing);
                readiness.met(&listed);
            }
            Ok(Event::Apply(object)) => {
                let (name, print) = (name(&object), fingerprint(&object));
                told(News::There(&name));
                if known.insert(name.clone(), print) != Some(print) {
                    queue.trigger(name.clone(), Lane::Fresh);
                    told(News::Changed(&name));
                }
            }
            Ok(Event::Delete(object)) => {
                let name = name(&object);
                known.remove(&name);
                queue.trigger(name.clone(), Lane::Fresh);
                told(News::Changed(&name));
            }
            Err(error) if is_forbidden(&error) => {
                warn!(%error, "the watch is refused");
                readiness.missing(listed.as_str(), format!("the watch is refused: {error}"));
            }
            Err(error) => debug!(%error, "the watch is interrupted"),
        }
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return false;
    };
    status.is_forbidden()
}

fn name<K: Kind>(object: &PartialObjectMeta<K>) -> ObjectName {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// A number that changes with everything that is worth a pass.
fn fingerprint<K: Kind>(object: &PartialObjectMeta<K>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let meta = &object.metadata;
    (&meta.uid, meta.generation, &meta.finalizers, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    for (key, value) in object.annotations().iter().filter(|(key, _)| key.as_str() != LAST_APPLIED) {
        (key, value).hash(&mut hasher);
    }
    hasher.finish()
}
