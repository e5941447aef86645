//! Who hears of every call to the outside: metrics, in the operator.

use std::time::Duration;

use crate::domain::fault::FaultClass;

/// One call that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who was called: `kms`, `sts`, `tag` or the cloud in lower case.
    pub service: &'static str,
    /// The operation, from a closed set: never with an id in it, so that it can be a label.
    pub operation: &'static str,
    /// What went wrong; none if it went well. "Not found" is an answer and went well.
    pub fault: Option<FaultClass>,
    /// How long it took, retries inside the SDK included.
    pub took: Duration,
}

/// Somebody who hears of every call. Called on the task of the call, so it must be quick.
pub trait Watch: Send + Sync {
    /// A call came to its end.
    fn called(&self, call: &Call);
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn called(&self, _: &Call) {}
}

impl<F: Fn(&Call) + Send + Sync> Watch for F {
    fn called(&self, call: &Call) {
        self(call);
    }
}
