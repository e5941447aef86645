//! The simulated world: one value that holds everything the clouds know, and the one way to call into it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::astra::Org;
use super::failure::{Failure, ServiceError};
use super::fault::{Access, Called, Fault, Faults, Rule};
use super::iam::{Iam, Identity, KeyRefused, Trust};
use super::ident::{arn_parts, pick};
use super::kms::KmsRegion;
use super::log::{Entry, Log};
use super::policy::Facts;
use super::quota::Buckets;
use super::settings::Settings;
use super::versioned::Versioned;

/// The services with an address of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Kms,
    Sts,
    Tagging,
    Iam,
    Astra,
    Atlas,
    SingleStore,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::Sts => "sts",
            Self::Tagging => "tagging",
            Self::Iam => "iam",
            Self::Astra => "astra",
            Self::Atlas => "atlas",
            Self::SingleStore => "singlestore",
        }
    }
}

/// A call on its way in.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) service: Service,
    pub(super) operation: &'static str,
    pub(super) access: Access,
    pub(super) account: String,
    pub(super) principal: String,
    pub(super) region: String,
    pub(super) resource: String,
}

/// How replies travel. Not part of the state of the world.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// Replies travel over HTTP, so that a hang is a late reply and not an error value.
    pub(super) wire: bool,
    /// Real milliseconds the present reply is to be held back.
    pub(super) delay_ms: u64,
    /// The present reply breaks off in the middle.
    pub(super) partial: bool,
    /// What the present call turned out to be about.
    pub(super) touched: Option<String>,
    /// What is remarkable about the present call.
    pub(super) note: Option<&'static str>,
    /// The moment whose state of IAM decides about the present call.
    pub(super) iam_at_ms: i64,
    /// Atlas: the rate limit of the present call, and what is left of it.
    pub(super) rate: Option<(u32, u32)>,
    requests: u64,
}

impl PartialEq for Link {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Link {}

impl std::hash::Hash for Link {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// Everything the simulated clouds know. It never reads a clock: time passes by [`World::advance_to`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub(super) now_ms: i64,
    pub(super) settings: Settings,
    pub(super) made: u64,
    /// The next moment at which a key changes by itself, or one before it.
    pub(super) next_wake_ms: i64,
    reads: u64,
    pub(super) iam: Arc<Iam>,
    /// (account, region) -> keys and aliases
    pub(super) kms: BTreeMap<(String, String), Versioned<KmsRegion>>,
    /// organization id -> registrations and databases
    pub(super) astra: BTreeMap<String, Versioned<Org>>,
    pub(super) tokens: Arc<BTreeMap<String, super::astra::Token>>,
    pub(super) atlas: Arc<super::atlas::Vendor>,
    /// project id -> what is in it
    pub(super) atlas_projects: BTreeMap<String, Versioned<super::atlas::Project>>,
    /// The next moment at which something in a project changes by itself.
    pub(super) atlas_wake_ms: i64,
    pub(super) singlestore: super::singlestore::SingleStoreCloud,
    faults: Faults,
    buckets: Buckets,
    log: Log,
    pub(super) link: Link,
}

impl World {
    /// A world with nothing in it, at `now_ms` since the epoch.
    pub fn empty(now_ms: i64, settings: Settings) -> Self {
        Self {
            now_ms,
            made: 0,
            next_wake_ms: i64::MAX,
            reads: 0,
            iam: Arc::new(Iam::new(settings.seed)),
            kms: BTreeMap::new(),
            astra: BTreeMap::new(),
            tokens: Arc::new(BTreeMap::new()),
            atlas: Arc::default(),
            atlas_projects: BTreeMap::new(),
            atlas_wake_ms: i64::MAX,
            singlestore: super::singlestore::SingleStoreCloud::default(),
            faults: Faults::default(),
            buckets: Buckets::default(),
            log: Log::default(),
            link: Link::default(),
            settings,
        }
    }

