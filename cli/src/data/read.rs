//! Reading: `get`, `head`, `ls`.

use clap::Args;
use futures_util::StreamExt;
use leasehold::{Entry, Metadata, Store};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, NO},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The key, with / between its parts
    key: String,
}

impl Get {
    pub(super) async fn run(self, store: &Store) -> Result<(), Failure> {
        let object = store.get(&self.key).await?.ok_or_else(|| missing(store, &self.key))?;
        let mut chunks = object.body.into_stream();
        while let Some(chunk) = chunks.next().await {
            if !output::write(&chunk?)? {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Args, Debug)]
pub(crate) struct Head {
    /// The key, with / between its parts
    key: String,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Head {
    pub(super) async fn run(self, store: &Store) -> Result<(), Failure> {
        let metadata = store.head(&self.key).await?.ok_or_else(|| missing(store, &self.key))?;
        if self.json {
            output::json(&described(&self.key, &metadata))?;
        } else {
            let modified = modified(&metadata).unwrap_or_else(|| "unknown".to_owned());
            let mut lines =
                format!("version:  {}\nsize:     {}\nmodified: {modified}", metadata.version, metadata.size);
            for (name, value) in metadata.attributes.iter() {
                lines.push_str(&format!("\nattribute {name}: {value}"));
            }
            output::line(&lines)?;
        }
        Ok(())
    }
}

#[derive(Args, Debug)]
pub(crate) struct Ls {
    /// How the keys start; all keys when left out
    #[arg(default_value = "")]
    prefix: String,
    /// Begin after this key, which need not exist
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// Stop after this many keys
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print version, size and time as well
    #[arg(short, long)]
    long: bool,
    /// Print one line of JSON for each key
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(super) async fn run(self, store: &Store) -> Result<(), Failure> {
        let mut list = store.list(&self.prefix);
        if let Some(after) = &self.after {
            list = list.after(after);
        }
        if self.long || self.json {
            list = list.with_sizes();
        }
        let mut entries = list.stream().take(self.limit.unwrap_or(usize::MAX));
        while let Some(entry) = entries.next().await {
            let Entry { key, metadata, .. } = entry?;
            let wanted = if self.json {
                output::json(&described(&key, &metadata))?
            } else if self.long {
                let modified = modified(&metadata).unwrap_or_else(|| "-".to_owned());
                output::line(&format!("{:<24} {:>12} {modified:<20} {key}", metadata.version, metadata.size))?
            } else {
                output::line(&key)?
            };
            if !wanted {
                break;
            }
        }
        Ok(())
    }
}

fn missing(store: &Store, key: &str) -> Failure {
    Failure::new(NO, format!("there is no {key:?} in {store}; see what there is with: leasehold ls"))
}

fn modified(metadata: &Metadata) -> Option<String> {
    metadata.modified.map(output::rfc3339)
}

fn described(key: &str, metadata: &Metadata) -> Value {
    let mut described = json!({
        "key": key,
        "version": metadata.version.as_str(),
        "size": metadata.size,
        "modified": modified(metadata),
    });
    if !metadata.attributes.is_empty() {
        described["attributes"] = metadata.attributes.iter().collect();
    }
    described
}
