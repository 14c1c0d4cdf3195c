//! Who may use the endpoint: credentials, and what a signature has to cover.

use std::{collections::HashMap, fmt};

use http::{HeaderMap, Uri, header};
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    s3_error,
};

/// A pair of keys that a client signs its requests with.
#[derive(Clone)]
pub struct Credentials {
    access_key: String,
    secret_key: SecretKey,
    session_token: Option<String>,
}

impl Credentials {
    /// An access key and its secret.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            access_key: access_key.into(),
            secret_key: SecretKey::from(secret_key.into()),
            session_token: None,
        }
    }

    /// The same as temporary credentials: a request must carry `token` too.
    #[must_use]
    pub fn session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// The key that names them; not a secret.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Why nobody could sign with them, if that is so; a server refuses to start with them. Tells no secret.
    pub fn flaw(&self) -> Option<&'static str> {
        let sound = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !sound(&self.access_key) || self.access_key.contains(['/', ',']) {
            Some("an access key is printable ASCII without spaces, \"/\" and \",\"; give another one")
        } else if !sound(self.secret_key.expose()) {
            Some("a secret key is printable ASCII without spaces; give another one")
        } else {
            None
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// Looks keys up for the signature check, and refuses what a sound signature does not cover.
#[derive(Clone)]
pub(crate) struct Gate {
    known: HashMap<String, Credentials>,
    region: Option<String>,
}

impl Gate {
    pub(crate) fn new(known: &[Credentials], region: Option<String>) -> Self {
        let known = known.iter().map(|one| (one.access_key.clone(), one.clone())).collect();
        Self { known, region }
    }

    fn check_token(&self, access_key: &str, headers: &HeaderMap, uri: &Uri) -> S3Result<()> {
        let expected = self.known.get(access_key).and_then(|known| known.session_token.as_deref());
        let in_header = headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
        let in_query = query(uri, "X-Amz-Security-Token");
        match (expected, in_header.map(str::to_owned).or(in_query)) {
            (None, None) => Ok(()),
            (Some(expected), Some(token)) if equal(expected.as_bytes(), token.as_bytes()) => Ok(()),
            (Some(_), None) => {
                Err(s3_error!(InvalidToken, "these credentials need their session token; send it too"))
            }
            _ => Err(s3_error!(InvalidToken, "the session token is not the one of these credentials")),
        }
    }

    fn check_region(&self, scope: Option<&str>) -> S3Result<()> {
        let Some(expected) = self.region.as_deref() else { return Ok(()) };
        // KEY/DATE/REGION/s3/aws4_request, and the key may have no slash.
        match scope.and_then(|scope| scope.split('/').nth(2)) {
            Some(region) if region == expected => Ok(()),
            region => Err(s3_error!(
                AuthorizationHeaderMalformed,
                "the region {:?} is wrong; expecting {expected:?}",
                region.unwrap_or_default()
            )),
        }
    }
}

/// Takes as long whatever differs.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |differs, (left, right)| differs | (left ^ right)) == 0
}

/// A parameter of the query, decoded.
pub(crate) fn query(uri: &Uri, name: &str) -> Option<String> {
    let (_, value) =
        uri.query()?.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    percent_encoding::percent_decode_str(value).decode_utf8().ok().map(Into::into)
}

/// A field of `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
pub(crate) fn field<'a>(authorization: &'a str, name: &str) -> Option<&'a str> {
    authorization.split([' ', ',']).find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

#[async_trait::async_trait]
impl S3Auth for Gate {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let known = self.known.get(access_key).map(|known| known.secret_key.clone());
        known.ok_or_else(|| s3_error!(InvalidAccessKeyId, "the access key is not known to this server"))
    }
}

#[async_trait::async_trait]
impl S3Access for Gate {
    /// Comes after the signature has been found sound.
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = request.credentials() else {
            return Err(s3_error!(
                AccessDenied,
                "this server takes only signed requests; sign with your credentials"
            ));
        };
        let (headers, uri) = (request.headers(), request.uri());
        self.check_token(&credentials.access_key, headers, uri)?;
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let presigned = authorization.is_none();
        let (scope, signed) = match authorization {
            Some(authorization) => {
                let of = |name| field(authorization, name).map(str::to_owned);
                (of("Credential"), of("SignedHeaders"))
            }
            None => (query(uri, "X-Amz-Credential"), query(uri, "X-Amz-SignedHeaders")),
        };
        self.check_region(scope.as_deref())?;
        let signed = signed.unwrap_or_default();
        let covers = |name: &str| signed.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
        if !covers("host") {
            return Err(s3_error!(AccessDenied, "the signature does not cover the header \"host\""));
        }
        // Else somebody who got hold of one request could change what it means.
        let uncovered = headers.keys().map(header::HeaderName::as_str).find(|name| {
            // The hash of a body is compared with the body, whoever says it.
            let harmless = presigned && *name == "x-amz-content-sha256";
            name.starts_with("x-amz-") && !harmless && !covers(name)
        });
        match uncovered {
            None => Ok(()),
            Some(name) => {
                Err(s3_error!(AccessDenied, "the signature does not cover the header {name:?}; sign it too"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let credentials = Credentials::new("id", "very-secret").session_token("token-secret");
        assert_eq!(format!("{credentials:?}"), "Credentials { access_key: \"id\", .. }");
    }

    #[test]
    fn fields_of_an_authorization_are_found() {
        let authorization = "AWS4-HMAC-SHA256 Credential=AK/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=ab";
        assert_eq!(field(authorization, "Credential"), Some("AK/20260101/eu-west-1/s3/aws4_request"));
        assert_eq!(field(authorization, "SignedHeaders"), Some("host;x-amz-date"));
        assert_eq!(field(authorization, "Absent"), None);
    }

    #[test]
    fn keys_that_cannot_sign_are_found_out() {
        assert_eq!(Credentials::new("a", "b").flaw(), None);
        for (access_key, secret_key) in [("", "s"), ("a", ""), ("a/b", "s"), ("a b", "s"), ("a", "s\n")] {
            assert!(Credentials::new(access_key, secret_key).flaw().is_some());
        }
    }
}
