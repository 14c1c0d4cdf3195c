//! The map of all shards, and the steps from one version of it to the next.

use leasehold_core::{Error, ErrorKind, Result};

use super::{Change, Plan, Shard, ShardId, ShardState, rendezvous::Contender};
use crate::{NodeName, Token};

/// Which node owns which shard: one version of it, written whole.
///
/// Only the leader writes it, over the version that it read and under its token. Every step returns the next map and
/// leaves this one alone, so that a write that is refused costs nothing. Steps that change nothing return the same
/// version: there is nothing to write then. Several steps may be written at once; versions only have to grow.
///
/// A step copies the map, about 10 ns a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardMap {
    version: u64,
    token: Token,
    /// By number, each once.
    shards: Vec<Shard>,
}

impl ShardMap {
    /// The most shards in a map: 65,536.
    pub const SHARDS_MAX: usize = 65_536;

    /// The first map: every shard is free. `token` is the leader's, from 1 on.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a shard that is named twice, more than [`SHARDS_MAX`](Self::SHARDS_MAX), or
    /// the token 0.
    pub fn new(token: Token, shards: impl IntoIterator<Item = ShardId>) -> Result<Self> {
        // One more than may be, so that an endless iterator is refused too.
        let shards = shards.into_iter().take(Self::SHARDS_MAX + 1);
        let shards = shards.map(|id| Shard::recorded(id, 0, ShardState::Free)).collect();
        Self::recorded(1, token, shards)
    }

    /// A map as a record has it.
    pub(super) fn recorded(version: u64, token: Token, mut shards: Vec<Shard>) -> Result<Self> {
        if shards.len() > Self::SHARDS_MAX {
            return Err(Error::invalid(format!("a map has at most {} shards", Self::SHARDS_MAX)));
        }
        if token.get() == 0 || token.get() == u64::MAX || version == u64::MAX {
            return Err(Error::invalid("the token of a map is at least 1, and numbers end before the last"));
        }
        shards.sort_by_key(Shard::id);
        if let Some(pair) = shards.windows(2).find(|pair| pair[0].id() == pair[1].id()) {
            return Err(Error::invalid(format!("shard {} is in the map twice", pair[0].id())));
        }
        Ok(Self { version, token, shards })
    }

    /// Counts the steps. Whoever has seen a higher one must not use this map.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The token of the leader that made it.
    pub fn token(&self) -> Token {
        self.token
    }

    /// All shards, by number.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// One shard.
    pub fn shard(&self, id: ShardId) -> Option<&Shard> {
        self.position(id).map(|index| &self.shards[index])
    }

    /// The shards that a node owns, with those that are on their way from it and without those on their way to it.
    pub fn owned_by<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Shard> {
        self.shards.iter().filter(move |shard| shard.owner().is_some_and(|owner| owner.as_str() == node))
    }

    /// How many shards are on their way.
    pub fn moves(&self) -> usize {
        self.shards.iter().filter(|shard| shard.moving_to().is_some()).count()
    }

    /// The same map under the token of the next leader, who writes this before anything else: from then on the writes
    /// of the leader before are refused.
    ///
    /// # Errors
    /// [`Fenced`](ErrorKind::Fenced) if `token` is older than that of the map: there is a newer leader.
    pub fn led_by(&self, token: Token) -> Result<Self> {
        if token < self.token {
            return Err(Error::new(
                ErrorKind::Fenced,
                format!("the shard map is the leader's with token {}, and {token} is older", self.token),
            ));
        }
        let mut next = self.clone();
        if token > self.token {
            next.token = token;
            next.step();
        }
        Ok(next)
    }

    /// The map with the changes of a plan.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the plan was made for another map: plan again.
    pub fn apply(&self, plan: &Plan) -> Result<Self> {
        if plan.version() != self.version {
            return Err(stale());
        }
        let mut next = self.clone();
        for change in plan.changes() {
            next.change(change)?;
        }
        if !plan.is_empty() {
            next.step();
        }
        Ok(next)
    }

    fn change(&mut self, change: &Change) -> Result<()> {
        let shard = self.at(change.shard())?;
        match (change, shard.owner().cloned()) {
            (Change::Assign { to, .. }, owner) if owner.as_ref() != Some(to) => {
                shard.begin(ShardState::Owned { owner: to.clone() });
            }
            (Change::Move { from, to, .. }, Some(owner)) if owner == *from && owner != *to => {
                shard.send(owner, to.clone());
            }
            (Change::Stay { .. }, Some(owner)) if shard.moving_to().is_some() => {
                shard.begin(ShardState::Owned { owner });
            }
            _ => return Err(stale()),
        }
        Ok(())
    }

