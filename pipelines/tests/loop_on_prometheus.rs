//! The offline half of the loop on a real Prometheus: check, pull, train, evaluate, promote, backtest,
//! roll back; and what happens when an artifact is corrupt or the disk is full.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::print_stdout, reason = "a skipped part must be seen")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use forewarn_schema::{BreachKind, Timestamp};
use forewarn_testkit::servers::RunningServer;
use forewarn_testkit::{Fault, FaultPlan, Shop, ShopParams};
use serde_json::{Value, json};
use support::{prometheus_with_history, run, write_config};

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> Timestamp {
    "2026-01-05T00:00:00Z".parse().unwrap()
}

fn after(hours: u32) -> String {
    (start() + hours * HOUR).to_string()
}

/// Four days of two services, with a memory leak on the third and a connection leak on the fourth.
fn shop() -> Shop {
    let mut params = ShopParams::quiet(5, start(), 96 * HOUR);
    params.services.truncate(2);
    let fault = |service: &str, kind, onset: u32, takes: u32| FaultPlan {
        service: service.to_owned(),
        pod: 1,
        kind,
        onset: start() + onset * HOUR,
        takes: takes * HOUR,
    };
    params.faults = vec![fault("checkout", BreachKind::Oom, 60, 6), fault("cart", BreachKind::PoolExhaustion, 80, 5)];
    Shop::new(params)
}

fn config(dir: &Path, prometheus: &RunningServer) -> PathBuf {
    let rest = format!(
        "[[source]]\nname = \"shop\"\nkind = \"prometheus\"\nurl = \"{}\"\n[train]\nlstm_steps = 30\n",
        prometheus.url()
    );
    write_config(dir, &rest)
}

#[test]
fn history_becomes_models_that_are_judged_promoted_replayed_and_taken_back() {
    let shop = shop();
    let Some(prometheus) = prometheus_with_history(&shop) else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &prometheus);
    let run = |arguments: &[&str], code| run(arguments, Some(&config)).expect_code(code);

    let checked = run(&["check", "--json"], 0).json();
    let source = &checked["sources"][0];
    assert_eq!(source["services"], serde_json::json!(["cart", "checkout", "node-1", "node-2"]), "{checked}");
    assert_eq!(source["targets"]["memory"], 4);
    assert_eq!(source["fetch"], "steps");

    let window = ["--from", &after(0), "--to", &after(96)];
    let pull = [&["pull", "--json"][..], &window[..]].concat();
    let pulled = run(&pull, 0).json();
    assert!(pulled["sources"][0]["summary"]["rows"].as_u64().unwrap() > 50_000, "{pulled}");
    let again = run(&pull, 0).json();
    assert_eq!(again["sources"][0]["summary"]["windows"], 0, "{again}");

    let split = after(72);
    let trained = run(&["train", "--json", "--until", &split], 0).json();
    assert!(trained["candidates"]["cart"]["version"].is_string(), "{trained}");
    // Not yet evaluated: the gate knows nothing of it.
    run(&["promote", "--service", "cart"], 4);
    let evaluated = run(&["evaluate", "--json"], 0).json();
    let html = evaluated["html"].as_str().unwrap().strip_prefix("file://").unwrap();
    assert!(fs::read_to_string(html).unwrap().contains("<svg"), "the report has plots");
    let promoted = run(&["promote", "--force", "--json"], 0).json();
    assert_eq!(promoted["services"]["cart"]["decision"], "promoted");

    let first = promoted["services"]["cart"]["version"].as_str().unwrap().to_owned();
    corrupt_candidate_is_refused_and_the_previous_serves(&config, dir.path(), &first);
    backtest_is_accepted_by_the_judge(&config, dir.path(), &shop);

    let rolled_back = run(&["rollback", "--service", "cart", "--json"], 0).json();
    assert_eq!(rolled_back["services"]["cart"]["serving"], "rules");
    full_disk_exits_6(&prometheus);
}

fn corrupt_candidate_is_refused_and_the_previous_serves(config: &Path, dir: &Path, first: &str) {
    // Another cut gives another version.
    run(&["train", "--until", &after(70), "--service", "cart"], Some(config)).expect_code(0);
    let listed = run(&["models", "--json"], Some(config)).expect_code(0).json();
    let versions = listed["services"]["cart"]["versions"].as_array().unwrap();
    let candidate = versions.iter().find(|v| v["state"] == "candidate").unwrap()["version"].as_str().unwrap();
    let tensors = dir.join("store/models/cart").join(candidate).join("tensors.safetensors");
    let mut bytes = fs::read(&tensors).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&tensors, bytes).unwrap();
    let said = run(&["promote", "--service", "cart", "--force"], Some(config)).expect_code(1);
    assert!(said.stderr.contains("tensors.safetensors"), "{said}");
    let listed = run(&["models", "--json"], Some(config)).expect_code(0).json();
    assert_eq!(listed["services"]["cart"]["serving"], first);
}

fn backtest_is_accepted_by_the_judge(config: &Path, dir: &Path, shop: &Shop) {
    let out = dir.join("predictions.jsonl");
    let (from, to) = (after(72), after(96));
    let arguments = ["backtest", "--from", &from, "--to", &to, "--out", out.to_str().unwrap(), "--json"];
    let said = run(&arguments, Some(config)).expect_code(0).json();
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(text.lines().count() as u64, said["predictions"].as_u64().unwrap());
    // The connection leak was seen coming, on its pod, before it came.
    let leak = shop.truth().iter().find(|f| f.kind == BreachKind::PoolExhaustion).unwrap();
    let announced = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).any(|p| {
        let at: Timestamp = p["at"].as_str().unwrap().parse().unwrap();
        p["kind"] == "pool_exhaustion"
            && p["service"] == "cart"
            && p["request_id"].is_string()
            && leak.onset <= at
            && at < leak.breach
    });
    assert!(announced, "no request for {leak:?}");
    judge_counts_the_leak_as_predicted(&out, dir, leak, (&from, &to));
}

/// The public judge of predictions reads the file, and finds the leak in it.
fn judge_counts_the_leak_as_predicted(predictions: &Path, dir: &Path, leak: &Fault, (from, to): (&str, &str)) {
    let judge = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/tools/judge.py"));
    if !judge.exists() {
        println!("skipped: the judge is not at {}", judge.display());
        return;
    }
    let (onset, breach) = (leak.onset.seconds(), leak.breach.seconds());
    let scenario = json!({"kind": "pool_leak", "outcome": "breach", "service": "cart", "pod": null, "limit": null,
        "onset_ts": onset, "breach_ts": breach, "end_ts": breach});
    let labels = dir.join("labels.json");
    fs::write(&labels, json!({"scenarios": [scenario], "incidents": []}).to_string()).unwrap();
    let mut command = Command::new("python3");
    command.arg(judge).args(["--json", "--from", from, "--to", to]);
    let judged = command.arg("--labels").arg(&labels).arg("--predictions").arg(predictions).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    let figures: Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!(figures["kinds"]["pool_exhaustion"]["predicted"], 1, "{figures}");
}

/// A file system of its own that is too small for a day of history.
fn full_disk_exits_6(prometheus: &RunningServer) {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("small");
    fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&mount).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    }
    let config = config(&mount, prometheus);
    let said = support::run(&["pull", "--from", &after(0), "--to", &after(96)], Some(&config));
    let unmounted = Command::new("umount").arg(&mount).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert_eq!(said.code, 6, "{said}");
}
