use super::*;

/// What goes out when `text` arrives in pieces of `step` bytes, and whether it was complete.
fn passed(mode: Mode, text: &str, step: usize) -> Result<(String, bool), String> {
    let mut chunks = Chunks::new(mode);
    let mut out = VecDeque::new();
    for piece in text.as_bytes().chunks(step) {
        chunks
            .pass(Bytes::copy_from_slice(piece), &mut out)
            .map_err(|refused| refused.code().as_str().to_owned())?;
    }
    let out: Vec<u8> = out.into_iter().flatten().collect();
    Ok((String::from_utf8(out).unwrap(), chunks.is_complete()))
}

/// The content of chunks, and what comes after the last of them.
fn content(mut chunks: &str) -> (String, &str) {
    let mut content = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (content, rest);
        }
        content += &rest[..size];
        chunks = rest[size..].strip_prefix("\r\n").unwrap();
    }
}

const SIGNED: &str = "a;chunk-signature=0123\r\n0123456789\r\n1;chunk-signature=4567\r\nx\r\n0;chunk-signature=89ab\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
const UNSIGNED: &str =
    "000000000000000A\r\n0123456789\r\n2\r\n\r\n\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";

#[test]
fn signed_chunks_pass_as_they_are() {
    for step in 1..=SIGNED.len() {
        assert_eq!(passed(Mode::Signed(budget()), SIGNED, step), Ok((SIGNED.to_owned(), true)), "{step}");
    }
}

#[test]
fn unsigned_chunks_pass_in_pieces_no_larger_than_they_arrived_in() {
    for step in 1..=UNSIGNED.len() {
        let (out, complete) = passed(Mode::Unsigned, UNSIGNED, step).unwrap();
        let (content, rest) = content(&out);
        assert_eq!(
            (content.as_str(), rest),
            ("0123456789\r\n", "x-amz-checksum-crc32:AAAA\r\n\r\n"),
            "{step}"
        );
        assert!(complete);
    }
}

#[test]
fn what_ends_too_early_is_not_complete() {
    let until_the_last_line = UNSIGNED.find("0\r\nx-amz").unwrap() + 3;
    for end in 1..until_the_last_line {
        assert!(!passed(Mode::Unsigned, &UNSIGNED[..end], 7).unwrap().1, "{end}");
    }
}

#[test]
fn what_is_no_framing_is_refused() {
    let long = "0".repeat(1_000);
    for text in
        ["x\r\n", "\r\n", "+5\r\n", "5\n", "5\r\nhelloXX", "5\r\nhello\rX", "10000000000000000\r\n", &long]
    {
        for step in [1, 100] {
            assert_eq!(passed(Mode::Unsigned, text, step), Err("IncompleteBody".into()), "{text:?}");
            assert_eq!(passed(Mode::Signed(budget()), text, step), Err("IncompleteBody".into()), "{text:?}");
        }
    }
    assert_eq!(passed(Mode::Unsigned, "5;chunk-signature=0\r\n", 1), Err("IncompleteBody".into()));
}

#[test]
fn a_signed_chunk_is_refused_by_its_size() {
    for (size, refused) in [("1000000", false), ("1000001", true), ("100000005", true)] {
        let told = passed(Mode::Signed(budget()), &format!("{size};chunk-signature=0\r\n"), 100);
        assert_eq!(told.err(), refused.then(|| "EntityTooLarge".to_owned()), "{size}");
        assert!(passed(Mode::Unsigned, &format!("{size}\r\n"), 100).is_ok());
    }
}

#[test]
fn large_chunks_share_a_budget() {
    let budget = budget();
    let mut all = Vec::new();
    let begin = || {
        let mut chunks = Chunks::new(Mode::Signed(Arc::clone(&budget)));
        chunks.pass(Bytes::from_static(b"1000000;\r\n"), &mut VecDeque::new()).map(|()| chunks)
    };
    while let Ok(chunks) = begin() {
        all.push(chunks);
    }
    assert_eq!(all.len() as u64, BUDGET_BYTES / CHUNK_BYTES_MAX);
    all.pop();
    all.push(begin().unwrap());
    // Small ones need none of it.
    let mut small = Chunks::new(Mode::Signed(Arc::clone(&budget)));
    small.pass(Bytes::from_static(b"100000;\r\n"), &mut VecDeque::new()).unwrap();
}
