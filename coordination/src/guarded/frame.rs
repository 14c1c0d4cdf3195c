//! How a guarded value is stored: one line of text, then the value as it is.
//!
//! `leasehold-guarded/1 lease=nightly token=7 sequence=12 op=… recent=…,… state=value`

use leasehold_core::{Bytes, Error, ErrorKind, Result};

use crate::{Token, history::History};

const MAGIC: &str = "leasehold-guarded/";
const FORMAT: u64 = 1;

/// The longest header that is read, in bytes.
pub(super) const HEADER_BYTES_MAX: usize = 4096;

/// What stands before a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The lease whose tokens these are.
    pub(crate) lease: String,
    pub(crate) token: Token,
    pub(crate) history: History,
}

impl Header {
    /// The whole record; `None` is a tombstone.
    pub(crate) fn encode(&self, value: Option<&Bytes>) -> Bytes {
        let state = if value.is_some() { "value" } else { "tombstone" };
        let mut record = format!(
            "{MAGIC}{FORMAT} lease={} token={} sequence={} op={} recent={} state={state}\n",
            escape(&self.lease),
            self.token,
            self.history.sequence,
            self.history.operation,
            self.history.recent.join(","),
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
            history: History {
                sequence: sequence.filter(|sequence| *sequence > 0).ok_or_else(foreign)?,
                operation: operation.ok_or_else(foreign)?.to_owned(),
                recent: recent
                    .ok_or_else(foreign)?
                    .split(',')
                    .filter(|operation| !operation.is_empty())
                    .map(str::to_owned)
                    .collect(),
            },
        };
        Ok((header, value))
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
        let history = History::first("a".into()).successor("b".into());
        Header { lease: "100% of jobs".into(), token: Token::new(8), history }
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
            &sound.replace("sequence=2", "sequence=0"),
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
}
