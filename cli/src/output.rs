//! What goes to stdout and stderr. A reader that went away is not an error.

use std::{
    io::{self, IsTerminal, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use crate::failure::{Failure, UNKNOWN};

/// Writes bytes to stdout as they are. `Ok(false)` when nobody reads any more.
pub(crate) fn write(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::machine("stdout cannot be written", error)),
    }
}

/// Writes one line to stdout. `Ok(false)` when nobody reads any more.
pub(crate) fn line(text: &str) -> Result<bool, Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Writes one line of JSON to stdout. `Ok(false)` when nobody reads any more.
pub(crate) fn json(value: &impl Serialize) -> Result<bool, Failure> {
    let text =
        serde_json::to_string(value).map_err(|error| Failure::machine("the answer is no JSON", error))?;
    line(&text)
}

/// What a write comes to whose answer was printed: it is applied by then, so if that failed, the script had better look
/// than write again.
pub(crate) fn answer(printed: Result<bool, Failure>) -> Result<(), Failure> {
    printed.map(drop).map_err(|failure| {
        Failure::new(UNKNOWN, format!("the write was applied, but the answer was lost: {}", failure.message))
    })
}

/// Whether stderr takes colours.
pub(crate) fn colours() -> bool {
    takes_colours(&io::stderr())
}

/// Whether stdout takes colours.
pub(crate) fn stdout_colours() -> bool {
    takes_colours(&io::stdout())
}

fn takes_colours(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says on stderr why a command did not succeed. A closed stderr is ignored: there is nobody left to tell.
pub(crate) fn complain(message: &str) {
    let (red, plain) = if colours() { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(io::stderr().lock(), "{red}leasehold:{plain} {message}");
}

/// A time for people and machines alike: RFC 3339 in UTC, to the second.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs() as i64,
        Err(before) => -(before.duration().as_secs_f64().ceil() as i64),
    };
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01 in eras of 400 years: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31T23:59:59Z");
    }
}
