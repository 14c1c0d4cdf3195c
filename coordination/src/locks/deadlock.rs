//! Deadlocks: found in what holders noted down while they wait, and broken by a rule that all of them compute alike.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use leasehold_core::{Error, ErrorKind};

use super::state::{Holder, LockState};

/// How many locks are looked at in one search; past it the search ends without a verdict.
pub(crate) const LOCKS_MAX: usize = 256;

/// A circle of owners, each holding what the one before waits for.
///
/// Reported to the owner who was chosen to give way, as the source of an error of kind
/// [`Conflict`](ErrorKind::Conflict): see [`Deadlock::of`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlock {
    /// The circle, beginning with the owner it is reported to, or the one that handed its locks down to it.
    pub circle: Vec<Waiting>,
}

/// One owner in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Who.
    pub owner: String,
    /// On which node.
    pub node: String,
    /// What it holds that the one before waits for.
    pub holds: String,
    /// What it waits for.
    pub waits_for: String,
}

impl Deadlock {
    /// The deadlock that `error` reports, if it does.
    pub fn of(error: &Error) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }

    pub(crate) fn into_error(self) -> Error {
        let message = "waiting for it would never end, since its holder waits for what this one holds; release what is \
                       held, and begin again";
        Error::new(ErrorKind::Conflict, message).because(self)
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, Waiting { owner, node, holds, waits_for }) in self.circle.iter().enumerate() {
            let then = if position == 0 { "" } else { "; " };
            let owner = owner.get(..8).unwrap_or(owner);
            write!(f, "{then}{node} (owner {owner}) holds {holds:?} and waits for {waits_for:?}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Deadlock {}

/// Some locks as they were read.
pub(super) type Snapshot = BTreeMap<String, LockState>;

/// A circle that an owner is part of, and who is to give way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Circle {
    pub(super) deadlock: Deadlock,
    pub(super) victim: String,
    /// The claims it is made of. While they are the same, nobody in it has moved.
    claims: Vec<String>,
}

/// Whether `me`, who waits for `lock`, is in a circle that nobody can leave.
///
/// An owner can go on when it waits for nothing, or for a lock that it may get: one whose holders all can go on, or
/// a semaphore one of whose holders can. Who is left over is stuck for ever. Of all owners that wait for each other, the
/// one with the greatest identifier gives way; identifiers are random, so that nobody is preferred.
pub(super) fn find(me: &str, lock: &str, locks: &Snapshot) -> Option<Circle> {
    let holders =
        || locks.iter().flat_map(|(lock, state)| state.holders.iter().map(move |held| (lock, held)));
    let mut waits: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (_, Holder { claim, waiting, .. }) in holders() {
        let noted = if claim.owner == me { Some(lock) } else { waiting.as_deref() };
        waits
            .entry(&claim.owner)
            // A note that not all of its claims agree on is out of date: it moves.
            .and_modify(|known| *known = known.filter(|known| noted == Some(known)))
            .or_insert(noted);
    }
    let mut moving: BTreeSet<&str> = BTreeSet::new();
    loop {
        let obtainable = |lock: &str| {
            let Some(state) = locks.get(lock) else { return true };
            let mut moves = state.holders.iter().map(|held| moving.contains(&*held.claim.owner));
            match state.permits {
                0 => moves.all(|moves| moves),
                permits => state.holders.len() < permits as usize || moves.any(|moves| moves),
            }
        };
        let freed: Vec<_> = waits
            .iter()
            .filter(|(owner, lock)| !moving.contains(*owner) && lock.is_none_or(obtainable))
            .map(|(owner, _)| *owner)
            .collect();
        if freed.is_empty() {
            break;
        }
        moving.extend(freed);
    }
    // Of the stuck: who holds what `owner` waits for.
    let next = |owner: &str| {
        let lock = waits.get(owner).copied().flatten();
        let state = lock.and_then(|lock| locks.get_key_value(lock));
        state.into_iter().flat_map(|(lock, state)| state.holders.iter().map(move |held| (lock, held)))
    };
    let reached = |from: &str| {
        let mut came: BTreeMap<&str, (&str, &str, &Holder)> = BTreeMap::new();
        let mut open = VecDeque::from([from.to_owned()]);
        while let Some(owner) = open.pop_front() {
            let from = waits.get_key_value(&*owner).map_or("", |(owner, _)| *owner);
            for (lock, held) in next(&owner).filter(|(_, held)| !moving.contains(&*held.claim.owner)) {
                if !came.contains_key(&*held.claim.owner) {
                    came.insert(&held.claim.owner, (from, lock, held));
                    open.push_back(held.claim.owner.clone());
                }
            }
        }
        came
    };
    let came = reached(me);
    came.contains_key(me).then_some(())?;
    let victim = came.keys().copied().filter(|owner| reached(owner).contains_key(me)).max()?;
    // Back along the shortest way from me to me.
    let (mut circle, mut claims) = (Vec::new(), Vec::new());
    let mut owner = me;
    loop {
        let (from, holds, held) = came.get(owner)?;
        circle.push(Waiting {
            owner: owner.to_owned(),
            node: held.claim.node.clone(),
            holds: (*holds).to_owned(),
            waits_for: waits.get(owner).copied().flatten().unwrap_or_default().to_owned(),
        });
        claims.push(held.claim.id.clone());
        owner = from;
        if owner == me {
            break;
        }
    }
    circle[1..].reverse();
    Some(Circle { deadlock: Deadlock { circle }, victim: victim.to_owned(), claims })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Token,
        locks::state::{Claim, InLine},
    };

    /// `a=A>b,B` reads: lock `a` is held by `A`, who waits for `b`, and by `B`, who waits for nothing.
    fn locks(text: &str) -> Snapshot {
        let lock = |text: &str| {
            let (name, holders) = text.split_once('=').unwrap();
            let (name, permits) = name.split_once('/').unwrap_or((name, "0"));
            let mut state = LockState { permits: permits.parse().unwrap(), ..LockState::default() };
            for (number, holder) in holders.split(',').filter(|holder| !holder.is_empty()).enumerate() {
                let (owner, waiting) = holder.split_once('>').unwrap_or((holder, ""));
                let claim = Claim {
                    id: format!("{name}{number}"),
                    owner: owner.into(),
                    node: owner.to_lowercase(),
                    session: owner.into(),
                    shared: true,
                };
                let token = Token::new(number as u64 + 1);
                let waiting = (!waiting.is_empty()).then(|| waiting.to_owned());
                state.holders.push(Holder { claim, token, waiting });
                state.token = token;
            }
            (name.to_owned(), state)
        };
        text.split(' ').map(lock).collect()
    }

    fn victim(me: &str, lock: &str, text: &str) -> Option<String> {
        find(me, lock, &locks(text)).map(|circle| circle.victim)
    }

    #[test]
    fn two_who_wait_for_each_other_agree_who_gives_way() {
        let text = "a=A>b b=B>a";
        assert_eq!(victim("A", "b", text).as_deref(), Some("B"));
        assert_eq!(victim("B", "a", text).as_deref(), Some("B"));
        let deadlock = find("B", "a", &locks(text)).unwrap().deadlock;
        let told: Vec<_> = deadlock.circle.iter().map(|w| (&*w.owner, &*w.holds, &*w.waits_for)).collect();
        assert_eq!(told, [("B", "b", "a"), ("A", "a", "b")]);
        let error = deadlock.clone().into_error();
        assert_eq!(Deadlock::of(&error), Some(&deadlock));
        assert!(deadlock.to_string().contains("b (owner B) holds \"b\" and waits for \"a\"; a (owner A)"));
    }

    #[test]
    fn who_waits_for_itself_is_told() {
        assert_eq!(victim("A", "a", "a=A>a").as_deref(), Some("A"));
    }

    #[test]
    fn a_longer_circle_is_told_in_order() {
        let deadlock = find("B", "c", &locks("a=A>b b=B>c c=C>a")).unwrap().deadlock;
        assert_eq!(deadlock.circle.iter().map(|w| &*w.owner).collect::<Vec<_>>(), ["B", "C", "A"]);
    }

    #[test]
    fn no_circle_is_seen_where_somebody_can_go_on() {
        assert_eq!(victim("A", "b", "a=A>b b=B"), None);
        assert_eq!(victim("A", "b", "a=A>b b=B>c c="), None, "c is free");
        assert_eq!(victim("A", "b", "a=A>b b=B>elsewhere"), None, "nobody looked there");
        // Whoever got what it waited for has not taken back its note yet.
        assert_eq!(victim("A", "b", "a=A>b b=B>c c=B"), None);
    }

    #[test]
    fn who_only_waits_behind_a_circle_is_not_part_of_it() {
        let text = "x=X>a a=A>b b=B>a";
        assert_eq!(victim("X", "a", text), None);
        assert_eq!(victim("A", "b", text).as_deref(), Some("B"));
    }

    #[test]
    fn all_who_share_must_let_go_and_one_permit_is_enough() {
        assert_eq!(victim("A", "b", "a=A>b b=B,C>a").as_deref(), Some("C"), "that B goes on does not help");
        assert_eq!(victim("A", "b", "a=A>b b/2=B,C>a"), None);
        assert_eq!(victim("A", "b", "a=A>b b/2=B>a,C>a").as_deref(), Some("C"));
        assert_eq!(victim("A", "b", "a=A>b b/3=B>a,C>a"), None, "one permit is free");
    }

    #[test]
    fn a_line_is_no_obstacle_to_the_search() {
        let mut state = locks("a=A>b b=B>a");
        let waiting = Claim { shared: false, ..state["a"].holders[0].claim.clone() };
        let claim = Claim { id: "w".into(), owner: "W".into(), ..waiting };
        state.get_mut("a").unwrap().enter(&claim, 0, InLine::Always).unwrap();
        assert_eq!(find("A", "b", &state).unwrap().victim, "B");
    }
}
