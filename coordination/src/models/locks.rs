//! A lock: the real transitions of [`LockState`], asked for, waited for, released and cancelled by three people whose replies
//! get lost and whose sessions end.
//!
//! A request, its cancellation and a release are the loops of `request.rs` and `held.rs` beside it, because those are drivers:
//! read, decide, write over what was read, look when in doubt. A session is over by its own clock before anybody can fence it,
//! which is what the model of leases is for.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use super::{
    explore,
    object::{Answer, Object, Sent, Write},
};
use crate::{
    locks::state::{Claim, InLine, LockState, Standing},
    register::State as _,
};

/// What there is of everything.
#[derive(Clone, Debug)]
struct World {
    /// Whether each of them shares, and when it waits in line.
    people: Vec<(bool, InLine)>,
    /// Replies that are lost, sessions that end, requests that are dropped.
    faults: u8,
    ends: u8,
    cancels: u8,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    lock: Object<LockState>,
    people: Vec<Person>,
    /// Every claim that was ever granted.
    granted: BTreeSet<String>,
    /// Claims that were taken out. One whose session is over may come back by a request that had begun before; it is told
    /// to nobody, and put out again.
    out: BTreeSet<String>,
    /// Claims that were released or withdrawn: they never come back.
    given_up: BTreeSet<String>,
    faults: u8,
    ends: u8,
    cancels: u8,
    broken: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Person {
    phase: Phase,
    /// Counts its sessions, each with a claim of its own.
    session: u8,
    lives: bool,
    /// Whether it goes on with what it began before its session was over.
    began: bool,
    write: Option<Write<LockState>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Wanting,
    Waiting,
    Holding,
    Releasing,
    /// The request was dropped while its claim may be in the record, or may still get there.
    Withdrawing,
    Away,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// Reads, puts out who is over, enters or gets in line. The session that it believes in may have ended by now.
    Claim(usize),
    /// Finds that its session is over, and asks anew under another.
    Renew(usize),
    Cancel(usize),
    Withdraw(usize),
    Release(usize),
    Leave(usize),
    Serve(usize),
    Lose(usize),
    Late(usize),
    End(usize),
}

impl Person {
    fn id(&self, index: usize) -> String {
        format!("{index}.{}", self.session)
    }

    fn is_at_rest(&self) -> bool {
        self.phase == Phase::Away || !self.lives
    }

    /// Whether it acts as one that holds the lock.
    fn believes(&self) -> bool {
        self.phase == Phase::Holding && self.lives
    }
}

fn ids(state: &LockState) -> impl Iterator<Item = &String> {
    state.holders.iter().map(|holder| &holder.claim.id).chain(state.queue.iter().map(|claim| &claim.id))
}

impl World {
    fn claim(&self, state: &State, index: usize) -> Claim {
        let id = state.people[index].id(index);
        Claim {
            owner: index.to_string(),
            node: index.to_string(),
            session: id.clone(),
            shared: self.people[index].0,
            id,
        }
    }

    /// Whether a session can be fenced: it is over by its own clock.
    fn is_over(state: &State, session: &str) -> bool {
        !state.people.iter().enumerate().any(|(index, person)| person.lives && person.id(index) == *session)
    }

    fn enter(&self, next: &mut State, index: usize) -> Option<()> {
        let before = next.lock.state();
        let mut state = before.clone();
        for session in before.holders.iter().map(|holder| &holder.claim.session) {
            if Self::is_over(next, session) {
                state.evict(session);
            }
        }
        let person = &next.people[index];
        for spent in 0..person.session {
            state.evict(&format!("{index}.{spent}"));
        }
        let standing = state.enter(&self.claim(next, index), 0, self.people[index].1).ok()?;
        let person = &mut next.people[index];
        if state == before {
            let phase = person.phase;
            person.told(standing, self.people[index].1);
            return (person.phase != phase).then_some(());
        }
        person.write = Some(Write::new(next.lock.over(state, index.to_string())));
        Some(())
    }

