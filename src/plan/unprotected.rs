//! The databases that the key does not protect although they are where it is registered: those that are older.
//!
//! Nobody is kept from deploying outside Kubernetes; what came of it is counted and named. That is news for whoever runs
//! those databases, and no fault of this object's: nothing of it bears on `Ready`.
//!
//! # Guarantees
//! Counted are only databases that are known to be older, by a complete list. What could not be seen leaves the count as it
//! was, and is never taken for none.
//!
//! # Caveats
//! A region that was added to a database later has no date of its own, so a database counts where it was created.

use crate::domain::capabilities::Proof;
use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::DesiredKey;
use crate::domain::fault::FaultClass;
use crate::domain::id::Region;
use crate::domain::memory::Unprotected;
use crate::domain::moment::Moment;
use crate::domain::observed::{Database, DatabaseState, Encryption};
use crate::domain::reading::{Reading, Why};

use super::draft::Draft;
use super::registration;

const CONDITION: ConditionType = ConditionType::Registered;

/// How many are shown by name in status.
const SHOWN: usize = 16;
/// How many are named in the message.
const NAMED: usize = 3;
/// The longest name that is shown whole, in characters.
const LONGEST_NAME: usize = 128;

/// Counts the databases that are older than the registration of their region's key, and says so.
pub(super) fn plan(draft: &mut Draft<'_>, key: &DesiredKey) {
    let registered: Vec<&Region> = key.regions.keys().filter(|region| is_registered(draft, region)).collect();
    if let Reading::Unknown(Why::Failed(fault)) = &draft.observed.databases
        && fault.class == FaultClass::Refused
        && !registered.is_empty()
    {
        let message =
            format!("Whether there are databases that are older than the registration is not known: {fault}.");
        draft.fine(CONDITION, None, Reason::RegisteredAndRead, &message);
    }
    for region in registered {
        let reported = key.capabilities.proof == Proof::Reported;
        let counted = if reported { count_reported(draft) } else { count(draft, region) };
        draft.report(region).unprotected.clone_from(&counted);
        let shown = counted.or_else(|| draft.remembered(region).unprotected);
        if let Some(found) = shown.filter(|found| found.count > 0) {
            let message = if reported { message_reported(&found) } else { message(region, &found) };
            draft.fine(CONDITION, Some(region), Reason::UnprotectedDatabases, &message);
        }
    }
}

/// Whether this pass found the region's own key registered.
fn is_registered(draft: &mut Draft<'_>, region: &Region) -> bool {
    let report = draft.report(region);
    report.key.as_ref().is_some_and(|arn| report.registered.as_ref() == Some(&arn.to_string()))
}

fn count(draft: &Draft<'_>, region: &Region) -> Option<Unprotected> {
    let since = registration::not_before(&draft.seen(region))?;
    let all = match &draft.observed.databases {
        Reading::Present(all) => all.as_slice(),
        Reading::Absent => &[],
        Reading::Unknown(_) => return None,
    };
    let skew = draft.pass.settings.clock_skew;
    let made = |database: &Database| database.created_at.filter(|at| *at + skew < since);
    let here = |database: &&Database| database.region == region.as_str() && database.state != DatabaseState::Terminated;
    let mut older: Vec<(Moment, &Database)> = all.iter().filter(here).filter_map(|d| Some((made(d)?, d))).collect();
    older.sort_by(|(at, a), (bt, b)| (at, &a.id).cmp(&(bt, &b.id)));
    Some(Unprotected {
        count: u32::try_from(older.len()).unwrap_or(u32::MAX),
        sample: older.iter().take(SHOWN).map(|(_, database)| named(database)).collect(),
    })
}

/// Of a cloud that says of each database whether it is under the key: those that are not, wherever they are.
fn count_reported(draft: &Draft<'_>) -> Option<Unprotected> {
    let all = match &draft.observed.databases {
        Reading::Present(all) => all.as_slice(),
        Reading::Absent => &[],
        Reading::Unknown(_) => return None,
    };
    let bare = |d: &&Database| d.encryption.as_ref().is_some_and(|e| *e != Encryption::On);
    let live = |d: &&Database| d.state != DatabaseState::Terminated;
    let mut bare: Vec<&Database> = all.iter().filter(live).filter(bare).collect();
    bare.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Some(Unprotected {
        count: u32::try_from(bare.len()).unwrap_or(u32::MAX),
        sample: bare.iter().take(SHOWN).map(|database| self::named(database)).collect(),
    })
}

fn message_reported(found: &Unprotected) -> String {
    let Unprotected { count, sample } = found;
    let are = if *count == 1 { "database is" } else { "databases are" };
    let names = sample.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = if *count as usize > NAMED { ", and others that status names" } else { "" };
    format!("{count} {are} not encrypted with the key, by the cloud's own word: {names}{more}.")
}

fn named(database: &Database) -> String {
    let short = |text: &str| text.chars().take(LONGEST_NAME).collect::<String>();
    format!("{} ({})", short(&database.name), short(&database.id))
}

fn message(region: &Region, found: &Unprotected) -> String {
    let Unprotected { count, sample } = found;
    let (are, so_they, object) = match count {
        1 => ("database is", "it is", "it"),
        _ => ("databases are", "they are", "them"),
    };
    let names = sample.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = if *count as usize > NAMED { ", and others that status names" } else { "" };
    format!(
        "{count} {are} older than the registration of the key of {region}, so {so_they} not encrypted with it: {names}{more}. To have {object} encrypted, create anew and move the data."
    )
}
