//! The ground on which specs are changed: the clouds as they are before anything, and what comes to rest on them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use cmk_operator::api::{CustomerKey, EncryptedCluster};
use cmk_operator::controller::kind::Kind;
use cmk_operator::plan::Settings;
use cmk_operator::sandbox::astra::OrgSettings;
use cmk_operator::sandbox::kms::{CreateKey, Tag};
use cmk_operator::sandbox::{self, ACCOUNT, ORGANIZATION, TOKEN, Trust, World};
use serde_json::{Value, json};

use crate::changes::{CONSENTED, Ground, UNCONSENTED};
use crate::inprocess::lab::{Lab, START_MS};
use crate::inprocess::operator::Operator;
use crate::inprocess::picture::Picture;
use crate::inprocess::store::Held;
use crate::judge::Judge;

/// Passes after which what is not at rest waits for something.
const PATIENCE: u32 = 60;

/// What is declared.
#[derive(Clone, Debug)]
pub(crate) struct Specs {
    pub(crate) name: String,
    pub(crate) key: Option<Value>,
    pub(crate) cluster: Value,
}

impl Specs {
    pub(crate) fn spec(&self, kind: &str) -> Option<&Value> {
        if kind == "CustomerKey" { self.key.as_ref() } else { Some(&self.cluster) }
    }

    pub(crate) fn with(&self, kind: &str, spec: Value, name: &str) -> Self {
        let mut specs = Self { name: name.to_owned(), ..self.clone() };
        if kind == "CustomerKey" {
            specs.key = Some(spec);
        } else {
            specs.cluster = spec;
        }
        specs
    }

    /// Both manifests as the API server would keep them.
    pub(crate) fn admitted(&self, judge: &Judge) -> Result<(Option<Value>, Value), Vec<String>> {
        let key = self.key.as_ref().map(|spec| judge.admit("CustomerKey", &manifest("CustomerKey", spec), None));
        let cluster = judge.admit("EncryptedCluster", &manifest("EncryptedCluster", &self.cluster), None)?;
        Ok((key.transpose()?, cluster))
    }

    /// The same with every default that the API server adds.
    pub(crate) fn kept(&self, judge: &Judge) -> Result<Self, Vec<String>> {
        let (key, cluster) = self.admitted(judge)?;
        let name = self.name.clone();
        Ok(Self { name, key: key.map(|key| key["spec"].clone()), cluster: cluster["spec"].clone() })
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.key == other.key && self.cluster == other.cluster
    }
}

fn manifest(kind: &str, spec: &Value) -> Value {
    let name = if kind == "CustomerKey" { "key" } else { "db" };
    json!({
        "apiVersion": "cmk-operator.io/v1alpha1", "kind": kind, "spec": spec,
        "metadata": { "name": name, "namespace": "team" },
    })
}

/// Where changes start.
pub(crate) fn bases() -> Vec<Specs> {
    let upstream = json!({ "astra": {
        "organizationId": ORGANIZATION, "databaseType": "Serverless", "credentialsSecretRef": { "name": "astra" },
    } });
    let auditor = format!("arn:aws:iam::{ACCOUNT}:role/auditor");
    let full = json!({
        "regions": [{ "name": "us-east-1" }, { "name": "eu-west-1" }], "aws": { "accountId": ACCOUNT },
        "key": { "description": "for tests", "tags": { "team": "tests" }, "rotation": { "periodDays": 365 } },
        "policy": {
            "administrators": [format!("arn:aws:iam::{ACCOUNT}:role/first")],
            "statements": [{
                "name": "audit", "regions": ["us-east-1"], "effect": "Allow", "acceptRisk": false,
                "principals": { "aws": [auditor], "service": ["cloudtrail.amazonaws.com"] },
                "actions": ["kms:DescribeKey", "kms:GetKeyPolicy"],
                "conditions": { "StringEquals": { "aws:SourceAccount": [ACCOUNT] } },
            }],
            "documents": [{ "name": "portal", "regions": ["us-east-1"], "json": format!(
                r#"{{"Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{auditor}"}},"Action":"kms:ListGrants","Resource":"*"}}]}}"#
            ) }],
        },
        "upstream": upstream,
    });
    let small = json!({
        "regions": [{ "name": "us-east-1" }, { "name": "eu-west-1" }, { "name": "us-east-2" }],
        "aws": { "accountId": ACCOUNT }, "upstream": upstream, "deletionPolicy": "ScheduleDeletion",
    });
    let deployment = json!({ "astra": { "name": "db", "tier": "serverless", "keyspace": "ks" } });
    let one = json!({
        "customerKeyRef": { "name": "key" }, "regions": [{ "name": "us-east-1" }], "primaryRegion": "us-east-1",
        "deployment": deployment,
    });
    let two = json!({
        "customerKeyRef": { "name": "key" }, "regions": [{ "name": "us-east-1" }, { "name": "eu-west-1" }],
        "primaryRegion": "us-east-1", "deployment": deployment, "deletionPolicy": "Delete",
    });
    let mut retained = two.clone();
    retained["deletionPolicy"] = json!("Retain");
    let gate = json!({
        "customerKeyRef": { "name": "key" }, "regions": [{ "name": "us-east-1" }, { "name": "eu-west-1" }],
        "primaryRegion": "us-east-1",
    });
    let base = |name: &str, key: Option<&Value>, cluster: &Value| Specs {
        name: name.to_owned(),
        key: key.cloned(),
        cluster: cluster.clone(),
    };
    vec![
        base("a key with everything", Some(&full), &one),
        base("everything may be deleted", Some(&small), &two),
        base("a database in two regions", Some(&full), &retained),
        base("somebody else deploys", Some(&full), &gate),
        base("there is no key yet", None, &two),
    ]
}

