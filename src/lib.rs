//! cmk-operator: customer-managed AWS KMS keys for database clouds, in the only safe order.

pub mod adapters;
pub mod api;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod controller;
#[cfg(feature = "sandbox")]
pub mod demo;
pub mod domain;
pub mod execute;
pub mod leader;
pub mod observe;
pub mod plan;
pub mod ports;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod status;
pub mod telemetry;
