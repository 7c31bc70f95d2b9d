//! Times as they are written: RFC 3339.

use std::time::Duration;

use der::DateTime;

/// RFC 3339 with milliseconds.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    match DateTime::from_unix_duration(Duration::from_secs(unix_ms / 1_000)) {
        Ok(seconds) => {
            let seconds = seconds.to_string();
            format!("{}.{:03}Z", seconds.trim_end_matches('Z'), unix_ms % 1_000)
        }
        Err(_) => format!("{unix_ms} ms"),
    }
}

/// Milliseconds since 1970 of a date-time of RFC 3339 (§5.6), or of the beginning of a date in UTC.
/// Digits beyond milliseconds are cut off. `None` for anything else and for times before 1970.
pub(crate) fn parse(text: &str) -> Option<u64> {
    if text.len() == "2025-11-22".len() {
        return parse(&format!("{text}T00:00:00Z"));
    }
    let (seconds, rest) = text.split_at_checked("2025-11-22T00:00:00".len())?;
    let seconds: DateTime = format!("{}Z", seconds.replace(['t', ' '], "T"))
        .parse()
        .ok()?;
    let digits = rest.strip_prefix('.').map_or(0, |fraction| {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        // A point without digits stays and is no offset.
        if digits == 0 { 0 } else { digits + 1 }
    });
    let (fraction, offset) = rest.split_at(digits);
    let ms = fraction
        .bytes()
        .skip(1)
        .chain(*b"000")
        .take(3)
        .fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    let local = i64::try_from(seconds.unix_duration().as_secs()).ok()?;
    let seconds = u64::try_from(local - offset_s(offset)?).ok()?;
    Some(seconds * 1_000 + ms)
}

/// `Z`, `+hh:mm` or `-hh:mm` in seconds.
fn offset_s(text: &str) -> Option<i64> {
    let (sign, hours, minutes) = match text.as_bytes() {
        [b'Z' | b'z'] => return Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let number = |tens: u8, ones: u8| {
                let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
                digits.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
            };
            (*sign, number(*h1, *h2)?, number(*m1, *m2)?)
        }
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some(if sign == b'-' { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(rfc3339(1_763_769_600_007), "2025-11-22T00:00:00.007Z");
        assert_eq!(rfc3339(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        let second = 1_763_769_600_000;
        for (text, unix_ms) in [
            ("2025-11-22", second),
            ("2025-11-22T00:00:00Z", second),
            ("2025-11-22 00:00:00z", second),
            ("2025-11-22T00:00:00.007Z", second + 7),
            ("2025-11-22T00:00:00.0079999Z", second + 7),
            ("2025-11-22T00:00:00.5+00:00", second + 500),
            ("2025-11-22T01:30:00+01:30", second),
            ("2025-11-21T20:00:00-04:00", second),
            ("1970-01-01", 0),
        ] {
            assert_eq!(parse(text), Some(unix_ms), "{text}");
        }
        for text in [
            "",
            "2025",
            "2025-11-32",
            "2025-13-01",
            "22.11.2025",
            "2025-11-22T00:00:00",
            "2025-11-22T00:00:00.Z",
            "2025-11-22T00:00:00+1:00",
            "2025-11-22T00:00:00+24:00",
            "2025-11-22T00:00:00Z ",
            "1969-12-31",
            "1970-01-01T00:00:00+00:01",
            "2025-11-2ä",
            "ääääääääääääääääääääZ",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
