//! What happens to a key after it was made: healing, adoption, take-over. The process is killed at each of their effects, and
//! each reply is lost, late or wrong: the end is that of the undisturbed run of the same life.
//!
//! One scene lives through many of these, one after another; what it needs is undone in between, as administrators would.

use std::sync::Arc;

use aws_sdk_kms::Client;
use cmk_operator::plan::step::Site;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, sleep};

use super::adopt::{CONSENT, REGION, adopting, by_hand, put_statements, statements, tag};
use super::crash::{PHASE, Play, all_within, end_state, same};
use super::drift::is_ours;
use super::faults::faults;
use super::takeover::{HOLDER, LOST};
use crate::support::scene::{ORGANIZATION, find};

/// All of these: each waits for one operator after another, and does little itself.
static AT_ONCE: Semaphore = Semaphore::const_new(9);

#[derive(Clone, Copy, Debug)]
enum Life {
    /// Everything of a key of ours that can differ does.
    Healing,
    /// A key that somebody made and consents to have used.
    Adoption,
    /// The key of a cluster that is gone, of which only the tags tell.
    TakeOver,
}

impl Life {
    const ALL: [Self; 3] = [Self::Healing, Self::Adoption, Self::TakeOver];

    /// The effects that this life makes.
    fn sites(self) -> &'static [Site] {
        match self {
            Self::Healing => &[
                Site::CreateAlias,
                Site::UpdateDescription,
                Site::EnableRotation,
                Site::Tag,
                Site::PutPolicy,
                Site::WriteStatus,
            ],
            Self::Adoption => &[
                Site::AddFinalizer,
                Site::PutPolicy,
                Site::RecordRegistrationIntent,
                Site::Register,
                Site::Tag,
                Site::WriteStatus,
            ],
            Self::TakeOver => &[Site::AddFinalizer, Site::CreateAlias, Site::RecordKey, Site::Tag, Site::WriteStatus],
        }
    }

    /// The calls by which it changes something outside.
    fn operations(self) -> &'static [&'static str] {
        match self {
            Self::Healing => &[
                "kms:CreateAlias",
                "kms:UpdateKeyDescription",
                "kms:EnableKeyRotation",
                "kms:TagResource",
                "kms:PutKeyPolicy",
            ],
            Self::Adoption => &["kms:PutKeyPolicy", "astra:CreateKey", "kms:TagResource"],
            Self::TakeOver => &["kms:CreateAlias", "kms:TagResource"],
        }
    }
}

/// What goes wrong in a life.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    /// The process dies.
    Crash,
    /// Of so many faults each happens once.
    Faults(usize),
}

/// A scene that lives through one kind of life again and again.
struct Stage {
    play: Play,
    life: Life,
    kms: Client,
    arn: String,
    alias: String,
    manifest: Value,
    /// The end, which is that of the run in which nothing goes wrong.
    clean: Value,
}

impl Stage {
    async fn new(life: Life, name: &str) -> Result<Self, String> {
        let play = Play::new(name, &["--take-over-from".to_owned(), LOST.to_owned()]).await;
        let scene = &play.scene;
        let kms = scene.administrator(REGION).await;
        let mut manifest = scene.key(&[REGION]);
        if matches!(life, Life::Adoption) {
            let arn = by_hand(&kms).await;
            let consent = tag(CONSENT, &format!("test/{}/key", scene.namespace));
            kms.tag_resource().key_id(&arn).tags(consent).send().await.unwrap();
            manifest = adopting(manifest, &arn);
        }
        for object in [&scene.secret(), &manifest] {
            scene.apply(object).await.map_err(|e| e.to_string())?;
        }
        let key = scene.ready("CustomerKey", "key").await;
        let region = &key["status"]["regions"][0];
        let text = |name: &str| region[name].as_str().unwrap_or_default().to_owned();
        let (arn, alias) = (text("keyArn"), text("alias"));
        let clean = end_state(scene).await;
        let mut stage = Self { play, life, kms, arn, alias, manifest, clean };
        stage.undo().await?;
        stage.again("undisturbed", Trouble::None).await?;
        Ok(stage)
    }

