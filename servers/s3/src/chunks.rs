//! The framing of a body in `aws-chunked` encoding, as bytes in and bytes out: no chunk that goes out is too large to
//! be held in memory.
//!
//! The protocol behind this collects a chunk before it hands it on, and reads eight digits of its size. A signed chunk
//! has to stay as it is, since its signature is about all of it; a chunk without a signature is sent on in pieces.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Buf, Bytes};
use s3s::{S3Result, s3_error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest signed chunk. Clients send 64 KiB to 1 MiB.
pub(crate) const CHUNK_BYTES_MAX: u64 = 16 << 20;

/// A signed chunk of up to this size needs no permit.
const CHUNK_BYTES_FREE: u64 = 1 << 20;

/// What all signed chunks of more than [`CHUNK_BYTES_FREE`] may take at the same time.
const BUDGET_BYTES: u64 = 256 << 20;

/// How much of the budget one permit stands for.
const PERMIT_BYTES: u64 = 1 << 10;

/// The size in hexadecimal, a signature, and the line's end.
const HEAD_BYTES_MAX: usize = 256;

const LINE_END: &[u8] = b"\r\n";

/// A budget for the large chunks of all connections.
pub(crate) fn budget() -> Arc<Semaphore> {
    Arc::new(Semaphore::new((BUDGET_BYTES / PERMIT_BYTES) as usize))
}

/// How the chunks of a body are passed on.
pub(crate) enum Mode {
    /// As they are, within a budget.
    Signed(Arc<Semaphore>),
    /// As many small ones.
    Unsigned,
}

/// Where in the framing a body is.
pub(crate) struct Chunks {
    mode: Mode,
    state: State,
    held: Option<OwnedSemaphorePermit>,
}

enum State {
    /// In a line with a size.
    Head(Vec<u8>),
    /// In a chunk, of which so much is to come.
    Data(u64),
    /// In the end of a chunk's last line; so much of it was there.
    End(usize),
    /// After the last chunk.
    Rest,
}

impl Chunks {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, state: State::Head(Vec::new()), held: None }
    }

    /// Whether the last chunk was there.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, State::Rest)
    }

    /// Takes what arrived, and puts out what the protocol is to read.
    ///
    /// # Errors
    /// `IncompleteBody` for what is no framing; `EntityTooLarge`; `SlowDown` when the budget is used up.
    pub(crate) fn pass(&mut self, mut bytes: Bytes, out: &mut VecDeque<Bytes>) -> S3Result<()> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Head(line) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    line.extend_from_slice(&bytes.split_to(end.map_or(bytes.len(), |end| end + 1)));
                    if line.len() > HEAD_BYTES_MAX {
                        return Err(malformed());
                    }
                    if end.is_some() {
                        let line = std::mem::take(line);
                        self.begin(line, out)?;
                    }
                }
                State::Data(left) => {
                    let piece = bytes
                        .split_to(usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len())));
                    *left -= piece.len() as u64;
                    let done = *left == 0;
                    match self.mode {
                        Mode::Signed(_) => out.push_back(piece),
                        Mode::Unsigned => out.extend([
                            Bytes::from(format!("{:x}\r\n", piece.len())),
                            piece,
                            Bytes::from_static(LINE_END),
                        ]),
                    }
                    if done {
                        self.state = State::End(0);
                    }
                }
                State::End(seen) => {
                    if bytes[0] != LINE_END[*seen] {
                        return Err(malformed());
                    }
                    bytes.advance(1);
                    *seen += 1;
                    if *seen == LINE_END.len() {
                        if matches!(self.mode, Mode::Signed(_)) {
                            out.push_back(Bytes::from_static(LINE_END));
                        }
                        self.state = State::Head(Vec::new());
                    }
                }
                State::Rest => out.push_back(bytes.split_to(bytes.len())),
            }
        }
        Ok(())
    }

    /// A chunk, whose first line this is.
    fn begin(&mut self, line: Vec<u8>, out: &mut VecDeque<Bytes>) -> S3Result<()> {
        let text = line.strip_suffix(LINE_END).and_then(|line| std::str::from_utf8(line).ok());
        let text = text.ok_or_else(malformed)?;
        let (size, extension) = text.split_once(';').map_or((text, None), |(size, rest)| (size, Some(rest)));
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = if digits { u64::from_str_radix(size, 16).ok() } else { None };
        let size = size.ok_or_else(malformed)?;
        // The chunk before has been read by now.
        self.held = None;
        match &self.mode {
            Mode::Signed(_) if size > CHUNK_BYTES_MAX => {
                return Err(s3_error!(
                    EntityTooLarge,
                    "a signed chunk of {size} bytes is over the limit of {CHUNK_BYTES_MAX} bytes; send smaller ones"
                ));
            }
            Mode::Signed(budget) if size > CHUNK_BYTES_FREE => {
                let permits = size.div_ceil(PERMIT_BYTES) as u32;
                let permits = Arc::clone(budget).try_acquire_many_owned(permits);
                let none_left = |_| {
                    s3_error!(SlowDown, "too many large chunks are on their way; send smaller ones, or again")
                };
                self.held = Some(permits.map_err(none_left)?);
            }
            Mode::Signed(_) => {}
            // Pieces of it could not be checked.
            Mode::Unsigned if extension.is_some() => return Err(malformed()),
            Mode::Unsigned => {}
        }
        if size == 0 || matches!(self.mode, Mode::Signed(_)) {
            out.push_back(line.into());
        }
        self.state = if size == 0 { State::Rest } else { State::Data(size) };
        Ok(())
    }
}

fn malformed() -> s3s::S3Error {
    s3_error!(IncompleteBody, "the chunks of the body are malformed; nothing was written")
}

#[cfg(test)]
#[path = "chunks/tests.rs"]
mod tests;
