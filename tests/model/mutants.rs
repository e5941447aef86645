//! What each protecting device protects from: with the device taken out, from outside, the model finds a path to harm.
//!
//! Each mutant is explored with few kinds of faults, and the same faults with the device in place do no harm.

use cmk_operator::domain::id::tag;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::moment::Span;
use cmk_operator::domain::observed::Observed;
use cmk_operator::domain::reading::Reading;

use super::act::Who;
use super::devices::{AllThere, Devices};
use super::explore::{explore, shortened, told};
use super::scene::{Config, Index, Menu};

const LOST: Menu = Menu { lost: true, ..Menu::NONE };
const STALE: Menu = Menu { stale: true, ..Menu::NONE };
const CRASH: Menu = Menu { crash: true, ..Menu::NONE };
const PEOPLE: Menu = Menu { people: true, ..Menu::NONE };
const SUPPORT: Menu = Menu { support: true, ..Menu::NONE };

const ONE_KEY: &str = "S1 one key per identity exists, unless the store was lost";
const ONE_NAMED: &str = "S1/S25 one key per identity is ever named";
const UNDER_THE_KEY: &str = "S19 what is deployed is under the registered key";
const ONE_DATABASE: &str = "one database, each region added once";

/// Which device is out, how it may go wrong, and what must come of it.
struct Mutant {
    name: &'static str,
    config: Config,
    /// The harm, by the name of its invariant.
    harm: &'static str,
}

/// A configuration, with and without a device.
fn mutant(name: &'static str, index: Index, menus: &[Menu], harm: &'static str, takes_out: impl Fn(&mut Config)) {
    let mut whole = Config::new(index, menus);
    let mut config = Config::new(index, menus);
    takes_out(&mut config);
    whole.settings.gate_looks = config.settings.gate_looks;
    whole.muted = config.muted;
    let intact = explore(&whole);
    assert!(
        intact.violation.is_none() && !intact.gave_up,
        "{name}: harm with the device in place: {:?}",
        intact.violation.map(|(path, violation)| (violation, told(&path, &whole)))
    );
    found(&Mutant { name, config, harm }, intact.graph.len());
}

fn found(mutant: &Mutant, intact: usize) {
    let Mutant { name, config, harm } = mutant;
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
    assert_eq!(violation.invariant, *harm, "{name}");
}

/// The intent is forgotten between passes, as if it had never been written.
struct NoIntent;

impl Devices for NoIntent {
    fn memory(&self, memory: &mut Memory) {
        memory.regions.values_mut().for_each(|region| region.creating = None);
    }
}

#[test]
fn without_the_durable_intent() {
    mutant("the durable intent", Index::Blind, &[LOST], ONE_KEY, |config| {
        config.devices = Box::new(NoIntent);
        // It would be caught before it does harm; here the harm is to be seen.
        config.muted = &["S3 CreateKey is not repeated before settling and a scan"];
    });
}

#[test]
fn without_the_settle_window_of_keys() {
    mutant("the settle window of CreateKey", Index::Blind, &[LOST, STALE], ONE_KEY, |config| {
        config.settings.create_settle = Span(0);
        config.muted = &["S3 CreateKey is not repeated before settling and a scan"];
    });
}

#[test]
fn without_the_settle_window_of_deployments() {
    mutant("the settle window of deployments", Index::Late, &[LOST], ONE_DATABASE, |config| {
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
    mutant("the third state of readings", Index::Blind, &[LOST, LOST], ONE_KEY, |config| {
        config.devices = Box::new(TwoStates);
        config.muted = &["S3 CreateKey is not repeated before settling and a scan"];
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
    mutant("the alias as claim", Index::Blind, &[PEOPLE], ONE_NAMED, |config| config.devices = Box::new(NoAlias));
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
    mutant("the read-back of the registration", Index::Late, &[], UNDER_THE_KEY, |config| {
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
    mutant("the look in the acting pass", Index::Late, &[SUPPORT], UNDER_THE_KEY, |config| {
        config.devices = Box::new(OldNews);
        config.muted = &["S19 deployed only after enough right looks"];
    });
}

/// Several looks are what a single stale read cannot get past.
#[test]
fn without_several_looks() {
    let menus = &[SUPPORT, STALE];
    let mut config = Config::new(Index::Late, menus);
    config.settings.gate_looks = 1;
    config.muted = &["S19 deployed only after enough right looks"];
    found(&Mutant { name: "several looks", config, harm: UNDER_THE_KEY }, 0);
}

/// Every device is there, and a process dies at every place: nothing.
#[test]
fn with_every_device_two_deaths_do_no_harm() {
    let mut config = Config::new(Index::Blind, &[CRASH, CRASH]);
    config.devices = Box::new(AllThere);
    super::holds("two deaths", &config);
}
