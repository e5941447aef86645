//! The driver of the work queue, on paused time: minutes of work in milliseconds of test.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cmk_operator::clock::Clock;
use cmk_operator::controller::backoff::Failure;
use cmk_operator::controller::queue::{Driver, Ended, Handle, Lane, Next, Options, queue};
use cmk_operator::domain::fault::FaultClass;
use cmk_operator::domain::moment::Moment;
use tokio::time::{Instant, sleep, timeout};

/// A clock that follows tokio's paused time.
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Moment {
        Moment(self.monotonic_ms())
    }

    fn monotonic_ms(&self) -> i64 {
        1 + i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

fn small(options: Options) -> (Handle<u32>, Driver<u32>) {
    queue(options, Arc::new(Paused(Instant::now())))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Every pass that ran: when, of whom.
type Log = Arc<Mutex<Vec<(Instant, u32)>>>;

fn runs_per_key(log: &Log) -> BTreeMap<u32, usize> {
    let mut runs = BTreeMap::new();
    for (_, key) in log.lock().unwrap().iter() {
        *runs.entry(*key).or_default() += 1;
    }
    runs
}

#[tokio::test(start_paused = true)]
async fn a_thousand_objects_over_capacity_and_none_is_left_out() {
    let (handle, driver) = small(Options { concurrency: 16, ..Options::default() });
    for key in 0..1_000 {
        handle.trigger(key, Lane::Resync);
    }
    let log = Log::default();
    let record = Arc::clone(&log);
    // 800 passes a second, and 1,000 objects that want one every 200 ms: six times over capacity.
    let pass = move |key| {
        let record = Arc::clone(&record);
        async move {
            sleep(ms(20)).await;
            record.lock().unwrap().push((Instant::now(), key));
            Next::After(ms(200), Lane::Resync)
        }
    };
    driver.run(pass, sleep(ms(12_000))).await;
    let runs = runs_per_key(&log);
    assert_eq!(runs.len(), 1_000);
    let (least, most) = (runs.values().min().unwrap(), runs.values().max().unwrap());
    assert!(most - least <= 1 && *least >= 9, "{least} to {most} passes per object");
}

#[tokio::test(start_paused = true)]
async fn a_fresh_trigger_runs_among_the_next_few_passes() {
    let (handle, driver) = small(Options { concurrency: 4, ..Options::default() });
    for key in 0..1_000 {
        handle.trigger(key, Lane::Resync);
    }
    let log = Log::default();
    let record = Arc::clone(&log);
    let pass = move |key| {
        let record = Arc::clone(&record);
        async move {
            record.lock().unwrap().push((Instant::now(), key));
            sleep(ms(20)).await;
            Next::After(ms(1), Lane::Resync)
        }
    };
    let outside = handle.clone();
    let user = tokio::spawn(async move {
        sleep(ms(1_010)).await;
        outside.trigger(77_777, Lane::Fresh);
        outside.trigger(990, Lane::Fresh);
        Instant::now()
    });
    driver.run(pass, sleep(ms(3_000))).await;
    let asked = user.await.unwrap();
    let log = log.lock().unwrap();
    for key in [77_777, 990] {
        let (ran, _) = log.iter().find(|(at, k)| *k == key && *at >= asked).unwrap();
        assert!(ran.duration_since(asked) <= ms(20), "{key} waited {:?}", ran.duration_since(asked));
    }
}

#[tokio::test(start_paused = true)]
async fn resyncs_go_on_under_a_stream_of_fresh_triggers() {
    let (handle, driver) = small(Options { concurrency: 1, fresh_in_a_row: 4, ..Options::default() });
    for key in 0..100 {
        handle.trigger(key, Lane::Resync);
    }
    let log = Log::default();
    let record = Arc::clone(&log);
    let pass = move |key| {
        let record = Arc::clone(&record);
        async move {
            sleep(ms(10)).await;
            record.lock().unwrap().push((Instant::now(), key));
            // Ten objects that are fresh again at once: the fresh lane is never empty.
            if key >= 1_000 { Next::After(Duration::ZERO, Lane::Fresh) } else { Next::Done }
        }
    };
    for key in 1_000..1_010 {
        handle.trigger(key, Lane::Fresh);
    }
    // 100 resyncs with four fresh passes before each: 500 passes of 10 ms.
    driver.run(pass, sleep(ms(5_050))).await;
    let runs = runs_per_key(&log);
    assert_eq!(runs.keys().filter(|k| **k < 1_000).count(), 100);
    assert!(runs.values().all(|n| *n == 1 || *n >= 39), "{runs:?}");
}

#[tokio::test(start_paused = true)]
async fn never_two_passes_at_once_for_one_object() {
    let (handle, driver) = small(Options { concurrency: 8, ..Options::default() });
    let at_work: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
    let passes = Arc::new(AtomicUsize::new(0));
    let stats = driver.stats();
    let again = handle.clone();
    let counted = Arc::clone(&passes);
    let pass = move |key| {
        let (at_work, counted, again) = (Arc::clone(&at_work), Arc::clone(&counted), again.clone());
        async move {
            assert!(at_work.lock().unwrap().insert(key), "two passes at once for {key}");
            for _ in 0..3 {
                sleep(ms(3)).await;
                if counted.load(Ordering::SeqCst) < 500 {
                    again.trigger(key, Lane::Fresh);
                }
            }
            at_work.lock().unwrap().remove(&key);
            counted.fetch_add(1, Ordering::SeqCst);
            Next::Done
        }
    };
    for key in 0..5 {
        handle.trigger(key, Lane::Fresh);
    }
    driver.run(pass, sleep(Duration::from_mins(1))).await;
    assert_eq!(stats.panics(), 0);
    // Three triggers within a pass are one more pass; the last round ends the chain.
    let passes = passes.load(Ordering::SeqCst);
    assert!((500..=510).contains(&passes), "{passes}");
}

#[tokio::test(start_paused = true)]
async fn a_panicking_pass_keeps_its_object_and_the_others_go_on() {
    let (handle, driver) = small(Options { concurrency: 1, ..Options::default() });
    let stats = driver.stats();
    let log = Log::default();
    let record = Arc::clone(&log);
    let pass = move |key| {
        let before = record.lock().unwrap().iter().filter(|(_, k)| *k == key).count();
        record.lock().unwrap().push((Instant::now(), key));
        assert!(key != 2, "before the first await");
        async move {
            sleep(ms(1)).await;
            assert!(key != 1 || before >= 2, "in the middle");
            Next::After(Duration::from_mins(1), Lane::Resync)
        }
    };
    for key in 0..3 {
        handle.trigger(key, Lane::Fresh);
    }
    driver.run(pass, sleep(Duration::from_hours(2))).await;
    let runs = runs_per_key(&log);
    // Object 1 recovers with its third pass; object 2 never does and is tried every 15 to 19 minutes.
    assert!(runs[&0] >= 119 && runs[&1] >= 80 && (7..=9).contains(&runs[&2]), "{runs:?}");
    assert_eq!(stats.panics(), 2 + u64::try_from(runs[&2]).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_failing_object_waits_as_the_back_off_says_and_a_trigger_runs_it_at_once() {
    let (handle, driver) = small(Options::default());
    let stats = driver.stats();
    let log = Log::default();
    let record = Arc::clone(&log);
    let pass = move |key| {
        record.lock().unwrap().push((Instant::now(), key));
        let n = record.lock().unwrap().len();
        async move { if n == 4 { Next::Done } else { Next::Failed(Failure::new(FaultClass::Invalid)) } }
    };
    let start = Instant::now();
    handle.trigger(1, Lane::Fresh);
    let run = tokio::spawn(driver.run(pass, sleep(Duration::from_hours(9))));
    sleep(Duration::from_mins(1)).await;
    handle.trigger(1, Lane::Fresh);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(stats.failing(), 1);
    run.await.unwrap();
    let minutes: Vec<u64> = log.lock().unwrap().iter().map(|(at, _)| at.duration_since(start).as_secs() / 60).collect();
    assert!(
        matches!(minutes[..], [0, 1, 10..=12, 30..=38]),
        "the trigger of minute 1 neither counts nor postpones: {minutes:?}"
    );
    assert_eq!(stats.failing(), 0);
}

#[tokio::test(start_paused = true)]
async fn stopping_starts_nothing_and_waits_for_what_is_in_flight() {
    let (handle, driver) = small(Options { concurrency: 2, stop_within: ms(5_000), ..Options::default() });
    let finished = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&finished);
    let pass = move |key: u32| {
        let count = Arc::clone(&count);
        async move {
            // Object 1 never ends.
            if key == 1 {
                pending::<()>().await;
            }
            sleep(ms(3_000)).await;
            count.fetch_add(1, Ordering::SeqCst);
            Next::Done
        }
    };
    for key in 0..10 {
        handle.trigger(key, Lane::Fresh);
    }
    let start = Instant::now();
    let ended = timeout(Duration::from_mins(1), driver.run(pass, sleep(ms(1_000)))).await;
    assert_eq!(ended, Ok(Ended { aborted: vec![1] }));
    assert_eq!(finished.load(Ordering::SeqCst), 1);
    assert_eq!(start.elapsed(), ms(6_000));
    handle.trigger(3, Lane::Fresh);
}

#[tokio::test(start_paused = true)]
async fn stopping_with_nothing_in_flight_is_immediate_and_an_idle_queue_shows_life() {
    let (handle, driver) = small(Options::default());
    let stats = driver.stats();
    assert_eq!(stats.stalled_for(5), None);
    let clock = Paused(Instant::now());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    drop(handle);
    let run = tokio::spawn(driver.run(|_| async { Next::Done }, async {
        let _ = stopped.await;
    }));
    for _ in 0..100 {
        sleep(ms(1_700)).await;
        assert!(stats.stalled_for(clock.monotonic_ms()).unwrap() <= ms(1_100));
    }
    stop.send(()).unwrap();
    let ended = timeout(ms(1), run).await.unwrap().unwrap();
    assert_eq!(ended, Ended { aborted: vec![] });
}

#[tokio::test(start_paused = true)]
async fn objects_that_are_gone_leave_nothing_behind() {
    let (handle, driver) = small(Options::default());
    let stats = driver.stats();
    let pass = |key: u32| async move {
        sleep(ms(5)).await;
        match key % 3 {
            0 => Next::Gone,
            1 => Next::Failed(Failure::new(FaultClass::Refused)),
            _ => Next::After(Duration::from_hours(1), Lane::Resync),
        }
    };
    for key in 0..300 {
        handle.trigger(key, Lane::Fresh);
    }
    let run = tokio::spawn(driver.run(pass, sleep(Duration::from_secs(20))));
    // In flight, while they wait for their first pass, and after it.
    sleep(ms(42)).await;
    for key in 0..300 {
        handle.forget(key);
    }
    run.await.unwrap();
    let depth = stats.depth();
    assert_eq!((depth.fresh, depth.resync, depth.later, depth.running, stats.failing()), (0, 0, 0, 0, 0));
}
