//! A guarded record under holders of three tokens, each of which goes on for ever: no clock takes part, and a lease that
//! excluded nobody at all would be such a world.
//!
//! The calls of [`Guarded`](crate::Guarded) are beside it, step by step, because those are a driver: look, seal, serve, write, each
//! over what was seen last. Its own code is under chaos in `guarded/tests.rs`.

use stateright::{Model, Property};

use super::{
    explore,
    object::{Answer, Object, Write},
};

#[derive(Clone, Debug)]
struct World {
    /// How often each holder writes after it has sealed.
    writes: Vec<u8>,
    faults: u8,
    /// Whether a holder seals the record before it serves.
    seals: bool,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    /// The token in the record, and which of its writes this is; 0 for a seal.
    record: Object<Content>,
    holders: Vec<Holder>,
    /// The highest token whose holder has begun to serve.
    served: u64,
    faults: u8,
    broken: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Content {
    token: u64,
    value: (u64, u8),
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Holder {
    left: u8,
    serves: bool,
    fenced: bool,
    write: Option<Write<Content>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// Reads, and writes the token over what it read; or a value, when the token is there.
    Go(usize),
    Serve(usize),
    Lose(usize),
    /// Nobody waits for the write any more.
    Drop(usize),
    Late(usize),
}

fn token(holder: usize) -> u64 {
    holder as u64 + 1
}

impl World {
    fn go(&self, next: &mut State, index: usize) -> Option<()> {
        let found = next.record.state();
        let holder = &mut next.holders[index];
        if holder.write.is_some() || holder.fenced {
            return None;
        }
        if found.token > token(index) {
            holder.fenced = true;
            return Some(());
        }
        let content = if found.token == token(index) || (!self.seals && holder.serves) {
            holder.serves = true;
            holder.left = holder.left.checked_sub(1)?;
            Content { token: token(index), value: (token(index), holder.left) }
        } else if self.seals {
            Content { token: token(index), ..found }
        } else {
            holder.serves = true;
            next.served = next.served.max(token(index));
            return Some(());
        };
        holder.write = Some(Write::new(next.record.over(content, index.to_string())));
        Some(())
    }
}

impl State {
    fn apply(&mut self, content: Content) {
        if content.token < self.served || content.token < self.record.state().token {
            self.broken = Some("L5: a write of an older token after a newer holder served");
        }
    }

    fn serve(&mut self, index: usize) -> Option<()> {
        let mut write = self.holders[index].write.take()?;
        match write.answer(&self.record) {
            Answer::Applies => {
                self.apply(write.sent.new.state);
                self.record.put(&write.sent);
            }
            Answer::Applied => {}
            // It looks again.
            Answer::Refused => return Some(()),
            Answer::Open => {
                self.holders[index].write = Some(write);
                return Some(());
            }
            Answer::Untold => {
                self.broken = Some("a history too short for this world");
                return Some(());
            }
        }
        self.holders[index].serves = true;
        self.served = self.served.max(token(index));
        Some(())
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let holder = |left: &u8| Holder { left: *left, serves: false, fenced: false, write: None };
        vec![State {
            record: Object::default(),
            holders: self.writes.iter().map(holder).collect(),
            served: 0,
            faults: self.faults,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for index in 0..state.holders.len() {
            actions.extend([
                Action::Go(index),
                Action::Serve(index),
                Action::Lose(index),
                Action::Drop(index),
            ]);
        }
        actions.extend((0..state.record.late()).map(Action::Late));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Go(index) => self.go(&mut next, index)?,
            Action::Serve(index) => next.serve(index)?,
            Action::Lose(index) => {
                next.faults = next.faults.checked_sub(1)?;
                let write = next.holders[index].write.as_mut()?;
                write.unknown = true;
                next.record.haunt(write.sent.clone());
            }
            Action::Drop(index) => {
                next.faults = next.faults.checked_sub(1)?;
                let write = next.holders[index].write.take()?;
                next.record.haunt(write.sent);
            }
            Action::Late(late) => {
                let sent = next.record.arriving(late)?;
                next.apply(sent.new.state);
                next.record.put(&sent);
            }
        }
        next.record.forget(next.holders.iter_mut().map(|holder| &mut holder.write));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("L5 holds", |_, state: &State| state.broken.is_none()),
            Property::always("a seal changes no value", |_, state: &State| {
                let content = state.record.state();
                content.value.0 <= content.token
            }),
            Property::sometimes("an older holder is fenced after it served", |_, state: &State| {
                state.holders.iter().any(|holder| holder.serves && holder.fenced)
            }),
        ]
    }
}

#[test]
fn l5_holds_in_every_schedule_of_three_holders() {
    explore(World { writes: vec![2, 2, 1], faults: 3, seals: true });
}

#[test]
#[should_panic(expected = "L5 holds")]
fn l5_would_break_if_a_holder_only_read_first() {
    explore(World { writes: vec![2, 2, 1], faults: 2, seals: false });
}
