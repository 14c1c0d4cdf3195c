//! How many shards each node shall hold: whole numbers that add up, with the fewest changes.

/// What counts of a node when shards are dealt out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stake {
    /// 0 for a node that shall hold none.
    pub(super) weight: u32,
    /// Whether it shall get nothing new while others have room.
    pub(super) avoid: bool,
    /// How many shards it holds.
    pub(super) held: usize,
}

/// The number for each of `stakes`, in their order. They add up to `shards`, or to none without any weight.
///
/// A node gets its weighted share, rounded down or up; up, where that saves a move. Nodes to avoid keep what they hold
/// up to their share, and the rest is dealt out among the others, up to `room_percent` more than their shares; only
/// what is left then goes to the nodes to avoid.
///
/// Exact integers throughout. Cost: a sort of the nodes, and a pass for each time that one is found to keep more than
/// its part.
pub(super) fn quotas(shards: usize, stakes: &[Stake], room_percent: u32) -> Vec<usize> {
    let part = |avoid: bool| -> Vec<usize> {
        (0..stakes.len()).filter(|index| stakes[*index].weight > 0 && stakes[*index].avoid == avoid).collect()
    };
    let (trusted, avoided) = (part(false), part(true));
    let mut quotas = vec![0; stakes.len()];
    if trusted.is_empty() || avoided.is_empty() {
        let everybody = [trusted, avoided].concat();
        apportion(shards, stakes, &everybody, |_| 0, &mut quotas);
        return quotas;
    }
    let (weight_trusted, weight) =
        (total(stakes, &trusted), total(stakes, &trusted) + total(stakes, &avoided));
    let kept = |index: usize| {
        let share = (shards as u128 * u128::from(stakes[index].weight)).div_ceil(weight);
        stakes[index].held.min(share as usize)
    };
    let left = shards - avoided.iter().map(|index| kept(*index)).sum::<usize>().min(shards);
    let room = (shards as u128 * weight_trusted * (100 + u128::from(room_percent))).div_ceil(weight * 100);
    let dealt = left.min(usize::try_from(room).unwrap_or(usize::MAX));
    apportion(dealt, stakes, &trusted, |_| 0, &mut quotas);
    apportion(shards - dealt, stakes, &avoided, kept, &mut quotas);
    quotas
}

/// Deals `shards` out among `members` by weight, to each at least what it `keeps`; that is not more than there is.
fn apportion(
    shards: usize,
    stakes: &[Stake],
    members: &[usize],
    keeps: impl Fn(usize) -> usize,
    quotas: &mut [usize],
) {
    let mut members = members.to_vec();
    let mut left = shards as u128;
    // Whoever keeps more than its part has just that, and the others share what is left.
    loop {
        let (before, weight, dealt) = (members.len(), total(stakes, &members), left);
        members.retain(|&index| {
            let within = keeps(index) as u128 * weight <= dealt * u128::from(stakes[index].weight);
            if !within {
                quotas[index] = keeps(index);
                left = left.saturating_sub(keeps(index) as u128);
            }
            within
        });
        if members.len() == before {
            break;
        }
    }
    let weight = total(stakes, &members).max(1);
    let mut fractions = Vec::with_capacity(members.len());
    let mut over = left;
    for &index in &members {
        let product = left * u128::from(stakes[index].weight);
        quotas[index] = (product / weight) as usize;
        over -= product / weight;
        fractions.push((stakes[index].held > quotas[index], product % weight, index));
    }
    // First to those that hold one more anyhow, then by the largest remainder, then in the order of the nodes.
    fractions.retain(|(_, fraction, _)| *fraction > 0);
    fractions.sort_unstable_by_key(|&(holds, fraction, index)| (!holds, u128::MAX - fraction, index));
    for (_, _, index) in fractions.iter().take(over as usize) {
        quotas[*index] += 1;
    }
}

fn total(stakes: &[Stake], members: &[usize]) -> u128 {
    members.iter().map(|index| u128::from(stakes[*index].weight)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stake(weight: u32, held: usize) -> Stake {
        Stake { weight, avoid: false, held }
    }

    fn avoided(weight: u32, held: usize) -> Stake {
        Stake { avoid: true, ..stake(weight, held) }
    }

    #[test]
    fn the_odd_ones_go_to_those_that_hold_them() {
        assert_eq!(quotas(10, &[stake(1, 2), stake(1, 3), stake(1, 2), stake(1, 3)], 0), [2, 3, 2, 3]);
        assert_eq!(quotas(10, &[stake(1, 0); 4], 0), [3, 3, 2, 2]);
        assert_eq!(quotas(10, &[stake(1, 0), stake(0, 10), stake(3, 0)], 0), [3, 0, 7]);
        assert_eq!(quotas(7, &[stake(0, 7)], 0), [0]);
        assert_eq!(quotas(7, &[], 0), [0; 0]);
    }

    #[test]
    fn no_weight_is_too_large() {
        let quotas = quotas(65_536, &[stake(u32::MAX, 0), stake(1, 0), stake(u32::MAX, 0)], u32::MAX);
        assert_eq!(quotas, [32_768, 0, 32_768]);
    }

    #[test]
    fn a_node_to_avoid_keeps_its_share_and_gets_more_only_when_the_others_are_full() {
        assert_eq!(quotas(100, &[stake(1, 45), stake(1, 45), avoided(1, 10)], 50), [45, 45, 10]);
        // 40 are without an owner: the others take 50 % more than their 33.
        assert_eq!(quotas(100, &[stake(1, 25), stake(1, 25), avoided(1, 10)], 50), [45, 45, 10]);
        assert_eq!(quotas(100, &[stake(1, 30), stake(1, 30), avoided(1, 0)], 50), [50, 50, 0]);
        assert_eq!(quotas(100, &[stake(1, 30), stake(1, 30), avoided(1, 0)], 20), [40, 40, 20]);
        assert_eq!(quotas(100, &[stake(1, 0), stake(1, 0), avoided(1, 100)], 50), [33, 33, 34]);
        assert_eq!(quotas(10, &[avoided(1, 0), avoided(1, 10)], 0), [5, 5]);
    }

    #[test]
    fn nodes_to_avoid_are_not_evened_out_among_each_other() {
        let stakes = [stake(1, 20), avoided(1, 20), avoided(1, 0), avoided(1, 10)];
        assert_eq!(quotas(80, &stakes, 0), [20, 20, 20, 20]);
        assert_eq!(quotas(80, &stakes, 100), [40, 20, 10, 10]);
    }
}
