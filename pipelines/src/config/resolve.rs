//! From what is written to what is used: URLs, secrets and signals are checked here, each mistake with
//! file, line and key. Files of secrets are read; nothing else is opened.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forewarn_datasets::{Fetch, TlsOptions};
use forewarn_features::promql::Expression;
use forewarn_features::{Calendar, CalendarError, SignalSet};
use forewarn_inference::{Alertmanagers, AutonomyOptions, Reach, StateStore};
use forewarn_schema::LabelMatcher;
use url::Url;

use super::autonomy::autonomy;
use super::file::{ConfigFile, SourceSection};
use super::lineage::lineage;
use super::load::{locate, unknown_variables};
use super::resolve_door::{access, door, pull, rates};
use super::safety;
use super::shard::shard;
use super::telemetry::telemetry;
use super::units::Secret;
use super::{Config, ConfigError, LogKeys, Requests, Serve, Source, SourceKind, Train, Webhook};

/// A shorter shadow period shows nothing, a longer one leaves the champion to grow old.
const LEAST_SHADOW: std::time::Duration = std::time::Duration::from_secs(3600);
const MOST_SHADOW: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// Where a value stands, for messages.
pub(super) struct Place<'a> {
    path: &'a Path,
    text: &'a str,
    environment: &'a [(String, String)],
}

impl Place<'_> {
    pub(super) fn wrong(&self, section: &str, index: usize, key: &str, what: impl std::fmt::Display) -> ConfigError {
        let line = locate(self.text, section, index, key).map(|n| format!(":{n}")).unwrap_or_default();
        ConfigError::new(format!("{}{line}: [{section}] {key}: {what}", self.path.display()))
    }

    /// Replaces `${NAME}` by the variable's value.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, after) = rest.split_at(start);
            let after = &after[2..];
            let end = after.find('}').ok_or("`${` without `}`")?;
            let name = &after[..end];
            let value = self.environment.iter().find(|(n, _)| n == name).map(|(_, v)| v);
            out.push_str(before);
            out.push_str(value.ok_or_else(|| format!("the environment has no variable {name}"))?);
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    /// A secret given in place (with `${…}`) or in a file (relative to the configuration), not both.
    pub(super) fn secret(
        &self,
        section: &str,
        index: usize,
        key: &str,
        inline: Option<&String>,
        file: Option<&String>,
    ) -> Result<Option<Secret>, ConfigError> {
        match (inline, file) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(self.wrong(section, index, key, format!("give {key} or {key}_file, not both"))),
            (Some(text), None) => {
                let text = self.expand(text).map_err(|e| self.wrong(section, index, key, e))?;
                Ok(Some(Secret::new(text)))
            }
            (None, Some(file)) => {
                let file_key = format!("{key}_file");
                let file = self.expand(file).map_err(|e| self.wrong(section, index, &file_key, e))?;
                let file = self.relative(&file);
                let text = fs::read_to_string(&file).map_err(|e| {
                    self.wrong(section, index, &file_key, format!("cannot read {}: {e}", file.display()))
                })?;
                Ok(Some(Secret::new(text.trim())))
            }
        }
    }

    pub(super) fn relative(&self, file: &str) -> PathBuf {
        self.path.parent().unwrap_or_else(|| Path::new("")).join(file)
    }
}

