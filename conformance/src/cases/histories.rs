//! C1, C3, C5: what concurrent clients see could have happened one call at a time.

use leasehold_core::{Capability, Error, Result, Store, Version};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    history::{Action, Pending, Recorder, Reply, Verdict, check},
    race::race_all,
};

pub(super) const CASES: &[Case] = &[
    case!(C1, a_history_of_racing_clients_is_linearizable, [Linearizable, ConditionalPut]),
    case!(C1, a_history_without_conditions_is_linearizable, [Linearizable]),
];

/// One client with what it last saw of each key.
struct Client {
    number: u64,
    store: Store,
    recorder: Recorder,
    random: fastrand::Rng,
    conditions: Conditions,
    seen: [Option<Version>; 2],
}

/// Which calls have preconditions.
#[derive(Clone, Copy)]
struct Conditions {
    puts: bool,
    deletes: bool,
}

const KEYS: [&str; 2] = ["h/x", "h/x/y"];

async fn a_history_of_racing_clients_is_linearizable(trial: Trial) -> Check {
    let deletes = trial.claims(Capability::ConditionalDelete);
    history(&trial, Conditions { puts: true, deletes }).await
}

async fn a_history_without_conditions_is_linearizable(trial: Trial) -> Check {
    history(&trial, Conditions { puts: false, deletes: false }).await
}

async fn history(trial: &Trial, conditions: Conditions) -> Check {
    let handles = trial.handles(4).await?;
    let recorder = Recorder::new();
    let clients: Vec<Client> = (0..6_u64)
        .map(|number| Client {
            number,
            store: handles[number as usize % 4].clone(),
            recorder: recorder.clone(),
            random: trial.random(),
            conditions,
            seen: [None, None],
        })
        .collect();
    let steps = trial.rounds(100).max(20) as u64;
    race_all(clients.into_iter().map(|mut client| async move {
        for step in 0..steps {
            client.call(step).await?;
            if step % 4 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }))
    .await?;
    match check(&recorder.records()) {
        Verdict::Linearizable => Ok(()),
        verdict => Err(Stop::failed(format!("{verdict}\nseed {}", trial.seed()))),
    }
}

/// Ends a record: a reply, a conflict, an unknown outcome that is left open, or a call that never took place.
fn end<T>(pending: Pending, result: Result<T>, reply: impl FnOnce(T) -> Reply) -> Check {
    match result {
        Ok(value) => pending.end(reply(value)),
        Err(error) if error.is_indeterminate() => drop(pending),
        Err(error) if error.is_conflict() => pending.end(Reply::Conflict),
        Err(error) if error.is_retryable() => pending.withdraw(),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

impl Client {
    async fn call(&mut self, step: u64) -> Check {
        let which = self.random.usize(..KEYS.len());
        let key = KEYS[which];
        // No value comes twice, so that it does not matter whether a version can: puts are too far apart for increments to
        // make them meet, and no two sums of random numbers are the same.
        let fresh = (((self.number + 1) * 1000 + step) as i64) << 48;
        let delta = self.random.i64(1..1 << 40);
        let (choice, Conditions { puts, deletes }) = (self.random.u8(..10), self.conditions);
        let action = match (choice, self.seen[which].clone()) {
            (0..3, _) => Action::Get,
            (3..5, Some(version)) if puts => Action::Replace(version.to_string(), fresh),
            (5, Some(version)) if deletes => Action::DeleteIf(version.to_string()),
            (6, _) if puts => Action::Create(fresh),
            (7, _) => Action::Increment(delta),
            (8, _) => Action::Delete,
            _ => Action::Put(fresh),
        };
        let pending = self.recorder.begin(self.number, key, action.clone());
        let store = &self.store;
        match action {
            Action::Get => {
                let result = read(store, key).await;
                if let Ok(Some((_, version))) = &result {
                    self.seen[which] = Some(version.clone());
                }
                let reply = |found: Option<(i64, Version)>| {
                    found.map_or(Reply::Absent, |(value, version)| Reply::Found(value, version.to_string()))
                };
                return end(pending, result, reply);
            }
            Action::Increment(delta) => return end(pending, store.increment(key, delta).await, Reply::Sum),
            Action::Delete => return end(pending, store.delete(key).await, |()| Reply::Deleted),
            Action::DeleteIf(version) => {
                let result = store.delete(key).if_match(Version::new(version)).await;
                return end(pending, result, |()| Reply::Deleted);
            }
            _ => {}
        }
        let put = store.put(key, fresh.to_string());
        let result = match action {
            Action::Create(_) => put.if_absent().await,
            Action::Replace(version, _) => put.if_match(Version::new(version)).await,
            _ => put.await,
        };
        if let Ok(version) = &result {
            self.seen[which] = Some(version.clone());
        }
        end(pending, result, |version| Reply::Written(version.to_string()))
    }
}

async fn read(store: &Store, key: &str) -> Result<Option<(i64, Version)>> {
    let Some(object) = store.get(key).await? else { return Ok(None) };
    let version = object.version().clone();
    let text = object.text().await?;
    let value = text
        .trim_ascii_end()
        .parse()
        .map_err(|_| Error::invalid(format!("{text:?} is nothing that was written")))?;
    Ok(Some((value, version)))
}
