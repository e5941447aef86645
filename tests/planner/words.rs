//! Plans in few words, with every argument that matters.

use cmk_operator::domain::desired::{DatabaseRequest, NewKey};
use cmk_operator::domain::id::{KeyArn, Region};
use cmk_operator::domain::moment::Moment;
use cmk_operator::domain::observed::Depth;
use cmk_operator::domain::policy::{PolicyDocument, Principals, Scalar, Statement};
use cmk_operator::plan::NextLook;
use cmk_operator::plan::role_step::{LinkRef, RoleStep};
use cmk_operator::plan::step::{DatabaseRef, KeyRef, Step};

use crate::scene::{NOW, hash};

/// A step.
pub(crate) fn step(step: &Step) -> String {
    let what = match step {
        Step::AddFinalizer | Step::RemoveFinalizer => return step.site().as_str().to_owned(),
        Step::RecordKeyIntent { intent, .. } => format!("{} at {}", intent.nonce, moment(intent.started_at)),
        Step::CreateKey { region, key, not_after } => format!("{} until {}", new_key(region, key), moment(*not_after)),
        Step::ReplicateKey { region, primary, key, not_after } => {
            format!("of {primary} {} until {}", new_key(region, key), moment(*not_after))
        }
        Step::CreateAlias { region, alias, key } => format!("{alias} -> {}", key_ref(region, key)),
        Step::RecordKey { region, key } => key_ref(region, key),
        Step::PutPolicy { region, key, document, .. } => format!("{} {}", arn(region, key), policy(region, document)),
        Step::EnableRotation { region, key, period_days } => format!("{} {period_days}", arn(region, key)),
        Step::UpdateDescription { region, key, description } => format!("{} {description:?}", arn(region, key)),
        Step::Tag { region, key, tags } => format!("{} {}", arn(region, key), self::tags(tags)),
        Step::RecordRegistrationIntent { started_at, .. } => format!("at {}", moment(*started_at)),
        Step::Register { region, key, not_after } => format!("{} until {}", arn(region, key), moment(*not_after)),
        Step::RecordDeployIntent { intent } => {
            let part = intent.part.as_ref().map(|name| format!("for {name} ")).unwrap_or_default();
            format!("{part}at {}", moment(intent.started_at))
        }
        Step::CreateDatabase { request, not_after, .. } => {
            format!("{} until {}", database(request), moment(*not_after))
        }
        Step::RecordDatabase { database: DatabaseRef::Id(id), .. } => id.clone(),
        Step::RecordDatabase { database: DatabaseRef::CreatedInThisPass, .. } => "the new one".to_owned(),
        Step::NoteDatabase { region, key, tag, database } => format!("{database} on {} as {tag}", arn(region, key)),
        Step::AddRegion { database: id, request, not_after, .. } => {
            format!("to {id} {} until {}", database(request), moment(*not_after))
        }
        Step::CreatePart { database, part, not_after, .. } => {
            format!("{} {} in {database} until {}", part.name, part.size, moment(*not_after))
        }
        Step::EncryptDatabase { database, not_after, .. } => format!("{database} until {}", moment(*not_after)),
        Step::Role(step) => role_step(step),
        Step::CancelDeletion { region, key } | Step::EnableKey { region, key } => arn(region, key),
        Step::MarkDeletion { region, key, by, not_after } => {
            format!("{} by {by} until {}", arn(region, key), moment(*not_after))
        }
        Step::ScheduleDeletion { region, key, window_days, not_after } => {
            format!("{} in {window_days} days until {}", arn(region, key), moment(*not_after))
        }
        Step::RemoveRegion { database, not_after, .. } | Step::TerminateDatabase { database, not_after } => {
            format!("{database} until {}", moment(*not_after))
        }
    };
    let region = step.region().map(|r| format!("{r} ")).unwrap_or_default();
    format!("{region}{} {what}", step.site().as_str())
}

fn role_step(step: &RoleStep) -> String {
    match step {
        RoleStep::RecordIntent { started_at, .. } => format!("at {}", moment(*started_at)),
        RoleStep::Create { not_after, .. } => format!("until {}", moment(*not_after)),
        RoleStep::Record { link: LinkRef::Id(id), .. } => id.clone(),
        RoleStep::Record { link: LinkRef::CreatedInThisPass, .. } => "the new one".to_owned(),
        RoleStep::Authorize { link, role, .. } => format!("{link} as {role}"),
        RoleStep::Register { region, key, link, replaces, not_after } => {
            let replaces = replaces.as_ref().map(|old| format!(" for {old}")).unwrap_or_default();
            format!("{} through {link}{replaces} until {}", arn(region, key), moment(*not_after))
        }
        RoleStep::MakeRole { role, link, boundary, tags, .. } => {
            let within = boundary.as_ref().map(|arn| format!(" within {arn}")).unwrap_or_default();
            format!("{role} for {} {}{within}", link.id, self::tags(tags))
        }
        RoleStep::Withdraw { region, key, not_after } => format!("{} until {}", arn(region, key), moment(*not_after)),
        RoleStep::RemoveLink { link, not_after, .. } => format!("{link} until {}", moment(*not_after)),
        RoleStep::DeleteRole { role, not_after, .. } => format!("{role} until {}", moment(*not_after)),
        RoleStep::TrustCloud { role, link, .. } => format!("{role} for {}", link.id),
        RoleStep::PermitRole { region, role, actions, keys, sources } => {
            let keys: Vec<String> = keys.iter().map(|key| arn(region, key)).collect();
            let from = sources.as_ref().map(|all| from(all.iter().map(ToString::to_string))).unwrap_or_default();
            format!("{role} {} on {}{from}", actions.join(" "), keys.join(" "))
        }
    }
}