pub(super) fn resolve(
    path: &Path,
    text: &str,
    file: ConfigFile,
    environment: &[(String, String)],
) -> Result<Config, ConfigError> {
    for warning in unknown_variables(environment) {
        tracing::warn!(variable = %warning, "unknown environment variable");
    }
    let place = Place { path, text, environment };
    let store = file.store.url.as_deref().unwrap_or("forewarn-data");
    let store = place.expand(store).map_err(|e| place.wrong("store", 0, "url", e))?;
    let store_url = store_url(&store).map_err(|e| place.wrong("store", 0, "url", e))?;
    let state = file.store.state.as_deref().map(|s| place.expand(s)).transpose();
    let state = state.map_err(|e| place.wrong("store", 0, "state", e))?;
    let state_url = state_url(state.as_deref(), &store_url).map_err(|e| place.wrong("store", 0, "state", e))?;
    let password = (file.store.state_password.as_ref(), file.store.state_password_file.as_ref());
    let password = place.secret("store", 0, "state_password", password.0, password.1)?;
    let state_shown = StateStore::shown(&state_url);
    let state_url = with_password(state_url, password).map_err(|e| place.wrong("store", 0, "state", e))?;
    if file.dataset.history.0 < file.dataset.step.duration() {
        let what = format!("must hold at least one step of {}", file.dataset.step);
        return Err(place.wrong("dataset", 0, "history", what));
    }
    let calendar = Calendar::new(&file.dataset.time_zone, &file.dataset.holidays).map_err(|e| {
        let key = if matches!(e, CalendarError::TimeZone { .. }) { "time_zone" } else { "holidays" };
        place.wrong("dataset", 0, key, e)
    })?;
    let listen: SocketAddr = file
        .serve
        .listen
        .parse()
        .map_err(|_| place.wrong("serve", 0, "listen", format!("wanted ip:port, got {:?}", file.serve.listen)))?;
    if let Some(public) = &file.serve.public_url {
        http_url(public).map_err(|e| place.wrong("serve", 0, "public_url", e))?;
    }
    let schedule = file.train.schedule.parse().map_err(|e| place.wrong("train", 0, "schedule", e))?;
    let lineage = lineage(&place, &file.train.openlineage)?;
    if file.train.lstm_steps == Some(0) {
        return Err(place.wrong("train", 0, "lstm_steps", "must be at least 1"));
    }
    let shadow = file.train.shadow.0;
    if !shadow.is_zero() && !(LEAST_SHADOW..=MOST_SHADOW).contains(&shadow) {
        return Err(place.wrong("train", 0, "shadow", "must be 1h to 30d, or 0s for none"));
    }
    let sources = sources(&place, &file.source)?;
    let signals =
        SignalSet::new(&file.signals.presets, file.signal.clone()).map_err(|e| signal_error(&place, &file, e))?;
    let pull = pull(&place, file.serve.pull.as_deref(), &sources)?;
    let max_body_bytes = usize::try_from(file.serve.max_body.0)
        .map_err(|_| place.wrong("serve", 0, "max_body", "does not fit this machine's memory"))?;
    let (shard, checkpoint) = shard(&place, &file.serve)?;
    let telemetry = telemetry(&place, &file)?;
    let autonomy = autonomy(&place, &file, &signals, file.dataset.step)?;
    let requests = requests(&place, &file, &calendar, autonomy)?;
    if !state_url.expose().starts_with("sqlite:") && requests.webhook.as_ref().is_some_and(|w| w.secret.is_none()) {
        let what = "is needed where the state is in PostgreSQL: every server signs with the same secret";
        return Err(place.wrong("requests", 0, "webhook_secret_file", what));
    }
    Ok(Config {
        path: path.to_owned(),
        requests,
        telemetry,
        feedback: super::feedback::feedback(&place, &file.feedback)?,
        learn: file.feedback.learn,
        store_url,
        state_url,
        state_shown,
        step: file.dataset.step,
        history: file.dataset.history.0,
        calendar,
        sources,
        signals: Arc::new(signals),
        train: Train {
            device: file.train.device,
            threads: match file.train.threads {
                0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
                n => n,
            },
            seed: file.train.seed,
            lstm_steps: file.train.lstm_steps,
            holdout: file.train.holdout.0,
            schedule,
            jitter: file.train.jitter.0,
            in_server: file.train.in_server,
            lineage,
            shadow: file.train.shadow.0,
        },
        serve: Serve {
            listen,
            access: access(&place, &file.serve)?,
            door: door(&place, &file.serve)?,
            rates: rates(&place, &file.serve.rate_limit)?,
            pull,
            otlp_promote: file.serve.otlp.promote_resource_attributes,
            public_url: file.serve.public_url,
            shard,
            allow_unauthenticated_remote: file.serve.allow_unauthenticated_remote,
            lateness: file.serve.lateness.0,
            max_series: file.serve.max_series,
            max_memory: file.serve.max_memory.map(|bytes| bytes.0),
            max_body_bytes,
            checkpoint,
            checkpoint_every: Some(file.serve.checkpoint_every.0).filter(|every| !every.is_zero()),
        },
    })
}

fn requests(
    place: &Place<'_>,
    file: &ConfigFile,
    calendar: &Calendar,
    autonomy: AutonomyOptions,
) -> Result<Requests, ConfigError> {
    let section = &file.requests;
    let reach = reach(&section.allow_networks).map_err(|e| place.wrong("requests", 0, "allow_networks", e))?;
    let secret = place.secret(
        "requests",
        0,
        "webhook_secret",
        section.webhook_secret.as_ref(),
        section.webhook_secret_file.as_ref(),
    )?;
    if let Some(secret) = &secret
        && !secret.expose().starts_with("whsec_")
    {
        let what = "wanted whsec_ and base64, as Standard Webhooks writes it";
        return Err(place.wrong("requests", 0, "webhook_secret", what));
    }
    let webhook = match &section.webhook {
        None => None,
        Some(url) => {
            let url = place.expand(url).map_err(|e| place.wrong("requests", 0, "webhook", e))?;
            http_url(&url).map_err(|e| place.wrong("requests", 0, "webhook", e))?;
            let host = Url::parse(&url).ok();
            reach
                .check_host(host.as_ref().and_then(Url::host))
                .map_err(|e| place.wrong("requests", 0, "webhook", e))?;
            Some(Webhook { url, secret, reach: reach.clone() })
        }
    };
    let urls = safety::alertmanagers(place, file, &reach)?;
    let alertmanagers = (!urls.is_empty()).then(|| Alertmanagers::new(urls, reach));
    let safety = safety::safety(place, file, calendar)?;
    Ok(Requests { webhook, alertmanagers, safety, autonomy, weekly_budget: section.weekly_budget, mode: section.mode })
}

