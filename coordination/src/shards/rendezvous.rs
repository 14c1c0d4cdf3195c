//! Rendezvous hashing: every node has a score for every shard, and the highest wins.
//!
//! Thaler and Ravishankar, *Using name-based mappings to increase hit rates* (IEEE/ACM ToN 1998); weighted with
//! `w / -ln(u)`, by which a node wins in proportion to its weight (Schindelhauer and Schomaker, SPAA 2005).
//!
//! **The function is part of format 1 of a shard map and must not change**: two leaders that score differently would
//! both keep what they find, but undo each other's choices whenever something has to move. It uses integers and the
//! four operations of IEEE 754 only, which give the same bits on every machine; the logarithm of the platform does
//! not. A better function is a new format.

use std::f64::consts::{LN_2, SQRT_2};

use super::ShardId;
use crate::NodeName;

/// Where every hash begins: the fraction of the golden ratio. Another function of hashing begins elsewhere.
const BEGIN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A node, with its name hashed once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    hash: u64,
    weight: f64,
}

impl Contender {
    /// A node of this weight, at least 1.
    ///
    /// Both parts of what is hashed, the name and the number, are preceded by their length in bytes, so that no two
    /// pairs are the same text. A part is taken in as little-endian words of eight bytes, the last filled with zeros.
    pub(super) fn new(name: &NodeName, weight: u32) -> Self {
        let name = name.as_str().as_bytes();
        let mut hash = absorb(BEGIN, name.len() as u64);
        for chunk in name.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = absorb(hash, u64::from_le_bytes(word));
        }
        Self { hash: absorb(hash, size_of::<u32>() as u64), weight: f64::from(weight.max(1)) }
    }

    /// How much the shard belongs here: positive and finite. One multiplication round and two divisions.
    pub(super) fn score(&self, shard: ShardId) -> f64 {
        let hash = absorb(self.hash, u64::from(shard.get()));
        // The upper 52 bits and a half: exact, and neither 0 nor 1.
        let uniform = ((hash >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
        self.weight / -ln(uniform)
    }
}

/// Takes one word in: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), in which every bit of the
/// input changes every bit of the output with a chance of a half.
fn absorb(hash: u64, word: u64) -> u64 {
    let mut z = hash ^ word;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The natural logarithm of a number between 0 and 1 that is not subnormal, to about one part in 10^15.
///
/// `ln(m * 2^e) = e * ln 2 + 2 * artanh((m - 1) / (m + 1))`, with `m` around 1 and the series up to its tenth term.
fn ln(number: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = number.to_bits();
    let mut exponent = (bits >> 52) as f64 - 1023.0;
    let mut mantissa = f64::from_bits(bits & MANTISSA | 1023 << 52);
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1.0;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut series = 1.0 / 21.0;
    for coefficient in [
        1.0 / 19.0,
        1.0 / 17.0,
        1.0 / 15.0,
        1.0 / 13.0,
        1.0 / 11.0,
        1.0 / 9.0,
        1.0 / 7.0,
        1.0 / 5.0,
        1.0 / 3.0,
        1.0,
    ] {
        series = series * square + coefficient;
    }
    exponent * LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(name: &str, weight: u32) -> Contender {
        Contender::new(&NodeName::new(name).unwrap(), weight)
    }

    #[test]
    fn the_function_never_changes() {
        // Computed by another program.
        let score = |name, weight, shard| contender(name, weight).score(ShardId::new(shard)).to_bits();
        assert_eq!(contender("a", 1).hash, 0xc851_2382_29aa_a773);
        assert_eq!(score("a", 1, 0), 0x4020_c35e_8ad7_839a);
        assert_eq!(score("node-1", 1, 1), 0x4003_933e_c19e_2655);
        assert_eq!(score("node-1", 3, 9_999), 0x4009_7ead_3c26_9cec);
        assert_eq!(score("a-name-longer-than-eight-bytes", 1_000_000, u32::MAX), 0x412b_4d43_b5ad_4b86);
    }

    #[test]
    fn the_logarithm_is_one() {
        for hash in (0..4_000).map(|step: u64| step.wrapping_mul(BEGIN) >> 12).chain([0, 1, (1 << 52) - 1]) {
            let uniform = (hash as f64 + 0.5) / (1u64 << 52) as f64;
            let (ours, theirs) = (ln(uniform), uniform.ln());
            assert!(
                ours < 0.0 && (ours - theirs).abs() <= 4e-15 * theirs.abs(),
                "{uniform}: {ours}, {theirs}"
            );
        }
    }

    #[test]
    fn a_node_wins_in_proportion_to_its_weight() {
        let nodes: Vec<_> = (1..=5).map(|weight| contender(&format!("node-{weight}"), weight)).collect();
        let mut wins = [0u32; 5];
        for shard in 0..30_000 {
            let score = |index: usize| nodes[index].score(ShardId::new(shard));
            let best = (0..5).max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap();
            wins[best] += 1;
        }
        for (index, wins) in wins.iter().enumerate() {
            let expected = 2_000.0 * (index + 1) as f64;
            // Four standard deviations of a count of this size.
            assert!(
                (f64::from(*wins) - expected).abs() < 4.0 * expected.sqrt(),
                "{index}: {wins} of {expected}"
            );
        }
    }

    #[test]
    fn names_that_run_into_each_other_are_told_apart() {
        let names = ["a", "aa", "aaaaaaaa", "aaaaaaaaa", "b", "ab", "ba"];
        let mut hashes: Vec<_> = names.iter().map(|name| contender(name, 1).hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), names.len());
    }
}
