//! The implementations of the ports.

pub mod limits;
