//! The invariants of the end of things: what is deleted, by whom, and what must never come of it.

use cmk_operator::domain::id::{KeyArn, Region, tag};
use cmk_operator::sandbox::kms::KeyState;

use super::act::Who;
use super::files::REGIONS;
use super::judge::{Court, Event, Sent, Verdict, is_ours, require};
use super::users::{removal, surplus};

impl Court<'_> {
    /// What may use a key, or still need it, keeps it from being scheduled.
    pub(super) fn nothing_used_is_scheduled(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::Schedule { key }, .. } = event else { return Ok(()) };
        let (arn, region) = (key.to_string(), key.region().as_str());
        let under = self.live_under(&arn);
        require(under.is_none(), || format!("{arn}: {} is encrypted with it", under.unwrap_or_default()))?;
        // A surplus key is not the one that clusters use.
        let is_the_key = self.ghost.published.get(region) == Some(&arn);
        require(!is_the_key || !self.tape.read.used.contains(region), || format!("{arn}: a cluster uses {region}"))?;
        let registered = REGIONS.iter().any(|region| self.truth().registration(region) == Some(arn.as_str()));
        require(!registered || self.tape.disturbed, || format!("{arn} is registered"))?;
        let once = self.ghost.registered.contains(&arn) && self.config.scene.registration_is_final;
        require(!once, || format!("{arn} was registered for good"))
    }

    /// Only what the object made, and nobody else has a say in, is scheduled.
    pub(super) fn only_ours_is_scheduled(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::Schedule { key }, .. } = event else { return Ok(()) };
        let arn = key.to_string();
        let Some(truth) = self.world.true_keys().find(|k| k.arn == arn) else { return Ok(()) };
        let free = !truth.tags.contains_key(tag::HOLD) && !truth.tags.contains_key(tag::ADOPT_BY);
        let ours = is_ours(&truth) && truth.tags.contains_key(tag::NONCE);
        require((free && ours) || self.tape.disturbed, || format!("{arn} carries {:?}", truth.tags))
    }

    /// What others scheduled for deletion stays so.
    pub(super) fn only_its_own_is_taken_back(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::Restore { key }, .. } = event else { return Ok(()) };
        let arn = key.to_string();
        let enabled = || self.world.true_keys().any(|k| k.arn == arn && k.state != KeyState::PendingDeletion);
        let own = self.ghost.scheduled.contains(&arn) || enabled() || self.tape.disturbed;
        require(own, || format!("{arn} was scheduled by somebody else"))
    }

    /// Nothing goes unless the object's user confirmed just that.
    pub(super) fn only_what_is_confirmed_goes(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent, .. } = event else { return Ok(()) };
        let read = &self.tape.read;
        let whole = |thing: &str| {
            read.deleting && read.tears_down && read.confirmed.iter().any(|all| all.split(' ').any(|one| one == thing))
        };
        let region = |region: &Region| {
            let there = read.regions.contains(region.as_str());
            !there && read.tears_down && !read.deleting && read.confirmed.contains(&removal(region.as_str()))
        };
        match sent {
            Sent::Schedule { key } => {
                let arn = key.to_string();
                let may = whole(&arn) || self.is_removal(key, region) || read.confirmed.contains(&surplus(&arn));
                require(may, || format!("{arn} is scheduled; confirmed is {:?}", read.confirmed))
            }
            Sent::Terminate { id } => {
                require(whole(id), || format!("{id} is terminated; confirmed is {:?}", read.confirmed))
            }
            Sent::RemoveRegion { id, region: gone } => {
                require(region(gone), || format!("{gone} of {id} is removed; confirmed is {:?}", read.confirmed))
            }
            _ => Ok(()),
        }
    }

    fn is_removal(&self, key: &KeyArn, confirmed: impl Fn(&Region) -> bool) -> bool {
        let named = self.ghost.published.get(key.region().as_str());
        named == Some(&key.to_string()) && confirmed(key.region())
    }

    /// Nothing begins under a key that is being torn down.
    pub(super) fn nothing_begins_under_a_key_that_goes(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::CreateDatabase { region } | Sent::AddRegion { region }, .. } = event else {
            return Ok(());
        };
        let torn = self.tape.read.torn.contains(self.truth().key_region(region.as_str()));
        require(!torn, || format!("something is deployed in {region}, whose key is being torn down"))
    }

    /// And there never is anything under a key that the operator scheduled for deletion.
    pub(super) fn nothing_is_under_a_scheduled_key(&self, event: &Event<'_>) -> Verdict {
        if !matches!(event, Event::State) {
            return Ok(());
        }
        for arn in &self.ghost.scheduled {
            let pending = self.world.true_keys().any(|k| k.arn == arn && k.state == KeyState::PendingDeletion);
            let under = self.live_under(arn).filter(|_| pending);
            require(under.is_none(), || format!("{arn} is scheduled, under {}", under.unwrap_or_default()))?;
        }
        Ok(())
    }

    /// A deployment that lives under a key.
    fn live_under(&self, arn: &str) -> Option<String> {
        let databases = self.truth().databases();
        let live = databases.iter().filter(|d| !d.goes);
        let mut deployed = live.flat_map(|d| d.regions.iter().map(move |of| (d, of)));
        let found = deployed.find(|(_, of)| of.under == Some(arn) && !of.goes);
        found.map(|(database, of)| format!("{} in {}", database.id, of.region))
    }

    /// Under Retain an object that goes asks nobody anything.
    pub(super) fn retain_calls_nobody(&self, event: &Event<'_>) -> Verdict {
        let Event::Retained { calls } = event else { return Ok(()) };
        require(calls.is_empty(), || format!("{calls:?}"))
    }

    /// An object goes only when nothing is on its way, and what was to go with it is gone.
    pub(super) fn nothing_is_left_behind(&self, event: &Event<'_>) -> Verdict {
        let Event::Gone { who } = event else { return Ok(()) };
        let read = &self.tape.read;
        require(read.deleting, || "it was not being deleted".to_owned())?;
        let settle = super::scene::settings().create_settle.0;
        let young = |(_, at): &(&String, &i64)| self.world.now_ms() - **at < settle;
        if *who == Who::Key {
            let known = |region: &str| self.shown().any(|r| r.name == region && r.key_arn.is_some());
            let open = self.ghost.unresolved.iter().find(|one| young(one) && !known(one.0));
            require(open.is_none(), || format!("it is not known what became of the key of {open:?}"))?;
        }
        if !read.tears_down || self.tape.disturbed {
            return Ok(());
        }
        match who {
            Who::Key => {
                let shown = self.key.iter().flat_map(|key| &key.status).flat_map(|status| &status.regions);
                let recorded: Vec<&str> = shown.filter_map(|region| region.key_arn.as_deref()).collect();
                let mut keys = self.world.true_keys().filter(|k| recorded.contains(&k.arn));
                let left = keys.find(|k| k.state != KeyState::PendingDeletion && !k.tags.contains_key(tag::ADOPT_BY));
                require(left.is_none(), || format!("{:?} is left", left.map(|k| k.arn)))
            }
            Who::Cluster => {
                let id = self.cluster.and_then(|cluster| cluster.status.as_ref()?.upstream_id.as_ref());
                let all = self.truth().databases();
                let left = all.iter().find(|d| id.is_some_and(|id| id == d.id) && !d.goes);
                require(left.is_none(), || format!("{:?} is left", left.map(|d| d.id)))
            }
        }
    }
}
