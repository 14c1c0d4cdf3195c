//! What headers say of a value, and what we say in headers.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use leasehold_core::{Attributes, Environment, Error, ErrorKind, Metadata, Result, Version};

use crate::{sign::push_hex, wire::header_value};

/// The ids of the write that a value came from and of those before it, newest first, comma-separated.
const WRITES: HeaderName = HeaderName::from_static("x-amz-meta-leasehold-writes");
const META: &str = "x-amz-meta-";

/// What S3 says of a value whose type nobody has told. Sent for those, because some servers guess instead.
const UNTYPED: HeaderValue = HeaderValue::from_static("binary/octet-stream");

/// How many ids a value carries at most.
const WRITES_MAX: usize = 16;

/// An id that no other write has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteId(String);

impl WriteId {
    pub(crate) fn draw(environment: &Environment) -> Self {
        let mut text = String::with_capacity(22);
        push_hex(&mut text, &environment.random.bits().to_be_bytes());
        push_hex(&mut text, &environment.random.bits().to_be_bytes()[..3]);
        Self(text)
    }

    /// A version for a write that was applied and replaced: equal to none that a value ever has.
    pub(crate) fn replaced(&self) -> Version {
        Version::new(format!("replaced-{}", self.0))
    }
}

/// The recent writes of a value, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Writes(Vec<String>);

impl Writes {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let text = headers.get(WRITES).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
        Self(ids.take(WRITES_MAX).map(str::to_owned).collect())
    }

    pub(crate) fn include(&self, id: &WriteId) -> bool {
        self.0.contains(&id.0)
    }

    pub(crate) fn newest_is(&self, id: &WriteId) -> bool {
        self.0.first() == Some(&id.0)
    }

    /// Whether everything that was written after `base` is listed here.
    pub(crate) fn reach_back_to(&self, base: &Self) -> bool {
        match base.0.first() {
            Some(newest) => self.0.contains(newest),
            // Nothing was known of what was there before; a list that is not full begins with the value.
            None => false,
        }
    }

    /// The header of a write that follows these.
    fn followed_by(&self, id: &WriteId) -> Result<HeaderValue> {
        let kept = self.0.iter().take(WRITES_MAX - 1).map(String::as_str);
        let all: Vec<&str> = std::iter::once(id.0.as_str()).chain(kept).collect();
        header_value(&all.join(","))
    }
}

/// The headers that carry attributes, and the id of a write that follows `before`.
pub(crate) fn describe(
    headers: &mut HeaderMap,
    attributes: &Attributes,
    id: &WriteId,
    before: &Writes,
) -> Result<()> {
    headers.insert(header::CONTENT_TYPE, UNTYPED);
    for (name, value) in attributes.iter() {
        let name = if Attributes::STANDARD.contains(&name) {
            HeaderName::try_from(name)
        } else {
            HeaderName::try_from(format!("{META}{name}"))
        };
        let name = name.map_err(|source| Error::invalid("the attribute has no header").because(source))?;
        if name == WRITES {
            return Err(Error::invalid(
                "the attribute \"leasehold-writes\" is the store's own; choose another name",
            ));
        }
        headers.insert(name, header_value(value)?);
    }
    headers.insert(WRITES, before.followed_by(id)?);
    Ok(())
}

/// What the headers of an answer say of the whole value, whose size is known from elsewhere when only a part was sent.
pub(crate) fn metadata(headers: &HeaderMap, size: u64) -> Result<Metadata> {
    let mut metadata = Metadata::new(version(headers)?, size).attributes(attributes(headers));
    let modified = headers.get(header::LAST_MODIFIED).and_then(|value| value.to_str().ok());
    metadata.modified = modified.and_then(|date| httpdate::parse_http_date(date).ok());
    Ok(metadata)
}

/// The version that an answer names: its ETag without the quotes.
pub(crate) fn version(headers: &HeaderMap) -> Result<Version> {
    let tag = headers.get(header::ETAG).and_then(|value| value.to_str().ok());
    tag.map(untagged).ok_or_else(|| {
        Error::new(ErrorKind::Unexpected, "the server names no ETag; it is none that Leasehold can use")
    })
}

pub(crate) fn untagged(tag: &str) -> Version {
    let tag = tag.trim();
    // Some proxies weaken tags on their way; the server knows them without the mark.
    Version::new(tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"'))
}

/// A version as conditions have it; `None` for one that no server can have given out.
pub(crate) fn tag(version: &Version) -> Option<HeaderValue> {
    let sound = version.as_str().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if sound { header_value(&format!("\"{}\"", version.as_str())).ok() } else { None }
}

/// What others stored may be outside of what attributes can hold; then it is left out.
fn attributes(headers: &HeaderMap) -> Attributes {
    let mut attributes = Attributes::new();
    for (name, value) in headers {
        let name = name.as_str();
        let name = match name.strip_prefix(META) {
            Some(own) if name == WRITES.as_str() || Attributes::STANDARD.contains(&own) => continue,
            Some(own) => own,
            None if Attributes::STANDARD.contains(&name) && value != UNTYPED => name,
            None => continue,
        };
        if let Ok(value) = value.to_str() {
            let _ = attributes.insert(name, value);
        }
    }
    attributes
}

pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_ids_travel_as_headers() {
        let given =
            Attributes::new().with("content-type", "text/plain").unwrap().with("owner", "ada").unwrap();
        let id = WriteId::draw(&Environment::default());
        let mut headers = HeaderMap::new();
        describe(&mut headers, &given, &id, &Writes::default()).unwrap();
        assert_eq!(attributes(&headers), given);
        assert!(Writes::read(&headers).include(&id));
        assert_eq!(headers["x-amz-meta-owner"], "ada");
    }

    #[test]
    fn a_value_lists_its_recent_writes() {
        let environment = Environment::default();
        let ids: Vec<WriteId> = (0..40).map(|_| WriteId::draw(&environment)).collect();
        let mut writes = Writes::default();
        let mut history = Vec::new();
        for id in &ids {
            let mut headers = HeaderMap::new();
            describe(&mut headers, &Attributes::new(), id, &writes).unwrap();
            assert!(headers[WRITES].len() <= 400, "it fits beside the attributes");
            writes = Writes::read(&headers);
            history.push(writes.clone());
        }
        let last = history.last().unwrap();
        assert!(last.include(&ids[39]) && last.include(&ids[24]) && !last.include(&ids[23]));
        assert!(last.reach_back_to(&history[24]) && !last.reach_back_to(&history[23]));
        assert!(!last.reach_back_to(&Writes::default()));
    }

    #[test]
    fn the_stores_own_name_is_refused() {
        let given = Attributes::new().with("leasehold-writes", "x").unwrap();
        let id = WriteId::draw(&Environment::default());
        assert!(describe(&mut HeaderMap::new(), &given, &id, &Writes::default()).is_err());
    }
}
