//! The look: what one pass sees outside. It cannot fail; what cannot be seen is unknown, and says why.
//!
//! Independent regions are looked at concurrently, and none is waited for longer than the others can bear. Nothing here
//! decides anything but what there is to look at.

mod patience;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use futures::join;

use crate::domain::desired::{Afterlife, Deployment, Desired, DesiredKey, DesiredRegion, LinkedKey};
use crate::domain::family::{Family, related};
use crate::domain::fault::Fault;
use crate::domain::id::{KeyArn, Region};
use crate::domain::memory::{Memory, RegionMemory};
use crate::domain::moment::Moment;
use crate::domain::observed::{
    BackupSeen, Caller, Candidate, CredentialsSeen, Database, DatabaseSeen, Depth, Observed, OtherKey, RegionSeen,
};
use crate::domain::reading::Reading;
use crate::domain::role_link::{RegistrationSeen, RoleSeen, Through};
use crate::domain::role_powers::RolePowers;
use crate::domain::source::SourcesSeen;
use crate::plan::Pass;
use crate::ports::{KeyService, Patience, Place, Session, Upstream};

use patience::{Cloud, Deadline, Keys};

/// The credentials for the database cloud, as the pass found them.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// What was found, without values.
    pub seen: Reading<CredentialsSeen>,
    /// The session to read the cloud with, if nothing is lacking.
    pub session: Option<Session>,
    /// The session to deploy with.
    pub deploy: Option<Session>,
}

/// The means to look.
#[derive(Clone, Copy)]
pub struct Sight<'a, K, U> {
    /// AWS.
    pub keys: &'a K,
    /// The database cloud.
    pub upstream: &'a U,
    /// How long they are waited for.
    pub patience: &'a dyn Patience,
}

/// Looks at everything that a pass of this depth has to see.
pub async fn observe<K: KeyService, U: Upstream>(
    sight: Sight<'_, K, U>,
    desired: &Desired,
    credentials: &Credentials,
    memory: &Memory,
    depth: Depth,
    pass: &Pass,
) -> Observed {
    let mut observed = Observed { depth, ..Observed::nothing(pass.now) };
    let Some(key) = subject(desired).filter(|key| pass.settings.may_call_aws_for(key)) else { return observed };
    observed.credentials = credentials.seen.clone();
    let session = credentials.session.as_ref();
    let everything = depth == Depth::Everything;
    let deploy = credentials.deploy.as_ref();
    let sweep = memory.was_ready || memory.looked.everything == Moment::default();
    let regions = regions(desired, memory);
    let Sight { keys, upstream, patience } = sight;
    let deadline = Deadline::of(patience, &pass.settings);
    // A long list keeps nothing from being created where everything is.
    let declared = desired.regions();
    let done = |r: &Region| declared.contains(&r) && memory.regions.get(r).is_some_and(is_registered);
    let lists = if regions.iter().all(done) { Deadline::long(patience, &pass.settings) } else { deadline.clone() };
    let (keys, upstream) =
        (&Keys { aws: keys, deadline: deadline.clone(), patience }, &Cloud { upstream, deadline, lists });
    let eyes = Eyes { keys, upstream, key, session, deploy, desired, depth, sweep, memory, pass };
    let caller = eyes.caller(&regions);
    let scope = async {
        match session {
            Some(session) if everything => upstream.scope(session).await,
            _ => Reading::NOT_LOOKED,
        }
    };
    let seen = join_all(regions.iter().map(|region| eyes.region(region, memory.regions.get(region))));
    let (caller, scope, seen, database, databases, backup, sources) = join!(
        caller,
        scope,
        seen,
        eyes.database(memory),
        eyes.databases(memory),
        eyes.backup(&regions),
        eyes.sources()
    );
    observed.sources = sources;
    observed.backup = backup;
    observed.caller = caller;
    observed.scope = scope;
    observed.regions = regions.iter().cloned().zip(seen).collect();
    observed.elsewhere = eyes.elsewhere(&observed.regions).await;
    observed.database = database;
    observed.databases = databases;
    observed
}

