//! Backward through time: from the derivatives of a loss by the last hidden states to those by the weights.

use pulp::{Arch, Simd, WithSimd};

use super::forward::Activations;
use super::vector::{load, load_gates, store};
use super::{GATES, GateLines, LANES, Line, ROWS, ZEROS};

/// Derivatives of the loss.
pub(in crate::lstm) struct Gradients {
    /// By the weights of features and hidden state, one matrix below the other: `[features + hidden, 4 * hidden]`.
    pub(in crate::lstm) weight: Vec<f32>,
    /// By the bias, `[4 * hidden]`.
    pub(in crate::lstm) bias: Vec<f32>,
    /// By the windows, `[batch, lookback, features]`, if asked for.
    pub(in crate::lstm) windows: Option<Vec<f32>>,
}

/// A forward pass that is to be gone through backwards.
pub(in crate::lstm) struct Passed<'a> {
    /// `[features + hidden, 4 * hidden]`: not scaled, as the tensor library keeps them.
    pub(in crate::lstm) weight: &'a [f32],
    /// `[batch, lookback, features]`.
    pub(in crate::lstm) windows: &'a [f32],
    pub(in crate::lstm) lookback: usize,
    pub(in crate::lstm) features: usize,
    pub(in crate::lstm) hidden: usize,
    /// As [`Cell::run_keeping`](super::Cell::run_keeping) left them.
    pub(in crate::lstm) activations: &'a Activations,
}

impl Passed<'_> {
    /// The gradients, given those by the last hidden states, `[batch, hidden]`.
    pub(in crate::lstm) fn gradients(&self, by_last: &[f32], of_windows: bool) -> Gradients {
        let width = GATES * self.hidden;
        let (input, recurrent) = self.weight.split_at(self.features * width);
        let blocks = self.hidden.div_ceil(LANES);
        let mut sums = Sums {
            input: vec![[ZEROS; GATES]; blocks * self.features],
            recurrent: vec![[ZEROS; GATES]; blocks * blocks * LANES],
            bias: vec![[ZEROS; GATES]; blocks],
            windows: vec![0.0; if of_windows { self.windows.len() } else { 0 }],
        };
        Arch::new().dispatch(Backward {
            passed: self,
            by_last,
            blocks,
            to_hidden: &transposed(recurrent, width),
            to_inputs: &if of_windows { transposed(input, width) } else { vec![] },
            sums: &mut sums,
        });
        let mut weight = self.rows(&sums.input, self.features, self.features);
        weight.extend(self.rows(&sums.recurrent, blocks * LANES, self.hidden));
        let bias = self.rows(&sums.bias, 1, 1);
        Gradients { weight, bias, windows: of_windows.then_some(sums.windows) }
    }

    /// Of `[block][row of stride]` the first `rows`, each as `[4 * hidden]`.
    fn rows(&self, lines: &[GateLines], stride: usize, rows: usize) -> Vec<f32> {
        let mut flat = Vec::with_capacity(rows * GATES * self.hidden);
        for row in 0..rows {
            for gate in 0..GATES {
                let units = lines[row..].iter().step_by(stride).flat_map(|lines| lines[gate].0);
                flat.extend(units.take(self.hidden));
            }
        }
        flat
    }
}

/// The matrix `[rows, 4 * hidden]` turned round: `[line of rows][block][gate][hidden unit]`, the lines padded.
fn transposed(matrix: &[f32], width: usize) -> Vec<[Line; LANES]> {
    let hidden = width / GATES;
    let mut out = Vec::new();
    for rows in matrix.chunks(LANES * width) {
        for block in 0..hidden.div_ceil(LANES) {
            for gate in 0..GATES {
                let mut lines = [ZEROS; LANES];
                for (lane, row) in rows.chunks_exact(width).enumerate() {
                    let units = &row[gate * hidden..(gate + 1) * hidden][block * LANES..];
                    for (line, weight) in lines.iter_mut().zip(units) {
                        line.0[lane] = *weight;
                    }
                }
                out.push(lines);
            }
        }
    }
    out
}

