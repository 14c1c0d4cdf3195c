use std::collections::BTreeSet;

use leasehold_memory::Memory;

use super::*;

const BUCKET: &str = "bucket";

/// What a list has to say, computed from all keys at once.
fn model(keys: &BTreeSet<String>, prefix: &str, delimiter: &str, after: &str) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix) && key.as_str() > after) {
        let rest = &key[prefix.len()..];
        let entry = match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
            Some(at) => format!("{prefix}{}{delimiter}", &rest[..at]),
            None => key.clone(),
        };
        if said.last() != Some(&entry) && entry != after {
            said.push(entry);
        }
    }
    said
}

async fn store(keys: &BTreeSet<String>) -> Store {
    let store = Store::new(Memory::new());
    for key in keys {
        store.put(format!("{BUCKET}/{key}"), "x").await.unwrap();
    }
    // Neighbours that must never show up.
    for key in ["bucket-2/a", "bucke/a", "bucket!", "bucket0", "_s3/buckets/bucket"] {
        store.put(key, "x").await.unwrap();
    }
    store
}

fn names(page: &Page) -> Vec<String> {
    let name = |item: &Item| match item {
        Item::Object(key, _) => key.clone(),
        Item::Common(prefix) => prefix.clone(),
    };
    page.items.iter().map(name).collect()
}

/// Reads page after page.
async fn all(store: &Store, prefix: &str, delimiter: &str, after: &str, entries_max: usize) -> Vec<String> {
    let mut said = Vec::new();
    let mut start =
        Some(after).filter(|after| !after.is_empty()).map(|after| Position::After(after.to_owned()));
    loop {
        let request = Request { bucket: BUCKET, prefix, delimiter, start, entries_max };
        let page = page(store, &request).await.unwrap();
        assert!(page.items.len() <= entries_max);
        said.extend(names(&page));
        match page.next {
            // As it goes over the wire.
            Some(next) => start = Some(Position::of_token(&next.token()).unwrap()),
            None => return said,
        }
    }
}

#[tokio::test]
async fn lists_are_what_a_naive_model_says() {
    let parts = ["a", "b", "-", "a-b", "é", "aa", ".x", "\u{10ffff}", " "];
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut keys = BTreeSet::new();
        for _ in 0..random.usize(1..60) {
            let depth = random.usize(1..5);
            let key: Vec<_> = (0..depth).map(|_| *random.choice(&parts).unwrap()).collect();
            keys.insert(key.join("/"));
        }
        let store = store(&keys).await;
        for _ in 0..20 {
            let any = random.choice(&keys).unwrap().clone();
            let cut: String = any.chars().take(random.usize(0..=any.chars().count())).collect();
            let prefix = if random.bool() { "" } else { cut.as_str() };
            let delimiter = *random.choice(&["", "/", "/", "a", "-", "/a", "é"]).unwrap();
            let after = match random.u8(0..5) {
                0 => format!("{any}/"),
                1 => any.clone(),
                2 => cut.clone(),
                3 => format!("{any}//\n"),
                _ => String::new(),
            };
            let entries_max = random.usize(1..8);
            let said = all(&store, prefix, delimiter, &after, entries_max).await;
            assert_eq!(
                said,
                model(&keys, prefix, delimiter, &after),
                "seed {seed}, prefix {prefix:?}, delimiter {delimiter:?}, after {after:?}, pages of {entries_max}"
            );
        }
    }
}

#[tokio::test]
async fn many_keys_of_one_common_prefix_are_skipped_and_not_read() {
    let mut keys: BTreeSet<String> = (0..3_000).map(|number| format!("many/{number:04}")).collect();
    keys.extend(["first".into(), "many".into(), "many0".into(), "more/x".into(), "many/\u{10ffff}z".into()]);
    let meter = leasehold_layers::Meter::new();
    let store = store(&keys).await.layer(meter.clone());
    let said = all(&store, "", "/", "", 1_000).await;
    assert_eq!(said, ["first", "many", "many/", "many0", "more/"]);
    assert_eq!(
        meter.counts().requests(leasehold_layers::Verb::List),
        2,
        "the list is asked again after the prefix"
    );
}

#[tokio::test]
async fn a_list_of_what_no_key_can_begin_with_is_empty() {
    let store = store(&BTreeSet::from(["a".to_owned()])).await;
    for prefix in ["/", "a//", "\n", "../"] {
        assert!(all(&store, prefix, "", "", 10).await.is_empty(), "{prefix:?}");
    }
}

#[test]
fn a_token_of_somebody_else_is_refused() {
    for token in ["", "!", "aGVsbG8", &URL_SAFE_NO_PAD.encode("x"), &URL_SAFE_NO_PAD.encode([0xff])] {
        assert!(Position::of_token(token).is_err(), "{token:?}");
    }
    for position in [Position::After("a/é".into()), Position::AfterPrefix(String::new())] {
        assert_eq!(Position::of_token(&position.token()).unwrap(), position);
    }
}

#[tokio::test]
async fn a_list_that_goes_on_after_a_common_prefix_by_its_name_reads_none_of_its_keys() {
    let after = |text: &str| Position::After(text.into());
    for (text, prefix, delimiter, skips) in [
        ("many/", "", "/", true),
        ("a/many/", "a/", "/", true),
        ("many/", "", "", false),
        ("many/x", "", "/", false),
        ("many/x/", "", "/", false),
        ("a/", "a/", "/", false),
        ("a", "b/", "/", false),
    ] {
        let expected = if skips { Position::AfterPrefix(text.into()) } else { after(text) };
        assert_eq!(after(text).past_common(prefix, delimiter), expected, "{text:?} {prefix:?} {delimiter:?}");
    }
    let store =
        store(&["many".into(), "many/1".into(), "many/\u{10ffff}z".into(), "more".into()].into()).await;
    assert_eq!(all(&store, "", "/", "many/", 10).await, ["more"]);
}
