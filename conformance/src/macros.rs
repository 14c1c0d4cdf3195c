//! One `#[test]` for each case.

/// Makes one `#[test]` of each case, in a module of the name given, run against a [`Subject`](crate::Subject).
///
/// A case that the subject does not claim enough for passes and says that it was skipped. A failure tells the seed
/// that replays it, through the variable `LEASEHOLD_SEED`.
///
/// ```
/// use leasehold_conformance::{Effort, Options, Subject, conformance_tests};
///
/// conformance_tests!(memory, Subject::memory());
///
/// fn known() -> Options {
///     Options::default().effort(Effort::Light).except("deep_keys_fit", "this server takes 100 segments at most")
/// }
///
/// conformance_tests!(memory_with_little_effort, Subject::memory(), known());
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($module:ident, $subject:expr $(,)?) => {
        $crate::conformance_tests!($module, $subject, $crate::Options::default());
    };
    ($module:ident, $subject:expr, $options:expr $(,)?) => {
        $crate::for_each_case! { conformance_tests_of $module, $subject, $options; }
    };
}

/// One module of tests; see [`conformance_tests!`].
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests_of {
    ($module:ident, $subject:expr, $options:expr; $($name:ident)+) => {
        mod $module {
            use super::*;
            $(
                #[test]
                fn $name() {
                    $crate::test_case_with(&$subject, stringify!($name), &$options);
                }
            )+
        }
    };
}