/// Gradients while they are summed up, laid out as in [`Cell`](super::Cell).
struct Sums {
    input: Vec<GateLines>,
    recurrent: Vec<GateLines>,
    bias: Vec<GateLines>,
    windows: Vec<f32>,
}

struct Backward<'a> {
    passed: &'a Passed<'a>,
    by_last: &'a [f32],
    blocks: usize,
    to_hidden: &'a [[Line; LANES]],
    /// Empty unless the gradients of the windows are asked for.
    to_inputs: &'a [[Line; LANES]],
    sums: &'a mut Sums,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Rows of a product, vectors in a line, gates of an outer product at once: as the registers allow.
        match S::F32_LANES {
            16 => self.run::<S, 12, 1, 4>(simd),
            8 => self.run::<S, 6, 2, 1>(simd),
            4 => self.run::<S, 6, 4, 1>(simd),
            _ => self.run::<S, 1, LANES, 1>(simd),
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize, const L: usize>(self, simd: S) {
        let Self { passed, by_last, blocks, to_hidden, to_inputs, sums } = self;
        let (lookback, features, padded) = (passed.lookback, passed.features, blocks * LANES);
        let window = lookback * features;
        let mut by_hidden = vec![ZEROS; ROWS * blocks];
        let mut by_cell = vec![ZEROS; ROWS * blocks];
        let mut by_gates = vec![ZEROS; ROWS * blocks * GATES];
        let mut by_inputs = [ZEROS; ROWS];
        let groups = passed.windows.chunks(ROWS * window).zip(by_last.chunks(ROWS * passed.hidden));
        for (group, (windows, by_last)) in groups.enumerate() {
            let rows = windows.len() / window;
            let size = rows * blocks;
            let first = group * ROWS * blocks * lookback;
            let gates = &passed.activations.gates[first..first + lookback * size];
            let cells = &passed.activations.cells[first..first + lookback * size];
            let hidden = &passed.activations.hidden[first..first + lookback * size];
            let by_gates = &mut by_gates[..size * GATES];
            by_hidden.fill(ZEROS);
            by_cell.fill(ZEROS);
            for (row, units) in by_last.chunks_exact(passed.hidden).enumerate() {
                for (block, units) in units.chunks(LANES).enumerate() {
                    by_hidden[block * rows + row].0[..units.len()].copy_from_slice(units);
                }
            }
            for t in (0..lookback).rev() {
                for block in 0..blocks {
                    let at = t * size + block * rows;
                    let before = t.checked_sub(1).map(|_| &cells[at - size..at - size + rows]);
                    let step = CellStep { gates: &gates[at..at + rows], before, hidden: &hidden[at..at + rows] };
                    step.run::<S, V>(
                        simd,
                        &by_hidden[block * rows..][..rows],
                        &mut by_cell[block * rows..][..rows],
                        &mut by_gates[block * GATES * rows..][..GATES * rows],
                        &mut sums.bias[block],
                    );
                }
                for block in 0..blocks {
                    let input = &mut sums.input[block * features..][..features];
                    let recurrent = &mut sums.recurrent[block * padded..][..padded];
                    for gate in (0..GATES).step_by(L) {
                        let by_gates: [&[Line]; L] =
                            std::array::from_fn(|l| &by_gates[(block * GATES + gate + l) * rows..][..rows]);
                        let inputs = windows.chunks_exact(window).map(|window| &window[t * features..][..features]);
                        add_outer_of_inputs::<S, L, V>(simd, inputs, by_gates, input, gate);
                        if t == 0 {
                            continue;
                        }
                        let before = hidden[(t - 1) * size..t * size].chunks_exact(rows);
                        for (before, sums) in before.zip(recurrent.chunks_exact_mut(LANES)) {
                            let units = before.iter().map(|line| &line.0[..]);
                            add_outer::<S, 6, L, V>(simd, units.clone(), by_gates, 0, sums, gate);
                            add_outer::<S, 6, L, V>(simd, units.clone(), by_gates, 6, sums, gate);
                            add_outer::<S, 4, L, V>(simd, units, by_gates, 12, sums, gate);
                        }
                    }
                }
                for (line, weights) in to_inputs.chunks_exact(blocks * GATES).enumerate() {
                    product::<S, M, V>(simd, by_gates, weights, &mut by_inputs[..rows]);
                    for (row, by_input) in by_inputs[..rows].iter().enumerate() {
                        let at = (group * ROWS + row) * window + t * features;
                        let to = &mut sums.windows[at..at + features][line * LANES..];
                        let count = to.len().min(LANES);
                        to[..count].copy_from_slice(&by_input.0[..count]);
                    }
                }
                if t > 0 {
                    for (weights, by_hidden) in
                        to_hidden.chunks_exact(blocks * GATES).zip(by_hidden.chunks_exact_mut(rows))
                    {
                        product::<S, M, V>(simd, by_gates, weights, by_hidden);
                    }
                }
            }
        }
    }
}

