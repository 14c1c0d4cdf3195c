//! A directory as a store, beside the system calls alone and beside its neighbours.
//!
//! `cargo bench -p leasehold-benches --bench directory [get|put|durable|batch|cas|list|layer]`. Overheads are measured in
//! memory (`MEMORY`, by default `/dev/shm`), durability on a disk (`DISK`, by default the target directory's).

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{
    fs,
    future::Future,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::StreamExt;
use leasehold::{Store, fs::Fs, memory::Memory};
use leasehold_benches::{Contest, Measure, on_threads, write_raw};
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path as ObjectPath};
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (memory, disk) = (place("MEMORY", "/dev/shm"), place("DISK", env!("CARGO_TARGET_TMPDIR")));
    let mut all = true;
    if runs("get") {
        for size in [128, 4096] {
            for tasks in [1, 16] {
                all &= get(&runtime, &memory, "memory", size, tasks, 1);
                all &= get(&runtime, &disk, "disk, page cache", size, tasks, 1);
                all &= get(&runtime, &disk, "disk, page cache, files reused", size, tasks, 3);
            }
        }
    }
    if runs("put") {
        for tasks in [1, 16] {
            all &= put(&runtime, &memory, tasks);
        }
    }
    if runs("durable") {
        all &= put_durable(&runtime, &disk);
    }
    if runs("batch") {
        for replaces in [true, false] {
            all &= put_batches(&runtime, &disk, replaces);
        }
    }
    if runs("cas") {
        all &= compare_and_swap(&runtime, &memory);
    }
    if runs("list") {
        all &= list(&runtime, &memory);
    }
    if runs("layer") {
        layer(&runtime);
    }
    println!("\n{}", if all { "every floor holds" } else { "a floor was MISSED" });
}

fn place(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
}

fn directory(at: &Path) -> TempDir {
    tempfile::Builder::new().prefix("leasehold-bench-").tempdir_in(at).unwrap()
}

fn open(runtime: &Runtime, path: &Path, durable: bool) -> Store {
    Store::new(runtime.block_on(async { Fs::open(path).durable(durable).await }).unwrap())
}

/// Durable, and the files of replaced values are written again.
fn open_reusing(runtime: &Runtime, path: &Path) -> Store {
    Store::new(runtime.block_on(async { Fs::open(path).reuse_files(true).await }).unwrap())
}

/// Runs `tasks` tasks, each with the numbers of its share of `operations`.
fn in_tasks<F: Future<Output = ()> + Send + 'static>(
    runtime: &Runtime,
    operations: usize,
    tasks: usize,
    work: impl Fn(std::iter::StepBy<std::ops::Range<usize>>) -> F,
) {
    runtime.block_on(async {
        let running: Vec<_> =
            (0..tasks).map(|task| tokio::spawn(work((task..operations).step_by(tasks)))).collect();
        for task in running {
            task.await.unwrap();
        }
    });
}

const KEYS: usize = 512;

fn names() -> Arc<Vec<String>> {
    Arc::new((0..KEYS).map(|number| format!("value-{number:04}")).collect())
}

/// Values that are written more than once are, but for the first few, in files of others before them.
fn get(runtime: &Runtime, at: &Path, place: &str, size: usize, tasks: usize, writes: usize) -> bool {
    let root = directory(at);
    let store =
        if writes > 1 { open_reusing(runtime, root.path()) } else { open(runtime, root.path(), false) };
    let names = names();
    for name in names.iter().cycle().take(writes * KEYS) {
        runtime.block_on(async { store.put(name, vec![7; size]).await }).unwrap();
    }
    let paths: Vec<_> = names.iter().map(|name| root.path().join(name)).collect();
    let keys: Arc<Vec<_>> =
        Arc::new(names.iter().map(|name| leasehold::Key::new(name.as_str()).unwrap()).collect());
    let local = Arc::new(LocalFileSystem::new_with_prefix(root.path()).unwrap());
    let object_paths: Arc<Vec<_>> =
        Arc::new(names.iter().map(|name| ObjectPath::from(name.as_str())).collect());
    let opendal = opendal_at(root.path());
    Contest::new(format!("get {size} B, {place}"), 20_000, tasks)
        .enter("leasehold", |operations, tasks| {
            in_tasks(runtime, operations, tasks, |share| {
                let (store, keys) = (store.clone(), keys.clone());
                async move {
                    for n in share {
                        let read = store.get(&keys[n % KEYS]).await.unwrap().unwrap().bytes().await.unwrap();
                        assert_eq!(read.len(), size);
                    }
                }
            });
        })
        .enter("std::fs::read on threads", |operations, tasks| {
            on_threads(operations, tasks, |n| assert_eq!(fs::read(&paths[n % KEYS]).unwrap().len(), size));
        })
        .enter("object_store", |operations, tasks| {
            in_tasks(runtime, operations, tasks, |share| {
                let (local, object_paths) = (local.clone(), object_paths.clone());
                async move {
                    for n in share {
                        let read = local.get(&object_paths[n % KEYS]).await.unwrap().bytes().await.unwrap();
                        assert_eq!(read.len(), size);
                    }
                }
            });
        })
        .enter("opendal", |operations, tasks| {
            in_tasks(runtime, operations, tasks, |share| {
                let (opendal, names) = (opendal.clone(), names.clone());
                async move {
                    for n in share {
                        assert_eq!(opendal.read(&names[n % KEYS]).await.unwrap().len(), size);
                    }
                }
            });
        })
        .floor("std::fs::read on threads", Measure::Cpu, 1.3)
        .floor("object_store", Measure::Cpu, 1.0 / 3.0)
        .floor("opendal", Measure::Cpu, 1.0 / 3.0)
        .run()
}

