//! Leases over a bucket: exclusion and fencing when the network fails a holder, and no lease at all where conditions are
//! ignored.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::time::Duration;

use leasehold_conformance::broken::Flaw;
use leasehold_coordination::{Guarded, Leases, Node, Ttl, Wait};
use leasehold_core::{ErrorKind, Store};
use leasehold_fault_proxy::{Fault, FaultProxy, Rates, When};
use leasehold_memory::Memory;

use support::{Behind, bucket, serve};

async fn leases(store: Store, node: &str) -> Leases {
    Leases::connect(store, Node::new(node).unwrap()).await.unwrap()
}

fn ttl() -> Ttl {
    Ttl::new(Duration::from_millis(600)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_cut_off_loses_its_lease_and_cannot_write_any_more() {
    let behind = Behind::start().await;
    // Each node comes through a network of its own.
    let second = FaultProxy::start(behind.server.address());
    let ours = leases(behind.store().await, "ours").await;
    let theirs = leases(Store::new(bucket(second.url()).await.unwrap()), "theirs").await;

    let lease = ours.acquire("job").ttl(ttl()).await.unwrap().unwrap();
    let guarded = lease.guard(behind.store().await).trusting_only_the_store();
    guarded.put("state", "by ours").await.unwrap();

    behind.proxy.always(When::any(), Fault::BlackHole);
    let taken = theirs.acquire("job").ttl(ttl()).wait(Wait::Forever).await.unwrap().unwrap();
    assert!(taken.token() > lease.token());
    lease.lost().await;
    let seen = taken.guard(Store::new(bucket(second.url()).await.unwrap()));
    assert_eq!(seen.get("state").await.unwrap().as_deref(), Some(&b"by ours"[..]));

    // The network is back, the old holder does not look at any clock, and still nothing of it is applied.
    behind.proxy.calm();
    let error = guarded.put("state", "by ours, too late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(seen.get("state").await.unwrap().as_deref(), Some(&b"by ours"[..]));
    taken.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holders_that_take_turns_over_a_bad_network_lose_no_update() {
    let behind = Behind::start().await;
    behind.proxy.random(3, Rates { hold_max: Duration::from_millis(200), ..Rates::even(0.1) });
    let nodes = (0..3).map(|number| {
        let open = behind.open().timeout(Duration::from_millis(150));
        tokio::spawn(async move {
            let store = Store::new(open.await.unwrap());
            let leases = loop {
                match Leases::connect(store.clone(), Node::new(format!("node-{number}")).unwrap()).await {
                    Ok(leases) => break leases,
                    Err(error) => assert!(
                        error.kind() != ErrorKind::Unsupported(leasehold_core::Capability::ConditionalPut),
                        "{error}"
                    ),
                }
            };
            let (mut applied, mut unknown) = (0, 0);
            while applied < 10 {
                let Ok(Some(lease)) = leases.acquire("counter").ttl(ttl()).await else { continue };
                let guarded = lease.guard(store.clone());
                let added = guarded
                    .update("n", |value| {
                        let n: u64 =
                            value.map_or(0, |text| std::str::from_utf8(&text).unwrap().parse().unwrap());
                        Ok(Some((n + 1).to_string().into()))
                    })
                    .await;
                match added {
                    Ok(_) => applied += 1,
                    Err(error) if error.is_indeterminate() => unknown += 1,
                    Err(_) => {}
                }
                let _ = lease.release().await;
            }
            (applied, unknown)
        })
    });
    let nodes: Vec<_> = nodes.collect();
    let (mut applied, mut unknown) = (0, 0);
    for node in nodes {
        let (own_applied, own_unknown) = node.await.unwrap();
        applied += own_applied;
        unknown += own_unknown;
    }
    behind.proxy.calm();
    behind.proxy.idle().await;
    let record = Guarded::read_unfenced(&behind.direct().await, "n").await.unwrap().unwrap();
    let n: u64 = std::str::from_utf8(&record.value.unwrap()).unwrap().parse().unwrap();
    assert!(
        (applied..=applied + unknown).contains(&n),
        "{applied} applied, {unknown} unknown, and {n} counted"
    );
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_refused_with_a_sentence_that_says_so() {
    for flaw in [Flaw::IgnoresIfMatch, Flaw::IgnoresIfAbsent, Flaw::ChecksThenWrites] {
        let server = serve(flaw.around(Store::new(Memory::new()))).await;
        let store = Store::new(bucket(server.url()).await.unwrap());
        let error = Leases::connect(store, Node::new("node").unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("does not keep conditional writes"), "{flaw:?}: {error}");
    }
}
