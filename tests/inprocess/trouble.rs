//! What goes wrong at an effect, and when: one fault after another, each at the first occurrence of its site after the
//! one before it has fired.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use cmk_operator::domain::capabilities::Cloud;
use cmk_operator::plan::role_step::RoleSite;
use cmk_operator::plan::step::Site;
use cmk_operator::sandbox::{Entry, Fault, Rule};

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
    pub fn occurs_at(self, site: Site, cloud: Cloud) -> bool {
        match (effect(site, cloud), self) {
            (Effect::None, _) => false,
            (_, Self::DiesBefore | Self::DiesAfter) => true,
            (_, _) if site == Site::PublishEvent => false,
            (Effect::Call(_), kind) => kind != Self::Conflict,
            (Effect::Kubernetes, Self::Deposed) => site != Site::WriteStatus,
            (Effect::Kubernetes, Self::Error | Self::ErrorApplied | Self::TimedOut | Self::TimedOutApplied) => false,
            (Effect::Kubernetes, _) => true,
        }
    }

    /// When it happens to an effect. An adapter may look once more and then find that there is nothing to be sent, and what
    /// was refused has nothing right after it.
    pub fn point(self, site: Site, cloud: Cloud) -> Point {
        match (self, effect(site, cloud)) {
            (Self::DiesAfter, _) => Point::After,
            (Self::DiesBefore | Self::Frozen | Self::Deposed, _) | (_, Effect::Kubernetes | Effect::None) => {
                Point::Before
            }
            (_, Effect::Call(_)) => Point::Call,
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
                let (status, code) = match operation.split(':').next() {
                    Some("kms") => (400, "AccessDeniedException"),
                    Some("iam") => (403, "AccessDenied"),
                    Some("atlas") => (403, "USER_UNAUTHORIZED"),
                    _ => (403, "403"),
                };
                Fault::Error { status, code: code.to_owned(), message: "denied".to_owned() }
            }
            Self::DiesBefore | Self::DiesAfter | Self::Conflict | Self::Deposed | Self::Frozen => return None,
        };
        Some(Rule::nth(operation, 1, fault))
    }
}

/// A moment of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// It comes.
    Before,
    /// Its call is sent.
    Call,
    /// It was made, and not refused.
    After,
}

/// The sites of lives on a cloud: all that have an effect there, but the lease, since nobody leads in process.
pub fn sites(cloud: Cloud) -> impl Iterator<Item = Site> {
    Site::ALL.iter().copied().filter(move |site| *site != Site::Lease && effect(*site, cloud) != Effect::None)
}

/// What a site changes in a life on a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It makes this call.
    Call(&'static str),
    /// It writes into Kubernetes.
    Kubernetes,
    /// Nothing: this cloud has no such thing.
    None,
}

