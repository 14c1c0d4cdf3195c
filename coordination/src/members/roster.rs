//! Who is there, by what was seen and when, pure.

use std::{collections::BTreeMap, time::Duration};

use leasehold_core::Version;

use super::{
    Reliability,
    info::{Info, NodeMetadata, Role},
};
use crate::{Node, Ttl};

/// What one look at the store showed of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) info: Version,
    /// `None` when it never was heard of.
    pub(super) beat: Option<Version>,
}

/// One look: every node that has a record.
pub(super) type Look = BTreeMap<String, Listed>;

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberState {
    /// It was heard of, or nobody has watched for long enough to say otherwise.
    Alive,
    /// It is alive and gives up its work.
    Draining,
    /// It was not heard of for its whole time to live, plus what clocks may differ by.
    Dead,
}

impl MemberState {
    /// The name in messages and machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Draining => "draining",
            Self::Dead => "dead",
        }
    }
}

/// A node as an observer sees it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MemberView {
    /// Which node, and which start of it.
    pub node: Node,
    /// What part it takes.
    pub role: Role,
    /// How it is.
    pub state: MemberState,
    /// What it says of itself.
    pub metadata: NodeMetadata,
    /// How long it may be silent.
    pub ttl: Ttl,
    /// How long ago this observer saw it change last.
    pub silent: Duration,
    /// How unreliable it is, from 0 to 1; see [`Reliability`]. A reason to avoid it, never to take anything from it.
    pub unreliability: f64,
}

impl MemberView {
    /// Whether it may be given work.
    pub fn is_available(&self) -> bool {
        self.state == MemberState::Alive && self.role != Role::Observer
    }
}

struct Seen {
    listed: Listed,
    info: Info,
    /// Since when the beat is the one it is.
    since: Duration,
    reliability: Reliability,
    /// As it was told last.
    state: MemberState,
}

/// What one observer knows. Times are its own monotonic clock's.
#[derive(Default)]
pub(super) struct Roster {
    seen: BTreeMap<String, Seen>,
    /// Grows with every change of who is there, how they are and what they say.
    pub(super) generation: u64,
}

impl Roster {
    /// The nodes whose records have to be read before `look` can be noted.
    pub(super) fn unread(&self, look: &Look) -> Vec<String> {
        let is_unread = |(name, listed): &(&String, &Listed)| {
            self.seen.get(*name).is_none_or(|seen| seen.listed.info != listed.info)
        };
        look.iter().filter(is_unread).map(|(name, _)| name.clone()).collect()
    }

    /// Notes a look, which returned at `now`, and the records that were read for it.
    pub(super) fn note(&mut self, mut look: Look, mut read: BTreeMap<String, Info>, now: Duration) {
        let before = self.seen.len();
        self.seen.retain(|name, _| look.contains_key(name));
        let mut changed = before != self.seen.len();
        for (name, seen) in &mut self.seen {
            let Some(listed) = look.remove(name) else { continue };
            if let Some(info) = read.remove(name) {
                changed |= info != seen.info;
                if info.incarnation != seen.info.incarnation {
                    seen.reliability.died();
                    seen.since = now;
                }
                seen.info = info;
                seen.listed.info = listed.info;
            }
            if listed.beat != seen.listed.beat {
                seen.listed.beat = listed.beat;
                seen.since = now;
                seen.reliability.heartbeat(now);
            }
        }
        for (name, listed) in look {
            // A record that could not be read yet is left for the next look.
            let Some(info) = read.remove(&name) else { continue };
            let mut reliability = Reliability::new(ttl_of(&info).renewal());
            reliability.heartbeat(now);
            self.seen.insert(name, Seen { listed, info, since: now, reliability, state: MemberState::Alive });
            changed = true;
        }
        for seen in self.seen.values_mut() {
            let state = match now.saturating_sub(seen.since) >= ttl_of(&seen.info).patience() {
                true => MemberState::Dead,
                false if seen.info.draining => MemberState::Draining,
                false => MemberState::Alive,
            };
            if state == MemberState::Dead && seen.state != state {
                seen.reliability.died();
            }
            changed |= seen.state != state;
            seen.state = state;
        }
        self.generation += u64::from(changed);
    }

    /// What somebody made of a call to a node.
    pub(super) fn report(&mut self, name: &str, answered: bool, now: Duration) {
        if let Some(seen) = self.seen.get_mut(name) {
            if answered {
                seen.reliability.succeeded(now);
            } else {
                seen.reliability.timed_out(now);
            }
        }
    }

    /// When somebody may turn out dead next, if nothing is heard of anybody.
    pub(super) fn next_death(&self) -> Option<Duration> {
        let alive = self.seen.values().filter(|seen| seen.state != MemberState::Dead);
        alive.map(|seen| seen.since + ttl_of(&seen.info).patience()).min()
    }

