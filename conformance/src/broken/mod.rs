//! Adapters that each break one promise, and the cases that must notice: the test of the suite itself.
//!
//! Each flaw is one that was seen in a real adapter or object store.

mod adapter;
mod flawed;

use std::sync::Arc;

use leasehold_core::{StorageAdapter, Store};

use crate::Subject;

/// One promise broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flaw {
    /// Creates over what is there.
    IgnoresIfAbsent,
    /// Writes whatever version is there.
    IgnoresIfMatch,
    /// Deletes whatever version is there.
    IgnoresIfMatchOnDelete,
    /// Looks, and then writes.
    ChecksThenWrites,
    /// Does not claim conditional puts and ignores their conditions.
    IgnoresWhatItDoesNotClaim,
    /// Says of every conflict that it may have been applied.
    CallsConflictsUnknown,
    /// Takes versions from the content and claims that they are unique.
    ContentVersions,
    /// Writes the first half, and then all.
    TornWrites,
    /// Empties the value before it writes.
    TruncatesFirst,
    /// Believes a stream's size without counting.
    BelievesSizes,
    /// Keeps what it has read, whatever other handles write.
    CachesReads,
    /// Answers a put and applies it with the next one.
    WritesBehind,
    /// Sends the whole value for every range.
    IgnoresRanges,
    /// Lists backwards.
    UnorderedLists,
    /// Lists the key that it should begin after.
    InclusiveAfter,
    /// Lists only whole segments of a prefix.
    WholeSegmentPrefixes,
    /// Answers one operation too few.
    ShortBatches,
    /// Answers in another order.
    MisorderedBatches,
    /// Claims atomic batches and applies them one by one.
    ClaimsAtomicBatches,
    /// Reads, adds, and writes.
    LosesIncrements,
    /// Lets a sum wrap around.
    WrapsIncrements,
    /// Calls the delete of an absent key a conflict.
    AbsentDeletesConflict,
    /// Folds the case of keys.
    FoldsCase,
    /// Cannot hold a key below another.
    FilesHaveNoChildren,
    /// Keeps its lock when a put is dropped.
    KeepsLocks,
    /// Claims attributes and forgets them.
    ForgetsAttributes,
    /// Keeps the attributes of the write before where a put has none of that name.
    MergesAttributes,
    /// Writes the value, and then the attributes.
    WritesAttributesApart,
    /// Replaces what it increments by a value without attributes.
    IncrementsWithoutAttributes,
    /// Does not claim attributes and ignores them.
    IgnoresAttributes,
    /// Watches, and never wakes.
    NeverWakes,
    /// Wakes who watches the handle that wrote, and nobody else.
    WakesOnlyItself,
    /// Does not claim to tell of changes, and watches all the same.
    TellsWhatItDoesNotClaim,
}

