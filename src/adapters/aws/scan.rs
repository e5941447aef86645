//! Searching for keys by their tags: quickly through the tagging index, or surely through every key of a region.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::{self, StreamExt, TryStreamExt};

use aws_sdk_kms::types::Tag;
use aws_sdk_resourcegroupstagging::types::TagFilter;

use super::clients::ClientSet;
use super::operation::Operation;
use super::send::Sender;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::id::{KeyArn, Owner, Region, tag};
use crate::domain::moment::Moment;
use crate::domain::observed::Candidate;
use crate::ports::Place;

/// The tags of a key.
type Tags = BTreeMap<String, String>;

/// Every key of a region that carries an installation's tag.
#[derive(Debug)]
struct Scan {
    began: Moment,
    outcome: Result<Vec<(KeyArn, Tags)>, Fault>,
}

type Running = Shared<BoxFuture<'static, Arc<Scan>>>;

/// The scans of one (access, region). At most one runs at a time, and it runs to its end even if nobody waits any more:
/// with a hundred thousand keys it takes minutes, longer than a pass may wait.
#[derive(Default)]
pub(super) struct Scans(Mutex<State>);

#[derive(Default)]
struct State {
    running: Option<(Moment, Running)>,
    last: Option<Arc<Scan>>,
}

impl Scans {
    /// Keys with an owner's tags by a scan that began at or after `not_before`.
    pub(super) async fn candidates(
        self: &Arc<Self>,
        sender: &Arc<Sender>,
        set: &Arc<ClientSet>,
        region: &Region,
        owner: &Owner,
        not_before: Moment,
    ) -> Result<Vec<Candidate>, Fault> {
        loop {
            let running = match self.good_or_running(not_before, || self.start(sender, set, region)) {
                Ok(scan) => return of_owner(&scan, owner),
                Err(running) => running,
            };
            let scan = running.await;
            // One that began too early proves nothing, and a new one may have to be started. That its clock is behind
            // ours cannot be: it is the same clock.
            if scan.began >= not_before || sender.clock.now() < not_before {
                return of_owner(&scan, owner);
            }
        }
    }

    /// The last scan if it will do, or else the one that runs, or else a new one.
    fn good_or_running(
        &self,
        not_before: Moment,
        start: impl FnOnce() -> (Moment, Running),
    ) -> Result<Arc<Scan>, Running> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.last {
            Some(last) if last.began >= not_before => Ok(last.clone()),
            _ => Err(state.running.get_or_insert_with(start).1.clone()),
        }
    }

    fn start(self: &Arc<Self>, sender: &Arc<Sender>, set: &Arc<ClientSet>, region: &Region) -> (Moment, Running) {
        let began = sender.clock.now();
        let (scans, sender, set, region) = (self.clone(), sender.clone(), set.clone(), region.clone());
        let broken = format!("{region}");
        let task = tokio::spawn(async move { Scan { began, outcome: scan(&sender, &set, &region).await } });
        let running = async move {
            let scan = task.await.unwrap_or_else(|error| Scan {
                began,
                outcome: Err(Fault::new(FaultClass::Terminal, Operation::ListKeys.action(), broken, error.to_string())),
            });
            let scan = Arc::new(scan);
            scans.finished(&scan);
            scan
        };
        let running = running.boxed().shared();
        // Driven by itself, so that its end is noted even if nobody waits for it.
        drop(tokio::spawn(running.clone()));
        (began, running)
    }

    /// A failed scan is shared by those who waited for it, and not kept.
    fn finished(&self, scan: &Arc<Scan>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.running.as_ref().is_some_and(|(began, _)| *began == scan.began) {
            state.running = None;
        }
        if scan.outcome.is_ok() {
            state.last = Some(scan.clone());
        }
    }
}

fn of_owner(scan: &Scan, owner: &Owner) -> Result<Vec<Candidate>, Fault> {
    let keys = scan.outcome.as_ref().map_err(Clone::clone)?;
    Ok(keys
        .iter()
        .filter(|(_, tags)| belongs(tags, owner))
        .map(|(arn, tags)| Candidate::of(arn.clone(), tags))
        .collect())
}

fn belongs(tags: &Tags, owner: &Owner) -> bool {
    owner.tags().iter().all(|(key, value)| tags.get(*key).is_some_and(|v| v == value))
}

