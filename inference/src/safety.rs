//! What people may do about requests as a whole: stop them, silence a service, set how far a playbook may act; and what all of it
//! comes to at one step.

use std::time::Duration;

use forewarn_features::Calendar;
use forewarn_models::guardrails::{Guardrails, Held, Maintenance};
use forewarn_models::ladder::Rung;
use forewarn_schema::{Mode, Timestamp};
use serde::Serialize;

use crate::access::caller;
use crate::app::{AppState, check_note};
use crate::error::AppError;
use crate::maintenance::MaintenanceWindow;
use crate::state::{Limits, Silence, Stop, StoredMode, word};

/// Silences that are not over; more are a mistake of a script.
const MOST_SILENCES: usize = 1000;
/// A silence ends; who wants none to end wants a stop.
const LONGEST_SILENCE: Duration = Duration::from_secs(366 * 86_400);
/// Names that the API takes, in bytes.
const LONGEST_NAME: usize = 256;

/// What holds requests back without anybody deciding it at the moment.
#[derive(Clone, Debug, Default)]
pub struct SafetyOptions {
    /// Requests of all services within an hour; `None`: any number.
    pub max_per_hour: Option<u32>,
    /// Workloads with a request (not a dry run) that is open or approved; `None`: any number.
    pub max_workloads: Option<u32>,
    /// When nothing is asked.
    pub maintenance: Vec<MaintenanceWindow>,
    /// By whose clock the weekly ones are.
    pub calendar: Calendar,
}

/// A silence as it comes in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    /// Which service; left out: every one.
    pub service: Option<String>,
    /// When it begins; left out: now.
    pub from: Option<Timestamp>,
    /// When it is over: later than now and than its begin, at most 366 days from now.
    pub until: Timestamp,
    /// Why; at most 4096 bytes.
    pub note: Option<String>,
}

/// What holds requests back now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Safety {
    /// Whether requests are stopped, since when, by whom and why.
    pub stopped: Option<Stop>,
    /// Requests that are due and held back, by why.
    pub held: Vec<Held>,
    /// The most requests in an hour; null: any number.
    pub max_per_hour: Option<u32>,
    /// The most workloads at once; null: any number.
    pub max_workloads: Option<u32>,
    /// Workloads that something may be done to now.
    pub under_way: Vec<String>,
    /// What the configuration says of maintenance.
    pub maintenance: Vec<MaintenanceWindow>,
    /// Silences that are not over.
    pub silences: Vec<Silence>,
}

/// The modes that were set, and what holds for all others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Modes {
    /// Of every service and playbook that is not listed.
    pub default: Mode,
    /// Sorted by service and playbook.
    pub modes: Vec<StoredMode>,
}

impl AppState {
    /// Stops requests: none is made, none leaves, none can be approved. Again changes nothing.
    pub async fn stop_requests(&self, note: Option<&str>) -> Result<Safety, AppError> {
        check_note(note)?;
        self.0.store.stop(note, self.now()).await?;
        tracing::warn!(who = %caller(), note, "requests are stopped");
        self.ring();
        self.safety().await
    }

    /// Lets requests be made again: those that were held back are made at the next step, if they are still due.
    pub async fn resume_requests(&self, note: Option<&str>) -> Result<Safety, AppError> {
        check_note(note)?;
        self.0.store.resume(note, self.now()).await?;
        tracing::warn!(who = %caller(), note, "requests are made again");
        self.ring();
        self.safety().await
    }

    /// What holds requests back now.
    pub async fn safety(&self) -> Result<Safety, AppError> {
        let (now, options) = (self.now(), &self.0.options.safety);
        Ok(Safety {
            stopped: self.0.store.stopped().await?,
            held: self.0.scorer.holding(),
            max_per_hour: options.max_per_hour,
            max_workloads: options.max_workloads,
            under_way: self.0.store.under_way(now).await?.into_iter().collect(),
            maintenance: options.maintenance.clone(),
            silences: self.0.store.silences(now).await?,
        })
    }

    /// Silences a service, or all, for a while: predictions go on, nothing is asked.
    pub async fn silence(&self, new: NewSilence) -> Result<Silence, AppError> {
        check_note(new.note.as_deref())?;
        let now = self.now();
        let from = new.from.unwrap_or(now);
        let invalid = |reason: String| AppError::Invalid { reason };
        if let Some(service) = &new.service {
            check_name("service", service)?;
        }
        if new.until <= now || new.until <= from {
            let got = new.until;
            return Err(invalid(format!("until must be later than now ({now}) and than from ({from}), got {got}")));
        }
        if new.until > now + LONGEST_SILENCE {
            return Err(invalid(format!("until must be at most 366 days from now ({now}), got {}", new.until)));
        }
        if self.0.store.silences(now).await?.len() >= MOST_SILENCES {
            let reason = format!("there are {MOST_SILENCES} silences that are not over already");
            return Err(AppError::Conflict { reason });
        }
        let silence = Silence {
            id: format!("s-{}", crate::unique_id::unique_id(now)),
            service: new.service,
            from,
            until: new.until,
            who: caller().to_string(),
            note: new.note,
        };
        self.0.store.add_silence(&silence, now).await?;
        Ok(silence)
    }

    /// Silences that are not over, soonest end first.
    pub async fn silences(&self) -> Result<Vec<Silence>, AppError> {
        Ok(self.0.store.silences(self.now()).await?)
    }

