//! Elections: one leader a term, what it says, and what it may still do when its term is over.

use leasehold_coordination::{Elections, Guarded, LeaseState, Lost, Node, Wait, election::LeaderView};
use leasehold_core::{ErrorKind, Store};
use leasehold_memory::Memory;

use crate::support::*;

async fn elections(store: &Store, node: &str) -> Elections {
    Elections::connect(store.clone(), Node::new(node).unwrap()).await.unwrap()
}

fn said(view: &LeaderView) -> Option<&str> {
    view.proclaimed.as_ref().map(|bytes| std::str::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn a_leader_is_seen_with_its_term_and_what_it_proclaimed() {
    let store = Store::new(Memory::new());
    let (a, b) = (elections(&store, "a").await, elections(&store, "b").await);
    assert_eq!(b.observe("job").await.unwrap(), None);
    let first = a.campaign("job").await.unwrap().unwrap();
    assert!(b.campaign("job").wait(Wait::Try).await.unwrap().is_none());
    let view = b.observe("job").await.unwrap().unwrap();
    assert_eq!((view.node.name(), view.term, said(&view), view.is_led()), ("a", first.term(), None, true));
    first.proclaim("at 1").await.unwrap();
    first.proclaim("at 2").await.unwrap();
    assert_eq!(said(&b.observe("job").await.unwrap().unwrap()), Some("at 2"));
    first.resign().await.unwrap();
    assert_eq!(b.observe("job").await.unwrap().unwrap().state, LeaseState::Released);
    let second = b.campaign("job").await.unwrap().unwrap();
    let view = a.observe("job").await.unwrap().unwrap();
    assert_eq!((view.node.name(), said(&view)), ("b", None), "what the last one said is not its word");
    assert_eq!(view.term, second.term());
    assert!(store.head("_cluster/elections/job/leader").await.unwrap().is_some());
}

#[tokio::test]
async fn a_successor_that_is_named_leads_at_once_and_others_wait() {
    let store = Store::new(Memory::new());
    let (a, b, c) =
        (elections(&store, "a").await, elections(&store, "b").await, elections(&store, "c").await);
    let first = a.campaign("job").await.unwrap().unwrap();
    let (lost, term) = (first.lost(), first.term());
    first.hand_over("c").await.unwrap();
    assert_eq!(lost.await, Lost::HandedOver { to: "c".into() });
    assert!(b.campaign("job").wait(Wait::Try).await.unwrap().is_none());
    assert!(c.campaign("job").wait(Wait::Try).await.unwrap().unwrap().term() > term);
}

#[tokio::test]
async fn a_leader_that_was_deposed_can_neither_write_nor_proclaim() {
    let (probe, clock) = (Probe::new(), ManualClock::default());
    let (a_probe, shared) = (probe.beside(), store(&probe, &clock));
    let a = elections(&store(&a_probe, &clock), "a").await;
    let b = elections(&shared, "b").await;
    let old = a.campaign("job").ttl(ttl()).await.unwrap().unwrap();
    old.proclaim("still me").await.unwrap();
    let plan = old.guard(shared.namespace("plan").unwrap());
    plan.put("k", "old").await.unwrap();
    a_probe.all_puts(Some(Fault::Refused));
    let (lost, began) = (old.lost(), clock.now());
    let campaign = b.campaign("job").ttl(ttl());
    let new = clock.advance_until(tokio::spawn(campaign.into_future()), 1).await.unwrap().unwrap();
    assert!(new.term() > old.term() && clock.now() - began >= TTL);
    assert_eq!(lost.await, Lost::Expired);
    a_probe.all_puts(None);
    for refused in [plan.put("k", "late").await, old.proclaim("still me").await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Fenced);
    }
    let fresh = new.guard(shared.namespace("plan").unwrap());
    assert_eq!(fresh.get("k").await.unwrap().unwrap(), "old");
    let record = Guarded::read_unfenced(&shared.namespace("plan").unwrap(), "k").await.unwrap().unwrap();
    assert_eq!(record.token, new.term());
    assert_eq!(said(&b.observe("job").await.unwrap().unwrap()), None);
}

#[tokio::test]
async fn whoever_watches_learns_of_every_last_state() {
    let store = Store::new(Memory::new());
    let (a, b) = (elections(&store, "a").await, elections(&store, "b").await);
    let watching = tokio::spawn(async move {
        let mut seen: Vec<LeaderView> = Vec::new();
        loop {
            let view = b.changed("job", seen.last(), Wait::Forever).await.unwrap().unwrap();
            let is_last = said(&view) == Some("the end");
            seen.push(view);
            if is_last {
                return seen;
            }
        }
    });
    for round in 0..20 {
        let leadership = a.campaign("job").await.unwrap().unwrap();
        let text = if round == 19 { "the end".to_owned() } else { round.to_string() };
        leadership.proclaim(text).await.unwrap();
        if round == 19 {
            std::mem::forget(leadership);
        } else {
            leadership.resign().await.unwrap();
        }
    }
    let seen = watching.await.unwrap();
    assert!(seen.is_sorted_by_key(|view| view.term) && seen.last().unwrap().term.get() == 20);
    assert!(a.changed("job", seen.last(), Wait::Try).await.unwrap().is_none());
}

#[tokio::test]
async fn unsound_names_of_elections_are_refused() {
    let elections = elections(&Store::new(Memory::new()), "a").await;
    for name in ["", "a/b", ".a", "..", &"x".repeat(101)] {
        assert_eq!(elections.campaign(name).await.unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
        assert_eq!(elections.observe(name).await.unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
    }
}
