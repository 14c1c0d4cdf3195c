//! Headers that describe an object, as attributes of a value and back.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use leasehold_core::{Attributes, Metadata};
use s3s::{
    S3Result,
    dto::{LastModified, Timestamp},
    s3_error,
};

const META: &str = "x-amz-meta-";

/// Attributes that begin so are the server's own.
const OWN: &str = "s3.";

/// The server's attribute for the checksum of an object: the algorithm, a colon, and the value in base64.
const CHECKSUM: &str = "s3.checksum";

/// The server's attribute for the upload that an object was made by.
const UPLOAD: &str = "s3.upload";

/// The encoding of a body on its way here; not one of the object.
const AWS_CHUNKED: &str = "aws-chunked";

/// What an object without a content type has.
const DEFAULT_TYPE: HeaderValue = HeaderValue::from_static("binary/octet-stream");

/// What a request says of an object.
///
/// Where the store keeps no attributes, a content type is dropped, since every client sends one; anything else is
/// refused.
pub(crate) fn attributes(headers: &HeaderMap, kept: bool) -> S3Result<Attributes> {
    let mut attributes = Attributes::new();
    for name in Attributes::STANDARD {
        let Some(value) = headers.get(name) else { continue };
        let value = printable(name, value)?;
        let value = if name == "content-encoding" { without_chunking(value) } else { value.to_owned() };
        if value.is_empty() {
            continue;
        }
        if kept {
            insert(&mut attributes, name, &value)?;
        } else if name != "content-type" {
            return Err(not_kept(name));
        }
    }
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(META) else { continue };
        if !kept {
            return Err(not_kept(header.as_str()));
        }
        if Attributes::STANDARD.contains(&name) || name.starts_with(OWN) {
            return Err(s3_error!(
                InvalidArgument,
                "metadata named {name:?} is reserved; choose another name"
            ));
        }
        if attributes.get(name).is_some() {
            return Err(s3_error!(InvalidArgument, "metadata named {name:?} is given twice"));
        }
        insert(&mut attributes, name, printable(header.as_str(), value)?)?;
    }
    Ok(attributes)
}

fn not_kept(name: &str) -> s3s::S3Error {
    s3_error!(
        NotImplemented,
        "the store behind this server keeps no metadata, so the header {name:?} is refused"
    )
}

fn insert(attributes: &mut Attributes, name: &str, value: &str) -> S3Result<()> {
    let bytes = attributes.bytes() + name.len() + value.len();
    if bytes > Attributes::BYTES_MAX {
        return Err(s3_error!(
            MetadataTooLarge,
            "metadata of {bytes} bytes is over the limit of {} bytes",
            Attributes::BYTES_MAX
        ));
    }
    attributes.insert(name, value).map_err(|error| s3_error!(InvalidArgument, "{}", error.message()))
}

fn printable<'a>(name: &str, value: &'a HeaderValue) -> S3Result<&'a str> {
    value.to_str().map(|value| value.trim_matches([' ', '\t'])).map_err(|_| {
        s3_error!(InvalidArgument, "the header {name:?} is not ASCII; encode it as RFC 2047 has it")
    })
}

fn without_chunking(encodings: &str) -> String {
    let own =
        encodings.split(',').map(str::trim).filter(|encoding| !encoding.eq_ignore_ascii_case(AWS_CHUNKED));
    own.collect::<Vec<_>>().join(",")
}

/// Whether the body is in chunks that the protocol takes apart.
pub(crate) fn is_streaming(headers: &HeaderMap) -> bool {
    headers.get("x-amz-content-sha256").is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"))
}

/// Whether the body is said to be in chunks of its own.
pub(crate) fn is_chunked(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    encodings
        .flat_map(|value| value.split(','))
        .any(|encoding| encoding.trim().eq_ignore_ascii_case(AWS_CHUNKED))
        || is_streaming(headers)
}

