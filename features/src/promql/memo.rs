//! Label sets made from other label sets, remembered from one step to the next: the series of a window are
//! mostly those of the step before, and taking labels apart costs more than the arithmetic on values.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use forewarn_schema::LabelSet;

use super::eval::EvalError;
use super::value::Element;

/// Remembers what one node of an expression made of which labels. What comes out is the same object
/// wherever it is equal, so that it may be compared by address.
#[derive(Debug, Default)]
pub(super) struct LabelMemo {
    /// By the address of what it was made from, which is held so that it is not used again.
    made: HashMap<usize, Made<Arc<LabelSet>>>,
    made_from_two: HashMap<(usize, usize), Made<[Arc<LabelSet>; 2]>>,
    known: HashSet<Arc<LabelSet>>,
}

#[derive(Debug)]
struct Made<F> {
    _from: F,
    labels: Arc<LabelSet>,
}

impl LabelMemo {
    /// Forgets what `elements` elements a step cannot all have needed.
    pub(super) fn start(&mut self, elements: usize) {
        if self.made.len() + self.made_from_two.len() > 1024 + elements * 4 {
            self.made.clear();
            self.made_from_two.clear();
            self.known.clear();
        }
    }

    /// `make` of `from`, which must depend on nothing else.
    pub(super) fn make(&mut self, from: &Arc<LabelSet>, make: impl FnOnce(&LabelSet) -> LabelSet) -> Arc<LabelSet> {
        if let Some(made) = self.made.get(&address(from)) {
            return Arc::clone(&made.labels);
        }
        let labels = self.one_object(make(from));
        self.made.insert(address(from), Made { _from: Arc::clone(from), labels: Arc::clone(&labels) });
        labels
    }

    /// `make` of `a` and `b`, which must depend on nothing else.
    pub(super) fn make_from_two(
        &mut self,
        a: &Arc<LabelSet>,
        b: &Arc<LabelSet>,
        make: impl FnOnce(&LabelSet, &LabelSet) -> LabelSet,
    ) -> Arc<LabelSet> {
        let key = (address(a), address(b));
        if let Some(made) = self.made_from_two.get(&key) {
            return Arc::clone(&made.labels);
        }
        let labels = self.one_object(make(a, b));
        self.made_from_two.insert(key, Made { _from: [Arc::clone(a), Arc::clone(b)], labels: Arc::clone(&labels) });
        labels
    }

    fn one_object(&mut self, labels: LabelSet) -> Arc<LabelSet> {
        if let Some(known) = self.known.get(&labels) {
            return Arc::clone(known);
        }
        let labels = Arc::new(labels);
        self.known.insert(Arc::clone(&labels));
        labels
    }
}

/// What two label sets of one memo have in common only where they are equal.
pub(super) fn address(labels: &Arc<LabelSet>) -> usize {
    Arc::as_ptr(labels) as usize
}

/// Refuses elements with the same labels. All labels must come from one memo.
pub(super) fn distinct(elements: Vec<Element>) -> Result<Vec<Element>, EvalError> {
    let mut seen = HashSet::with_capacity(elements.len());
    for element in &elements {
        if !seen.insert(address(&element.labels)) {
            return Err(EvalError::SameLabels((*element.labels).clone()));
        }
    }
    Ok(elements)
}

/// Numbers label sets in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct LabelNumbers {
    /// By address, which is held so that it is not used again.
    by_address: HashMap<usize, (Arc<LabelSet>, usize)>,
    by_labels: HashMap<Arc<LabelSet>, usize>,
}

impl LabelNumbers {
    /// The number of `labels`; where they are new, how many there were before.
    pub(super) fn number(&mut self, labels: &Arc<LabelSet>) -> usize {
        if let Some((_, number)) = self.by_address.get(&address(labels)) {
            return *number;
        }
        let next = self.by_labels.len();
        let number = *self.by_labels.entry(Arc::clone(labels)).or_insert(next);
        if self.by_address.len() > 1024 + self.by_labels.len() * 4 {
            self.by_address.clear();
        }
        self.by_address.insert(address(labels), (Arc::clone(labels), number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_results_are_one_object() {
        let (a, b) = (Arc::new(LabelSet::from([("pod", "a")])), Arc::new(LabelSet::from([("pod", "b")])));
        let mut memo = LabelMemo::default();
        let without = |l: &LabelSet| l.without(&["pod"]);
        assert_eq!(address(&memo.make(&a, without)), address(&memo.make(&b, without)));
        let twice = vec![Element::float(memo.make(&a, without), 1.0), Element::float(memo.make(&b, without), 2.0)];
        assert_eq!(distinct(twice).unwrap_err(), EvalError::SameLabels(LabelSet::new()));
    }
}
