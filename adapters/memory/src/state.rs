//! What the store holds, and the rules by which it changes.

use std::{collections::BTreeMap, ops::Bound, time::SystemTime};

use leasehold_core::{
    Body, Bytes, Entry, Error, ErrorKind, GetOptions, Key, ListOptions, Lookup, Metadata, Object,
    Precondition, Result, Version,
};

#[derive(Clone)]
pub(crate) struct State {
    values: BTreeMap<Key, Stored>,
    writes: u64,
    bytes: u64,
    bytes_max: u64,
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    version: Version,
    modified: SystemTime,
}

impl Stored {
    fn metadata(&self) -> Metadata {
        Metadata::new(self.version.clone(), self.bytes.len() as u64).modified_at(self.modified)
    }
}

pub(crate) enum Write {
    Put(Bytes, Precondition),
    Delete(Precondition),
}

impl State {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { values: BTreeMap::new(), writes: 0, bytes: 0, bytes_max }
    }

    pub(crate) fn set_capacity(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    pub(crate) fn head(&self, key: &Key) -> Option<Metadata> {
        self.values.get(key).map(Stored::metadata)
    }

    pub(crate) fn get(&self, key: &Key, options: &GetOptions) -> Result<Lookup> {
        let Some(stored) = self.values.get(key) else { return Ok(Lookup::Absent) };
        if options.if_changed_from.as_ref() == Some(&stored.version) {
            return Ok(Lookup::Unchanged);
        }
        let range = options.range.resolve(stored.bytes.len() as u64)?;
        let part = stored.bytes.slice(range.start as usize..range.end as usize);
        Ok(Lookup::Found(Object::new(stored.metadata(), range, Body::from_bytes(part))))
    }

    /// Applies a write, or changes nothing. Returns the new version; none after a delete.
    pub(crate) fn apply(&mut self, key: &Key, write: Write, now: SystemTime) -> Result<Option<Version>> {
        let current = self.values.get(key);
        let freed = current.map_or(0, |stored| stored.bytes.len() as u64);
        let version = current.map(|stored| &stored.version);
        match write {
            Write::Put(bytes, precondition) => {
                precondition.check(version)?;
                let total = self.bytes - freed + bytes.len() as u64;
                if total > self.bytes_max {
                    let message =
                        format!("the store has room for {} bytes; delete something first", self.bytes_max);
                    return Err(Error::new(ErrorKind::Full, message));
                }
                self.bytes = total;
                self.writes += 1;
                let version = Version::new(self.writes.to_string());
                self.values.insert(key.clone(), Stored { bytes, version: version.clone(), modified: now });
                Ok(Some(version))
            }
            Write::Delete(precondition) => {
                precondition.check(version)?;
                self.bytes -= freed;
                self.values.remove(key);
                Ok(None)
            }
        }
    }

    pub(crate) fn increment(&mut self, key: &Key, delta: i64, now: SystemTime) -> Result<i64> {
        let sum = leasehold_core::add_to(self.values.get(key).map(|stored| &*stored.bytes), delta)?;
        self.apply(key, Write::Put(sum.to_string().into(), Precondition::None), now)?;
        Ok(sum)
    }

    pub(crate) fn page(&self, options: &ListOptions, entries_max: usize) -> Vec<Entry> {
        let prefix = options.prefix.as_str();
        let start = match &options.after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        self.values
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(entries_max)
            .map(|(key, stored)| Entry::new(key.clone(), stored.metadata()))
            .collect()
    }
}