/// The same with the checksum of the value, where there is room for it.
pub(crate) fn with_checksum(mut attributes: Attributes, algorithm: &str, value: &str) -> Attributes {
    // A checksum is a convenience. Metadata that fills the limit is not refused for its sake.
    let _ = attributes.insert(CHECKSUM, &format!("{algorithm}:{value}"));
    attributes
}

/// The checksum of the whole value that was kept with it: the algorithm and the value.
pub(crate) fn checksum(attributes: &Attributes) -> Option<(&str, &str)> {
    attributes.get(CHECKSUM)?.split_once(':')
}

/// The same with the upload that makes the object, where there is room for it.
pub(crate) fn with_upload(mut attributes: Attributes, id: &str) -> Attributes {
    let _ = attributes.insert(UPLOAD, id);
    attributes
}

/// Whether the object was made by this upload.
pub(crate) fn is_of_upload(attributes: &Attributes, id: &str) -> bool {
    attributes.get(UPLOAD) == Some(id)
}

/// What a copy takes over: not how the original was made.
pub(crate) fn copied(mut attributes: Attributes) -> Attributes {
    attributes.remove(UPLOAD);
    attributes
}

/// The headers that describe an object to its reader.
pub(crate) fn headers(attributes: &Attributes) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(attributes.len() + 1);
    headers.insert(header::CONTENT_TYPE, DEFAULT_TYPE);
    for (name, value) in attributes.iter().filter(|(name, _)| !name.starts_with(OWN)) {
        let header = if Attributes::STANDARD.contains(&name) {
            HeaderName::try_from(name)
        } else {
            HeaderName::try_from(format!("{META}{name}"))
        };
        if let (Ok(header), Ok(value)) = (header, HeaderValue::from_str(value)) {
            headers.insert(header, value);
        }
    }
    headers
}

/// When an object was written. Clients insist on a time, so a store that knows none says 1970.
pub(crate) fn modified(metadata: &Metadata) -> LastModified {
    Timestamp::from(metadata.modified.unwrap_or(SystemTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_is_said_of_an_object_comes_back() {
        let said = of(&[
            ("content-type", "text/plain"),
            ("cache-control", "no-store"),
            ("x-amz-meta-colour", " blue "),
            ("x-amz-meta-encoded", "=?UTF-8?B?w6k=?="),
            ("host", "x"),
        ]);
        let attributes = attributes(&said, true).unwrap();
        let headers = headers(&with_checksum(attributes, "crc32", "AAAAAA=="));
        assert_eq!(headers["content-type"], "text/plain");
        assert_eq!(headers["x-amz-meta-colour"], "blue");
        assert_eq!(headers["x-amz-meta-encoded"], "=?UTF-8?B?w6k=?=");
        assert_eq!(headers.len(), 4, "{headers:?}");
    }

    #[test]
    fn the_chunks_of_the_way_here_are_not_kept() {
        for (said, kept) in
            [("aws-chunked", None), ("aws-chunked, gzip", Some("gzip")), ("gzip", Some("gzip"))]
        {
            let attributes = attributes(&of(&[("content-encoding", said)]), true).unwrap();
            assert_eq!(attributes.get("content-encoding"), kept);
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let full = "x".repeat(2_048);
        for (name, value, code) in [
            ("x-amz-meta-content-type", "x", "InvalidArgument"),
            ("x-amz-meta-s3.checksum", "x", "InvalidArgument"),
            ("x-amz-meta-1st", "x", "InvalidArgument"),
            ("x-amz-meta-a", &full, "MetadataTooLarge"),
        ] {
            let refused = attributes(&of(&[(name, value)]), true).unwrap_err();
            assert_eq!(refused.code().as_str(), code, "{name}");
        }
        assert!(attributes(&of(&[("content-type", "text/plain")]), false).unwrap().is_empty());
        for name in ["x-amz-meta-a", "cache-control"] {
            assert_eq!(attributes(&of(&[(name, "x")]), false).unwrap_err().code().as_str(), "NotImplemented");
        }
    }
}
