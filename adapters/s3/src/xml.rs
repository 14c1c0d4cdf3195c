//! Documents that servers answer with.

use leasehold_core::{Error, ErrorKind, Result};
use quick_xml::{Reader, events::Event};
use serde::de::DeserializeOwned;

/// Reads a document whose root is `root`. Any other, such as an error or a web page that came with a success, is none.
///
/// # Errors
/// [`Unexpected`](ErrorKind::Unexpected).
pub(crate) fn read<T: DeserializeOwned>(document: &[u8], root: &str) -> Result<T> {
    let unexpected = || {
        let message = format!("the server's answer is no {root}; check the endpoint");
        Error::new(ErrorKind::Unexpected, message)
    };
    let text = std::str::from_utf8(document).map_err(|source| unexpected().because(source))?;
    if !begins_with(text, root) {
        return Err(unexpected());
    }
    quick_xml::de::from_str(text).map_err(|source| unexpected().because(source))
}

fn begins_with(text: &str, root: &str) -> bool {
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event() {
            Ok(Event::Start(first) | Event::Empty(first)) => {
                return first.local_name().as_ref() == root;
            }
            Ok(Event::Eof) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug)]
    struct Anything {}

    #[test]
    fn a_document_is_what_its_root_says() {
        for (text, is) in [
            ("<List/>", true),
            ("\n<?xml version=\"1.0\"?><!-- x --><List xmlns=\"u\"></List>", true),
            ("<s3:List xmlns:s3=\"u\"></s3:List>", true),
            ("<Error><List/></Error>", false),
            ("<html><body>List</body></html>", false),
            ("List", false),
            ("", false),
        ] {
            assert_eq!(read::<Anything>(text.as_bytes(), "List").is_ok(), is, "{text}");
        }
        assert!(read::<Anything>(b"\xff<List/>", "List").is_err());
    }
}
