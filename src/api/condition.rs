//! Conditions and times as Kubernetes spells them, and the way there from the domain's words.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

pub use crate::domain::condition::{Actor, ConditionType, Reason, Standing, Truth};
use crate::domain::moment::Moment;

/// The most characters that Kubernetes takes as a condition's message.
pub const MESSAGE_LIMIT: usize = 32_768;

/// A condition as it stands in status.
///
/// The time of the last transition is that of `previous` as long as the value is the same; a new reason or message
/// is no transition.
pub fn condition(
    previous: &[Condition],
    type_: ConditionType,
    truth: Truth,
    reason: Reason,
    message: &str,
    generation: Option<i64>,
    now: Moment,
) -> Condition {
    let last_transition_time = find(previous, type_)
        .filter(|condition| condition.status == truth.as_str())
        .map_or_else(
            || time(now),
            |condition| condition.last_transition_time.clone(),
        );
    Condition {
        type_: type_.as_str().to_owned(),
        status: truth.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.chars().take(MESSAGE_LIMIT).collect(),
        observed_generation: generation,
        last_transition_time,
    }
}

/// The condition of a type, if it is there.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// A moment as a Kubernetes time. Kubernetes shows whole seconds; the rest is lost on the way.
///
/// A moment outside the years that can be written becomes the nearest one.
pub fn time(moment: Moment) -> Time {
    let nearest = if moment.0 < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Time(Timestamp::from_millisecond(moment.0).unwrap_or(nearest))
}

/// A Kubernetes time as a moment.
pub fn moment(time: &Time) -> Moment {
    Moment(time.0.as_millisecond())
}
