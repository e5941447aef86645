//! What a look at the outside world yields.

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// One thing looked at outside. Never an `Option`: not to know is not the same as to know that there is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reading<T> {
    /// It could not be seen, and why. Never to be treated as [`Reading::Absent`].
    Unknown(Why),
    /// The other side said that there is none.
    Absent,
    /// It was seen.
    Present(T),
}

/// Why something is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Why {
    /// This pass had no reason to look, or no means to: something it depends on is missing.
    NotLooked,
    /// The look failed.
    Failed(Fault),
}

impl<T> Reading<T> {
    /// Not looked at.
    pub const NOT_LOOKED: Self = Self::Unknown(Why::NotLooked);

    /// The thing, if it was seen.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Unknown(_) | Self::Absent => None,
        }
    }

    /// The fault of a failed look.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Unknown(Why::Failed(fault)) => Some(fault),
            Self::Unknown(Why::NotLooked) | Self::Absent | Self::Present(_) => None,
        }
    }

    /// The other side said that there is none.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The same reading of another type, where something was seen.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Unknown(why) => Reading::Unknown(why),
            Self::Absent => Reading::Absent,
            Self::Present(value) => Reading::Present(f(value)),
        }
    }

    /// The same reading, borrowed.
    pub fn as_ref(&self) -> Reading<&T> {
        match self {
            Self::Unknown(why) => Reading::Unknown(why.clone()),
            Self::Absent => Reading::Absent,
            Self::Present(value) => Reading::Present(value),
        }
    }
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self::NOT_LOOKED
    }
}

impl<T> From<Result<Option<T>, Fault>> for Reading<T> {
    fn from(result: Result<Option<T>, Fault>) -> Self {
        match result {
            Ok(Some(value)) => Self::Present(value),
            Ok(None) => Self::Absent,
            Err(fault) => Self::Unknown(Why::Failed(fault)),
        }
    }
}
