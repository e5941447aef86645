//! Replies are lost, late, errors or refusals to hurry: the end is that of the clean run.

use std::sync::Arc;

use serde_json::{Value, json};

use super::crash::{Play, all, clean, same};

/// Every call that is not naturally repeatable, or that the safety of the rest hangs on.
const OPERATIONS: [&str; 6] = [
    "kms:CreateKey",
    "kms:CreateAlias",
    "kms:PutKeyPolicy",
    "astra:CreateKey",
    "astra:CreateDatabase",
    "astra:AddDatacenters",
];

pub fn faults() -> Vec<(&'static str, Value)> {
    vec![
        ("applied, reply lost", json!("applied_but_lost")),
        ("lost on the way", json!("lost_before")),
        ("500, applied", json!({ "http500": { "applied": true } })),
        ("500, not applied", json!({ "http500": { "applied": false } })),
        ("throttled", json!({ "throttle": {} })),
        ("timed out, applied", json!({ "hang": { "ms": 2500, "applied": true } })),
        ("timed out, not applied", json!({ "hang": { "ms": 2500, "applied": false } })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_late_or_failed_reply_leads_to_the_same_end() {
    let clean = Arc::new(clean("faults-clean").await);
    let mut entries = Vec::new();
    for operation in OPERATIONS {
        for (name, fault) in faults() {
            entries.push((operation, name, fault));
        }
    }
    let count = entries.len();
    all(entries, move |(operation, name, fault): (&'static str, &'static str, Value)| {
        let clean = Arc::clone(&clean);
        async move {
            let what = format!("{operation} {name}");
            let mut play = Play::new("faults", &[]).await;
            play.scene.fault(&json!({ "operation": operation, "nth": 1 }), &fault).await;
            let end = play.run().await.map_err(|e| format!("{what}: {e}"))?;
            let fired = play.scene.fired().await;
            if fired != [1] {
                return Err(format!("{what}: the fault fired {fired:?} times instead of once"));
            }
            same(&what, &clean, &end, &play.scene)
        }
    })
    .await;
    println!("{count} faults");
}
