//! What a pull tells the one who waits for it.

/// Told of a pull as it goes. Called from one task at a time; must not block.
pub trait PullProgress: Send + Sync {
    /// Before the first request: how many windows will be fetched. A window is one expression over one part of a day.
    fn started(&self, windows: u64);
    /// After each window: rows fetched and Parquet bytes written so far in this pull.
    fn window_done(&self, rows: u64, bytes: u64);
    /// A request failed and will be made again. `attempt` is the number of the failed one, from 1.
    fn retrying(&self, what: &str, attempt: u32, error: &str);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl PullProgress for NoProgress {
    fn started(&self, _windows: u64) {}
    fn window_done(&self, _rows: u64, _bytes: u64) {}
    fn retrying(&self, _what: &str, _attempt: u32, _error: &str) {}
}
