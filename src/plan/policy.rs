//! The key policy of a region: what it has to hold, whether it does, and the one write that makes it so.
//!
//! Statements that are not ours are never lost. Nothing is written when nothing differs in meaning.

use std::collections::BTreeSet;

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::desired::{DesiredKey, DesiredRegion, PolicyWish};
use crate::domain::id::Region;
use crate::domain::moment::{Moment, Span};
use crate::domain::observed::{KeyFacts, RegionSeen};
use crate::domain::policy::template::{OPERATOR_REPLICATION_ACTIONS, administrators, grant, operator, root, user};
use crate::domain::policy::{
    Authored, Grant, KeyAccount, MergeOptions, Ownership, PolicyDocument, PolicyHash, Problem as Guarded, RootRule,
    Setting, additive_principals, addresses, diff, gives_root, holds as holding, lasting_principal, merge, pasted,
    principals_in, review,
};
use crate::domain::reading::Reading;
use crate::domain::source::Source;

use super::draft::Draft;
use super::step::Step;
use super::{entrusted, made_role, sources};

const CONDITION: ConditionType = ConditionType::PoliciesReady;

/// How many writes of ours have to be undone within the time that makes a contest before there is no other.
const UNDONE: usize = 2;

const OBSERVE: &str = "Under managementPolicy Observe the key policy is not written";
const OBSERVE_FIX: &str = "write it by other means, or set spec.managementPolicy to Manage.";

/// Why a policy cannot be written.
pub(super) struct Problem {
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) fix: String,
}

impl Problem {
    fn invalid(message: String) -> Self {
        Self { reason: Reason::PolicyInvalid, message, fix: "correct spec.policy.".to_owned() }
    }

    fn guarded(problems: &[Guarded]) -> Self {
        let reason = problems.iter().map(reason_of).next().unwrap_or(Reason::PolicyInvalid);
        let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let fix = match reason {
            Reason::PolicyRisky => "narrow the statement, or set acceptRisk on it.",
            Reason::LockoutRisk => "have the AWS administrator mend the statement.",
            Reason::OrphanedPrincipal => {
                "have the statement's owner mend it, or set spec.policy.removeOrphanedPrincipals."
            }
            _ => "correct spec.policy.",
        };
        Self { reason, message, fix: fix.to_owned() }
    }
}

fn reason_of(problem: &Guarded) -> Reason {
    match problem {
        Guarded::Risky(..) => Reason::PolicyRisky,
        Guarded::Lockout(_) | Guarded::PolicyWriteDenied(_) => Reason::LockoutRisk,
        Guarded::Orphaned(..) => Reason::OrphanedPrincipal,
        _ => Reason::PolicyInvalid,
    }
}

/// Whose key it is, and which statements are ours.
struct Ground {
    account: KeyAccount,
    own: Ownership,
    caller: String,
}

impl Ground {
    fn of(draft: &Draft<'_>, key: &DesiredKey, region: &Region) -> Result<Self, Problem> {
        let arn = draft.observed.caller.present().map(|c| c.arn.clone()).unwrap_or_default();
        let caller =
            lasting_principal(&arn, key.access.role_arn.as_deref()).map_err(|e| Problem::invalid(e.to_string()))?;
        Ok(Self { account: key.account_in(region), own: ownership(key, region), caller })
    }
}

pub(super) fn ownership(key: &DesiredKey, region: &Region) -> Ownership {
    Ownership::of(&key.owner.identity(&key.access.account, region))
}

/// The first policy of a new key: root and operator only, because a cloud's principal that does not exist yet must not
/// fail the creation.
pub(super) fn initial(draft: &Draft<'_>, key: &DesiredKey, region: &Region) -> Result<String, Problem> {
    let ground = Ground::of(draft, key, region)?;
    let authored = base(&ground, key).map_err(Problem::invalid)?;
    Ok(PolicyDocument::new(authored.into_iter().map(|a| a.statement).collect()).render())
}

