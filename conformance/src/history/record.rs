//! Notes down what clients do while they do it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use serde::Serialize;

use super::{Action, Reply};

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Record<A = Action, R = Reply> {
    /// Who called.
    pub client: u64,
    /// On which key: the name of the register, the lock or the sequence of ids.
    pub key: String,
    /// What was asked for.
    pub action: A,
    /// What was answered; the default reply is the one that nobody knows.
    pub reply: R,
    /// When it began, in the recorder's order of events.
    pub called: u64,
    /// When the answer came; without meaning when the reply is unknown.
    pub returned: u64,
}

impl<A, R> Record<A, R> {
    /// A record made by hand.
    pub fn new(
        client: u64,
        key: impl Into<String>,
        action: A,
        reply: R,
        (called, returned): (u64, u64),
    ) -> Self {
        Self { client, key: key.into(), action, reply, called, returned }
    }
}

/// Puts the beginnings and ends of calls into one order. Cloning is cheap and shares it.
///
/// [`new`](Recorder::new) makes one for registers; `default` makes one for any model, known by the actions and replies
/// that are recorded.
#[derive(Debug)]
pub struct Recorder<A = Action, R = Reply>(Arc<Shared<A, R>>);

#[derive(Debug)]
struct Shared<A, R> {
    events: AtomicU64,
    records: Mutex<Vec<Record<A, R>>>,
}

/// A call that has begun. Dropped without [`end`](Pending::end), its outcome is unknown.
#[derive(Debug)]
#[must_use = "end it with the reply"]
pub struct Pending<A = Action, R = Reply> {
    recorder: Recorder<A, R>,
    record: Option<Record<A, R>>,
}

impl Recorder {
    /// Without any record, for registers.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<A, R> Default for Recorder<A, R> {
    fn default() -> Self {
        Self(Arc::new(Shared { events: AtomicU64::new(0), records: Mutex::new(Vec::new()) }))
    }
}

impl<A, R> Clone for Recorder<A, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A, R: Default> Recorder<A, R> {
    /// Notes that a call begins; to be made right before it is sent.
    pub fn begin(&self, client: u64, key: impl Into<String>, action: A) -> Pending<A, R> {
        let called = self.tick();
        let record = Record::new(client, key, action, R::default(), (called, u64::MAX));
        Pending { recorder: self.clone(), record: Some(record) }
    }
}

impl<A: Clone, R: Clone> Recorder<A, R> {
    /// Everything recorded so far, in the order of beginnings.
    pub fn records(&self) -> Vec<Record<A, R>> {
        let mut records = self.0.records.lock().clone();
        records.sort_by_key(|record| record.called);
        records
    }
}

impl<A, R> Recorder<A, R> {
    fn tick(&self) -> u64 {
        self.0.events.fetch_add(1, Ordering::SeqCst)
    }
}

impl<A, R> Pending<A, R> {
    /// Notes the reply; to be called right after it came.
    pub fn end(mut self, reply: R) {
        let returned = self.recorder.tick();
        if let Some(record) = &mut self.record {
            (record.reply, record.returned) = (reply, returned);
        }
    }

    /// Takes the record back: the call surely changed nothing and told nothing.
    pub fn withdraw(mut self) {
        self.record = None;
    }
}

impl<A, R> Drop for Pending<A, R> {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.recorder.0.records.lock().push(record);
        }
    }
}
