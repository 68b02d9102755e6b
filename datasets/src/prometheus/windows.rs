//! Which stretch of time to ask for next, where raw samples are asked for: a day, or as much of it as the server can.

use forewarn_schema::{TimeRange, Timestamp};

const DAY: i64 = 86_400_000;
/// A day can be halved so often and is still whole milliseconds; a window then has 84 seconds.
const HALVINGS: u32 = 10;
/// After so many answers in a row, twice as much is asked for again.
const ANSWERS_TO_GROW: u32 = 16;

/// The windows of a range, first to last. Their bounds are multiples of their size in Unix time, but for the ends of
/// the range: two pulls ask the same of a server that caches.
#[derive(Debug)]
pub(super) struct Windows {
    rest: TimeRange,
    /// A day, halved.
    size: i64,
    answers: u32,
}

impl Windows {
    pub(super) fn of(range: TimeRange) -> Self {
        Self { rest: range, size: DAY, answers: 0 }
    }

    /// What to ask for now; the same until it is answered or too much.
    pub(super) fn current(&self) -> Option<TimeRange> {
        let bound = self.rest.start.millis().div_euclid(self.size).saturating_add(1).saturating_mul(self.size);
        let window = TimeRange { end: self.rest.end.min(Timestamp::from_millis(bound)), ..self.rest };
        (!window.is_empty()).then_some(window)
    }

    /// The current one is done.
    pub(super) fn answered(&mut self) {
        let Some(window) = self.current() else { return };
        self.rest.start = window.end;
        self.answers += 1;
        if self.answers >= ANSWERS_TO_GROW && self.size < DAY {
            (self.size, self.answers) = (self.size * 2, 0);
        }
    }

    /// The current one was too much. Whether there is a shorter one.
    pub(super) fn halve(&mut self) -> bool {
        let Some(window) = self.current() else { return false };
        let span = window.end.millis() - window.start.millis();
        self.answers = 0;
        // The window may be a part of its size, at either end of the range; half of the size may be no shorter.
        while self.size > DAY >> HALVINGS {
            self.size /= 2;
            let shorter = self.current().is_some_and(|w| w.end.millis() - w.start.millis() < span);
            if shorter {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_cover_the_range_once_whatever_is_too_much(
            start in -3 * DAY..3 * DAY, span in 0_i64..5 * DAY, most in 60_000_i64..2 * DAY,
        ) {
            let range = TimeRange { start: Timestamp::from_millis(start), end: Timestamp::from_millis(start + span) };
            let mut windows = Windows::of(range);
            let (mut covered, mut asked) = (range.start, 0);
            while let Some(window) = windows.current() {
                asked += 1;
                prop_assert!(asked < 20_000);
                prop_assert_eq!(window.start, covered);
                prop_assert!(window.end <= range.end);
                if window.end.millis() - window.start.millis() > most {
                    if !windows.halve() {
                        prop_assert!(most < DAY >> HALVINGS);
                        return Ok(());
                    }
                } else {
                    covered = window.end;
                    windows.answered();
                }
            }
            prop_assert_eq!(covered, range.end);
        }
    }

    #[test]
    fn bounds_are_multiples_of_the_size_and_it_grows_back() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let range = TimeRange { start: at("2026-01-01T22:00:00Z"), end: at("2026-01-03T01:00:00Z") };
        let mut windows = Windows::of(range);
        assert_eq!(windows.current().unwrap().end, at("2026-01-02T00:00:00Z"));
        windows.answered();
        assert!(windows.halve() && windows.halve());
        assert_eq!(windows.current().unwrap().end, at("2026-01-02T06:00:00Z"));
        for _ in 0..ANSWERS_TO_GROW {
            windows.answered();
        }
        assert_eq!(windows.current(), None);
    }
}
