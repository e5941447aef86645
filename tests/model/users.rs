//! What users do to the objects: delete them, confirm that or not, change them, and apply them anew from the same files.

use std::collections::BTreeSet;
use std::sync::Arc;

use cmk_operator::api::condition::time;
use cmk_operator::api::{
    ANNOTATION_CONFIRM_DELETION, ClusterDeletionPolicy, CustomerKey, DeletionStatus, EncryptedCluster,
    KeyDeletionPolicy,
};
use cmk_operator::controller::kind::Kind;
use cmk_operator::domain::confirmation::{Token, tokens};
use cmk_operator::domain::id::tag;
use cmk_operator::domain::moment::Moment;
use cmk_operator::sandbox::World;
use kube::ResourceExt;

use super::act::Who;
use super::files::{self, REGIONS};
use super::lab::Ghost;
use super::ledger::{Held, bump, version};
use super::scene::Scene;
use super::truth::Truth;

/// A kind, as its users know it.
pub(crate) trait Used: Held {
    /// The object as it stands in the files.
    fn in_files(scene: &Scene) -> Self;

    /// Changes the spec back to that of the files.
    fn respec(&mut self, file: Self);

    fn switch(&mut self);

    fn tears_down(&self) -> bool;

    fn regions(&self) -> Vec<&str>;

    fn take_out(&mut self);

    /// What the author calls its keys.
    fn description(&self) -> Option<&String>;

    /// What a deletion of the whole waits for.
    fn deletion(&self) -> Option<&DeletionStatus>;

    /// What removals of regions wait for.
    fn removals(&self) -> Vec<(&str, &DeletionStatus)>;

    /// Surplus keys, and the tokens that let them go.
    fn surplus(&self) -> Vec<(&str, &str)>;

    /// Everything that may go with the object, and what a token for it is for.
    fn things(world: &World, scene: &Scene) -> Vec<String>;
}

impl Used for CustomerKey {
    fn in_files(scene: &Scene) -> Self {
        files::key(scene)
    }

    fn respec(&mut self, file: Self) {
        self.spec = file.spec;
    }

    fn switch(&mut self) {
        self.spec.deletion_policy =
            if self.tears_down() { KeyDeletionPolicy::Retain } else { KeyDeletionPolicy::ScheduleDeletion };
    }

    fn tears_down(&self) -> bool {
        self.spec.deletion_policy == KeyDeletionPolicy::ScheduleDeletion
    }

    fn regions(&self) -> Vec<&str> {
        self.spec.regions.iter().map(|region| region.name.as_str()).collect()
    }

    fn take_out(&mut self) {
        self.spec.regions.retain(|region| region.name != REGIONS[1]);
    }

    fn description(&self) -> Option<&String> {
        self.spec.key.description.as_ref()
    }

    fn deletion(&self) -> Option<&DeletionStatus> {
        self.status.as_ref()?.deletion.as_ref()
    }

    fn removals(&self) -> Vec<(&str, &DeletionStatus)> {
        let all = self.status.iter().flat_map(|status| &status.regions);
        all.filter_map(|region| Some((region.name.as_str(), region.deletion.as_ref()?))).collect()
    }

    fn surplus(&self) -> Vec<(&str, &str)> {
        let all = self.status.iter().flat_map(|status| &status.surplus_keys);
        all.filter_map(|key| Some((key.key_arn.as_str(), key.confirmation_token.as_deref()?))).collect()
    }

    fn things(world: &World, _: &Scene) -> Vec<String> {
        world.true_keys().filter(|key| key.tags.contains_key(tag::NONCE)).map(|key| key.arn.to_owned()).collect()
    }
}

impl Used for EncryptedCluster {
    fn in_files(scene: &Scene) -> Self {
        files::cluster(scene)
    }

    fn respec(&mut self, file: Self) {
        self.spec = file.spec;
    }

    fn switch(&mut self) {
        self.spec.deletion_policy =
            if self.tears_down() { ClusterDeletionPolicy::Retain } else { ClusterDeletionPolicy::Delete };
    }

