//! Numbers that look random and are the seed's: the same call gets the same number in every run,
//! whichever thread makes it.

/// A number in 0..1 for the call of that number.
pub(crate) fn number_at(seed: u64, call: u64) -> f64 {
    // SplitMix64 (Steele, Lea and Flood 2014), its state being a function of seed and call.
    let mut z = mix(seed).wrapping_add(call.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = mix(z);
    // The top 53 bits are what an f64 holds exactly.
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_repeat() {
        for seed in [0, 1, u64::MAX] {
            let numbers: Vec<f64> = (1..=10_000).map(|call| number_at(seed, call)).collect();
            let mean = numbers.iter().sum::<f64>() / 10_000.0;
            assert!((0.48..0.52).contains(&mean), "seed {seed}: {mean}");
            assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
            assert_eq!(numbers[41], number_at(seed, 42));
        }
        assert_ne!(number_at(1, 5), number_at(2, 5));
    }
}