    /// Simulated time, ms since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Lets time pass. It never goes back: an earlier moment is ignored.
    pub fn advance_to(&mut self, now_ms: i64) {
        if now_ms > self.now_ms {
            self.now_ms = now_ms;
            self.age_keys();
            self.age_atlas();
        }
    }

    /// Lets `ms` pass.
    pub fn advance(&mut self, ms: i64) {
        self.advance_to(self.now_ms.saturating_add(ms));
    }

    /// What is set.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes what is set. The seed has no effect on what was made before.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Adds a fault rule and gives its number.
    pub fn add_fault(&mut self, rule: Rule) -> u32 {
        self.faults.add(rule)
    }

    /// Removes all fault rules.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// The rules with their counts.
    pub fn faults(&self) -> &[Rule] {
        self.faults.rules()
    }

    /// Starts or stops writing the call log (off in a new world: a model has no use for it).
    pub fn record(&mut self, on: bool) {
        self.log.enabled = on;
    }

    /// The call log.
    pub fn log(&self) -> &[Arc<Entry>] {
        self.log.entries()
    }

    /// Forgets the call log; numbers go on.
    pub fn clear_log(&mut self) {
        self.log.clear();
    }

    /// Makes sure an account is simulated: from then on its principals must exist.
    pub fn ensure_account(&mut self, account: &str) {
        if !self.iam.is_simulated(account) {
            Arc::make_mut(&mut self.iam).ensure_account(account);
        }
    }

    /// Lets an access key id stand for somebody.
    pub fn add_access_key(&mut self, access_key_id: &str, identity: Identity) {
        self.ensure_account(&identity.account);
        Arc::make_mut(&mut self.iam).add_access_key(access_key_id, identity);
    }

    /// Creates (or re-creates, as somebody new) a role or user by its ARN and gives its unique id; `None` if the
    /// ARN is not that of a role or user.
    pub fn create_principal(&mut self, arn: &str, trust: Option<Trust>) -> Option<String> {
        let parts = arn_parts(arn)?;
        let is_principal = parts[5].starts_with("role/") || parts[5].starts_with("user/");
        if parts[2] != "iam" || !is_principal {
            return None;
        }
        self.ensure_account(parts[4]);
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        Some(Arc::make_mut(&mut self.iam).create(arn, trust, now_ms, keep_ms))
    }

    /// Deletes a principal; policies that name it show its unique id from now on.
    pub fn delete_principal(&mut self, arn: &str) -> bool {
        let (now_ms, keep_ms) = (self.now_ms, self.keep_ms());
        Arc::make_mut(&mut self.iam).delete(arn, now_ms, keep_ms)
    }

    /// Who an access key id stands for.
    pub fn identify(&mut self, access_key_id: &str) -> Result<Identity, KeyRefused> {
        let now_ms = self.now_ms;
        Arc::make_mut(&mut self.iam).identify(access_key_id, now_ms)
    }

    /// How long states are kept for stale reads.
    pub(super) fn keep_ms(&self) -> i64 {
        let s = &self.settings;
        let lags =
            [s.kms_read_lag_ms, s.astra_read_lag_ms, s.iam_lag_ms, s.atlas_read_lag_ms, s.singlestore_read_lag_ms];
        let more = [s.tag_index_lag_ms, s.history_ms, self.faults.longest_stale_ms()];
        lags.into_iter().chain(more).max().unwrap_or(0)
    }

