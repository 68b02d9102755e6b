//! Which database a URL names, and how its connections are set up. The statements are the same text for SQLite and
//! PostgreSQL and run through sqlx's `Any`; where the two differ, it is here.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor as _};
use url::Url;

use super::StateError;

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// SQLite, gone with its only connection.
    Memory,
    /// SQLite on disk.
    File(PathBuf),
    /// PostgreSQL, by its URL without what is secret in it.
    Server(String),
}

/// What this machine gives up after, where the database's machine does not answer.
const CONNECT: Duration = Duration::from_secs(5);

/// A server whose machine is gone, or that was stopped in the middle of a change, must not keep others waiting: PostgreSQL
/// ends its session (in 11 s without an answer, in 10 s within a change) and with it its locks.
const SESSION: &str = "SET application_name = 'forewarn'; \
     SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
     SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '5s'; SET statement_timeout = '60s'";

impl Place {
    /// Reads `sqlite:///absolute/path`, `sqlite:relative/path`, `sqlite::memory:` or `postgres://…`.
    pub(super) fn of(url: &str) -> Result<Self, StateError> {
        if is_server(url) {
            let parsed = Url::parse(url);
            let Ok(parsed) = parsed else {
                let reason = "it is not a URL";
                return Err(StateError::Unsupported { url: "postgres://…".to_owned(), reason });
            };
            return Ok(Self::Server(shown(&parsed)));
        }
        let Some(rest) = url.strip_prefix("sqlite:") else {
            let scheme = url.split(':').next().unwrap_or_default();
            let reason = "the scheme must be sqlite or postgres";
            return Err(StateError::Unsupported { url: format!("{scheme}:…"), reason });
        };
        if rest == ":memory:" || rest == "//:memory:" {
            return Ok(Self::Memory);
        }
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.is_empty() || path.contains('?') {
            let reason = "a path must follow, without parameters";
            return Err(StateError::Unsupported { url: url.to_owned(), reason });
        }
        Ok(Self::File(PathBuf::from(path)))
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Memory => "in memory".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Server(shown) => shown.clone(),
        }
    }

    /// How a change begins. SQLite takes the write lock at once: a change that first reads cannot then lose the race for
    /// it. PostgreSQL locks the rows that are written, and only them.
    pub(super) fn begin(&self) -> &'static str {
        if matches!(self, Self::Server(_)) { "BEGIN" } else { "BEGIN IMMEDIATE" }
    }

    fn migrations(&self) -> Migrator {
        match self {
            Self::Memory | Self::File(_) => sqlx::migrate!("./migrations/sqlite"),
            Self::Server(_) => sqlx::migrate!("./migrations/postgres"),
        }
    }
}

/// Whether `url` names a PostgreSQL server.
pub(super) fn is_server(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Who, where and which database; neither password nor parameters, which may hold one.
fn shown(url: &Url) -> String {
    let user = if url.username().is_empty() { String::new() } else { format!("{}@", url.username()) };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("postgres://{user}{}{port}{}", url.host_str().unwrap_or_default(), url.path())
}

/// Connects and brings the tables up to date. With `max_bytes` SQLite refuses to grow beyond.
pub(super) async fn open(place: &Place, url: &str, max_bytes: Option<u64>) -> Result<AnyPool, StateError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| StateError::Open { path: place.shown(), source };
    sqlx::any::install_default_drivers();
    let pool = match place {
        Place::Memory | Place::File(_) => open_sqlite(place, max_bytes).await.map_err(|e| failed(e.into()))?,
        Place::Server(_) => open_postgres(url).await.map_err(|e| failed(e.into()))?,
    };
    bring_up_to_date(&place.migrations(), &pool).await.map_err(|e| failed(e.into()))?;
    Ok(pool)
}

