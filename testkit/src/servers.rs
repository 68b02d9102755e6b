//! Real servers for tests: Prometheus, Alertmanager, VictoriaMetrics and an S3 server (moto), each on a spare loopback
//! port, waited for until ready and ended by its own process id. Where a program is not installed the
//! caller gets `None`, a reason is printed, and the test is skipped rather than passed in silence.

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http;

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct RunningServer {
    child: Child,
    port: u16,
    log: PathBuf,
    // Removed after the process has ended: fields are dropped in order, after `drop`.
    _dir: TempDir,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl RunningServer {
    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has written to its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it now.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Prometheus with the configuration `config` (YAML) over `tsdb`, which it writes to (give it a copy), or
/// over an empty directory. Its remote-write receiver is on, its retention is a hundred years.
pub fn prometheus(config: &str, tsdb: Option<&Path>) -> io::Result<Option<RunningServer>> {
    prometheus_with(config, tsdb, &[])
}

/// The same with more flags, such as `--web.enable-admin-api` or `--enable-feature=native-histograms`.
pub fn prometheus_with(config: &str, tsdb: Option<&Path>, flags: &[&str]) -> io::Result<Option<RunningServer>> {
    start(&["prometheus"], "/-/ready", |dir, port| {
        let file = dir.join("prometheus.yml");
        fs::write(&file, config)?;
        let tsdb = tsdb.map_or_else(|| dir.join("tsdb"), Path::to_path_buf);
        let mut arguments = vec![
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", tsdb.display()),
            "--storage.tsdb.retention.time=100y".to_owned(),
            "--web.enable-remote-write-receiver".to_owned(),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Ok(arguments)
    })
}

/// Alertmanager with the configuration `config` (YAML), without a cluster.
pub fn alertmanager(config: &str) -> io::Result<Option<RunningServer>> {
    start(&["prometheus-alertmanager", "alertmanager"], "/-/ready", |dir, port| {
        let file = dir.join("alertmanager.yml");
        fs::write(&file, config)?;
        Ok(vec![
            format!("--config.file={}", file.display()),
            format!("--storage.path={}", dir.join("data").display()),
            "--cluster.listen-address=".to_owned(),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ])
    })
}

/// VictoriaMetrics, empty, keeping a hundred years. What was written is to be seen after a GET of `/internal/force_flush`.
pub fn victoria_metrics() -> io::Result<Option<RunningServer>> {
    start(&["victoria-metrics", "victoria-metrics-prod"], "/health", |dir, port| {
        Ok(vec![
            format!("-storageDataPath={}", dir.join("data").display()),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            "-retentionPeriod=100y".to_owned(),
        ])
    })
}

/// moto's S3 server, empty. Any credentials do.
pub fn s3() -> io::Result<Option<RunningServer>> {
    start(&["moto_server"], "/moto-api/", |_, port| {
        Ok(vec!["-H".to_owned(), "127.0.0.1".to_owned(), "-p".to_owned(), port.to_string()])
    })
}

/// Copies a directory tree, so that a server may write to the copy.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            // Not fs::copy, which would also copy read-only permissions.
            io::copy(&mut fs::File::open(entry.path())?, &mut fs::File::create(target)?)?;
        }
    }
    Ok(())
}

/// A port that nothing listens on at this moment.
pub fn spare_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn start(
    programs: &[&str],
    ready_path: &str,
    arguments: impl Fn(&Path, u16) -> io::Result<Vec<String>>,
) -> io::Result<Option<RunningServer>> {
    // Another process may take the port between our look and the server's; then it exits, and we look again.
    for _ in 0..3 {
        let dir = TempDir::new()?;
        let port = spare_port()?;
        let log = dir.path().join("log");
        let output = fs::File::create(&log)?;
        let arguments = arguments(dir.path(), port)?;
        let Some(child) = spawn(programs, &arguments, &output)? else {
            say(&format!("skipped: {} is not installed", programs.join(" or ")));
            return Ok(None);
        };
        let mut server = RunningServer { child, port, log, _dir: dir };
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && server.child.try_wait()?.is_none() {
            if http::get(&format!("{}{ready_path}", server.url())).is_ok_and(|r| r.status == 200) {
                return Ok(Some(server));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = server.log();
        if !log.contains("address already in use") && !log.contains("Address already in use") {
            let last: String = log.lines().rev().take(5).collect::<Vec<_>>().join(" | ");
            return Err(io::Error::other(format!("{} did not become ready: {last}", programs[0])));
        }
    }
    Err(io::Error::other(format!("{} found no free port in three attempts", programs[0])))
}

fn spawn(programs: &[&str], arguments: &[String], output: &fs::File) -> io::Result<Option<Child>> {
    for program in programs {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .spawn();
        match child {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            child => return child.map(Some),
        }
    }
    Ok(None)
}

/// To standard error without the print macros, which libraries may not use; a skip must be seen.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_prometheus_starts_and_is_gone_after() {
        let Some(server) = prometheus("global: {scrape_interval: 1s}\n", None).unwrap() else { return };
        let url = format!("{}/-/healthy", server.url());
        assert_eq!(http::get(&url).unwrap().status, 200);
        drop(server);
        assert!(http::get(&url).is_err());
    }

    #[test]
    fn alertmanager_and_s3_start() {
        let config = "route: {receiver: none}\nreceivers: [{name: none}]\n";
        if let Some(server) = alertmanager(config).unwrap() {
            assert_eq!(http::get(&format!("{}/-/healthy", server.url())).unwrap().status, 200);
        }
        if let Some(server) = s3().unwrap() {
            assert_eq!(http::get(&format!("{}/", server.url())).unwrap().status, 200);
        }
    }
}
