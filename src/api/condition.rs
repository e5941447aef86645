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
        .map_or_else(|| time(now), |condition| condition.last_transition_time.clone());
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
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

/// A moment as a Kubernetes time. Kubernetes shows whole seconds; the rest is lost on the way.
///
/// A moment outside the years that can be written becomes the nearest one.
pub fn time(moment: Moment) -> Time {
    let nearest = if moment.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Time(Timestamp::from_millisecond(moment.0).unwrap_or(nearest))
}

/// A Kubernetes time as a moment.
pub fn moment(time: &Time) -> Moment {
    Moment(time.0.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment(1_767_225_600_000); // 2026-01-01T00:00:00Z
    const LATER: Moment = Moment(1_767_225_661_999);

    fn ready(previous: &[Condition], truth: Truth, reason: Reason, now: Moment) -> Condition {
        condition(previous, ConditionType::Ready, truth, reason, "text", Some(3), now)
    }

    #[test]
    fn only_a_new_value_is_a_transition() {
        let first = ready(&[], Truth::False, Reason::InProgress, START);
        assert_eq!(first.last_transition_time, time(START));

        let other_reason = ready(std::slice::from_ref(&first), Truth::False, Reason::AwaitingAction, LATER);
        assert_eq!(other_reason.last_transition_time, time(START));
        assert_eq!(other_reason.reason, "AwaitingAction");

        let other_value = ready(&[first], Truth::True, Reason::AsDeclared, LATER);
        assert_eq!(other_value.last_transition_time, time(LATER));
    }

    #[test]
    fn a_message_is_cut_to_what_kubernetes_takes() {
        let long = "é".repeat(MESSAGE_LIMIT + 1);
        let cut = condition(&[], ConditionType::Ready, Truth::False, Reason::InProgress, &long, None, START);
        assert_eq!(cut.message.chars().count(), MESSAGE_LIMIT);
    }

    #[test]
    fn moments_survive_the_way_to_kubernetes_to_the_second() {
        let written = serde_json::to_value(time(LATER)).unwrap();
        assert_eq!(written, "2026-01-01T00:01:01Z");
        let read: Time = serde_json::from_value(written).unwrap();
        assert_eq!(moment(&read), Moment(1_767_225_661_000));
    }

    #[test]
    fn a_moment_beyond_the_calendar_is_the_nearest_that_can_be_written() {
        assert_eq!(time(Moment(i64::MAX)), Time(Timestamp::MAX));
        assert_eq!(time(Moment(i64::MIN)), Time(Timestamp::MIN));
    }
}
