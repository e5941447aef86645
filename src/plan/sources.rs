//! From where a key may be used: from the cloud's addresses alone, where the spec asks for that.
//!
//! # Protocol
//! The key policy itself is the memory: what our Deny lets in today is what may use the key now. An address that is seen for the
//! first time, or announced, is let in at once; one that is seen no more leaves after several equal looks at everything,
//! and never in the same write. While a database is being made or changed, and as long as one has no address that was seen, the
//! Deny is lifted: a new database has addresses that nobody knows before. It is put back on observed addresses only.
//!
//! # Guarantees
//! An empty answer, and one that failed, narrows nothing. A database is deployed only while there is no such Deny, which the
//! gate sees in the policy itself.

use std::collections::BTreeSet;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{Desired, DesiredKey, LinkedKey, User};
use crate::domain::fault::Fault;
use crate::domain::id::Region;
use crate::domain::memory::Subject;
use crate::domain::observed::{Encryption, RegionSeen};
use crate::domain::policy::PolicyDocument;
use crate::domain::policy::addresses::{MOST_BYTES, MOST_BYTES_OF_ROLE, bytes, restricted_to};
use crate::domain::reading::Reading;
use crate::domain::source::{LIFTED, Source, SourcesOf, lets_in as covered};

use super::draft::{Draft, fingerprint};
use super::finding::Finding;
use super::gate::{Failure, Verdict, not};
use super::policy;

const CONDITION: ConditionType = ConditionType::PoliciesReady;

/// How many are named in a message.
const NAMED: usize = 3;

/// From where a key is to be used from now on.
#[derive(Default)]
pub(super) struct Decision {
    /// The addresses; none: from everywhere.
    pub(super) list: Option<BTreeSet<Source>>,
    word: Word,
}

/// What is to be said of it.
#[derive(Default)]
enum Word {
    #[default]
    Nothing,
    /// It is as it should be.
    Fine(String),
    /// The restriction is not there, and why.
    Lifted(String),
    /// It will be there soon.
    Pending(String),
    /// It cannot be there.
    TooMany(String),
    /// What it rests on could not be seen.
    Unseen(Option<Fault>, String),
}

impl Decision {
    fn open(word: Word) -> Self {
        Self { list: None, word }
    }

    /// Says it, where the policy holds everything else.
    pub(super) fn say(self, draft: &mut Draft<'_>, region: &Region, fine: &str) {
        let place = Some(region);
        match self.word {
            Word::Nothing => draft.fine(CONDITION, place, Reason::PoliciesHold, fine),
            Word::Fine(more) => draft.fine(CONDITION, place, Reason::PoliciesHold, &format!("{fine} {more}")),
            Word::Lifted(message) => draft.healing(CONDITION, region, Reason::RestrictionLifted, message),
            Word::Pending(message) if draft.memory.was_ready => {
                draft.healing(CONDITION, region, Reason::RestrictionLifted, message);
            }
            Word::Pending(message) => draft.working(CONDITION, place, Reason::RestrictionPending, message),
            Word::TooMany(message) => {
                let fix = "have fewer databases in the project, or take restrictSourceIps out of the spec.";
                draft.stuck(CONDITION, place, Reason::TooManyAddresses, message, fix);
            }
            Word::Unseen(fault, more) => {
                let Some(fault) = fault else {
                    return draft.blocked(
                        &[CONDITION],
                        place,
                        Reason::NotLookedYet,
                        &format!("Not looked at yet. {more}"),
                    );
                };
                let mut finding = Finding::of_fault(CONDITION, place, &fault);
                finding.message = format!("{} {more}", finding.message);
                draft.found(CONDITION, finding);
                draft.heed(&fault);
                draft.poll();
            }
        }
    }

    /// Why the policy is written, for its message.
    pub(super) fn because(&self) -> String {
        match &self.word {
            Word::Nothing => String::new(),
            Word::Fine(text)
            | Word::Lifted(text)
            | Word::Pending(text)
            | Word::TooMany(text)
            | Word::Unseen(_, text) => format!(" {text}"),
        }
    }
}

/// From where a policy that was seen lets the cloud use the key; none: from everywhere, as far as we keep it.
fn current(key: &DesiredKey, region: &Region, seen: &RegionSeen) -> Option<BTreeSet<Source>> {
    let document = PolicyDocument::parse(seen.policy.present()?).ok()?;
    restricted_to(&document, &policy::ownership(key, region))
}

/// Whether the policy lets in every address that is in use; if not, which one it shuts out.
pub(super) fn lets_in(draft: &Draft<'_>, key: &DesiredKey, region: &Region, seen: &RegionSeen) -> Result<(), String> {
    let Some(current) = current(key, region, seen) else { return Ok(()) };
    let out: Vec<String> =
        draft.observed.sources.in_use().iter().filter(|s| !covered(&current, s)).map(ToString::to_string).collect();
    match out.as_slice() {
        [] => Ok(()),
        all => Err(format!("the key policy does not let the cloud in from {}.", some(all))),
    }
}

