//! What can happen next.

/// Whose pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Who {
    Key,
    Cluster,
}

/// What goes wrong with one call to a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Never arrives.
    Lost,
    /// Takes effect; the reply is lost.
    ReplyLost,
    Throttled,
    Denied,
    /// A read from before the last change.
    StaleJust,
    /// A read from as long ago as reads can lag.
    StaleFar,
}

/// What goes wrong with one write of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Clash {
    /// Somebody else wrote meanwhile.
    Conflict,
    Lost,
    ReplyLost,
}

/// What goes wrong with a pass. The numbers count calls, writes or effects from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Disturbance {
    Nothing,
    Call(u8, Trouble),
    Write(u8, Clash),
    /// The process dies right after an effect.
    Dies(u8),
    /// Right before an effect, another replica makes a whole pass over the same object.
    Overtaken(u8),
    /// Right before an effect the process sleeps for long, and another replica makes a whole pass meanwhile.
    Frozen(u8),
    /// Right before an effect the pass stops, and anything may happen before it goes on by [`Act::Resume`].
    Stops(u8),
    /// The same, but the effect is already on its way: nobody asks any more whether it may be made.
    Flies(u8),
}

/// One transition of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Act {
    /// Somebody puts right what administrators broke and the operator may not mend.
    Repair,
    /// A pass that stopped goes on.
    Resume,
    Pass(Who, Disturbance),
    /// Nobody has anything to do, and time passes, up to the next moment that matters.
    Wait,
    /// The same although a pass would have something to do: it comes late.
    Delay,
    /// The process dies between passes.
    Crash,

    /// An AWS administrator disables a key.
    Disable,
    /// An AWS administrator schedules a key's deletion.
    Doom,
    /// An AWS administrator takes a scheduled deletion back, whoever asked for it. The key is disabled then.
    Cancel,
    /// An AWS administrator replaces a key's policy: ours go, a statement for an auditor comes.
    Strip,
    /// An AWS administrator adds a statement for an auditor.
    Share,
    /// An AWS administrator edits a statement of ours.
    Tamper,
    /// An AWS administrator deletes a key's alias.
    Unalias,
    /// An AWS administrator switches a key's rotation off.
    Unrotate,
    /// An AWS administrator removes a tag by which we know a key.
    Untag,
    /// An IAM administrator lets the role that the operator made trust an auditor in place of the cloud.
    Distrust,
    /// An IAM administrator takes the operator's policy from that role.
    Unpermit,
    /// An AWS administrator puts a key on hold.
    Hold,
    /// An AWS administrator lets another object adopt a key.
    Lend,

    /// The cluster is lost and rebuilt: the key object is applied again from Git, without status.
    Rebuild,
    /// The author changes the key's description.
    Edit,
    /// A user deletes an object.
    Delete(Who),
    /// A user confirms everything of which the object shows a token.
    Confirm(Who),
    /// A user takes the confirmation back.
    Unconfirm(Who),
    /// A user switches the object's deletion policy to the other one.
    Switch(Who),
    /// A user takes the second region out of the object.
    TakeOut(Who),
    /// The object is applied as it stands in the files: created if it is not there, else changed back.
    Apply(Who),

    /// The cloud's support removes the registration of the second region.
    Unregister,
    /// The cloud's support removes all registrations.
    Withdraw,
}
