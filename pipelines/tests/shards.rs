//! A part of the fleet is trained to the same bits as the whole: what its services learn from the others does not depend on
//! which of them are trained beside them, nor on how often a part died, came twice, or came late.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::print_stderr, reason = "a measurement says what it measured")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use forewarn_storage::Store;
use forewarn_testkit::{http, servers};
use serde_json::{Map, Value};
use support::fleet::{Random, candidates, serving, source, write_block};
use support::{Said, forewarn, run, write_config};

const SHARDS: usize = 4;
/// Of the shards that are killed at all.
const KILLS_EACH: usize = 4;

#[test]
fn a_shard_has_the_bits_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = dir.path().join("tsdb");
    write_block(&blocks);
    let config = write_config(dir.path(), &source(&blocks));
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

#[test]
fn a_run_in_parts_promotes_what_the_whole_run_does() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = dir.path().join("tsdb");
    write_block(&blocks);
    let fresh = |name: &str| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let config = write_config(&dir, &source(&blocks));
        run(&["pull"], Some(&config)).expect_code(0);
        (config, dir.join("store"))
    };
    let ((whole, whole_store), (parts, parts_store)) = (fresh("whole"), fresh("parts"));
    run(&["run", "--id", "weekly-1"], Some(&whole)).expect_code(0);
    let part = |i: usize| {
        let mut command = forewarn();
        command
            .args(["run", "--no-pull", "--json", "--config"])
            .arg(&parts)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
            .envs([("FOREWARN_RUN", "weekly-1"), ("FOREWARN_SHARDS", "3")])
            .env("JOB_COMPLETION_INDEX", i.to_string());
        command.spawn().unwrap()
    };
    // All at once, over one folder: none is in another's way.
    let running: Vec<_> = (0..3).map(part).collect();
    let said: Vec<Value> =
        running.into_iter().map(|c| Said::from(c.wait_with_output().unwrap()).expect_code(0).json()).collect();
    assert_eq!(serving(&parts_store), serving(&whole_store), "{said:?}");
    assert_eq!(candidates(&parts_store), candidates(&whole_store));
    let ids: Vec<&str> = said.iter().map(|said| said["run"].as_str().unwrap()).collect();
    assert_eq!(ids, ["weekly-1-1-of-3", "weekly-1-2-of-3", "weekly-1-3-of-3"]);
    assert_eq!(run(&["run", "--shard", "1/3"], Some(&parts)).code, 2, "a part of which run?");
}

#[test]
fn a_replay_in_parts_is_the_replay_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = dir.path().join("tsdb");
    write_block(&blocks);
    let config = write_config(dir.path(), &source(&blocks));
    let run = |arguments: &[&str]| run(arguments, Some(&config));
    run(&["pull"]).expect_code(0);
    run(&["train"]).expect_code(0);
    let _ = run(&["promote", "--force"]).expect_code(0);
    let range = ["--from", "2026-01-06T12:00:00Z", "--to", "2026-01-07T00:00:00Z"];
    let (whole, merged) = (dir.path().join("whole.jsonl"), dir.path().join("merged.jsonl"));
    let out = |path: &Path| path.display().to_string();
    run(&[&["backtest", "--out", &out(&whole)], &range[..]].concat()).expect_code(0);
    let part = |i: usize| run(&[&["backtest", "--run", "replay-1", "--shard", &format!("{i}/3")], &range[..]].concat());
    let merge = || run(&["backtest", "--merge", "--run", "replay-1", "--out", &out(&merged)]);
    part(3).expect_code(0);
    part(1).expect_code(0);
    let early = merge().expect_code(1);
    assert!(early.stderr.contains("replay-1 has 3 parts, not there yet: 2"), "{early}");
    part(2).expect_code(0);
    part(1).expect_code(0);
    merge().expect_code(0);
    let (whole, merged) = (std::fs::read(&whole).unwrap(), std::fs::read(&merged).unwrap());
    assert!(whole.len() > 10_000 && whole == merged, "{} and {} bytes", whole.len(), merged.len());
    assert_eq!(run(&["backtest", "--run", "replay-1"]).code, 2);
}

