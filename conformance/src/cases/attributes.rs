//! C2, C11: what is kept beside a value is written, read, replaced and removed together with it.

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    Attributes, BatchOptions, Body, ByteRange, Bytes, Capability, ErrorKind, GetOptions, Key, Lookup,
    Metadata, Object, Operation, Outcome, Precondition, PutOptions, Store, Version,
};

use crate::{
    Case, Check, Stop, Trial,
    case::case,
    race::race_all,
    trial::{counts, ensure, ensure_eq, holds, refused},
    values::{check_pattern, pattern, streamed},
};

pub(super) const CASES: &[Case] = &[
    case!(C2, attributes_come_back_from_every_read, [Attributes]),
    case!(C2, a_put_replaces_all_attributes_and_one_without_removes_them, [Attributes]),
    case!(C2, a_delete_takes_attributes_along, [Attributes]),
    case!(C2, attributes_and_value_come_from_one_write, [Attributes]),
    case!(C2, increments_keep_attributes, [Attributes]),
    case!(C3, a_conditional_put_that_loses_changes_no_attributes, [Attributes, ConditionalPut]),
    case!(C7, other_attributes_make_another_version, [Attributes, UniqueVersions]),
    case!(C10, batches_carry_attributes, [Attributes]),
    case!(C12, a_large_stream_carries_its_attributes, [Attributes]),
    case!(C12, the_longest_attributes_fit, [Attributes]),
    case!(C11, standard_and_other_names_stand_side_by_side, [Attributes]),
    case!(C11, attributes_that_are_not_claimed_are_refused),
];

fn all<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Check<Attributes> {
    let mut attributes = Attributes::new();
    for (name, value) in pairs {
        attributes.insert(name, value)?;
    }
    Ok(attributes)
}

fn one(name: &str, value: &str) -> Check<Attributes> {
    all([(name, value)])
}

async fn found(store: &Store, key: &str, range: ByteRange) -> Check<Object> {
    let object = store.get(key).range(range).await?;
    object.ok_or_else(|| Stop::failed(format!("get finds no {key:?}")))
}

async fn head(store: &Store, key: &str) -> Check<Metadata> {
    store.head(key).await?.ok_or_else(|| Stop::failed(format!("head finds no {key:?}")))
}

/// Checks that every way to read `key` shows `wanted`, and that lists show nothing of it.
async fn carries(store: &Store, key: &str, wanted: &Attributes) -> Check {
    ensure_eq!(head(store, key).await?.attributes, *wanted, "the attributes that head shows for {key:?}");
    for range in [ByteRange::Full, ByteRange::From(1), ByteRange::Last(1), ByteRange::Bounded(0, 0)] {
        let object = found(store, key, range).await?;
        ensure_eq!(
            object.metadata.attributes,
            *wanted,
            "the attributes that get shows for {key:?}, {range:?}"
        );
    }
    for entry in store.list(key).await? {
        ensure!(entry.metadata.attributes.is_empty(), "the list shows attributes of {:?}", entry.key);
    }
    Ok(())
}

async fn attributes_come_back_from_every_read(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let attributes = all([("content-type", "text/plain"), ("written-by", "node 7")])?;
    for key in ["k", "dir/k"] {
        store.put(key, "value").attributes(attributes.clone()).await?;
        carries(store, key, &attributes).await?;
        carries(&other, key, &attributes).await?;
        holds(&other, key, Some(b"value")).await?;
        let changed = other.get(key).if_changed_from(Version::new("no-such-version")).await?;
        let shown = changed.found().map(|object| object.metadata.attributes);
        ensure_eq!(shown.as_ref(), Some(&attributes), "the attributes of a value that changed");
        let same = other.get(key).if_changed_from(head(store, key).await?.version).await?;
        ensure!(matches!(same, Lookup::Unchanged), "an unchanged value was answered with {same:?}");
    }
    store.put("none", "value").await?;
    carries(store, "none", &Attributes::new()).await?;
    store.put("empty", "").attributes(attributes.clone()).await?;
    ensure_eq!(head(&other, "empty").await?.attributes, attributes, "the attributes of an empty value");
    Ok(())
}