fn sources(place: &Place<'_>, sections: &[SourceSection]) -> Result<Vec<Source>, ConfigError> {
    let mut sources: Vec<Source> = Vec::new();
    for (i, section) in sections.iter().enumerate() {
        let wrong = |key: &str, what: String| place.wrong("source", i, key, what);
        let name = section.name.clone().unwrap_or_else(|| section.kind.as_str().to_owned());
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(wrong("name", format!("wanted letters, digits, - and _, got {name:?}")));
        }
        if sources.iter().any(|s| s.name == name) {
            return Err(wrong("name", format!("names must be unique, got {name:?} twice")));
        }
        let url = place.expand(&section.url).map_err(|e| wrong("url", e))?;
        match section.kind {
            SourceKind::Prometheus => http_url(&url),
            _ => Url::parse(&url).map(drop).map_err(|e| format!("wanted s3://bucket/prefix or file:///path: {e}")),
        }
        .map_err(|e| wrong("url", e))?;
        let token = place.secret("source", i, "token", section.token.as_ref(), section.token_file.as_ref())?;
        let password =
            place.secret("source", i, "password", section.password.as_ref(), section.password_file.as_ref())?;
        let basic = match (&section.username, password) {
            (Some(user), Some(password)) => Some((user.clone(), password)),
            (None, None) => None,
            _ => return Err(wrong("username", "username and password go together".to_owned())),
        };
        if basic.is_some() && token.is_some() {
            return Err(wrong("token", "give a token or a username, not both".to_owned()));
        }
        let mut headers = Vec::new();
        for (header, value) in &section.headers {
            let value = place.expand(value).map_err(|e| wrong("headers", e))?;
            headers.push((header.clone(), Secret::new(value)));
        }
        if section.concurrency == 0 {
            return Err(wrong("concurrency", "must be at least 1".to_owned()));
        }
        let series = series(place, i, section)?;
        if let Some((key, kinds)) = section.misplaced_key() {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("{:?}", kind.as_str())).collect();
            let what = format!("is for kind {}, this is {:?}", kinds.join(" or "), section.kind.as_str());
            return Err(wrong(key, what));
        }
        let is_steps = section.kind == SourceKind::Prometheus && section.fetch.unwrap_or_default() == Fetch::Steps;
        if is_steps && section.series.is_some() {
            return Err(wrong("series", "is for raw samples; set fetch = \"auto\" beside it".to_owned()));
        }
        let file = |key: &str, file: &Option<String>| {
            let file = file.as_deref().map(|file| place.expand(file)).transpose().map_err(|e| wrong(key, e))?;
            Ok::<_, ConfigError>(file.map(|file| place.relative(&file)))
        };
        let tls = TlsOptions {
            ca_file: file("ca_file", &section.ca_file)?,
            cert_file: file("cert_file", &section.cert_file)?,
            key_file: file("key_file", &section.key_file)?,
            server_name: section.server_name.clone(),
        };
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            return Err(wrong("cert_file", "cert_file and key_file go together".to_owned()));
        }
        if tls != TlsOptions::default() && !url.starts_with("https://") {
            return Err(wrong("url", "wanted https://, because TLS is set up below".to_owned()));
        }
        let token_file = file("token_file", &section.token_file)?;
        let logs = log_keys(section).map_err(|(key, what)| wrong(key, what))?;
        sources.push(Source {
            name,
            kind: section.kind,
            url,
            token,
            basic,
            headers,
            timeout: section.timeout.0,
            concurrency: section.concurrency,
            retries: section.retries,
            give_up_after: section.give_up_after.0,
            token_file,
            tls,
            fetch: section.fetch.unwrap_or_default(),
            max_source_resolution: section.max_source_resolution.unwrap_or_default(),
            dedup: section.dedup,
            replica_labels: section.replica_labels.clone().unwrap_or_default(),
            series,
            ignore_delay: section.ignore_delay.as_ref().map(|span| span.0),
            logs,
        });
    }
    Ok(sources)
}

