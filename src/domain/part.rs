//! What runs inside a database, where a cloud makes the two apart: the database holds the data, its parts serve it.

use serde::{Deserialize, Serialize};

/// A part to be made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewPart {
    /// Its name; the cloud need not keep names unique.
    pub name: String,
    /// Its size, in the cloud's notation.
    pub size: String,
}

/// A part as the cloud shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its size, in the cloud's notation.
    #[serde(default)]
    pub size: String,
    /// Its state.
    pub state: PartState,
    /// Where clients connect, once there is such a place.
    #[serde(default)]
    pub endpoint: Option<String>,
}

/// The state of a part, in the vocabulary that the planner needs. One that is gone is not shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PartState {
    /// It serves.
    Active,
    /// It is on its way to serve, in the cloud's words.
    Coming(String),
    /// It serves nobody until somebody wakes it, in the cloud's words.
    Resting(String),
    /// It does not leave this state by itself, in the cloud's words.
    Failed(String),
}

impl PartState {
    /// As status shows it.
    pub fn text(&self) -> &str {
        match self {
            Self::Active => "Active",
            Self::Coming(words) | Self::Resting(words) | Self::Failed(words) => words,
        }
    }
}

/// What is remembered of a part that was made, or found under its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartMemory {
    /// Its id.
    pub id: String,
    /// The state that status shows; absent: none was believed yet.
    #[serde(default)]
    pub state: Option<String>,
}
