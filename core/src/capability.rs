//! What a store can do and what it promises beyond the contract's common part.

use std::fmt;

use crate::{Attributes, KEY_BYTES_MAX};

/// One thing that a store may offer or promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Capability {
    /// C1: an acknowledged write is seen by every later read, through any handle, process and host.
    Linearizable,
    /// C3: puts with [`Absent`](crate::Precondition::Absent) and [`Matches`](crate::Precondition::Matches) are exact.
    ConditionalPut,
    /// Deletes with `if_match` are exact.
    ConditionalDelete,
    /// C6: an acknowledged write survives a loss of power.
    Durable,
    /// Every write gets a version that no other write of that key ever had.
    UniqueVersions,
    /// A batch can be applied all or nothing.
    AtomicBatch,
    /// Values carry [`Attributes`](crate::Attributes), written, read and replaced together with them.
    Attributes,
    /// The size that a list tells is that of the value; without it, of what is stored for the value.
    ListedSizes,
    /// C14: [`changes`](crate::StorageAdapter::changes) wakes who waits for a change; without it, one polls.
    Changes,
}

impl Capability {
    /// Every capability, in a stable order.
    pub const ALL: [Self; 9] = [
        Self::Linearizable,
        Self::ConditionalPut,
        Self::ConditionalDelete,
        Self::Durable,
        Self::UniqueVersions,
        Self::AtomicBatch,
        Self::Attributes,
        Self::ListedSizes,
        Self::Changes,
    ];

    /// The name in messages and machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::ConditionalPut => "conditional-put",
            Self::ConditionalDelete => "conditional-delete",
            Self::Durable => "durable",
            Self::UniqueVersions => "unique-versions",
            Self::AtomicBatch => "atomic-batch",
            Self::Attributes => "attributes",
            Self::ListedSizes => "listed-sizes",
            Self::Changes => "changes",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Sizes past which a store answers [`Invalid`](crate::ErrorKind::Invalid) instead of trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest value, in bytes.
    pub value_bytes_max: u64,
    /// The longest key, in bytes: [`KEY_BYTES_MAX`], less what namespaces take.
    pub key_bytes_max: usize,
    /// The most operations in one batch.
    pub batch_operations_max: usize,
    /// The most bytes that the names and values of a value's attributes take together.
    pub attributes_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            value_bytes_max: u64::MAX,
            key_bytes_max: KEY_BYTES_MAX,
            batch_operations_max: 100_000,
            attributes_bytes_max: Attributes::BYTES_MAX,
        }
    }
}

/// What a store offers: a set of [`Capability`] and its [`Limits`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    bits: u32,
    limits: Limits,
    weakened: Option<Weakened>,
}

/// What was taken away, and by whom.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Weakened {
    bits: u32,
    by: &'static str,
}

impl Capabilities {
    /// Nothing beyond the common part, with `limits`.
    pub const fn none(limits: Limits) -> Self {
        Self { bits: 0, limits, weakened: None }
    }

    /// The same with `capability`.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self { bits: self.bits | capability.bit(), ..self }
    }

    /// The same without `capability`.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self { bits: self.bits & !capability.bit(), ..self }
    }

    /// The same without what `by` takes away from what is below it: a layer in words, such as "a write-behind batch". The
    /// lowest of several in a stack is remembered, for [`weakened_by`](Self::weakened_by).
    #[must_use]
    pub const fn weakened<const N: usize>(mut self, by: &'static str, capabilities: [Capability; N]) -> Self {
        let mut taken = 0;
        let mut index = 0;
        while index < N {
            taken |= self.bits & capabilities[index].bit();
            index += 1;
        }
        self.bits &= !taken;
        if self.weakened.is_none() && taken != 0 {
            self.weakened = Some(Weakened { bits: taken, by });
        }
        self
    }

    /// Who took `capability` away, where that is known: for errors that name what to leave out.
    pub fn weakened_by(&self, capability: Capability) -> Option<&'static str> {
        self.weakened.filter(|weakened| weakened.bits & capability.bit() != 0).map(|weakened| weakened.by)
    }

    /// The same with other limits.
    #[must_use]
    pub const fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Whether `capability` is claimed.
    pub const fn supports(&self, capability: Capability) -> bool {
        self.bits & capability.bit() != 0
    }

    /// The sizes that are accepted.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// What is claimed, in a stable order.
    pub fn iter(&self) -> impl Iterator<Item = Capability> {
        let bits = self.bits;
        Capability::ALL.into_iter().filter(move |capability| bits & capability.bit() != 0)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capabilities")
            .field("supports", &self.iter().map(Capability::name).collect::<Vec<_>>())
            .field("limits", &self.limits)
            .finish()
    }
}
