//! What waits to be written, and what is on its way: a machine without time, tasks or input of its own.
//!
//! A write is *held* until its interval is over, then *ready* until a batch takes it, then on its way until the batch *lands*.
//! No batch takes a write of a key of which another is on its way, so writes of one key arrive in the order they came.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use leasehold_core::{Bytes, DeleteOptions, Key, Operation, Precondition, PutOptions};

/// When a batch goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a write waits for another batch at most.
    pub(super) wait: Duration,
    pub(super) entries: usize,
    pub(super) bytes: u64,
    /// How many batches are on their way at once, at most.
    pub(super) flights: usize,
}

/// What is to be written.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Bytes, PutOptions),
    Delete(DeleteOptions),
}

impl Change {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Put(bytes, _) => bytes.len() as u64,
            Self::Delete(_) => 0,
        }
    }

    pub(super) fn operation(&self, key: &Key) -> Operation {
        match self {
            Self::Put(bytes, options) => Operation::Put(key.clone(), bytes.clone().into(), options.clone()),
            Self::Delete(options) => Operation::Delete(key.clone(), options.clone()),
        }
    }

    fn is_plain_put(&self) -> bool {
        matches!(self, Self::Put(_, options) if options.precondition == Precondition::None)
    }
}

/// A write, and those who wait for it: one, or several whose puts it replaced.
#[derive(Debug)]
pub(super) struct Item<W> {
    pub(super) number: u64,
    pub(super) key: Key,
    pub(super) change: Change,
    pub(super) waiters: Vec<W>,
    since: Duration,
}

#[derive(Debug)]
pub(super) struct Queue<W> {
    limits: Limits,
    coalesce: bool,
    issued: u64,
    held: BTreeMap<(Duration, u64), Item<W>>,
    ready: BTreeMap<u64, Item<W>>,
    ready_bytes: u64,
    held_bytes: u64,
    /// The numbers that wait, by key, in order.
    waiting: HashMap<Key, BTreeMap<u64, Option<Duration>>>,
    /// The keys of which a write is on its way.
    flying: HashSet<Key>,
    /// Every number that has not landed.
    outstanding: BTreeSet<u64>,
    flights: usize,
}

impl<W> Queue<W> {
    pub(super) fn new(limits: Limits, coalesce: bool) -> Self {
        Self {
            limits,
            coalesce,
            issued: 0,
            held: BTreeMap::new(),
            ready: BTreeMap::new(),
            ready_bytes: 0,
            held_bytes: 0,
            waiting: HashMap::new(),
            flying: HashSet::new(),
            outstanding: BTreeSet::new(),
            flights: 0,
        }
    }

    /// Takes a write in, to be held for `hold`. Returns its number, that of the put it replaced if it did.
    pub(super) fn push(&mut self, key: Key, change: Change, waiter: W, now: Duration, hold: Duration) -> u64 {
        if let Some(number) = self.replace(&key, &change) {
            let item = self.item(&key, number).expect("it waits");
            item.change = change;
            item.waiters.push(waiter);
            return number;
        }
        self.issued += 1;
        let number = self.issued;
        let due = (!hold.is_zero()).then(|| now + hold);
        let bytes = change.bytes();
        let item = Item { number, key: key.clone(), change, waiters: vec![waiter], since: now };
        match due {
            Some(due) => {
                self.held_bytes += bytes;
                self.held.insert((due, number), item);
            }
            None => {
                self.ready_bytes += bytes;
                self.ready.insert(number, item);
            }
        }
        self.waiting.entry(key).or_default().insert(number, due);
        self.outstanding.insert(number);
        if self.held.len() >= self.limits.entries || self.held_bytes >= self.limits.bytes {
            self.hurry_all();
        }
        number
    }

    /// The waiting put whose place a new one takes, its bytes counted anew.
    fn replace(&mut self, key: &Key, change: &Change) -> Option<u64> {
        if !self.coalesce || !change.is_plain_put() {
            return None;
        }
        let (number, due) = self.waiting.get(key)?.last_key_value().map(|(number, due)| (*number, *due))?;
        let before = &self.item(key, number)?.change;
        if !before.is_plain_put() {
            return None;
        }
        let before = before.bytes();
        let counted = if due.is_some() { &mut self.held_bytes } else { &mut self.ready_bytes };
        *counted = *counted - before + change.bytes();
        Some(number)
    }

    fn item(&mut self, key: &Key, number: u64) -> Option<&mut Item<W>> {
        match self.waiting.get(key)?.get(&number)? {
            Some(due) => self.held.get_mut(&(*due, number)),
            None => self.ready.get_mut(&number),
        }
    }

