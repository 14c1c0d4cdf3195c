//! One request at work: enter or get in line, look who is gone, look for a circle, wait, look again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use leasehold_core::Result;

use super::{
    super::{
        deadlock::{self, Deadlock, LOCKS_MAX, Snapshot},
        handle::Inner,
        held::{Held, Lock},
        owner::Owner,
        session::{self, Dead, Session},
        state::{Claim, InLine, LockState, Standing},
    },
    LockRequest, Wanted,
};
use crate::{
    Wait,
    call::is_transient,
    register::{Next, Register},
    watch::TimedWake,
};

/// How long an owner waits before it looks for a deadlock, and again.
const DETECT_AFTER: Duration = Duration::from_secs(1);

/// One request at work, and what becomes of it when nobody waits for it any more.
pub(super) struct Campaign {
    inner: Arc<Inner>,
    owner: Arc<Owner>,
    name: String,
    wanted: Wanted,
    fair: bool,
    wait: Wait,
    wake: TimedWake,
    register: Arc<Register<LockState>>,
    session: Arc<Session>,
    claim: Claim,
    /// Whether the claim may be in the record, or may still get there.
    in_doubt: bool,
    /// Sessions that are over, until what they held is free.
    dead: BTreeMap<String, Dead>,
    /// Our own sessions that ended while this waited.
    spent: Vec<String>,
    /// Whether our locks may say what we wait for.
    noted: bool,
    /// Whether all of them do.
    note_stands: bool,
    look_for_dead_at: Duration,
    look_at: Duration,
}

impl Campaign {
    pub(super) async fn begin(request: LockRequest) -> Result<Self> {
        let LockRequest { inner, name, wanted, owner, wait, fair, .. } = request;
        let register = inner.register(&name)?;
        let session = inner.session().await?;
        let store = inner.leases.store();
        let now = store.environment().clock.monotonic();
        let wake = TimedWake::of_key(store, register.key(), wait);
        let claim = Claim {
            id: store.environment().identifier(),
            owner: owner.id.clone(),
            node: inner.leases.node().name().to_owned(),
            session: session.id.clone(),
            shared: wanted.shared,
        };
        Ok(Self {
            inner,
            owner,
            name,
            wanted,
            fair,
            wait,
            wake,
            register,
            session,
            claim,
            in_doubt: false,
            dead: BTreeMap::new(),
            spent: Vec::new(),
            noted: false,
            note_stands: false,
            look_for_dead_at: now,
            look_at: now + DETECT_AFTER,
        })
    }

    fn now(&self) -> Duration {
        self.inner.leases.store().environment().clock.monotonic()
    }

    pub(super) async fn run(&mut self) -> Result<Option<Lock>> {
        loop {
            let looked_at = self.now();
            self.renew_session().await?;
            let (standing, state) = match self.claim().await {
                // So many want it that the write did not get through. What is in doubt is settled by the next look.
                Err(error) if error.is_conflict() => match self.wait {
                    Wait::Try if !self.in_doubt => return Ok(None),
                    Wait::Try => return Err(error),
                    _ if self.wake.is_over() => return self.give_up().await,
                    _ => {
                        self.wake.pause(self.inner.ttl.poll()).await;
                        continue;
                    }
                },
                claimed => claimed?,
            };
            self.bury_dead();
            if let Some(token) = standing.token() {
                if self.session.validity().over().is_some() {
                    // It took so long to learn of it that it is over.
                    continue;
                }
                return Ok(Some(self.lock(token)));
            }
            if self.wake.is_over() && self.wait != Wait::Try {
                return self.give_up().await;
            }
            // Not at every change that the store tells of: many who wait for a lock that changes hands would do little else.
            let poll = self.inner.ttl.poll();
            let looks = self.now() >= self.look_for_dead_at;
            if looks && self.look_for_dead(&state).await? {
                continue;
            }
            let death = self.next_death(&state);
            if looks {
                self.look_for_dead_at = death.unwrap_or(Duration::MAX).min(self.now() + poll / 2);
            }
            if self.wait == Wait::Try {
                return Ok(None);
            }
            if self.now() >= self.look_at {
                match self.look_for_deadlock().await {
                    // Others kept changing what was to be noted: later, then.
                    Err(error) if error.is_conflict() && Deadlock::of(&error).is_none() => {
                        self.note_stands = false
                    }
                    looked => looked?,
                }
                self.look_at = self.now() + DETECT_AFTER;
            }
            // From look to look, whatever else was looked at between.
            let now = self.now();
            let rest = poll.saturating_sub(now.saturating_sub(looked_at)).max(poll / 10);
            self.wake.pause(death.map_or(rest, |death| rest.min(death.saturating_sub(now)))).await;
        }
    }

