//! What runs cost, learnt from the servers' own timings, or from the clock where they have none.

use std::time::Duration;

use riff_hub::model::Cost;

use super::answer::Answer;

/// Weight of the newest run in the mean.
const NEWEST: f64 = 0.3;
/// Estimates this many times apart are announced anew. Closer ones are left to the hub, which learns the rest itself.
const APART: f64 = 2.0;
/// Tokens of the answer that estimates are compared by.
const TYPICAL: f64 = 256.0;
/// Fewest tokens that a speed is measured by.
const FEWEST: u64 = 4;
/// What is announced before anything was measured: a small model on a small device.
const UNKNOWN: Cost = Cost { fixed: 0.5, per_megapixel: 0.0, per_token: 0.02, load: 0.0 };

/// What a run took of the device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Seconds before the first token.
    pub fixed: f64,
    /// Seconds a token.
    pub per_token: f64,
}

impl Measured {
    /// By the server's timings; else by the tokens that it counted and the time before the first of them and after.
    pub fn of(answer: &Answer, before: Duration, after: Duration) -> Option<Self> {
        if let Some(timings) = answer.timings.filter(|timings| timings.predicted_n >= FEWEST as f64) {
            let measured = Self {
                fixed: timings.prompt_ms / 1_000.0,
                per_token: timings.predicted_ms / timings.predicted_n / 1_000.0,
            };
            return Some(measured).filter(Self::is_sound);
        }
        let tokens = answer.usage?.completion_tokens;
        if tokens < FEWEST || after.is_zero() {
            return None;
        }
        let per_token = after.as_secs_f64() / (tokens - 1) as f64;
        Some(Self { fixed: before.as_secs_f64(), per_token }).filter(Self::is_sound)
    }

    fn is_sound(&self) -> bool {
        [self.fixed, self.per_token].iter().all(|seconds| (0.0..86_400.0).contains(seconds))
    }
}

/// What is known of a model's cost.
pub struct Costs {
    announced: Cost,
    mean: Option<Measured>,
}

impl Default for Costs {
    fn default() -> Self {
        Self { announced: UNKNOWN, mean: None }
    }
}

impl Costs {
    /// Takes in a run.
    pub fn learn(&mut self, newest: Measured) {
        let old = self.mean.unwrap_or(newest);
        let mix = |old: f64, new: f64| old + (new - old) * NEWEST;
        self.mean = Some(Measured {
            fixed: mix(old.fixed, newest.fixed),
            per_token: mix(old.per_token, newest.per_token),
        });
    }

    /// What to announce. It moves only when it is far off, so that the hub is not told something else every time.
    pub fn announced(&mut self) -> Cost {
        if let Some(mean) = self.mean {
            let learnt = Cost { fixed: mean.fixed, per_token: mean.per_token, ..UNKNOWN };
            let ratio = estimate(&learnt) / estimate(&self.announced).max(f64::MIN_POSITIVE);
            if !(1.0 / APART..=APART).contains(&ratio) {
                self.announced = learnt;
            }
        }
        self.announced
    }
}

fn estimate(cost: &Cost) -> f64 {
    cost.fixed + cost.per_token * TYPICAL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(part: &str) -> Answer {
        let mut answer = Answer::new(Vec::new());
        answer.take(part).unwrap();
        answer
    }

    #[test]
    fn the_servers_own_timings_win_over_the_clock() {
        let both = answer(
            r#"{"usage": {"prompt_tokens": 9, "completion_tokens": 11},
                "timings": {"prompt_ms": 500.0, "predicted_ms": 110.0, "predicted_n": 11}}"#,
        );
        let (before, after) = (Duration::from_secs(7), Duration::from_secs(20));
        let measured = Measured::of(&both, before, after).unwrap();
        assert_eq!(measured, Measured { fixed: 0.5, per_token: 0.01 });
        let counted = answer(r#"{"usage": {"completion_tokens": 11}}"#);
        assert_eq!(Measured::of(&counted, before, after), Some(Measured { fixed: 7.0, per_token: 2.0 }));
        assert_eq!(Measured::of(&answer("{}"), before, after), None);
        let nonsense =
            answer(r#"{"timings": {"prompt_ms": -1e300, "predicted_ms": 1.0, "predicted_n": 11}}"#);
        assert_eq!(Measured::of(&nonsense, before, after), None);
    }

    #[test]
    fn what_is_announced_moves_when_it_is_far_off_and_stays_when_it_is_near() {
        let mut costs = Costs::default();
        assert_eq!(costs.announced(), UNKNOWN);
        costs.learn(Measured { fixed: 0.4, per_token: 0.018 });
        assert_eq!(costs.announced(), UNKNOWN);
        let mut costs = Costs::default();
        costs.learn(Measured { fixed: 0.1, per_token: 0.001 });
        let moved = costs.announced();
        assert_eq!((moved.fixed, moved.per_token), (0.1, 0.001));
        costs.learn(Measured { fixed: 0.12, per_token: 0.0011 });
        assert_eq!(costs.announced(), moved);
    }
}
