//! The binary's `pull`, killed at random moments and in company: the store ends with the bytes of one calm pull.

#![allow(clippy::unwrap_used, reason = "a test that fails to set up should panic")]
#![allow(clippy::print_stderr, reason = "a measurement says what it measured")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use forewarn_datasets::Dataset;
use forewarn_schema::{LabelSet, Timestamp};
use forewarn_testkit::fault_proxy::{FaultProxy, FaultSchedule};
use forewarn_testkit::servers::{self, RunningServer};
use forewarn_testkit::tsdb::{BlockOptions, BlockWriter, ulid};
use forewarn_testkit::{Shop, ShopParams, http};
use support::{Said, files, forewarn, prometheus_with_history, run, write_config};

const KILLS: usize = 50;
const HOUR: Duration = Duration::from_secs(3600);

fn start() -> Timestamp {
    "2026-01-05T00:00:00Z".parse().unwrap()
}

/// Three days of two services in a real Prometheus.
fn history() -> Option<RunningServer> {
    let mut params = ShopParams::quiet(5, start(), 72 * HOUR);
    params.services.truncate(2);
    prometheus_with_history(&Shop::new(params))
}

fn config(dir: &Path, prometheus: &RunningServer) -> PathBuf {
    let rest = format!(
        "[dataset]\nstep = \"5m\"\n[[source]]\nname = \"shop\"\nkind = \"prometheus\"\nurl = \"{}\"\n",
        prometheus.url()
    );
    write_config(dir, &rest)
}

fn pull_arguments() -> [String; 5] {
    let end = (start() + 72 * HOUR).to_string();
    ["pull".to_owned(), "--from".to_owned(), start().to_string(), "--to".to_owned(), end]
}