/// Calls a macro with the names of all cases; see [`conformance_tests!`].
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_case {
    ($callback:ident $($arguments:tt)*) => {
        $crate::$callback! {
            $($arguments)*
            an_acknowledged_put_is_read_by_every_verb
            an_acknowledged_put_is_read_through_another_handle
            an_acknowledged_delete_is_seen_through_another_handle
            handles_that_take_turns_never_read_an_older_value
            a_value_seen_by_one_reader_is_seen_by_all_later_ones
            a_list_shows_what_was_acknowledged_before_it
            handles_that_begin_at_the_same_moment_all_work
            what_was_acknowledged_outlives_the_handle_that_wrote_it
            an_empty_value_is_a_value
            any_bytes_come_back_as_they_were_written
            a_large_value_comes_back_whole
            a_value_can_grow_and_shrink
            racing_puts_leave_one_whole_value
            many_keys_written_at_once_keep_their_own_values
            a_large_stream_is_written_and_read_whole
            a_stream_of_odd_chunks_is_written_whole
            an_empty_stream_is_an_empty_value
            a_body_is_not_asked_again_after_its_end
            a_stream_that_misses_its_announced_size_is_refused
            a_body_that_fails_leaves_the_old_value
            a_stream_whose_precondition_fails_writes_nothing
            a_read_under_way_never_mixes_two_values
            a_body_that_stalls_holds_up_nobody_else
            readers_see_whole_values_while_writers_overwrite
            an_overwritten_key_never_seems_absent
            a_range_read_while_writers_overwrite_comes_from_one_value
            readers_see_whole_values_while_they_come_and_go
            a_range_yields_exactly_its_bytes
            a_range_past_the_end_is_refused
            a_range_of_a_large_value_yields_exactly_its_bytes
            a_range_of_an_absent_key_finds_nothing
            an_unchanged_value_is_not_sent_again
            a_changed_value_is_sent
            if_absent_creates_once
            if_match_writes_once
            if_match_on_an_absent_key_conflicts
            a_version_of_another_key_does_not_match
            a_version_that_nobody_wrote_does_not_match
            a_deleted_key_can_be_created_again
            a_version_from_before_a_delete_does_not_match
            a_precondition_holds_through_another_handle
            a_conflict_says_what_and_where_and_is_not_to_be_resent
            a_conditional_put_that_is_not_claimed_is_refused
            a_conditional_delete_that_is_not_claimed_is_refused
            of_racing_creates_exactly_one_wins
            of_racing_updates_exactly_one_wins
            of_racing_conditional_deletes_exactly_one_wins
            of_a_racing_update_and_delete_exactly_one_wins
            a_blind_put_is_never_lost_to_a_conditional_one
            racing_creates_on_many_keys_have_one_winner_each
            a_key_that_is_created_and_deleted_by_many_has_one_owner_at_a_time
            an_absent_key_is_found_by_no_verb
            deleting_an_absent_key_succeeds
            a_deleted_key_is_found_by_no_verb
            a_conditional_delete_of_an_absent_key_conflicts
            a_conditional_delete_takes_only_its_version
            a_key_above_or_below_a_value_is_absent
            put_returns_the_version_that_reads_show
            reading_changes_no_version
            another_value_has_another_version
            a_version_survives_as_text
            a_value_that_returns_has_a_new_version
            a_key_that_is_deleted_and_made_again_has_a_new_version
            a_thousand_rapid_writes_have_a_thousand_versions
            racing_writers_get_different_versions
            increments_and_batches_make_new_versions
            attributes_come_back_from_every_read
            a_put_replaces_all_attributes_and_one_without_removes_them
            a_delete_takes_attributes_along
            attributes_and_value_come_from_one_write
            increments_keep_attributes
            a_conditional_put_that_loses_changes_no_attributes
            other_attributes_make_another_version
            batches_carry_attributes
            a_large_stream_carries_its_attributes
            the_longest_attributes_fit
            standard_and_other_names_stand_side_by_side
            attributes_that_are_not_claimed_are_refused
            weird_keys_hold_values_of_their_own
            keys_that_look_alike_are_different
            a_key_and_keys_below_it_coexist_in_every_order
            long_keys_and_long_segments_fit
            deep_keys_fit
            keys_around_a_slash_in_byte_order_coexist
            unsound_keys_are_refused_by_every_verb
            a_key_over_the_longest_is_refused
            namespaces_see_nothing_of_each_other
            a_namespace_and_the_keys_around_it_coexist
            a_list_of_nothing_is_empty
            a_list_ascends_in_byte_order
            a_list_tells_the_version
            a_list_tells_the_size
            a_prefix_may_end_inside_a_segment
            a_list_resumes_after_any_key
            after_excludes_its_key_and_needs_none
            three_thousand_keys_are_listed_once_each
            a_list_while_others_write_shows_untouched_keys_once
            a_list_that_is_dropped_half_way_leaves_the_store_usable
            a_list_read_page_by_page_is_the_whole_list
            an_empty_batch_has_no_results
            results_stand_where_their_operations_stood
            a_bad_entry_does_not_spoil_the_others
            operations_on_one_key_run_in_the_order_given
            a_batch_of_a_thousand_is_done_entry_by_entry
            preconditions_hold_in_batches
            a_conditional_delete_in_a_batch_takes_only_its_version
            racing_batches_have_one_winner_for_each_key
            a_batch_over_the_limit_is_refused
            an_atomic_batch_that_is_not_claimed_is_refused
            an_atomic_batch_is_all_or_nothing
            an_atomic_batch_is_seen_at_one_moment
            of_racing_atomic_batches_one_wins_whole
            get_many_answers_key_by_key
            put_many_answers_value_by_value
            an_absent_key_counts_as_zero
            increments_and_plain_values_are_the_same_thing
            concurrent_increments_are_all_counted
            every_increment_gets_a_sum_of_its_own
            increments_and_conditional_puts_lose_nothing_to_each_other
            a_value_that_is_no_integer_is_refused_and_kept
            a_sum_past_64_bits_is_refused_and_nothing_changes
            compare_and_swap_takes_values_and_absence
            of_racing_swaps_from_one_value_exactly_one_wins
            updates_under_contention_lose_nothing
            an_update_can_create_change_and_delete
            json_updates_under_contention_lose_nothing
            an_update_that_decides_against_it_changes_nothing
            a_value_over_the_limit_is_refused
            a_value_at_the_limit_fits
            an_endless_stream_is_refused_at_the_limit
            capabilities_stay_as_they_are
            a_dropped_put_leaves_a_whole_value
            dropped_writes_leave_the_store_usable
            a_dropped_stream_leaves_the_old_value
            a_dropped_increment_counts_once_or_not_at_all
            a_dropped_batch_leaves_whole_entries
            every_kind_of_write_wakes_who_watches_its_key
            a_change_wakes_watchers_on_every_handle
            a_change_below_a_prefix_wakes_who_watches_it
            a_watch_that_is_dropped_leaves_the_others
            who_reads_when_woken_sees_the_last_value
            changes_that_are_not_claimed_are_not_told
            any_sequence_of_calls_does_what_a_sorted_map_does
            a_history_of_racing_clients_is_linearizable
            a_history_without_conditions_is_linearizable
        }
    };
}

#[cfg(test)]
mod tests {
    #[doc(hidden)]
    #[macro_export]
    macro_rules! names_of_cases {
        (; $($name:ident)+) => {
            [$(stringify!($name)),+]
        };
    }

    #[test]
    fn the_macro_names_every_case_of_the_table_in_order() {
        let table: Vec<&str> = crate::cases().iter().map(|case| case.name).collect();
        assert_eq!(crate::for_each_case!(names_of_cases ;).to_vec(), table);
    }
}