fn world() -> World {
    let mut world = World::sandbox(START_MS, sandbox::Settings::default());
    let pace = OrgSettings { deploy_ms: 1000, terminate_ms: 1000, ..OrgSettings::default() };
    world.edit_astra_org(ORGANIZATION, |org| *org.settings_mut() = pace);
    world.set_astra_token("AstraCS:renewed", ORGANIZATION, None);
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    for name in ["first", "admin", "auditor"] {
        world.create_principal(&role(name), None);
    }
    let trust = Trust { principals: vec![ACCOUNT.to_owned()], external_ids: vec!["cmk:test:team".to_owned()] };
    world.create_principal(&role("keys"), Some(trust));
    for (description, tags) in [
        (CONSENTED, vec![Tag::new("cmk-operator.io/adopt-by", "test/team/key")]),
        (UNCONSENTED, vec![Tag::new("owner", "somebody else")]),
    ] {
        let foreign = CreateKey { description: Some(description.to_owned()), tags, ..CreateKey::default() };
        world.kms(ACCOUNT, "us-west-2").create_key(&foreign).unwrap();
    }
    world
}

/// What the values of changes depend on.
pub(crate) fn ground() -> Ground {
    let world = world();
    let arn = |name: &'static str| {
        let key = world.true_keys().find(|key| key.description == name).unwrap();
        (name, key.arn.to_owned())
    };
    Ground { arns: vec![arn(CONSENTED), arn(UNCONSENTED)] }
}

/// A life that has come to rest.
pub(crate) struct Rest {
    pub(crate) lab: Lab,
    operator: Operator,
    pub(crate) specs: Specs,
    pub(crate) picture: Picture,
    quiet: bool,
}

thread_local! {
    /// What came to rest already, by what was declared.
    static KNOWN: RefCell<BTreeMap<String, Rest>> = const { RefCell::new(BTreeMap::new()) };
}

/// Applies specs to nothing.
pub(crate) fn fresh(judge: &Judge, specs: &Specs) -> Result<Rest, String> {
    let name = format!("{:?} {}", specs.key, specs.cluster);
    if let Some(rest) = KNOWN.with_borrow(|known| known.get(&name).map(Rest::fork)) {
        return Ok(Rest { specs: specs.clone(), ..rest });
    }
    let secrets = [("astra", TOKEN), ("renewed", "AstraCS:renewed"), ("wrong", "AstraCS:wrong")];
    let settings = Settings { holder: "here".to_owned(), ..Settings::default() };
    let mut rest = Rest {
        lab: Lab::new(world(), settings, &secrets),
        operator: Operator::default(),
        specs: specs.clone(),
        picture: Picture::default(),
        quiet: false,
    };
    rest.change(judge, specs)?;
    KNOWN.with_borrow_mut(|known| known.insert(name, rest.fork()));
    Ok(rest)
}

impl Rest {
    pub(crate) fn fork(&self) -> Self {
        Self {
            lab: self.lab.fork(),
            operator: self.operator.clone(),
            specs: self.specs.clone(),
            picture: self.picture.clone(),
            quiet: self.quiet,
        }
    }

    /// The objects as the API server would keep them if these were applied, or what it holds against them.
    fn admitted(&self, judge: &Judge, specs: &Specs) -> Result<(Option<Value>, Value), String> {
        let store = self.lab.store();
        let admit = |kind: &str, spec: &Value, old: Option<Value>| {
            let mut object = old.clone().unwrap_or_else(|| manifest(kind, spec));
            object["spec"] = spec.clone();
            judge.admit(kind, &object, old.as_ref()).map_err(|wrong| wrong.join("; "))
        };
        let key = specs.key.as_ref().map(|spec| admit("CustomerKey", spec, store.keys.get("key").map(|o| json!(o))));
        let cluster = admit("EncryptedCluster", &specs.cluster, store.clusters.get("db").map(|o| json!(o)))?;
        Ok((key.transpose()?, cluster))
    }

    /// Whether the API server lets it become something else, and if not, why.
    pub(crate) fn may_become(&self, judge: &Judge, specs: &Specs) -> Result<(), String> {
        self.admitted(judge, specs).map(drop)
    }

    /// Applies specs, and waits until everything is at rest, or waits for something.
    pub(crate) fn change(&mut self, judge: &Judge, specs: &Specs) -> Result<(), String> {
        let (key, cluster) = self.admitted(judge, specs)?;
        {
            let mut store = self.lab.store();
            if let Some(key) = key {
                store.apply(&parsed::<CustomerKey>(key));
            }
            store.apply(&parsed::<EncryptedCluster>(cluster));
        }
        self.specs = specs.clone();
        let began = self.operator.passes;
        self.quiet = loop {
            if self.operator.is_quiet(&self.lab, &[]) {
                break true;
            }
            if self.operator.passes - began > PATIENCE {
                break false;
            }
            self.operator.turn(&self.lab);
        };
        self.picture = Picture::of(&self.lab, &self.lab.clouds.world().dump());
        Ok(())
    }

    /// Nothing is left to be done. Where there is no key it is waited for without end.
    pub(crate) fn is_quiet(&self) -> Result<(), String> {
        if self.quiet || self.specs.key.is_none() {
            Ok(())
        } else {
            Err(format!("it does not come to rest: {:#?}", self.picture.said))
        }
    }
}

fn parsed<K: Held + Kind>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}