    /// Marks the present call in the log if the lockout check was bypassed.
    pub(super) fn note_bypass(&mut self, bypass: bool) {
        if bypass {
            self.link.note = Some("bypass_policy_lockout_safety_check");
        }
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// The one way into the clouds: fault rules, quotas, permissions, the call itself, the log.
    /// `body` gets the moment whose state it is to read (the present for writes).
    pub(super) fn perform<T>(
        &mut self,
        call: Call,
        body: impl FnOnce(&mut Self, i64) -> Result<T, ServiceError>,
    ) -> Result<T, Failure> {
        self.link.delay_ms = 0;
        self.link.partial = false;
        self.link.touched = None;
        self.link.note = None;
        self.link.rate = None;
        self.link.iam_at_ms = self.iam_moment();
        let operation = format!("{}:{}", call.service.name(), call.operation);
        let called = Called {
            operation: &operation,
            access: call.access,
            region: &call.region,
            account: &call.account,
            resource: &call.resource,
        };
        let struck = self.faults.strike(&called);
        let fault = struck.as_ref().map(|(_, fault)| fault);
        let age_ms = self.age_of_read(&call, fault);
        let mut applied = false;
        let run = |world: &mut Self| {
            let result = world.admit(&call).and_then(|()| body(world, world.now_ms - age_ms));
            applied = result.is_ok();
            result.map_err(Failure::Service)
        };
        let result = match fault {
            None | Some(Fault::StaleRead { .. }) => run(self),
            Some(Fault::Error { status, code, message }) => {
                Err(ServiceError::new(*status, code.clone(), message.clone()).into())
            }
            Some(Fault::LostBefore) => Err(Failure::Lost),
            Some(Fault::PartialReply) if self.link.wire => {
                let result = run(self);
                self.link.partial = true;
                result
            }
            Some(Fault::AppliedButLost | Fault::PartialReply) => {
                run(self).and(Err(Failure::Lost)).map_err(|_| Failure::Lost)
            }
            Some(Fault::Http500 { applied }) => {
                if *applied {
                    let _ = run(self);
                }
                Err(internal(call.service).into())
            }
            Some(Fault::Throttle { retry_after_s }) => Err(throttled(call.service, *retry_after_s).into()),
            Some(Fault::Hang { ms, applied }) => {
                let result = if *applied { run(self) } else { Err(Failure::Lost) };
                if self.link.wire {
                    self.link.delay_ms = *ms;
                    result
                } else {
                    result.and(Err(Failure::TimedOut)).map_err(|_| Failure::TimedOut)
                }
            }
        };
        if self.log.enabled {
            let told = result.as_ref().err().map_or("ok", Failure::code);
            let outcome = if self.link.partial { "lost" } else { told }.to_owned();
            let resource = self.link.touched.take().unwrap_or_else(|| call.resource.clone());
            self.log.push(Entry {
                seq: 0,
                at_ms: self.now_ms,
                service: call.service.name().into(),
                operation,
                account: call.account,
                principal: call.principal,
                region: call.region,
                resource,
                access: call.access,
                outcome,
                applied,
                fault: struck.map(|(id, _)| id),
                note: self.link.note,
                age_ms,
            });
        }
        result
    }

    fn age_of_read(&mut self, call: &Call, fault: Option<&Fault>) -> i64 {
        if call.access == Access::Write {
            return 0;
        }
        if let Some(Fault::StaleRead { ms }) = fault {
            return (*ms).max(0);
        }
        let lag = match call.service {
            Service::Kms => self.settings.kms_read_lag_ms,
            Service::Iam => self.settings.iam_lag_ms,
            Service::Astra => self.settings.astra_read_lag_ms,
            Service::Atlas => self.settings.atlas_read_lag_ms,
            Service::SingleStore => self.settings.singlestore_read_lag_ms,
            Service::Sts | Service::Tagging => 0,
        };
        if lag <= 0 {
            return 0;
        }
        self.reads += 1;
        pick(self.settings.seed, "read", self.reads, lag)
    }

    /// The moment whose state of IAM decides about a request.
    fn iam_moment(&mut self) -> i64 {
        let lag = self.settings.iam_lag_ms;
        if lag <= 0 {
            return self.now_ms;
        }
        self.reads += 1;
        self.now_ms - pick(self.settings.seed, "iam", self.reads, lag)
    }

    /// Takes the share of KMS quotas that an operation has in another region than the one that was called.
    pub(super) fn charge(
        &mut self,
        account: &str,
        region: &str,
        operation: &str,
        times: u32,
    ) -> Result<(), ServiceError> {
        let (settings, now_ms) = (&self.settings, self.now_ms);
        for _ in 0..times {
            if !self.buckets.take(&settings.quotas, account, region, operation, now_ms) {
                return Err(throttled(Service::Kms, None));
            }
        }
        Ok(())
    }

    /// Quotas and identity policies, for the AWS services. What a policy on a resource has a say in is decided later.
    fn admit(&mut self, call: &Call) -> Result<(), ServiceError> {
        if matches!(call.service, Service::Astra | Service::Atlas | Service::SingleStore) {
            return Ok(());
        }
        let (settings, now_ms) = (&self.settings, self.now_ms);
        if call.service == Service::Kms
            && !self.buckets.take(&settings.quotas, &call.account, &call.region, call.operation, now_ms)
        {
            return Err(throttled(call.service, None));
        }
        let prefix = if call.service == Service::Tagging { "tag" } else { call.service.name() };
        let action = format!("{prefix}:{}", call.operation);
        let who = Identity { account: call.account.clone(), arn: call.principal.clone(), session: None };
        let alone = match (call.service, call.operation) {
            (Service::Tagging, _) | (Service::Kms, "CreateKey" | "ListKeys" | "ListAliases") => Some("*".to_owned()),
            (Service::Kms, "CreateAlias" | "UpdateAlias" | "DeleteAlias") => {
                Some(super::kms_arn(&call.account, &call.region, &call.resource))
            }
            _ => None,
        };
        let facts = || Facts::default().and("aws:RequestedRegion", &call.region);
        let may_not = alone.is_some_and(|resource| !self.may_by_itself(&who, &action, &resource, &facts()));
        if call.operation != "GetCallerIdentity" && (self.iam.denies(&who, &action) || may_not) {
            let error = super::kms::access_denied(&who, &action, &call.resource);
            return Err(match call.service {
                Service::Sts | Service::Iam => ServiceError::new(403, "AccessDenied", error.message),
                _ => error,
            });
        }
        Ok(())
    }
}

fn throttled(service: Service, retry_after_s: Option<u32>) -> ServiceError {
    match service {
        Service::Kms => ServiceError::aws(
            "ThrottlingException",
            "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.",
        ),
        Service::Tagging => ServiceError::aws("ThrottledException", "Rate exceeded"),
        Service::Sts | Service::Iam => ServiceError::aws("Throttling", "Rate exceeded"),
        Service::Atlas => super::atlas::rate_limited("", retry_after_s),
        Service::Astra => ServiceError {
            retry_after_s: Some(retry_after_s.unwrap_or(1)),
            ..ServiceError::new(429, "429", "too many requests")
        },
        // Whether the vendor says when to come back is not documented.
        Service::SingleStore => ServiceError { retry_after_s, ..ServiceError::new(429, "429", "Too many requests") },
    }
}

fn internal(service: Service) -> ServiceError {
    match service {
        Service::Kms => ServiceError::new(500, "KMSInternalException", "An internal error occurred."),
        Service::Tagging => ServiceError::new(500, "InternalServiceException", "Internal service error"),
        Service::Sts => ServiceError::new(500, "InternalFailure", "Internal failure"),
        Service::Iam => ServiceError::new(500, "ServiceFailure", "The request processing has failed"),
        Service::Atlas => ServiceError::new(500, "UNEXPECTED_ERROR", "Unexpected error."),
        Service::Astra => ServiceError::new(500, "500", "internal server error"),
        Service::SingleStore => ServiceError::new(500, "500", "Internal server error"),
    }
}

impl World {
    /// A number for the id of a request. Not part of the state.
    pub(super) fn next_request(&mut self) -> u64 {
        self.link.requests += 1;
        self.link.requests
    }
}
