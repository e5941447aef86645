//! What the two kinds have in common for a pass: one pipeline, two sets of words.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::condition::Condition;
use crate::api::{CustomerKey, CustomerKeyStatus, EncryptedCluster, EncryptedClusterStatus, UNSEEN_GENERATION};
use crate::domain::condition::Reason;
use crate::domain::desired::Desired;
use crate::domain::memory::Memory;
use crate::domain::moment::Moment;
use crate::execute::Outcome;
use crate::plan::Plan;
use crate::ports::Record;
use crate::status;
use crate::telemetry::metrics;

/// A kind of ours.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// Its status.
    type Status: Clone + Debug + PartialEq + Send + Sync;

    /// Its name in metrics.
    const KIND: metrics::Kind;

    /// Its status as it was read; none if it is only what the API server shows before the first one is written.
    fn status(&self) -> Option<&Self::Status>;

    /// The object with another status.
    fn set_status(&mut self, status: Self::Status);

    /// The generation that the status is about.
    fn observed_generation(status: &Self::Status) -> Option<i64>;

    /// The conditions of a status.
    fn conditions(status: &Self::Status) -> &[Condition];

    /// How many databases it shows that its keys do not protect.
    fn unprotected(status: &Self::Status) -> i64;

    /// The annotation value that was handled last.
    fn handled(status: &mut Self::Status) -> &mut Option<String>;

    /// The status before the first look.
    fn initial(generation: i64, now: Moment) -> Self::Status;

    /// What a status remembers.
    fn remember(status: Option<&Self::Status>) -> Memory;

    /// Puts a record into a status.
    fn put(status: &mut Self::Status, record: &Record);

    /// The object with a record in its status.
    #[must_use]
    fn recorded(&self, record: &Record, now: Moment) -> Self {
        let generation = self.meta().generation.unwrap_or_default();
        let mut status = self.status().cloned().unwrap_or_else(|| Self::initial(generation, now));
        Self::put(&mut status, record);
        let mut object = self.clone();
        object.set_status(status);
        object
    }

    /// Whether a status holds a record.
    fn holds(status: &Self::Status, record: &Record) -> bool;

    /// Says in a status that nothing moves at this generation, and why, and leaves everything else as it is.
    fn stall(status: &mut Self::Status, generation: i64, reason: Reason, message: &str, now: Moment);

    /// The status after a pass; none if `desired` is of the other kind.
    fn render(
        previous: Option<&Self::Status>,
        desired: &Desired,
        memory: &Memory,
        plan: &Plan,
        outcome: &Outcome,
        now: Moment,
    ) -> Option<Self::Status>;
}

macro_rules! kind {
    ($kind:ident, $status:ident, $variant:ident, $module:ident) => {
        impl Kind for $kind {
            type Status = $status;

            const KIND: metrics::Kind = metrics::Kind::$kind;

            fn status(&self) -> Option<&$status> {
                self.status.as_ref().filter(|status| status.observed_generation != Some(UNSEEN_GENERATION))
            }

            fn set_status(&mut self, status: $status) {
                self.status = Some(status);
            }

            fn observed_generation(status: &$status) -> Option<i64> {
                status.observed_generation
            }

            fn conditions(status: &$status) -> &[Condition] {
                &status.conditions
            }

            fn unprotected(status: &$status) -> i64 {
                status::$module::unprotected(status)
            }

            fn handled(status: &mut $status) -> &mut Option<String> {
                &mut status.last_handled_reconcile_at
            }

            fn initial(generation: i64, now: Moment) -> $status {
                status::$module::initial(generation, now)
            }

            fn remember(status: Option<&$status>) -> Memory {
                status::$module::remember(status)
            }

            fn put(status: &mut $status, record: &Record) {
                status::$module::put(status, record);
            }

            fn holds(status: &$status, record: &Record) -> bool {
                status::$module::holds(status, record)
            }

            fn stall(status: &mut $status, generation: i64, reason: Reason, message: &str, now: Moment) {
                status::stall(&mut status.conditions, generation, reason, message, now);
                status.observed_generation = Some(generation);
            }

            fn render(
                previous: Option<&$status>,
                desired: &Desired,
                memory: &Memory,
                plan: &Plan,
                outcome: &Outcome,
                now: Moment,
            ) -> Option<$status> {
                match desired {
                    Desired::$variant(desired) => {
                        Some(status::$module::render(previous, desired, memory, plan, outcome, now))
                    }
                    _ => None,
                }
            }
        }
    };
}

kind!(CustomerKey, CustomerKeyStatus, Key, key);
kind!(EncryptedCluster, EncryptedClusterStatus, Cluster, cluster);
