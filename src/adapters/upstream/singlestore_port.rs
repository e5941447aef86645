//! `SingleStore` as the planner knows a cloud: a workspace group is a database, replication is its copy in a second region.

use super::singlestore::{
    CopyState, Group, GroupState, Keys, NewGroup, NewReplication, OfferedRegion, Operation, OperationState, Password,
    Replication, SingleStore,
};
use crate::domain::desired::DatabaseRequest;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::id::Region;
use crate::domain::observed::{Database, DatabaseState};
use crate::domain::portal::{BucketKeys, Replica};
use crate::ports::Session;

/// Where the password of a new group's admin stands among the credentials, if the spec names one.
const ADMIN_PASSWORD: &str = "adminPassword";

impl SingleStore {
    /// A group as a database.
    pub(super) async fn database(&self, session: &Session, id: &str) -> Result<Option<Database>, Fault> {
        let Some(group) = self.group(session, id).await? else { return Ok(None) };
        let mut region = group.region.clone();
        if region.is_none() {
            // The published contract has no name, only an id, and another list says what AWS calls it.
            let regions = self.regions(session).await?;
            region = regions.into_iter().find(|offered| offered.id == group.region_id).map(|offered| offered.region);
        }
        Ok(Some(as_database(group, region.as_ref())))
    }

    /// The groups of a name as databases.
    pub(super) async fn databases_named(&self, session: &Session, name: &str) -> Result<Vec<Database>, Fault> {
        let groups = self.groups_named(session, name).await?;
        if groups.iter().all(|group| group.region.is_some()) {
            let shown = |group: Group| {
                let region = group.region.clone();
                as_database(group, region.as_ref())
            };
            return Ok(groups.into_iter().map(shown).collect());
        }
        let regions = self.regions(session).await?;
        let shown = |group: Group| {
            let by_id =
                regions.iter().find(|offered| offered.id == group.region_id).map(|offered| offered.region.clone());
            let region = group.region.clone().or(by_id);
            as_database(group, region.as_ref())
        };
        Ok(groups.into_iter().map(shown).collect())
    }

    /// The copy of a group in a second region. The list of regions is asked for only where there is a name to look up.
    pub(super) async fn replica(&self, session: &Session, id: &str) -> Result<Option<Replica>, Fault> {
        let Some(replication) = self.replication(session, id).await? else { return Ok(None) };
        let regions = if replication.copies.is_empty() { Vec::new() } else { self.regions(session).await? };
        Ok(Some(as_replica(&replication, &regions)))
    }

