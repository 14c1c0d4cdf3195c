//! Who takes part: a name that people chose, and an incarnation that is new with every start.

use std::fmt;

use leasehold_core::{Error, ErrorKind, Key, Random, Result, SystemRandom};

/// The longest name of a node or a lease, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// A participant: the name of a node and the incarnation of this start of it.
///
/// Two processes with one name are two holders: what tells them apart is the incarnation, 128 random bits.
/// Cloning keeps the incarnation; make one node for each process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    name: String,
    incarnation: String,
}

impl Node {
    /// A node with a new incarnation, drawn from the operating system.
    ///
    /// `name` has 1 to 128 bytes and is one segment of a key: no `/`, no control characters, not `.` or `..`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), with the rule that is broken.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        Self::with_random(name, &SystemRandom)
    }

    /// A node whose incarnation comes from `random`, for tests and simulations.
    ///
    /// # Errors
    /// As [`new`](Node::new).
    pub fn with_random(name: impl AsRef<str>, random: &dyn Random) -> Result<Self> {
        let name = name.as_ref();
        check_node(name)?;
        let incarnation = format!("{:016x}{:016x}", random.bits(), random.bits());
        Ok(Self { name: name.to_owned(), incarnation })
    }

    /// A node as a record names it.
    pub(crate) fn recorded(name: String, incarnation: String) -> Self {
        Self { name, incarnation }
    }

    /// The name that people chose.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells this start of the node from every other: 32 hexadecimal digits.
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.incarnation.get(..8).unwrap_or(&self.incarnation))
    }
}

/// Checks that `name` can be the name of a node.
pub(crate) fn check_node(name: &str) -> Result<()> {
    check_name("a node", name)?;
    if name.contains('/') {
        return Err(Error::invalid(format!("{name:?} is not a node: it is one segment, without \"/\"")));
    }
    Ok(())
}

/// Checks that `name` can be a key and is short enough for one.
pub(crate) fn check_name(what: &str, name: &str) -> Result<Key> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the name of {what} has at most {NAME_BYTES_MAX} bytes, this one has {}",
            name.len()
        )));
    }
    Key::new(name).map_err(|error| {
        Error::new(ErrorKind::Invalid, error.message().replacen("is not a key", &format!("is not {what}"), 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_started_twice_is_two_participants() {
        let (first, second) = (Node::new("node-1").unwrap(), Node::new("node-1").unwrap());
        assert_eq!(first.name(), second.name());
        assert_ne!(first, second);
        assert_eq!(first.incarnation().len(), 32);
    }

    #[test]
    fn unsound_names_are_refused_with_the_rule() {
        for name in ["", "a/b", "..", "a\n", "/", &"n".repeat(129)] {
            let error = Node::new(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}");
            assert!(error.message().contains("a node"), "{error}");
        }
        assert!(Node::new("n".repeat(128)).is_ok());
    }
}
