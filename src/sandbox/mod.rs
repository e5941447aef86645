//! The sandbox: AWS and the database clouds, simulated, with their awkward sides.
//!
//! One [`World`] holds everything. All semantics are its typed, synchronous methods ([`World::kms`],
//! [`World::sts`], [`World::tagging`], [`World::astra`], [`World::singlestore`]); the HTTP front ([`http::serve`]) and the in-process
//! fakes only call them. The world is deterministic and can be cloned, compared and hashed, so a model checker
//! can hold it as a part of its state. Time passes only when told to.

pub mod astra;
mod command;
mod dump;
mod failure;
mod fault;
pub mod http;
mod iam;
mod ident;
pub mod kms;
mod log;
mod oracle;
mod policy;
mod ports;
mod quota;
mod scene;
mod settings;
pub mod singlestore;
mod sts;
mod tagging;
mod versioned;
mod world;

pub use command::Command;
pub use failure::{Failure, ServiceError};
pub use fault::{Access, Fault, Match, Rule};
pub use iam::{Credentials, Identity, KeyRefused, Trust};
pub use ident::{kms_arn, partition, rfc3339};
pub use log::Entry;
pub use oracle::TrueKey;
pub use ports::Clouds;
pub use quota::Quotas;
pub use scene::{
    ACCESS_KEY, ACCOUNT, ORGANIZATION, REGIONS, SINGLESTORE_API_KEY, SINGLESTORE_ORGANIZATION, TOKEN, provider_account,
};
pub use settings::Settings;
pub use sts::{AssumeRole, CallerIdentity};
pub use tagging::{GetResources, ResourcePage, ResourceTag, TagFilter, TaggedResource};
pub use world::World;
