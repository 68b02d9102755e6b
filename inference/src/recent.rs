//! What was said at the last steps, for whoever looks a prediction up or labels it after the page has moved on. It is asked for
//! seldom and there is much of it, so it is kept packed: some 40 bytes a prediction instead of 550.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use forewarn_schema::Prediction;

/// So many predictions can be looked up after they were said.
const MOST: usize = 20_000;
/// So many are packed together: what one of them costs to find again.
const BLOCK: usize = 64;

/// Steps, oldest first; never the one that is shown now.
#[derive(Default)]
pub(crate) struct Recent {
    steps: VecDeque<Packed>,
    count: usize,
}

/// What was said at one step.
pub(crate) struct Packed {
    /// Of each prediction's id, in their order.
    hashes: Box<[u64]>,
    /// JSON lists of [`BLOCK`] predictions each, deflated.
    blocks: Box<[Box<[u8]>]>,
}

impl Recent {
    /// Takes what was said at a step, and lets go of the oldest where there is too much.
    pub(crate) fn push(&mut self, step: Packed) {
        self.count += step.hashes.len();
        self.steps.push_back(step);
        while self.count > MOST && self.steps.len() > 1 {
            self.count -= self.steps.pop_front().map_or(0, |oldest| oldest.hashes.len());
        }
    }

    /// The prediction of that id; the newest where there are several.
    pub(crate) fn find(&self, id: &str) -> Option<Prediction> {
        self.steps.iter().rev().find_map(|step| step.find(id))
    }
}

impl Packed {
    /// Some microseconds a prediction.
    pub(crate) fn new(predictions: &[Prediction]) -> Self {
        Self {
            hashes: predictions.iter().map(|p| hash(&p.id)).collect(),
            blocks: predictions.chunks(BLOCK).map(pack).collect(),
        }
    }

    fn find(&self, id: &str) -> Option<Prediction> {
        let wanted = hash(id);
        let places = self.hashes.iter().enumerate().filter(|(_, hash)| **hash == wanted);
        places.map(|(place, _)| place).find_map(|place| {
            let found = unpack(&self.blocks[place / BLOCK]).into_iter().nth(place % BLOCK)?;
            (found.id == id).then_some(found)
        })
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// Numbers and texts into memory: writing them cannot fail.
fn pack(predictions: &[Prediction]) -> Box<[u8]> {
    let json = serde_json::to_vec(predictions).unwrap_or_default();
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&json).and_then(|()| packed.finish()).unwrap_or_default().into_boxed_slice()
}

fn unpack(packed: &[u8]) -> Vec<Prediction> {
    let mut json = Vec::new();
    let read = DeflateDecoder::new(packed).read_to_end(&mut json);
    read.ok().and_then(|_| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::prediction;

    #[test]
    fn what_was_said_is_found_again_as_it_was_until_there_is_too_much() {
        let mut recent = Recent::default();
        assert!(recent.find("p-0").is_none());
        let step = |n: usize| -> Vec<Prediction> {
            (0..3000)
                .map(|i| Prediction {
                    id: format!("p-{n}-{i}"),
                    value: 0.1 * i as f64,
                    ..prediction("cart-1", 60, 0.2)
                })
                .collect()
        };
        (0..8).for_each(|n| recent.push(Packed::new(&step(n))));
        recent.push(Packed::new(&[]));
        for n in 2..8 {
            for place in [0, 63, 64, 2999] {
                assert_eq!(recent.find(&format!("p-{n}-{place}")).as_ref(), Some(&step(n)[place]));
            }
        }
        assert!(recent.find("p-1-0").is_none() && recent.find("p-7-3000").is_none());
        let held: usize = recent.steps.iter().flat_map(|s| &s.blocks).map(|block| block.len()).sum();
        assert!(held / recent.count < 60, "{} bytes a prediction", held / recent.count);
    }

    #[test]
    fn one_step_is_kept_however_large() {
        let mut recent = Recent::default();
        let many: Vec<_> =
            (0..MOST + 5).map(|i| Prediction { id: format!("p-{i}"), ..prediction("cart-1", 60, 0.2) }).collect();
        recent.push(Packed::new(&many));
        assert_eq!(recent.find("p-7").as_ref(), many.get(7));
    }
}
