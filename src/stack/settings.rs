//! What stands in the file, layer by layer.

use std::{path::PathBuf, time::Duration};

use leasehold_core::{COUNTER_BYTES_MAX, Error, Layer, Result, Store};
use leasehold_layers::{
    Batch, Cache, Compress, Encrypt, Faults, Keys, Limit, Meter, Namespace, ReadOnly, Retry, Timeout, Trace,
    Verify,
};
use serde::{Deserialize, Deserializer, de};

use crate::units;

/// A layer with its settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Setting {
    Batch(BatchSettings),
    Cache(CacheSettings),
    Compress(CompressSettings),
    Encrypt(EncryptSettings),
    Faults(FaultsSettings),
    Limit(LimitSettings),
    Meter(MeterSettings),
    Namespace(NamespaceSettings),
    ReadOnly(ReadOnlySettings),
    Retry(RetrySettings),
    Timeout(TimeoutSettings),
    Trace(TraceSettings),
    Verify(VerifySettings),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BatchMode {
    GroupCommit,
    WriteBehind,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct BatchSettings {
    pub(super) mode: BatchMode,
    wait: Option<Time>,
    entries_max: Option<usize>,
    bytes_max: Option<Size>,
    coalesce: Option<bool>,
    pending_entries_max: Option<usize>,
    pending_bytes_max: Option<Size>,
    #[serde(default)]
    intervals: Vec<Interval>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Interval {
    keys: String,
    interval: Time,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CacheMode {
    Revalidate,
    BoundedStaleness,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CacheSettings {
    mode: CacheMode,
    room: Size,
    age: Option<Time>,
    value_bytes_max: Option<Size>,
    time_to_idle: Option<Time>,
    absent_for: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CompressSettings {
    codec: String,
    above: Option<Size>,
    saving_percent: Option<u8>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncryptSettings {
    keys: Vec<KeyPlace>,
}

/// Where a key is found; the key itself never stands in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyPlace {
    id: String,
    file: Option<PathBuf>,
    env: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct FaultsSettings {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    before: f64,
    #[serde(default)]
    after: f64,
    #[serde(default)]
    ghost: f64,
    #[serde(default)]
    truncate: f64,
    #[serde(default)]
    disorder: f64,
    #[serde(default)]
    delay: f64,
    delay_max: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LimitSettings {
    at_once: Option<usize>,
    per_second: Option<u32>,
    burst: Option<u32>,
    wait_max: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeterSettings {
    store: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamespaceSettings {
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadOnlySettings {}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RetrySettings {
    attempts_max: Option<u32>,
    first_wait: Option<Time>,
    longest_wait: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeoutSettings {
    after: Time,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceSettings {
    keys: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifySettings {
    strict: Option<bool>,
}

/// A duration, written as text.
#[derive(Clone, Copy, Debug)]
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::duration(&text).map(Self).map_err(|error| de::Error::custom(error.message()))
    }
}

/// A number of bytes, written as text.
#[derive(Clone, Copy, Debug)]
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::bytes(&text).map(Self).map_err(|error| de::Error::custom(error.message()))
    }
}

/// Refuses what would mean nothing, or something else than it says.
fn refuse_if(meaningless: bool, why: &str) -> Result<()> {
    if meaningless { Err(Error::invalid(why)) } else { Ok(()) }
}

/// The same builder with a setting, if there is one.
fn set<B, T>(builder: B, value: Option<T>, with: impl FnOnce(B, T) -> B) -> B {
    match value {
        Some(value) => with(builder, value),
        None => builder,
    }
}

impl Setting {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Batch(_) => "batch",
            Self::Cache(_) => "cache",
            Self::Compress(_) => "compress",
            Self::Encrypt(_) => "encrypt",
            Self::Faults(_) => "faults",
            Self::Limit(_) => "limit",
            Self::Meter(_) => "meter",
            Self::Namespace(_) => "namespace",
            Self::ReadOnly(_) => "read-only",
            Self::Retry(_) => "retry",
            Self::Timeout(_) => "timeout",
            Self::Trace(_) => "trace",
            Self::Verify(_) => "verify",
        }
    }

    /// What puts this layer around a store.
    pub(super) fn layer(&self) -> Result<Around> {
        Ok(match self {
            Self::Batch(settings) => around(settings.layer()?),
            Self::Cache(settings) => around(settings.layer()?),
            Self::Compress(settings) => around(settings.layer()?),
            Self::Encrypt(settings) => around(settings.layer()?),
            Self::Faults(settings) => around(settings.layer()?),
            Self::Limit(settings) => around(settings.layer()?),
            Self::Meter(settings) => around(Meter::published(&settings.store)),
            Self::Namespace(settings) => around(Namespace::new(settings.name.as_str())?),
            Self::ReadOnly(_) => around(ReadOnly),
            Self::Retry(settings) => around(settings.layer()?),
            Self::Timeout(settings) => {
                refuse_if(
                    settings.after.0.is_zero(),
                    "after nothing at all every call is late: name a longer time",
                )?;
                around(Timeout::after(settings.after.0))
            }
            Self::Trace(settings) => {
                let trace = Trace::new();
                around(if settings.keys == Some(false) { trace.without_keys() } else { trace })
            }
            Self::Verify(settings) => {
                let verify = Verify::new();
                around(if settings.strict == Some(true) { verify.strict() } else { verify })
            }
        })
    }
}

/// Puts a layer around a store.
pub(super) type Around = Box<dyn FnOnce(Store) -> Store + Send>;

fn around(layer: impl Layer + Send + 'static) -> Around {
    Box::new(move |store| store.layer(layer))
}

impl BatchSettings {
    fn layer(&self) -> Result<Batch> {
        let pending = self.pending_entries_max.is_some() || self.pending_bytes_max.is_some();
        refuse_if(
            pending && self.mode == BatchMode::GroupCommit,
            "nothing is pending in mode \"group-commit\": every caller waits for its own write",
        )?;
        refuse_if(self.entries_max == Some(0), "a batch has at least one entry: entries-max = 1")?;
        let batch = match self.mode {
            BatchMode::GroupCommit => Batch::group_commit(),
            BatchMode::WriteBehind => Batch::write_behind(),
        };
        let batch = set(batch, self.wait, |batch, Time(wait)| batch.wait(wait));
        let batch = set(batch, self.entries_max, Batch::entries_max);
        let batch = set(batch, self.bytes_max, |batch, Size(bytes)| batch.bytes_max(bytes));
        let batch = set(batch, self.coalesce, Batch::coalesce);
        let batch = match (self.pending_entries_max, self.pending_bytes_max) {
            (None, None) => batch,
            (Some(entries), Some(Size(bytes))) => batch.pending_max(entries, bytes),
            _ => {
                let message = "pending-entries-max and pending-bytes-max are given together, or neither is";
                return Err(Error::invalid(message));
            }
        };
        self.intervals
            .iter()
            .try_fold(batch, |batch, Interval { keys, interval }| batch.interval(keys, interval.0))
    }
}

impl CacheSettings {
    fn layer(&self) -> Result<Cache> {
        let Size(room) = self.room;
        refuse_if(room == 0, "a cache without room keeps nothing: take it out, or give it some")?;
        let cache = match (self.mode, self.age) {
            (CacheMode::Revalidate, None) => {
                let why = "absent-for belongs to mode \"bounded-staleness\"; \"revalidate\" asks every time";
                refuse_if(self.absent_for.is_some(), why)?;
                Cache::revalidate(room)
            }
            (CacheMode::BoundedStaleness, Some(Time(age))) => Cache::bounded_staleness(room, age),
            (CacheMode::Revalidate, Some(_)) => {
                let message =
                    "age is the bound of mode \"bounded-staleness\"; \"revalidate\" asks every time";
                return Err(Error::invalid(message));
            }
            (CacheMode::BoundedStaleness, None) => {
                let message = "mode \"bounded-staleness\" needs its bound, for example age = \"5s\"";
                return Err(Error::invalid(message));
            }
        };
        let cache = set(cache, self.value_bytes_max, |cache, Size(bytes)| cache.value_bytes_max(bytes));
        let cache = set(cache, self.time_to_idle, |cache, Time(idle)| cache.time_to_idle(idle));
        Ok(set(cache, self.absent_for, |cache, Time(age)| cache.absent_for(age)))
    }
}

impl CompressSettings {
    fn layer(&self) -> Result<Compress> {
        refuse_if(self.saving_percent.is_some_and(|percent| percent > 99), "saving-percent is 0 to 99")?;
        let smallest = COUNTER_BYTES_MAX as u64;
        refuse_if(
            self.above.is_some_and(|Size(bytes)| bytes < smallest),
            "values of up to 64 bytes are counters and stay as they are: above is at least \"64\"",
        )?;
        let compress: Compress = self.codec.parse()?;
        let above =
            |compress: Compress, Size(bytes)| compress.above(usize::try_from(bytes).unwrap_or(usize::MAX));
        let compress = set(compress, self.above, above);
        Ok(set(compress, self.saving_percent, Compress::saving))
    }
}

impl EncryptSettings {
    fn layer(&self) -> Result<Encrypt> {
        let Some((first, others)) = self.keys.split_first() else {
            return Err(Error::invalid(
                "encrypt needs a key: keys = [{ id = \"2026-11\", file = \"/path\" }]",
            ));
        };
        let keys = Keys::new(&first.id, first.read()?)?;
        Ok(Encrypt::new(others.iter().try_fold(keys, |keys, place| keys.and(&place.id, place.read()?))?))
    }
}

impl KeyPlace {
    /// The key. No error shows any of it.
    fn read(&self) -> Result<[u8; 32]> {
        let (text, from) = match (&self.file, &self.env) {
            (Some(file), None) => {
                let text = std::fs::read_to_string(file).map_err(|source| {
                    Error::invalid(format!(
                        "the key {:?} cannot be read from {}: {source}",
                        self.id,
                        file.display()
                    ))
                })?;
                (text, file.display().to_string())
            }
            (None, Some(name)) => {
                // A key that stands here by mistake must not be shown.
                let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                refuse_if(name.len() > 64 || !name.bytes().all(sound), "env is the name of a variable")?;
                let refuse =
                    || Error::invalid(format!("the variable {name} with the key {:?} is not set", self.id));
                (std::env::var(name).map_err(|_| refuse())?, name.clone())
            }
            _ => {
                let message =
                    format!("the key {:?} is in a file or in a variable: give file or env", self.id);
                return Err(Error::invalid(message));
            }
        };
        let refuse = || {
            let message = format!(
                "what is in {from} is no key: it is 64 hexadecimal digits, as from openssl rand -hex 32"
            );
            Error::invalid(message)
        };
        let (digits, rest) = text.trim_ascii().as_bytes().as_chunks::<2>();
        if digits.len() != 32 || !rest.is_empty() {
            return Err(refuse());
        }
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(digits) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or_else(refuse);
            *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
        }
        Ok(key)
    }
}

impl FaultsSettings {
    fn layer(&self) -> Result<Faults> {
        let Self { seed, before, after, ghost, truncate, disorder, delay, delay_max } = *self;
        let shares = [before, after, ghost, truncate, disorder, delay];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || shares.iter().sum::<f64>() > 1.0 {
            let message = "faults have shares from 0 to 1, which together are at most 1";
            return Err(Error::invalid(message));
        }
        refuse_if(delay_max.is_some() && delay == 0.0, "delay-max needs a share of calls: delay = 0.1")?;
        let longest = delay_max.map_or(Duration::from_millis(100), |Time(longest)| longest);
        let faults = Faults::seeded(seed).before(before).after(after).ghost(ghost);
        Ok(faults.truncate(truncate).disorder(disorder).delay(delay, longest))
    }
}

impl LimitSettings {
    fn layer(&self) -> Result<Limit> {
        let nothing = self.at_once.is_none() && self.per_second.is_none();
        refuse_if(nothing, "nothing is limited: give at-once or per-second")?;
        refuse_if(self.burst.is_some() && self.per_second.is_none(), "burst belongs to per-second")?;
        let none = self.at_once == Some(0) || self.per_second == Some(0) || self.burst == Some(0);
        refuse_if(none, "a limit of none lets nothing through: it is at least 1")?;
        let limit = set(Limit::new(), self.at_once, Limit::at_once);
        let limit =
            set(limit, self.per_second, |limit, calls| limit.per_second(calls, self.burst.unwrap_or(1)));
        Ok(set(limit, self.wait_max, |limit, Time(wait)| limit.wait_max(wait)))
    }
}

impl RetrySettings {
    fn layer(&self) -> Result<Retry> {
        refuse_if(self.attempts_max == Some(0), "a call is tried at least once: attempts-max = 1")?;
        let retry = set(Retry::new(), self.attempts_max, Retry::attempts_max);
        let first = self.first_wait.map_or(Duration::from_millis(50), |Time(wait)| wait);
        let longest = self.longest_wait.map_or(Duration::from_secs(5), |Time(wait)| wait);
        refuse_if(longest < first, "longest-wait is not shorter than first-wait, which is 50ms by default")?;
        Ok(retry.waits(first, longest))
    }
}
