//! Lists: page by page, in the order of keys, and never silently out of it.

use std::{collections::VecDeque, sync::Arc};

use futures_util::stream::{self, BoxStream, StreamExt};
use http::Method;
use leasehold_core::{Entry, Error, ErrorKind, Key, ListOptions, Metadata, Prefix, Result};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::{
    headers, time,
    wire::{Call, Wire},
    xml,
};

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Page {
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
    contents: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    #[serde(rename = "ETag")]
    tag: String,
    size: u64,
    #[serde(default)]
    last_modified: String,
}

struct Listing {
    wire: Arc<Wire>,
    prefix: Prefix,
    after: Option<Key>,
    token: Option<String>,
    /// The name that came last, of a key or not.
    last: Option<String>,
    page: VecDeque<Entry>,
    over: bool,
}

/// What the bucket holds. Names that are no keys, such as the markers some tools make for folders, are left out.
pub(crate) fn list(wire: Arc<Wire>, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
    let ListOptions { prefix, after, .. } = options;
    let listing =
        Listing { wire, prefix, after, token: None, last: None, page: VecDeque::new(), over: false };
    stream::try_unfold(listing, |mut listing| async move {
        Ok(listing.next().await?.map(|entry| (entry, listing)))
    })
    .boxed()
}

impl Listing {
    async fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.page.pop_front() {
                return Ok(Some(entry));
            }
            if self.over {
                return Ok(None);
            }
            self.turn().await?;
        }
    }

    async fn turn(&mut self) -> Result<()> {
        let mut call = Call::new(Method::GET, None);
        if let Some(token) = &self.token {
            call.query.push(("continuation-token", token));
        }
        call.query.extend([("encoding-type", "url"), ("list-type", "2"), ("max-keys", "1000")]);
        call.query.push(("prefix", self.prefix.as_str()));
        if let (None, Some(after)) = (&self.token, &self.after) {
            call.query.push(("start-after", after.as_str()));
        }
        let (_, document) = self.wire.document(&call).await.map_err(|failed| self.wire.error(failed))?;
        let page: Page = xml::read(&document, "ListBucketResult")?;
        if page.encoding_type.as_deref() != Some("url") && !page.contents.is_empty() {
            // White space at the ends of names does not come through as it is.
            let message = "the server does not encode the names that it lists; they cannot be trusted";
            return Err(Error::new(ErrorKind::Unexpected, message));
        }
        for Listed { key, tag, size, last_modified } in page.contents {
            let name = decode(&key)?;
            self.in_place(&name)?;
            if let Ok(key) = Key::new(&name) {
                let mut metadata = Metadata::new(headers::untagged(&tag), size);
                metadata.modified = time::parse(&last_modified);
                self.page.push_back(Entry::new(key, metadata));
            }
            self.last = Some(name);
        }
        let next = page.next_continuation_token.filter(|_| page.is_truncated);
        self.over = next.is_none();
        let stuck = next.is_some() && next == self.token;
        self.token = next;
        if stuck || page.is_truncated && self.over {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "the server cuts lists short and does not let them go on",
            ));
        }
        Ok(())
    }

    fn in_place(&self, name: &str) -> Result<()> {
        if !name.starts_with(self.prefix.as_str()) {
            let message = "the server lists keys that do not begin with the prefix that it was given";
            return Err(Error::new(ErrorKind::Unexpected, message));
        }
        let before = self.last.as_deref().or(self.after.as_deref());
        if before.is_some_and(|before| before >= name) {
            let message = "the server lists keys out of the order of their bytes; lists of this prefix cannot be trusted";
            return Err(Error::new(ErrorKind::Unexpected, message));
        }
        Ok(())
    }
}

fn not_a_list() -> Error {
    Error::new(ErrorKind::Unexpected, "the server's answer is no list; check the endpoint")
}

/// A name as lists encode it: like a form, a space as `+`.
fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(&text.replace('+', " ")).decode_utf8().map(|name| name.into_owned());
    decoded.map_err(|source| not_a_list().because(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_names_as_they_are() {
        let page: Page = quick_xml::de::from_str(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
             <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <Contents><Key>+a%2Bb%C3%A9</Key><LastModified>2026-11-21T14:59:01.000Z</LastModified>\
             <ETag>&quot;abc&quot;</ETag><Size>5</Size><StorageClass>STANDARD</StorageClass></Contents>\
             <NextContinuationToken>t</NextContinuationToken></ListBucketResult>",
        )
        .unwrap();
        assert!(page.is_truncated && page.next_continuation_token.as_deref() == Some("t"));
        assert_eq!(decode(&page.contents[0].key).unwrap(), " a+bé");
        assert_eq!(headers::untagged(&page.contents[0].tag).as_str(), "abc");
        let empty: Page = quick_xml::de::from_str("<ListBucketResult></ListBucketResult>").unwrap();
        assert!(empty.contents.is_empty() && !empty.is_truncated);
    }
}
