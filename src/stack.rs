//! Stacks by configuration: a file that names a store and the layers around it.

mod order;
mod settings;

use std::path::{Path, PathBuf};

use leasehold_core::{Capabilities, Capability, Error, ErrorKind, Result, Store};
use serde::Deserialize;
use toml::Spanned;

use self::settings::Setting;

/// The longest file of a stack.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// From how many hexadecimal digits on a text could be a key.
const KEY_DIGITS_MIN: usize = 32;

/// A store and the layers around it, as a TOML file describes them.
///
/// `store` is the URL of a store, as for [`open`](crate::open). Each `[[layer]]` wraps everything that stands above it, so the
/// last one is the first that a call meets. A layer's table has one key, the layer's name, with its settings; those that are left
/// out have the defaults of the layer's documentation. What is not known, and what is stacked in an order that cannot be meant, is
/// refused with its line and the reason. Secrets do not stand in the file. Paths are relative to the working directory, as on a
/// command line.
///
/// | layer | settings |
/// |---|---|
/// | `batch` | `mode` (`group-commit`, `write-behind`), `wait`, `entries-max`, `bytes-max`, `coalesce`, `pending-entries-max` and `pending-bytes-max`, `intervals` (a list of `{ keys, interval }`) |
/// | `cache` | `mode` (`revalidate`, `bounded-staleness`), `room`, `age` (the bound), `value-bytes-max`, `time-to-idle`, `absent-for` |
/// | `compress` | `codec` (`zstd`, `zstd:3`, `gzip`, `gzip:9`, `lz4`), `above`, `saving-percent` |
/// | `encrypt` | `keys`: a list of `{ id, file }` or `{ id, env }`, the first one writes; a key is 64 hexadecimal digits |
/// | `faults` | `seed`, `before`, `after`, `ghost`, `truncate`, `disorder`, and `delay` with `delay-max` |
/// | `limit` | `at-once`, `per-second`, `burst`, `wait-max` |
/// | `meter` | `store` (its name in measurements) |
/// | `namespace` | `name` |
/// | `read-only` | |
/// | `retry` | `attempts-max`, `first-wait`, `longest-wait` |
/// | `timeout` | `after` |
/// | `trace` | `keys` |
/// | `verify` | `strict` |
///
/// ```
/// # #[tokio::main] async fn main() -> leasehold::Result<()> {
/// let stack = leasehold::Stack::parse(r#"
///     store = "mem:"
///
///     [[layer]]
///     retry = { attempts-max = 5 }
///
///     [[layer]]
///     cache = { mode = "bounded-staleness", room = "64MiB", age = "5s" }
/// "#)?;
/// let opened = stack.open().await?;
/// opened.store.put("k", "v").await?;
/// assert!(opened.levels.last().unwrap().weakened.contains(&leasehold::Capability::Linearizable));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Stack {
    /// What errors begin with.
    file: Option<PathBuf>,
    store: String,
    layers: Vec<(usize, Setting)>,
}

/// A stack that has been built.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenStack {
    /// The store at its top.
    pub store: Store,
    /// The store at the bottom, and each layer above it.
    pub levels: Vec<Level>,
}

/// One level of a stack.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Level {
    /// The layer's name, or the store's.
    pub name: String,
    /// What holds for those who call at this level.
    pub capabilities: Capabilities,
    /// What held one level below and does not hold here any more.
    pub weakened: Vec<Capability>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    store: Spanned<String>,
    #[serde(default)]
    layer: Vec<Spanned<Setting>>,
}

impl Stack {
    /// The stack that a path ending in `.toml` names, or the bare store that any other URL names.
    ///
    /// # Errors
    /// As [`load`](Stack::load).
    pub fn of(url: &str) -> Result<Self> {
        if Self::names(url) {
            Self::load(url)
        } else {
            Ok(Self { file: None, store: url.to_owned(), layers: Vec::new() })
        }
    }

    /// Whether a store is named by the file of a stack: a path that ends in `.toml`.
    pub fn names(url: &str) -> bool {
        crate::url::scheme(url).is_none() && url.ends_with(".toml")
    }

