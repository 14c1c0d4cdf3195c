//! What must hold of every write that is applied.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_core::{Bytes, Key, Precondition};
use serde_json::Value;

use super::{
    beliefs::Belief,
    executor::{Micros, World},
    records::{BEATS, BarrierRecord, ClaimRecord, LatchRecord, LeaseRecord, LockRecord, MapRecord, Stored},
};

/// Where workloads keep what they guard.
pub(super) const DATA: &str = "data/";

/// What a leader alone writes, under its term.
const MAP: &str = "_cluster/shard-map";
const TOPOLOGY: &str = "_cluster/topology";

/// What may be removed, because nothing rests on its having been there.
const TRANSIENT: [&str; 2] = ["_cluster/members/", "_cluster/requests/"];

#[derive(Default)]
struct LeaseSeen {
    token: u64,
    held: bool,
    sequence: u64,
    holder: Value,
    holders: BTreeMap<u64, Value>,
    operations: BTreeSet<String>,
}

#[derive(Default)]
struct LockSeen {
    last: LockRecord,
    sequence: u64,
    claims: BTreeMap<u64, String>,
}

#[derive(Default)]
struct DataSeen {
    token: u64,
    /// The highest token under which the value was served.
    served: u64,
    value: String,
    written: BTreeSet<String>,
}

/// From when to when, in true time.
pub(super) type Span = (Micros, Option<Micros>);

