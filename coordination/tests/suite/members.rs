//! Membership: who is there, who is dead to an observer, who was replaced, drained or forgotten.

use std::time::Duration;

use futures_util::FutureExt;
use leasehold_coordination::{
    Node, NodeName, Ttl, Wait,
    members::{Departed, Member, MemberState, Members, Membership, NodeMetadata, Role, View},
};
use leasehold_core::{Capability, ErrorKind, Store};
use leasehold_memory::Memory;

use crate::support::*;

async fn join(store: &Store, node: &str) -> Member {
    Members::join(store.clone(), Node::new(node).unwrap()).ttl(ttl()).await.unwrap()
}

fn states(view: &View) -> Vec<(&str, MemberState)> {
    view.members.iter().map(|member| (member.node.name(), member.state)).collect()
}

#[tokio::test]
async fn who_joins_is_seen_with_what_it_says_until_it_leaves() {
    let store = Store::new(Memory::new());
    let metadata =
        NodeMetadata::default().address("10.0.0.7:1").zone("a").weight(2).room(100, 50).label("x", "y");
    let member = Members::join(store.clone(), Node::new("a").unwrap())
        .role(Role::Observer)
        .metadata(metadata.clone())
        .await
        .unwrap();
    let observer = Members::observe(store.clone()).await.unwrap();
    let first = observer.look().await.unwrap();
    let seen = &first.members[0];
    assert_eq!((&seen.node, seen.role, &seen.metadata), (member.node(), Role::Observer, &metadata));
    assert!(!seen.is_available(), "an observer carries nothing");
    assert_eq!(observer.look().await.unwrap().generation, first.generation, "nothing has changed");
    member.set_role(Role::Follower).await.unwrap();
    member.set_metadata(NodeMetadata::default().zone("b")).await.unwrap();
    let second = observer.changed(first.generation, Wait::Forever).await.unwrap().unwrap();
    assert!(second.generation > first.generation && second.members[0].is_available());
    assert_eq!(second.members[0].metadata.zone.as_deref(), Some("b"));
    assert!(observer.changed(second.generation, Wait::Try).await.unwrap().is_none());
    member.leave().await.unwrap();
    let last = observer.changed(second.generation, Wait::Forever).await.unwrap().unwrap();
    assert!(last.members.is_empty());
    assert!(store.list("_cluster/").await.unwrap().is_empty(), "nothing is left behind");
}

#[tokio::test]
async fn whoever_is_silent_for_its_time_is_dead_and_may_come_back() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let a_probe = probe.beside();
    let a = join(&store(&a_probe, &clock), "a").await;
    let long = Ttl::new(LONG).unwrap();
    let b = Members::join(store(&probe, &clock), Node::new("b").unwrap()).ttl(long).await.unwrap();
    let observer = b.members().clone();
    let alive = observer.look().await.unwrap();
    assert_eq!(states(&alive), [("a", MemberState::Alive), ("b", MemberState::Alive)]);
    a_probe.all_puts(Some(Fault::Refused));
    let began = clock.now();
    let watching = tokio::spawn({
        let observer = observer.clone();
        async move { observer.changed(alive.generation, Wait::Forever).await }
    });
    // Both hearts and the watch sleep: nobody is left behind by the time.
    let dead = clock.advance_until(watching, 3).await.unwrap().unwrap();
    assert_eq!(states(&dead), [("a", MemberState::Dead), ("b", MemberState::Alive)]);
    let took = clock.now() - began;
    assert!(took >= TTL && took < TTL * 13 / 10, "{took:?}");
    assert!(dead.members[0].silent >= TTL && !dead.members[0].is_available());
    a_probe.all_puts(None);
    let watching = tokio::spawn(async move { observer.changed(dead.generation, Wait::Forever).await });
    let back = clock.advance_until(watching, 3).await.unwrap().unwrap();
    assert_eq!(states(&back)[0], ("a", MemberState::Alive));
    drop(a);
}

#[tokio::test]
async fn a_restart_replaces_its_predecessor_at_once() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let store = store(&probe, &clock);
    let (first, second) = (join(&store, "a").await, join(&store, "a").await);
    let seen = second.members().look().await.unwrap();
    assert_eq!(seen.members.iter().map(|member| &member.node).collect::<Vec<_>>(), [second.node()]);
    let error = first.set_role(Role::Leader).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Fenced && error.message().contains("another start"), "{error}");
    let first = std::sync::Arc::new(first);
    let departing = tokio::spawn({
        let first = first.clone();
        async move { first.departed().await }
    });
    assert_eq!(clock.advance_until(departing, 1).await, Departed::Replaced);
    assert!(second.departed().now_or_never().is_none());
}

#[tokio::test]
async fn a_node_is_drained_on_request_and_forgotten_when_dead() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let store = store(&probe, &clock);
    let member = std::sync::Arc::new(join(&store, "a").await);
    let operator = Members::observe(store.clone()).await.unwrap();
    assert!(!operator.drain("nobody", true).await.unwrap());
    assert!(operator.drain("a", true).await.unwrap());
    assert_eq!(states(&operator.look().await.unwrap()), [("a", MemberState::Draining)]);
    let draining = tokio::spawn({
        let member = member.clone();
        async move { member.drained().await }
    });
    clock.advance_until(draining, 1).await;
    assert!(member.is_draining());
    assert!(operator.drain("a", false).await.unwrap());
    assert_eq!(states(&operator.look().await.unwrap()), [("a", MemberState::Alive)]);
    operator.forget("a").await.unwrap();
    assert!(operator.look().await.unwrap().members.is_empty());
    let departing = tokio::spawn(async move { member.departed().await });
    assert_eq!(clock.advance_until(departing, 1).await, Departed::Removed);
    assert_eq!(operator.drain("a/b", true).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn what_a_look_and_a_beat_cost() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let world = store(&probe, &clock);
    let (a, _b) = (join(&world, "a").await, join(&world, "b").await);
    let observer = a.members().clone();
    probe.take();
    observer.look().await.unwrap();
    assert_eq!(probe.take(), Counts { gets: 2, ..Counts::default() }, "the records, and one list");
    observer.look().await.unwrap();
    assert_eq!(probe.take(), Counts::default(), "one list");
    clock.advance_settled(Duration::from_secs(10), 2).await;
    let Counts { gets, puts, .. } = probe.take();
    assert!(
        (6..=12).contains(&puts) && puts == gets,
        "{puts} beats of two nodes in a time to live, {gets} reads"
    );
}

#[tokio::test]
async fn a_report_makes_a_node_one_to_avoid_and_any_source_will_do() {
    let store = Store::new(Memory::new());
    let member = join(&store, "a").await;
    let members: Box<dyn Membership> = Box::new(member.members().clone());
    members.look().await.unwrap();
    for _ in 0..3 {
        members.report(&NodeName::new("a").unwrap(), false);
    }
    let view = members.look().await.unwrap();
    assert!(view.members[0].unreliability > 0.5 && view.members[0].is_available());
    assert!(members.changed(view.generation, Wait::Try).await.unwrap().is_none());
}

#[tokio::test]
async fn a_store_that_cannot_carry_it_is_refused_by_name() {
    let probe = Probe::without(Capability::Linearizable);
    let store = Store::new(probe);
    for error in [
        Members::observe(store.clone()).await.map(drop).unwrap_err(),
        Members::join(store.clone(), Node::new("a").unwrap()).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported(Capability::Linearizable));
    }
}
