//! cmk-operator: customer-managed AWS KMS keys for database clouds, in the only safe order.
//!
//! Every pass over an object goes through the same five phases:
//!
//! ```text
//! observe (IO, infallible) -> decide (pure) -> check (pure) -> execute (IO) -> render status (pure)
//! ```
//!
//! Modules, in reading order:
//!
//! 1. [`domain`]: the vocabulary. 2. [`plan`]: the decisions, and the check that refuses a bad one.

pub mod domain;
pub mod plan;
pub mod ports;
