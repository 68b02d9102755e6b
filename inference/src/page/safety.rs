//! What people decided about requests as a whole, as `/requests` shows it: the stop, what is held back, silences, messages that did
//! not arrive, modes. Where there is nothing to say, there is nothing to show. Changing it is [`super::operating`]'s affair.

use std::collections::{BTreeMap, BTreeSet};

use forewarn_features::SignalSet;
use forewarn_models::guardrails::{Held, NO_PLAYBOOK};
use forewarn_models::ladder::{LadderParams, Rung};
use forewarn_plots::format_utc;
use forewarn_schema::{Mode, Prediction, RequestStatus, SignalKind, Timestamp};

use super::ladders::{self, Progress, WorseCard};
use super::words;
use crate::app::AppState;
use crate::autonomy::AutonomyOptions;
use crate::error::AppError;
use crate::safety::Modes;
use crate::state::{MessageState, OutboxMessage, Silence, StoredRequest};

/// Lines of a list; of what comes after them only the number is said.
const MOST_LINES: usize = 20;
/// Playbooks with a form of their own; for the others there is one in which they are named.
const MOST_MODES: usize = 100;
/// Names offered while typing.
const MOST_SUGGESTIONS: usize = 500;

/// Everything of it; an empty list is not shown.
pub(super) struct SafetyPanel {
    pub(super) stopped: Option<Stopped>,
    pub(super) held: Vec<HeldLine>,
    pub(super) more_held: usize,
    pub(super) letters: Vec<DeadLetter>,
    pub(super) more_letters: usize,
    pub(super) silences: Vec<SilenceLine>,
    /// Remediations of the last day that made things worse.
    pub(super) worsened: Vec<WorseCard>,
    pub(super) modes: Vec<ModeLine>,
    /// What holds where nothing is set.
    pub(super) default_mode: &'static str,
    /// For a playbook that has no line.
    pub(super) other: Vec<ModeChoice>,
    pub(super) services: BTreeSet<String>,
    pub(super) playbooks: BTreeSet<String>,
}

pub(super) struct Stopped {
    pub(super) since: String,
    pub(super) who: String,
    pub(super) note: Option<String>,
}

pub(super) struct HeldLine {
    pub(super) service: String,
    pub(super) target: String,
    pub(super) kind: String,
    pub(super) why: &'static str,
    pub(super) since: String,
}

pub(super) struct DeadLetter {
    pub(super) event_id: String,
    pub(super) subject: String,
    /// `Refused` or `Expired`.
    pub(super) state: &'static str,
    pub(super) attempts: String,
    pub(super) error: Option<String>,
    /// It is too late for it: sending it again takes a clear word.
    pub(super) is_late: bool,
    pub(super) expires: String,
}

pub(super) struct SilenceLine {
    pub(super) id: String,
    pub(super) service: String,
    /// `until 14:00`, or from when to when where it has not begun.
    pub(super) times: String,
    pub(super) who: String,
    pub(super) note: Option<String>,
}

pub(super) struct ModeLine {
    pub(super) service: String,
    pub(super) playbook: String,
    /// Who set it and when; empty where the default holds.
    pub(super) set: String,
    pub(super) note: Option<String>,
    /// How far it has got.
    pub(super) progress: Option<Progress>,
    pub(super) choices: Vec<ModeChoice>,
}

pub(super) struct ModeChoice {
    pub(super) value: &'static str,
    pub(super) text: String,
    pub(super) is_chosen: bool,
    /// It would have to be earned first.
    pub(super) is_barred: bool,
}

