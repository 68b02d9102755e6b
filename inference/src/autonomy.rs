//! How playbooks earn to act by themselves, wired to what happens: before each step what people and the controller said since the last
//! one, and what they did not say in time, moves the ladder; after it the forecast is looked at for every remediation under watch. Time is
//! that of the steps, so that a clock that jumps neither earns nor costs anything; state is in the database alone, so that any server goes
//! on where another one ended.

use std::collections::BTreeMap;

use forewarn_features::SignalSet;
use forewarn_models::ladder::{LadderEvent, LadderParams, Rung};
use forewarn_models::learning::Caution;
use forewarn_models::verification::{Finding, Found, Reported, Standard, VerificationParams, Watch};
use forewarn_schema::{Mode, Prediction, Step, Timestamp};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::error::{AppError, chain};
use crate::state::{LadderMove, OpenVerification, Standing, StateError, StateStore, StoredMode, Worsened};

/// Moves that are listed of one playbook.
const MOST_MOVES: u32 = 100;
/// Remediations that made things worse which are listed.
const MOST_WORSENED: u32 = 50;

/// What an earned rung does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Climb {
    /// It is offered, and a person takes it.
    #[default]
    Offer,
    /// The playbook goes there.
    ByItself,
}

/// How playbooks earn to act by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutonomyOptions {
    /// What each rung costs.
    pub ladder: LadderParams,
    /// When a remediation has helped.
    pub verification: VerificationParams,
    /// What an earned rung does.
    pub climb: Climb,
    /// No playbook goes further, by itself or by hand.
    pub highest: Mode,
    /// Nor these, by name.
    pub playbooks: BTreeMap<String, Mode>,
}

impl Default for AutonomyOptions {
    /// 14 days, 20 successes, an hour of hold; what is earned is offered; nothing is capped.
    fn default() -> Self {
        Self {
            ladder: LadderParams::default(),
            verification: VerificationParams::default(),
            climb: Climb::default(),
            highest: Mode::Automatic,
            playbooks: BTreeMap::new(),
        }
    }
}

impl AutonomyOptions {
    /// The most that a playbook may.
    pub fn highest_of(&self, playbook: &str) -> Mode {
        self.playbooks.get(playbook).copied().unwrap_or(Mode::Automatic).min(self.highest)
    }

    /// Of the playbooks that have a cap of their own.
    pub(crate) fn caps(&self) -> BTreeMap<String, Mode> {
        self.playbooks.keys().map(|playbook| (playbook.clone(), self.highest_of(playbook))).collect()
    }

    /// What was set, as far as it may be: it may have been set before it was capped.
    pub(crate) fn capped(&self, set: StoredMode) -> ((String, String), Mode) {
        let mode = set.rung.mode.min(self.highest_of(&set.playbook));
        ((set.service, set.playbook), mode)
    }

    /// The next rung of a playbook, where it is earned and allowed.
    fn earned(&self, playbook: &str, rung: &Rung, now: Timestamp) -> Option<Mode> {
        rung.earned(&self.ladder, now).filter(|mode| *mode <= self.highest_of(playbook))
    }
}

/// Where a playbook stands on a service, and how far it has got.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ladder {
    /// The workload.
    pub service: String,
    /// The playbook; `-` for requests without one.
    pub playbook: String,
    /// Where it stands.
    #[serde(flatten)]
    pub rung: Rung,
    /// Successes that it needs to act by itself.
    pub wanted: u32,
    /// When its dry run is over; null elsewhere.
    pub dry_run_until: Option<Timestamp>,
    /// The next rung, where it is earned and waits for a person.
    pub earned: Option<Mode>,
    /// The most that the configuration lets it.
    pub highest: Mode,
}

/// Every ladder, and what they cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Autonomy {
    /// What an earned rung does.
    pub climb: Climb,
    /// Sorted by service and playbook.
    pub ladders: Vec<Ladder>,
    /// Remediations that made things worse in the last day, newest first.
    pub worsened: Vec<Worsened>,
}

/// The machine: what moves the ladder, on whichever store.
pub(crate) struct Machine<'a> {
    pub(crate) store: &'a StateStore,
    pub(crate) options: &'a AutonomyOptions,
    pub(crate) signals: &'a SignalSet,
    pub(crate) step: Step,
    /// Where nobody said otherwise.
    pub(crate) default: Mode,
    /// Whether there is a webhook to tell people by.
    pub(crate) announce: bool,
}

