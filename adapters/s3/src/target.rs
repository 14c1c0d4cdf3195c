//! Where a bucket is: an endpoint, and how the bucket and a key are written in a request.

use std::fmt::{self, Write};

use http::{HeaderValue, Uri, uri::PathAndQuery};
use leasehold_core::{Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is written as itself in a path and a query, as signatures want it.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// Where a request names the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addressing {
    /// In front of the endpoint's host.
    Host,
    /// As the first segment of the path.
    Path,
    /// Nowhere: the endpoint is the bucket's own.
    Endpoint,
}

/// A bucket at an endpoint.
#[derive(Debug)]
pub(crate) struct Target {
    scheme: http::uri::Scheme,
    authority: http::uri::Authority,
    pub(crate) host: HeaderValue,
    /// What stands before a key, without the slash between them.
    base: String,
    pub(crate) bucket: String,
    endpoint: Option<String>,
}

/// The path and query of one request.
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) query: String,
}

impl Target {
    /// `endpoint` is given for everything that is not AWS.
    pub(crate) fn new(
        bucket: &str,
        region: &str,
        endpoint: Option<&str>,
        addressing: Addressing,
    ) -> Result<Self> {
        check_bucket(bucket)?;
        let aws = match region.starts_with("cn-") {
            true => format!("https://s3.{region}.amazonaws.com.cn"),
            false => format!("https://s3.{region}.amazonaws.com"),
        };
        let refuse = |why: &str| {
            Error::invalid(format!(
                "the endpoint {why}; it is written like \"http://127.0.0.1:9000\" or \"https://s3.example.com\""
            ))
        };
        let uri: Uri = endpoint.unwrap_or(&aws).parse().map_err(|_| refuse("is not a URL"))?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(refuse("has no scheme or no host"));
        };
        if !["http", "https"].contains(&scheme.as_str()) {
            return Err(refuse("is neither http nor https"));
        }
        if authority.as_str().contains('@') {
            return Err(refuse("holds credentials, which belong into the environment or a profile"));
        }
        let above = parts.path_and_query.as_ref().map_or("", PathAndQuery::path).trim_end_matches('/');
        if parts.path_and_query.as_ref().and_then(PathAndQuery::query).is_some() {
            return Err(refuse("has a query"));
        }
        let default_port = if scheme.as_str() == "https" { ":443" } else { ":80" };
        let named = authority.as_str().strip_suffix(default_port).unwrap_or(authority.as_str());
        let (authority, base) = match addressing {
            Addressing::Host => (format!("{bucket}.{named}"), above.to_owned()),
            Addressing::Path => (named.to_owned(), format!("{above}/{bucket}")),
            Addressing::Endpoint => (named.to_owned(), above.to_owned()),
        };
        Ok(Self {
            host: HeaderValue::from_str(&authority)
                .map_err(|_| refuse("has a host that no header can carry"))?,
            authority: authority.parse().map_err(|_| refuse("and the bucket make no host name"))?,
            scheme,
            base,
            bucket: bucket.to_owned(),
            endpoint: endpoint.map(str::to_owned),
        })
    }

    pub(crate) fn tls(&self) -> bool {
        self.scheme == http::uri::Scheme::HTTPS
    }

    /// Where `key` is, or the bucket itself. `query` is in the order of the names.
    pub(crate) fn place(&self, key: Option<&str>, query: &[(&str, &str)]) -> Place {
        let mut path = String::with_capacity(self.base.len() + key.map_or(1, str::len) + 16);
        path.push_str(&self.base);
        match key {
            Some(key) => {
                path.push('/');
                path.extend(utf8_percent_encode(key, PATH));
            }
            None if path.is_empty() => path.push('/'),
            None => {}
        }
        let mut text = String::new();
        for (name, value) in query {
            if !text.is_empty() {
                text.push('&');
            }
            let _ = write!(text, "{name}={}", utf8_percent_encode(value, QUERY));
        }
        Place { path, query: text }
    }

    pub(crate) fn uri(&self, place: &Place) -> Result<Uri> {
        let refuse = |_| Error::invalid("the request's address is too long");
        let path: PathAndQuery = if place.query.is_empty() {
            place.path.as_str().try_into().map_err(refuse)?
        } else {
            format!("{}?{}", place.path, place.query).try_into().map_err(refuse)?
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|source| Error::invalid("the request has no address").because(source))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        match &self.endpoint {
            Some(endpoint) => write!(f, "?endpoint={endpoint}"),
            None => Ok(()),
        }
    }
}

fn check_bucket(bucket: &str) -> Result<()> {
    let sound = (3..=255).contains(&bucket.len())
        && bucket.starts_with(|first: char| first.is_ascii_alphanumeric())
        && bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if sound {
        return Ok(());
    }
    let shown: String = bucket.chars().take(64).collect();
    Err(Error::invalid(format!(
        "{shown:?} is no bucket: a name has 3 to 63 lower-case letters, digits, \"-\" and \".\""
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(target: &Target, key: &str) -> String {
        target.uri(&target.place(Some(key), &[])).unwrap().to_string()
    }

    #[test]
    fn buckets_are_in_the_host_or_in_the_path() {
        let aws = Target::new("photos", "eu-west-1", None, Addressing::Host).unwrap();
        assert_eq!(uri(&aws, "a b/é"), "https://photos.s3.eu-west-1.amazonaws.com/a%20b/%C3%A9");
        assert_eq!(aws.to_string(), "s3://photos");
        let own = Target::new("photos", "r", Some("http://127.0.0.1:9000/"), Addressing::Path).unwrap();
        assert_eq!(uri(&own, "a+b=c&d?e#f%"), "http://127.0.0.1:9000/photos/a%2Bb%3Dc%26d%3Fe%23f%25");
        let place = own.place(None, &[("list-type", "2"), ("prefix", "a/b c")]);
        assert_eq!(place.query, "list-type=2&prefix=a%2Fb%20c");
        let default =
            Target::new("photos", "r", Some("https://s3.example.com:443/base"), Addressing::Path).unwrap();
        assert_eq!(default.host, "s3.example.com");
        assert_eq!(uri(&default, "k"), "https://s3.example.com/base/photos/k");
        assert!(
            uri(&Target::new("photos", "cn-north-1", None, Addressing::Host).unwrap(), "k")
                .contains(".com.cn/")
        );
    }

    #[test]
    fn what_is_no_endpoint_or_bucket_is_refused_without_repeating_secrets() {
        for endpoint in ["", "127.0.0.1:9000", "ftp://host", "http://key:secret@host", "http://h/?a=b"] {
            let error = Target::new("photos", "r", Some(endpoint), Addressing::Path).unwrap_err().to_string();
            assert!(error.contains("endpoint") && !error.contains("secret"), "{error}");
        }
        for bucket in ["", "a", "a/b", "-ab", "a b", "é12"] {
            assert!(Target::new(bucket, "r", None, Addressing::Path).is_err(), "{bucket}");
        }
    }
}
