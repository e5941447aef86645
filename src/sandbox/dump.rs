//! Everything there is, as JSON: for comparing end states and for the oracle of safety.

use serde_json::{Map, Value, json};

use super::astra::{Org, StoredDatabase};
use super::kms::Key;
use super::world::World;

impl World {
    /// The present state of the clouds. Tokens and access keys are left out.
    pub fn dump(&self) -> Value {
        let mut keys = Map::new();
        let mut aliases = Map::new();
        for ((account, region), home) in &self.kms {
            let home = home.get();
            for (name, alias) in home.aliases.iter() {
                let target = super::kms_arn(account, region, &format!("key/{}", alias.key_id));
                aliases.insert(super::kms_arn(account, region, name), json!(target));
            }
            for key in home.keys.values() {
                let names: Vec<&str> = home.aliases.of_key(&key.id).map(|(name, _)| name).collect();
                keys.insert(key.arn.clone(), self.dump_key(account, region, key, &names));
            }
        }
        let orgs: Map<String, Value> =
            self.astra.iter().map(|(id, org)| (id.clone(), self.dump_org(org.get()))).collect();
        let principals: Vec<String> = self.iam.principals().map(|p| p.arn.clone()).collect();
        let singlestore = &self.singlestore.orgs;
        let singlestore: Map<String, Value> =
            singlestore.iter().map(|(id, org)| (id.clone(), self.dump_singlestore(org.get()))).collect();
        json!({
            "now_ms": self.now_ms, "settings": self.settings, "keys": keys, "aliases": aliases,
            "principals": principals, "roles": self.iam.dump_roles(), "astra": orgs, "atlas": self.dump_atlas(),
            "singlestore": singlestore
        })
    }

    fn dump_key(&self, account: &str, region: &str, key: &Key, aliases: &[&str]) -> Value {
        let policy = key.policy.shown(&self.iam);
        json!({
            "account": account, "region": region, "id": key.id, "created_at_ms": key.created_at_ms,
            "state": key.state, "deletion_at_ms": key.deletion_at_ms, "description": key.description,
            "policy": policy, "tags": key.tags, "aliases": aliases,
            "rotation_period_days": key.rotation.as_ref().map(|r| r.period_days),
            "primary_region": key.primary_region
        })
    }

    fn dump_org(&self, org: &Org) -> Value {
        let registrations: Vec<Value> = org
            .registrations
            .iter()
            .map(|((kind, region), r)| json!({"kind": kind, "region": region, "arn": r.arn, "at_ms": r.at_ms}))
            .collect();
        let databases: Vec<Value> = org.databases.iter().map(|d| self.dump_database(d)).collect();
        json!({
            "settings": org.settings, "regions": org.regions, "registrations": registrations, "databases": databases
        })
    }

    /// `encrypted_with: null` in a region means: NOT under the customer's key.
    fn dump_database(&self, database: &StoredDatabase) -> Value {
        let now_ms = self.now_ms;
        let regions: Vec<Value> = database
            .datacenters
            .iter()
            .map(|d| {
                let mut shown = json!(d);
                shown["status"] = json!(d.status(now_ms));
                shown
            })
            .collect();
        json!({
            "id": database.id, "name": database.asked.name, "kind": database.kind, "tier": database.asked.tier,
            "created_at_ms": database.created_at_ms, "status": database.status(now_ms), "regions": regions
        })
    }
}
