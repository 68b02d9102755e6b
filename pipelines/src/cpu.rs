//! Processor time that this process has used.

/// The kernel counts in hundredths of a second towards programs, whatever it counts in itself.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds, of all threads together, user and system; `None` where the system does not tell.
pub(crate) fn seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name comes second, in brackets, and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn work_takes_processor_time() {
        let before = super::seconds().unwrap();
        let started = std::time::Instant::now();
        let mut x = 1_u64;
        while started.elapsed() < std::time::Duration::from_millis(300) {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
        let taken = super::seconds().unwrap() - before;
        assert!(taken > 0.0 && taken < 60.0, "{taken}");
    }
}
