//! Conditions of reads, writes and deletes.

use aws_sdk_s3::primitives::{ByteStream, DateTime};

use crate::{
    support::{BUCKET, Place, refused},
    wire::{Request, Wire},
};

const STALE: &str = "\"0-0\"";

#[tokio::test]
async fn a_write_happens_only_under_its_condition() {
    let place = Place::new().await;
    let put = || place.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"new"));
    refused(put().if_match(STALE).send().await, 404, "NoSuchKey");
    let first = put().if_none_match("*").send().await.unwrap().e_tag.unwrap();
    refused(put().if_none_match("*").send().await, 412, "PreconditionFailed");
    let second = put().if_match(&first).send().await.unwrap().e_tag.unwrap();
    assert_ne!(first, second);
    refused(put().if_match(&first).send().await, 412, "PreconditionFailed");
    // Without quotes, as some clients send it.
    put().if_match(second.trim_matches('"')).send().await.unwrap();
    for strange in [STALE, "\"100%\"", "\"\"", "W/\"1\""] {
        refused(put().if_match(strange).send().await, 412, "PreconditionFailed");
    }
}

#[tokio::test]
async fn a_condition_that_cannot_be_kept_is_refused() {
    let place = Place::new().await;
    let tag = place.put("k", "old").await;
    let put = || place.client.put_object().bucket(BUCKET).key("k").body(ByteStream::from_static(b"new"));
    refused(put().if_none_match(&tag).send().await, 501, "NotImplemented");
    refused(put().if_match("*").send().await, 501, "NotImplemented");
    refused(put().if_match(&tag).if_none_match("*").send().await, 501, "NotImplemented");
    refused(
        place.client.delete_object().bucket(BUCKET).key("k").if_match("*").send().await,
        501,
        "NotImplemented",
    );
    assert_eq!(place.get("k").await.unwrap(), b"old");
}

#[tokio::test]
async fn a_delete_happens_only_under_its_condition() {
    let place = Place::new().await;
    let delete = |key: &str| place.client.delete_object().bucket(BUCKET).key(key);
    refused(delete("k").if_match(STALE).send().await, 404, "NoSuchKey");
    refused(delete("dir/").if_match(STALE).send().await, 404, "NoSuchKey");
    let first = place.put("k", "1").await;
    let second = place.put("k", "2").await;
    refused(delete("k").if_match(&first).send().await, 412, "PreconditionFailed");
    assert!(place.get("k").await.is_some());
    delete("k").if_match(&second).send().await.unwrap();
    assert_eq!(place.get("k").await, None);
}

#[tokio::test]
async fn a_read_is_answered_under_its_condition() {
    let place = Place::new().await;
    let tag = place.put("k", "x").await;
    let get = || place.client.get_object().bucket(BUCKET).key("k");
    let head = || place.client.head_object().bucket(BUCKET).key("k");
    get().if_match(&tag).send().await.unwrap();
    get().if_match("*").send().await.unwrap();
    get().if_none_match(STALE).send().await.unwrap();
    get().if_match(&tag).if_none_match(STALE).range("bytes=0-0").send().await.unwrap();
    refused(get().if_match(STALE).send().await, 412, "PreconditionFailed");
    for unchanged in [
        get().if_none_match(&tag).send().await.unwrap_err(),
        get().if_none_match("*").send().await.unwrap_err(),
        get().if_none_match(format!("W/{tag}")).send().await.unwrap_err(),
        get().if_match(&tag).if_none_match(&tag).send().await.unwrap_err(),
    ] {
        let answer = unchanged.raw_response().unwrap();
        assert_eq!(answer.status().as_u16(), 304);
        assert_eq!(answer.headers().get("etag"), Some(&*tag));
        assert!(answer.body().bytes().is_some_and(<[u8]>::is_empty));
    }
    for (status, told) in [
        (304, head().if_none_match(&tag).send().await.unwrap_err()),
        (412, head().if_match(STALE).send().await.unwrap_err()),
    ] {
        assert_eq!(told.raw_response().unwrap().status().as_u16(), status);
    }
    refused(
        place.client.get_object().bucket(BUCKET).key("none").if_none_match("*").send().await,
        404,
        "NoSuchKey",
    );
}

#[tokio::test]
async fn times_decide_where_no_tag_does() {
    let place = Place::new().await;
    let tag = place.put("k", "x").await;
    let get = || place.client.get_object().bucket(BUCKET).key("k");
    let written = *get().send().await.unwrap().last_modified().unwrap();
    let before = DateTime::from_secs(written.secs() - 1);
    get().if_modified_since(before).send().await.unwrap();
    get().if_unmodified_since(written).send().await.unwrap();
    let unchanged = get().if_modified_since(written).send().await.unwrap_err();
    assert_eq!(unchanged.raw_response().unwrap().status().as_u16(), 304);
    refused(get().if_unmodified_since(before).send().await, 412, "PreconditionFailed");
    // RFC 9110 §13.2.2: a tag has the last word.
    get().if_match(&tag).if_unmodified_since(before).send().await.unwrap();
    get().if_none_match(STALE).if_modified_since(written).send().await.unwrap();
}

#[tokio::test]
async fn a_condition_is_decided_when_the_write_is_applied() {
    let place = Place::new().await;
    let first = place.put("k", "first").await;
    for condition in [("if-match", first.as_str()), ("if-none-match", "*")] {
        place.client.delete_object().bucket(BUCKET).key("fresh").send().await.unwrap();
        let path = if condition.0 == "if-match" { "/bucket/k" } else { "/bucket/fresh" };
        let request = Request {
            method: "PUT",
            path,
            headers: &[condition, ("content-length", "4"), ("expect", "100-continue")],
            payload: aws_sigv4::http_request::SignableBody::UnsignedPayload,
            ..Request::default()
        };
        let head = request.signed(&place.server);
        let mut slow = Wire::open(&place.server).await;
        slow.send(head).await;
        // The server has read the headers, found the condition, and waits for the body.
        assert_eq!(slow.receive().await.unwrap().status, 100);
        slow.send("slo").await;
        place.put(path.strip_prefix("/bucket/").unwrap(), "faster").await;
        slow.send("w").await;
        slow.receive().await.unwrap().refused(412, "PreconditionFailed");
        assert_eq!(place.get(path.strip_prefix("/bucket/").unwrap()).await.unwrap(), b"faster");
    }
}
