//! Versions as entity tags, one to one.

use std::borrow::Cow;

use leasehold_core::Version;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use s3s::dto::ETag;

/// What is not put into a tag as it is: what HTTP refuses there, what clients strip or split at, and the escape itself.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'"').add(b'%').add(b'\\').add(b',').add(b' ').add(b'*');

/// What the empty version is written as.
const EMPTY: &str = "%";

/// The tag of a version, without quotes.
pub(crate) fn text(version: &Version) -> Cow<'_, str> {
    if version.as_str().is_empty() {
        EMPTY.into()
    } else {
        utf8_percent_encode(version.as_str(), ESCAPED).into()
    }
}

/// The tag of a version.
pub(crate) fn tag(version: &Version) -> ETag {
    ETag::Strong(text(version).into_owned())
}

/// The version that a tag stands for; `None` for one that this server never gave out.
pub(crate) fn version(tag: &str) -> Option<Version> {
    let decoded = if tag == EMPTY { "".into() } else { percent_decode_str(tag).decode_utf8().ok()? };
    let version = Version::new(decoded);
    (text(&version) == tag).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_comes_back_from_its_tag() {
        for original in ["", "17", "1-ff", "a\"b", "100%", "%", "é\n", "W/", "*", "a, b", " ", "\\", "\u{7f}"]
        {
            let wanted = Version::new(original);
            let tag = tag(&wanted);
            let header = tag.to_http_header().unwrap();
            assert!(header.to_str().unwrap().is_ascii(), "{original:?}");
            let parsed = ETag::parse_http_header(header.as_bytes()).unwrap();
            assert_eq!(version(parsed.as_strong().unwrap()), Some(wanted), "{original:?}");
        }
    }

    #[test]
    fn a_tag_that_was_never_given_out_is_no_version() {
        for tag in ["100%", "a\"b", "%31", "%zz", "a b", "%ff"] {
            assert_eq!(version(tag), None, "{tag:?}");
        }
    }
}
