//! A range of ids, with the receipt by which it can be divided or given back once.

use std::{fmt, iter::FusedIterator, str::FromStr};

use leasehold_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::pool::Piece;

/// A range of ids that was taken, and how far it is used up. Iterating it uses it up.
///
/// Shows itself as `start-end:receipt:check`, where `end` is the first id that is not in it, and reads that again;
/// what was used up is not part of the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdRange {
    start: u64,
    end: u64,
    receipt: String,
    /// The next id that is not used.
    next: u64,
}

/// What is kept of a range that was divided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) receipt: String,
}

impl IdRange {
    pub(crate) fn new((start, end): Piece, receipt: String) -> Self {
        Self { start, end, receipt, next: start }
    }

    /// The first id of the range, as it was taken.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The first id that is not in it.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The next id that is not used up; the end when all are.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Uses up everything below `id`.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) when `id` is not in the range, or used up already.
    pub fn use_up_to(&mut self, id: u64) -> Result<()> {
        if !(self.next..=self.end).contains(&id) {
            return Err(Error::invalid(format!("{id} is not between {} and {}", self.next, self.end)));
        }
        self.next = id;
        Ok(())
    }

    /// Names this range for ever: what becomes of it is decided once.
    pub fn receipt(&self) -> &str {
        &self.receipt
    }

    /// Cuts what is left into `parts` that differ by one at most, the longer ones first.
    pub(crate) fn cut(&self, parts: u32, mut receipt: impl FnMut() -> String) -> Result<Vec<Part>> {
        let left = self.end - self.next;
        let parts = u64::from(parts);
        if parts == 0 || parts > left {
            return Err(Error::invalid(format!("{left} ids cannot be divided into {parts} parts")));
        }
        let (each, longer) = (left / parts, left % parts);
        let mut start = self.next;
        Ok((0..parts)
            .map(|part| {
                let end = start + each + u64::from(part < longer);
                Part { start: std::mem::replace(&mut start, end), end, receipt: receipt() }
            })
            .collect())
    }

    /// What is not used up; empty when `start` is `end`.
    pub(crate) fn left(&self) -> Piece {
        (self.next, self.end)
    }

    /// A few digits that a slip of the pen does not survive.
    fn check(&self) -> u32 {
        // FNV-1a, whose constants are part of the format.
        let text = format!("{}-{}:{}", self.start, self.end, self.receipt);
        text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

impl Iterator for IdRange {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let id = self.next;
        (id < self.end).then(|| {
            self.next += 1;
            id
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.end - self.next);
        (left.unwrap_or(usize::MAX), left.ok())
    }
}

impl FusedIterator for IdRange {}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}:{}:{:08x}", self.start, self.end, self.receipt, self.check())
    }
}

impl FromStr for IdRange {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) shows.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Error::invalid(format!(
                "{text:?} is not a range of ids: give it as it was printed when it was taken, start-end:receipt:check"
            ))
        };
        let parse = || {
            let (bounds, rest) = text.split_once(':')?;
            let (receipt, check) = rest.split_once(':')?;
            let (start, end) = bounds.split_once('-')?;
            let piece = (start.parse().ok()?, end.parse().ok()?);
            let sound = receipt.len() == 32 && receipt.bytes().all(|byte| byte.is_ascii_hexdigit());
            let range = Self::new(piece, receipt.to_owned());
            (sound && piece.0 < piece.1 && u32::from_str_radix(check, 16) == Ok(range.check()))
                .then_some(range)
        };
        parse().ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> IdRange {
        IdRange::new((100, 110), "0123456789abcdef0123456789abcdef".into())
    }

    #[test]
    fn what_is_shown_can_be_read_and_a_slip_is_noticed() {
        let text = range().to_string();
        assert_eq!(text.parse::<IdRange>().unwrap(), range());
        for wrong in [
            text.replacen("100", "101", 1),
            text.replacen("110", "111", 1),
            text.replacen("0123", "1123", 1),
            text[..text.len() - 1].to_owned(),
            String::new(),
            "1-2".into(),
            "9-9:0123456789abcdef0123456789abcdef:00000000".into(),
        ] {
            assert!(wrong.parse::<IdRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_come_in_order_and_end() {
        let mut range = range();
        assert_eq!((range.next(), range.next(), range.size_hint()), (Some(100), Some(101), (8, Some(8))));
        range.use_up_to(108).unwrap();
        assert_eq!(range.position(), 108);
        assert!(range.use_up_to(107).is_err() && range.use_up_to(111).is_err());
        assert_eq!(range.by_ref().collect::<Vec<_>>(), [108, 109]);
        assert_eq!(range.next(), None);
        assert_eq!(range.left(), (110, 110));
    }

    #[test]
    fn parts_are_even_and_leave_nothing_out() {
        let mut range = range();
        range.next();
        let parts = range.cut(4, || "r".into()).unwrap();
        let bounds: Vec<_> = parts.iter().map(|part| (part.start, part.end)).collect();
        assert_eq!(bounds, [(101, 104), (104, 106), (106, 108), (108, 110)]);
        assert!(range.cut(0, String::new).is_err() && range.cut(10, String::new).is_err());
    }
}
