//! The heads of messages: a request's written, an answer's read.

use std::{io, mem::MaybeUninit};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use httparse::{ParserConfig, Status};

use super::{Request, framing::Framing};

/// The most headers that an answer may have: all that fit into what servers allow for metadata.
const HEADERS_MAX: usize = 1_024;

/// As many as nearly every answer has; there is room for more only when they come.
const HEADERS_USUAL: usize = 64;

/// The longest head that is waited for.
const BYTES_MAX: usize = 256 << 10;

/// Writes the head of `request`, whose body follows as it is.
pub(super) fn write(request: &Request, head: &mut BytesMut) {
    let Request { method, place, headers, body } = request;
    head.put_slice(method.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(place.path_and_query().as_bytes());
    head.put_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        head.put_slice(name.as_str().as_bytes());
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    if !body.is_empty() || method == Method::PUT || method == Method::POST {
        head.put_slice(b"content-length: ");
        head.put_slice(itoa::Buffer::new().format(body.len()).as_bytes());
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the server takes another request on this connection.
    pub(super) persists: bool,
}

/// Takes the head of the answer to a request of `method` from `input`, and word before it that an answer will come; `None`
/// when more of it has to come. The first `known` bytes of `input` hold no whole head.
///
/// # Errors
/// When it is no such head, or has more headers or bytes than any should.
pub(super) fn read(input: &mut BytesMut, mut known: usize, method: &Method) -> io::Result<Option<Head>> {
    // Some send empty lines before it. What is known begins with none: they are gone.
    input.advance(input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count());
    while (known == 0 || may_end(&input[known.saturating_sub(2)..]))
        && let Some((length, head)) = parse::<HEADERS_USUAL>(input, method)?
    {
        input.advance(length);
        known = 0;
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS => {
                return Err(malformed("the server left HTTP without being asked to"));
            }
            status if status.is_informational() => {}
            _ => return Ok(Some(head)),
        }
    }
    if input.len() >= BYTES_MAX {
        return Err(malformed("the head of the server's answer is longer than any should be"));
    }
    Ok(None)
}

/// Whether a head may end here, so that one which comes in many pieces is not read from its beginning for each of them.
fn may_end(text: &[u8]) -> bool {
    text.windows(2).any(|two| two == b"\n\r" || two == b"\n\n")
}

/// Not inlined: only who needs room for many headers shall have it on the stack.
#[inline(never)]
fn parse<const HEADERS: usize>(input: &[u8], method: &Method) -> io::Result<Option<(usize, Head)>> {
    let mut room = [const { MaybeUninit::uninit() }; HEADERS];
    let mut answer = httparse::Response::new(&mut []);
    match ParserConfig::default().parse_response_with_uninit_headers(&mut answer, input, &mut room) {
        Ok(Status::Partial) => Ok(None),
        Ok(Status::Complete(length)) => Ok(Some((length, understand(&answer, &input[..length], method)?))),
        Err(httparse::Error::TooManyHeaders) if HEADERS < HEADERS_MAX => parse::<HEADERS_MAX>(input, method),
        Err(error) => Err(malformed(format!("the server's answer is not HTTP: {error}"))),
    }
}

/// `parsed` in our terms. `text` is what it was parsed from; the values share one copy of it.
fn understand(parsed: &httparse::Response<'_, '_>, text: &[u8], method: &Method) -> io::Result<Head> {
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| malformed("the server's answer has a status that is none"))?;
    let shared = Bytes::copy_from_slice(text);
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let begin = header.value.as_ptr().addr() - text.as_ptr().addr();
        let value = HeaderValue::from_maybe_shared(shared.slice(begin..begin + header.value.len()));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(malformed("the server's answer has a header that is none"));
        };
        headers
            .try_append(name, value)
            .map_err(|_| malformed("the server's answer has more headers than any should"))?;
    }
    let framing = framing(method, status, &headers)?;
    let persists = persists(parsed.version == Some(1), &framing, &headers);
    Ok(Head { status, headers, framing, persists })
}

