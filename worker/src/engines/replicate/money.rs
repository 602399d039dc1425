//! What runs cost. The API does not say: prices come from the settings.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// US dollars, in whole millionths. Fractions of one are rounded up, so that nothing is spent that is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub u64);

impl Usd {
    /// A setting's amount.
    ///
    /// # Errors
    /// If it is no amount from 0 to a million.
    pub fn of(key: &str, dollars: f64) -> Result<Self, String> {
        match (0.0..=1e6).contains(&dollars) {
            // A price such as 0.0011 is no binary fraction: what is less than a thousandth of a millionth off is exact.
            true => Ok(Self((dollars * 1e6 - 1e-3).ceil().max(0.0) as u64)),
            false => Err(format!("{key} = {dollars} is not an amount of US dollars from 0 to 1000000")),
        }
    }

    /// The sum; the largest amount there is, if it is larger.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    fn times(self, seconds: f64) -> Self {
        Self((self.0 as f64 * seconds.max(0.0)).ceil() as u64)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, millionths) = (self.0 / 1_000_000, self.0 % 1_000_000);
        match millionths % 10_000 {
            0 => write!(f, "{whole}.{:02} USD", millionths / 10_000),
            _ => write!(f, "{whole}.{millionths:06} USD"),
        }
    }
}

/// What a model costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Price {
    /// For a second of its hardware.
    Second(Usd),
    /// For a run, however long.
    Run(Usd),
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reached {
    /// It never began: that costs nothing.
    Nothing,
    /// It began, and took that long, where the API says so.
    Begun(Option<Duration>),
}

impl Price {
    /// Most that a run may cost which is stopped after `timeout`.
    pub fn most(self, timeout: Duration) -> Usd {
        match self {
            Self::Second(usd) => usd.times(timeout.as_secs_f64()),
            Self::Run(usd) => usd,
        }
    }

    /// What a run cost that ended; `None` where that is not known.
    pub fn of(self, reached: Reached) -> Option<Usd> {
        match (self, reached) {
            (_, Reached::Nothing) => Some(Usd::default()),
            (Self::Run(usd), Reached::Begun(_)) => Some(usd),
            (Self::Second(usd), Reached::Begun(took)) => took.map(|took| usd.times(took.as_secs_f64())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_to_a_millionth_and_read_as_money() {
        let read = |dollars| Usd::of("usd", dollars).unwrap();
        assert_eq!((read(0.0011), read(0.000_725), read(1e-9)), (Usd(1_100), Usd(725), Usd(0)));
        assert_eq!(
            [read(5.0), read(0.003), read(0.25)].map(|usd| usd.to_string()),
            ["5.00 USD", "0.003000 USD", "0.25 USD"]
        );
        for wrong in [-0.01, f64::NAN, f64::INFINITY, 2e6] {
            assert!(Usd::of("usd", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_run_costs_what_it_took_and_at_most_its_limit() {
        let second = Price::Second(Usd(1_100));
        assert_eq!(second.most(Duration::from_secs(60)), Usd(66_000));
        assert_eq!(second.of(Reached::Begun(Some(Duration::from_millis(2_500)))), Some(Usd(2_750)));
        assert_eq!(second.of(Reached::Begun(None)), None, "not known is not free");
        let run = Price::Run(Usd(3_000));
        assert_eq!(
            (run.most(Duration::from_secs(60)), run.of(Reached::Begun(None))),
            (Usd(3_000), Some(Usd(3_000)))
        );
        assert_eq!((second.of(Reached::Nothing), run.of(Reached::Nothing)), (Some(Usd(0)), Some(Usd(0))));
    }
}
