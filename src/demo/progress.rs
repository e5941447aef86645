//! Live progress: what each object and region waits for. A table that redraws on a terminal, lines of what changed elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::process::Child;

use crate::api::condition::{Condition, ConditionType, find};
use crate::api::{CustomerKey, EncryptedCluster};

use super::human::Human;
use super::{Failed, Result, failed, say};

/// How often the objects are looked at.
const EVERY: Duration = Duration::from_millis(300);

/// How long an object may be stalled before the demo gives up.
const STALLED_FOR: Duration = Duration::from_secs(15);

/// One line of progress.
#[derive(Clone, PartialEq, Eq)]
struct Line {
    stage: String,
    message: String,
}

#[derive(Default)]
struct Look {
    lines: BTreeMap<String, Line>,
    objects: usize,
    ready: usize,
    stalled: Vec<String>,
    keys: Vec<CustomerKey>,
    clusters: Vec<EncryptedCluster>,
}

/// Shows progress until every object is ready; fails with the reason if one stalls, the operator ends, or time is up.
pub(super) async fn until_ready(
    client: &Client,
    operator: &mut Child,
    mut human: Human<'_>,
    within: Duration,
    terminal: bool,
) -> Result<()> {
    let started = Instant::now();
    let mut shown: BTreeMap<String, Line> = BTreeMap::new();
    let mut drawn = 0;
    let mut stalled_since: Option<Instant> = None;
    loop {
        let look = look(client).await?;
        if terminal {
            drawn = redraw(&look.lines, drawn, started.elapsed());
        } else {
            print_changes(&shown, &look.lines, started.elapsed());
        }
        for act in human.act(&look.keys, &look.clusters).await? {
            say(&format!("{:>5.1}s  ({act})", started.elapsed().as_secs_f32()));
            // The table goes on below what was said.
            drawn = 0;
        }
        shown = look.lines;
        if look.objects > 0 && look.ready == look.objects {
            return Ok(());
        }
        let since = (!look.stalled.is_empty()).then(|| stalled_since.unwrap_or_else(Instant::now));
        stalled_since = since;
        if since.is_some_and(|since| since.elapsed() > STALLED_FOR) {
            return Err(Failed(format!("stalled: {}", look.stalled.join("\n"))));
        }
        if let Ok(Some(status)) = operator.try_wait() {
            return Err(Failed(format!("the operator ended: {status}")));
        }
        if started.elapsed() > within {
            return Err(Failed(format!("not everything is ready after {} s", within.as_secs())));
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(client: &Client) -> Result<Look> {
    let wrong = failed("the objects could not be read");
    let keys: Api<CustomerKey> = Api::all(client.clone());
    let clusters: Api<EncryptedCluster> = Api::all(client.clone());
    let keys = keys.list(&ListParams::default()).await.map_err(|e| wrong(&e))?.items;
    let clusters = clusters.list(&ListParams::default()).await.map_err(|e| wrong(&e))?.items;
    let mut look = Look { keys, clusters, ..Look::default() };
    for key in look.keys.clone() {
        let name = format!("CustomerKey {}/{}", key.namespace().unwrap_or_default(), key.name_any());
        let status = key.status.clone().unwrap_or_default();
        look.object(&name, key.metadata.generation, status.observed_generation, &status.conditions);
        for region in status.regions {
            look.region(&name, &region.name, region.stage, region.message);
        }
    }
    for cluster in look.clusters.clone() {
        let name = format!("EncryptedCluster {}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
        let status = cluster.status.clone().unwrap_or_default();
        look.object(&name, cluster.metadata.generation, status.observed_generation, &status.conditions);
        for region in status.regions {
            look.region(&name, &region.name, region.stage, region.message);
        }
    }
    Ok(look)
}

impl Look {
    fn object(&mut self, name: &str, generation: Option<i64>, observed: Option<i64>, conditions: &[Condition]) {
        self.objects += 1;
        let is = |type_, value: &str| find(conditions, type_).is_some_and(|c: &Condition| c.status == value);
        if generation == observed && is(ConditionType::Ready, "True") {
            self.ready += 1;
        }
        let ready = find(conditions, ConditionType::Ready);
        if is(ConditionType::Stalled, "True") {
            self.stalled.push(format!("{name}: {}", ready.map(|c| c.message.clone()).unwrap_or_default()));
        }
        let stage = ready.map_or_else(
            || "new".to_owned(),
            |c| if c.status == "True" { "Ready".to_owned() } else { c.reason.clone() },
        );
        self.lines.insert(name.to_owned(), Line { stage, message: String::new() });
    }

    fn region(&mut self, object: &str, region: &str, stage: Option<String>, message: Option<String>) {
        let line = Line { stage: stage.unwrap_or_default(), message: message.unwrap_or_default() };
        self.lines.insert(format!("{object} {region}"), line);
    }
}

fn print_changes(before: &BTreeMap<String, Line>, now: &BTreeMap<String, Line>, elapsed: Duration) {
    for (name, line) in now.iter().filter(|(name, line)| before.get(*name) != Some(*line)) {
        say(&format!("{:>5.1}s  {name}: {} {}", elapsed.as_secs_f32(), line.stage, line.message));
    }
}

/// Draws the table over the last one; yields how many lines it has.
fn redraw(lines: &BTreeMap<String, Line>, drawn: usize, elapsed: Duration) -> usize {
    // Without wrapping: a line that is too long for the terminal is cut at its edge, and the count of lines stays right.
    let mut text = "\x1b[?7l".to_owned();
    if drawn > 0 {
        let _ = write!(text, "\x1b[{drawn}A");
    }
    let _ = writeln!(text, "\x1b[2K{:.0}s", elapsed.as_secs_f32());
    for (name, line) in lines {
        let message: String = line.message.chars().take(70).collect();
        let _ = writeln!(text, "\x1b[2K  {name:<46} {:<22} {message}", line.stage);
    }
    text.push_str("\x1b[?7h");
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
    lines.len() + 1
}
