//! Immutable text that is cheap to make and to clone: short text inline, longer text shared.
//!
//! Keys and versions are made by the thousand, on one thread, and dropped on another. Most are short, and then they cost no
//! allocation and no shared count.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// The longest text that is held inline.
const INLINE_BYTES: usize = 38;

#[derive(Clone)]
pub(crate) enum Text {
    Inline { length: u8, bytes: [u8; INLINE_BYTES] },
    Shared(Arc<str>),
}

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        if text.len() > INLINE_BYTES {
            return Self::Shared(text.into());
        }
        let mut bytes = [0; INLINE_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self::Inline { length: text.len() as u8, bytes }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Inline { .. } => std::str::from_utf8(self.as_bytes()).expect("it was copied from text"),
            Self::Shared(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Self::Shared(text) => text.as_bytes(),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// As text hashes, so that a map of these can be searched by text.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compared_and_ordered_as_it_reads_whatever_its_length() {
        let mut texts: Vec<String> = [0, 1, 2, 37, 38, 39, 200]
            .into_iter()
            .flat_map(|length| ["x".repeat(length), "é".repeat(length / 2), "y".repeat(length)])
            .collect();
        texts.sort();
        texts.dedup();
        for (position, text) in texts.iter().enumerate() {
            assert_eq!(Text::new(text).as_str(), text);
            for (other_position, other) in texts.iter().enumerate() {
                assert_eq!(Text::new(text).cmp(&Text::new(other)), position.cmp(&other_position));
                assert_eq!(Text::new(text) == Text::new(other), text == other);
            }
        }
    }
}
