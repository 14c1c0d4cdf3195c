//! What is kept beside a value: a few short named texts.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{Error, Result};

/// A few named texts that are written with a value, read with it, and replaced with it: a content type, who wrote it.
///
/// A name is 1 to 64 bytes of lower-case ASCII letters, digits, `-`, `_` and `.`, beginning with a letter. A value is
/// printable ASCII, neither beginning nor ending with a space; other text is for the caller to encode. All names and
/// values together take at most [`BYTES_MAX`](Attributes::BYTES_MAX). Backends that speak HTTP carry
/// [these names](Attributes::STANDARD) as the header of that name, others as their own metadata.
///
/// Cloning is cheap, and a set without attributes holds no memory.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Attributes(Option<Arc<BTreeMap<String, String>>>);

impl Attributes {
    /// The most that all names and values take together: 2,048 bytes, as on S3. A store may take
    /// [less](crate::Limits::attributes_bytes_max).
    pub const BYTES_MAX: usize = 2_048;

    /// Names that are HTTP's own.
    pub const STANDARD: [&'static str; 6] = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    ];

    /// None.
    pub const fn new() -> Self {
        Self(None)
    }

    /// The same with one more, or with another value for one of that name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a name or value that not every backend can carry, and past
    /// [`BYTES_MAX`](Attributes::BYTES_MAX).
    pub fn with(mut self, name: &str, value: &str) -> Result<Self> {
        self.insert(name, value)?;
        Ok(self)
    }

    /// Sets one.
    ///
    /// # Errors
    /// As [`with`](Attributes::with); nothing is changed then.
    pub fn insert(&mut self, name: &str, value: &str) -> Result<()> {
        if !sound_name(name) {
            return Err(Error::invalid(format!(
                "{name:?} is no name of an attribute: it has 1 to 64 of a-z, 0-9, \"-\", \"_\" and \".\", a letter first"
            )));
        }
        if !sound_value(value) {
            return Err(Error::invalid(format!(
                "the value of attribute {name:?} is not printable ASCII without spaces around it; encode it"
            )));
        }
        let replaced = self.get(name).map_or(0, |value| name.len() + value.len());
        let bytes = self.bytes() - replaced + name.len() + value.len();
        if bytes > Self::BYTES_MAX {
            return Err(Error::invalid(format!(
                "attributes of {bytes} bytes are over the limit of {} bytes; put more into the value",
                Self::BYTES_MAX
            )));
        }
        let all = Arc::make_mut(self.0.get_or_insert_default());
        all.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name).map(String::as_str)
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let all = self.0.as_mut()?;
        let value = Arc::make_mut(all).remove(name);
        if all.is_empty() {
            self.0 = None;
        }
        value
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |all| all.len())
    }

    /// Names and values, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|all| all.iter()).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What all names and values take together.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

fn sound_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
}

fn sound_value(value: &str) -> bool {
    value.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && value == value.trim_matches(' ')
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_replaced_and_removed() {
        let mut all = Attributes::new().with("content-type", "text/plain").unwrap().with("a", "").unwrap();
        all.insert("content-type", "image/png").unwrap();
        assert_eq!(all.iter().collect::<Vec<_>>(), [("a", ""), ("content-type", "image/png")]);
        assert_eq!(all.bytes(), 1 + "content-type".len() + "image/png".len());
        assert_eq!(all.remove("content-type").as_deref(), Some("image/png"));
        assert_eq!(all.remove("a").as_deref(), Some(""));
        assert_eq!(all, Attributes::new());
    }

    #[test]
    fn what_not_every_backend_carries_is_refused() {
        let refused = |name: &str, value: &str| Attributes::new().with(name, value).unwrap_err();
        for name in ["", "A", "1a", "a b", "a:b", "é", &"a".repeat(65)] {
            refused(name, "x");
        }
        for value in ["é", "a\nb", " a", "a ", "\t"] {
            refused("a", value);
        }
        refused("a", &"x".repeat(Attributes::BYTES_MAX));
        let mut full = Attributes::new().with("a", &"x".repeat(Attributes::BYTES_MAX - 1)).unwrap();
        full.insert("a", &"y".repeat(Attributes::BYTES_MAX - 1)).unwrap();
        assert!(full.insert("b", "").is_err());
        assert_eq!(full.len(), 1);
    }
}
