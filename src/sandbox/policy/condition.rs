//! Conditions of statements, on what is known about a request.
//!
//! Source: IAM user guide, "IAM JSON policy elements: Condition operators", "Single-valued vs. multivalued context keys"
//! and "AWS global condition context keys". A key that is not there makes an operator false, unless it is a negated one
//! (`StringNotEquals`, `NotIpAddress`, ...), `Null`, or ends in `IfExists`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::evaluate::Request;
use crate::domain::policy::Condition;
use crate::domain::policy::pattern::matches_exactly;
use crate::sandbox::ident::arn_parts;

/// What is known about a request beyond its caller: condition keys and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    /// One more single-valued key; names are compared without case.
    #[must_use]
    pub fn and(self, key: &str, value: impl Into<String>) -> Self {
        self.and_all(key, [value.into()])
    }

    /// One more key with several values.
    #[must_use]
    pub fn and_all(mut self, key: &str, values: impl IntoIterator<Item = String>) -> Self {
        self.0.insert(key.to_ascii_lowercase(), values.into_iter().collect());
        self
    }

    /// One more key, if there is a value.
    #[must_use]
    pub fn and_maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.and(key, value),
            None => self,
        }
    }
}

/// Whether all conditions of a statement hold.
pub(super) fn all_hold(conditions: &[Condition], request: &Request<'_>) -> bool {
    conditions.iter().all(|c| holds(c, request))
}

/// The values of a key in a request. What is known of the caller comes before the facts of the request.
fn values_of(key: &str, request: &Request<'_>) -> Option<Vec<String>> {
    let key = key.to_ascii_lowercase();
    let caller = request.caller;
    let resource = || arn_parts(&caller.arn).map(|p| p[5].to_owned()).unwrap_or_default();
    let known = match key.as_str() {
        "aws:principalarn" => Some(caller.arn.clone()),
        "aws:principalaccount" => Some(caller.account.clone()),
        "kms:calleraccount" if request.action.starts_with("kms:") => Some(caller.account.clone()),
        "aws:userid" => Some(match &caller.session {
            Some(session) => format!("{}:{session}", request.unique_id),
            None => request.unique_id.to_owned(),
        }),
        "aws:principaltype" => Some(
            match (&caller.session, resource().as_str()) {
                (Some(_), _) => "AssumedRole",
                (None, "root") => "Account",
                (None, _) => "User",
            }
            .to_owned(),
        ),
        "aws:username" if caller.session.is_none() => {
            resource().strip_prefix("user/").map(|path| path.rsplit('/').next().unwrap_or_default().to_owned())
        }
        // What the services do not offer over plain HTTP, and nobody else calls for the caller here.
        "aws:securetransport" => Some("true".to_owned()),
        "aws:viaawsservice" | "aws:principalisawsservice" => Some("false".to_owned()),
        _ => None,
    };
    request.facts.0.get(&key).cloned().or_else(|| known.map(|one| vec![one]))
}

fn holds(condition: &Condition, request: &Request<'_>) -> bool {
    let wanted: Vec<String> = condition.values.iter().map(crate::domain::policy::Scalar::text).collect();
    let actual = values_of(&condition.key, request);
    let name = condition.operator.as_str();
    let (set, name) = match name.split_once(':') {
        Some((set, name)) => (Some(set), name),
        None => (None, name),
    };
    if name == "Null" {
        return wanted.iter().any(|w| w.eq_ignore_ascii_case(if actual.is_none() { "true" } else { "false" }));
    }
    let (base, if_exists) = match name.strip_suffix("IfExists") {
        Some(base) => (base, true),
        None => (name, false),
    };
    let Some((negated, test)) = operator(base) else {
        return false;
    };
    let Some(actual) = actual else {
        return match set {
            Some("ForAllValues") => true,
            Some(_) => if_exists,
            None => if_exists || negated,
        };
    };
    let one = |actual: &String| wanted.iter().any(|w| test(w, actual)) != negated;
    match set {
        Some("ForAllValues") => actual.iter().all(one),
        Some("ForAnyValue") => actual.iter().any(one),
        Some(_) => false,
        // A negated operator is about all values, any other about any.
        None if negated => actual.iter().all(one),
        None => actual.iter().any(one),
    }
}

