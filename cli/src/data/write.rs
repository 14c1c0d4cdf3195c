//! Writing: `put`, `cas`, `incr`, `del`.

use clap::Args;
use leasehold::{Attributes, Precondition, Store, Value, Version};
use serde_json::json;

use crate::{
    failure::{Failure, NO},
    input::Input,
    output::{self, answer},
};

/// Where coordinators keep their records.
const LOCKS: &str = "_locks/";
const CLUSTER: &str = "_cluster/";

/// Refuses to change a coordinator's record by hand: a lock would be open to two, and its tokens would start again.
fn check_key(key: &str, force: bool) -> Result<(), Failure> {
    let harm = match key {
        _ if force => return Ok(()),
        key if key.starts_with(LOCKS) => "the record of a lock, and changing it lets two hold it at once",
        key if key.starts_with(CLUSTER) => "a record of the cluster, and changing it breaks what it promises",
        _ => return Ok(()),
    };
    Err(Failure::usage(format!("{key:?} is {harm}; --force does it all the same")))
}

#[derive(Args, Debug)]
#[command(
    after_help = "VALUE is taken as it stands; @FILE is the content of a file, - is stdin, and @@TEXT is text that starts \
                  with one @. Without VALUE, stdin is stored unless it is a terminal."
)]
pub(crate) struct Put {
    /// The key, with / between its parts
    key: String,
    /// The value: TEXT, @FILE, or - for stdin
    #[arg(allow_negative_numbers = true)]
    value: Option<String>,
    /// Keep a named text beside the value, such as content-type=text/html; repeat it for more. The next put replaces all
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// Only if the key does not exist
    #[arg(long, conflicts_with = "if_match")]
    if_absent: bool,
    /// Only if the value still has this version
    #[arg(long, value_name = "VERSION")]
    if_match: Option<String>,
    /// Also a record of the coordinators, under _locks/ or _cluster/
    #[arg(long)]
    force: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Put {
    pub(super) async fn run(self, store: &Store) -> Result<(), Failure> {
        check_key(&self.key, self.force)?;
        let attributes = attributes(&self.attributes)?;
        let body = Input::or_stdin(self.value.as_deref())?.body().await?;
        let precondition = match self.if_match {
            Some(version) => Precondition::Matches(Version::new(version)),
            None if self.if_absent => Precondition::Absent,
            None => Precondition::None,
        };
        let version = store.put(&self.key, body).precondition(precondition).attributes(attributes).await?;
        answer(match self.json {
            true => output::json(&json!({"key": self.key, "version": version.as_str()})),
            false => output::line(version.as_str()),
        })
    }
}

fn attributes(pairs: &[String]) -> Result<Attributes, Failure> {
    let mut attributes = Attributes::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::usage(format!("--attribute takes NAME=VALUE, and {pair:?} has no \"=\"")));
        };
        if attributes.get(name).is_some() {
            return Err(Failure::usage(format!(
                "the attribute {name:?} is given twice; a value has one of each name"
            )));
        }
        attributes.insert(name, value)?;
    }
    Ok(attributes)
}

#[derive(Args, Debug)]
#[command(
    override_usage = "leasehold cas KEY OLD NEW\n       leasehold cas KEY --absent NEW\n       leasehold cas KEY OLD --delete",
    after_help = "OLD and NEW are TEXT, @FILE, or - for stdin, as with put. \
                  Exits with 1 when the stored value is another."
)]
pub(crate) struct Cas {
    /// The key, with / between its parts
    key: String,
    /// The value that is expected and the one that shall replace it
    #[arg(value_name = "VALUE", num_args = 1..=2, allow_negative_numbers = true)]
    values: Vec<String>,
    /// Expect that the key does not exist
    #[arg(long, conflicts_with = "delete")]
    absent: bool,
    /// Delete instead of replacing
    #[arg(long)]
    delete: bool,
    /// Also a record of the coordinators, under _locks/ or _cluster/
    #[arg(long)]
    force: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Cas {
    pub(super) async fn run(self, store: &Store) -> Result<(), Failure> {
        check_key(&self.key, self.force)?;
        let values: Vec<Input> = self.values.iter().map(|value| value.as_str().into()).collect();
        let (old, new) = match (values.as_slice(), self.absent, self.delete) {
            ([Input::Stdin, Input::Stdin], ..) => {
                return Err(Failure::usage("stdin can be OLD or NEW, not both; name a file with @FILE"));
            }
            ([old, new], false, false) => (Some(old.clone()), Some(new.clone())),
            ([new], true, false) => (None, Some(new.clone())),
            ([old], false, true) => (Some(old.clone()), None),
            (_, false, false) => {
                return Err(Failure::usage(
                    "cas takes OLD and NEW; --absent stands for OLD, --delete for NEW",
                ));
            }
            _ => {
                return Err(Failure::usage("one value is enough: --absent stands for OLD, --delete for NEW"));
            }
        };
        let swapped = store.compare_and_swap(&self.key, value(old).await?, value(new).await?).await?;
        if self.json {
            let printed = output::json(&json!({"key": self.key, "swapped": swapped}));
            if swapped { answer(printed)? } else { printed.map(drop)? }
        }
        if swapped {
            return Ok(());
        }
        let message =
            format!("{:?} is not what was expected, so nothing was written; read it again", self.key);
        Err(Failure::new(NO, message))
    }
}

async fn value(input: Option<Input>) -> Result<Value, Failure> {
    Ok(Value::new(match input {
        None => None,
        Some(input) => Some(input.bytes().await?),
    }))
}

#[derive(Args, Debug)]
pub(crate) struct Incr {
    /// The key, with / between its parts
    key: String,
    /// How much to add; may be negative
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    delta: i64,
    /// Also a record of the coordinators, under _locks/ or _cluster/
    #[arg(long)]
    force: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Incr {
    pub(super) async fn run(self, store: &Store) -> Result<(), Failure> {
        check_key(&self.key, self.force)?;
        let sum = store.increment(&self.key, self.delta).await?;
        answer(match self.json {
            true => output::json(&json!({"key": self.key, "value": sum})),
            false => output::line(&sum.to_string()),
        })
    }
}

#[derive(Args, Debug)]
pub(crate) struct Del {
    /// The key, with / between its parts
    key: String,
    /// Only if the value still has this version
    #[arg(long, value_name = "VERSION")]
    if_match: Option<String>,
    /// Also a record of the coordinators, under _locks/ or _cluster/
    #[arg(long)]
    force: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Del {
    pub(super) async fn run(self, store: &Store) -> Result<(), Failure> {
        check_key(&self.key, self.force)?;
        let mut delete = store.delete(&self.key);
        if let Some(version) = self.if_match {
            delete = delete.if_match(Version::new(version));
        }
        delete.await?;
        match self.json {
            true => answer(output::json(&json!({"key": self.key, "deleted": true}))),
            false => Ok(()),
        }
    }
}
