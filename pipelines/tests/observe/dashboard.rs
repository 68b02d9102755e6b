//! The Grafana dashboard, made from a list of panels: what each asks for may only name metrics that the server has.

use serde_json::{Value, json};

/// Grafana's grid.
const WIDTH: u32 = 24;

/// What a panel shows: title, what the numbers are (Grafana's name of a unit), queries with their legends, a sentence.
struct Panel(&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

const FILTER: &str = r#"service=~"$service""#;

/// Rows of panels; each row is as wide as the page.
const ROWS: &[(&str, &[Panel])] = &[
    (
        "What will breach",
        &[
            Panel(
                "Time to breach",
                "s",
                &[(
                    r#"forewarn_time_to_breach_seconds{FILTER,quantile="0.5"}"#,
                    "{{service}} {{kind}} {{pod}}{{mountpoint}}",
                )],
                "Median until the limit is reached; absent while no breach is in sight.",
            ),
            Panel(
                "Breach probability",
                "percentunit",
                &[(
                    "topk(20, forewarn_breach_probability{FILTER} > 0.05)",
                    "{{service}} {{kind}} {{pod}}{{mountpoint}}",
                )],
                "That the limit is reached within the prediction's horizon; the twenty likeliest.",
            ),
            Panel(
                "Anomaly score",
                "percentunit",
                &[("topk(20, forewarn_anomaly_score{FILTER})", "{{service}}")],
                "The share of normal steps that look less unusual; the twenty strangest services.",
            ),
        ],
    ),
    (
        "Requests",
        &[
            Panel(
                "Requests emitted a day",
                "short",
                &[
                    ("sum by (kind, mode) (increase(forewarn_requests_total[1d]))", "{{kind}} {{mode}}"),
                    ("sum by (reason) (increase(forewarn_requests_held_back_total[1d]))", "held back: {{reason}}"),
                ],
                "By kind and mode, and what kept others back.",
            ),
            Panel(
                "Waiting",
                "short",
                &[("forewarn_requests_open", "for a decision"), ("forewarn_outbox_pending", "for delivery")],
                "Requests that nobody has decided, and messages in the outbox.",
            ),
            Panel(
                "Held back now",
                "short",
                &[
                    ("sum by (reason) (forewarn_requests_held)", "{{reason}}"),
                    ("max(forewarn_requests_stopped)", "stopped by somebody"),
                ],
                "Requests that are due and wait for what holds them back.",
            ),
            Panel(
                "Messages",
                "short",
                &[(r#"sum by (state) (forewarn_outbox_messages{state!="delivered"})"#, "{{state}}")],
                "That wait, and that did not arrive.",
            ),
            Panel(
                "Alertmanagers",
                "short",
                &[
                    ("forewarn_alertmanager_up", "{{alertmanager}}"),
                    ("sum by (result) (rate(forewarn_alertmanager_tellings_total[5m])) * 60", "{{result}} a minute"),
                ],
                "1: took what it was told last.",
            ),
            Panel(
                "Oldest message in the outbox",
                "s",
                &[("forewarn_outbox_oldest_seconds", "{{instance}}")],
                "How long the oldest request has waited for its webhook.",
            ),
            Panel(
                "Deliveries a minute",
                "short",
                &[("sum by (result) (rate(forewarn_deliveries_total[5m])) * 60", "{{result}}")],
                "Tries, by how they ended.",
            ),
            Panel(
                "Labels and alerts a day",
                "short",
                &[
                    ("sum by (verdict) (increase(forewarn_labels_total[1d]))", "label {{verdict}}"),
                    ("sum by (result) (increase(forewarn_alerts_total[1d]))", "alert {{result}}"),
                ],
                "What people, programs and Alertmanager said.",
            ),
        ],
    ),
    (
        "Autonomy",
        &[
            Panel(
                "How far playbooks may act",
                "short",
                &[("max by (service, playbook) (forewarn_autonomy_mode{FILTER})", "{{service}} {{playbook}}")],
                "Dry run (0), approval (1), automatic (2).",
            ),
            Panel(
                "Successes on the way",
                "short",
                &[("max by (service, playbook) (forewarn_autonomy_verified{FILTER})", "{{service}} {{playbook}}")],
                "That the forecast verified, since the playbook stands on its rung.",
            ),
            Panel(
                "What came of requests",
                "short",
                &[("max by (finding) (forewarn_verifications)", "{{finding}}")],
                "As the forecast saw it afterwards; watched: not known yet.",
            ),
        ],
    ),
    (
        "What really happened",
        &[
            Panel(
                "Announced and right",
                "percentunit",
                &[
                    (r#"forewarn_rolling_recall{window="28d"}"#, "{{kind}}: breaches announced in time"),
                    (r#"forewarn_rolling_precision{window="28d"}"#, "{{kind}}: requests that were right"),
                ],
                "Of four weeks, settled from the data; a label outweighs it.",
            ),
            Panel(
                "False alarms a week",
                "short",
                &[(r#"forewarn_rolling_false_alarms_per_week{window="7d"}"#, "{{kind}}")],
                "Requests that came to nothing.",
            ),
            Panel(
                "Lead",
                "s",
                &[(r#"forewarn_rolling_lead_seconds{window="28d"}"#, "{{kind}}")],
                "How long before their breaches the requests came, the median.",
            ),
            Panel(
                "Times to breach",
                "percentunit",
                &[
                    (r#"forewarn_rolling_interval_coverage{window="28d"}"#, "{{kind}}: within the interval"),
                    (r#"forewarn_rolling_time_error_ratio{window="28d"}"#, "{{kind}}: off by"),
                ],
                "An honest interval holds the truth in 80 % of cases.",
            ),
            Panel(
                "Cases",
                "short",
                &[(r#"forewarn_rolling_cases{window="28d"}"#, "{{kind}} {{of}}")],
                "Of how many the figures are made.",
            ),
            Panel(
                "Settled a day",
                "short",
                &[
                    ("sum by (was) (increase(forewarn_settlements_total[1d]))", "{{was}}"),
                    ("forewarn_unsettled", "{{instance}}: waiting"),
                ],
                "Predictions and missed breaches.",
            ),
        ],
    ),
    (
        "Ingest",
        &[
            Panel(
                "Samples a second",
                "short",
                &[
                    ("sum(rate(forewarn_samples_kept_total[5m]))", "kept"),
                    ("sum(rate(forewarn_samples_unwanted_total[5m]))", "wanted by no signal"),
                    ("sum by (reason) (rate(forewarn_samples_refused_total[5m]))", "refused: {{reason}}"),
                ],
                "What came over remote write.",
            ),
            Panel(
                "Remote writes a second",
                "reqps",
                &[
                    ("sum by (code) (rate(forewarn_write_requests_total[5m]))", "{{code}}"),
                    ("sum by (reason) (rate(forewarn_http_requests_turned_away_total[5m]))", "turned away: {{reason}}"),
                ],
                "By status.",
            ),
            Panel("Decoders busy", "short", &[("forewarn_write_decoders_busy", "{{instance}}")], "Of four."),
            Panel(
                "Series in memory",
                "short",
                &[
                    ("forewarn_live_series", "{{instance}}"),
                    ("forewarn_series_full", "{{instance}} has no room for more"),
                ],
                "Up to the cap.",
            ),
            Panel(
                "Pull",
                "s",
                &[
                    ("forewarn_pull_lag_seconds", "{{instance}}: age of the newest fetch"),
                    ("forewarn_pull_up", "{{instance}} reaches its source"),
                    ("rate(forewarn_pull_failures_total[5m])", "{{instance}}: failures a second"),
                ],
                "Where samples are fetched and not waited for.",
            ),
        ],
    ),
    (
        "Scoring and models",
        &[
            Panel(
                "Age of the last step",
                "s",
                &[("forewarn_scoring_lag_seconds", "{{instance}}")],
                "Between a step's length and twice that while all is well.",
            ),
            Panel(
                "Step duration",
                "s",
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(forewarn_step_duration_seconds_bucket[15m])))",
                        "median",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(forewarn_step_duration_seconds_bucket[15m])))",
                        "99 %",
                    ),
                ],
                "To evaluate, score and store a step.",
            ),
            Panel(
                "Steps a minute",
                "short",
                &[
                    ("sum(rate(forewarn_steps_evaluated_total[5m])) * 60", "evaluated"),
                    ("sum(rate(forewarn_steps_failed_total[5m])) * 60", "failed"),
                    ("sum(rate(forewarn_state_failures_total[5m])) * 60", "not stored at first"),
                ],
                "One a minute by default.",
            ),
            Panel(
                "Model age",
                "s",
                &[("topk(20, forewarn_model_age_seconds{FILTER})", "{{service}}")],
                "Since the end of the data that a model was trained on; the twenty oldest.",
            ),
            Panel(
                "Last weekly job",
                "s",
                &[("max(forewarn_last_run_age_seconds{FILTER})", "ago")],
                "Since the weekly job began that was last done whole; nothing where it never was.",
            ),
            Panel(
                "Drifted signals",
                "short",
                &[("forewarn_drifted_signals{FILTER} > 0", "{{service}}")],
                "That moved much since the training, by the newest evaluation.",
            ),
            Panel(
                "Thresholds that moved",
                "percentunit",
                &[("forewarn_threshold_min_probability{FILTER}", "{{service}} {{kind}}")],
                "From which probability on a breach is announced, where labels moved that; without a service: the fleet's.",
            ),
            Panel(
                "Models",
                "short",
                &[
                    ("count(forewarn_model_info)", "services with a model"),
                    ("count(forewarn_shadow_info)", "services with a challenger"),
                    ("sum(increase(forewarn_models_refused_total[1d]))", "refused in a day"),
                ],
                "The others are served by rules.",
            ),
        ],
    ),
    (
        "Server",
        &[
            Panel(
                "Ready",
                "short",
                &[
                    ("forewarn_ready", "{{instance}}"),
                    ("count by (version) (forewarn_build_info)", "version {{version}}"),
                ],
                "1: takes samples and stores what it decides.",
            ),
            Panel("Targets", "short", &[("forewarn_targets", "{{instance}}")], "With a prediction now."),
            Panel(
                "Memory",
                "bytes",
                &[
                    (r#"process_resident_memory_bytes and on (instance, job) forewarn_ready"#, "{{instance}}"),
                    ("forewarn_memory_foretold_bytes", "{{instance}} once histories are full"),
                ],
                "Resident.",
            ),
            Panel(
                "Leader and door",
                "short",
                &[
                    ("forewarn_leads", "{{instance}} leads"),
                    ("increase(forewarn_door_reloads_total[1d])", "{{instance}} files {{result}} in a day"),
                ],
                "Of several servers on one database one asks and delivers; certificates and web.yml that changed.",
            ),
        ],
    ),
];

/// Every query, as it stands in the dashboard.
pub(crate) fn queries() -> Vec<String> {
    let panels = ROWS.iter().flat_map(|(_, panels)| panels.iter());
    panels.flat_map(|panel| panel.2.iter().map(|(query, _)| query.replace("FILTER", FILTER))).collect()
}

/// The dashboard, for Grafana 9 and later, as `grafana/forewarn.json` has it.
pub(crate) fn dashboard() -> Value {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let mut panels = Vec::new();
    let (mut id, mut top) = (0, 0);
    for (title, row) in ROWS {
        id += 1;
        panels.push(json!({"id": id, "type": "row", "title": title, "collapsed": false,
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}, "panels": []}));
        top += 1;
        let a_line = if row.len() % 3 == 0 { 3 } else { 2 };
        for (i, Panel(title, unit, queries, description)) in row.iter().enumerate() {
            id += 1;
            let (column, line) = (i as u32 % a_line, i as u32 / a_line);
            let targets: Vec<Value> = queries
                .iter()
                .zip('A'..)
                .map(|((query, legend), name)| {
                    json!({"refId": name.to_string(), "datasource": source, "expr": query.replace("FILTER", FILTER), "legendFormat": legend})
                })
                .collect();
            panels.push(json!({
                "id": id,
                "type": "timeseries",
                "title": title,
                "description": description,
                "datasource": source,
                "gridPos": {"x": column * WIDTH / a_line, "y": top + line * 8, "w": WIDTH / a_line, "h": 8},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"lineWidth": 2, "fillOpacity": 8}}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
                "targets": targets,
            }));
        }
        top += (row.len() as u32).div_ceil(a_line) * 8;
    }
    json!({
        "title": "Forewarn",
        "uid": "forewarn",
        "tags": ["forewarn"],
        "schemaVersion": 38,
        "version": 1,
        "editable": true,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
            {"name": "service", "type": "query", "label": "Service", "datasource": source, "includeAll": true, "multi": true,
                "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "refresh": 2,
                "query": {"query": "label_values(forewarn_anomaly_score, service)", "refId": "service"}},
        ]},
        "annotations": {"list": []},
        "panels": panels,
    })
}
