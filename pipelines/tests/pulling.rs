//! `[serve] pull`, all parts real: a Prometheus that scrapes an exporter, writes to one server and is asked by two others, by remote
//! read and by range selectors. All three see the same.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forewarn_testkit::exporter::{LeakParams, LeakingExporter};
use forewarn_testkit::{http, servers};
use serde_json::Value;
use support::{Serving, run, write_config};

/// Predictions and the history of the one target, by the times of their steps.
#[derive(Default)]
struct Seen {
    values: BTreeMap<i64, String>,
    predictions: BTreeMap<String, String>,
}

impl Seen {
    fn look(&mut self, server: &Serving) {
        let predictions = server.get("/api/v1/predictions");
        let Some(prediction) = predictions.as_array().unwrap().first() else { return };
        let id = prediction["id"].as_str().unwrap();
        let one = server.get(&format!("/api/v1/predictions/{id}"));
        for point in one["target"]["history"].as_array().into_iter().flatten() {
            self.values.insert(at(&point["at"]), point["value"].to_string());
        }
        let mut prediction = prediction.clone();
        prediction.as_object_mut().unwrap().remove("id");
        self.predictions.insert(prediction["at"].to_string(), prediction.to_string());
    }
}

/// A time as a number, whichever way it is written.
fn at(value: &Value) -> i64 {
    let text = value.to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

fn config(folder: &Path, name: &str, pull: &str) -> std::path::PathBuf {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    write_config(&folder, &format!("[dataset]\nstep = \"1s\"\nhistory = \"10m\"\n[serve]\nlateness = \"1s\"\n{pull}"))
}

fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < until, "{what} did not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn metric(server: &Serving, name: &str) -> Option<f64> {
    let text = http::get(&format!("{}/metrics", server.url)).unwrap().body_text();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// A wire that can be cut: connections then end at once.
struct Wire {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Wire {
    fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, cut) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let is_cut = Arc::clone(&cut);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", upstream)) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to, cut) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&is_cut));
                    std::thread::spawn(move || pass_on(from, to, &cut));
                }
            }
        });
        Self { port, cut }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let _ = from.set_read_timeout(Some(Duration::from_millis(50)));
    let mut bytes = vec![0; 1 << 16];
    while !cut.load(Ordering::SeqCst) {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(n) if to.write_all(&bytes[..n]).is_ok() => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn what_is_pulled_is_what_would_have_been_written() {
    let dir = tempfile::tempdir().unwrap();
    let port = servers::spare_port().unwrap();
    let targets = dir.path().join("targets.json");
    fs::write(&targets, "[]").unwrap();
    let yaml = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n\
         remote_write:\n  - url: http://127.0.0.1:{port}/api/v1/write\n    queue_config: {{batch_send_deadline: 50ms}}\n\
         scrape_configs:\n  - job_name: leak\n    file_sd_configs: [{{files: [\"{}\"], refresh_interval: 1s}}]\n",
        targets.display()
    );
    let Some(prometheus) = servers::prometheus(&yaml, None).unwrap() else { return };
    let url = prometheus.url();
    let written = Serving::start(&config(dir.path(), "written", ""), port);
    let start =
        |name: &str, pull: &str| Serving::start(&config(dir.path(), name, pull), servers::spare_port().unwrap());
    let read = start("read", &format!("pull = \"{url}\"\n"));
    let source = format!("[[source]]\nname = \"real\"\nkind = \"prometheus\"\nurl = \"{url}\"\nfetch = \"samples\"\n");
    let asked = start("asked", &format!("pull = \"real\"\n{source}"));
    for server in [&read, &asked] {
        wait_until("a first fetch", || metric(server, "forewarn_pull_up") == Some(1.0));
    }

    let params = LeakParams {
        service: "cart".to_owned(),
        normal: 10.0,
        limit: 100.0,
        onset: Duration::from_secs(3),
        per_second: 2.0,
    };
    let exporter = LeakingExporter::start(params).unwrap();
    fs::write(&targets, format!("[{{\"targets\": [\"{}\"]}}]", exporter.target())).unwrap();
    let servers = [&written, &read, &asked];
    let mut seen = [Seen::default(), Seen::default(), Seen::default()];
    let until = Instant::now() + Duration::from_secs(35);
    while Instant::now() < until {
        for (seen, server) in seen.iter_mut().zip(servers) {
            seen.look(server);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let [by_write, others @ ..] = &seen;
    assert!(by_write.values.len() > 20, "{} steps", by_write.values.len());
    for (name, other) in ["remote read", "range selectors"].into_iter().zip(others) {
        let common = by_write.values.iter().filter(|(at, _)| other.values.contains_key(at)).count();
        let same = by_write.values.iter().filter(|(at, value)| other.values.get(at) == Some(value)).count();
        assert!(common > 20, "{name}: {common} steps in common");
        assert_eq!(same, common, "{name}: the same values at the same steps");
        let common = by_write.predictions.iter().filter(|(at, _)| other.predictions.contains_key(*at)).count();
        let same = by_write.predictions.iter().filter(|(at, said)| other.predictions.get(*at) == Some(said)).count();
        assert!(common > 3, "{name}: {common} predictions in common");
        assert_eq!(same, common, "{name}: the same predictions at the same steps");
    }

    // The target goes away: its series have ended, which nobody has to guess after five minutes.
    fs::write(&targets, "[]").unwrap();
    for server in servers {
        wait_until("the end of the series", || server.get("/api/v1/predictions").as_array().unwrap().is_empty());
    }
}

#[test]
fn an_outage_is_told_of_and_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let exporter = LeakingExporter::start(LeakParams {
        service: "cart".to_owned(),
        normal: 10.0,
        limit: 100.0,
        onset: Duration::from_secs(3600),
        per_second: 0.0,
    })
    .unwrap();
    let yaml = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n\
         scrape_configs:\n  - job_name: pool\n    static_configs: [{{targets: [\"{}\"]}}]\n",
        exporter.target()
    );
    let Some(prometheus) = servers::prometheus(&yaml, None).unwrap() else { return };
    let wire = Wire::before(prometheus.port());
    let url = format!("http://127.0.0.1:{}", wire.port);
    let source = format!("[[source]]\nname = \"real\"\nkind = \"prometheus\"\nurl = \"{url}\"\n");
    let config = config(dir.path(), "pulls", &format!("pull = \"real\"\n{source}"));
    let server = Serving::start(&config, servers::spare_port().unwrap());
    wait_until("a prediction", || !server.get("/api/v1/predictions").as_array().unwrap().is_empty());
    let said = run(&["check"], Some(&config)).expect_code(0).stdout;
    assert!(said.contains(&format!("pull {url}: reachable, by remote_read")), "{said}");
    let evaluated = || metric(&server, "forewarn_steps_evaluated_total").unwrap();

    wire.cut.store(true, Ordering::SeqCst);
    wait_until("a failure", || metric(&server, "forewarn_pull_up") == Some(0.0));
    let (before, since) = (evaluated(), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(evaluated(), before, "no step is evaluated without its samples");
    assert_eq!(http::get(&format!("{}/-/ready", server.url)).unwrap().status, 200, "a restart would not mend it");
    wire.cut.store(false, Ordering::SeqCst);
    wait_until("the samples", || metric(&server, "forewarn_pull_up") == Some(1.0));
    let missed = since.elapsed().as_secs_f64();
    wait_until("the missed steps", || evaluated() >= before + missed - 4.0);
    assert!(metric(&server, "forewarn_pull_failures_total").unwrap() >= 1.0);
}
