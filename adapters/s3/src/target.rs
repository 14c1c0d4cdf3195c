//! Where a bucket is: an endpoint, and how the bucket and a key are written in a request.

use std::fmt::{self, Write};

use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
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
    /// Where to connect.
    pub(crate) server: Uri,
    pub(crate) host: HeaderValue,
    /// What stands before a key, without the slash between them.
    base: String,
    pub(crate) bucket: String,
    endpoint: Option<String>,
}

/// What one request asks for: a path, and a query unless it is empty. Everything below the endpoint's own path is
/// percent-encoded.
pub(crate) struct Place {
    text: String,
    path_bytes: usize,
}

impl Place {
    pub(crate) fn path(&self) -> &str {
        &self.text[..self.path_bytes]
    }

    pub(crate) fn query(&self) -> &str {
        self.text.get(self.path_bytes + 1..).unwrap_or_default()
    }

    pub(crate) fn path_and_query(&self) -> &str {
        &self.text
    }
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
        let host =
            HeaderValue::from_str(&authority).map_err(|_| refuse("has a host that no header can carry"))?;
        let authority: Authority =
            authority.parse().map_err(|_| refuse("and the bucket make no host name"))?;
        let mut server = http::uri::Parts::default();
        server.scheme = Some(scheme);
        server.authority = Some(authority);
        server.path_and_query = Some(PathAndQuery::from_static("/"));
        Ok(Self {
            server: Uri::from_parts(server).map_err(|_| refuse("is not a URL"))?,
            host,
            base,
            bucket: bucket.to_owned(),
            endpoint: endpoint.map(str::to_owned),
        })
    }

    pub(crate) fn tls(&self) -> bool {
        self.server.scheme() == Some(&Scheme::HTTPS)
    }

    /// Where `key` is, or the bucket itself. `query` is in the order of the names.
    pub(crate) fn place(&self, key: Option<&str>, query: &[(&str, &str)]) -> Place {
        let mut text = String::with_capacity(self.base.len() + key.map_or(1, str::len) + 16);
        text.push_str(&self.base);
        match key {
            Some(key) => {
                text.push('/');
                text.extend(utf8_percent_encode(key, PATH));
            }
            None if text.is_empty() => text.push('/'),
            None => {}
        }
        let path_bytes = text.len();
        for (number, (name, value)) in query.iter().enumerate() {
            let before = if number == 0 { '?' } else { '&' };
            let _ = write!(text, "{before}{name}={}", utf8_percent_encode(value, QUERY));
        }
        Place { text, path_bytes }
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
    use proptest::prelude::*;

    use super::*;

    fn uri(target: &Target, key: &str) -> String {
        let server = target.server.to_string();
        format!("{}{}", server.trim_end_matches('/'), target.place(Some(key), &[]).path_and_query())
    }

    #[test]
    fn buckets_are_in_the_host_or_in_the_path() {
        let aws = Target::new("photos", "eu-west-1", None, Addressing::Host).unwrap();
        assert_eq!(uri(&aws, "a b/é"), "https://photos.s3.eu-west-1.amazonaws.com/a%20b/%C3%A9");
        assert_eq!(aws.to_string(), "s3://photos");
        let own = Target::new("photos", "r", Some("http://127.0.0.1:9000/"), Addressing::Path).unwrap();
        assert_eq!(uri(&own, "a+b=c&d?e#f%"), "http://127.0.0.1:9000/photos/a%2Bb%3Dc%26d%3Fe%23f%25");
        let place = own.place(None, &[("list-type", "2"), ("prefix", "a/b c")]);
        assert_eq!(place.path(), "/photos");
        assert_eq!(place.query(), "list-type=2&prefix=a%2Fb%20c");
        assert_eq!(place.path_and_query(), "/photos?list-type=2&prefix=a%2Fb%20c");
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

    proptest! {
        #[test]
        fn nothing_in_a_key_or_a_query_leaves_the_line_it_is_written_in(key in ".*", value in ".*") {
            let target = Target::new("photos", "r", Some("http://h:1/a/"), Addressing::Path).unwrap();
            let place = target.place(Some(&key), &[("name", &value), ("last", "")]);
            prop_assert!(place.path_and_query().bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(place.path_and_query().matches(['?', '#']).count(), 1);
            let whole = format!("{}?{}", place.path(), place.query());
            prop_assert_eq!(place.path_and_query(), whole);
        }
    }
}
