//! Decisions are pure, and most passes of an exploration see what another pass saw before: so each is made once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use cmk_operator::domain::desired::Desired;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::observed::Observed;
use cmk_operator::plan::check::{Checked, Refused, check};
use cmk_operator::plan::{Pass, decide};

use super::devices::Devices;
use super::lab::lock;
use super::print::Print;

/// A decision, as it was checked.
pub(crate) type Decision = Arc<Result<Checked, Refused>>;

/// More decisions than this are not kept: about half a gigabyte.
const MOST: usize = 100_000;

/// The decisions made so far, by all that they were made from.
#[derive(Default)]
pub(crate) struct Memo(Mutex<HashMap<u128, Decision>>);

impl Memo {
    pub(crate) fn decide(
        &self,
        devices: &dyn Devices,
        desired: &Desired,
        observed: &Observed,
        memory: &Memory,
        pass: &Pass,
    ) -> Decision {
        // Of exact moments, not of how long ago they are: they come back in the steps.
        let mut print = Print::exact();
        (desired, observed, memory, pass.now, &pass.nonce).hash(&mut print);
        let name = print.finish128();
        if let Some(known) = lock(&self.0).get(&name) {
            return known.clone();
        }
        let read = devices.planner(desired);
        let plan = decide(read.as_ref().unwrap_or(desired), observed, memory, pass);
        let decision = Arc::new(check(desired, observed, memory, pass, plan));
        let mut all = lock(&self.0);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(name, decision.clone());
        decision
    }
}
