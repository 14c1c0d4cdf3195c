//! A ring of keys: one to write with, more to read with.

use std::{fmt, sync::Arc};

use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use leasehold_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::frame::damaged;

/// Keys with their ids: the first writes, all read. Neither shown nor compared anywhere; wiped from memory with the last clone.
///
/// An id is 1 to 16 bytes of ASCII letters, digits, `-`, `_` and `.`. It stands in every value in clear.
#[derive(Clone)]
pub struct Keys(Arc<Vec<Named>>);

#[derive(Clone)]
struct Named {
    id: String,
    /// In a place of its own, so that no copy stays behind when the ring grows.
    cipher: Box<XChaCha20Poly1305>,
}

impl Keys {
    /// The longest id.
    pub const ID_BYTES_MAX: usize = 16;

    /// A ring of one key of 32 random bytes.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for an unsound id.
    pub fn new(id: &str, key: [u8; 32]) -> Result<Self> {
        Self(Arc::default()).and(id, key)
    }

    /// The same with one more key to read with.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for an unsound id, or one that is there already.
    pub fn and(mut self, id: &str, key: [u8; 32]) -> Result<Self> {
        let key = Zeroizing::new(key);
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id.is_empty() || id.len() > Self::ID_BYTES_MAX || !id.bytes().all(sound) {
            return Err(Error::invalid(format!(
                "{id:?} is no id of a key: it has 1 to {} ASCII letters, digits, \"-\", \"_\" and \".\"",
                Self::ID_BYTES_MAX
            )));
        }
        if self.0.iter().any(|named| named.id == id) {
            return Err(Error::invalid(format!("there is a key {id:?} already; give each its own id")));
        }
        let cipher = Box::new(XChaCha20Poly1305::new((&*key).into()));
        Arc::make_mut(&mut self.0).push(Named { id: id.to_owned(), cipher });
        Ok(self)
    }

    /// The ids, the one that writes first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|named| named.id.as_str())
    }

    pub(super) fn first_id(&self) -> &str {
        self.0.first().map_or("", |named| &named.id)
    }

    /// The cipher of the key that a frame names.
    pub(super) fn cipher(&self, id: &[u8], length: u8) -> Result<Cipher> {
        let id = id.split_at_checked(usize::from(length)).map(|(id, _)| std::str::from_utf8(id));
        let Some(Ok(id)) = id else { return Err(damaged("its key has no sound id")) };
        let position = self.0.iter().position(|named| named.id == id).ok_or_else(|| {
            let message = format!(
                "the value is encrypted with key {id:?}, which is not in the ring; add it with Keys::and"
            );
            Error::new(ErrorKind::Denied, message)
        })?;
        Ok(Cipher { keys: self.clone(), position })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(")?;
        f.debug_list().entries(self.ids()).finish()?;
        f.write_str(")")
    }
}

/// One key of a ring.
#[derive(Clone)]
pub(super) struct Cipher {
    keys: Keys,
    position: usize,
}

impl Cipher {
    pub(super) fn get(&self) -> &XChaCha20Poly1305 {
        &self.keys.0[self.position].cipher
    }

    pub(super) fn id(&self) -> &str {
        &self.keys.0[self.position].id
    }
}