    /// Everybody, by name.
    pub(super) fn view(&self, now: Duration) -> Vec<MemberView> {
        let view = |(name, seen): (&String, &Seen)| MemberView {
            node: Node::recorded(name.clone(), seen.info.incarnation.clone()),
            role: seen.info.role,
            state: seen.state,
            metadata: seen.info.metadata.clone(),
            ttl: ttl_of(&seen.info),
            silent: now.saturating_sub(seen.since),
            unreliability: seen.reliability.score(now),
        };
        self.seen.iter().map(view).collect()
    }
}

/// Records are checked when they are read.
fn ttl_of(info: &Info) -> Ttl {
    Ttl::new(Duration::from_millis(info.ttl_ms)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn info(incarnation: &str) -> Info {
        Info { incarnation: incarnation.into(), ttl_ms: TTL.as_millis() as u64, ..Info::default() }
    }

    fn version(text: &str) -> Version {
        Version::new(text)
    }

    struct Cluster(Roster, Look, BTreeMap<String, Info>);

    impl Cluster {
        fn say(&mut self, name: &str, info: Info) {
            let version = version(&format!("{info:?}"));
            self.2.insert(name.into(), info);
            let beat = self.1.get(name).and_then(|listed| listed.beat.clone());
            self.1.insert(name.into(), Listed { info: version, beat });
        }

        fn beat(&mut self, name: &str, text: &str) {
            self.1.get_mut(name).unwrap().beat = Some(version(text));
        }

        /// The states, and how many records were read.
        fn look(&mut self, seconds: u64) -> (Vec<(String, MemberState)>, usize) {
            let unread = self.0.unread(&self.1);
            let read = unread.iter().map(|name| (name.clone(), self.2[name].clone())).collect();
            let now = Duration::from_secs(seconds);
            self.0.note(self.1.clone(), read, now);
            let states = self.0.view(now).into_iter().map(|view| (view.node.name().to_owned(), view.state));
            (states.collect(), unread.len())
        }
    }

    #[test]
    fn who_is_silent_for_its_time_is_dead_and_who_beats_again_is_alive() {
        let mut cluster = Cluster(Roster::default(), Look::new(), BTreeMap::new());
        cluster.say("a", info("1"));
        cluster.say("b", info("1"));
        let (states, read) = cluster.look(0);
        assert_eq!((states.len(), read), (2, 2));
        let known = cluster.0.generation;
        for second in 1..=10 {
            cluster.beat("a", &second.to_string());
            assert_eq!(cluster.look(second).1, 0, "a heartbeat costs no read");
        }
        assert_eq!(cluster.0.generation, known, "nothing changed but the beats");
        cluster.beat("a", "11");
        // The time to live, a hundredth, and the guard.
        let (states, _) = cluster.look(11);
        assert_eq!(states[0].1, MemberState::Alive);
        assert_eq!(states[1].1, MemberState::Dead);
        assert_eq!(cluster.0.generation, known + 1);
        assert!(cluster.0.view(Duration::from_secs(11))[1].unreliability < 1.0 + f64::EPSILON);
        cluster.beat("b", "back");
        assert_eq!(cluster.look(12).0[1].1, MemberState::Alive);
        assert_eq!(cluster.0.next_death(), Some(Duration::from_secs(11) + Ttl::new(TTL).unwrap().patience()));
    }

    #[test]
    fn changes_of_records_are_read_once_and_told() {
        let mut cluster = Cluster(Roster::default(), Look::new(), BTreeMap::new());
        cluster.say("a", info("1"));
        cluster.look(0);
        cluster.say("a", Info { draining: true, ..info("1") });
        assert_eq!(cluster.look(1), (vec![("a".to_owned(), MemberState::Draining)], 1));
        cluster.say("a", info("2"));
        let generation = cluster.0.generation;
        assert_eq!(cluster.look(2), (vec![("a".to_owned(), MemberState::Alive)], 1));
        assert_eq!(cluster.0.generation, generation + 1);
        cluster.1.clear();
        assert_eq!(cluster.look(3), (vec![], 0));
        assert_eq!(cluster.0.generation, generation + 2);
    }

    #[test]
    fn failed_calls_make_a_node_one_to_avoid() {
        let mut cluster = Cluster(Roster::default(), Look::new(), BTreeMap::new());
        cluster.say("a", info("1"));
        cluster.look(0);
        for second in 1..4 {
            cluster.0.report("a", false, Duration::from_secs(second));
        }
        let score = |cluster: &Cluster| cluster.0.view(Duration::from_secs(4))[0].unreliability;
        assert!(score(&cluster) > 0.5);
        for _ in 0..8 {
            cluster.0.report("a", true, Duration::from_secs(4));
        }
        assert!(score(&cluster) < 0.5);
        cluster.0.report("nobody", false, Duration::from_secs(4));
    }
}