impl SafetyPanel {
    /// `live`: what is predicted now, for the names. `has_webhook`: whether messages go anywhere.
    pub(super) async fn read(
        app: &AppState,
        requests: &[StoredRequest],
        live: &[Prediction],
        has_webhook: bool,
    ) -> Result<Self, AppError> {
        let (now, signals) = (app.now(), app.signals());
        let stopped = app.0.store.stopped().await?;
        let held = app.0.scorer.holding();
        let letters = match has_webhook {
            true => {
                dead_letters(app.outbox(&[MessageState::Refused, MessageState::Expired]).await?.messages, requests, now)
            }
            false => Vec::new(),
        };
        let modes = app.modes().await?;
        let (ladders, worsened) = ladders::read(app, now).await?;
        let autonomy = &app.0.options.autonomy;
        let services = live.iter().map(|p| p.service.clone()).chain(requests.iter().map(|r| r.request.service.clone()));
        Ok(Self {
            stopped: stopped.map(|stop| Stopped {
                since: format_utc(stop.since),
                who: stop.who,
                note: said(stop.note),
            }),
            more_held: held.len().saturating_sub(MOST_LINES),
            held: held.iter().take(MOST_LINES).map(|held| held_line(held, signals, now)).collect(),
            more_letters: letters.len().saturating_sub(MOST_LINES),
            letters: letters.into_iter().take(MOST_LINES).collect(),
            silences: app.silences().await?.into_iter().map(|silence| silence_line(silence, now)).collect(),
            default_mode: words::mode_short(modes.default),
            other: choices(None, (modes.default, autonomy.highest), &autonomy.ladder, now),
            modes: mode_lines(modes, requests, ladders, autonomy, now),
            worsened,
            services: services.collect::<BTreeSet<_>>().into_iter().take(MOST_SUGGESTIONS).collect(),
            playbooks: signals.iter().filter_map(|signal| signal.playbook.clone()).collect(),
        })
    }
}

fn said(note: Option<String>) -> Option<String> {
    note.filter(|note| !note.is_empty())
}

fn held_line(held: &Held, signals: &SignalSet, now: Timestamp) -> HeldLine {
    let kind = match signals.get(&held.signal).map(|signal| signal.kind) {
        Some(SignalKind::Breach(kind)) => words::kind(kind, &held.signal),
        _ => held.signal.clone(),
    };
    HeldLine {
        service: held.service.clone(),
        target: words::target(&held.labels, &held.service),
        kind,
        why: words::held_by(held.by),
        since: words::ago(held.since, now),
    }
}

/// Those that may still be sent: of a request that was rejected or is settled nobody waits for a message.
fn dead_letters(messages: Vec<OutboxMessage>, requests: &[StoredRequest], now: Timestamp) -> Vec<DeadLetter> {
    let by_id: BTreeMap<&str, &StoredRequest> = requests.iter().map(|r| (r.request.id.as_str(), r)).collect();
    let letter = |message: OutboxMessage| {
        let stored = by_id.get(message.request_id.as_str());
        let is_open = |status| matches!(status, RequestStatus::Open | RequestStatus::Approved | RequestStatus::Expired);
        if stored.is_some_and(|stored| !is_open(stored.status)) {
            return None;
        }
        let subject = match stored.map(|stored| &stored.request) {
            Some(of) => format!("{}, {}", of.service, words::kind(of.kind, &of.signal).to_lowercase()),
            None => message.request_id,
        };
        Some(DeadLetter {
            event_id: message.event_id,
            subject,
            state: if message.state == MessageState::Refused { "Refused" } else { "Expired" },
            attempts: if message.attempts == 1 { "1 try".to_owned() } else { format!("{} tries", message.attempts) },
            error: message.last_error,
            is_late: message.expires_at < now,
            expires: format_utc(message.expires_at),
        })
    };
    messages.into_iter().filter_map(letter).collect()
}

fn silence_line(silence: Silence, now: Timestamp) -> SilenceLine {
    let times = if silence.contains(now) {
        format!("until {}", format_utc(silence.until))
    } else {
        format!("{} to {}", format_utc(silence.from), format_utc(silence.until))
    };
    SilenceLine {
        id: silence.id,
        service: silence.service.unwrap_or_else(|| "Every service".to_owned()),
        times,
        who: silence.who,
        note: said(silence.note),
    }
}