/// When to look again, and at what.
pub(crate) fn next(next: NextLook) -> String {
    let NextLook { after, depth, polling, asked } = next;
    let depth = match depth {
        Depth::State => "State",
        Depth::Policy => "Policy",
        Depth::Everything => "Everything",
    };
    let asked = asked.map(|pause| format!(" asked for {}s", pause.as_seconds())).unwrap_or_default();
    format!("{}s {depth}{}{asked}", after.as_seconds(), if polling { " polling" } else { "" })
}

fn moment(moment: Moment) -> String {
    match (moment.0 - NOW.0) / 1000 {
        0 => "T".to_owned(),
        seconds => format!("T{seconds:+}s"),
    }
}

fn arn(region: &Region, arn: &KeyArn) -> String {
    let usual = format!("arn:{}:kms:{region}:111111111111:key/", region.partition());
    arn.to_string().strip_prefix(&usual).map_or_else(|| arn.to_string(), str::to_owned)
}

fn key_ref(region: &Region, key: &KeyRef) -> String {
    match key {
        KeyRef::Arn(key) => arn(region, key),
        KeyRef::CreatedInThisPass => "the new one".to_owned(),
    }
}

fn new_key(region: &Region, key: &NewKey) -> String {
    let NewKey { description, tags, policy, multi_region } = key;
    let multi = if *multi_region { " multi-Region" } else { "" };
    format!("{description:?}{multi} {} {}", self::tags(tags), self::policy(region, policy))
}

fn tags(tags: &std::collections::BTreeMap<String, String>) -> String {
    let all: Vec<String> = tags
        .iter()
        .map(|(k, v)| format!("{}={v}", k.strip_prefix("cmk-operator.io/").map_or(k.clone(), |k| format!("~{k}"))))
        .collect();
    format!("{{{}}}", all.join(", "))
}

fn database(request: &DatabaseRequest) -> String {
    let DatabaseRequest { name, tier, capacity_units, keyspace, database_type, group, cluster } = request;
    if let Some(keys) = group.as_ref().and_then(|group| group.keys.as_ref()) {
        let short = |arn: &KeyArn| arn.to_string().rsplit('/').next().unwrap_or_default().to_owned();
        return format!("{name} under {} and {}", short(&keys.data), short(&keys.backup));
    }
    if let Some(cluster) = cluster {
        let regions: Vec<&str> = cluster.regions.iter().map(Region::as_str).collect();
        return format!("{name} {tier} in {}", regions.join(" and "));
    }
    assert!(database_type.is_none(), "no case says it");
    format!("{name} {tier} x{} {}", capacity_units.unwrap_or_default(), keyspace.as_deref().unwrap_or("-"))
}

/// The statements of a policy by name, with whom they are for; ours with a tilde in place of their mark.
fn policy(region: &Region, text: &str) -> String {
    let Ok(document) = PolicyDocument::parse(text) else { return "not a policy".to_owned() };
    let mark = format!("cmk {} ", hash(region.as_str()));
    let all: Vec<String> = document.statements.iter().map(|s| statement(s, &mark)).collect();
    format!("[{}]", all.join("; "))
}

fn statement(statement: &Statement, mark: &str) -> String {
    let sid = statement.sid.as_deref().unwrap_or("-");
    let name = sid.strip_prefix(mark).map_or_else(|| sid.to_owned(), |label| format!("~{label}"));
    let but = if matches!(statement.principals, Principals::AllBut(_)) { "all but " } else { "" };
    let to: Vec<String> = statement
        .principals
        .listed()
        .iter()
        .map(|(_, value)| value.split_once(":iam::").map_or(*value, |(_, rest)| rest).replace(':', "/"))
        .collect();
    let addresses = statement.conditions.iter().filter(|condition| condition.key == "aws:SourceIp");
    let texts = addresses.flat_map(|condition| condition.values.iter().map(Scalar::text));
    format!("{name}: {but}{}{}", to.join(" "), from(texts))
}

/// Addresses, single ones without the length of their prefix.
fn from(texts: impl Iterator<Item = String>) -> String {
    texts.fold(String::new(), |all, text| {
        let start = if all.is_empty() { " from" } else { "" };
        format!("{all}{start} {}", text.strip_suffix("/32").unwrap_or(&text))
    })
}