/// The selectors of series to pull besides those that the signals read.
fn series(place: &Place<'_>, index: usize, section: &SourceSection) -> Result<Vec<Vec<LabelMatcher>>, ConfigError> {
    let selector = |text: &String| {
        let wrong = |what: String| place.wrong("source", index, "series", what);
        let parsed = Expression::parse(text).map_err(|e| wrong(e.to_string()))?;
        let not_one = || wrong(format!("wanted a selector such as {{__name__=~\"kube_.+\"}}, got {text:?}"));
        parsed.as_selector().map(forewarn_features::promql::Selector::label_matchers).ok_or_else(not_one)
    };
    section.series.iter().flatten().map(selector).collect()
}

/// Where the lines of logs say what.
fn log_keys(section: &SourceSection) -> Result<LogKeys, (&'static str, String)> {
    let keys = [
        ("service_key", &section.service_key),
        ("level_key", &section.level_key),
        ("message_key", &section.message_key),
        ("time_key", &section.time_key),
    ];
    if let Some((key, _)) = keys.iter().find(|(_, value)| value.as_ref().is_some_and(String::is_empty)) {
        return Err((key, "wanted the path of a field such as \"kubernetes.labels.app\", got \"\"".to_owned()));
    }
    Ok(LogKeys {
        service: section.service_key.clone(),
        level: section.level_key.clone(),
        message: section.message_key.clone(),
        time: section.time_key.clone(),
        dedup_window: section.dedup_window.map(|window| window.0),
    })
}

fn signal_error(place: &Place<'_>, file: &ConfigFile, error: forewarn_features::SignalError) -> ConfigError {
    use forewarn_features::SignalError;
    let name = match &error {
        SignalError::UnknownPreset { got } => {
            let hint = super::load::closest(got, forewarn_features::presets::ALL.into_iter())
                .map(|meant| format!("; did you mean {meant:?}?"))
                .unwrap_or_default();
            return place.wrong("signals", 0, "presets", format!("{error}{hint}"));
        }
        SignalError::Duplicate(name) | SignalError::Name(name) | SignalError::NoLimit(name) => name,
        SignalError::Expression { signal, .. } => signal,
    };
    // The last of that name: of two, the second one is the mistake.
    let index = file.signal.iter().rposition(|s| s.name == *name);
    let key = match &error {
        SignalError::Expression { role: forewarn_features::Role::Value, .. } => "value",
        SignalError::Expression { .. } | SignalError::NoLimit(_) => "limit",
        _ => "name",
    };
    place.wrong("signal", index.unwrap_or(usize::MAX), key, error)
}

fn reach(networks: &[String]) -> Result<Reach, String> {
    let parse =
        |text: &String| text.parse().map_err(|_| format!("wanted networks such as \"10.0.0.0/8\", got {text:?}"));
    Ok(Reach::new(networks.iter().map(parse).collect::<Result<Vec<_>, _>>()?))
}

pub(super) fn http_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|e| format!("wanted http://host:port, got {text:?}: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("wanted http:// or https:// and a host, got {text:?}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong in a URL, which is shown in logs".to_owned());
    }
    Ok(())
}

/// A plain path is a directory, relative to where the command runs.
fn store_url(text: &str) -> Result<String, String> {
    if !text.contains("://") {
        return directory_url(text);
    }
    let url = Url::parse(text).map_err(|e| format!("wanted file:///path or s3://bucket/prefix, got {text:?}: {e}"))?;
    match url.scheme() {
        "file" if url.to_file_path().is_ok() => Ok(text.to_owned()),
        "s3" if url.host().is_some() => Ok(text.to_owned()),
        _ => Err(format!("wanted file:///path or s3://bucket/prefix, got {text:?}")),
    }
}

fn directory_url(path: &str) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|e| format!("not a path: {path:?}: {e}"))?;
    Url::from_directory_path(&path)
        .map(|url| url.as_str().trim_end_matches('/').to_owned())
        .map_err(|()| format!("not a path: {}", path.display()))
}