    /// Takes its claim out, wherever it is; `forced` also when it is nowhere.
    fn leave(next: &mut State, index: usize, forced: bool) {
        let mut state = next.lock.state();
        let person = &mut next.people[index];
        if state.leave(&person.id(index)) == Standing::Out && !forced {
            person.phase = Phase::Away;
            return;
        }
        person.write = Some(Write::new(next.lock.over(state, index.to_string())));
    }
}

impl Person {
    /// What a claim came to.
    fn told(&mut self, standing: Standing, in_line: InLine) {
        self.began = false;
        self.phase = match standing {
            Standing::Held(_) if self.lives => Phase::Holding,
            Standing::Queued(_) => Phase::Waiting,
            Standing::Out if in_line == InLine::Never => Phase::Away,
            Standing::Held(_) | Standing::Out => Phase::Wanting,
        };
    }
}

impl State {
    /// A write arrives and is applied.
    fn apply(&mut self, sent: &Sent<LockState>) {
        let before = self.lock.state();
        let after = &sent.new.state;
        if after.check().is_err() {
            self.broken = Some("a state that no transition leads to");
        }
        let was_holder = |id: &str| before.holders.iter().any(|holder| holder.claim.id == id);
        let waits = |id: &String| after.queue.iter().any(|claim| claim.id == *id);
        for new in after.holders.iter().filter(|holder| !was_holder(&holder.claim.id)) {
            let id = &new.claim.id;
            let is_first = self.granted.insert(id.clone());
            if new.token <= before.token || (!is_first && !World::is_over(self, id)) {
                self.broken = Some("a claim that was granted twice, or without a greater token");
            }
            let ahead = before.queue.iter().take_while(|claim| claim.id != *id);
            if ahead.map(|claim| &claim.id).any(waits) {
                self.broken = Some("one that came later was let in first");
            }
        }
        self.out.extend(ids(&before).filter(|id| !ids(after).any(|still| still == *id)).cloned());
        let is_back =
            |id: &String| self.given_up.contains(id) || (self.out.contains(id) && !World::is_over(self, id));
        if ids(after).any(is_back) {
            self.broken = Some("a claim that was taken out is back");
        }
        self.lock.put(sent);
    }

