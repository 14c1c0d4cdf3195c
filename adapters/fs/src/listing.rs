//! A walk as a stream: a page at a time is read where it may wait, and handed out entry by entry.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    vec,
};

use futures_util::stream::Stream;
use leasehold_core::{BoxFuture, Entry, ListOptions, Result};

use crate::{list::Walk, store::Fs};

/// How many entries are read at a time, and held in memory.
const PAGE_ENTRIES: usize = 1000;

type Page = Result<(Vec<Entry>, Walk)>;

/// The entries of a list.
pub(crate) struct Listing {
    store: Fs,
    page: vec::IntoIter<Entry>,
    next: Option<BoxFuture<'static, Page>>,
}

impl Listing {
    pub(crate) fn new(store: Fs, options: ListOptions) -> Self {
        let (reader, names) = (store.clone(), store.0.layout.names);
        let first = async move {
            let start = move |inner: &crate::store::Inner| {
                let mut walk = Walk::new(&inner.root, names, options)?;
                walk.page(&inner.root, PAGE_ENTRIES).map(|page| (page, walk))
            };
            reader.read(start).await
        };
        Self { store, page: Vec::new().into_iter(), next: Some(Box::pin(first)) }
    }

    fn read_on(&self, mut walk: Walk) -> BoxFuture<'static, Page> {
        let store = self.store.clone();
        Box::pin(async move {
            store.read(move |inner| walk.page(&inner.root, PAGE_ENTRIES).map(|page| (page, walk))).await
        })
    }
}

impl Stream for Listing {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(entry) = self.page.next() {
                return Poll::Ready(Some(Ok(entry)));
            }
            let Some(next) = &mut self.next else { return Poll::Ready(None) };
            match ready!(next.as_mut().poll(context)) {
                Ok((page, walk)) => {
                    self.next = (!page.is_empty()).then(|| self.read_on(walk));
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.next = None;
                    return Poll::Ready(Some(Err(error.during("list").at(&self.store))));
                }
            }
        }
    }
}