fn base(ground: &Ground, key: &DesiredKey) -> Result<Vec<Authored>, String> {
    let words = |e: crate::domain::policy::LabelError| e.to_string();
    Ok(vec![
        root(&ground.own, &ground.account).map_err(words)?,
        operator(&ground.own, &ground.caller, key.multi_region.is_some()).map_err(words)?,
    ])
}

/// Whether a policy lets the operator, by its name, make replicas of the key.
pub(super) fn lets_replicate(draft: &Draft<'_>, key: &DesiredKey, region: &Region, text: &str) -> bool {
    let (Ok(ground), Ok(document)) = (Ground::of(draft, key, region), PolicyDocument::parse(text)) else {
        return false;
    };
    let actions = OPERATOR_REPLICATION_ACTIONS.map(str::to_owned).to_vec();
    let grant = Grant { label: String::new(), actions, conditions: Vec::new() };
    holding(&document, &grant, &[ground.caller], &ground.account).is_held()
}

/// Plans the policy of a region's key. Yields whether it was seen to hold everything.
pub(super) fn plan_region(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    wish: &DesiredRegion,
    facts: &KeyFacts,
    seen: &RegionSeen,
) -> bool {
    let text = match &seen.policy {
        Reading::Present(text) => text,
        reading => return not_seen(draft, region, reading),
    };
    let Some(principals) = principals(draft, key, region, seen, text) else { return false };
    let sources = sources::decide(draft, key, region, seen);
    let held = holds(key, region, text, &principals).and_then(|()| sources::lets_in(draft, key, region, seen));
    draft.report(region).policy_hash = hash(text);
    draft.report(region).principals.clone_from(&principals);
    if key.observe_only && key.policy == PolicyWish::default() {
        return only_held(draft, region, held);
    }
    let outcome = assess(draft, key, region, wish, text, (&principals, sources.list.as_ref()));
    let assessed = match outcome {
        Ok(assessed) => assessed,
        Err(problem) => {
            draft.stuck(CONDITION, Some(region), problem.reason, problem.message, &problem.fix);
            return false;
        }
    };
    draft.report(region).policy_wish = Some(assessed.wish);
    if assessed.write.is_none() && entrusted::awaited(draft, key, region) {
        return false;
    }
    let Some(write) = assessed.write else {
        return match held {
            Ok(()) => {
                sources.say(draft, region, &format!("The key policy holds what is declared.{}", assessed.remark));
                true
            }
            Err(missing) => {
                let fix = "have the AWS administrator remove the statement that denies it.";
                draft.stuck(
                    CONDITION,
                    Some(region),
                    Reason::LockoutRisk,
                    format!("The key policy is as declared, and yet {missing}"),
                    fix,
                );
                false
            }
        };
    };
    if key.observe_only {
        let message = format!("{OBSERVE}. Still to be done: {}.", write.sentences);
        draft.stuck(CONDITION, Some(region), Reason::OnlyObserved, message, OBSERVE_FIX);
        return false;
    }
    if contested(draft, region, &write) {
        return false;
    }
    let step = Step::PutPolicy {
        region: region.clone(),
        key: facts.arn.clone(),
        document: write.document,
        replaces: hash(text).unwrap_or_default(),
    };
    // An equal write of before was undone by ourselves, where the last one meant something else.
    let wish = draft.report(region).policy_wish.clone();
    let last = draft.memory.policy_writes.get(region).and_then(|writes| writes.last());
    let planned = if last.is_some_and(|last| Some(&last.wish) != wish.as_ref()) {
        draft.step(step);
        true
    } else {
        draft.repeatable(step)
    };
    if unknown_for_long(draft, region, &principals) {
        return false;
    }
    let message = format!("Writing the key policy: {}.{}", write.sentences, sources.because());
    if draft.memory.was_ready && held.is_ok() {
        draft.healing(CONDITION, region, Reason::HealingPolicy, message);
    } else if planned {
        draft.working(CONDITION, Some(region), Reason::WritingPolicy, message);
    } else {
        let message = "The key policy was written; AWS does not show it yet.".to_owned();
        draft.working(CONDITION, Some(region), Reason::PolicySettling, message);
    }
    false
}

