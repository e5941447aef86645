//! What a call to a simulated cloud can end in, other than its answer.

use serde::Serialize;

/// An answer in the negative, as the real service would word it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ServiceError {
    /// HTTP status of the answer.
    pub status: u16,
    /// AWS: the error code (`NotFoundException`). Astra: the number under `ID`, as text. `SingleStore`: the status, or
    /// `html` for a page.
    pub code: String,
    /// Text for a human; never secret.
    pub message: String,
    /// Seconds for a `Retry-After` header, where the service would send one.
    pub retry_after_s: Option<u32>,
    /// Atlas: what the text is about, one by one.
    pub parameters: Vec<String>,
}

impl ServiceError {
    /// Any error, spelled out.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), retry_after_s: None, parameters: Vec::new() }
    }

    /// An error that the caller caused; AWS JSON services answer 400 to all of them.
    pub(super) fn aws(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// A parameter out of bounds (common error of every AWS JSON service).
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::aws("ValidationException", message)
    }
}

/// An error of a cloud whose errors have no code beside the status.
pub(super) fn refused(status: u16, message: impl Into<String>) -> ServiceError {
    ServiceError::new(status, status.to_string(), message)
}

/// Why a call has no answer in the positive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The service answered, in the negative. Nothing was changed unless a fault rule says so.
    Service(ServiceError),
    /// The connection broke with no answer. The caller cannot know whether the call was applied.
    Lost,
    /// No answer within the caller's patience. The caller cannot know whether the call was applied.
    TimedOut,
}

impl Failure {
    /// The error of the service, if it answered at all.
    pub fn service(&self) -> Option<&ServiceError> {
        match self {
            Self::Service(error) => Some(error),
            Self::Lost | Self::TimedOut => None,
        }
    }

    /// The code for the log: the service's own, `lost` or `timed_out`.
    pub fn code(&self) -> &str {
        match self {
            Self::Service(error) => &error.code,
            Self::Lost => "lost",
            Self::TimedOut => "timed_out",
        }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(e) => write!(f, "{} {}: {}", e.status, e.code, e.message),
            Self::Lost => f.write_str("connection lost, outcome unknown"),
            Self::TimedOut => f.write_str("timed out, outcome unknown"),
        }
    }
}

impl std::error::Error for Failure {}
