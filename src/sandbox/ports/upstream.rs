//! Astra as the port of a database cloud.

use super::databases::shown;
use super::faults::Call;
use super::{Clouds, astra};
use crate::domain::desired::DatabaseRequest;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::id::{KeyArn, Region};
use crate::domain::observed::{Database, RegionOffer};
use crate::domain::reading::Reading;
use crate::ports::{Session, Upstream};
use crate::sandbox::astra::{Astra, CreateDatabase, DatabaseType, DatacenterSpec, ExternalKms};
use crate::sandbox::failure::Failure;

fn kind(session: &Session) -> DatabaseType {
    if session.scope.database_type.eq_ignore_ascii_case("classic") {
        DatabaseType::Classic
    } else {
        DatabaseType::Serverless
    }
}

impl Upstream for Clouds {
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method's path is not general in its lifetime")]
    async fn scope(&self, session: &Session) -> Reading<String> {
        let call = Call::read("GET /v2/currentOrg", &session.scope.id);
        self.astra(session, &call, |astra| astra.current_org()).map(Some).into()
    }

    async fn principals(&self, session: &Session, region: &Region) -> Reading<Vec<String>> {
        let call = Call::read("GET /v2/kms/provider/aws/region/{region}/accounts", region.as_str());
        let look = |astra: &mut Astra<'_>| astra.accounts(kind(session), "aws", region.as_str());
        let accounts = self.astra_look(session, &call, look, Failure::is_astra_not_found);
        let arn = |account: astra::ProviderAccount| {
            let (partition, role) = (region.partition(), &session.scope.principal_role);
            format!("arn:{partition}:iam::{}:role/{role}", account.provider_id)
        };
        let principals = accounts.map(|all| {
            let mut all: Vec<String> = all.unwrap_or_default().into_iter().map(arn).collect();
            all.sort();
            all.dedup();
            Some(all).filter(|all| !all.is_empty())
        });
        principals.into()
    }

    async fn offer(&self, session: &Session, region: &Region) -> Reading<RegionOffer> {
        let call = Call::read("GET /v2/regions", region.as_str());
        let regions = self.astra(session, &call, |astra| astra.regions(kind(session)));
        let offer = |all: Vec<(String, bool)>| match all.iter().find(|(name, _)| name == region.as_str()) {
            Some((_, true)) => RegionOffer::Open,
            Some((_, false)) => RegionOffer::Locked(format!("{region} is reserved")),
            None => RegionOffer::Locked(format!("{region} is not among the regions that are offered")),
        };
        regions.map(|all| Some(offer(all))).into()
    }

    async fn registration(&self, session: &Session, region: &Region) -> Reading<String> {
        let call = Call::read("GET /v2/kms/provider/aws/region/{region}", region.as_str());
        let look = |astra: &mut Astra<'_>| astra.key(kind(session), "aws", region.as_str());
        let key = self.astra_look(session, &call, look, Failure::is_astra_not_found);
        key.map(|key| key.map(|key| key.aws.key_id)).into()
    }

    async fn register(&self, session: &Session, region: &Region, key: &KeyArn) -> Result<(), Fault> {
        let aws = astra::AwsKms { key_id: key.to_string(), region: region.to_string() };
        let input = ExternalKms { org_id: session.scope.id.clone(), aws: Some(aws) };
        let call = Call::write("POST /v2/kms", region.as_str());
        let done = self.astra(session, &call, |astra| astra.register_key(kind(session), &input));
        // Nothing in the body that another spec would say better: somebody has to open the cloud's side.
        let words = |fault: Fault| match fault.class {
            FaultClass::Invalid => Fault { class: FaultClass::Refused, ..fault },
            _ => fault,
        };
        done.map(drop).map_err(words)
    }

    async fn database(&self, session: &Session, id: &str) -> Reading<Database> {
        let call = Call::read("GET /v2/databases/{id}", id);
        let found = self.astra_look(session, &call, |astra| astra.database(id), Failure::is_astra_not_found);
        found.map(|database| database.map(shown)).into()
    }

    async fn databases_named(&self, session: &Session, name: &str) -> Reading<Vec<Database>> {
        let named = |database: &astra::Database| database.info.name == name;
        self.all_databases(session, name, named).map(Some).into()
    }

    async fn databases(&self, session: &Session) -> Reading<Vec<Database>> {
        let ours = |database: &astra::Database| astra::kind_of(&database.info.tier) == Some(kind(session));
        self.all_databases(session, &session.scope.id, ours).map(Some).into()
    }

    async fn create_database(
        &self,
        session: &Session,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<String, Fault> {
        let DatabaseRequest { name, tier, capacity_units, keyspace, database_type, group: _, cluster: _ } = request;
        let input = CreateDatabase {
            name: name.clone(),
            cloud_provider: "AWS".to_owned(),
            tier: tier.clone(),
            capacity_units: i64::from(capacity_units.unwrap_or(1)),
            region: region.to_string(),
            keyspace: keyspace.clone(),
            db_type: database_type.clone(),
        };
        let call = Call::write("POST /v2/databases", name);
        let created = self.astra(session, &call, |astra| astra.create_database(&input));
        created.map_err(|fault| {
            let portal = kind(session) == DatabaseType::Classic && fault.message.contains("no longer");
            if portal { Fault { class: FaultClass::Refused, cause: Cause::PortalOnly, ..fault } } else { fault }
        })
    }

    async fn add_region(
        &self,
        session: &Session,
        id: &str,
        request: &DatabaseRequest,
        region: &Region,
    ) -> Result<(), Fault> {
        let spec =
            DatacenterSpec { tier: request.tier.clone(), cloud_provider: "AWS".to_owned(), region: region.to_string() };
        let call = Call::write("POST /v2/databases/{id}/datacenters", id);
        self.astra(session, &call, |astra| astra.add_datacenters(id, &[spec]))
    }

    async fn remove_region(&self, session: &Session, id: &str, region: &Region) -> Result<(), Fault> {
        let call = Call::read("GET /v2/databases/{id}/datacenters", id);
        let all = self.astra(session, &call, |astra| astra.datacenters(id, false))?;
        let call = Call::write("POST /v2/databases/{id}/datacenters/{id}/terminate", id);
        let Some(datacenter) = all.into_iter().find(|d| d.region == region.as_str()) else {
            let message = format!("the database has no region {region}");
            return Err(Fault::new(FaultClass::Conflict, "GET /v2/databases/{id}/datacenters", id, message));
        };
        self.astra(session, &call, |astra| astra.terminate_datacenter(id, &datacenter.id))
    }

    async fn terminate_database(&self, session: &Session, id: &str) -> Result<(), Fault> {
        let call = Call::write("POST /v2/databases/{id}/terminate", id);
        self.astra(session, &call, |astra| astra.terminate_database(id))
    }
}
