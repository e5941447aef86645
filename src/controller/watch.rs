//! The watches: metadata only, no store. A change of spec, annotations or finalizers triggers a pass; status writes of our
//! own do not.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, pin_mut};
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

/// A watch that was refused, and of which nothing was heard for so long, goes on: each attempt says so when it fails, and
/// attempts are at most a minute apart (30 s, and as much again at random).
const QUIET: Duration = Duration::from_secs(90);

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
    follow(events, &queue, told, &readiness, &listed).await;
}

/// Follows the events of a watch to their end.
async fn follow<K: Kind>(
    events: impl Stream<Item = Result<Event<PartialObjectMeta<K>>, watcher::Error>>,
    queue: &Handle<ObjectName>,
    told: impl Fn(News<'_>),
    readiness: &Readiness,
    listed: &str,
) {
    pin_mut!(events);
    let mut known: HashMap<ObjectName, u64> = HashMap::new();
    let mut listing: HashMap<ObjectName, u64> = HashMap::new();
    let (mut complete, mut refused) = (false, false);
    loop {
        // One that was refused when it was begun again goes on where it was, without another listing to say so.
        let event = match tokio::time::timeout(if refused { QUIET } else { Duration::MAX }, events.next()).await {
            Ok(None) => return,
            Ok(heard) => heard,
            Err(_) => None,
        };
        if refused && complete && !matches!(event, Some(Err(_))) {
            refused = false;
            readiness.met(listed);
        }
        let Some(event) = event else { continue };
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
                complete = true;
                readiness.met(listed);
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
                refused = true;
                readiness.missing(listed, format!("the watch is refused: {error}"));
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

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::unbounded;
    use kube::core::Status;
    use serde_json::json;

    use super::*;
    use crate::api::CustomerKey;
    use crate::clock::SystemClock;
    use crate::controller::queue::{Options, queue};

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_was_refused_is_ready_again_with_its_first_event_or_when_nothing_more_is_heard() {
        let readiness = Readiness::default();
        readiness.missing("keys", "not there yet");
        let (handle, _driver) = queue(Options::default(), Arc::new(SystemClock));
        let (tell, events) = unbounded::<Result<Event<PartialObjectMeta<CustomerKey>>, watcher::Error>>();
        // Paused time goes on only once everything waits: whatever is told was followed before a sleep is over.
        let heard = async |event| {
            tell.unbounded_send(event).unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let refused = || Err(watcher::Error::WatchError(Box::new(Status::failure("no", "Forbidden").with_code(403))));
        let lacking = || readiness.list().into_iter().map(|missing| missing.message).collect::<Vec<_>>().join("; ");
        let said = async {
            // Before everything was listed, an event is no sign that it ever will be.
            heard(refused()).await;
            heard(Ok(Event::Init)).await;
            assert!(lacking().contains("the watch is refused"));
            heard(Ok(Event::InitDone)).await;
            assert_eq!(lacking(), "");

            heard(refused()).await;
            assert!(lacking().contains("the watch is refused"));
            let object = json!({ "metadata": { "name": "key", "namespace": "a" } });
            heard(Ok(Event::Apply(serde_json::from_value(object).unwrap()))).await;
            assert_eq!(lacking(), "", "it goes on");

            heard(refused()).await;
            tokio::time::sleep(QUIET / 2).await;
            heard(refused()).await;
            tokio::time::sleep(QUIET * 3 / 4).await;
            assert!(lacking().contains("the watch is refused"), "an attempt may still be due");
            tokio::time::sleep(QUIET / 2).await;
            assert_eq!(lacking(), "", "it is silent because there is nothing to tell");
        };
        tokio::select! {
            () = follow(events, &handle, |_| {}, &readiness, "keys") => panic!("it ended"),
            () = said => {}
        }
    }
}
