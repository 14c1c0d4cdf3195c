//! Ids: the real [`Pool`], and the real [`Fate`] of each range, under two people who take, divide and give back, also what they
//! have only a copy of.
//!
//! The two writes of a range that comes back are the loop of `sequences/ids.rs` beside it: decide, then put back. Between them
//! there may be a crash.

use stateright::{Model, Property};

use super::{
    explore,
    object::{Answer, Object, Write},
};
use crate::{
    IdRange,
    register::State as _,
    sequences::{
        ids::Fate,
        pool::{Piece, Pool},
    },
};

const PEOPLE: usize = 2;

/// What there is of everything.
#[derive(Clone, Debug)]
struct World {
    takes: u8,
    decisions: u8,
    /// Replies that are lost, and people who forget what they were doing.
    faults: u8,
    crashes: u8,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    pool: Object<Pool>,
    ranges: Vec<Range>,
    people: Vec<Person>,
    takes: u8,
    decisions: u8,
    faults: u8,
    crashes: u8,
    broken: Option<&'static str>,
}

/// A range that was taken. Everybody has a copy of it.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Range {
    range: IdRange,
    fate: Object<Fate>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Person {
    doing: Doing,
    pool: Option<Write<Pool>>,
    fate: Option<Write<Fate>>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
enum Doing {
    Nothing,
    Taking { count: u64, piece: Option<Piece> },
    Deciding { range: usize, fate: Fate },
    PuttingBack(Piece),
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Take(usize, u64),
    Divide(usize, usize),
    GiveBack(usize, usize),
    /// Reads, and sends what it decides on that.
    Send(usize),
    Serve(usize),
    Lose(usize),
    Crash(usize),
    Late(usize),
    LateFate(usize, usize),
}

impl Range {
    /// Whether somebody may use its ids.
    fn is_out(&self) -> bool {
        self.fate.stored.is_none()
    }
}

impl State {
    fn hand_out(&mut self, piece: Piece) {
        let meets = |range: &Range| {
            let (start, end) = range.range.left();
            range.is_out() && piece.0 < end && start < piece.1
        };
        if self.ranges.iter().any(meets) {
            self.broken = Some("an id is out twice");
        }
        let receipt = self.ranges.len().to_string();
        self.ranges.push(Range { range: IdRange::new(piece, receipt), fate: Object::default() });
    }

    fn send(&mut self, index: usize) -> Option<()> {
        let person = &mut self.people[index];
        if person.pool.is_some() || person.fate.is_some() {
            return None;
        }
        let mut pool = self.pool.state();
        match &mut person.doing {
            Doing::Nothing => return None,
            Doing::Taking { count, piece } => *piece = Some(pool.take(*count).ok()?),
            Doing::Deciding { range, fate } => {
                let object = &self.ranges[*range].fate;
                let mut decided = object.state();
                if decided.decide(fate).is_err() {
                    person.doing = Doing::Nothing;
                } else {
                    person.fate = Some(Write::new(object.over(decided, index.to_string())));
                }
                return Some(());
            }
            Doing::PuttingBack(piece) => {
                if pool.put_back(*piece).is_err() {
                    self.broken = Some("what came back is free already");
                    return Some(());
                }
            }
        }
        if pool.check().is_err() {
            self.broken = Some("a pool that no transition leads to");
        }
        person.pool = Some(Write::new(self.pool.over(pool, index.to_string())));
        Some(())
    }

    fn serve(&mut self, index: usize) -> Option<()> {
        if let Some(mut write) = self.people[index].pool.take() {
            match write.answer(&self.pool) {
                Answer::Applies => self.pool.put(&write.sent),
                Answer::Applied => {}
                Answer::Refused => return Some(()),
                Answer::Open => {
                    self.people[index].pool = Some(write);
                    return Some(());
                }
                Answer::Untold => {
                    self.broken = Some("a history too short for this world");
                    return Some(());
                }
            }
            if let Doing::Taking { piece: Some(piece), .. } =
                std::mem::replace(&mut self.people[index].doing, Doing::Nothing)
            {
                self.hand_out(piece);
            }
            return Some(());
        }
        let mut write = self.people[index].fate.take()?;
        let Doing::Deciding { range, fate } = self.people[index].doing.clone() else { return None };
        let object = &mut self.ranges[range].fate;
        match write.answer(object) {
            Answer::Applies => object.put(&write.sent),
            Answer::Applied => {}
            Answer::Refused => return Some(()),
            Answer::Open => {
                self.people[index].fate = Some(write);
                return Some(());
            }
            Answer::Untold => {
                self.broken = Some("a history too short for this world");
                return Some(());
            }
        }
        self.people[index].doing = match fate {
            Fate::GivenBack { start, end } => Doing::PuttingBack((start, end)),
            Fate::Divided { into } => {
                into.iter().for_each(|part| self.hand_out((part.start, part.end)));
                Doing::Nothing
            }
            Fate::Open => Doing::Nothing,
        };
        Some(())
    }

    fn begin(&mut self, index: usize, doing: Doing) -> Option<()> {
        let person = &mut self.people[index];
        if person.doing != Doing::Nothing {
            return None;
        }
        person.doing = doing;
        self.send(index)
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let person = Person { doing: Doing::Nothing, pool: None, fate: None };
        vec![State {
            pool: Object::default(),
            ranges: Vec::new(),
            people: vec![person; PEOPLE],
            takes: self.takes,
            decisions: self.decisions,
            faults: self.faults,
            crashes: self.crashes,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for index in 0..PEOPLE {
            actions.extend([Action::Take(index, 1), Action::Take(index, 2), Action::Send(index)]);
            actions.extend([Action::Serve(index), Action::Lose(index), Action::Crash(index)]);
            for range in 0..state.ranges.len() {
                actions.extend([Action::Divide(index, range), Action::GiveBack(index, range)]);
            }
        }
        actions.extend((0..state.pool.late()).map(Action::Late));
        for (index, range) in state.ranges.iter().enumerate() {
            actions.extend((0..range.fate.late()).map(|late| Action::LateFate(index, late)));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Take(index, count) => {
                next.takes = next.takes.checked_sub(1)?;
                next.begin(index, Doing::Taking { count, piece: None })?;
            }
            Action::Divide(index, range) => {
                next.decisions = next.decisions.checked_sub(1)?;
                let into = next.ranges[range].range.cut(2, String::new).ok()?;
                next.begin(index, Doing::Deciding { range, fate: Fate::Divided { into } })?;
            }
            Action::GiveBack(index, range) => {
                next.decisions = next.decisions.checked_sub(1)?;
                let (start, end) = next.ranges[range].range.left();
                next.begin(index, Doing::Deciding { range, fate: Fate::GivenBack { start, end } })?;
            }
            Action::Send(index) => next.send(index)?,
            Action::Serve(index) => next.serve(index)?,
            Action::Lose(index) => {
                next.faults = next.faults.checked_sub(1)?;
                let person = &mut next.people[index];
                if let Some(write) = &mut person.pool {
                    write.unknown = true;
                    next.pool.haunt(write.sent.clone());
                } else {
                    let write = person.fate.as_mut()?;
                    let Doing::Deciding { range, .. } = person.doing else { return None };
                    write.unknown = true;
                    next.ranges[range].fate.haunt(write.sent.clone());
                }
            }
            Action::Crash(index) => {
                next.crashes = next.crashes.checked_sub(1)?;
                let person = &mut next.people[index];
                if let Some(write) = person.pool.take() {
                    next.pool.haunt(write.sent);
                }
                if let (Some(write), Doing::Deciding { range, .. }) = (person.fate.take(), &person.doing) {
                    next.ranges[*range].fate.haunt(write.sent);
                }
                person.doing = Doing::Nothing;
            }
            Action::Late(late) => {
                let sent = next.pool.arriving(late)?;
                next.pool.put(&sent);
            }
            Action::LateFate(range, late) => {
                let object = &mut next.ranges[range].fate;
                let sent = object.arriving(late)?;
                object.put(&sent);
            }
        }
        next.pool.forget(next.people.iter_mut().map(|person| &mut person.pool));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no id is out twice", |_, state: &State| state.broken.is_none()),
            Property::always("what is free is out to nobody", |_, state: &State| {
                // The next ids that the pool would give away.
                let mut pool = state.pool.state();
                (0..4).all(|_| {
                    let Ok((id, _)) = pool.take(1) else { return true };
                    let mut out = state.ranges.iter().filter(|range| range.is_out());
                    out.all(|range| id < range.range.start() || range.range.end() <= id)
                })
            }),
            Property::sometimes("what came back is out again", |_, state: &State| {
                let starts = |range: &Range| range.range.start();
                state.ranges.iter().any(|range| {
                    range.is_out()
                        && state.ranges.iter().any(|old| !old.is_out() && starts(old) == starts(range))
                })
            }),
        ]
    }
}

#[test]
fn no_id_is_out_twice_though_replies_are_lost() {
    explore(World { takes: 3, decisions: 2, faults: 1, crashes: 0 });
}

#[test]
fn no_id_is_out_twice_though_people_crash_half_way() {
    explore(World { takes: 3, decisions: 2, faults: 0, crashes: 1 });
}