fn opendal_at(path: &Path) -> opendal::Operator {
    let builder = opendal::services::Fs::default().root(path.to_str().unwrap());
    opendal::Operator::new(builder).unwrap()
}

fn put(runtime: &Runtime, at: &Path, tasks: usize) -> bool {
    let (ours, raw, other, third) = (directory(at), directory(at), directory(at), directory(at));
    let store = open(runtime, ours.path(), false);
    let local = Arc::new(LocalFileSystem::new_with_prefix(other.path()).unwrap());
    let opendal = opendal_at(third.path());
    let names = names();
    let value = Bytes::from(vec![7; 4096]);
    let raw_path = Arc::new(raw.path().to_owned());
    Contest::new("put 4 KiB, not durable, memory", 4_000, tasks)
        .enter("leasehold", |operations, tasks| {
            in_tasks(runtime, operations, tasks, |share| {
                let (store, names, value) = (store.clone(), names.clone(), value.clone());
                async move {
                    for n in share {
                        drop(store.put(&names[n % KEYS], value.clone()).await.unwrap());
                    }
                }
            });
        })
        .enter("raw write + rename, spawn_blocking", |operations, tasks| {
            in_tasks(runtime, operations, tasks, |share| {
                let (raw_path, names, value) = (raw_path.clone(), names.clone(), value.clone());
                async move {
                    for n in share {
                        let (raw_path, names, value) = (raw_path.clone(), names.clone(), value.clone());
                        let staged = move || {
                            let temporary = raw_path.join(format!(".temporary-{n}"));
                            fs::write(&temporary, &value).unwrap();
                            fs::rename(&temporary, raw_path.join(&names[n % KEYS])).unwrap();
                        };
                        tokio::task::spawn_blocking(staged).await.unwrap();
                    }
                }
            });
        })
        .enter("object_store", |operations, tasks| {
            in_tasks(runtime, operations, tasks, |share| {
                let (local, names, value) = (local.clone(), names.clone(), value.clone());
                async move {
                    for n in share {
                        let path = ObjectPath::from(names[n % KEYS].as_str());
                        drop(local.put(&path, value.clone().into()).await.unwrap());
                    }
                }
            });
        })
        .enter("opendal", |operations, tasks| {
            in_tasks(runtime, operations, tasks, |share| {
                let (opendal, names, value) = (opendal.clone(), names.clone(), value.clone());
                async move {
                    for n in share {
                        drop(opendal.write(&names[n % KEYS], value.clone()).await.unwrap());
                    }
                }
            });
        })
        .floor("raw write + rename, spawn_blocking", Measure::Cpu, 1.4)
        .floor("object_store", Measure::Cpu, 1.0)
        .run()
}

