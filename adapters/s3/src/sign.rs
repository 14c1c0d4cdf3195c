//! Signature Version 4, as S3 has it: a pure function of a request, keys and a time.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const PAYLOAD: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Access keys, and what they last signed with.
pub(crate) struct Keys {
    id: String,
    secret: String,
    token: Option<HeaderValue>,
    pub(crate) expires: Option<SystemTime>,
    last: Mutex<Option<Moment>>,
}

/// What is the same in all signatures of one second.
#[derive(Clone)]
struct Moment {
    second: u64,
    /// As `20261121T145900Z`.
    stamp: HeaderValue,
    /// Of its day.
    key: Hmac<Sha256>,
}

impl Moment {
    fn stamp(&self) -> &str {
        self.stamp.to_str().expect("it was made of digits and letters")
    }

    fn date(&self) -> &str {
        &self.stamp()[..8]
    }
}

impl Keys {
    pub(crate) fn new(
        id: &str,
        secret: &str,
        token: Option<HeaderValue>,
        expires: Option<SystemTime>,
    ) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned(), token, expires, last: Mutex::new(None) }
    }

    pub(crate) fn are(&self, other: &Self) -> bool {
        self.id == other.id && self.secret == other.secret && self.token == other.token
    }

    /// What signs in a second since 1970. The key is made once a day: four of the six hashes of a signature.
    fn at(&self, second: u64, region: &str) -> Moment {
        let mut last = self.last.lock();
        if let Some(moment) = last.as_ref().filter(|moment| moment.second == second) {
            return moment.clone();
        }
        let stamp = stamp(second);
        let same_day = last.as_ref().filter(|moment| moment.date() == &stamp[..8]);
        let key = same_day.map_or_else(|| self.of_day(&stamp[..8], region), |moment| moment.key.clone());
        last.insert(Moment { second, stamp: visible(&stamp), key }).clone()
    }

    fn of_day(&self, date: &str, region: &str) -> Hmac<Sha256> {
        let first = [b"AWS4", self.secret.as_bytes()].concat();
        let key = [date, region, "s3", "aws4_request"]
            .iter()
            .fold(first, |key, part| keyed(&key).chain_update(part).finalize().into_bytes().to_vec());
        keyed(&key)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("expires", &self.expires).finish_non_exhaustive()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of any length is taken")
}

/// What is signed, beside the headers.
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a Method,
    /// Percent-encoded once.
    pub(crate) path: &'a str,
    /// Percent-encoded and in the order of the names.
    pub(crate) query: &'a str,
    /// The SHA-256 of the body in hexadecimal, or the word that stands for none.
    pub(crate) payload: &'a HeaderValue,
}

/// Adds the headers that authenticate a request. `headers` holds everything else that is sent, `host` included; all of
/// it is signed.
pub(crate) fn sign(
    request: &Unsigned<'_>,
    headers: &mut HeaderMap,
    keys: &Keys,
    region: &str,
    now: SystemTime,
) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let moment = keys.at(since.as_secs(), region);
    headers.insert(DATE, moment.stamp.clone());
    headers.insert(PAYLOAD, request.payload.clone());
    if let Some(token) = &keys.token {
        headers.insert(TOKEN, token.clone());
    }

    let mut sorted: Vec<(&HeaderName, &HeaderValue)> = headers.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| name.as_str());
    let mut names = String::with_capacity(192);
    for (name, _) in &sorted {
        if !names.is_empty() {
            names.push(';');
        }
        names.push_str(name.as_str());
    }

    let mut canonical = Sha256::new();
    for part in [request.method.as_str(), "\n", request.path, "\n", request.query, "\n"] {
        canonical.update(part);
    }
    for (name, value) in &sorted {
        canonical.update(name.as_str());
        canonical.update(":");
        update_collapsed(&mut canonical, value.as_bytes());
        canonical.update("\n");
    }
    for part in ["\n".as_bytes(), names.as_bytes(), b"\n", request.payload.as_bytes()] {
        canonical.update(part);
    }

    let mut text = String::with_capacity(192);
    let scope = ["/", region, "/s3/aws4_request"];
    text.extend([ALGORITHM, "\n", moment.stamp(), "\n", moment.date()]);
    text.extend(scope);
    text.push('\n');
    push_hex(&mut text, &canonical.finalize());
    let signature = moment.key.clone().chain_update(&text).finalize().into_bytes();

    let mut authorization = String::with_capacity(names.len() + 192);
    authorization.extend([ALGORITHM, " Credential=", &keys.id, "/", moment.date()]);
    authorization.extend(scope);
    authorization.extend([", SignedHeaders=", &names, ", Signature="]);
    push_hex(&mut authorization, &signature);
    let mut value = visible(&authorization);
    value.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, value);
}

