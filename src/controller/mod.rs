//! The controller: watches both kinds, queues their objects, and runs passes over them.

pub mod backoff;
pub mod context;
pub mod dereference;
pub mod events;
pub mod kind;
pub mod ledger;
pub mod pace;
pub mod pass;
mod password;
pub mod queue;
pub mod run;
pub mod schemas;
pub mod slots;
pub mod timer;
pub mod watch;
pub mod witness;
