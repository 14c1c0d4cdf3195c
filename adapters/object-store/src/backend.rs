//! What the object store underneath does: stated by whoever knows it, because `object_store` cannot be asked.

use leasehold_core::{Attributes, Capabilities, Capability, KEY_BYTES_MAX, Limits};

/// What an [`ObjectStore`](object_store::ObjectStore) offers and how it behaves.
///
/// The trait has no way to ask a store what it keeps of its promises, so whoever builds the bridge says it. One of
/// the presets is right for the stores of `object_store` itself; for any other begin with [`unknown`](Self::unknown),
/// which claims nothing, and add what is known to hold. What is claimed here is what the adapter claims: a wrong
/// claim is a broken promise, and the conformance suite finds out.
///
/// Conditional deletes and atomic batches are never offered: `object_store` has no such calls.
#[derive(Clone, Debug)]
pub struct Backend {
    capabilities: Capabilities,
    pub(crate) versions: Versions,
    pub(crate) order: Order,
    pub(crate) names: Names,
    pub(crate) identifiers: bool,
    pub(crate) metadata_bytes_max: usize,
    pub(crate) retries_below: bool,
}

/// Which of its two marks a store's versions are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// The ETag, as it is.
    ETag,
    /// The ETag, where lists tell it without its quotes and answers with them, as on Azure.
    UnquotedETag,
    /// The object version, which an update must name: the generation on Google Cloud Storage. Lists that do not tell it
    /// cost one more request for each key.
    ObjectVersion,
}

/// In which order a store lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Ascending, which is checked; a list may end at the first key past its prefix.
    Ascending,
    /// Supposed to ascend, which is checked up to the end.
    Checked,
    /// Any; at most so many entries are collected and sorted here.
    Sorted(usize),
}

/// Which keys can be names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// All.
    Any,
    /// Those that `LocalFileSystem` takes.
    Files,
}

/// How many entries of a list are sorted in memory unless said otherwise.
const SORTED_ENTRIES_MAX: usize = 100_000;

impl Backend {
    /// A store of which nothing is known: plain reads, writes, deletes and lists, with ETags for versions. Lists are
    /// expected to ascend, and are checked. It may [send requests again](Self::retries_below).
    pub const fn unknown() -> Self {
        Self {
            capabilities: Capabilities::none(Limits {
                value_bytes_max: u64::MAX,
                key_bytes_max: KEY_BYTES_MAX,
                batch_operations_max: 100_000,
                attributes_bytes_max: Attributes::BYTES_MAX,
            })
            .with(Capability::ListedSizes),
            versions: Versions::ETag,
            order: Order::Checked,
            names: Names::Any,
            identifiers: false,
            metadata_bytes_max: Attributes::BYTES_MAX,
            retries_below: true,
        }
    }

    /// [`InMemory`](object_store::memory::InMemory): its ETags count writes.
    pub const fn in_memory() -> Self {
        Self::unknown()
            .linearizable()
            .conditional_puts()
            .unique_versions()
            .attributes()
            .lists_ascending()
            .metadata_bytes_max(usize::MAX)
            .sends_once()
    }

    /// Google Cloud Storage: versions are generations, which never repeat; its ETags come from content.
    ///
    /// A list costs one more request for each key it yields, because lists do not tell generations. A store that is built
    /// with `RetryConfig { max_retries: 0, .. }`, as `Google::bucket` does, deserves [`sends_once`](Self::sends_once).
    /// Untested against the real service.
    pub const fn google() -> Self {
        Self::unknown()
            .linearizable()
            .durable()
            .conditional_puts()
            .unique_versions()
            .attributes()
            .versions(Versions::ObjectVersion)
            .metadata_bytes_max(8 << 10)
            .lists_ascending()
    }

    /// Azure Blob Storage: each write has an ETag of its own.
    ///
    /// Names of attributes are kept in the form that Azure takes, as identifiers. A key of more than 254 segments, or one
    /// with a segment that ends in a dot, is outside of what the service documents. A store that is built with
    /// `RetryConfig { max_retries: 0, .. }`, as `Azure::container` does, deserves [`sends_once`](Self::sends_once). Untested
    /// against the real service.
    pub const fn azure() -> Self {
        Self::unknown()
            .linearizable()
            .durable()
            .conditional_puts()
            .unique_versions()
            .attributes()
            .versions(Versions::UnquotedETag)
            .identifier_names()
            .metadata_bytes_max(8 << 10)
    }

