//! `[autonomy]`: how playbooks earn to act by themselves, and how far each may ever go.

use std::collections::BTreeMap;
use std::time::Duration;

use forewarn_features::SignalSet;
use forewarn_inference::{AutonomyOptions, Climb};
use forewarn_models::guardrails::NO_PLAYBOOK;
use forewarn_models::ladder::LadderParams;
use forewarn_models::verification::VerificationParams;
use forewarn_schema::{Mode, Step, format_duration};
use serde::Deserialize;

use super::ConfigError;
use super::file::ConfigFile;
use super::load::closest;
use super::resolve::Place;
use super::units::Span;

const SECTION: &str = "autonomy";
/// A dry run that is shorter shows nothing.
const SHORTEST_DRY_RUN: Duration = Duration::from_secs(3600);
/// Less is no hold: so many steps at least.
const LEAST_STEPS: u32 = 5;
/// Who waits longer for one success waits for ever.
const LONGEST_HOLD: Duration = Duration::from_secs(7 * 86_400);

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AutonomySection {
    climb: Climb,
    highest: Mode,
    /// Of single playbooks, by name.
    playbooks: BTreeMap<String, Mode>,
    dry_run: Span,
    verified_successes: u32,
    settling: Span,
    /// Left out: an hour, or five steps where they are longer.
    hold: Option<Span>,
    outcome_grace: Span,
}

impl Default for AutonomySection {
    fn default() -> Self {
        let AutonomyOptions { ladder, verification, climb, highest, playbooks } = AutonomyOptions::default();
        Self {
            climb,
            highest,
            playbooks,
            dry_run: Span(ladder.dry_run),
            verified_successes: ladder.verified_successes,
            settling: Span(verification.settling),
            hold: None,
            outcome_grace: Span(verification.outcome_grace),
        }
    }
}

/// What may be left to a slip of the pen is refused: a cap on a playbook that there is not, a default above the cap, a ladder without
/// rungs.
pub(super) fn autonomy(
    place: &Place<'_>,
    file: &ConfigFile,
    signals: &SignalSet,
    step: Step,
) -> Result<AutonomyOptions, ConfigError> {
    let section = &file.autonomy;
    let wrong = |key: &str, what: String| place.wrong(SECTION, 0, key, what);
    if section.verified_successes == 0 {
        return Err(wrong(
            "verified_successes",
            "must be at least 1; to let a playbook act unearned, set its mode".to_owned(),
        ));
    }
    if section.dry_run.0 < SHORTEST_DRY_RUN {
        let (least, got) = (format_duration(SHORTEST_DRY_RUN), format_duration(section.dry_run.0));
        return Err(wrong("dry_run", format!("must be at least {least}, got {got}")));
    }
    let least = step.duration() * LEAST_STEPS;
    let hold = section.hold.as_ref().map_or(VerificationParams::default().hold.max(least), |hold| hold.0);
    if hold < least || hold > LONGEST_HOLD {
        let (least, most) = (format_duration(least), format_duration(LONGEST_HOLD));
        let got = format_duration(hold);
        return Err(wrong("hold", format!("must be {least} ({LEAST_STEPS} steps) to {most}, got {got}")));
    }
    let known: Vec<&str> = signals.iter().filter_map(|s| s.playbook.as_deref()).chain([NO_PLAYBOOK]).collect();
    if let Some(unknown) = section.playbooks.keys().find(|name| !known.contains(&name.as_str())) {
        let meant = closest(unknown, known.iter().copied()).map(|name| format!(", did you mean {name:?}?"));
        let what = format!("no signal has the playbook {unknown:?}{}", meant.unwrap_or_default());
        return Err(place.wrong("autonomy.playbooks", 0, unknown, what));
    }
    if file.requests.mode > section.highest {
        let what = "must not be above [autonomy] highest, which no playbook passes".to_owned();
        return Err(place.wrong("requests", 0, "mode", what));
    }
    Ok(AutonomyOptions {
        ladder: LadderParams { dry_run: section.dry_run.0, verified_successes: section.verified_successes },
        verification: VerificationParams { settling: section.settling.0, hold, outcome_grace: section.outcome_grace.0 },
        climb: section.climb,
        highest: section.highest,
        playbooks: section.playbooks.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn read(text: &str) -> Result<AutonomyOptions, String> {
        let config = Config::from_text(Path::new("/etc/forewarn.toml"), text, &[]);
        config.map(|config| config.requests.autonomy).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_not_written_is_the_careful_default() {
        assert_eq!(read("").unwrap(), AutonomyOptions::default());
        assert_eq!(AutonomyOptions::default().climb, Climb::Offer, "nothing acts by itself that nobody let");
        let set = read(
            "[autonomy]\nclimb = \"by_itself\"\nhold = \"2h\"\n[autonomy.playbooks]\nrestart-pod = \"approval\"\n",
        );
        let set = set.unwrap();
        assert_eq!((set.climb, set.verification.hold.as_secs()), (Climb::ByItself, 7200));
        assert_eq!(set.highest_of("restart-pod"), Mode::Approval);
    }

    #[test]
    fn what_would_skip_a_rung_by_a_slip_is_refused() {
        for (text, says) in [
            ("[autonomy]\nverified_successes = 0\n", ":2: [autonomy] verified_successes: must be at least 1"),
            ("[autonomy]\ndry_run = \"30m\"\n", ":2: [autonomy] dry_run: must be at least 1h, got 30m"),
            ("[autonomy]\nhold = \"60s\"\n", ":2: [autonomy] hold: must be 5m (5 steps) to 1w"),
            (
                "[autonomy.playbooks]\nrestart-pood = \"approval\"\n",
                "no signal has the playbook \"restart-pood\", did you mean \"restart-pod\"?",
            ),
            (
                "[autonomy]\nhighest = \"approval\"\n[requests]\nmode = \"automatic\"\n",
                ":4: [requests] mode: must not be above",
            ),
            ("[autonomy]\nclimb = \"always\"\n", "wanted one of offer, by_itself"),
            ("[autonomy]\nhighst = \"approval\"\n", "highest"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
