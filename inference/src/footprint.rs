//! What a server takes of memory, from what it holds: the same figures tell how much a configuration will need
//! (`forewarn check`) and when no more series are let in. Measured, see `docs/benchmarks.md`; resident memory on Linux, x86-64.

/// The program with nothing in it, its buffers for bodies and its database.
const PROCESS: u64 = 51_000_000;
/// A series: its labels (where a function returns them, those without the metric name as well), its places in the indices, its
/// share of what expressions remember.
const SERIES: u64 = 432;
/// A sample; a series has room for some more than it holds.
const SAMPLE: u64 = 16;
const SPARE_SAMPLES: u64 = 4;
/// A target: what is said of it, as it is kept and as it is sent, and what it was named and decided by.
const TARGET: u64 = 1_250;
/// Five days of a target, or of the load of a service.
const HISTORY: u64 = 2_800;
/// A model: a hundred trees of 256 samples, an LSTM of 32 cells, profiles of a handful of signals.
const MODEL: u64 = 360_000;

/// How much a server holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Series that an expression reads.
    pub series: u64,
    /// Samples kept of all of them together.
    pub samples: u64,
    /// Targets that may breach.
    pub targets: u64,
    /// Services whose load is remembered.
    pub loads: u64,
    /// Services with a model.
    pub models: u64,
}

impl Footprint {
    /// Resident memory in bytes once the histories are full, which takes five days at a step of a minute.
    pub fn bytes(&self) -> u64 {
        PROCESS
            + self.series * (SERIES + SPARE_SAMPLES * SAMPLE)
            + self.samples * SAMPLE
            + self.targets * (TARGET + HISTORY)
            + self.loads * HISTORY
            + self.models * MODEL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_foretold_within_a_tenth() {
        // Half an hour of samples every 30 s, hardly any history yet: KiB as /proc told them.
        let young = |series: u64, targets: u64, samples: u64| {
            let held = Footprint { series, samples: series * samples, targets, loads: 0, models: 0 };
            held.bytes() - targets * HISTORY
        };
        for (measured, foretold) in [
            (66_228, young(20_000, 0, 21)),
            (211_148, young(200_000, 0, 20)),
            (78_756, young(20_000, 10_000, 21)),
            (332_748, young(200_000, 100_000, 20)),
        ] {
            assert_near(foretold, measured);
        }
        // Fed five days of a sample a minute.
        let full = Footprint { series: 2_000, samples: 2_000 * 11, targets: 1_000, loads: 0, models: 0 };
        assert_near(full.bytes(), 57_064);
    }

    fn assert_near(foretold: u64, measured_kib: u64) {
        let ratio = foretold as f64 / (measured_kib as f64 * 1024.0);
        assert!((0.9..1.1).contains(&ratio), "{measured_kib} KiB measured, {} foretold", foretold / 1024);
    }
}