/// Under Observe, where nothing but what the cloud needs is asked for: whose statements give it does not matter.
fn only_held(draft: &mut Draft<'_>, region: &Region, held: Result<(), String>) -> bool {
    match held {
        Ok(()) => {
            draft.fine(CONDITION, Some(region), Reason::PoliciesHold, "The key policy holds what the cloud needs.");
            true
        }
        Err(missing) => {
            let message = format!("{OBSERVE}, and {missing}");
            draft.stuck(CONDITION, Some(region), Reason::OnlyObserved, message, OBSERVE_FIX);
            false
        }
    }
}

/// The cloud's principals: every one that it names, or ever named.
fn principals(
    draft: &mut Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    seen: &RegionSeen,
    policy: &str,
) -> Option<Vec<String>> {
    if !key.capabilities.principals_from_cloud {
        return Some(Vec::new());
    }
    let mut remembered = draft.remembered(region).principals;
    if remembered.is_empty() {
        remembered = once_named(key, region, policy);
    }
    let own = [&seen.by_arn, &seen.by_alias].map(|reading| reading.present().map(|facts| facts.arn.to_string()));
    let is_own = |text: &String| own.iter().flatten().any(|arn| arn == text);
    match &seen.principals {
        // A principal that does not exist would fail the write.
        Reading::Present(declared) if !made_role::may_be_named(key, seen) => {
            if matches!(seen.role.iam, Reading::Unknown(_)) {
                not_seen(draft, region, &seen.role.iam);
                return None;
            }
            let message = format!("{} is let in once it is there.", declared.join(", "));
            draft.working(CONDITION, Some(region), Reason::PrincipalsUnknown, message);
            draft.poll();
            None
        }
        // The customer's own role: none but the declared one, and the one that the cloud still uses this key as.
        Reading::Present(declared) if key.capabilities.through_role => {
            let registered = seen.role.registration.present().is_some_and(|found| is_own(&found.key));
            let in_use = seen.role.in_use().filter(|_| registered).and_then(|link| link.role_arn.clone());
            let mut all = declared.clone();
            all.extend(in_use.filter(|arn| !declared.contains(arn)));
            Some(all)
        }
        Reading::Present(learned) => Some(additive_principals(&remembered, learned)),
        Reading::Absent if !remembered.is_empty() => Some(remembered),
        Reading::Absent => {
            let message = "The cloud names no AWS account to trust in this region.".to_owned();
            draft.working(CONDITION, Some(region), Reason::PrincipalsUnknown, message);
            draft.poll();
            None
        }
        reading @ Reading::Unknown(_) => {
            not_seen(draft, region, reading);
            None
        }
    }
}

/// The cloud's principals that our own statements let in already: the memory of an object that was applied anew, or of a region
/// that was put back. What does not have the form of the cloud's principals was put there by somebody else.
fn once_named(key: &DesiredKey, region: &Region, policy: &str) -> Vec<String> {
    let Ok(document) = PolicyDocument::parse(policy) else { return Vec::new() };
    let (own, account) = (ownership(key, region), key.account_in(region));
    let form = format!(":role/{}", key.scope.principal_role);
    let named = key.capabilities.needs.iter().flat_map(|need| principals_in(&document, &own, &need.label, &account));
    additive_principals(&[], &named.filter(|principal| principal.ends_with(&form)).collect::<Vec<_>>())
}

/// Says so where AWS does not know a principal for longer than it takes a new one to be seen everywhere
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html>, `Policy`). The write is still tried.
fn unknown_for_long(draft: &mut Draft<'_>, region: &Region, principals: &[String]) -> bool {
    let Some(since) = draft.memory.unknown_principals.get(region).copied() else { return false };
    if draft.now().since(since) < draft.pass.settings.deploy_settle {
        return false;
    }
    let of_cloud = match principals {
        [] => String::new(),
        all => format!(" The cloud's are {}.", all.join(", ")),
    };
    let message = format!(
        "AWS has refused kms:PutKeyPolicy since {since}: a principal in the key policy does not exist.{of_cloud}"
    );
    let fix = "make sure that every principal in spec.policy, and the role that the cloud uses, exists; the operator tries again by itself.";
    draft.stuck(CONDITION, Some(region), Reason::PrincipalMissing, message, fix);
    true
}

