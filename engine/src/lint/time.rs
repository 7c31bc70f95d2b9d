//! Times as certificates have them, RFC 5280 §4.1.2.5.

use super::Rule;
use super::rules;
use crate::der::tag;

/// A Time's seconds since 1970, or the rule that it breaks.
///
/// `Time ::= CHOICE { utcTime UTCTime, generalTime GeneralizedTime }`: UTCTime through 2049 and GeneralizedTime
/// after, with seconds, in Zulu.
pub(crate) fn unix_seconds(tag: u8, text: &[u8]) -> Result<i64, &'static Rule> {
    let form = &rules::TIME_FORM;
    let (year, rest) = match (tag, text.len()) {
        (tag::UTC_TIME, 13) => {
            let two = digits(&text[..2]).ok_or(form)?;
            (if two < 50 { 2000 + two } else { 1900 + two }, &text[2..])
        }
        (tag::GENERALIZED_TIME, 15) => (digits(&text[..4]).ok_or(form)?, &text[4..]),
        _ => return Err(form),
    };
    let field = |at: usize| digits(&rest[at..at + 2]).ok_or(form);
    let (month, day) = (field(0)?, field(2)?);
    let (hour, minute, second) = (field(4)?, field(6)?, field(8)?);
    if rest[10] != b'Z' {
        return Err(form);
    }
    if !(1..=12).contains(&month)
        || !(1..=days_in_month(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return Err(&rules::TIME_DATE);
    }
    if tag == tag::GENERALIZED_TIME && year < 2050 {
        return Err(&rules::TIME_UTC);
    }
    Ok(((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to a date of the Gregorian calendar, counted in closed form: this runs for every certificate.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    // Years are those of UTCTime, from 1950, or from 2050: division rounds as it should.
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let leap_day = i64::from(month > 2 && is_leap(year));
    let before_month = usize::try_from(month - 1)
        .ok()
        .and_then(|at| BEFORE_MONTH.get(at))
        .copied()
        .unwrap_or(0);
    years + before_month + leap_day + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_rfc_5280_writes_them() {
        let read = |tag: u8, text: &str| unix_seconds(tag, text.as_bytes()).map_err(|rule| rule.id);
        assert_eq!(read(tag::UTC_TIME, "700101000000Z"), Ok(0));
        assert_eq!(read(tag::UTC_TIME, "691231235959Z"), Ok(-1));
        assert_eq!(read(tag::UTC_TIME, "500101000000Z"), Ok(-631_152_000));
        assert_eq!(read(tag::UTC_TIME, "240229235959Z"), Ok(1_709_251_199));
        assert_eq!(
            read(tag::GENERALIZED_TIME, "99991231235959Z"),
            Ok(253_402_300_799)
        );
        for (tag, text, rule) in [
            (tag::UTC_TIME, "2402292359Z", "time-form"),
            (tag::UTC_TIME, "240101000000+", "time-form"),
            (tag::UTC_TIME, "2401010000-1Z", "time-form"),
            (tag::UTC_TIME, "240101000000+0100", "time-form"),
            (tag::GENERALIZED_TIME, "20510101000000.5Z", "time-form"),
            (tag::INTEGER, "20510101000000Z", "time-form"),
            (tag::UTC_TIME, "230229000000Z", "time-date"),
            (tag::UTC_TIME, "240101240000Z", "time-date"),
            (tag::UTC_TIME, "240101000060Z", "time-date"),
            (tag::UTC_TIME, "240001000000Z", "time-date"),
            (tag::GENERALIZED_TIME, "20500001000000Z", "time-date"),
            (
                tag::GENERALIZED_TIME,
                "20240229235959Z",
                "time-utc-until-2049",
            ),
        ] {
            assert_eq!(read(tag, text), Err(rule), "{text}");
        }
    }

    #[test]
    fn days_agree_with_the_calendar_of_der() {
        for unix in (0..253_402_300_799u64).step_by(86_400 * 97 + 1) {
            let time =
                der::DateTime::from_unix_duration(std::time::Duration::from_secs(unix)).unwrap();
            let days = days_since_1970(time.year().into(), time.month().into(), time.day().into());
            assert_eq!(days, i64::try_from(unix / 86_400).unwrap(), "{time:?}");
        }
    }
}
