//! What comes back from a store: versions, metadata, values, entries.

use std::{borrow::Cow, fmt, ops::Range, time::SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use crate::{Attributes, Body, Error, ErrorKind, Key, Result, text::Text};

/// Which write a value came from. Opaque: two versions are equal or they are not.
///
/// Whether a version can return (A → B → A on a store that derives it from content) is told by
/// [`UniqueVersions`](crate::Capability::UniqueVersions). One of at most 38 bytes, as adapters have them, is held without
/// allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(Text);

impl Version {
    /// A version as an adapter, or a person who noted it down, has it.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(Text::new(text.as_ref()))
    }

    /// The text that adapters and people pass around.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.as_str())
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer).map(Self::new)
    }
}

/// What is known of a value without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The write it came from.
    pub version: Version,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written by the store's own clock, where the store knows. For people; never for expiry.
    pub modified: Option<SystemTime>,
    /// What was written beside it. Always empty in what a list yields.
    pub attributes: Attributes,
}

impl Metadata {
    /// Metadata without a time and without attributes.
    pub fn new(version: Version, size: u64) -> Self {
        Self { version, size, modified: None, attributes: Attributes::new() }
    }

    /// The same with the time of the write.
    #[must_use]
    pub fn modified_at(mut self, modified: SystemTime) -> Self {
        self.modified = Some(modified);
        self
    }

    /// The same with attributes.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }
}

/// A value that was read: its metadata, which part of it, and the content.
#[derive(Debug)]
#[non_exhaustive]
pub struct Object {
    /// What is known of the whole value.
    pub metadata: Metadata,
    /// The offsets that [`body`](Object::body) holds.
    pub range: Range<u64>,
    /// The content of that range.
    pub body: Body,
}

impl Object {
    /// A value, or the `range` of it that `body` holds.
    pub fn new(metadata: Metadata, range: Range<u64>, body: Body) -> Self {
        Self { metadata, range, body }
    }

    /// The write it came from.
    pub fn version(&self) -> &Version {
        &self.metadata.version
    }

    /// All bytes of the range, up to [`Body::COLLECT_BYTES_MAX`].
    ///
    /// # Errors
    /// What reading fails with; [`Unavailable`](ErrorKind::Unavailable) for a body that breaks off;
    /// [`Invalid`](ErrorKind::Invalid) past the limit: use [`Body::into_stream`].
    pub async fn bytes(self) -> Result<Bytes> {
        self.body.receive(Body::COLLECT_BYTES_MAX).await
    }

    /// The content as text.
    ///
    /// # Errors
    /// As [`bytes`](Object::bytes), and [`Corrupt`](ErrorKind::Corrupt) when it is not UTF-8.
    pub async fn text(self) -> Result<String> {
        String::from_utf8(self.bytes().await?.into())
            .map_err(|source| Error::new(ErrorKind::Corrupt, "the value is not UTF-8 text").because(source))
    }

    /// The content read as JSON.
    ///
    /// # Errors
    /// As [`bytes`](Object::bytes), and [`Corrupt`](ErrorKind::Corrupt) when it is not JSON of this shape.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        serde_json::from_slice(&self.bytes().await?).map_err(|source| {
            Error::new(ErrorKind::Corrupt, "the value is not JSON of the expected shape").because(source)
        })
    }
}

/// The answer to a get.
#[derive(Debug)]
pub enum Lookup {
    /// There is no such key.
    Absent,
    /// It still has the version that the caller named in `if_changed_from`; the content was not sent.
    Unchanged,
    /// The value.
    Found(Object),
}

impl Lookup {
    /// The value, where there is one and it was sent.
    pub fn found(self) -> Option<Object> {
        match self {
            Self::Found(object) => Some(object),
            Self::Absent | Self::Unchanged => None,
        }
    }
}

/// One key of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// What is known of its value.
    pub metadata: Metadata,
}

impl Entry {
    /// An entry.
    pub fn new(key: Key, metadata: Metadata) -> Self {
        Self { key, metadata }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_text_in_json_too() {
        for text in ["", "17", "é".repeat(40).as_str()] {
            let json = serde_json::to_string(&Version::new(text)).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), Version::new(text));
        }
    }
}
