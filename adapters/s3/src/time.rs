//! Times as S3 writes them in lists.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time that a text like `2026-11-21T14:59:00.000Z` stands for.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let sound = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !sound {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(UNIX_EPOCH + Duration::new(seconds, nanoseconds))
}

/// Days since 1970 of a proleptic Gregorian date; years are counted from March.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let march = (month + 9) % 12;
    let of_year = (153 * march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_http_has_them() {
        for (text, http) in [
            ("1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("2000-02-29T23:59:59.000Z", "Tue, 29 Feb 2000 23:59:59 GMT"),
            ("2026-11-21T14:59:01Z", "Sat, 21 Nov 2026 14:59:01 GMT"),
            ("2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(parse(text), httpdate::parse_http_date(http).ok(), "{text}");
        }
        assert_eq!(parse("1970-01-01T00:00:00.25Z"), Some(UNIX_EPOCH + Duration::from_millis(250)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "x-11-21T00:00:00Z",
            "1969-12-31T00:00:00Z",
            "2026-11-21T25:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
