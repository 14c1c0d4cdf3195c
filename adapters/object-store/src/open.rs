//! What opening a store of a service takes, whichever it is.

use std::{io, ops::RangeInclusive, time::Duration};

use leasehold_core::{Error, Result};
use object_store::{ClientConfigKey, RetryConfig};

use crate::failure;

/// What bounds a request as a whole, where only silence shall end it: a long value takes as long as it takes.
const WHOLE: &str = "7days";

/// How, and how patiently, a service is asked.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) endpoint: Option<String>,
    pub(crate) anonymous: bool,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self {
            endpoint: None,
            anonymous: false,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
        }
    }

    /// Tells a builder of `object_store` what its client is to do, and returns the endpoint for it.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for an endpoint that is none and for time-outs of nothing.
    pub(crate) fn configure<B>(
        &self,
        builder: B,
        set: impl Fn(B, ClientConfigKey, String) -> B,
    ) -> Result<(B, Option<String>)> {
        if self.timeout.as_millis() == 0 || self.connect_timeout.as_millis() == 0 {
            return Err(Error::invalid("time-outs are at least one millisecond"));
        }
        let endpoint = self.endpoint.as_deref().map(endpoint).transpose()?;
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        let mut settings = vec![
            (ClientConfigKey::ConnectTimeout, milliseconds(self.connect_timeout)),
            (ClientConfigKey::ReadTimeout, milliseconds(self.timeout)),
            (ClientConfigKey::Timeout, WHOLE.to_owned()),
        ];
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            settings.push((ClientConfigKey::AllowHttp, true.to_string()));
        }
        let builder = settings.into_iter().fold(builder, |builder, (key, value)| set(builder, key, value));
        Ok((builder, endpoint.map(str::to_owned)))
    }
}

/// Each request is sent once: what comes of a lost answer is found out here.
pub(crate) fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// An address to which names of buckets can be appended. It is not repeated in errors: it may hold secrets.
fn endpoint(text: &str) -> Result<&str> {
    let refuse = |why: &str| {
        Error::invalid(format!(
            "the endpoint {why}; it is written like \"http://127.0.0.1:4443\" or \"https://storage.example.com\""
        ))
    };
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        None => Err(refuse("is neither http nor https")),
        Some(rest) if rest.is_empty() || rest.starts_with(['/', ':']) => Err(refuse("has no host")),
        Some(rest) if rest.contains('@') => {
            Err(refuse("holds credentials, which belong into the environment"))
        }
        Some(rest) if rest.contains(['?', '#']) => Err(refuse("has a query")),
        Some(rest) if !rest.bytes().all(|byte| byte.is_ascii_graphic()) => Err(refuse("is not a URL")),
        Some(_) => Ok(text.trim_end_matches('/')),
    }
}

/// Whether a name is one that can become part of a URL: of so many lower-case letters, digits and `others`.
pub(crate) fn is_name(name: &str, lengths: RangeInclusive<usize>, others: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    lengths.contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || others.as_bytes().contains(&byte))
        && name.bytes().next().is_some_and(plain)
}

/// Why `object_store` could not set up a store. Its own words are left out: they repeat values of variables, and people put
/// keys where paths belong.
pub(crate) fn not_set_up(error: &object_store::Error, service: &str, variables: &str) -> Error {
    let why = match failure::io_kind(error) {
        Some(io::ErrorKind::NotFound) => "a file that the environment names is not there",
        Some(_) => "a file that the environment names cannot be read",
        None => "the environment says something that it does not understand",
    };
    Error::invalid(format!("{service} cannot be set up: {why}; look at {variables}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_without_secrets() {
        for (text, wanted) in [
            ("http://127.0.0.1:4443", "http://127.0.0.1:4443"),
            ("https://storage.example.com/", "https://storage.example.com"),
            ("http://127.0.0.1:10000/devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1"),
        ] {
            assert_eq!(endpoint(text).unwrap(), wanted);
        }
        for text in [
            "",
            "127.0.0.1:4443",
            "ftp://hush",
            "http://",
            "https:///hush",
            "http://id:hush@host",
            "http://host?sig=hush",
            "http://host/#hush",
            "http://ho st",
        ] {
            let error = endpoint(text).unwrap_err().to_string();
            assert!(!error.contains("hush") && error.contains("is written like"), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        for name in ["", "ab", "a/b", "evil.com/", "-ab", "Photos", "a b", "..", "abcdefghijk"] {
            assert!(!is_name(name, 3..=10, "-"), "{name}");
        }
        for name in ["abc", "a-1", "0123456789"] {
            assert!(is_name(name, 3..=10, "-"), "{name}");
        }
    }
}
