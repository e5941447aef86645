//! Where it all happens: the clouds, the API server, and what goes wrong.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use cmk_operator::adapters::upstream;
use cmk_operator::clock::Clock;
use cmk_operator::domain::capabilities::Cloud;
use cmk_operator::domain::desired::Desired;
use cmk_operator::domain::id::Name;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::moment::Moment;
use cmk_operator::domain::observed::Observed;
use cmk_operator::execute::Witness;
use cmk_operator::plan::Settings;
use cmk_operator::plan::step::Site;
use cmk_operator::ports::{Authority, Fault};
use cmk_operator::sandbox::{Clouds, World};

use super::adapters::adapters;
use super::store::Store;
use super::trouble::{FREEZE_MS, Kind, Meets, Trouble};

/// What a test makes otherwise than it is, to see what protects.
pub trait Twist: Send + Sync {
    /// Of what an object declares.
    fn desired(&self, _: &mut Desired) {}

    /// Of what a pass saw.
    fn observed(&self, _: &Desired, _: &Memory, _: &mut Observed) {}

    /// Of what a pass remembers.
    fn memory(&self, _: &mut Memory) {}
}

/// Nothing is made otherwise.
pub struct AsItIs;

impl Twist for AsItIs {}

/// Where it all happens.
pub struct Lab {
    pub clouds: Clouds,
    /// The real adapters of the database clouds; what they send is carried to the clouds above.
    pub upstream: upstream::Clouds,
    pub settings: Settings,
    /// The Secrets by name.
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
    pub twist: Arc<dyn Twist>,
    store: Mutex<Store>,
    nonces: Mutex<u64>,
    trouble: Mutex<Trouble>,
    /// What the passes did, where somebody wants to know.
    tale: Option<Mutex<Vec<String>>>,
}

impl Lab {
    /// One whose keys are for Astra, with Secrets of one token each.
    pub fn new(world: World, settings: Settings, tokens: &[(&str, &str)]) -> Self {
        let mut lab = Self::on(Cloud::Astra, world, settings);
        for (name, token) in tokens {
            lab.keep_secret(name, &[("token", token)]);
        }
        lab
    }

    /// One whose keys are for a cloud.
    pub fn on(cloud: Cloud, world: World, settings: Settings) -> Self {
        let clouds = Clouds::new(world);
        Self {
            upstream: adapters(&clouds),
            clouds,
            settings,
            secrets: BTreeMap::new(),
            twist: Arc::new(AsItIs),
            store: Mutex::default(),
            nonces: Mutex::default(),
            trouble: Mutex::new(Trouble::on(cloud)),
            tale: None,
        }
    }

    /// Forgets what the adapters have learnt, such as access tokens: whoever goes on from here begins alike.
    pub fn renew(&mut self) {
        self.upstream = adapters(&self.clouds);
    }

    pub fn keep_secret(&mut self, name: &str, values: &[(&str, &str)]) {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.secrets.insert(name.to_owned(), values);
    }

    /// Another that is the same now, and goes its own way.
    pub fn fork(&self) -> Self {
        let clouds = Clouds::new(self.clouds.world().clone());
        Self {
            upstream: adapters(&clouds),
            clouds,
            settings: self.settings.clone(),
            secrets: self.secrets.clone(),
            twist: Arc::clone(&self.twist),
            store: Mutex::new(self.store().clone()),
            nonces: Mutex::new(*self.nonces.lock().unwrap()),
            trouble: Mutex::new(self.trouble().clone()),
            tale: self.tale.as_ref().map(|tale| Mutex::new(tale.lock().unwrap().clone())),
        }
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    pub fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap()
    }

    pub fn installation(&self) -> Name {
        "test".parse().unwrap()
    }

    /// A value that no other pass has.
    pub fn nonce(&self) -> String {
        let mut nonces = self.nonces.lock().unwrap();
        *nonces += 1;
        format!("n{nonces}")
    }

    /// What happens to the write of the object that comes now.
    pub fn clash(&self) -> Option<Kind> {
        self.trouble().clash()
    }

    /// Wants to know what the passes do.
    pub fn listen(&mut self) {
        self.tale.get_or_insert_default();
    }

    /// Notes what somebody wants to know.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if let Some(tale) = &self.tale {
            let line = format!("{:>9} ms  {}", self.now().0 - START_MS, what());
            tale.lock().unwrap().push(line);
        }
    }

    pub fn told(&self) -> String {
        self.tale.as_ref().map(|tale| tale.lock().unwrap().join("\n")).unwrap_or_default()
    }
}

/// How long an effect takes.
const LATENCY_MS: i64 = 20;

/// When every life begins.
pub const START_MS: i64 = 1_767_225_600_000;

impl Clock for Lab {
    fn now(&self) -> Moment {
        Moment(self.clouds.world().now_ms())
    }

    fn monotonic_ms(&self) -> i64 {
        self.clouds.world().now_ms()
    }
}

impl Authority for Lab {
    fn may_act(&self) -> bool {
        self.trouble().leads()
    }
}

impl Witness for Lab {
    fn before(&self, site: Site) -> ControlFlow<()> {
        let calls = self.clouds.world().log().len();
        let meets = self.trouble().before(site, calls);
        match meets {
            Meets::Nothing => {}
            Meets::Death => return ControlFlow::Break(()),
            Meets::Sleep => self.clouds.world().advance(FREEZE_MS),
            Meets::Fault(rule) => {
                self.clouds.world().add_fault(rule);
            }
        }
        ControlFlow::Continue(())
    }

    fn after(&self, site: Site, fault: Option<&Fault>) -> ControlFlow<()> {
        let mut world = self.clouds.world();
        world.advance(LATENCY_MS);
        let hit = world.faults().iter().any(|rule| rule.fired > 0);
        world.clear_faults();
        if self.trouble().after(site, fault.is_none(), hit, world.log()) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
