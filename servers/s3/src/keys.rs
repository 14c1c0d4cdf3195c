//! Where the objects of a bucket, and the server's own records, lie in the store.

use leasehold_core::{KEY_BYTES_MAX, Key};
use s3s::{S3Error, S3Result, s3_error};

/// The server's own records. No bucket can have this name.
pub(crate) const OWN: &str = "_s3";

/// Why an object cannot have a key.
#[derive(Debug)]
pub(crate) enum Unsound {
    TooLong(usize),
    Refused(String),
}

/// The key in the store of an object.
pub(crate) fn object(bucket: &str, key: &str) -> Result<Key, Unsound> {
    let mut full = String::with_capacity(bucket.len() + 1 + key.len());
    full.push_str(bucket);
    full.push('/');
    full.push_str(key);
    Key::new(&full).map_err(|_| match Key::new(key) {
        Err(error) if key.len() <= KEY_BYTES_MAX => Unsound::Refused(error.message().to_owned()),
        _ => Unsound::TooLong(KEY_BYTES_MAX - bucket.len() - 1),
    })
}

impl From<Unsound> for S3Error {
    fn from(unsound: Unsound) -> Self {
        match unsound {
            Unsound::TooLong(bytes_max) => {
                s3_error!(KeyTooLongError, "a key in this bucket has at most {bytes_max} bytes")
            }
            Unsound::Refused(why) => s3_error!(InvalidArgument, "this server cannot store the key {why}"),
        }
    }
}

/// The key in the store of an object that may be there; `None` where no object can be.
///
/// # Errors
/// `KeyTooLongError`.
pub(crate) fn existing(bucket: &str, key: &str) -> S3Result<Option<Key>> {
    match object(bucket, key) {
        Ok(key) => Ok(Some(key)),
        Err(Unsound::Refused(_)) => Ok(None),
        Err(too_long) => Err(too_long.into()),
    }
}

/// The record of a bucket.
pub(crate) fn bucket(name: &str) -> String {
    format!("{OWN}/buckets/{name}")
}

/// The record of an upload in progress.
pub(crate) fn upload(bucket: &str, id: &str) -> String {
    format!("{OWN}/uploads/{bucket}/{id}")
}

/// The parts of an upload in progress lie under this.
pub(crate) fn parts(bucket: &str, id: &str) -> String {
    format!("{OWN}/parts/{bucket}/{id}/")
}

/// The parts of all uploads of a bucket lie under this.
pub(crate) fn parts_of_bucket(bucket: &str) -> String {
    format!("{OWN}/parts/{bucket}/")
}

/// A part of an upload in progress; they are in the order of their numbers.
pub(crate) fn part(bucket: &str, id: &str, number: i32) -> String {
    format!("{OWN}/parts/{bucket}/{id}/{number:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_is_told_from_one_that_is_too_long() {
        assert_eq!(object("bucket", "a/b").unwrap().as_str(), "bucket/a/b");
        for key in ["dir/", "/a", "a//b", "a/../b", "a\nb"] {
            assert!(matches!(object("bucket", key), Err(Unsound::Refused(_))), "{key:?}");
        }
        assert!(object("bucket", &"k".repeat(1_017)).is_ok());
        assert!(matches!(object("bucket", &"k".repeat(1_018)), Err(Unsound::TooLong(1_017))));
        assert!(matches!(object("bucket", &"k".repeat(2_000)), Err(Unsound::TooLong(_))));
    }

    #[test]
    fn a_key_that_no_object_can_have_is_not_there_and_one_too_long_is_an_error() {
        assert!(existing("bucket", "a").unwrap().is_some());
        assert!(existing("bucket", "a//b").unwrap().is_none());
        assert_eq!(existing("bucket", &"k".repeat(1_018)).unwrap_err().code().as_str(), "KeyTooLongError");
    }

    #[test]
    fn no_bucket_has_the_name_of_the_records() {
        assert!(!s3s::path::check_bucket_name(OWN));
    }
}
