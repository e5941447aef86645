//! What goes wrong at an effect, and when: one fault after another, each at the first occurrence of its site after the
//! one before it has fired.

use std::collections::{BTreeSet, VecDeque};

use cmk_operator::plan::step::Site;
use cmk_operator::sandbox::{Fault, Rule};

/// How long a frozen process sleeps: past every settle window that it could have opened.
pub const FREEZE_MS: i64 = 600_000;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The process dies right before the effect.
    DiesBefore,
    /// The process dies right after the effect, and has told nobody.
    DiesAfter,
    /// The request is lost.
    Lost,
    /// It takes effect; the reply is lost.
    ReplyLost,
    /// 500, with no effect.
    Error,
    /// 500, and it took effect all the same.
    ErrorApplied,
    /// The other side asks to slow down.
    Throttled,
    /// No answer in time, and no effect.
    TimedOut,
    /// No answer in time, and it took effect all the same.
    TimedOutApplied,
    /// Access is denied.
    Refused,
    /// Somebody else wrote the object meanwhile.
    Conflict,
    /// The lease was lost between the look and the effect.
    Deposed,
    /// The process sleeps for long between the look and the effect.
    Frozen,
}

impl Kind {
    pub const ALL: [Self; 13] = [
        Self::DiesBefore,
        Self::DiesAfter,
        Self::Lost,
        Self::ReplyLost,
        Self::Error,
        Self::ErrorApplied,
        Self::Throttled,
        Self::TimedOut,
        Self::TimedOutApplied,
        Self::Refused,
        Self::Conflict,
        Self::Deposed,
        Self::Frozen,
    ];

    /// Whether it means something at a site, and something else than another kind. A write of the object that is answered
    /// by 500, or not in time, is told as one whose reply was lost; an event that gets lost is lost.
    pub fn occurs_at(self, site: Site) -> bool {
        match (operation(site), self) {
            (_, Self::DiesBefore | Self::DiesAfter) => true,
            (_, _) if site == Site::PublishEvent => false,
            (Some(_), kind) => kind != Self::Conflict,
            (None, Self::Deposed) => site != Site::WriteStatus,
            (None, Self::Error | Self::ErrorApplied | Self::TimedOut | Self::TimedOutApplied) => false,
            (None, _) => true,
        }
    }

    /// The rule that makes it happen to the next call that a site makes.
    fn rule(self, operation: &str) -> Option<Rule> {
        let fault = match self {
            Self::Lost => Fault::LostBefore,
            Self::ReplyLost => Fault::AppliedButLost,
            Self::Error => Fault::Http500 { applied: false },
            Self::ErrorApplied => Fault::Http500 { applied: true },
            Self::Throttled => Fault::Throttle { retry_after_s: None },
            Self::TimedOut => Fault::Hang { ms: 0, applied: false },
            Self::TimedOutApplied => Fault::Hang { ms: 0, applied: true },
            Self::Refused => {
                let (status, code) =
                    if operation.starts_with("astra") { (403, "403") } else { (400, "AccessDeniedException") };
                Fault::Error { status, code: code.to_owned(), message: "denied".to_owned() }
            }
            Self::DiesBefore | Self::DiesAfter | Self::Conflict | Self::Deposed | Self::Frozen => return None,
        };
        Some(Rule::nth(operation, 1, fault))
    }
}

/// The sites of a life in process: all but the lease.
pub fn sites() -> impl Iterator<Item = Site> {
    // A life here is one on Astra, which has nothing to do with roles of the customer's, nor with existing databases.
    let elsewhere = |site: &Site| matches!(site, Site::Lease | Site::Role(_) | Site::EncryptDatabase);
    Site::ALL.iter().copied().filter(move |site| !elsewhere(site))
}

