//! How a guarded value is stored: one line of text, then the value as it is.
//!
//! `leasehold-guarded/1 lease=nightly token=7 sequence=12 op=… recent=…,… state=value`

use leasehold_core::{Bytes, Error, ErrorKind, Result};

use crate::Token;

const MAGIC: &str = "leasehold-guarded/";
const FORMAT: u64 = 1;

/// The longest header that is read, in bytes.
pub(super) const HEADER_BYTES_MAX: usize = 4096;

/// How many earlier operations a record remembers.
const RECENT_MAX: usize = 8;

/// What stands before a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The lease whose tokens these are.
    pub(crate) lease: String,
    pub(crate) token: Token,
    /// Counts every write of the record, so that a gap in `recent` can be seen.
    pub(crate) sequence: u64,
    pub(crate) operation: String,
    pub(crate) recent: Vec<String>,
}

impl Header {
    /// The header of the next write over this one.
    pub(crate) fn successor(&self, lease: &str, token: Token, operation: String) -> Self {
        let earlier = std::iter::once(&self.operation).chain(&self.recent);
        Self {
            lease: lease.to_owned(),
            token,
            sequence: self.sequence.saturating_add(1),
            operation,
            recent: earlier.take(RECENT_MAX).cloned().collect(),
        }
    }

    /// The header of the first write of a key.
    pub(crate) fn first(lease: &str, token: Token, operation: String) -> Self {
        Self { lease: lease.to_owned(), token, sequence: 1, operation, recent: Vec::new() }
    }

    /// The whole record; `None` is a tombstone.
    pub(crate) fn encode(&self, value: Option<&Bytes>) -> Bytes {
        let state = if value.is_some() { "value" } else { "tombstone" };
        let mut record = format!(
            "{MAGIC}{FORMAT} lease={} token={} sequence={} op={} recent={} state={state}\n",
            escape(&self.lease),
            self.token,
            self.sequence,
            self.operation,
            self.recent.join(","),
        )
        .into_bytes();
        record.extend_from_slice(value.map_or(&[][..], |value| value));
        record.into()
    }

    /// Reads a record: its header, and its value unless that is a tombstone.
    ///
    /// # Errors
    /// `Corrupt` for what is no guarded record, `Invalid` for a newer format.
    pub(crate) fn decode(record: &Bytes) -> Result<(Self, Option<Bytes>)> {
        let end = record.iter().take(HEADER_BYTES_MAX).position(|byte| *byte == b'\n').ok_or_else(foreign)?;
        let line = std::str::from_utf8(&record[..end]).map_err(|_| foreign())?;
        let mut fields = line.strip_prefix(MAGIC).ok_or_else(foreign)?.split(' ');
        match fields.next().and_then(|format| format.parse().ok()) {
            Some(FORMAT) => {}
            Some(newer) if newer > FORMAT => return Err(newer_format(newer)),
            _ => return Err(foreign()),
        }
        let [mut lease, mut operation, mut recent, mut state] = [None; 4];
        let [mut token, mut sequence] = [None::<u64>; 2];
        for field in fields {
            let (name, content) = field.split_once('=').ok_or_else(foreign)?;
            match name {
                "lease" => lease = Some(content),
                "token" => token = content.parse().ok(),
                "sequence" => sequence = content.parse().ok(),
                "op" => operation = Some(content),
                "recent" => recent = Some(content),
                "state" => state = Some(content),
                _ => {}
            }
        }
        let value = match state {
            Some("value") => Some(record.slice(end + 1..)),
            Some("tombstone") => None,
            _ => return Err(foreign()),
        };
        let header = Self {
            lease: unescape(lease.ok_or_else(foreign)?).ok_or_else(foreign)?,
            token: Token::new(token.ok_or_else(foreign)?),
            sequence: sequence.ok_or_else(foreign)?,
            operation: operation.ok_or_else(foreign)?.to_owned(),
            recent: recent
                .ok_or_else(foreign)?
                .split(',')
                .filter(|operation| !operation.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        Ok((header, value))
    }

    /// Whether `operation`, based on the record with number `base`, is known to be in the history, or known not to be;
    /// `None` when the history does not reach back far enough.
    pub(crate) fn mentions(&self, operation: &str, base: u64) -> Option<bool> {
        if self.operation == operation || self.recent.iter().any(|recent| recent == operation) {
            return Some(true);
        }
        // The write would have the number `base + 1`; the oldest in the list has `sequence - recent.len()`.
        let oldest = self.sequence.saturating_sub(self.recent.len() as u64);
        (oldest <= base.saturating_add(1)).then_some(false)
    }
}

/// Names may hold spaces; fields may not.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace(' ', "%20")
}

fn unescape(text: &str) -> Option<String> {
    let name = text.replace("%20", " ").replace("%25", "%");
    (escape(&name) == text).then_some(name)
}

fn foreign() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "what is stored here was not written through a guard, so it was left as it is; move it to another key, or \
         guard an empty namespace",
    )
}

fn newer_format(format: u64) -> Error {
    Error::invalid(format!(
        "the guarded record has format {format} and this program knows formats up to {FORMAT}, so it was left as it \
         is; upgrade this program"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header::first("100% of jobs", Token::new(7), "a".into()).successor(
            "100% of jobs",
            Token::new(8),
            "b".into(),
        )
    }

    #[test]
    fn a_record_survives_being_stored_and_its_value_is_readable_as_it_is() {
        for value in [None, Some(Bytes::new()), Some(Bytes::from_static(b"two\nlines\0"))] {
            let record = header().encode(value.as_ref());
            assert_eq!(Header::decode(&record).unwrap(), (header(), value));
        }
        assert_eq!(
            header().encode(Some(&"v".into())),
            "leasehold-guarded/1 lease=100%25%20of%20jobs token=8 sequence=2 op=b recent=a state=value\nv"
        );
    }

    #[test]
    fn what_is_no_guarded_record_is_corrupt() {
        let sound = String::from_utf8(header().encode(None).into()).unwrap();
        for text in [
            "",
            "hello",
            "hello\n",
            "leasehold-guarded/\n",
            "leasehold-guarded/1\n",
            "leasehold-guarded/0 x\n",
            &sound.replace("token=8", "token=x"),
            &sound.replace("state=tombstone", "state=gone"),
            &sound.replace("%25", "%"),
            sound.trim_end(),
        ] {
            let error = Header::decode(&Bytes::copy_from_slice(text.as_bytes())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{text:?}");
        }
        assert_eq!(Header::decode(&Bytes::from_static(b"\xff\n")).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_newer_format_is_named() {
        let error = Header::decode(&"leasehold-guarded/2 whatever\n".into()).unwrap_err();
        assert!(error.message().contains("format 2"), "{error}");
    }

    #[test]
    fn a_history_says_when_it_is_too_short_to_tell() {
        let mut header = Header::first("l", Token::new(1), "op1".into());
        for number in 2..=12 {
            header = header.successor("l", Token::new(1), format!("op{number}"));
        }
        assert_eq!(header.mentions("op12", 11), Some(true));
        assert_eq!(header.mentions("op4", 3), Some(true));
        assert_eq!(header.mentions("other", 3), Some(false));
        assert_eq!(header.mentions("other", 2), None);
    }
}
