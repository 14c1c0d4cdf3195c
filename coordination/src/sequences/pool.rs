//! What was given out and what came back, pure.

use leasehold_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::register::State;

/// How many pieces that came back are kept; past it, the smallest is forgotten, which leaves a gap.
const PIECES_MAX: usize = 1000;

/// A piece of the numbers: the first, and the first that is not in it.
pub(crate) type Piece = (u64, u64);

/// Which numbers are free.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Pool {
    /// From here on no number was ever given out.
    next: u64,
    /// What came back, ascending, apart from each other.
    free: Vec<Piece>,
}

impl Pool {
    /// Takes the first piece of `count` numbers that is free.
    ///
    /// # Errors
    /// `Invalid` for none, `Full` when there are no numbers left.
    pub(crate) fn take(&mut self, count: u64) -> Result<Piece> {
        if count == 0 {
            return Err(Error::invalid("a range has at least one id"));
        }
        if let Some(position) = self.free.iter().position(|(start, end)| end - start >= count) {
            let (start, end) = self.free[position];
            if start + count == end {
                self.free.remove(position);
            } else {
                self.free[position].0 += count;
            }
            return Ok((start, start + count));
        }
        let start = self.next;
        self.next = start.checked_add(count).ok_or_else(|| {
            Error::new(ErrorKind::Full, format!("there are no {count} ids left; begin another sequence"))
        })?;
        Ok((start, self.next))
    }

    /// Takes a piece back.
    ///
    /// # Errors
    /// `Invalid` when any of it was never given out, or is free already.
    pub(crate) fn put_back(&mut self, (start, end): Piece) -> Result<()> {
        let position = self.free.partition_point(|piece| piece.0 < start);
        let meets_last = position > 0 && self.free[position - 1].1 > start;
        let meets_next = self.free.get(position).is_some_and(|piece| piece.0 < end);
        if start >= end || end > self.next || meets_last || meets_next {
            return Err(Error::invalid(format!("the ids {start} to {end} are not given out at the moment")));
        }
        self.free.insert(position, (start, end));
        self.free = std::mem::take(&mut self.free).into_iter().fold(Vec::new(), |mut merged, piece| {
            match merged.last_mut() {
                Some(last) if last.1 == piece.0 => last.1 = piece.1,
                _ => merged.push(piece),
            }
            merged
        });
        if self.free.last().is_some_and(|last| last.1 == self.next) {
            self.next = self.free.pop().map_or(self.next, |last| last.0);
        }
        if self.free.len() > PIECES_MAX
            && let Some(smallest) = (0..self.free.len()).min_by_key(|at| self.free[*at].1 - self.free[*at].0)
        {
            self.free.remove(smallest);
        }
        Ok(())
    }
}

impl State for Pool {
    const KIND: &'static str = "id-pool";

    fn check(&self) -> Result<(), &'static str> {
        let mut after = 0;
        for (start, end) in &self.free {
            if *start < after || start >= end || *end > self.next {
                return Err("its free ids are out of order");
            }
            after = *end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_out_twice_whatever_comes_back() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut pool = Pool::default();
            let mut out: Vec<Piece> = Vec::new();
            for _ in 0..200 {
                if out.is_empty() || random.bool() {
                    let piece = pool.take(random.u64(1..20)).unwrap();
                    assert!(out.iter().all(|other| other.1 <= piece.0 || piece.1 <= other.0), "seed {seed}");
                    out.push(piece);
                } else {
                    let piece = out.swap_remove(random.usize(..out.len()));
                    // A part of it was used.
                    let from = random.u64(piece.0..piece.1);
                    pool.put_back((from, piece.1)).unwrap();
                    assert!(pool.put_back((from, piece.1)).is_err(), "seed {seed}: twice");
                    if from > piece.0 {
                        out.push((piece.0, from));
                    }
                }
                pool.check().unwrap();
            }
            let used: u64 = out.iter().map(|piece| piece.1 - piece.0).sum();
            let free: u64 = pool.free.iter().map(|piece| piece.1 - piece.0).sum();
            assert_eq!(used + free, pool.next, "seed {seed}: nothing is lost");
        }
    }

    #[test]
    fn what_was_never_given_out_does_not_come_back() {
        let mut pool = Pool::default();
        pool.take(10).unwrap();
        for piece in [(5, 11), (10, 11), (5, 5), (7, 6)] {
            assert!(pool.put_back(piece).is_err(), "{piece:?}");
        }
        assert_eq!(pool.take(u64::MAX).unwrap_err().kind(), ErrorKind::Full);
        assert_eq!(pool.take(0).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn many_pieces_are_bounded() {
        let mut pool = Pool::default();
        pool.take(10_000).unwrap();
        for start in 0..2000 {
            pool.put_back((start * 2, start * 2 + 1)).unwrap();
        }
        assert_eq!(pool.free.len(), PIECES_MAX);
    }
}
