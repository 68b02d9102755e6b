//! One service whose latency has a normal for each time of day, and another while it is being deployed:
//! 50 ms at 2 AM, 120 ms at 9 AM, 200 ms during deployments, 85 ms otherwise.

use std::time::Duration;

use forewarn_schema::{Sample, TimeRange, Timestamp};

use crate::noise::{Noise, stream};

/// See the module. The same seed gives the same bits.
#[derive(Clone, Debug)]
pub struct LatencyService {
    noise: Noise,
}

/// How long a deployment takes.
const DEPLOYMENT: Duration = Duration::from_secs(20 * 60);
/// Busy hours differ from day to day by this share of their level, quiet ones hardly.
const DAY_TO_DAY: f64 = 0.15;

impl LatencyService {
    /// A service of that seed.
    pub fn new(seed: u64) -> Self {
        Self { noise: Noise::new(seed ^ stream(&["latency service"])) }
    }

    /// Milliseconds, more than 0.
    pub fn latency_ms(&self, at: Timestamp) -> f64 {
        let usual = if self.deploying(at) { 200.0 } else { self.usual_ms(at) };
        let jitter = 1.0 + 0.05 * self.noise.smooth(stream(&["jitter"]), at, 180.0);
        (usual * jitter).max(1.0)
    }

    /// Whether a deployment is under way: three in four days have one, at any time of the day.
    pub fn deploying(&self, at: Timestamp) -> bool {
        let day = (at.seconds() / 86_400.0).floor();
        let draw = |name| self.noise.uniform(stream(&["deployment", name]), day as i64);
        if draw("none") < 0.25 {
            return false;
        }
        let latest = 86_400.0 - DEPLOYMENT.as_secs_f64();
        let start = Timestamp::from_seconds(day as i64 * 86_400 + (draw("start") * latest) as i64);
        TimeRange { start, end: start + DEPLOYMENT }.contains(at)
    }

    /// Latency (ms) and whether it is deploying (0 or 1) at `range.start`, `+ step`, … before the end.
    pub fn samples(&self, range: TimeRange, step: Duration) -> (Vec<Sample>, Vec<Sample>) {
        let times =
            std::iter::successors(Some(range.start), |at| Some(*at + step)).take_while(|at| range.contains(*at));
        times
            .map(|at| {
                let deploying = if self.deploying(at) { 1.0 } else { 0.0 };
                (Sample { at, value: self.latency_ms(at) }, Sample { at, value: deploying })
            })
            .unzip()
    }

    /// Without jitter and deployments: 85 ms, an hour-wide valley at 2 AM, an hour-wide hill at 9 AM.
    fn usual_ms(&self, at: Timestamp) -> f64 {
        let day = at.seconds() / 86_400.0;
        let hour = day.rem_euclid(1.0) * 24.0;
        let bell = |centre: f64| {
            let distance = (hour - centre).abs().min(24.0 - (hour - centre).abs());
            // Flat for half an hour on either side, then falling off within two.
            (-((distance - 0.5).max(0.0) / 0.8).powi(2)).exp()
        };
        let today = self.noise.normal(stream(&["busy"]), day.floor() as i64).clamp(-2.5, 2.5);
        85.0 - 35.0 * bell(2.0) + (35.0 + 120.0 * DAY_TO_DAY * today) * bell(9.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_of_day_has_its_latency() {
        let service = LatencyService::new(3);
        let mean = |hour: i64| {
            let (mut sum, mut n) = (0.0, 0.0);
            for day in 0..200 {
                let at = Timestamp::from_seconds(day * 86_400 + hour * 3600);
                if !service.deploying(at) {
                    sum += service.latency_ms(at);
                    n += 1.0;
                }
            }
            sum / n
        };
        // Three standard errors of 200 days, of which 9 AM varies most.
        for (hour, expected, within) in [(2, 50.0, 1.0), (9, 120.0, 5.0), (15, 85.0, 1.5), (21, 85.0, 1.5)] {
            let got = mean(hour);
            assert!((got - expected).abs() < within, "at {hour}: wanted {expected} ms, got {got}");
        }
    }

    #[test]
    fn deployments_are_slow_and_marked() {
        let service = LatencyService::new(3);
        let minutes = (0..14 * 1440).map(|m| Timestamp::from_seconds(m * 60));
        let deploying: Vec<f64> =
            minutes.filter(|at| service.deploying(*at)).map(|at| service.latency_ms(at)).collect();
        assert!((100..300).contains(&deploying.len()), "got {} minutes", deploying.len());
        let mean = deploying.iter().sum::<f64>() / deploying.len() as f64;
        assert!((mean - 200.0).abs() < 5.0, "got {mean}");
    }
}
