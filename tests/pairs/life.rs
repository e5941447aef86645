//! One life: everything that the operator ever does outside on one cloud, one stage after another.

use std::collections::BTreeMap;
use std::sync::Arc;

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::domain::capabilities::Cloud;
use cmk_operator::sandbox::{ACCOUNT, World};
use serde_json::{Value, json};

use crate::inprocess::confirm::confirm;
use crate::inprocess::lab::{Lab, Twist};
use crate::inprocess::operator::{Operator, Who};
use crate::inprocess::picture::{Made, Picture};
use crate::inprocess::store::Store;

/// How long what is terminating takes, in every cloud.
pub(crate) const TERMINATES_IN: i64 = 10_000;

/// The alias of the key that each life is about.
const ALIAS: &str = "alias/cmk-operator/test/team/key";

/// Passes after which a stage will never be over.
const PATIENCE: u32 = 400;

/// What may happen in a life. Each plot has its own part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Keys are applied, and databases under them.
    Create,
    /// A human attests what the cloud's portal shows of the new database.
    Attest,
    /// An administrator damages what they can, and the author changes the spec.
    Damage,
    /// The database leaves a region.
    Leave,
    /// What can be deleted is deleted, a human confirms it.
    Delete,
    /// The key goes, once nothing is under it any more.
    Retire,
    /// What is scheduled for deletion is applied anew.
    Again,
    /// A key's object is deleted; the key stays.
    Forget,
    Over,
}

/// What happens in the lives on one cloud.
pub(crate) trait Plot: Sync {
    /// Where.
    fn cloud(&self) -> Cloud;

    /// The beginning.
    fn lab(&self) -> Lab;

    /// What happens, in this order.
    fn stages(&self) -> &'static [Stage];

    /// Lets a stage begin.
    fn enter(&self, stage: Stage, lab: &Lab);

    /// Whether what a stage is for has come to be.
    fn is_reached(&self, stage: Stage, store: &Store) -> bool;

    /// Whose shown tokens a human confirms in a stage.
    fn confirms(&self, stage: Stage) -> Vec<Who>;

    /// The objects that do not come to rest in a stage.
    fn restless(&self, _: Stage) -> Vec<Who> {
        Vec::new()
    }
}

/// A life.
pub(crate) struct Life {
    pub(crate) lab: Lab,
    pub(crate) operator: Operator,
    plot: &'static dyn Plot,
    /// How many stages are over.
    over: usize,
    /// The number of passes when the stage began.
    since: u32,
    /// The end of each stage.
    pictures: Vec<(Stage, Picture)>,
    made: Made,
    /// How often each call that makes something took effect.
    creations: BTreeMap<String, u32>,
}

impl Life {
    /// The beginning of all lives; `twist` is what is otherwise in this one.
    pub(crate) fn begin(plot: &'static dyn Plot, twist: &Arc<dyn Twist>) -> Self {
        let mut lab = plot.lab();
        lab.twist = Arc::clone(twist);
        lab.clouds.world().record(true);
        let mut life = Self {
            lab,
            operator: Operator::default(),
            plot,
            over: 0,
            since: 0,
            pictures: Vec::new(),
            made: Made::default(),
            creations: BTreeMap::new(),
        };
        life.enter();
        life
    }

    /// Another life that is the same up to now.
    pub(crate) fn fork(&self) -> Self {
        Self {
            lab: self.lab.fork(),
            operator: self.operator.clone(),
            plot: self.plot,
            over: self.over,
            since: self.since,
            pictures: self.pictures.clone(),
            made: self.made,
            creations: self.creations.clone(),
        }
    }

    fn stage(&self) -> Stage {
        self.plot.stages().get(self.over).copied().unwrap_or(Stage::Over)
    }

