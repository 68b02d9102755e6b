//! The recurrence of the LSTM on plain slices: forward, backward and one step at a time. It knows no tensor
//! library; `recurrence` makes a differentiable operation of it, `forecaster` serves with it.
//!
//! The four gates of 16 hidden units lie side by side, so that one pass over the features and the hidden state
//! gives all of them in registers. The gates' sums begin at the bias and are added up in one order by fused
//! multiply-adds, whatever the width of the vectors, the number of rows beside them and the processor: a row's
//! numbers are the same bits in a batch of 64, alone, and one step at a time.

mod backward;
mod forward;
mod vector;

pub(super) use backward::Passed;
pub(super) use forward::Activations;
pub use forward::LstmState;

use super::network::GATES;

/// Hidden units in a [`Line`].
const LANES: usize = 16;

/// 16 numbers in a line of the cache: the width of an AVX-512 vector, two of AVX2's, four of NEON's.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

const ZEROS: Line = Line([0.0; LANES]);

/// The same 16 hidden units in each gate: input, forget, output, candidate.
type GateLines = [Line; GATES];

/// Rows that walk through time together: their hidden states and gates stay in the first caches.
const ROWS: usize = 64;

/// `sigmoid(x) = 1 / (1 + 2^(-log2(e) x))`, `tanh(x) = 2 sigmoid(2 x) - 1`: the sums of the gates are kept times
/// this, so that no activation has to multiply.
const EXPONENT_SCALE: [f32; GATES] = [MINUS_LOG2_E, MINUS_LOG2_E, MINUS_LOG2_E, 2.0 * MINUS_LOG2_E];
const MINUS_LOG2_E: f32 = -std::f32::consts::LOG2_E;

/// The weights of the recurrence as the kernels read them. Hidden units are padded with zeros to whole lines;
/// the padding stays zero through time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    features: usize,
    hidden: usize,
    /// `[block of hidden units][feature]`, times [`EXPONENT_SCALE`], and so are the next two.
    input: Vec<GateLines>,
    /// `[block][hidden unit before]`.
    recurrent: Vec<GateLines>,
    /// `[block]`.
    bias: Vec<GateLines>,
}

impl Cell {
    /// From row-major matrices `[features, 4 * hidden]` and `[hidden, 4 * hidden]` and a bias `[4 * hidden]`.
    pub(super) fn new(input: &[f32], recurrent: &[f32], bias: &[f32]) -> Self {
        let width = bias.len();
        let hidden = width / GATES;
        let blocks = hidden.div_ceil(LANES);
        let zeros = vec![0.0; width];
        let padding = std::iter::repeat_n(zeros.as_slice(), blocks * LANES - hidden);
        let mut cell = Self { features: input.len() / width, hidden, input: vec![], recurrent: vec![], bias: vec![] };
        for block in 0..blocks {
            cell.bias.push(gate_lines(bias, block));
            cell.input.extend(input.chunks_exact(width).map(|row| gate_lines(row, block)));
            let rows = recurrent.chunks_exact(width).chain(padding.clone());
            cell.recurrent.extend(rows.map(|row| gate_lines(row, block)));
        }
        cell
    }

    fn blocks(&self) -> usize {
        self.bias.len()
    }
}

/// One block of a row `[4 * hidden]`, scaled.
fn gate_lines(row: &[f32], block: usize) -> GateLines {
    let hidden = row.len() / GATES;
    std::array::from_fn(|gate| {
        let units = &row[gate * hidden..(gate + 1) * hidden];
        let mut line = ZEROS;
        for (to, from) in line.0.iter_mut().zip(&units[block * LANES..]) {
            *to = from * EXPONENT_SCALE[gate];
        }
        line
    })
}

#[cfg(test)]
mod tests;
