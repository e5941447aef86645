//! The same for the devices that protect a cloud's way to a key through a role.

use cmk_operator::domain::desired::Desired;
use cmk_operator::domain::memory::Memory;
use cmk_operator::domain::moment::Span;

use super::act::{Act, Who};
use super::devices::Devices;
use super::judge::{LETS_GO, ONE_RECORD};
use super::mutants::{LOOKS, LOST, STALE, found, mutant};
use super::scene::{Config, Index, Menu, Scene, Start};

const RECORD_LOST: Menu = Menu { calls: "atlas:CreateCloudProviderAccess", ..LOST };
const OLD_RECORDS: Menu = Menu { calls: "atlas:ListCloudProviderAccess", ..STALE };

/// It is forgotten between passes that the cloud was asked for a record, as if that had never been written.
struct NoIntent;

impl Devices for NoIntent {
    fn read(&self, _: &mut Desired, memory: &mut Memory) {
        memory.regions.values_mut().for_each(|region| region.linking = None);
    }
}

#[test]
fn without_the_durable_intent_of_a_record() {
    let scene = Scene::STAYS.on_atlas();
    mutant("the durable intent", (scene, Index::Late, &[RECORD_LOST]), ONE_RECORD, |config| {
        config.devices = Box::new(NoIntent);
    });
}

#[test]
fn without_the_settle_window_of_records() {
    let scene = Scene::STAYS.on_atlas();
    mutant("the settle window", (scene, Index::Late, &[RECORD_LOST, OLD_RECORDS]), ONE_RECORD, |config| {
        config.settings.deploy_settle = Span(0);
    });
}

/// A look from the past that shows no registration yet lets no record go.
#[test]
fn without_several_looks_at_the_registration() {
    let scene = Scene::ends(Start::Nothing).on_atlas();
    let menus = [
        Menu::acts(&[Act::Delete(Who::Cluster)]),
        Menu::acts(&[Act::Delete(Who::Key)]),
        Menu::acts(&[Act::Confirm(Who::Key)]),
        Menu { calls: "atlas:GetEncryptionAtRest", ..STALE },
    ];
    crate::holds("several looks", &Config::of(scene, Index::Late, &menus));
    let mut config = Config::of(scene, Index::Late, &menus);
    config.settings.gate_looks = 1;
    config.muted = LOOKS;
    found("several looks", &config, LETS_GO, 0);
}
