//! Fault rules: each kind, what it leaves behind, when it fires, and that its firing can be seen.

use cmk_operator::sandbox::kms::{CreateKey, Tag};
use cmk_operator::sandbox::{ACCOUNT, Access, Failure, Fault, GetResources, Identity, Match, Rule, World};

use super::{REGION, code, new_key, world};

fn keys(world: &mut World) -> usize {
    world.kms(ACCOUNT, REGION).list_keys(None, None).unwrap().keys.len()
}

#[test]
fn each_kind() {
    let error = Fault::Error { status: 400, code: "MyException".into(), message: "no".into() };
    for (fault, want, made) in [
        (error, "MyException", 0),
        (Fault::AppliedButLost, "lost", 1),
        (Fault::PartialReply, "lost", 1),
        (Fault::LostBefore, "lost", 0),
        (Fault::Http500 { applied: false }, "KMSInternalException", 0),
        (Fault::Http500 { applied: true }, "KMSInternalException", 1),
        (Fault::Throttle { retry_after_s: None }, "ThrottlingException", 0),
        (Fault::Hang { ms: 100, applied: false }, "timed_out", 0),
        (Fault::Hang { ms: 100, applied: true }, "timed_out", 1),
        (Fault::StaleRead { ms: 100 }, "ok", 1),
    ] {
        let mut world = world();
        world.record(true);
        let id = world.add_fault(Rule::nth("kms:CreateKey", 1, fault.clone()));
        let outcome = code(world.kms(ACCOUNT, REGION).create_key(&CreateKey::default()));
        assert_eq!(outcome, want, "{fault:?}");
        let entry = world.log()[0].clone();
        assert_eq!((entry.fault, entry.applied, entry.outcome.as_str()), (Some(id), made == 1, want), "{fault:?}");
        assert_eq!(keys(&mut world), made, "{fault:?}");
        assert_eq!((world.faults()[0].seen, world.faults()[0].fired), (1, 1));
        world.kms(ACCOUNT, REGION).create_key(&CreateKey::default()).unwrap();
        assert_eq!((world.faults()[0].seen, world.faults()[0].fired), (2, 1));
    }
}

#[test]
fn the_answer_of_a_lost_call_is_lost_even_if_it_was_a_refusal() {
    let mut world = world();
    let key = new_key(&mut world);
    world.add_fault(Rule::always("kms:CreateAlias", Fault::AppliedButLost));
    world.record(true);
    assert_eq!(code(world.kms(ACCOUNT, REGION).create_alias("alias/aws/x", &key)), "lost");
    assert!(!world.log()[0].applied);
    assert_eq!(code(world.kms(ACCOUNT, REGION).create_alias("alias/x", &key)), "lost");
    assert_eq!(world.kms(ACCOUNT, REGION).describe_key("alias/x").unwrap().arn, key);
}

#[test]
fn when_a_rule_fires() {
    let of = |matches: Match| Match { operation: "kms:DescribeKey".into(), ..matches };
    for (matches, want) in [
        (of(Match::default()), [true, true, true, true]),
        (of(Match { nth: Some(2), ..Match::default() }), [false, true, false, false]),
        (of(Match { skip: 1, ..Match::default() }), [false, true, true, true]),
        (of(Match { skip: 1, times: Some(2), ..Match::default() }), [false, true, true, false]),
        (of(Match { region: Some("eu-west-1".into()), ..Match::default() }), [false; 4]),
        (of(Match { region: Some(REGION.into()), ..Match::default() }), [true; 4]),
        (of(Match { account: Some("222222222222".into()), ..Match::default() }), [false; 4]),
        (of(Match { access: Some(Access::Write), ..Match::default() }), [false; 4]),
        (of(Match { resource: Some("alias/".into()), ..Match::default() }), [false; 4]),
        (Match { operation: "kms:*".into(), ..Match::default() }, [true; 4]),
        (Match { operation: "*".into(), ..Match::default() }, [true; 4]),
        (Match { operation: "kms:Describe".into(), ..Match::default() }, [false; 4]),
    ] {
        let mut world = world();
        let key = new_key(&mut world);
        world.add_fault(Rule::new(matches.clone(), Fault::LostBefore));
        let got: Vec<bool> = (0..4).map(|_| world.kms(ACCOUNT, REGION).describe_key(&key).is_err()).collect();
        assert_eq!(got, want, "{matches:?}");
    }
}

#[test]
fn the_first_rule_wins_and_the_others_count() {
    let mut world = world();
    world.add_fault(Rule::nth("kms:CreateKey", 1, Fault::LostBefore));
    world.add_fault(Rule::nth("kms:CreateKey", 2, Fault::Throttle { retry_after_s: None }));
    let outcomes: Vec<String> =
        (0..3).map(|_| code(world.kms(ACCOUNT, REGION).create_key(&CreateKey::default()))).collect();
    assert_eq!(outcomes, ["lost", "ThrottlingException", "ok"]);
    world.clear_faults();
    assert!(world.faults().is_empty());
}

#[test]
fn a_stale_read_shows_an_older_state_once() {
    let mut world = world();
    let key = new_key(&mut world);
    world.advance(10_000);
    world.add_fault(Rule::nth("kms:ListResourceTags", 2, Fault::StaleRead { ms: 5000 }));
    world.kms(ACCOUNT, REGION).tag_resource(&key, &[Tag::new("a", "b")]).unwrap();
    world.advance(1000);
    let mut tags = || world.kms(ACCOUNT, REGION).list_resource_tags(&key, None, None).unwrap().tags.len();
    assert_eq!([tags(), tags(), tags()], [1, 0, 1]);
}

#[test]
fn other_services() {
    let mut world = world();
    let who = Identity::of_account(ACCOUNT);
    world.add_fault(Rule::always("*", Fault::Throttle { retry_after_s: Some(7) }));
    let Err(Failure::Service(astra)) = world.astra("AstraCS:sandbox:token").current_org() else { panic!() };
    assert_eq!((astra.status, astra.retry_after_s), (429, Some(7)));
    assert_eq!(code(world.sts(&who, REGION).get_caller_identity()), "Throttling");
    assert_eq!(code(world.tagging(&who, REGION).get_resources(&GetResources::default())), "ThrottledException");
}
