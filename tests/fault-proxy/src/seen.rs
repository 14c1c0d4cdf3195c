//! The log of what clients have asked.

use std::collections::VecDeque;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method};

use crate::{Fault, When};

/// How many requests the log keeps; older ones are only counted.
pub const REQUESTS_KEPT: usize = 16_384;

/// A request that has arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path as it was sent.
    pub path: String,
    /// Its query as it was sent.
    pub query: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// When its head had arrived, since the proxy was started, on tokio's clock.
    pub at: Duration,
    /// What happened to it.
    pub fault: Fault,
}

impl Seen {
    pub(crate) fn new(head: &Parts, at: Duration, fault: Fault) -> Self {
        Self {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers: head.headers.clone(),
            at,
            fault,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    kept: VecDeque<Seen>,
    count: usize,
}

impl Log {
    pub(crate) fn push(&mut self, seen: Seen) {
        if self.kept.len() == REQUESTS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(seen);
        self.count += 1;
    }

    pub(crate) fn kept(&self) -> Vec<Seen> {
        self.kept.iter().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn count_of(&self, when: &When) -> usize {
        assert!(
            self.count == self.kept.len(),
            "only the last {REQUESTS_KEPT} requests are kept: call forget() before the part that is counted"
        );
        let matches =
            |seen: &&Seen| when.matches_parts(&seen.method, &seen.path, seen.query.as_deref(), &seen.headers);
        self.kept.iter().filter(matches).count()
    }
}
