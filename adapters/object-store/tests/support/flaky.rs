//! An object store that loses requests, answers and track of time.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::{
    Attribute, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    memory::InMemory, path::Path,
};
use parking_lot::Mutex;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing bad.
    None,
    /// It is lost on its way.
    Before,
    /// Its answer is lost.
    After,
    /// It is lost for now, and arrives after some later request.
    Ghost,
    /// Before it arrives, what was on its way does.
    Overtaken,
    /// It is applied, and then sent again by the client, whose second send is refused.
    SentTwice,
    /// Before it arrives, somebody else writes.
    Overwritten,
    /// As `SentTwice`, but somebody else writes in between.
    SentTwiceAndOverwritten,
    /// It is refused although its condition holds, or it has none, and nothing is written: a 409 that decides nothing.
    Undecided,
    /// It is applied, and then sent again by the client, whose second send meets a 409 that decides nothing.
    SentTwiceAndUndecided,
    /// It is refused for its pace.
    Throttled,
    /// It is refused for good.
    Denied,
    /// It is answered without ETag and version.
    NoVersion,
    /// Only part of the body arrives.
    Short,
    /// There is no bucket.
    NoBucket,
}

/// How often each fault is drawn.
pub(crate) type Odds = Vec<(f64, Fault)>;

pub(crate) struct Flaky {
    inner: InMemory,
    puts: Mutex<VecDeque<Fault>>,
    gets: Mutex<VecDeque<Fault>>,
    random: Mutex<Option<(fastrand::Rng, Odds, f64)>>,
    ghosts: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
    /// How often the write of each id was applied.
    applied: Mutex<HashMap<String, usize>>,
    requests: AtomicUsize,
    aborted: Arc<AtomicUsize>,
    arrived: Arc<AtomicUsize>,
    /// What to list instead of what is there.
    listed: Mutex<Option<Vec<&'static str>>>,
}

impl Flaky {
    pub(crate) fn new() -> Self {
        Self {
            inner: InMemory::new(),
            puts: Mutex::default(),
            gets: Mutex::default(),
            random: Mutex::default(),
            ghosts: Mutex::default(),
            applied: Mutex::default(),
            requests: AtomicUsize::new(0),
            aborted: Arc::default(),
            arrived: Arc::default(),
            listed: Mutex::default(),
        }
    }

    /// Draws faults of puts by their odds; reads are lost with `reads`.
    pub(crate) fn seeded(seed: u64, odds: Odds, reads: f64) -> Self {
        let flaky = Self::new();
        *flaky.random.lock() = Some((fastrand::Rng::with_seed(seed), odds, reads));
        flaky
    }

    /// What happens to the next puts, and parts, and completions.
    pub(crate) fn puts(&self, faults: impl IntoIterator<Item = Fault>) {
        self.puts.lock().extend(faults);
    }

    /// What happens to the next reads.
    pub(crate) fn gets(&self, faults: impl IntoIterator<Item = Fault>) {
        self.gets.lock().extend(faults);
    }

    pub(crate) fn lists(&self, names: Vec<&'static str>) {
        *self.listed.lock() = Some(names);
    }

    /// How many requests there were since the last time.
    pub(crate) fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn aborted(&self) -> usize {
        self.aborted.load(Ordering::SeqCst)
    }

    /// How many parts of uploads have arrived.
    pub(crate) fn arrived(&self) -> usize {
        self.arrived.load(Ordering::SeqCst)
    }

    /// What is really there.
    pub(crate) fn inner(&self) -> &InMemory {
        &self.inner
    }

    /// How often each write was applied.
    pub(crate) fn applied(&self) -> HashMap<String, usize> {
        self.applied.lock().clone()
    }

    /// No more faults; what was on its way arrives.
    pub(crate) async fn calm(&self) {
        *self.random.lock() = None;
        self.release(usize::MAX).await;
    }

    fn draw_put(&self) -> Fault {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if let Some(fault) = self.puts.lock().pop_front() {
            return fault;
        }
        if let Some((random, odds, _)) = &mut *self.random.lock() {
            let mut drawn = random.f64();
            for (odds, fault) in odds {
                drawn -= *odds;
                if drawn < 0.0 {
                    return *fault;
                }
            }
        }
        Fault::None
    }

    fn draw_get(&self) -> Fault {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if let Some(fault) = self.gets.lock().pop_front() {
            return fault;
        }
        match &mut *self.random.lock() {
            Some((random, _, reads)) => match random.f64() < *reads {
                true => Fault::Before,
                false => Fault::None,
            },
            None => Fault::None,
        }
    }

    async fn release(&self, count: usize) {
        for _ in 0..count {
            let Some((location, payload, options)) = self.ghosts.lock().pop() else { break };
            drop(self.apply(&location, payload, options).await);
        }
    }

    async fn apply(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let id =
            options.attributes.get(&Attribute::Metadata("leaseholdwrite".into())).map(|id| id.to_string());
        let done = self.inner.put_opts(location, payload, options).await?;
        *self.applied.lock().entry(id.unwrap_or_default()).or_default() += 1;
        Ok(done)
    }
}

fn lost() -> Error {
    Error::Generic { store: "Flaky", source: io::Error::from(io::ErrorKind::ConnectionReset).into() }
}

fn undecided(location: &Path) -> Error {
    Error::AlreadyExists { path: location.to_string(), source: "409".into() }
}

fn no_bucket(location: &Path) -> Error {
    let text = "Server returned non-2xx status code: 404 Not Found: <Error><Code>NoSuchBucket</Code></Error>";
    Error::NotFound { path: location.to_string(), source: text.into() }
}

