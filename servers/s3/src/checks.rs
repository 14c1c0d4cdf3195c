//! Digests that a client sends with a body, compared with the body that arrived.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use s3s::{
    S3Error, S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    dto::Checksum,
    s3_error,
};

/// The algorithms of `x-amz-checksum-…`, in the order in which one is kept.
pub(crate) const ALGORITHMS: [&str; 5] = ["crc64nvme", "crc32c", "crc32", "sha256", "sha1"];

const CHECKSUM: &str = "x-amz-checksum-";

/// Computes what is to be compared, while a body passes.
#[derive(Default)]
pub(crate) struct Checks {
    hasher: ChecksumHasher,
    md5: Option<Md5>,
    sha256: Option<Sha256>,
    expected_md5: Option<Vec<u8>>,
    expected_sha256: Option<String>,
    expected: Vec<(&'static str, String)>,
    /// Announced to come after the body.
    trailing: Vec<&'static str>,
    trailers: Option<TrailingHeaders>,
}

impl Checks {
    /// What the headers of a request ask for.
    ///
    /// `signed` says that the hash in `x-amz-content-sha256` is compared already, where the signature is checked.
    pub(crate) fn asked(
        headers: &HeaderMap,
        trailers: Option<TrailingHeaders>,
        signed: bool,
    ) -> S3Result<Self> {
        let mut checks = Self { trailers, ..Self::default() };
        for (name, value) in headers {
            let Some(name) = name.as_str().strip_prefix(CHECKSUM) else { continue };
            // Not checksums themselves; they only name one.
            if ["mode", "algorithm", "type"].contains(&name) {
                continue;
            }
            let algorithm = algorithm(name)?;
            let value =
                value.to_str().map_err(|_| s3_error!(InvalidRequest, "the {name} checksum is not base64"))?;
            checks.expect(algorithm, value);
        }
        checks.expect_md5(headers)?;
        let hash = headers.get("x-amz-content-sha256").and_then(|hash| hash.to_str().ok());
        // Other values are words for a body whose hash is not told.
        if let Some(hash) = hash.filter(|hash| !signed && hash.len() == 64) {
            checks.expected_sha256 = Some(hash.to_ascii_lowercase());
            checks.sha256 = Some(Sha256::new());
        }
        for announced in headers.get_all("x-amz-trailer") {
            let names =
                announced.to_str().map_err(|_| s3_error!(InvalidRequest, "x-amz-trailer is not ASCII"))?;
            for name in names.split(',').map(|name| name.trim().to_ascii_lowercase()) {
                let Some(name) = name.strip_prefix(CHECKSUM) else {
                    return Err(s3_error!(
                        InvalidRequest,
                        "the trailer {name:?} is not known to this server"
                    ));
                };
                let algorithm = algorithm(name)?;
                checks.compute(algorithm);
                checks.trailing.push(algorithm);
            }
        }
        Ok(checks)
    }

    /// Only `Content-MD5`, for a body whose checksum headers are about something else.
    pub(crate) fn of_md5(headers: &HeaderMap) -> S3Result<Self> {
        let mut checks = Self::default();
        checks.expect_md5(headers)?;
        Ok(checks)
    }

    fn expect_md5(&mut self, headers: &HeaderMap) -> S3Result<()> {
        if let Some(md5) = headers.get("content-md5") {
            let digest = STANDARD.decode(md5.as_bytes()).ok().filter(|digest| digest.len() == 16);
            let invalid = || s3_error!(InvalidDigest, "Content-MD5 is not the base64 of 16 bytes");
            self.expected_md5 = Some(digest.ok_or_else(invalid)?);
            self.md5 = Some(Md5::new());
        }
        Ok(())
    }

    /// Computes `algorithm` too.
    pub(crate) fn compute(&mut self, algorithm: &str) {
        let hasher = &mut self.hasher;
        match algorithm {
            "crc64nvme" => drop(hasher.crc64nvme.get_or_insert_with(Crc64Nvme::new)),
            "crc32c" => drop(hasher.crc32c.get_or_insert_with(Crc32c::new)),
            "crc32" => drop(hasher.crc32.get_or_insert_with(Crc32::new)),
            "sha256" => drop(hasher.sha256.get_or_insert_with(Sha256::new)),
            _ => drop(hasher.sha1.get_or_insert_with(Sha1::new)),
        }
    }

