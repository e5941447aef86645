//! Which explorations there are: from what they start, what can go wrong, and in how long a time.

use cmk_operator::domain::capabilities::Cloud;
use cmk_operator::domain::desired::DesiredKey;
use cmk_operator::domain::moment::Span;
use cmk_operator::plan::Settings;

use super::act::{Act, Who};
use super::devices::{AllThere, Devices};
use super::memo::Memo;

/// The longest that any read of the model lags behind. Every window below is longer than it, as the real ones are
/// longer than what AWS documents; where a window is not, the model finds the second key (see `mutants`).
pub(crate) const LAG: i64 = 10_000;
/// How long a frozen process sleeps: past every window that it could have opened.
pub(crate) const FREEZE: i64 = 25_000;
/// A process that was stopped for this long starts no effect any more, and another replica acts. What was on its way just
/// then may still arrive, later nothing does: so it shows, even to the slowest read, before anybody stops looking for it.
/// In the proportions of the real ones: 20 s until the one and 60 s until the other, and 120 s and more to look.
pub(crate) const FENCE: i64 = 10_000;

/// Whether the tagging index ever shows a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Index {
    /// After [`LAG`].
    Late,
    /// Not within the model's horizon: only a full scan finds the key.
    Blind,
}

/// Which faults are chosen from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Menu {
    /// Replies and requests that get lost.
    pub(crate) lost: bool,
    /// Throttling and refusals.
    pub(crate) refused: bool,
    /// Reads from the past.
    pub(crate) stale: bool,
    /// Of these three, only those of calls whose name begins so.
    pub(crate) calls: &'static str,
    /// Failed and lost writes of the object itself.
    pub(crate) ledger: bool,
    /// The end of the process.
    pub(crate) crash: bool,
    /// Another replica that does not know that it must not act, at once or after a long sleep of the first.
    pub(crate) replicas: bool,
    /// Passes that stop in their midst while everything else goes on, by another replica in the end.
    pub(crate) stops: bool,
    /// Passes that come late.
    pub(crate) delay: bool,
    /// What administrators, users and the cloud's support do meanwhile.
    pub(crate) acts: &'static [Act],
}

/// What administrators and authors do to a chain that is there to stay.
pub(crate) const PEOPLE: &[Act] = &[Act::Disable, Act::Doom, Act::Strip, Act::Rebuild, Act::Edit];

/// What administrators do to a key.
pub(crate) const DRIFT: &[Act] = &[
    Act::Disable,
    Act::Doom,
    Act::Cancel,
    Act::Strip,
    Act::Share,
    Act::Tamper,
    Act::Unalias,
    Act::Unrotate,
    Act::Untag,
    Act::Hold,
    Act::Lend,
];

/// What IAM administrators do to a role that the operator made, beside [`PEOPLE`].
pub(crate) const OF_ROLES: &[Act] = &[Act::Distrust, Act::Unpermit, Act::Disable, Act::Strip, Act::Rebuild, Act::Edit];

/// How users end things, and begin them anew.
pub(crate) const ENDS: &[Act] = &[
    Act::Delete(Who::Key),
    Act::Delete(Who::Cluster),
    Act::Confirm(Who::Key),
    Act::Confirm(Who::Cluster),
    Act::Unconfirm(Who::Key),
    Act::Unconfirm(Who::Cluster),
    Act::Switch(Who::Key),
    Act::Switch(Who::Cluster),
    Act::TakeOut(Who::Key),
    Act::TakeOut(Who::Cluster),
    Act::Apply(Who::Key),
    Act::Apply(Who::Cluster),
    Act::Withdraw,
];

impl Menu {
    pub(crate) const NONE: Self = Self {
        lost: false,
        refused: false,
        stale: false,
        calls: "",
        ledger: false,
        crash: false,
        replicas: false,
        stops: false,
        delay: false,
        acts: &[],
    };
    pub(crate) const ALL: Self = Self {
        lost: true,
        refused: true,
        stale: true,
        calls: "",
        ledger: true,
        crash: true,
        replicas: true,
        stops: false,
        delay: true,
        acts: PEOPLE,
    };

