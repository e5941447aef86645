//! The names as documented, and the bookkeeping behind the gauges.

use super::*;
use crate::clock::ManualClock;
use crate::controller::queue::{Options, queue};
use crate::domain::moment::Moment;

fn text(metrics: &Metrics) -> String {
    metrics.text(&ManualClock::new(Moment(0))).unwrap()
}

fn object(name: usize) -> Object {
    Object { kind: Kind::CustomerKey, namespace: "keys".into(), name: format!("k{name:03}") }
}

#[test]
fn every_name_and_label_is_as_documented() {
    let metrics = Metrics::new("1.2.3", "abc");
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Moment(0)));
    let (_handle, driver) = queue::<u32>(Options::default(), Arc::clone(&clock));
    metrics.watch_queue(Kind::CustomerKey, driver.stats());
    metrics.watch_leadership(Arc::new(Leadership::undisputed(clock)));
    metrics.pass(Kind::CustomerKey, PassOutcome::Waiting, Duration::from_millis(30));
    metrics.step("CreateKey", StepOutcome::Uncertain);
    metrics.request("kms", "CreateKey", "throttled", Duration::from_millis(30));
    metrics.object(&object(1), Ready::False, &["PendingDeletion"]);
    let text = text(&metrics);
    for line in [
        r#"cmk_passes_total{kind="CustomerKey",outcome="waiting"} 1"#,
        r#"cmk_passes_total{kind="EncryptedCluster",outcome="failed"} 0"#,
        r#"cmk_pass_duration_seconds_bucket{le="0.1",kind="CustomerKey"} 1"#,
        r#"cmk_pass_panics_total{kind="CustomerKey"} 0"#,
        r#"cmk_steps_total{step="CreateKey",outcome="uncertain"} 1"#,
        r#"cmk_outside_requests_total{service="kms",operation="CreateKey",class="throttled"} 1"#,
        r#"cmk_outside_request_duration_seconds_count{service="kms",operation="CreateKey"} 1"#,
        r#"cmk_queue_depth{kind="CustomerKey",lane="fresh"} 0"#,
        r#"cmk_queue_oldest_seconds{kind="CustomerKey"} 0.0"#,
        r#"cmk_queue_in_flight{kind="CustomerKey"} 0"#,
        r#"cmk_objects{kind="CustomerKey",ready="false"} 1"#,
        r#"cmk_objects{kind="CustomerKey",ready="true"} 0"#,
        r#"cmk_abnormal{kind="CustomerKey",namespace="keys",name="k001",reason="PendingDeletion"} 1"#,
        "cmk_abnormal_dropped 0",
        "cmk_unprotected_databases 0",
        "cmk_leader 1",
        r#"cmk_build_info{version="1.2.3",revision="abc"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn objects_are_counted_once_and_forgotten() {
    let metrics = Metrics::new("", "");
    let count = |ready| {
        let labels = ObjectsLabels { kind: Kind::CustomerKey, ready };
        metrics.objects.get_or_create(&labels).get()
    };
    for ready in [Ready::Unknown, Ready::False, Ready::True, Ready::True] {
        metrics.object(&object(1), ready, &[]);
    }
    metrics.object(&object(2), Ready::False, &[]);
    assert_eq!((count(Ready::True), count(Ready::False), count(Ready::Unknown)), (1, 1, 0));
    metrics.forget(&object(1));
    metrics.forget(&object(1));
    assert_eq!((count(Ready::True), count(Ready::False)), (0, 1));
}

#[test]
fn unprotected_databases_are_summed_and_forgotten() {
    let metrics = Metrics::new("", "");
    let mut sums = Vec::new();
    for (name, count) in [(1, 3), (2, 2), (1, 1), (2, 0)] {
        metrics.unprotected(&object(name), count);
        sums.push(metrics.unprotected.get());
    }
    metrics.forget(&object(1));
    assert_eq!((sums, metrics.unprotected.get()), (vec![3, 5, 3, 1], 0));
}

#[test]
fn abnormal_states_are_capped_and_move_up() {
    let metrics = Metrics::new("", "");
    let shown = || text(&metrics).lines().filter(|l| l.starts_with("cmk_abnormal{")).count();
    for n in 0..ABNORMAL_SHOWN + 50 {
        metrics.object(&object(n), Ready::False, &["Disabled"]);
        metrics.object(&object(n), Ready::False, &["Disabled"]);
    }
    assert_eq!((shown(), metrics.abnormal_dropped.get()), (ABNORMAL_SHOWN, 50));
    for n in 0..30 {
        metrics.object(&object(n), Ready::True, &[]);
    }
    assert_eq!((shown(), metrics.abnormal_dropped.get()), (ABNORMAL_SHOWN, 20));
    for n in 0..ABNORMAL_SHOWN + 50 {
        metrics.forget(&object(n));
    }
    assert_eq!((shown(), metrics.abnormal_dropped.get()), (0, 0));

    metrics.object(&object(1), Ready::False, &["Disabled", "PolicyContested"]);
    metrics.object(&object(1), Ready::False, &["PolicyContested"]);
    assert_eq!(shown(), 1);
    assert!(text(&metrics).contains("PolicyContested"));
}
