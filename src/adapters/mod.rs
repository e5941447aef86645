//! The ports' implementations over the wire: AWS and the database clouds.
//!
//! SDK types and wire types never leave the module that speaks them; what comes out is the vocabulary of
//! [`domain`](crate::domain). Nothing here decides: an adapter does one call, says what it saw, and classifies what went
//! wrong. Nothing here repeats a write.
//!
//! - [`aws`]: [`KeyService`](crate::ports::KeyService) over KMS, STS and the tagging API.
//! - [`upstream`]: [`Upstream`](crate::ports::Upstream) over the clouds' HTTP APIs.
//! - [`limits`]: our share of AWS's quotas.
//! - [`watch`]: who hears of every call.

pub mod aws;
pub mod limits;
pub mod upstream;
pub mod watch;
