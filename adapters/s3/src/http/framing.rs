//! Where the body of an answer ends.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use httparse::Status;

use super::{connection::ended, head::malformed};

/// The longest line before or after a chunk, and all trailers together, that are waited for.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What is still to come of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks, each with its length before it.
    Chunked(Chunked),
    /// Everything until the server closes the connection.
    UntilClose,
}

/// What comes next of a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// The line with the length of a chunk.
    Line,
    /// So many bytes of a chunk.
    Data(u64),
    /// The end of the line that those were.
    DataEnd,
    /// Lines about the body, and an empty one; so many bytes of them have come.
    Trailers(usize),
    Nothing,
}

impl Framing {
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked::Line)
    }

    pub(super) fn is_over(&self) -> bool {
        self.left() == Some(0)
    }

    /// How many bytes of the body are still to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(Chunked::Nothing) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes what `input` begins with; a piece of the body, or `None` when more input has to come or the body is over.
    ///
    /// # Errors
    /// When it is not what has to come next.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> io::Result<Option<Bytes>> {
        match self {
            Self::Length(left) => Ok(piece(*left, input).inspect(|piece| *left -= piece.len() as u64)),
            Self::UntilClose => Ok(piece(u64::MAX, input)),
            Self::Chunked(chunked) => chunked.take(input),
        }
    }

    /// There will be no more input.
    ///
    /// # Errors
    /// When there should be.
    pub(super) fn close(&mut self) -> io::Result<()> {
        match self {
            Self::UntilClose => *self = Self::Length(0),
            _ if self.is_over() => {}
            _ => return Err(ended("the answer broke off")),
        }
        Ok(())
    }
}

impl Chunked {
    fn take(&mut self, input: &mut BytesMut) -> io::Result<Option<Bytes>> {
        loop {
            match self {
                Self::Line => {
                    // The parser takes no digit at all for a zero.
                    if input.first().is_some_and(|digit| !digit.is_ascii_hexdigit()) {
                        return Err(malformed("a chunk of the server's answer has no length"));
                    }
                    match httparse::parse_chunk_size(input) {
                        // The parser takes everything in an extension, even what others take for the line's end.
                        Ok(Status::Complete((line, length))) if !input[..line - 2].contains(&b'\n') => {
                            input.advance(line);
                            *self = if length == 0 { Self::Trailers(0) } else { Self::Data(length) };
                        }
                        Ok(Status::Partial) if input.len() < LINE_BYTES_MAX => return Ok(None),
                        _ => return Err(malformed("a chunk of the server's answer has no length")),
                    }
                }
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(left) => {
                    return Ok(piece(*left, input).inspect(|piece| *left -= piece.len() as u64));
                }
                Self::DataEnd => match &input[..] {
                    [] | [b'\r'] => return Ok(None),
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        *self = Self::Line;
                    }
                    _ => return Err(malformed("a chunk of the server's answer is longer than it says")),
                },
                Self::Trailers(read) => {
                    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                        if *read + input.len() < LINE_BYTES_MAX {
                            return Ok(None);
                        }
                        return Err(malformed("the server's answer does not come to its end"));
                    };
                    let (is_line, is_last) = (input[..end].ends_with(b"\r"), end == 1);
                    *read += end + 1;
                    if !is_line || *read > LINE_BYTES_MAX {
                        return Err(malformed("the server's answer does not come to its end"));
                    }
                    input.advance(end + 1);
                    if is_last {
                        *self = Self::Nothing;
                    }
                }
                Self::Nothing => return Ok(None),
            }
        }
    }
}