/// A header's value as it is signed: a run of spaces counts as one.
fn update_collapsed(hash: &mut Sha256, mut value: &[u8]) {
    while let Some(at) = value.windows(2).position(|pair| pair == b"  ") {
        hash.update(&value[..=at]);
        value = value[at..].trim_ascii_start();
    }
    hash.update(value);
}

/// The SHA-256 of a body as S3 wants it in a header.
pub(crate) fn payload_hash(body: &[u8]) -> HeaderValue {
    let mut text = String::with_capacity(64);
    push_hex(&mut text, &Sha256::digest(body));
    visible(&text)
}

/// Keys with characters that no header can hold are refused when they are loaded; all else here is ASCII.
fn visible(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("only visible ASCII is put together here")
}

pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// A second since 1970 as `20261121T145900Z`.
fn stamp(seconds: u64) -> String {
    let (day, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, date) = civil(day);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{date:02}T{hour:02}{minute:02}{second:02}Z")
}

/// The proleptic Gregorian date of a day since 1970: years are counted from March, so that the leap day is the last.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let date = of_year - (153 * march + 2) / 5 + 1;
    (era * 400 + year + u64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode,
    };
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_is_written_as_the_signature_has_it() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (4_102_444_799, "20991231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(seconds), text);
        }
    }

    #[test]
    fn keys_never_show_what_they_are() {
        let token = HeaderValue::from_static("session");
        let shown = format!("{:?}", Keys::new("AKID", "hush", Some(token), None));
        assert!(!["AKID", "hush", "session"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }

    fn authorization(keys: &Keys, second: u64) -> HeaderValue {
        let unsigned = Unsigned { method: &Method::GET, path: "/k", query: "", payload: &payload_hash(b"") };
        let mut headers = HeaderMap::new();
        sign(&unsigned, &mut headers, keys, "eu-west-1", UNIX_EPOCH + Duration::from_secs(second));
        headers[header::AUTHORIZATION].clone()
    }

    #[test]
    fn what_was_kept_of_one_moment_signs_for_no_other() {
        let keys = || Keys::new("AKID", "hush", None, None);
        let kept = keys();
        for second in [86_398, 86_399, 86_399, 86_400, 86_401, 86_399, 2 * 86_400, 0] {
            assert_eq!(authorization(&kept, second), authorization(&keys(), second), "at {second}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// AWS's own signer is the oracle.
        #[test]
        fn signatures_are_those_of_the_reference(
            seconds in 0u64..4_000_000_000,
            path in "/[a-z0-9]{1,8}/[a-zA-Z0-9_.~-]{1,20}(%20|%C3%A9)?",
            query in prop::option::of("list-type=2&prefix=[a-z]{0,5}"),
            values in prop::collection::vec("[!-~]([ -~]{0,20}[!-~])?", 0..4),
            body in prop::collection::vec(any::<u8>(), 0..100),
            token in prop::option::of("[A-Za-z0-9+/=]{10,40}"),
        ) {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("bucket.example:9000"));
            for (number, value) in values.iter().enumerate() {
                let name = HeaderName::try_from(format!("x-amz-meta-{number}")).unwrap();
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            let mut theirs = SigningSettings::default();
            theirs.percent_encoding_mode = PercentEncodingMode::Single;
            theirs.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            theirs.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            let identity = Credentials::new("AKID", "hush", token.clone(), None, "test").into();
            let parameters = aws_sigv4::sign::v4::SigningParams::builder()
                .identity(&identity).region("eu-west-1").name("s3").time(now).settings(theirs)
                .build().unwrap().into();
            let uri = format!("http://bucket.example:9000{path}{}", query.as_ref().map_or(String::new(), |query| format!("?{query}")));
            let pairs: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            let request = SignableRequest::new("PUT", &uri, pairs.into_iter(), SignableBody::Bytes(&body)).unwrap();
            let theirs = aws_sigv4::http_request::sign(request, &parameters).unwrap().into_parts().1;

            let token = token.map(|token| HeaderValue::from_str(&token).unwrap());
            let keys = Keys::new("AKID", "hush", token, None);
            let unsigned = Unsigned {
                method: &Method::PUT, path: &path, query: query.as_deref().unwrap_or(""), payload: &payload_hash(&body),
            };
            for _ in 0..2 {
                let mut headers = headers.clone();
                sign(&unsigned, &mut headers, &keys, "eu-west-1", now);
                let ours = headers["authorization"].to_str().unwrap();
                prop_assert!(ours.ends_with(&format!("Signature={theirs}")), "{ours} {theirs}");
            }
        }
    }
}