fn put_durable(runtime: &Runtime, at: &Path) -> bool {
    let (ours, reusing, raw) = (directory(at), directory(at), directory(at));
    let (store, reusing) = (open(runtime, ours.path(), true), open_reusing(runtime, reusing.path()));
    let names = names();
    let value = Bytes::from(vec![7; 4096]);
    let put = |store: &Store, operations, tasks| {
        in_tasks(runtime, operations, tasks, |share| {
            let (store, names, value) = (store.clone(), names.clone(), value.clone());
            async move {
                for n in share {
                    drop(store.put(&names[n % KEYS], value.clone()).await.unwrap());
                }
            }
        });
    };
    Contest::new("put 4 KiB, durable, disk", 640, 16)
        .enter("leasehold, files reused", |operations, tasks| put(&reusing, operations, tasks))
        .enter("leasehold", |operations, tasks| put(&store, operations, tasks))
        .enter("raw sync + rename + sync, threads", |operations, tasks| {
            write_raw(raw.path(), operations, tasks, |n| names[n % KEYS].clone(), &value).unwrap();
        })
        .floor("raw sync + rename + sync, threads", Measure::Rate, 1.5)
        .run()
}

/// Small durable puts one by one and in batches, over values that are there or under keys of their own.
/// Files are reused.
fn put_batches(runtime: &Runtime, at: &Path, replaces: bool) -> bool {
    const OPERATIONS: usize = 2_000;
    const TASKS: usize = 64;
    let value = Bytes::from(vec![7; 128]);
    let unused = Arc::new(AtomicUsize::new(0));
    let name = move |n: usize| {
        let number = if replaces { n % OPERATIONS } else { unused.fetch_add(1, Ordering::Relaxed) };
        format!("value-{number:06}")
    };
    let what = if replaces { "over values" } else { "new keys" };
    let (alone, small, large, raw) = (directory(at), directory(at), directory(at), directory(at));
    let in_batches = |root: &TempDir, size: usize| {
        let store = open_reusing(runtime, root.path());
        let (name, value) = (name.clone(), value.clone());
        move |operations: usize, _| {
            for start in (0..operations).step_by(size) {
                let values = (start..operations.min(start + size)).map(|n| (name(n), value.clone()));
                let written = runtime.block_on(store.put_many(values));
                assert!(written.iter().all(Result::is_ok));
            }
        }
    };
    let store = open_reusing(runtime, alone.path());
    Contest::new(format!("put 128 B, durable, disk, {what}"), OPERATIONS, TASKS)
        .enter("leasehold, batches of 1,000", in_batches(&large, 1_000))
        .enter("leasehold, batches of 64", in_batches(&small, 64))
        .enter("leasehold, one by one", |operations, tasks| {
            in_tasks(runtime, operations, tasks, |share| {
                let (store, name, value) = (store.clone(), name.clone(), value.clone());
                async move {
                    for n in share {
                        drop(store.put(name(n), value.clone()).await.unwrap());
                    }
                }
            });
        })
        .enter("raw sync + rename + sync, threads", |operations, tasks| {
            write_raw(raw.path(), operations, tasks, &name, &value).unwrap();
        })
        .enter("raw, not synced, one thread", |operations, _| {
            for n in 0..operations {
                let temporary = raw.path().join(format!(".temporary-{n}"));
                fs::write(&temporary, &value).unwrap();
                fs::rename(&temporary, raw.path().join(name(n))).unwrap();
            }
        })
        .floor("leasehold, one by one", Measure::Cpu, if replaces { 1.0 } else { 0.5 })
        .run()
}

