//! Databases of the simulated cloud, in the words of the ports.

use std::collections::BTreeMap;

use super::faults::Call;
use super::{Clouds, astra};
use crate::domain::fault::Fault;
use crate::domain::observed::{Database, DatabaseState};
use crate::ports::Session;
use crate::sandbox::astra::ListDatabases;

/// Databases per page of a list, the most that the vendor gives.
const PAGE: u32 = 100;

impl Clouds {
    /// The databases that are not terminated and are asked for, of every page.
    pub(super) fn all_databases(
        &self,
        session: &Session,
        target: &str,
        wanted: impl Fn(&astra::Database) -> bool,
    ) -> Result<Vec<Database>, Fault> {
        let call = Call::read("GET /v2/databases", target);
        let mut query = ListDatabases { limit: Some(PAGE), ..ListDatabases::default() };
        let mut all = Vec::new();
        loop {
            let page = self.astra(session, &call, |astra| astra.list_databases(&query))?;
            let full = page.len() >= PAGE as usize;
            query.starting_after = page.last().map(|last| last.id.clone());
            let asked_for = page.into_iter().filter(|database| wanted(database)).map(shown);
            all.extend(asked_for.filter(|database| database.state != DatabaseState::Terminated));
            if !full {
                return Ok(all);
            }
        }
    }
}

fn state(status: &str) -> DatabaseState {
    match status {
        "ACTIVE" => DatabaseState::Active,
        "ERROR" => DatabaseState::Failed(status.to_owned()),
        "TERMINATED" | "TERMINATING" => DatabaseState::Terminated,
        _ => DatabaseState::Busy(status.to_owned()),
    }
}

pub(super) fn shown(database: astra::Database) -> Database {
    let astra::Database { id, info, creation_time, status, message, .. } = database;
    let mut regions = BTreeMap::new();
    for datacenter in info.datacenters {
        let known = regions.get(&datacenter.region);
        // A region that was removed and added again is there twice.
        if known.is_none_or(|known| *known == DatabaseState::Terminated) {
            regions.insert(datacenter.region, state(&datacenter.status));
        }
    }
    Database {
        id,
        name: info.name,
        state: state(&status),
        created_at: creation_time.parse().ok(),
        tier: info.tier,
        region: info.region,
        regions,
        message,
        endpoints: Vec::new(),
        encryption: None,
    }
}
