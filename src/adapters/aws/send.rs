//! One call: our share of the quota, the call itself, what its error means, and who hears of it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tracing::debug;

use super::faults::fault;
use super::operation::Operation;
use super::options::Options;
use crate::adapters::limits::{Bucket, Limits, Reservation};
use crate::adapters::watch::{Call, Watch};
use crate::clock::Clock;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::ports::Place;

/// What every call needs, whoever makes it.
pub(super) struct Sender {
    pub(super) options: Options,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Arc<Limits<String>>,
    pub(super) watch: Arc<dyn Watch>,
}

impl Sender {
    /// Takes a slot of our share of a scarce quota.
    ///
    /// Nobody waits here: without a slot now, the fault says when there will be one, and it is kept for the object.
    pub(super) fn reserve(&self, operation: Operation, place: &Place, target: &str) -> Result<(), Fault> {
        self.reserve_many(operation, place, target, 1)
    }

    /// The same for what AWS counts as several calls.
    pub(super) fn reserve_many(
        &self,
        operation: Operation,
        place: &Place,
        target: &str,
        cost: u32,
    ) -> Result<(), Fault> {
        if !operation.is_scarce() {
            return Ok(());
        }
        let bucket = Bucket {
            account: place.access.account.to_string(),
            region: place.region.to_string(),
            operation: operation.name(),
        };
        let now = self.clock.now();
        match self.limits.reserve(&bucket, &place.on_behalf_of, now, cost) {
            Reservation::Granted => Ok(()),
            Reservation::At(moment) => {
                let message = format!(
                    "not sent: our own share of the account's request quota in {} is used up until {moment}",
                    place.region
                );
                let fault = Fault::new(FaultClass::Throttled, operation.action(), target, message);
                Err(fault.because(Cause::Share).retry_after(moment.since(now)))
            }
        }
    }

    /// Makes a call.
    pub(super) async fn send<T, E>(
        &self,
        operation: Operation,
        target: &str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Fault>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        self.observe(operation, call).await.map_err(|error| fault(operation, target, &error))
    }

    /// Makes a write: with a slot of our share of the quota, or not at all.
    pub(super) async fn write<T, E>(
        &self,
        operation: Operation,
        place: &Place,
        target: &str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Fault>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        self.reserve(operation, place, target)?;
        self.send(operation, target, call).await
    }

    /// Makes a call of which "not found" is a good answer: none.
    pub(super) async fn look<T, E>(
        &self,
        operation: Operation,
        target: &str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<Option<T>, Fault>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match self.observe(operation, call).await {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(fault(operation, target, &error)),
        }
    }

    /// Makes a call and lets the watch hear of it.
    pub(super) async fn observe<T, E>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, SdkError<E, HttpResponse>>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let began = self.clock.monotonic_ms();
        let outcome = call.await;
        let took = u64::try_from(self.clock.monotonic_ms() - began).map(Duration::from_millis).unwrap_or_default();
        let class = match &outcome {
            Err(error) if operation.writes() || !is_not_found(error) => Some(fault(operation, "", error).class),
            _ => None,
        };
        debug!(operation = operation.action(), fault = ?class, ?took, "called AWS");
        self.watch.called(&Call { service: operation.service(), operation: operation.action(), fault: class, took });
        outcome
    }
}

/// Whether AWS itself, not some proxy, says that there is no such thing.
fn is_not_found<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    matches!(error, SdkError::ServiceError(_)) && matches!(error.code(), Some("NotFoundException" | "NoSuchEntity"))
}
