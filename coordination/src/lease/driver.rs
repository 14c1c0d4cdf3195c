//! Performs what the machines of a lease command: one read or write, or a sleep, at a time.

use leasehold_core::{
    Body, Bytes, Clock, Error, GetOptions, Key, Lookup, Precondition, Result, Scope, Store,
};

use super::{
    machine::{Command, Event, Tick},
    record::{RECORD_BYTES_MAX, Record},
};
use crate::{
    call::{CALL_WITHIN, read_within, write_within},
    watch::Wake,
};

/// The record of one lease in its store.
#[derive(Clone, Debug)]
pub(crate) struct Driver {
    store: Store,
    key: Key,
}

impl Driver {
    pub(crate) fn new(store: Store, key: Key) -> Self {
        Self { store, key }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.store.environment().clock
    }

    /// How to wait for the record to change.
    pub(crate) fn wake(&self) -> Wake {
        Wake::new(self.store.clone(), Scope::Key(self.key.clone())).eager()
    }

    /// The time of both clocks and a fresh nonce.
    pub(crate) fn tick(&self) -> Tick {
        let random = &self.store.environment().random;
        Tick {
            monotonic: self.clock().monotonic(),
            boottime: self.clock().boottime(),
            nonce: u128::from(random.bits()) << 64 | u128::from(random.bits()),
        }
    }

    /// Performs a command and returns what happened, or what the machine came to.
    pub(crate) async fn perform<T>(&self, command: Command<T>) -> Result<Event, T> {
        let outcome = match command {
            Command::Done(done) => return Err(done),
            // Who watches does so itself, with a `Wake`.
            Command::Sleep(duration) | Command::Watch(duration) => {
                self.clock().sleep(duration).await;
                Ok(Event::Woke)
            }
            Command::Read { if_changed_from, within } => {
                let mut options = GetOptions::default();
                options.if_changed_from = if_changed_from;
                read_within(self.clock(), within, self.read(options)).await
            }
            Command::Write { bytes, precondition, within } => {
                write_within(self.clock(), within, self.write(bytes, precondition)).await
            }
        };
        Ok(outcome.unwrap_or_else(|error| Event::Failed(self.told(error))))
    }

    /// The record as it is now.
    pub(crate) async fn record(&self) -> Result<Option<Record>> {
        let read = read_within(self.clock(), CALL_WITHIN, self.read(GetOptions::default()));
        match read.await.map_err(|error| self.told(error))? {
            Event::Found(record, _) => Ok(Some(*record)),
            _ => Ok(None),
        }
    }

    /// Adds key and store to an error.
    pub(crate) fn told(&self, error: Error) -> Error {
        error.on("lease", &self.key).at(&self.store)
    }

    async fn read(&self, options: GetOptions) -> Result<Event> {
        match self.store.adapter().get(&self.key, options).await? {
            Lookup::Absent => Ok(Event::Absent),
            Lookup::Unchanged => Ok(Event::Unchanged),
            Lookup::Found(object) => {
                let version = object.version().clone();
                let bytes = if object.metadata.size > RECORD_BYTES_MAX {
                    Bytes::new()
                } else {
                    object.body.collect(RECORD_BYTES_MAX).await?
                };
                Ok(Event::Found(Box::new(Record::decode(&bytes)?), version))
            }
        }
    }

    async fn write(&self, bytes: Bytes, precondition: Precondition) -> Result<Event> {
        let body = Body::from_bytes(bytes);
        self.store.adapter().put(&self.key, body, precondition.into()).await.map(Event::Written)
    }
}
