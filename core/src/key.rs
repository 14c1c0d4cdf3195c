//! Names of values: parsed once, so that what reaches an adapter is always sound.

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use crate::{Error, Result, text::Text};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The name of a value: UTF-8, 1 to 1,024 bytes, segments divided by `/`.
///
/// No segment is empty, `.` or `..`, and there are no control characters. Case is significant; `a`
/// and `a/b` may both exist. Keys order by their bytes. Cloning is cheap; one of up to 38 bytes costs no allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Text);

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), with the rule that is broken.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        check(text)?;
        Ok(Self(Text::new(text)))
    }

    /// The whole key.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The parts between the slashes; at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.as_str().split('/')
    }
}

fn check(text: &str) -> Result<()> {
    let refuse = |why: &str| {
        let shown: String = text.chars().take(64).collect();
        Err(Error::invalid(format!("{shown:?} is not a key: {why}")))
    };
    if text.is_empty() {
        return refuse("a key has at least one byte");
    }
    if text.len() > KEY_BYTES_MAX {
        return refuse("a key has at most 1,024 bytes");
    }
    // One pass: every key of a list comes through here.
    let (mut start, mut after_c2) = (0, false);
    for (position, byte) in text.bytes().enumerate() {
        // ASCII controls and DEL by byte; the C1 controls (U+0080–U+009F) are C2 80–9F in UTF-8.
        if byte < 0x20 || byte == 0x7f || (after_c2 && byte <= 0x9f) {
            return refuse("control characters are not allowed");
        }
        after_c2 = byte == 0xc2;
        if byte == b'/' {
            check_segment(&text[start..position]).or_else(refuse)?;
            start = position + 1;
        }
    }
    check_segment(&text[start..]).or_else(refuse)
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    match segment {
        "" => Err("no part between slashes may be empty, nor may it start or end with a slash"),
        "." | ".." => Err("no part may be \".\" or \"..\""),
        _ => Ok(()),
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a [`Store`](crate::Store) takes where it needs a key: text that is checked when the request is sent.
pub trait IntoKey {
    /// Parses, or passes on what has been parsed.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), with the rule that is broken.
    fn into_key(self) -> Result<Key>;
}

impl IntoKey for Key {
    fn into_key(self) -> Result<Key> {
        Ok(self)
    }
}

impl IntoKey for &Key {
    fn into_key(self) -> Result<Key> {
        Ok(self.clone())
    }
}

impl IntoKey for &str {
    fn into_key(self) -> Result<Key> {
        Key::new(self)
    }
}

impl IntoKey for String {
    fn into_key(self) -> Result<Key> {
        Key::new(self)
    }
}

impl IntoKey for &String {
    fn into_key(self) -> Result<Key> {
        Key::new(self.as_str())
    }
}

/// The start of keys to list: any text that a key could start with, also the middle of a segment.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Parses a prefix; the empty one stands for all keys.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) where no key can start so.
    pub fn new(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self> {
        let bare = text.as_ref();
        // "a/" and "a/." are starts of keys although neither is one: complete them before checking.
        if !bare.is_empty() {
            let open = bare.ends_with('/')
                || bare.ends_with("/.")
                || bare.ends_with("/..")
                || bare == "."
                || bare == "..";
            let completed = if open && bare.len() < KEY_BYTES_MAX { &format!("{bare}x") } else { bare };
            check(completed).map_err(|error| {
                Error::invalid(error.message().replacen("is not a key", "is not the start of any key", 1))
            })?;
        }
        Ok(Self(text.into()))
    }

    /// The text that keys start with.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_keys_parse() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        for text in ["a", "a/b", "ä/日本語", "..a", "a.", "...", " ", "a b/%41", "A", longest.as_str()] {
            assert_eq!(Key::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn unsound_keys_are_refused_with_the_rule() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for text in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.",
            "a\0",
            "a\nb",
            "\u{7f}",
            "\u{85}",
            long.as_str(),
        ] {
            let error = Key::new(text).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid, "{text:?}");
            assert!(error.message().contains("is not a key"), "{error}");
        }
    }

    #[test]
    fn a_prefix_may_stop_anywhere_that_a_key_can_go_on() {
        for text in ["", "a", "a/", "a/.", "a/..", ".", "..", "a/b"] {
            assert!(Prefix::new(text).is_ok(), "{text:?}");
        }
        for text in ["/", "a//", "a/../", "\n", "./a"] {
            assert!(Prefix::new(text).is_err(), "{text:?}");
        }
    }
}
