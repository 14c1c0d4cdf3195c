//! Renewals of all leases share a thread. In a process of its own, because it counts the threads of its process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use leasehold_coordination::{Leases, Node, Wait};
use leasehold_core::{Clock, Store, SystemClock};
use leasehold_memory::Memory;

fn keepers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("leasehold-keep"))
        .count()
}

#[tokio::test]
async fn all_leases_share_one_thread_which_ends_with_the_last_of_them() {
    // The timer's thread begins with the first timer, and has the name of the thread that began it.
    SystemClock.sleep(Duration::from_micros(1)).await;
    let leases = Leases::connect(Store::new(Memory::new()), Node::new("a").unwrap()).await.unwrap();
    assert_eq!(keepers(), 0);
    let mut held = Vec::new();
    for name in ["a", "b", "c"] {
        held.push(leases.acquire(name).wait(Wait::Try).await.unwrap().unwrap());
        assert_eq!(keepers(), 1);
    }
    drop(leases);
    held.pop();
    assert_eq!(keepers(), 1);
    drop(held);
    // It ends when it has released them; an event that only the system sees.
    while keepers() > 0 {
        tokio::task::yield_now().await;
    }
}
