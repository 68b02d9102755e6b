//! `deploy/sharded/` as it ships: a real Prometheus splits a shop by `hashmod` over two servers, and a third one that is sent
//! everything says what they should say.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may stop at the first surprise and says why it skips"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forewarn_schema::{LabelSet, Step, Timestamp};
use forewarn_testkit::exporter::{LeakParams, LeakingExporter};
use forewarn_testkit::http::{self, Response, TinyServer};
use forewarn_testkit::tsdb::{BlockOptions, BlockWriter, ulid};
use forewarn_testkit::{remote_write, servers};
use serde_json::Value;
use support::Serving;

const SERVICES: [&str; 4] = ["cart", "mail", "search", "web"];
const LEAKING: [&str; 2] = ["cart", "web"];

/// Disks of nodes, which an operator's scrape gives one service, and a limit of no workload.
const NODES: &str = "node_filesystem_avail_bytes{node=\"node-1\",service=\"node-exporter\",mountpoint=\"/\"} 5e10\n\
                     node_filesystem_avail_bytes{node=\"node-2\",service=\"node-exporter\",mountpoint=\"/\"} 4e10\n\
                     node_filesystem_avail_bytes{node=\"node-3\",mountpoint=\"/\"} 3e10\n\
                     cluster_connections_allowed 90\n";

/// The presets' signals, looking so far back that every sample is there when a step is evaluated, on a busy machine too: what
/// the servers say can be compared bit by bit. Were a label left that only finds the shard, targets of `left_over` would show it.
const SIGNALS: &str = r#"
[signals]
presets = []
[[signal]]
name = "pool"
kind = "pool_exhaustion"
service = "service"
value = "max by (service, pod) (hikaricp_connections_active offset 5s)"
limit = "max by (service, pod) (hikaricp_connections_max)"
[[signal]]
name = "disk"
kind = "disk_full"
service = "node"
direction = "below"
value = "min by (node, mountpoint) (node_filesystem_avail_bytes offset 5s)"
limit = 0
[[signal]]
name = "left_over"
kind = "custom"
service = "service"
value = "count by (service, __tmp_workload, __tmp_shard) (hikaricp_connections_max offset 5s)"
limit = 2
[dataset]
step = "250ms"
"#;

fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sharded").join(file)
}

/// A file of the example with other words in it, each of which must be there.
fn with(file: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(fs::read_to_string(shipped(file)).unwrap(), |text, (from, to)| {
        assert!(text.contains(from), "{file} has no {from:?}");
        text.replace(from, to)
    })
}

/// A server from the example's configuration of `shard`, with four steps a second.
fn serve(dir: &Path, shard: &str, name: &str, words: &[(&str, &str)]) -> (Serving, u16) {
    let here = dir.display().to_string();
    let store = format!("file://{here}/store");
    let common = [
        ("s3://forewarn/prod", store.as_str()),
        ("/var/lib/forewarn", here.as_str()),
        ("[serve]\n", "[serve]\nlateness = \"250ms\"\ncheckpoint_every = \"1s\"\n"),
        ("(hikaricp_connections_active)", "(hikaricp_connections_active offset 5s)"),
    ];
    let text = with(&format!("forewarn-{shard}.toml"), &[&common, words].concat());
    let config = dir.join(format!("{name}.toml"));
    fs::write(&config, format!("{text}{SIGNALS}")).unwrap();
    let port = servers::spare_port().unwrap();
    (Serving::start(&config, port), port)
}

/// What a server says now, by target, and of which step. Which of the predictions asks first is each server's own.
fn said(serving: &Serving) -> (Option<String>, BTreeMap<String, Value>) {
    let mut all = BTreeMap::new();
    let mut at = None;
    for mut prediction in serving.get("/api/v1/predictions").as_array().unwrap().clone() {
        prediction.as_object_mut().unwrap().remove("request_id");
        at = Some(prediction["at"].to_string());
        let key = format!("{} {} {}", prediction["service"], prediction["signal"], prediction["labels"]);
        assert!(all.insert(key.clone(), prediction).is_none(), "{key} is there twice");
    }
    (at, all)
}