/// What was set, and what has made a request; by service and playbook.
fn mode_lines(
    modes: Modes,
    requests: &[StoredRequest],
    mut ladders: BTreeMap<(String, String), Progress>,
    autonomy: &AutonomyOptions,
    now: Timestamp,
) -> Vec<ModeLine> {
    let default = modes.default;
    let asked = requests
        .iter()
        .map(|r| &r.request)
        .map(|r| (r.service.clone(), r.playbook.clone().unwrap_or_else(|| NO_PLAYBOOK.to_owned())));
    let mut all: BTreeMap<(String, String), Option<_>> = asked.map(|key| (key, None)).collect();
    for set in modes.modes {
        all.insert((set.service.clone(), set.playbook.clone()), Some(set));
    }
    // Where there are too many, what was set stays: nothing else shows it.
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, set)| set.is_none());
    all.truncate(MOST_MODES);
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let by = |s: &crate::state::StoredMode| match s.who.as_str() {
        "forewarn" => format!("by Forewarn itself, {}", words::ago(s.rung.since, now)),
        who => format!("set by {who}, {}", words::ago(s.rung.since, now)),
    };
    let line = |((service, playbook), set): ((String, String), Option<crate::state::StoredMode>)| ModeLine {
        choices: choices(
            set.as_ref().map(|set| &set.rung),
            (default, autonomy.highest_of(&playbook)),
            &autonomy.ladder,
            now,
        ),
        set: set.as_ref().map(by).unwrap_or_default(),
        note: said(set.and_then(|set| set.note)),
        progress: ladders.remove(&(service.clone(), playbook.clone())),
        service,
        playbook,
    };
    all.into_iter().map(line).collect()
}

/// What may be chosen from `rung`, as far as `highest`; `None`: the default holds.
fn choices(
    rung: Option<&Rung>,
    (default, highest): (Mode, Mode),
    params: &LadderParams,
    now: Timestamp,
) -> Vec<ModeChoice> {
    let stands = rung.cloned().unwrap_or_else(|| Rung::new(default, now));
    let mut all = vec![ModeChoice {
        value: "default",
        text: format!("Default ({})", words::mode_short(default).to_lowercase()),
        is_chosen: rung.is_none(),
        is_barred: false,
    }];
    for (mode, value) in [(Mode::DryRun, "dry_run"), (Mode::Approval, "approval"), (Mode::Automatic, "automatic")] {
        let is_capped = mode > highest;
        let is_barred = is_capped || stands.skips(mode, params, now);
        let text = words::mode_short(mode);
        let earned = format!("{text}: {} of {} verified successes", stands.verified, params.verified_successes);
        all.push(ModeChoice {
            value,
            text: match (is_capped, is_barred) {
                (true, _) => format!("{text}: barred by the configuration"),
                (false, true) => earned,
                (false, false) => text.to_owned(),
            },
            is_chosen: rung.is_some_and(|rung| rung.mode == mode),
            is_barred,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_can_be_chosen_only_when_it_is_earned() {
        let now = Timestamp::from_seconds(1_767_830_400);
        let barred = |rung: Option<&Rung>, default| -> Vec<&str> {
            let params = LadderParams::default();
            let choices = choices(rung, (default, Mode::Automatic), &params, now);
            choices.into_iter().filter(|c| c.is_barred).map(|c| c.value).collect()
        };
        let mut rung = Rung::new(Mode::Approval, now);
        assert_eq!(barred(Some(&rung), Mode::DryRun), ["automatic"]);
        assert_eq!(barred(None, Mode::DryRun), ["automatic"]);
        assert!(barred(None, Mode::Automatic).is_empty(), "the configuration wants it by name");
        rung.verified = LadderParams::default().verified_successes;
        assert!(barred(Some(&rung), Mode::DryRun).is_empty());
        let capped = choices(Some(&rung), (Mode::DryRun, Mode::Approval), &LadderParams::default(), now);
        assert_eq!(capped.iter().filter(|c| c.is_barred).map(|c| c.value).collect::<Vec<_>>(), ["automatic"]);
    }
}