fn spawn(config: &Path, settings: &[(&str, &str)]) -> Child {
    let mut command = forewarn();
    command.args(pull_arguments()).arg("--config").arg(config).envs(settings.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(child: Child) -> Said {
    child.wait_with_output().unwrap().into()
}

/// Numbers in 0..1 from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A calm pull's store, and how long it took.
fn calm(prometheus: &RunningServer) -> (tempfile::TempDir, PathBuf, Duration) {
    calm_with(&|dir| config(dir, prometheus))
}

fn calm_with(config: &dyn Fn(&Path) -> PathBuf) -> (tempfile::TempDir, PathBuf, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let begin = Instant::now();
    said(spawn(&config, &[])).expect_code(0);
    (dir, config, begin.elapsed())
}

/// Files in a folder that a pull may be writing to meanwhile; what is gone when it is looked at does not count.
fn count(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

/// Pulls as `config` says, killed at `kills` random moments; the store must end with the bytes of a calm pull, each
/// time it ends at all. At least `with_some_days` kills must have come when more than `few` files were there.
fn survives(kills: usize, few: usize, with_some_days: usize, config: &dyn Fn(&Path) -> PathBuf) {
    let (calm_dir, _, took) = calm_with(config);
    let wanted = files(&calm_dir.path().join("store"));
    assert!(wanted.len() > few + 2, "{:?}", wanted.keys());

    let mut random = Random(9);
    let mut dir = tempfile::tempdir().unwrap();
    let (mut killed, mut whole, mut with_days) = (0, 0, 0);
    while killed < kills {
        let store = dir.path().join("store");
        let before = count(&store);
        let mut child = spawn(&config(dir.path()), &[]);
        if killed % 2 == 0 {
            std::thread::sleep(took.mul_f64(random.next()));
        } else {
            // Files may all be written within a blink at the end: every other kill comes right after one.
            while count(&store) <= before.max(few) && child.try_wait().unwrap().is_none() {
                std::thread::sleep(took.mul_f64(random.next() / 500.0));
            }
        }
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            let _ = child.wait();
            killed += 1;
            with_days += usize::from(count(&store) > few);
            continue;
        }
        // Done before its moment came: it was as a calm one, and the next starts with nothing.
        said(child).expect_code(0);
        assert_eq!(files(&dir.path().join("store")), wanted, "after {killed} kills");
        whole += 1;
        dir = tempfile::tempdir().unwrap();
    }
    said(spawn(&config(dir.path()), &[])).expect_code(0);
    assert_eq!(files(&dir.path().join("store")), wanted, "after {killed} kills");
    eprintln!("{killed} kills within {took:?}, {with_days} with days written, {} whole pulls", whole + 1);
    assert!(with_days >= with_some_days, "kills must hit the middle of pulls, got {with_days}");
}

#[test]
fn killed_at_fifty_moments_a_pull_ends_with_the_same_bytes() {
    let Some(prometheus) = history() else { return };
    survives(KILLS, 2, 6, &|dir| config(dir, &prometheus));
}

/// Three days of disks of two hundred nodes, in nine blocks.
fn write_blocks(folder: &Path) {
    let start = start().millis();
    for number in 0..9 {
        let mut writer = BlockWriter::create(folder, BlockOptions::new(ulid(start as u64, number))).unwrap();
        let minutes = number as i64 * 480..(number as i64 + 1) * 480;
        for metric in ["node_filesystem_avail_bytes", "unwatched_total"] {
            for node in 0..200_i64 {
                let name = format!("node-{node:03}");
                let labels =
                    LabelSet::from([("__name__", metric), ("mountpoint", "/"), ("node", &name), ("service", "store")]);
                let value = |minute: i64| 1e9 - (minute * (node + 1)) as f64;
                let samples: Vec<(i64, f64)> =
                    minutes.clone().map(|minute| (start + minute * 60_000 + 5000, value(minute))).collect();
                writer.floats(&labels, &samples).unwrap();
            }
        }
        writer.finish().unwrap();
    }
}

#[test]
fn killed_at_fifty_moments_a_pull_from_blocks_ends_with_the_same_bytes() {
    let blocks = tempfile::tempdir().unwrap();
    write_blocks(blocks.path());
    let rest = format!(
        "[dataset]\nstep = \"5m\"\n[[source]]\nname = \"bucket\"\nkind = \"blocks\"\nurl = \"file://{}\"\n\
         series = ['unwatched_total']\n",
        blocks.path().display()
    );
    survives(KILLS, 2, 6, &|dir| write_config(dir, &rest));
}

/// Three days of lines of three services, an object an hour and service.
fn write_logs(folder: &Path) {
    for hour in 0..72_u32 {
        for (service, nth) in [("cart", 20), ("pay", 7), ("ship", 50)] {
            let line = |i: u64| {
                let at = start() + hour * HOUR + Duration::from_secs(i * 3);
                let level = if i.is_multiple_of(nth) { "ERROR" } else { "INFO" };
                format!(
                    "{{\"date\":\"{at}\",\"log\":\"{level} order {i} took {hour}ms\",\
                     \"kubernetes\":{{\"labels\":{{\"app\":\"{service}\"}}}}}}\n"
                )
            };
            let path = folder.join(format!("{service}/{hour:02}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, (0..1200).map(line).collect::<String>()).unwrap();
        }
    }
}

#[test]
fn killed_at_fifty_moments_a_pull_from_logs_ends_with_the_same_bytes() {
    let logs = tempfile::tempdir().unwrap();
    write_logs(logs.path());
    let rest = format!(
        "[dataset]\nstep = \"5m\"\n[[source]]\nname = \"lines\"\nkind = \"logs\"\nurl = \"file://{}\"\n",
        logs.path().display()
    );
    survives(KILLS, 2, 6, &|dir| write_config(dir, &rest));
}

#[test]
fn of_two_pulls_into_one_folder_one_is_told_and_nothing_is_harmed() {
    let Some(prometheus) = history() else { return };
    let (calm_dir, _, _) = calm(&prometheus);
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &prometheus);
    let both = [spawn(&config, &[]), spawn(&config, &[])].map(said);
    let codes: Vec<i32> = both.iter().map(|one| one.code).collect();
    assert!(codes.contains(&0) && codes.iter().all(|code| [0, 5].contains(code)), "{} {}", both[0], both[1]);
    for loser in both.iter().filter(|one| one.code == 5) {
        assert!(loser.stderr.contains("is in use by another process (pid "), "{loser}");
    }
    assert_eq!(files(&dir.path().join("store")), files(&calm_dir.path().join("store")));
}

/// Two pulls at once into a bucket at `endpoint`; the bucket's dataset afterwards is that of `calm`.
fn two_into_a_bucket(prometheus: &RunningServer, endpoint: &str, calm: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), prometheus);
    let text = std::fs::read_to_string(&config).unwrap();
    let file_url = format!("file://{}", dir.path().join("store").display());
    let state = format!("\"\nstate = \"sqlite://{}/state.db\"", dir.path().display());
    std::fs::write(&config, text.replace(&format!("{file_url}\""), &format!("s3://history/shop{state}"))).unwrap();
    let settings = [
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ];
    let both = [spawn(&config, &settings), spawn(&config, &settings)].map(said);
    let codes: Vec<i32> = both.iter().map(|one| one.code).collect();
    assert!(codes.contains(&0) && codes.iter().all(|code| [0, 5].contains(code)), "{} {}", both[0], both[1]);
    for loser in both.iter().filter(|one| one.code == 5) {
        assert!(loser.stderr.contains("in use by another process: it changed while this one was at work"), "{loser}");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = settings.map(|(name, value)| (name.to_lowercase(), value));
        let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let bucket = Dataset::open_with("s3://history/shop", &options).await.unwrap();
        let folder = Dataset::open(&format!("file://{}", calm.join("store").display())).await.unwrap();
        let (there, wanted) = (bucket.manifest().await.unwrap().unwrap(), folder.manifest().await.unwrap().unwrap());
        assert_eq!(there.digest(), wanted.digest(), "{} {}", both[0], both[1]);
        let signals =
            forewarn_features::SignalSet::new(&forewarn_features::presets::NAMES.map(str::to_owned), vec![]).unwrap();
        let range = wanted.range().unwrap();
        assert_eq!(bucket.read(&signals, range).await.unwrap(), folder.read(&signals, range).await.unwrap());
    });
}

