//! Many keys in one call.

use crate::{
    BatchOptions, Error, ErrorKind, GetOptions, IntoBody, IntoKey, Object, Operation, Outcome, PutOptions,
    Result, Store, Version,
};

impl Store {
    /// Reads many values: one result for each key, in order.
    pub async fn get_many<K: IntoKey>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Object>>> {
        let operations =
            keys.into_iter().map(|key| Ok(Operation::Get(key.into_key()?, GetOptions::default())));
        let results = self.sound_only(operations.collect()).await;
        let found = |outcome| match outcome {
            Outcome::Got(lookup) => Ok(lookup.found()),
            _ => Err(mismatch()),
        };
        results.into_iter().map(|result| result.and_then(found)).collect()
    }

    /// Writes many values, without precondition: one result for each, in order. Not all or nothing.
    pub async fn put_many<K: IntoKey, B: IntoBody>(
        &self,
        values: impl IntoIterator<Item = (K, B)>,
    ) -> Vec<Result<Version>> {
        let operations = values.into_iter().map(|(key, body)| {
            let key = key.into_key()?;
            let body = body.into_body().map_err(|error| error.on("put", &key))?;
            Ok(Operation::Put(key, body, PutOptions::default()))
        });
        let results = self.sound_only(operations.collect()).await;
        let version = |outcome| match outcome {
            Outcome::Put(version) => Ok(version),
            _ => Err(mismatch()),
        };
        results.into_iter().map(|result| result.and_then(version)).collect()
    }

    /// Performs a batch: one result for each operation, in order.
    ///
    /// With [`BatchOptions::atomic`] either all take effect or none; where the store does not offer that, every
    /// result is [`Unsupported`](ErrorKind::Unsupported) and nothing was done.
    pub async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        self.adapter().batch(operations, options).await
    }

    /// Sends the sound operations and puts the results back where they belong among the unsound ones.
    async fn sound_only(&self, operations: Vec<Result<Operation>>) -> Vec<Result<Outcome>> {
        let mut results = Vec::with_capacity(operations.len());
        let mut sound = Vec::with_capacity(operations.len());
        for operation in operations {
            match operation {
                Ok(operation) => {
                    sound.push(operation);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let mut done = self.batch(sound, BatchOptions::default()).await.into_iter();
        results
            .into_iter()
            .map(|result| result.or_else(|| done.next()).unwrap_or_else(|| Err(mismatch())))
            .collect()
    }
}

fn mismatch() -> Error {
    Error::new(ErrorKind::Unexpected, "the adapter's batch did not return one fitting result per operation")
}