/// At most `most` bytes of `input`, or `None` where that is none. Shared where they fill half of what was allocated for them,
/// else copied: a few bytes shall not keep many alive.
fn piece(most: u64, input: &mut BytesMut) -> Option<Bytes> {
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    if length == 0 {
        return None;
    }
    if length >= input.capacity() / 2 {
        return Some(input.split_to(length).freeze());
    }
    let copy = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    Some(copy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The body that `pieces` carry when they arrive one after the other, and what they leave.
    fn read(mut framing: Framing, pieces: &[&[u8]]) -> io::Result<(Vec<u8>, Framing, BytesMut)> {
        let (mut input, mut body) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(piece) = framing.take(&mut input)? {
                assert!(!piece.is_empty());
                body.extend_from_slice(&piece);
            }
        }
        Ok((body, framing, input))
    }

    const CHUNKS: &[u8] = b"3\r\nabc\r\n00a;name=\"v\"\r\ndefghijklm\r\n0\r\nx-sum: 1\r\nx-b: 2\r\n\r\nHTTP";

    #[test]
    fn a_length_takes_so_many_bytes_and_leaves_the_rest() {
        let (body, framing, rest) = read(Framing::Length(5), &[b"ab", b"", b"cdefg"]).unwrap();
        assert_eq!((&body[..], framing.is_over(), &rest[..]), (&b"abcde"[..], true, &b"fg"[..]));
        assert!(Framing::Length(0).is_over());
    }

    #[test]
    fn chunks_are_put_together_wherever_they_are_cut() {
        for cut in 0..=CHUNKS.len() {
            let (body, framing, rest) = read(Framing::chunked(), &[&CHUNKS[..cut], &CHUNKS[cut..]]).unwrap();
            assert_eq!(
                (&body[..], framing.is_over(), &rest[..]),
                (&b"abcdefghijklm"[..], true, &b"HTTP"[..]),
                "at {cut}"
            );
        }
        let bytes: Vec<&[u8]> = CHUNKS.chunks(1).collect();
        assert_eq!(read(Framing::chunked(), &bytes).unwrap().0, b"abcdefghijklm");
    }

    #[test]
    fn a_body_that_ends_before_its_end_broke_off() {
        let end = CHUNKS.len() - b"HTTP".len();
        for cut in 0..end {
            let (_, mut framing, _) = read(Framing::chunked(), &[&CHUNKS[..cut]]).unwrap();
            assert_eq!(framing.close().unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "at {cut}");
        }
        assert!(Framing::Length(1).close().is_err());
        let (body, mut framing, _) = read(Framing::UntilClose, &[b"ab", b"c"]).unwrap();
        assert_eq!((&body[..], framing.is_over()), (&b"abc"[..], false));
        framing.close().unwrap();
        assert!(framing.is_over());
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = [b"1;".as_slice(), &[b'x'; LINE_BYTES_MAX]].concat();
        let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(LINE_BYTES_MAX)].concat();
        let trailer = [b"0\r\n".as_slice(), &[b'x'; LINE_BYTES_MAX]].concat();
        let wrong: [&[u8]; 13] = [
            b"\r\n",
            b";\r\n",
            b" 1\r\na",
            b"-1\r\n",
            b"1 2\r\n",
            b"fffffffffffffffff\r\n",
            b"1\r\nab",
            b"1;\na\r\nb",
            b"0\r\n\n",
            b"0\r\na: b\n\r\n",
            &long,
            &trailers,
            &trailer,
        ];
        for text in wrong {
            let refused = read(Framing::chunked(), &[text]).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_few_bytes_keep_no_large_buffer_alive() {
        let mut input = BytesMut::with_capacity(1 << 16);
        input.extend_from_slice(b"abc");
        let before = input.as_ptr();
        let piece = Framing::Length(3).take(&mut input).unwrap().unwrap();
        assert_ne!(piece.as_ptr(), before);
        input.extend_from_slice(&[7; 1 << 15]);
        let before = input.as_ptr();
        assert_eq!(Framing::Length(1 << 15).take(&mut input).unwrap().unwrap().as_ptr(), before);
    }

    proptest! {
        #[test]
        fn any_body_survives_any_chunks_and_any_cuts(
            body in prop::collection::vec(any::<u8>(), 0..200),
            chunk in 1..70_usize,
            cut in 1..50_usize,
        ) {
            let mut sent = Vec::new();
            for chunk in body.chunks(chunk) {
                sent.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                sent.extend_from_slice(chunk);
                sent.extend_from_slice(b"\r\n");
            }
            sent.extend_from_slice(b"0\r\n\r\n");
            let pieces: Vec<&[u8]> = sent.chunks(cut).collect();
            let (read, framing, rest) = read(Framing::chunked(), &pieces).unwrap();
            prop_assert_eq!(read, body);
            prop_assert!(framing.is_over() && rest.is_empty());
        }
    }
}
