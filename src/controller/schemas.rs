//! Whether the served CRDs hold all that this binary remembers.
//!
//! An API server drops what a CRD does not name, from what it stores and from what it shows. So under an older CRD an
//! attempt whose outcome is not known looks as if it had never been made, and the next write of the object makes that
//! last. Nothing is read or written then, and readiness says what to apply; the durable record is there again with the CRD.
//!
//! # Caveats
//!
//! - A CRD that changes is noticed within [`BELIEVED`]. In between, a pass sees that the same version of its object
//!   remembers less than before, and stops; and a write that has to be remembered counts only if its answer holds it, see
//!   [`KubeLedger`](crate::controller::ledger::KubeLedger). A status that was read just before the change and is written
//!   just after it loses what the older schema lacks.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, CustomResourceExt, ResourceExt};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::api::{ANNOTATION_SCHEMA_VERSION, CustomerKey, EncryptedCluster, SCHEMA_VERSION};
use crate::clock::Clock;
use crate::controller::run::ANSWER;
use crate::telemetry::http::Readiness;

/// How long an answer is believed, in milliseconds: all passes share one look at the two CRDs.
const BELIEVED: i64 = 1_000;

/// What readiness calls it.
const NAME: &str = "crds";

/// The last look at the served CRDs.
#[derive(Debug)]
pub struct Schemas {
    readiness: Arc<Readiness>,
    looked: Mutex<Option<Look>>,
}

#[derive(Clone, Debug)]
struct Look {
    at_ms: i64,
    /// What is wrong; nothing: they are recent enough.
    trouble: Option<String>,
}

impl Schemas {
    /// Nothing was looked at yet.
    pub fn new(readiness: Arc<Readiness>) -> Self {
        Self { readiness, looked: Mutex::default() }
    }

    /// Something was seen that an older schema would explain: the next answer is a new one.
    pub async fn doubt(&self) {
        if let Some(last) = self.looked.lock().await.as_mut() {
            last.at_ms = i64::MIN / 2;
        }
    }

    /// Whether both CRDs are served with at least the schema that this binary knows. If not, the log and readiness say so.
    pub async fn are_current(&self, client: &Client, clock: &dyn Clock) -> bool {
        let mut looked = self.looked.lock().await;
        let at_ms = clock.monotonic_ms();
        if let Some(last) = looked.as_ref().filter(|last| at_ms - last.at_ms < BELIEVED) {
            return last.trouble.is_none();
        }
        let before = looked.as_ref().map(|last| last.trouble.clone());
        let looked_at = tokio::time::timeout(ANSWER, look(client)).await;
        let trouble = match looked_at.unwrap_or_else(|_| Err("the CRDs could not be read in time".to_owned())) {
            Ok(trouble) => trouble,
            // What was seen last still counts: an API server that does not answer takes no write either.
            Err(error) => match &before {
                Some(known) => known.clone(),
                None => Some(error),
            },
        };
        if before.as_ref() != Some(&trouble) {
            if let Some(trouble) = &trouble {
                warn!(trouble, "waiting for the CRDs; nothing is done meanwhile");
                self.readiness.missing(NAME, trouble.as_str());
            } else {
                info!("the CRDs are served");
                self.readiness.met(NAME);
            }
        }
        let current = trouble.is_none();
        *looked = Some(Look { at_ms, trouble });
        current
    }
}

/// What is wrong with the served CRDs, or why they could not be read.
async fn look(client: &Client) -> Result<Option<String>, String> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut trouble = Vec::new();
    for name in [CustomerKey::crd_name(), EncryptedCluster::crd_name()] {
        let crd = api.get_metadata_opt(name).await.map_err(|e| format!("CRD {name} could not be read: {e}"))?;
        let Some(crd) = crd else {
            trouble.push(format!("CRD {name} is missing: apply crds/"));
            continue;
        };
        let version = crd.annotations().get(ANNOTATION_SCHEMA_VERSION).and_then(|v| v.parse::<i32>().ok());
        if version.unwrap_or_default() < SCHEMA_VERSION {
            trouble
                .push(format!("CRD {name} has schema version {version:?}, older than {SCHEMA_VERSION}: apply crds/"));
        }
    }
    Ok((!trouble.is_empty()).then(|| trouble.join("; ")))
}
