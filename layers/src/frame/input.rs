//! Bytes that have come and not been used: whole where they came whole, joined where they did not.

use leasehold_core::Bytes;

use bytes::BytesMut;

#[derive(Default, Debug)]
pub(super) struct Input {
    whole: Bytes,
    /// In use when `whole` was too short; then `whole` is empty.
    joined: BytesMut,
}

impl Input {
    pub(super) fn len(&self) -> usize {
        self.whole.len() + self.joined.len()
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.whole = piece;
            return;
        }
        self.join(piece.len());
        self.joined.extend_from_slice(&piece);
    }

    fn join(&mut self, more: usize) {
        self.joined.reserve(self.whole.len() + more);
        self.joined.extend_from_slice(&std::mem::take(&mut self.whole));
    }

    /// The first `count` bytes, where there are so many.
    pub(super) fn take(&mut self, count: usize) -> Option<Bytes> {
        if self.len() < count {
            return None;
        }
        Some(match self.joined.is_empty() {
            true => self.whole.split_to(count),
            false => self.joined.split_to(count).freeze(),
        })
    }

    /// The first bytes, at most `count`.
    pub(super) fn peek(&self, count: usize) -> &[u8] {
        let all: &[u8] = if self.joined.is_empty() { &self.whole } else { &self.joined };
        &all[..count.min(all.len())]
    }

    /// All that there is.
    pub(super) fn take_all(&mut self) -> Bytes {
        self.take(self.len()).unwrap_or_default()
    }
}