    /// Compares with `value` in the end.
    pub(crate) fn expect(&mut self, algorithm: &'static str, value: &str) {
        self.compute(algorithm);
        self.expected.push((algorithm, value.to_owned()));
    }

    /// Whether the client sent a checksum, or announced one.
    pub(crate) fn has_checksum(&self) -> bool {
        !self.expected.is_empty() || !self.trailing.is_empty()
    }

    /// The checksum that is known before the body: it will be right, or the body is refused.
    pub(crate) fn known(&self) -> Option<(&'static str, &str)> {
        self.expected.first().map(|(algorithm, value)| (*algorithm, value.as_str()))
    }

    /// Takes in what arrived.
    pub(crate) fn update(&mut self, bytes: &Bytes) {
        self.hasher.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    /// Compares, after the whole body, and returns what was computed.
    ///
    /// # Errors
    /// `BadDigest` or `XAmzContentSHA256Mismatch`; `MalformedTrailerError` when an announced trailer did not come.
    pub(crate) fn finish(self) -> S3Result<Checksum> {
        if let (Some(md5), Some(expected)) = (self.md5, self.expected_md5)
            && md5.finalize().as_ref() != expected.as_slice()
        {
            return Err(bad_digest("Content-MD5"));
        }
        if let (Some(sha256), Some(expected)) = (self.sha256, self.expected_sha256) {
            let actual: String =
                sha256.finalize().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            if actual != expected {
                return Err(content_mismatch());
            }
        }
        let computed = self.hasher.finalize();
        let trailers = self.trailers.and_then(|trailers| trailers.take()).unwrap_or_default();
        for (algorithm, expected) in &self.expected {
            if of(&computed, algorithm) != Some(expected) {
                return Err(bad_digest(algorithm));
            }
        }
        for algorithm in self.trailing {
            let sent = trailers.get(format!("{CHECKSUM}{algorithm}")).and_then(|value| value.to_str().ok());
            let Some(sent) = sent else {
                let code = s3s::S3ErrorCode::Custom("MalformedTrailerError".into());
                let message =
                    format!("the trailer with the {algorithm} checksum was announced and did not arrive");
                return Err(crate::errors::with_status(
                    S3Error::with_message(code, message),
                    http::StatusCode::BAD_REQUEST,
                ));
            };
            if of(&computed, algorithm) != Some(sent) {
                return Err(bad_digest(algorithm));
            }
        }
        Ok(computed)
    }
}

fn algorithm(name: &str) -> S3Result<&'static str> {
    let known = ALGORITHMS.into_iter().find(|algorithm| *algorithm == name);
    known.ok_or_else(|| crate::errors::not_implemented(format_args!("the checksum algorithm {name:?}")))
}

fn bad_digest(which: &str) -> S3Error {
    s3_error!(BadDigest, "the {which} that was sent does not match the body; nothing was written")
}

/// The answer when `x-amz-content-sha256` does not match.
pub(crate) fn content_mismatch() -> S3Error {
    let code = s3s::S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
    let message = "the x-amz-content-sha256 that was sent does not match the body; nothing was written";
    crate::errors::with_status(S3Error::with_message(code, message), http::StatusCode::BAD_REQUEST)
}

/// One of the checksums.
pub(crate) fn of<'a>(checksum: &'a Checksum, algorithm: &str) -> Option<&'a str> {
    match algorithm {
        "crc64nvme" => checksum.checksum_crc64nvme.as_deref(),
        "crc32c" => checksum.checksum_crc32c.as_deref(),
        "crc32" => checksum.checksum_crc32.as_deref(),
        "sha256" => checksum.checksum_sha256.as_deref(),
        "sha1" => checksum.checksum_sha1.as_deref(),
        _ => None,
    }
}

/// The checksum to keep, where there is one.
pub(crate) fn kept(checksum: &Checksum) -> Option<(&'static str, &str)> {
    ALGORITHMS.into_iter().find_map(|algorithm| Some((algorithm, of(checksum, algorithm)?)))
}