    /// A session that ended while this waited is replaced; its claim goes with it.
    async fn renew_session(&mut self) -> Result<()> {
        if self.session.validity().over().is_none() {
            return Ok(());
        }
        self.spent.push(self.session.id.clone());
        self.session = self.inner.session().await?;
        self.claim.session.clone_from(&self.session.id);
        self.claim.id = self.inner.leases.store().environment().identifier();
        Ok(())
    }

    /// Enters, or gets in line, once whoever is gone is out.
    async fn claim(&mut self) -> Result<(Standing, LockState)> {
        let in_line = match (self.wait, self.fair) {
            (Wait::Try, _) => InLine::Never,
            (_, true) => InLine::Always,
            (_, false) => InLine::IfItWouldStarve,
        };
        let was_in_doubt = std::mem::replace(&mut self.in_doubt, true);
        let (claim, permits) = (&self.claim, self.wanted.permits);
        let gone: Vec<&String> = self.dead.keys().chain(&self.spent).collect();
        let changed = self
            .register
            .change(|state| {
                let before = state.clone();
                for session in &gone {
                    state.evict(session);
                }
                let standing = state.enter(claim, permits, in_line)?;
                let outcome = (standing, state.clone());
                Ok(if *state == before { Next::Keep(outcome) } else { Next::Write(outcome) })
            })
            .await;
        self.in_doubt = match &changed {
            Ok((standing, _)) => *standing != Standing::Out,
            Err(error) => was_in_doubt || error.is_indeterminate(),
        };
        let (standing, state) = changed?;
        self.spent.clear();
        Ok((standing, state))
    }

