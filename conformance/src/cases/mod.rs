//! The table of cases, one file for each family of promises.

mod absence;
mod attributes;
mod batches;
mod cancellation;
mod conditions;
mod handles;
mod histories;
mod increments;
mod keys;
mod limits;
mod lists;
mod many;
mod model;
mod overwrites;
mod races;
mod ranges;
mod streams;
mod swaps;
mod values;
mod versions;
mod watches;
mod weird;

use crate::Case;

/// Every case, grouped by family.
pub fn cases() -> Vec<Case> {
    let families: [&[Case]; 21] = [
        handles::CASES,
        values::CASES,
        streams::CASES,
        overwrites::CASES,
        ranges::CASES,
        conditions::CASES,
        races::CASES,
        absence::CASES,
        versions::CASES,
        attributes::CASES,
        keys::CASES,
        lists::CASES,
        batches::CASES,
        many::CASES,
        increments::CASES,
        swaps::CASES,
        limits::CASES,
        cancellation::CASES,
        watches::CASES,
        model::CASES,
        histories::CASES,
    ];
    families.concat()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::cases;

    #[test]
    fn no_name_is_used_twice() {
        let mut seen = HashSet::new();
        for case in cases() {
            assert!(seen.insert(case.name), "{} is used twice", case.name);
        }
    }
}
