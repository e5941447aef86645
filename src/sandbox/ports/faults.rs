//! What the clouds' failures mean, in the words of the ports: for AWS by the table of the real adapter, on typed failures.

use crate::adapters::aws::Operation;
use crate::adapters::aws::codes::{Verdict, by_status, verdict};
use crate::domain::fault::{Applied, Cause, Fault, FaultClass};
use crate::domain::moment::Span;
use crate::sandbox::failure::{Failure, ServiceError};

/// A call as its faults name it.
pub(super) struct Call<'a> {
    operation: &'static str,
    target: &'a str,
    writes: bool,
}

/// A class, a finer cause, and whether a write that was answered so may have taken effect.
type Meaning = (FaultClass, Cause, bool);

const TRANSIENT: Meaning = (FaultClass::Transient, Cause::Other, true);

impl<'a> Call<'a> {
    pub(super) fn read(operation: &'static str, target: &'a str) -> Self {
        Self { operation, target, writes: false }
    }

    pub(super) fn write(operation: &'static str, target: &'a str) -> Self {
        Self { operation, target, writes: true }
    }

    /// What a failure of an AWS service means.
    pub(super) fn aws(&self, failure: &Failure) -> Fault {
        self.fault(failure, |error| self.of_code(error))
    }

    /// The other side broke its contract.
    pub(super) fn broken(&self, message: &str) -> Fault {
        Fault::new(FaultClass::Terminal, self.operation, self.target, message)
    }

    fn fault(&self, failure: &Failure, meaning: impl FnOnce(&ServiceError) -> Meaning) -> Fault {
        let (class, cause, perhaps) = failure.service().map_or(TRANSIENT, meaning);
        let mut fault = Fault::new(class, self.operation, self.target, failure.to_string()).because(cause);
        if perhaps && self.writes {
            fault.applied = Applied::Perhaps;
        }
        fault.retry_after = failure.service().and_then(|e| e.retry_after_s).map(|s| Span::seconds(i64::from(s)));
        fault
    }

    /// By the table of the real adapter.
    fn of_code(&self, error: &ServiceError) -> Meaning {
        let known = Operation::ALL.into_iter().find(|operation| operation.action() == self.operation);
        let verdict = known.and_then(|operation| verdict(operation, &error.code, &error.message));
        let Verdict { class, cause, perhaps } = verdict.unwrap_or_else(|| by_status(Some(&error.code), error.status));
        (class, cause, perhaps)
    }
}

impl Failure {
    pub(super) fn is_aws_not_found(&self) -> bool {
        self.service().is_some_and(|e| matches!(e.code.as_str(), "NotFoundException" | "NoSuchEntity"))
    }
}

/// A result of which one failure is the good answer "there is none".
pub(super) trait NotFound<T> {
    /// The result, with that failure as `None`.
    fn found(self, absent: impl FnOnce(&Failure) -> bool) -> Result<Option<T>, Failure>;
}

impl<T> NotFound<T> for Result<T, Failure> {
    fn found(self, absent: impl FnOnce(&Failure) -> bool) -> Result<Option<T>, Failure> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(failure) if absent(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
