//! `forewarn report`: looks back at a week and keeps what it sees in the store, as a page, as Markdown for a chat and as JSON.
//! Reads stored records alone, so that a week written again says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use forewarn_features::{Calendar, ServiceStep};
use forewarn_inference::StateStore;
use forewarn_models::{ModelRegistry, RunLog};
use forewarn_schema::{BreachKind, RunRecord, Step, TimeRange, Timestamp, Verdict};
use forewarn_training::EvaluationReport;
use forewarn_training::week::{
    Decided, RequestRecord, WeekHistory, WeekRecords, WeeklyReport, render_week_html, render_week_markdown,
    weekly_report,
};
use serde_json::json;

use super::{evaluate, now, open};
use crate::cli::Report;
use crate::config::{Config, ConfigError};
use crate::outcome::Outcome;

const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// What is drawn begins so long before a week and ends so long after it at most.
const AROUND: Duration = Duration::from_secs(86_400);
/// The trail has a move of a model a moment after the registry.
const SAME_MOVE: Duration = Duration::from_secs(30);

pub(super) async fn report(config: &Config, arguments: &Report) -> anyhow::Result<Outcome> {
    let range = range(&config.calendar, arguments, now())?;
    let state = open::served_state(config).await?;
    let registry = open::registry(config).await?;
    let (name, report) = write(config, &state, &registry, range).await?;
    let markdown = render_week_markdown(&report);
    if let Some(folder) = &arguments.out {
        keep(folder, &report, &markdown)?;
    }
    let text = match arguments.markdown {
        true => markdown,
        false => format!("{}\nwritten to {}/reports/{name}/week.html\n", report.headline, config.store_url),
    };
    let json = json!({"report": name, "range": range, "headline": report.headline, "figures": report.figures});
    Ok(Outcome::new(text, json))
}

/// Looks back at the week before `end` and keeps the report; `None` where nobody ever served.
pub(super) async fn week_until(config: &Config, end: Timestamp) -> anyhow::Result<Option<String>> {
    let path = config.state_url.expose().strip_prefix("sqlite://").map(Path::new);
    if path.is_some_and(|path| !path.exists()) {
        return Ok(None);
    }
    let (state, registry) = (open::state(config).await?, open::registry(config).await?);
    let end = midnight(&config.calendar, end);
    let (name, _) = write(config, &state, &registry, TimeRange { start: end - WEEK, end }).await?;
    Ok(Some(name))
}

async fn write(
    config: &Config,
    state: &StateStore,
    registry: &ModelRegistry,
    range: TimeRange,
) -> anyhow::Result<(String, WeeklyReport)> {
    let records = records(config, state, registry, range).await?;
    let services = services_to_draw(&weekly_report(&records, range, None));
    let histories = histories(config, range, &services).await;
    let signals = Arc::clone(&config.signals);
    let history = histories.as_ref().map(|histories| WeekHistory { histories, signals: &signals });
    let report = weekly_report(&records, range, history);
    let name = format!("{}{}", evaluate::compact(range.end), ModelRegistry::WEEK_SUFFIX);
    let files = files(&report, &render_week_markdown(&report))?;
    registry.put_report(&name, &files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect()).await?;
    Ok((name, report))
}

fn files(report: &WeeklyReport, markdown: &str) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    Ok(BTreeMap::from([
        ("week.json".to_owned(), serde_json::to_vec_pretty(report)?),
        ("week.html".to_owned(), render_week_html(report).into()),
        ("week.md".to_owned(), markdown.as_bytes().to_vec()),
    ]))
}

fn keep(folder: &Path, report: &WeeklyReport, markdown: &str) -> anyhow::Result<()> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    files(report, markdown)?.iter().try_for_each(|(name, bytes)| write(name, bytes))
}

/// Both weeks' records: the one that is looked at, and the one before it.
async fn records(
    config: &Config,
    state: &StateStore,
    registry: &ModelRegistry,
    range: TimeRange,
) -> anyhow::Result<WeekRecords> {
    let both = TimeRange { start: range.start - range.duration(), end: range.end };
    let requests = state.requests_in(both).await?.into_iter();
    let trail = state.trail_in(both).await?.into_iter();
    let trail = trail.map(|d| Decided { at: d.at, who: d.who, action: d.action, object: d.object, detail: d.detail });
    Ok(WeekRecords {
        predictions: state.predictions_in(both).await?,
        requests: requests.map(|r| RequestRecord { request: r.request, status: r.status, note: r.note }).collect(),
        labels: state.feedback().await?,
        settlements: state.settlements_since(both.start).await?,
        held: state.held_in(both).await?,
        sightings: state.sightings_in(both).await?,
        decisions: with_promotions(trail.collect(), registry, both).await?,
        evaluations: evaluations(registry, both).await?,
        runs: runs_in(config, both).await?,
    })
}

/// The trail knows who moved a model over HTTP or on the page; the registry knows of every move, and why it was let.
async fn with_promotions(
    mut trail: Vec<Decided>,
    registry: &ModelRegistry,
    range: TimeRange,
) -> anyhow::Result<Vec<Decided>> {
    const MOVES: [&str; 2] = ["promote", "rollback"];
    let (told, mut decisions): (Vec<Decided>, Vec<Decided>) =
        trail.drain(..).partition(|d| MOVES.contains(&d.action.as_str()));
    for service in registry.services().await? {
        let pointer = registry.pointer(&service).await?;
        let promotions =
            pointer.promotions.into_iter().map(|p| (p.at, MOVES[0], format!("{}: {}", p.version, p.reason)));
        let rollbacks = pointer.rollbacks.into_iter().map(|r| (r.at, MOVES[1], format!("{} taken back", r.version)));
        for (at, action, detail) in promotions.chain(rollbacks).filter(|(at, ..)| range.contains(*at)) {
            let same = |d: &&Decided| {
                d.action == action && d.object == service && d.at.seconds_since(at).abs() < SAME_MOVE.as_secs_f64()
            };
            let who = told.iter().find(same).map_or_else(|| "forewarn".to_owned(), |d| d.who.clone());
            decisions.push(Decided { at, who, action: action.to_owned(), object: service.clone(), detail });
        }
    }
    decisions.sort_by(|a, b| (a.at, &a.action, &a.object).cmp(&(b.at, &b.action, &b.object)));
    Ok(decisions)
}

