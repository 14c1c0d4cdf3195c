//! Follows the map: what it gives this node is served, what it takes away is given up, and the leader is told.

use std::sync::{Arc, Weak};

use leasehold_core::{Error, ErrorKind, Key, Result, async_trait};
use tokio::sync::{oneshot, watch};

use super::{
    super::{
        Move, ShardGuard, ShardId, ShardMap, ShardState,
        coordinator::{Tenure, lease_name},
    },
    ELECTION, LedShards, MAP, SESSION,
    handle::{Held, HeldState, Inner, Present, identity},
    mailbox::{self, Answer, Ask},
};
use crate::{Lost, Token, Wait, lease::validity::Validity, locks::session::Session, watch::TimedWake};

/// Takes part until the coordinator is dropped, or has left and serves nothing any more.
pub(super) async fn follow(inner: Weak<Inner>) {
    let Some((store, changed, ttl)) =
        inner.upgrade().map(|inner| (inner.store().clone(), inner.changed.clone(), inner.ttl))
    else {
        return;
    };
    let Ok(key) = Key::new(MAP) else { return };
    let mut wake = TimedWake::of_key(&store, &key, Wait::Forever);
    loop {
        let map = LedShards::map(&store).await;
        let Some(strong) = inner.upgrade() else { return };
        strong.renew_session().await;
        if let Ok(Some(map)) = map {
            strong.adopt(&map);
        }
        let is_told = strong.tell_leader().await;
        if strong.has_left() && !strong.serves() {
            return strong.end_session().await;
        }
        drop(strong);
        // Nothing is held while this waits, so that dropping the coordinator ends it.
        let pause = if wake.is_told() && is_told { ttl.poll() * 10 } else { ttl.poll() };
        tokio::select! {
            biased;
            () = changed.notified() => {}
            _ = wake.pause(pause) => {}
        }
    }
}

impl Inner {
    /// A session that is over takes all shards with it; another one begins without any.
    async fn renew_session(&self) {
        let over = self.present.lock().session.validity().over();
        if over.is_none() || self.has_left() {
            return;
        }
        // What cannot be opened now is opened in the next round.
        let Ok(session) = Session::open(&self.leases, self.ttl).await else { return };
        let Ok(me) = identity(self.leases.node(), &session.id) else { return };
        let metadata = self.metadata.clone().label(SESSION, me.as_str());
        let member = self.member.lock().await;
        let Some(member) = &*member else { return };
        if member.set_metadata(metadata).await.is_ok() {
            self.held.lock().clear();
            *self.present.lock() = Present { session: Arc::new(session), me };
        }
    }

    /// Whether a guard of this node may still be valid.
    fn serves(&self) -> bool {
        let held = self.held.lock();
        held.values().any(|held| matches!(held.state, HeldState::Served) && held.validity.over().is_none())
    }

    /// Gives up all that is left by ending the session: there may be no leader any more that could be told.
    async fn end_session(&self) {
        let session = self.present.lock().session.clone();
        // What fails here is over after the time to live.
        let _ = session.close().await;
        self.excuse();
        self.held.lock().clear();
    }

    /// Serves what the map gives to this node, and asks back what it takes away.
    fn adopt(self: &Arc<Self>, map: &ShardMap) {
        let Present { session, me } = self.present.lock().clone();
        if session.validity().over().is_some() {
            return;
        }
        let mut gained = Vec::new();
        let mut revoked = Vec::new();
        let mut held = self.held.lock();
        held.retain(|shard, held| {
            let tenure = map.shard(*shard).filter(|shard| shard.owner() == Some(&me));
            let stays = tenure.is_some_and(|shard| shard.epoch() == held.epoch);
            if !stays {
                // Whoever owns it now has the next epoch; what waits to be told is in the map.
                let by = Token::new(map.shard(*shard).map_or(held.epoch, super::super::Shard::epoch));
                held.validity.end(Lost::Superseded { by });
                if let HeldState::Returned(reply) = &mut held.state
                    && let Some(reply) = reply.take()
                {
                    let _ = reply.send(Ok(()));
                }
            }
            stays
        });
        for shard in map.owned_by(me.as_str()) {
            match (held.get(&shard.id()), shard.state()) {
                (None, ShardState::Owned { .. }) if !self.has_left() => {
                    let (revoke, revocations) = watch::channel(false);
                    let validity = Arc::new(Validity::within(session.validity().clone()));
                    let (id, epoch) = (shard.id(), shard.epoch());
                    gained.push((id, epoch, validity.clone(), revocations));
                    held.insert(id, Held { epoch, validity, revoke, state: HeldState::Served });
                }
                (None, _) => {
                    // Nobody serves it here: to be handed on as it is.
                    let (revoke, _) = watch::channel(true);
                    let validity = Arc::new(Validity::within(session.validity().clone()));
                    validity.end(Lost::Released);
                    let state = HeldState::Returned(None);
                    held.insert(shard.id(), Held { epoch: shard.epoch(), validity, revoke, state });
                }
                (Some(held), ShardState::Moving { .. }) => {
                    if !held.revoke.send_replace(true) {
                        revoked.push(shard.id());
                    }
                }
                (Some(_), _) => {}
            }
        }
        drop(held);
        for shard in revoked {
            self.moves.tell(Move::Revoked(shard));
        }
        for (shard, epoch, validity, revoked) in gained {
            let tenure = Assigned { inner: Arc::downgrade(self), shard, epoch };
            let poll = self.ttl.poll();
            let guard = ShardGuard::new(shard, Token::new(epoch), validity, poll, revoked, Box::new(tenure));
            match self.wanted.lock().remove(&shard) {
                Some(waiting) => {
                    // Whoever waited no longer does: it is a move like any other.
                    if let Err(guard) = waiting.send(guard) {
                        self.moves.tell(Move::Gained(guard));
                    }
                }
                None => self.moves.tell(Move::Gained(guard)),
            }
        }
    }