fn status(status: u16) -> Error {
    // As `object_store` words it.
    let text = format!("Server returned non-2xx status code: {status} It says so: no");
    Error::Generic { store: "Flaky", source: text.into() }
}

#[async_trait::async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.draw_put();
        tokio::task::yield_now().await;
        let answer = match fault {
            Fault::None | Fault::Short => self.apply(location, payload, options).await,
            Fault::Before => Err(lost()),
            Fault::After => self.apply(location, payload, options).await.and(Err(lost())),
            Fault::Ghost => {
                self.ghosts.lock().push((location.clone(), payload, options));
                Err(lost())
            }
            Fault::Overtaken => {
                self.release(usize::MAX).await;
                self.apply(location, payload, options).await
            }
            Fault::Overwritten => {
                self.inner.put_opts(location, "of somebody else".into(), PutOptions::default()).await?;
                self.apply(location, payload, options).await
            }
            Fault::SentTwice => {
                drop(self.apply(location, payload.clone(), options.clone()).await);
                tokio::task::yield_now().await;
                self.apply(location, payload, options).await
            }
            Fault::SentTwiceAndOverwritten => {
                drop(self.apply(location, payload.clone(), options.clone()).await);
                self.inner.put_opts(location, "of somebody else".into(), PutOptions::default()).await?;
                self.apply(location, payload, options).await
            }
            Fault::Undecided => Err(undecided(location)),
            Fault::SentTwiceAndUndecided => {
                self.apply(location, payload, options).await.and(Err(undecided(location)))
            }
            Fault::Throttled => Err(status(429)),
            Fault::NoBucket => Err(no_bucket(location)),
            Fault::Denied => {
                Err(Error::PermissionDenied { path: location.to_string(), source: "403".into() })
            }
            Fault::NoVersion => self.apply(location, payload, options).await.map(|mut answer| {
                (answer.e_tag, answer.version) = (None, None);
                answer
            }),
        };
        tokio::task::yield_now().await;
        if self.random.lock().as_mut().is_some_and(|(random, ..)| random.bool()) {
            self.release(1).await;
        }
        answer
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.draw_put() {
            Fault::None => {
                let upload = self.inner.put_multipart_opts(location, opts).await?;
                let faults = std::mem::take(&mut *self.puts.lock());
                let (aborted, arrived) = (self.aborted.clone(), self.arrived.clone());
                Ok(Box::new(FlakyUpload { upload, faults, aborted, arrived }))
            }
            _ => Err(lost()),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.draw_get() {
            Fault::None => self.inner.get_opts(location, options).await,
            Fault::Short => {
                let mut found = self.inner.get_opts(location, options).await?;
                let empty = GetResultPayload::Stream(futures_util::stream::empty().boxed());
                let whole = std::mem::replace(&mut found.payload, empty);
                if let GetResultPayload::Stream(chunks) = whole {
                    let cut = chunks.map(|chunk| chunk.map(|chunk| chunk.slice(..chunk.len() / 2)));
                    found.payload = GetResultPayload::Stream(cut.boxed());
                }
                Ok(found)
            }
            Fault::NoBucket => Err(no_bucket(location)),
            _ => Err(lost()),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.draw_put() {
            Fault::None => self.inner.delete_stream(locations),
            Fault::NoBucket => locations.map(|location| Err(no_bucket(&location?))).boxed(),
            // As Azure does when a whole bulk request fails: one error for all of them.
            Fault::After => {
                let deleted = self.inner.delete_stream(locations);
                let all = async { Err(deleted.try_collect::<Vec<_>>().await.err().unwrap_or_else(lost)) };
                futures_util::stream::once(all).boxed()
            }
            Fault::Throttled => futures_util::stream::once(async { Err(status(429)) }).boxed(),
            _ => futures_util::stream::once(async { Err(lost()) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.draw_get() {
            Fault::None => {}
            Fault::NoBucket => {
                return futures_util::stream::once(async { Err(no_bucket(&Path::default())) }).boxed();
            }
            _ => return futures_util::stream::once(async { Err(lost()) }).boxed(),
        }
        let Some(names) = self.listed.lock().clone() else { return self.inner.list(prefix) };
        let objects = names.into_iter().map(|name| {
            Ok(ObjectMeta {
                location: Path::parse(name)?,
                last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
                size: 0,
                e_tag: Some("\"1\"".into()),
                version: None,
            })
        });
        futures_util::stream::iter(objects.collect::<Vec<_>>()).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An upload whose parts and completion fail as it is told.
#[derive(Debug)]
struct FlakyUpload {
    upload: Box<dyn MultipartUpload>,
    faults: VecDeque<Fault>,
    aborted: Arc<AtomicUsize>,
    arrived: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl MultipartUpload for FlakyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.faults.pop_front().unwrap_or(Fault::None) {
            Fault::None => {
                let (part, arrived) = (self.upload.put_part(data), self.arrived.clone());
                Box::pin(async move {
                    part.await?;
                    arrived.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })
            }
            _ => Box::pin(async { Err(lost()) }),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.faults.pop_front().unwrap_or(Fault::None) {
            Fault::None => self.upload.complete().await,
            Fault::After => self.upload.complete().await.and(Err(lost())),
            Fault::Undecided => Err(undecided(&Path::default())),
            Fault::SentTwiceAndUndecided => {
                self.upload.complete().await.and(Err(undecided(&Path::default())))
            }
            Fault::Throttled => Err(status(429)),
            _ => Err(lost()),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.aborted.fetch_add(1, Ordering::SeqCst);
        self.upload.abort().await
    }
}

impl fmt::Debug for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flaky")
    }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flaky")
    }
}
