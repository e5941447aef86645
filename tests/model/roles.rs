//! The invariants of a cloud that uses the key as a role in the customer's account: of the role, of the cloud's record of
//! it, and of how the cloud lets go of the key.

use cmk_operator::sandbox::{ACCOUNT, kms::KeyState};

use super::act::Who;
use super::files::ROLE_ARN;
use super::judge::{Court, Event, Sent, Verdict, is_ours, require};

impl Court<'_> {
    /// The cloud was never had make a second record. One that no role is in yet is known by status alone, and so by nobody
    /// after the object.
    pub(super) fn one_record_of_the_role(&self, event: &Event<'_>) -> Verdict {
        if !matches!(event, Event::State) || self.ghost.rebuilt {
            return Ok(());
        }
        let records = self.truth().project().map_or(0, |project| project.roles.len());
        require(records <= 1 + self.ghost.released, || format!("{records} records"))
    }

    /// To have the cloud make a record is not idempotent: that it is asked has to be known before.
    pub(super) fn link_intent_is_durable(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: Sent::MakeLink, .. } = event else { return Ok(()) };
        let asked =
            self.shown().any(|region| region.cloud_role.as_ref().is_some_and(|role| role.requested_at.is_some()));
        require(asked, || "status does not say so".to_owned())
    }

    /// No other role is made, changed, deleted, or shown to the cloud.
    pub(super) fn only_our_role_is_written(&self, event: &Event<'_>) -> Verdict {
        let Event::Send {
            sent:
                Sent::MakeRole { role } | Sent::ChangeRole { role } | Sent::DeleteRole { role } | Sent::Authorize { role },
            ..
        } = event
        else {
            return Ok(());
        };
        require(*role == ROLE_ARN, || format!("{role} of {ACCOUNT} is not the declared role"))
    }

    /// First nothing is under the key any more, then the registration goes, then the record, and the role last; all that
    /// only when somebody has confirmed the end of the key.
    pub(super) fn what_lets_go_of_a_key_is_confirmed(&self, event: &Event<'_>) -> Verdict {
        let Event::Send { sent: sent @ (Sent::Withdraw | Sent::RemoveLink | Sent::DeleteRole { .. }), .. } = event
        else {
            return Ok(());
        };
        let read = &self.tape.read;
        let ours = |arn: &str| self.world.true_keys().any(|key| key.arn == arn && is_ours(&key));
        let confirmed = read.confirmed.iter().any(|all| all.split(' ').any(ours));
        require(read.deleting && read.tears_down && confirmed, || format!("confirmed is {:?}", read.confirmed))?;
        let Some(project) = self.truth().project() else { return Ok(()) };
        let under = project.clusters.iter().find(|cluster| cluster.needs_key());
        require(under.is_none(), || format!("{:?} is under the key", under.map(|cluster| cluster.name())))?;
        match sent {
            Sent::Withdraw => Ok(()),
            Sent::RemoveLink => require(project.key.is_none(), || "the key is registered".to_owned()),
            _ => require(project.key.is_none() && project.roles.is_empty(), || {
                format!("{:?} and {:?} are there", project.key, project.roles)
            }),
        }
    }

    /// A key that goes with everything leaves no way to it.
    pub(super) fn no_role_is_left_behind(&self, event: &Event<'_>) -> Verdict {
        let Event::Gone { who: Who::Key } = event else { return Ok(()) };
        let Some(project) = self.truth().project().filter(|_| self.tape.read.tears_down) else { return Ok(()) };
        // A key that was taken from the object, or had no end, keeps what it needs.
        let mut ours = self.world.true_keys().filter(is_ours);
        if self.tape.disturbed || self.ghost.rebuilt || ours.any(|key| key.state != KeyState::PendingDeletion) {
            return Ok(());
        }
        require(project.key.is_none(), || format!("{:?} is registered", project.key))?;
        require(project.roles.is_empty(), || format!("{:?} is left", project.roles))?;
        require(self.truth().role().is_none(), || "the role is left".to_owned())
    }
}
