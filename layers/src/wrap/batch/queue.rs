//! What waits to be written, and what is on its way: a machine without time, tasks or input of its own.
//!
//! A write is *held* until its interval is over, then *ready* until a batch takes it, then on its way until the batch *lands*. Of
//! each key one write at a time is ready or on its way, and the others are *behind* it, so they arrive in the order they came, and
//! no batch has two of one key.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
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
    keys: HashMap<Key, OnKey<W>>,
    /// Every number that has not landed.
    outstanding: BTreeSet<u64>,
    /// What waits, and in `held` of it.
    waiting: Size,
    waiting_held: Size,
    waiting_ready: Size,
    flights: usize,
}

/// What is outstanding of one key.
#[derive(Debug)]
struct OnKey<W> {
    /// The numbers that have not landed, and for those that are held until when.
    numbers: BTreeMap<u64, Option<Duration>>,
    /// The one that is on its way.
    flying: Option<u64>,
    /// The one that is ready.
    ready: Option<u64>,
    /// What comes after these.
    behind: VecDeque<Item<W>>,
}

/// Entries and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) entries: usize,
    pub(super) bytes: u64,
}

impl Size {
    fn add(&mut self, bytes: u64) {
        (self.entries, self.bytes) = (self.entries + 1, self.bytes + bytes);
    }

    fn remove(&mut self, bytes: u64) {
        (self.entries, self.bytes) = (self.entries - 1, self.bytes - bytes);
    }

    fn reaches(&self, limits: &Limits) -> bool {
        self.entries >= limits.entries || self.bytes >= limits.bytes
    }
}

impl<W> Default for OnKey<W> {
    fn default() -> Self {
        Self { numbers: BTreeMap::new(), flying: None, ready: None, behind: VecDeque::new() }
    }
}

impl<W> Queue<W> {
    pub(super) fn new(limits: Limits, coalesce: bool) -> Self {
        Self {
            limits,
            coalesce,
            issued: 0,
            held: BTreeMap::new(),
            ready: BTreeMap::new(),
            keys: HashMap::new(),
            outstanding: BTreeSet::new(),
            waiting: Size::default(),
            waiting_held: Size::default(),
            waiting_ready: Size::default(),
            flights: 0,
        }
    }

    /// Takes a write in, to be held for `hold`. Returns its number, that of the put it replaced if it did.
    pub(super) fn push(&mut self, key: Key, change: Change, waiter: W, now: Duration, hold: Duration) -> u64 {
        let bytes = change.bytes();
        let (change, waiter) = match self.replace(&key, change, waiter) {
            Ok(number) => return number,
            Err(new) => new,
        };
        self.issued += 1;
        let number = self.issued;
        let due = (!hold.is_zero()).then(|| now.saturating_add(hold));
        let item = Item { number, key: key.clone(), change, waiters: vec![waiter], since: now };
        self.keys.entry(key).or_default().numbers.insert(number, due);
        self.outstanding.insert(number);
        self.waiting.add(bytes);
        match due {
            Some(due) => {
                self.waiting_held.add(bytes);
                self.held.insert((due, number), item);
                if self.waiting_held.reaches(&self.limits) {
                    self.hurry_all(now);
                }
            }
            None => self.line_up(item, now),
        }
        number
    }

    /// Puts the new write in the place of the put that waits right before it, where both may be one.
    fn replace(&mut self, key: &Key, change: Change, waiter: W) -> Result<u64, (Change, W)> {
        let Some((number, bytes_before)) = self.replaceable(key, &change) else {
            return Err((change, waiter));
        };
        let bytes = change.bytes();
        let on_key = self.keys.get_mut(key).expect("it has a write that waits");
        let mut sizes = vec![&mut self.waiting];
        let item = match on_key.numbers[&number] {
            Some(due) => {
                sizes.push(&mut self.waiting_held);
                self.held.get_mut(&(due, number))
            }
            None if on_key.ready == Some(number) => {
                sizes.push(&mut self.waiting_ready);
                self.ready.get_mut(&number)
            }
            None => on_key.behind.back_mut(),
        };
        let item = item.expect("it waits where it was put");
        sizes.into_iter().for_each(|size| size.bytes = size.bytes - bytes_before + bytes);
        item.change = change;
        item.waiters.push(waiter);
        Ok(number)
    }

    /// The number and the bytes of the last write of a key, if it waits and both are puts without condition.
    fn replaceable(&self, key: &Key, change: &Change) -> Option<(u64, u64)> {
        if !self.coalesce || !change.is_plain_put() {
            return None;
        }
        let on_key = self.keys.get(key)?;
        let (number, due) = on_key.numbers.last_key_value()?;
        let item = match due {
            Some(due) => self.held.get(&(*due, *number)),
            None if on_key.ready == Some(*number) => self.ready.get(number),
            None => on_key.behind.back(),
        };
        let before = &item.filter(|item| item.number == *number)?.change;
        before.is_plain_put().then(|| (*number, before.bytes()))
    }