/// What a site changes in a life on a cloud.
pub fn effect(site: Site, cloud: Cloud) -> Effect {
    use Cloud::{Astra, Atlas, SingleStore};
    Effect::Call(match (site, cloud) {
        (Site::CreateKey, _) => "kms:CreateKey",
        (Site::CreateAlias, _) => "kms:CreateAlias",
        (Site::PutPolicy, _) => "kms:PutKeyPolicy",
        (Site::EnableRotation, _) => "kms:EnableKeyRotation",
        (Site::UpdateDescription, _) => "kms:UpdateKeyDescription",
        (Site::Tag | Site::NoteDatabase, _) => "kms:TagResource",
        // A key there is in one region.
        (Site::ReplicateKey, Atlas) => return Effect::None,
        (Site::ReplicateKey, Astra | SingleStore) => "kms:ReplicateKey",
        // It cannot say whether a key is used, so none is ever scheduled.
        (Site::MarkDeletion | Site::ScheduleDeletion | Site::CancelDeletion | Site::EnableKey, SingleStore) => {
            return Effect::None;
        }
        (Site::MarkDeletion, Astra | Atlas) => "kms:TagResource",
        (Site::ScheduleDeletion, Astra | Atlas) => "kms:ScheduleKeyDeletion",
        (Site::CancelDeletion, Astra | Atlas) => "kms:CancelKeyDeletion",
        (Site::EnableKey, Astra | Atlas) => "kms:EnableKey",
        (Site::Register, Astra) => "astra:CreateKey",
        (Site::Register, Atlas | SingleStore) => return Effect::None,
        (Site::CreateDatabase, Astra) => "astra:CreateDatabase",
        (Site::CreateDatabase, Atlas) => "atlas:CreateCluster",
        (Site::CreateDatabase, SingleStore) => "singlestore:CreateWorkspaceGroup",
        (Site::AddRegion, Astra) => "astra:AddDatacenters",
        (Site::AddRegion | Site::RemoveRegion | Site::EncryptDatabase, Atlas) => "atlas:UpdateCluster",
        (Site::AddRegion, SingleStore) => "singlestore:SetUpReplication",
        (Site::RemoveRegion, Astra) => "astra:TerminateDatacenter",
        // Replication is for good.
        (Site::RemoveRegion, SingleStore) => return Effect::None,
        (Site::EncryptDatabase, Astra | SingleStore) => return Effect::None,
        (Site::TerminateDatabase, Astra) => "astra:TerminateDatabase",
        (Site::TerminateDatabase, Atlas) => "atlas:DeleteCluster",
        (Site::TerminateDatabase, SingleStore) => "singlestore:TerminateWorkspaceGroup",
        (Site::CreatePart, Astra | Atlas) => return Effect::None,
        (Site::CreatePart, SingleStore) => "singlestore:CreateWorkspace",
        (Site::Role(_), Astra | SingleStore) => return Effect::None,
        (Site::Role(site), Atlas) => match site {
            RoleSite::RecordIntent | RoleSite::Record => return Effect::Kubernetes,
            RoleSite::Create => "atlas:CreateCloudProviderAccess",
            RoleSite::Authorize => "atlas:AuthorizeCloudProviderAccess",
            RoleSite::Register | RoleSite::Withdraw => "atlas:UpdateEncryptionAtRest",
            RoleSite::RemoveLink => "atlas:DeauthorizeCloudProviderAccess",
            RoleSite::MakeRole => "iam:CreateRole",
            RoleSite::TrustCloud => "iam:UpdateAssumeRolePolicy",
            RoleSite::PermitRole => "iam:PutRolePolicy",
            RoleSite::DeleteRole => "iam:DeleteRole",
        },
        (Site::RecordRegistrationIntent, SingleStore) => return Effect::None,
        (
            Site::Lease
            | Site::AddFinalizer
            | Site::RemoveFinalizer
            | Site::RecordKeyIntent
            | Site::RecordKey
            | Site::RecordRegistrationIntent
            | Site::RecordDeployIntent
            | Site::RecordDatabase
            | Site::WriteStatus
            | Site::PublishEvent,
            _,
        ) => return Effect::Kubernetes,
    })
}

/// What is still to go wrong, and what has.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The cloud of the lives that it happens in.
    cloud: Cloud,
    queue: VecDeque<(Site, Kind)>,
    /// How many have happened.
    pub fired: u32,
    /// The sites that were come to after the first one happened, and how far.
    pub reached: BTreeSet<(Site, Point)>,
    /// The sites that were reached at all.
    pub visited: BTreeSet<Site>,
    /// How many calls were logged before the effect that comes now.
    calls: usize,
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
    /// None yet, in lives on a cloud.
    pub fn on(cloud: Cloud) -> Self {
        Self {
            cloud,
            queue: VecDeque::new(),
            fired: 0,
            reached: BTreeSet::new(),
            visited: BTreeSet::new(),
            calls: 0,
            clash: None,
            loaded: false,
            deposed: false,
            told: false,
            overstepped: false,
            dead: false,
        }
    }

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

    /// An effect comes; so many calls were logged so far.
    pub fn before(&mut self, site: Site, calls: usize) -> Meets {
        self.calls = calls;
        self.visited.insert(site);
        if self.fired > 0 {
            self.reached.insert((site, Point::Before));
        }
        let Some(kind) = self.next_at(site) else { return Meets::Nothing };
        match (kind, effect(site, self.cloud)) {
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
            (kind, Effect::Call(operation)) => {
                self.loaded = true;
                return kind.rule(operation).map_or(Meets::Nothing, Meets::Fault);
            }
            (kind, Effect::Kubernetes) => self.clash = Some(kind),
            (_, Effect::None) => panic!("{} came to {site:?}, which is said to have no effect there", self.cloud),
        }
        Meets::Nothing
    }

    /// An effect was made, or failed; these are the calls so far. Whether the process is dead now.
    pub fn after(&mut self, site: Site, made: bool, hit: bool, log: &[Arc<Entry>]) -> bool {
        self.clash = None;
        self.deposed = false;
        self.overstepped |= std::mem::take(&mut self.told) && made;
        let called = match effect(site, self.cloud) {
            Effect::Call(operation) => log.iter().skip(self.calls).any(|call| call.operation == operation),
            Effect::Kubernetes | Effect::None => false,
        };
        let points = [(called, Point::Call), (made, Point::After)];
        for (_, point) in points.into_iter().filter(|(come_to, _)| *come_to && self.fired > 0) {
            self.reached.insert((site, point));
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