/// Where the body ends, as RFC 9112 has it in section 6.3.
fn framing(method: &Method, status: StatusCode, headers: &HeaderMap) -> io::Result<Framing> {
    let has_none = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || method == Method::HEAD;
    if has_none {
        return Ok(Framing::Length(0));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        let mut codings = tokens(headers, &header::TRANSFER_ENCODING);
        return match (codings.next(), codings.next()) {
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::chunked()),
            _ => Err(malformed("the server's answer is coded as nobody asked for")),
        };
    }
    let mut lengths = tokens(headers, &header::CONTENT_LENGTH).map(number);
    match lengths.next() {
        None => Ok(Framing::UntilClose),
        Some(Some(length)) if lengths.all(|other| other == Some(length)) => Ok(Framing::Length(length)),
        Some(_) => Err(malformed("the server's answer has a length that is none")),
    }
}

/// Whether the connection takes another request after an answer that ends like this.
fn persists(is_current: bool, framing: &Framing, headers: &HeaderMap) -> bool {
    let told = |wanted: &[u8]| {
        tokens(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case(wanted))
    };
    let is_certain = match framing {
        Framing::Length(_) => true,
        // Whoever passed this on may have read another end from it.
        Framing::Chunked(_) => is_current && !headers.contains_key(header::CONTENT_LENGTH),
        Framing::UntilClose => false,
    };
    is_certain && !told(b"close") && (is_current || told(b"keep-alive"))
}

