//! The part of the [safety check](super::check) that is about keys that may be used from known addresses alone: the rules are
//! derived anew from what was declared, seen and remembered.

use std::collections::BTreeSet;

use crate::domain::id::Region;
use crate::domain::memory::Subject;
use crate::domain::policy::addresses::restricted_to;
use crate::domain::policy::{Ownership, PolicyDocument};
use crate::domain::source::{Source, SourcesOf};

use super::check::{Rule, Scene, require};

impl Scene<'_> {
    pub(super) fn own(&self, region: &Region) -> Result<Ownership, &'static str> {
        let key = self.key()?;
        Ok(Ownership::of(&key.owner.identity(&key.access.account, region)))
    }

    /// From where the policy that this pass saw lets the key be used.
    fn used_from(&self, region: &Region) -> Result<Option<BTreeSet<Source>>, &'static str> {
        let text = self.observed.regions.get(region).and_then(|seen| seen.policy.present());
        let text = text.ok_or("from where a key is used is judged only by a policy that was read")?;
        let document = PolicyDocument::parse(text).map_err(|_| "a policy that was read can be read")?;
        Ok(restricted_to(&document, &self.own(region)?))
    }

    /// Of a policy that is sent.
    pub(super) fn may_restrict(&self, region: &Region, document: &str) -> Rule {
        let sent = PolicyDocument::parse(document).map_err(|_| "a policy that is sent can be read")?;
        let Some(sent) = restricted_to(&sent, &self.own(region)?) else { return Ok(()) };
        let before = self.used_from(region)?;
        self.may_be_used_from(region, &sent, before.as_ref())
    }

    /// Of what a role that we made is allowed.
    pub(super) fn may_be_let_in_from(&self, region: &Region, sources: Option<&BTreeSet<Source>>) -> Rule {
        let Some(sources) = sources else { return Ok(()) };
        let before = self.used_from(region)?;
        self.may_be_used_from(region, sources, before.as_ref())
    }

    fn may_be_used_from(&self, region: &Region, list: &BTreeSet<Source>, before: Option<&BTreeSet<Source>>) -> Rule {
        let key = self.key()?;
        let asked = key.role.as_ref().is_some_and(|role| role.restricts_sources);
        require(asked, "a key is restricted to addresses only where the spec asks for it")?;
        let seen = &self.observed.sources;
        let of = |database: &SourcesOf| database.now.iter().chain(&database.announced).copied().collect::<Vec<_>>();
        let databases = seen.databases.present().into_iter().flatten();
        let mut observed = seen.control.present().into_iter().flatten().copied().chain(databases.flat_map(of));
        require(
            observed.all(|source| list.iter().any(|block| block.covers(&source))),
            "no address is shut out from which the cloud was seen to call, or announced that it will",
        )?;
        let narrows = before.is_none_or(|before| !before.iter().all(|source| list.iter().any(|b| b.covers(source))));
        if !narrows {
            return Ok(());
        }
        let looks = self.plan.looks.get(&Subject::Sources(region.clone()));
        require(
            looks.is_some_and(|looks| looks.count >= self.pass.settings.gate_looks),
            "from fewer addresses a key is used only after enough equal looks",
        )?;
        let control = seen.control.present().is_some_and(|all| !all.is_empty());
        let databases = seen.databases.present().filter(|all| all.iter().any(|database| database.uses_key));
        let databases = databases.filter(|_| control);
        let databases =
            databases.ok_or("an empty answer, and one that failed, does not narrow from where a key is used")?;
        let added = before.is_some_and(|before| list.iter().any(|s| !before.iter().any(|block| block.covers(s))));
        require(!added, "new addresses are let in before old ones go")?;
        let at_rest =
            |database: &SourcesOf| database.changing.is_none() && (!database.uses_key || !database.now.is_empty());
        let deploys = key.users.present().is_none_or(|users| users.iter().any(|user| user.deploys));
        require(
            databases.iter().all(at_rest) && !deploys,
            "from fewer addresses a key is used only while no database is being made or changed",
        )
    }

    /// Before something is put under the key of a region.
    pub(super) fn is_used_from_anywhere(&self, home: &Region) -> Rule {
        require(
            self.used_from(home)?.is_none(),
            "nothing is deployed while the key may be used from known addresses alone",
        )
    }
}