/// Evaluations that were written in `range`; one that this version does not read is left out, with a warning.
async fn evaluations(registry: &ModelRegistry, range: TimeRange) -> anyhow::Result<BTreeMap<String, EvaluationReport>> {
    let mut evaluations = BTreeMap::new();
    for name in registry.evaluations().await? {
        if !forewarn_training::week::time_of_name(&name).is_some_and(|at| range.contains(at)) {
            continue;
        }
        match evaluate::read_report(registry, &name).await {
            Ok(report) => drop(evaluations.insert(name, report)),
            Err(error) => tracing::warn!(report = name, %error, "an evaluation is left out of the week"),
        }
    }
    Ok(evaluations)
}

/// Runs that began in `range`, oldest first.
async fn runs_in(config: &Config, range: TimeRange) -> anyhow::Result<Vec<RunRecord>> {
    let mut runs = RunLog::new(forewarn_storage::Store::open(&config.store_url)?).all().await?;
    runs.retain(|run| range.contains(run.started_at));
    runs.reverse();
    Ok(runs)
}

/// The services that a picture would help to understand.
fn services_to_draw(report: &WeeklyReport) -> BTreeSet<String> {
    let wrong = report.announced.iter().filter(|a| a.verdict == Some(Verdict::FalsePositive));
    let missed = report.missed.iter().filter(|m| m.kind != BreachKind::CertificateExpiry);
    wrong.map(|a| a.service.clone()).chain(missed.map(|m| m.service.clone())).collect()
}

/// What the dataset has of them about that week; without a dataset there are no pictures.
async fn histories(
    config: &Config,
    range: TimeRange,
    services: &BTreeSet<String>,
) -> Option<BTreeMap<Arc<str>, Vec<ServiceStep>>> {
    if services.is_empty() {
        return None;
    }
    let (dataset, manifest) = open::dataset(config).await.ok()?;
    let covered = open::covered(&manifest).ok()?;
    let (start, end) = ((range.start - AROUND).max(covered.start), (range.end + AROUND).min(covered.end));
    let wanted = TimeRange::new(start, end).ok()?;
    match dataset.read_services(&config.signals, wanted, services).await {
        Ok(histories) => Some(histories),
        Err(error) => {
            tracing::warn!(%error, "the dataset cannot be read: the week has no pictures");
            None
        }
    }
}

/// Seven days up to the last midnight, in the dataset's time zone, unless said otherwise.
fn range(calendar: &Calendar, arguments: &Report, now: Timestamp) -> Result<TimeRange, ConfigError> {
    let end = arguments.to.unwrap_or_else(|| midnight(calendar, now));
    let start = arguments.from.unwrap_or(end - WEEK);
    match TimeRange::new(start, end) {
        Ok(range) if range.duration() > Duration::ZERO => Ok(range),
        _ => Err(ConfigError::new(format!("--from must lie before --to {end}, got {start}"))),
    }
}

/// The first minute of the local day that `at` lies in: midnight, or later where the clock skips it.
fn midnight(calendar: &Calendar, at: Timestamp) -> Timestamp {
    const LONGEST_DAY_MINUTES: i64 = 27 * 60;
    let (whole, today) = (at.align_down(Step::MINUTE), calendar.local(at).day);
    let ago = |minutes: i64| whole - Duration::from_secs(60 * minutes.unsigned_abs());
    // So many minutes ago it was today (0 always is), and so many ago it was not.
    let (mut is, mut is_not) = (0, LONGEST_DAY_MINUTES);
    while is_not - is > 1 {
        let between = (is + is_not) / 2;
        *(if calendar.local(ago(between)).day == today { &mut is } else { &mut is_not }) = between;
    }
    ago(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_week_ends_at_the_last_midnight_on_the_wall() {
        let berlin = Calendar::new("Europe/Berlin", &[]).unwrap();
        let at = |text: &str| midnight(&berlin, time(text));
        assert_eq!(at("2026-11-24T15:04:05Z"), time("2026-11-23T23:00:00Z"));
        assert_eq!(at("2026-11-23T23:00:00Z"), time("2026-11-23T23:00:00Z"));
        // The days on which clocks change, after they have.
        assert_eq!(at("2026-10-25T22:30:00Z"), time("2026-10-24T22:00:00Z"));
        assert_eq!(at("2026-03-29T21:30:00Z"), time("2026-03-28T23:00:00Z"));
    }

    #[test]
    fn a_week_that_ends_before_it_begins_is_refused() {
        let of =
            |from: &str, to: &str| Report { from: Some(time(from)), to: Some(time(to)), out: None, markdown: false };
        let utc = Calendar::default();
        let now = time("2026-11-24T00:00:00Z");
        assert!(range(&utc, &of("2026-11-02T00:00:00Z", "2026-11-01T00:00:00Z"), now).is_err());
        let default = Report { from: None, to: None, out: None, markdown: false };
        assert_eq!(range(&utc, &default, now).unwrap().duration(), WEEK);
    }
}
