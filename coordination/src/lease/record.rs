//! What is stored for a lease: one JSON object, replaced whole by conditional writes and never deleted.

use std::{fmt, time::Duration};

use leasehold_core::{Bytes, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Node, Token, Ttl};

/// The format that this version writes, and the newest it reads.
pub(crate) const FORMAT: u64 = 1;

/// How many earlier operations a record remembers.
pub(crate) const RECENT_MAX: usize = 8;

/// The largest record that is read, in bytes; what is larger was not written by us.
pub(crate) const RECORD_BYTES_MAX: u64 = 64 << 10;

/// What a lease is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LeaseState {
    /// Somebody holds it, or did and has not been seen to renew since.
    Held,
    /// It is free.
    Released,
    /// It is kept for one node, which may take it at once; after the time to live anybody may.
    HandOver {
        /// The name of that node.
        to: String,
    },
}

impl fmt::Display for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::Released => f.write_str("released"),
            Self::HandOver { to } => write!(f, "handed over to {to}"),
        }
    }
}

/// A lease as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) token: Token,
    pub(crate) holder: Node,
    pub(crate) state: LeaseState,
    /// Counts every write of the record, so that a gap in `recent` can be seen.
    pub(crate) sequence: u64,
    pub(crate) ttl: Ttl,
    /// The operation that wrote this: no two writes are alike, and versions made from content never return.
    pub(crate) operation: String,
    /// The operations before it, newest first.
    pub(crate) recent: Vec<String>,
}

#[derive(Deserialize)]
struct Stored {
    token: Token,
    holder: StoredHolder,
    state: LeaseState,
    sequence: u64,
    ttl_ms: u64,
    op_id: String,
    recent: Vec<String>,
}

#[derive(Deserialize)]
struct StoredHolder {
    node: String,
    incarnation: String,
}

impl Record {
    /// The record after this one: the next operation in its history.
    pub(crate) fn successor(&self, operation: String) -> Self {
        let mut recent = Vec::with_capacity(RECENT_MAX);
        recent.push(self.operation.clone());
        recent.extend(self.recent.iter().take(RECENT_MAX - 1).cloned());
        Self { sequence: self.sequence.saturating_add(1), operation, recent, ..self.clone() }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let text = |text: &str| Value::from(text);
        let state = match &self.state {
            LeaseState::Held => text("held"),
            LeaseState::Released => text("released"),
            LeaseState::HandOver { to } => serde_json::json!({ "hand-over": { "to": to } }),
        };
        let recent: Value = self.recent.iter().map(|operation| text(operation)).collect();
        format!(
            concat!(
                r#"{{"format":{format},"token":{token},"state":{state},"#,
                r#""holder":{{"node":{node},"incarnation":{incarnation}}},"#,
                r#""sequence":{sequence},"ttl_ms":{ttl},"op_id":{operation},"recent":{recent}}}"#
            ),
            format = FORMAT,
            token = self.token,
            state = state,
            node = text(self.holder.name()),
            incarnation = text(self.holder.incarnation()),
            sequence = self.sequence,
            ttl = self.ttl.get().as_millis(),
            operation = text(&self.operation),
            recent = recent,
        )
        .into()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// `Corrupt` for what is no record, `Invalid` for a newer format. Neither is ever overwritten.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).map_err(|source| corrupt().because(source))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(newer) if newer > FORMAT => return Err(newer_format(newer)),
            _ => return Err(corrupt()),
        }
        if let Some(other) = value.get("kind").and_then(Value::as_str) {
            return Err(Error::invalid(format!(
                "this is the name of a {other} and not of a lease, so it was left as it is; use another name"
            )));
        }
        let stored: Stored = serde_json::from_value(value).map_err(|source| corrupt().because(source))?;
        let ttl =
            Ttl::new(Duration::from_millis(stored.ttl_ms)).map_err(|source| corrupt().because(source))?;
        if stored.token.get() == 0 || stored.token.get() == u64::MAX {
            return Err(corrupt());
        }
        Ok(Self {
            token: stored.token,
            holder: Node::recorded(stored.holder.node, stored.holder.incarnation),
            state: stored.state,
            sequence: stored.sequence,
            ttl,
            operation: stored.op_id,
            recent: stored.recent,
        })
    }
}

fn corrupt() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "what is stored here is not a lease record, so it was left as it is; find out who wrote it, and move it \
         away only when nobody can hold this lease",
    )
}

fn newer_format(format: u64) -> Error {
    Error::invalid(format!(
        "the lease record has format {format} and this program knows formats up to {FORMAT}, so it was left as it \
         is; upgrade this program"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            token: Token::new(7),
            holder: Node::new("node \"1\"").unwrap(),
            state: LeaseState::HandOver { to: "node-2".into() },
            sequence: 3,
            ttl: Ttl::default(),
            operation: "b".into(),
            recent: vec!["a".into()],
        }
    }

    #[test]
    fn a_record_survives_being_stored() {
        for state in [LeaseState::Held, LeaseState::Released, record().state] {
            let record = Record { state, ..record() };
            assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        }
    }

    #[test]
    fn unknown_fields_of_the_same_format_are_passed_over() {
        let text = String::from_utf8(record().encode().into()).unwrap();
        assert!(Record::decode(text.replacen('{', "{\"note\":1,", 1).as_bytes()).is_ok());
    }

    #[test]
    fn garbage_is_corrupt() {
        let sound = String::from_utf8(record().encode().into()).unwrap();
        for text in [
            "",
            "hello",
            "[]",
            "{}",
            r#"{"format":0}"#,
            r#"{"format":1}"#,
            &sound.replace("\"token\":7", "\"token\":0"),
            &sound.replace("\"token\":7", "\"token\":18446744073709551615"),
            &sound.replace("10000", "0"),
            &sound[..sound.len() - 1],
        ] {
            assert_eq!(Record::decode(text.as_bytes()).unwrap_err().kind(), ErrorKind::Corrupt, "{text}");
        }
    }

    #[test]
    fn a_newer_format_is_named_and_not_called_corrupt() {
        let error = Record::decode(br#"{"format":2,"anything":true}"#).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("format 2") && error.message().contains("upgrade"), "{error}");
    }

    #[test]
    fn the_history_is_short_and_newest_first() {
        let mut record = record();
        for operation in 0..20 {
            record = record.successor(operation.to_string());
        }
        assert_eq!(record.recent.len(), RECENT_MAX);
        assert_eq!((record.operation.as_str(), record.recent[0].as_str()), ("19", "18"));
        assert_eq!(record.sequence, 23);
    }
}
