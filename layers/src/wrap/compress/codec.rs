//! The codecs by name.

use std::{fmt, str::FromStr};

use leasehold_core::{Error, Result};

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// Deflate, as in gzip: smallest after slow work. Level 6 unless said otherwise.
    Gzip,
    /// Nearly as small, several times faster. Level 1 unless said otherwise: on small values 3 gains nothing.
    Zstd,
    /// The block format of lz4: a third less small, fastest.
    Lz4,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Zstd, Self::Lz4];

    /// What stands in a frame whose chunks are all as they were.
    pub(super) const STORED: u8 = 0;

    /// The name, as it is parsed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// What stands in frames; never changes.
    pub(super) const fn id(self) -> u8 {
        match self {
            Self::Gzip => 1,
            Self::Zstd => 2,
            Self::Lz4 => 3,
        }
    }

    pub(super) fn of(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    pub(super) const fn default_level(self) -> i32 {
        match self {
            Self::Gzip => 6,
            Self::Zstd | Self::Lz4 => 1,
        }
    }

    pub(super) fn check_level(self, level: i32) -> Result<()> {
        let most = match self {
            Self::Gzip => 9,
            Self::Zstd => 22,
            Self::Lz4 => 1,
        };
        if (1..=most).contains(&level) {
            return Ok(());
        }
        Err(Error::invalid(format!("{self} has levels 1 to {most}, and {level} is none of them")))
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(|| {
            Error::invalid(format!("there is no codec {name:?}; take \"gzip\", \"zstd\" or \"lz4\""))
        })
    }
}
