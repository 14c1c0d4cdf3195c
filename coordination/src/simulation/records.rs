//! The records, read by code of their own: what is read wrongly by the code that wrote it is noticed, too.

use leasehold_core::{Bytes, Key};
use serde::Deserialize;
use serde_json::Value;

/// What nodes that take part write without a condition: each its own.
pub(super) const BEATS: &str = "_cluster/members/beats/";

#[derive(Deserialize)]
pub(super) struct LeaseRecord {
    pub(super) token: u64,
    pub(super) holder: Value,
    pub(super) state: Value,
    pub(super) sequence: u64,
    pub(super) op_id: String,
}

#[derive(Deserialize)]
pub(super) struct Stored<S> {
    pub(super) sequence: u64,
    pub(super) state: S,
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct LockRecord {
    #[serde(default)]
    pub(super) permits: usize,
    pub(super) token: u64,
    pub(super) holders: Vec<HolderRecord>,
    pub(super) queue: Vec<ClaimRecord>,
}

#[derive(Clone, Deserialize)]
pub(super) struct HolderRecord {
    #[serde(flatten)]
    pub(super) claim: ClaimRecord,
    pub(super) token: u64,
}

#[derive(Clone, Deserialize)]
pub(super) struct ClaimRecord {
    pub(super) id: String,
    pub(super) owner: String,
    #[serde(default)]
    pub(super) shared: bool,
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct BarrierRecord {
    pub(super) parties: usize,
    pub(super) generation: u64,
    pub(super) arrived: Vec<Value>,
}

#[derive(Deserialize)]
pub(super) struct MapRecord {
    pub(super) places: Vec<PlaceRecord>,
}

#[derive(Deserialize)]
pub(super) struct PlaceRecord {
    pub(super) owner: Option<String>,
    pub(super) shards: Vec<(u32, u64)>,
}

#[derive(Clone, Deserialize)]
pub(super) struct LatchRecord {
    pub(super) count: u32,
    pub(super) left: u32,
}

/// A record in a line.
pub(super) fn shown(key: &Key, bytes: &Bytes) -> String {
    let text = String::from_utf8_lossy(bytes);
    let short = match serde_json::from_slice::<Value>(bytes) {
        Ok(value) if value.get("state").is_some_and(Value::is_object) && value.get("token").is_none() => {
            value["state"].to_string()
        }
        Ok(value) if value.get("token").is_some() => {
            format!(
                "token {} {} by {} ({})",
                value["token"], value["state"], value["holder"]["node"], value["sequence"]
            )
        }
        _ => text.replace('\n', " | "),
    };
    format!("{key}: {short}")
}

/// What would fill a trace: a session that goes on, a heart that beats.
pub(super) fn is_renewal(key: &Key, bytes: &Bytes) -> bool {
    if key.as_str().starts_with(BEATS) {
        return true;
    }
    let text = String::from_utf8_lossy(bytes);
    key.as_str().contains("/.sessions/")
        && text.contains("\"state\":\"held\"")
        && text.contains("\"token\":1,")
        && !text.contains("\"sequence\":0,")
}