/// Says so where what was written was undone again and again: then it is left alone for long, so that two tools that
/// disagree do not fill the account's trail with each other's writes.
fn contested(draft: &mut Draft<'_>, region: &Region, write: &Write) -> bool {
    let wish = draft.report(region).policy_wish.clone();
    let contest = draft.pass.settings.contest;
    let writes = draft.memory.policy_writes.get(region).into_iter().flatten();
    let undone: Vec<Moment> =
        writes.filter(|w| Some(&w.wish) == wish.as_ref() && draft.now().since(w.at) < contest).map(|w| w.at).collect();
    let Some(last) = undone.iter().max().filter(|_| undone.len() >= UNDONE) else { return false };
    let left = Span(contest.0 - draft.now().since(*last).0);
    let message = format!(
        "The operator has written this key policy {} times within an hour, and each time somebody changed it again. Still to be done: {}.",
        undone.len(),
        write.sentences
    );
    let fix = "find who else writes it (CloudTrail, event PutKeyPolicy), and have them leave the statements whose Sid begins with \"cmk \" alone; the operator tries again within an hour, or as soon as the annotation cmk-operator.io/reconcile-requested-at changes.";
    draft.stuck(CONDITION, Some(region), Reason::PolicyContested, message, fix);
    draft.wait(left);
    true
}

/// What there is to do about a policy.
struct Assessed {
    /// The hash of the meaning of the statements that are to be ours.
    wish: String,
    /// The write that makes it hold everything; none where nothing differs.
    write: Option<Write>,
    /// What is to be told although nothing has to be written.
    remark: String,
}

struct Write {
    document: String,
    /// What it changes, in words.
    sentences: String,
}

/// What there is to do, unless it may not be done.
fn assess(
    draft: &Draft<'_>,
    key: &DesiredKey,
    region: &Region,
    wish: &DesiredRegion,
    text: &str,
    (principals, sources): (&[String], Option<&BTreeSet<Source>>),
) -> Result<Assessed, Problem> {
    let ground = Ground::of(draft, key, region)?;
    let observed =
        PolicyDocument::parse(text).map_err(|e| Problem::invalid(format!("The key's policy cannot be read: {e}")))?;
    let adopted = wish.key_arn.is_some();
    // On an adopted key the root statement is not added unasked. But what gives the account everything is never taken away,
    // not even where it is ours, and stays as it was found: with it may go the last way to the key.
    let unasked = adopted && !key.policy.ensure_root;
    let rooted = gives_root(&observed, &ground.account);
    let mut authored = authored(&ground, key, region, (principals, sources))?;
    if unasked {
        let as_found = observed.statements.iter().find(|statement| statement.sid == authored[0].statement.sid);
        match as_found {
            Some(statement) => authored[0].statement = statement.clone(),
            None => drop(authored.remove(0)),
        }
    }
    let wish = PolicyHash::of_statements(authored.iter().map(|a| &a.statement), &ground.account).as_str().to_owned();
    let options = MergeOptions {
        remove_foreign: key.policy.remove_foreign && !adopted,
        remove_orphans: key.policy.remove_orphaned,
    };
    let merged = merge(&observed, &authored, &ground.own, &ground.account, options);
    let root = if unasked && !rooted { RootRule::AsFound } else { RootRule::Required };
    let setting = Setting { account: &ground.account, own: &ground.own, caller: Some(&ground.caller), root };
    let verdict = review(&merged, &authored, &setting);
    if !merged.changed {
        let freezes = verdict.refusals.iter();
        let freezes = freezes.filter(|p| matches!(p, Guarded::PolicyWriteDenied(_) | Guarded::Lockout(_)));
        let given_away = verdict.warnings.iter().filter(|p| matches!(p, Guarded::Risky(..)));
        let remark =
            freezes.chain(given_away).flat_map(|p| [" But ".to_owned(), p.to_string(), ".".to_owned()]).collect();
        return Ok(Assessed { wish, write: None, remark });
    }
    if !verdict.refusals.is_empty() {
        return Err(Problem::guarded(&verdict.refusals));
    }
    let sentences = diff(&observed, &merged.document, &ground.account).join("; ");
    let write = Write { document: merged.document.render(), sentences };
    Ok(Assessed { wish, write: Some(write), remark: String::new() })
}

