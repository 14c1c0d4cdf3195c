//! What is stored for a shard map: one JSON object, with the shards listed by where they are.

use std::collections::BTreeMap;

use leasehold_core::{Bytes, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{Shard, ShardId, ShardMap, ShardState};
use crate::{NodeName, Token};

/// The format that this version writes, and the newest it reads. Its rendezvous hash is that of `rendezvous.rs`.
const FORMAT: u64 = 1;

/// All that is known of formats to come.
#[derive(Deserialize)]
struct Envelope {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u64,
    version: u64,
    token: Token,
    places: Vec<Place>,
}

/// The shards of one owner, those on their way to one other node apart; without an owner the free ones.
#[derive(Serialize, Deserialize)]
struct Place {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// The number and the epoch of each.
    shards: Vec<(ShardId, u64)>,
}

impl ShardMap {
    /// No map is larger, in bytes; what is larger was not written by us and need not be read.
    ///
    /// 10,000 shards take about 110 kB.
    pub const BYTES_MAX: u64 = 40 << 20;

    /// The map as it is stored: JSON, format 1. Equal maps are equal bytes.
    ///
    /// ```text
    /// {"format":1,"version":12,"token":3,"places":[
    ///   {"shards":[[7,0]]},
    ///   {"owner":"node-1","shards":[[0,1],[1,4]]},
    ///   {"owner":"node-1","to":"node-2","shards":[[2,1]]}]}
    /// ```
    ///
    /// The pairs are the number and the epoch of a shard.
    pub fn encode(&self) -> Bytes {
        let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for shard in self.shards() {
            let place = (shard.owner().map(NodeName::as_str), shard.moving_to().map(NodeName::as_str));
            places.entry(place).or_default().push((shard.id(), shard.epoch()));
        }
        let places = places.into_iter().map(|((owner, to), shards)| Place {
            owner: owner.map(str::to_owned),
            to: to.map(str::to_owned),
            shards,
        });
        let stored =
            Stored { format: FORMAT, version: self.version(), token: self.token(), places: places.collect() };
        serde_json::to_vec(&stored).expect("names and numbers can be JSON").into()
    }

    /// Reads a map.
    ///
    /// # Errors
    /// - [`Corrupt`](ErrorKind::Corrupt) for what is no map: other bytes, a shard that is listed twice, a name that no
    ///   node can have, more than [`SHARDS_MAX`](Self::SHARDS_MAX) shards.
    /// - [`Invalid`](ErrorKind::Invalid) for a newer format: upgrade this program.
    ///
    /// Neither may be overwritten.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > Self::BYTES_MAX {
            return Err(corrupt());
        }
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(|source| corrupt().because(source))?;
        match envelope.format {
            FORMAT => {}
            newer if newer > FORMAT => return Err(newer_format(newer)),
            _ => return Err(corrupt()),
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(|source| corrupt().because(source))?;
        let mut shards = Vec::new();
        for place in stored.places {
            place.read(&mut shards).map_err(|source| corrupt().because(source))?;
        }
        Self::recorded(stored.version, stored.token, shards).map_err(|source| corrupt().because(source))
    }
}

impl Place {
    fn read(self, shards: &mut Vec<Shard>) -> Result<()> {
        let state =
            match (self.owner.map(NodeName::new).transpose()?, self.to.map(NodeName::new).transpose()?) {
                (None, None) => ShardState::Free,
                (Some(owner), None) => ShardState::Owned { owner },
                (Some(owner), Some(to)) if owner != to => ShardState::Moving { owner, to },
                _ => return Err(Error::invalid("a shard moves from one node to another")),
            };
        for (id, epoch) in self.shards {
            if epoch == u64::MAX || (epoch == 0 && state != ShardState::Free) {
                return Err(Error::invalid(format!("shard {id} cannot have epoch {epoch}")));
            }
            shards.push(Shard::recorded(id, epoch, state.clone()));
        }
        Ok(())
    }
}

fn corrupt() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "what is stored here is not a shard map, so it was left as it is; find out who wrote it, and move it away \
         only when no node serves a shard",
    )
}

