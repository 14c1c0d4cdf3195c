//! The operations that made a record what it is: the evidence by which a write whose reply was lost is found again.

/// How many earlier operations a record remembers.
const RECENT_MAX: usize = 8;

/// The operation that wrote a record, and those before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// Counts every write of the record, so that a gap in `recent` can be seen.
    pub(crate) sequence: u64,
    /// The operation that wrote this: no two writes are alike, and versions made from content never return.
    pub(crate) operation: String,
    /// The operations before it, newest first.
    pub(crate) recent: Vec<String>,
}

impl History {
    /// Of the first write of a record.
    pub(crate) fn first(operation: String) -> Self {
        Self { sequence: 1, operation, recent: Vec::new() }
    }

    /// Of the next write over this one.
    pub(crate) fn successor(&self, operation: String) -> Self {
        let earlier = std::iter::once(&self.operation).chain(&self.recent);
        Self {
            sequence: self.sequence.saturating_add(1),
            operation,
            recent: earlier.take(RECENT_MAX).cloned().collect(),
        }
    }

    /// Whether `write` is known to be in this history, or known not to be; `None` when it does not reach back far
    /// enough.
    pub(crate) fn mentions(&self, write: &Self) -> Option<bool> {
        let operation = &write.operation;
        if self.operation == *operation || self.recent.iter().any(|recent| recent == operation) {
            return Some(true);
        }
        // The oldest in the list has the number `sequence - recent.len()`.
        let oldest = self.sequence.saturating_sub(self.recent.len() as u64);
        (oldest <= write.sequence).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_knows_its_last_operations_and_where_it_ends() {
        let ours = History::first("ours".into());
        let mut now = ours.clone();
        for number in 0..RECENT_MAX {
            now = now.successor(number.to_string());
            assert_eq!(now.mentions(&ours), Some(true), "after {number}");
        }
        assert_eq!((now.recent.len(), now.recent[0].as_str()), (RECENT_MAX, "6"));
        now = now.successor("one more".into());
        assert_eq!(now.mentions(&ours), None, "it does not reach back to the first write");
        let other = History { operation: "other".into(), ..now.clone() };
        assert_eq!(now.mentions(&other), Some(false));
    }
}
