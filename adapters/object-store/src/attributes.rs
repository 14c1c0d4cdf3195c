//! Attributes of the one side and of the other.

use leasehold_core::{Attributes, Error, Result};
use object_store::{Attribute, AttributeValue, Attributes as Theirs};

/// What a write id takes among the attributes at most, with its name.
pub(crate) const WRITE_ID_BYTES: usize = WRITE_ID.len() + 33;

/// The name under which a write id travels as metadata: an identifier, because Azure takes no other names.
pub(crate) const WRITE_ID: &str = "leaseholdwrite";

/// What follows the write id of a write that told no content type: stores that make one up are not believed then.
const NO_CONTENT_TYPE: char = '-';

/// Our names for what `object_store` has names of its own for.
const NAMED: [(&str, Attribute); 5] = [
    ("cache-control", Attribute::CacheControl),
    ("content-disposition", Attribute::ContentDisposition),
    ("content-encoding", Attribute::ContentEncoding),
    ("content-language", Attribute::ContentLanguage),
    ("content-type", Attribute::ContentType),
];

/// Ours as theirs, for a store that [`FromObjectStore`](crate::FromObjectStore) writes to, with the id of the write.
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for the one name that is taken.
pub(crate) fn write(attributes: &Attributes, write_id: Option<&str>, identifiers: bool) -> Result<Theirs> {
    if attributes.get(WRITE_ID).is_some() {
        return Err(Error::invalid(format!(
            "the attribute {WRITE_ID:?} is kept for write ids; take another name"
        )));
    }
    let mut theirs = Theirs::with_capacity(attributes.len() + 1);
    for (name, value) in attributes.iter() {
        let attribute = match NAMED.iter().find(|(ours, _)| *ours == name) {
            Some((_, attribute)) => attribute.clone(),
            None if identifiers => Attribute::Metadata(escape(name).into()),
            None => Attribute::Metadata(name.to_owned().into()),
        };
        theirs.insert(attribute, AttributeValue::from(value.to_owned()));
    }
    if let Some(id) = write_id {
        let mut id = id.to_owned();
        if attributes.get("content-type").is_none() {
            id.push(NO_CONTENT_TYPE);
        }
        theirs.insert(Attribute::Metadata(WRITE_ID.into()), id.into());
    }
    Ok(theirs)
}

/// Theirs as ours, and the id of the write that left them. What others wrote and ours cannot hold is left out.
pub(crate) fn read(theirs: &Theirs, identifiers: bool) -> (Attributes, Option<String>) {
    let written = theirs.get(&Attribute::Metadata(WRITE_ID.into())).map(AttributeValue::as_ref);
    let made_up = written.is_some_and(|id| id.ends_with(NO_CONTENT_TYPE));
    let mut ours = Attributes::new();
    for (attribute, value) in theirs {
        let inserted = match attribute {
            Attribute::ContentType if made_up => continue,
            Attribute::Metadata(name) if name == WRITE_ID => continue,
            Attribute::Metadata(name) if identifiers => ours.insert(&unescape(name), value),
            Attribute::Metadata(name) => ours.insert(name, value),
            named => match NAMED.iter().find(|(_, theirs)| theirs == named) {
                Some((name, _)) => ours.insert(name, value),
                None => continue,
            },
        };
        // An error means that it is none of ours: a name in capitals, text beyond ASCII, more than fits.
        drop(inserted);
    }
    (ours, written.map(|id| id.trim_end_matches(NO_CONTENT_TYPE).to_owned()))
}

/// Theirs as ours, for a value that somebody puts through [`AsObjectStore`](crate::AsObjectStore).
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for what ours cannot hold: nothing is left out silently.
pub(crate) fn accept(theirs: &Theirs) -> Result<Attributes> {
    let mut ours = Attributes::new();
    for (attribute, value) in theirs {
        let name: &str = match attribute {
            Attribute::Metadata(name) if NAMED.iter().any(|(named, _)| named == name) => {
                return Err(Error::invalid(format!(
                    "metadata named {name:?} would be taken for the attribute of that name"
                )));
            }
            Attribute::Metadata(name) => name,
            named => match NAMED.iter().find(|(_, theirs)| theirs == named) {
                Some((name, _)) => name,
                None => return Err(Error::invalid(format!("a store has no {named:?} for a value"))),
            },
        };
        ours.insert(name, value)?;
    }
    Ok(ours)
}

