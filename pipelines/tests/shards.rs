//! A part of the fleet is trained to the same bits as the whole: what its services learn from the others does not depend on
//! which of them are trained beside them.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use std::path::Path;
use std::time::Duration;

use forewarn_schema::{LabelSet, Step, Timestamp};
use forewarn_testkit::tsdb::{BlockOptions, BlockWriter, ulid};
use forewarn_testkit::{Shop, ShopParams};
use serde_json::{Map, Value};
use support::{run, write_config};

const HOUR: Duration = Duration::from_secs(3600);

/// Two days of three services and their nodes, which have no traffic of their own.
fn write_block(folder: &Path) {
    let start: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
    let mut params = ShopParams::quiet(5, start, 48 * HOUR);
    params.services.truncate(3);
    let shop = Shop::new(params);
    std::fs::create_dir(folder).unwrap();
    let mut block = BlockWriter::create(folder, BlockOptions::new(ulid(1_767_571_200_000, 1))).unwrap();
    let mut series = shop.samples(shop.range(), Step::MINUTE);
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    for one in series {
        let labels: LabelSet = one.labels;
        let samples: Vec<(i64, f64)> = one.samples.iter().map(|s| (s.at.millis(), s.value)).collect();
        block.floats(&labels, &samples).unwrap();
    }
    block.finish().unwrap();
}

#[test]
fn a_shard_has_the_bits_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = dir.path().join("tsdb");
    write_block(&blocks);
    let rest = format!(
        "[[source]]\nname = \"shop\"\nkind = \"blocks\"\nurl = \"file://{}\"\n[train]\nlstm_steps = 10\nholdout = \"6h\"\n",
        blocks.display()
    );
    let config = write_config(dir.path(), &rest);
    let run = |arguments: &[&str]| run(arguments, Some(&config)).expect_code(0);
    run(&["pull"]);
    // A version is named by its content.
    let train = |arguments: &[&str]| -> Map<String, Value> {
        let said = run(&[&["train", "--json"], arguments].concat()).json();
        said["candidates"].as_object().unwrap().clone()
    };
    let whole = train(&[]);
    assert!(whole.len() > 3, "services and nodes: {whole:?}");
    let (mut first, second) = (train(&["--shard", "1/2"]), train(&["--shard", "2/2"]));
    assert!(first.len() < whole.len() && second.len() < whole.len());
    first.extend(second);
    assert_eq!(first, whole);
    let (service, candidate) = whole.iter().next_back().unwrap();
    assert_eq!(&train(&["--service", service])[service], candidate);
}
