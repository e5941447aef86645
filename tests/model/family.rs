//! The invariant of multi-Region keys.

use std::collections::BTreeSet;

use cmk_operator::sandbox::kms::KeyState;

use super::judge::{Court, Event, Sent, Verdict, is_ours, require};

impl Court<'_> {
    /// A multi-Region key is one: whatever is ours in any region has its id, and replicas are made of nothing else.
    pub(super) fn one_key_in_all_regions(&self, event: &Event<'_>) -> Verdict {
        if !self.config.scene.multi_region || self.ghost.rebuilt {
            return Ok(());
        }
        match event {
            Event::Send { sent: Sent::ReplicateKey { primary, .. }, .. } => {
                let arn = primary.to_string();
                let usable =
                    self.world.true_keys().any(|k| k.arn == arn && is_ours(&k) && k.state == KeyState::Enabled);
                require(usable || self.tape.disturbed, || format!("{arn} is not ours, or not usable"))
            }
            Event::State => {
                let id = |arn: &str| arn.rsplit('/').next().unwrap_or_default().to_owned();
                let ids: BTreeSet<String> = self.world.true_keys().filter(is_ours).map(|k| id(k.arn)).collect();
                require(ids.len() <= 1, || format!("{ids:?}"))
            }
            _ => Ok(()),
        }
    }
}