    /// Looks whether anybody who holds the lock is gone for good. Failures to look are no news.
    async fn look_for_dead(&mut self, state: &LockState) -> Result<bool> {
        for held in &state.holders {
            let session = &held.claim.session;
            if *session == self.session.id || self.dead.contains_key(session) {
                continue;
            }
            match session::fence(&self.inner.leases, session, self.inner.ttl).await {
                Ok(Some(dead)) => drop(self.dead.insert(session.clone(), dead)),
                Ok(None) => {}
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(!self.dead.is_empty())
    }

    /// When the first of those who hold the lock will be gone, if it is not heard of until then.
    fn next_death(&self, state: &LockState) -> Option<Duration> {
        let now = self.now();
        let others = state.holders.iter().filter(|held| held.claim.session != self.session.id);
        let deaths = others.filter_map(|held| session::dies_at(&self.inner.leases, &held.claim.session));
        // One whose time is up and who could not be looked at is looked at again in time.
        deaths.filter(|death| *death > now).min()
    }

    /// What the dead held is free; their sessions can go.
    fn bury_dead(&mut self) {
        for dead in std::mem::take(&mut self.dead).into_values() {
            dead.bury(&self.inner.leases, self.inner.departure());
        }
    }

    /// The time is up: out of the line, unless the lock was granted meanwhile.
    async fn give_up(&mut self) -> Result<Option<Lock>> {
        let (id, in_doubt) = (&self.claim.id, self.in_doubt);
        let standing = self
            .register
            .change(|state| match state.standing(id) {
                Standing::Queued(_) => {
                    state.leave(id);
                    Ok(Next::Write(Standing::Out))
                }
                // A write that is still on its way is refused after this one.
                Standing::Out if in_doubt => Ok(Next::Write(Standing::Out)),
                standing => Ok(Next::Keep(standing)),
            })
            .await?;
        self.in_doubt = standing != Standing::Out;
        // What it took too long to learn of is over with its session.
        let lasts = self.session.validity().over().is_none();
        Ok(standing.token().filter(|_| lasts).map(|token| self.lock(token)))
    }

    fn lock(&mut self, token: crate::Token) -> Lock {
        self.in_doubt = false;
        let alone = !self.wanted.shared && self.wanted.permits == 0;
        Lock::new(self.held(), &self.name, token, alone)
    }

    fn held(&self) -> Held {
        Held {
            inner: self.inner.clone(),
            owner: self.owner.clone(),
            session: self.session.clone(),
            register: self.register.clone(),
            claim: self.claim.id.clone(),
        }
    }

    /// Notes what this owner waits for, and looks along such notes for a circle.
    async fn look_for_deadlock(&mut self) -> Result<()> {
        if self.owner.holds_nothing() {
            return Ok(());
        }
        self.noted = true;
        if !std::mem::replace(&mut self.note_stands, true) {
            note(&self.inner, &self.owner, Note::Waits(&self.name)).await?;
        } else if !self.owner.inherited.is_empty() {
            // Somebody else who was started under the same locks may have taken our note for its own.
            note(&self.inner, &self.owner, Note::StillWaits(&self.name)).await?;
        }
        let Some(circle) = self.circle().await? else { return Ok(()) };
        // Seen twice alike, it held at the moment in between: a claim that is gone never comes back.
        if self.circle().await?.as_ref() == Some(&circle) {
            return Err(self.register.told(circle.deadlock.into_error()));
        }
        Ok(())
    }

    /// A circle in which this one, or somebody who waits for it, is to give way.
    async fn circle(&self) -> Result<Option<deadlock::Circle>> {
        let mut locks = Snapshot::new();
        let mut open = vec![self.name.clone()];
        while let Some(name) = open.pop() {
            if locks.contains_key(&name) {
                continue;
            }
            if locks.len() == LOCKS_MAX {
                return Ok(None);
            }
            let mut state = self.inner.register(&name)?.read().await?;
            // A claim of our own that is no lock any more is on its way out: nobody waits for it for ever.
            let held = self.owner.held.lock().clone();
            let stands = |claim: &Claim| claim.owner != self.owner.id || held.contains_key(&claim.id);
            state.holders.retain(|holder| stands(&holder.claim));
            open.extend(state.holders.iter().filter_map(|held| held.waiting.clone()));
            locks.insert(name, state);
        }
        let mut circles = self.owner.line().filter_map(|owner| deadlock::find(owner, &self.name, &locks));
        Ok(circles.find(|circle| self.owner.line().any(|owner| circle.victim == owner)))
    }

    /// Takes back what was noted, before anybody hears of the outcome.
    pub(super) async fn conclude(mut self, outcome: Result<Option<Lock>>) -> Result<Option<Lock>> {
        if std::mem::take(&mut self.noted) {
            // Beside a lock that was got, an old note does no harm: who holds what it waits for can go on.
            let taken_back = note(&self.inner, &self.owner, Note::WaitedFor(&self.name)).await;
            if matches!(outcome, Ok(None)) {
                taken_back?;
            }
        }
        outcome
    }
}

/// What an owner notes.
#[derive(Clone, Copy)]
enum Note<'a> {
    Waits(&'a str),
    StillWaits(&'a str),
    WaitedFor(&'a str),
}

/// Writes into the records of locks that are held what their owner waits for.
async fn note(inner: &Inner, owner: &Owner, note: Note<'_>) -> Result<()> {
    let held = owner.held.lock().clone();
    let own = match note {
        Note::Waits(lock) => Some(Some(lock)),
        Note::StillWaits(_) => None,
        Note::WaitedFor(_) => Some(None),
    };
    for (claim, name) in own.iter().flat_map(|_| &held) {
        write_note(inner, name, |state| state.note_waiting(claim, own.flatten())).await?;
    }
    for (claim, name) in &owner.inherited {
        let written = write_note(inner, name, |state| match note {
            Note::Waits(lock) | Note::StillWaits(lock) => state.note_heir_waiting(claim, lock),
            Note::WaitedFor(lock) => state.note_heir_waited(claim, lock),
        });
        match written.await {
            // The name may be that of something else in another store; there is nothing to be noted then.
            Err(error) if !is_transient(&error) => {}
            written => written?,
        }
    }
    Ok(())
}

async fn write_note(inner: &Inner, name: &str, note: impl Fn(&mut LockState)) -> Result<()> {
    let noted = |state: &mut LockState| {
        let before = state.clone();
        note(state);
        Ok(if *state == before { Next::Keep(()) } else { Next::Write(()) })
    };
    inner.register(name)?.change(noted).await
}

impl Drop for Campaign {
    fn drop(&mut self) {
        self.bury_dead();
        let (inner, owner, noted) = (self.inner.clone(), self.owner.clone(), self.noted);
        let (in_doubt, register, id) = (self.in_doubt, self.register.clone(), self.claim.id.clone());
        if !in_doubt && !noted {
            return;
        }
        let leases = self.inner.leases.clone();
        let (session, name) = (self.session.clone(), self.name.clone());
        let departure = self.inner.departure();
        // Without a thread to do it on, the time to live frees what it got.
        let _ = leases.in_background(Box::pin(async move {
            let _departure = departure;
            while in_doubt && session.validity().over().is_none() {
                // Written even when there is nothing to take out: a write that is still on its way is refused then.
                let left = register.change(|state| {
                    state.leave(&id);
                    Ok(Next::Write(()))
                });
                match left.await {
                    Err(error) if is_transient(&error) || error.is_conflict() => {}
                    Ok(()) | Err(_) => break,
                }
            }
            if noted {
                let _ = note(&inner, &owner, Note::WaitedFor(&name)).await;
            }
        }));
    }
}
