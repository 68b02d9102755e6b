//! The signals that come with Forewarn, by preset.
//!
//! Metric names are those of kube-state-metrics and cAdvisor (`kubernetes`), HikariCP's Micrometer
//! binding (`hikaricp`), the usual HTTP server middleware (`http`), node_exporter (`node`) and
//! blackbox_exporter (`blackbox`). Those of `logs` are what a source of kind `logs` makes of log lines; `events` tells what happened to
//! containers.

use forewarn_schema::{BreachKind, Direction, Happening, SignalKind};

use crate::signal::{Signal, SignalLimit};

/// The names of the presets, in the order of the default configuration.
pub const NAMES: [&str; 5] = ["kubernetes", "hikaricp", "http", "node", "blackbox"];

/// The names of all presets: besides the default ones those that only some can use.
pub const ALL: [&str; 7] = ["kubernetes", "hikaricp", "http", "node", "blackbox", "logs", "events"];

/// What it means that the signal of this name rises: those of the preset `events` are read as things that happened, and by no model.
pub fn event(signal: &str) -> Option<Happening> {
    match signal {
        "event_oom_kills" | "event_oom_terminations" => Some(Happening::OomKilled),
        "event_restarts" => Some(Happening::Restarted),
        _ => None,
    }
}

/// The signals of one preset; `None` where there is no such preset.
pub fn preset(name: &str) -> Option<Vec<Signal>> {
    let signals = match name {
        "kubernetes" => vec![
            breach(
                "memory",
                BreachKind::Oom,
                r#"max by (service, pod) (container_memory_working_set_bytes{container!=""})"#,
                SignalLimit::Expression(
                    r#"max by (service, pod) (kube_pod_container_resource_limits{resource="memory"})"#.to_owned(),
                ),
                "restart-pod",
            ),
            context("replicas", r#"count by (service) (container_memory_working_set_bytes{container!=""})"#),
        ],
        "hikaricp" => vec![
            breach(
                "pool",
                BreachKind::PoolExhaustion,
                "max by (service, pod) (hikaricp_connections_active)",
                SignalLimit::Expression("max by (service, pod) (hikaricp_connections_max)".to_owned()),
                "restart-pod",
            ),
            context("pool_pending", "sum by (service) (hikaricp_connections_pending)"),
        ],
        "http" => vec![
            breach(
                "errors",
                BreachKind::ErrorRate,
                r#"sum by (service) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (service) (rate(http_requests_total[5m]))"#,
                SignalLimit::Number(0.05),
                "roll-back-deployment",
            ),
            context("traffic", "sum by (service) (rate(http_requests_total[5m]))"),
            context(
                "latency",
                "sum by (service) (rate(http_request_duration_seconds_sum[5m])) / sum by (service) (rate(http_request_duration_seconds_count[5m]))",
            ),
        ],
        "node" => vec![Signal {
            service: "node".to_owned(),
            direction: Direction::Below,
            ..breach(
                "disk",
                BreachKind::DiskFull,
                "min by (node, mountpoint) (node_filesystem_avail_bytes)",
                SignalLimit::Number(0.0),
                "expand-volume",
            )
        }],
        "blackbox" => vec![Signal {
            direction: Direction::Below,
            ..breach(
                "certificate",
                BreachKind::CertificateExpiry,
                "min by (service, instance) (probe_ssl_earliest_cert_expiry) - time()",
                SignalLimit::Number(0.0),
                "renew-certificate",
            )
        }],
        // `log_lines` holds counts of whole minutes, not a counter: a sum over five minutes is the lines in them. A service
        // that is silent for five minutes has no error rate.
        "logs" => vec![
            breach(
                "log_errors",
                BreachKind::ErrorRate,
                r#"sum by (service) (sum_over_time(log_lines{level=~"error|fatal"}[5m])) / (sum by (service) (sum_over_time(log_lines[5m])) > 0)"#,
                SignalLimit::Number(0.1),
                "roll-back-deployment",
            ),
            context("log_traffic", "sum by (service) (sum_over_time(log_lines[5m])) / 300"),
            context("log_novelty", "sum by (service) (sum_over_time(log_new_templates[15m]))"),
        ],
        // What cAdvisor and what kube-state-metrics says of the same thing.
        "events" => vec![
            context("event_oom_kills", "sum by (service, pod) (container_oom_events_total)"),
            context(
                "event_oom_terminations",
                r#"max by (service, pod) (kube_pod_container_status_last_terminated_reason{reason="OOMKilled"})"#,
            ),
            context("event_restarts", "sum by (service, pod) (kube_pod_container_status_restarts_total)"),
        ],
        _ => return None,
    };
    Some(signals)
}

fn breach(name: &str, kind: BreachKind, value: &str, limit: SignalLimit, playbook: &str) -> Signal {
    Signal {
        name: name.to_owned(),
        kind: SignalKind::Breach(kind),
        service: "service".to_owned(),
        value: value.to_owned(),
        limit: Some(limit),
        direction: Direction::Above,
        playbook: Some(playbook.to_owned()),
    }
}

fn context(name: &str, value: &str) -> Signal {
    Signal {
        name: name.to_owned(),
        kind: SignalKind::Context,
        service: "service".to_owned(),
        value: value.to_owned(),
        limit: None,
        direction: Direction::Above,
        playbook: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SignalSet;

    #[test]
    fn every_preset_parses_and_together_they_hold_every_kind() {
        let names: Vec<String> = ALL.iter().map(|n| (*n).to_owned()).collect();
        let set = SignalSet::new(&names, vec![]).unwrap();
        for kind in BreachKind::ALL.into_iter().filter(|k| *k != BreachKind::Custom) {
            assert!(set.iter().any(|s| s.kind == SignalKind::Breach(kind)), "no preset signal for {kind}");
        }
        assert!(NAMES.iter().all(|name| ALL.contains(name)));
        let events = preset("events").unwrap();
        assert!(events.iter().all(|signal| event(&signal.name).is_some()));
    }
}
