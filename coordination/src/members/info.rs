//! What a node says of itself.

use std::{collections::BTreeMap, fmt, str::FromStr};

use leasehold_core::Error;
use serde::{Deserialize, Serialize};

use crate::register::State;

/// What part a node takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// It leads at the moment.
    Leader,
    /// It may lead, and carries work.
    #[default]
    Follower,
    /// It looks on: it never leads, and carries nothing.
    Observer,
}

impl Role {
    /// The name in messages and machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = Error;

    /// Reads `leader`, `follower` or `observer`.
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid) for anything else.
    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Leader, Self::Follower, Self::Observer]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| {
                Error::invalid(format!("{text:?} is not a role: it is leader, follower or observer"))
            })
    }
}

/// What others should know of a node. All of it is optional and means what its users agree on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NodeMetadata {
    /// Where it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it shares its fate with: a rack, a region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How much work it can carry beside the others; 1 when it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// How much it can store, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// How much of that is free, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Anything else.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl NodeMetadata {
    /// The same with an address.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// The same with a zone.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// The same with a weight.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// The same with room in bytes, and how much of it is free.
    #[must_use]
    pub fn room(mut self, capacity_bytes: u64, free_bytes: u64) -> Self {
        (self.capacity_bytes, self.free_bytes) = (Some(capacity_bytes), Some(free_bytes));
        self
    }

    /// The same with a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }
}

/// The record of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Info {
    /// Which start of it.
    pub(super) incarnation: String,
    pub(super) role: Role,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) draining: bool,
    /// How long it may be silent.
    pub(super) ttl_ms: u64,
    #[serde(default)]
    pub(super) metadata: NodeMetadata,
}

impl State for Info {
    const KIND: &'static str = "member";

    fn check(&self) -> Result<(), &'static str> {
        let ttl = crate::Ttl::new(std::time::Duration::from_millis(self.ttl_ms));
        if self.incarnation.is_empty() || ttl.is_err() { Err("it is nobody's") } else { Ok(()) }
    }
}
