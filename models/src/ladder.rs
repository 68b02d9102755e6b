//! How far a playbook may act by itself on a service, and how it earns more: from dry run to approval with time, to automatic with
//! verified successes; a failure takes a step back. Pure: what happened and when come in, where it stands comes out. What a success is
//! says [`verification`](crate::verification); who feeds the ladder and who keeps it is the server's affair.

use std::time::Duration;

use forewarn_schema::{Mode, Timestamp};
use serde::{Deserialize, Serialize};

/// What a step up costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LadderParams {
    /// How long a dry run lasts at least. Default 14 days.
    pub dry_run: Duration,
    /// So many successes in a row, verified by the forecast, before anything acts by itself. Default 20.
    pub verified_successes: u32,
}

impl Default for LadderParams {
    fn default() -> Self {
        Self { dry_run: Duration::from_secs(14 * 86_400), verified_successes: 20 }
    }
}

/// Where a playbook stands on a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// How far it may act.
    pub mode: Mode,
    /// Since when.
    pub since: Timestamp,
    /// Successes on this rung that the forecast verified, since the last failure.
    pub verified: u32,
}

/// What moves a playbook on the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LadderEvent {
    /// The predicted breach moved out and stayed out. Once per request: who tells it twice counts it twice.
    Verified,
    /// It did not help, or nobody said so in time.
    Failed,
    /// A person said no.
    Rejected,
    /// The data are no longer what was learnt from.
    Drifted,
}

impl LadderEvent {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Drifted => "drifted",
        }
    }
}

impl Rung {
    /// On `mode` since `at`, with nothing verified.
    pub fn new(mode: Mode, at: Timestamp) -> Self {
        Self { mode, since: at, verified: 0 }
    }

    /// Takes what happened at `at`; a step back starts the count anew. A rejection costs a step only where the playbook acts by
    /// itself: to an approver it is an answer, not a failure.
    #[must_use]
    pub fn after(&self, event: LadderEvent, at: Timestamp) -> Self {
        let verified = self.verified.saturating_add(1);
        match (event, self.mode) {
            // What is only said cannot have helped.
            (LadderEvent::Verified | LadderEvent::Rejected, Mode::DryRun) | (LadderEvent::Rejected, Mode::Approval) => {
                self.clone()
            }
            (LadderEvent::Verified, _) => Self { verified, ..self.clone() },
            (_, mode) => Self::new(one_less(mode), at),
        }
    }

    /// Takes what became of one request that was made on the rung `made_on` at `made_at`. A success counts only for the rung on which it
    /// was asked for, so that what was under way at a step back does not help to make up for it. A failure takes away the rung on which
    /// it was made: where that is lost already, five that were under way at once cost one step, and only the count starts anew.
    #[must_use]
    pub fn after_request(&self, event: LadderEvent, made_on: Mode, made_at: Timestamp, at: Timestamp) -> Self {
        let is_of_this_rung = made_on == self.mode && made_at >= self.since;
        match event {
            LadderEvent::Verified if !is_of_this_rung => self.clone(),
            LadderEvent::Rejected if made_on != Mode::Automatic => self.clone(),
            LadderEvent::Failed if made_on > self.mode => Self { verified: 0, ..self.clone() },
            _ => self.after(event, at),
        }
    }

    /// The next rung, where it is earned at `now`. A clock that was set back earns nothing.
    pub fn earned(&self, params: &LadderParams, now: Timestamp) -> Option<Mode> {
        match self.mode {
            Mode::DryRun => (self.since + params.dry_run <= now).then_some(Mode::Approval),
            Mode::Approval => (self.verified >= params.verified_successes).then_some(Mode::Automatic),
            Mode::Automatic => None,
        }
    }

    /// Whether going to `to` skips what it costs: only to act without being asked must be earned, as until then a person decides.
    pub fn skips(&self, to: Mode, params: &LadderParams, now: Timestamp) -> bool {
        to == Mode::Automatic && self.mode != Mode::Automatic && self.earned(params, now) != Some(Mode::Automatic)
    }
}

