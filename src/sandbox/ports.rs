//! The port of AWS on the simulated clouds, in process: for the model, and for tests of passes that need no HTTP.
//!
//! # Guarantees
//! - Nothing here decides, repeats, remembers or waits. A method is one call into the [`World`], or all pages of one
//!   list; what the world answers is put into the words of the ports, by the same table as the real adapters' is.
//! - Every future is ready at its first poll, so that an executor of one line runs it.
//!
//! # Caveats
//! - What the real adapters add is not here: quota shares, cached identities, the check for a role that anybody can
//!   assume, and scans that several callers share.
//! - The database clouds are called by their real adapters, whose requests [`Clouds::carry`] answers.

mod faults;
mod iam;
mod replicas;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::failure::Failure;
use super::iam::Identity;
use super::kms::{CreateKey, KeyMetadata, KeyState as StoredState, Kms, Tag};
use super::scene::ACCOUNT;
use super::sts::AssumeRole;
use super::tagging::{GetResources, TagFilter};
use super::world::World;
use crate::domain::desired::NewKey;
use crate::domain::fault::{Cause, Fault};
use crate::domain::iam_role::{IamRole, NewRole, PERMISSIONS};
use crate::domain::id::{KeyArn, Owner, Region};
use crate::domain::moment::Moment;
use crate::domain::observed::{Caller, Candidate, KeyFacts, KeyState, Rotation};
use crate::domain::reading::Reading;
use crate::ports::{KeyService, Place};
use faults::{Call, NotFound};

/// The clouds of one world.
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
}

/// The key, if its tags say that it is the owner's.
fn candidate(owner: &Owner, arn: &str, tags: &BTreeMap<String, String>) -> Result<Option<Candidate>, Fault> {
    let belongs = owner.tags().iter().all(|(key, value)| tags.get(*key).is_some_and(|held| held == value));
    if !belongs {
        return Ok(None);
    }
    Ok(Some(Candidate::of(key_arn(arn)?, tags)))
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

    async fn role(&self, place: &Place, arn: &str) -> Reading<IamRole> {
        self.seen_role(place, arn).into()
    }

    async fn create_role(&self, place: &Place, role: &NewRole) -> Result<(), Fault> {
        self.made_role(place, role)
    }

    async fn trust_role(&self, place: &Place, arn: &str, trust: &str) -> Result<(), Fault> {
        self.iam(place, "iam:UpdateAssumeRolePolicy", arn, |iam, name| iam.update_assume_role_policy(name, trust))
    }

    async fn permit_role(&self, place: &Place, arn: &str, policy: &str) -> Result<(), Fault> {
        self.iam(place, "iam:PutRolePolicy", arn, |iam, name| iam.put_role_policy(name, PERMISSIONS, policy))
    }

    async fn delete_role(&self, place: &Place, arn: &str) -> Result<(), Fault> {
        self.ended_role(place, arn)
    }
}
