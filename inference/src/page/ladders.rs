//! How far each playbook has got on its ladder and how it moved, for the lines of modes on `/requests`; and remediations that made things
//! worse, above everything else there.

use std::collections::BTreeMap;

use forewarn_plots::format_utc;
use forewarn_schema::{Mode, Timestamp};

use super::words;
use crate::app::AppState;
use crate::autonomy::Ladder;
use crate::error::AppError;
use crate::state::{LadderMove, Worsened};

/// Moves shown of a playbook.
const MOST_MOVES: usize = 8;
/// Moves looked at for all playbooks together, newest first.
const MOST_LOOKED_AT: u32 = 500;

/// What is shown of one ladder.
pub(super) struct Progress {
    /// `13 of 20 successes verified`, or until when the dry run goes.
    pub(super) text: String,
    /// The rung that waits for somebody to take it.
    pub(super) offer: Option<Offer>,
    /// Newest first.
    pub(super) moves: Vec<MoveLine>,
}

pub(super) struct Offer {
    pub(super) mode: &'static str,
    pub(super) text: &'static str,
}

pub(super) struct MoveLine {
    pub(super) what: String,
    pub(super) why: String,
    pub(super) when: String,
    /// It fell.
    pub(super) is_bad: bool,
}

/// A remediation that made things worse.
pub(super) struct WorseCard {
    pub(super) anchor: String,
    pub(super) service: String,
    pub(super) target: String,
    pub(super) playbook: String,
    pub(super) reason: String,
    pub(super) when: String,
}

/// Every ladder by service and playbook, and what was made worse.
pub(super) async fn read(
    app: &AppState,
    now: Timestamp,
) -> Result<(BTreeMap<(String, String), Progress>, Vec<WorseCard>), AppError> {
    let autonomy = app.autonomy().await?;
    let mut moves: BTreeMap<(String, String), Vec<LadderMove>> = BTreeMap::new();
    for (service, playbook, one) in app.0.store.recent_moves(MOST_LOOKED_AT).await? {
        moves.entry((service, playbook)).or_default().push(one);
    }
    let progress = autonomy.ladders.into_iter().map(|ladder| {
        let key = (ladder.service.clone(), ladder.playbook.clone());
        let moves = moves.remove(&key).unwrap_or_default();
        (key, Progress::new(&ladder, &moves, now))
    });
    let progress = progress.collect();
    Ok((progress, autonomy.worsened.into_iter().map(|worsened| worse_card(worsened, now)).collect()))
}

impl Progress {
    fn new(ladder: &Ladder, moves: &[LadderMove], now: Timestamp) -> Self {
        let of = |verified: u32, wanted: u32| format!("{} of {wanted} successes verified", verified.min(wanted));
        let text = match (ladder.rung.mode, ladder.dry_run_until) {
            (Mode::DryRun, Some(until)) if until > now => format!("dry run until {}", format_utc(until)),
            (Mode::DryRun, _) => "the dry run is over".to_owned(),
            (Mode::Approval, _) => of(ladder.rung.verified, ladder.wanted),
            (Mode::Automatic, _) => match ladder.rung.verified {
                1 => "1 success verified since it acts by itself".to_owned(),
                n => format!("{n} successes verified since it acts by itself"),
            },
        };
        let offer = ladder.earned.map(|mode| match mode {
            Mode::Automatic => Offer { mode: "automatic", text: "Earned: let it act by itself" },
            _ => Offer { mode: "approval", text: "Earned: let it ask for approval" },
        });
        Self { text, offer, moves: moves.iter().take(MOST_MOVES).map(|one| move_line(one, now)).collect() }
    }
}

fn move_line(one: &LadderMove, now: Timestamp) -> MoveLine {
    let to = match one.to {
        Mode::DryRun => "a dry run",
        Mode::Approval => "approval",
        Mode::Automatic => "automatic",
    };
    let what = match one.event.as_str() {
        "verified" => format!("success {} verified", one.verified),
        "climbed" => format!("climbed to {to}"),
        "set" => format!("set to {to} by {}", one.who),
        "forgotten" => format!("given back to the default by {}", one.who),
        _ if one.to < one.from => format!("fell to {to}"),
        "failed" => "failed, and began anew".to_owned(),
        "drifted" => "began anew".to_owned(),
        other => other.to_owned(),
    };
    MoveLine {
        what,
        why: one.reason.clone(),
        when: words::ago(one.at, now),
        is_bad: matches!(one.event.as_str(), "failed" | "rejected" | "drifted"),
    }
}

fn worse_card(worsened: Worsened, now: Timestamp) -> WorseCard {
    let request = &worsened.request;
    WorseCard {
        anchor: format!("w-{}", request.id),
        target: words::target(&request.labels, &request.service),
        playbook: request.playbook.clone().unwrap_or_else(|| "The remediation".to_owned()),
        reason: super::view::full_sentence(&worsened.verification.reason),
        when: words::ago(worsened.verification.at, now),
        service: request.service.clone(),
    }
}
