//! What the store holds, and the rules by which it changes.

use std::{collections::BTreeMap, ops::Bound, time::SystemTime};

use leasehold_core::{
    Attributes, Body, Bytes, Entry, Error, ErrorKind, GetOptions, Key, ListOptions, Lookup, Metadata, Object,
    Precondition, PutOptions, Result, Version,
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
    attributes: Attributes,
    version: Version,
    modified: SystemTime,
}

impl Stored {
    /// What a list tells.
    fn listed(&self) -> Metadata {
        Metadata::new(self.version.clone(), self.bytes.len() as u64).modified_at(self.modified)
    }

    fn metadata(&self) -> Metadata {
        self.listed().attributes(self.attributes.clone())
    }

    /// What it takes of the store's room.
    fn size(&self) -> u64 {
        (self.bytes.len() + self.attributes.bytes()) as u64
    }
}

pub(crate) enum Write {
    Put(Bytes, PutOptions),
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
        let freed = current.map_or(0, Stored::size);
        let version = current.map(|stored| &stored.version);
        match write {
            Write::Put(bytes, PutOptions { precondition, attributes, .. }) => {
                precondition.check(version)?;
                let version = Version::new((self.writes + 1).to_string());
                let stored = Stored { bytes, attributes, version: version.clone(), modified: now };
                let total = self.bytes - freed + stored.size();
                if total > self.bytes_max {
                    let message =
                        format!("the store has room for {} bytes; delete something first", self.bytes_max);
                    return Err(Error::new(ErrorKind::Full, message));
                }
                self.bytes = total;
                self.writes += 1;
                self.values.insert(key.clone(), stored);
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
        let current = self.values.get(key);
        let sum = leasehold_core::add_to(current.map(|stored| &*stored.bytes), delta)?;
        let kept = current.map(|stored| stored.attributes.clone()).unwrap_or_default();
        let options = PutOptions::default().attributes(kept);
        self.apply(key, Write::Put(sum.to_string().into(), options), now)?;
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
            .map(|(key, stored)| Entry::new(key.clone(), stored.listed()))
            .collect()
    }
}