/// Reads the tags of every key of the region.
async fn scan(sender: &Sender, set: &ClientSet, region: &Region) -> Result<Vec<(KeyArn, Tags)>, Fault> {
    let arns = list(sender, set, region).await?;
    let all = arns.len();
    let read = stream::iter(arns)
        .map(|arn| async move {
            match tags(sender, set, &arn).await {
                Ok(Some(tags)) => Ok(Some((arn, tags))),
                Ok(None) => Ok(None),
                Err(fault) if fault.cause == Cause::Permission => Ok(None),
                Err(fault) => Err(fault),
            }
        })
        .buffer_unordered(sender.options.scan_concurrency.max(1));
    let read: Vec<Option<(KeyArn, Tags)>> = read.try_collect().await?;
    let readable = read.iter().flatten().count();
    // A key of somebody else's may well be closed to us. If every single one is, then so are our own, and an empty list
    // would say that there is none of ours: the second key would follow.
    if all > 0 && readable == 0 {
        let message = format!("none of the region's {all} keys lets us read its tags");
        let fault = Fault::new(FaultClass::Refused, Operation::ListResourceTags.action(), region.to_string(), message);
        return Err(fault.because(Cause::Permission));
    }
    let mut ours: Vec<_> =
        read.into_iter().flatten().filter(|(_, tags)| tags.contains_key(tag::INSTALLATION)).collect();
    // Kept for as long as the clients are, so without what no search asks for.
    for (_, tags) in &mut ours {
        tags.retain(|key, _| key.starts_with(tag::PREFIX));
    }
    ours.sort();
    Ok(ours)
}

async fn list(sender: &Sender, set: &ClientSet, region: &Region) -> Result<Vec<KeyArn>, Fault> {
    let target = region.as_str();
    let (mut arns, mut marker) = (Vec::new(), None);
    loop {
        let request = set.reads.list_keys().limit(1000).set_marker(marker.clone());
        let page = sender.send(Operation::ListKeys, target, Box::pin(request.send())).await?;
        for key in page.keys.unwrap_or_default() {
            let arn = key.key_arn.unwrap_or_default();
            arns.push(arn.parse::<KeyArn>().map_err(|e| unreadable(Operation::ListKeys, target, &e))?);
        }
        if !page.truncated {
            return Ok(arns);
        }
        marker = next(Operation::ListKeys, target, marker.as_ref(), page.next_marker)?;
    }
}

/// A key's tags, all pages; none if the key does not exist.
pub(super) async fn tags(sender: &Sender, set: &ClientSet, key: &KeyArn) -> Result<Option<Tags>, Fault> {
    let target = key.to_string();
    let (mut tags, mut marker) = (Tags::new(), None);
    loop {
        let request = set.reads.list_resource_tags().key_id(&target).set_marker(marker.clone());
        let Some(page) = sender.look(Operation::ListResourceTags, &target, Box::pin(request.send())).await? else {
            return Ok(None);
        };
        tags.extend(
            page.tags.unwrap_or_default().into_iter().map(|Tag { tag_key, tag_value, .. }| (tag_key, tag_value)),
        );
        if !page.truncated {
            return Ok(Some(tags));
        }
        marker = next(Operation::ListResourceTags, &target, marker.as_ref(), page.next_marker)?;
    }
}

/// Keys with an owner's tags by the tagging index.
///
/// The index names keys for a while after they lost a tag, then with the tags that are left, so they are looked at again.
pub(super) async fn search(
    sender: &Sender,
    set: &ClientSet,
    place: &Place,
    owner: &Owner,
) -> Result<Vec<Candidate>, Fault> {
    let (operation, target) = (Operation::GetResources, place.region.as_str());
    let filters: Vec<_> =
        owner.tags().iter().map(|(key, value)| TagFilter::builder().key(*key).values(*value).build()).collect();
    let (mut found, mut token) = (Vec::new(), None);
    // One slot for all pages: a search that had to come back for its second page would begin anew, and never end. An
    // owner has a handful of keys, so there is one page.
    sender.reserve(operation, place, target)?;
    loop {
        let request = set
            .tagging
            .get_resources()
            .set_tag_filters(Some(filters.clone()))
            .resource_type_filters("kms:key")
            .set_pagination_token(token.clone());
        let page = sender.send(operation, target, Box::pin(request.send())).await?;
        for resource in page.resource_tag_mapping_list.unwrap_or_default() {
            let tags: Tags = resource.tags.unwrap_or_default().into_iter().map(|t| (t.key, t.value)).collect();
            if !belongs(&tags, owner) {
                continue;
            }
            let arn = resource.resource_arn.unwrap_or_default();
            let arn: KeyArn = arn.parse().map_err(|e| unreadable(operation, target, &e))?;
            if *arn.region() == place.region {
                found.push(Candidate::of(arn, &tags));
            }
        }
        match page.pagination_token.filter(|t| !t.is_empty()) {
            None => {
                found.sort();
                found.dedup();
                return Ok(found);
            }
            more => token = next(operation, target, token.as_ref(), more)?,
        }
    }
}

/// The mark of the next page. A page that says there is more, and not where, would be asked for without end; without it
/// the list is not complete, and what is missing from it may be our key.
fn next(
    operation: Operation,
    target: &str,
    last: Option<&String>,
    next: Option<String>,
) -> Result<Option<String>, Fault> {
    match next {
        Some(mark) if !mark.is_empty() && last != Some(&mark) => Ok(Some(mark)),
        _ => Err(Fault::new(
            FaultClass::Terminal,
            operation.action(),
            target,
            "the list is truncated and does not say where it goes on",
        )),
    }
}

pub(super) fn unreadable(operation: Operation, target: &str, error: &(dyn Error + 'static)) -> Fault {
    Fault::new(FaultClass::Terminal, operation.action(), target, format!("the answer cannot be read: {error}"))
}
