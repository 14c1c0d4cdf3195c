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
pub struct Record {
    /// Who called.
    pub client: u64,
    /// On which key.
    pub key: String,
    /// What was asked for.
    pub action: Action,
    /// What was answered.
    pub reply: Reply,
    /// When it began, in the recorder's order of events.
    pub called: u64,
    /// When the answer came; without meaning when the reply is [`Reply::Unknown`].
    pub returned: u64,
}

impl Record {
    /// A record made by hand.
    pub fn new(
        client: u64,
        key: impl Into<String>,
        action: Action,
        reply: Reply,
        (called, returned): (u64, u64),
    ) -> Self {
        Self { client, key: key.into(), action, reply, called, returned }
    }
}

/// Puts the beginnings and ends of calls into one order. Cloning is cheap and shares it.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    events: AtomicU64,
    records: Mutex<Vec<Record>>,
}

/// A call that has begun. Dropped without [`end`](Pending::end), its outcome is unknown.
#[derive(Debug)]
#[must_use = "end it with the reply"]
pub struct Pending {
    recorder: Recorder,
    record: Option<Record>,
}

impl Recorder {
    /// Without any record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a call begins; to be made right before it is sent.
    pub fn begin(&self, client: u64, key: impl Into<String>, action: Action) -> Pending {
        let called = self.tick();
        let record = Record::new(client, key, action, Reply::Unknown, (called, u64::MAX));
        Pending { recorder: self.clone(), record: Some(record) }
    }

    /// Everything recorded so far, in the order of beginnings.
    pub fn records(&self) -> Vec<Record> {
        let mut records = self.0.records.lock().clone();
        records.sort_by_key(|record| record.called);
        records
    }

    fn tick(&self) -> u64 {
        self.0.events.fetch_add(1, Ordering::SeqCst)
    }
}

impl Pending {
    /// Notes the reply; to be called right after it came.
    pub fn end(mut self, reply: Reply) {
        let returned = self.recorder.tick();
        if let Some(record) = &mut self.record {
            (record.reply, record.returned) = (reply, returned);
        }
    }
}

impl Pending {
    /// Takes the record back: the call surely changed nothing and told nothing.
    pub fn withdraw(mut self) {
        self.record = None;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.recorder.0.records.lock().push(record);
        }
    }
}
