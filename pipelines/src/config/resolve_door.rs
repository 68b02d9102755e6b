//! Who comes in, and how: `[serve.tls]`, `web_config_file`, `[[serve.access]]`, `[serve.rate_limit]`; and `pull`, which goes out instead.

use forewarn_inference::{Credential, CredentialError, CredentialKind, DoorOptions, RateOptions};

use forewarn_datasets::{Fetch, PrometheusOptions};

use super::file::{RateSection, ServeSection};
use super::resolve::{Place, http_url};
use super::{ConfigError, Source, SourceKind};

/// TLS and `web.yml`, by paths relative to the configuration; what is in the files is looked at when the door opens.
pub(super) fn door(place: &Place<'_>, section: &ServeSection) -> Result<DoorOptions, ConfigError> {
    let file = |file: &str| {
        let file = place.expand(file).map_err(|e| place.wrong("serve", 0, "web_config_file", e))?;
        Ok::<_, ConfigError>(place.relative(&file))
    };
    let options = DoorOptions {
        tls: section.tls.clone().map(|tls| tls.relative_to(&place.relative(""))),
        web_config_file: section.web_config_file.as_deref().map(file).transpose()?,
    };
    Ok(options)
}

/// Who may ask; every name once, so that the audit is clear.
pub(super) fn access(place: &Place<'_>, serve: &ServeSection) -> Result<Vec<Credential>, ConfigError> {
    const SECTION: &str = "serve.access";
    let sections = &serve.access;
    let mut credentials = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let wrong = |key: &str, what: String| place.wrong(SECTION, index, key, what);
        if sections[..index].iter().any(|earlier| earlier.name == section.name) {
            return Err(wrong("name", format!("{:?} is there twice", section.name)));
        }
        let secret = |key, inline: &Option<String>, file: &Option<String>| {
            place.secret(SECTION, index, key, inline.as_ref(), file.as_ref())
        };
        let token = secret("token", &section.token, &section.token_file)?;
        let password = secret("password", &section.password, &section.password_file)?;
        let of = |key, kind, secret: &str| {
            Credential::new(&section.name, section.role, kind, secret).map_err(|e| match e {
                CredentialError::BadName { .. } => wrong("name", e.to_string()),
                CredentialError::TooShort { .. } => wrong(key, e.to_string()),
            })
        };
        credentials.push(match (token, password, &section.certificate) {
            (Some(token), None, None) => of("token", CredentialKind::Token, token.expose())?,
            (None, Some(password), None) => of("password", CredentialKind::Password, password.expose())?,
            (None, None, Some(name)) if !name.is_empty() => of("certificate", CredentialKind::Certificate, name)?,
            (None, None, Some(_)) => return Err(wrong("certificate", "wanted a name, got \"\"".to_owned())),
            (None, None, None) if serve.web_config_file.is_some() => of("name", CredentialKind::WebUser, "")?,
            (None, None, None) => {
                let what = "give token_file or password_file, a certificate, or the name of a user of web_config_file";
                return Err(wrong("name", what.to_owned()));
            }
            _ => return Err(wrong("name", "give one of a token, a password and a certificate".to_owned())),
        });
    }
    Ok(credentials)
}

/// How often one caller may ask.
pub(super) fn rates(place: &Place<'_>, section: &RateSection) -> Result<RateOptions, ConfigError> {
    let rates =
        [("requests_per_second", section.requests_per_second), ("writes_per_second", section.writes_per_second)];
    match rates.iter().find(|(_, rate)| !(rate.is_finite() && *rate >= 0.0)) {
        Some((key, rate)) => {
            Err(place.wrong("serve.rate_limit", 0, key, format!("wanted a rate, or 0 for none, got {rate}")))
        }
        None => Ok(RateOptions { requests_per_second: rates[0].1, writes_per_second: rates[1].1 }),
    }
}

/// Where samples are fetched from: a `[[source]]` by its name, with its credentials, or a URL that needs none. Raw samples are
/// wanted: a source that is set to fetch steps is asked for the best that it can.
pub(super) fn pull(place: &Place<'_>, pull: Option<&str>, sources: &[Source]) -> Result<Option<Source>, ConfigError> {
    let Some(pull) = pull else { return Ok(None) };
    let wrong = |what: String| place.wrong("serve", 0, "pull", what);
    let pull = place.expand(pull).map_err(wrong)?;
    let mut source = match sources.iter().find(|source| source.name == pull) {
        Some(source) if source.kind == SourceKind::Prometheus => source.clone(),
        Some(source) => {
            let kind = source.kind.as_str();
            return Err(wrong(format!("wanted a source of kind \"prometheus\", {pull:?} is of kind {kind:?}")));
        }
        None => {
            http_url(&pull).map_err(|e| wrong(format!("wanted the name of a [[source]] or a URL: {e}")))?;
            Source::of_url("pull", &pull)
        }
    };
    if source.fetch == Fetch::Steps {
        source.fetch = Fetch::Auto;
    }
    Ok(Some(source))
}

impl Source {
    /// A query API without credentials, asked as any other by default.
    fn of_url(name: &str, url: &str) -> Self {
        let PrometheusOptions { timeout, concurrency, retries, give_up_after, .. } = PrometheusOptions::default();
        Self {
            name: name.to_owned(),
            kind: SourceKind::Prometheus,
            url: url.to_owned(),
            token: None,
            basic: None,
            headers: Vec::new(),
            timeout,
            concurrency,
            retries,
            replica_labels: Vec::new(),
            series: Vec::new(),
            ignore_delay: None,
            give_up_after,
            token_file: None,
            tls: Default::default(),
            fetch: Fetch::Auto,
            max_source_resolution: Default::default(),
            dedup: None,
            logs: Default::default(),
        }
    }
}