    fn serve(&mut self, world: &World, index: usize) -> Option<()> {
        let mut write = self.people[index].write.take()?;
        let applied = match write.answer(&self.lock) {
            Answer::Applies => {
                self.apply(&write.sent);
                true
            }
            Answer::Applied => true,
            Answer::Refused => false,
            Answer::Untold => {
                self.broken = Some("a history too short for this world");
                return Some(());
            }
            Answer::Open => {
                self.people[index].write = Some(write);
                return Some(());
            }
        };
        let person = &mut self.people[index];
        let id = person.id(index);
        match person.phase {
            Phase::Wanting | Phase::Waiting if applied => {
                person.told(write.sent.new.state.standing(&id), world.people[index].1);
            }
            Phase::Releasing | Phase::Withdrawing if applied => {
                person.phase = Phase::Away;
                self.given_up.insert(id);
                if ids(&self.lock.state()).any(|id| self.given_up.contains(id)) {
                    self.broken = Some("a claim that was withdrawn is in the record");
                }
            }
            _ => {}
        }
        Some(())
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let person = Person { phase: Phase::Wanting, session: 0, lives: true, began: false, write: None };
        vec![State {
            lock: Object::default(),
            people: vec![person; self.people.len()],
            granted: BTreeSet::new(),
            out: BTreeSet::new(),
            given_up: BTreeSet::new(),
            faults: self.faults,
            ends: self.ends,
            cancels: self.cancels,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, person) in state.people.iter().enumerate() {
            if person.write.is_some() {
                actions.extend([Action::Serve(index), Action::Lose(index)]);
            } else {
                match person.phase {
                    Phase::Wanting | Phase::Waiting if person.lives => actions.push(Action::Claim(index)),
                    Phase::Wanting | Phase::Waiting if person.began => actions.push(Action::Claim(index)),
                    Phase::Wanting | Phase::Waiting => actions.push(Action::Renew(index)),
                    Phase::Holding => actions.push(Action::Release(index)),
                    Phase::Releasing => actions.push(Action::Leave(index)),
                    Phase::Withdrawing => actions.push(Action::Withdraw(index)),
                    Phase::Away => {}
                }
            }
            actions.extend([Action::Cancel(index), Action::End(index)]);
        }
        actions.extend((0..state.lock.late()).map(Action::Late));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Claim(index) => self.enter(&mut next, index)?,
            Action::Renew(index) => {
                let person = &mut next.people[index];
                person.session += 1;
                person.lives = true;
                person.began = false;
                person.phase = Phase::Wanting;
            }
            Action::Cancel(index) => {
                let person = &mut next.people[index];
                if !matches!(person.phase, Phase::Wanting | Phase::Waiting) {
                    return None;
                }
                next.cancels = next.cancels.checked_sub(1)?;
                let in_doubt = person.write.is_some() || person.phase == Phase::Waiting;
                person.phase = if in_doubt { Phase::Withdrawing } else { Phase::Away };
                if let Some(write) = person.write.take() {
                    next.lock.haunt(write.sent);
                }
            }
            Action::Withdraw(index) if !last.people[index].lives => next.people[index].phase = Phase::Away,
            Action::Withdraw(index) => Self::leave(&mut next, index, true),
            Action::Release(index) => next.people[index].phase = Phase::Releasing,
            Action::Leave(index) => Self::leave(&mut next, index, false),
            Action::Serve(index) => next.serve(self, index)?,
            Action::Lose(index) => {
                next.faults = next.faults.checked_sub(1)?;
                let write = next.people[index].write.as_mut()?;
                write.unknown = true;
                next.lock.haunt(write.sent.clone());
            }
            Action::Late(late) => {
                let sent = next.lock.arriving(late)?;
                next.apply(&sent);
            }
            Action::End(index) => {
                let person = &mut next.people[index];
                if !person.lives || person.phase == Phase::Away {
                    return None;
                }
                next.ends = next.ends.checked_sub(1)?;
                person.lives = false;
                person.began = matches!(person.phase, Phase::Wanting | Phase::Waiting);
            }
        }
        next.lock.forget(next.people.iter_mut().map(|person| &mut person.write));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "tokens grow, and nobody is let in twice, out of turn, or again",
                |_, state: &State| state.broken.is_none(),
            ),
            Property::always("who wants it alone has it alone", |world: &Self, state: &State| {
                let holding: Vec<_> =
                    (0..state.people.len()).filter(|who| state.people[*who].believes()).collect();
                holding.len() < 2 || holding.iter().all(|who| world.people[*who].0)
            }),
            Property::always("who believes to hold it stands in the record", |_, state: &State| {
                let holds = |id: &str| {
                    state
                        .lock
                        .stored
                        .as_ref()
                        .is_some_and(|lock| matches!(lock.state.standing(id), Standing::Held(_)))
                };
                let mut people = state.people.iter().enumerate();
                people.all(|(index, person)| !person.believes() || holds(&person.id(index)))
            }),
            Property::always("nobody stands in the record whom nobody will take out", |_, state: &State| {
                let Some(lock) = &state.lock.stored else { return true };
                ids(&lock.state).all(|id| {
                    let owner =
                        state.people.iter().enumerate().find(|(index, person)| person.id(*index) == *id);
                    owner.is_none_or(|(_, person)| !person.lives || person.phase != Phase::Away)
                })
            }),
            Property::eventually("everybody gets it, or gives up", |_, state: &State| {
                state.people.iter().all(Person::is_at_rest)
            }),
            Property::sometimes("everybody had it in the end", |_, state: &State| {
                state.people.iter().all(|person| person.phase == Phase::Away)
                    && state.granted.len() >= state.people.len()
            }),
        ]
    }
}

/// First come, first served.
fn in_line() -> World {
    World { people: vec![(false, InLine::Always); 3], faults: 0, ends: 0, cancels: 0 }
}

#[test]
fn a_lock_holds_though_replies_are_lost_and_requests_dropped() {
    explore(World { faults: 2, cancels: 1, ..in_line() });
}

#[test]
fn a_lock_holds_though_sessions_end() {
    explore(World { faults: 1, ends: 1, ..in_line() });
}

#[test]
fn a_lock_of_two_holds_through_everything_at_once() {
    explore(World { people: vec![(false, InLine::Always); 2], faults: 2, ends: 1, cancels: 1 });
}

#[test]
fn a_shared_lock_holds_in_every_schedule_of_three() {
    let people =
        vec![(true, InLine::IfItWouldStarve), (false, InLine::IfItWouldStarve), (true, InLine::Always)];
    explore(World { people, faults: 1, ends: 1, cancels: 0 });
}
