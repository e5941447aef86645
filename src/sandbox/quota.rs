//! Request quotas: one token bucket per account, region and operation, on simulated time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whether and how calls are limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quotas {
    /// Nothing is throttled.
    #[default]
    Off,
    /// The published defaults (KMS guide, "Request quotas", table of June 2023).
    Aws,
    /// The published defaults with these changed: operation without service (`CreateKey`) -> requests per second.
    AwsExcept(BTreeMap<String, u32>),
}

impl Quotas {
    fn per_second(&self, operation: &str) -> Option<u32> {
        match self {
            Self::Off => None,
            Self::Aws => published(operation),
            Self::AwsExcept(changed) => changed.get(operation).copied().or_else(|| published(operation)),
        }
    }
}

/// Requests per second; `None` where no number is published.
fn published(operation: &str) -> Option<u32> {
    Some(match operation {
        "CreateKey"
        | "CreateAlias"
        | "UpdateAlias"
        | "EnableKey"
        | "DisableKey"
        | "CancelKeyDeletion"
        | "DisableKeyRotation"
        | "ReplicateKey"
        | "UpdatePrimaryRegion"
        | "UntagResource"
        | "UpdateKeyDescription" => 5,
        "TagResource" => 10,
        "PutKeyPolicy" | "EnableKeyRotation" | "ScheduleKeyDeletion" | "DeleteAlias" => 15,
        "ListKeyPolicies" => 100,
        "ListKeys" | "ListAliases" => 500,
        "GetKeyPolicy" | "GetKeyRotationStatus" => 1000,
        "DescribeKey" | "ListResourceTags" => 2000,
        _ => return None,
    })
}

/// Thousandths of a token, and when they were counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bucket {
    milli: i64,
    at_ms: i64,
}

/// All buckets in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Buckets(BTreeMap<(String, String, String), Bucket>);

impl Buckets {
    /// Takes one token; false means throttled. A bucket holds one second's worth.
    pub(super) fn take(&mut self, quotas: &Quotas, account: &str, region: &str, operation: &str, now_ms: i64) -> bool {
        let Some(rate) = quotas.per_second(operation).map(i64::from) else {
            return true;
        };
        let key = (account.to_owned(), region.to_owned(), operation.to_owned());
        let bucket = self.0.entry(key).or_insert(Bucket { milli: rate * 1000, at_ms: now_ms });
        let elapsed = (now_ms - bucket.at_ms).clamp(0, 1000);
        bucket.milli = (bucket.milli + rate * elapsed).min(rate * 1000);
        bucket.at_ms = now_ms;
        if bucket.milli < 1000 {
            return false;
        }
        bucket.milli -= 1000;
        true
    }
}