    /// Ends a silence; `false` where there is none.
    pub async fn end_silence(&self, id: &str) -> Result<bool, AppError> {
        let found = self.0.store.end_silence(id, self.now()).await?;
        self.ring();
        Ok(found)
    }

    /// How far each playbook may act by itself.
    pub async fn modes(&self) -> Result<Modes, AppError> {
        Ok(Modes { default: self.0.scorer.default_mode(), modes: self.0.store.modes().await? })
    }

    /// Sets how far a playbook may act by itself on a service, from the next request on. Acting without being asked must be earned
    /// (see [`Rung::skips`]), unless it is wanted `unearned`.
    pub async fn set_mode(
        &self,
        service: &str,
        playbook: &str,
        mode: Mode,
        unearned: bool,
        note: Option<&str>,
    ) -> Result<StoredMode, AppError> {
        check_note(note)?;
        check_name("service", service)?;
        check_name("playbook", playbook)?;
        let (now, autonomy) = (self.now(), &self.0.options.autonomy);
        let highest = autonomy.highest_of(playbook);
        if mode > highest {
            let (wanted, highest) = (word(mode), word(highest));
            let reason =
                format!("the configuration lets {playbook} go no further than {highest}, got {wanted}: see [autonomy]");
            return Err(AppError::Conflict { reason });
        }
        let params = &autonomy.ladder;
        let may = |stands: &Rung| match stands.skips(mode, params, now) && !unearned {
            true => Err(format!(
                "{playbook} of {service} is on {} with {} of {} verified successes; send unearned = true to let it act by itself nevertheless",
                word(stands.mode),
                stands.verified,
                params.verified_successes
            )),
            false => Ok(if stands.mode == mode { stands.clone() } else { Rung::new(mode, now) }),
        };
        let default = self.0.scorer.default_mode();
        let put = self.0.store.set_mode((service, playbook), default, note, now, may).await?;
        put.map_err(|reason| AppError::Conflict { reason })?;
        let stored = self.0.store.mode(service, playbook).await?;
        stored.ok_or_else(|| AppError::NotFound { what: "mode", id: format!("{service}/{playbook}") })
    }

    /// Gives a playbook back to the default; `false` where it had it.
    pub async fn forget_mode(&self, service: &str, playbook: &str) -> Result<bool, AppError> {
        let (default, now) = (self.0.scorer.default_mode(), self.now());
        let known = self.0.store.mode(service, playbook).await?;
        let from = known.as_ref().map_or(default, |known| known.rung.mode);
        // What was lost by a failure must not come back by forgetting it.
        if known.is_some_and(|known| known.rung.skips(default, &self.0.options.autonomy.ladder, now)) {
            let (default, stands) = (word(default), word(from));
            let reason = format!(
                "{playbook} of {service} is on {stands} and the default is {default}, which it has not earned; PUT it with unearned = true"
            );
            return Err(AppError::Conflict { reason });
        }
        Ok(self.0.store.forget_mode(service, playbook, (from, default), self.now()).await?)
    }

    /// What holds for the step at `at`, which is evaluated at `now`: later than it was due where samples came late, and maintenance at
    /// either time counts.
    pub(crate) async fn guardrails(&self, at: Timestamp, now: Timestamp) -> Result<Guardrails, AppError> {
        let options = &self.0.options.safety;
        let modes = self.0.store.modes().await?;
        Ok(Guardrails {
            stopped: self.0.store.stopped().await?.is_some(),
            maintenance: self.maintenance(&[at, now]).await?,
            max_per_hour: options.max_per_hour,
            max_workloads: options.max_workloads,
            under_way: self.0.store.under_way(now).await?,
            made_this_hour: Some(self.0.store.made_in_hour(at).await?),
            modes: modes.into_iter().map(|m| self.0.options.autonomy.capped(m)).collect(),
            caps: self.0.options.autonomy.caps(),
        })
    }

    /// Which services are being worked on at any of `times`.
    pub(crate) async fn maintenance(&self, times: &[Timestamp]) -> Result<Maintenance, AppError> {
        let options = &self.0.options.safety;
        let planned = options.maintenance.iter();
        let planned = planned.filter(|w| times.iter().any(|at| w.contains(*at, &options.calendar))).map(|w| &w.service);
        let earliest = times.iter().min().copied().unwrap_or_default();
        let silences = self.0.store.silences(earliest).await?;
        let silenced = silences.iter().filter(|s| times.iter().any(|at| s.contains(*at))).map(|s| &s.service);
        let mut all = Maintenance::default();
        for service in planned.chain(silenced) {
            match service {
                Some(service) => drop(all.services.insert(service.clone())),
                None => all.everything = true,
            }
        }
        Ok(all)
    }

    /// What requests have to find room under when they are stored.
    pub(crate) fn limits(&self) -> Limits {
        let SafetyOptions { max_per_hour, max_workloads, .. } = self.0.options.safety;
        Limits { max_per_hour, max_workloads, now: self.now() }
    }
}

fn check_name(what: &str, name: &str) -> Result<(), AppError> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains(char::is_control) {
        let reason =
            format!("{what} must be 1 to {LONGEST_NAME} bytes without control characters, got {} bytes", name.len());
        return Err(AppError::Invalid { reason });
    }
    Ok(())
}
