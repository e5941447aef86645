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
            for key in home.get().keys.values() {
                keys.insert(key.arn.clone(), self.dump_key(account, region, key));
            }
            for (name, alias) in &home.get().aliases {
                let at = super::kms_arn(account, region, name);
                aliases.insert(
                    at,
                    json!(super::kms_arn(
                        account,
                        region,
                        &format!("key/{}", alias.key_id)
                    )),
                );
            }
        }
        let orgs: Map<String, Value> = self
            .astra
            .iter()
            .map(|(id, org)| (id.clone(), self.dump_org(org.get())))
            .collect();
        let principals: Vec<String> = self
            .iam
            .accounts()
            .iter()
            .flat_map(|(account, all)| {
                all.keys()
                    .map(move |r| format!("arn:aws:iam::{account}:{r}"))
            })
            .collect();
        json!({
            "now_ms": self.now_ms, "settings": self.settings, "keys": keys, "aliases": aliases,
            "principals": principals, "astra": orgs
        })
    }

    fn dump_key(&self, account: &str, region: &str, key: &Key) -> Value {
        let text = key.policy.render(&self.iam);
        let policy = serde_json::from_str::<Value>(&text).unwrap_or(Value::String(text));
        let home = self.kms.get(&(account.to_owned(), region.to_owned()));
        let aliases: Vec<&String> = home
            .into_iter()
            .flat_map(|h| h.get().aliases.iter())
            .filter(|(_, a)| a.key_id == key.id)
            .map(|(name, _)| name)
            .collect();
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
        let databases: Vec<Value> = org
            .databases
            .iter()
            .map(|d| self.dump_database(d))
            .collect();
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
