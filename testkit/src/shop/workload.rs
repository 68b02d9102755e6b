//! One service's pods, and one node's disks: how their values follow from traffic, restarts and faults.

use std::time::Duration;

use forewarn_schema::{BreachKind, LabelSet, Timestamp};

use super::fault::{Fault, FaultPlan, first_minute, repair_time};
use super::{PodMetric, ServiceSpec, ShopParams};
use crate::noise::{Noise, stream};

/// How long a restarting pod shows no metrics, seconds.
const DOWN_SECONDS: u64 = 45;
/// From one pod of a deployment to the next, seconds.
const ROLLOUT_SECONDS: u64 = 120;
const MINUTE_MILLIS: i64 = 60_000;

#[derive(Debug)]
pub(super) struct Workload {
    spec: ServiceSpec,
    start: Timestamp,
    noise: Noise,
    deploys: Vec<Timestamp>,
    leaks: Vec<Leak>,
    pods: Vec<Pod>,
    certificate_expiry: Timestamp,
}

/// A pod's restarts and its counters as they would stand without any restart, at each minute.
#[derive(Debug)]
struct Pod {
    /// When it went down, in order; it is up again [`DOWN_SECONDS`] later with counters at zero.
    restarts: Vec<Timestamp>,
    requests: Vec<f64>,
    failures: Vec<f64>,
    duration_seconds: Vec<f64>,
}

#[derive(Debug)]
struct Leak {
    plan: FaultPlan,
    /// Until then it acts; the restart that ends it is in the pod's list.
    end: Timestamp,
}

impl Workload {
    pub(super) fn new(params: &ShopParams, index: usize, truth: &mut Vec<Fault>) -> Self {
        let spec = params.services[index].clone();
        let noise = Noise::new(params.seed ^ stream(&["service", &spec.name]));
        let pods = (0..spec.pods)
            .map(|_| Pod { restarts: vec![], requests: vec![], failures: vec![], duration_seconds: vec![] })
            .collect();
        let days = 45 + (noise.uniform(stream(&["certificate"]), 0) * 45.0) as u64;
        let mut workload = Self {
            spec,
            start: params.start,
            noise,
            deploys: Vec::new(),
            leaks: Vec::new(),
            pods,
            certificate_expiry: params.start + params.length + Duration::from_secs(days * 86_400),
        };
        workload.plan_deploys(params);
        workload.settle_faults(params, truth);
        for pod in &mut workload.pods {
            pod.restarts.sort();
        }
        workload.count(params);
        workload
    }

    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(super) fn pods(&self) -> usize {
        self.spec.pods
    }

    pub(super) fn pod_name(&self, pod: usize) -> String {
        format!("{}-{pod}", self.spec.name)
    }

    pub(super) fn deploys(&self) -> &[Timestamp] {
        &self.deploys
    }

    pub(super) fn certificate_expiry(&self) -> Timestamp {
        self.certificate_expiry
    }

    /// `None` while the pod is down.
    pub(super) fn value(&self, pod: usize, metric: PodMetric, at: Timestamp) -> Option<f64> {
        // What the cluster says of a pod does not go away while the pod restarts.
        if matches!(metric, PodMetric::MemoryLimit) {
            return Some(self.spec.memory_limit_bytes);
        }
        let up_since = self.up_since(pod, at)?;
        let counters = &self.pods[pod];
        let since_start = |counts: &[f64]| self.interpolate(counts, at) - self.interpolate(counts, up_since);
        Some(match metric {
            PodMetric::MemoryWorkingSet => self.memory_bytes(pod, at, up_since).floor(),
            PodMetric::MemoryLimit => self.spec.memory_limit_bytes,
            PodMetric::PoolActive => self.pool_active(pod, at),
            PodMetric::PoolMax => self.spec.pool_max,
            PodMetric::PoolPending => self.pool_pending(pod, at),
            // Whole requests, and no more failures than requests.
            PodMetric::RequestsOk => (since_start(&counters.requests) - since_start(&counters.failures)).floor(),
            PodMetric::RequestsFailed => since_start(&counters.failures).floor(),
            PodMetric::DurationSum => since_start(&counters.duration_seconds),
            PodMetric::DurationCount => since_start(&counters.requests).floor(),
        })
    }

