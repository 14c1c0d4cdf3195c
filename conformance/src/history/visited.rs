//! Where the search has been.

use std::{collections::HashMap, hash::Hash, rc::Rc};

/// How many calls of each class of equal open calls are used: always the ones that began first.
pub(super) type Used = Rc<[u32]>;

/// For each set of calls with a reply and each state, the least uses of open calls with which the search was there.
///
/// To have used fewer open calls is never worse: whatever order completes the search with fewer of them left does so
/// with more. So a place is not worth a visit when it was visited with no more of any class.
pub(super) struct Visited<S>(HashMap<(u128, S), Vec<Used>>);

impl<S: Eq + Hash> Visited<S> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Notes a visit; whether it is worth one. From there on no call of a class that `is_over` can have an effect, so
    /// how many of it were used before does not matter.
    pub(super) fn is_new(
        &mut self,
        placed: u128,
        state: S,
        used: &Used,
        is_over: impl Fn(usize) -> bool,
    ) -> bool {
        let least = self.0.entry((placed, state)).or_default();
        if least.iter().any(|before| is_within(before, used, &is_over)) {
            return false;
        }
        least.retain(|before| !is_within(used, before, |_| false));
        least.push(used.clone());
        true
    }
}

fn is_within(few: &Used, many: &Used, is_over: impl Fn(usize) -> bool) -> bool {
    Rc::ptr_eq(few, many)
        || few.iter().zip(many.iter()).enumerate().all(|(class, (few, many))| few <= many || is_over(class))
}