/// The elements of the list that all headers of this name are together.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Digits and nothing else: a sign is read as a number by others, and not by us.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// An answer that cannot be understood.
pub(super) fn malformed(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::{Addressing, Target};

    fn read_whole(text: &str, method: &Method) -> (Head, BytesMut) {
        let mut input = BytesMut::from(text);
        let head = read(&mut input, 0, method).unwrap().unwrap();
        (head, input)
    }

    fn framed(head: &str, method: &Method) -> Framing {
        read_whole(&format!("HTTP/1.1 {head}\r\n\r\n"), method).0.framing
    }

    fn refused(text: &str) -> String {
        read(&mut BytesMut::from(text), 0, &Method::GET).unwrap_err().to_string()
    }

    fn written(method: Method, body: &'static str) -> String {
        let target = Target::new("bucket", "r", Some("http://host:1"), Addressing::Path).unwrap();
        let place = target.place(Some("k "), &[("x", "1")]);
        let headers = HeaderMap::from_iter([(header::HOST, target.host.clone())]);
        let mut text = BytesMut::new();
        write(&Request { method, place, headers, body: body.into() }, &mut text);
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn a_request_is_written_as_it_is_asked() {
        let text = "PUT /bucket/k%20?x=1 HTTP/1.1\r\nhost: host:1\r\ncontent-length: 3\r\n\r\n";
        assert_eq!(written(Method::PUT, "abc"), text);
    }

    #[test]
    fn an_empty_body_is_told_only_where_a_body_is_expected() {
        for (method, told) in
            [(Method::PUT, true), (Method::POST, true), (Method::GET, false), (Method::DELETE, false)]
        {
            assert_eq!(written(method.clone(), "").contains("content-length: 0\r\n"), told, "{method}");
        }
    }

    #[test]
    fn a_head_is_taken_and_what_follows_it_is_left() {
        let (head, rest) = read_whole(
            "HTTP/1.1 206 Partial\r\nETag: \"1\"\r\nx-amz-meta-a: 1\r\nX-Amz-Meta-A: 2\r\ncontent-length: 3\r\n\r\nabcHTTP",
            &Method::GET,
        );
        assert_eq!(
            (head.status, &head.framing, head.persists),
            (StatusCode::PARTIAL_CONTENT, &Framing::Length(3), true)
        );
        assert_eq!(head.headers["etag"], "\"1\"");
        assert_eq!(head.headers.get_all("x-amz-meta-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(rest, "abcHTTP");
    }

    #[test]
    fn word_that_an_answer_will_come_is_passed_over() {
        let (head, rest) = read_whole(
            "HTTP/1.1 100 Continue\r\ncontent-length: none\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            &Method::PUT,
        );
        assert_eq!((head.status, head.headers.len()), (StatusCode::NO_CONTENT, 0));
        assert!(rest.is_empty());
        assert!(refused("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n").contains("left HTTP"));
    }

    #[test]
    fn a_head_that_comes_in_pieces_is_the_same_head() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 12\r\nx: y\r\n\r\n";
        for cut in 0..text.len() {
            let mut input = BytesMut::from(&text[..cut]);
            assert!(read(&mut input, 0, &Method::GET).unwrap().is_none(), "at {cut}");
            let known = input.len();
            input.put_slice(&text.as_bytes()[cut..]);
            let head = read(&mut input, known, &Method::GET).unwrap().unwrap();
            assert_eq!((head.framing, head.headers.len()), (Framing::Length(12), 2), "at {cut}");
        }
        for line_end in ["\r\n", "\n"] {
            let text = format!("\r\n\r\n{text}").replace("\r\n", line_end);
            let (mut input, mut heads) = (BytesMut::new(), 0);
            for byte in text.bytes() {
                let known = input.len();
                input.put_u8(byte);
                heads += usize::from(read(&mut input, known, &Method::GET).unwrap().is_some());
            }
            assert_eq!((heads, input.len()), (1, 0), "{line_end:?}");
        }
    }

    #[test]
    fn the_end_of_a_body_is_where_the_standard_has_it() {
        for silent in
            ["204 No Content\r\ncontent-length: 5", "304 Not Modified\r\ntransfer-encoding: chunked"]
        {
            assert_eq!(framed(silent, &Method::GET), Framing::Length(0), "{silent}");
        }
        assert_eq!(framed("200 OK\r\ncontent-length: 5", &Method::HEAD), Framing::Length(0));
        assert_eq!(
            framed("200 OK\r\ncontent-length: 5, 5\r\nContent-Length: 5", &Method::GET),
            Framing::Length(5)
        );
        assert_eq!(framed("200 OK\r\ntransfer-encoding: Chunked", &Method::GET), Framing::chunked());
        assert_eq!(framed("200 OK", &Method::GET), Framing::UntilClose);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for ambiguous in [
            "content-length: 5\r\ncontent-length: 6",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: identity",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "content-length: +5",
            "content-length: -5",
            "content-length: 0x5",
            "content-length:",
            "content-length: 5,",
            "content-length: 18446744073709551616",
            "a b: c",
            "a: b\r\n c",
        ] {
            let message = refused(&format!("HTTP/1.1 200 OK\r\n{ambiguous}\r\n\r\n"));
            assert!(message.contains("server"), "{ambiguous}: {message}");
        }
        for other in ["SSH-2.0-OpenSSH\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 099 Low\r\n\r\n", "\0\0\0"]
        {
            assert!(refused(other).contains("server's answer"), "{other}");
        }
    }

    #[test]
    fn a_connection_persists_unless_the_server_says_otherwise() {
        for (head, persists) in [
            ("HTTP/1.1 204 N\r\n", true),
            ("HTTP/1.1 204 N\r\nconnection: Close\r\n", false),
            ("HTTP/1.1 204 N\r\nconnection: x, close\r\n", false),
            ("HTTP/1.0 204 N\r\n", false),
            ("HTTP/1.0 204 N\r\nconnection: keep-alive\r\n", true),
            ("HTTP/1.1 200 N\r\n", false),
            ("HTTP/1.1 200 N\r\ntransfer-encoding: chunked\r\n", true),
            ("HTTP/1.1 200 N\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n", false),
            ("HTTP/1.0 200 N\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n", false),
        ] {
            assert_eq!(read_whole(&format!("{head}\r\n"), &Method::GET).0.persists, persists, "{head}");
        }
    }

    #[test]
    fn heads_are_bounded() {
        let with = |headers: usize| {
            let lines: String = (0..headers).map(|number| format!("x-{number}: v\r\n")).collect();
            format!("HTTP/1.1 204 N\r\n{lines}\r\n")
        };
        for headers in [HEADERS_USUAL, HEADERS_USUAL + 1, HEADERS_MAX] {
            assert_eq!(read_whole(&with(headers), &Method::GET).0.headers.len(), headers);
        }
        assert!(refused(&with(HEADERS_MAX + 1)).contains("too many headers"));
        assert!(refused(&format!("HTTP/1.1 204 N\r\nx: {}", "v".repeat(BYTES_MAX))).contains("longer"));
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_sends_is_taken_for_more_than_it_is(
            text in "(HTTP/1\\.[01] [0-9]{3} [a-z]{0,3}\r?\n)?([a-zA-Z-]{0,17}: ?[ -~]{0,9}\r?\n){0,4}(\r?\n)?.{0,9}",
        ) {
            let mut input = BytesMut::from(&text[..]);
            if let Ok(Some(head)) = read(&mut input, 0, &Method::GET) {
                prop_assert!(text.as_bytes().ends_with(&input));
                prop_assert!(head.status.as_u16() >= 200);
            }
        }
    }
}