/// Breaches of the shop that are in sight.
fn leaks_seen(predictions: &BTreeMap<String, Value>) -> BTreeSet<&str> {
    let seen = predictions.values().filter(|p| p["signal"] == "pool" && !p["time_to_breach_seconds"].is_null());
    seen.filter_map(|p| p["service"].as_str()).collect()
}

#[test]
fn prometheus_accepts_the_example() {
    let file = shipped("prometheus.yml");
    let Ok(output) = Command::new("promtool").args(["check", "config"]).arg(&file).output() else {
        eprintln!("skipped: promtool is not installed (Debian: apt-get install prometheus)");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_workload_is_scored_by_one_shard_and_as_one_server_would() {
    let dir = tempfile::tempdir().unwrap();
    let leak = |service: &str| {
        let per_second = if LEAKING.contains(&service) { 0.9 } else { 0.0 };
        let (service, onset) = (service.to_owned(), Duration::from_secs(10));
        LeakingExporter::start(LeakParams { service, normal: 10.0, limit: 100.0, onset, per_second }).unwrap()
    };
    let exporters = SERVICES.map(leak);
    let nodes = TinyServer::start(|_| Response::text(NODES)).unwrap();

    let (first, first_port) = serve(dir.path(), "0", "first", &[]);
    let (second, second_port) = serve(dir.path(), "1", "second", &[]);
    let alone = [("shard  = \"0\"", "shard = \"\""), ("state-0.db", "state-alone.db")];
    let (whole, whole_port) = serve(dir.path(), "0", "alone", &alone);

    let mut words: Vec<(String, String)> = vec![
        ("scrape_interval: 15s".to_owned(), "scrape_interval: 250ms\n  scrape_timeout: 250ms".to_owned()),
        ("batch_send_deadline: 5s".to_owned(), "batch_send_deadline: 200ms".to_owned()),
        ("forewarn-0:9797".to_owned(), format!("127.0.0.1:{first_port}")),
        ("forewarn-1:9797".to_owned(), format!("127.0.0.1:{second_port}")),
        ("nodes.shop:9100".to_owned(), nodes.addr().to_string()),
    ];
    words.extend(SERVICES.iter().zip(&exporters).map(|(service, e)| (format!("{service}.shop:8080"), e.target())));
    let words: Vec<(&str, &str)> = words.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let everything = format!(
        "  - url: http://127.0.0.1:{whole_port}/api/v1/write\n    queue_config: {{batch_send_deadline: 200ms}}\n"
    );
    let yaml = with("prometheus.yml", &words) + &everything;
    let Some(_prometheus) = servers::prometheus(&yaml, None).unwrap() else { return };

    // Until both leaks are seen, and all three have just said what they say of one step.
    let until = Instant::now() + Duration::from_secs(180);
    let (first_said, second_said, whole_said) = loop {
        let all = [said(&first), said(&second), said(&whole)];
        let one_step = all.iter().all(|(at, _)| at.is_some() && *at == all[0].0);
        let [(_, first), (_, second), (_, whole)] = all;
        if one_step && LEAKING.iter().all(|service| leaks_seen(&whole).contains(service)) {
            break (first, second, whole);
        }
        assert!(Instant::now() < until, "no common step with both leaks seen: {first:?}\n{second:?}\n{whole:?}");
        std::thread::sleep(Duration::from_millis(30));
    };

    let services = |said: &BTreeMap<String, Value>| -> BTreeSet<String> {
        said.values().map(|p| p["service"].as_str().unwrap().to_owned()).collect()
    };
    let (one, other) = (services(&first_said), services(&second_said));
    assert!(one.len() > 1 && other.len() > 1, "both have some: {one:?} {other:?}");
    assert!(one.is_disjoint(&other), "a workload is scored once: {one:?} {other:?}");
    let expected = SERVICES.iter().copied().chain(["node-1", "node-2", "node-3"]).map(str::to_owned);
    assert_eq!(one.union(&other).cloned().collect::<BTreeSet<_>>(), expected.collect());
    assert_eq!(services(&whole_said).len(), 7);

    let together: BTreeMap<String, Value> = first_said.into_iter().chain(second_said).collect();
    let targets = |said: &BTreeMap<String, Value>| said.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(targets(&together), targets(&whole_said));
    assert_eq!(together, whole_said);
    // The limit of no workload came to every shard: each service has it.
    let limited = together.values().filter(|p| p["signal"] == "connections" && p["limit"] == 90.0);
    assert_eq!(limited.count(), SERVICES.len());

    for checkpoint in ["0", "1", "default"] {
        assert!(dir.path().join(format!("store/serving/{checkpoint}.checkpoint")).exists(), "{checkpoint}");
    }
}

#[test]
fn a_shard_that_starts_from_the_dataset_speaks_of_its_own_workloads_alone() {
    const STEP: Duration = Duration::from_secs(5);
    let dir = tempfile::tempdir().unwrap();
    let now = || {
        Timestamp::from_millis(
            i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap(),
        )
    };
    // An hour of two services up to now.
    let end = now().align_down(Step::new(STEP).unwrap());
    let block = dir.path().join("tsdb");
    fs::create_dir(&block).unwrap();
    let mut writer = BlockWriter::create(&block, BlockOptions::new(ulid(1_767_571_200_000, 1))).unwrap();
    for name in ["hikaricp_connections_active", "hikaricp_connections_max"] {
        for service in ["cart", "mail"] {
            let labels = [("__name__", name), ("pod", service), ("service", service)];
            let value = |i: i64| if name.ends_with("max") { 100.0 } else { 20.0 + (i % 5) as f64 };
            let samples: Vec<(i64, f64)> = (0..720).map(|i| (end.millis() - (720 - i) * 5000, value(i))).collect();
            writer.floats(&LabelSet::from(labels), &samples).unwrap();
        }
    }
    writer.finish().unwrap();
    let here = dir.path().display();
    let config = dir.path().join("shard.toml");
    let text = format!(
        "[store]\nurl = \"file://{here}/store\"\nstate = \"sqlite://{here}/state-0.db\"\n\
         [dataset]\nstep = \"5s\"\nhistory = \"1h\"\n\
         [[source]]\nname = \"shop\"\nkind = \"blocks\"\nurl = \"file://{here}/tsdb\"\n\
         [signals]\npresets = [\"hikaricp\"]\n[serve]\nshard = \"0\"\nlateness = \"1s\"\n"
    );
    fs::write(&config, text).unwrap();
    let range = ["--from", &(end - Duration::from_secs(3600)).to_rfc3339(), "--to", &end.to_rfc3339()];
    support::run(&[&["pull"], &range[..]].concat(), Some(&config)).expect_code(0);
    let serving = Serving::start(&config, servers::spare_port().unwrap());

    // Its Prometheus sends it one of them.
    let (mut spoken_of, mut known) = (BTreeSet::new(), false);
    let until = Instant::now() + Duration::from_secs(60);
    while !known {
        assert!(Instant::now() < until, "it says nothing, or as if it had seen nothing: {spoken_of:?}");
        let series = |name: &str, value: f64| {
            (LabelSet::from([("__name__", name), ("pod", "cart"), ("service", "cart")]), value)
        };
        let scrape = [series("hikaricp_connections_active", 21.0), series("hikaricp_connections_max", 100.0)];
        let body = remote_write::encode_scrape(now(), &scrape);
        http::post(&format!("{}/api/v1/write", serving.url), &remote_write::HEADERS, &body).unwrap();
        for prediction in serving.get("/api/v1/predictions").as_array().unwrap() {
            spoken_of.insert(prediction["service"].as_str().unwrap().to_owned());
            let one = serving.get(&format!("/api/v1/predictions/{}", prediction["id"].as_str().unwrap()));
            known |= one["target"]["history"].as_array().is_some_and(|history| history.len() > 300);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(spoken_of.into_iter().collect::<Vec<_>>(), ["cart"]);
}
