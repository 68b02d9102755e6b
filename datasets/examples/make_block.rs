//! Writes one block of any size, to see how much memory reading it takes: `make_block FOLDER SERIES SAMPLES`, with as many
//! samples in each series, 15 s apart on one day.

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;
use std::path::PathBuf;

use forewarn_schema::LabelSet;
use forewarn_testkit::tsdb::{BlockOptions, BlockWriter, ulid};

/// A midnight.
const START: i64 = 20_000 * 86_400_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, series, samples] = arguments.as_slice() else {
        return Err("wanted a folder, a number of series and a number of samples in each".into());
    };
    let (series, samples): (u64, i64) = (series.parse()?, samples.parse()?);
    let mut writer = BlockWriter::create(&PathBuf::from(folder), BlockOptions::new(ulid(START as u64, 1)))?;
    for i in 0..series {
        let labels = LabelSet::from([
            ("__name__", format!("metric_{:03}", i * 200 / series)),
            ("job", "shop".to_owned()),
            ("pod", format!("shop-{i:08}")),
        ]);
        let value = |k: i64| ((i as i64 + k * 7) % 1000) as f64 + if k % 5 == 0 { 0.5 } else { 0.0 };
        let points: Vec<(i64, f64)> = (0..samples).map(|k| (START + k * 15_000, value(k))).collect();
        writer.floats(&labels, &points)?;
    }
    println!("{}", writer.finish()?.display());
    Ok(())
}