    pub(crate) const fn acts(acts: &'static [Act]) -> Self {
        Self { acts, ..Self::NONE }
    }
}

/// In what state of things an exploration begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Both objects were just applied.
    Nothing,
    /// The key is ready, and the cluster was not applied yet.
    Key,
    /// Both are ready.
    Both,
}

/// What stands in the files that users apply, and what the cloud can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// The database cloud.
    pub(crate) cloud: Cloud,
    pub(crate) start: Start,
    /// Whether the cloud has no call to withdraw a registration.
    pub(crate) registration_is_final: bool,
    /// Whether the files ask for what is outside to be torn down with the object.
    pub(crate) key_ends: bool,
    pub(crate) cluster_ends: bool,
    /// Whether there is one multi-Region key, a primary and its replica, in place of a key in each region.
    pub(crate) multi_region: bool,
}

impl Scene {
    /// Everything stays.
    pub(crate) const STAYS: Self = Self {
        cloud: Cloud::Astra,
        start: Start::Nothing,
        registration_is_final: true,
        key_ends: false,
        cluster_ends: false,
        multi_region: false,
    };

    /// Everything is to go with its object, and registrations can be withdrawn.
    pub(crate) const fn ends(start: Start) -> Self {
        Self { start, registration_is_final: false, key_ends: true, cluster_ends: true, ..Self::STAYS }
    }

    /// The same on Atlas: one key, in one region, as a role that the operator makes.
    pub(crate) const fn on_atlas(self) -> Self {
        Self { cloud: Cloud::Atlas, registration_is_final: false, ..self }
    }

    /// The same with one multi-Region key.
    pub(crate) const fn of_one_key(self) -> Self {
        Self { multi_region: true, ..self }
    }
}

impl Scene {
    /// Has the cloud of this scene do what it can do here.
    pub(crate) fn adjust(&self, key: &mut DesiredKey) {
        if self.cloud == Cloud::Astra {
            key.capabilities.registration_is_final = self.registration_is_final;
        }
    }
}

/// One exploration.
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) scene: Scene,
    pub(crate) index: Index,
    /// The menu of the first fault of a path, of the second, and so on.
    pub(crate) menus: Vec<Menu>,
    pub(crate) devices: Box<dyn Devices>,
    /// Invariants that are not judged, so that what they prevent can be seen.
    pub(crate) muted: &'static [&'static str],
    /// The decisions made so far.
    pub(crate) memo: Memo,
    /// States after which the exploration gives up.
    pub(crate) limit: usize,
}

impl Config {
    pub(crate) fn new(index: Index, menus: &[Menu]) -> Self {
        Self::of(Scene::STAYS, index, menus)
    }

    pub(crate) fn of(scene: Scene, index: Index, menus: &[Menu]) -> Self {
        Self {
            settings: settings(),
            scene,
            index,
            menus: menus.to_vec(),
            devices: Box::new(AllThere),
            muted: &[],
            memo: Memo::default(),
            limit: usize::MAX,
        }
    }
}

/// Settings under which an object at rest is looked at less deeply most of the time.
pub(crate) fn glancing() -> Settings {
    Settings { policy_interval: Span::seconds(120), resync: Span::seconds(180), ..settings() }
}

/// Small windows in the proportions of the real ones: settle > the longest lag, settle > how long a look is valid, so
/// that a process that sleeps past the window finds its look too old; spacing of looks < how long a look is valid.
pub(crate) fn settings() -> Settings {
    Settings {
        create_settle: Span::seconds(20),
        deploy_settle: Span::seconds(20),
        gate_looks: 3,
        gate_spacing: Span::seconds(5),
        look_valid: Span::seconds(10),
        repair_holdoff: Span::seconds(15),
        contest: Span::seconds(40),
        clock_skew: Span::seconds(5),
        // Every pass looks at everything, as a pass that acts does. `glances` has the shallower ones.
        state_interval: Span::seconds(60),
        policy_interval: Span::seconds(60),
        resync: Span::seconds(60),
        poll: Span::seconds(5),
        holder: "cluster-uid".to_owned(),
        role_boundary: None,
        take_over_from: None,
        ambient_namespaces: None,
    }
}
