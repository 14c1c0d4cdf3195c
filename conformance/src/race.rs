//! Tasks that start at the same moment.

use std::{future::Future, sync::Arc};

use tokio::{sync::Barrier, task::JoinSet};

use crate::{Check, Stop};

/// Runs all contenders as tasks that are released together; results come in the order of the contenders.
pub(crate) async fn race<T, F>(contenders: impl IntoIterator<Item = F>) -> Check<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let contenders: Vec<F> = contenders.into_iter().collect();
    let barrier = Arc::new(Barrier::new(contenders.len()));
    let mut tasks = JoinSet::new();
    for (position, contender) in contenders.into_iter().enumerate() {
        let barrier = barrier.clone();
        tasks.spawn(async move {
            barrier.wait().await;
            (position, contender.await)
        });
    }
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        results.push(joined.map_err(|error| Stop::failed(format!("a task did not end: {error}")))?);
    }
    results.sort_by_key(|(position, _)| *position);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// The same for steps that can fail: the first failure ends the case.
pub(crate) async fn race_all<T, F>(contenders: impl IntoIterator<Item = F>) -> Check<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Check<T>> + Send + 'static,
{
    race(contenders).await?.into_iter().collect()
}
