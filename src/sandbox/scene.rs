//! The world that the sandbox and the demo start with.

use std::collections::BTreeMap;

use super::astra::{AstraRegion, OrgSettings};
use super::iam::Identity;
use super::settings::Settings;
use super::world::World;

/// The AWS account of the default world.
pub const ACCOUNT: &str = "111111111111";
/// An access key of that account's user `sandbox`.
pub const ACCESS_KEY: &str = "AKIASANDBOX";
/// The Astra organization of the default world.
pub const ORGANIZATION: &str = "5a9db0c5-0000-4000-8000-000000000001";
/// A token of that organization with all permissions.
pub const TOKEN: &str = "AstraCS:sandbox:token";
/// The regions that it may use.
pub const REGIONS: [&str; 6] = ["us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-1"];

/// The vendor's AWS account in a region of the default world, the same for both types of databases.
pub fn provider_account(region: &str) -> String {
    let n = REGIONS.iter().position(|r| *r == region).unwrap_or(REGIONS.len());
    format!("9000000000{n:02}")
}

impl World {
    /// One AWS account and one Astra organization, with nothing made yet.
    pub fn sandbox(now_ms: i64, settings: Settings) -> Self {
        let mut world = Self::empty(now_ms, settings);
        world.add_access_key(ACCESS_KEY, Identity::of_account(ACCOUNT));
        let region = |name: &&str| {
            let accounts = vec![provider_account(name)];
            let offered =
                AstraRegion { classic_accounts: accounts.clone(), serverless_accounts: accounts, locked: false };
            ((*name).to_owned(), offered)
        };
        let regions: BTreeMap<_, _> = REGIONS.iter().map(region).collect();
        world.add_astra_org(ORGANIZATION, regions, OrgSettings::default());
        world.set_astra_token(TOKEN, ORGANIZATION, None);
        world
    }
}
