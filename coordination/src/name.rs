//! The name of a node, checked once and cheap to copy.

use std::{borrow::Borrow, fmt, sync::Arc};

use leasehold_core::Result;

use crate::{Node, node::check_node};

/// The name of a node: 1 to 128 bytes, one segment of a key.
///
/// It names the machine that people know, not one start of it: that is a [`Node`]. Cloning copies a pointer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// A name, by the rules of [`Node::new`].
    ///
    /// # Errors
    /// [`Invalid`](leasehold_core::ErrorKind::Invalid), with the rule that is broken.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        check_node(name)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Node> for NodeName {
    fn from(node: &Node) -> Self {
        Self(node.name().into())
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