async fn a_put_replaces_all_attributes_and_one_without_removes_them(trial: Trial) -> Check {
    let store = trial.store();
    let puts = [
        all([("a", "1"), ("b", "1"), ("content-type", "text/plain")])?,
        all([("b", "2"), ("c", "2")])?,
        Attributes::new(),
        one("a", "3")?,
        all([("content-type", "image/png"), ("expires", "Thu, 01 Dec 2033 16:00:00 GMT")])?,
        one("content-type", "text/html")?,
        Attributes::new(),
    ];
    for attributes in puts {
        store.put("k", "value").attributes(attributes.clone()).await?;
        carries(store, "k", &attributes).await?;
    }
    // What takes another way into the store removes them as well.
    for way in 0..3 {
        store.put("k", "value").attributes(one("a", "4")?).await?;
        match way {
            0 => drop(store.put("k", "value").await?),
            1 => drop(store.put("k", streamed("value".into(), 2, None)).await?),
            _ => drop(store.put_many([("k", "value")]).await.remove(0)?),
        }
        carries(store, "k", &Attributes::new()).await?;
    }
    Ok(())
}

async fn a_delete_takes_attributes_along(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    for round in 0..3 {
        store.put("k", "value").attributes(one("a", "1")?).await?;
        other.delete("k").await?;
        holds(store, "k", None).await?;
        if round == 1 {
            other.increment("k", 17).await?;
        } else {
            other.put("k", "value").await?;
        }
        carries(store, "k", &Attributes::new()).await?;
    }
    Ok(())
}

/// What a writer puts beside the pattern of this number: every third nothing, the others their number and some more.
fn beside(number: u64) -> Check<Attributes> {
    let mut attributes = Attributes::new();
    if !number.is_multiple_of(3) {
        attributes.insert("number", &number.to_string())?;
        for more in 0..number % 5 {
            attributes.insert(&format!("more-{more}"), &format!("of {number}"))?;
        }
    }
    Ok(attributes)
}

async fn attributes_and_value_come_from_one_write(trial: Trial) -> Check {
    const WRITERS: usize = 8;
    let handles = trial.handles(4).await?;
    let rounds = trial.rounds(60) as u64;
    let size = |number: u64| 16 + (number as usize * 7919) % 70_000;
    handles[0].put("k", pattern(0, size(0))).await?;
    race_all((0..WRITERS + 4).map(|client| {
        let store = handles[client % 4].clone();
        async move {
            for round in 0..rounds {
                if client < WRITERS {
                    let number = 1 + client as u64 * rounds + round;
                    let bytes = pattern(number, size(number));
                    let body = if round % 4 == 3 { streamed(bytes, 9_000, None) } else { bytes.into() };
                    store.put("k", body).attributes(beside(number)?).await?;
                    continue;
                }
                for _ in 0..WRITERS {
                    let object = found(&store, "k", ByteRange::Full).await?;
                    let seen = object.metadata.attributes.clone();
                    let number = check_pattern(&object.bytes().await?).map_err(Stop::failed)?;
                    ensure_eq!(seen, beside(number)?, "what get shows beside value {number}");
                    let metadata = head(&store, "k").await?;
                    let number = metadata.attributes.get("number").and_then(|number| number.parse().ok());
                    if let Some(number) = number {
                        let wanted = (size(number) as u64, beside(number)?);
                        ensure_eq!(
                            (metadata.size, metadata.attributes),
                            wanted,
                            "what head shows of {number}"
                        );
                    }
                }
            }
            Ok(())
        }
    }))
    .await?;
    for store in handles {
        let object = found(&store, "k", ByteRange::Full).await?;
        let number = check_pattern(&object.bytes().await?).map_err(Stop::failed)?;
        carries(&store, "k", &beside(number)?).await?;
    }
    Ok(())
}

async fn increments_keep_attributes(trial: Trial) -> Check {
    let handles = trial.handles(2).await?;
    let attributes = all([("content-type", "text/plain"), ("unit", "visits")])?;
    handles[0].put("n", "40").attributes(attributes.clone()).await?;
    for sum in 41..=43 {
        ensure_eq!(handles[sum % 2].increment("n", 1).await?, sum as i64, "the sum");
        carries(&handles[0], "n", &attributes).await?;
    }
    let steps = trial.rounds(25);
    race_all((0..8).map(|client| {
        let store = handles[client % 2].clone();
        async move {
            for _ in 0..steps {
                store.increment("n", 1).await?;
            }
            Ok(())
        }
    }))
    .await?;
    counts(&handles[0], "n", 43 + 8 * steps as i64).await?;
    carries(&handles[0], "n", &attributes).await?;
    refused(handles[0].increment("n", i64::MAX).await, ErrorKind::Invalid, "a sum past 64 bits")?;
    carries(&handles[0], "n", &attributes).await?;
    handles[0].increment("new", 7).await?;
    carries(&handles[0], "new", &Attributes::new()).await
}

