//! How keys are written in lists.

use s3s::{S3Result, dto, s3_error};

use super::owner;
use crate::{etag, listing::Item, metadata};

/// Encodes keys in lists where the client asked for it.
pub(super) struct Encoding(bool);

impl Encoding {
    pub(super) fn of(asked: Option<&dto::EncodingType>) -> S3Result<Self> {
        match asked.map(dto::EncodingType::as_str) {
            None => Ok(Self(false)),
            Some("url") => Ok(Self(true)),
            Some(_) => Err(s3_error!(InvalidArgument, "the encoding type is \"url\" or none")),
        }
    }

    pub(super) fn name(&self) -> Option<dto::EncodingType> {
        self.0.then(|| dto::EncodingType::from_static(dto::EncodingType::URL))
    }

    pub(super) fn text(&self, text: &str) -> String {
        const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'_')
            .remove(b'.')
            .remove(b'~')
            .remove(b'/');
        if self.0 { percent_encoding::utf8_percent_encode(text, KEPT).to_string() } else { text.to_owned() }
    }

    pub(super) fn objects(&self, items: &[Item], with_owner: bool) -> Vec<dto::Object> {
        let object = |item: &Item| match item {
            Item::Common(_) => None,
            Item::Object(key, metadata) => Some(dto::Object {
                key: Some(self.text(key)),
                e_tag: Some(etag::tag(&metadata.version)),
                size: i64::try_from(metadata.size).ok(),
                last_modified: Some(metadata::modified(metadata)),
                storage_class: Some(dto::ObjectStorageClass::from_static(dto::ObjectStorageClass::STANDARD)),
                owner: with_owner.then(owner),
                ..Default::default()
            }),
        };
        items.iter().filter_map(object).collect()
    }

    pub(super) fn common_prefixes(&self, items: &[Item]) -> Vec<dto::CommonPrefix> {
        let prefix = |item: &Item| match item {
            Item::Common(prefix) => Some(dto::CommonPrefix { prefix: Some(self.text(prefix)) }),
            Item::Object(..) => None,
        };
        items.iter().filter_map(prefix).collect()
    }
}
