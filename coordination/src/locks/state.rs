//! What is kept for one lock, and its transitions, pure: who holds it, who waits in line, and who comes next.

use leasehold_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::{Token, register::State};

/// How many may hold a lock, and how many may wait in its line.
pub(crate) const CLAIMS_MAX: usize = 1000;

/// One request for a lock, from the moment it is first written until it is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Never given out twice: found in the record, it is proof that the write that put it there was applied.
    pub(crate) id: String,
    /// On whose behalf: what waits for itself is a deadlock.
    pub(crate) owner: String,
    /// The name of the node, for people.
    pub(crate) node: String,
    /// What keeps it alive: when the session is over, so is the claim.
    pub(crate) session: String,
    /// Whether others may hold the lock beside it, if they say the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) shared: bool,
}

/// A claim that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Holder {
    #[serde(flatten)]
    pub(crate) claim: Claim,
    pub(crate) token: Token,
    /// The lock that its owner waits for while it holds this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<String>,
}

/// A lock, or a semaphore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct LockState {
    /// Of a semaphore: how many may hold it at once. 0 stands for a lock: one alone, or any number that share it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) permits: u32,
    /// The last token that was granted. Grows with every grant.
    pub(crate) token: Token,
    pub(crate) holders: Vec<Holder>,
    /// Who waits in line, first come first. Its head never fits: whatever makes room lets it in.
    pub(crate) queue: Vec<Claim>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Held(Token),
    /// In line, behind so many.
    Queued(usize),
    /// Not in the record.
    Out,
}

impl LockState {
    /// Where the claim with this identifier stands.
    pub(crate) fn standing(&self, id: &str) -> Standing {
        if let Some(holder) = self.holders.iter().find(|holder| holder.claim.id == id) {
            return Standing::Held(holder.token);
        }
        match self.queue.iter().position(|claim| claim.id == id) {
            Some(ahead) => Standing::Queued(ahead),
            None => Standing::Out,
        }
    }

    /// Lets a claim in if there is room and nobody is in line before it; otherwise puts it in line if `in_line`.
    ///
    /// # Errors
    /// `Invalid` when the name is in use as a lock and this is a semaphore, or the other way about, or with another
    /// number of permits; `Unavailable` when the line is full.
    pub(crate) fn enter(&mut self, claim: &Claim, permits: u32, in_line: InLine) -> Result<Standing> {
        let standing = self.standing(&claim.id);
        if standing != Standing::Out {
            return Ok(standing);
        }
        if self.permits != permits {
            if !(self.holders.is_empty() && self.queue.is_empty()) {
                return Err(self.other_kind(permits));
            }
            self.permits = permits;
        }
        if self.queue.is_empty() && self.fits(claim.shared) {
            return Ok(Standing::Held(self.grant(claim.clone())));
        }
        let joins = match in_line {
            InLine::Never => false,
            InLine::Always => true,
            // Those who share keep coming, so one who wants it alone must say so. One is enough to hold them back.
            InLine::IfItWouldStarve => {
                !claim.shared
                    && self.queue.is_empty()
                    && self.holders.iter().all(|holder| holder.claim.shared)
            }
        };
        if joins {
            if self.queue.len() >= CLAIMS_MAX {
                let message = format!("{CLAIMS_MAX} wait in line already; try again later");
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            self.queue.push(claim.clone());
        }
        Ok(self.standing(&claim.id))
    }

    /// Takes a claim out, wherever it stands, and lets in who comes next. Returns where it stood.
    pub(crate) fn leave(&mut self, id: &str) -> Standing {
        let stood = self.standing(id);
        self.holders.retain(|holder| holder.claim.id != id);
        self.queue.retain(|claim| claim.id != id);
        self.advance();
        stood
    }

    /// Takes out every claim of a session that is over, and lets in who comes next.
    pub(crate) fn evict(&mut self, session: &str) {
        self.holders.retain(|holder| holder.claim.session != session);
        self.queue.retain(|claim| claim.session != session);
        self.advance();
    }

    /// Notes for which lock the holder of a claim waits meanwhile.
    pub(crate) fn note_waiting(&mut self, id: &str, lock: Option<&str>) {
        for holder in self.holders.iter_mut().filter(|holder| holder.claim.id == id) {
            holder.waiting = lock.map(str::to_owned);
        }
    }

    /// The same on behalf of one who was started under the lock, and is waited for. Others may be too: the first to wait
    /// is noted, until it is done.
    pub(crate) fn note_heir_waiting(&mut self, id: &str, lock: &str) {
        for holder in self.holders.iter_mut().filter(|holder| holder.claim.id == id) {
            holder.waiting.get_or_insert_with(|| lock.to_owned());
        }
    }

    /// Takes that back.
    pub(crate) fn note_heir_waited(&mut self, id: &str, lock: &str) {
        for holder in self.holders.iter_mut().filter(|holder| holder.claim.id == id) {
            holder.waiting = holder.waiting.take().filter(|waiting| waiting != lock);
        }
    }

    /// Lets in from the head of the line whatever fits.
    fn advance(&mut self) {
        while self.queue.first().is_some_and(|next| self.fits(next.shared)) {
            let next = self.queue.remove(0);
            self.grant(next);
        }
    }

    fn fits(&self, shared: bool) -> bool {
        match (self.permits, shared) {
            _ if self.holders.len() >= CLAIMS_MAX => false,
            (0, true) => self.holders.iter().all(|holder| holder.claim.shared),
            (0, false) => self.holders.is_empty(),
            (permits, _) => self.holders.len() < permits as usize,
        }
    }

    fn grant(&mut self, claim: Claim) -> Token {
        self.token = self.token.next();
        self.holders.push(Holder { claim, token: self.token, waiting: None });
        self.token
    }

    fn other_kind(&self, permits: u32) -> Error {
        let name = |permits| match permits {
            0 => "a lock".to_owned(),
            permits => format!("a semaphore of {permits}"),
        };
        Error::invalid(format!(
            "it is in use as {} and was asked for as {}; use one of them, or another name",
            name(self.permits),
            name(permits)
        ))
    }
}

/// When a claim that cannot be let in waits in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InLine {
    Never,
    Always,
    IfItWouldStarve,
}