impl Machine<'_> {
    /// Takes what was said, and what was not, up to the step at `at`; gives what was found.
    pub(crate) async fn before(&self, at: Timestamp) -> Result<Vec<Finding>, StateError> {
        let mut findings = Vec::new();
        for open in self.store.open_verifications().await? {
            if let Some((found, event)) = self.said(&open, at) {
                findings.extend(self.conclude(&open, &found, event, at).await?);
            } else if matches!(open.reported, Reported::Failed { .. }) && !open.counted {
                // The next request must not act on what was just lost; whether it made things worse is still watched.
                let reason = "the controller reported that it did not help";
                self.store.count_failure(&open, reason, at, self.default).await?;
            }
        }
        if self.options.climb == Climb::ByItself {
            self.climb(at).await?;
        }
        Ok(findings)
    }

    /// Looks at what is said at the step at `at` about everything under watch, `caution` being how cautious announcing is; gives what was
    /// found.
    pub(crate) async fn after(
        &self,
        at: Timestamp,
        predictions: &[Prediction],
        caution: &(dyn Fn(&Prediction) -> Caution + Sync),
    ) -> Result<Vec<Finding>, StateError> {
        let (mut findings, mut kept) = (Vec::new(), Vec::new());
        for mut open in self.store.open_verifications().await? {
            let reported_failed = matches!(open.reported, Reported::Failed { .. });
            if open.acted_at.is_none() && !reported_failed {
                continue;
            }
            let direction = self.signals.get(&open.request.signal).map(|s| s.direction).unwrap_or_default();
            let (request, reported) = (open.request.clone(), open.reported);
            let (step, params) = (self.step, &self.options.verification);
            let standard = Standard { direction, step, params, caution };
            let mut watch: Watch = std::mem::take(&mut open.watch);
            match watch.step(&request, reported, at, predictions, &standard) {
                None => kept.push((request.id, watch)),
                Some(found) => {
                    let event = match found.finding {
                        Finding::Verified => Some(LadderEvent::Verified),
                        Finding::Failed | Finding::Worsened => Some(LadderEvent::Failed),
                        Finding::Undecided | Finding::NotDone => None,
                    };
                    findings.extend(self.conclude(&open, &found, event, at).await?);
                }
            }
        }
        self.store.keep_watches(&kept).await?;
        Ok(findings)
    }

    /// What is known of a request without looking at the forecast, and what that does.
    fn said(&self, open: &OpenVerification, at: Timestamp) -> Option<(Found, Option<LadderEvent>)> {
        let found = |finding, reason: String| Found { finding, reason, evidence: None };
        let expires = open.request.expires_at;
        let is_over = at > expires + self.options.verification.outcome_grace;
        if open.rejected {
            let reason = found(Finding::NotDone, "a person said no".to_owned());
            return Some((reason, Some(LadderEvent::Rejected)));
        }
        match (open.acted_at, open.reported) {
            (Some(_), Reported::Nothing) if is_over && open.undelivered => {
                Some((found(Finding::NotDone, "its message was not delivered".to_owned()), None))
            }
            (Some(_), Reported::Nothing) if is_over => {
                let reason = format!("no outcome was reported until its expiry at {expires}");
                Some((found(Finding::Failed, reason), Some(LadderEvent::Failed)))
            }
            (None, Reported::Nothing) if is_over => {
                Some((found(Finding::NotDone, "nobody approved it in time".to_owned()), None))
            }
            // Whatever it did, nobody had let it.
            (None, Reported::Succeeded { .. }) => {
                let reason = "it was reported done, but nobody had approved it".to_owned();
                Some((found(Finding::Undecided, reason), None))
            }
            _ => None,
        }
    }

    async fn conclude(
        &self,
        open: &OpenVerification,
        found: &Found,
        event: Option<LadderEvent>,
        at: Timestamp,
    ) -> Result<Option<Finding>, StateError> {
        let done = self.store.conclude(open, found, event, at, (self.default, self.announce)).await?;
        if done {
            let (request_id, service) = (&open.request.id, &open.request.service);
            let (finding, reason) = (found.finding.as_str(), &found.reason);
            match found.finding {
                Finding::Worsened => {
                    tracing::error!(request_id, service, finding, reason, "a remediation made it worse")
                }
                Finding::Failed => tracing::warn!(request_id, service, finding, reason, "a remediation did not help"),
                _ => tracing::info!(request_id, service, finding, reason, "what came of a request"),
            }
        }
        Ok(done.then_some(found.finding))
    }

    /// Lets every playbook go where it has earned to be.
    async fn climb(&self, at: Timestamp) -> Result<(), StateError> {
        for standing in self.store.standings(self.default).await? {
            let earned = |rung: &Rung| self.options.earned(&standing.playbook, rung, at);
            let Some(to) = earned(&standing.rung) else { continue };
            let reason = match to {
                Mode::Automatic => format!("{} verified successes", standing.rung.verified),
                _ => format!("a dry run since {}", standing.rung.since),
            };
            if let Some((from, to)) = self.store.climb(&standing, (to, &reason), at, self.default, earned).await? {
                let Standing { service, playbook, .. } = &standing;
                tracing::warn!(service, playbook, from = ?from.mode, to = ?to.mode, reason, "a playbook climbed");
            }
        }
        Ok(())
    }

    /// Takes every playbook of a service in which `report` found drift a step back, once a report.
    pub(crate) async fn drifted(
        &self,
        report: &str,
        services: &[(String, usize)],
        at: Timestamp,
    ) -> Result<(), StateError> {
        for standing in self.store.standings(self.default).await? {
            let Some((_, signals)) = services.iter().find(|(name, moved)| *name == standing.service && *moved > 0)
            else {
                continue;
            };
            let Standing { service, playbook, .. } = &standing;
            let reason =
                format!("report {report} found that {signals} signals of {service} have moved since the training");
            let moved = self.store.drifted((service, playbook), (report, &reason), at, self.default).await?;
            if let Some((from, to)) = moved.filter(|(from, to)| from.mode != to.mode) {
                tracing::warn!(service, playbook, from = ?from.mode, to = ?to.mode, reason, "a playbook was taken back");
            }
        }
        Ok(())
    }
}

