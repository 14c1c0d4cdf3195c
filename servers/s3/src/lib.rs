//! Any store as an S3 endpoint.
//!
//! [`S3Server`] speaks the S3 protocol over a [`Store`](leasehold_core::Store): any adapter under any layers. What
//! holds for the store holds for the endpoint: conditions are decided when a write is applied, values are whole, lists
//! are in byte order.
//!
//! # What lies where
//!
//! The object `KEY` of the bucket `B` is the value at `B/KEY`. Buckets, and uploads in progress, are records under
//! `_s3/`, which no bucket can be called. A value that lies under `B/` when the bucket is made shows up in it. A server
//! takes a bucket that it has seen to be there still for up to five seconds: writing into a bucket while another
//! server deletes it is not excluded. One server does not delete a bucket that it is writing into (409).
//!
//! # Uploads in parts
//!
//! A completion is one write. It is decided once: when its answer was lost it can be sent again, to any server of the
//! store, and is answered as the first one was for as long as the object has not been replaced. That needs a store
//! that keeps attributes; others remember it only in the server that did it. A completion whose outcome is unknown
//! (500), and which was applied and then replaced by somebody, is applied again when it is sent again: read first.
//!
//! # Clients that stop
//!
//! Nobody waits longer than 60 seconds for the next byte of a body (400 `RequestTimeout`), or for a client to take
//! the next byte of an answer.
//!
//! # What differs from S3
//!
//! - An `ETag` is the store's version of the value and not a digest of its content. It is as unique as that: where
//!   versions never repeat, a condition on an `ETag` does not fall for a value that changed and changed back.
//! - Keys follow the rules of [`Key`](leasehold_core::Key): no empty part, `.` or `..` between slashes, no slash at
//!   either end, no control characters, 1,024 bytes with the bucket's name. Others are refused when written (400), and
//!   not found when read; a key that is too long is always refused.
//! - Metadata follows the rules of [`Attributes`](leasehold_core::Attributes). Over a store that keeps none, a content
//!   type is dropped, since every client sends one, and all other metadata is refused (501).
//! - A checksum is kept beside a value where the store keeps attributes: the one that was sent in a header, or computed
//!   for a body of up to 256 KiB. Larger bodies with a checksum behind them are compared, and it is not kept. None is
//!   kept beside a decimal number, which the store can count on without this server.
//! - A signed chunk of a body has at most 16 MiB. Chunks without a signature may have any size.
//! - A copy of an object onto itself, to replace its metadata, does not undo a write in between where the store decides
//!   conditions: it starts again.
//! - There is one version of an object. There are no access lists, tags, encryption, retention and policies; whatever
//!   asks for them is refused (501) and never ignored.
//! - Signatures are of version 4, in headers or URLs, and cover `host` and every `x-amz-` header.

mod access;
mod blob;
mod buckets;
mod checks;
mod chunks;
mod conditions;
mod endpoint;
mod errors;
mod etag;
mod incoming;
mod joining;
mod keys;
mod listing;
mod locks;
mod metadata;
mod multipart;
mod server;
mod service;
mod socket;
mod upload;

pub use access::Credentials;
pub use endpoint::Endpoint;
pub use server::{GRACE, Listening, PART_BYTES_MIN, S3Server};
