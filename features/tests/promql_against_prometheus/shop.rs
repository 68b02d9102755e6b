//! A shop's history: how people really alert, at every step of windows in which things go wrong.

use std::path::Path;
use std::time::Duration;

use forewarn_features::presets::{NAMES, preset};
use forewarn_schema::{Step, TimeRange, Timestamp};
use forewarn_testkit::servers;

use crate::support::{Compared, Served, corpus, raw_samples, refuse_empty};

const CORPUS: [&str; 5] = [
    include_str!("../corpus/kubernetes.promql"),
    include_str!("../corpus/http.promql"),
    include_str!("../corpus/jvm_and_pools.promql"),
    include_str!("../corpus/node_and_blackbox.promql"),
    include_str!("../corpus/language.promql"),
];

/// Expressions that some data does not fit: Prometheus refuses them, and so do we.
const AMBIGUOUS: &[&str] = &[
    "container_memory_working_set_bytes + on(service) container_memory_working_set_bytes",
    "hikaricp_connections_active * on(service) sum by (service) (hikaricp_connections_active)",
    "rate({__name__=~\"hikaricp_connections_(active|pending|max)\"}[5m])",
];

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn every_expression_gives_what_prometheus_gives_over_a_shop() {
    let tsdb = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/histories/1/tsdb");
    if !Path::new(tsdb).is_dir() {
        println!("skipped: no history at {tsdb}");
        return;
    }
    let copy = tempfile::tempdir().unwrap();
    servers::copy_tree(Path::new(tsdb), copy.path()).unwrap();
    let Some(server) = servers::prometheus("global: {}\n", Some(copy.path())).unwrap() else { return };
    let mut expressions: Vec<String> = CORPUS.iter().flat_map(|text| corpus(text)).collect();
    expressions.extend(AMBIGUOUS.iter().map(|e| (*e).to_owned()));
    for name in NAMES {
        let queries = preset(name).unwrap().into_iter().flat_map(|s| s.queries()).map(|q| q.promql);
        expressions.extend(queries);
    }
    let mut compared = Compared::new();
    // Four hours around pods killed and restarted, and four around an outage of the monitoring itself.
    for end in [1_767_454_200, 1_767_963_000] {
        let end = Timestamp::from_seconds(end);
        let store = raw_samples(&server.url(), end, HOUR * 11);
        println!("{} series, {} samples up to {end}", store.series_count(), store.sample_count());
        let served = Served { url: server.url(), store };
        let range = TimeRange::new(end - HOUR * 4, end).unwrap();
        for text in &expressions {
            served.compare_steps(text, range, Step::MINUTE, &mut compared);
            // And off the grid.
            for back_ms in [61_003, 4_000_001] {
                served.compare_at(text, end - Duration::from_millis(back_ms), &mut compared);
            }
        }
    }
    refuse_empty(&compared);
}
