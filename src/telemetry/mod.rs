//! What the process tells about itself: metrics, health, logs.
//!
//! No secret, token or vendor's external id goes through here: metric labels are enums and static words, and the
//! names of objects appear only on the capped series of abnormal states.

pub mod http;
pub mod metrics;
pub mod tracing;
