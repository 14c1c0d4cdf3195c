//! The answer to a read, where a layer knows it by itself.

use leasehold_core::{Bytes, GetOptions, Lookup, Metadata, Object, Result};

/// What is known of a key.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    Absent,
    Value(Metadata, Bytes),
}

impl Known {
    /// What a read with `options` gets.
    pub(crate) fn answer(&self, options: &GetOptions) -> Result<Lookup> {
        let Self::Value(metadata, bytes) = self else { return Ok(Lookup::Absent) };
        if options.if_changed_from.as_ref() == Some(&metadata.version) {
            return Ok(Lookup::Unchanged);
        }
        let range = options.range.resolve(metadata.size)?;
        let part = bytes.slice(range.start as usize..range.end as usize);
        Ok(Lookup::Found(Object::new(metadata.clone(), range, part.into())))
    }

    pub(crate) fn metadata(&self) -> Option<&Metadata> {
        match self {
            Self::Absent => None,
            Self::Value(metadata, _) => Some(metadata),
        }
    }
}
