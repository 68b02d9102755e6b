//! What an evaluation remembers from one time to the next: which series its selectors select, where the
//! windows over them stand, what subqueries have given, and labels it has taken apart.
//!
//! Nothing in it changes a result. An evaluation that starts with an empty state gives the same bits.

use std::collections::HashMap;

use forewarn_schema::Timestamp;

use super::memo::LabelMemo;
use super::node::{LabelsSlot, RangeFunction};
use super::selector::Selector;
use super::store::SampleStore;
use super::subquery::SubqueryState;
use super::window::SeriesWindow;

/// How many places an expression needs; counted when it is parsed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots {
    pub(super) selects: usize,
    pub(super) subqueries: usize,
    pub(super) labels: usize,
}

/// See the module. It belongs to one expression and one store.
#[derive(Debug)]
pub(super) struct State {
    pub(super) selects: Vec<Selected>,
    pub(super) subqueries: Vec<SubqueryState>,
    labels: Vec<LabelMemo>,
}

impl State {
    /// One that remembers nothing.
    pub(super) fn new(slots: Slots) -> Self {
        Self {
            selects: (0..slots.selects).map(|_| Selected::default()).collect(),
            subqueries: (0..slots.subqueries).map(|_| SubqueryState::default()).collect(),
            labels: (0..slots.labels).map(|_| LabelMemo::default()).collect(),
        }
    }

    /// The memo at `slot`, for `elements` elements.
    pub(super) fn labels(&mut self, slot: LabelsSlot, elements: usize) -> &mut LabelMemo {
        let memo = &mut self.labels[slot.0];
        memo.start(elements);
        memo
    }

    /// A sample at `at` has come to the store: what was evaluated from then on may be different now.
    pub(super) fn sample_came(&mut self, at: Timestamp) {
        self.subqueries.iter_mut().for_each(|subquery| subquery.take_back(at));
    }
}

/// The series that a selector selects, in the store's order, and the windows over them.
#[derive(Debug, Default)]
pub(super) struct Selected {
    membership: Option<u64>,
    pub(super) series: Vec<SelectedSeries>,
}

/// See [`Selected`].
#[derive(Debug)]
pub(super) struct SelectedSeries {
    /// In the store.
    pub(super) position: usize,
    id: u64,
    pub(super) window: SeriesWindow,
}

impl Selected {
    /// Selects anew where series have come or gone; the windows of those that stay are kept.
    pub(super) fn refresh(&mut self, store: &SampleStore, selector: &Selector, function: Option<RangeFunction>) {
        if self.membership == Some(store.membership()) {
            return;
        }
        self.membership = Some(store.membership());
        let mut windows: HashMap<u64, SeriesWindow> = self.series.drain(..).map(|s| (s.id, s.window)).collect();
        self.series.extend(store.select(selector).into_iter().map(|position| {
            let id = store.series(position).id;
            let window = windows.remove(&id).unwrap_or_else(|| SeriesWindow::new(function));
            SelectedSeries { position, id, window }
        }));
    }
}
