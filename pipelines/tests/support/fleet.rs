//! A small fleet as a block on disk: history that does not change, and takes seconds to train on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use forewarn_schema::{LabelSet, Step, Timestamp};
use forewarn_testkit::tsdb::{BlockOptions, BlockWriter, ulid};
use forewarn_testkit::{Shop, ShopParams};
use serde_json::Value;

const HOUR: Duration = Duration::from_secs(3600);

/// When its history begins.
pub(crate) fn start() -> Timestamp {
    "2026-01-05T00:00:00Z".parse().unwrap()
}

/// Two days of three services and their nodes, which have no traffic of their own; nobody deploys.
pub(crate) fn write_block(folder: &Path) {
    let mut params = ShopParams::quiet(5, start(), 48 * HOUR);
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

/// A configuration that learns from the block in little time.
pub(crate) fn source(block: &Path) -> String {
    format!(
        "[[source]]\nname = \"shop\"\nkind = \"blocks\"\nurl = \"file://{}\"\n[train]\nlstm_steps = 10\nholdout = \"6h\"\n",
        block.display()
    )
}

/// What serves: per service the version, and every byte of it. Of a folder's files.
pub(crate) fn serving(store: &Path) -> BTreeMap<String, (String, BTreeMap<String, Vec<u8>>)> {
    named_by(store, "current.json", "current")
}

/// What was published last, the same way.
pub(crate) fn candidates(store: &Path) -> BTreeMap<String, (String, BTreeMap<String, Vec<u8>>)> {
    named_by(store, "candidate.json", "version")
}

fn named_by(store: &Path, file: &str, field: &str) -> BTreeMap<String, (String, BTreeMap<String, Vec<u8>>)> {
    let mut named = BTreeMap::new();
    for entry in std::fs::read_dir(store.join("models")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(pointer) = std::fs::read(folder.join(file)) else { continue };
        let pointer: Value = serde_json::from_slice(&pointer).unwrap();
        let Some(version) = pointer[field].as_str() else { continue };
        let mut files = BTreeMap::new();
        for file in std::fs::read_dir(folder.join(version)).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            // What a write that was killed leaves beside the file that it was to become: no store lists or reads it.
            if !name.contains('#') {
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
        let service = folder.file_name().unwrap().to_str().unwrap().to_owned();
        named.insert(service, (version.to_owned(), files));
    }
    named
}

/// Numbers in 0..1 from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
