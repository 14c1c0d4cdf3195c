//! Durations and sizes as people write them: `500ms`, `1m30s`, `64 MiB`.

use std::time::Duration;

use leasehold_core::{Error, Result};

/// Parses a duration; a number needs its unit: `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for anything else.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(leasehold::units::duration("1m30s")?, Duration::from_secs(90));
/// # Ok::<(), leasehold::Error>(())
/// ```
pub fn duration(text: &str) -> Result<Duration> {
    let refuse =
        || Error::invalid(format!("{text:?} is not a duration; write for example 500ms, 10s, 1m30s or 2h"));
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, unit, after) = part(rest).ok_or_else(refuse)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refuse()),
        };
        let part = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(refuse)?;
        total = total.checked_add(part).ok_or_else(refuse)?;
        rest = after;
    }
    if text.is_empty() { Err(refuse()) } else { Ok(total) }
}

/// Parses a number of bytes: `512`, `64KiB`, `8 MiB`, `1GiB`, or in thousands `10kB`, `5MB`, `1GB`.
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for anything else.
pub fn bytes(text: &str) -> Result<u64> {
    let refuse = || Error::invalid(format!("{text:?} is not a size; write for example 512, 64KiB or 8MiB"));
    let (number, unit, after) = part(text).ok_or_else(refuse)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(refuse()),
    };
    if after.is_empty() { number.checked_mul(factor).ok_or_else(refuse) } else { Err(refuse()) }
}

/// A number, the letters behind it, with at most one space between them, and what follows.
fn part(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    let rest = &text[digits..];
    let rest = rest.strip_prefix(' ').filter(|rest| !rest.is_empty()).unwrap_or(rest);
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    Some((number, &rest[..letters], &rest[letters..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("10 s", 10_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("0s", 0),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "10", "s", "-1s", "1.5s", "1  s", "1é", "99999999999999999999s", "9999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_parse() {
        for (text, wanted) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64 KiB", 65_536),
            ("8MiB", 8 << 20),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(bytes(text).unwrap(), wanted, "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "1mib", "1 MiB 2", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text:?}");
        }
    }
}
