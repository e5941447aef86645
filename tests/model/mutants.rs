//! What each protecting device protects from: with the device taken out, from outside, the model finds a path to harm.
//!
//! Each mutant is explored with few kinds of faults, and the same faults with the device in place do no harm.

use cmk_operator::domain::desired::Desired;
use cmk_operator::domain::id::tag;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::moment::Span;
use cmk_operator::domain::observed::Observed;
use cmk_operator::domain::reading::Reading;

use super::act::{Act, Who};
use super::devices::Devices;
use super::explore::{explore, shortened, told};
use super::scene::{Config, Index, Menu, Scene};

pub(crate) const LOST: Menu = Menu { lost: true, ..Menu::NONE };
pub(crate) const STALE: Menu = Menu { stale: true, ..Menu::NONE };
const CREATION_LOST: Menu = Menu { calls: "kms:CreateKey", ..LOST };

const ONE_KEY: &str = "S1 one key per identity exists, unless the store was lost";
const ONE_NAMED: &str = "S1/S25 one key per identity is ever named";
const UNDER_THE_KEY: &str = "S19 what is deployed is under the registered key";
const ONE_DATABASE: &str = "one database, each region added once";
const REPEATED: &[&str] = &["S3 CreateKey is not repeated before settling and a scan"];
pub(crate) const LOOKS: &[&str] = &["S19 deployed only after enough right looks"];

/// A configuration, with and without a device: with it there is no harm, without it there is this one.
pub(crate) fn mutant(
    name: &str,
    (scene, index, menus): (Scene, Index, &[Menu]),
    harm: &'static str,
    takes_out: impl Fn(&mut Config),
) {
    let mut whole = Config::of(scene, index, menus);
    let mut config = Config::of(scene, index, menus);
    takes_out(&mut config);
    whole.settings.gate_looks = config.settings.gate_looks;
    whole.muted = config.muted;
    let intact = explore(&whole);
    assert!(
        intact.violation.is_none() && !intact.gave_up,
        "{name}: harm with the device in place: {:?}",
        intact.violation.map(|(path, violation)| (violation, told(&path, &whole)))
    );
    found(name, &config, harm, intact.graph.len());
}

pub(crate) fn found(name: &str, config: &Config, harm: &str, intact: usize) {
    let explored = explore(config);
    let Some((path, violation)) = explored.violation else {
        panic!("{name}: no harm in {} states", explored.graph.len())
    };
    let short = shortened(&path, &violation, config);
    println!(
        "without {name}: {} after {} states and {:.1} s (with it: none in {intact} states)\n  {}\n{}",
        violation.invariant,
        explored.graph.len(),
        explored.took.as_secs_f64(),
        violation.what,
        told(&short, config)
    );
    assert_eq!(violation.invariant, harm, "{name}");
}

/// The intent is forgotten between passes, as if it had never been written.
struct NoIntent;

impl Devices for NoIntent {
    fn read(&self, _: &mut Desired, memory: &mut Memory) {
        memory.regions.values_mut().for_each(|region| region.creating = None);
    }
}

#[test]
fn without_the_durable_intent_of_a_multi_region_key() {
    let scene = Scene::STAYS.of_one_key();
    mutant("the durable intent", (scene, Index::Blind, &[CREATION_LOST]), ONE_KEY, |config| {
        config.devices = Box::new(NoIntent);
        config.muted = REPEATED;
    });
}

#[test]
fn without_the_durable_intent() {
    mutant("the durable intent", (Scene::STAYS, Index::Blind, &[CREATION_LOST]), ONE_KEY, |config| {
        config.devices = Box::new(NoIntent);
        // It would be caught before it does harm; here the harm is to be seen.
        config.muted = REPEATED;
    });
}

#[test]
fn without_the_settle_window_of_keys() {
    let menus = [CREATION_LOST, Menu { calls: "kms:List", ..STALE }];
    mutant("the settle window of CreateKey", (Scene::STAYS, Index::Blind, &menus), ONE_KEY, |config| {
        config.settings.create_settle = Span(0);
        config.muted = REPEATED;
    });
}

#[test]
fn without_the_settle_window_of_deployments() {
    let menus = [Menu { calls: "astra:CreateDatabase", ..LOST }];
    mutant("the settle window of deployments", (Scene::STAYS, Index::Late, &menus), ONE_DATABASE, |config| {
        config.settings.deploy_settle = Span(0);
    });
}

/// A read that failed is taken for "there is none".
struct TwoStates;

impl Devices for TwoStates {
    fn failed_read_is_absence(&self) -> bool {
        true
    }
}

#[test]
fn without_the_third_state_of_readings() {
    let menus = [CREATION_LOST, Menu { calls: "kms:List", ..LOST }];
    mutant("the third state of readings", (Scene::STAYS, Index::Blind, &menus), ONE_KEY, |config| {
        config.devices = Box::new(TwoStates);
        config.muted = REPEATED;
    });
}

/// Aliases are neither read nor made.
struct NoAlias;

impl Devices for NoAlias {
    fn ignores_alias(&self) -> bool {
        true
    }
}

#[test]
fn without_the_alias_as_claim() {
    let menus = [Menu::acts(&[Act::Rebuild])];
    mutant("the alias as claim", (Scene::STAYS, Index::Blind, &menus), ONE_NAMED, |config| {
        config.devices = Box::new(NoAlias);
    });
}

/// A cluster's pass is told that its region's key is registered, and since when.
struct NoReadBack;

impl Devices for NoReadBack {
    fn observed(&self, who: Who, observed: &mut Observed) {
        if who == Who::Key {
            return;
        }
        let at = observed.at.to_string();
        for seen in observed.regions.values_mut() {
            if let Reading::Present(key) = &seen.by_alias {
                seen.registration = Reading::Present(key.arn.to_string());
            }
            if let Reading::Present(tags) = &mut seen.tags {
                tags.entry(tag::REGISTERED_AT.to_owned()).or_insert_with(|| at.clone());
            }
        }
    }
}

#[test]
fn without_the_read_back_of_the_registration() {
    mutant("the read-back of the registration", (Scene::STAYS, Index::Late, &[]), UNDER_THE_KEY, |config| {
        config.devices = Box::new(NoReadBack);
    });
}

/// A cluster's pass does with what an earlier pass saw of the keys.
struct OldNews;

impl Devices for OldNews {
    fn reuses_observation(&self) -> bool {
        true
    }
}

#[test]
fn without_looking_in_the_acting_pass() {
    let menus = [Menu::acts(&[Act::Unregister])];
    mutant("the look in the acting pass", (Scene::STAYS, Index::Late, &menus), UNDER_THE_KEY, |config| {
        config.devices = Box::new(OldNews);
        config.muted = LOOKS;
    });
}

/// Several looks are what a single stale read cannot get past.
#[test]
fn without_several_looks() {
    let mut config = Config::new(Index::Late, &[Menu::acts(&[Act::Unregister]), Menu { calls: "astra:", ..STALE }]);
    config.settings.gate_looks = 1;
    config.muted = LOOKS;
    found("several looks", &config, UNDER_THE_KEY, 0);
}