    /// The owner of a moving shard has sealed it under `epoch` and serves it no more: the other node owns it.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if that tenure is over or the shard is not moving: read the map again. So it
    ///   is for a report that comes twice.
    /// - [`Invalid`](ErrorKind::Invalid) for a shard that is not in the map.
    pub fn sealed(&self, shard: ShardId, epoch: u64) -> Result<Self> {
        let mut next = self.clone();
        let sealed = next.at(shard)?;
        match sealed.moving_to().cloned() {
            Some(owner) if sealed.epoch() == epoch => sealed.begin(ShardState::Owned { owner }),
            _ => {
                return Err(Error::conflict(format!(
                    "shard {shard} is not moving under epoch {epoch}; read the shard map again"
                )));
            }
        }
        next.step();
        Ok(next)
    }

    /// The owner of a shard has given it up under `epoch` and serves it no more: the node that it was moving to owns it, or
    /// nobody.
    ///
    /// # Errors
    /// As [`sealed`](Self::sealed).
    pub fn given_up(&self, shard: ShardId, epoch: u64, owner: &str) -> Result<Self> {
        let mut next = self.clone();
        let given_up = next.at(shard)?;
        if given_up.epoch() != epoch || given_up.owner().is_none_or(|name| name.as_str() != owner) {
            return Err(Error::conflict(format!(
                "{owner} does not own shard {shard} under epoch {epoch}; read the shard map again"
            )));
        }
        let state = match given_up.moving_to().cloned() {
            Some(owner) => ShardState::Owned { owner },
            None => ShardState::Free,
        };
        given_up.begin(state);
        next.step();
        Ok(next)
    }

    /// A node asks for a shard out of turn: it gets it, at once if it is free, or is where it moves to. A node that would
    /// hold two more than the owner then gives one of its own in exchange, so that the next plan has nothing to undo.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) for a shard that moves to another node already.
    /// - [`Invalid`](ErrorKind::Invalid) for a shard that is not in the map.
    pub fn asked_for(&self, shard: ShardId, to: &NodeName) -> Result<Self> {
        let mut next = self.clone();
        let asked_for = next.at(shard)?;
        let owner = match asked_for.state().clone() {
            ShardState::Owned { owner } if owner == *to => return Ok(next),
            ShardState::Moving { to: other, .. } if other == *to => return Ok(next),
            ShardState::Moving { to: other, .. } => {
                return Err(Error::conflict(format!(
                    "shard {shard} moves to {other} already; ask again later"
                )));
            }
            ShardState::Free => {
                asked_for.begin(ShardState::Owned { owner: to.clone() });
                next.step();
                return Ok(next);
            }
            ShardState::Owned { owner } => owner,
        };
        asked_for.send(owner.clone(), to.clone());
        let holds = |name: &NodeName| {
            let holder = |shard: &&Shard| shard.moving_to().or(shard.owner()) == Some(name);
            next.shards.iter().filter(holder).count()
        };
        if holds(to) > holds(&owner) + 1 {
            let contender = Contender::new(to, 1);
            let settled = next
                .shards
                .iter_mut()
                .filter(|shard| *shard.state() == ShardState::Owned { owner: to.clone() });
            let least = settled.min_by(|a, b| contender.score(a.id()).total_cmp(&contender.score(b.id())));
            if let Some(least) = least {
                least.send(to.clone(), owner);
            }
        }
        next.step();
        Ok(next)
    }

    /// A node is dead: afterwards it is nowhere in the map. Its shards are free, those on their way from it are where
    /// they were going, and those on their way to it stay where they are.
    ///
    /// To have its shards owned again at once, leave it out of the candidates of a [`plan`](super::plan()) instead:
    /// that is one version, and moves to it are turned to others.
    #[must_use]
    pub fn owner_died(&self, node: &str) -> Self {
        let mut next = self.clone();
        let mut changed = false;
        for shard in &mut next.shards {
            let is = |name: Option<&NodeName>| name.is_some_and(|name| name.as_str() == node);
            let state = match (shard.owner().cloned(), shard.moving_to().cloned()) {
                (owner, Some(owner_next)) if is(owner.as_ref()) => ShardState::Owned { owner: owner_next },
                (owner, None) if is(owner.as_ref()) => ShardState::Free,
                (Some(owner), to) if is(to.as_ref()) => ShardState::Owned { owner },
                _ => continue,
            };
            shard.begin(state);
            changed = true;
        }
        if changed {
            next.step();
        }
        next
    }