impl Flaw {
    /// Every flaw with the cases that must notice it.
    pub const ALL: &[(Self, &[&str])] = &[
        (Self::IgnoresIfAbsent, &["if_absent_creates_once", "of_racing_creates_exactly_one_wins"]),
        (Self::IgnoresIfMatch, &["if_match_writes_once", "of_racing_updates_exactly_one_wins"]),
        (Self::IgnoresIfMatchOnDelete, &["a_conditional_delete_takes_only_its_version"]),
        (
            Self::ChecksThenWrites,
            &[
                "of_racing_creates_exactly_one_wins",
                "of_racing_updates_exactly_one_wins",
                "updates_under_contention_lose_nothing",
                "a_history_of_racing_clients_is_linearizable",
            ],
        ),
        (Self::IgnoresWhatItDoesNotClaim, &["a_conditional_put_that_is_not_claimed_is_refused"]),
        (Self::CallsConflictsUnknown, &["if_absent_creates_once"]),
        (
            Self::ContentVersions,
            &[
                "a_value_that_returns_has_a_new_version",
                "a_key_that_is_deleted_and_made_again_has_a_new_version",
            ],
        ),
        (Self::TornWrites, &["readers_see_whole_values_while_writers_overwrite"]),
        (Self::TruncatesFirst, &["readers_see_whole_values_while_they_come_and_go"]),
        (Self::BelievesSizes, &["a_stream_that_misses_its_announced_size_is_refused"]),
        (
            Self::CachesReads,
            &[
                "an_acknowledged_put_is_read_through_another_handle",
                "handles_that_take_turns_never_read_an_older_value",
                "a_history_of_racing_clients_is_linearizable",
            ],
        ),
        (
            Self::WritesBehind,
            &["an_acknowledged_put_is_read_by_every_verb", "a_history_without_conditions_is_linearizable"],
        ),
        (Self::IgnoresRanges, &["a_range_yields_exactly_its_bytes"]),
        (Self::UnorderedLists, &["a_list_ascends_in_byte_order", "three_thousand_keys_are_listed_once_each"]),
        (Self::InclusiveAfter, &["after_excludes_its_key_and_needs_none", "a_list_resumes_after_any_key"]),
        (Self::WholeSegmentPrefixes, &["a_prefix_may_end_inside_a_segment"]),
        (Self::ShortBatches, &["results_stand_where_their_operations_stood"]),
        (Self::MisorderedBatches, &["results_stand_where_their_operations_stood"]),
        (
            Self::ClaimsAtomicBatches,
            &["an_atomic_batch_is_all_or_nothing", "an_atomic_batch_is_seen_at_one_moment"],
        ),
        (
            Self::LosesIncrements,
            &["concurrent_increments_are_all_counted", "every_increment_gets_a_sum_of_its_own"],
        ),
        (Self::WrapsIncrements, &["a_sum_past_64_bits_is_refused_and_nothing_changes"]),
        (Self::AbsentDeletesConflict, &["deleting_an_absent_key_succeeds"]),
        (Self::FoldsCase, &["keys_that_look_alike_are_different"]),
        (Self::FilesHaveNoChildren, &["a_key_and_keys_below_it_coexist_in_every_order"]),
        (Self::KeepsLocks, &["a_dropped_stream_leaves_the_old_value"]),
        (
            Self::ForgetsAttributes,
            &[
                "attributes_come_back_from_every_read",
                "batches_carry_attributes",
                "a_large_stream_carries_its_attributes",
                "the_longest_attributes_fit",
                "standard_and_other_names_stand_side_by_side",
            ],
        ),
        (
            Self::MergesAttributes,
            &[
                "a_put_replaces_all_attributes_and_one_without_removes_them",
                "attributes_and_value_come_from_one_write",
            ],
        ),
        (Self::WritesAttributesApart, &["attributes_and_value_come_from_one_write"]),
        (Self::IncrementsWithoutAttributes, &["increments_keep_attributes"]),
        (Self::IgnoresAttributes, &["attributes_that_are_not_claimed_are_refused"]),
        (Self::NeverWakes, &["every_kind_of_write_wakes_who_watches_its_key"]),
        (Self::WakesOnlyItself, &["a_change_wakes_watchers_on_every_handle"]),
        (Self::TellsWhatItDoesNotClaim, &["changes_that_are_not_claimed_are_not_told"]),
    ];

    /// A store in memory with this flaw.
    pub fn subject(self) -> Subject {
        let shared = Arc::new(adapter::Shared::default());
        Subject::memory().layered(format!("{self:?}"), move |store| Ok(self.with(store, shared.clone())))
    }

    /// A sound store made unsound, for tests of tests.
    pub fn around(self, store: Store) -> Store {
        self.with(store, Arc::default())
    }

    fn with(self, store: Store, shared: Arc<adapter::Shared>) -> Store {
        store.layer(move |inner| -> Arc<dyn StorageAdapter> {
            Arc::new(adapter::Broken::new(self, inner, shared))
        })
    }
}
