//! What holds requests back besides their own merit: a stop, maintenance, how many at once and how fast. People decide it, the
//! server keeps it and tells the engine before each step; a backtest has none of it, so that it shows what was due.

use std::collections::{BTreeMap, BTreeSet};

use forewarn_schema::{LabelSet, Mode, Timestamp};
use serde::{Deserialize, Serialize};

/// The playbook of a request whose signal names none, where modes are kept by playbook.
pub const NO_PLAYBOOK: &str = "-";

/// What people have decided about requests, as it stands at one step. The default holds nothing back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guardrails {
    /// Nothing is asked of anybody.
    pub stopped: bool,
    /// Of which services nothing is asked now.
    pub maintenance: Maintenance,
    /// Requests of all services within an hour; `None`: any number.
    pub max_per_hour: Option<u32>,
    /// Workloads that something may be done to at the same time; `None`: any number. Dry runs do not count: nothing acts on them.
    pub max_workloads: Option<u32>,
    /// Workloads with a request, not a dry run, that is open or approved.
    pub under_way: BTreeSet<String>,
    /// Requests within the last hour of everybody who asks of these workloads; `None`: nobody else does, so that one's own count.
    pub made_this_hour: Option<usize>,
    /// By service and playbook ([`NO_PLAYBOOK`] where there is none), where it is not the default.
    pub modes: BTreeMap<(String, String), Mode>,
    /// The most that a playbook may, by its name, whatever is set or the default.
    pub caps: BTreeMap<String, Mode>,
}

/// Which services are being worked on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// All of them.
    pub everything: bool,
    /// These.
    pub services: BTreeSet<String>,
}

impl Maintenance {
    /// Whether it concerns this service.
    pub fn covers(&self, service: &str) -> bool {
        self.everything || self.services.contains(service)
    }
}

/// Why a request that is due is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// Requests are stopped.
    Stopped,
    /// The service is being worked on.
    Maintenance,
    /// The service has asked for as much as it may in a week. Unlike the others it settles the episode: it is not announced later.
    WeeklyBudget,
    /// Something is being done to as many workloads as may be at once.
    BlastRadius,
    /// As many requests as may be in an hour were made.
    HourlyRate,
}

impl HeldBy {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Stopped, Self::Maintenance, Self::WeeklyBudget, Self::BlastRadius, Self::HourlyRate];

    /// As it is written in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Maintenance => "maintenance",
            Self::WeeklyBudget => "weekly_budget",
            Self::BlastRadius => "blast_radius",
            Self::HourlyRate => "hourly_rate",
        }
    }
}

/// A request that would be made now, if it were not held back; it is made as soon as it may, if it is still due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The workload.
    pub service: String,
    /// The signal that will breach.
    pub signal: String,
    /// The labels of the workload.
    pub labels: LabelSet,
    /// Why it is held back.
    pub by: HeldBy,
    /// Since when, for this reason.
    pub since: Timestamp,
}

/// What is left of the limits within one step.
#[derive(Debug)]
pub struct Room<'a> {
    guardrails: &'a Guardrails,
    in_this_hour: usize,
    under_way: BTreeSet<String>,
    /// Of each service, made in this step.
    of_service: BTreeMap<String, usize>,
}

impl<'a> Room<'a> {
    /// Before the step's first request; `own`: requests that the asking engine made within the last hour.
    pub fn new(guardrails: &'a Guardrails, own: usize) -> Self {
        let (under_way, of_service) = (guardrails.under_way.clone(), BTreeMap::new());
        let in_this_hour = guardrails.made_this_hour.unwrap_or(own);
        Self { guardrails, in_this_hour, under_way, of_service }
    }

    /// Takes the room that one request needs, or says what holds it back. `budget_left`: of the service, before this step.
    pub fn take(&mut self, service: &str, mode: Mode, budget_left: usize) -> Option<HeldBy> {
        let Guardrails { stopped, maintenance, max_per_hour, max_workloads, .. } = self.guardrails;
        let acts = mode != Mode::DryRun;
        let made = self.of_service.get(service).copied().unwrap_or(0);
        let is_full = |most: &Option<u32>, now: usize| most.is_some_and(|most| now >= most as usize);
        if *stopped {
            return Some(HeldBy::Stopped);
        }
        if maintenance.covers(service) {
            return Some(HeldBy::Maintenance);
        }
        if made >= budget_left {
            return Some(HeldBy::WeeklyBudget);
        }
        if acts && !self.under_way.contains(service) && is_full(max_workloads, self.under_way.len()) {
            return Some(HeldBy::BlastRadius);
        }
        if is_full(max_per_hour, self.in_this_hour) {
            return Some(HeldBy::HourlyRate);
        }
        self.in_this_hour += 1;
        *self.of_service.entry(service.to_owned()).or_default() += 1;
        if acts {
            self.under_way.insert(service.to_owned());
        }
        None
    }
}
