//! From where a cloud calls KMS: addresses of its control plane and of the databases themselves.
//!
//! A key can be restricted to them. Then an address that is missing shuts a database out of its own data, so what was not
//! seen is never taken for gone.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::reading::Reading;

/// The gate's check that a key is not restricted to known addresses while something is deployed, which has new ones. A
/// cluster whose status shows it asks its key to lift that.
pub const LIFTED: &str = "AddressRestrictionLifted";

/// A block of addresses in its one spelling: the address with the host's bits cleared, and the length of the prefix
/// (RFC 4632, section 3.1; RFC 4291, section 2.3). A single address is a block of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Source {
    base: IpAddr,
    bits: u8,
}

/// A text that is no block of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSource(String);

impl Source {
    /// Whether every address of the other block is in this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && masked(other.base, self.bits) == Some(self.base)
    }
}

/// The address with only the first bits kept; none for more bits than it has.
fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let kept = u32::MAX.checked_shl(32_u32.checked_sub(bits.into())?).unwrap_or(0);
            Some(IpAddr::V4((u32::from(v4) & kept).into()))
        }
        IpAddr::V6(v6) => {
            let kept = u128::MAX.checked_shl(128_u32.checked_sub(bits.into())?).unwrap_or(0);
            Some(IpAddr::V6((u128::from(v6) & kept).into()))
        }
    }
}

impl FromStr for Source {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        let wrong = || NoSource(text.to_owned());
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = bits.unwrap_or(if address.is_ipv4() { 32 } else { 128 });
        Ok(Self { base: masked(address, bits).ok_or_else(wrong)?, bits })
    }
}

impl TryFrom<String> for Source {
    type Error = NoSource;

    fn try_from(text: String) -> Result<Self, NoSource> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl fmt::Display for NoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no address and no block of addresses", self.0)
    }
}

impl std::error::Error for NoSource {}

/// Whether a list of blocks lets an address in.
pub fn lets_in(list: &BTreeSet<Source>, source: &Source) -> bool {
    list.iter().any(|block| block.covers(source))
}

/// What was seen of where the cloud calls from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourcesSeen {
    /// The addresses of the cloud's control plane; none at all is `Absent`.
    #[serde(default)]
    pub control: Reading<BTreeSet<Source>>,
    /// Every database of the scope; none at all is `Absent`.
    #[serde(default)]
    pub databases: Reading<Vec<SourcesOf>>,
}

/// From where one database calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourcesOf {
    /// Its name.
    pub name: String,
    /// What the cloud is doing with it, in the cloud's words; absent: nothing that could give it another address.
    #[serde(default)]
    pub changing: Option<String>,
    /// Whether it uses the customer's key now: one that rests does not.
    #[serde(default)]
    pub uses_key: bool,
    /// Its addresses.
    #[serde(default)]
    pub now: BTreeSet<Source>,
    /// Those that the cloud has announced for it.
    #[serde(default)]
    pub announced: BTreeSet<Source>,
}

impl SourcesSeen {
    /// Every address that was seen.
    pub fn all(&self) -> BTreeSet<Source> {
        let databases = self.databases.present().into_iter().flatten();
        let databases = databases.flat_map(|database| database.now.iter().chain(&database.announced));
        self.control.present().into_iter().flatten().chain(databases).copied().collect()
    }

    /// Every address that is in use already.
    pub fn in_use(&self) -> BTreeSet<Source> {
        let databases = self.databases.present().into_iter().flatten();
        self.control
            .present()
            .into_iter()
            .flatten()
            .chain(databases.flat_map(|database| &database.now))
            .copied()
            .collect()
    }

    /// Whether this is all of them: the control plane's were seen, and of every database under the key, of which there is one
    /// at least, and none of which is being changed.
    pub fn are_settled(&self) -> bool {
        let settled =
            |database: &SourcesOf| database.changing.is_none() && (!database.uses_key || !database.now.is_empty());
        self.control.present().is_some_and(|all| !all.is_empty())
            && self.databases.present().is_some_and(|all| all.iter().any(|d| d.uses_key) && all.iter().all(settled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_has_one_spelling() {
        for (text, spelled) in [
            ("192.0.2.7", "192.0.2.7/32"),
            (" 192.0.2.7/32 ", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::0:1", "2001:db8::1/128"),
            ("2001:db8::1/64", "2001:db8::/64"),
        ] {
            assert_eq!(source(text).to_string(), spelled);
            assert_eq!(source(spelled), source(text));
        }
        for text in ["", "here", "192.0.2.7/33", "192.0.2.7/-1", "192.0.2/24", "2001:db8::/129", "1.2.3.4/"] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_block_covers_what_lies_in_it_and_nothing_of_the_other_kind() {
        assert!(source("192.0.2.0/24").covers(&source("192.0.2.9")));
        assert!(source("192.0.2.9").covers(&source("192.0.2.9")));
        assert!(!source("192.0.2.9").covers(&source("192.0.2.0/24")));
        assert!(!source("192.0.2.0/24").covers(&source("192.0.3.1")));
        assert!(source("0.0.0.0/0").covers(&source("192.0.2.0/24")));
        assert!(!source("0.0.0.0/0").covers(&source("2001:db8::1")));
        assert!(source("2001:db8::/32").covers(&source("2001:db8:7::/48")));
    }
}