/// One step of one block, as the forward pass left it.
struct CellStep<'a> {
    gates: &'a [GateLines],
    /// The cells before the step; zeros if it is the first.
    before: Option<&'a [Line]>,
    hidden: &'a [Line],
}

impl CellStep<'_> {
    /// From the gradients by the new hidden state and cell to those by the cell before, the sums of the gates
    /// `[gate][row]`, and the bias.
    #[inline(always)]
    fn run<S: Simd, const V: usize>(
        &self,
        simd: S,
        by_hidden: &[Line],
        by_cell: &mut [Line],
        by_gates: &mut [Line],
        by_bias: &mut GateLines,
    ) {
        let rows = self.gates.len();
        let (by_input, by_gates) = by_gates.split_at_mut(rows);
        let (by_forget, by_gates) = by_gates.split_at_mut(rows);
        let (by_output, by_candidate) = by_gates.split_at_mut(rows);
        let (hidden, by_hidden, by_cell) = (&self.hidden[..rows], &by_hidden[..rows], &mut by_cell[..rows]);
        let by_candidate = &mut by_candidate[..rows];
        for v in 0..V {
            let one = simd.splat_f32s(1.0);
            let mut bias = load_gates::<S>(by_bias, v);
            for row in 0..rows {
                let [input, forget, output, candidate] = load_gates::<S>(&self.gates[row], v);
                let hidden = load::<S>(&hidden[row], v);
                let by_hidden = load::<S>(&by_hidden[row], v);
                // h = o tanh(c) was kept, tanh(c) was not. An output gate is never below 2^-127.
                let seen = simd.div_f32s(hidden, output);
                let output_slope = simd.sub_f32s(one, output);
                let output = {
                    let through_cell = simd.negate_mul_add_f32s(hidden, seen, output);
                    let by_now = simd.mul_add_f32s(by_hidden, through_cell, load::<S>(&by_cell[row], v));
                    let input_slope = simd.negate_mul_add_f32s(input, input, input);
                    let candidate_slope = simd.negate_mul_add_f32s(candidate, candidate, one);
                    let by_input_sum = simd.mul_f32s(simd.mul_f32s(by_now, candidate), input_slope);
                    let by_candidate_sum = simd.mul_f32s(simd.mul_f32s(by_now, input), candidate_slope);
                    let by_before = simd.mul_f32s(by_now, forget);
                    let by_forget_sum = match self.before {
                        Some(before) => {
                            let kept = simd.mul_f32s(by_before, load::<S>(&before[row], v));
                            simd.mul_f32s(kept, simd.sub_f32s(one, forget))
                        }
                        None => simd.splat_f32s(0.0),
                    };
                    store::<S>(&mut by_cell[row], v, by_before);
                    store::<S>(&mut by_input[row], v, by_input_sum);
                    store::<S>(&mut by_forget[row], v, by_forget_sum);
                    store::<S>(&mut by_candidate[row], v, by_candidate_sum);
                    bias[0] = simd.add_f32s(bias[0], by_input_sum);
                    bias[1] = simd.add_f32s(bias[1], by_forget_sum);
                    bias[3] = simd.add_f32s(bias[3], by_candidate_sum);
                    simd.mul_f32s(simd.mul_f32s(by_hidden, hidden), output_slope)
                };
                store::<S>(&mut by_output[row], v, output);
                bias[2] = simd.add_f32s(bias[2], output);
            }
            for (to, sum) in by_bias.iter_mut().zip(bias) {
                store::<S>(to, v, sum);
            }
        }
    }
}