    fn plan_deploys(&mut self, params: &ShopParams) {
        let every = params.deploy_every.as_secs();
        if every == 0 {
            return;
        }
        let in_a_fault = |at: Timestamp| {
            params.faults.iter().any(|f| {
                let near = Duration::from_secs(3600);
                f.service == self.spec.name && at + near > f.onset && at < f.onset + 4 * f.takes + near
            })
        };
        let periods = params.length.as_secs() / every;
        for k in 0..periods {
            // In working hours of a random day of each period, on a whole minute.
            let draw = |name| self.noise.uniform(stream(&["deploy", name]), k.cast_signed());
            let day = (draw("day") * (every as f64 / 86_400.0).max(1.0)).floor() as u64;
            let minute = 9 * 60 + (draw("minute") * 8.0 * 60.0) as u64;
            let at = params.start + Duration::from_secs(k * every + day * 86_400 + minute * 60);
            if at < params.start + params.length && !in_a_fault(at) {
                self.deploys.push(at);
            }
        }
        for (p, pod) in self.pods.iter_mut().enumerate() {
            pod.restarts.extend(self.deploys.iter().map(|d| *d + Duration::from_secs(ROLLOUT_SECONDS * p as u64)));
        }
    }

    fn settle_faults(&mut self, params: &ShopParams, truth: &mut Vec<Fault>) {
        let mut plans: Vec<&FaultPlan> = params.faults.iter().filter(|f| f.service == self.spec.name).collect();
        plans.sort_by_key(|f| f.onset);
        let forever = params.start + params.length;
        for plan in plans {
            let whole_service = plan.kind == BreachKind::ErrorRate;
            let known = matches!(plan.kind, BreachKind::Oom | BreachKind::PoolExhaustion) && plan.pod < self.pods.len();
            if !known && !whole_service {
                continue;
            }
            self.leaks.push(Leak { plan: plan.clone(), end: forever });
            let breach = first_minute(plan, |at| self.is_breached(plan, at)).filter(|at| *at < forever);
            let Some(breach) = breach else {
                self.leaks.pop();
                continue;
            };
            let end = breach + repair_time(plan.kind);
            // The killed pod is seen at its limit once, so that the breach is in the data.
            let restart = end + Duration::from_secs(1);
            if let Some(leak) = self.leaks.last_mut() {
                leak.end = restart;
            }
            let labels = if whole_service {
                self.pods.iter_mut().for_each(|p| p.restarts.push(restart));
                LabelSet::new()
            } else {
                self.pods[plan.pod].restarts.push(restart);
                LabelSet::from([("pod", self.pod_name(plan.pod))])
            };
            truth.push(Fault {
                service: self.spec.name.clone(),
                kind: plan.kind,
                labels,
                onset: plan.onset,
                breach,
                end,
            });
        }
    }

    fn is_breached(&self, plan: &FaultPlan, at: Timestamp) -> bool {
        match plan.kind {
            BreachKind::Oom => {
                let up_since = self.up_since(plan.pod, at).unwrap_or(at);
                self.memory_bytes(plan.pod, at, up_since).floor() >= self.spec.memory_limit_bytes
            }
            BreachKind::PoolExhaustion => self.pool_active(plan.pod, at) >= self.spec.pool_max,
            // The rate over five minutes lags its middle by half of that.
            _ => self.error_ratio(at - Duration::from_secs(150)) >= 0.05,
        }
    }

    /// How far the faults of `kind` (of `pod`, where they are of a pod) have come at `at`: 0 before the
    /// onset, 1 at about the planned breach, and on.
    fn leaked(&self, kind: BreachKind, pod: usize, at: Timestamp) -> f64 {
        let acting = |leak: &&Leak| {
            let here = leak.plan.pod == pod || kind == BreachKind::ErrorRate;
            leak.plan.kind == kind && here && leak.plan.onset <= at && at < leak.end
        };
        self.leaks
            .iter()
            .filter(acting)
            .map(|leak| at.seconds_since(leak.plan.onset) / leak.plan.takes.as_secs_f64())
            .fold(0.0, f64::max)
    }