/// Every statement that is ours; the first is the account root's.
fn authored(
    ground: &Ground,
    key: &DesiredKey,
    region: &Region,
    (principals, sources): (&[String], Option<&BTreeSet<Source>>),
) -> Result<Vec<Authored>, Problem> {
    let mut all = base(ground, key).map_err(Problem::invalid)?;
    let words = |e: crate::domain::policy::LabelError| Problem::invalid(e.to_string());
    all.extend(administrators(&ground.own, &key.policy.administrators).map_err(words)?);
    for need in &key.capabilities.needs {
        all.extend(grant(&ground.own, &need.grant(), principals).map_err(words)?);
    }
    if let Some(sources) = sources {
        let actions: Vec<String> = key.capabilities.needs.iter().flat_map(|need| need.actions.clone()).collect();
        all.extend(addresses::restriction(&ground.own, &actions, principals, sources).map_err(words)?);
    }
    for wished in key.policy.statements.iter().filter(|w| w.applies_to(region)) {
        let document = PolicyDocument::parse(&wished.json)
            .map_err(|e| Problem::invalid(format!("spec.policy.statements[{}]: {e}", wished.name)))?;
        for statement in document.statements {
            all.push(user(&ground.own, &wished.name, statement, wished.accept_risk).map_err(words)?);
        }
    }
    for wished in key.policy.documents.iter().filter(|w| w.applies_to(region)) {
        let statements = pasted(&ground.own, &wished.name, &wished.json, wished.accept_risk)
            .map_err(|e| Problem::invalid(format!("spec.policy.documents[{}]: {e}", wished.name)))?;
        all.extend(statements);
    }
    Ok(all)
}

/// Whether the policy, as it was seen, gives the principals that the cloud names now what they need; if not, what is
/// missing.
pub(super) fn holds_now(key: &DesiredKey, region: &Region, seen: &RegionSeen) -> Result<(), String> {
    let named = key.capabilities.principals_from_cloud;
    if !named && !key.capabilities.has_portal() {
        return Ok(());
    }
    let text = seen.policy.present().ok_or("the key policy was not seen.")?;
    let principals: &[String] =
        if named { seen.principals.present().ok_or("the cloud names no principals.")? } else { &[] };
    holds(key, region, text, principals)
}

/// Whether a policy gives principals what they need; if not, what is missing.
fn holds(key: &DesiredKey, region: &Region, text: &str, principals: &[String]) -> Result<(), String> {
    if key.capabilities.has_portal() {
        return entrusted::held(key, region, None, text);
    }
    if !key.capabilities.principals_from_cloud {
        return Ok(());
    }
    let document = PolicyDocument::parse(text).map_err(|e| format!("the key policy cannot be read: {e}."))?;
    let document = addresses::without_restriction(&document, &ownership(key, region));
    let account = key.account_in(region);
    let missing: Vec<String> = key
        .capabilities
        .needs
        .iter()
        .map(|need| holding(&document, &need.grant(), principals, &account))
        .filter(|holding| !holding.is_held())
        .flat_map(|holding| holding.explain())
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{}.", missing.join("; "))) }
}

/// The hash of a policy's meaning; none for a text that is no policy.
pub(crate) fn hash(text: &str) -> Option<String> {
    let document = PolicyDocument::parse(text).ok()?;
    // The account matters only for spelling account ids as root ARNs; comparing hashes of one key needs none.
    Some(PolicyHash::of(&document, &KeyAccount::new("aws", "")).as_str().to_owned())
}

pub(super) fn not_seen<T>(draft: &mut Draft<'_>, region: &Region, reading: &Reading<T>) -> bool {
    match reading.fault() {
        Some(fault) => {
            let fault = fault.clone();
            draft.fault(CONDITION, Some(region), &fault);
        }
        None => draft.blocked(&[CONDITION], Some(region), Reason::NotLookedYet, "Not looked at yet."),
    }
    false
}