/// Beside a `file://` store by default; of another store, in `./forewarn-data`.
fn state_url(text: Option<&str>, store_url: &str) -> Result<String, String> {
    match text {
        Some(text) if text.starts_with("sqlite:///") => Ok(text.to_owned()),
        Some(text) if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
            let url = Url::parse(text).map_err(|e| format!("wanted postgres://user@host/database: {e}"))?;
            match url.path().trim_matches('/') {
                "" => Err("wanted postgres://user@host/database, got no database".to_owned()),
                _ => Ok(text.to_owned()),
            }
        }
        // Of something else only the scheme is shown: a password may follow.
        Some(text) => {
            let scheme = text.split_once("://").map_or(text, |(scheme, _)| scheme);
            Err(format!("wanted sqlite:///path or postgres://user@host/database, got {scheme:?}"))
        }
        None => {
            let directory = match Url::parse(store_url).ok().filter(|u| u.scheme() == "file") {
                Some(url) => url.to_file_path().map_err(|()| format!("not a path: {store_url:?}"))?,
                None => std::path::absolute("forewarn-data").map_err(|e| e.to_string())?,
            };
            Ok(format!("sqlite://{}", directory.join("state.db").display()))
        }
    }
}

/// The URL with a password that was given apart.
fn with_password(url: String, password: Option<Secret>) -> Result<Secret, String> {
    let Some(password) = password else { return Ok(Secret::new(url)) };
    let mut parsed = Url::parse(&url).map_err(|e| e.to_string())?;
    if parsed.scheme() == "sqlite" {
        return Err("state_password is for postgres://…".to_owned());
    }
    if parsed.password().is_some() {
        return Err("give the password here or in state_password, not both".to_owned());
    }
    parsed.set_password(Some(password.expose())).map_err(|()| "a password needs a host".to_owned())?;
    Ok(Secret::new(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/etc/forewarn.toml";

    fn load(text: &str) -> Result<Config, String> {
        load_with(text, &[])
    }

    fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::from_text(Path::new(PATH), text, &environment).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_is_a_configuration() {
        let config = load("").unwrap();
        assert!(config.store_url.starts_with("file:///") && config.store_url.ends_with("/forewarn-data"));
        assert!(config.state_url.expose().ends_with("/forewarn-data/state.db"), "{}", config.state_shown);
        assert_eq!(config.requests.weekly_budget, 5);
        assert_eq!(config.serve.listen.to_string(), "127.0.0.1:9797");
        assert!(config.signals.get("memory").is_some());
    }

    #[test]
    fn the_door_and_what_is_pulled_are_read() {
        let text = "[[source]]\nname = \"prom\"\nkind = \"prometheus\"\nurl = \"https://p\"\ntoken = \"t\"\n\
                    [serve]\npull = \"prom\"\nweb_config_file = \"web.yml\"\n\
                    [serve.tls]\ncert_file = \"a.pem\"\nkey_file = \"/k.pem\"\n\
                    [serve.otlp]\npromote_resource_attributes = [\"k8s.pod.name\"]\n\
                    [serve.rate_limit]\nwrites_per_second = 5\n\
                    [[serve.access]]\nname = \"anna\"\nrole = \"operate\"\n\
                    [[serve.access]]\nname = \"p\"\nrole = \"write\"\ncertificate = \"prometheus.local\"\n";
        let serve = load(text).unwrap().serve;
        let pull = serve.pull.unwrap();
        assert_eq!((pull.url.as_str(), pull.fetch), ("https://p", Fetch::Auto), "raw samples are wanted");
        assert!(pull.token.is_some(), "with its credentials");
        assert_eq!(serve.door.web_config_file.as_deref(), Some(Path::new("/etc/web.yml")));
        let tls = serve.door.tls.unwrap();
        assert_eq!((tls.cert_file.as_path(), tls.key_file.as_path()), (Path::new("/etc/a.pem"), Path::new("/k.pem")));
        assert_eq!((serve.otlp_promote.len(), serve.rates.writes_per_second), (1, 5.0));
        assert_eq!(serve.access.len(), 2);
        let url = load("[serve]\npull = \"http://127.0.0.1:9090\"\n").unwrap().serve.pull.unwrap();
        assert_eq!((url.name.as_str(), url.fetch), ("pull", Fetch::Auto));
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let corpus = [
            (
                "[requests]\nweekly_buget = 3\n",
                "/etc/forewarn.toml:2: unknown key \"weekly_buget\", did you mean \"weekly_budget\"?",
            ),
            ("[serv]\nlisten = \"x\"\n", "/etc/forewarn.toml:1: unknown key \"serv\", did you mean \"serve\"?"),
            (
                "[dataset]\nstep = \"60\"\n",
                "/etc/forewarn.toml:2: a duration needs a number and a unit (ms, s, m, h, d, w), such as \"60s\", got \"60\"",
            ),
            (
                "[dataset]\ntime_zone = \"Berlin\"\n",
                "/etc/forewarn.toml:2: [dataset] time_zone: wanted an IANA time zone such as \"Europe/Berlin\", got \"Berlin\"; did you mean \"Europe/Berlin\"?",
            ),
            (
                "[dataset]\ntime_zone = \"Europe/Berlin\"\nholidays = [\"2026-12-25\", \"26.12.2026\"]\n",
                "/etc/forewarn.toml:3: [dataset] holidays: wanted a day such as \"2026-12-25\", got \"26.12.2026\"",
            ),
            ("[serve]\n\nlisten = \"9797\"\n", "/etc/forewarn.toml:3: [serve] listen: wanted ip:port, got \"9797\""),
            (
                "[[source]]\nkind = \"promethoius\"\nurl = \"http://x\"\n",
                "/etc/forewarn.toml:2: unknown value \"promethoius\", did you mean \"prometheus\"? (one of prometheus, blocks, logs)",
            ),
            (
                "[[source]]\nkind = \"prometheus\"\nurl = \"http://x\"\ntoken = \"${NOT_SET}\"\n",
                "/etc/forewarn.toml:4: [source] token: the environment has no variable NOT_SET",
            ),
            (
                "[[source]]\nkind = \"prometheus\"\nurl = \"http://x\"\nfetch = \"sample\"\n",
                "/etc/forewarn.toml:4: unknown value \"sample\", did you mean \"samples\"? (one of auto, samples, remote_read, steps)",
            ),
            (
                "[[source]]\nkind = \"blocks\"\nurl = \"s3://x/\"\nfetch = \"auto\"\n",
                "/etc/forewarn.toml:4: [source] fetch: is for kind \"prometheus\", this is \"blocks\"",
            ),
            (
                "[[source]]\nkind = \"prometheus\"\nurl = \"https://x\"\nkey_file = \"k.pem\"\n",
                "/etc/forewarn.toml:1: [source] cert_file: cert_file and key_file go together",
            ),
            (
                "[[source]]\nkind = \"prometheus\"\nurl = \"http://x\"\nca_file = \"ca.pem\"\n",
                "/etc/forewarn.toml:3: [source] url: wanted https://, because TLS is set up below",
            ),
            (
                "[signals]\npresets = [\"kubernets\"]\n",
                "/etc/forewarn.toml:2: [signals] presets: unknown preset \"kubernets\", wanted one of kubernetes, hikaricp, http, node, blackbox, logs, events; did you mean \"kubernetes\"?",
            ),
            (
                "[[signal]]\nname = \"q\"\nkind = \"custom\"\nvalue = \"up\"\n",
                "/etc/forewarn.toml:1: [signal] limit: signal \"q\" may breach, so it needs a limit (a number or PromQL)",
            ),
            (
                "[[source]]\nkind = \"prometheus\"\nurl = \"http://x\"\nlevel_key = \"lvl\"\n",
                "/etc/forewarn.toml:4: [source] level_key: is for kind \"logs\", this is \"prometheus\"",
            ),
            (
                "[store]\nurl = \"ftp://x\"\n",
                "/etc/forewarn.toml:2: [store] url: wanted file:///path or s3://bucket/prefix, got \"ftp://x\"",
            ),
            (
                "[requests]\nwebhook = \"http://u:p@h/\"\n",
                "/etc/forewarn.toml:2: [requests] webhook: credentials do not belong in a URL, which is shown in logs",
            ),
            (
                "[[serve.access]]\nname = \"p\"\nrole = \"write\"\n",
                "/etc/forewarn.toml:2: [serve.access] name: give token_file or password_file, a certificate, or the name of a user of web_config_file",
            ),
            (
                "[[serve.access]]\nname = \"p\"\nrole = \"read\"\ncertificate = \"a\"\ntoken = \"a-long-enough-token\"\n",
                "/etc/forewarn.toml:2: [serve.access] name: give one of a token, a password and a certificate",
            ),
            (
                "[serve.tls]\ncert_file = \"a\"\nkey_file = \"b\"\nclient_auth = \"x\"\n",
                "/etc/forewarn.toml:4: unknown key \"client_auth\", did you mean \"client_auth_type\"?",
            ),
            (
                "[serve.tls]\ncert_file = \"a\"\nkey_file = \"b\"\nmin_version = \"TLS10\"\n",
                "/etc/forewarn.toml:4: unknown value \"TLS10\", wanted one of TLS12, TLS13",
            ),
            (
                "[serve.rate_limit]\nrequests_per_second = -1.0\n",
                "/etc/forewarn.toml:2: [serve.rate_limit] requests_per_second: wanted a rate, or 0 for none, got -1",
            ),
            (
                "[serve]\npull = \"thanos\"\n",
                "/etc/forewarn.toml:2: [serve] pull: wanted the name of a [[source]] or a URL: wanted http://host:port, got \"thanos\": relative URL without a base",
            ),
            (
                "[[source]]\nkind = \"blocks\"\nurl = \"s3://b\"\n[serve]\npull = \"blocks\"\n",
                "/etc/forewarn.toml:5: [serve] pull: wanted a source of kind \"prometheus\", \"blocks\" is of kind \"blocks\"",
            ),
            (
                "[[serve.access]]\nname = \"p\"\nrole = \"operate\"\npassword = \"short\"\n",
                "/etc/forewarn.toml:4: [serve.access] password: must have at least 12 bytes, got 5",
            ),
            (
                "[[serve.access]]\nname = \"p\"\nrole = \"admin\"\ntoken = \"a-long-enough-token\"\n",
                "/etc/forewarn.toml:3: unknown value \"admin\", wanted one of write, read, operate",
            ),
            (
                "[requests]\nwebhook = \"http://169.254.169.254/\"\n",
                "/etc/forewarn.toml:2: [requests] webhook: 169.254.169.254 is neither public nor in requests.allow_networks",
            ),
            (
                "[requests]\nwebhook = \"http://10.0.0.1/\"\nallow_networks = [\"10.0.0.0\"]\n",
                "/etc/forewarn.toml:3: [requests] allow_networks: wanted networks such as \"10.0.0.0/8\", got \"10.0.0.0\"",
            ),
            (
                "[requests]\nalertmanager = [\"http://10.0.0.1:9093\"]\n",
                "/etc/forewarn.toml:2: [requests] alertmanager: 10.0.0.1 is neither public nor in requests.allow_networks",
            ),
            (
                "[requests]\nalertmanager = [\"http://127.0.0.1:9093/api/v2/alerts\"]\n",
                "/etc/forewarn.toml:2: [requests] alertmanager: wanted the URL without /api/v2/alerts, got \"http://127.0.0.1:9093/api/v2/alerts\"",
            ),
            (
                "[requests]\nalertmanager = [\"http://127.0.0.1:9093\", \"http://127.0.0.1:9093/\"]\n",
                "/etc/forewarn.toml:2: [requests] alertmanager: \"http://127.0.0.1:9093/\" is there twice",
            ),
            (
                "[requests]\nmax_per_hour = 0\n",
                "/etc/forewarn.toml:2: [requests] max_per_hour: must be at least 1; to have none made, stop requests (POST /api/v1/requests/stop)",
            ),
            (
                "[[requests.maintenance]]\nweekly = \"Sun 02:00-04:00\"\n[[requests.maintenance]]\nweekly = \"Sunday at 2\"\n",
                "/etc/forewarn.toml:4: [requests.maintenance] weekly: wanted a weekday and two times such as \"Sun 02:00-04:00\", got \"Sunday at 2\"",
            ),
            (
                "[[requests.maintenance]]\nservice = \"cart\"\n",
                "/etc/forewarn.toml:1: [requests.maintenance] from: give from and to, or weekly",
            ),
            (
                "[[requests.maintenance]]\nfrom = \"2026-01-02T00:00:00Z\"\nto = \"2026-01-01T00:00:00Z\"\n",
                "/etc/forewarn.toml:3: [requests.maintenance] to: must be later than from (2026-01-02T00:00:00Z), got 2026-01-01T00:00:00Z",
            ),
            (
                "[feedback]\nlinks_valid = \"91d\"\n",
                "/etc/forewarn.toml:2: [feedback] links_valid: must be at most 90d, after which predictions are not kept; got 13w",
            ),
            (
                "[feedback.alertmanager]\nservice_label = \"app\"\n",
                "/etc/forewarn.toml:2: unknown key \"service_label\", did you mean \"service_labels\"?",
            ),
            (
                "[feedback.alertmanager]\nservice_labels = []\n",
                "/etc/forewarn.toml:2: [feedback.alertmanager] service_labels: wanted at least one label's name, got none",
            ),
            (
                "[feedback.alertmanager.kinds]\nKubeMemory = \"ooom\"\n",
                "/etc/forewarn.toml:2: unknown value \"ooom\", did you mean \"oom\"? (one of oom, pool_exhaustion, error_rate, disk_full, certificate_expiry, custom)",
            ),
            (
                "[train]\nschedule = \"weekly\"\n",
                "/etc/forewarn.toml:2: [train] schedule: wanted a weekday and a time such as \"Sun 03:00 UTC\", got \"weekly\"",
            ),
        ];
        for (text, expected) in corpus {
            assert_eq!(load(text).unwrap_err(), expected, "of {text:?}");
        }
    }

    #[test]
    fn an_expression_outside_the_subset_is_found_before_anything_is_opened() {
        let text = "[[signal]]\nname = \"q\"\nkind = \"context\"\nvalue = 'sum by ('\n";
        let error = load(text).unwrap_err();
        assert!(error.starts_with("/etc/forewarn.toml:4: [signal] value: signal \"q\""), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn the_environment_outranks_the_file_and_a_wrong_variable_is_named() {
        let text = "[store]\nurl = \"file:///a\"\n[requests]\nweekly_budget = 3\n";
        let environment = [
            ("FOREWARN_STORE_URL", "file:///b"),
            ("FOREWARN_REQUESTS_WEEKLY_BUDGET", "9"),
            ("FOREWARN_SIGNALS_PRESETS", "http, node"),
            ("FOREWARN_DATASET_HOLIDAYS", "2026-12-25, 2026-12-26"),
        ];
        let config = load_with(text, &environment).unwrap();
        assert_eq!(config.store_url, "file:///b");
        assert_eq!(config.requests.weekly_budget, 9);
        assert_eq!((config.calendar.time_zone(), config.calendar.holidays()), ("UTC", 2));
        assert!(config.signals.get("memory").is_none() && config.signals.get("disk").is_some());
        let error = load_with(text, &[("FOREWARN_DATASET_STEP", "fast")]).unwrap_err();
        assert!(error.starts_with("FOREWARN_DATASET_STEP: a duration needs"), "{error}");
    }

    #[test]
    fn a_source_of_logs_says_which_fields_are_what() {
        let text = "[[source]]\nkind = \"logs\"\nurl = \"s3://logs/fluent-bit/\"\nservice_key = \"app.id\"\ndedup_window = \"30m\"\n";
        let config = load(text).unwrap();
        assert_eq!(config.sources[0].logs.service.as_deref(), Some("app.id"));
        assert_eq!(config.sources[0].logs.dedup_window, Some(std::time::Duration::from_secs(1800)));
        assert_eq!(config.sources[0].logs.level, None);
    }

    #[test]
    fn a_token_comes_from_the_environment_and_is_not_shown() {
        let text = "[[source]]\nkind = \"prometheus\"\nurl = \"http://${HOST}:9090\"\ntoken = \"${TOKEN}\"\n";
        let config = load_with(text, &[("TOKEN", "hunter2"), ("HOST", "thanos")]).unwrap();
        assert_eq!(config.sources[0].url, "http://thanos:9090");
        assert_eq!(config.sources[0].token.as_ref().unwrap().expose(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn the_state_may_be_in_postgresql_and_its_password_is_not_shown() {
        let text =
            "[store]\nstate = \"postgres://forewarn@db/state?sslmode=verify-full\"\nstate_password = \"${PW}\"\n";
        let config = load_with(text, &[("PW", "hunter2:/@")]).unwrap();
        assert_eq!(config.state_url.expose(), "postgres://forewarn:hunter2%3A%2F%40@db/state?sslmode=verify-full");
        assert_eq!(config.state_shown, "postgres://forewarn@db/state");
        assert!(!format!("{config:?}").contains("hunter2"));
        for (text, expected) in [
            (
                "state = \"postgres://u:a@db/x\"\nstate_password = \"b\"",
                "state: give the password here or in state_password",
            ),
            ("state = \"sqlite:///x\"\nstate_password = \"b\"", "state: state_password is for postgres://"),
            ("state = \"postgres://u:a@db\"", "state: wanted postgres://user@host/database, got no database"),
            (
                "state = \"postgres://db/x\"\n[requests]\nwebhook = \"http://127.0.0.1/\"",
                "webhook_secret_file: is needed where the state is in PostgreSQL",
            ),
        ] {
            let error = load(&format!("[store]\n{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_query_api_has_tls_and_a_way_to_be_asked() {
        let text = r#"
            [[source]]
            kind = "prometheus"
            url = "https://thanos:10902"
            ca_file = "tls/ca.pem"
            cert_file = "${DIR}/client.pem"
            key_file = "${DIR}/client.key"
            server_name = "thanos.example"
            fetch = "auto"
            max_source_resolution = "5m"
            dedup = true
            replica_labels = ["replica"]
            give_up_after = "2m"
        "#;
        let config = load_with(text, &[("DIR", "/run/tls")]).unwrap();
        let options = config.sources[0].prometheus_options();
        assert_eq!(options.tls.ca_file, Some(PathBuf::from("/etc/tls/ca.pem")));
        assert_eq!(options.tls.key_file, Some(PathBuf::from("/run/tls/client.key")));
        assert_eq!(options.tls.server_name.as_deref(), Some("thanos.example"));
        assert_eq!((options.fetch.as_str(), options.max_source_resolution.millis()), ("auto", 300_000));
        assert_eq!((options.dedup, options.give_up_after.as_secs()), (Some(true), 120));
    }
}