    /// Share of the peak, about 0.2 at night to 1.1.
    fn load(&self, at: Timestamp) -> f64 {
        traffic_shape(at)
            * (1.0 + 0.05 * self.noise.smooth(stream(&["load", "slow"]), at, 1200.0))
            * (1.0 + 0.03 * self.noise.smooth(stream(&["load", "fast"]), at, 120.0))
    }

    fn memory_bytes(&self, pod: usize, at: Timestamp, up_since: Timestamp) -> f64 {
        let limit = self.spec.memory_limit_bytes;
        let name = self.pod_name(pod);
        let warm_up = 1.0 - (-at.seconds_since(up_since) / 1800.0).exp();
        let wobble = self.noise.smooth(stream(&["memory", &name]), at, 300.0);
        let normal = 0.30 + 0.10 * warm_up + 0.10 * self.load(at) + 0.012 * wobble;
        let leak = 0.5 * self.leaked(BreachKind::Oom, pod, at);
        (limit * (normal + leak)).clamp(0.0, limit)
    }

    fn pool_active(&self, pod: usize, at: Timestamp) -> f64 {
        let name = self.pod_name(pod);
        let wobble = self.noise.smooth(stream(&["pool", &name]), at, 90.0);
        let busy = self.spec.pool_max * (0.05 + 0.25 * self.load(at) + 0.025 * wobble);
        let leaked = self.spec.pool_max * 0.8 * self.leaked(BreachKind::PoolExhaustion, pod, at);
        (busy + leaked).round().clamp(0.0, self.spec.pool_max)
    }

    fn pool_pending(&self, pod: usize, at: Timestamp) -> f64 {
        let over = self.pool_active(pod, at) - 0.9 * self.spec.pool_max;
        (over * 2.0).round().max(0.0)
    }

    fn error_ratio(&self, at: Timestamp) -> f64 {
        let normal = 0.003 * (1.0 + 0.4 * self.noise.smooth(stream(&["errors"]), at, 600.0)).max(0.0);
        normal + 0.047 * self.leaked(BreachKind::ErrorRate, 0, at).min(1.6)
    }

    fn latency_seconds(&self, at: Timestamp) -> f64 {
        let wobble = self.noise.smooth(stream(&["latency"]), at, 300.0);
        0.040 + 0.060 * self.load(at) * (1.0 + 0.06 * wobble)
    }

    /// Fills the running totals, minute by minute.
    fn count(&mut self, params: &ShopParams) {
        let minutes = params.length.as_secs() / 60 + 1;
        let mut totals = (0.0, 0.0, 0.0);
        let mut columns = (vec![0.0], vec![0.0], vec![0.0]);
        for m in 0..minutes {
            let middle = params.start + Duration::from_secs(60 * m + 30);
            let requests = 60.0 * self.spec.peak_requests_per_second * self.load(middle) / self.spec.pods as f64;
            totals.0 += requests;
            totals.1 += requests * self.error_ratio(middle);
            totals.2 += requests * self.latency_seconds(middle);
            columns.0.push(totals.0);
            columns.1.push(totals.1);
            columns.2.push(totals.2);
        }
        for pod in &mut self.pods {
            (pod.requests, pod.failures, pod.duration_seconds) = columns.clone();
        }
    }

    fn interpolate(&self, totals: &[f64], at: Timestamp) -> f64 {
        let millis = at.millis().saturating_sub(self.start.millis()).max(0);
        let minute = usize::try_from(millis / MINUTE_MILLIS).unwrap_or(usize::MAX).min(totals.len().saturating_sub(2));
        let part = ((millis - minute as i64 * MINUTE_MILLIS) as f64 / MINUTE_MILLIS as f64).min(1.0);
        totals[minute] + (totals[minute + 1] - totals[minute]) * part
    }

