//! Batches: every entry framed or opened, and still one batch below.

use leasehold_core::{
    BatchOptions, Body, ByteRange, Error, ErrorKind, Key, Lookup, Object, Operation, Outcome, Result,
    StorageAdapter, refuse_batch,
};

use super::{
    Coding, Framed,
    read::{Seen, restless},
};

/// What becomes of one entry.
enum Plan {
    /// It goes down; of what a get finds this range is wanted.
    Below(Key, ByteRange),
    /// It was refused here.
    Refused(Error),
}

impl<C: Coding> Framed<C> {
    pub(super) async fn perform(
        &self,
        operations: Vec<Operation>,
        options: BatchOptions,
    ) -> Vec<Result<Outcome>> {
        if let Some(refused) = refuse_batch(&self.capabilities(), &operations, options) {
            return refused;
        }
        let (mut plans, mut below) = (Vec::with_capacity(operations.len()), Vec::new());
        for operation in operations {
            let key = operation.key().clone();
            match self.prepare(operation, options).await {
                Ok((range, operation)) => {
                    plans.push(Plan::Below(key, range));
                    below.push(operation);
                }
                Err(error) => plans.push(Plan::Refused(error.on("batch", &key).at(self))),
            }
        }
        if options.atomic && plans.iter().any(|plan| matches!(plan, Plan::Refused(_))) {
            return plans.into_iter().map(|plan| Err(plan.spoiled())).collect();
        }
        let mut done = self.inner.batch(below, options).await.into_iter();
        let mut results = Vec::with_capacity(plans.len());
        for plan in plans {
            results.push(match plan {
                Plan::Refused(error) => Err(error),
                Plan::Below(key, range) => {
                    let opened = self.result(&key, range, done.next().unwrap_or_else(short)).await;
                    opened.map_err(|error| error.on("batch", &key).at(self))
                }
            });
        }
        results
    }

    /// The operation below, and the range that is wanted of what it finds.
    async fn prepare(&self, operation: Operation, batch: BatchOptions) -> Result<(ByteRange, Operation)> {
        match operation {
            Operation::Put(key, body, options) => {
                let framed = self.framed(&key, body, &options).await?;
                Ok((ByteRange::Full, Operation::Put(key, framed, options)))
            }
            Operation::Get(key, mut options) => {
                if batch.atomic && may_fail(options.range) {
                    return Err(Error::invalid(
                        "a part that may begin past the end of its value cannot be read in an atomic batch here: \
                         read from the start, the last bytes, or all",
                    ));
                }
                let range = std::mem::take(&mut options.range);
                Ok((range, Operation::Get(key, options)))
            }
            other => Ok((ByteRange::Full, other)),
        }
    }

    async fn result(&self, key: &Key, range: ByteRange, result: Result<Outcome>) -> Result<Outcome> {
        match result? {
            Outcome::Got(Lookup::Found(object)) => {
                match self.found(key, gathered(object).await?, range).await? {
                    Seen::Value(object) => Ok(Outcome::Got(Lookup::Found(object))),
                    Seen::Changed => Err(restless()),
                }
            }
            other => Ok(other),
        }
    }
}

/// The same value at hand, where it is not too large: what a later entry of the batch wrote must not be asked about it.
async fn gathered(object: Object) -> Result<Object> {
    let Object { metadata, range, body, .. } = object;
    let body = match body.size() {
        Some(size) if size <= Body::COLLECT_BYTES_MAX => body.receive(size).await?.into(),
        _ => body,
    };
    Ok(Object::new(metadata, range, body))
}

/// Whether a range is wrong for some values. The batch below would be done before anybody knows.
fn may_fail(range: ByteRange) -> bool {
    match range {
        ByteRange::Full | ByteRange::Last(_) | ByteRange::From(0) | ByteRange::Bounded(0, _) => false,
        ByteRange::From(_) | ByteRange::Bounded(..) => true,
        _ => true,
    }
}

impl Plan {
    /// The error of an entry in an atomic batch of which some entry was refused.
    fn spoiled(self) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Below(key, _) => {
                Error::conflict("another entry of this atomic batch was refused; nothing was done")
                    .on("batch", &key)
            }
        }
    }
}

fn short() -> Result<Outcome> {
    Err(Error::new(ErrorKind::Unexpected, "the store below returned too few results"))
}

#[cfg(test)]
mod tests {
    use leasehold_core::GetOptions;

    use super::*;

    #[test]
    fn only_parts_that_begin_somewhere_may_be_wrong() {
        assert!(!may_fail(GetOptions::default().range));
        assert!(!may_fail((0..7).into()) && !may_fail(ByteRange::Last(3)));
        assert!(may_fail((1..7).into()) && may_fail((1..).into()));
    }
}