fn compare_and_swap(runtime: &Runtime, at: &Path) -> bool {
    let mut all = true;
    for (what, hot) in [("one hot key", true), ("a key for each task", false)] {
        let (ours, raw) = (directory(at), directory(at));
        let store = open(runtime, ours.path(), false);
        let swaps = Arc::new(AtomicUsize::new(0));
        let key = move |task: usize| if hot { "hot".to_owned() } else { format!("own-{task}") };
        all &= Contest::new(format!("compare-and-swap by version, {what}, not durable, memory"), 4_000, 8)
            .enter("leasehold", |operations, tasks| {
                in_tasks(runtime, operations, tasks, |share| {
                    let (store, swaps) = (store.clone(), swaps.clone());
                    async move {
                        for n in share {
                            swap(&store, &key(n % tasks)).await;
                            swaps.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            })
            .enter("raw write + rename, spawn_blocking", |operations, tasks| {
                in_tasks(runtime, operations, tasks, |share| {
                    let raw = raw.path().to_owned();
                    async move {
                        for n in share {
                            let raw = raw.clone();
                            let staged = move || {
                                let temporary = raw.join(format!(".temporary-{n}"));
                                fs::write(&temporary, n.to_string()).unwrap();
                                fs::rename(&temporary, raw.join(key(n % tasks))).unwrap();
                            };
                            tokio::task::spawn_blocking(staged).await.unwrap();
                        }
                    }
                });
            })
            .enter("raw write + rename, threads", |operations, tasks| {
                on_threads(operations, tasks, |n| {
                    let temporary = raw.path().join(format!(".temporary-{n}"));
                    fs::write(&temporary, n.to_string()).unwrap();
                    fs::rename(&temporary, raw.path().join(key(n % tasks))).unwrap();
                });
            })
            .floor("raw write + rename, spawn_blocking", Measure::Rate, 0.7)
            .run();
        let total: u64 = runtime.block_on(async {
            let mut total = 0;
            for task in 0..if hot { 1 } else { 8 } {
                total += store
                    .get(key(task))
                    .await
                    .unwrap()
                    .unwrap()
                    .text()
                    .await
                    .unwrap()
                    .parse::<u64>()
                    .unwrap();
            }
            total
        });
        assert_eq!(total as usize, swaps.load(Ordering::Relaxed), "an update was lost");
        println!("  no update lost: {total} of {total}");
    }
    all
}

/// One successful swap: reads, adds one, writes if nothing changed; the reads that lost are part of the work.
async fn swap(store: &Store, key: &str) {
    loop {
        let (number, precondition) = match store.get(key).await.unwrap() {
            None => (0, leasehold::Precondition::Absent),
            Some(object) => {
                let version = object.version().clone();
                let number = object.text().await.unwrap().parse::<u64>().unwrap();
                (number, leasehold::Precondition::Matches(version))
            }
        };
        match store.put(key, (number + 1).to_string()).precondition(precondition).await {
            Ok(_) => return,
            Err(error) if error.is_conflict() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn list(runtime: &Runtime, at: &Path) -> bool {
    const ENTRIES: usize = 10_000;
    let root = directory(at);
    let store = open(runtime, root.path(), false);
    runtime.block_on(async {
        for number in 0..ENTRIES {
            store.put(format!("value-{number:05}"), "x").await.unwrap();
        }
    });
    let local = LocalFileSystem::new_with_prefix(root.path()).unwrap();
    let opendal = opendal_at(root.path());
    let ours = |operations: usize, _: usize| {
        runtime.block_on(async {
            for _ in 0..operations {
                let mut entries = store.list("").stream();
                let mut count = 0;
                while let Some(entry) = entries.next().await {
                    entry.unwrap();
                    count += 1;
                }
                assert_eq!(count, ENTRIES);
            }
        });
    };
    // Apart, so that none finds the processor's caches as another library left them.
    let beside_the_system = Contest::new("list 10,000 keys, memory", 10, 1)
        .enter("leasehold", ours)
        .enter("readdir + stat on a thread", |operations, _| {
            for _ in 0..operations {
                let entries = fs::read_dir(root.path()).unwrap();
                let sizes: u64 = entries.map(|entry| entry.unwrap().metadata().unwrap().size()).sum();
                assert!(sizes >= ENTRIES as u64);
            }
        })
        .floor("readdir + stat on a thread", Measure::Cpu, 1.5)
        .run();
    let beside_libraries = Contest::new("list 10,000 keys, memory, beside libraries", 10, 1)
        .enter("leasehold", ours)
        .enter("object_store", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    assert!(local.list(None).count().await >= ENTRIES);
                }
            });
        })
        .enter("opendal", |operations, _| {
            runtime.block_on(async {
                for _ in 0..operations {
                    assert!(opendal.list("").await.unwrap().len() >= ENTRIES);
                }
            });
        })
        .floor("object_store", Measure::Rate, 2.0)
        .run();
    beside_the_system && beside_libraries
}

fn layer(runtime: &Runtime) {
    let bare = Store::new(Memory::new());
    let layered = bare.namespace("tenant").unwrap();
    runtime.block_on(async {
        bare.put("k", "v").await.unwrap();
        layered.put("k", "v").await.unwrap();
    });
    let key = leasehold::Key::new("k").unwrap();
    let get = |store: &Store, operations| {
        runtime.block_on(async {
            for _ in 0..operations {
                assert!(store.get(&key).await.unwrap().is_some());
            }
        });
    };
    Contest::new("one layer over a memory get", 500_000, 1)
        .enter("namespace over memory", |operations, _| get(&layered, operations))
        .enter("memory", |operations, _| get(&bare, operations))
        .run();
    println!("  the difference of the two CPU columns is the layer: at most 0.15 µs");
}