/// The call that a site makes to a cloud; none for what it writes into Kubernetes.
pub fn operation(site: Site) -> Option<&'static str> {
    Some(match site {
        Site::CreateKey => "kms:CreateKey",
        Site::ReplicateKey => "kms:ReplicateKey",
        Site::CreateAlias => "kms:CreateAlias",
        Site::PutPolicy => "kms:PutKeyPolicy",
        Site::EnableRotation => "kms:EnableKeyRotation",
        Site::UpdateDescription => "kms:UpdateKeyDescription",
        Site::Tag | Site::NoteDatabase | Site::MarkDeletion => "kms:TagResource",
        Site::ScheduleDeletion => "kms:ScheduleKeyDeletion",
        Site::CancelDeletion => "kms:CancelKeyDeletion",
        Site::EnableKey => "kms:EnableKey",
        Site::Register => "astra:CreateKey",
        Site::CreateDatabase => "astra:CreateDatabase",
        Site::AddRegion => "astra:AddDatacenters",
        Site::RemoveRegion => "astra:TerminateDatacenter",
        Site::TerminateDatabase => "astra:TerminateDatabase",
        Site::Lease
        | Site::AddFinalizer
        | Site::RemoveFinalizer
        | Site::RecordKeyIntent
        | Site::RecordKey
        | Site::RecordRegistrationIntent
        | Site::RecordDeployIntent
        | Site::RecordDatabase
        | Site::WriteStatus
        | Site::PublishEvent
        // No life here has these.
        | Site::EncryptDatabase
        | Site::Role(_) => return None,
    })
}

/// What is still to go wrong, and what has.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    queue: VecDeque<(Site, Kind)>,
    /// How many have happened.
    pub fired: u32,
    /// The sites that were reached after the first one happened.
    pub reached: BTreeSet<Site>,
    /// Those of them where an effect was made then, and not refused.
    pub made: BTreeSet<Site>,
    /// The sites that were reached at all.
    pub visited: BTreeSet<Site>,
    /// What is about to happen to the write of the object that comes now.
    clash: Option<Kind>,
    /// Whether a rule waits in the clouds.
    loaded: bool,
    deposed: bool,
    /// Whether the process was told that it does not lead, right before the effect that comes now.
    told: bool,
    /// Whether it made an effect all the same.
    pub overstepped: bool,
    dead: bool,
}

/// What an effect is to meet.
pub enum Meets {
    /// Nothing, or something that was prepared in [`Trouble`].
    Nothing,
    /// The end of the process.
    Death,
    /// A long sleep.
    Sleep,
    /// A fault of the cloud that it calls.
    Fault(Rule),
}

impl Trouble {
    /// Adds what goes wrong after everything that is to go wrong already.
    pub fn then(&mut self, site: Site, kind: Kind) {
        self.queue.push_back((site, kind));
    }

    fn next_at(&self, site: Site) -> Option<Kind> {
        self.queue.front().filter(|(at, _)| *at == site).map(|(_, kind)| *kind)
    }

    fn fire(&mut self) {
        self.queue.pop_front();
        self.fired += 1;
    }

    /// An effect comes.
    pub fn before(&mut self, site: Site) -> Meets {
        self.visited.insert(site);
        if self.fired > 0 {
            self.reached.insert(site);
        }
        let Some(kind) = self.next_at(site) else { return Meets::Nothing };
        match (kind, operation(site)) {
            (Kind::DiesBefore, _) => {
                self.fire();
                self.dead = true;
                return Meets::Death;
            }
            (Kind::Frozen, _) => {
                self.fire();
                return Meets::Sleep;
            }
            (Kind::DiesAfter, _) => {}
            (Kind::Deposed, _) => self.deposed = true,
            (kind, Some(operation)) => {
                self.loaded = true;
                return kind.rule(operation).map_or(Meets::Nothing, Meets::Fault);
            }
            (kind, None) => self.clash = Some(kind),
        }
        Meets::Nothing
    }

    /// An effect was made, or failed. Whether the process is dead now.
    pub fn after(&mut self, site: Site, made: bool, hit: bool) -> bool {
        self.clash = None;
        self.deposed = false;
        self.overstepped |= std::mem::take(&mut self.told) && made;
        if made && self.fired > 0 {
            self.made.insert(site);
        }
        if std::mem::take(&mut self.loaded) && hit {
            self.fire();
        } else if made && self.next_at(site) == Some(Kind::DiesAfter) {
            self.fire();
            self.dead = true;
        }
        self.dead
    }

    /// What happens to a write of the object.
    pub fn clash(&mut self) -> Option<Kind> {
        let clash = self.clash.take();
        if clash.is_some() {
            self.fire();
        }
        clash
    }

    /// Whether the process leads.
    pub fn leads(&mut self) -> bool {
        if std::mem::take(&mut self.deposed) {
            self.fire();
            self.told = true;
            return false;
        }
        true
    }

    /// Whether the process has died; the next one lives.
    pub fn take_dead(&mut self) -> bool {
        std::mem::take(&mut self.dead)
    }

    pub fn is_dead(&self) -> bool {
        self.dead
    }
}