type Test = fn(&str, &str) -> bool;

/// Whether it is negated, and how the value in the policy (first) is compared with the one of the request (second).
fn operator(name: &str) -> Option<(bool, Test)> {
    let test: (bool, Test) = match name {
        "StringEquals" | "BinaryEquals" => (false, |w, a| w == a),
        "StringNotEquals" => (true, |w, a| w == a),
        "StringEqualsIgnoreCase" => (false, |w, a| w.eq_ignore_ascii_case(a)),
        "StringNotEqualsIgnoreCase" => (true, |w, a| w.eq_ignore_ascii_case(a)),
        "StringLike" => (false, matches_exactly),
        "StringNotLike" => (true, matches_exactly),
        "Bool" => (false, |w, a| w.eq_ignore_ascii_case(a)),
        "ArnEquals" | "ArnLike" => (false, arn_like),
        "ArnNotEquals" | "ArnNotLike" => (true, arn_like),
        "IpAddress" => (false, within),
        "NotIpAddress" => (true, within),
        "NumericEquals" => (false, |w, a| numbers(w, a, |w, a| a == w)),
        "NumericNotEquals" => (true, |w, a| numbers(w, a, |w, a| a == w)),
        "NumericLessThan" => (false, |w, a| numbers(w, a, |w, a| a < w)),
        "NumericLessThanEquals" => (false, |w, a| numbers(w, a, |w, a| a <= w)),
        "NumericGreaterThan" => (false, |w, a| numbers(w, a, |w, a| a > w)),
        "NumericGreaterThanEquals" => (false, |w, a| numbers(w, a, |w, a| a >= w)),
        // Both in RFC 3339, UTC, whole seconds: their order is that of the text.
        "DateEquals" => (false, |w, a| w == a),
        "DateNotEquals" => (true, |w, a| w == a),
        "DateLessThan" => (false, |w, a| a < w),
        "DateLessThanEquals" => (false, |w, a| a <= w),
        "DateGreaterThan" => (false, |w, a| a > w),
        "DateGreaterThanEquals" => (false, |w, a| a >= w),
        _ => return None,
    };
    Some(test)
}

/// Whether a policy may use an operator at all.
pub(super) fn is_operator(name: &str) -> bool {
    let base = name.strip_prefix("ForAllValues:").or_else(|| name.strip_prefix("ForAnyValue:")).unwrap_or(name);
    base == "Null" || operator(base.strip_suffix("IfExists").unwrap_or(base)).is_some()
}

fn numbers(wanted: &str, actual: &str, test: fn(&i64, &i64) -> bool) -> bool {
    match (wanted.parse(), actual.parse()) {
        (Ok(wanted), Ok(actual)) => test(&wanted, &actual),
        _ => false,
    }
}

/// Each of the six parts of an ARN is matched on its own.
fn arn_like(pattern: &str, arn: &str) -> bool {
    let (pattern, arn): (Vec<_>, Vec<_>) = (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    pattern.len() == 6 && arn.len() == 6 && pattern.iter().zip(&arn).all(|(p, a)| matches_exactly(p, a))
}

/// Whether an address lies within a CIDR block; a single address is a block of its own.
fn within(block: &str, address: &str) -> bool {
    let (base, bits) = match block.split_once('/') {
        Some((base, bits)) => (base, bits.parse::<u32>().ok()),
        None => (block, Some(u32::MAX)),
    };
    let (Ok(base), Ok(address), Some(bits)) = (base.parse::<IpAddr>(), address.parse::<IpAddr>(), bits) else {
        return false;
    };
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let shift = 32 - bits.min(32);
            let of = |ip: std::net::Ipv4Addr| u64::from(u32::from(ip)) >> shift;
            of(base) == of(address)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let shift = 128 - bits.min(128);
            let of = |ip: std::net::Ipv6Addr| u128::from(ip).checked_shr(shift).unwrap_or(0);
            of(base) == of(address)
        }
        _ => false,
    }
}
