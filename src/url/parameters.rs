//! What stands behind the `?` of a URL.

use std::collections::HashMap;

use leasehold_core::{Error, Result};
use percent_encoding::percent_decode_str;

/// Parameters by name, each known and given once.
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    /// Parses `query`, of whose parameters `known` are those of `store`. Values are never repeated in an error: they may be
    /// secrets that do not belong there.
    pub(super) fn parse(store: &str, known: &[&str], query: &str) -> Result<Self> {
        let mut all = HashMap::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !known.contains(&name) {
                let name: String = name.chars().take(64).collect();
                let known = known.join(", ");
                return Err(Error::invalid(format!("{name:?} is no parameter of {store}; known: {known}")));
            }
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| Error::invalid(format!("{name}: its value is not UTF-8 text")))?;
            if all.insert(name.to_owned(), value.into_owned()).is_some() {
                return Err(Error::invalid(format!("{name} is given twice")));
            }
        }
        Ok(Self(all))
    }

    /// A text that was given.
    #[cfg(any(feature = "s3", feature = "r2", feature = "gcs", feature = "azure"))]
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// A yes or no that was given.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.0.remove(name).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Error::invalid(format!("{name} is either true or false"))),
        }
    }
}
