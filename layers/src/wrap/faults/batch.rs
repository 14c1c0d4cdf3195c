//! Faults in batches: the whole call, or single entries of one that is not atomic.

use leasehold_core::{BatchOptions, Body, Error, Key, Operation, Outcome, Result};

use super::{
    Decision, Fault,
    adapter::{Faulty, error, truncated},
};
use crate::Verb;

impl Faulty {
    pub(super) async fn faulty_batch(
        &self,
        operations: Vec<Operation>,
        options: BatchOptions,
    ) -> Vec<Result<Outcome>> {
        let entries: Vec<(Verb, Key)> =
            operations.iter().map(|operation| (Verb::of(operation), operation.key().clone())).collect();
        let failed = |fault| -> Vec<Result<Outcome>> {
            entries.iter().map(|(verb, key)| Err(self.entry_error(fault, *verb, key))).collect()
        };
        match self.faults.decide(Verb::Batch, None) {
            Decision::Pass | Decision::Fault(Fault::Truncate | Fault::Disorder) => {
                self.entries(operations, options).await
            }
            Decision::Delay(wait) => {
                wait.await;
                self.entries(operations, options).await
            }
            Decision::Fault(Fault::Before) => failed(Fault::Before),
            Decision::Fault(Fault::After) => {
                drop(self.inner.batch(operations, options).await);
                failed(Fault::After)
            }
            Decision::Fault(Fault::Ghost) => match collected(operations).await {
                Ok(operations) => {
                    self.keep_batch(operations, options);
                    failed(Fault::Ghost)
                }
                Err(_) => failed(Fault::Before),
            },
            Decision::Hold(gate) => {
                gate.pass().await;
                self.entries(operations, options).await
            }
            Decision::HoldReply(gate) => {
                let results = self.entries(operations, options).await;
                gate.pass().await;
                results
            }
        }
    }

    /// Lets single entries go wrong and sends the others.
    async fn entries(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        if options.atomic {
            return self.inner.batch(operations, options).await;
        }
        let mut slots = Vec::with_capacity(operations.len());
        let mut sent = Vec::with_capacity(operations.len());
        let mut replies_held = Vec::new();
        for operation in operations {
            let (verb, key) = (Verb::of(&operation), operation.key().clone());
            let fault = match self.faults.decide(verb, Some(&key)) {
                Decision::Pass | Decision::Fault(Fault::Disorder) => None,
                Decision::Fault(fault) => Some(fault),
                Decision::Delay(wait) => {
                    wait.await;
                    None
                }
                Decision::Hold(gate) => {
                    gate.pass().await;
                    None
                }
                Decision::HoldReply(gate) => {
                    replies_held.push(gate);
                    None
                }
            };
            match fault {
                None | Some(Fault::After | Fault::Truncate | Fault::Disorder) => sent.push(operation),
                Some(Fault::Before) => {}
                Some(Fault::Ghost) => {
                    if let Ok(operations) = collected(vec![operation]).await {
                        self.keep_batch(operations, options);
                    }
                }
            }
            slots.push(fault.map(|fault| (fault, self.entry_error(fault, verb, &key))));
        }
        let mut done = self.inner.batch(sent, options).await.into_iter();
        for gate in replies_held {
            gate.pass().await;
        }
        slots
            .into_iter()
            .filter_map(|slot| match slot {
                None => done.next(),
                Some((Fault::Truncate, _)) => done.next().map(|result| match result? {
                    Outcome::Got(lookup) => Ok(Outcome::Got(truncated(lookup))),
                    other => Ok(other),
                }),
                Some((Fault::After, error)) => done.next().map(|_| Err(error)),
                Some((_, error)) => Some(Err(error)),
            })
            .collect()
    }

    fn entry_error(&self, fault: Fault, verb: Verb, key: &Key) -> Error {
        error(fault, verb.is_write()).on("batch", key).at(&self.inner)
    }

    fn keep_batch(&self, operations: Vec<Operation>, options: BatchOptions) {
        let inner = self.inner.clone();
        self.faults.keep_ghost(Box::pin(async move {
            inner.batch(operations, options).await.into_iter().try_for_each(|result| result.map(drop))
        }));
    }
}

/// The same operations with bodies at hand, so that they outlive the caller.
async fn collected(operations: Vec<Operation>) -> Result<Vec<Operation>> {
    let mut ready = Vec::with_capacity(operations.len());
    for operation in operations {
        ready.push(match operation {
            Operation::Put(key, body, options) => {
                Operation::Put(key, Body::from_bytes(body.bytes().await?), options)
            }
            other => other,
        });
    }
    Ok(ready)
}
