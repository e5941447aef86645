//! What the SDK's errors mean: [`Fault`]s, by the table of [`codes`](super::codes) where AWS answered.
//!
//! Whether the call may have taken effect is answered "perhaps" whenever a request may have left this machine and no reply of
//! AWS says otherwise.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::codes::{TRANSIENT, Verdict, by_status, no, verdict};
use super::operation::Operation;
use crate::domain::fault::{Applied, Cause, Fault, FaultClass};
use crate::domain::moment::Span;

/// How long a message may be.
const READABLE: usize = 1024;

/// The fault that an error of the SDK amounts to.
pub(super) fn fault<E>(operation: Operation, target: &str, error: &SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    // Our own credentials provider says best what is wrong with a role; nothing was sent under it.
    if let Some(fault) = find::<Fault>(error) {
        return fault.clone();
    }
    let credentials = find::<CredentialsError>(error);
    let new = |verdict: Verdict, message: String| {
        let mut fault = Fault::new(verdict.class, operation.action(), target, cut(message)).because(verdict.cause);
        if verdict.perhaps && operation.writes() {
            fault.applied = Applied::Perhaps;
        }
        fault
    };
    match error {
        SdkError::ServiceError(context) => {
            let (code, text) = (error.code(), error.message().unwrap_or_default());
            let status = context.raw().status().as_u16();
            let verdict = code.and_then(|c| verdict(operation, c, text)).unwrap_or_else(|| by_status(code, status));
            let message = match (code, text) {
                (Some(code), "") => code.to_owned(),
                (Some(code), text) => format!("{code}: {text}"),
                (None, _) => format!("HTTP {status}, an answer that is not AWS's"),
            };
            let mut fault = new(verdict, message);
            if verdict.class == FaultClass::Throttled {
                fault.retry_after = retry_after(context.raw());
            }
            fault
        }
        SdkError::ConstructionFailure(_) => new(no(FaultClass::Terminal, Cause::Other), chain(error)),
        SdkError::DispatchFailure(_) => {
            let unsent = credentials.map(without_credentials);
            let unconnected = never_connected(error).then(|| no(FaultClass::Transient, Cause::Other));
            new(unsent.or(unconnected).unwrap_or(TRANSIENT), chain(error))
        }
        _ => new(TRANSIENT, chain(error)),
    }
}

/// What it means that the SDK's own chain yields no credentials. Nothing was sent.
fn without_credentials(error: &CredentialsError) -> Verdict {
    match error {
        CredentialsError::ProviderTimedOut(_) => no(FaultClass::Transient, Cause::Credentials),
        // A metadata service or a token file that is slow to come up looks the same as one that never will.
        CredentialsError::ProviderError(_) if find::<std::io::Error>(error).is_some() => {
            no(FaultClass::Transient, Cause::Credentials)
        }
        _ => no(FaultClass::Refused, Cause::Credentials),
    }
}

/// Whether the connection was never made, so that no byte of the request left.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    find::<hyper_util::client::legacy::Error>(error).is_some_and(hyper_util::client::legacy::Error::is_connect)
}

/// The first error of a type in a chain of causes.
pub(super) fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    std::iter::successors(Some(error), |&e| e.source()).find_map(|e| e.downcast_ref())
}

/// A chain of causes as one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |&e| e.source()) {
        let text = error.to_string();
        if !parts.iter().any(|p| p.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

/// The text, cut at a readable length.
fn cut(mut text: String) -> String {
    if text.len() > READABLE {
        text.truncate(text.floor_char_boundary(READABLE));
        text.push('…');
    }
    text
}

/// When AWS wants to be asked again: its own header counts in milliseconds, the standard one in seconds.
fn retry_after(response: &HttpResponse) -> Option<Span> {
    let number = |name: &str| response.headers().get(name)?.trim().parse::<i64>().ok().filter(|n| *n >= 0);
    number("x-amz-retry-after").map(Span).or_else(|| number("retry-after").map(|s| Span(s.saturating_mul(1000))))
}