/// `forewarn` as a pod of the Job, over moto.
fn pod(config: &Path, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = forewarn();
    command.args(arguments).arg("--json").arg("--config").arg(config);
    command.envs([
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn shard(config: &Path, endpoint: &str, index: usize) -> Command {
    let mut command = pod(config, endpoint, &["train", "--run", "weekly-1"]);
    command.env("FOREWARN_SHARDS", SHARDS.to_string()).env("JOB_COMPLETION_INDEX", index.to_string());
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_over_a_bucket_may_die_come_twice_and_come_late() {
    let Some(bucket) = servers::s3().unwrap() else { return };
    let endpoint = bucket.url();
    assert_eq!(http::send("PUT", &format!("{endpoint}/bucket"), &[], &[]).unwrap().status, 200);
    let dir = tempfile::tempdir().unwrap();
    let blocks = dir.path().join("tsdb");
    write_block(&blocks);

    // One process, over a folder.
    let alone = write_config(dir.path(), &source(&blocks));
    run(&["pull"], Some(&alone)).expect_code(0);
    let began = Instant::now();
    run(&["train"], Some(&alone)).expect_code(0);
    let took = began.elapsed();
    let wanted = candidates(&dir.path().join("store"));

    // Four, over the bucket and nothing else.
    let config = dir.path().join("pod.toml");
    std::fs::write(&config, format!("[store]\nurl = \"s3://bucket/prod\"\n{}", source(&blocks))).unwrap();
    Said::from(pod(&config, &endpoint, &["pull"]).output().unwrap()).expect_code(0);
    let kills = Mutex::new(0);
    let (config, endpoint) = (config.as_path(), endpoint.as_str());
    let trained = |index: usize| Said::from(shard(config, endpoint, index).output().unwrap()).expect_code(0).json();
    std::thread::scope(|scope| {
        for index in 0..SHARDS - 1 {
            let kills = &kills;
            scope.spawn(move || {
                let mut random = Random(index as u64 + 11);
                for _ in 0..KILLS_EACH {
                    let mut child = shard(config, endpoint, index).spawn().unwrap();
                    std::thread::sleep(took.mul_f64(1.5 * random.next()).max(Duration::from_millis(30)));
                    if child.try_wait().unwrap().is_none() {
                        *kills.lock().unwrap() += 1;
                        child.kill().unwrap();
                    }
                    child.wait().unwrap();
                }
                trained(index);
            });
        }
        // The second comes twice, at the same time.
        scope.spawn(|| trained(1));
    });
    // The last comes late; the first comes again, and has nothing left to do.
    let late = trained(SHARDS - 1);
    assert!(late["candidates"].as_object().unwrap().len() < wanted.len());
    let began = Instant::now();
    let again = trained(0);
    let nothing_left = began.elapsed();
    let of_first = again["candidates"].as_object().unwrap();
    assert!(of_first.iter().all(|(service, said)| said["version"] == wanted[service].0), "{again}");

    let options = [
        ("aws_endpoint", endpoint),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_region", "us-east-1"),
    ];
    let store = Store::open_with("s3://bucket/prod", &options).unwrap();
    let services = store.folders("models").await.unwrap();
    assert_eq!(services, wanted.keys().cloned().collect::<Vec<_>>());
    for (service, (version, files)) in &wanted {
        let candidate = store.get(&format!("models/{service}/candidate.json"), 10_000).await.unwrap().unwrap();
        let candidate: Value = serde_json::from_slice(&candidate).unwrap();
        assert_eq!(candidate["version"], *version, "{service}");
        let folder = format!("models/{service}/{version}");
        assert_eq!(store.files(&folder).await.unwrap(), files.keys().cloned().collect::<Vec<_>>());
        assert_eq!(
            store.folders(&format!("models/{service}")).await.unwrap(),
            std::slice::from_ref(version),
            "no other bits of it"
        );
        for (file, bytes) in files {
            let there = store.get(&format!("{folder}/{file}"), 1 << 30).await.unwrap().unwrap();
            assert!(there == bytes.as_slice(), "{folder}/{file} differs");
        }
    }
    let kills = *kills.lock().unwrap();
    assert!(kills >= SHARDS, "only {kills} kills");
    eprintln!("whole {took:.1?}; {SHARDS} shards with {kills} kills; a shard with nothing left {nothing_left:.1?}");
}