fn newer_format(format: u64) -> Error {
    Error::invalid(format!(
        "the shard map has format {format} and this program knows formats up to {FORMAT}, so it was left as it is; \
         upgrade this program"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn map() -> ShardMap {
        let states = [
            (7, 0, ShardState::Free),
            (0, 1, ShardState::Owned { owner: name("node \"1\"") }),
            (1, 4, ShardState::Owned { owner: name("node \"1\"") }),
            (u32::MAX, 1, ShardState::Moving { owner: name("node \"1\""), to: name("ñ") }),
        ];
        let shards = states
            .map(|(id, epoch, state)| Shard::recorded(ShardId::new(id), epoch, state))
            .into_iter()
            .collect();
        ShardMap::recorded(12, Token::new(3), shards).unwrap()
    }

    #[test]
    fn a_map_survives_being_stored() {
        assert_eq!(ShardMap::decode(&map().encode()).unwrap(), map());
        let empty = ShardMap::new(Token::new(1), []).unwrap();
        assert_eq!(ShardMap::decode(&empty.encode()).unwrap(), empty);
    }

    #[test]
    fn the_format_is_what_it_was() {
        let golden = concat!(
            r#"{"format":1,"version":12,"token":3,"places":[{"shards":[[7,0]]},"#,
            r#"{"owner":"node \"1\"","shards":[[0,1],[1,4]]},"#,
            r#"{"owner":"node \"1\"","to":"ñ","shards":[[4294967295,1]]}]}"#
        );
        assert_eq!(map().encode(), golden.as_bytes());
    }

    #[test]
    fn ten_thousand_shards_are_far_below_a_mebibyte_and_the_largest_map_below_the_bound() {
        let owned = |count: u32, epoch: u64, owner: &dyn Fn(u32) -> ShardState| {
            let shards = (0..count).map(|id| Shard::recorded(ShardId::new(u32::MAX - id), epoch, owner(id)));
            ShardMap::recorded(u64::MAX - 1, Token::new(u64::MAX - 1), shards.collect()).unwrap()
        };
        let usual =
            owned(10_000, 1_000, &|id| ShardState::Owned { owner: name(&format!("node-{}", id % 100)) });
        assert!(usual.encode().len() < 300_000, "{}", usual.encode().len());
        // Every shard on a way of its own, between names that JSON makes longer.
        let long = |id: u32, end: &str| name(&format!("{id:05}{}{end}", "\"".repeat(122)));
        let largest =
            owned(65_536, u64::MAX - 1, &|id| ShardState::Moving { owner: long(id, "a"), to: long(id, "b") });
        let bytes = largest.encode();
        assert!(bytes.len() as u64 <= ShardMap::BYTES_MAX, "{}", bytes.len());
        assert_eq!(ShardMap::decode(&bytes).unwrap(), largest);
    }

    #[test]
    fn what_is_no_map_is_corrupt() {
        let with = |places: &str| format!(r#"{{"format":1,"version":1,"token":1,"places":[{places}]}}"#);
        let many: String = (0..65_536).map(|id| format!("[{id},1],")).collect();
        for text in [
            String::new(),
            "[]".into(),
            "null".into(),
            r#"{"format":"1","version":1,"token":1,"places":[]}"#.into(),
            r#"{"format":0,"version":1,"token":1,"places":[]}"#.into(),
            r#"{"format":1,"version":1,"token":0,"places":[]}"#.into(),
            r#"{"format":1,"version":18446744073709551615,"token":1,"places":[]}"#.into(),
            r#"{"format":1,"version":1,"token":1}"#.into(),
            r#"{"format":1,"format":1,"version":1,"token":1,"places":[]}"#.into(),
            with(r#"{"shards":[[1,0],[1,1]]}"#),
            with(r#"{"shards":[[1,0]]},{"owner":"a","shards":[[1,1]]}"#),
            with(r#"{"owner":"a","shards":[[1,0]]}"#),
            with(r#"{"owner":"a","shards":[[1,18446744073709551615]]}"#),
            with(r#"{"owner":"a","shards":[[4294967296,1]]}"#),
            with(r#"{"owner":"a","shards":[[-1,1]]}"#),
            with(r#"{"owner":"a","shards":[[1,1,1]]}"#),
            with(r#"{"owner":"a/b","shards":[[1,1]]}"#),
            with(r#"{"owner":"","shards":[[1,1]]}"#),
            with(r#"{"owner":"a","to":"a","shards":[[1,1]]}"#),
            with(r#"{"to":"a","shards":[[1,1]]}"#),
            with(&format!(r#"{{"owner":"a","shards":[{many}[65536,1]]}}"#)),
            with("") + " more",
        ] {
            let error = ShardMap::decode(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{}: {error}", &text[..text.len().min(80)]);
        }
        let mut cut = map().encode().to_vec();
        while cut.pop().is_some() {
            assert_eq!(ShardMap::decode(&cut).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn a_newer_format_asks_for_an_upgrade_whatever_else_it_says() {
        let error = ShardMap::decode(br#"{"format":2,"places":{"new":true}}"#).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("upgrade"), "{error}");
    }
}
