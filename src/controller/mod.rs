//! stub
pub mod backoff;
pub mod queue;
