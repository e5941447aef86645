//! The part of the [safety check](super::check) that is about clouds that use a key as a role, and about databases that they
//! put under it: the rules are derived anew from what was declared, seen and remembered.

use crate::domain::desired::{DatabaseRequest, Desired};
use crate::domain::id::{KeyArn, Region};
use crate::domain::memory::Subject;
use crate::domain::moment::Moment;
use crate::domain::observed::{DatabaseState, Encryption, RegionSeen};
use crate::domain::reading::Reading;
use crate::domain::role_link::{RoleLink, Through};

use super::check::{Rule, Scene, require};
use super::role_step::{LinkRef, RoleStep};
use super::step::Step;

impl Scene<'_> {
    pub(super) fn role_step(&self, step: &RoleStep, before: &[Step]) -> Rule {
        let role = self.key()?.role.as_ref().map(|role| role.arn.as_str());
        let role = role.filter(|_| matches!(self.desired, Desired::Key(_)));
        let role = role.ok_or("a cloud is told of a role only for a key whose spec names one")?;
        match step {
            RoleStep::RecordIntent { .. } | RoleStep::Record { link: LinkRef::CreatedInThisPass, .. } => Ok(()),
            RoleStep::Create { region, not_after } => {
                require(
                    before
                        .iter()
                        .any(|s| matches!(s, Step::Role(RoleStep::RecordIntent { region: r, .. }) if r == region)),
                    "a link is made only after its intent was written down",
                )?;
                let seen = self.look(region)?;
                let links = seen.role.links.present().ok_or("a link is made only after a list of all of them")?;
                require(
                    !links.iter().any(|link| link.role_arn.as_deref() == Some(role)),
                    "a link is made only where the list has none of the role",
                )?;
                let memory = self.memory.regions.get(region);
                self.settled(memory.and_then(|m| m.linking), self.pass.settings.deploy_settle)?;
                self.may_take_slot(region)?;
                self.in_scope()?;
                self.in_time(*not_after, self.pass.now)
            }
            RoleStep::Record { region, link: LinkRef::Id(id) } => {
                let link = self.link(region, id)?;
                let began = self.memory.regions.get(region).and_then(|memory| memory.linking);
                let began = began.ok_or("only a link that was asked for is taken for this object's")?;
                let settings = &self.pass.settings;
                require(
                    link.role_arn.is_none()
                        && link.created_at.is_some_and(|at| {
                            at >= began - settings.clock_skew
                                && at <= began + settings.deploy_settle + settings.clock_skew
                        }),
                    "only an unfinished link that was made when it was asked for is taken for this object's",
                )
            }
            RoleStep::Authorize { region, link: id, role: named } => {
                require(named == role, "the cloud is told to assume no role but the declared one")?;
                let link = self.link(region, id)?;
                let recorded = self.memory.regions.get(region).and_then(|memory| memory.link.as_ref());
                require(
                    link.role_arn.as_deref() == Some(role) || (link.role_arn.is_none() && recorded == Some(id)),
                    "only a link of the role, or the one that was made for it, is authorized",
                )?;
                self.may_take_slot(region)?;
                self.in_scope()
            }
            RoleStep::Register { region, key, link, replaces, not_after } => {
                self.may_register_by_role(region, key, (link, role), replaces.as_ref(), before)?;
                self.in_time(*not_after, self.observed.at)
            }
            RoleStep::MakeRole { .. } | RoleStep::TrustCloud { .. } | RoleStep::PermitRole { .. } => {
                self.made_role_step(step, role)
            }
            RoleStep::Withdraw { .. } | RoleStep::RemoveLink { .. } | RoleStep::DeleteRole { .. } => {
                self.unregistering(step, role)
            }
        }
    }

    fn may_register_by_role(
        &self,
        region: &Region,
        key: &KeyArn,
        (id, role): (&str, &str),
        replaces: Option<&String>,
        before: &[Step],
    ) -> Rule {
        require(
            before.iter().any(|s| matches!(s, Step::RecordRegistrationIntent { region: r, .. } if r == region)),
            "a key is registered only after the intent was written down",
        )?;
        self.is_the_key(region, key)?;
        self.key_is_enabled(region, key)?;
        let link = self.link(region, id)?;
        require(
            link.authorized && link.role_arn.as_deref() == Some(role),
            "a key is registered only through an authorized link of the declared role",
        )?;
        self.may_take_slot(region)?;
        self.policy_holds(region)?;
        self.in_scope()?;
        match &self.look(region)?.role.registration {
            Reading::Absent => require(replaces.is_none(), "what is replaced is what this pass saw registered"),
            Reading::Present(found) => {
                require(replaces == Some(&found.key), "what is replaced is what this pass saw registered")?;
                let named = |arn: &KeyArn| {
                    let arn = arn.to_string();
                    arn == found.key || arn.rsplit('/').next() == Some(found.key.as_str())
                };
                let wish = self.key()?.regions.get(region).ok_or("a key is registered only in a declared region")?;
                require(
                    named(key) || wish.previous.iter().any(named),
                    "a registered key that is neither this object's nor named as an earlier one is not replaced",
                )?;
                let switches = self.key()?.role.as_ref().is_some_and(|role| role.may_replace_credentials);
                require(
                    found.through != Through::Credentials || (switches && named(key)),
                    "a key that the cloud uses by an access key is not taken from it, but the same key where the spec says so",
                )?;
                if found.through == Through::Credentials && self.key()?.sees_policies_of(role) {
                    let powers = self.look(region)?.role.powers.present();
                    require(
                        powers.is_some_and(|powers| !powers.0.is_empty() && powers.in_the_way().is_none()),
                        "a key is taken from an access key only once the role's own policies were seen not to keep it from the key",
                    )?;
                }
                require(self.looked_enough(region), "a registered key is replaced only after enough equal looks")
            }
            Reading::Unknown(_) => Err("a key is registered only after a read of what is registered"),
        }
    }

    /// No older object claims the registration, or may.
    pub(super) fn may_take_slot(&self, region: &Region) -> Rule {
        let rivals = &self.key()?.rivals;
        require(
            !rivals.unknown && !rivals.older.contains_key(region),
            "a registration that an older object claims, or may claim, is not made",
        )
    }

    pub(super) fn look(&self, region: &Region) -> Result<&RegionSeen, &'static str> {
        self.observed.regions.get(region).ok_or("nothing without a look")
    }

    pub(super) fn link(&self, region: &Region, id: &str) -> Result<&RoleLink, &'static str> {
        let links = self.look(region)?.role.links.present();
        let link = links.and_then(|all| all.iter().find(|link| link.id == id));
        link.ok_or("only a link that this pass saw is used")
    }

    /// A cloud that can say so says that it can use the registered key, as the declared role.
    pub(super) fn says_usable(&self, home: &Region) -> Rule {
        const RULE: &str = "nothing is deployed unless the cloud says that it can use the key, as the declared role";
        let key = self.key()?;
        if !key.capabilities.says_usable {
            return Ok(());
        }
        let seen = self.look(home)?;
        let found = seen.role.registration.present().filter(|found| found.usable).ok_or(RULE)?;
        let role = key.role.as_ref().map(|role| role.arn.as_str());
        let by_role = match &found.through {
            Through::NotSaid => true,
            Through::Link(id) => self.link(home, id).is_ok_and(|link| link.role_arn.as_deref() == role),
            Through::Credentials => false,
        };
        require(by_role, RULE)
    }

    /// A database that is created in several regions at once is created through the gates of all of them.
    pub(super) fn deployable_at_once(&self, request: &DatabaseRequest, not_after: Moment) -> Rule {
        let all = request.cluster.iter().flat_map(|cluster| &cluster.regions);
        all.into_iter().try_for_each(|region| self.sound(region, not_after))
    }

    pub(super) fn may_encrypt(&self, database: &str, not_after: Moment) -> Rule {
        let Desired::Cluster(cluster) = self.desired else { return Err("only a cluster puts a database under a key") };
        require(
            cluster.deployment.as_ref().is_some_and(|d| d.adopts) && self.memory.database.as_deref() == Some(database),
            "only the existing database that the spec binds is put under the key",
        )?;
        let seen = self.observed.database.by_id.present();
        require(
            seen.is_some_and(|d| {
                d.id == database && d.state == DatabaseState::Active && d.encryption == Some(Encryption::Off)
            }),
            "only a database that this pass saw active and not encrypted is put under the key",
        )?;
        cluster.regions.iter().try_for_each(|region| self.sound(region, not_after))
    }

    pub(super) fn looked_enough(&self, region: &Region) -> bool {
        self.plan
            .looks
            .get(&Subject::Key(region.clone()))
            .is_some_and(|looks| looks.count >= self.pass.settings.gate_looks)
    }
}
