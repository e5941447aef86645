//! The ports on the simulated clouds, in process: for the model, and for tests of passes that need no HTTP.
//!
//! # Guarantees
//! - Nothing here decides, repeats, remembers or waits. A method is one call into the [`World`], or all pages of one
//!   list; what the world answers is put into the words of the ports, by the same table as the real adapters' is.
//! - Every future is ready at its first poll, so that an executor of one line runs it.
//!
//! # Caveats
//! What the real adapters add is not here: quota shares, cached identities, the check for a role that anybody can
//! assume, and scans that several callers share.

mod databases;
mod faults;
mod replicas;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::astra::{self, Astra, CreateDatabase, DatabaseType, DatacenterSpec, ExternalKms};
use super::failure::Failure;
use super::iam::Identity;
use super::kms::{CreateKey, KeyMetadata, KeyState as StoredState, Kms, Tag};
use super::scene::ACCOUNT;
use super::sts::AssumeRole;
use super::tagging::{GetResources, TagFilter};
use super::world::World;
use crate::domain::desired::{DatabaseRequest, NewKey};
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::id::{KeyArn, Owner, Region, tag};
use crate::domain::moment::Moment;
use crate::domain::observed::{Caller, Candidate, Database, KeyFacts, KeyState, RegionOffer, Rotation};
use crate::domain::reading::Reading;
use crate::ports::{KeyService, Place, Session, Upstream};
use databases::shown;
use faults::{Call, NotFound};

/// Both ports on one world.
#[derive(Clone, Debug)]
pub struct Clouds {
    world: Arc<Mutex<World>>,
    ambient: Identity,
}

