//! The other partitions of AWS: what is decided there is what is decided here, and no ARN of it is of another partition.

use cmk_operator::domain::id::Region;
use cmk_operator::plan::check::check;
use cmk_operator::plan::{Plan, decide};
use serde_json::json;

use crate::scene::{Scene, Scenes, hash};
use crate::words;

/// A partition, and its regions in the place of eu-west-1 and us-east-1, in the same order.
const PARTITIONS: [(&str, [&str; 2]); 2] =
    [("aws-cn", ["cn-north-1", "cn-northwest-1"]), ("aws-us-gov", ["us-gov-east-1", "us-gov-west-1"])];
const USUAL: [&str; 2] = ["eu-west-1", "us-east-1"];

fn plan(scene: &Scene) -> Plan {
    let plan = decide(&scene.desired, &scene.observed, &scene.memory, &scene.pass);
    let checked = check(&scene.desired, &scene.observed, &scene.memory, &scene.pass, plan.clone());
    assert!(checked.is_ok(), "{checked:?}");
    plan
}

fn said(plan: &Plan) -> String {
    let steps = plan.steps.iter().map(words::step);
    let findings =
        plan.findings.iter().map(|f| format!("{} {:?} {} {}", f.condition.as_str(), f.region, f.message, f.fix));
    steps.chain(findings).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_scene_is_decided_alike_in_every_partition() {
    let scenes = Scenes::load();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (partition, regions) in PARTITIONS {
        let pairs: Vec<(&str, &str)> = USUAL.into_iter().zip(regions).collect();
        let there = |text: &str| {
            let text = text.replace("arn:aws:", &format!("arn:{partition}:"));
            pairs.iter().fold(text, |text, (usual, region)| text.replace(usual, region))
        };
        let back = |text: &str| {
            let text = text.replace(&format!("arn:{partition}:"), "arn:aws:");
            // Statements of ours carry a hash of their region, among other things.
            pairs
                .iter()
                .fold(text, |text, (usual, region)| text.replace(region, usual).replace(&hash(region), &hash(usual)))
        };
        for region in regions {
            assert_eq!(region.parse::<Region>().unwrap().partition(), partition);
        }
        for name in scenes.names() {
            let (usual, other) = (plan(&scenes.build(name, &[])), plan(&scenes.renamed(name, &there)));
            let text = json!(other).to_string();
            if text.contains("arn:aws:") {
                wrong.push(format!("{partition} {name}: names an ARN of another partition: {text}"));
            }
            if back(&said(&other)) != said(&usual) {
                wrong.push(format!("{partition} {name}:\n{}\nand not\n{}", back(&said(&other)), said(&usual)));
            }
            compared += usize::from(text.contains(&format!("arn:{partition}:")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(compared > 20, "only {compared} plans have ARNs at all");
}
