//! Keeps the map: one node at a time, under its term.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use leasehold_core::{ErrorKind, Result};

use super::{
    super::{Candidate, ShardId, ShardMap, plan},
    ELECTION, LedShards, MAP, TOPOLOGY, Topology,
    handle::{Inner, candidate, parts},
    mailbox::{self, Answer, Ask, Mailbox},
};
use crate::{
    Guarded, Leadership, NodeName, Wait,
    call::is_transient,
    locks::session,
    members::{MemberState, Role, View},
    watch::TimedWake,
};

/// Above this, a node gets nothing new.
const UNRELIABLE: f64 = 0.5;

/// How long one campaign lasts before it is asked whether to go on.
const CAMPAIGN: Duration = Duration::from_secs(5);

/// How long an answer stays that nobody fetches, in times to live.
const ANSWERS_KEPT: u32 = 10;

/// Stands for election, and leads, until the coordinator is dropped or left.
pub(super) async fn stand(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade().filter(|inner| !inner.has_left()) else { return };
        let environment = strong.store().environment().clone();
        let campaign = strong.elections.campaign(ELECTION).ttl(strong.ttl).wait(Wait::For(CAMPAIGN));
        let poll = strong.ttl.poll();
        // Nothing is held while this waits, so that dropping the coordinator ends it.
        drop(strong);
        match campaign.await {
            Ok(Some(leadership)) => {
                // Whatever ended it, the next one begins from what is stored.
                let _ = lead(&inner, &leadership).await;
                let _ = leadership.resign().await;
                if let Some(inner) = inner.upgrade() {
                    inner.take_role(Role::Follower).await;
                }
            }
            Ok(None) => {}
            Err(_) => environment.clock.sleep(environment.jitter(poll)).await,
        }
    }
}

/// Leads until the term is over, or something fails that does not pass.
async fn lead(inner: &Weak<Inner>, leadership: &Leadership) -> Result<()> {
    let Some(strong) = inner.upgrade() else { return Ok(()) };
    let (store, ttl, members) = (strong.store().clone(), strong.ttl, strong.members.clone());
    let mut leader = Leader {
        guarded: leadership.guard(store.clone()),
        term: leadership,
        mailbox: Mailbox::new(store.clone()),
        topology: None,
        dead: BTreeSet::new(),
        looks_closely_until: store.environment().clock.monotonic() + ttl.patience() * 2,
    };
    let mut left = strong.left.subscribe();
    let mut map = leader.begin(strong.count).await?;
    strong.take_role(Role::Leader).await;
    drop(strong);
    let mut wake = TimedWake::of_prefix(&store, &format!("{}/", mailbox::PREFIX), Wait::Forever)?;
    loop {
        let Some(strong) = inner.upgrade().filter(|inner| !inner.has_left()) else { return Ok(()) };
        let view = members.look().await?;
        let waits_for_death = leader.round(&strong, &view, &mut map).await?;
        drop(strong);
        let pause = if waits_for_death { ttl.poll() } else { ttl.renewal() };
        tokio::select! {
            biased;
            _ = leadership.lost() => return Ok(()),
            // The sender may be gone with the coordinator.
            _ = left.wait_for(|left| *left) => {}
            _ = wake.pause(pause) => {}
            _ = members.changed(view.generation, Wait::For(pause)) => {}
        }
    }
}

struct Leader<'a> {
    guarded: Guarded,
    term: &'a Leadership,
    mailbox: Mailbox,
    topology: Option<Topology>,
    /// Whose sessions are over for good, as far as they are named as members still. A session has one name for ever.
    dead: BTreeSet<NodeName>,
    /// Until then everybody is watched: nobody was heard of in this term yet.
    looks_closely_until: Duration,
}