async fn a_conditional_put_that_loses_changes_no_attributes(trial: Trial) -> Check {
    let store = trial.store();
    let old = store.put("k", "old").attributes(one("a", "old")?).await?;
    let kept = all([("a", "kept"), ("content-type", "text/plain")])?;
    let now = store.put("k", "now").attributes(kept.clone()).if_match(old.clone()).await?;
    for precondition in [Precondition::Absent, Precondition::Matches(old)] {
        for attributes in [Attributes::new(), one("a", "lost")?, one("b", "lost")?] {
            for body in [Body::from("lost"), streamed(pattern(1, 100_000), 10_000, None)] {
                let put = store.put("k", body).attributes(attributes.clone());
                let result = put.precondition(precondition.clone()).await;
                refused(result, ErrorKind::Conflict, "a conditional put with attributes")?;
                carries(store, "k", &kept).await?;
                holds(store, "k", Some(b"now")).await?;
            }
        }
    }
    let won = one("a", "won")?;
    store.put("k", "won").attributes(won.clone()).if_match(now).await?;
    carries(store, "k", &won).await?;
    store.put("new", "won").attributes(won.clone()).if_absent().await?;
    carries(store, "new", &won).await
}

async fn other_attributes_make_another_version(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let first = store.put("k", "same").attributes(one("a", "1")?).await?;
    let second = store.put("k", "same").attributes(one("a", "2")?).await?;
    ensure!(first != second, "two writes with different attributes have the version {first:?}");
    match other.get("k").if_changed_from(first).await? {
        Lookup::Found(object) => {
            let seen = object.metadata.attributes;
            ensure_eq!(seen, one("a", "2")?, "the attributes of a value of which only these changed");
        }
        lookup => return Err(Stop::failed(format!("changed attributes were answered with {lookup:?}"))),
    }
    Ok(())
}

async fn batches_carry_attributes(trial: Trial) -> Check {
    let store = trial.store();
    let mut ways = vec![BatchOptions::default()];
    if trial.claims(Capability::AtomicBatch) {
        ways.push(BatchOptions::atomic());
    }
    for options in ways {
        store.put("c", "before").attributes(one("a", "before")?).await?;
        store.put("d", "before").attributes(one("a", "before")?).await?;
        let put = |key: &str, attributes: &Attributes| -> Check<Operation> {
            Ok(Operation::Put(
                Key::new(key)?,
                "v".into(),
                PutOptions::default().attributes(attributes.clone()),
            ))
        };
        let (one, two) = (one("a", "1")?, all([("a", "2"), ("content-type", "text/plain")])?);
        let operations = vec![
            put("a", &one)?,
            put("b", &two)?,
            put("c", &Attributes::new())?,
            Operation::Get(Key::new("b")?, GetOptions::default()),
            Operation::Get(Key::new("d")?, GetOptions::default().range(0..1)),
        ];
        let mut shown = Vec::new();
        for result in store.batch(operations, options).await {
            if let Outcome::Got(lookup) = result? {
                shown.push(lookup.found().map(|object| object.metadata.attributes));
            }
        }
        let before = self::one("a", "before")?;
        ensure_eq!(shown, [Some(two.clone()), Some(before)], "the attributes that a batch reads");
        for (key, wanted) in [("a", one), ("b", two), ("c", Attributes::new())] {
            carries(&trial.another().await?, key, &wanted).await?;
        }
        store.delete("b").await?;
    }
    Ok(())
}

async fn a_large_stream_carries_its_attributes(trial: Trial) -> Check {
    let (store, other) = (trial.store(), trial.another().await?);
    let size = 6 << 20;
    for (id, announced) in [(1, Some(size as u64)), (2, None)] {
        let attributes = all([("content-type", "application/x-pattern"), ("id", &id.to_string())])?;
        let written = pattern(id, size);
        let put = store.put("large", streamed(written.clone(), 100_003, announced));
        put.attributes(attributes.clone()).await?;
        carries(&other, "large", &attributes).await?;
        let object = found(&other, "large", ByteRange::Full).await?;
        ensure_eq!(check_pattern(&object.bytes().await?), Ok(id), "a stream of 6 MiB with attributes");
        let part = found(&other, "large", ByteRange::From(1 << 20)).await?;
        ensure_eq!(part.metadata.attributes, attributes, "the attributes of a large part");
        ensure!(part.bytes().await? == written.slice(1 << 20..), "a large part has other bytes");
    }
    store.put("large", streamed(pattern(3, size), 100_003, None)).await?;
    carries(&other, "large", &Attributes::new()).await
}