/// Ours as theirs, for a value that is read through [`AsObjectStore`](crate::AsObjectStore).
pub(crate) fn show(ours: &Attributes) -> Theirs {
    let named =
        |name: &str| NAMED.iter().find(|(ours, _)| *ours == name).map(|(_, attribute)| attribute.clone());
    ours.iter()
        .map(|(name, value)| {
            let attribute = named(name).unwrap_or_else(|| Attribute::Metadata(name.to_owned().into()));
            (attribute, AttributeValue::from(value.to_owned()))
        })
        .collect()
}

/// A name as an identifier: `_` doubled, `-` as `_h`, `.` as `_p`.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len() + 8);
    for character in name.chars() {
        match character {
            '_' => escaped.push_str("__"),
            '-' => escaped.push_str("_h"),
            '.' => escaped.push_str("_p"),
            plain => escaped.push(plain),
        }
    }
    escaped
}

/// The name that was escaped; any other is one that somebody else gave, and stays as it is.
fn unescape(escaped: &str) -> String {
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped.chars();
    while let Some(character) = rest.next() {
        name.push(match (character, character == '_') {
            (plain, false) => plain,
            _ => match rest.next() {
                Some('_') => '_',
                Some('h') => '-',
                Some('p') => '.',
                _ => return escaped.to_owned(),
            },
        });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Attributes {
        let names =
            ["content-type", "cache-control", "expires", "owner", "a-b", "a_b", "a.b", "a_hb", "a__b", "z9"];
        names.into_iter().fold(Attributes::new(), |all, name| all.with(name, &format!("of {name}")).unwrap())
    }

    #[test]
    fn attributes_come_back_as_they_went() {
        for identifiers in [false, true] {
            for id in [None, Some("0123abc")] {
                let theirs = write(&ours(), id, identifiers).unwrap();
                assert_eq!(theirs.len(), ours().len() + usize::from(id.is_some()));
                assert_eq!(read(&theirs, identifiers), (ours(), id.map(str::to_owned)));
            }
        }
        assert_eq!(accept(&show(&ours())).unwrap(), ours());
    }

    #[test]
    fn where_names_are_identifiers_only_identifiers_are_written() {
        let theirs = write(&ours(), Some("1"), true).unwrap();
        for (attribute, _) in &theirs {
            if let Attribute::Metadata(name) = attribute {
                let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                assert!(name.bytes().all(sound), "{name}");
            }
        }
    }

    #[test]
    fn a_content_type_that_the_store_made_up_is_not_an_attribute() {
        let made_up = (Attribute::ContentType, AttributeValue::from("application/octet-stream"));
        let mut theirs = write(&Attributes::new(), Some("1"), false).unwrap();
        theirs.insert(made_up.0.clone(), made_up.1.clone());
        assert_eq!(read(&theirs, false), (Attributes::new(), Some("1".to_owned())));
        let given = Attributes::new().with("content-type", "application/octet-stream").unwrap();
        assert_eq!(read(&write(&given, Some("1"), false).unwrap(), false).0, given);
        // What others wrote is shown as it is.
        let foreign = Theirs::from_iter([made_up]);
        assert_eq!(read(&foreign, false), (given, None));
    }

    #[test]
    fn what_others_wrote_is_shown_as_far_as_it_fits() {
        let foreign = Theirs::from_iter([
            (Attribute::Metadata("owner_id".into()), "7"),
            (Attribute::Metadata("Capital".into()), "x"),
            (Attribute::Metadata("text".into()), "é"),
            (Attribute::StorageClass, "COLD"),
        ]);
        assert_eq!(read(&foreign, true).0, Attributes::new().with("owner_id", "7").unwrap());
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for attribute in [
            Attribute::StorageClass,
            Attribute::Metadata("content-type".into()),
            Attribute::Metadata("Capital".into()),
        ] {
            assert!(accept(&Theirs::from_iter([(attribute, "x")])).is_err());
        }
        let taken = Attributes::new().with(WRITE_ID, "x").unwrap();
        assert!(write(&taken, None, false).is_err());
    }
}
