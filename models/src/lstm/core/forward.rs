//! Forward through time: all windows of a batch, or one row after the other with the state carried.

use pulp::{Arch, Simd, WithSimd};

use super::vector::{load, load_gates, logistic, signed_logistic, store};
use super::{Cell, GATES, GateLines, LANES, Line, MINUS_LOG2_E, ROWS, ZEROS};

/// What the backward pass needs of the forward pass. Kept from batch to batch: fresh pages cost more than the
/// sums that are written to them.
#[derive(Clone, Debug, Default)]
pub(in crate::lstm) struct Activations {
    /// Of each group of [`ROWS`] rows: `[step][block][row]`.
    pub(super) gates: Vec<GateLines>,
    pub(super) cells: Vec<Line>,
    pub(super) hidden: Vec<Line>,
}

/// What the recurrence remembers of the rows it has seen: hidden state and cell of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct LstmState {
    /// `[block]`.
    hidden: Vec<Line>,
    cell: Vec<Line>,
    rows: usize,
}

impl LstmState {
    /// Rows seen since the start.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The hidden state, padded with zeros to whole lines.
    pub(in crate::lstm) fn hidden(&self) -> impl Iterator<Item = f32> {
        self.hidden.iter().flat_map(|line| line.0)
    }
}

impl Cell {
    /// The state before the first row: zeros.
    pub(in crate::lstm) fn start(&self) -> LstmState {
        LstmState { hidden: vec![ZEROS; self.blocks()], cell: vec![ZEROS; self.blocks()], rows: 0 }
    }

    /// One row of features further.
    pub(in crate::lstm) fn advance(&self, state: &mut LstmState, row: &[f32]) {
        assert_eq!(state.cell.len(), self.blocks(), "a state of a forecaster of this hidden size");
        let before = state.clone();
        let mut sums = vec![[ZEROS; GATES]; self.blocks()];
        Arch::new().dispatch(Advance { cell: self, row, before: &before, state, sums: &mut sums });
        state.rows += 1;
    }

    /// The last hidden state of each window, `[batch, hidden]`; `windows` is `[batch, lookback, features]`.
    pub(in crate::lstm) fn run(&self, windows: &[f32], lookback: usize) -> Vec<f32> {
        let mut activations = Activations::default();
        Arch::new().dispatch(Run { cell: self, windows, lookback, keep: false, activations: &mut activations })
    }

    /// The same, and `activations` become what [`gradients`](Self::gradients) asks for.
    pub(in crate::lstm) fn run_keeping(
        &self,
        windows: &[f32],
        lookback: usize,
        activations: &mut Activations,
    ) -> Vec<f32> {
        Arch::new().dispatch(Run { cell: self, windows, lookback, keep: true, activations })
    }
}

struct Advance<'a> {
    cell: &'a Cell,
    row: &'a [f32],
    before: &'a LstmState,
    state: &'a mut LstmState,
    sums: &'a mut [GateLines],
}

impl WithSimd for Advance<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let step = Step { inputs: self.row, stride: 0, rows: 1, hidden: &self.before.hidden, cells: &self.before.cell };
        let out = Out { gates: self.sums, hidden: &mut self.state.hidden, cells: &mut self.state.cell };
        match S::F32_LANES {
            16 => step.run::<S, 1, 1, false>(simd, self.cell, out),
            8 => step.run::<S, 1, 2, false>(simd, self.cell, out),
            4 => step.run::<S, 1, 4, false>(simd, self.cell, out),
            _ => step.run::<S, 1, LANES, false>(simd, self.cell, out),
        }
    }
}

pub(super) struct Run<'a> {
    pub(super) cell: &'a Cell,
    pub(super) windows: &'a [f32],
    pub(super) lookback: usize,
    /// Whether the activations of all steps are kept, and not of two by turns.
    pub(super) keep: bool,
    pub(super) activations: &'a mut Activations,
}

impl WithSimd for Run<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        // Rows times gates must leave registers for a weight and the inputs: AVX2 has 16, the others have 32.
        match (S::F32_LANES, self.keep) {
            (16, false) => run::<S, 6, 1, false>(simd, self),
            (16, true) => run::<S, 6, 1, true>(simd, self),
            (8, false) => run::<S, 3, 2, false>(simd, self),
            (8, true) => run::<S, 3, 2, true>(simd, self),
            (4, false) => run::<S, 6, 4, false>(simd, self),
            (4, true) => run::<S, 6, 4, true>(simd, self),
            (_, false) => run::<S, 1, LANES, false>(simd, self),
            (_, true) => run::<S, 1, LANES, true>(simd, self),
        }
    }
}

