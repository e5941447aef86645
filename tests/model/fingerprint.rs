//! What of a state tells it from another. What neither decisions nor judges ever read is left out: messages, versions and
//! uids, how often the spec changed, the moment of a condition's flip; and of a token only what it stands for, whether it
//! is shown, and whether it is confirmed.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use cmk_operator::domain::moment::Moment;

use super::lab::Ghost;
use super::ledger::version;
use super::node::Node;
use super::print::Print;
use super::scene::Config;
use super::stopped::{Answer, Snapshot, Stopped};
use super::truth::Truth;
use super::users::{self, Used};

impl Node {
    /// The state's fingerprint.
    pub(crate) fn print(&self, config: &Config) -> u128 {
        let now = self.now();
        let mut print = Print::new(now);
        self.world.hash_state(&mut print);
        object(self.key.as_deref(), &mut print);
        object(self.cluster.as_deref(), &mut print);
        self.process.print(&mut print, now, &config.settings);
        if let Some(stopped) = &self.stopped {
            stopped.print(&mut print);
            print.write_u8(u8::from(self.is_current(stopped)));
        }
        let Ghost { published, unresolved, right_looks, rebuilt, confirmed, registered, scheduled, released, .. } =
            &self.ghost;
        (published, unresolved, rebuilt, registered, scheduled, released).hash(&mut print);
        for confirmed in confirmed {
            confirmed.values().collect::<BTreeSet<_>>().hash(&mut print);
        }
        for (region, (count, last)) in right_looks {
            region.hash(&mut print);
            print.write_u8(*count);
            print.age(Moment(*last), config.settings.gate_spacing.0);
        }
        // Which of the databases an attempt can have made depends on how far apart the two were, however long ago.
        let truth = Truth::of(&self.world, &config.scene);
        let creation = self.cluster.as_ref().and_then(|cluster| cluster.status.as_ref()?.creation.as_ref());
        if let Some(creation) = creation {
            for database in truth.databases() {
                print.write_i64(database.created_at_ms - creation.started_at.0.as_millisecond());
            }
        }
        // The same for records of a role.
        let linking = self.key.as_ref().and_then(|key| {
            let mut regions = key.status.as_ref()?.regions.iter();
            regions.find_map(|region| region.cloud_role.as_ref()?.requested_at.as_ref())
        });
        if let Some(asked) = linking {
            for link in truth.project().iter().flat_map(|project| &project.roles) {
                print.write_i64(link.created_at_ms - asked.0.as_millisecond());
            }
        }
        print.finish128()
    }

    /// Whether the object of a stopped pass is still as that pass knows it.
    fn is_current(&self, stopped: &Stopped) -> bool {
        let written = stopped.answers.iter().rev().find_map(|answer| match answer {
            Answer::Object(Ok(snapshot)) => Some(snapshot),
            _ => None,
        });
        match written.unwrap_or(&stopped.object) {
            Snapshot::Key(known) => self.key.as_ref().is_some_and(|key| version(&**key) == version(&**known)),
            Snapshot::Cluster(known) => {
                self.cluster.as_ref().is_some_and(|cluster| version(&**cluster) == version(&**known))
            }
        }
    }
}

fn object<K: Used>(object: Option<&K>, print: &mut Print) {
    let Some(object) = object else { return print.write_u8(9) };
    let meta = object.meta();
    print.write_u8(u8::from(users::is_deleting(object)));
    print.write_usize(meta.finalizers.as_ref().map_or(0, Vec::len));
    object.regions().hash(print);
    (object.tears_down(), object.description()).hash(print);
    let Some(status) = object.status() else { return print.write_u8(0) };
    (K::observed_generation(status) == meta.generation).hash(print);
    for condition in K::conditions(status) {
        (&condition.status, &condition.reason, condition.observed_generation == meta.generation).hash(print);
    }
    let confirmed = users::annotated(object);
    let token = |token: Option<&String>, print: &mut Print| {
        print.write_u8(token.map_or(0, |token| if confirmed.contains(token) { 2 } else { 1 }));
    };
    let memory = K::remember(Some(status));
    memory.was_ready.hash(print);
    memory.unseen_since.is_some().hash(print);
    for (name, region) in &memory.regions {
        name.as_str().hash(print);
        region.key.is_some().hash(print);
        region.creating.hash(print);
        region.registering.hash(print);
        (region.linking, &region.link).hash(print);
        region.registered.hash(print);
        (&region.registered_at, &region.key_state, &region.policy_hash, &region.principals).hash(print);
        (&region.deployment, region.gate_was_open).hash(print);
        token(region.removal.as_ref(), print);
    }
    memory.claims.hash(print);
    memory.database.hash(print);
    memory.deploying.hash(print);
    token(memory.deletion.as_ref(), print);
    object.deletion().is_some_and(|status| status.blocked_by.is_empty()).hash(print);
    for (region, status) in object.removals() {
        (region, status.blocked_by.is_empty()).hash(print);
    }
    for (arn, of_surplus) in object.surplus() {
        arn.hash(print);
        token(Some(&of_surplus.to_owned()), print);
    }
}