    /// Tells the leader what came back. Returns whether all of it was told.
    async fn tell_leader(&self) -> bool {
        let me = self.present.lock().me.to_string();
        let returned: Vec<_> = {
            let held = self.held.lock();
            let returned = held.iter().filter(|(_, held)| matches!(held.state, HeldState::Returned(_)));
            returned.map(|(shard, held)| (*shard, held.epoch)).collect()
        };
        if !returned.is_empty() && self.has_left() && self.nobody_leads().await {
            self.excuse();
            return false;
        }
        let asks = returned.into_iter().map(|(shard, epoch)| {
            let ask = Ask::GiveUp { shard, epoch, owner: me.clone() };
            // The same tenure comes back once, however often it is told.
            let key = format!("give-up-{shard}-{epoch}-{}", super::handle::parts(&me).1);
            async move {
                (shard, epoch, mailbox::ask(self.store(), &key, ask, self.ttl.get(), self.ttl.poll()).await)
            }
        });
        let mut is_told = true;
        for (shard, epoch, answer) in futures_util::future::join_all(asks).await {
            let mut held = self.held.lock();
            if let Ok(Answer::Refused(_)) = answer {
                // The map says otherwise by now, or will when it is read again.
                if held.get(&shard).is_some_and(|held| held.epoch == epoch) {
                    held.remove(&shard);
                }
                continue;
            }
            let Some(held) = held.get_mut(&shard).filter(|held| held.epoch == epoch) else { continue };
            match answer {
                Ok(Answer::Done) => {
                    if let HeldState::Returned(Some(reply)) =
                        std::mem::replace(&mut held.state, HeldState::Told)
                    {
                        let _ = reply.send(Ok(()));
                    }
                }
                // There is no leader at the moment, or none that hears: to be told again.
                Ok(_) | Err(_) => is_told = false,
            }
        }
        if !is_told && self.has_left() {
            self.excuse();
        }
        is_told
    }

    /// Whether it is sure that there is nobody to be told.
    async fn nobody_leads(&self) -> bool {
        let leader = self.elections.observe(ELECTION).await;
        leader.is_ok_and(|leader| leader.is_none_or(|leader| !leader.is_led()))
    }

    /// Lets those go who wait until the leader was told: this node leaves, and its session, which ends with its last guard, says
    /// the same.
    fn excuse(&self) {
        for held in self.held.lock().values_mut() {
            if let HeldState::Returned(reply) = &mut held.state
                && let Some(reply) = reply.take()
            {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(Ok(()));
            }
        }
    }
}

/// A shard that the map gave to this node, behind a guard.
struct Assigned {
    inner: Weak<Inner>,
    shard: ShardId,
    epoch: u64,
}

impl Assigned {
    /// Marks it as returned, for the agent to tell the leader. `false` when the tenure is over.
    fn give_back(&self, reply: Option<oneshot::Sender<Result<()>>>) -> bool {
        let Some(inner) = self.inner.upgrade() else { return false };
        let mut held = inner.held.lock();
        let Some(held) = held.get_mut(&self.shard).filter(|held| held.epoch == self.epoch) else {
            return false;
        };
        if matches!(held.state, HeldState::Served)
            && held.validity.over().is_none_or(|lost| lost == Lost::Released)
        {
            held.validity.end(Lost::Released);
            held.state = HeldState::Returned(reply);
            inner.changed.notify_one();
            return true;
        }
        false
    }
}

#[async_trait]
impl Tenure for Assigned {
    async fn end(self: Box<Self>) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        if !self.give_back(Some(reply)) {
            let message = format!("{} was over before it was given up", lease_name(self.shard));
            return Err(Error::new(ErrorKind::Fenced, message));
        }
        answer.await.unwrap_or(Ok(()))
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.give_back(None);
    }
}
