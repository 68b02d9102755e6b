//! A small shop: services with two pods each, a database pool, disks and certificates, scraped as
//! Prometheus would. Traffic follows the day and the week; deployments restart pods and reset their
//! counters; planned faults leak connections and memory, fail requests and fill disks, and the key
//! says when each began and when it reached its limit.
//!
//! Everything is settled at construction or is a function of the time, so `scrape(at)` depends on
//! nothing that was scraped before.

mod fault;
mod params;
mod workload;

use std::time::Duration;

use forewarn_schema::{LabelSet, METRIC_NAME, Sample, Series, Step, TimeRange, Timestamp};

pub use fault::{Fault, FaultPlan};
pub use params::{ServiceSpec, ShopParams};
use workload::{Disk, Workload};

/// See the module.
#[derive(Debug)]
pub struct Shop {
    params: ShopParams,
    workloads: Vec<Workload>,
    disks: Vec<Disk>,
    truth: Vec<Fault>,
    series: Vec<(LabelSet, Source)>,
}

/// Which value of which thing a series shows.
#[derive(Clone, Copy, Debug)]
enum Source {
    Pod { workload: usize, pod: usize, metric: PodMetric },
    DiskAvailable { disk: usize },
    DiskSize { disk: usize },
    CertificateExpiry { workload: usize },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum PodMetric {
    MemoryWorkingSet,
    MemoryLimit,
    PoolActive,
    PoolMax,
    PoolPending,
    RequestsOk,
    RequestsFailed,
    DurationSum,
    DurationCount,
}

impl Shop {
    /// Draws the shop: the same parameters give the same bits. A fault of a service, pod or node that
    /// the shop does not have, and one that never reaches its limit within the shop's time, is left out
    /// of the world and of the key.
    pub fn new(params: ShopParams) -> Self {
        let mut truth = Vec::new();
        let workloads: Vec<Workload> =
            (0..params.services.len()).map(|i| Workload::new(&params, i, &mut truth)).collect();
        let disks: Vec<Disk> = Disk::all(&params, &mut truth);
        truth.sort_by(|a, b| (a.onset, &a.service).cmp(&(b.onset, &b.service)));
        let mut shop = Self { params, workloads, disks, truth, series: Vec::new() };
        shop.series = shop.describe();
        shop.series.sort_by(|a, b| a.0.cmp(&b.0));
        shop
    }

    /// What it was drawn from.
    pub fn params(&self) -> &ShopParams {
        &self.params
    }

    /// From the first to past the last instant that it knows.
    pub fn range(&self) -> TimeRange {
        TimeRange { start: self.params.start, end: self.params.start + self.params.length }
    }

    /// What goes wrong and when, by onset.
    pub fn truth(&self) -> &[Fault] {
        &self.truth
    }

    /// When pods of `service` are restarted by a deployment (the first pod's time), in order.
    pub fn deploys(&self, service: &str) -> Vec<Timestamp> {
        self.workloads.iter().find(|w| w.name() == service).map(|w| w.deploys().to_vec()).unwrap_or_default()
    }

    /// Every series that is up at `at`, sorted by labels. Empty outside the shop's time.
    pub fn scrape(&self, at: Timestamp) -> Vec<(LabelSet, f64)> {
        self.series.iter().filter_map(|(labels, source)| Some((labels.clone(), self.value(*source, at)?))).collect()
    }

    /// Scrapes at `range.start`, `+ step`, … before `range.end`; series sorted by labels, series without
    /// a sample left out.
    pub fn samples(&self, range: TimeRange, step: Step) -> Vec<Series> {
        self.series
            .iter()
            .map(|(labels, source)| Series {
                labels: labels.clone(),
                samples: times(range, step.duration())
                    .filter_map(|at| Some(Sample { at, value: self.value(*source, at)? }))
                    .collect(),
            })
            .filter(|series| !series.samples.is_empty())
            .collect()
    }

