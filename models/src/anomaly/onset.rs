//! Says a thing once: a strength passes where it is far above what was said in the last while, and is nothing elsewhere.
//! What builds up is so said at its start and again when it has become something else, and not row by row.

/// Rows for which what was said keeps what is like it quiet.
const WHILE: u64 = 100;
/// How many times as strong something must be to be said in spite of that.
const FAR_ABOVE: f64 = 3.0;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Onset {
    /// Weaker than this is nothing.
    least: f64,
    /// Row and strength of what was said last: also the strongest of the last while, since each was far above the last.
    said: Option<(u64, f64)>,
    row: u64,
}

impl Onset {
    pub(super) fn new(least: f64) -> Self {
        Self { least, said: None, row: 0 }
    }

    /// `strength` where it is to be said.
    pub(super) fn push(&mut self, strength: f64) -> Option<f64> {
        self.row += 1;
        let quiet = self.said.is_some_and(|(row, said)| self.row <= row + WHILE && strength <= FAR_ABOVE * said);
        if strength < self.least || quiet {
            return None;
        }
        self.said = Some((self.row, strength));
        self.said.map(|(_, strength)| strength)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_said_once_in_a_while_or_when_it_is_far_stronger() {
        let mut onset = Onset::new(2.0);
        let said: Vec<_> = [1.0, 2.0, 5.0, 6.5, 19.5, 20.0].into_iter().map(|s| onset.push(s)).collect();
        assert_eq!(said, [None, Some(2.0), None, Some(6.5), None, Some(20.0)]);
        for _ in 0..WHILE {
            assert_eq!(onset.push(4.0), None);
        }
        assert_eq!(onset.push(4.0), Some(4.0));
    }
}
