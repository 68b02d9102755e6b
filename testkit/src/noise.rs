//! Noise without state: the value at a time follows from the seed, the stream and the time alone, so
//! that a scrape gives the same bits whatever was scraped before. Value noise: random knots, smooth
//! between them.

use forewarn_schema::Timestamp;

/// A family of noises of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    seed: u64,
}

impl Noise {
    /// Same seed, same bits.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Uniform in 0..1 (1 excluded) at knot `k` of `stream`.
    pub fn uniform(&self, stream: u64, k: i64) -> f64 {
        let hash = mix(mix(mix(self.seed) ^ stream) ^ k.cast_unsigned());
        // The upper 53 bits fill a float's fraction exactly.
        (hash >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly standard normal at knot `k`: the sum of twelve uniforms less six (variance 1), which
    /// needs no logarithm and has no tail beyond 6.
    pub fn normal(&self, stream: u64, k: i64) -> f64 {
        let sum: f64 = (0..12).map(|i| self.uniform(stream.wrapping_mul(31).wrapping_add(i), k)).sum();
        sum - 6.0
    }

    /// Normal knots every `scale_seconds`, smooth between: mean 0, standard deviation 1 at a knot and
    /// 0.7 half-way.
    pub fn smooth(&self, stream: u64, at: Timestamp, scale_seconds: f64) -> f64 {
        let position = at.seconds() / scale_seconds;
        let knot = position.floor();
        let t = position - knot;
        let weight = t * t * (3.0 - 2.0 * t);
        let knot = knot as i64;
        self.normal(stream, knot) * (1.0 - weight) + self.normal(stream, knot + 1) * weight
    }
}

/// A stream's number from its name (FNV-1a), so that streams do not depend on their order.
pub fn stream(parts: &[&str]) -> u64 {
    parts
        .iter()
        .flat_map(|p| p.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_mean_zero_and_deviation_one() {
        let noise = Noise::new(7);
        let values: Vec<f64> = (0..20_000).map(|k| noise.normal(1, k)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        // Three standard errors of 20,000 draws.
        assert!(mean.abs() < 0.022, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.03, "variance {variance}");
    }

    #[test]
    fn smooth_noise_does_not_jump() {
        let noise = Noise::new(7);
        let at = |s| noise.smooth(1, Timestamp::from_seconds(s), 600.0);
        for s in 0..6000 {
            // The steepest slope between two knots 12 apart at most: 1.5 * 12 / 600.
            assert!((at(s + 1) - at(s)).abs() < 0.031, "jump at {s}");
        }
    }
}
