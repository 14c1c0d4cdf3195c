//! Stacks by file, as a program uses them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use leasehold::{Capability, ErrorKind, Stack};

const FULL: &str = r#"
store = "mem:"

[[layer]]
faults = { seed = 7, before = 0.1, delay = 0.1, delay-max = "10ms" }

[[layer]]
limit = { at-once = 64, per-second = 100000, burst = 100, wait-max = "10s" }

[[layer]]
timeout = { after = "5s" }

[[layer]]
retry = { attempts-max = 5, first-wait = "1ms", longest-wait = "10ms" }

[[layer]]
meter = { store = "orders" }

[[layer]]
verify = { strict = true }

[[layer]]
encrypt = { keys = [{ id = "new", file = "KEYFILE" }] }

[[layer]]
compress = { codec = "zstd:3", above = "512", saving-percent = 10 }

[[layer]]
[layer.batch]
mode = "write-behind"
wait = "10ms"
entries-max = 100
bytes-max = "1MiB"
coalesce = true
pending-entries-max = 1000
pending-bytes-max = "8 MiB"
intervals = [{ keys = "balances/**", interval = "0s" }, { keys = "typing/**", interval = "500ms" }]

[[layer]]
cache = { mode = "bounded-staleness", room = "1MiB", age = "5s", value-bytes-max = "64KiB", time-to-idle = "1s", absent-for = "1s" }

[[layer]]
namespace = { name = "tenant/7" }

[[layer]]
trace = { keys = false }
"#;

/// The stack, with a key in `directory`.
fn full(directory: &std::path::Path) -> String {
    let key = directory.join("key");
    std::fs::write(&key, format!("{}\n", "0f".repeat(32))).unwrap();
    FULL.replace("KEYFILE", key.to_str().unwrap())
}

#[tokio::test]
async fn a_file_becomes_a_store_with_all_its_layers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stack.toml");
    std::fs::write(&path, full(directory.path())).unwrap();
    let store = leasehold::open(path.to_str().unwrap()).await.unwrap();
    store.put("balances/7", "12").await.unwrap();
    store.put("typing/7", "yes").await.unwrap();
    assert_eq!(store.get("typing/7").await.unwrap().unwrap().text().await.unwrap(), "yes");
    store.flush().await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 2);
}

#[tokio::test]
async fn each_level_tells_what_it_weakens() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Stack::parse(&full(directory.path())).unwrap().open().await.unwrap();
    let weakened: Vec<_> = opened
        .levels
        .iter()
        .filter(|level| !level.weakened.is_empty())
        .map(|level| (level.name.as_str(), level.weakened.clone()))
        .collect();
    assert_eq!(
        weakened,
        [
            ("verify", vec![Capability::ListedSizes]),
            ("batch", vec![Capability::Linearizable]),
            ("cache", vec![Capability::Changes]),
        ]
    );
    let names: Vec<_> = opened.levels.iter().map(|level| level.name.as_str()).collect();
    assert_eq!(names[0], "mem:");
    assert_eq!(names[12], "trace");
    assert!(!opened.store.capabilities().supports(Capability::Linearizable));
}

#[test]
fn what_is_wrong_is_refused_with_its_line_and_the_reason() {
    for (text, line, reason) in [
        ("", 1, "missing field `store`"),
        ("store = 7", 1, "expected a string"),
        ("store = \"\"", 1, "is the URL of a store"),
        ("\nstore = \"other.toml\"", 2, "is the URL of a store"),
        ("store = \"mem:\"\nlayers = 1", 2, "unknown field `layers`"),
        ("store = \"mem:\"\n\n[[layer]]\nretri = {}", 4, "unknown variant `retri`"),
        ("store = \"mem:\"\n[[layer]]\nretry = { attempts = 3 }", 3, "unknown field `attempts`"),
        ("store = \"mem:\"\n[[layer]]\ntimeout = { after = \"5\" }", 3, "is not a duration"),
        ("store = \"mem:\"\n[[layer]]\ntimeout = {}", 3, "missing field `after`"),
        (
            "store = \"mem:\"\n[[layer]]\ncache = { mode = \"lru\", room = \"1MiB\" }",
            3,
            "unknown variant `lru`",
        ),
        (
            "store = \"mem:\"\n[[layer]]\ncache = { mode = \"revalidate\", room = \"many\" }",
            3,
            "is not a size",
        ),
        (
            "store = \"mem:\"\n[[layer]]\ncache = { mode = \"revalidate\", room = \"1MiB\" }\n[[layer]]\nretry = {}",
            4,
            "put retry below cache",
        ),
        ("store = \"mem:\"\n[[layer]]\nretry = {}\n[[layer]]\nretry = {}", 4, "in line 2 already"),
        (
            "store = \"mem:\"\n[[layer]]\ncompress = { codec = \"lz4\" }\n[[layer]]\nencrypt = { keys = [] }",
            4,
            "put compress above encrypt",
        ),
        ("store = \"mem:\"\n[[layer", 2, ""),
    ] {
        let error = Stack::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let message = error.to_string();
        assert!(
            message.starts_with(&format!("line {line}: ")) && message.contains(reason),
            "{text:?} gives {message}"
        );
    }
}