impl Clouds {
    /// The clouds of a world, called by the user of the sandbox's account unless a role is to be assumed.
    pub fn new(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)), ambient: Identity::of_account(ACCOUNT) }
    }

    /// The world, for as long as the guard lives. No call can be made meanwhile.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identity(&self, world: &mut World, place: &Place) -> Result<Identity, Fault> {
        let Some(role) = &place.access.role_arn else { return Ok(self.ambient.clone()) };
        let request = AssumeRole {
            role_arn: role.clone(),
            role_session_name: "cmk-operator".to_owned(),
            external_id: Some(place.access.external_id.clone()),
            duration_seconds: None,
        };
        let assumed = world.sts(&self.ambient, place.region.as_str()).assume_role(&request);
        assumed.map(|c| c.identity).map_err(|failure| Call::read("sts:AssumeRole", role).aws(&failure))
    }

    fn kms<T>(
        &self,
        place: &Place,
        call: &Call<'_>,
        body: impl FnOnce(&mut Kms<'_>) -> Result<T, Failure>,
    ) -> Result<T, Fault> {
        let mut world = self.world();
        let who = self.identity(&mut world, place)?;
        body(&mut world.kms_as(&who, place.region.as_str())).map_err(|failure| call.aws(&failure))
    }

    /// A read of which "not found" is a good answer.
    fn kms_look<T>(
        &self,
        place: &Place,
        call: &Call<'_>,
        body: impl FnOnce(&mut Kms<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Fault> {
        let mut world = self.world();
        let who = self.identity(&mut world, place)?;
        let result = body(&mut world.kms_as(&who, place.region.as_str()));
        result.found(Failure::is_aws_not_found).map_err(|failure| call.aws(&failure))
    }

    fn all_tags(&self, place: &Place, key: &str) -> Result<Option<BTreeMap<String, String>>, Fault> {
        let call = Call::read("kms:ListResourceTags", key);
        let (mut tags, mut marker) = (BTreeMap::new(), None::<String>);
        loop {
            let page = self.kms_look(place, &call, |kms| kms.list_resource_tags(key, None, marker.as_deref()))?;
            let Some(page) = page else { return Ok(None) };
            tags.extend(page.tags.into_iter().map(|Tag { tag_key, tag_value }| (tag_key, tag_value)));
            match page.next_marker {
                None => return Ok(Some(tags)),
                more => marker = more,
            }
        }
    }

    fn all_keys(&self, place: &Place) -> Result<Vec<String>, Fault> {
        let call = Call::read("kms:ListKeys", place.region.as_str());
        let (mut arns, mut marker) = (Vec::new(), None::<String>);
        loop {
            let page = self.kms(place, &call, |kms| kms.list_keys(Some(1000), marker.as_deref()))?;
            arns.extend(page.keys.into_iter().map(|key| key.arn));
            match page.next_marker {
                None => return Ok(arns),
                more => marker = more,
            }
        }
    }

    fn scanned(&self, place: &Place, owner: &Owner) -> Result<Vec<Candidate>, Fault> {
        let mut found = Vec::new();
        for arn in self.all_keys(place)? {
            let tags = match self.all_tags(place, &arn) {
                Ok(Some(tags)) => tags,
                Ok(None) => continue,
                Err(fault) if fault.cause == Cause::Permission => continue,
                Err(fault) => return Err(fault),
            };
            found.extend(candidate(owner, &arn, &tags)?);
        }
        found.sort();
        Ok(found)
    }

    fn indexed(&self, place: &Place, owner: &Owner) -> Result<Vec<Candidate>, Fault> {
        let filter = |(key, value): (&str, &str)| TagFilter { key: key.to_owned(), values: vec![value.to_owned()] };
        let mut query = GetResources {
            tag_filters: owner.tags().map(filter).to_vec(),
            resource_type_filters: vec!["kms:key".to_owned()],
            ..GetResources::default()
        };
        let call = Call::read("tag:GetResources", place.region.as_str());
        let mut found = Vec::new();
        loop {
            let mut world = self.world();
            let who = self.identity(&mut world, place)?;
            let page = world.tagging(&who, place.region.as_str()).get_resources(&query).map_err(|f| call.aws(&f))?;
            for resource in page.resources {
                let tags = resource.tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
                found.extend(candidate(owner, &resource.arn, &tags)?);
            }
            if page.pagination_token.is_empty() {
                found.sort();
                return Ok(found);
            }
            query.pagination_token = Some(page.pagination_token);
        }
    }

    fn astra<T>(
        &self,
        session: &Session,
        call: &Call<'_>,
        body: impl FnOnce(&mut Astra<'_>) -> Result<T, Failure>,
    ) -> Result<T, Fault> {
        self.astra_look(session, call, body, |_| false)?.ok_or_else(|| call.broken("never absent"))
    }

    /// A read of which an answer that `absent` takes for it means that there is none.
    fn astra_look<T>(
        &self,
        session: &Session,
        call: &Call<'_>,
        body: impl FnOnce(&mut Astra<'_>) -> Result<T, Failure>,
        absent: impl FnOnce(&Failure) -> bool,
    ) -> Result<Option<T>, Fault> {
        let token = session.credentials.0.get("token").map_or("", |token| token.trim());
        let mut world = self.world();
        let result = body(&mut world.astra(token));
        result.found(absent).map_err(|failure| {
            let mut fault = call.astra(&failure);
            // The vendor uses 401 and 403 both ways; what the token is good for tells them apart.
            if failure.is_refused_token() {
                match world.astra(token).current_org() {
                    Ok(_) => fault.cause = Cause::Permission,
                    Err(why) if why.is_refused_token() => fault.cause = Cause::Credentials,
                    Err(_) => {}
                }
            }
            fault
        })
    }
}

/// The key, if its tags say that it is the owner's.
fn candidate(owner: &Owner, arn: &str, tags: &BTreeMap<String, String>) -> Result<Option<Candidate>, Fault> {
    let belongs = owner.tags().iter().all(|(key, value)| tags.get(*key).is_some_and(|held| held == value));
    if !belongs {
        return Ok(None);
    }
    Ok(Some(Candidate {
        arn: key_arn(arn)?,
        nonce: tags.get(tag::NONCE).cloned(),
        holder: tags.get(tag::HOLDER).cloned(),
    }))
}

fn key_arn(text: &str) -> Result<KeyArn, Fault> {
    text.parse().map_err(|error| Call::read("kms:DescribeKey", text).broken(&format!("unreadable: {error}")))
}

fn facts(key: KeyMetadata) -> Result<KeyFacts, Fault> {
    Ok(KeyFacts {
        arn: key_arn(&key.arn)?,
        state: match key.key_state {
            StoredState::Enabled => KeyState::Enabled,
            StoredState::Disabled => KeyState::Disabled,
            StoredState::PendingDeletion => KeyState::PendingDeletion,
            StoredState::Creating => KeyState::Creating,
            StoredState::PendingReplicaDeletion => KeyState::PendingReplicaDeletion,
        },
        description: key.description,
        symmetric: key.key_spec == "SYMMETRIC_DEFAULT" && key.key_usage == "ENCRYPT_DECRYPT",
        kms_origin: key.origin == "AWS_KMS",
        customer_managed: key.key_manager == "CUSTOMER",
        multi_region: key.multi_region,
        created_at: Some(Moment(key.created_at_ms)),
        deletion_at: key.deletion_at_ms.map(Moment),
        window_days: key.pending_window_days,
        family: key.multi_region_view.as_ref().map(replicas::family).transpose()?,
    })
}

fn tags(all: &BTreeMap<String, String>) -> Vec<Tag> {
    all.iter().map(|(key, value)| Tag::new(key, value)).collect()
}

impl KeyService for Clouds {
    async fn caller(&self, place: &Place) -> Reading<Caller> {
        let ask = || {
            let mut world = self.world();
            let who = self.identity(&mut world, place)?;
            let caller = world.sts(&who, place.region.as_str()).get_caller_identity();
            let caller = caller.map_err(|f| Call::read("sts:GetCallerIdentity", place.region.as_str()).aws(&f))?;
            Ok(Some(Caller { account: caller.account, arn: caller.arn }))
        };
        ask().into()
    }

    async fn describe(&self, place: &Place, key: &str) -> Reading<KeyFacts> {
        let look = self.kms_look(place, &Call::read("kms:DescribeKey", key), |kms| kms.describe_key(key));
        look.and_then(|key| key.map(facts).transpose()).into()
    }

    async fn tags(&self, place: &Place, key: &KeyArn) -> Reading<BTreeMap<String, String>> {
        self.all_tags(place, &key.to_string()).into()
    }

    async fn policy(&self, place: &Place, key: &KeyArn) -> Reading<String> {
        let arn = key.to_string();
        let call = Call::read("kms:GetKeyPolicy", &arn);
        self.kms_look(place, &call, |kms| kms.get_key_policy(&arn, Some("default"))).into()
    }

    async fn rotation(&self, place: &Place, key: &KeyArn) -> Reading<Rotation> {
        let arn = key.to_string();
        let call = Call::read("kms:GetKeyRotationStatus", &arn);
        let look = self.kms_look(place, &call, |kms| kms.get_key_rotation_status(&arn));
        let rotation = |status: super::kms::RotationStatus| Rotation {
            period_days: status.key_rotation_enabled.then(|| status.rotation_period_in_days.unwrap_or(365)),
            next: status.next_rotation_ms.map(Moment),
        };
        look.map(|status| status.map(rotation)).into()
    }

    async fn search(&self, place: &Place, owner: &Owner) -> Reading<Vec<Candidate>> {
        self.indexed(place, owner).map(Some).into()
    }

    async fn scan(&self, place: &Place, owner: &Owner, _not_before: Moment) -> Reading<Vec<Candidate>> {
        // It begins now, and nobody shares it.
        self.scanned(place, owner).map(Some).into()
    }

    async fn create_key(&self, place: &Place, key: &NewKey) -> Result<KeyArn, Fault> {
        let NewKey { description, tags: wished, policy, multi_region } = key;
        let input = CreateKey {
            policy: Some(policy.clone()),
            description: Some(description.clone()),
            tags: tags(wished),
            multi_region: *multi_region,
            ..CreateKey::default()
        };
        let call = Call::write("kms:CreateKey", place.region.as_str());
        key_arn(&self.kms(place, &call, |kms| kms.create_key(&input))?.arn)
    }

    async fn replicate_key(
        &self,
        place: &Place,
        primary: &KeyArn,
        region: &Region,
        replica: &NewKey,
    ) -> Result<KeyArn, Fault> {
        let (input, call) =
            (replicas::request(primary, region, replica), Call::write("kms:ReplicateKey", region.as_str()));
        key_arn(&self.kms(place, &call, |kms| kms.replicate_key(&input))?.metadata.arn)
    }

    async fn create_alias(&self, place: &Place, alias: &str, key: &KeyArn) -> Result<(), Fault> {
        self.kms(place, &Call::write("kms:CreateAlias", alias), |kms| kms.create_alias(alias, &key.to_string()))
    }

    async fn put_policy(&self, place: &Place, key: &KeyArn, policy: &str) -> Result<(), Fault> {
        let arn = key.to_string();
        let call = Call::write("kms:PutKeyPolicy", &arn);
        self.kms(place, &call, |kms| kms.put_key_policy(&arn, Some("default"), policy, false))
    }

    async fn enable_rotation(&self, place: &Place, key: &KeyArn, period_days: i32) -> Result<(), Fault> {
        let arn = key.to_string();
        let call = Call::write("kms:EnableKeyRotation", &arn);
        self.kms(place, &call, |kms| kms.enable_key_rotation(&arn, Some(period_days)))
    }

    async fn describe_as(&self, place: &Place, key: &KeyArn, description: &str) -> Result<(), Fault> {
        let arn = key.to_string();
        let call = Call::write("kms:UpdateKeyDescription", &arn);
        self.kms(place, &call, |kms| kms.update_key_description(&arn, description))
    }

    async fn tag(&self, place: &Place, key: &KeyArn, wished: &BTreeMap<String, String>) -> Result<(), Fault> {
        let arn = key.to_string();
        self.kms(place, &Call::write("kms:TagResource", &arn), |kms| kms.tag_resource(&arn, &tags(wished)))
    }

    async fn cancel_deletion(&self, place: &Place, key: &KeyArn) -> Result<(), Fault> {
        let arn = key.to_string();
        let call = Call::write("kms:CancelKeyDeletion", &arn);
        self.kms(place, &call, |kms| kms.cancel_key_deletion(&arn).map(drop))
    }

    async fn enable(&self, place: &Place, key: &KeyArn) -> Result<(), Fault> {
        let arn = key.to_string();
        self.kms(place, &Call::write("kms:EnableKey", &arn), |kms| kms.enable_key(&arn))
    }

    async fn schedule_deletion(&self, place: &Place, key: &KeyArn, window_days: i32) -> Result<(), Fault> {
        let arn = key.to_string();
        let call = Call::write("kms:ScheduleKeyDeletion", &arn);
        self.kms(place, &call, |kms| kms.schedule_key_deletion(&arn, Some(window_days)).map(drop))
    }
}

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