/// All that was seen.
#[derive(Default)]
pub(super) struct Audit {
    /// Whether clock rates are within the bound, so that no two may believe at once.
    pub(super) bounded: bool,
    leases: BTreeMap<String, LeaseSeen>,
    locks: BTreeMap<String, LockSeen>,
    data: BTreeMap<String, DataSeen>,
    barriers: BTreeMap<String, BarrierRecord>,
    latches: BTreeMap<String, LatchRecord>,
    /// The last epoch of each shard in the map, and who owned it under which.
    epochs: BTreeMap<u32, u64>,
    owners: BTreeMap<(u32, u64), String>,
    pub(super) beliefs: Vec<Belief>,
    /// When an owner held a lock, by applied writes.
    pub(super) holds: BTreeMap<(String, String), Vec<Span>>,
    /// When an owner waited for a lock, by what workloads did.
    pub(super) waits: BTreeMap<(String, String), Vec<Span>>,
    /// Who gave way, of all that waited for each other.
    pub(super) victims: BTreeMap<Vec<String>, String>,
    /// When a barrier opened.
    pub(super) opened: BTreeMap<(String, u64), Micros>,
    /// Sessions whose first write arrived a second time.
    pub(super) risen: BTreeSet<String>,
    buried: BTreeSet<String>,
    /// What happened, for the check that anything did.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl Audit {
    pub(super) fn new(bounded: bool) -> Self {
        Self { bounded, ..Self::default() }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn lease(&mut self, key: &str, bytes: &Bytes) -> Result<(), String> {
        let new: LeaseRecord = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let held = new.state == "held";
        if self.buried.contains(key) {
            self.risen.insert(key.to_owned());
        }
        let seen = self.leases.entry(key.to_owned()).or_default();
        if new.token < seen.token {
            return Err(format!("L1: the token went back from {} to {}", seen.token, new.token));
        }
        let changes = new.holder != seen.holder || held && !seen.held;
        if changes && new.token <= seen.token {
            return Err(format!("L1: a new holder has the old token {}", new.token));
        }
        let takeover = changes && seen.held;
        if *seen.holders.entry(new.token).or_insert_with(|| new.holder.clone()) != new.holder {
            return Err(format!("L2: the token {} has two holders", new.token));
        }
        if seen.sequence > 0 && new.sequence != seen.sequence + 1 {
            return Err(format!("L3: the write {} follows the write {}", new.sequence, seen.sequence));
        }
        if !seen.operations.insert(new.op_id.clone()) {
            return Err(format!("C7: the operation {} was applied twice", new.op_id));
        }
        (seen.token, seen.held, seen.sequence, seen.holder) = (new.token, held, new.sequence, new.holder);
        self.count(if takeover { "takeovers" } else { "lease writes" });
        Ok(())
    }

    fn lock(&mut self, name: &str, now: Micros, stored: Stored<LockRecord>) -> Result<(), String> {
        let seen = self.locks.entry(name.to_owned()).or_default();
        let (old, new) = (std::mem::take(&mut seen.last), stored.state);
        if stored.sequence != seen.sequence + 1 {
            return Err(format!("L3: the write {} follows the write {}", stored.sequence, seen.sequence));
        }
        seen.sequence = stored.sequence;
        if new.token < old.token {
            return Err(format!("L1: the token went back from {} to {}", old.token, new.token));
        }
        let held_before = |id: &str| old.holders.iter().any(|holder| holder.claim.id == id);
        for holder in &new.holders {
            if !held_before(&holder.claim.id) && (holder.token <= old.token || holder.token > new.token) {
                return Err(format!("L1: a grant after token {} has token {}", old.token, holder.token));
            }
            let owner = seen.claims.entry(holder.token).or_insert_with(|| holder.claim.id.clone());
            if *owner != holder.claim.id {
                return Err(format!("L2: the token {} has two claims", holder.token));
            }
        }
        let alone = new.holders.iter().any(|holder| !holder.claim.shared);
        if new.permits == 0 && alone && new.holders.len() > 1
            || new.permits > 0 && new.holders.len() > new.permits
        {
            return Err("exclusion: too many hold it in the record".into());
        }
        // First come, first served.
        let stays = |claim: &&ClaimRecord| new.queue.iter().any(|other| other.id == claim.id);
        let line: Vec<&str> = old.queue.iter().filter(stays).map(|claim| &*claim.id).collect();
        if !new.queue.iter().map(|claim| &*claim.id).take(line.len()).eq(line.iter().copied()) {
            return Err("FIFO: the order of the line has changed".into());
        }
        let mut last = 0;
        for claim in &old.queue {
            if let Some(holder) = new.holders.iter().find(|holder| holder.claim.id == claim.id) {
                if holder.token < last {
                    return Err("FIFO: tokens do not follow the line".into());
                }
                last = holder.token;
            }
        }
        let granted_past_line = new.holders.iter().any(|holder| {
            let place = old.queue.iter().position(|claim| claim.id == holder.claim.id);
            let ahead = &old.queue[..place.unwrap_or(old.queue.len())];
            !held_before(&holder.claim.id) && ahead.iter().any(|claim| stays(&claim))
        });
        if granted_past_line {
            return Err("FIFO: somebody was let in past the line".into());
        }
        let granted = new.holders.iter().filter(|holder| !held_before(&holder.claim.id)).count();
        let from_line =
            old.queue.iter().filter(|claim| new.holders.iter().any(|holder| holder.claim.id == claim.id));
        let from_line = from_line.count();
        let owners = |record: &LockRecord| -> BTreeSet<String> {
            record.holders.iter().map(|holder| holder.claim.owner.clone()).collect()
        };
        let (before, after) = (owners(&old), owners(&new));
        seen.last = new;
        *self.seen.entry("grants").or_default() += granted as u64;
        *self.seen.entry("grants from the line").or_default() += from_line as u64;
        for owner in before.difference(&after) {
            close(&mut self.holds, owner, name, now);
        }
        for owner in after.difference(&before) {
            self.holds.entry((owner.clone(), name.to_owned())).or_default().push((now, None));
        }
        Ok(())
    }

    fn guarded(&mut self, key: &str, bytes: &Bytes) -> Result<(), String> {
        let text = String::from_utf8_lossy(bytes);
        let (line, value) = text.split_once('\n').ok_or("a guarded record has a line before its value")?;
        let token = line.split(' ').find_map(|field| field.strip_prefix("token=")?.parse::<u64>().ok());
        let token = token.ok_or("a guarded record has a token")?;
        let seen = self.data.entry(key.to_owned()).or_default();
        if token < seen.token {
            return Err(format!("L5: a write of token {token} after one of token {}", seen.token));
        }
        if token < seen.served {
            return Err(format!("L5: a write of token {token} after {} was served the value", seen.served));
        }
        seen.token = token;
        if value != seen.value && key.starts_with(DATA) {
            let (id, parent) = value.split_once(' ').ok_or("a value is two words")?;
            let stands = seen.value.split(' ').next().unwrap_or_default();
            if parent != stands {
                return Err(format!(
                    "lost update: {id} was written over {stands} and meant to follow {parent:?}"
                ));
            }
            seen.written.insert(id.to_owned());
            seen.value = value.to_owned();
            self.count("guarded writes");
        }
        Ok(())
    }

    /// The epoch of a shard never goes back, and under one epoch it has one owner.
    fn map(&mut self, bytes: &Bytes) -> Result<(), String> {
        let text = String::from_utf8_lossy(bytes);
        let Some((_, map)) = text.split_once('\n').filter(|(_, map)| !map.is_empty()) else { return Ok(()) };
        let map: MapRecord = serde_json::from_str(map).map_err(|error| error.to_string())?;
        for (place, (shard, epoch)) in
            map.places.iter().flat_map(|place| place.shards.iter().map(move |shard| (place, *shard)))
        {
            let last = self.epochs.entry(shard).or_default();
            if epoch < *last {
                return Err(format!("L1: shard {shard} went back from epoch {last} to {epoch}"));
            }
            *last = epoch;
            if let Some(owner) = &place.owner {
                let first = self.owners.entry((shard, epoch)).or_insert_with(|| owner.clone());
                if first != owner {
                    return Err(format!(
                        "L2: epoch {epoch} of shard {shard} is {first}'s, and now {owner}'s"
                    ));
                }
            }
        }
        self.count("maps");
        Ok(())
    }

    fn barrier(&mut self, name: &str, now: Micros, new: BarrierRecord) -> Result<(), String> {
        let old = self.barriers.insert(name.to_owned(), new.clone()).unwrap_or_default();
        match new.generation.checked_sub(old.generation) {
            Some(0) => {}
            Some(1) if old.arrived.len() + 1 >= new.parties && new.arrived.is_empty() => {
                self.opened.insert((name.to_owned(), new.generation), now);
                self.count("openings");
            }
            _ => return Err("barrier: it opened before all were there".into()),
        }
        Ok(())
    }

    fn latch(&mut self, name: &str, new: LatchRecord) -> Result<(), String> {
        let old = self.latches.insert(name.to_owned(), new.clone());
        match old {
            Some(old) if new.left > old.left || new.count != old.count => {
                Err("latch: it closes again".into())
            }
            _ => Ok(()),
        }
    }

    fn delete(&mut self, key: &str) -> Result<(), String> {
        if key.contains("/.sessions/") {
            self.leases.remove(key);
            self.buried.insert(key.to_owned());
            return Ok(());
        }
        if key.contains("/.certification/") || TRANSIENT.iter().any(|prefix| key.starts_with(prefix)) {
            return Ok(());
        }
        Err("C4: a record was deleted".into())
    }

    fn put(
        &mut self,
        now: Micros,
        key: &str,
        bytes: &Bytes,
        precondition: &Precondition,
    ) -> Result<(), String> {
        if key.contains("/.certification/") || key.starts_with(BEATS) {
            return Ok(());
        }
        if *precondition == Precondition::None {
            return Err("L3: a record was written blindly".into());
        }
        if key == MAP {
            self.map(bytes)?;
        }
        if key.starts_with(DATA) || key.ends_with("/proclamation") || key == MAP || key == TOPOLOGY {
            return self.guarded(key, bytes);
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let name = || key.rsplit('/').next().unwrap_or_default().to_owned();
        let wrong = |error: serde_json::Error| error.to_string();
        match value.get("kind").and_then(Value::as_str) {
            None => self.lease(key, bytes),
            Some("lock") => self.lock(&name(), now, serde_json::from_value(value).map_err(wrong)?),
            Some("barrier") => {
                let stored: Stored<BarrierRecord> = serde_json::from_value(value).map_err(wrong)?;
                self.barrier(&name(), now, stored.state)
            }
            Some("latch") => {
                let stored: Stored<LatchRecord> = serde_json::from_value(value).map_err(wrong)?;
                self.latch(&name(), stored.state)
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether a write with this name was ever applied to a guarded key.
    pub(super) fn was_written(&self, key: &str, id: &str) -> bool {
        self.data.get(key).is_some_and(|seen| seen.written.contains(id))
    }

    /// The value of a guarded key was served under a token.
    pub(super) fn served(&mut self, key: &str, token: u64) {
        let seen = self.data.entry(key.to_owned()).or_default();
        seen.served = seen.served.max(token);
    }
}

/// Ends the last span of an owner and a lock.
pub(super) fn close(spans: &mut BTreeMap<(String, String), Vec<Span>>, owner: &str, lock: &str, now: Micros) {
    if let Some(span) = spans.get_mut(&(owner.to_owned(), lock.to_owned())).and_then(|spans| spans.last_mut())
    {
        span.1 = Some(now);
    }
}

impl World {
    /// A write was applied; `None` for a delete.
    pub(super) fn applied(
        &self,
        machine: usize,
        key: &Key,
        bytes: Option<&Bytes>,
        precondition: &Precondition,
    ) {
        let now = self.now();
        let key = key.as_str();
        let checked = match bytes {
            Some(bytes) => self.audit().put(now, key, bytes, precondition),
            None => self.audit().delete(key),
        };
        if let Err(what) = checked {
            self.fail(format_args!("{what} ({key}, from m{machine})"));
        }
    }

    /// A moment in which all of it was so: deadlocks are real.
    pub(super) fn coincide(spans: &[Vec<Span>], from: Micros) -> bool {
        let starts = spans.iter().flatten().map(|(start, _)| (*start).max(from));
        starts.chain([from]).any(|moment| {
            spans.iter().all(|one| {
                one.iter().any(|(start, end)| *start <= moment && end.is_none_or(|end| end >= moment))
            })
        })
    }
}