    /// The URL of the store at the bottom.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Reads a stack from a file.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a file that cannot be read, and as [`parse`](Stack::parse), with the path.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = read(path).map_err(|source| {
            let message = format!("the stack {} cannot be read: {source}; check the path", path.display());
            Error::invalid(message).because(source)
        })?;
        let file = Some(path.to_owned());
        Self::parse(&text)
            .map(|stack| Self { file: file.clone(), ..stack })
            .map_err(|error| within(&file, error))
    }

    /// Reads a stack from text.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), with line and reason, for text that is no TOML, for settings that are not known or have
    /// no meaning, and for layers in an order that cannot be meant.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| {
            let message = redacted(&error.message().lines().collect::<Vec<_>>().join(", "));
            match error.span() {
                Some(span) => at(line(text, span.start), message),
                None => Error::invalid(message),
            }
        })?;
        let store_line = line(text, file.store.span().start);
        let store = file.store.into_inner();
        if store.is_empty() || Self::names(&store) {
            let message = "store is the URL of a store, such as \"fs:/var/lib/app\" or \"s3://bucket\"";
            return Err(at(store_line, message.into()));
        }
        let place = |layer: Spanned<Setting>| (line(text, layer.span().start), layer.into_inner());
        let layers: Vec<_> = file.layer.into_iter().map(place).collect();
        order::check(&layers)?;
        Ok(Self { file: None, store, layers })
    }

    /// Opens the store and builds the layers.
    ///
    /// # Errors
    /// As [`open`](crate::open); [`Invalid`](ErrorKind::Invalid), with the line, for settings that a layer does not take.
    pub async fn open(&self) -> Result<OpenStack> {
        self.open_with(true).await
    }

    /// As [`open`](Stack::open), of a store that exists.
    ///
    /// # Errors
    /// As [`open_existing`](crate::open_existing) and [`open`](Stack::open).
    pub async fn open_existing(&self) -> Result<OpenStack> {
        self.open_with(false).await
    }

    async fn open_with(&self, create: bool) -> Result<OpenStack> {
        // What a layer refuses should be known before a store is made.
        let layers = self.layers.iter().map(|(line, setting)| {
            let told = |error: Error| within(&self.file, at(*line, redacted(error.message())));
            Ok((setting.name(), setting.layer().map_err(told)?))
        });
        let layers: Vec<_> = layers.collect::<Result<_>>()?;
        let mut store = crate::url::open_url(&self.store, create).await?;
        let mut below = store.capabilities();
        let bottom = Level { name: store.to_string(), capabilities: below, weakened: Vec::new() };
        let mut levels = vec![bottom];
        for (name, around) in layers {
            store = around(store);
            let capabilities = store.capabilities();
            let weakened = below.iter().filter(|held| !capabilities.supports(*held)).collect();
            levels.push(Level { name: name.to_owned(), capabilities, weakened });
            below = capabilities;
        }
        Ok(OpenStack { store, levels })
    }
}

fn line(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}

/// The text of a file that can be a stack.
fn read(path: &Path) -> std::io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        let message = "it is no file of at most 1 MiB (a directory is named by \"fs:PATH\")";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, message));
    }
    std::fs::read_to_string(path)
}

/// The same text without what could be a key: long runs of hexadecimal digits.
fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(|character: char| !character.is_ascii_hexdigit()) {
        let digits = part.trim_end_matches(|character: char| !character.is_ascii_hexdigit());
        match digits.len() >= KEY_DIGITS_MIN {
            true => shown.extend(["…", &part[digits.len()..]]),
            false => shown.push_str(part),
        }
    }
    shown
}

/// The same error, which says what file it is about.
fn within(file: &Option<PathBuf>, error: Error) -> Error {
    match file {
        Some(file) => Error::new(error.kind(), format!("{}: {}", file.display(), error.message())),
        None => error,
    }
}

fn at(line: usize, message: String) -> Error {
    Error::new(ErrorKind::Invalid, format!("line {line}: {message}"))
}
