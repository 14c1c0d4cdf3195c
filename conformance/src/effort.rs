//! How much a run does.

/// How many rounds, steps and keys a case goes through. What it checks, and how wide it races, is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effort {
    /// All of them: for a store that answers in microseconds.
    #[default]
    Full,
    /// About a tenth: for a store behind a network. A race that is lost once in a hundred times may stay unseen.
    Light,
}

impl Effort {
    /// How many of `full` rounds are gone through.
    pub(crate) fn rounds(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Light => full.min((full / 10).max(3)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Effort;

    #[test]
    fn a_light_effort_is_a_tenth_but_never_nothing() {
        for (full, light) in [(0, 0), (1, 1), (3, 3), (25, 3), (40, 4), (1000, 100)] {
            assert_eq!(Effort::Light.rounds(full), light);
            assert_eq!(Effort::Full.rounds(full), full);
        }
    }
}
