//! One store, and the way to it: slow, lossy, late, and cut off for a while.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Weak},
};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use leasehold_core::{
    BatchOptions, Body, BoxStream, Bytes, Capabilities, Capability, Changes, DeleteOptions, Entry, Error,
    ErrorKind, GetOptions, Key, Limits, ListOptions, Lookup, Metadata, Notifier, Object, Operation, Outcome,
    Precondition, PutOptions, Result, Scope, StorageAdapter, Store, Version, async_trait,
};
use tokio::sync::oneshot;

use super::{
    executor::{DIRECTOR, Micros, Noted, World},
    records::BEATS,
};

/// Whether the store wakes those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tells {
    Never,
    Always,
    /// Some wake-ups are lost, some watches end.
    Sometimes,
}

/// What is stored, and in which state the way there is.
pub(super) struct Network {
    values: BTreeMap<Key, (Bytes, Version)>,
    writes: u64,
    /// Whether equal contents have equal versions, as on S3.
    by_content: bool,
    tells: Tells,
    watches: Vec<(Scope, Notifier, Weak<()>)>,
    /// Which machines are cut off.
    cut: Vec<usize>,
    /// Whether calls fare badly.
    pub(super) stormy: bool,
    /// Whose heartbeats get lost.
    pub(super) unheard: Vec<usize>,
    /// Which calls arrive and are never answered: `get`, `put`, `delete`, `list`, `changes`.
    pub(super) mute: Vec<&'static str>,
    /// What happened, for the check that anything did.
    pub(super) counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) writes: u64,
    pub(super) ghosts: u64,
    pub(super) lost: u64,
}

#[derive(Clone)]
enum Request {
    Get(Key, GetOptions),
    Put(Key, Bytes, Precondition),
    Delete(Key, Precondition),
    List(ListOptions),
}

impl Request {
    fn verb(&self) -> &'static str {
        match self {
            Self::Get(..) => "get",
            Self::Put(..) => "put",
            Self::Delete(..) => "delete",
            Self::List(..) => "list",
        }
    }

    fn writes(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Delete(..))
    }
}

enum Answer {
    Got(Lookup),
    Put(Version),
    Deleted,
    Listed(Vec<Entry>),
}

type Reply = oneshot::Sender<Result<Answer>>;

/// What happens to one call.
enum Fate {
    Answered {
        there: Micros,
        back: Micros,
    },
    /// Not applied, and it is known.
    Refused(ErrorKind),
    /// Applied after so long, or never, and the answer is lost: a failure soon, or silence.
    Lost {
        arrival: Option<Micros>,
        silent: bool,
    },
    /// It arrives a second time, and nobody hears of that.
    Twice {
        again: Micros,
    },
    /// It arrives twice, and only the second answer comes back.
    Repeated,
}