/// What equal looks are equal in; none where something was not seen.
fn facts(draft: &Draft<'_>, key: &DesiredKey) -> Option<u64> {
    let seen = &draft.observed.sources;
    let known = !matches!(seen.control, Reading::Unknown(_)) && !matches!(seen.databases, Reading::Unknown(_));
    let deploying: Vec<&User> = key.users.present()?.iter().filter(|user| user.deploys).collect();
    known.then(|| fingerprint(&(&seen.control, &seen.databases, deploying)))
}

/// Whether a pass that looked at less than everything saw what the last ones saw.
pub(super) fn as_usual(draft: &Draft<'_>) -> bool {
    let Desired::Key(key) = draft.desired else { return true };
    if !key.restricts_sources() {
        return true;
    }
    let Some(facts) = facts(draft, key) else { return false };
    key.regions.keys().all(|region| {
        let looks = draft.memory.looks.get(&Subject::Sources(region.clone()));
        looks.is_some_and(|looks| looks.fingerprint == fingerprint(&facts))
    })
}

/// Decides from where a key may be used. Asked twice in a pass, it says the same.
pub(super) fn decide(draft: &mut Draft<'_>, key: &DesiredKey, region: &Region, seen: &RegionSeen) -> Decision {
    if !key.restricts_sources() {
        return Decision::default();
    }
    let looks = if let Some(facts) = facts(draft, key) {
        draft.look_at_sources(region, &facts)
    } else {
        draft.keep(Subject::Sources(region.clone()));
        0
    };
    let seen_often = looks >= draft.pass.settings.gate_looks;
    let current = current(key, region, seen);
    let changing = changing(draft, key);
    if !changing.is_empty() {
        draft.poll();
        let why = some(&changing);
        return Decision::open(Word::Lifted(format!(
            "The key may be used from everywhere for now, because {why}. It is restricted to the cloud's addresses again when that is over and they were seen."
        )));
    }
    let unknown = without_address(draft, current.as_ref());
    if !unknown.is_empty() && (seen_often || current.is_none()) {
        draft.poll();
        let why = some(&unknown);
        return Decision::open(Word::Lifted(format!(
            "The key may be used from everywhere for now, because the cloud shows no address of {why}. It is restricted to the cloud's addresses once they were seen."
        )));
    }
    if !unknown.is_empty() {
        let spacing = draft.pass.settings.gate_spacing;
        draft.wait(spacing);
    }
    let observed = draft.observed.sources.all();
    let wanted: BTreeSet<Source> = current.iter().flatten().chain(&observed).copied().collect();
    let most = if key.role.as_ref().is_some_and(|role| role.made) { MOST_BYTES_OF_ROLE } else { MOST_BYTES };
    if bytes(&wanted) > most {
        return Decision::open(Word::TooMany(format!(
            "The cloud calls from {} addresses, and a policy has room for about {}, so the key may be used from everywhere.",
            wanted.len(),
            most / 20
        )));
    }
    let usable = seen.role.registration.present().is_none_or(|found| found.usable);
    let settled = draft.observed.sources.are_settled() && usable && facts(draft, key).is_some();
    match current {
        None => put_on(draft, key, observed, looks, settled, usable),
        Some(current) => follow(draft, key, &current, &observed, looks, settled && unknown.is_empty()),
    }
}

/// There is no restriction yet, and nothing stands against one.
fn put_on(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    observed: BTreeSet<Source>,
    looks: u32,
    settled: bool,
    usable: bool,
) -> Decision {
    let needed = draft.pass.settings.gate_looks;
    if let Some(word) = unseen(draft, key, "The key may be used from everywhere until the cloud's addresses were seen.")
    {
        return Decision::open(word);
    }
    if !usable {
        let message = "The key is not restricted to addresses while the cloud says that it cannot use it.".to_owned();
        return Decision::open(Word::Lifted(message));
    }
    if !settled {
        let sources = &draft.observed.sources;
        let bare = !sources.databases.present().is_some_and(|all| all.iter().any(|database| database.uses_key));
        if bare {
            let message = "The key may be used from everywhere until a database is under it, and then from the cloud's addresses alone.";
            return Decision::open(Word::Fine(message.to_owned()));
        }
        draft.poll();
        let message =
            "The key may be used from everywhere: the cloud names no address of its control plane.".to_owned();
        return Decision::open(Word::Pending(message));
    }
    if looks < needed {
        let spacing = draft.pass.settings.gate_spacing;
        draft.wait(spacing);
        let message = format!(
            "The key may be used from everywhere until the cloud's {} addresses were seen {needed} times in a row ({looks} so far).",
            observed.len()
        );
        return Decision::open(Word::Pending(message));
    }
    let message = format!("The key may be used from {} alone.", addresses(observed.len()));
    Decision { list: Some(observed), word: Word::Fine(message) }
}

