//! What can be set about a world.

use serde::{Deserialize, Serialize};

use super::quota::Quotas;

/// What can be set about a world as a whole. Times are simulated milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Each KMS read is served from a state up to this old, chosen anew (and deterministically) for each read:
    /// reads are eventual and not monotonic (KMS guide, "AWS KMS eventual consistency").
    pub kms_read_lag_ms: i64,
    /// Each Astra read likewise.
    pub astra_read_lag_ms: i64,
    /// A database is missing from lists until it is this old; reading it by id works.
    pub astra_list_lag_ms: i64,
    /// Each read of `SingleStore` likewise: a state is to be believed only once it was seen several times in a row.
    pub singlestore_read_lag_ms: i64,
    /// A workspace group, or a workspace, is missing from lists until it is this old; reading it by id works.
    pub singlestore_list_lag_ms: i64,
    /// `GetResources` shows the tags of this long ago.
    pub tag_index_lag_ms: i64,
    /// A new IAM principal is invalid in a key policy until it is this old.
    pub principal_lag_ms: i64,
    /// Each read of IAM is served from a state up to this old, and so is what is looked up there to decide about a
    /// request: who may assume a role, and what a role may do.
    pub iam_lag_ms: i64,
    /// Each Atlas read is served from a state up to this old.
    pub atlas_read_lag_ms: i64,
    /// States are remembered for at least this long, for stale reads.
    pub history_ms: i64,
    /// Request quotas of AWS.
    pub quotas: Quotas,
    /// A replica of a multi-Region key is `Creating` for this long.
    pub replica_creating_ms: i64,
    /// Keys per account and region (100,000 on AWS); absent: no limit.
    pub key_limit: Option<usize>,
    /// Seed of ids and of the choice of stale reads.
    pub seed: u64,
}