#[test]
fn of_two_pulls_into_one_bucket_one_wins_whether_or_not_the_bucket_keeps_conditions() {
    let Some(prometheus) = history() else { return };
    let (calm_dir, _, _) = calm(&prometheus);
    for strips_conditions in [false, true] {
        let Some(server) = servers::s3().unwrap() else { return };
        assert_eq!(http::send("PUT", &format!("{}/history", server.url()), &[], &[]).unwrap().status, 200);
        let proxy =
            FaultProxy::start(&server.url(), FaultSchedule { strips_conditions, ..FaultSchedule::default() }).unwrap();
        two_into_a_bucket(&prometheus, &proxy.url(), calm_dir.path());
    }
}

#[test]
fn check_predicts_rows_and_bytes_of_a_pull() {
    let blocks = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/histories/1/tsdb"));
    if !blocks.is_dir() {
        eprintln!("skipped: no {}", blocks.display());
        return;
    }
    let copy = tempfile::tempdir().unwrap();
    servers::copy_tree(blocks, copy.path()).unwrap();
    let Some(prometheus) = servers::prometheus("global: {scrape_interval: 1m}\n", Some(copy.path())).unwrap() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let rest = format!("[[source]]\nname = \"shop\"\nkind = \"prometheus\"\nurl = \"{}\"\n", prometheus.url());
    let config = write_config(dir.path(), &rest);
    let begin = Instant::now();
    let checked = run(&["check", "--json"], Some(&config)).expect_code(0).json();
    let check_took = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let pulled = run(&["pull", "--json"], Some(&config)).expect_code(0).json();
    let took = begin.elapsed().as_secs_f64();
    let (predicted, summary) = (&checked["sources"][0], &pulled["sources"][0]["summary"]);
    let seconds = predicted["seconds_to_fetch"].as_f64().unwrap();
    eprintln!("predicted {seconds:.1} s, took {took:.1} s; check itself took {check_took:.1} s");
    for (what, predicted, got) in [
        ("rows", &predicted["rows_to_fetch"], &summary["rows"]),
        ("bytes", &predicted["bytes_to_fetch"], &summary["bytes"]),
    ] {
        let (predicted, got) = (predicted.as_f64().unwrap(), got.as_f64().unwrap());
        eprintln!("{what}: predicted {predicted}, got {got}, {:.2} times", predicted / got);
        assert!((1.0 / 1.5..1.5).contains(&(predicted / got)), "{what}: predicted {predicted}, got {got}");
    }
    assert_eq!(predicted["rows"], predicted["rows_to_fetch"], "all of the range was still to fetch");
}
