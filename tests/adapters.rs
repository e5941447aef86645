//! The adapters against a scripted server on loopback: what they send, how often, and what they make of the answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

mod adapters {
    mod astra;
    mod astra_faults;
    #[cfg(feature = "sandbox")]
    mod atlas;
    mod aws;
    mod aws_chain;
    mod aws_faults;
    mod aws_replica;
    mod aws_roles;
    mod aws_search;
    mod server;
    #[cfg(feature = "sandbox")]
    mod singlestore;
    mod singlestore_faults;
    #[cfg(feature = "sandbox")]
    mod singlestore_workspaces;
}