    /// Ends the operator, and undoes what this life did: the next start begins it anew.
    async fn undo(&mut self) -> Result<(), String> {
        let Self { life, kms, arn, alias, .. } = self;
        if !matches!(life, Life::Healing) {
            let scene = &self.play.scene;
            scene.keys().delete("key", &DeleteParams::default()).await.map_err(|e| e.to_string())?;
            let end = Instant::now() + PHASE;
            while !scene.get("CustomerKey", "key").await.is_null() {
                if Instant::now() > end {
                    return Err(format!("the object does not go\n{}", scene.log_tail()));
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        self.play.scene.stop().await;
        let mut all = statements(kms, arn).await;
        match life {
            Life::Healing => {
                all.retain(|statement| !is_ours(statement, "use"));
                put_statements(kms, arn, &all).await;
                kms.disable_key_rotation().key_id(&*arn).send().await.unwrap();
                kms.delete_alias().alias_name(&*alias).send().await.unwrap();
                // Not one of the owner's: without those and the alias nothing would say whose it is.
                kms.untag_resource().key_id(&*arn).tag_keys("team").send().await.unwrap();
                kms.update_key_description().key_id(&*arn).description("mine").send().await.unwrap();
            }
            Life::Adoption => {
                all.retain(|statement| !is_ours(statement, ""));
                put_statements(kms, arn, &all).await;
                kms.untag_resource().key_id(&*arn).tag_keys("cmk-operator.io/registered-at").send().await.unwrap();
                let place = json!({ "org": ORGANIZATION, "kind": "serverless", "region": REGION });
                self.play.scene.command(&json!({ "forget_registration": place })).await;
            }
            Life::TakeOver => {
                kms.tag_resource().key_id(&*arn).tags(tag(HOLDER, LOST)).send().await.unwrap();
                kms.delete_alias().alias_name(&*alias).send().await.unwrap();
            }
        }
        self.play.scene.apply(&self.manifest).await.map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Whether what was to go wrong did.
    async fn went_wrong(&self, trouble: Trouble) -> bool {
        match trouble {
            Trouble::None => true,
            Trouble::Crash => self.play.died,
            Trouble::Faults(count) => self.play.scene.fired().await == vec![1; count],
        }
    }

    /// Lives it once more until the end is that of the clean run, and what was to go wrong did.
    async fn again(&mut self, what: &str, trouble: Trouble) -> Result<(), String> {
        let what = format!("{:?} {what}", self.life);
        self.play.scene.start();
        let began = Instant::now();
        loop {
            let key = self.play.scene.get("CustomerKey", "key").await;
            let is_ready = find(&key, "Ready").is_some_and(|c| c["status"] == "True");
            if is_ready && self.went_wrong(trouble).await && end_state(&self.play.scene).await == self.clean {
                return Ok(());
            }
            if began.elapsed() > PHASE && self.went_wrong(trouble).await {
                let now = end_state(&self.play.scene).await;
                return same(&what, &self.clean, &now, &self.play.scene);
            }
            self.play.look_again(began, &what, "it never came there").await?;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_or_after_any_effect_of_later_lives_leads_to_the_same_end() {
    all_within(&AT_ONCE, Life::ALL.to_vec(), |life: Life| async move {
        let mut stage = Stage::new(life, "life").await?;
        for site in life.sites() {
            for side in ["before", "after"] {
                let switch = format!("{}:{side}", site.as_str());
                stage.undo().await?;
                stage.play.died = false;
                stage.play.scene.extra.extend(["--crash-at".to_owned(), switch.clone()]);
                stage.again(&switch, Trouble::Crash).await?;
            }
        }
        Ok(())
    })
    .await;
    let count: usize = Life::ALL.iter().map(|life| life.sites().len() * 2).sum();
    println!("{count} crashes in later lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_late_or_failed_reply_in_later_lives_leads_to_the_same_end() {
    let faults = Arc::new(faults());
    let halves = faults.len().div_ceil(2);
    let entries: Vec<(Life, usize)> = Life::ALL.iter().flat_map(|life| [(*life, 0), (*life, halves)]).collect();
    let count: usize = Life::ALL.iter().map(|life| life.operations().len() * faults.len()).sum();
    all_within(&AT_ONCE, entries, move |(life, from): (Life, usize)| {
        let faults = Arc::clone(&faults);
        async move {
            let mut stage = Stage::new(life, "lifefaults").await?;
            for (name, fault) in faults.iter().skip(from).take(halves) {
                stage.undo().await?;
                stage.play.scene.clear_faults().await;
                for operation in life.operations() {
                    stage.play.scene.fault(&json!({ "operation": operation, "nth": 1 }), fault).await;
                }
                stage.again(name, Trouble::Faults(life.operations().len())).await?;
            }
            Ok(())
        }
    })
    .await;
    println!("{count} faults in later lives");
}
