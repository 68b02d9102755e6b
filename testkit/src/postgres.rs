//! A real PostgreSQL for tests, on a spare loopback port over a temporary folder, asking for a password. It can be
//! stopped and started again over the same data. It ends with the test's process however that ends, because a shell keeps
//! it that waits for the end of its own input. `initdb` refuses to work for root: then Debian's user `postgres` has it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::servers::{say, spare_port};

/// Some of it means something in a URL.
const PASSWORD: &str = "hunter2:/?#@%";
/// The same, as it stands in a URL.
const ENCODED: &str = "hunter2%3A%2F%3F%23%40%25";
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the server until a line comes, or nothing can any more: a line stops it, silence also removes its folder.
const KEEPER: &str = r#"trap '' INT TERM HUP
"$1/postgres" -D "$2/data" -p "$3" $4 >>"$2/log" 2>&1 &
server=$!
if read -r signal; then kill -s "$signal" $server; wait $server
else kill -s QUIT $server; wait $server; rm -rf "$2"; fi"#;

/// A PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    /// Whom the server's processes belong to, where that is not us.
    user: Option<(u32, u32)>,
    /// More of the server's arguments.
    arguments: String,
    keeper: Mutex<Option<Child>>,
    databases: AtomicUsize,
}

impl Postgres {
    /// Starts one; `None`, and a reason on standard error, where PostgreSQL is not installed.
    pub fn start() -> io::Result<Option<Self>> {
        Self::start_with(None)
    }

    /// The same, speaking TLS with a certificate and its key (PEM).
    pub fn start_with_tls(certificate: &Path, key: &Path) -> io::Result<Option<Self>> {
        Self::start_with(Some((certificate, key)))
    }

    /// The one that all tests of a process share; each takes a [database](Self::database) of its own.
    ///
    /// # Panics
    /// Where it is installed and does not start.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        let start = || Self::start().unwrap_or_else(|e| panic!("PostgreSQL does not start: {e}"));
        SHARED.get_or_init(start).as_ref()
    }

    fn start_with(tls: Option<(&Path, &Path)>) -> io::Result<Option<Self>> {
        let Some(programs) = programs() else {
            say("skipped: postgresql is not installed");
            return Ok(None);
        };
        let user = if is_root()? { Some(id_of("postgres")?) } else { None };
        let folder = TempDir::new()?;
        let path = folder.path();
        fs::write(path.join("password"), PASSWORD)?;
        let mut arguments = "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off".to_owned();
        if let Some((certificate, key)) = tls {
            fs::copy(certificate, path.join("server.crt"))?;
            fs::copy(key, path.join("server.key"))?;
            let at = |name: &str| path.join(name).display().to_string();
            let files = format!(" -c ssl_cert_file={} -c ssl_key_file={}", at("server.crt"), at("server.key"));
            arguments.push_str(&format!(" -c ssl=on{files}"));
        }
        if let Some((user, group)) = user {
            chown(path, Some(user), Some(group))?;
            for entry in fs::read_dir(path)? {
                chown(entry?.path(), Some(user), Some(group))?;
            }
        }
        let mut server = Self {
            programs,
            folder: path.to_owned(),
            port: spare_port()?,
            user,
            arguments,
            keeper: Mutex::default(),
            databases: AtomicUsize::new(0),
        };
        let data = path.join("data");
        let made = server.run("initdb", |command| {
            command.arg("-D").arg(&data).args(["--username=postgres", "--auth=scram-sha-256", "--no-sync"]);
            command.args(["--encoding=UTF8", "--locale=C", "--no-instructions", "--pwfile"]).arg(path.join("password"))
        })?;
        succeeded(&made)?;
        // From here on it is the keeper's.
        server.folder = folder.keep();
        server.start_again()?;
        Ok(Some(server))
    }

    /// A new database: `postgres://user:password@host:port/name`.
    pub fn database(&self) -> io::Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.query("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(format!("postgres://postgres:{ENCODED}@127.0.0.1:{}/{name}", self.port))
    }

    /// What a statement answers, a row a line.
    pub fn query(&self, database: &str, sql: &str) -> io::Result<String> {
        let port = self.port.to_string();
        let output = self.run("psql", |command| {
            command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", database, "-qAtXc", sql])
        })?;
        succeeded(&output)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Stops it as its operator would: sessions are ended, the data is whole on disk.
    pub fn stop(&self) -> io::Result<()> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut child) = keeper.take() else { return Ok(()) };
        if let Some(input) = &mut child.stdin {
            input.write_all(b"INT\n")?;
        }
        child.wait().map(drop)
    }

    /// Starts it over the data it had, and waits until it takes connections.
    pub fn start_again(&self) -> io::Result<()> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", KEEPER, "keeper"]).arg(&self.programs).arg(&self.folder);
        command.arg(self.port.to_string()).arg(&self.arguments);
        self.as_user(&mut command).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(command.spawn()?);
        let until = Instant::now() + PATIENCE;
        while self.query("postgres", "SELECT 1").is_err() {
            if Instant::now() > until {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("PostgreSQL did not become ready: {log}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> io::Result<Output> {
        let mut command = Command::new(self.programs.join(program));
        arguments(&mut command);
        self.as_user(&mut command).env("PGPASSWORD", PASSWORD).stdin(Stdio::null()).output()
    }

    fn as_user<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.current_dir("/").env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        match keeper {
            Some(mut keeper) => {
                drop(keeper.stdin.take());
                let _ = keeper.wait();
            }
            None => drop(fs::remove_dir_all(&self.folder)),
        }
    }
}

/// Debian keeps them out of the way, by version; the newest.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let found = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).filter(|p| p.join("initdb").exists());
    let version = |path: &PathBuf| path.parent().and_then(Path::file_name).and_then(OsStr::to_str)?.parse::<u32>().ok();
    found.max_by_key(version)
}

fn is_root() -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

fn id_of(user: &str) -> io::Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.ok_or_else(|| io::Error::other(format!("there is no user {user}")))
}

fn succeeded(output: &Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_postgresql_starts_keeps_its_data_over_a_stop_and_leaves_nothing() {
        let Some(server) = Postgres::start().unwrap() else { return };
        let url = server.database().unwrap();
        let name = url.rsplit('/').next().unwrap();
        server.query(name, "CREATE TABLE kept AS SELECT 42 AS answer").unwrap();
        server.stop().unwrap();
        assert!(server.query(name, "SELECT 1").is_err());
        server.start_again().unwrap();
        assert_eq!(server.query(name, "SELECT answer FROM kept").unwrap(), "42");
        let folder = server.folder.clone();
        drop(server);
        assert!(!folder.exists());
    }
}
