//! An exporter that leaks: a small HTTP server whose `/metrics` shows one pod's connection pool filling
//! up, for a real Prometheus to scrape.

use std::io;
use std::time::{Duration, Instant};

use crate::http::{Response, TinyServer};

/// What the exporter shows.
#[derive(Clone, Debug, PartialEq)]
pub struct LeakParams {
    /// Value of the labels `service` and, with `-0` after it, `pod`.
    pub service: String,
    /// Connections in use before the leak and while it has not begun.
    pub normal: f64,
    /// The pool's size.
    pub limit: f64,
    /// How long it stays normal after the start.
    pub onset: Duration,
    /// Connections leaked a second from then on.
    pub per_second: f64,
}

/// The running exporter; stops when dropped.
#[derive(Debug)]
pub struct LeakingExporter {
    server: TinyServer,
}

impl LeakingExporter {
    /// Starts on a spare loopback port; the leak's clock is the real one.
    pub fn start(params: LeakParams) -> io::Result<Self> {
        let started = Instant::now();
        let server = TinyServer::start(move |_| Response::text(metrics(&params, started.elapsed())))?;
        Ok(Self { server })
    }

    /// `127.0.0.1:PORT`, as a scrape target is written.
    pub fn target(&self) -> String {
        self.server.addr().to_string()
    }
}

/// The text that is served `elapsed` after the start.
pub fn metrics(params: &LeakParams, elapsed: Duration) -> String {
    let leaking = elapsed.saturating_sub(params.onset).as_secs_f64();
    // A ripple of one connection, so that the series is not suspiciously still.
    let ripple = (elapsed.as_secs_f64() * 0.7).sin();
    let active = (params.normal + ripple + leaking * params.per_second).round().clamp(0.0, params.limit);
    let labels = format!("{{service=\"{0}\",pod=\"{0}-0\"}}", params.service);
    format!(
        "# HELP hikaricp_connections_active Connections in use.\n\
         # TYPE hikaricp_connections_active gauge\n\
         hikaricp_connections_active{labels} {active}\n\
         # HELP hikaricp_connections_max Size of the pool.\n\
         # TYPE hikaricp_connections_max gauge\n\
         hikaricp_connections_max{labels} {}\n\
         # HELP hikaricp_connections_pending Threads that wait for a connection.\n\
         # TYPE hikaricp_connections_pending gauge\n\
         hikaricp_connections_pending{labels} 0\n",
        params.limit
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_fills_up_and_stays_full() {
        let params = LeakParams {
            service: "cart".to_owned(),
            normal: 10.0,
            limit: 50.0,
            onset: Duration::from_secs(10),
            per_second: 1.0,
        };
        let active = |s| {
            let text = metrics(&params, Duration::from_secs(s));
            let line = text.lines().find(|l| l.starts_with("hikaricp_connections_active{")).unwrap().to_owned();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert!((9.0..=11.0).contains(&active(5)));
        assert!((29.0..=31.0).contains(&active(30)));
        assert_eq!(active(500), 50.0);
    }
}