impl State for LockState {
    const KIND: &'static str = "lock";

    fn check(&self) -> Result<(), &'static str> {
        let mut before = Token::new(0);
        for holder in &self.holders {
            if holder.token <= before || holder.token > self.token {
                return Err("its tokens do not ascend");
            }
            before = holder.token;
        }
        let alone = self.holders.iter().any(|holder| !holder.claim.shared);
        if self.permits == 0 && alone && self.holders.len() > 1
            || self.permits > 0 && self.holders.len() > self.permits as usize
        {
            return Err("it has too many holders");
        }
        if self.token.get() == u64::MAX {
            return Err("there is no token left");
        }
        if self.queue.first().is_some_and(|next| self.fits(next.shared)) {
            return Err("somebody waits for what is free");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(id: &str, shared: bool) -> Claim {
        let of = |what: &str| format!("{what}-{id}");
        Claim { id: id.into(), owner: of("owner"), node: of("node"), session: of("session"), shared }
    }

    fn enter(state: &mut LockState, id: &str, shared: bool, in_line: InLine) -> Standing {
        let standing = state.enter(&claim(id, shared), state.permits, in_line).unwrap();
        state.check().unwrap();
        standing
    }

    #[test]
    fn one_alone_or_any_number_that_share() {
        let mut lock = LockState::default();
        assert_eq!(enter(&mut lock, "a", true, InLine::Never), Standing::Held(Token::new(1)));
        assert_eq!(enter(&mut lock, "b", true, InLine::Never), Standing::Held(Token::new(2)));
        assert_eq!(enter(&mut lock, "c", false, InLine::Never), Standing::Out);
        lock.leave("a");
        lock.leave("b");
        assert_eq!(enter(&mut lock, "c", false, InLine::Never), Standing::Held(Token::new(3)));
        assert_eq!(enter(&mut lock, "d", true, InLine::Never), Standing::Out);
        assert_eq!(enter(&mut lock, "c", false, InLine::Never), Standing::Held(Token::new(3)), "asked again");
    }

    #[test]
    fn one_who_wants_it_alone_holds_back_those_who_share() {
        let mut lock = LockState::default();
        enter(&mut lock, "reader", true, InLine::Never);
        assert_eq!(enter(&mut lock, "writer", false, InLine::IfItWouldStarve), Standing::Queued(0));
        assert_eq!(enter(&mut lock, "second writer", false, InLine::IfItWouldStarve), Standing::Out);
        assert_eq!(enter(&mut lock, "late reader", true, InLine::IfItWouldStarve), Standing::Out);
        lock.leave("reader");
        assert_eq!(lock.standing("writer"), Standing::Held(Token::new(2)));
    }

    #[test]
    fn a_line_is_served_in_order_and_those_who_share_go_together() {
        let mut lock = LockState::default();
        enter(&mut lock, "a", false, InLine::Always);
        for (id, shared) in [("b", true), ("c", true), ("d", false), ("e", true)] {
            enter(&mut lock, id, shared, InLine::Always);
        }
        lock.leave("a");
        let held = |lock: &LockState| lock.holders.iter().map(|h| h.claim.id.clone()).collect::<Vec<_>>();
        assert_eq!(held(&lock), ["b", "c"]);
        lock.evict("session-b");
        assert_eq!(held(&lock), ["c"]);
        assert_eq!(lock.leave("c"), Standing::Held(Token::new(3)));
        assert_eq!(held(&lock), ["d"]);
        assert_eq!(lock.leave("e"), Standing::Queued(0));
        assert_eq!(lock.leave("e"), Standing::Out);
        lock.check().unwrap();
    }

    #[test]
    fn a_semaphore_has_its_number_and_keeps_it_while_in_use() {
        let mut semaphore = LockState::default();
        for id in ["a", "b"] {
            assert!(matches!(semaphore.enter(&claim(id, false), 2, InLine::Never), Ok(Standing::Held(_))));
        }
        assert_eq!(semaphore.enter(&claim("c", false), 2, InLine::Never).unwrap(), Standing::Out);
        let error = semaphore.enter(&claim("c", false), 3, InLine::Never).unwrap_err();
        assert!(error.message().contains("a semaphore of 2") && error.message().contains("of 3"), "{error}");
        assert!(semaphore.enter(&claim("c", false), 0, InLine::Never).is_err());
        semaphore.leave("a");
        semaphore.leave("b");
        assert_eq!(
            semaphore.enter(&claim("c", false), 0, InLine::Never).unwrap(),
            Standing::Held(Token::new(3))
        );
    }

    #[test]
    fn a_line_has_an_end() {
        let mut lock = LockState::default();
        for number in 0..=CLAIMS_MAX {
            enter(&mut lock, &number.to_string(), false, InLine::Always);
        }
        let error = lock.enter(&claim("one more", false), 0, InLine::Always).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