    /// What is to be sent now, if anything is; it counts as on its way until [`landed`](Queue::landed).
    ///
    /// When nothing is on its way, whatever is ready goes. Otherwise it waits for that to end, unless there is enough for a
    /// batch or one has waited too long.
    pub(super) fn depart(&mut self, now: Duration) -> Option<Vec<Item<W>>> {
        self.promote(now);
        let (_, oldest) = self.ready.first_key_value()?;
        let full = self.ready.len() >= self.limits.entries || self.ready_bytes >= self.limits.bytes;
        let late = now.saturating_sub(oldest.since) >= self.limits.wait;
        if self.flights > 0 && (self.flights >= self.limits.flights || !(full || late)) {
            return None;
        }
        let mut bytes = 0;
        let mut numbers = Vec::new();
        for (number, item) in &self.ready {
            if self.flying.contains(&item.key) {
                continue;
            }
            let size = item.change.bytes();
            if numbers.len() == self.limits.entries
                || (!numbers.is_empty() && bytes + size > self.limits.bytes)
            {
                break;
            }
            bytes += size;
            numbers.push(*number);
        }
        if numbers.is_empty() {
            return None;
        }
        let items: Vec<_> = numbers.iter().filter_map(|number| self.ready.remove(number)).collect();
        self.ready_bytes -= bytes;
        for item in &items {
            self.flying.insert(item.key.clone());
            let waiting = self.waiting.get_mut(&item.key).expect("it waited");
            waiting.remove(&item.number);
            if waiting.is_empty() {
                self.waiting.remove(&item.key);
            }
        }
        self.flights += 1;
        Some(items)
    }

    /// The writes of a batch are done, however. Its place stays taken until [`release`](Queue::release).
    pub(super) fn landed<'a>(&mut self, items: impl IntoIterator<Item = (&'a Key, u64)>) {
        for (key, number) in items {
            self.flying.remove(key);
            self.outstanding.remove(&number);
        }
    }

    /// The next batch may go.
    pub(super) fn release(&mut self) {
        self.flights -= 1;
    }

    /// When [`depart`](Queue::depart) should be asked again, if nothing else happens.
    pub(super) fn alarm(&self) -> Option<Duration> {
        let held = self.held.first_key_value().map(|((due, _), _)| *due);
        let late = self.ready.first_key_value().map(|(_, item)| item.since + self.limits.wait);
        // With every place taken, only a landing helps.
        let late = late.filter(|_| self.flights < self.limits.flights);
        held.into_iter().chain(late).min()
    }

    /// How many wait, and how many bytes.
    pub(super) fn size(&self) -> (usize, u64) {
        (self.held.len() + self.ready.len(), self.held_bytes + self.ready_bytes)
    }

    /// Whether a write of `key` waits or is on its way.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.flying.contains(key) || self.waiting.contains_key(key)
    }

    /// The last number that was given out.
    pub(super) fn issued(&self) -> u64 {
        self.issued
    }

    /// Whether everything up to `number` has landed.
    pub(super) fn is_through(&self, number: u64) -> bool {
        self.outstanding.first().is_none_or(|first| *first > number)
    }

    /// What is held of these keys is ready now.
    pub(super) fn hurry<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>) {
        for key in keys {
            let held: Vec<_> = self
                .waiting
                .get(key)
                .into_iter()
                .flatten()
                .filter_map(|(n, d)| Some((((*d)?), *n)))
                .collect();
            held.into_iter().for_each(|place| self.make_ready(place));
        }
    }

    /// What is held of any key is ready now.
    pub(super) fn hurry_all(&mut self) {
        while let Some((place, _)) = self.held.first_key_value() {
            self.make_ready(*place);
        }
    }

    fn promote(&mut self, now: Duration) {
        while let Some((place, _)) = self.held.first_key_value().filter(|((due, _), _)| *due <= now) {
            self.make_ready(*place);
        }
    }

    fn make_ready(&mut self, place: (Duration, u64)) {
        let Some(item) = self.held.remove(&place) else { return };
        let bytes = item.change.bytes();
        (self.held_bytes, self.ready_bytes) = (self.held_bytes - bytes, self.ready_bytes + bytes);
        if let Some(due) = self.waiting.get_mut(&item.key).and_then(|waiting| waiting.get_mut(&item.number)) {
            *due = None;
        }
        self.ready.insert(item.number, item);
    }
}