impl Network {
    pub(super) fn new(by_content: bool, tells: Tells) -> Self {
        Self {
            values: BTreeMap::new(),
            writes: 0,
            by_content,
            tells,
            watches: Vec::new(),
            cut: Vec::new(),
            stormy: true,
            unheard: Vec::new(),
            mute: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn cut(&mut self, machine: usize, off: bool) {
        self.cut.retain(|other| *other != machine);
        if off {
            self.cut.push(machine);
        }
    }

    /// What is stored under a prefix.
    pub(super) fn stored(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let under = self.values.iter().filter(|(key, _)| key.starts_with(prefix));
        under.map(|(key, (bytes, _))| (key.as_str().to_owned(), bytes.clone())).collect()
    }

    fn version(&mut self, bytes: &Bytes) -> Version {
        self.writes += 1;
        if !self.by_content {
            return Version::new(self.writes.to_string());
        }
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Version::new(format!("{:x}", hasher.finish()))
    }
}

impl World {
    /// The store as it is seen from a machine.
    pub(super) fn store(&self, machine: usize) -> Store {
        let wire = Wire { world: self.clone(), machine };
        Store::new(wire).with_environment(self.environment(machine))
    }

    fn fate(&self, machine: usize, request: &Request) -> Fate {
        let writes = request.writes();
        let (cut, stormy) = {
            let network = self.network();
            (network.cut.contains(&machine), network.stormy)
        };
        if machine == DIRECTOR {
            return Fate::Answered { there: 0, back: 0 };
        }
        if cut {
            return match self.below(3) {
                0 => Fate::Refused(ErrorKind::Unavailable),
                silent => Fate::Lost { arrival: None, silent: silent == 1 },
            };
        }
        let beats = matches!(request, Request::Put(key, ..) if key.starts_with(BEATS));
        if beats && self.network().unheard.contains(&machine) {
            return Fate::Lost { arrival: None, silent: true };
        }
        let (there, back) = (1_000 + self.below(15_000), 1_000 + self.below(15_000));
        if self.network().mute.contains(&request.verb()) {
            return Fate::Lost { arrival: Some(there), silent: true };
        }
        if !stormy {
            return Fate::Answered { there, back };
        }
        let silent = self.chance(50);
        match (self.below(100), writes) {
            (0..3, _) => Fate::Refused(ErrorKind::Unavailable),
            (3..4, _) => Fate::Refused(ErrorKind::Throttled),
            (4..7, _) => Fate::Lost { arrival: None, silent },
            (7..12, true) => Fate::Lost { arrival: Some(there), silent },
            // Soon, when its sender is about to look what became of it, or long after.
            (12..17, true) => {
                let late = if self.chance(50) { 80_000 } else { 5_000_000 };
                Fate::Lost { arrival: Some(self.below(late)), silent }
            }
            (17..20, true) => Fate::Twice { again: self.below(5_000_000) },
            (20..22, true) => Fate::Repeated,
            (22..25, _) => Fate::Answered { there: self.below(700_000), back },
            (25..35, _) => Fate::Answered { there, back: self.below(700_000) },
            _ => Fate::Answered { there, back },
        }
    }

    fn send(&self, machine: usize, request: Request, reply: Reply) {
        self.network().counts.calls += 1;
        match self.fate(machine, &request) {
            Fate::Answered { there: 0, back: 0 } => drop(reply.send(self.arrive(machine, request, false))),
            Fate::Answered { there, back } => self.after(there, move |world| {
                let answer = world.arrive(machine, request, false);
                world.answer(machine, reply, answer, back);
            }),
            Fate::Refused(kind) => {
                let error = Error::new(kind, "the store does not serve this at the moment");
                self.after(2_000, move |_| drop(reply.send(Err(error))));
            }
            Fate::Lost { arrival, silent } => {
                self.network().counts.lost += 1;
                let error = Error::new(ErrorKind::Timeout, "the connection broke");
                let error = if request.writes() { error.indeterminate() } else { error };
                if let Some(arrival) = arrival {
                    self.after(arrival, move |world| drop(world.arrive(machine, request, true)));
                }
                if silent {
                    // Kept until the end of the world: nobody answers.
                    self.after(Micros::MAX / 2, move |_| drop(reply));
                } else {
                    let delay = 1_000 + self.below(40_000);
                    self.after(delay, move |_| drop(reply.send(Err(error))));
                }
            }
            Fate::Twice { again } => {
                let (there, back) = (1_000 + self.below(15_000), 1_000 + self.below(15_000));
                let copy = request.clone();
                self.after(there, move |world| {
                    let answer = world.arrive(machine, request, false);
                    world.answer(machine, reply, answer, back);
                    world.after(again, move |world| drop(world.arrive(machine, copy, true)));
                });
            }
            Fate::Repeated => self.after(5_000, move |world| {
                let first = world.arrive(machine, request.clone(), true);
                world.after(5_000, move |world| {
                    let answer = match (world.arrive(machine, request, false), first) {
                        // Somebody on the way sent it again: the refusal may be of our own doing.
                        (Err(error), _) => Err(error.indeterminate()),
                        (answer, _) => answer,
                    };
                    world.answer(machine, reply, answer, 5_000);
                });
            }),
        }
    }

    fn answer(&self, machine: usize, reply: Reply, answer: Result<Answer>, back: Micros) {
        self.after(back, move |world| {
            if world.network().cut.contains(&machine) {
                world.after(Micros::MAX / 2, move |_| drop(reply));
            } else {
                drop(reply.send(answer));
            }
        });
    }

    /// A request arrives at the store.
    fn arrive(&self, machine: usize, request: Request, unseen: bool) -> Result<Answer> {
        let mut network = self.network();
        match request {
            Request::Get(key, options) => {
                let Some((bytes, version)) = network.values.get(&key) else {
                    return Ok(Answer::Got(Lookup::Absent));
                };
                if options.if_changed_from.as_ref() == Some(version) {
                    return Ok(Answer::Got(Lookup::Unchanged));
                }
                let metadata = Metadata::new(version.clone(), bytes.len() as u64);
                let object = Object::new(metadata, 0..bytes.len() as u64, Body::from_bytes(bytes.clone()));
                Ok(Answer::Got(Lookup::Found(object)))
            }
            Request::Put(key, bytes, precondition) => {
                precondition.check(network.values.get(&key).map(|(_, version)| version))?;
                let version = network.version(&bytes);
                network.counts.writes += 1;
                network.counts.ghosts += u64::from(unseen);
                network.values.insert(key.clone(), (bytes.clone(), version.clone()));
                drop(network);
                let noted = Noted::Wrote { machine, key: key.clone(), bytes: bytes.clone(), unseen };
                self.note_event(noted);
                self.applied(machine, &key, Some(&bytes), &precondition);
                self.tell(&key);
                Ok(Answer::Put(version))
            }
            Request::Delete(key, precondition) => {
                precondition.check(network.values.get(&key).map(|(_, version)| version)).or_else(
                    |refused| if precondition == Precondition::None { Ok(()) } else { Err(refused) },
                )?;
                let existed = network.values.remove(&key).is_some();
                drop(network);
                if existed {
                    self.note(format!("m{machine} deleted {key}"));
                    self.applied(machine, &key, None, &precondition);
                    self.tell(&key);
                }
                Ok(Answer::Deleted)
            }
            Request::List(ListOptions { prefix, after, .. }) => {
                let prefix = prefix.as_str();
                let asked =
                    |key: &Key| key.starts_with(prefix) && after.as_ref().is_none_or(|after| key > after);
                let asked = network.values.iter().filter(|(key, _)| asked(key));
                let entry = |(key, (bytes, version)): (&Key, &(Bytes, Version))| {
                    Entry::new(key.clone(), Metadata::new(version.clone(), bytes.len() as u64))
                };
                Ok(Answer::Listed(asked.map(entry).collect()))
            }
        }
    }

    fn tell(&self, key: &Key) {
        let tells = self.network().tells;
        let (lost, ends) = match tells {
            Tells::Sometimes => (self.chance(30), self.chance(5)),
            Tells::Never | Tells::Always => (false, false),
        };
        let mut network = self.network();
        network.watches.retain(|(_, _, watched)| watched.strong_count() > 0);
        if ends {
            network.watches.retain(|(scope, ..)| !scope.covers(key));
        }
        if !lost {
            network.watches.iter().filter(|(scope, ..)| scope.covers(key)).for_each(|(_, to, _)| to.notify());
        }
    }
}

/// The way from one machine to the store.
#[derive(Clone)]
struct Wire {
    world: World,
    machine: usize,
}

impl Wire {
    async fn call(&self, request: Request) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        self.world.send(self.machine, request, reply);
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sim:m{}", self.machine)
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl StorageAdapter for Wire {
    fn capabilities(&self) -> Capabilities {
        Capabilities::none(Limits::default())
            .with(Capability::Linearizable)
            .with(Capability::ConditionalPut)
            .with(Capability::ConditionalDelete)
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        let got = self.get(key, GetOptions::default()).await?;
        Ok(got.found().map(|object| object.metadata))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        match self.call(Request::Get(key.clone(), options)).await? {
            Answer::Got(lookup) => Ok(lookup),
            _ => Err(Error::invalid("a get is answered by a lookup")),
        }
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        let bytes = body.bytes().await?;
        match self.call(Request::Put(key.clone(), bytes, options.precondition)).await? {
            Answer::Put(version) => Ok(version),
            _ => Err(Error::invalid("a put is answered by a version")),
        }
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        self.call(Request::Delete(key.clone(), options.precondition())).await.map(drop)
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let wire = self.clone();
        let listed = async move {
            match wire.call(Request::List(options)).await? {
                Answer::Listed(entries) => Ok(stream::iter(entries.into_iter().map(Ok))),
                _ => Err(Error::invalid("a list is answered by entries")),
            }
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn increment(&self, _: &Key, _: i64) -> Result<i64> {
        Err(Error::invalid("nobody increments here"))
    }

    async fn batch(&self, operations: Vec<Operation>, _: BatchOptions) -> Vec<Result<Outcome>> {
        operations.iter().map(|_| Err(Error::invalid("nobody sends batches here"))).collect()
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        if self.world.network().mute.contains(&"changes") {
            return std::future::pending().await;
        }
        let tells = self.world.network().tells;
        match tells {
            Tells::Never => return Ok(None),
            Tells::Sometimes if self.world.chance(10) => return Ok(None),
            Tells::Sometimes if self.world.chance(10) => {
                return Err(Error::new(ErrorKind::Unavailable, "no watch today"));
            }
            // Who asks across a network may wait for an answer for ever.
            Tells::Sometimes if self.world.chance(5) && self.world.network().stormy => {
                return std::future::pending().await;
            }
            Tells::Sometimes | Tells::Always => {}
        }
        let ((notifier, changes), watched) = (Changes::channel(), Arc::new(()));
        self.world.network().watches.push((scope.clone(), notifier, Arc::downgrade(&watched)));
        Ok(Some(changes.guarded_by(watched)))
    }
}
