//! Every metric there is: name (with its unit), type, and what it says. A dashboard can rely on these.

/// A metric. Its place in the list is its place in the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Metric {
    BuildInfo,
    Ready,
    Leads,
    WriteRequests,
    SamplesKept,
    SamplesUnwanted,
    SamplesRefused,
    TurnedAway,
    DoorReloads,
    PullUp,
    PullFailures,
    PullLag,
    LiveSeries,
    SeriesFull,
    MemoryForetold,
    StepsEvaluated,
    StepsFailed,
    ScoringLag,
    Targets,
    TimeToBreach,
    BreachProbability,
    AnomalyScore,
    Requests,
    RequestsHeldBack,
    RequestsHeld,
    RequestsStopped,
    Deliveries,
    OutboxPending,
    OutboxMessages,
    AlertsTold,
    AlertmanagerUp,
    Labels,
    Alerts,
    ModelInfo,
    ShadowInfo,
    ModelsRefused,
    StateFailures,
    StepDuration,
    RequestsOpen,
    OutboxOldest,
    ModelAge,
    LastRunAge,
    DriftedSignals,
    AutonomyMode,
    AutonomyVerified,
    Verifications,
    MinProbability,
    DecodersBusy,
    ResidentMemory,
    Settlements,
    Unsettled,
    RollingRecall,
    RollingPrecision,
    RollingFalseAlarms,
    RollingLead,
    RollingCoverage,
    RollingTimeError,
    RollingCases,
}

/// How Prometheus should treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Summary,
    Histogram,
}

impl Type {
    /// As Prometheus writes it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Histogram => "histogram",
        }
    }
}

/// Counters without labels.
pub(super) const UNLABELLED_COUNTERS: [Metric; 6] = [
    Metric::SamplesKept,
    Metric::SamplesUnwanted,
    Metric::StepsEvaluated,
    Metric::StepsFailed,
    Metric::ModelsRefused,
    Metric::StateFailures,
];

impl Metric {
    pub(super) const ALL: [Self; 58] = [
        Self::BuildInfo,
        Self::Ready,
        Self::Leads,
        Self::WriteRequests,
        Self::SamplesKept,
        Self::SamplesUnwanted,
        Self::SamplesRefused,
        Self::TurnedAway,
        Self::DoorReloads,
        Self::PullUp,
        Self::PullFailures,
        Self::PullLag,
        Self::LiveSeries,
        Self::SeriesFull,
        Self::MemoryForetold,
        Self::StepsEvaluated,
        Self::StepsFailed,
        Self::ScoringLag,
        Self::Targets,
        Self::TimeToBreach,
        Self::BreachProbability,
        Self::AnomalyScore,
        Self::Requests,
        Self::RequestsHeldBack,
        Self::RequestsHeld,
        Self::RequestsStopped,
        Self::Deliveries,
        Self::OutboxPending,
        Self::OutboxMessages,
        Self::AlertsTold,
        Self::AlertmanagerUp,
        Self::Labels,
        Self::Alerts,
        Self::ModelInfo,
        Self::ShadowInfo,
        Self::ModelsRefused,
        Self::StateFailures,
        Self::StepDuration,
        Self::RequestsOpen,
        Self::OutboxOldest,
        Self::ModelAge,
        Self::LastRunAge,
        Self::DriftedSignals,
        Self::AutonomyMode,
        Self::AutonomyVerified,
        Self::Verifications,
        Self::MinProbability,
        Self::DecodersBusy,
        Self::ResidentMemory,
        Self::Settlements,
        Self::Unsettled,
        Self::RollingRecall,
        Self::RollingPrecision,
        Self::RollingFalseAlarms,
        Self::RollingLead,
        Self::RollingCoverage,
        Self::RollingTimeError,
        Self::RollingCases,
    ];