#[tokio::test]
async fn what_only_the_layer_can_refuse_has_its_line_too() {
    for (layer, reason) in [
        ("cache = { mode = \"bounded-staleness\", room = \"1MiB\" }", "needs its bound"),
        ("cache = { mode = \"revalidate\", room = \"1MiB\", age = \"1s\" }", "asks every time"),
        ("compress = { codec = \"brotli\" }", "brotli"),
        ("compress = { codec = \"zstd:99\" }", "99"),
        ("encrypt = { keys = [] }", "needs a key"),
        ("encrypt = { keys = [{ id = \"a\" }] }", "give file or env"),
        ("encrypt = { keys = [{ id = \"a\", file = \"/nowhere/key\" }] }", "/nowhere/key"),
        ("encrypt = { keys = [{ id = \"a\", env = \"NO_SUCH_KEY_OF_OURS\" }] }", "NO_SUCH_KEY_OF_OURS"),
        ("encrypt = { keys = [{ id = \"a\", env = \"PATH\" }] }", "64 hexadecimal digits"),
        ("faults = { before = 0.9, after = 0.9 }", "at most 1"),
        ("faults = { delay-max = \"1s\" }", "needs a share"),
        ("limit = {}", "nothing is limited"),
        ("limit = { at-once = 0 }", "at least 1"),
        ("limit = { at-once = 1, burst = 3 }", "belongs to per-second"),
        ("retry = { attempts-max = 0 }", "at least once"),
        ("retry = { first-wait = \"1m\" }", "not shorter"),
        ("timeout = { after = \"0s\" }", "longer time"),
        ("compress = { codec = \"lz4\", above = \"10\" }", "counters"),
        ("compress = { codec = \"lz4\", saving-percent = 100 }", "0 to 99"),
        ("cache = { mode = \"revalidate\", room = \"0\" }", "without room"),
        ("cache = { mode = \"revalidate\", room = \"1MiB\", absent-for = \"1s\" }", "asks every time"),
        (
            "batch = { mode = \"group-commit\", pending-entries-max = 1, pending-bytes-max = \"1\" }",
            "nothing is pending",
        ),
        ("namespace = { name = \"/\" }", "is not a key"),
        (
            "batch = { mode = \"group-commit\", intervals = [{ keys = \"a*\", interval = \"0s\" }] }",
            "is no pattern",
        ),
        ("batch = { mode = \"write-behind\", pending-bytes-max = \"1MiB\" }", "given together"),
    ] {
        let text = format!("store = \"mem:\"\n\n[[layer]]\n{layer}");
        let message = Stack::parse(&text).unwrap().open().await.unwrap_err().to_string();
        assert!(message.starts_with("line 3: ") && message.contains(reason), "{layer} gives {message}");
    }
}

#[tokio::test]
async fn a_key_in_the_wrong_place_is_not_shown() {
    let key = "0123456789abcdef".repeat(4);
    for layer in [
        format!("encrypt = {key:?}"),
        format!("encrypt = {{ keys = [{key:?}] }}"),
        format!("encrypt = {{ keys = [{{ id = \"a\", env = {key:?} }}] }}"),
        format!("encrypt = {{ keys = [{{ id = {key:?}, env = \"PATH\" }}] }}"),
    ] {
        let text = format!("store = \"mem:\"\n[[layer]]\n{layer}");
        let error = match Stack::parse(&text) {
            Ok(stack) => stack.open().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(!format!("{error} {error:?}").contains(&key[..32]), "{error}");
    }
}

#[tokio::test]
async fn no_store_is_made_for_a_stack_that_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("data");
    let text =
        format!("store = {:?}\n[[layer]]\ncompress = {{ codec = \"brotli\" }}", store.to_str().unwrap());
    Stack::parse(&text).unwrap().open().await.unwrap_err();
    assert!(!store.exists());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = Stack::load("/nowhere/stack.toml").unwrap_err().to_string();
    assert!(message.contains("/nowhere/stack.toml") && message.contains("check the path"), "{message}");
}
