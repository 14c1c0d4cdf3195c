//! Many clients at once: of those with one condition, one wins.

use aws_sdk_s3::{Client, primitives::ByteStream};
use futures_util::future::join_all;
use leasehold_core::Store;
use leasehold_fs::Fs;

use crate::support::{ACCESS, BUCKET, Place, SECRET, client, told};

const CLIENTS: usize = 32;
const ROUNDS: usize = 20;

async fn places() -> Vec<(Place, Option<tempfile::TempDir>)> {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = Fs::open(directory.path()).durable(false).await.unwrap();
    vec![(Place::new().await, None), (Place::over(Store::new(on_disk)).await, Some(directory))]
}

async fn put(
    client: Client,
    key: String,
    body: String,
    if_match: Option<String>,
) -> Result<String, (u16, String)> {
    let put = client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(body.into_bytes()));
    let put = match if_match {
        Some(tag) => put.if_match(tag),
        None => put.if_none_match("*"),
    };
    put.send().await.map(|put| put.e_tag.unwrap_or_default()).map_err(|error| told(&error))
}

fn lost() -> (u16, String) {
    (412, "PreconditionFailed".into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creators_one_wins() {
    for (place, _directory) in places().await {
        for round in 0..ROUNDS {
            let key = format!("create-{round}");
            let writes = (0..CLIENTS)
                .map(|name| tokio::spawn(put(place.client.clone(), key.clone(), name.to_string(), None)));
            let results: Vec<_> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
            let winners: Vec<_> = results.iter().enumerate().filter(|(_, result)| result.is_ok()).collect();
            assert_eq!(winners.len(), 1, "round {round}: {results:?}");
            assert!(results.iter().all(|result| result.as_ref().err().is_none_or(|error| *error == lost())));
            assert_eq!(place.get(&key).await.unwrap(), winners[0].0.to_string().into_bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_over_one_version_one_wins() {
    for (place, _directory) in places().await {
        let mut tag = place.put("k", "begin").await;
        for round in 0..ROUNDS {
            let write =
                |name: usize| put(place.client.clone(), "k".into(), name.to_string(), Some(tag.clone()));
            let results = join_all((0..CLIENTS).map(|name| tokio::spawn(write(name)))).await;
            let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
            let mut winners = results.iter().filter_map(|result| result.as_ref().ok());
            let winner = winners.next().cloned();
            assert!(winner.is_some() && winners.next().is_none(), "round {round}: {results:?}");
            assert!(results.iter().all(|result| result.as_ref().err().is_none_or(|error| *error == lost())));
            tag = winner.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_delete_and_a_write_over_one_version_one_wins() {
    for (place, _directory) in places().await {
        for round in 0..100 {
            let tag = place.put("k", "begin").await;
            let write =
                tokio::spawn(put(place.client.clone(), "k".into(), "written".into(), Some(tag.clone())));
            let delete = place.client.delete_object().bucket(BUCKET).key("k").if_match(tag).send();
            let delete = tokio::spawn(async move { delete.await.map_err(|error| told(&error)) });
            let (written, deleted) = (write.await.unwrap(), delete.await.unwrap());
            match (&written, &deleted) {
                (Ok(_), Err(error)) => {
                    assert_eq!(*error, lost());
                    assert_eq!(place.get("k").await.unwrap(), b"written");
                }
                (Err(error), Ok(_)) => {
                    assert!([412, 404].contains(&error.0), "{error:?}");
                    assert_eq!(place.get("k").await, None);
                }
                both => panic!("round {round}: {both:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_that_many_clients_and_two_servers_share_loses_nothing() {
    const STEPS: usize = 12;
    let place = Place::new().await;
    let other = Place::over(place.store.clone()).await;
    place.put("counter", "0").await;
    let clients = (0..8).map(|name| {
        let server = if name % 2 == 0 { &place.server } else { &other.server };
        let client = client(&server.url(), ACCESS, SECRET);
        tokio::spawn(async move {
            let mut done = 0;
            while done < STEPS {
                let got = client.get_object().bucket(BUCKET).key("counter").send().await.unwrap();
                let tag = got.e_tag().unwrap().to_owned();
                let bytes = got.body.collect().await.unwrap().to_vec();
                let next = String::from_utf8(bytes).unwrap().parse::<usize>().unwrap() + 1;
                match put(client.clone(), "counter".into(), next.to_string(), Some(tag)).await {
                    Ok(_) => done += 1,
                    Err(error) => assert_eq!(error, lost()),
                }
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    assert_eq!(place.get("counter").await.unwrap(), (8 * STEPS).to_string().into_bytes());
}