    fn step(&mut self) {
        // Records with the last possible version are refused when they are read.
        self.version = self.version.saturating_add(1);
    }

    fn position(&self, id: ShardId) -> Option<usize> {
        self.shards.binary_search_by_key(&id, Shard::id).ok()
    }

    fn at(&mut self, id: ShardId) -> Result<&mut Shard> {
        match self.position(id) {
            Some(index) => Ok(&mut self.shards[index]),
            None => Err(Error::invalid(format!("shard {id} is not in the shard map"))),
        }
    }
}

fn stale() -> Error {
    Error::conflict("the plan was made for another version of the shard map; plan again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::{Candidate, PlanOptions, plan};

    fn name(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    /// Shards 0 to 3: free, owned by a, on its way from a to b, on its way from b to a.
    fn map() -> ShardMap {
        let states = [
            ShardState::Free,
            ShardState::Owned { owner: name("a") },
            ShardState::Moving { owner: name("a"), to: name("b") },
            ShardState::Moving { owner: name("b"), to: name("a") },
        ];
        let shards = states.into_iter().zip(0..);
        let shards = shards.map(|(state, id)| Shard::recorded(ShardId::new(id), 5, state)).collect();
        ShardMap::recorded(9, Token::new(3), shards).unwrap()
    }

    fn shown(map: &ShardMap, id: u32) -> (u64, Option<&str>, Option<&str>) {
        let shard = map.shard(ShardId::new(id)).unwrap();
        (shard.epoch(), shard.owner().map(NodeName::as_str), shard.moving_to().map(NodeName::as_str))
    }

    #[test]
    fn a_shard_that_moves_changes_hands_when_it_is_sealed_and_only_under_its_epoch() {
        let next = map().sealed(ShardId::new(2), 5).unwrap();
        assert_eq!((next.version(), shown(&next, 2)), (10, (6, Some("b"), None)));
        for (map, shard, epoch) in
            [(&map(), 2, 4), (&map(), 2, 6), (&map(), 1, 5), (&map(), 0, 5), (&next, 2, 5)]
        {
            let error = map.sealed(ShardId::new(shard), epoch).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{shard} {epoch}: {error}");
        }
        assert_eq!(map().sealed(ShardId::new(4), 5).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_dead_node_is_nowhere_and_every_tenure_that_ended_has_an_epoch_of_its_own() {
        let next = map().owner_died("a");
        assert_eq!(next.version(), 10);
        assert_eq!(shown(&next, 0), (5, None, None));
        assert_eq!(shown(&next, 1), (6, None, None));
        assert_eq!(shown(&next, 2), (6, Some("b"), None));
        assert_eq!(shown(&next, 3), (6, Some("b"), None));
        assert_eq!(next.owner_died("a"), next);
        assert_eq!(map().owner_died("nobody"), map());
    }

    #[test]
    fn a_leader_writes_its_token_first_and_one_before_it_is_fenced() {
        let next = map().led_by(Token::new(4)).unwrap();
        assert_eq!((next.version(), next.token()), (10, Token::new(4)));
        assert_eq!(next.led_by(Token::new(4)).unwrap(), next);
        assert_eq!(next.led_by(Token::new(3)).unwrap_err().kind(), ErrorKind::Fenced);
    }

    #[test]
    fn a_plan_for_another_map_is_refused() {
        let made = plan(&map(), &[Candidate::new(name("b"))], &PlanOptions::default());
        assert!(!made.is_empty());
        assert!(map().apply(&made).is_ok());
        let later = map().owner_died("a");
        assert_eq!(later.apply(&made).unwrap_err().kind(), ErrorKind::Conflict);
        // The same version of something else.
        let other = ShardMap::recorded(9, Token::new(3), vec![]).unwrap();
        assert!(other.apply(&made).is_err());
    }

    #[test]
    fn maps_that_cannot_be_are_refused() {
        let ids = |count: u32| (0..count).map(ShardId::new);
        assert!(ShardMap::new(Token::new(1), ids(65_536)).is_ok());
        for error in [
            ShardMap::new(Token::new(1), ids(65_537)).unwrap_err(),
            ShardMap::new(Token::new(0), ids(1)).unwrap_err(),
            ShardMap::new(Token::new(1), ids(2).chain(ids(1))).unwrap_err(),
            ShardMap::new(Token::new(1), std::iter::repeat(ShardId::new(1))).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
    }
}
