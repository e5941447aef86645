//! An attempt at something that is not idempotent, of which nobody learned what became.
//!
//! Clouds show late what they did, so until a settle window has passed since the attempt began, that nothing is there means
//! nothing: it is looked for, and not tried again.

use crate::domain::condition::{ConditionType, Reason};
use crate::domain::id::Region;
use crate::domain::moment::{Moment, Span};

use super::draft::Draft;

/// The attempt.
pub(super) struct Attempt<'a> {
    /// What was tried, as in "it is not known whether ... succeeded".
    pub(super) what: &'a str,
    pub(super) began: Moment,
    /// How long its effect may stay out of sight.
    pub(super) settles_in: Span,
    /// Whether this pass looked for it wherever it could be.
    pub(super) searched: bool,
}

impl Draft<'_> {
    /// Whether an attempt may still turn out to have succeeded. Then it is waited for, and that is said.
    pub(super) fn awaits(
        &mut self,
        attempt: &Attempt<'_>,
        condition: ConditionType,
        region: &Region,
        reason: Reason,
    ) -> bool {
        let age = self.now().since(attempt.began);
        if age >= attempt.settles_in && attempt.searched {
            return false;
        }
        let left = Span((attempt.settles_in.0 - age.0).max(0));
        let message = format!(
            "It is not known whether {} of {} s ago succeeded; looking for it, another attempt in {} s at the earliest.",
            attempt.what,
            age.as_seconds(),
            left.as_seconds()
        );
        self.working(condition, Some(region), reason, message);
        self.wait(left);
        self.poll();
        true
    }
}