fn one_less(mode: Mode) -> Mode {
    match mode {
        Mode::Automatic => Mode::Approval,
        Mode::Approval | Mode::DryRun => Mode::DryRun,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * 86_400)
    }

    fn event() -> impl Strategy<Value = LadderEvent> {
        prop_oneof![
            8 => Just(LadderEvent::Verified),
            1 => Just(LadderEvent::Failed),
            1 => Just(LadderEvent::Rejected),
            1 => Just(LadderEvent::Drifted),
        ]
    }

    /// Goes up whenever it may, as the server will.
    fn climb(mut rung: Rung, params: &LadderParams, now: Timestamp) -> Rung {
        while let Some(mode) = rung.earned(params, now) {
            rung = Rung::new(mode, now);
        }
        rung
    }

    #[test]
    fn a_playbook_climbs_by_time_and_then_by_twenty_successes() {
        let params = LadderParams::default();
        let rung = Rung::new(Mode::DryRun, at(0));
        assert_eq!(rung.earned(&params, at(13)), None);
        assert_eq!(rung.earned(&params, at(14)), Some(Mode::Approval));
        let mut rung = Rung::new(Mode::Approval, at(14));
        for _ in 0..19 {
            rung = rung.after(LadderEvent::Verified, at(20));
        }
        assert_eq!(rung.earned(&params, at(1000)), None, "time alone earns nothing here");
        assert_eq!(rung.after(LadderEvent::Verified, at(21)).earned(&params, at(21)), Some(Mode::Automatic));
        assert_eq!(rung.after(LadderEvent::Failed, at(21)), Rung::new(Mode::DryRun, at(21)));
    }

    #[test]
    fn one_failure_takes_a_step_back_and_a_rejection_only_from_automatic() {
        let automatic = Rung { verified: 7, ..Rung::new(Mode::Automatic, at(0)) };
        for event in [LadderEvent::Failed, LadderEvent::Rejected, LadderEvent::Drifted] {
            assert_eq!(automatic.after(event, at(1)), Rung::new(Mode::Approval, at(1)), "{event:?}");
        }
        let approval = Rung { verified: 7, ..Rung::new(Mode::Approval, at(0)) };
        assert_eq!(approval.after(LadderEvent::Rejected, at(1)), approval);
        let dry_run = Rung::new(Mode::DryRun, at(0));
        assert_eq!(dry_run.after(LadderEvent::Verified, at(1)), dry_run);
        assert_eq!(dry_run.after(LadderEvent::Failed, at(1)).since, at(1), "a dry run that failed starts anew");
    }

    #[test]
    fn what_was_asked_on_another_rung_neither_counts_nor_costs_twice() {
        let automatic = Rung::new(Mode::Automatic, at(5));
        let fell = automatic.after_request(LadderEvent::Failed, Mode::Automatic, at(5), at(6));
        assert_eq!(fell, Rung::new(Mode::Approval, at(6)));
        // Two more of the same time were under way.
        assert_eq!(fell.after_request(LadderEvent::Verified, Mode::Automatic, at(5), at(7)), fell);
        let counted = Rung { verified: 3, ..fell.clone() };
        assert_eq!(
            counted.after_request(LadderEvent::Failed, Mode::Automatic, at(5), at(7)),
            fell,
            "one step, not two"
        );
        // An approval from before the fall is not of this rung either.
        assert_eq!(fell.after_request(LadderEvent::Verified, Mode::Approval, at(4), at(7)), fell);
        assert_eq!(fell.after_request(LadderEvent::Verified, Mode::Approval, at(6), at(7)).verified, 1);
        // While a service warms up, a playbook that may act asks a person all the same, whose no is an answer.
        assert_eq!(automatic.after_request(LadderEvent::Rejected, Mode::Approval, at(6), at(7)), automatic);
        assert_eq!(automatic.after_request(LadderEvent::Rejected, Mode::Automatic, at(6), at(7)).mode, Mode::Approval);
    }

    #[test]
    fn only_automatic_has_to_be_earned() {
        let params = LadderParams::default();
        let dry_run = Rung::new(Mode::DryRun, at(0));
        assert!(!dry_run.skips(Mode::Approval, &params, at(0)));
        assert!(dry_run.skips(Mode::Automatic, &params, at(400)), "also after a year");
        let proven = Rung { verified: 20, ..Rung::new(Mode::Approval, at(0)) };
        assert!(!proven.skips(Mode::Automatic, &params, at(0)) && !proven.skips(Mode::DryRun, &params, at(0)));
    }

    proptest! {
        #[test]
        fn nothing_is_automatic_without_twenty_successes_in_a_row(
            events in prop::collection::vec((event(), -40i64..40), 0..200),
        ) {
            let params = LadderParams::default();
            let mut rung = Rung::new(Mode::DryRun, at(0));
            let (mut day, mut in_a_row) = (0, 0);
            for (event, days) in events {
                day += days; // Clocks may jump.
                in_a_row = match (event, rung.mode) {
                    (LadderEvent::Verified, Mode::Approval) => in_a_row + 1,
                    (LadderEvent::Verified, _) | (LadderEvent::Rejected, Mode::Approval | Mode::DryRun) => in_a_row,
                    _ => 0,
                };
                let before = rung.mode;
                rung = climb(rung.after(event, at(day)), &params, at(day));
                if rung.mode == Mode::Automatic && before != Mode::Automatic {
                    prop_assert!(before == Mode::Approval && in_a_row >= 20, "{before:?} {in_a_row}");
                }
                if rung.mode != Mode::Approval {
                    in_a_row = 0;
                }
            }
        }

        #[test]
        fn no_event_but_a_success_ever_leads_up(mode in 0usize..3, verified in 0u32..60, event in event(), day in -40i64..400) {
            let modes = [Mode::DryRun, Mode::Approval, Mode::Automatic];
            let rung = Rung { verified, ..Rung::new(modes[mode], at(0)) };
            let after = rung.after(event, at(day));
            prop_assert!(after.mode <= rung.mode);
            prop_assert!(after.verified <= rung.verified || event == LadderEvent::Verified);
        }
    }
}
