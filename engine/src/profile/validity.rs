//! From when until when: the validity of a profile's certificates.

use super::INDEFINITE;
use super::base::{Base, Expiry};
use super::locate::{Checked, fault};
use super::raw::{RawAlign, RawValidity};

const SECONDS_PER_HOUR: u64 = 3_600;
const SECONDS_PER_DAY: u64 = 86_400;
/// Longest expiry that is counted in days: 200 years. Beyond it a profile should say [`INDEFINITE`].
const DAYS_MAX: u64 = 73_000;
const HOURS_MAX: u64 = DAYS_MAX * 24;
/// One day, in minutes: more than any device's clock should be behind.
const BACKDATE_MINUTES_MAX: u64 = 1_440;

/// When a profile's certificates begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: NotBefore,
    pub(crate) not_after: NotAfter,
    /// Times that count from the issue begin and end with a whole unit of so many seconds; 1 for none.
    pub(crate) align_s: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotBefore {
    /// The time of issue less so many seconds.
    Issue { backdate_s: u64 },
    /// Seconds since 1970.
    At(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAfter {
    Indefinite,
    /// Seconds after the time of issue.
    Seconds(u64),
    /// Seconds since 1970.
    At(u64),
}

impl Validity {
    /// notBefore, and notAfter unless it is indefinite, of a certificate that is issued at `now_s`. An aligned
    /// one holds for whole hours or days of UTC: from their first second to their last (both inclusive,
    /// RFC 5280 §4.1.2.5).
    pub(crate) fn at(&self, now_s: u64) -> (u64, Option<u64>) {
        let start = |unix_s: u64| unix_s / self.align_s * self.align_s;
        let not_before_s = match self.not_before {
            NotBefore::Issue { backdate_s } => start(now_s.saturating_sub(backdate_s)),
            NotBefore::At(unix_s) => unix_s,
        };
        let not_after_s = match self.not_after {
            NotAfter::Indefinite => None,
            NotAfter::Seconds(seconds) => Some(start(now_s + seconds) + self.align_s - 1),
            NotAfter::At(unix_s) => Some(unix_s),
        };
        (not_before_s, not_after_s)
    }
}

pub(super) fn check_validity(base: Base, raw: &RawValidity) -> Checked<Validity> {
    if raw.backdate_minutes > BACKDATE_MINUTES_MAX {
        return fault("validity.backdate_minutes", "is over one day (1440)");
    }
    let not_before = match raw.not_before.as_deref() {
        None => NotBefore::Issue {
            backdate_s: raw.backdate_minutes * 60,
        },
        Some(_) if raw.backdate_minutes > 0 => {
            return fault("validity.backdate_minutes", "does not go with not_before");
        }
        Some(text) => NotBefore::At(time("validity.not_before", text)?),
    };
    let not_after = check_not_after(raw)?;
    let align_s = match raw.align {
        None => 1,
        Some(RawAlign::Hour) => SECONDS_PER_HOUR,
        Some(RawAlign::Day) => SECONDS_PER_DAY,
    };
    if let (NotBefore::At(from), NotAfter::At(until)) = (not_before, not_after)
        && from > until
    {
        return fault("validity.not_after", "is before not_before");
    }
    match (base.rules().expiry, not_after) {
        (Expiry::Indefinite, NotAfter::Seconds(_) | NotAfter::At(_)) => fault(
            "validity",
            format!(
                "certificates of this base do not expire: not_after = \"{INDEFINITE}\" ({})",
                base.rules().source
            ),
        ),
        (Expiry::Real, NotAfter::Indefinite) => fault(
            "validity",
            "certificates of this base need an expiry: days = N, hours = N or not_after",
        ),
        _ => Ok(Validity {
            not_before,
            not_after,
            align_s,
        }),
    }
}

fn check_not_after(raw: &RawValidity) -> Checked<NotAfter> {
    match (raw.not_after.as_deref(), raw.days, raw.hours) {
        (Some(INDEFINITE), None, None) => Ok(NotAfter::Indefinite),
        (Some(text), None, None) => Ok(NotAfter::At(time("validity.not_after", text)?)),
        (None, Some(days @ 1..=DAYS_MAX), None) => Ok(NotAfter::Seconds(days * SECONDS_PER_DAY)),
        (None, Some(_), None) => fault("validity.days", "must be 1 to 73000"),
        (None, None, Some(hours @ 1..=HOURS_MAX)) => {
            Ok(NotAfter::Seconds(hours * SECONDS_PER_HOUR))
        }
        (None, None, Some(_)) => fault("validity.hours", "must be 1 to 1752000"),
        _ => fault("validity", "needs one of not_after, days and hours"),
    }
}

/// A time as GeneralizedTime writes it, `YYYYMMDDHHMMSSZ`, in seconds since 1970.
fn time(key: &str, text: &str) -> Checked<u64> {
    let malformed = || {
        fault(
            key,
            format!("is not a time such as 20351231235959Z; no expiry is {INDEFINITE}"),
        )
    };
    let digits = text
        .strip_suffix('Z')
        .filter(|digits| digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(digits) = digits else {
        return malformed();
    };
    let number = |from: usize, to: usize| digits[from..to].parse::<u16>().unwrap_or(u16::MAX);
    let byte = |from: usize| u8::try_from(number(from, from + 2)).unwrap_or(u8::MAX);
    match der::DateTime::new(number(0, 4), byte(4), byte(6), byte(8), byte(10), byte(12)) {
        Ok(time) => Ok(time.unix_duration().as_secs()),
        Err(_) => malformed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(time("k", "19700101000000Z").unwrap(), 0);
        assert_eq!(time("k", "20240229235959Z").unwrap(), 1_709_251_199);
        for wrong in [
            "20230229000000Z",
            "2024",
            "20240229235959",
            "20241301000000Z",
            "2024022923595éZ",
        ] {
            assert!(time("k", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn aligned_validity_holds_for_whole_units() {
        let now_s = 1_709_251_199; // 2024-02-29 23:59:59
        let mut validity = Validity {
            not_before: NotBefore::Issue { backdate_s: 300 },
            not_after: NotAfter::Seconds(SECONDS_PER_DAY),
            align_s: 1,
        };
        assert_eq!(validity.at(now_s), (now_s - 300, Some(now_s + 86_400)));
        validity.align_s = SECONDS_PER_DAY;
        // From 2024-02-29 00:00:00 to 2024-03-01 23:59:59.
        assert_eq!(validity.at(now_s), (1_709_164_800, Some(1_709_337_599)));
        validity.align_s = SECONDS_PER_HOUR;
        assert_eq!(validity.at(now_s), (1_709_247_600, Some(1_709_337_599)));
        validity.not_before = NotBefore::At(7);
        validity.not_after = NotAfter::Indefinite;
        assert_eq!(validity.at(now_s), (7, None));
    }
}