#[inline(always)]
fn run<S: Simd, const M: usize, const V: usize, const KEEP: bool>(simd: S, run: Run<'_>) -> Vec<f32> {
    let Run { cell, windows, lookback, activations, .. } = run;
    let (blocks, window) = (cell.blocks(), lookback * cell.features);
    let batch = windows.len() / window;
    let steps = if KEEP { lookback } else { 2 };
    activations.make_room(if KEEP { batch } else { ROWS.min(batch) } * blocks, steps);
    let start = vec![ZEROS; ROWS.min(batch) * blocks];
    let mut last = Vec::with_capacity(batch * cell.hidden);
    for (group, windows) in windows.chunks(ROWS * window).enumerate() {
        let rows = windows.len() / window;
        let size = rows * blocks;
        let first = if KEEP { group * ROWS * blocks * lookback } else { 0 };
        let cells = &mut activations.cells[first..first + steps * size];
        let hidden = &mut activations.hidden[first..first + steps * size];
        let mut at = 0;
        for t in 0..lookback {
            let before = at;
            at = t % steps * size;
            let (cells_before, cells_now) =
                if t == 0 { (&start[..size], &mut cells[..size]) } else { two(cells, before, at, size) };
            // Zeros before the first step: nothing to multiply.
            let (hidden_before, hidden_now) =
                if t == 0 { (&[][..], &mut hidden[..size]) } else { two(hidden, before, at, size) };
            let step = Step {
                inputs: &windows[t * cell.features..],
                stride: window,
                rows,
                hidden: hidden_before,
                cells: cells_before,
            };
            let gates = &mut activations.gates[if KEEP { first + at } else { 0 }..][..size];
            step.run::<S, M, V, KEEP>(simd, cell, Out { gates, hidden: hidden_now, cells: cells_now });
        }
        let hidden = &hidden[at..at + size];
        for row in 0..rows {
            let units = hidden[row..].iter().step_by(rows).flat_map(|line| line.0);
            last.extend(units.take(cell.hidden));
        }
    }
    last
}

/// The `size` lines from `from` on, to be read, and those from `to` on, to be written.
fn two(lines: &mut [Line], from: usize, to: usize, size: usize) -> (&[Line], &mut [Line]) {
    if from < to {
        let (low, high) = lines.split_at_mut(to);
        (&low[from..from + size], &mut high[..size])
    } else {
        let (low, high) = lines.split_at_mut(from);
        (&high[..size], &mut low[to..to + size])
    }
}

impl Activations {
    fn make_room(&mut self, lines: usize, steps: usize) {
        let size = lines * steps;
        if self.hidden.len() < size {
            self.gates.resize(size, [ZEROS; GATES]);
            self.cells.resize(size, ZEROS);
            self.hidden.resize(size, ZEROS);
        }
    }
}

/// One step in time of a group of rows: what comes in.
struct Step<'a> {
    /// The features of row `r` begin at `r * stride`.
    inputs: &'a [f32],
    stride: usize,
    rows: usize,
    /// `[block][row]`, before this step; empty stands for zeros.
    hidden: &'a [Line],
    cells: &'a [Line],
}

/// What comes out of it, `[block][row]`.
struct Out<'a> {
    gates: &'a mut [GateLines],
    hidden: &'a mut [Line],
    cells: &'a mut [Line],
}

