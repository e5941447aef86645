//! The part of the [safety check](super::check) that is about what runs inside a database: the rules are derived anew from
//! what was declared, seen and remembered.

use crate::domain::desired::Desired;
use crate::domain::id::Region;
use crate::domain::memory::{DeployIntent, Subject};
use crate::domain::moment::Moment;
use crate::domain::observed::DatabaseState;
use crate::domain::part::NewPart;

use super::check::{Rule, Scene, require};
use super::step::Step;

impl Scene<'_> {
    /// The attempt to deploy of which neither a record nor this pass's look shows that it succeeded.
    pub(super) fn open_attempt(&self) -> Option<&DeployIntent> {
        let seen = &self.observed.database;
        let second = if let Desired::Cluster(cluster) = self.desired { cluster.secondaries().next() } else { None };
        let listed = |name: &String| seen.parts.present().is_some_and(|all| all.iter().any(|part| part.name == *name));
        self.memory.deploying.as_ref().filter(|intent| {
            if let Some(name) = &intent.part {
                return !self.memory.parts.contains_key(name) && !listed(name);
            }
            let shown = seen.by_id.present().map(|database| seen.with_copy(database, second));
            !shown.is_some_and(|database| database.regions.contains_key(intent.region.as_str()))
        })
    }

    /// There is room for one attempt whose outcome may not become known.
    pub(super) fn alone(before: &[Step]) -> Rule {
        let attempt = |step: &Step| {
            matches!(step, Step::CreatePart { .. } | Step::AddRegion { .. } | Step::CreateDatabase { .. })
        };
        require(!before.iter().any(attempt), "one thing is deployed at a time")
    }

    /// What has to be true in this very pass before anything is made inside a database.
    pub(super) fn may_create_part(
        &self,
        (region, database): (&Region, &String),
        part: &NewPart,
        not_after: Moment,
        before: &[Step],
    ) -> Rule {
        const DECLARED: &str = "nothing is made inside a database that the spec does not ask for";
        let Desired::Cluster(cluster) = self.desired else { return Err(DECLARED) };
        let deployment = cluster.deployment.as_ref().ok_or(DECLARED)?;
        require(deployment.parts().contains(part) && *region == cluster.primary, DECLARED)?;
        let own = deployment.bound_id.as_ref().or(self.memory.database.as_ref());
        let seen = self.observed.database.by_id.present();
        require(
            own == Some(database)
                && seen.is_some_and(|d| {
                    d.id == *database && d.region == region.as_str() && d.state == DatabaseState::Active
                }),
            "something is made only inside the bound or recorded database, where this pass saw it active",
        )?;
        let intended = |step: &Step| matches!(step, Step::RecordDeployIntent { intent } if intent.part.as_ref() == Some(&part.name) && intent.region == *region);
        require(
            before.iter().any(intended),
            "something is made inside a database only after the intent was written down with its name",
        )?;
        Self::alone(before)?;
        self.settled(self.open_attempt().map(|intent| intent.started_at), self.pass.settings.deploy_settle)?;
        require(
            !self.memory.parts.contains_key(&part.name),
            "what was once there inside a database is not made again",
        )?;
        let listed = self.observed.database.parts.present();
        require(
            listed.is_some_and(|all| all.iter().all(|other| other.name != part.name)),
            "something is made inside a database only after a complete list showed none of its name",
        )?;
        let needed = deployment.capabilities.portal.as_ref().map(|portal| portal.believed_after);
        let looks = self.plan.looks.get(&Subject::Part(part.name.clone())).map_or(0, |looks| looks.count);
        require(
            looks >= needed.unwrap_or(self.pass.settings.gate_looks),
            "something is made inside a database only after enough equal looks showed none of its name",
        )?;
        self.sound(region, not_after)
    }
}
