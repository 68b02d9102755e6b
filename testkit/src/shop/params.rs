//! What a shop is drawn from: its services, its time and what is planned to go wrong.

use std::time::Duration;

use forewarn_schema::{BreachKind, Timestamp};

use super::FaultPlan;

/// One service. All its pods are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSpec {
    /// Its name, also of the container.
    pub name: String,
    /// How many pods, at least 1.
    pub pods: usize,
    /// Requests a second of the whole service at a weekday's peak.
    pub peak_requests_per_second: f64,
    /// Memory limit of one pod, bytes.
    pub memory_limit_bytes: f64,
    /// Connections of one pod's pool.
    pub pool_max: f64,
}

impl ServiceSpec {
    /// Two pods of 512 MiB with 20 connections each.
    pub fn new(name: &str, peak_requests_per_second: f64) -> Self {
        Self {
            name: name.to_owned(),
            pods: 2,
            peak_requests_per_second,
            memory_limit_bytes: 512.0 * 1024.0 * 1024.0,
            pool_max: 20.0,
        }
    }
}

/// What [`super::Shop`] is drawn from.
#[derive(Clone, Debug, PartialEq)]
pub struct ShopParams {
    /// Same parameters, same bits.
    pub seed: u64,
    /// The first instant that can be scraped.
    pub start: Timestamp,
    /// How long the shop can be scraped.
    pub length: Duration,
    /// The services, names unique.
    pub services: Vec<ServiceSpec>,
    /// The nodes; each has the mount points `/` and `/data`.
    pub nodes: Vec<String>,
    /// Mean time between deployments of one service; zero for none.
    pub deploy_every: Duration,
    /// What goes wrong.
    pub faults: Vec<FaultPlan>,
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

impl ShopParams {
    /// Cart, checkout and catalog on two nodes, one deployment every three days, nothing goes wrong.
    pub fn quiet(seed: u64, start: Timestamp, length: Duration) -> Self {
        Self {
            seed,
            start,
            length,
            services: vec![
                ServiceSpec::new("cart", 60.0),
                ServiceSpec::new("checkout", 25.0),
                ServiceSpec::new("catalog", 120.0),
            ],
            nodes: vec!["node-1".to_owned(), "node-2".to_owned()],
            deploy_every: 3 * DAY,
            faults: Vec::new(),
        }
    }

    /// The demo's shop: 14 days of history from Monday 2026-01-05, with one fault of each kind in the
    /// past, then half a day in which a connection leak of cart and a memory leak of checkout, both
    /// begun shortly before [`ShopParams::demo_live_start`], run into their limits.
    pub fn demo(seed: u64) -> Self {
        let start = Timestamp::from_seconds(1_767_571_200);
        let live = Self::demo_live_start();
        let fault = |service: &str, kind, onset: Timestamp, takes: Duration| FaultPlan {
            service: service.to_owned(),
            pod: 0,
            kind,
            onset,
            takes,
        };
        let past = |day: u32, hour: u32| start + day * DAY + hour * HOUR;
        Self {
            faults: vec![
                fault("checkout", BreachKind::Oom, past(4, 9), 8 * HOUR),
                fault("cart", BreachKind::PoolExhaustion, past(7, 13), 4 * HOUR),
                fault("catalog", BreachKind::ErrorRate, past(8, 16), 2 * HOUR),
                fault("cart", BreachKind::PoolExhaustion, past(12, 10), 5 * HOUR),
                fault("checkout", BreachKind::Oom, past(12, 20), 6 * HOUR),
                fault("node-1", BreachKind::DiskFull, past(12, 6), 10 * HOUR),
                FaultPlan { pod: 1, ..fault("cart", BreachKind::PoolExhaustion, live - HOUR, 4 * HOUR) },
                FaultPlan { pod: 1, ..fault("checkout", BreachKind::Oom, live - 2 * HOUR, 6 * HOUR) },
            ],
            ..Self::quiet(seed, start, 14 * DAY + 12 * HOUR)
        }
    }

    /// Where the demo's history ends and its live part begins: Monday 2026-01-19 midnight.
    pub fn demo_live_start() -> Timestamp {
        Timestamp::from_seconds(1_767_571_200) + 14 * DAY
    }
}