impl Step<'_> {
    /// `M` rows at a time, `V` vectors a line. With `KEEP` the gates come out, without it their sums.
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize, const KEEP: bool>(&self, simd: S, cell: &Cell, out: Out<'_>) {
        let (rows, padded) = (self.rows, cell.blocks() * LANES);
        for block in 0..cell.blocks() {
            let these = block * rows..(block + 1) * rows;
            let gates = &mut out.gates[these.clone()];
            let input = &cell.input[block * cell.features..][..cell.features];
            let recurrent = &cell.recurrent[block * padded..][..padded];
            let mut row = 0;
            while row + M <= rows {
                self.gate_sums::<S, M, V>(simd, input, recurrent, &cell.bias[block], row, gates);
                row += M;
            }
            while row + 2 <= rows {
                self.gate_sums::<S, 2, V>(simd, input, recurrent, &cell.bias[block], row, gates);
                row += 2;
            }
            if row < rows {
                self.gate_sums::<S, 1, V>(simd, input, recurrent, &cell.bias[block], row, gates);
            }
            let (hidden, cells) = (&mut out.hidden[these.clone()], &mut out.cells[these.clone()]);
            activate::<S, V, KEEP>(simd, gates, &self.cells[these], cells, hidden);
        }
    }

    /// The scaled sums of the gates of `M` rows and one block: the bias, then the features, then the hidden
    /// state, one after the other.
    #[inline(always)]
    fn gate_sums<S: Simd, const M: usize, const V: usize>(
        &self,
        simd: S,
        input: &[GateLines],
        recurrent: &[GateLines],
        bias: &GateLines,
        row: usize,
        gates: &mut [GateLines],
    ) {
        let gates = &mut gates[row..row + M];
        let inputs: [&[f32]; M] = std::array::from_fn(|r| &self.inputs[(row + r) * self.stride..][..input.len()]);
        let (recurrent, _) = recurrent.as_chunks::<LANES>();
        for v in 0..V {
            let mut sums = [load_gates::<S>(bias, v); M];
            for (k, weights) in input.iter().enumerate() {
                let values: [S::f32s; M] = std::array::from_fn(|r| simd.splat_f32s(inputs[r][k]));
                add_products(simd, &values, weights, v, &mut sums);
            }
            for (hidden, weights) in self.hidden.chunks_exact(self.rows).zip(recurrent) {
                let hidden = &hidden[row..row + M];
                for (k, weights) in weights.iter().enumerate() {
                    let values: [S::f32s; M] = std::array::from_fn(|r| simd.splat_f32s(hidden[r].0[k]));
                    add_products(simd, &values, weights, v, &mut sums);
                }
            }
            for (gates, sums) in gates.iter_mut().zip(sums) {
                for (gate, sum) in gates.iter_mut().zip(sums) {
                    store::<S>(gate, v, sum);
                }
            }
        }
    }
}

/// `sums[row][gate] += values[row] * weights[gate]`. The gate outside: the values and one weight in registers.
#[inline(always)]
fn add_products<S: Simd, const M: usize>(
    simd: S,
    values: &[S::f32s; M],
    weights: &GateLines,
    v: usize,
    sums: &mut [[S::f32s; GATES]; M],
) {
    for gate in 0..GATES {
        let weight = load::<S>(&weights[gate], v);
        for r in 0..M {
            sums[r][gate] = simd.mul_add_f32s(values[r], weight, sums[r][gate]);
        }
    }
}

/// `c = f c + i g`, `h = o tanh(c)` for every row of a block; `gates` holds the scaled sums, and with `KEEP` the
/// gates afterwards. A pass of its own: the exponentials of several rows overlap, which they do not between
/// two matrix products.
#[inline(always)]
fn activate<S: Simd, const V: usize, const KEEP: bool>(
    simd: S,
    gates: &mut [GateLines],
    cells_before: &[Line],
    cells: &mut [Line],
    hidden: &mut [Line],
) {
    for (((gates, before), cell), hidden) in gates.iter_mut().zip(cells_before).zip(cells).zip(hidden) {
        for v in 0..V {
            let [input, forget, output, candidate] = load_gates::<S>(gates, v);
            let input = logistic(simd, input);
            let forget = logistic(simd, forget);
            let output = logistic(simd, output);
            let candidate = signed_logistic(simd, candidate);
            let now = simd.mul_add_f32s(forget, load::<S>(before, v), simd.mul_f32s(input, candidate));
            let seen = signed_logistic(simd, simd.mul_f32s(now, simd.splat_f32s(2.0 * MINUS_LOG2_E)));
            store::<S>(cell, v, now);
            store::<S>(hidden, v, simd.mul_f32s(output, seen));
            if KEEP {
                store::<S>(&mut gates[0], v, input);
                store::<S>(&mut gates[1], v, forget);
                store::<S>(&mut gates[2], v, output);
                store::<S>(&mut gates[3], v, candidate);
            }
        }
    }
}