    /// Name, type, help.
    pub(super) fn describe(self) -> (&'static str, Type, &'static str) {
        use Type::{Counter, Gauge, Histogram, Summary};
        match self {
            Self::BuildInfo => ("forewarn_build_info", Gauge, "Always 1; the version of the program."),
            Self::Ready => ("forewarn_ready", Gauge, "Whether samples are taken and decisions stored (1) or not (0)."),
            Self::Leads => {
                ("forewarn_leads", Gauge, "1 while this server asks and delivers; of several on one database one does.")
            }
            Self::WriteRequests => (
                "forewarn_write_requests_total",
                Counter,
                "Remote write requests by the status they were answered with.",
            ),
            Self::SamplesKept => {
                ("forewarn_samples_kept_total", Counter, "Samples received that a signal wants, and kept.")
            }
            Self::SamplesUnwanted => {
                ("forewarn_samples_unwanted_total", Counter, "Samples received that no signal wants, and dropped.")
            }
            Self::SamplesRefused => ("forewarn_samples_refused_total", Counter, "Samples refused, by reason."),
            Self::TurnedAway => {
                ("forewarn_http_requests_turned_away_total", Counter, "Requests of callers who may not, by reason.")
            }
            Self::DoorReloads => (
                "forewarn_door_reloads_total",
                Counter,
                "Changes of certificates, keys or web.yml, by whether they were taken (changed) or not (refused).",
            ),
            Self::PullUp => (
                "forewarn_pull_up",
                Gauge,
                "Whether the last fetch of samples worked (1) or not (0); absent without pull.",
            ),
            Self::PullFailures => ("forewarn_pull_failures_total", Counter, "Fetches of samples that failed."),
            Self::PullLag => {
                ("forewarn_pull_lag_seconds", Gauge, "Age of the newest time up to which samples were fetched.")
            }
            Self::LiveSeries => ("forewarn_live_series", Gauge, "Series held in memory."),
            Self::SeriesFull => (
                "forewarn_series_full",
                Gauge,
                "Whether samples of new series are refused for want of memory (1) or not (0).",
            ),
            Self::MemoryForetold => (
                "forewarn_memory_foretold_bytes",
                Gauge,
                "Memory that what is held will take once the histories are full.",
            ),
            Self::StepsEvaluated => ("forewarn_steps_evaluated_total", Counter, "Steps evaluated and scored."),
            Self::StepsFailed => ("forewarn_steps_failed_total", Counter, "Steps that could not be evaluated."),
            Self::ScoringLag => ("forewarn_scoring_lag_seconds", Gauge, "Age of the last step that was scored."),
            Self::Targets => ("forewarn_targets", Gauge, "Targets with a prediction now."),
            Self::TimeToBreach => (
                "forewarn_time_to_breach_seconds",
                // Not observations, but quantiles of one forecast: the only type whose samples may
                // carry a quantile.
                Summary,
                "Predicted time until the limit is reached, by quantile; absent while no breach is in sight.",
            ),
            Self::BreachProbability => (
                "forewarn_breach_probability",
                Gauge,
                "Probability that the limit is reached within the prediction's horizon, 0 to 1.",
            ),
            Self::AnomalyScore => (
                "forewarn_anomaly_score",
                Gauge,
                "How unusual the service looks: the share of normal steps that look less unusual, 0 to 1.",
            ),
            Self::Requests => ("forewarn_requests_total", Counter, "Remediation requests emitted, by kind and mode."),
            Self::RequestsHeldBack => (
                "forewarn_requests_held_back_total",
                Counter,
                "Remediation requests that were due and held back, by reason.",
            ),
            Self::RequestsHeld => (
                "forewarn_requests_held",
                Gauge,
                "Remediation requests that are due and held back now, by reason; made later if they are still due.",
            ),
            Self::RequestsStopped => {
                ("forewarn_requests_stopped", Gauge, "Whether somebody stopped requests (1) or not (0).")
            }
            Self::Deliveries => {
                ("forewarn_deliveries_total", Counter, "Tries to deliver a message to the webhook, by how they ended.")
            }
            Self::OutboxPending => ("forewarn_outbox_pending", Gauge, "Messages that wait for delivery."),
            Self::OutboxMessages => (
                "forewarn_outbox_messages",
                Gauge,
                "Messages in the outbox by state: pending, delivered, refused, expired.",
            ),
            Self::AlertsTold => (
                "forewarn_alertmanager_tellings_total",
                Counter,
                "Times that an Alertmanager was told of all open requests, by how it ended.",
            ),
            Self::AlertmanagerUp => {
                ("forewarn_alertmanager_up", Gauge, "Whether an Alertmanager took the last telling (1) or not (0).")
            }
            Self::Labels => ("forewarn_labels_total", Counter, "Labels stored, by source and verdict."),
            Self::Alerts => {
                ("forewarn_alerts_total", Counter, "Alerts received from Alertmanager, by what became of them.")
            }
            Self::ModelInfo => ("forewarn_model_info", Gauge, "Always 1; the model version that serves a service."),
            Self::ShadowInfo => {
                ("forewarn_shadow_info", Gauge, "Always 1; the candidate that scores a service beside what serves it.")
            }
            Self::ModelsRefused => {
                ("forewarn_models_refused_total", Counter, "Promoted models that could not be loaded and do not serve.")
            }
            Self::StateFailures => (
                "forewarn_state_failures_total",
                Counter,
                "Steps whose decisions could not be stored at the first try.",
            ),
            Self::StepDuration => {
                ("forewarn_step_duration_seconds", Histogram, "Time to evaluate, score and store a step.")
            }
            Self::RequestsOpen => ("forewarn_requests_open", Gauge, "Remediation requests that wait for a decision."),
            Self::OutboxOldest => (
                "forewarn_outbox_oldest_seconds",
                Gauge,
                "How long the oldest remediation request has waited for its delivery; 0 where none waits.",
            ),
            Self::ModelAge => (
                "forewarn_model_age_seconds",
                Gauge,
                "How long ago the data ended that the model serving a service was trained on.",
            ),
            Self::LastRunAge => (
                "forewarn_last_run_age_seconds",
                Gauge,
                "How long ago the weekly job began that was last done whole; absent where it never was.",
            ),
            Self::DriftedSignals => (
                "forewarn_drifted_signals",
                Gauge,
                "Signals of a service that the newest evaluation found to have moved much since the training.",
            ),
            Self::AutonomyMode => (
                "forewarn_autonomy_mode",
                Gauge,
                "How far a playbook may act on a service: dry run (0), approval (1), automatic (2).",
            ),
            Self::AutonomyVerified => (
                "forewarn_autonomy_verified",
                Gauge,
                "Successes that the forecast verified of a playbook on a service, since it stands on its rung.",
            ),
            Self::Verifications => (
                "forewarn_verifications",
                Gauge,
                "Requests, not dry runs, by what came of them as the forecast saw it; watched: not known yet.",
            ),
            Self::MinProbability => (
                "forewarn_threshold_min_probability",
                Gauge,
                "From which probability on a breach is announced, where labels moved that; service is empty for those without labels.",
            ),
            Self::DecodersBusy => {
                ("forewarn_write_decoders_busy", Gauge, "Remote writes being decoded now; at most 4.")
            }
            Self::ResidentMemory => ("process_resident_memory_bytes", Gauge, "Memory that the process uses."),
            Self::Settlements => (
                "forewarn_settlements_total",
                Counter,
                "Predictions and missed breaches settled from the data, by kind and what became of them.",
            ),
            Self::Unsettled => ("forewarn_unsettled", Gauge, "Predictions that wait to be settled from the data."),
            Self::RollingRecall => (
                "forewarn_rolling_recall",
                Gauge,
                "Share of breaches in the window that a request announced in time, 0 to 1; absent without a breach.",
            ),
            Self::RollingPrecision => (
                "forewarn_rolling_precision",
                Gauge,
                "Share of requests settled in the window that were right, 0 to 1; absent without one.",
            ),
            Self::RollingFalseAlarms => (
                "forewarn_rolling_false_alarms_per_week",
                Gauge,
                "Requests settled in the window that were wrong, a week; absent without any case.",
            ),
            Self::RollingLead => (
                "forewarn_rolling_lead_seconds",
                Gauge,
                "How long before their breaches the requests came, the median in the window; absent without one.",
            ),
            Self::RollingCoverage => (
                "forewarn_rolling_interval_coverage",
                Gauge,
                "Share of breaches in the window within the 80 % interval said of them, 0 to 1; absent without one.",
            ),
            Self::RollingTimeError => (
                "forewarn_rolling_time_error_ratio",
                Gauge,
                "How far the time to breach was off, as a share of the true one, the median in the window; absent without one.",
            ),
            Self::RollingCases => (
                "forewarn_rolling_cases",
                Gauge,
                "Of how many cases the figures of the window are made: requests, breaches, leads, intervals.",
            ),
        }
    }
}