    fn value(&self, source: Source, at: Timestamp) -> Option<f64> {
        if !self.range().contains(at) {
            return None;
        }
        match source {
            Source::Pod { workload, pod, metric } => self.workloads[workload].value(pod, metric, at),
            Source::DiskAvailable { disk } => Some(self.disks[disk].available_bytes(at)),
            Source::DiskSize { disk } => Some(self.disks[disk].size_bytes()),
            Source::CertificateExpiry { workload } => Some(self.workloads[workload].certificate_expiry().seconds()),
        }
    }

    fn describe(&self) -> Vec<(LabelSet, Source)> {
        let mut series = Vec::new();
        for (w, workload) in self.workloads.iter().enumerate() {
            let name = workload.name();
            for p in 0..workload.pods() {
                let pod_name = workload.pod_name(p);
                let base = LabelSet::from([("namespace", "shop"), ("service", name), ("pod", &pod_name)]);
                let mut add = |metric_name: &str, extra: &[(&str, &str)], metric| {
                    let mut labels = base.clone();
                    labels.insert(METRIC_NAME, metric_name);
                    for (k, v) in extra {
                        labels.insert(*k, *v);
                    }
                    series.push((labels, Source::Pod { workload: w, pod: p, metric }));
                };
                let container = ("container", name);
                let pool = ("pool", "orders-db");
                add("container_memory_working_set_bytes", &[container], PodMetric::MemoryWorkingSet);
                add(
                    "kube_pod_container_resource_limits",
                    &[container, ("resource", "memory"), ("unit", "byte")],
                    PodMetric::MemoryLimit,
                );
                add("hikaricp_connections_active", &[pool], PodMetric::PoolActive);
                add("hikaricp_connections_max", &[pool], PodMetric::PoolMax);
                add("hikaricp_connections_pending", &[pool], PodMetric::PoolPending);
                add("http_requests_total", &[("code", "200")], PodMetric::RequestsOk);
                add("http_requests_total", &[("code", "500")], PodMetric::RequestsFailed);
                add("http_request_duration_seconds_sum", &[], PodMetric::DurationSum);
                add("http_request_duration_seconds_count", &[], PodMetric::DurationCount);
            }
            let instance = format!("https://{name}.shop.example:443");
            series.push((
                LabelSet::from([
                    (METRIC_NAME, "probe_ssl_earliest_cert_expiry"),
                    ("instance", instance.as_str()),
                    ("job", "blackbox"),
                    ("service", name),
                ]),
                Source::CertificateExpiry { workload: w },
            ));
        }
        for (d, disk) in self.disks.iter().enumerate() {
            for (metric, source) in [
                ("node_filesystem_avail_bytes", Source::DiskAvailable { disk: d }),
                ("node_filesystem_size_bytes", Source::DiskSize { disk: d }),
            ] {
                let mut labels = disk.labels();
                labels.insert(METRIC_NAME, metric);
                labels.insert("fstype", "ext4");
                series.push((labels, source));
            }
        }
        series
    }
}

fn times(range: TimeRange, step: Duration) -> impl Iterator<Item = Timestamp> {
    std::iter::successors(Some(range.start), move |at| Some(*at + step)).take_while(move |at| range.contains(*at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forewarn_schema::BreachKind;

    fn shop() -> Shop {
        Shop::new(ShopParams::demo(7))
    }

    fn series<'a>(all: &'a [Series], metric: &str, label: &str, value: &str) -> &'a Series {
        all.iter()
            .find(|s| s.labels.get(METRIC_NAME) == Some(metric) && s.labels.get(label) == Some(value))
            .unwrap_or_else(|| panic!("no series {metric} with {label}={value}"))
    }

    #[test]
    fn same_seed_same_bits_and_no_memory_of_earlier_scrapes() {
        let (a, b) = (shop(), shop());
        let at = a.range().start + Duration::from_secs(5 * 86_400 + 1234);
        for _ in 0..3 {
            a.scrape(at + Duration::from_secs(77_777));
        }
        let bits = |s: &Shop| s.scrape(at).into_iter().map(|(l, v)| (l, v.to_bits())).collect::<Vec<_>>();
        assert_eq!(bits(&a), bits(&b));
        let other = Shop::new(ShopParams::demo(8));
        assert_ne!(bits(&a), bits(&other));
    }

    #[test]
    fn every_fault_reaches_its_limit_when_the_key_says_and_not_before() {
        let shop = shop();
        assert!(shop.truth().len() >= 5, "the demo plans at least five faults, got {:?}", shop.truth());
        for fault in shop.truth() {
            let range = TimeRange { start: fault.onset, end: fault.breach + Duration::from_secs(60) };
            let samples = shop.samples(range, Step::MINUTE);
            let (value, limit) = match fault.kind {
                BreachKind::Oom => ("container_memory_working_set_bytes", Some("kube_pod_container_resource_limits")),
                BreachKind::PoolExhaustion => ("hikaricp_connections_active", Some("hikaricp_connections_max")),
                BreachKind::DiskFull => ("node_filesystem_avail_bytes", None),
                _ => continue,
            };
            let own = |metric: &str| {
                let of = |s: &&Series| {
                    s.labels.get(METRIC_NAME) == Some(metric)
                        && fault.labels.iter().all(|(k, v)| s.labels.get(k) == Some(v))
                };
                samples.iter().find(of).unwrap_or_else(|| panic!("{metric} of {fault:?}")).clone()
            };
            let (values, limits) = (own(value), limit.map(own));
            for (i, sample) in values.samples.iter().enumerate() {
                let breached = match &limits {
                    Some(limits) => sample.value >= limits.samples[i].value,
                    None => sample.value <= 0.0,
                };
                assert_eq!(breached, sample.at >= fault.breach, "{fault:?} at {}", sample.at);
            }
        }
    }

    #[test]
    fn an_error_climb_crosses_five_percent_at_its_breach() {
        let shop = shop();
        let fault = shop.truth().iter().find(|f| f.kind == BreachKind::ErrorRate).unwrap();
        let ratio = |at: Timestamp| {
            let range = TimeRange { start: at - Duration::from_secs(300), end: at + Duration::from_secs(1) };
            let all = shop.samples(range, Step::MINUTE);
            let grown = |code: &str| -> f64 {
                all.iter()
                    .filter(|s| s.labels.get("service") == Some(&fault.service) && s.labels.get("code") == Some(code))
                    .map(|s| s.samples.last().unwrap().value - s.samples[0].value)
                    .sum()
            };
            grown("500") / (grown("500") + grown("200"))
        };
        assert!(ratio(fault.onset) < 0.02);
        let half_way = fault.onset + Duration::from_secs_f64(fault.breach.seconds_since(fault.onset) / 2.0);
        assert!(ratio(half_way) < 0.05);
        // The key is of the rate over five minutes, as the preset reads it; counts are whole numbers.
        assert!(ratio(fault.breach) > 0.045, "{}", ratio(fault.breach));
        assert!(ratio(fault.breach + Duration::from_secs(600)) > 0.05);
    }

    #[test]
    fn a_deployment_resets_counters_and_leaves_a_gap() {
        let shop = shop();
        let deploy = shop.deploys("catalog")[0];
        let minute = Duration::from_secs(60);
        let range = TimeRange { start: deploy - 5 * minute, end: deploy + 10 * minute };
        let all = shop.samples(range, Step::new(Duration::from_secs(15)).unwrap());
        let counter = series(&all, "http_request_duration_seconds_count", "pod", "catalog-0");
        assert!(counter.samples.windows(2).any(|w| w[1].value < w[0].value), "no reset");
        assert!(counter.samples.windows(2).any(|w| w[1].at.seconds_since(w[0].at) > 15.0), "no gap");
    }

    #[test]
    fn traffic_is_quieter_at_night_and_at_the_weekend() {
        let shop = shop();
        let start = shop.range().start;
        // The demo starts on a Monday at midnight.
        let served = |day: u64, hour: u64| {
            let at = start + Duration::from_secs(day * 86_400 + hour * 3600);
            let range = TimeRange { start: at, end: at + Duration::from_secs(601) };
            let all = shop.samples(range, Step::new(Duration::from_secs(600)).unwrap());
            let s = series(&all, "http_request_duration_seconds_count", "pod", "cart-0");
            s.samples[1].value - s.samples[0].value
        };
        assert!(served(1, 15) > 2.0 * served(1, 3));
        assert!(served(1, 15) > 1.15 * served(5, 15));
    }
}
