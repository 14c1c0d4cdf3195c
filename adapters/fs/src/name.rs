//! Where a key lives on disk: names that every local filesystem takes, and a person can read.
//!
//! A value's file carries the last segment's name, so `photos/cat.jpg` is the file `cat.jpg` in the directory
//! `photos%`. The mark on directories is what lets `photos` and `photos/cat.jpg` exist together.
//!
//! - `%XX` is a byte that some filesystem or shell would trip over: `% " * : < > ? \ |`, a dot or a space at the
//!   edge of a name, the first letter of a device name such as `CON`.
//! - a name that ends in `%` is the directory of a segment; one that ends in `%%` holds the rest of a segment that
//!   is too long for one name.
//! - names that start with a dot are never values, so the store keeps its own files in `.leasehold`.

use leasehold_core::Key;

/// The longest piece of a segment in one name, before marks and edge escapes; every filesystem takes 255 bytes.
pub(crate) const PIECE_BYTES_MAX: usize = 240;

/// How names are written; fixed when a store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Names {
    /// The filesystem tells upper from lower case.
    Plain,
    /// It does not: capitals, and all that is not ASCII, are escaped.
    Folded,
}

/// A key's place, relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    path: String,
    file: usize,
}

impl Place {
    /// The file that holds the value.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The directory it is in; empty for the root.
    pub(crate) fn directory(&self) -> &str {
        &self.path[..self.file.saturating_sub(1)]
    }

    /// The file's name in that directory.
    pub(crate) fn file(&self) -> &str {
        &self.path[self.file..]
    }
}

impl Names {
    /// The place of `key`.
    pub(crate) fn place(self, key: &Key) -> Place {
        let mut path = String::with_capacity(key.len() + 16);
        let mut segments = key.segments();
        let last = segments.next_back().unwrap_or_default();
        for segment in segments {
            self.directory(segment, &mut path);
            path.push('/');
        }
        self.segment(last, &mut path);
        let file = path.rfind('/').map_or(0, |slash| slash + 1);
        Place { path, file }
    }

    /// The directory of all keys that start with `prefix`, which is empty or ends in a slash.
    pub(crate) fn prefix(self, prefix: &str) -> String {
        let mut path = String::with_capacity(prefix.len() + 16);
        for segment in prefix.split_terminator('/') {
            if !path.is_empty() {
                path.push('/');
            }
            self.directory(segment, &mut path);
        }
        path
    }

    fn directory(self, segment: &str, path: &mut String) {
        self.segment(segment, path);
        path.push('%');
    }

    /// Appends the name of `segment`: one, or several with directories between for a long one.
    pub(crate) fn segment(self, segment: &str, path: &mut String) {
        if segment.len() <= PIECE_BYTES_MAX && self.is_plain(segment) {
            return path.push_str(segment);
        }
        let mut piece = String::with_capacity(PIECE_BYTES_MAX);
        let mut escaped = String::with_capacity(12);
        for character in segment.chars() {
            escaped.clear();
            self.escape(character, &mut escaped);
            if piece.len() + escaped.len() > PIECE_BYTES_MAX {
                push_piece(&piece, false, path);
                path.push_str("%%/");
                piece.clear();
            }
            piece.push_str(&escaped);
        }
        push_piece(&piece, true, path);
    }

    /// Whether a segment is its own name, which nearly all are.
    pub(crate) fn is_plain(self, segment: &str) -> bool {
        let bytes = segment.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return true };
        let sound = |byte: &u8| match byte {
            b'%' | b'"' | b'*' | b':' | b'<' | b'>' | b'?' | b'\\' | b'|' => false,
            b'A'..=b'Z' | 0x80.. => self == Self::Plain,
            _ => true,
        };
        *first != b'.' && !matches!(last, b'.' | b' ') && bytes.iter().all(sound) && !is_device(segment)
    }

    fn escape(self, character: char, out: &mut String) {
        let folded = self == Self::Folded && (character.is_ascii_uppercase() || !character.is_ascii());
        if folded || matches!(character, '%' | '"' | '*' | ':' | '<' | '>' | '?' | '\\' | '|') {
            let mut buffer = [0; 4];
            character.encode_utf8(&mut buffer).bytes().for_each(|byte| push_escaped(byte, out));
        } else {
            out.push(character);
        }
    }

    /// The segment that a path of pieces stands for, if it is exactly how that segment is written.
    ///
    /// `path` has the marks between pieces and no mark at its end.
    pub(crate) fn decode(self, path: &str) -> Option<String> {
        let mut bytes = Vec::with_capacity(path.len());
        for piece in path.split("%%/") {
            let mut rest = piece.as_bytes();
            while let Some((first, tail)) = rest.split_first() {
                rest = tail;
                if *first != b'%' {
                    bytes.push(*first);
                    continue;
                }
                let (digits, tail) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = tail;
            }
        }
        let segment = String::from_utf8(bytes).ok()?;
        let mut again = String::with_capacity(path.len());
        self.segment(&segment, &mut again);
        (again == path && Key::new(segment.as_str()).is_ok() && !segment.contains('/')).then_some(segment)
    }
}

