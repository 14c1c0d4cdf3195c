//! Uploads in parts.

use aws_sdk_s3::{
    operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use aws_sigv4::http_request::SignableBody;
use futures_util::future::join_all;
use leasehold_core::Store;
use leasehold_layers::{Fault, Faults, Verb};
use leasehold_memory::Memory;

use crate::{
    support::{BUCKET, Place, refused, told},
    wire::{Request, Wire},
};

const STALE: &str = "\"0-0\"";

/// A server that takes small parts.
async fn place() -> Place {
    Place::with(Store::new(Memory::new()), |server| server.part_bytes_min(4)).await
}

/// The same over a store that fails, which is returned as it is without.
async fn failing() -> (Place, Faults, Store) {
    let (memory, faults) = (Store::new(Memory::new()), Faults::new());
    let place = Place::with(memory.clone().layer(faults.clone()), |server| server.part_bytes_min(4)).await;
    (place, faults, memory)
}

async fn begin(place: &Place, key: &str) -> String {
    let begun = place.client.create_multipart_upload().bucket(BUCKET).key(key).send().await.unwrap();
    begun.upload_id.unwrap()
}

async fn part(place: &Place, key: &str, id: &str, number: i32, body: impl Into<Vec<u8>>) -> CompletedPart {
    let part = place.client.upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(number);
    let stored = part.body(ByteStream::from(body.into())).send().await.unwrap();
    CompletedPart::builder().part_number(number).e_tag(stored.e_tag.unwrap()).build()
}

fn complete(
    place: &Place,
    key: &str,
    id: &str,
    parts: &[CompletedPart],
) -> CompleteMultipartUploadFluentBuilder {
    let upload = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
    place.client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(id).multipart_upload(upload)
}

async fn leftovers(place: &Place) -> Vec<String> {
    let mut left = place.store.list("_s3/uploads/").await.unwrap();
    left.extend(place.store.list("_s3/parts/").await.unwrap());
    left.iter().map(|entry| entry.key.as_str().to_owned()).collect()
}

#[tokio::test]
async fn an_object_is_made_of_its_parts() {
    let place = Place::new().await;
    let begun = place
        .client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .content_type("text/plain")
        .metadata("a", "b");
    let id = begun.send().await.unwrap().upload_id.unwrap();
    let mut parts = Vec::new();
    let mut expected = Vec::new();
    // Not in their order, and one of them twice.
    for (number, byte) in [(2, 9), (7, 3), (2, 2)] {
        let body = vec![byte; if number == 7 { 11 } else { 5 << 20 }];
        parts.retain(|part: &CompletedPart| part.part_number() != Some(number));
        parts.push(part(&place, "k", &id, number, body.clone()).await);
        if byte != 9 {
            expected.push((number, body));
        }
    }
    parts.sort_by_key(CompletedPart::part_number);
    expected.sort();
    assert_eq!(place.get("k").await, None, "nothing is there before it is complete");
    let done = complete(&place, "k", &id, &parts).send().await.unwrap();
    let got = place.client.get_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!((got.e_tag(), got.content_type()), (done.e_tag(), Some("text/plain")));
    assert_eq!(got.metadata().unwrap()["a"], "b");
    let expected: Vec<u8> = expected.into_iter().flat_map(|(_, body)| body).collect();
    assert!(got.body.collect().await.unwrap().to_vec() == expected);
    assert_eq!(leftovers(&place).await, [""; 0]);
    // Sent again, it is answered as the first time.
    let again = complete(&place, "k", &id, &parts).send().await.unwrap();
    assert_eq!(again.e_tag(), done.e_tag());
    refused(complete(&place, "other", &id, &parts).send().await, 404, "NoSuchUpload");
}

#[tokio::test]
async fn a_completion_happens_only_under_its_condition() {
    let place = place().await;
    let first = place.put("k", "first").await;
    for (absent, condition, outcome) in [
        (false, None, Err(412)),
        (false, Some(STALE), Err(412)),
        (true, Some(STALE), Err(404)),
        (false, Some(first.as_str()), Ok(())),
        (true, None, Ok(())),
    ] {
        let key = if absent { "absent" } else { "k" };
        let id = begin(&place, key).await;
        let parts = [part(&place, key, &id, 1, "whole").await];
        let completion = complete(&place, key, &id, &parts);
        let completion = match condition {
            Some(tag) => completion.if_match(tag),
            None => completion.if_none_match("*"),
        };
        let result = completion.send().await.map(drop).map_err(|error| told(&error).0);
        assert_eq!(result, outcome, "{key} {condition:?}");
        if outcome.is_err() {
            // What lost can be completed without the condition, or aborted.
            assert_eq!(leftovers(&place).await.len(), 2);
            place
                .client
                .abort_multipart_upload()
                .bucket(BUCKET)
                .key(key)
                .upload_id(&id)
                .send()
                .await
                .unwrap();
        }
        assert!(leftovers(&place).await.is_empty());
    }
    assert_eq!(place.get("k").await.unwrap(), b"whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_completions_one_wins() {
    let place = place().await;
    for round in 0..10 {
        let key = format!("k{round}");
        let uploads = join_all((0..8).map(|name: usize| {
            let (place, key) = (&place, key.as_str());
            async move {
                let id = begin(place, key).await;
                let parts = [part(place, key, &id, 1, format!("body{name}")).await];
                complete(place, key, &id, &parts).if_none_match("*")
            }
        }));
        let sent = uploads.await.into_iter().map(|completion| tokio::spawn(completion.send()));
        let results: Vec<_> = join_all(sent).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> = (0..8).filter(|&name| results[name].is_ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(place.get(&key).await.unwrap(), format!("body{}", winners[0]).into_bytes());
        assert!(results.iter().filter_map(|result| result.as_ref().err()).all(|error| told(error).0 == 412));
    }
}

#[tokio::test]
async fn a_completion_that_names_other_parts_is_refused() {
    let place = place().await;
    let id = begin(&place, "k").await;
    let stale = part(&place, "k", &id, 1, "old part").await;
    let one = part(&place, "k", &id, 1, "new part").await;
    let two = part(&place, "k", &id, 2, "two").await;
    let three = part(&place, "k", &id, 3, "three").await;
    let absent = CompletedPart::builder().part_number(9).e_tag(two.e_tag().unwrap()).build();
    for (parts, code) in [
        (vec![stale], "InvalidPart"),
        (vec![one.clone(), absent], "InvalidPart"),
        (vec![three.clone(), one.clone()], "InvalidPartOrder"),
        (vec![one.clone(), one.clone()], "InvalidPartOrder"),
        (vec![one.clone(), two.clone(), three.clone()], "EntityTooSmall"),
        (vec![], "MalformedXML"),
    ] {
        refused(complete(&place, "k", &id, &parts).send().await, 400, code);
    }
    let wrong_size = complete(&place, "k", &id, &[one.clone(), three.clone()]).mpu_object_size(3);
    refused(wrong_size.send().await, 400, "InvalidRequest");
    assert_eq!(place.get("k").await, None);
    complete(&place, "k", &id, &[one, three]).mpu_object_size(13).send().await.unwrap();
    assert_eq!(place.get("k").await.unwrap(), b"new partthree");
}

#[tokio::test]
async fn checksums_of_parts_and_of_the_whole_are_compared() {
    let place = place().await;
    let begun = place
        .client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .checksum_algorithm(ChecksumAlgorithm::Crc32);
    let id = begun.send().await.unwrap().upload_id.unwrap();
    let stored = place.client.upload_part().bucket(BUCKET).key("k").upload_id(&id).part_number(1);
    let stored = stored
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(stored.checksum_crc32(), Some("NhCmhg=="));
    let named = |crc32: &str| {
        let part = CompletedPart::builder().part_number(1).checksum_crc32(crc32);
        part.set_e_tag(stored.e_tag.clone()).build()
    };
    refused(complete(&place, "k", &id, &[named("AAAAAA==")]).send().await, 400, "InvalidPart");
    refused(
        complete(&place, "k", &id, &[named("NhCmhg==")]).checksum_crc32("AAAAAA==").send().await,
        400,
        "BadDigest",
    );
    assert_eq!(place.get("k").await, None);
    complete(&place, "k", &id, &[named("NhCmhg==")]).checksum_crc32("NhCmhg==").send().await.unwrap();
    assert_eq!(place.get("k").await.unwrap(), b"hello");
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing() {
    let place = place().await;
    let id = begin(&place, "k").await;
    let one = part(&place, "k", &id, 1, "part").await;
    let abort = || place.client.abort_multipart_upload().bucket(BUCKET).key("k").upload_id(&id).send();
    abort().await.unwrap();
    assert!(leftovers(&place).await.is_empty());
    refused(abort().await, 404, "NoSuchUpload");
    refused(complete(&place, "k", &id, &[one]).send().await, 404, "NoSuchUpload");
    let late = place.client.upload_part().bucket(BUCKET).key("k").upload_id(&id).part_number(2);
    refused(late.body(ByteStream::from_static(b"late")).send().await, 404, "NoSuchUpload");
    for strange in ["../x", "a/b", "", "é"] {
        let abort =
            place.client.abort_multipart_upload().bucket(BUCKET).key("k").upload_id(strange).send().await;
        if !strange.is_empty() {
            refused(abort, 404, "NoSuchUpload");
        }
    }
    assert!(leftovers(&place).await.is_empty());
}

#[tokio::test]
async fn a_bucket_takes_its_uploads_with_it() {
    let place = place().await;
    let id = begin(&place, "k").await;
    part(&place, "k", &id, 1, "part").await;
    place.client.delete_bucket().bucket(BUCKET).send().await.unwrap();
    assert!(leftovers(&place).await.is_empty());
}

#[tokio::test]
async fn parts_and_uploads_are_listed_in_pages() {
    let place = place().await;
    let id = begin(&place, "k").await;
    for number in [3, 1, 10_000, 2] {
        part(&place, "k", &id, number, "part").await;
    }
    let mut numbers = Vec::new();
    let mut marker = None;
    loop {
        let list = place.client.list_parts().bucket(BUCKET).key("k").upload_id(&id).max_parts(3);
        let page = list.set_part_number_marker(marker).send().await.unwrap();
        numbers.extend(page.parts().iter().filter_map(|part| part.part_number()));
        match page.next_part_number_marker() {
            Some(next) => marker = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(numbers, [1, 2, 3, 10_000]);

    for key in ["b", "a", "k"] {
        begin(&place, key).await;
    }
    let mut keys = Vec::new();
    let (mut key_marker, mut id_marker) = (None, None);
    loop {
        let list = place.client.list_multipart_uploads().bucket(BUCKET).max_uploads(1);
        let page = list.set_key_marker(key_marker).set_upload_id_marker(id_marker).send().await.unwrap();
        keys.extend(page.uploads().iter().map(|upload| upload.key().unwrap().to_owned()));
        (key_marker, id_marker) = (page.next_key_marker.clone(), page.next_upload_id_marker.clone());
        if page.is_truncated() != Some(true) {
            break;
        }
    }
    assert_eq!(keys, ["a", "b", "k", "k"]);
    let some = place.client.list_multipart_uploads().bucket(BUCKET).prefix("k").send().await.unwrap();
    assert_eq!(some.uploads().len(), 2);

    let none = place.client.list_multipart_uploads().bucket(BUCKET).max_uploads(0).send().await.unwrap();
    assert_eq!((none.uploads().len(), none.is_truncated()), (0, Some(false)));
    let none =
        place.client.list_parts().bucket(BUCKET).key("k").upload_id(&id).max_parts(0).send().await.unwrap();
    assert_eq!((none.parts().len(), none.is_truncated()), (0, Some(false)));
}

#[tokio::test]
async fn a_part_can_be_copied_from_an_object() {
    let place = place().await;
    place.put("source", "0123456789").await;
    let id = begin(&place, "k").await;
    let copy = |number: i32| {
        let copy = place.client.upload_part_copy().bucket(BUCKET).key("k").upload_id(&id).part_number(number);
        copy.copy_source("bucket/source")
    };
    let whole = copy(1).send().await.unwrap().copy_part_result.unwrap().e_tag.unwrap();
    let some =
        copy(2).copy_source_range("bytes=2-4").send().await.unwrap().copy_part_result.unwrap().e_tag.unwrap();
    refused(copy(3).copy_source_range("bytes=2-10").send().await, 400, "InvalidArgument");
    refused(copy(3).copy_source_range("bytes=2-").send().await, 400, "InvalidArgument");
    refused(copy(3).copy_source_if_match(STALE).send().await, 412, "PreconditionFailed");
    let parts = [(1, whole), (2, some)]
        .map(|(number, tag)| CompletedPart::builder().part_number(number).e_tag(tag).build());
    complete(&place, "k", &id, &parts).send().await.unwrap();
    assert_eq!(place.get("k").await.unwrap(), b"0123456789234");
}

#[tokio::test]
async fn part_numbers_have_their_limits() {
    let place = place().await;
    let id = begin(&place, "k").await;
    for number in [-1, 0, 10_001] {
        let part = place.client.upload_part().bucket(BUCKET).key("k").upload_id(&id).part_number(number);
        refused(part.body(ByteStream::from_static(b"x")).send().await, 400, "InvalidArgument");
    }
}

fn abort(
    place: &Place,
    id: &str,
) -> aws_sdk_s3::operation::abort_multipart_upload::builders::AbortMultipartUploadFluentBuilder {
    place.client.abort_multipart_upload().bucket(BUCKET).key("k").upload_id(id)
}

#[tokio::test]
async fn a_page_of_uploads_goes_on_after_one_that_has_gone() {
    let place = place().await;
    for _ in 0..4 {
        begin(&place, "k").await;
    }
    let page = |key: Option<String>, id: Option<String>| {
        let list = place.client.list_multipart_uploads().bucket(BUCKET).max_uploads(2);
        list.set_key_marker(key).set_upload_id_marker(id).send()
    };
    let first = page(None, None).await.unwrap();
    let ids = |page: &aws_sdk_s3::operation::list_multipart_uploads::ListMultipartUploadsOutput| {
        page.uploads().iter().map(|upload| upload.upload_id().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let last = first.next_upload_id_marker.clone().unwrap();
    abort(&place, &last).send().await.unwrap();
    let second = page(first.next_key_marker.clone(), Some(last)).await.unwrap();
    assert_eq!((second.uploads().len(), second.is_truncated()), (2, Some(false)));
    assert!(ids(&first).iter().all(|id| !ids(&second).contains(id)));
}

#[tokio::test]
async fn an_abort_that_failed_half_way_can_be_sent_again() {
    let (place, faults, memory) = failing().await;
    let id = begin(&place, "k").await;
    part(&place, "k", &id, 1, "part").await;
    faults.next_on(format!("_s3/parts/bucket/{id}/00001"), Verb::Delete, Fault::Before).unwrap();
    refused(abort(&place, &id).send().await, 503, "ServiceUnavailable");
    let left = || async { memory.list("_s3/parts/").await.unwrap().len() };
    assert_eq!(left().await, 1);
    refused(abort(&place, &id).send().await, 404, "NoSuchUpload");
    assert_eq!(left().await, 0);
    let id = begin(&place, "k").await;
    part(&place, "k", &id, 1, "part").await;
    // Nothing is removed for somebody who has the key wrong.
    refused(abort(&place, &id).key("other").send().await, 404, "NoSuchUpload");
    assert_eq!(left().await, 1);
}

#[tokio::test]
async fn an_abort_goes_on_when_its_client_has_gone() {
    let (place, faults, memory) = failing().await;
    let id = begin(&place, "k").await;
    part(&place, "k", &id, 1, "part").await;
    let gate = faults.hold_reply(Verb::Delete);
    let path = format!("/bucket/k?uploadId={id}");
    let request = Request { method: "DELETE", path: &path, ..Request::default() };
    let mut wire = Wire::open(&place.server).await;
    wire.send(request.signed(&place.server)).await;
    gate.reached().await;
    assert!(wire.cut().await.is_none(), "the server has seen that it is gone");
    gate.release();
    place.server.stop().await;
    assert!(memory.list("_s3/parts/").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_part_that_comes_too_late_is_removed_by_who_stored_it() {
    let (place, faults, memory) = failing().await;
    let id = begin(&place, "k").await;
    let gate = faults.hold_reply(Verb::Put);
    let late = place.client.upload_part().bucket(BUCKET).key("k").upload_id(&id).part_number(1);
    let late = tokio::spawn(late.body(ByteStream::from_static(b"late")).send());
    gate.reached().await;
    memory.delete(format!("_s3/uploads/bucket/{id}")).await.unwrap();
    gate.release();
    refused(late.await.unwrap(), 404, "NoSuchUpload");
    assert!(memory.list("_s3/parts/").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_bucket_that_is_deleted_does_not_take_the_uploads_of_the_next_one_with_it() {
    let (place, faults, memory) = failing().await;
    let other = Place::with(memory.clone(), |server| server.part_bytes_min(4)).await;
    let id = begin(&place, "k").await;
    part(&place, "k", &id, 1, "part").await;
    let gate = faults.hold_reply(Verb::Delete);
    let delete = tokio::spawn(place.client.delete_bucket().bucket(BUCKET).send());
    gate.reached().await;
    other.client.create_bucket().bucket(BUCKET).send().await.unwrap();
    let next = begin(&other, "k").await;
    let one = part(&other, "k", &next, 1, "part").await;
    gate.release();
    delete.await.unwrap().unwrap();
    assert_eq!(leftovers(&other).await.len(), 2);
    complete(&other, "k", &next, &[one]).send().await.unwrap();
}

#[tokio::test]
async fn a_completion_whose_reply_was_lost_is_answered_as_applied() {
    let (place, faults, memory) = failing().await;
    let other = Place::with(memory.clone(), |server| server.part_bytes_min(4)).await;
    // Found out at once.
    let id = begin(&place, "k").await;
    let one = [part(&place, "k", &id, 1, "whole").await];
    faults.next(Verb::Put, Fault::After);
    let done = complete(&place, "k", &id, &one).if_none_match("*").send().await.unwrap();
    let head = place.client.head_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(done.e_tag(), head.e_tag());
    assert!(head.metadata().is_none_or(|metadata| metadata.is_empty()), "{head:?}");
    // By another server, which has not seen the first.
    let again = complete(&other, "k", &id, &one).if_none_match("*").send().await.unwrap();
    assert_eq!(again.e_tag(), done.e_tag());
    // A copy is not made by the upload.
    place.client.copy_object().bucket(BUCKET).key("copy").copy_source("bucket/k").send().await.unwrap();
    assert!(memory.get("bucket/copy").await.unwrap().unwrap().metadata.attributes.get("s3.upload").is_none());
    // Once replaced, it is not there to be told of.
    place.put("k", "newer").await;
    refused(complete(&other, "k", &id, &one).send().await, 404, "NoSuchUpload");
    assert_eq!(place.get("k").await.unwrap(), b"newer");
}

#[tokio::test]
async fn a_completion_that_is_applied_late_is_found_when_it_is_sent_again() {
    let (place, faults, memory) = failing().await;
    let id = begin(&place, "k").await;
    let one = [part(&place, "k", &id, 1, "whole").await];
    faults.next(Verb::Put, Fault::Ghost);
    refused(complete(&place, "k", &id, &one).if_none_match("*").send().await, 500, "InternalError");
    assert!(memory.get("bucket/k").await.unwrap().is_none());
    assert_eq!(faults.release_ghosts().await.len(), 1);
    let applied = memory.get("bucket/k").await.unwrap().unwrap();
    let again = complete(&place, "k", &id, &one).if_none_match("*").send().await.unwrap();
    assert_eq!(again.e_tag(), Some(format!("\"{}\"", applied.version()).as_str()));
    assert!(leftovers(&place).await.is_empty());
}

#[tokio::test]
async fn a_completion_that_is_refused_late_is_one_document() {
    let (place, faults, _) = failing().await;
    place.put("k", "there").await;
    let id = begin(&place, "k").await;
    let one = part(&place, "k", &id, 1, "whole").await;
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        one.e_tag().unwrap()
    );
    for (condition, code) in [(vec![("if-none-match", "*")], Some("PreconditionFailed")), (vec![], None)] {
        let gate = faults.hold(Verb::Put);
        let length = body.len().to_string();
        let path = format!("/bucket/k?uploadId={id}");
        let headers = [vec![("content-length", length.as_str())], condition].concat();
        let request = Request {
            method: "POST",
            path: &path,
            headers: &headers,
            payload: SignableBody::UnsignedPayload,
            ..Request::default()
        };
        let mut wire = Wire::open(&place.server).await;
        wire.send(request.signed(&place.server)).await;
        wire.send(&body).await;
        gate.reached().await;
        tokio::time::pause();
        assert_eq!(wire.receive().await.unwrap().status, 200, "it begins before the outcome is known");
        gate.release();
        let mut document = String::new();
        while let Some(chunk) = wire.chunk().await {
            document += &chunk;
        }
        tokio::time::resume();
        let mut reader = quick_xml::Reader::from_str(&document);
        let (mut declarations, mut names, mut told) = (0, Vec::new(), None);
        loop {
            match reader.read_event().unwrap() {
                quick_xml::events::Event::Decl(_) => declarations += 1,
                quick_xml::events::Event::Start(start) => {
                    names.push(start.name().as_ref().to_owned());
                    if names.last().is_some_and(|name| name == "Code") {
                        told = Some(reader.read_text(start.name()).unwrap().into_owned());
                    }
                }
                quick_xml::events::Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(declarations, 1, "{document}");
        assert_eq!(told.as_deref(), code, "{document}");
        let root = if code.is_some() { "Error" } else { "CompleteMultipartUploadResult" };
        assert_eq!(names[0], root, "{document}");
    }
}
