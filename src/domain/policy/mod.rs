//! The key policy engine: typed statements, compared as sets, merged without touching what is not ours, and guarded.
//!
//! Reading order: [`statement`] (the types), [`json`], [`parse`] and [`render`] (text and back), [`principal`] and
//! [`pattern`] (what names and wildcards mean), [`canonical`] (when two policies mean the same), [`ownership`] (which statements are
//! ours), [`template`] and [`mod@pasted`] (what we author), [`mod@merge`] (what to write), [`guard`] (what may be written),
//! [`mod@holds`] (what a policy gives), [`mod@diff`] (what a human reads).
//!
//! The way through: [`PolicyDocument::parse`] what was read, author with [`template`] and [`pasted()`], [`merge()`], [`review`]; if
//! `changed` and nothing is refused, send `document.render()`. The gate asks [`holds()`] of the policy as read.
//!
//! Absent here: calls, clocks, names of clouds.

pub mod additive;
pub mod addresses;
pub mod canonical;
pub mod diff;
pub mod entrusted;
pub mod guard;
pub mod holds;
pub mod json;
pub mod merge;
pub mod ownership;
pub mod parse;
pub mod pasted;
pub mod pattern;
pub mod principal;
pub mod reach;
pub mod render;
pub mod risk;
pub mod role;
pub mod statement;
pub mod template;

pub use additive::{additive_principals, principals_in};
pub use canonical::{CanonicalStatement, PolicyHash, same_meaning};
pub use diff::diff;
pub use guard::{Problem, Review, RootRule, Setting, gives_root, review};
pub use holds::{Holding, holds};
pub use json::Json;
pub use merge::{Merge, MergeOptions, Orphan, merge};
pub use ownership::{Label, LabelError, Ownership, is_ours};
pub use parse::ParseError;
pub use pasted::{DocumentError, DocumentProblem, pasted};
pub use principal::{CallerError, KeyAccount, lasting_principal};
pub use risk::Risk;
pub use statement::{
    Condition, Effect, PolicyDocument, PrincipalGroup, PrincipalKind, PrincipalSet, Principals, Scalar, Selector,
    Statement,
};
pub use template::{Authored, Grant, Source};
