//! The sandbox: AWS and the database clouds, simulated, with their awkward sides.
//!
//! One [`World`] holds everything. All semantics are its typed, synchronous methods ([`World::kms`], [`World::sts`],
//! [`World::iam`], [`World::tagging`], [`World::astra`], [`World::atlas`], [`World::singlestore`]); the HTTP front
//! ([`http::serve`]) and the in-process fakes only call them. The world is deterministic and can be cloned, compared and
//! hashed, so a model checker can hold it as a part of its state. Time passes only when told to.

pub mod astra;
pub mod atlas;
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
pub use iam::{CreateRole, Credentials, IamApi, Identity, KeyRefused, NameList, Role, Simulated, TagList, Trust};
pub use ident::{kms_arn, partition, rfc3339};
pub use log::Entry;
pub use oracle::TrueKey;
pub use policy::{Decision, Facts, Policies, Request, decide};
pub use ports::Clouds;
pub use quota::Quotas;
pub use scene::{
    ACCESS_KEY, ACCOUNT, ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET, ATLAS_ORGANIZATION, ATLAS_PRIVATE_KEY, ATLAS_PROJECT,
    ATLAS_PUBLIC_KEY, ORGANIZATION, REGIONS, SINGLESTORE_API_KEY, SINGLESTORE_ORGANIZATION, TOKEN, provider_account,
};
pub use settings::Settings;
pub use sts::{AssumeRole, CallerIdentity};
pub use tagging::{GetResources, ResourcePage, ResourceTag, TagFilter, TaggedResource};
pub use world::World;