    fn tears_down(&self) -> bool {
        self.spec.deletion_policy == ClusterDeletionPolicy::Delete
    }

    fn regions(&self) -> Vec<&str> {
        self.spec.regions.iter().map(|region| region.name.as_str()).collect()
    }

    fn take_out(&mut self) {
        self.spec.regions.retain(|region| region.name != REGIONS[1]);
    }

    fn description(&self) -> Option<&String> {
        None
    }

    fn deletion(&self) -> Option<&DeletionStatus> {
        self.status.as_ref()?.deletion.as_ref()
    }

    fn removals(&self) -> Vec<(&str, &DeletionStatus)> {
        let all = self.status.iter().flat_map(|status| &status.regions);
        all.filter_map(|region| Some((region.name.as_str(), region.deletion.as_ref()?))).collect()
    }

    fn surplus(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn things(world: &World, scene: &Scene) -> Vec<String> {
        Truth::of(world, scene).databases().iter().map(|database| database.id.to_owned()).collect()
    }
}

/// Whether the API server has the object marked for deletion.
pub(crate) fn is_deleting<K: Kind>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Every token that the object shows, and what it stands for.
pub(crate) fn shown<K: Used>(object: &K, world: &World, scene: &Scene) -> Vec<(String, String)> {
    let token = |status: &DeletionStatus| status.confirmation_token.clone();
    let mut all: Vec<(String, String)> = Vec::new();
    if let Some(token) = object.deletion().and_then(token) {
        let meaning = whole(object, &K::things(world, scene), &token);
        all.push((token, meaning));
    }
    let removals = object.removals().into_iter();
    all.extend(removals.filter_map(|(region, status)| Some((token(status)?, removal(region)))));
    all.extend(object.surplus().into_iter().map(|(arn, token)| (token.to_owned(), surplus(arn))));
    all
}

/// That a region may go.
pub(crate) fn removal(region: &str) -> String {
    format!("region {region}")
}

/// That a surplus key may go.
pub(crate) fn surplus(arn: &str) -> String {
    format!("surplus {arn}")
}

/// What the token for a whole object stands for: found by trying, as nothing but the object's uid, the moment at which its
/// deletion was asked for and the things themselves may be in it.
fn whole<K: Used>(object: &K, things: &[String], token: &str) -> String {
    let asked = object.meta().deletion_timestamp.as_ref().map(cmk_operator::api::condition::moment);
    let asked = asked.map(|at| at.to_string()).unwrap_or_default();
    let uid = object.uid().unwrap_or_default();
    let subsets = (1_u32..1 << things.len().min(8)).map(|bits| {
        let chosen = things.iter().enumerate().filter(move |(n, _)| bits & (1 << n) != 0);
        chosen.map(|(_, thing)| thing.clone()).collect::<BTreeSet<_>>()
    });
    // The last is where a device is out that keeps tokens apart.
    let occasions = [(uid.as_str(), asked.as_str()), ("", "")];
    let is_for =
        |things: &BTreeSet<String>| occasions.iter().any(|(uid, at)| Token::of(uid, at, things).as_str() == token);
    let mut subsets = subsets.filter(is_for);
    let stands_for = subsets.next();
    stands_for.map_or_else(|| "nothing".to_owned(), |all| all.into_iter().collect::<Vec<_>>().join(" "))
}

/// The tokens that stand in the object's annotation.
pub(crate) fn annotated<K: Kind>(object: &K) -> Vec<String> {
    object
        .meta()
        .annotations
        .as_ref()
        .and_then(|all| all.get(ANNOTATION_CONFIRM_DELETION))
        .map(|text| tokens(text))
        .unwrap_or_default()
}

/// The object is gone: what was confirmed of it is nothing to another under its name.
pub(crate) fn forget<K: Kind>(who: Who, object: &K, ghost: &mut Ghost) {
    ghost.confirmed[who as usize].clear();
    let annotation = object.meta().annotations.as_ref().and_then(|all| all.get(ANNOTATION_CONFIRM_DELETION));
    if annotation.is_some() {
        ghost.git[who as usize] = annotation.cloned();
    }
}

type Slot<K> = Option<Arc<K>>;

/// Another version of an object.
fn changed<K: Kind>(object: &K, change: impl FnOnce(&mut K)) -> Slot<K> {
    let mut object = object.clone();
    change(&mut object);
    bump(&mut object);
    Some(Arc::new(object))
}

/// The same with another spec.
fn respecified<K: Used>(object: &K, change: impl FnOnce(&mut K)) -> Slot<K> {
    changed(object, |object| {
        change(object);
        object.meta_mut().generation = object.meta().generation.map(|n| n + 1);
    })
}

/// Deletes an object. None: it is not there, or being deleted.
pub(crate) fn delete<K: Used>(slot: &Slot<K>, now: Moment, ghost: &mut Ghost) -> Option<Slot<K>> {
    let object = slot.as_deref().filter(|object| !is_deleting(*object))?;
    if object.finalizers().is_empty() {
        forget(K::WHO, object, ghost);
        return Some(None);
    }
    // The API server counts it as another generation.
    Some(respecified(object, |object| object.meta_mut().deletion_timestamp = Some(time(now))))
}

/// Confirms everything of which the object shows a token. None: there is nothing more to confirm.
pub(crate) fn confirm<K: Used>(slot: &Slot<K>, world: &World, scene: &Scene, ghost: &mut Ghost) -> Option<Slot<K>> {
    let object = slot.as_deref()?;
    let shown = shown(object, world, scene);
    let there = annotated(object);
    if shown.iter().all(|(token, _)| there.contains(token)) {
        return None;
    }
    let text = shown.iter().map(|(token, _)| token.as_str()).collect::<Vec<_>>().join(",");
    ghost.confirmed[K::WHO as usize] = shown.into_iter().collect();
    Some(changed(object, |object| {
        object.meta_mut().annotations.get_or_insert_default().insert(ANNOTATION_CONFIRM_DELETION.to_owned(), text);
    }))
}

/// Takes the confirmation back.
pub(crate) fn unconfirm<K: Used>(slot: &Slot<K>, ghost: &mut Ghost) -> Option<Slot<K>> {
    let object = slot.as_deref().filter(|object| !annotated(*object).is_empty())?;
    ghost.confirmed[K::WHO as usize].clear();
    Some(changed(object, |object| object.meta_mut().annotations = None))
}

/// Switches the deletion policy to the other one.
pub(crate) fn switch<K: Used>(slot: &Slot<K>) -> Option<Slot<K>> {
    slot.as_deref().map(|object| respecified(object, Used::switch))
}

/// Takes the second region out.
pub(crate) fn take_out<K: Used>(slot: &Slot<K>) -> Option<Slot<K>> {
    let object = slot.as_deref().filter(|object| object.regions().len() > 1)?;
    Some(respecified(object, Used::take_out))
}

/// Applies the object as it stands in the files. None: it is so already.
pub(crate) fn apply<K: Used>(slot: &Slot<K>, scene: &Scene, ghost: &mut Ghost) -> Option<Slot<K>> {
    let mut file = K::in_files(scene);
    let Some(object) = slot.as_deref() else {
        let born = &mut ghost.born[K::WHO as usize];
        *born += 1;
        let uid = format!("{:?} {born}", K::WHO);
        let first = version(&file) + u64::from(*born) * 1_000_000;
        let meta = file.meta_mut();
        (meta.uid, meta.resource_version) = (Some(uid), Some(first.to_string()));
        if let Some(text) = ghost.git[K::WHO as usize].clone() {
            meta.annotations.get_or_insert_default().insert(ANNOTATION_CONFIRM_DELETION.to_owned(), text);
        }
        return Some(Some(Arc::new(file)));
    };
    if object.regions() == file.regions() && object.tears_down() == file.tears_down() {
        return None;
    }
    Some(respecified(object, |object| object.respec(file)))
}
