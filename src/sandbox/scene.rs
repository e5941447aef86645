//! The world that the sandbox and the demo start with.

use std::collections::BTreeMap;

use super::astra::{AstraRegion, OrgSettings};
use super::iam::Identity;
use super::ident::uuid;
use super::settings::Settings;
use super::singlestore::{self, OfferedRegion, Role};
use super::world::World;

/// The AWS account of the default world.
pub const ACCOUNT: &str = "111111111111";
/// An access key of that account's user `sandbox`.
pub const ACCESS_KEY: &str = "AKIASANDBOX";
/// The Astra organization of the default world.
pub const ORGANIZATION: &str = "5a9db0c5-0000-4000-8000-000000000001";
/// A token of that organization with all permissions.
pub const TOKEN: &str = "AstraCS:sandbox:token";
/// The Atlas organization of the default world.
pub const ATLAS_ORGANIZATION: &str = "5a9db0c500000000000000a1";
/// A project of that organization.
pub const ATLAS_PROJECT: &str = "5a9db0c500000000000000b1";
/// A service account of that organization, owner of all its projects.
pub const ATLAS_CLIENT_ID: &str = "mdb_sa_id_sandbox";
/// Its secret.
pub const ATLAS_CLIENT_SECRET: &str = "mdb_sa_sk_sandbox";
/// An API key of that organization, owner of all its projects: the public half.
pub const ATLAS_PUBLIC_KEY: &str = "sandboxk";
/// And the private half.
pub const ATLAS_PRIVATE_KEY: &str = "00000000-0000-4000-8000-0000000000a1";
/// The regions that it may use.
pub const REGIONS: [&str; 6] = ["us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-1"];

/// The `SingleStore` organization of the default world.
pub const SINGLESTORE_ORGANIZATION: &str = "51e5704e-0000-4000-8000-000000000001";
/// An API key of that organization's owner.
pub const SINGLESTORE_API_KEY: &str = "singlestore-sandbox-api-key";

/// What `SingleStore` calls the regions. A region of another cloud has the name of one of AWS.
const DISPLAY: [(&str, &str, &str); 7] = [
    ("AWS", "us-east-1", "US East 1 (N. Virginia)"),
    ("AWS", "us-east-2", "US East 2 (Ohio)"),
    ("AWS", "us-west-2", "US West 2 (Oregon)"),
    ("AWS", "eu-west-1", "Europe West 1 (Ireland)"),
    ("AWS", "eu-central-1", "Europe Central 1 (Frankfurt)"),
    ("AWS", "ap-southeast-1", "Asia Pacific Southeast 1 (Singapore)"),
    ("GCP", "europe-west1", "Europe West 1 (Ireland)"),
];

fn singlestore_regions() -> BTreeMap<String, OfferedRegion> {
    let offered = |(n, (provider, name, display)): (u64, &(&str, &str, &str))| {
        let region = OfferedRegion {
            id: uuid(0, "singlestore-region", n),
            provider: (*provider).to_owned(),
            display: (*display).to_owned(),
            key_account: format!("9100000000{n:02}"),
            outbound_account: format!("9200000000{n:02}"),
        };
        ((*name).to_owned(), region)
    };
    (0..).zip(&DISPLAY).map(offered).collect()
}

/// The vendor's AWS account in a region of the default world, the same for both types of databases.
pub fn provider_account(region: &str) -> String {
    let n = REGIONS.iter().position(|r| *r == region).unwrap_or(REGIONS.len());
    format!("9000000000{n:02}")
}

impl World {
    /// One AWS account and one organization at each database cloud, with nothing made yet.
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
        let settings = singlestore::OrgSettings::default();
        world.add_singlestore_org(SINGLESTORE_ORGANIZATION, singlestore_regions(), settings);
        world.set_singlestore_key(SINGLESTORE_API_KEY, SINGLESTORE_ORGANIZATION, Role::Owner);
        world.add_atlas_project(ATLAS_PROJECT, "sandbox", ATLAS_ORGANIZATION);
        world.set_atlas_credential(ATLAS_CLIENT_ID, ATLAS_CLIENT_SECRET, true, ATLAS_ORGANIZATION, None);
        world.set_atlas_credential(ATLAS_PUBLIC_KEY, ATLAS_PRIVATE_KEY, false, ATLAS_ORGANIZATION, None);
        world
    }
}
