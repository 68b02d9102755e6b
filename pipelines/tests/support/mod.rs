//! What the tests of the binary share: running it, and the files it is given.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod fleet;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use forewarn_schema::{Step, TimeRange};
use forewarn_testkit::servers::{self, RunningServer};
use forewarn_testkit::{Shop, http, remote_write};
use serde_json::Value;

/// The binary under test, without the environment's own settings.
pub(crate) fn forewarn() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forewarn"));
    for (name, _) in std::env::vars() {
        if name.starts_with("FOREWARN_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str], config: Option<&Path>) -> Said {
    let mut command = forewarn();
    command.args(arguments);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command.output().unwrap().into()
}

/// Writes `forewarn.toml` into `dir`, with the store and the state beside it.
pub(crate) fn write_config(dir: &Path, rest: &str) -> PathBuf {
    let path = dir.join("forewarn.toml");
    let store = dir.join("store");
    std::fs::write(&path, format!("[store]\nurl = \"file://{}\"\n{rest}", store.display())).unwrap();
    path
}

/// What the store holds: every file by its path within it, the lock too (whose holder's number is gone once it is free).
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// A real Prometheus that holds the shop, written as a sender would.
pub(crate) fn prometheus_with_history(shop: &Shop) -> Option<RunningServer> {
    let server = servers::prometheus("global: {scrape_interval: 1h}\n", None).unwrap()?;
    let hours = shop.range().duration().as_secs() / 3600;
    for hour in 0..hours {
        let from = shop.range().start + Duration::from_secs(hour * 3600);
        let range = TimeRange::new(from, from + Duration::from_secs(3600)).unwrap();
        let body = remote_write::encode_series(&shop.samples(range, Step::MINUTE));
        let response = http::post(&format!("{}/api/v1/write", server.url()), &remote_write::HEADERS, &body).unwrap();
        assert!(response.status < 300, "{} {}", response.status, response.body_text());
    }
    Some(server)
}

/// A running `forewarn serve`; ended when dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) url: String,
}

impl Serving {
    /// Starts it and waits until it answers.
    pub(crate) fn start(config: &Path, port: u16) -> Self {
        let child = forewarn()
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--config"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut serving = Self { child, url: format!("http://127.0.0.1:{port}") };
        let until = Instant::now() + Duration::from_secs(30);
        while !http::get(&format!("{}/-/healthy", serving.url)).is_ok_and(|r| r.status == 200) {
            if serving.child.try_wait().unwrap().is_some() || Instant::now() > until {
                panic!("the server did not start: {}", serving.stop());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        serving
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let response = http::get(&format!("{}{path}", self.url)).unwrap();
        assert_eq!(response.status, 200, "GET {path}: {}", response.body_text());
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it and gives its log.
    pub(crate) fn stop(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut log = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut log);
        }
        log
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop();
    }
}
