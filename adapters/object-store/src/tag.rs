//! Versions and the marks they travel as: ETags and object versions.

use leasehold_core::{Error, ErrorKind, Result, Version};
use object_store::UpdateVersion;

use crate::Versions;

impl Versions {
    /// The version of what a store answered with these marks.
    ///
    /// # Errors
    /// [`Unexpected`](ErrorKind::Unexpected) when the one that counts is missing: without it no write could be told from
    /// another.
    pub(crate) fn read(self, e_tag: Option<&str>, version: Option<&str>) -> Result<Version> {
        let (mark, name) = match self {
            Self::ETag | Self::UnquotedETag => (e_tag, "ETag"),
            Self::ObjectVersion => (version, "object version"),
        };
        match mark {
            Some(mark) if self == Self::UnquotedETag && !mark.ends_with('"') => {
                Ok(Version::new(format!("\"{mark}\"")))
            }
            Some(mark) => Ok(Version::new(mark)),
            None => Err(Error::new(
                ErrorKind::Unexpected,
                format!(
                    "the store told no {name}, of which versions are made here; state what it tells with `Backend::versions`"
                ),
            )),
        }
    }

    /// What an update must name; `None` where no write can have this version.
    pub(crate) fn update(self, version: &Version) -> Option<UpdateVersion> {
        let mark = sound(version.as_str())?.to_owned();
        match self {
            Self::ETag | Self::UnquotedETag => Some(UpdateVersion { e_tag: Some(mark), version: None }),
            // On Google Cloud Storage a generation of 0 means "must not exist".
            Self::ObjectVersion if mark.bytes().all(|byte| byte == b'0') => None,
            Self::ObjectVersion => Some(UpdateVersion { e_tag: None, version: Some(mark) }),
        }
    }

    /// What a read names that wants nothing unless the value has changed; `None` where only its metadata can tell.
    pub(crate) fn if_none_match(self, version: &Version) -> Option<String> {
        match self {
            Self::ETag | Self::UnquotedETag => sound(version.as_str()).map(str::to_owned),
            Self::ObjectVersion => None,
        }
    }
}

/// The text of one mark. What is none would mean something else on its way: `*` any value, a comma a list of tags.
fn sound(text: &str) -> Option<&str> {
    let visible = !text.is_empty() && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b',');
    let inner = text.strip_prefix("W/").unwrap_or(text);
    let inner = inner.strip_prefix('"').map_or(Some(inner), |rest| rest.strip_suffix('"'));
    (visible && text != "*" && inner.is_some_and(|inner| !inner.contains('"'))).then_some(text)
}

/// A version as an ETag: in quotes, and escaped where it is not plain.
pub(crate) fn to_e_tag(version: &Version) -> String {
    let mut e_tag = String::with_capacity(version.as_str().len() + 2);
    e_tag.push('"');
    for byte in version.as_str().bytes() {
        match byte {
            b'"' | b',' | b'%' | 0..=0x20 | 0x7f.. => {
                e_tag.push('%');
                e_tag.push(hex(byte >> 4));
                e_tag.push(hex(byte & 15));
            }
            plain => e_tag.push(char::from(plain)),
        }
    }
    e_tag.push('"');
    e_tag
}

/// The version that an ETag stands for; `None` for one that [`to_e_tag`] never makes.
pub(crate) fn from_e_tag(e_tag: &str) -> Option<Version> {
    let inner = e_tag.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => unhex(rest.next()?)? << 4 | unhex(rest.next()?)?,
            plain => plain,
        };
        bytes.push(byte);
    }
    let version = Version::new(String::from_utf8(bytes).ok()?);
    // One version has one tag, or equal versions would not compare equal by their tags.
    (to_e_tag(&version) == e_tag).then_some(version)
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).expect("it is below 16")
}

fn unhex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_version_survives_as_an_e_tag() {
        for text in ["", "17", "\"17\"", "a,b", "*", "100%", "%41", "ä b", "W/\"x\"", "\u{1}"] {
            let e_tag = to_e_tag(&Version::new(text));
            assert!(e_tag.is_ascii() && !e_tag[1..e_tag.len() - 1].contains(['"', ',', ' ']), "{e_tag}");
            assert_eq!(from_e_tag(&e_tag), Some(Version::new(text)));
        }
    }

    #[test]
    fn what_no_version_was_made_into_is_no_version() {
        for e_tag in ["", "17", "\"", "*", "\"%4\"", "\"%zz\"", "\"%41\"", "\"%2C\"", "\"%ff\"", "\"a,b\""] {
            assert_eq!(from_e_tag(e_tag), None, "{e_tag}");
        }
    }

    #[test]
    fn a_version_that_would_mean_something_else_to_the_store_matches_nothing() {
        for text in ["", "*", "\"a\", \"b\"", "a,b", "ä", "\"", "\"a\"b\"", "a b", "a\nb", "W/\""] {
            assert_eq!(Versions::ETag.update(&Version::new(text)), None, "{text:?}");
            assert_eq!(Versions::ETag.if_none_match(&Version::new(text)), None, "{text:?}");
        }
        for text in ["0", "00"] {
            assert_eq!(Versions::ObjectVersion.update(&Version::new(text)), None, "{text:?}");
        }
        for text in ["\"17\"", "17", "0x8D", "W/\"17\"", "1-2-3"] {
            let update = Versions::ETag.update(&Version::new(text)).unwrap();
            assert_eq!((update.e_tag.as_deref(), update.version), (Some(text), None));
        }
        let update = Versions::ObjectVersion.update(&Version::new("1700")).unwrap();
        assert_eq!((update.e_tag, update.version.as_deref()), (None, Some("1700")));
    }

    #[test]
    fn a_tag_that_a_list_tells_without_quotes_is_the_same_version() {
        let read = |e_tag| Versions::UnquotedETag.read(Some(e_tag), None).unwrap();
        assert_eq!(read("0x8DC"), read("\"0x8DC\""));
        assert_eq!(Versions::ETag.read(Some("0x8DC"), None).unwrap().as_str(), "0x8DC");
    }

    #[test]
    fn a_store_that_tells_no_version_is_refused_with_what_to_do() {
        for (versions, e_tag, version) in
            [(Versions::ETag, None, Some("1")), (Versions::ObjectVersion, Some("\"1\""), None)]
        {
            let error = versions.read(e_tag, version).unwrap_err();
            assert!(error.message().contains("Backend::versions"), "{error}");
        }
    }
}
