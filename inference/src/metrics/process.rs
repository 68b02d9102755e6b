//! What the operating system says of this process. Nothing where it is not Linux.

/// Memory that is in use, in bytes.
pub(super) fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_uses_some_memory() {
        let bytes = super::resident_bytes().unwrap();
        assert!((1e6..1e12).contains(&bytes), "{bytes}");
    }
}
