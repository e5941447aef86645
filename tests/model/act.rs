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
}

/// One transition of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Act {
    /// Somebody puts right what administrators broke.
    Repair,
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
    /// An AWS administrator replaces a key's policy: ours go, a statement for an auditor comes.
    Strip,
    /// The cluster is lost and rebuilt: the key object is applied again from Git, without status.
    Rebuild,
    /// The author changes the key's description.
    Edit,
    /// The cloud's support removes a registration.
    Unregister,
}
