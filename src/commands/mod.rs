//! What the command line does beside running the controller: it explains, and changes nothing.
//!
//! - [`plan`]: what would be done for manifests. - [`why`]: what live objects wait for.
//! - [`read_only`]: the means to look at the outside, and no others.

pub mod plan;
pub mod read_only;
pub mod why;

/// Why a command could not do what it was asked, in words for whoever asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// An error together with what was being done.
fn failed(what: impl std::fmt::Display) -> impl FnOnce(&dyn std::fmt::Display) -> Failed {
    let what = what.to_string();
    move |why| Failed(format!("{what}: {why}"))
}

/// How a command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}