/// `out[row] = sum over lines and lanes of by_gates[line][row][lane] * weights[line][lane]`, `M` rows at a time.
#[inline(always)]
fn product<S: Simd, const M: usize, const V: usize>(
    simd: S,
    by_gates: &[Line],
    weights: &[[Line; LANES]],
    out: &mut [Line],
) {
    let rows = out.len();
    let mut row = 0;
    while row + M <= rows {
        product_of::<S, M, V>(simd, by_gates, weights, row, out);
        row += M;
    }
    while row + 4 <= rows {
        product_of::<S, 4, V>(simd, by_gates, weights, row, out);
        row += 4;
    }
    while row < rows {
        product_of::<S, 1, V>(simd, by_gates, weights, row, out);
        row += 1;
    }
}

#[inline(always)]
fn product_of<S: Simd, const M: usize, const V: usize>(
    simd: S,
    by_gates: &[Line],
    weights: &[[Line; LANES]],
    row: usize,
    out: &mut [Line],
) {
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    for (lines, weights) in by_gates.chunks_exact(out.len()).zip(weights) {
        let lines = &lines[row..row + M];
        for (lane, weights) in weights.iter().enumerate() {
            let weights: [S::f32s; V] = std::array::from_fn(|v| load::<S>(weights, v));
            for (sums, line) in sums.iter_mut().zip(lines) {
                let value = simd.splat_f32s(line.0[lane]);
                for v in 0..V {
                    sums[v] = simd.mul_add_f32s(value, weights[v], sums[v]);
                }
            }
        }
    }
    for (out, sums) in out[row..row + M].iter_mut().zip(sums) {
        for (v, sum) in sums.into_iter().enumerate() {
            store::<S>(out, v, sum);
        }
    }
}

/// [`add_outer`] for as many features as there are.
#[inline(always)]
fn add_outer_of_inputs<'a, S: Simd, const L: usize, const V: usize>(
    simd: S,
    inputs: impl Iterator<Item = &'a [f32]> + Clone,
    by_gates: [&[Line]; L],
    sums: &mut [GateLines],
    gate: usize,
) {
    let mut k = 0;
    while k + 4 <= sums.len() {
        add_outer::<S, 4, L, V>(simd, inputs.clone(), by_gates, k, sums, gate);
        k += 4;
    }
    while k < sums.len() {
        add_outer::<S, 1, L, V>(simd, inputs.clone(), by_gates, k, sums, gate);
        k += 1;
    }
}

/// `sums[k + m][gate + l] += sum over rows of values[row][k + m] * by_gates[l][row]`, for `m < M` and `l < L`.
#[inline(always)]
fn add_outer<'a, S: Simd, const M: usize, const L: usize, const V: usize>(
    simd: S,
    values: impl Iterator<Item = &'a [f32]>,
    by_gates: [&[Line]; L],
    k: usize,
    sums: &mut [GateLines],
    gate: usize,
) {
    let kept = &mut sums[k..k + M];
    let mut sums = [[[simd.splat_f32s(0.0); V]; L]; M];
    for (sums, kept) in sums.iter_mut().zip(&*kept) {
        for (l, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = load::<S>(&kept[gate + l], v);
            }
        }
    }
    let rows = by_gates[0].len();
    let by_gates = by_gates.map(|lines| &lines[..rows]);
    for (row, values) in values.take(rows).enumerate() {
        let values = &values[k..k + M];
        let by_gates: [[S::f32s; V]; L] =
            std::array::from_fn(|l| std::array::from_fn(|v| load::<S>(&by_gates[l][row], v)));
        for m in 0..M {
            let value = simd.splat_f32s(values[m]);
            for l in 0..L {
                for v in 0..V {
                    sums[m][l][v] = simd.mul_add_f32s(value, by_gates[l][v], sums[m][l][v]);
                }
            }
        }
    }
    for (sums, kept) in sums.iter().zip(kept) {
        for (l, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                store::<S>(&mut kept[gate + l], v, *sum);
            }
        }
    }
}