/// There is a restriction: it follows what is seen.
fn follow(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    current: &BTreeSet<Source>,
    observed: &BTreeSet<Source>,
    looks: u32,
    settled: bool,
) -> Decision {
    let needed = draft.pass.settings.gate_looks;
    let all: BTreeSet<Source> = current.union(observed).copied().collect();
    let stay = format!("The key may be used from {} alone", addresses(all.len()));
    if let Some(word) = unseen(draft, key, &format!("{stay}; none of them goes before all were seen again.")) {
        return Decision { list: Some(all), word };
    }
    let new = observed.iter().filter(|source| !current.contains(*source)).count();
    let gone = current.iter().filter(|source| !observed.contains(*source)).count();
    if new > 0 {
        let message = format!("{stay}, {new} of them new.");
        return Decision { list: Some(all), word: Word::Fine(message) };
    }
    if gone == 0 {
        return Decision { list: Some(all), word: Word::Fine(format!("{stay}.")) };
    }
    if settled && looks >= needed {
        let message = format!("The key may be used from {} alone, {gone} went.", addresses(observed.len()));
        return Decision { list: Some(observed.clone()), word: Word::Fine(message) };
    }
    let when = if settled {
        let spacing = draft.pass.settings.gate_spacing;
        draft.wait(spacing);
        format!("once that was seen {needed} times in a row ({looks} so far)")
    } else {
        "once the cloud shows the addresses of every database that uses the key".to_owned()
    };
    let message = format!("{stay}; {gone} of them the cloud does not show any more, and they go {when}.");
    Decision { list: Some(all), word: Word::Fine(message) }
}

/// What could not be seen; none where everything was.
fn unseen(draft: &Draft<'_>, key: &DesiredKey, more: &str) -> Option<Word> {
    let sources = &draft.observed.sources;
    let faults = [sources.control.fault(), sources.databases.fault(), key.users.fault()];
    let unknown = facts(draft, key).is_none();
    unknown.then(|| Word::Unseen(faults.into_iter().flatten().next().cloned(), more.to_owned()))
}

/// What is being made or changed, as far as it is known, in words.
fn changing(draft: &Draft<'_>, key: &DesiredKey) -> Vec<String> {
    let users = key.users.present().into_iter().flatten().filter(|user| user.deploys);
    let users = users.map(|user| format!("EncryptedCluster {} is being deployed", user.name));
    let databases = draft.observed.sources.databases.present().into_iter().flatten();
    let databases =
        databases.filter_map(|database| Some(format!("database {} is {}", database.name, database.changing.as_ref()?)));
    users.chain(databases).collect()
}

/// The databases that use the key, and of which no address is known. An answer without any address is none, if there were
/// some before: it says nothing of a single database.
fn without_address(draft: &Draft<'_>, current: Option<&BTreeSet<Source>>) -> Vec<String> {
    let sources = &draft.observed.sources;
    let Some(all) = sources.databases.present() else { return Vec::new() };
    let control = sources.control.present();
    let there_were_some = current
        .is_some_and(|current| current.iter().any(|source| control.is_none_or(|control| !covered(control, source))));
    if there_were_some && all.iter().all(|database| database.now.is_empty()) {
        return Vec::new();
    }
    let bare = |database: &&SourcesOf| database.uses_key && database.now.is_empty();
    all.iter().filter(bare).map(|database| format!("database {}", database.name)).collect()
}

fn addresses(count: usize) -> String {
    if count == 1 { "1 address of the cloud".to_owned() } else { format!("{count} addresses of the cloud") }
}

fn some(all: &[String]) -> String {
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = all.len().saturating_sub(NAMED);
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// The check that no address that nobody knows yet is shut out; none where nothing is to be deployed, and where the key may
/// be used from everywhere.
pub(super) fn lifted(draft: &mut Draft<'_>, linked: &LinkedKey, region: &Region, seen: &RegionSeen) -> Option<Verdict> {
    let current = current(&linked.key, linked.key.home(region), seen);
    if !(linked.key.restricts_sources() || current.is_some()) || !deploys(draft, region) {
        return None;
    }
    let outcome = match (&seen.policy, current) {
        (Reading::Unknown(_), _) => Err(Failure::Unseen(seen.policy.fault().cloned())),
        (_, None) => Ok("The key may be used from everywhere while something is deployed.".to_owned()),
        (_, Some(current)) => {
            draft.poll();
            let message = format!(
                "The key may be used from {} alone, and a new database has others; the CustomerKey lifts that first.",
                addresses(current.len())
            );
            Err(not(Reason::KeyNotReady, message, ""))
        }
    };
    Some(Verdict { name: LIFTED, outcome })
}

/// Whether something is to be deployed in a region, as far as it is known, by this object itself.
fn deploys(draft: &Draft<'_>, region: &Region) -> bool {
    let Desired::Cluster(cluster) = draft.desired else { return false };
    let Some(deployment) = &cluster.deployment else { return false };
    let bound = deployment.bound_id.is_some() || draft.memory.database.is_some();
    let Some(database) = draft.observed.database.by_id.present() else {
        // One that is to be bound by its name is not made.
        return !bound && !deployment.adopts;
    };
    let missing = !database.regions.contains_key(region.as_str()) && draft.remembered(region).deployment.is_none();
    missing || (deployment.adopts && database.encryption == Some(Encryption::Off))
}