    /// A write whose time has come: ready, or behind the one of its key that is.
    fn line_up(&mut self, mut item: Item<W>, now: Duration) {
        let on_key = self.keys.get_mut(&item.key).expect("it is outstanding");
        if let Some(due) = on_key.numbers.get_mut(&item.number) {
            *due = None;
        }
        if on_key.flying.is_some() || on_key.ready.is_some() {
            on_key.behind.push_back(item);
            return;
        }
        item.since = now;
        on_key.ready = Some(item.number);
        self.waiting_ready.add(item.change.bytes());
        self.ready.insert(item.number, item);
    }

    /// What is to be sent now, if anything is; it counts as on its way until [`landed`](Queue::landed).
    ///
    /// When nothing is on its way, whatever is ready goes. Otherwise it waits for that to end, unless there is enough for a
    /// batch or one has waited too long.
    pub(super) fn depart(&mut self, now: Duration) -> Option<Vec<Item<W>>> {
        self.promote(now);
        let (_, oldest) = self.ready.first_key_value()?;
        let late = now.saturating_sub(oldest.since) >= self.limits.wait;
        let enough = late || self.waiting_ready.reaches(&self.limits);
        if self.flights > 0 && (self.flights >= self.limits.flights || !enough) {
            return None;
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some((_, item)) = self.ready.first_key_value() {
            let size = item.change.bytes();
            if items.len() == self.limits.entries || (!items.is_empty() && bytes + size > self.limits.bytes) {
                break;
            }
            bytes += size;
            self.waiting.remove(size);
            self.waiting_ready.remove(size);
            let (number, item) = self.ready.pop_first().expect("it was just looked at");
            let on_key = self.keys.get_mut(&item.key).expect("it is outstanding");
            (on_key.ready, on_key.flying) = (None, Some(number));
            items.push(item);
        }
        self.flights += 1;
        Some(items)
    }

    /// The writes of a batch are done, however. Its place stays taken until [`release`](Queue::release).
    pub(super) fn landed<'a>(&mut self, items: impl IntoIterator<Item = (&'a Key, u64)>, now: Duration) {
        for (key, number) in items {
            self.outstanding.remove(&number);
            let Some(on_key) = self.keys.get_mut(key) else { continue };
            on_key.numbers.remove(&number);
            on_key.flying = None;
            if let Some(next) = on_key.behind.pop_front() {
                self.line_up(next, now);
            } else if on_key.numbers.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    /// The next batch may go.
    pub(super) fn release(&mut self) {
        self.flights -= 1;
    }

    /// When [`depart`](Queue::depart) should be asked again, if nothing else happens.
    pub(super) fn alarm(&self) -> Option<Duration> {
        let held = self.held.first_key_value().map(|((due, _), _)| *due);
        let late = self.ready.first_key_value().map(|(_, item)| item.since.saturating_add(self.limits.wait));
        // With every place taken, only a landing helps.
        let late = late.filter(|_| self.flights < self.limits.flights);
        held.into_iter().chain(late).min()
    }

    /// What waits.
    pub(super) fn size(&self) -> Size {
        self.waiting
    }

    /// The last write of `key` that has not landed.
    pub(super) fn last(&self, key: &Key) -> Option<u64> {
        self.keys.get(key)?.numbers.last_key_value().map(|(number, _)| *number)
    }

    /// Whether a write of `key` up to `number` has not landed.
    pub(super) fn has(&self, key: &Key, number: u64) -> bool {
        self.keys
            .get(key)
            .and_then(|on_key| on_key.numbers.first_key_value())
            .is_some_and(|(first, _)| *first <= number)
    }

    /// The last number that was given out.
    pub(super) fn issued(&self) -> u64 {
        self.issued
    }

    /// Whether everything up to `number` has landed.
    pub(super) fn is_through(&self, number: u64) -> bool {
        self.outstanding.first().is_none_or(|first| *first > number)
    }

    /// What is held of `key` up to `number` is held no longer.
    pub(super) fn hurry(&mut self, key: &Key, number: u64, now: Duration) {
        let numbers = self.keys.get(key).map(|on_key| on_key.numbers.range(..=number));
        let held = numbers.into_iter().flatten().filter_map(|(number, due)| Some(((*due)?, *number)));
        held.collect::<Vec<_>>().into_iter().for_each(|place| self.let_go(place, now));
    }

    /// Nothing of any key is held any longer.
    pub(super) fn hurry_all(&mut self, now: Duration) {
        while let Some((place, _)) = self.held.first_key_value() {
            self.let_go(*place, now);
        }
    }

    fn promote(&mut self, now: Duration) {
        while let Some((place, _)) = self.held.first_key_value().filter(|((due, _), _)| *due <= now) {
            self.let_go(*place, now);
        }
    }

    fn let_go(&mut self, place: (Duration, u64), now: Duration) {
        if let Some(item) = self.held.remove(&place) {
            self.waiting_held.remove(item.change.bytes());
            self.line_up(item, now);
        }
    }
}
