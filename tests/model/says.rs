//! The invariants of what the objects say: that it is true, whole, and said of the spec that is there.

use cmk_operator::api::FINALIZER;
use cmk_operator::api::condition::Condition;
use cmk_operator::controller::kind::Kind;
use cmk_operator::sandbox::ACCOUNT;
use cmk_operator::sandbox::kms::KeyState;

use super::act::Who;
use super::files::ALIAS;
use super::judge::{Court, Event, Verdict, require};

fn find<'c>(conditions: &'c [Condition], type_: &str) -> Option<&'c Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

impl Court<'_> {
    pub(super) fn ready_is_true(&self, event: &Event<'_>) -> Verdict {
        let Event::Status { who, after, .. } = event else { return Ok(()) };
        let Some(ready) = find(after, "Ready").filter(|r| r.status == "True" && r.reason == "AsDeclared") else {
            return Ok(());
        };
        let (generation, observed) = match who {
            Who::Key => generations(self.key),
            Who::Cluster => generations(self.cluster),
        };
        require(ready.observed_generation == observed, || format!("generation {generation:?}, observed {observed:?}"))?;
        // Of a spec that nobody has looked at yet it says nothing.
        if generation != observed
            || self.tape.disturbed
            || ready.last_transition_time.0.as_millisecond() != self.world.now_ms()
        {
            return Ok(());
        }
        for region in &self.tape.read.regions {
            self.region_is_right(region)?;
        }
        if *who == Who::Cluster {
            let id = self.cluster.and_then(|cluster| cluster.status.as_ref()?.upstream_id.as_ref());
            let databases = self.truth().databases();
            let id = id.map(String::as_str);
            let database = databases.iter().find(|d| Some(d.id) == id).ok_or("its database is not there")?;
            for region in &self.tape.read.regions {
                let serves = database.regions.iter().any(|d| d.region == *region && d.serves);
                require(serves, || format!("{region} does not serve"))?;
            }
        }
        Ok(())
    }

    /// Whether the region's key is enabled, usable by the cloud, claimed, recorded and registered.
    fn region_is_right(&self, region: &str) -> Verdict {
        let truth = self.truth();
        let region = truth.key_region(region);
        let arn = self.world.true_alias(ACCOUNT, region, ALIAS).ok_or_else(|| format!("{region}: no alias"))?;
        let enabled = self.world.true_keys().any(|k| k.arn == arn && k.state == KeyState::Enabled);
        require(enabled, || format!("{arn} is not enabled"))?;
        require(truth.cloud_may_use(region, arn), || format!("the cloud may not use {arn}"))?;
        let registered = truth.registration(region);
        require(registered == Some(arn), || format!("{region}: {registered:?} is registered"))?;
        let recorded = self.ghost.published.get(region);
        require(recorded.is_some_and(|r| r == arn), || format!("{region}: {recorded:?} is recorded"))
    }

    pub(super) fn conditions_are_whole(&self, event: &Event<'_>) -> Verdict {
        let Event::Status { before, after, .. } = event else { return Ok(()) };
        if after.is_empty() {
            return Ok(());
        }
        require(after.len() == 7, || format!("{} conditions", after.len()))?;
        let first = before.is_empty() && find(after, "Ready").is_some_and(|r| r.status == "True");
        require(!first, || "Ready in the first status".to_owned())?;
        for is in *after {
            let Some(was) = find(before, &is.type_) else { continue };
            let flipped = was.status != is.status;
            let moved = was.last_transition_time != is.last_transition_time;
            require(!moved || flipped, || format!("{}: time moved without the status", is.type_))?;
        }
        Ok(())
    }

    pub(super) fn finalizer_comes_first(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { who, .. } = event else { return Ok(()) };
        let there = match who {
            Who::Key => self.key.map(has_finalizer),
            Who::Cluster => self.cluster.map(has_finalizer),
        };
        // One that goes on after a stop may find that its object is gone.
        require(there.unwrap_or(self.tape.disturbed), || format!("{who:?} has no finalizer"))
    }
}

fn generations<K: Kind>(object: Option<&K>) -> (Option<i64>, Option<i64>) {
    let observed = object.and_then(Kind::status).and_then(K::observed_generation);
    (object.and_then(|object| object.meta().generation), observed)
}

fn has_finalizer<K: Kind>(object: &K) -> bool {
    object.meta().finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == FINALIZER))
}
