//! A pass that stopped right before one of its effects: what it knows, so that it can go on whatever happened since.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::domain::desired::Desired;
use cmk_operator::domain::id::KeyArn;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::moment::Moment;
use cmk_operator::domain::observed::Depth;
use cmk_operator::domain::reading::Reading;
use cmk_operator::domain::role_link::RoleLink;
use cmk_operator::ports::Fault;

use super::act::Who;
use super::memo::Decision;
use super::pass::{self, Noted, Tape};
use super::print::Print;
use super::scene::FENCE;

/// What an effect came to.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Key(Result<KeyArn, Fault>),
    Database(Result<String, Fault>),
    Link(Result<RoleLink, Fault>),
    Done(Result<(), Fault>),
    Policy(Reading<String>),
    Object(Result<Snapshot, Fault>),
}

/// An object as it was read.
#[derive(Clone, Debug)]
pub(crate) enum Snapshot {
    Key(Arc<CustomerKey>),
    Cluster(Arc<EncryptedCluster>),
}

/// The pass.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    pub(crate) who: Who,
    pub(crate) began: Moment,
    /// Before which effect, counted from 0.
    pub(crate) at: u8,
    /// Whether that effect is on its way already.
    pub(crate) flies: bool,
    /// Whether another replica acts by now.
    pub(crate) deposed: bool,
    pub(crate) object: Snapshot,
    pub(crate) desired: Arc<Desired>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) decision: Decision,
    pub(crate) depth: Depth,
    pub(crate) noted: Noted,
    pub(crate) answers: Vec<Answer>,
    pub(crate) tape: Tape,
}

impl Stopped {
    /// Whether it can still have any effect.
    pub(crate) fn matters(&self, now: Moment) -> bool {
        let stopped_for = now.since(self.began).0;
        stopped_for < FENCE || (self.flies && stopped_for == FENCE)
    }

    /// All that its going on depends on, and what the judges know of it.
    pub(crate) fn print(&self, print: &mut Print) {
        (self.who, self.at, self.flies, self.deposed, self.depth as u8).hash(print);
        print.moment(self.began);
        let pass::Read { deleting, tears_down, regions, recorded, confirmed, used, torn } = &self.tape.read;
        (deleting, tears_down, regions, recorded, confirmed, used, torn).hash(print);
        if let Ok(checked) = self.decision.as_ref() {
            checked.plan().hash(print);
        }
        print.write(format!("{:?}", self.answers.iter().map(Answer::brief).collect::<Vec<_>>()).as_bytes());
    }
}

impl Answer {
    /// Of an object's write only whether it was made: what it wrote follows from the plan.
    fn brief(&self) -> String {
        match self {
            Self::Object(Ok(_)) => "written".to_owned(),
            other => format!("{other:?}"),
        }
    }
}
