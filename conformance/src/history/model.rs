//! What a model must say of an object for its histories to be decided.

use std::{fmt::Debug, hash::Hash};

/// An object as a machine that takes one call at a time.
///
/// A model says what may be asked, what may be answered, and for each call with its reply (a *step*) in which states
/// that reply is right and which state follows. The search needs nothing else; what else a model may say makes it
/// short, and every answer that is `true` too often is marked below: those would make the verdict wrong, while the
/// defaults are always right.
///
/// A call whose outcome is unknown is an *open* step: it has its effect at any time after it began, or never. Open
/// steps without effect are not placed at all, so [`apply`](Model::apply) answers `None` for them where they would
/// change nothing.
pub trait Model {
    /// What is asked for.
    type Action: Clone + Debug;
    /// What is answered. The default is the reply that nobody knows.
    type Reply: Clone + Debug + Default + PartialEq;
    /// A call with its reply, or without one, in the form in which the search compares them: open calls whose steps
    /// are equal are one like the other.
    type Step: Eq + Hash;
    /// What the object is between calls. It begins as the default.
    type State: Clone + Eq + Hash + Default;
    /// Something that is true of a state and that a call may depend on; see [`needs`](Model::needs).
    type Fact: Eq + Hash;

    /// All calls on one object as steps, in the same order. The calls are in the order in which they began.
    fn steps(&self, calls: &[(&Self::Action, &Self::Reply)]) -> Vec<Self::Step>;

    /// The state after `step`, or `None` when its reply is not the right one in `state`.
    fn apply(&self, step: &Self::Step, state: &Self::State) -> Option<Self::State>;

    /// Whether the outcome of `step` is unknown.
    fn is_open(&self, step: &Self::Step) -> bool;

    /// Whether `step` only looks: in no state does it change what the object does. It may still tell more about it.
    /// Wrong if `true` too often.
    fn only_looks(&self, _step: &Self::Step) -> bool {
        false
    }

    /// Whether `step` comes to the same state from every state, so that what happened right before does not matter.
    /// An open step may be left out where it changes nothing. Wrong if `true` too often.
    fn is_blind(&self, _step: &Self::Step) -> bool {
        false
    }

    /// Whether the open step `next` may come right after the open step `last`. Of two that can be exchanged, since both
    /// orders fit into the same states and end in the same, one order is enough. Wrong if `false` too often.
    fn may_follow(&self, _last: &Self::Step, _next: &Self::Step) -> bool {
        true
    }

    /// Whether an open step that leads from `before` to `after` may be one of those that make `goal` fit which does not
    /// fit yet, or that have to come before it and not after it. Where several have to in any order it is enough to
    /// admit the first of them by [`may_follow`](Model::may_follow). Wrong if `false` too often.
    fn may_help(
        &self,
        _open: &Self::Step,
        _before: &Self::State,
        _after: &Self::State,
        _goal: &Self::Step,
    ) -> bool {
        true
    }

    /// The facts that are true of a state.
    fn facts(&self, _state: &Self::State) -> impl IntoIterator<Item = Self::Fact> {
        None
    }

    /// The fact without which `step` does not fit into any state. Where a fact ends that a call with a reply still
    /// needs and that no call left [`makes`](Model::makes), the search turns back at once. Wrong if it names a fact
    /// that may become true in another way.
    fn needs(&self, _step: &Self::Step) -> Option<Self::Fact> {
        None
    }

    /// The facts that are true once `step` was applied and may not have been before.
    fn makes(&self, _step: &Self::Step) -> impl IntoIterator<Item = Self::Fact> {
        None
    }
}
