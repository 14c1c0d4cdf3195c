//! Patterns of keys: `balances/**`, `*/typing`.

use leasehold_core::{Error, Key, Result};

/// A pattern, segment by segment: `*` stands for one segment, `**` for any number of them, also none, and anything else for
/// itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<String>);

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let segments: Vec<String> = text.split('/').map(str::to_owned).collect();
        let unsound = segments.iter().find(|segment| {
            segment.is_empty() || (segment.contains('*') && !["*", "**"].contains(&segment.as_str()))
        });
        match unsound {
            None => Ok(Self(segments)),
            Some(_) => Err(Error::invalid(format!(
                "{text:?} is no pattern of keys: between slashes stands a name, \"*\" for any one name, or \"**\" for any \
                 number of them"
            ))),
        }
    }

    pub(super) fn matches(&self, key: &Key) -> bool {
        let segments: Vec<&str> = key.segments().collect();
        // After how many segments of the key the pattern so far can end.
        let mut ends = vec![false; segments.len() + 1];
        ends[0] = true;
        for part in &self.0 {
            if part == "**" {
                for end in 1..ends.len() {
                    ends[end] |= ends[end - 1];
                }
            } else {
                for end in (1..ends.len()).rev() {
                    ends[end] = ends[end - 1] && (part == "*" || part == segments[end - 1]);
                }
                ends[0] = false;
            }
        }
        ends[segments.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_segment_by_segment() {
        for (pattern, key, wanted) in [
            ("balances/**", "balances/eu/7", true),
            ("balances/**", "balances", true),
            ("balances/**", "balances2/7", false),
            ("*/typing", "room/typing", true),
            ("*/typing", "a/room/typing", false),
            ("**/typing", "a/room/typing", true),
            ("**", "anything/at/all", true),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/c", false),
            ("**/a/**/a/**", "a/b/a", true),
            ("**/a/**/a/**", "a/b", false),
            ("a", "a", true),
        ] {
            let key = Key::new(key).unwrap();
            assert_eq!(Pattern::parse(pattern).unwrap().matches(&key), wanted, "{pattern} {key}");
        }
    }

    #[test]
    fn what_looks_like_another_kind_of_pattern_is_refused() {
        for text in ["", "/a", "a//b", "a*", "**a", "a/***"] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }
}