/// Appends a piece with what is special at the edges of a name escaped.
fn push_piece(piece: &str, is_last: bool, path: &mut String) {
    let (mut middle, mut tail) = (piece, "");
    if is_last && let Some(rest) = piece.strip_suffix(['.', ' ']) {
        (middle, tail) = (rest, &piece[rest.len()..]);
    }
    if middle.starts_with('.') || is_device(piece) {
        push_escaped(middle.as_bytes()[0], path);
        middle = &middle[1..];
    }
    path.push_str(middle);
    tail.bytes().for_each(|byte| push_escaped(byte, path));
}

fn push_escaped(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(DIGITS[usize::from(byte >> 4)].into());
    out.push(DIGITS[usize::from(byte & 15)].into());
}

/// Whether Windows would take the name for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    // Nearly every name is out at its first letter.
    if !matches!(
        name.as_bytes().first(),
        Some(b'A' | b'a' | b'C' | b'c' | b'L' | b'l' | b'N' | b'n' | b'P' | b'p')
    ) {
        return false;
    }
    let stem = name.split('.').next().unwrap_or_default().trim_ascii_end();
    let numbered = |stem: &str| {
        stem.len() == 4
            && stem.is_char_boundary(3)
            && ["COM", "LPT"].iter().any(|device| stem[..3].eq_ignore_ascii_case(device))
            && stem.ends_with(|last: char| last.is_ascii_digit())
    };
    ["CON", "PRN", "AUX", "NUL"].iter().any(|device| stem.eq_ignore_ascii_case(device)) || numbered(stem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(names: Names, key: &str) -> String {
        names.place(&Key::new(key).unwrap()).path().to_owned()
    }

    #[test]
    fn ordinary_keys_are_their_own_paths() {
        assert_eq!(path(Names::Plain, "cat.jpg"), "cat.jpg");
        assert_eq!(path(Names::Plain, "photos/2024/Früh jahr.jpg"), "photos%/2024%/Früh jahr.jpg");
    }

    #[test]
    fn what_some_filesystem_trips_over_is_escaped() {
        for (key, name) in [
            (".env", "%2Eenv"),
            ("...", "%2E.%2E"),
            ("a.", "a%2E"),
            (" ", "%20"),
            ("a:b", "a%3Ab"),
            ("100%", "100%25"),
            ("%41", "%2541"),
            ("CON", "%43ON"),
            ("nul.txt", "%6Eul.txt"),
            ("com1", "%63om1"),
            ("com", "com"),
            (".leasehold", "%2Eleasehold"),
        ] {
            assert_eq!(path(Names::Plain, key), name);
        }
        assert_eq!(path(Names::Folded, "Ab/é"), "%41b%/%C3%A9");
    }

    #[test]
    fn a_long_segment_is_divided_into_names_that_fit() {
        let long = path(Names::Plain, &"x".repeat(600));
        assert_eq!(long, format!("{0}%%/{0}%%/{1}", "x".repeat(240), "x".repeat(120)));
        for name in path(Names::Folded, &"É".repeat(512)).split('/') {
            assert!(name.len() <= 255, "{}", name.len());
        }
    }

    #[test]
    fn a_place_knows_its_directory_and_its_file() {
        let place = Names::Plain.place(&Key::new("a/b/c").unwrap());
        assert_eq!((place.directory(), place.file()), ("a%/b%", "c"));
        let place = Names::Plain.place(&Key::new("c").unwrap());
        assert_eq!((place.directory(), place.file()), ("", "c"));
        assert_eq!(Names::Plain.prefix("a/b/"), "a%/b%");
    }

    #[test]
    fn only_the_canonical_name_of_a_segment_is_read_back() {
        for foreign in ["%41", "%2e", ".hidden", "a%", "a%zz", "CON", "a."] {
            assert_eq!(Names::Plain.decode(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn every_segment_comes_back(segment in "[ -~äÉ日/]{1,300}".prop_map(|s| s.replace('/', "_")), folded: bool) {
            prop_assume!(Key::new(segment.as_str()).is_ok());
            let names = if folded { Names::Folded } else { Names::Plain };
            let mut name = String::new();
            names.segment(&segment, &mut name);
            prop_assert!(name.split('/').all(|piece| piece.len() <= 255 && !piece.starts_with('.')));
            prop_assert_eq!(names.decode(&name), Some(segment));
        }
    }
}