/// The regions to look at: those that are declared, and of a key also those that status still shows. For the end of a
/// cluster no key matters, only its database.
fn regions(desired: &Desired, memory: &Memory) -> Vec<Region> {
    let declared = desired.regions();
    let mut regions: Vec<Region> = declared.iter().map(|region| (*region).clone()).collect();
    match desired {
        Desired::Key(_) => regions.extend(memory.regions.keys().filter(|r| !declared.contains(r)).cloned()),
        Desired::Cluster(cluster) if cluster.object.deleting => regions.clear(),
        // Where the databases of all regions are under one key, that is the one to look at.
        Desired::Cluster(_) => {
            if let Some(key) = desired.key() {
                regions = regions.iter().map(|region| key.home(region).clone()).collect();
                let mut seen = BTreeSet::new();
                regions.retain(|region| seen.insert(region.clone()));
            }
        }
    }
    regions
}

/// The key to look at; none where nothing outside may be, or need be, looked at: the finalizer comes before the first look,
/// or the pass that it triggers would look at everything once more.
fn subject(desired: &Desired) -> Option<&DesiredKey> {
    let object = desired.object();
    if !object.finalizer || (object.deleting && desired.afterlife() == Afterlife::Retain) {
        return None;
    }
    let key = match desired {
        Desired::Key(key) => key,
        Desired::Cluster(cluster) => {
            let linked = cluster.key.present().filter(|linked| linked.allowed)?;
            let other = cluster.deployment.as_ref().is_some_and(|d| !d.capabilities.supported);
            if other {
                return None;
            }
            &linked.key
        }
    };
    key.capabilities.supported.then_some(key)
}

/// Whether status says that a region's own key is registered.
fn is_registered(region: &RegionMemory) -> bool {
    region.key.as_ref().is_some_and(|arn| region.registered.as_ref() == Some(&arn.to_string()))
}

struct Eyes<'a, K, U> {
    keys: &'a Keys<'a, K>,
    upstream: &'a Cloud<'a, U>,
    key: &'a DesiredKey,
    session: Option<&'a Session>,
    deploy: Option<&'a Session>,
    desired: &'a Desired,
    depth: Depth,
    /// Whether surplus keys are looked for.
    sweep: bool,
    memory: &'a Memory,
    pass: &'a Pass,
}