impl AppState {
    fn machine(&self) -> Machine<'_> {
        let shared = &self.0;
        Machine {
            store: &shared.store,
            options: &shared.options.autonomy,
            signals: &shared.signals,
            step: shared.options.step,
            default: shared.scorer.default_mode(),
            announce: shared.options.webhook.is_some(),
        }
    }

    /// What moves the ladder before a step is decided. Where this cannot be known nothing may be asked, so the step waits.
    pub(crate) async fn before_step(&self, at: Timestamp) -> Result<(), AppError> {
        if self.0.leadership.watches() {
            return Ok(());
        }
        match self.machine().before(at).await {
            Ok(findings) => self.found(&findings),
            // Another server took over: it takes what was said, and the step is only shown here.
            Err(error) if error.is_not_leading() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What the step that was just stored says of remediations under watch. One that could not be looked at is missing in the count of
    /// steps at which the target was seen, and nothing else.
    pub(crate) async fn after_step(&self, at: Timestamp, predictions: &[Prediction]) {
        let scorer = &self.0.scorer;
        match self.machine().after(at, predictions, &|p| scorer.caution(p)).await {
            Ok(findings) => self.found(&findings),
            Err(error) if error.is_not_leading() => {}
            Err(error) => tracing::error!(error = chain(&error), step = %at, "remediations not looked at"),
        }
    }

    fn found(&self, findings: &[Finding]) {
        if findings.contains(&Finding::Worsened) {
            self.ring();
        }
    }

    /// What the newest report says of drift takes playbooks back; looked at by whoever leads.
    pub(crate) async fn take_drift(&self) -> Result<(), AppError> {
        let Some((report, services)) = self.0.quality.drift_of() else { return Ok(()) };
        if self.0.leadership.watches() || services.iter().all(|(_, moved)| *moved == 0) {
            return Ok(());
        }
        let at = self.0.scorer.evaluated_at().unwrap_or_else(|| self.now());
        match self.machine().drifted(&report, &services, at).await {
            Err(error) if !error.is_not_leading() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Every ladder: where each playbook stands on each service, and what it has earned.
    pub async fn autonomy(&self) -> Result<Autonomy, AppError> {
        let (now, options) = (self.now(), &self.0.options.autonomy);
        let standings = self.0.store.standings(self.0.scorer.default_mode()).await?;
        let ladders = standings.into_iter().map(|standing| {
            let Standing { service, playbook, rung, .. } = standing;
            let earned = options.earned(&playbook, &rung, now).filter(|_| options.climb == Climb::Offer);
            Ladder {
                wanted: options.ladder.verified_successes,
                dry_run_until: (rung.mode == Mode::DryRun).then(|| rung.since + options.ladder.dry_run),
                highest: options.highest_of(&playbook),
                service,
                playbook,
                rung,
                earned,
            }
        });
        let worsened = self.0.store.worsened_since(now - SHOWN, MOST_WORSENED).await?;
        Ok(Autonomy { climb: options.climb, ladders: ladders.collect(), worsened })
    }

    /// How one playbook moved on one service and what was counted for it, newest first, at most 100.
    pub async fn ladder_moves(&self, service: &str, playbook: &str) -> Result<Vec<LadderMove>, AppError> {
        Ok(self.0.store.ladder_moves(service, playbook, MOST_MOVES).await?)
    }
}

/// What made things worse is shown for so long.
const SHOWN: std::time::Duration = std::time::Duration::from_secs(86_400);

#[cfg(test)]
mod tests;