async fn open_sqlite(place: &Place, max_bytes: Option<u64>) -> Result<AnyPool, sqlx::Error> {
    let mut set_up = "PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;".to_owned();
    let url = match place {
        Place::File(path) => {
            set_up.push_str("PRAGMA journal_mode = WAL;");
            let path = std::path::absolute(path)?;
            let mut url = Url::parse("sqlite:///").map_err(|e| sqlx::Error::Configuration(e.into()))?;
            // A name may hold anything: what means something in a URL is written as `%xx`.
            url.set_path(&path.to_string_lossy().replace('%', "%25"));
            url.set_query(Some("mode=rwc"));
            url.to_string()
        }
        _ => "sqlite::memory:".to_owned(),
    };
    if let Some(max_bytes) = max_bytes {
        const PAGE: u64 = 4096;
        set_up.push_str(&format!("PRAGMA max_page_count = {};", (max_bytes / PAGE).max(1)));
    }
    AnyPoolOptions::new()
        // A database in memory is its connection: one, for ever.
        .max_connections(if *place == Place::Memory { 1 } else { 4 })
        // No minimum: the pool would open it beside the first connection, and of two that make a new
        // database a WAL one, SQLite answers one with "locked" at once. The first stays: nothing ends it.
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            let set_up = set_up.clone();
            Box::pin(async move { connection.execute(sqlx::AssertSqlSafe(set_up)).await.map(drop) })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                // Fails where nothing is open, which is what is wanted. What was dropped half-way (an
                // error, a caller that hung up) must not reach the next user of the connection.
                let _ = connection.execute("ROLLBACK").await;
                Ok(true)
            })
        })
        .connect(&url)
        .await
}

/// What a server says that it is; of SQLite `None`. Nothing is made there.
pub(super) async fn greet(place: &Place, url: &str) -> Result<Option<String>, StateError> {
    if !matches!(place, Place::Server(_)) {
        return Ok(None);
    }
    let version = async {
        let mut connection = connect(&url.parse()?).await?;
        let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(Some(format!("PostgreSQL {version}")))
    };
    version.await.map_err(|e: sqlx::Error| StateError::Open { path: place.shown(), source: e.into() })
}

async fn connect(options: &AnyConnectOptions) -> Result<AnyConnection, sqlx::Error> {
    sqlx::any::install_default_drivers();
    // sqlx takes whichever provider the process has.
    forewarn_storage::install_crypto_provider();
    let connecting = tokio::time::timeout(CONNECT, AnyConnection::connect_with(options));
    connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)?
}

async fn open_postgres(url: &str) -> Result<AnyPool, sqlx::Error> {
    let options: AnyConnectOptions = url.parse()?;
    // Once by hand: the pool tries again until its time is over, and then says only that.
    connect(&options).await?.close().await?;
    let pool = AnyPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(CONNECT)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(drop) }));
    Ok(pool.connect_lazy_with(options))
}

/// Of two processes that open a new database at once, both find nothing there, and the second one's migration meets the
/// first one's tables. It looks again, and finds them done.
async fn bring_up_to_date(migrations: &Migrator, pool: &AnyPool) -> Result<(), MigrateError> {
    const LOOKS: u32 = 5;
    for _ in 1..LOOKS {
        if migrations.run(pool).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    migrations.run(pool).await
}

/// A connection inside a transaction until it is committed; dropped before, the transaction is undone.
/// Not sqlx's own transaction: that loses count where SQLite itself undoes one, as it does when the
/// disk is full, and its connection is of no use from then on.
pub(crate) struct Change {
    connection: PoolConnection<Any>,
    /// Undone with the connection; else by the pool, when it takes the connection back.
    is_server: bool,
    done: bool,
}

impl Change {
    pub(super) async fn begin(pool: &AnyPool, place: &Place) -> Result<Self, sqlx::Error> {
        let mut connection = pool.acquire().await?;
        connection.execute(place.begin()).await?;
        Ok(Self { connection, is_server: matches!(place, Place::Server(_)), done: false })
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("COMMIT").await?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if self.is_server && !self.done {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Change {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://forewarn:hunter2@db.example:5433/state?sslmode=verify-full&password=hunter2",
            "postgresql://forewarn:hunter2@db.example:5433/state",
        ] {
            let place = Place::of(url).unwrap();
            assert_eq!(place.shown(), "postgres://forewarn@db.example:5433/state");
            assert!(!format!("{place:?}").contains("hunter2"));
        }
        let wrong = Place::of("postgres://u:hunter2@[db/state").unwrap_err().to_string();
        assert!(!wrong.contains("hunter2"), "{wrong}");
    }
}