    /// Goes on to the end.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        while !self.step()? {}
        Ok(())
    }

    /// One pass of somebody. Whether the life is over.
    pub(crate) fn step(&mut self) -> Result<bool, String> {
        self.lab.renew();
        self.operator.turn(&self.lab);
        let stage = self.stage();
        for who in self.plot.confirms(stage) {
            match who {
                Who::Key(name) => confirm::<CustomerKey>(&self.lab, &name),
                Who::Cluster(name) => confirm::<EncryptedCluster>(&self.lab, &name),
            }
        }
        let reached = stage == Stage::Over || self.plot.is_reached(stage, &self.lab.store());
        if reached && self.operator.is_quiet(&self.lab, &self.plot.restless(stage)) {
            self.end();
        } else if self.operator.passes - self.since > PATIENCE {
            let picture = Picture::of(&self.lab, &self.lab.clouds.world().dump());
            return Err(format!("{stage:?} is not over after {PATIENCE} passes: {:#?}", picture.said));
        }
        Ok(self.stage() == Stage::Over)
    }

    /// Ends one stage and begins another.
    fn end(&mut self) {
        {
            let mut world = self.lab.clouds.world();
            // What is terminating takes its time, and nobody waits for it.
            world.advance(TERMINATES_IN);
            count(&mut world, &mut self.creations);
        }
        let dump = self.lab.clouds.world().dump();
        self.pictures.push((self.stage(), Picture::of(&self.lab, &dump)));
        self.made = Made::of(&dump);
        self.over += 1;
        self.enter();
    }

    fn enter(&mut self) {
        let stage = self.stage();
        self.lab.tell(|| format!("--- {stage:?}"));
        self.since = self.operator.passes;
        self.plot.enter(stage, &self.lab);
    }

    /// Whether it ended as another did, with so many faults on the way.
    pub(crate) fn ended_as(&self, clean: &Self, faults: u32) -> Result<(), String> {
        let fired = self.lab.trouble().fired;
        if fired != faults {
            return Err(format!("{fired} of {faults} faults happened"));
        }
        if self.lab.trouble().overstepped {
            return Err("an effect was made by a process that knew that it does not lead".to_owned());
        }
        if self.made != clean.made {
            return Err(format!("{:?} were made, in the clean life {:?}", self.made, clean.made));
        }
        if self.creations != clean.creations {
            return Err(format!("{:?} took effect, in the clean life {:?}", self.creations, clean.creations));
        }
        for ((stage, wanted), (_, found)) in clean.pictures.iter().zip(&self.pictures) {
            let lines = wanted.differs(found);
            if !lines.is_empty() {
                return Err(format!(
                    "the end of {stage:?} differs from that of the clean life:\n  {}",
                    lines.join("\n  ")
                ));
            }
        }
        if self.pictures.len() != clean.pictures.len() {
            return Err("it did not come to its end".to_owned());
        }
        Ok(())
    }
}

/// Counts the calls that made something since they were counted last. What was made and is gone is in no picture.
fn count(world: &mut World, creations: &mut BTreeMap<String, u32>) {
    let makes = |operation: &str| {
        let name = operation.split(':').nth(1).unwrap_or_default();
        ["Create", "Replicate", "SetUp"].iter().any(|verb| name.starts_with(verb)) && name != "CreateToken"
    };
    for entry in world.log().iter().filter(|entry| entry.applied && makes(&entry.operation)) {
        *creations.entry(entry.operation.clone()).or_default() += 1;
    }
    world.clear_log();
}

/// Whether an object is ready as it is declared.
pub(crate) fn is_ready(store: &Store, name: &str) -> bool {
    let holds = |conditions: &[cmk_operator::api::condition::Condition]| {
        let is = |kind: &str, status: &str| conditions.iter().any(|c| c.type_ == kind && c.status == status);
        is("Ready", "True") && is("Reconciling", "False")
    };
    let of_key = store.keys.get(name).and_then(|key| {
        let status = key.status.as_ref()?;
        Some(holds(&status.conditions) && status.observed_generation == key.metadata.generation)
    });
    let of_cluster = store.clusters.get(name).and_then(|cluster| {
        let status = cluster.status.as_ref()?;
        Some(holds(&status.conditions) && status.observed_generation == cluster.metadata.generation)
    });
    of_key.or(of_cluster).unwrap_or(false)
}

/// The key of a region that a life is about.
pub(crate) fn own_key(world: &World, region: &str) -> String {
    world.true_alias(ACCOUNT, region, ALIAS).unwrap().to_owned()
}

/// What an administrator takes from a key, all of which can be put back: its rotation, these tags, and of its policy all but
/// the root's statement and one of his own.
pub(crate) fn strip(world: &mut World, region: &str, key: &str, own: Option<Value>, tags: &[&str]) {
    let root = json!({
        "Sid": "EnableRoot", "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        "Action": "kms:*", "Resource": "*",
    });
    let statements: Vec<Value> = [root].into_iter().chain(own).collect();
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    let tags: Vec<String> = tags.iter().map(|tag| format!("cmk-operator.io/{tag}")).collect();
    let mut kms = world.kms(ACCOUNT, region);
    kms.put_key_policy(key, None, &policy.to_string(), false).unwrap();
    kms.disable_key_rotation(key).unwrap();
    kms.untag_resource(key, &tags).unwrap();
}

/// What else he does to a key: its alias is gone, and its description is his.
pub(crate) fn rename(world: &mut World, region: &str, key: &str) {
    let mut kms = world.kms(ACCOUNT, region);
    kms.delete_alias(ALIAS).unwrap();
    kms.update_key_description(key, "mine").unwrap();
}

/// A statement of his own.
pub(crate) fn auditor() -> Value {
    json!({
        "Sid": "Auditor", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::222222222222:root" },
        "Action": "kms:DescribeKey", "Resource": "*",
    })
}
