//! Time as values: the planner is told what time it is.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub i64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub i64);

impl Moment {
    /// How long ago `earlier` was; never negative, so that a clock that was set back ages nothing.
    pub fn since(self, earlier: Self) -> Span {
        Span((self.0 - earlier.0).max(0))
    }
}

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1000)
    }

    /// The span in whole seconds, rounded up, as messages show it.
    pub fn as_seconds(self) -> i64 {
        (self.0 + 999) / 1000
    }

    /// The span for the standard library's timers; a negative span is zero.
    pub fn to_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

impl From<std::time::Duration> for Span {
    fn from(duration: std::time::Duration) -> Self {
        Self(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Add<Span> for Moment {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Moment {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// The moment as RFC 3339 text in UTC with whole seconds, as status and tags show it.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(1000);
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, date) = civil(day);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// A text is not an RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("not an RFC 3339 time in UTC")]
pub struct NotATime;

/// Reads RFC 3339 in UTC, with or without a fraction of a second.
impl FromStr for Moment {
    type Err = NotATime;
    fn from_str(text: &str) -> Result<Self, NotATime> {
        let number = |range: std::ops::Range<usize>| -> Result<i64, NotATime> {
            let part = text.get(range).filter(|p| p.bytes().all(|b| b.is_ascii_digit())).ok_or(NotATime)?;
            part.parse().map_err(|_| NotATime)
        };
        let punctuation = |at: usize, sign: &str| text.get(at..=at).is_some_and(|c| c.eq_ignore_ascii_case(sign));
        let separated =
            [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")].iter().all(|(at, sign)| punctuation(*at, sign));
        let rest = text.get(19..).and_then(|r| r.strip_suffix(['Z', 'z'])).ok_or(NotATime)?;
        let fraction = match rest.strip_prefix('.') {
            None if rest.is_empty() => 0,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                format!("{digits:0<3}").get(..3).and_then(|ms| ms.parse().ok()).ok_or(NotATime)?
            }
            _ => return Err(NotATime),
        };
        let (month, date) = (number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if !separated
            || !(1..=12).contains(&month)
            || !(1..=31).contains(&date)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return Err(NotATime);
        }
        let day = days(number(0..4)?, month, date);
        Ok(Self((day * 86_400 + hour * 3600 + minute * 60 + second) * 1000 + fraction))
    }
}

/// The civil date of a day since 1970-01-01 in the proleptic Gregorian calendar, counted in eras of 400 years that begin
/// in March, so that the leap day is the last day of a year.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, date)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, date: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + date - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_back_what_they_print() {
        for (moment, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_795_300_000_000, "2026-11-21T22:26:40Z"),
            (-1000, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Moment(moment).to_string(), text);
            assert_eq!(text.parse(), Ok(Moment(moment)));
        }
        assert_eq!("2026-11-21T22:26:40.25Z".parse(), Ok(Moment(1_795_300_000_250)));
        for bad in [
            "",
            "2026-11-21",
            "2026-11-21T22:26:40",
            "2026-13-21T22:26:40Z",
            "2026-11-21T22:26:40.Z",
            "2026-11-21 22:26:40Z",
        ] {
            assert_eq!(bad.parse::<Moment>(), Err(NotATime), "{bad}");
        }
    }
}
