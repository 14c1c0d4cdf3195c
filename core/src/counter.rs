//! Counters: values that are a decimal integer in text, and what adds to them.

use crate::{
    Attributes, Backoff, Body, Bytes, Capability, Environment, Error, GetOptions, Key, Lookup, Precondition,
    PutOptions, Result, StorageAdapter,
};

/// The longest value that is read as a counter, in bytes; a longer one is none.
pub const COUNTER_BYTES_MAX: usize = 64;

/// The sum that an increment stores: `current` is the text of a decimal integer of at most [`COUNTER_BYTES_MAX`] bytes,
/// absent counts as 0.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) when it is no such integer, or when the sum does not fit into 64 bits.
pub fn add_to(current: Option<&[u8]>, delta: i64) -> Result<i64> {
    let number = match current {
        None => 0,
        Some(bytes) => std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() <= COUNTER_BYTES_MAX)
            .and_then(|text| text.trim_ascii().parse::<i64>().ok())
            .ok_or_else(|| Error::invalid("the value is not a decimal integer; nothing was changed"))?,
    };
    number.checked_add(delta).ok_or_else(|| {
        Error::invalid(format!("{number} plus {delta} does not fit into 64 bits; nothing was changed"))
    })
}

/// The text of a counter that no other write of it has: the number and then spaces and tabs, drawn from `nonce`.
///
/// For adapters whose versions derive from content. A counter comes back to numbers that it had before; without this its
/// version would come back too, and a late write could be taken for one that nothing came between.
pub fn unique_sum(sum: i64, nonce: u64) -> String {
    let mut text = sum.to_string();
    text.extend((0..SUM_NONCE_BITS).map(|bit| if nonce >> bit & 1 == 0 { ' ' } else { '\t' }));
    text
}

/// As many as fit behind the longest number.
const SUM_NONCE_BITS: usize = COUNTER_BYTES_MAX - "-9223372036854775808".len();

/// Adds through conditional puts: reads, adds, writes if nothing changed, and otherwise does it again. For adapters whose
/// backend cannot add.
///
/// # Errors
/// As [`StorageAdapter::increment`]; [`Unsupported`](crate::ErrorKind::Unsupported) without conditional puts;
/// [`Conflict`](crate::ErrorKind::Conflict) when others were faster every time.
pub async fn increment_by_swap(
    adapter: &dyn StorageAdapter,
    key: &Key,
    delta: i64,
    backoff: &Backoff,
    environment: &Environment,
) -> Result<i64> {
    let capabilities = adapter.capabilities();
    if !capabilities.supports(Capability::ConditionalPut) {
        return Err(Error::unsupported(Capability::ConditionalPut));
    }
    for attempt in 0..backoff.attempts_max {
        let (current, precondition, attributes) = match adapter.get(key, GetOptions::default()).await? {
            Lookup::Found(object) => {
                let metadata = object.metadata;
                // A longer value is no counter, whatever is in it.
                let bytes = match usize::try_from(metadata.size) {
                    Ok(0..=COUNTER_BYTES_MAX) => object.body.receive(COUNTER_BYTES_MAX as u64).await?,
                    _ => Bytes::new(),
                };
                (Some(bytes), Precondition::Matches(metadata.version), metadata.attributes)
            }
            _ => (None, Precondition::Absent, Attributes::new()),
        };
        let sum = add_to(current.as_deref(), delta)?;
        // Where equal values have equal versions, two sums must not be equal values, or a counter that went up and down
        // again would look as if nobody had written.
        let text = match capabilities.supports(Capability::UniqueVersions) {
            true => sum.to_string(),
            false => unique_sum(sum, environment.random.bits()),
        };
        let options = PutOptions::from(precondition).attributes(attributes);
        match adapter.put(key, Body::from(text), options).await {
            Ok(_) => return Ok(sum),
            Err(error) if error.is_conflict() && !error.is_indeterminate() => {}
            Err(error) => return Err(error),
        }
        backoff.wait(attempt, environment).await;
    }
    Err(Error::conflict(format!(
        "still contended after {} attempts; nothing was counted, try again later",
        backoff.attempts_max
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_sum_is_still_the_number_and_fits() {
        for sum in [0, 7, -1, i64::MAX, i64::MIN] {
            for nonce in [0, 1, u64::MAX] {
                let text = unique_sum(sum, nonce);
                assert_eq!(add_to(Some(text.as_bytes()), 0).unwrap(), sum);
                assert_eq!(serde_json::from_str::<i64>(&text).unwrap(), sum);
                assert!(text.len() <= COUNTER_BYTES_MAX);
            }
        }
        assert_ne!(unique_sum(5, 1), unique_sum(5, 2));
    }
}
