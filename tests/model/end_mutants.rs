//! The same for the devices that protect the end of things.

use cmk_operator::domain::desired::{Desired, DesiredKey, User};
use cmk_operator::domain::id::tag;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::observed::Observed;
use cmk_operator::domain::reading::Reading;

use super::act::{Act, Who};
use super::devices::Devices;
use super::judge::{BEGINS, CONFIRMED, LEFT, OURS, PLAN_REFUSED, UNDER, USED};
use super::mutants::mutant;
use super::scene::{Index, Menu, Scene, Start};

const KEY_GOES: [Menu; 3] =
    [Menu::acts(&[Act::Withdraw]), Menu::acts(&[Act::Delete(Who::Key)]), Menu::acts(&[Act::Confirm(Who::Key)])];

fn key_of(desired: &mut Desired) -> Option<&mut DesiredKey> {
    match desired {
        Desired::Key(key) => Some(key),
        Desired::Cluster(cluster) => match &mut cluster.key {
            Reading::Present(linked) => Some(&mut linked.key),
            _ => None,
        },
    }
}

fn no_users() -> Reading<Vec<User>> {
    Reading::Present(Vec::new())
}

/// A teardown is told that no cluster uses the key.
struct NoClaims;

impl Devices for NoClaims {
    fn read(&self, desired: &mut Desired, _: &mut Memory) {
        if let Desired::Key(key) = desired {
            key.users = no_users();
        }
    }
}

#[test]
fn without_the_look_at_the_claims() {
    mutant("the look at the claims", (Scene::ends(Start::Both), Index::Late, &KEY_GOES), UNDER, |config| {
        config.devices = Box::new(NoClaims);
        // It would be caught before it does harm.
        config.muted = &[USED];
    });
}

/// The same for the planner alone: the safety check reads the claims.
struct BlindPlanner;

impl Devices for BlindPlanner {
    fn planner(&self, desired: &Desired) -> Option<Desired> {
        let mut blind = desired.clone();
        let Desired::Key(key) = &mut blind else { return None };
        key.users = no_users();
        Some(blind)
    }
}

#[test]
fn without_the_planners_own_look_at_the_claims_the_check_stands_in() {
    let scene = (Scene::ends(Start::Both), Index::Late, &KEY_GOES[..]);
    mutant("the planner's look at the claims", scene, PLAN_REFUSED, |config| config.devices = Box::new(BlindPlanner));
}

/// What status shows counts as confirmed.
struct NoConfirmation;

impl Devices for NoConfirmation {
    fn read(&self, desired: &mut Desired, memory: &mut Memory) {
        let removals = memory.regions.values().filter_map(|region| region.removal.clone());
        let shown: Vec<String> = memory.deletion.iter().cloned().chain(removals).collect();
        match desired {
            Desired::Key(key) => key.object.confirmed = shown,
            Desired::Cluster(cluster) => cluster.object.confirmed = shown,
        }
    }
}

#[test]
fn without_the_confirmation_of_keys() {
    mutant("the confirmation of keys", (Scene::ends(Start::Key), Index::Late, &KEY_GOES[..2]), CONFIRMED, |config| {
        config.devices = Box::new(NoConfirmation);
    });
}

#[test]
fn without_the_confirmation_of_databases() {
    let menus = [Menu::acts(&[Act::Delete(Who::Cluster), Act::TakeOut(Who::Cluster)])];
    mutant("the confirmation of databases", (Scene::ends(Start::Both), Index::Late, &menus), CONFIRMED, |config| {
        config.devices = Box::new(NoConfirmation);
    });
}

/// A token depends on the keys alone, not on the object and the moment at which its deletion was asked for.
struct TimelessTokens;

impl Devices for TimelessTokens {
    fn read(&self, desired: &mut Desired, _: &mut Memory) {
        if let Desired::Key(key) = desired {
            (key.object.uid, key.object.deletion_asked) = (String::new(), None);
        }
    }
}

#[test]
fn without_the_occasion_in_the_token() {
    let again = [Menu::acts(&[Act::Apply(Who::Key)]), Menu::acts(&[Act::Delete(Who::Key)])];
    let menus = [&KEY_GOES[..], &again].concat();
    mutant("the occasion in the token", (Scene::ends(Start::Key), Index::Late, &menus), CONFIRMED, |config| {
        config.devices = Box::new(TimelessTokens);
    });
}

/// A cluster does not see that its key is being torn down.
struct NoMark;

impl Devices for NoMark {
    fn read(&self, desired: &mut Desired, _: &mut Memory) {
        if matches!(desired, Desired::Cluster(_))
            && let Some(key) = key_of(desired)
        {
            key.object.deleting = false;
            key.leaving.clear();
        }
    }
}

#[test]
fn without_the_mark_that_comes_before_the_look_at_the_claims() {
    let menus = [Menu::acts(&[Act::Delete(Who::Key)]), Menu::acts(&[Act::Apply(Who::Cluster)])];
    mutant("the mark of the teardown", (Scene::ends(Start::Key), Index::Late, &menus), BEGINS, |config| {
        config.devices = Box::new(NoMark);
    });
}

/// Nothing that was begun is waited for.
struct NoPatience;

impl Devices for NoPatience {
    fn read(&self, desired: &mut Desired, memory: &mut Memory) {
        if desired.object().deleting {
            memory.regions.values_mut().for_each(|region| region.creating = None);
        }
    }
}

#[test]
fn without_waiting_for_what_was_begun() {
    let lost = Menu { lost: true, calls: "kms:CreateKey", ..Menu::NONE };
    let menus = [lost, Menu::acts(&[Act::Delete(Who::Key)])];
    mutant("waiting for what was begun", (Scene::STAYS, Index::Late, &menus), LEFT, |config| {
        config.devices = Box::new(NoPatience);
    });
}

/// The tags by which others have a say in a key are not seen.
struct NoSay;

impl Devices for NoSay {
    fn observed(&self, _: Who, observed: &mut Observed) {
        for seen in observed.regions.values_mut() {
            if let Reading::Present(tags) = &mut seen.tags {
                tags.remove(tag::HOLD);
                tags.remove(tag::ADOPT_BY);
            }
        }
    }
}

#[test]
fn without_the_tags_of_others() {
    let menus = [&[Menu::acts(&[Act::Hold, Act::Lend])], &KEY_GOES[..]].concat();
    mutant("the tags of others", (Scene::ends(Start::Key), Index::Late, &menus), OURS, |config| {
        config.devices = Box::new(NoSay);
    });
}

/// A registration that is gone is forgotten, although what was encrypted meanwhile may be there.
struct NotForGood;

impl Devices for NotForGood {
    fn read(&self, desired: &mut Desired, _: &mut Memory) {
        if let Some(key) = key_of(desired) {
            key.capabilities.registration_is_final = false;
        }
    }
}

#[test]
fn without_the_memory_of_a_registration() {
    let scene = Scene { registration_is_final: true, ..Scene::ends(Start::Key) };
    mutant("the memory of a registration", (scene, Index::Late, &KEY_GOES), USED, |config| {
        config.devices = Box::new(NotForGood);
    });
}
