//! One shard on one node: acquire, seal, work file by file, and stand by for the next turn.
//!
//! Each file is two guarded writes, its result and then its entry in the shard's record, one after the other. So
//! a holder has at most one write pending, and a new holder fences all of it by sealing two records: the shard's,
//! which says where to go on, and the result of the file to go on with.

use std::sync::Arc;

use leasehold::{Bytes, Error, ErrorKind, Result, coordination::Guarded};

use super::{
    Context, compute, emit,
    holds::{Hold, passes},
};
use crate::demo::{
    plan::{Applied, Finding, Plan, Progress},
    protocol::Event,
    records,
};

/// Serves `shard` until somebody has completed it.
pub(super) async fn serve(context: Arc<Context>, shard: usize) -> Result<()> {
    context.orders.may_acquire(shard).await;
    loop {
        let hold = tokio::select! {
            hold = context.holds.acquire(shard) => hold?,
            () = context.orders.completed(shard) => return Ok(()),
        };
        let Some(hold) = hold else { continue };
        let turn = Turn {
            token: hold.token().get(),
            guarded: hold.guard(context.results.clone()),
            context: &context,
            hold: &hold,
            shard,
        };
        let token = turn.token;
        if ridden_out(turn.run().await)? == Some(true) {
            tokio::spawn(hold.park());
            return Ok(());
        }
        emit(&Event::Lost { shard, token });
        // What is over already needs no release.
        let _ = hold.release().await;
    }
}

/// `None` for a failure that passes: what was not acknowledged is done again under the next token, whose seal also
/// settles what became of it. The parent notices when it does not pass.
fn ridden_out<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if passes(error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The time under one token.
struct Turn<'a> {
    context: &'a Context,
    hold: &'a Hold,
    guarded: Guarded,
    shard: usize,
    token: u64,
}

impl Turn<'_> {
    /// Whether the shard is complete; if not, the lease was lost.
    async fn run(&self) -> Result<bool> {
        let Some(first) = unless_fenced(self.seal().await)? else { return Ok(false) };
        let (shard, token) = (self.shard, self.token);
        emit(&Event::Sealed { shard, token, step: first });
        for step in first..self.files().len() {
            let finding = self.compute(step).await?;
            if step + 1 == self.files().len() && !self.may_finish().await {
                return self.pending(step, &finding).await;
            }
            if unless_fenced(self.store(&self.guarded, step, &finding).await)?.is_none() {
                return self.pending(step, &finding).await;
            }
            emit(&Event::Stored { shard, token, step });
            if unless_fenced(self.log(Some(step)).await)?.is_none() {
                return self.pending(step, &finding).await;
            }
            emit(&Event::Logged { shard, token, step });
        }
        emit(&Event::Completed { shard, token });
        Ok(true)
    }

    fn files(&self) -> &[String] {
        &self.context.plan.shards[self.shard]
    }

    /// Fences every earlier holder, and returns the file to go on with.
    async fn seal(&self) -> Result<usize> {
        let first = self.log(None).await?.next_step();
        if let Some(path) = self.files().get(first) {
            // A read is enough: the first one under a token seals.
            self.guarded.get(Plan::result_key(self.shard, path)).await?;
        }
        Ok(first)
    }

    /// Extends the shard's record, under this token, and returns it.
    async fn log(&self, step: Option<usize>) -> Result<Progress> {
        let applied = Applied { token: self.token, step };
        let mut extended = Progress::default();
        let change = |current: Option<Bytes>| {
            extended = current.map_or(Ok(Progress::default()), |bytes| records::decode(&bytes))?;
            extended.applied.push(applied);
            records::encode(&extended).map(Some)
        };
        self.guarded.update(Plan::progress_key(self.shard), change).await?;
        Ok(extended)
    }

    async fn store(&self, guarded: &Guarded, step: usize, finding: &Finding) -> Result<()> {
        let key = Plan::result_key(self.shard, &self.files()[step]);
        guarded.put(key, records::encode(finding)?).await
    }

    async fn compute(&self, step: usize) -> Result<Finding> {
        let (input, path) = (self.context.input.clone(), self.files()[step].clone());
        let computed = tokio::task::spawn_blocking(move || compute::finding(&input, &path)).await;
        computed
            .map_err(|error| Error::new(ErrorKind::Unexpected, "a file's task ended early").because(error))
    }

    /// Waits until the faults are over, as the last file has to; `false` when the lease is lost before.
    async fn may_finish(&self) -> bool {
        emit(&Event::Holding { shard: self.shard, token: self.token });
        tokio::select! {
            biased;
            () = self.hold.ends() => false,
            () = self.context.orders.finishing() => self.hold.is_valid(),
        }
    }

    /// The lease is lost with a write still to do. Sends it to the store all the same, past this process's own
    /// clock, when a newer holder has sealed what it would write: the store has to refuse it.
    async fn pending(&self, step: usize, finding: &Finding) -> Result<bool> {
        let key = Plan::result_key(self.shard, &self.files()[step]);
        let newest = Guarded::read_unfenced(&self.context.results, &key).await?;
        if newest.is_some_and(|record| record.token.get() > self.token) {
            let (shard, token) = (self.shard, self.token);
            let sent = self.store(&self.guarded.trusting_only_the_store(), step, finding).await;
            emit(&Event::Stale { shard, token, step, refused: unless_fenced(sent)?.is_none() });
        }
        Ok(false)
    }
}

/// `None` for a lease that is over.
fn unless_fenced<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::Fenced => Ok(None),
        Err(error) => Err(error),
    }
}
