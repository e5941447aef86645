//! What AWS's answers in the negative mean: the one table of codes, for the real services and for the simulated ones.
//!
//! Two questions have to be answered about each: what does the next attempt need, and may the call have taken effect.

use super::operation::Operation;
use crate::domain::fault::{Cause, FaultClass};

/// What one code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What the next attempt needs.
    pub(crate) class: FaultClass,
    /// Finer than the class.
    pub(crate) cause: Cause,
    /// Whether a write that was answered so may have taken effect.
    pub(crate) perhaps: bool,
}

pub(super) const fn no(class: FaultClass, cause: Cause) -> Verdict {
    Verdict { class, cause, perhaps: false }
}

pub(crate) const TRANSIENT: Verdict = Verdict { class: FaultClass::Transient, cause: Cause::Other, perhaps: true };

/// The table.
///
/// Codes are those of the services' API references; the general ones are at
/// <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>.
pub(crate) fn verdict(operation: Operation, code: &str, message: &str) -> Option<Verdict> {
    use FaultClass::{Conflict, Invalid, Refused, Settling, Terminal, Throttled};
    Some(match code {
        "ThrottlingException"
        | "ThrottledException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "SlowDown" => no(Throttled, Cause::Other),

        // The SDK takes this for throttling. In KMS it is final: the account is full, or the policy is too long
        // (<https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html>).
        "LimitExceededException" | "LimitExceeded" => match operation {
            Operation::PutKeyPolicy => no(Invalid, Cause::Policy),
            _ => no(Refused, Cause::Quota),
        },

        "AccessDenied" | "AccessDeniedException" => match operation {
            Operation::AssumeRole => no(Refused, Cause::Role),
            _ => no(Refused, Cause::Permission),
        },
        "NotAuthorized" | "UnauthorizedOperation" => no(Refused, Cause::Permission),
        // The region is switched off in the account, or for tokens of STS. Of IAM: somebody else's policies are on the role,
        // or it is one that only a service may change.
        "RegionDisabledException" | "OptInRequired" | "DeleteConflict" | "UnmodifiableEntity" => {
            no(Refused, Cause::Other)
        }
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "ExpiredTradeInTokenException" => no(Refused, Cause::Credentials),

        // A principal that was made a moment ago is not known everywhere yet; one that was deleted never will be again.
        // AWS's words are the same; only time tells.
        "MalformedPolicyDocumentException" | "MalformedPolicyDocument"
            if message.to_ascii_lowercase().contains("invalid principal") =>
        {
            no(Settling, Cause::Principal)
        }
        "MalformedPolicyDocumentException" | "MalformedPolicyDocument" => no(Invalid, Cause::Policy),

        "AlreadyExistsException"
        | "ConflictException"
        | "KMSInvalidStateException"
        | "DisabledException"
        // Of IAM (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html>, `Errors`).
        | "EntityAlreadyExists"
        | "ConcurrentModification"
        | "EntityTemporarilyUnmodifiable" => no(Conflict, Cause::Other),
        // Of a write: we saw the key before we wrote. Reads never come here.
        "NotFoundException" | "NoSuchEntity" => no(Settling, Cause::Other),
        "TagException"
        | "InvalidAliasNameException"
        | "InvalidArnException"
        | "ValidationException"
        | "ValidationError"
        | "InvalidParameterException"
        | "InvalidInput"
        | "InvalidParameterValue" => no(Invalid, Cause::Other),

        "UnsupportedOperationException"
        | "InvalidAction"
        | "UnknownOperationException"
        | "SerializationException"
        | "MissingParameter"
        | "InvalidQueryParameter"
        | "MalformedQueryString"
        | "MissingAction" => no(Terminal, Cause::Other),

        // `DependencyTimeoutException` and the like may come after the work was done.
        "KMSInternalException"
        | "ServiceFailure"
        | "InvalidMarkerException"
        | "PaginationTokenExpiredException"
        | "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "InternalFailure"
        | "InternalServiceException"
        | "InternalServerError"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException" => TRANSIENT,
        _ => return None,
    })
}

/// What an answer with a code that is not in the table, or with none, means by its HTTP status.
pub(crate) fn by_status(code: Option<&str>, status: u16) -> Verdict {
    match status {
        408 | 500.. => TRANSIENT,
        429 => no(FaultClass::Throttled, Cause::Other),
        401 | 403 => no(FaultClass::Refused, Cause::Permission),
        // Without a code it was not AWS who answered, and who knows what it did with the request.
        _ => Verdict { class: FaultClass::Terminal, cause: Cause::Other, perhaps: code.is_none() },
    }
}