async fn the_longest_attributes_fit(trial: Trial) -> Check {
    let store = trial.store();
    let most = store.capabilities().limits().attributes_bytes_max;
    let long_name = format!("n{}", "-_.9z".repeat(20));
    let long_name = &long_name[..64];
    let mut many = Attributes::new();
    // 64 bytes each.
    for number in 0..most / 64 {
        many.insert(&format!("number-{number:02}"), &format!("{number:055}"))?;
    }
    if let Some(left) = (most % 64).checked_sub(1) {
        many.insert("z", &"z".repeat(left))?;
    }
    let sets = [
        one("a", &"x".repeat(most - 1))?,
        one("content-type", &format!("text/{}", "p".repeat(most - "content-typetext/".len())))?,
        one(long_name, &"y".repeat(most - 64))?,
        many,
    ];
    for attributes in sets {
        ensure_eq!(attributes.bytes(), most, "the bytes of the longest attributes");
        store.put("k", "value").attributes(attributes.clone()).await?;
        carries(&trial.another().await?, "k", &attributes).await?;
    }
    store.put("k", "value").await?;
    carries(store, "k", &Attributes::new()).await
}

async fn standard_and_other_names_stand_side_by_side(trial: Trial) -> Check {
    let store = trial.store();
    let printable: String = (0x21..0x7f_u8).map(char::from).collect();
    let attributes = all([
        ("cache-control", "no-cache, max-age=60"),
        ("content-disposition", r#"attachment; filename="a b.txt""#),
        ("content-encoding", "br"),
        ("content-language", "en, ga"),
        ("content-type", r#"text/plain; charset=utf-8; note="=;,""#),
        ("expires", "Thu, 01 Dec 2033 16:00:00 GMT"),
        ("a", "1"),
        ("content-types", "not the standard one"),
        ("etag", "mine"),
        ("x-amz-meta-a", "not the other a"),
        ("dots.and_lines-7", "a=b"),
        ("printable", &printable),
    ])?;
    let standard = Attributes::STANDARD.iter().all(|name| attributes.get(name).is_some());
    ensure!(standard, "this case names all standard names");
    store.put("k", "value").attributes(attributes.clone()).await?;
    carries(&trial.another().await?, "k", &attributes).await?;
    holds(store, "k", Some(b"value")).await?;
    // Each one alone, too: nothing is shown that was not written.
    for (name, value) in attributes.iter() {
        let alone = one(name, value)?;
        store.put("k", "value").attributes(alone.clone()).await?;
        carries(store, "k", &alone).await?;
    }
    let blank = all([("empty", ""), ("spaces", "a  b   c")])?;
    store.put("k", "value").attributes(blank.clone()).await?;
    carries(store, "k", &blank).await
}

async fn attributes_that_are_not_claimed_are_refused(trial: Trial) -> Check {
    let (store, missing) = (trial.store(), Capability::Attributes);
    if trial.claims(missing) {
        return Err(Stop::Skipped("the store claims attributes".into()));
    }
    let unsupported = ErrorKind::Unsupported(missing);
    let attributes = one("content-type", "text/plain")?;
    store.put("k", "old").await?;
    for key in ["k", "new"] {
        let result = store.put(key, "v").attributes(attributes.clone()).await;
        refused(result, unsupported, "a put with attributes that are not claimed")?;
        // Nothing is written, so nobody needs to wait for a body.
        let body = Body::from_stream(stream::pending::<leasehold_core::Result<Bytes>>().boxed(), None);
        let result = store.put(key, body).attributes(attributes.clone()).await;
        refused(result, unsupported, "a streamed put with attributes that are not claimed")?;
        let options = PutOptions::default().attributes(attributes.clone());
        let entry = Operation::Put(Key::new(key)?, "v".into(), options);
        let good = Operation::Put(Key::new("good")?, "v".into(), PutOptions::default());
        let mut results = store.batch(vec![entry, good], BatchOptions::default()).await;
        ensure!(
            results.len() == 2 && results[1].is_ok(),
            "the entry beside one that is refused: {results:?}"
        );
        refused(results.remove(0), unsupported, "attributes in a batch that are not claimed")?;
    }
    holds(store, "k", Some(b"old")).await?;
    holds(store, "new", None).await?;
    store.put("k", "new").attributes(Attributes::new()).await?;
    carries(store, "k", &Attributes::new()).await
}
