//! Names and ids: ARNs, partitions, deterministic identifiers, timestamps as text.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The partition that a region belongs to (AWS General Reference, "Amazon Resource Names").
pub fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

/// `arn:<partition>:kms:<region>:<account>:<resource>`.
pub fn kms_arn(account: &str, region: &str, resource: &str) -> String {
    format!("arn:{}:kms:{region}:{account}:{resource}", partition(region))
}

/// The six parts of an ARN, if it is one.
pub(super) fn arn_parts(arn: &str) -> Option<[&str; 6]> {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next();
    let all = [next()?, next()?, next()?, next()?, next()?, next()?];
    (all[0] == "arn" && all[1].starts_with("aws") && !all[2].is_empty() && !all[5].is_empty()).then_some(all)
}

/// Whether this is an AWS account id: 12 digits.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn digest(seed: u64, kind: &str, n: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update(kind.as_bytes());
    hash.update(n.to_be_bytes());
    hash.finalize().into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// A version-4 shaped uuid that depends on nothing but its arguments.
pub(super) fn uuid(seed: u64, kind: &str, n: u64) -> String {
    let mut d = digest(seed, kind, n);
    d[6] = (d[6] & 0x0f) | 0x40;
    d[8] = (d[8] & 0x3f) | 0x80;
    let h = hex(&d[..16]);
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..32])
}

/// The id of a multi-Region key: `mrk-` and 32 hex digits (KMS guide, "Multi-Region keys").
pub(super) fn mrk(seed: u64, n: u64) -> String {
    format!("mrk-{}", hex(&digest(seed, "mrk", n)[..16]))
}

/// The id of the key material behind a key id: 64 hex digits (KMS API reference, `CurrentKeyMaterialId`).
pub(super) fn material(key_id: &str) -> String {
    hex(&Sha256::digest(key_id))
}

/// A unique id of IAM: a four-letter prefix (`AROA`, `AIDA`, `ASIA`) and 17 letters or digits.
pub(super) fn unique_id(prefix: &str, seed: u64, n: u64) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let d = digest(seed, prefix, n);
    let tail = d[..17].iter().map(|b| char::from(ALPHABET[usize::from(b & 31)]));
    prefix.chars().chain(tail).collect()
}

/// An object id as Atlas has them: 24 hex digits.
pub(super) fn object_id(seed: u64, kind: &str, n: u64) -> String {
    hex(&digest(seed, kind, n)[..12])
}

/// A number that looks random and depends on nothing but its arguments.
pub(super) fn pick(seed: u64, kind: &str, n: u64, bound: i64) -> i64 {
    if bound <= 0 {
        return 0;
    }
    let d = digest(seed, kind, n);
    let raw = i64::from(u32::from_be_bytes([d[0], d[1], d[2], d[3]]));
    raw % (bound + 1)
}

/// RFC 3339 in UTC with whole seconds, from milliseconds since the epoch.
pub fn rfc3339(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from a day count, after Howard Hinnant's `civil_from_days`.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (of_day / 3600, of_day % 3600 / 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_as_text() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_210_096_789), "2024-02-29T12:34:56Z");
    }

    #[test]
    fn arns_split_in_six() {
        let parts = arn_parts("arn:aws:kms:us-east-1:111111111111:key/a:b");
        assert_eq!(parts.map(|p| p[5]), Some("key/a:b"));
        assert!(arn_parts("arn:aws:kms:us-east-1:1").is_none());
    }
}
