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
    LiveSeries,
    StepsEvaluated,
    StepsFailed,
    ScoringLag,
    Targets,
    TimeToBreach,
    BreachProbability,
    AnomalyScore,
    Requests,
    RequestsHeldBack,
    Deliveries,
    OutboxPending,
    Labels,
    Alerts,
    ModelInfo,
    ModelsRefused,
    StateFailures,
}

/// How Prometheus should treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Counter,
    Gauge,
    Summary,
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
    pub(super) const ALL: [Self; 25] = [
        Self::BuildInfo,
        Self::Ready,
        Self::Leads,
        Self::WriteRequests,
        Self::SamplesKept,
        Self::SamplesUnwanted,
        Self::SamplesRefused,
        Self::TurnedAway,
        Self::LiveSeries,
        Self::StepsEvaluated,
        Self::StepsFailed,
        Self::ScoringLag,
        Self::Targets,
        Self::TimeToBreach,
        Self::BreachProbability,
        Self::AnomalyScore,
        Self::Requests,
        Self::RequestsHeldBack,
        Self::Deliveries,
        Self::OutboxPending,
        Self::Labels,
        Self::Alerts,
        Self::ModelInfo,
        Self::ModelsRefused,
        Self::StateFailures,
    ];

    /// Name, type, help.
    pub(super) fn describe(self) -> (&'static str, Type, &'static str) {
        use Type::{Counter, Gauge, Summary};
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
            Self::LiveSeries => ("forewarn_live_series", Gauge, "Series held in memory."),
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
            Self::RequestsHeldBack => {
                ("forewarn_requests_held_back_total", Counter, "Remediation requests that the weekly budget held back.")
            }
            Self::Deliveries => {
                ("forewarn_deliveries_total", Counter, "Tries to deliver a message to the webhook, by how they ended.")
            }
            Self::OutboxPending => ("forewarn_outbox_pending", Gauge, "Messages that wait for delivery."),
            Self::Labels => ("forewarn_labels_total", Counter, "Labels stored, by source and verdict."),
            Self::Alerts => {
                ("forewarn_alerts_total", Counter, "Alerts received from Alertmanager, by what became of them.")
            }
            Self::ModelInfo => ("forewarn_model_info", Gauge, "Always 1; the model version that serves a service."),
            Self::ModelsRefused => {
                ("forewarn_models_refused_total", Counter, "Promoted models that could not be loaded and do not serve.")
            }
            Self::StateFailures => (
                "forewarn_state_failures_total",
                Counter,
                "Steps whose decisions could not be stored at the first try.",
            ),
        }
    }
}
