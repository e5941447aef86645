//! The labels of the metrics: closed sets, so that the number of series is bounded by the code.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::controller::queue::Lane;

/// Declares a closed set of label values.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$value_doc])* $value),+ }

        impl $name {
            /// Every value, so that a counter can start at zero instead of being absent.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The word in the metric.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                self.as_str().encode(encoder)
            }
        }
    };
}

label! {
    /// The kind of an object.
    Kind {
        /// A `CustomerKey`.
        CustomerKey = "CustomerKey",
        /// An `EncryptedCluster`.
        EncryptedCluster = "EncryptedCluster",
    }
}

label! {
    /// How a pass ended.
    PassOutcome {
        /// Everything is as it should be.
        Done = "done",
        /// It waits for a cloud, a quota or a human.
        Waiting = "waiting",
        /// A fault ended it.
        Failed = "failed",
        /// Leadership or the stop ended it before it acted.
        Cut = "cut",
        /// The object is gone.
        Gone = "gone",
    }
}

label! {
    /// How a step ended.
    StepOutcome {
        /// It took effect.
        Done = "done",
        /// A fault ended it.
        Failed = "failed",
        /// Nobody knows whether it took effect: the reply was lost.
        Uncertain = "uncertain",
        /// Its quota is used up for now; a slot is reserved.
        Deferred = "deferred",
    }
}

label! {
    /// The status of the condition Ready.
    Ready {
        /// True.
        True = "true",
        /// False.
        False = "false",
        /// Unknown.
        Unknown = "unknown",
    }
}

impl EncodeLabelValue for Lane {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

/// An object, as far as metrics know it. Not a label where it isn't capped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PassLabels {
    pub(super) kind: Kind,
    pub(super) outcome: PassOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabels {
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StepLabels {
    pub(super) step: &'static str,
    pub(super) outcome: StepOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) service: &'static str,
    pub(super) operation: &'static str,
    pub(super) class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OperationLabels {
    pub(super) service: &'static str,
    pub(super) operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LaneLabels {
    pub(super) kind: Kind,
    pub(super) lane: Lane,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ObjectsLabels {
    pub(super) kind: Kind,
    pub(super) ready: Ready,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AbnormalLabels {
    #[prometheus(flatten)]
    pub(super) object: Object,
    pub(super) reason: &'static str,
}
