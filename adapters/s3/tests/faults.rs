//! Replies that are lost, writes that come late, servers that lie: under each, and under all at once, nothing that was
//! acknowledged is missing, nothing that was refused is there, and nothing is there twice.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{collections::HashMap, sync::Arc, time::Duration};

use leasehold_core::{ErrorKind, Store};
use leasehold_fault_proxy::{Answer, Fault, FaultProxy, Gate, Rates, Until, When};

use support::Behind;

const CLIENTS: usize = 6;
const ROUNDS: usize = 60;

/// What a client was told of one of its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Applied,
    Refused,
    Unknown,
}

/// Many clients append their marks to one value, by compare-and-swap, under `rates`.
async fn append_under(name: &str, rates: Rates) {
    let behind = Behind::start().await;
    behind.direct().await.put("log", "").await.unwrap();
    behind.proxy.random(7, rates);
    let clients = (0..CLIENTS).map(|client| {
        // Each has connections of its own.
        let open = behind.open().timeout(Duration::from_millis(150));
        tokio::spawn(async move {
            let store = Store::new(open.await.unwrap());
            let mut told = Vec::new();
            for round in 0..ROUNDS {
                let mut attempt = 0;
                loop {
                    attempt += 1;
                    let mark = format!("{client}-{round}-{attempt}");
                    let outcome = append(&store, &mark).await;
                    told.push((mark, outcome));
                    if outcome != Told::Refused || attempt == 50 {
                        break;
                    }
                }
            }
            told
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut told = HashMap::new();
    for client in clients {
        told.extend(client.await.unwrap());
    }
    behind.proxy.calm();
    // Late copies are part of the test: they come before the end is looked at.
    behind.proxy.idle().await;

    let log = behind.direct().await.get("log").await.unwrap().unwrap().text().await.unwrap();
    let mut found: HashMap<&str, usize> = HashMap::new();
    for mark in log.lines() {
        *found.entry(mark).or_default() += 1;
    }
    let count = |what| told.values().filter(|outcome| **outcome == what).count();
    let (mut resolved, mut missing) = (0, 0);
    for (mark, outcome) in &told {
        match (found.remove(mark.as_str()), outcome) {
            (Some(1), Told::Applied) | (None, Told::Refused) => {}
            (Some(1), Told::Unknown) => resolved += 1,
            (None, Told::Unknown) => missing += 1,
            (times, outcome) => panic!("{name}: {mark} was {outcome:?} and is there {times:?} times"),
        }
    }
    assert!(found.is_empty(), "{name}: nobody wrote {found:?}");
    assert_eq!(log.lines().count(), count(Told::Applied) + resolved, "{name}");
    assert!(count(Told::Applied) > 0, "{name}: nothing was ever applied");
    println!(
        "{name}: {} applied, {} unknown ({resolved} there, {missing} not), {} refused, {} requests",
        count(Told::Applied),
        count(Told::Unknown),
        count(Told::Refused),
        behind.proxy.count()
    );
}

async fn append(store: &Store, mark: &str) -> Told {
    let Ok(Some(read)) = store.get("log").await else { return Told::Refused };
    let version = read.version().clone();
    let Ok(text) = read.text().await else { return Told::Refused };
    match store.put("log", format!("{text}{mark}\n")).if_match(version).await {
        Ok(_) => Told::Applied,
        Err(error) if error.is_indeterminate() => Told::Unknown,
        Err(_) => Told::Refused,
    }
}

/// One kind of fault for a fifth of the requests.
macro_rules! under {
    ($($test:ident: $rates:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            append_under(stringify!($test), $rates).await;
        }
    )*};
}

fn writes() -> Rates {
    Rates { when: When::method("PUT"), hold_max: Duration::from_millis(300), ..Rates::default() }
}

under! {
    appends_survive_lost_replies: Rates { lose_reply: 0.2, ..writes() };
    appends_survive_writes_that_come_late: Rates { hold_request: 0.2, ..writes() };
    appends_survive_late_replies: Rates { hold_reply: 0.2, ..writes() };
    appends_survive_refusals: Rates { answer: 0.3, ..writes() };
    appends_survive_refusals_of_what_was_applied: Rates { answer_applied: 0.2, ..writes() };
    appends_survive_throttling_of_what_was_applied: Rates {
        answer_applied: 0.2,
        answers_applied: vec![
            Answer::too_many_requests(),
            Answer::internal_error(),
            Answer::slow_down(),
            Answer::unavailable(),
        ],
        ..writes()
    };
    appends_survive_truncated_replies: Rates { truncate_reply: 0.3, ..Rates::default() };
    appends_survive_cut_requests: Rates { cut_request: 0.2, ..writes() };
    appends_survive_resets: Rates { reset: 0.3, ..Rates::default() };
    appends_survive_duplicates: Rates { duplicate: 0.2, ..writes() };
    appends_survive_everything_at_once: Rates { hold_max: Duration::from_millis(300), ..Rates::even(0.25) };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_count_what_was_acknowledged_and_nothing_twice() {
    let behind = Behind::start().await;
    behind
        .proxy
        .random(11, Rates { when: When::any(), hold_max: Duration::from_millis(300), ..Rates::even(0.15) });
    let clients = (0..CLIENTS).map(|_| {
        let open = behind.open().timeout(Duration::from_millis(150));
        tokio::spawn(async move {
            let store = Store::new(open.await.unwrap());
            let (mut applied, mut unknown) = (0, 0);
            for _ in 0..ROUNDS {
                match store.increment("n", 1).await {
                    Ok(_) => applied += 1,
                    Err(error) if error.is_indeterminate() => unknown += 1,
                    Err(_) => {}
                }
            }
            (applied, unknown)
        })
    });
    let clients: Vec<_> = clients.collect();
    let (mut applied, mut unknown) = (0, 0);
    for client in clients {
        let (own_applied, own_unknown) = client.await.unwrap();
        applied += own_applied;
        unknown += own_unknown;
    }
    behind.proxy.calm();
    behind.proxy.idle().await;
    let sum: i64 = behind.direct().await.increment("n", 0).await.unwrap();
    assert!(
        (applied..=applied + unknown).contains(&sum),
        "{applied} + {unknown} unknown, and the sum is {sum}"
    );
    println!("{applied} applied, {unknown} unknown, sum {sum}, {} requests", behind.proxy.count());
}

/// As above, with what takes away as well as adds, so that the number and with it the content returns again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_that_go_up_and_down_count_what_was_acknowledged() {
    let behind = Behind::with_content_tags().await;
    behind
        .proxy
        .random(13, Rates { when: When::any(), hold_max: Duration::from_millis(300), ..Rates::even(0.1) });
    let clients = (0..CLIENTS).map(|client| {
        let open = behind.open().timeout(Duration::from_millis(150));
        tokio::spawn(async move {
            let store = Store::new(open.await.unwrap());
            let delta = if client % 2 == 0 { 1 } else { -1 };
            let (mut applied, mut up, mut down) = (0, 0, 0);
            for _ in 0..ROUNDS {
                match store.increment("n", delta).await {
                    Ok(_) => applied += delta,
                    Err(error) if error.is_indeterminate() && delta > 0 => up += 1,
                    Err(error) if error.is_indeterminate() => down += 1,
                    Err(_) => {}
                }
            }
            (applied, up, down)
        })
    });
    let clients: Vec<_> = clients.collect();
    let (mut applied, mut up, mut down) = (0, 0, 0);
    for client in clients {
        let own = client.await.unwrap();
        (applied, up, down) = (applied + own.0, up + own.1, down + own.2);
    }
    behind.proxy.calm();
    behind.proxy.idle().await;
    let sum: i64 = behind.direct().await.increment("n", 0).await.unwrap();
    assert!(
        (applied - down..=applied + up).contains(&sum),
        "{applied}, with {up} up and {down} down unknown, and the sum is {sum}"
    );
    println!("{applied}, {up} up and {down} down unknown, sum {sum}, {} requests", behind.proxy.count());
}

#[tokio::test]
async fn a_counter_that_returns_to_a_number_does_not_let_a_ghost_count() {
    let behind = Behind::with_content_tags().await;
    let (store, direct) = (behind.store().await, behind.direct().await);
    direct.increment("n", 5).await.unwrap();
    let gate = Gate::new();
    behind.proxy.script(When::method("PUT"), [Fault::HoldRequest(Until::Gate(gate.clone()))]);
    assert_eq!(store.increment("n", 1).await.unwrap(), 6);
    assert_eq!(puts(&behind.proxy), 2, "the second copy was applied, the first is on its way");
    assert_eq!(direct.increment("n", -1).await.unwrap(), 5);
    gate.open();
    behind.proxy.idle().await;
    assert_eq!(direct.increment("n", 0).await.unwrap(), 5);
}

#[tokio::test]
async fn an_increment_under_a_failing_server_says_so_soon() {
    let behind = Behind::start().await;
    let store = behind.store().await;
    store.increment("n", 1).await.unwrap();
    behind.proxy.always(When::method("PUT"), Fault::Answer(Answer::slow_down()));
    let error = store.increment("n", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert!(puts(&behind.proxy) <= 20, "{} puts", puts(&behind.proxy));
}

async fn scripted(faults: impl IntoIterator<Item = Fault>) -> (Behind, Store) {
    let behind = Behind::start().await;
    behind.proxy.script(When::method("PUT"), faults);
    let store = behind.store().await;
    (behind, store)
}

fn puts(proxy: &FaultProxy) -> usize {
    proxy.count_of(&When::method("PUT"))
}

#[tokio::test]
async fn a_lost_reply_is_found_to_be_ours() {
    let (behind, store) = scripted([Fault::LoseReply]).await;
    let version = store.put("k", "v").if_absent().await.unwrap();
    assert_eq!(puts(&behind.proxy), 1, "it was not sent again");
    assert_eq!(store.head("k").await.unwrap().unwrap().version, version);
}

#[tokio::test]
async fn a_lost_reply_to_a_plain_put_is_found_to_be_ours_too() {
    let (behind, store) = scripted([Fault::LoseReply]).await;
    store.put("k", "v").await.unwrap();
    assert_eq!(puts(&behind.proxy), 1);
}

#[tokio::test]
async fn a_write_that_never_arrived_is_sent_again_over_its_base() {
    let (behind, store) = scripted([Fault::Reset]).await;
    store.put("k", "v").if_absent().await.unwrap();
    assert_eq!(puts(&behind.proxy), 2);
}

#[tokio::test]
async fn a_plain_put_that_may_come_late_is_not_sent_again() {
    let gate = Gate::new();
    let (behind, store) = scripted([Fault::HoldRequest(Until::Gate(gate.clone()))]).await;
    let error = store.put("k", "ours").await.unwrap_err();
    assert!(error.is_indeterminate() && error.is_retryable(), "{error}");
    assert_eq!((error.kind(), puts(&behind.proxy)), (ErrorKind::Timeout, 1));
    gate.open();
    behind.proxy.idle().await;
    assert_eq!(behind.direct().await.get("k").await.unwrap().unwrap().text().await.unwrap(), "ours");
}

#[tokio::test]
async fn a_ghost_is_refused_once_the_same_write_was_sent_again() {
    let gate = Gate::new();
    let (behind, store) = scripted([Fault::HoldRequest(Until::Gate(gate.clone()))]).await;
    let ours = store.put("k", "ours").if_absent().await.unwrap();
    let direct = behind.direct().await;
    direct.put("k", "theirs").if_match(ours).await.unwrap();
    gate.open();
    behind.proxy.idle().await;
    assert_eq!(direct.get("k").await.unwrap().unwrap().text().await.unwrap(), "theirs");
}

#[tokio::test]
async fn a_write_that_may_have_been_applied_and_replaced_stays_unknown() {
    let gate = Gate::new();
    let (behind, store) = scripted([Fault::HoldReply(Until::Gate(gate.clone()))]).await;
    let direct = behind.direct().await;
    let store = Arc::new(store);
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.put("k", "ours").if_absent().await }
    });
    // The write has been applied when its reply is held.
    gate.arrived(1).await;
    direct.put("k", "theirs").await.unwrap();
    let error = writing.await.unwrap().unwrap_err();
    assert!(error.is_conflict() && error.is_indeterminate() && !error.is_retryable(), "{error}");
    gate.open();
}

#[tokio::test]
async fn a_409_is_no_conflict() {
    let (behind, store) =
        scripted([Fault::Answer(Answer::conflict()), Fault::Answer(Answer::conflict())]).await;
    store.put("k", "v").if_absent().await.unwrap();
    assert_eq!(puts(&behind.proxy), 3);
}

#[tokio::test]
async fn a_conflict_with_itself_is_none() {
    for answer in
        [Answer::slow_down(), Answer::conflict(), Answer::precondition_failed(), Answer::internal_error()]
    {
        let (_behind, store) = scripted([Fault::AnswerApplied(answer)]).await;
        let version = store.put("k", "v").if_absent().await.unwrap();
        assert_eq!(store.head("k").await.unwrap().unwrap().version, version);
    }
}

#[tokio::test]
async fn a_404_on_if_match_is_a_conflict() {
    let behind = Behind::start().await;
    let store = behind.store().await;
    let version = store.put("k", "v").await.unwrap();
    store.delete("k").await.unwrap();
    let error = store.put("k", "w").if_match(version).await.unwrap_err();
    assert!(error.is_conflict() && !error.is_indeterminate(), "{error}");
}

#[tokio::test]
async fn throttling_is_waited_for_and_then_told_as_it_is() {
    let (behind, store) = scripted(vec![Fault::Answer(Answer::too_many_requests()); 3]).await;
    store.put("k", "v").if_absent().await.unwrap();
    assert_eq!(puts(&behind.proxy), 4);

    behind.proxy.always(When::method("PUT"), Fault::Answer(Answer::slow_down()));
    let error = store.put("k", "w").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert!(!error.is_conflict() && error.is_retryable());
}

#[tokio::test]
async fn a_truncated_body_is_read_again_or_told() {
    let behind = Behind::start().await;
    let direct = behind.direct().await;
    direct.put("small", vec![7u8; 10_000]).await.unwrap();
    direct.put("large", vec![7u8; 3 << 20]).await.unwrap();
    let store = behind.store().await;
    behind.proxy.script(When::method("GET"), [Fault::TruncateReply { bytes: 100 }]);
    assert_eq!(store.get("small").await.unwrap().unwrap().bytes().await.unwrap().len(), 10_000);
    behind.proxy.script(When::method("GET"), [Fault::TruncateReply { bytes: 1 << 20 }]);
    let error = store.get("large").await.unwrap().unwrap().bytes().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_lost_completion_of_an_upload_is_found_to_be_ours() {
    let behind = Behind::start().await;
    let store = behind.store().await;
    behind.proxy.script(When::method("POST").query_contains("uploadId="), [Fault::LoseReply]);
    let version = store.put("k", vec![1u8; 20 << 20]).await.unwrap();
    assert_eq!(store.head("k").await.unwrap().unwrap().version, version);
    assert_eq!(behind.proxy.count_of(&When::method("POST").query_contains("uploadId=")), 1);
}

#[tokio::test]
async fn a_lost_reply_to_a_delete_is_unknown() {
    let behind = Behind::start().await;
    let store = behind.store().await;
    let version = store.put("k", "v").await.unwrap();
    behind.proxy.script(When::method("DELETE"), [Fault::LoseReply]);
    let error = store.delete("k").await.unwrap_err();
    assert!(error.is_indeterminate() && error.is_retryable(), "{error}");

    store.put("k", "v").await.unwrap();
    behind.proxy.script(When::method("DELETE"), [Fault::LoseReply]);
    let error = store.delete("k").if_match(version.clone()).await.unwrap_err();
    assert!(error.is_indeterminate() && !error.is_retryable(), "{error}");

    let version = store.put("k", "v").await.unwrap();
    behind.proxy.script(When::method("DELETE"), [Fault::Reset]);
    store.delete("k").if_match(version).await.unwrap();
}
