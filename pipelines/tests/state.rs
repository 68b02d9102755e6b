//! The state database from the shell: where it may be, a copy under load and its way back, and a server that waits for it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics to fail and says why it skips")]

mod support;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use forewarn_testkit::gate::Gate;
use forewarn_testkit::http;
use forewarn_testkit::postgres::Postgres;
use forewarn_testkit::servers::{self, spare_port};
use serde_json::{Value, json};

use crate::support::{Serving, forewarn, run, write_config};

const SIGNALS: &str = "[signals]\npresets = [\"hikaricp\"]\n";

fn label(serving: &Serving, n: i64) -> String {
    let body = json!({"service": "cart", "kind": "oom", "at": 1_767_225_600 + n, "verdict": "missed"}).to_string();
    let json_type = [("content-type", "application/json")];
    let answer = http::post(&format!("{}/api/v1/feedback", serving.url), &json_type, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body_text());
    let label: Value = serde_json::from_slice(&answer.body).unwrap();
    label["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_copy_made_while_serving_is_the_state_again_when_put_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), SIGNALS);
    let state = dir.path().join("store/state.db");
    let copy = dir.path().join("copy.db");
    let to = copy.display().to_string();
    let nothing = run(&["state", "backup", "--to", &to], Some(&config)).expect_code(1);
    assert!(nothing.stderr.contains("there is no state at"), "{nothing}");
    let port = spare_port().unwrap();
    let mut serving = Serving::start(&config, port);
    let before: Vec<String> = (0..50).map(|n| label(&serving, n)).collect();
    let made = run(&["state", "backup", "--json", "--to", &to], Some(&config)).expect_code(0);
    assert_eq!(made.json()["bytes"], json!(std::fs::metadata(&copy).unwrap().len()));
    let again = run(&["state", "backup", "--to", &to], Some(&config)).expect_code(1);
    assert!(again.stderr.contains("it is there already"), "{again}");
    let after: Vec<String> = (50..60).map(|n| label(&serving, n)).collect();
    serving.stop();

    // As docs/operations.md says it.
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(state.with_file_name(name));
    }
    std::fs::copy(&copy, &state).unwrap();
    let serving = Serving::start(&config, port);
    let there = serving.get("/api/v1/feedback");
    let there: Vec<&str> = there.as_array().unwrap().iter().map(|l| l["id"].as_str().unwrap()).collect();
    assert!(before.iter().all(|id| there.contains(&id.as_str())));
    assert!(after.iter().all(|id| !there.contains(&id.as_str())), "the copy is of the time when it was made");
}

#[test]
fn a_state_in_postgresql_keeps_its_password_to_itself() {
    let Some(database) = Postgres::shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let url = database.database().unwrap();
    let (user, rest) = url.split_once('@').unwrap();
    let password = "hunter2:/?#@%";
    std::fs::write(dir.path().join("password"), format!("{password}\n")).unwrap();
    let state = format!("state = \"{}@{rest}\"\n", user.rsplit_once(':').unwrap().0);
    let config = write_config(dir.path(), &format!("{state}state_password_file = \"password\"\n{SIGNALS}"));
    let serving = Serving::start(&config, spare_port().unwrap());
    label(&serving, 0);
    assert_eq!(serving.get("/api/v1/feedback").as_array().unwrap().len(), 1);
    let backup = run(&["state", "backup", "--to", "copy.db"], Some(&config)).expect_code(2);
    assert!(backup.stderr.contains(&format!("pg_dump --format=custom --file=copy.db postgres://postgres@{rest}")));
    assert!(!backup.stderr.contains("hunter2"), "{backup}");

    std::fs::write(dir.path().join("password"), "hunter3").unwrap();
    let refused = run(&["label", "p-none", "unclear"], Some(&config)).expect_code(1);
    assert!(refused.stderr.contains("password authentication failed"), "{refused}");
    assert!(!refused.stderr.contains("hunter"), "{refused}");
    let nowhere = format!("state = \"postgres://u:hunter2@127.0.0.1:1/none\"\n{SIGNALS}");
    let away = run(&["label", "p-none", "unclear"], Some(&write_config(dir.path(), &nowhere))).expect_code(3);
    assert!(away.stderr.contains("postgres://u@127.0.0.1:1/none") && !away.stderr.contains("hunter"), "{away}");
    for wrong in ["postgres://u:hunter2@db", "mysql://u:hunter2@db/x"] {
        let config = write_config(dir.path(), &format!("state = \"{wrong}\"\n{SIGNALS}"));
        let refused = run(&["check"], Some(&config)).expect_code(2);
        assert!(refused.stderr.contains("[store] state: wanted") && !refused.stderr.contains("hunter"), "{refused}");
    }
}

#[test]
fn a_state_over_tls_believes_only_the_authority_that_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("server.crt"), dir.path().join("server.key"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let Some(database) = Postgres::start_with_tls(&certificate, &key).unwrap() else { return };
    let url = database.database().unwrap();
    let said = |parameters: &str| {
        let config = write_config(dir.path(), &format!("state = \"{url}{parameters}\"\n{SIGNALS}"));
        run(&["label", "p-none", "unclear"], Some(&config)).expect_code(1).stderr
    };
    let trusting = format!("?sslmode=verify-full&sslrootcert={}", certificate.display());
    assert!(said(&trusting).contains("no prediction with id p-none"));
    let doubting = said("?sslmode=verify-full");
    assert!(doubting.contains("certificate") && !doubting.contains("p-none"), "{doubting}");
}

/// A server whose log is a file, started and not waited for.
struct Waiting(Child);

impl Waiting {
    fn start(config: &Path, port: u16, log: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = forewarn();
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--config"]).arg(config);
        command.envs(settings.iter().copied()).stdout(Stdio::null()).stderr(std::fs::File::create(log).unwrap());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_ready(port: u16) -> bool {
    http::get(&format!("http://127.0.0.1:{port}/-/ready")).is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_server_waits_for_its_database_and_for_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    if let Some(database) = Postgres::start().unwrap() {
        let state = format!("state = \"{}\"\n{SIGNALS}", database.database().unwrap());
        database.stop().unwrap();
        let port = spare_port().unwrap();
        let server = Waiting::start(&write_config(dir.path(), &state), port, &log, &[]);
        until("the complaint", || said().contains("not serving yet"));
        database.start_again().unwrap();
        until("readiness", || is_ready(port));
        drop(server);
    }
    let Some(s3) = servers::s3().unwrap() else { return };
    assert_eq!(http::send("PUT", &format!("{}/forewarn", s3.url()), &[], &[]).unwrap().status, 200);
    let gate = Gate::start(([127, 0, 0, 1], s3.port()).into()).unwrap();
    gate.shut();
    let config = dir.path().join("bucket.toml");
    let state = dir.path().join("state.db");
    std::fs::write(
        &config,
        format!("[store]\nurl = \"s3://forewarn/prod\"\nstate = \"sqlite://{}\"\n{SIGNALS}", state.display()),
    )
    .unwrap();
    let endpoint = gate.url();
    let settings = [
        ("AWS_ENDPOINT", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ];
    let port = spare_port().unwrap();
    let _server = Waiting::start(&config, port, &log, &settings);
    until("the complaint", || said().contains("not serving yet"));
    gate.open().unwrap();
    until("readiness", || is_ready(port));
}