    /// Makes a group, with the keys that it is to be under: without them it never can be.
    pub(super) async fn create_database(
        &self,
        session: &Session,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<String, Fault> {
        let group = request.group.clone().unwrap_or_default();
        let keys = named("create a workspace group", region, group.keys.as_ref())?;
        let admin_password = session.credentials.0.get(ADMIN_PASSWORD).cloned().map(Password);
        let new = NewGroup {
            name: request.name.clone(),
            region: region.clone(),
            firewall_ranges: group.firewall_ranges,
            project: group.project,
            admin_password,
            keys,
        };
        self.create_group(session, &new).await
    }

    /// Sets replication to a second region up, with the keys of that region.
    pub(super) async fn add_copy(
        &self,
        session: &Session,
        id: &str,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<(), Fault> {
        const OPERATION: &str = "set up replication";
        let group = request.group.clone().unwrap_or_default();
        let keys = named(OPERATION, region, group.keys.as_ref())?;
        let offered = self.regions(session).await?.into_iter().find(|offered| offered.region == *region);
        let offered = offered.ok_or_else(|| {
            let message = "SingleStore does not offer this region to the organization";
            Fault::new(FaultClass::Refused, OPERATION, region.as_str(), message)
        })?;
        let copies = group.copies;
        let new = NewReplication {
            region_id: offered.id,
            databases: copies.as_ref().map(|copies| copies.names.clone()).unwrap_or_default(),
            automatic: copies.is_none_or(|copies| copies.automatic),
            keys,
        };
        self.set_up_replication(session, id, &new).await
    }
}

fn named(operation: &str, region: &Region, keys: Option<&BucketKeys>) -> Result<Keys, Fault> {
    let keys = keys.ok_or_else(|| {
        Fault::new(FaultClass::Terminal, operation, region.as_str(), "nothing is sent that names no keys")
    })?;
    Ok(Keys { data: Some(keys.data.clone()), backup: Some(keys.backup.clone()) })
}

fn as_database(group: Group, region: Option<&Region>) -> Database {
    let state = match group.state {
        GroupState::Active => DatabaseState::Active,
        GroupState::Pending => DatabaseState::Busy("PENDING".to_owned()),
        GroupState::Failed => DatabaseState::Failed("FAILED".to_owned()),
        GroupState::Terminated => DatabaseState::Terminated,
        GroupState::Other(words) => DatabaseState::Busy(words),
    };
    let region = region.map(ToString::to_string).unwrap_or_default();
    Database {
        id: group.id,
        name: group.name,
        regions: [(region.clone(), state.clone())].into_iter().filter(|(name, _)| !name.is_empty()).collect(),
        state,
        created_at: group.created_at,
        tier: String::new(),
        region,
        message: String::new(),
        endpoints: Vec::new(),
        encryption: None,
    }
}

fn as_replica(replication: &Replication, offered: &[OfferedRegion]) -> Replica {
    let Replication { operation, state, copies } = replication;
    let region = copies.iter().find_map(|copy| {
        let known = offered.iter().find(|o| o.display == copy.region).map(|o| o.region.to_string());
        known.or_else(|| copy.region.parse::<Region>().ok().map(|region| region.to_string()))
    });
    let what = match operation {
        Operation::Failover => "failover",
        Operation::Failback => "failback",
        Operation::PreProvisionStart => "preparation of the second region",
        Operation::PreProvisionStop => "end of the preparation of the second region",
        Operation::Other(words) => words,
    };
    let over_there = (operation, state) == (&Operation::Failover, &OperationState::Completed);
    let words = match state {
        OperationState::Active => format!("A {what} is under way."),
        OperationState::Failed => format!("The last {what} failed, expired or was cancelled."),
        OperationState::Completed if over_there => "The second region has taken over.".to_owned(),
        OperationState::Completed => String::new(),
        OperationState::Other(words) => format!("The last {what} is {words}."),
    };
    let has = |wanted: &CopyState| copies.iter().any(|copy| copy.state == *wanted);
    let other = copies.iter().find_map(|copy| match &copy.state {
        CopyState::Other(words) => Some(words.clone()),
        _ => None,
    });
    let state = if *state == OperationState::Active {
        DatabaseState::Busy(format!("{what} under way"))
    } else if has(&CopyState::Error) {
        DatabaseState::Failed("Error".to_owned())
    } else if has(&CopyState::Pending) {
        DatabaseState::Busy("Pending".to_owned())
    } else if let Some(words) = other {
        DatabaseState::Busy(words)
    } else if has(&CopyState::Inactive) && !over_there {
        DatabaseState::Busy("Inactive".to_owned())
    } else {
        DatabaseState::Active
    };
    Replica { region, state, words }
}

#[cfg(test)]
mod tests {
    use super::super::singlestore::Copy;
    use super::*;

    fn replication(operation: Operation, state: OperationState, copies: &[CopyState]) -> Replication {
        let copy = |state: &CopyState| Copy {
            database: "db".to_owned(),
            region: "US West 2 (Oregon)".to_owned(),
            state: state.clone(),
        };
        Replication { operation, state, copies: copies.iter().map(copy).collect() }
    }

    #[test]
    fn a_copy_is_shown_by_the_worst_of_its_databases_and_the_last_operation() {
        use CopyState as C;
        use DatabaseState::{Active, Busy, Failed};
        use Operation as O;
        use OperationState as S;
        let oregon = OfferedRegion {
            id: "r".to_owned(),
            region: "us-west-2".parse().unwrap(),
            display: "US West 2 (Oregon)".to_owned(),
        };
        let table = [
            (O::Failback, S::Completed, vec![], Active, ""),
            (O::Failback, S::Completed, vec![C::Active], Active, ""),
            (O::Failback, S::Completed, vec![C::Active, C::Pending], Busy("Pending".to_owned()), ""),
            (O::Failback, S::Completed, vec![C::Pending, C::Error], Failed("Error".to_owned()), ""),
            (O::Failback, S::Completed, vec![C::Inactive], Busy("Inactive".to_owned()), ""),
            (O::Failback, S::Completed, vec![C::Other("Odd".to_owned())], Busy("Odd".to_owned()), ""),
            (O::Failover, S::Active, vec![C::Active], Busy("failover under way".to_owned()), "under way"),
            (O::Failover, S::Completed, vec![C::Inactive], Active, "taken over"),
            (O::Failover, S::Failed, vec![C::Active], Active, "failed"),
        ];
        for (operation, state, copies, expected, words) in table {
            let replica = as_replica(&replication(operation, state, &copies), std::slice::from_ref(&oregon));
            assert_eq!(replica.state, expected, "{copies:?}");
            assert!(replica.words.contains(words) && replica.words.is_empty() == words.is_empty(), "{}", replica.words);
            assert_eq!(replica.region.as_deref(), (!copies.is_empty()).then_some("us-west-2"));
        }
    }
}
