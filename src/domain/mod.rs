//! The vocabulary: what things are called, without any idea of how they are fetched or changed.
//!
//! Nothing here is asynchronous, reads a clock or talks to anybody; a test holds it to that.

pub mod capabilities;
pub mod condition;
pub mod confirmation;
pub mod desired;
pub mod family;
pub mod fault;
pub mod iam_role;
pub mod id;
pub mod memory;
pub mod moment;
pub mod observed;
pub mod part;
pub mod policy;
pub mod portal;
pub mod reading;
pub mod role_link;
pub mod role_powers;
pub mod source;
