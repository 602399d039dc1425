//! Choosing the next token. The same seed, position and logits give the same token on every machine.

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// 0 always takes the likeliest; higher is more adventurous.
    pub temperature: f32,
    /// Only the likeliest tokens that together reach this probability are considered, 0 to 1.
    pub top_p: f32,
    /// Seed of all chance.
    pub seed: u32,
}

impl Sampler {
    /// The token at a position (counted from the first generated one) by its logits.
    pub fn choose(&self, logits: &[f32], position: u32) -> u32 {
        let (best, highest) = likeliest(logits);
        if self.temperature <= 0.0 {
            return best;
        }
        let weights: Vec<f32> =
            logits.iter().map(|logit| libm::expf((logit - highest) / self.temperature)).collect();
        let total: f32 = weights.iter().sum();
        let mut candidates = self.candidates(&weights, total);
        candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut sum = 0.0;
        let kept = candidates.iter().take_while(|(_, weight)| {
            let takes = sum < self.top_p * total;
            sum += weight;
            takes
        });
        let kept = kept.count().max(1);
        candidates.truncate(kept);
        let mass: f32 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut left = self.chance(position) * mass;
        for (token, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        candidates.last().map_or(best, |(token, _)| *token)
    }

    /// Every token that can be among those kept: sorting them is much faster than sorting a vocabulary. A token with
    /// less than an equal share of what `top_p` leaves out cannot be needed to reach it.
    fn candidates(&self, weights: &[f32], total: f32) -> Vec<(u32, f32)> {
        let least = (1.0 - self.top_p).max(0.0) * total / weights.len().max(1) as f32;
        let likely = |(token, weight): (usize, &f32)| {
            (*weight > 0.0 && *weight >= least).then_some((token as u32, *weight))
        };
        weights.iter().enumerate().filter_map(likely).collect()
    }

    /// A number from 0 up to 1, by seed and position alone.
    fn chance(&self, position: u32) -> f32 {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.seed.to_le_bytes());
        bytes[4..].copy_from_slice(&position.to_le_bytes());
        let hash = blake3::hash(&bytes);
        let [a, b, c, ..] = hash.as_bytes();
        u32::from_le_bytes([*a, *b, *c, 0]) as f32 / (1_u32 << 24) as f32
    }
}

/// The likeliest token, the first of several, and its logit.
fn likeliest(logits: &[f32]) -> (u32, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (token as u32, *logit);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_follows_the_probabilities() {
        let logits = [0.0, 1.0, f32::NEG_INFINITY];
        let sampler = |seed| Sampler { temperature: 1.0, top_p: 1.0, seed };
        let ones = (0..2_000).filter(|seed| sampler(*seed).choose(&logits, 0) == 1).count();
        assert!((1_400..1_520).contains(&ones), "{ones} of 2000, expected about 1462");
        assert!((0..2_000).all(|seed| sampler(seed).choose(&logits, 0) != 2));
    }

    #[test]
    fn a_small_top_p_and_no_temperature_take_the_likeliest() {
        let logits = [0.5, 2.0, 1.9];
        for seed in 0..100 {
            assert_eq!(Sampler { temperature: 2.0, top_p: 0.1, seed }.choose(&logits, 3), 1);
            assert_eq!(Sampler { temperature: 0.0, top_p: 1.0, seed }.choose(&logits, 3), 1);
        }
    }
}
