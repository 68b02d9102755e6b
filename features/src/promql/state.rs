//! What an evaluation remembers from one time to the next: which series its selectors select, where the
//! windows over them stand, what subqueries have given, and labels it has taken apart.
//!
//! Nothing in it changes a result. An evaluation that starts with an empty state gives the same bits.

use std::collections::HashMap;

use forewarn_schema::Timestamp;

use super::memo::LabelMemo;
use super::node::{LabelsSlot, RangeFunction};
use super::selector::Selector;
use super::series::StoredSeries;
use super::store::SampleStore;
use super::subquery::SubqueryState;
use super::window::{SeriesWindow, WindowView};

/// A series of which no more points than this are kept is looked at anew each time: that costs less than to remember where
/// its window stood, and most series of a server are read over five minutes. Fewer in tests, whose series are short.
const SHORT: usize = if cfg!(test) { 4 } else { 64 };

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

/// The series that a selector selects, in the store's order, and the windows over those that are long.
#[derive(Debug, Default)]
pub(super) struct Selected {
    membership: Option<u64>,
    /// In the store.
    positions: Vec<u32>,
    /// By series.
    windows: HashMap<u64, SeriesWindow>,
}

impl Selected {
    /// Selects anew where series have come or gone; the windows of those that stay are kept.
    pub(super) fn refresh(&mut self, store: &SampleStore, selector: &Selector) {
        if self.membership == Some(store.membership()) {
            return;
        }
        self.membership = Some(store.membership());
        self.positions = store.select(selector);
        if !self.windows.is_empty() {
            let mut before = std::mem::take(&mut self.windows);
            let ids = self.positions.iter().map(|position| store.series(*position).id);
            self.windows = ids.filter_map(|id| Some((id, before.remove(&id)?))).collect();
        }
    }

    /// What is selected.
    pub(super) fn series<'s>(&self, store: &'s SampleStore) -> impl Iterator<Item = &'s StoredSeries> {
        self.positions.iter().map(|position| store.series(*position))
    }

    /// Calls `visit` with each series and what its window from `start_ms` to `end_ms` holds, both ends included.
    pub(super) fn windows(
        &mut self,
        store: &SampleStore,
        function: Option<RangeFunction>,
        (start_ms, end_ms): (i64, i64),
        mut visit: impl FnMut(&StoredSeries, WindowView<'_>),
    ) {
        let mut anew = SeriesWindow::new(function);
        for position in &self.positions {
            let series = store.series(*position);
            if series.len() <= SHORT {
                anew.forget();
                visit(series, anew.slide(series, start_ms, end_ms));
            } else {
                let window = self.windows.entry(series.id).or_insert_with(|| SeriesWindow::new(function));
                visit(series, window.slide(series, start_ms, end_ms));
            }
        }
    }
}
