//! A database as it really is: statuses follow from the simulated time, nothing runs in the background.

use serde::Serialize;

use super::databases::CreateDatabase;
use super::shown::{Database, DatabaseInfo, Datacenter};
use super::{DatabaseType, Org};
use crate::sandbox::iam::Identity;
use crate::sandbox::ident::rfc3339;
use crate::sandbox::kms::KeyState;
use crate::sandbox::policy::Facts;
use crate::sandbox::world::World;

/// A database as it really is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredDatabase {
    /// Uuid.
    pub id: String,
    /// What was asked for.
    pub asked: CreateDatabase,
    /// Type, from the tier.
    pub kind: DatabaseType,
    /// Simulated time.
    pub created_at_ms: i64,
    /// When termination was asked for, and when it is over.
    pub terminated_ms: Option<(i64, i64)>,
    /// Regions, the first one is that of the creation.
    pub datacenters: Vec<StoredDatacenter>,
}

/// A region of a database as it really is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct StoredDatacenter {
    /// Id.
    pub id: String,
    /// Region.
    pub region: String,
    /// Simulated time.
    pub created_at_ms: i64,
    /// When it is (or was) `ACTIVE`.
    pub ready_at_ms: i64,
    /// When its removal is over.
    pub terminated_at_ms: Option<i64>,
    /// The customer's key at the moment of creation. `None`: NOT under the customer's key, and never will be.
    pub encrypted_with: Option<String>,
    /// Whether the vendor could use that key at that moment.
    pub key_was_usable: bool,
    /// Why it ended in `ERROR`.
    pub failed: Option<String>,
}

impl StoredDatacenter {
    pub(super) fn gone(&self, now_ms: i64) -> bool {
        self.terminated_at_ms.is_some_and(|at| at <= now_ms)
    }

    /// Its status at this moment.
    pub fn status(&self, now_ms: i64) -> &'static str {
        let (age, takes) = (now_ms - self.created_at_ms, self.ready_at_ms - self.created_at_ms);
        if let Some(at) = self.terminated_at_ms {
            if at <= now_ms { "TERMINATED" } else { "TERMINATING" }
        } else if age * 3 < takes {
            "PENDING"
        } else if self.failed.is_some() {
            "ERROR"
        } else if age < takes {
            "INITIALIZING"
        } else {
            "ACTIVE"
        }
    }
}

impl StoredDatabase {
    /// Its status at this moment.
    pub fn status(&self, now_ms: i64) -> &'static str {
        if let Some((_, over)) = self.terminated_ms {
            return if over <= now_ms { "TERMINATED" } else { "TERMINATING" };
        }
        let mut regions = self.datacenters.iter().filter(|d| !d.gone(now_ms)).map(|d| d.status(now_ms));
        let primary = regions.next().unwrap_or("ERROR");
        if primary != "ACTIVE" {
            return primary;
        }
        let others: Vec<_> = regions.collect();
        if others.contains(&"ERROR") {
            "ERROR"
        } else if others.iter().all(|s| *s == "ACTIVE") {
            "ACTIVE"
        } else {
            "MAINTENANCE"
        }
    }

    pub(super) fn shown(&self, org: &str, now_ms: i64) -> Database {
        let status = self.status(now_ms);
        let shown = |d: &StoredDatacenter| self.datacenter(d, now_ms);
        let failed = self.datacenters.iter().find_map(|d| d.failed.clone().filter(|_| d.status(now_ms) == "ERROR"));
        Database {
            id: self.id.clone(),
            org_id: org.to_owned(),
            owner_id: "sandbox".into(),
            info: DatabaseInfo {
                name: self.asked.name.clone(),
                keyspace: self.asked.keyspace.clone(),
                cloud_provider: "AWS",
                tier: self.asked.tier.clone(),
                capacity_units: self.asked.capacity_units,
                region: self.asked.region.clone(),
                datacenters: self.datacenters.iter().filter(|d| !d.gone(now_ms)).map(shown).collect(),
                db_type: self.asked.db_type.clone(),
            },
            creation_time: rfc3339(self.created_at_ms),
            termination_time: self.terminated_ms.map(|(asked, _)| rfc3339(asked)),
            status: status.into(),
            available_actions: match status {
                "ACTIVE" => vec!["getCreds", "addDatacenters", "terminateDatacenter", "terminate"],
                "TERMINATING" | "TERMINATED" => vec![],
                _ => vec!["terminate"],
            },
            message: failed.unwrap_or_default(),
        }
    }

    pub(super) fn datacenter(&self, d: &StoredDatacenter, now_ms: i64) -> Datacenter {
        Datacenter {
            id: d.id.clone(),
            name: format!("dc-{}", d.id.rsplit('-').next().unwrap_or_default()),
            tier: self.asked.tier.clone(),
            cloud_provider: "AWS",
            region: d.region.clone(),
            status: if self.terminated_ms.is_some() { self.status(now_ms) } else { d.status(now_ms) }.into(),
            capacity_units: self.asked.capacity_units,
        }
    }
}

impl World {
    /// Marks the present call in the log if what it deploys is not under a customer's key.
    pub(super) fn note_unencrypted(&mut self, deployed: &StoredDatacenter) {
        if deployed.encrypted_with.is_none() {
            self.link.note = Some("unencrypted");
        }
    }

    /// Deploys a region now: with the key registered at this moment, or without any.
    pub(super) fn deploy(&self, org: &Org, kind: DatabaseType, id: String, region: &str) -> StoredDatacenter {
        let key = org.registrations.get(&(kind, region.to_owned())).map(|r| r.arn.clone());
        let trouble = key.as_ref().and_then(|arn| self.vendor_refusal(org, kind, region, arn));
        StoredDatacenter {
            id,
            region: region.to_owned(),
            created_at_ms: self.now_ms,
            ready_at_ms: self.now_ms + org.settings.deploy_ms,
            terminated_at_ms: None,
            key_was_usable: key.is_some() && trouble.is_none(),
            encrypted_with: key,
            failed: trouble.filter(|_| org.settings.try_key),
        }
    }

    /// Why the vendor can't use a key, if so. Each database may use another of the vendor's accounts.
    fn vendor_refusal(&self, org: &Org, kind: DatabaseType, region: &str, arn: &str) -> Option<String> {
        let Some(key) = self.key_by_arn(arn) else {
            return Some(format!("key {arn} was not found"));
        };
        if key.state != KeyState::Enabled {
            return Some(format!("key {arn} is {:?}", key.state));
        }
        let offered = org.regions.get(region)?;
        let accounts = match kind {
            DatabaseType::Classic => &offered.classic_accounts,
            DatabaseType::Serverless => &offered.serverless_accounts,
        };
        let account = accounts.get(org.databases.len() % accounts.len().max(1))?;
        let role = format!("arn:aws:iam::{account}:role/{}", org.settings.principal_role);
        let vendor = Identity { account: account.clone(), arn: role, session: None };
        let needed = ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"];
        let refused =
            needed.into_iter().find(|action| !self.key_permits(key, &vendor, action, self.now_ms, Facts::default));
        refused.map(|action| format!("{} is not authorized to perform {action} on {arn}", vendor.arn))
    }
}
