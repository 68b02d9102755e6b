//! Scores of several isolation forests that differ in their seed alone: `scripts/forest-beside-sklearn.py` calls it.
//!
//! `forest_scores TRAIN TEST FEATURES TREES SAMPLE SEEDS` reads rows of 32-bit floats (little-endian, row-major, NaN for
//! missing) from two files, grows forests on TRAIN with the seeds `0..SEEDS`, and writes to standard output each one's
//! score of every row of TEST, as 64-bit floats.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use forewarn_models::isolation_forest::IsolationForestParams;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [train, test, features, trees, sample_size, seeds] = arguments.as_slice() else {
        return Err(format!("wanted TRAIN TEST FEATURES TREES SAMPLE SEEDS, got {} arguments", arguments.len()).into());
    };
    let features: usize = features.parse()?;
    let (train, test) = (floats(train.as_ref())?, floats(test.as_ref())?);
    let mut out = std::io::stdout().lock();
    let mut scores = vec![0.0; test.len() / features.max(1)];
    for seed in 0..seeds.parse()? {
        let params = IsolationForestParams { trees: trees.parse()?, sample_size: sample_size.parse()?, seed };
        params.check()?.fit(&train, features)?.score_rows(&test, &mut scores, 1);
        for score in &scores {
            out.write_all(&score.to_le_bytes())?;
        }
    }
    Ok(())
}

fn floats(file: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(file)?;
    let (values, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(format!("{}: wanted whole 32-bit floats, got {} bytes", file.display(), bytes.len()).into());
    }
    Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}
