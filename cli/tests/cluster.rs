//! `leasehold cluster`, through the real binary: nodes that come, are drained, die and are forgotten.

mod support;

use std::sync::Arc;

use leasehold::{
    Store,
    coordination::{
        Node, Wait,
        shards::{LeasedShards, LedShards, Move, ShardCoordinator},
    },
    fs::Fs,
};
use serde_json::{Value, json};
use support::{Place, Running, until};

fn join(place: &Place, node: &str, options: &[&str]) -> Running {
    let running = Running::start(
        place.command([&["cluster", "join", "--node", node, "--ttl", "1s"], options].concat()),
    );
    assert_eq!(running.line(), format!("joined as {node}"));
    running
}

fn members(place: &Place) -> Vec<Value> {
    place.run(["cluster", "members", "--json"]).expect(0).json_lines()
}

#[test]
fn a_node_is_seen_with_what_it_says_until_it_leaves() {
    let place = Place::new();
    let said = ["--address", "10.0.0.1:80", "--zone", "a", "--weight", "3", "--role", "observer"];
    let node = join(&place, "one", &said);
    let other = join(&place, "two", &[]);
    let seen = members(&place);
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (&seen[0]["node"], &seen[0]["state"], &seen[0]["role"]),
        (&"one".into(), &"alive".into(), &"observer".into())
    );
    assert_eq!(seen[0]["metadata"], json!({"address": "10.0.0.1:80", "zone": "a", "weight": 3}));
    let text = place.run(["cluster", "members"]).expect(0).stdout;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["one", "alive", "observer", "10.0.0.1:80", "a", "3"]);
    assert_eq!(rows[2], ["two", "alive", "follower"]);
    for (node, signal) in [(node, "TERM"), (other, "INT")] {
        node.signal(signal);
        assert!(node.end().expect(0).stdout.contains("left: it was interrupted"));
    }
    assert!(members(&place).is_empty());
    assert_eq!(place.run(["cluster", "members"]).expect(0).stdout, "");
}

#[test]
fn a_node_that_is_drained_leaves_and_says_so() {
    let place = Place::new();
    let node = join(&place, "one", &[]);
    place.run(["cluster", "drain", "two"]).refused(1, "there is no node \"two\"");
    let drained = place.run(["cluster", "drain", "one", "--json"]).expect(0).json();
    assert_eq!(drained, json!({"node": "one", "draining": true}));
    assert_eq!(node.end().expect(0).stdout, "one left: it was asked to give up its work\n");
    assert!(members(&place).is_empty());
    // One that is too slow to notice is not drained any more.
    let node = Running::start(place.command(["cluster", "join", "--node", "slow", "--json"]));
    assert!(serde_json::from_str::<Value>(&node.line()).unwrap()["joined"]["incarnation"].is_string());
    place.run(["cluster", "drain", "slow"]).expect(0);
    assert_eq!(members(&place)[0]["state"], "draining");
    place.run(["cluster", "drain", "slow", "--undo"]).expect(0);
    assert_eq!(members(&place)[0]["state"], "alive");
    node.signal("TERM");
    node.end().expect(0);
}

#[test]
fn a_node_that_is_replaced_or_forgotten_ends_and_says_why() {
    let place = Place::new();
    let first = join(&place, "one", &[]);
    let second = join(&place, "one", &[]);
    let end = first.end().refused(70, "another start of it joined under the same name");
    assert!(end.stderr.contains("--node"), "{end:?}");
    let forgotten = place.run(["cluster", "forget", "one", "--json"]).expect(0).json();
    assert_eq!(forgotten, json!({"node": "one", "forgotten": true}));
    second.end().refused(70, "its record was removed");
    place.run(["cluster", "forget", "one"]).refused(1, "there is no node \"one\"");
    place.run(["cluster", "forget", "a/b"]).refused(2, "is not a node");
    place.run(["cluster", "join", "--role", "king"]).expect(2);
    place.run(["cluster", "join", "--ttl", "1ms"]).refused(2, "between 100ms and 24h");
}