    /// `LocalFileSystem`: no conditional puts and no attributes, versions that may repeat, lists that are sorted here.
    ///
    /// It cannot hold both `a` and `a/b`, nor names over 255 bytes, nor such as end in `#1`; those keys are refused. It can
    /// create a key that must not exist, but not update one, so [`ConditionalPut`](Capability::ConditionalPut) is not
    /// claimed and both preconditions are refused. Deleting the last key of a directory leaves the directory, unless the
    /// store was built `with_automatic_cleanup(true)`. `leasehold-fs` has none of these limits.
    pub const fn local() -> Self {
        let plain = Self::unknown().linearizable().lists_unordered(SORTED_ENTRIES_MAX).sends_once();
        Self { names: Names::Files, ..plain }
    }

    /// An acknowledged write is seen by every later read, wherever it comes from.
    #[must_use]
    pub const fn linearizable(self) -> Self {
        self.with(Capability::Linearizable)
    }

    /// An acknowledged write survives a loss of power.
    #[must_use]
    pub const fn durable(self) -> Self {
        self.with(Capability::Durable)
    }

    /// `PutMode::Create` and `PutMode::Update` are exact: of any number of racing writers one wins.
    #[must_use]
    pub const fn conditional_puts(self) -> Self {
        self.with(Capability::ConditionalPut)
    }

    /// Every write has a version that no other write of that key ever had.
    #[must_use]
    pub const fn unique_versions(self) -> Self {
        self.with(Capability::UniqueVersions)
    }

    /// Attributes are kept and returned. Then every write also carries its write id, by which the outcome of one
    /// whose answer was lost is found out.
    #[must_use]
    pub const fn attributes(self) -> Self {
        self.with(Capability::Attributes)
    }

    /// What versions are made of.
    #[must_use]
    pub const fn versions(self, versions: Versions) -> Self {
        Self { versions, ..self }
    }

    /// Lists are known to ascend in byte order. They are checked as before, but need not be read beyond the last key that can
    /// have the prefix: a list of keys that start in the middle of a segment then costs what it yields.
    #[must_use]
    pub const fn lists_ascending(self) -> Self {
        Self { order: Order::Ascending, ..self }
    }

    /// Lists come in any order: they are collected, up to `entries_max`, and sorted. A longer one is an error.
    #[must_use]
    pub const fn lists_unordered(self, entries_max: usize) -> Self {
        Self { order: Order::Sorted(entries_max), ..self }
    }

    /// Names of metadata have to be identifiers: the names of attributes are written in an escaped form.
    #[must_use]
    pub const fn identifier_names(self) -> Self {
        Self { identifiers: true, ..self }
    }

    /// How many bytes of names and values the store keeps beside an object: 2,048 unless said otherwise, as on S3. The id of
    /// each write takes 47 of them.
    #[must_use]
    pub const fn metadata_bytes_max(self, bytes: usize) -> Self {
        Self { metadata_bytes_max: bytes, ..self }
    }

    /// The store sends each request once, whatever becomes of the answer: those of `object_store` that are built with
    /// `RetryConfig { max_retries: 0, .. }`.
    #[must_use]
    pub const fn sends_once(self) -> Self {
        Self { retries_below: false, ..self }
    }

    /// The store sends requests again on its own, as those of `object_store` do unless they are told not to. This is
    /// supposed of every store that is not known to [send once](Self::sends_once).
    ///
    /// Then a refused precondition may be a conflict with an earlier send of the same write. Where the value that is
    /// found carries another write id, nobody can say whether ours was there in between: the conflict is reported as
    /// [indeterminate](leasehold_core::Error::is_indeterminate). So is every other refusal of a write that is not found to
    /// be there. Compare-and-swap loops stop at such an error instead of counting twice, so under contention retries below
    /// make a store hard to use.
    #[must_use]
    pub const fn retries_below(self) -> Self {
        Self { retries_below: true, ..self }
    }

    /// What the adapter claims, with the limits of its own.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    pub(crate) fn supports(&self, capability: Capability) -> bool {
        self.capabilities.supports(capability)
    }

    const fn with(self, capability: Capability) -> Self {
        Self { capabilities: self.capabilities.with(capability), ..self }
    }
}