impl Leader<'_> {
    /// Takes the map over, or makes it: from now on the leader before can write nothing.
    async fn begin(&self, count: u32) -> Result<ShardMap> {
        let map = match self.guarded.get(MAP).await? {
            Some(stored) => ShardMap::decode(&stored)?.led_by(self.term.term())?,
            None => ShardMap::new(self.term.term(), (0..count).map(ShardId::new))?,
        };
        self.guarded.put(MAP, map.encode()).await?;
        Ok(map)
    }

    /// One round: who is there, what is asked, what shall be. Returns whether somebody is awaited to die.
    async fn round(&mut self, inner: &Arc<Inner>, view: &View, map: &mut ShardMap) -> Result<bool> {
        let mut candidates = BTreeMap::new();
        let mut silent = BTreeSet::new();
        let mut buried = Vec::new();
        let present: BTreeSet<_> = view.members.iter().filter_map(candidate).collect();
        self.dead.retain(|name| present.contains(name));
        for member in &view.members {
            let Some(name) = candidate(member).filter(|name| !self.dead.contains(name)) else { continue };
            if member.silent > member.ttl.renewal() * 2 {
                silent.insert(name.clone());
            }
            if member.state != MemberState::Dead {
                let taker = Candidate::new(name.clone())
                    .weight(member.metadata.weight.unwrap_or(1))
                    .draining(member.state == MemberState::Draining)
                    .avoid(member.unreliability > UNRELIABLE);
                candidates.insert(name, taker);
            }
        }
        // Whoever is in the map and silent, or not there at all, keeps what it has until its session is over. It is watched
        // from the first missed beat, so that no time is lost when it turns out dead.
        let mut waits_for_death = false;
        let closely = inner.store().environment().clock.monotonic() < self.looks_closely_until;
        let me = inner.present.lock().me.clone();
        for name in named(map) {
            if name == me {
                // Whoever left it out because its own heart is not heard would take from it what it serves.
                let weight = inner.metadata.weight.unwrap_or(1);
                let unheard = || Candidate::new(name.clone()).weight(weight).avoid(true);
                candidates.entry(name.clone()).or_insert_with(unheard);
                continue;
            }
            if self.dead.contains(&name)
                || candidates.contains_key(&name) && !silent.contains(&name) && !closely
            {
                continue;
            }
            match session::fence(&inner.leases, parts(name.as_str()).1, inner.ttl).await {
                Ok(Some(fenced)) => {
                    candidates.remove(&name);
                    self.dead.insert(name);
                    buried.push(fenced);
                    continue;
                }
                Ok(None) => {}
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
            waits_for_death |= silent.contains(&name) || !candidates.contains_key(&name);
            candidates.entry(name.clone()).or_insert_with(|| Candidate::new(name).draining(true));
        }
        let mut next = map.clone();
        let mut answers = Vec::new();
        for (id, ask) in self.mailbox.open(inner.ttl.get() * ANSWERS_KEPT).await? {
            answers.push((id, self.decide(&mut next, &candidates, ask)));
        }
        let takers: Vec<_> = candidates.into_values().collect();
        next = next.apply(&plan(&next, &takers, &inner.options))?;
        if next.version() != map.version() {
            if let Err(error) = self.guarded.put(MAP, next.encode()).await {
                // Nobody else can have written it, save a later leader.
                if error.kind() == ErrorKind::Fenced || !is_transient(&error) {
                    return Err(error);
                }
                if let Some(stored) = self.guarded.get(MAP).await? {
                    *map = ShardMap::decode(&stored)?;
                }
                return Ok(true);
            }
            *map = next;
        }
        for (id, answer) in answers {
            self.mailbox.answer(&id, answer).await?;
        }
        for dead in buried {
            dead.bury(&inner.leases, ());
        }
        self.tell_topology(inner, &takers).await?;
        Ok(waits_for_death)
    }

    /// What becomes of one request.
    fn decide(&self, map: &mut ShardMap, candidates: &BTreeMap<NodeName, Candidate>, ask: Ask) -> Answer {
        let decided = match ask {
            Ask::GiveUp { shard, epoch, owner } => map.given_up(shard, epoch, &owner),
            Ask::Acquire { shard, to } => match candidates.keys().find(|name| name.as_str() == to) {
                Some(name) => map.asked_for(shard, name),
                None => return Answer::Refused("the node does not take part".into()),
            },
        };
        match decided {
            Ok(next) => {
                *map = next;
                Answer::Done
            }
            Err(error) => Answer::Refused(error.message().to_owned()),
        }
    }

    /// Tells everybody who takes part, when that changed.
    async fn tell_topology(&mut self, inner: &Arc<Inner>, takers: &[Candidate]) -> Result<()> {
        let node = |taker: &Candidate| (parts(taker.name().as_str()).0.to_owned(), taker.effective_weight());
        let topology = Topology {
            term: self.term.term(),
            leader: inner.leases.node().name().to_owned(),
            nodes: takers.iter().map(node).collect(),
        };
        if self.topology.as_ref() != Some(&topology) {
            self.guarded.put(TOPOLOGY, leasehold_core::Json(&topology)).await?;
            self.topology = Some(topology);
        }
        Ok(())
    }
}

/// Everybody that the map names.
fn named(map: &ShardMap) -> BTreeSet<NodeName> {
    map.shards()
        .iter()
        .flat_map(|shard| shard.owner().into_iter().chain(shard.moving_to()))
        .cloned()
        .collect()
}

impl Inner {
    /// Tells others what part this node takes. For people: a failure changes nothing.
    pub(super) async fn take_role(&self, role: Role) {
        if let Some(member) = &*self.member.lock().await {
            let _ = member.set_role(role).await;
        }
    }
}

impl LedShards {
    /// Who leads, as far as the store knows; `None` before anybody did. Costs two reads.
    ///
    /// # Errors
    /// As [`Elections::observe`](crate::Elections::observe).
    pub async fn leader(&self) -> Result<Option<crate::election::LeaderView>> {
        self.inner.elections.observe(ELECTION).await
    }
}