#[test]
fn a_killed_node_is_dead_to_whoever_looks_for_long_enough() {
    let place = Place::new();
    let dead = join(&place, "dead", &[]);
    let _alive = join(&place, "alive", &[]);
    dead.signal("KILL");
    let seen = place.run(["cluster", "members", "--json", "--settle", "2s"]).expect(0).json_lines();
    let states: Vec<&str> = seen.iter().map(|member| member["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["alive", "dead"]);
    place.run(["cluster", "forget", "dead"]).expect(0);
    assert_eq!(members(&place).len(), 1);
}

#[test]
fn whoever_watches_is_told_of_every_change() {
    let place = Place::new();
    let one = join(&place, "one", &[]);
    let mut watch = vec!["cluster", "watch", "--every", "100ms"];
    let text = Running::start(place.command(&watch));
    watch.push("--json");
    let watch = Running::start(place.command(watch));
    let next = || serde_json::from_str::<Value>(&watch.line()).unwrap();
    let told = next();
    assert_eq!((&told["change"], &told["member"]["node"]), (&"present".into(), &"one".into()));
    assert!(told["at"].as_str().unwrap().ends_with('Z'));
    assert!(text.line().contains("present  node one is alive as follower"));
    let two = join(&place, "two", &[]);
    let told = next();
    assert_eq!((&told["change"], &told["member"]["node"]), (&"new".into(), &"two".into()));
    two.signal("KILL");
    let told = next();
    assert_eq!((&told["change"], &told["member"]["state"]), (&"changed".into(), &"dead".into()));
    place.run(["elect", "boss", "--node", "chief", "--", "true"]).expect(0);
    let election =
        until("the election is told of", || Some(next()).filter(|told| told["election"].is_object()));
    assert_eq!(election["election"]["leader"], "chief");
    one.signal("TERM");
    one.end().expect(0);
    until("who left is gone", || {
        Some(next()).filter(|told| told["change"] == "gone" && told["member"]["node"] == "one")
    });
    for watch in [watch, text] {
        watch.signal("INT");
        watch.end().expect(0);
    }
}

#[test]
fn the_status_is_one_screen_and_one_object() {
    let place = Place::new();
    let node = join(&place, "one", &["--address", "10.0.0.1:80"]);
    let under = ["--node", "worker", "--", "sh", "-c"];
    let script = "\"$LH\" cluster status --json; \"$LH\" cluster status";
    let nested = format!("\"$LH\" elect boss --node chief --proclaim here -- sh -c '{script}'");
    let said = place.run([&["lock", "nightly"], &under[..], &[&nested]].concat()).expect(0).stdout;
    let (json, text) = said.split_once('\n').unwrap();
    let status: Value = serde_json::from_str(json).unwrap();
    assert_eq!(status["members"][0]["node"], "one");
    assert_eq!(
        (&status["elections"][0]["leader"], &status["elections"][0]["proclaimed"]),
        (&"chief".into(), &"here".into())
    );
    assert_eq!(
        (&status["locks"][0]["name"], &status["locks"][0]["holders"][0]["node"]),
        (&"nightly".into(), &"worker".into())
    );
    for words in ["Nodes: 1 alive", "10.0.0.1:80", "Elections: 1", "chief", "Locks held: 1", "nightly"] {
        assert!(text.contains(words), "{text}");
    }
    node.signal("TERM");
    node.end().expect(0);
    place.run(["cluster", "status"]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_shown_with_their_owners_whoever_divides_them() {
    for led in [false, true] {
        let place = Place::new();
        let store = Store::new(Fs::open(place.path()).durable(false).await.unwrap());
        let node = Node::new("one").unwrap();
        let shards: Arc<dyn ShardCoordinator> = if led {
            Arc::new(LedShards::join(store, node, 3).await.unwrap())
        } else {
            Arc::new(LeasedShards::join(store, node, 3).await.unwrap())
        };
        let mut guards = Vec::new();
        while guards.len() < 3 {
            if let Some(Move::Gained(guard)) = shards.moves().await {
                guards.push(guard);
            }
        }
        let shown = place.run(["cluster", "shards", "--json"]).expect(0).json_lines();
        let owner = |shard| json!({"shard": shard, "node": "one", "token": 1, "moving_to": null});
        assert_eq!(shown, [owner(0), owner(1), owner(2)]);
        let text = place.run(["cluster", "shards"]).expect(0).stdout;
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            rows,
            [
                &["SHARD", "NODE", "TOKEN", "MOVES", "TO"][..],
                &["0", "one", "1"],
                &["1", "one", "1"],
                &["2", "one", "1"]
            ]
        );
        shards.leave().await.unwrap();
        for guard in guards {
            guard.release().await.unwrap();
        }
        let watched = shards.watch(None, Wait::Try).await.unwrap();
        if !led {
            assert!(watched.unwrap().shards.is_empty());
            assert!(place.run(["cluster", "shards", "--json"]).expect(0).json_lines().is_empty());
        }
    }
}

#[test]
fn whoever_only_looks_makes_no_store() {
    let place = Place::new();
    for verb in [
        &["cluster", "status"][..],
        &["cluster", "members"],
        &["cluster", "shards"],
        &["cluster", "watch"],
        &["leader", "x"],
        &["locks"],
    ] {
        let outcome = place.run(verb);
        assert_ne!(outcome.code, 0, "{verb:?}");
        assert!(!place.path().exists(), "{verb:?}");
    }
    let mut shared = place.command(["cluster", "members"]);
    support::finish(shared.env("LEASEHOLD_STORE", "mem:")).refused(2, "processes cannot share mem:");
}
