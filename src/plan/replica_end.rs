//! The order in which the members of a multi-Region key end: replicas first.
//!
//! AWS itself keeps a primary as long as it has replicas, in a state in which nothing can use it
//! (<https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-delete.html>). So a primary is scheduled only
//! after every replica was, and never while one stays.

use crate::domain::family::{Family, Role, related};
use crate::domain::id::KeyArn;
use crate::domain::reading::Reading;

use super::draft::Draft;
use super::teardown::Blocker;

/// Which of the keys that are to go may go now, and what keeps others from going.
#[derive(Default)]
pub(super) struct Order {
    pub(super) now: Vec<KeyArn>,
    pub(super) blockers: Vec<Blocker>,
}

/// Puts the keys that are to go in order.
pub(super) fn order(draft: &Draft<'_>, left: &[KeyArn]) -> Order {
    let mut order = Order::default();
    for arn in left {
        let family = draft.observed.facts_of(arn).present().and_then(|facts| facts.family.as_ref());
        let family = family.filter(|family| family.role_of(arn) == Role::Primary);
        let staying: Vec<&KeyArn> = family.map(|family| staying(draft, family)).unwrap_or_default();
        let strangers: Vec<&KeyArn> = staying.iter().copied().filter(|replica| !left.contains(replica)).collect();
        order.blockers.extend(strangers.iter().map(|replica| in_the_way(arn, replica)));
        if staying.is_empty() {
            order.now.push(arn.clone());
        }
    }
    order
}

/// The replicas that are not seen to be on their way out. What could not be seen stays.
fn staying<'f>(draft: &Draft<'_>, family: &'f Family) -> Vec<&'f KeyArn> {
    let gone = |arn: &KeyArn| match draft.observed.facts_of(arn) {
        Reading::Present(facts) => facts.state.is_ending(),
        // Looked for by its own ARN, that is.
        Reading::Absent => {
            let expected = draft.desired.key().and_then(|key| related(key, draft.memory, arn.region()));
            expected.as_ref() == Some(arn) || !draft.observed.regions.contains_key(arn.region())
        }
        Reading::Unknown(_) => false,
    };
    family.replicas.iter().filter(|arn| !gone(arn)).collect()
}

fn in_the_way(primary: &KeyArn, replica: &KeyArn) -> Blocker {
    let (here, there) = (primary.region(), replica.region());
    Blocker {
        region: Some(here.clone()),
        message: format!("Key {primary} is the primary of {replica}, which stays."),
        fix: format!(
            "move the primary: aws kms update-primary-region --region {here} --key-id {primary} --primary-region {there}; or, once nothing needs the replica, have its owner schedule it for deletion."
        ),
    }
}
