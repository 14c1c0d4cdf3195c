//! Which requests a fault is for.

use http::request::Parts;
use http::{HeaderName, Method};

/// A filter of requests: all that is said must hold.
#[derive(Debug, Clone, Default)]
pub struct When {
    method: Option<Method>,
    path: Option<String>,
    query: Option<String>,
    header: Option<HeaderName>,
}

impl When {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests of this method.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn method(method: &str) -> Self {
        Self { method: Some(method.parse().expect("an HTTP method")), ..Self::default() }
    }

    /// And whose path, as it is sent (percent-encoded), contains this.
    #[must_use]
    pub fn path_contains(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }

    /// And whose query, as it is sent, contains this, `uploadId=` for example.
    #[must_use]
    pub fn query_contains(mut self, part: impl Into<String>) -> Self {
        self.query = Some(part.into());
        self
    }

    /// And which carry this header, `if-none-match` for example.
    ///
    /// # Panics
    ///
    /// If it is no header's name in lower case.
    #[must_use]
    pub fn header(mut self, name: &'static str) -> Self {
        self.header = Some(HeaderName::from_static(name));
        self
    }

    pub(crate) fn matches(&self, head: &Parts) -> bool {
        self.matches_parts(&head.method, head.uri.path(), head.uri.query(), &head.headers)
    }

    pub(crate) fn matches_parts(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &http::HeaderMap,
    ) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self.path.as_ref().is_none_or(|part| path.contains(part))
            && self.query.as_ref().is_none_or(|part| query.is_some_and(|query| query.contains(part)))
            && self.header.as_ref().is_none_or(|name| headers.contains_key(name))
    }
}
