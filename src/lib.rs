//! cmk-operator: customer-managed AWS KMS keys for database clouds, in the only safe order.

pub mod api;
pub mod clock;
pub mod controller;
pub mod domain;
pub mod execute;
pub mod observe;
pub mod plan;
pub mod ports;