impl<K: KeyService, U: Upstream> Eyes<'_, K, U> {
    fn place(&self, region: &Region) -> Place {
        place(self.desired, self.key, region)
    }

    /// Whom AWS takes us for.
    async fn caller(&self, regions: &[Region]) -> Reading<Caller> {
        if self.depth < Depth::Everything {
            return Reading::NOT_LOOKED;
        }
        let places: Vec<Place> = regions.iter().map(|region| self.place(region)).collect();
        self.keys.caller(&places).await
    }

    async fn region(&self, region: &Region, memory: Option<&RegionMemory>) -> RegionSeen {
        let cloud = async {
            match self.session {
                Some(session) if self.depth == Depth::Everything => {
                    let (principals, offer, (registration, role)) = join!(
                        self.upstream.principals(session, region),
                        self.upstream.offer(session, region),
                        self.registration(session, region),
                    );
                    RegionSeen { principals, offer, registration, role, ..RegionSeen::default() }
                }
                _ => RegionSeen::default(),
            }
        };
        let (aws, cloud) = join!(self.aws(region, memory), cloud);
        let RegionSeen { principals, offer, registration, role, .. } = cloud;
        RegionSeen { principals, offer, registration, role, ..aws }
    }

    /// The registration and, where the cloud uses the key as a role, what it says of that.
    async fn registration(&self, session: &Session, region: &Region) -> (Reading<String>, RoleSeen) {
        if !self.key.capabilities.through_role {
            return (self.upstream.registration(session, region).await, RoleSeen::default());
        }
        let iam = async {
            match self.key.role.as_ref().filter(|role| role.made && matches!(self.desired, Desired::Key(_))) {
                Some(role) => self.keys.role(&self.place(region), &role.arn).await,
                None => Reading::NOT_LOOKED,
            }
        };
        let (links, registration, iam) =
            join!(self.upstream.role_links(session), self.upstream.registration_by_role(session), iam);
        let powers = self.role_powers(region, &registration).await;
        (registration.clone().map(|seen| seen.key), RoleSeen { links, registration, iam, powers })
    }

    /// What the declared role's own policies say, where the cloud is to go over to it from an access key.
    async fn role_powers(&self, region: &Region, registration: &Reading<RegistrationSeen>) -> Reading<RolePowers> {
        let by_access_key = registration.present().is_some_and(|found| found.through == Through::Credentials);
        let role = self.key.role.as_ref().filter(|role| {
            role.may_replace_credentials
                && self.key.sees_policies_of(&role.arn)
                && matches!(self.desired, Desired::Key(_))
        });
        let key = self.key.regions.get(region).and_then(|wish| wish.key_arn.as_ref());
        let (true, Some(role), Some(key)) = (by_access_key, role, key) else { return Reading::NOT_LOOKED };
        let actions: Vec<String> =
            self.key.capabilities.needs.iter().flat_map(|need| need.actions.iter().cloned()).collect();
        self.keys.role_powers(&self.place(region), &role.arn, &actions, key).await
    }

    async fn aws(&self, region: &Region, memory: Option<&RegionMemory>) -> RegionSeen {
        let mut seen = RegionSeen::default();
        let wish = match self.key.regions.get(region) {
            Some(wish) => wish,
            // A region that is being removed: its key is that of status.
            None if matches!(self.desired, Desired::Key(_)) => &DesiredRegion::default(),
            None => return seen,
        };
        let place = self.place(region);
        let recorded = match self.desired {
            Desired::Key(_) => memory.and_then(|m| m.key.as_ref()),
            Desired::Cluster(_) => None,
        };
        if wish.key_arn.is_none() {
            seen.by_alias = self.keys.describe(&place, &self.key.owner.alias()).await;
        }
        // Of a multi-Region key it is known by its ARN alone whether this region has it, however late an index shows it.
        let expected =
            matches!(self.desired, Desired::Key(_)).then(|| related(self.key, self.memory, region)).flatten();
        if let Some(arn) = wish.key_arn.as_ref().or(recorded).or(expected.as_ref()) {
            seen.by_arn = match &seen.by_alias {
                Reading::Present(facts) if facts.arn == *arn => seen.by_alias.clone(),
                _ => self.keys.describe(&place, &arn.to_string()).await,
            };
        }
        let arn = seen.by_arn.present().or(seen.by_alias.present()).map(|facts| facts.arn.clone());
        match (&arn, self.depth) {
            (None, _) | (_, Depth::State) => {}
            (Some(arn), Depth::Policy) => seen.policy = self.keys.policy(&place, arn).await,
            (Some(arn), Depth::Everything) => {
                let rotation = async {
                    match self.desired {
                        Desired::Key(_) => self.keys.rotation(&place, arn).await,
                        Desired::Cluster(_) => Reading::NOT_LOOKED,
                    }
                };
                (seen.tags, seen.policy, seen.rotation) =
                    join!(self.keys.tags(&place, arn), self.keys.policy(&place, arn), rotation);
            }
        }
        let own = wish.key_arn.is_none() && matches!(self.desired, Desired::Key(_));
        if own && self.depth == Depth::Everything {
            if self.searches(memory) {
                self.search(&place, memory, &mut seen).await;
            }
            self.others(&place, memory, &mut seen).await;
        }
        seen
    }

    /// Looks at the members of the object's multi-Region key in other regions: the primary may have been moved there, and
    /// replicas may have been made there.
    async fn elsewhere(&self, regions: &BTreeMap<Region, RegionSeen>) -> BTreeMap<KeyArn, OtherKey> {
        let looks = self.depth == Depth::Everything && matches!(self.desired, Desired::Key(_));
        if self.key.multi_region.is_none() || !looks {
            return BTreeMap::new();
        }
        let seen = regions.values().flat_map(|seen| [&seen.by_arn, &seen.by_alias]);
        let families = seen.filter_map(|reading| reading.present()?.family.as_ref());
        let members: BTreeSet<KeyArn> =
            families.flat_map(Family::members).filter(|arn| !regions.contains_key(arn.region())).cloned().collect();
        let looks = members.into_iter().map(|arn| async move {
            let (place, text) = (self.place(arn.region()), arn.to_string());
            let (facts, tags) = join!(self.keys.describe(&place, &text), self.keys.tags(&place, &arn));
            (arn, OtherKey { facts, tags })
        });
        join_all(looks).await.into_iter().collect()
    }

    /// Looks at the candidates that are not the region's key, and at what is under the alias in its place, when the end of one
    /// may be near, or one of them may become the region's key.
    async fn others(&self, place: &Place, memory: Option<&RegionMemory>, seen: &mut RegionSeen) {
        let object = self.desired.object();
        let found = memory.is_none_or(|m| m.key.is_none()) && seen.by_alias.is_absent();
        let differs =
            seen.by_arn.present().zip(seen.by_alias.present()).is_some_and(|(one, other)| one.arn != other.arn);
        if !object.deleting && object.confirmed.is_empty() && !found && !differs {
            return;
        }
        let main = [&seen.by_arn, &seen.by_alias].map(|reading| reading.present().map(|facts| facts.arn.clone()));
        // Only of the first of these were the tags read.
        let main = main.into_iter().flatten().next();
        let alias = seen.by_alias.present().map(|facts| facts.arn.clone());
        let candidates = seen.candidates.present().into_iter().flatten().map(|candidate| candidate.arn.clone());
        let others: BTreeSet<KeyArn> = candidates.chain(alias).filter(|arn| Some(arn) != main.as_ref()).collect();
        let looks = others.into_iter().map(|arn| async move {
            let text = arn.to_string();
            let (facts, tags) = join!(self.keys.describe(place, &text), self.keys.tags(place, &arn));
            (arn, OtherKey { facts, tags })
        });
        seen.others = join_all(looks).await.into_iter().collect();
    }

    /// Whether keys with our tags are looked for: while none is recorded, when the end of one may be near, at the first look of a process, and at the rare
    /// looks at everything of an object that is ready. The tagging API's quota is small and shared.
    fn searches(&self, memory: Option<&RegionMemory>) -> bool {
        let object = self.desired.object();
        let ending = object.deleting || !object.confirmed.is_empty();
        memory.is_none_or(|m| m.key.is_none()) || self.sweep || ending
    }

    /// Looks for keys with our tags: to find the one whose creation was not recorded, and to find surplus ones.
    async fn search(&self, place: &Place, memory: Option<&RegionMemory>, seen: &mut RegionSeen) {
        seen.candidates = self.keys.search(place, &self.key.owner).await;
        let settled = memory
            .filter(|m| m.key.is_none())
            .and_then(|m| m.creating.as_ref())
            .map(|intent| intent.started_at + self.pass.settings.create_settle)
            .filter(|settled| self.pass.now >= *settled);
        let Some(settled) = settled else { return };
        let scan = self.keys.scan(place, &self.key.owner, settled).await;
        seen.scanned = scan.fault().is_none();
        seen.candidates = union(std::mem::take(&mut seen.candidates), scan);
    }

    /// From where the cloud calls, for a key that is restricted to that: at every look, since addresses change at any time.
    async fn sources(&self) -> SourcesSeen {
        match self.session {
            Some(session) if matches!(self.desired, Desired::Key(_)) && self.key.restricts_sources() => {
                self.upstream.sources(session).await
            }
            _ => SourcesSeen::default(),
        }
    }

    /// The key for backups of a cluster, where it is another one that may be used: the same as of its own key.
    async fn backup(&self, regions: &[Region]) -> BackupSeen {
        let Desired::Cluster(cluster) = self.desired else { return BackupSeen::default() };
        let other = cluster.backup.as_ref().and_then(|backup| backup.key.present());
        let usable = |linked: &&LinkedKey| linked.allowed && self.pass.settings.may_call_aws_for(&linked.key);
        let Some(linked) = other.filter(usable) else { return BackupSeen::default() };
        let Self { keys, upstream, key: _, session, deploy, desired, depth, sweep, memory, pass } = *self;
        let eyes = Eyes { keys, upstream, key: &linked.key, session, deploy, desired, depth, sweep, memory, pass };
        let (caller, seen) = join!(eyes.caller(regions), join_all(regions.iter().map(|region| eyes.aws(region, None))));
        BackupSeen { caller, regions: regions.iter().cloned().zip(seen).collect() }
    }

    async fn database(&self, memory: &Memory) -> DatabaseSeen {
        let Desired::Cluster(cluster) = self.desired else { return DatabaseSeen::default() };
        let (Some(deployment), Some(session)) = (&cluster.deployment, self.deploy) else {
            return DatabaseSeen::default();
        };
        let Deployment { bound_id, request, .. } = deployment;
        match bound_id.as_ref().or(memory.database.as_ref()) {
            Some(id) => {
                // At the rare looks at everything, also for what a request that arrived late has made.
                let strays = async {
                    let own = bound_id.is_none() && !cluster.object.deleting;
                    if own && self.sweep && self.depth == Depth::Everything {
                        self.upstream.databases_named(session, &request.name).await
                    } else {
                        Reading::NOT_LOOKED
                    }
                };
                let replica = async {
                    // A copy runs on where the spec no longer names its region.
                    let shown = memory.regions.iter().any(|(r, m)| *r != cluster.primary && m.deployment.is_some());
                    let copied = shown || cluster.secondaries().next().is_some();
                    if deployment.capabilities.has_portal() && copied {
                        self.upstream.replica(session, id).await
                    } else {
                        Reading::NOT_LOOKED
                    }
                };
                let parts = async {
                    // What goes with a database is named before it goes.
                    let ends = deployment.capabilities.makes_parts && cluster.object.deleting;
                    if ends || deployment.looks_at_parts(memory) {
                        self.upstream.parts(session, id).await
                    } else {
                        Reading::NOT_LOOKED
                    }
                };
                let (by_id, named, replica, parts) = join!(self.upstream.database(session, id), strays, replica, parts);
                DatabaseSeen { by_id, named, replica, parts }
            }
            None => DatabaseSeen {
                by_id: Reading::NOT_LOOKED,
                named: self.upstream.databases_named(session, &request.name).await,
                replica: Reading::NOT_LOOKED,
                parts: Reading::NOT_LOOKED,
            },
        }
    }

    /// Every database of the scope of a key that is registered somewhere: when a process first looks, at the rare looks at
    /// everything of an object that is ready, and as long as they were never counted. The list may have many pages.
    async fn databases(&self, memory: &Memory) -> Reading<Vec<Database>> {
        let (Desired::Key(key), Some(session)) = (self.desired, self.session) else { return Reading::NOT_LOOKED };
        let everything = self.depth == Depth::Everything;
        if everything && key.object.deleting && key.capabilities.through_role {
            // Whatever is under the key keeps the cloud from letting go of it.
            return self.upstream.databases(session).await;
        }
        let registered = |region: &&RegionMemory| is_registered(region);
        let mut registered = memory.regions.values().filter(registered).peekable();
        let looks = everything && !key.object.deleting && registered.peek().is_some();
        if looks && (self.sweep || registered.any(|region| region.unprotected.is_none())) {
            self.upstream.databases(session).await
        } else {
            Reading::NOT_LOOKED
        }
    }
}

/// Where the calls for a region of an object go.
pub(crate) fn place(desired: &Desired, key: &DesiredKey, region: &Region) -> Place {
    let object = desired.object();
    Place {
        access: key.access.clone(),
        region: region.clone(),
        on_behalf_of: format!("{}/{}", object.namespace, object.name),
    }
}

/// What two ways of searching found together. Unknown if either is, because what is not found must really not be there.
fn union(one: Reading<Vec<Candidate>>, other: Reading<Vec<Candidate>>) -> Reading<Vec<Candidate>> {
    let unknown = |fault: &Fault| Reading::Unknown(crate::domain::reading::Why::Failed(fault.clone()));
    if let Some(fault) = one.fault().or(other.fault()) {
        return unknown(fault);
    }
    let mut all: Vec<Candidate> = [one, other].into_iter().filter_map(|r| r.present().cloned()).flatten().collect();
    all.sort();
    all.dedup();
    if all.is_empty() { Reading::Absent } else { Reading::Present(all) }
}
