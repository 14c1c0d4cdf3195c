//! Parts of a value.

use std::ops::{Range, RangeFrom, RangeFull};

use crate::{Error, Result};

/// Which bytes of a value to read. The end is exclusive and is clipped to the value's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ByteRange {
    /// The whole value.
    #[default]
    Full,
    /// From the first offset up to, not including, the second.
    Bounded(u64, u64),
    /// From an offset to the end.
    From(u64),
    /// The last bytes; all of them where there are fewer.
    Last(u64),
}

impl ByteRange {
    /// The offsets within a value of `size` bytes.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the range starts past the end of the value (starting *at*
    /// the end is an empty range) or ends before it starts.
    pub fn resolve(self, size: u64) -> Result<Range<u64>> {
        let range = match self {
            Self::Full => 0..size,
            Self::Bounded(start, end) if start > end => {
                return Err(Error::invalid(format!("the range {start}..{end} ends before it starts")));
            }
            Self::Bounded(start, end) => start..end.min(size),
            Self::From(start) => start..size,
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        if range.start > size {
            return Err(Error::invalid(format!(
                "the range starts at {}, past the end of a value of {size} bytes",
                range.start
            )));
        }
        Ok(range)
    }
}

impl From<Range<u64>> for ByteRange {
    fn from(range: Range<u64>) -> Self {
        Self::Bounded(range.start, range.end)
    }
}

impl From<RangeFrom<u64>> for ByteRange {
    fn from(range: RangeFrom<u64>) -> Self {
        Self::From(range.start)
    }
}

impl From<RangeFull> for ByteRange {
    fn from(_: RangeFull) -> Self {
        Self::Full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_against_the_size() {
        assert_eq!(ByteRange::Full.resolve(5).unwrap(), 0..5);
        assert_eq!(ByteRange::from(1..3).resolve(5).unwrap(), 1..3);
        assert_eq!(ByteRange::from(1..30).resolve(5).unwrap(), 1..5);
        assert_eq!(ByteRange::from(5..9).resolve(5).unwrap(), 5..5);
        assert_eq!(ByteRange::from(2..).resolve(5).unwrap(), 2..5);
        assert_eq!(ByteRange::Last(2).resolve(5).unwrap(), 3..5);
        assert_eq!(ByteRange::Last(9).resolve(5).unwrap(), 0..5);
    }

    #[test]
    fn a_range_past_the_end_or_backwards_is_invalid() {
        assert!(ByteRange::from(6..).resolve(5).is_err());
        assert!(ByteRange::from(6..9).resolve(5).is_err());
        assert!(ByteRange::Bounded(3, 2).resolve(5).is_err());
    }
}