    /// When the pod that is up at `at` came up; `None` while it is down. Pods are older than the shop.
    fn up_since(&self, pod: usize, at: Timestamp) -> Option<Timestamp> {
        let restarts = &self.pods[pod].restarts;
        // Not yet sorted while faults are being settled, and short: look at them all.
        let last = restarts.iter().filter(|r| **r <= at).max();
        match last {
            None => Some(self.start - Duration::from_secs(86_400)),
            Some(restart) => Some(*restart + Duration::from_secs(DOWN_SECONDS)).filter(|up| *up <= at),
        }
    }
}

/// A weekday's and a weekend's shape, 0.2..1: quiet at night, a shoulder in the morning, the peak in the
/// afternoon (UTC).
fn traffic_shape(at: Timestamp) -> f64 {
    let day = at.seconds() / 86_400.0;
    let hour = day.rem_euclid(1.0) * 24.0;
    let bump = |peak: f64, sharpness: f64| {
        let angle = (hour - peak) / 24.0 * std::f64::consts::TAU;
        (sharpness * (angle.cos() - 1.0)).exp()
    };
    // 1970-01-01 was a Thursday.
    let weekday = (day.floor() as i64 + 3).rem_euclid(7);
    let week = if weekday >= 5 { 0.75 } else { 1.0 };
    week * (0.2 + 0.25 * bump(9.5, 6.0) + 0.65 * bump(15.5, 1.8))
}

#[derive(Debug)]
pub(super) struct Disk {
    node: String,
    mountpoint: &'static str,
    noise: Noise,
    faults: Vec<(FaultPlan, Timestamp)>,
}

const DISK_BYTES: f64 = 100.0 * 1024.0 * 1024.0 * 1024.0;
const MOUNTPOINTS: [&str; 2] = ["/data", "/"];

impl Disk {
    pub(super) fn all(params: &ShopParams, truth: &mut Vec<Fault>) -> Vec<Self> {
        let mut disks = Vec::new();
        for node in &params.nodes {
            for (m, mountpoint) in MOUNTPOINTS.into_iter().enumerate() {
                let noise = Noise::new(params.seed ^ stream(&["disk", node, mountpoint]));
                let mut disk = Self { node: node.clone(), mountpoint, noise, faults: Vec::new() };
                let mine = |f: &&FaultPlan| f.kind == BreachKind::DiskFull && f.service == *node && f.pod == m;
                for plan in params.faults.iter().filter(mine) {
                    disk.settle(plan, params.start + params.length, truth);
                }
                disks.push(disk);
            }
        }
        disks
    }

    pub(super) fn labels(&self) -> LabelSet {
        LabelSet::from([("node", self.node.as_str()), ("mountpoint", self.mountpoint)])
    }

    pub(super) fn size_bytes(&self) -> f64 {
        DISK_BYTES
    }

    pub(super) fn available_bytes(&self, at: Timestamp) -> f64 {
        // Logs grow until the nightly rotation; on top of that what a fault writes.
        let logs = 0.04 * (at.seconds() / 86_400.0).rem_euclid(1.0);
        let wobble = 0.002 * self.noise.smooth(1, at, 900.0);
        let acting = |f: &&(FaultPlan, Timestamp)| f.0.onset <= at && at < f.1;
        let filled: f64 = self
            .faults
            .iter()
            .filter(acting)
            .map(|(plan, _)| 0.55 * at.seconds_since(plan.onset) / plan.takes.as_secs_f64())
            .sum();
        (DISK_BYTES * (0.60 - logs - wobble - filled)).floor().max(0.0)
    }

    fn settle(&mut self, plan: &FaultPlan, forever: Timestamp, truth: &mut Vec<Fault>) {
        self.faults.push((plan.clone(), forever));
        let breach = first_minute(plan, |at| self.available_bytes(at) <= 0.0).filter(|at| *at < forever);
        let Some(breach) = breach else {
            self.faults.pop();
            return;
        };
        let end = breach + repair_time(plan.kind);
        if let Some(fault) = self.faults.last_mut() {
            fault.1 = end;
        }
        truth.push(Fault {
            service: self.node.clone(),
            kind: plan.kind,
            labels: self.labels(),
            onset: plan.onset,
            breach,
            end,
        });
    }
}
