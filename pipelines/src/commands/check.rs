//! `forewarn check`: the configuration is valid when we get here; now say whether the sources and the
//! store answer, which presets match, and what there is to learn from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use forewarn_datasets::{BlocksSource, Dataset, Fetch, SampleQuery, SampleSource, selectors_of};
use forewarn_features::{LiveSignals, Role, observation::target_labels};
use forewarn_inference::{Climb, Footprint, StateStore};
use forewarn_models::ModelRegistry;
use forewarn_schema::{LabelMatcher, LabelSet, METRIC_NAME, MatchOp, Mode, SignalKind, TimeRange};
use forewarn_storage::{Conditions, Store};
use serde_json::{Value, json};

use super::open::OpenSource;
use super::{feed, logs, open, pull};
use crate::config::{Config, human_bytes};
use crate::outcome::Outcome;

/// A row of the dataset in memory: an `Observation` is 48 bytes, and its vector keeps some room to grow.
const BYTES_PER_OBSERVATION: u64 = 64;
/// Parquet bytes of a raw sample: 2.0 to 2.5 over shops scraped once a minute.
const BYTES_PER_SAMPLE: f64 = 2.3;
/// How often series are taken to be scraped, where the memory of a server is foretold.
const SCRAPED_EVERY: Duration = Duration::from_secs(30);

/// What a source holds of the signals.
#[derive(Default)]
struct Found {
    /// Signal → how many targets.
    targets: BTreeMap<String, usize>,
    services: BTreeSet<String>,
    series: usize,
    breachable: usize,
    /// What a server would keep: every series that an expression reads, results apart.
    read: BTreeSet<LabelSet>,
}

pub(super) async fn check(config: &Config) -> anyhow::Result<Outcome> {
    let mut text = format!("{}: valid, {} signals\n", config.path.display(), config.signals.len());
    let holidays = match config.calendar.holidays() {
        1 => "1 holiday".to_owned(),
        n => format!("{n} holidays"),
    };
    text.push_str(&format!("time zone {}, {holidays}\n", config.calendar.time_zone()));
    config.serve.door.check(&config.serve.access)?;
    text.push_str(&requests(config));
    let mut sources = Vec::new();
    let store = Store::open(&config.store_url)?;
    let (dataset, registry) = (Dataset::new(store.clone()), ModelRegistry::new(store.clone()));
    let services = registry.services().await.with_context(|| format!("store {}", config.store_url))?;
    text.push_str(&format!("store {}: reachable, models of {} services\n", config.store_url, services.len()));
    let state = match StateStore::greet(config.state_url.expose()).await? {
        Some(server) => format!("state {}: reachable, {server}\n", config.state_shown),
        None => format!("state {}\n", config.state_shown),
    };
    text.push_str(&match store.probe_conditions().await? {
        _ if store.is_folder() => state,
        Conditions::Kept => format!("  conditional writes: kept\n{state}"),
        Conditions::Ignored(header) => format!("  ignores {header}: its pointers lie in the state database\n{state}"),
    });
    if let Some(pull) = &config.serve.pull {
        text.push_str(&feed::check(pull).await?);
    }
    for source in open::sources(config, None, &dataset).await? {
        if let OpenSource::Logs(source) = &source {
            let (of_logs, json) = logs::check(source).await?;
            text.push_str(&of_logs);
            sources.push(json);
            continue;
        }
        let version = source.version().await?;
        let what = match &source {
            OpenSource::Queries(_) | OpenSource::Samples(..) => version.as_deref().unwrap_or("version unknown"),
            OpenSource::Blocks(..) | OpenSource::Logs(_) => "blocks",
        };
        text.push_str(&format!("source {}: reachable, {what}\n", source.name()));
        let fetch = match &source {
            OpenSource::Queries(_) => Some(Fetch::Steps),
            OpenSource::Samples(_, fetch, _) => Some(*fetch),
            OpenSource::Blocks(..) | OpenSource::Logs(_) => None,
        };
        if let Some(fetch) = fetch {
            let configured = config.sources.iter().find(|s| s.name == source.name()).map(|s| s.fetch);
            let chosen = if configured == Some(fetch) { "" } else { ", the best that it can" };
            text.push_str(&format!("  fetch: {fetch}{chosen}\n"));
        }
        let range = pull::range(config, &source, None, None).await?;
        let blocks = match &source {
            OpenSource::Queries(_) | OpenSource::Samples(..) | OpenSource::Logs(_) => Value::Null,
            OpenSource::Blocks(blocks, series) => {
                let (told, json) = look_at_blocks(config, blocks, series, range).await?;
                text.push_str(&told);
                json
            }
        };
        let found = look(config, &source, range).await?;
        text.push_str(&describe(config, &found));
        if found.series == 0 {
            let last = range.end - config.step.duration();
            anyhow::bail!(
                "source {:?} has no series for any signal at {last}; presets: {}",
                source.name(),
                forewarn_features::presets::ALL.join(", ")
            );
        }
        let plan = source.plan(config, &dataset, range).await?;
        let estimate = source.estimate(config, &dataset, range, &plan, found.series as u64).await?;
        let rows = estimate.whole_rows;
        let memory = rows.saturating_mul(BYTES_PER_OBSERVATION);
        let server = footprint(config, &found, services.len())?;
        text.push_str(&format!(
            "  would train on {range} at a step of {}: about {rows} rows, {} on disk, {} in memory\n",
            config.step,
            human_bytes(estimate.whole_bytes),
            human_bytes(memory),
        ));
        text.push_str(&format!(
            "  would serve from {} series at a scrape every {}: {} in memory once the histories are full\n",
            server.series,
            forewarn_schema::format_duration(SCRAPED_EVERY),
            human_bytes(server.bytes()),
        ));
        if let Some(max) = config.serve.max_memory.filter(|max| *max < server.bytes()) {
            text.push_str(&format!(
                "    more than max_memory, {}: samples of the newest series will be refused\n",
                human_bytes(max)
            ));
        }
        text.push_str(&format!(
            "  still to fetch: {} windows, about {} rows, {}{}\n",
            plan.windows(),
            estimate.rows,
            human_bytes(estimate.bytes),
            human_minutes(estimate.duration),
        ));
        sources.push(json!({
            "name": source.name(),
            "version": version,
            "fetch": fetch.map(Fetch::as_str),
            "blocks": blocks,
            "range": range,
            "presets": presets(config, &found),
            "targets": found.targets,
            "services": found.services,
            "series": found.series,
            "rows": rows,
            "bytes": estimate.whole_bytes,
            "memory_bytes": memory,
            "serve": {"series": server.series, "memory_bytes": server.bytes()},
            "windows_to_fetch": plan.windows(),
            "rows_to_fetch": estimate.rows,
            "bytes_to_fetch": estimate.bytes,
            "seconds_to_fetch": estimate.duration.as_secs_f64(),
        }));
    }
    let json =
        json!({"config": config.path, "store": config.store_url, "state": config.state_shown, "sources": sources});
    Ok(Outcome::new(text, json))
}

/// Where requests go, and what holds them back.
fn requests(config: &Config) -> String {
    let requests = &config.requests;
    let told = requests.alertmanagers.as_ref().map_or(0, |of| of.urls.len());
    let webhook = if requests.webhook.is_some() { "to the webhook" } else { "to no webhook" };
    let most = |most: Option<u32>| most.map_or_else(|| "any number".to_owned(), |most| most.to_string());
    let (safety, autonomy) = (&requests.safety, &requests.autonomy);
    let mode = |mode: Mode| match mode {
        Mode::DryRun => "dry run",
        Mode::Approval => "approval",
        Mode::Automatic => "automatic",
    };
    format!(
        "requests: {webhook} and {told} Alertmanagers, at most {} a week of a service, {} an hour, {} workloads at once, {} maintenance windows\n\
         autonomy: from {} to at most {}, automatic after {} verified successes, {}\n",
        requests.weekly_budget,
        most(safety.max_per_hour),
        most(safety.max_workloads),
        safety.maintenance.len(),
        mode(requests.mode),
        mode(autonomy.highest),
        autonomy.ladder.verified_successes,
        match autonomy.climb {
            Climb::Offer => "what is earned is offered",
            Climb::ByItself => "what is earned is taken",
        }
    )
}

/// Such as `, 12.5 minutes`; nothing where nothing was measured.
fn human_minutes(duration: Duration) -> String {
    if duration.is_zero() { String::new() } else { format!(", {:.1} minutes", duration.as_secs_f64() / 60.0) }
}

/// What a server of all that was found will hold.
fn footprint(config: &Config, found: &Found, models: usize) -> anyhow::Result<Footprint> {
    let live = LiveSignals::new(Arc::clone(&config.signals), config.step, 0)?;
    let samples_of = |labels: &LabelSet| {
        let keeps = live.keeps_of(labels.get(METRIC_NAME).unwrap_or_default());
        keeps.as_secs() / SCRAPED_EVERY.as_secs() + 1
    };
    Ok(Footprint {
        series: found.read.len() as u64,
        samples: found.read.iter().map(samples_of).sum(),
        targets: found.breachable as u64,
        loads: found.services.len() as u64,
        models: models as u64,
    })
}

/// Asks for every expression at the last step of `range`, where all that is alive has a value.
async fn look(config: &Config, source: &OpenSource, range: TimeRange) -> anyhow::Result<Found> {
    let at = range.end - config.step.duration();
    let mut found = Found::default();
    for query in config.signals.queries() {
        let label_sets = source.count(&query.promql, at).await?;
        found.series += label_sets.len();
        let Some(signal) = config.signals.get(&query.signal).filter(|_| query.role == Role::Value) else { continue };
        let mut targets = BTreeSet::new();
        for labels in label_sets {
            let labels = labels.without(&[METRIC_NAME]);
            if let Some(service) = labels.get(&signal.service) {
                found.services.insert(service.to_owned());
                targets.insert((service.to_owned(), target_labels(signal, &labels)));
            }
        }
        if signal.kind != SignalKind::Context {
            found.breachable += targets.len();
        }
        found.targets.insert(signal.name.clone(), targets.len());
    }
    for selector in selectors_of(&config.signals).0 {
        let matchers: Vec<String> = selector.iter().map(ToString::to_string).collect();
        found.read.extend(source.count(&format!("{{{}}}", matchers.join(",")), at).await?);
    }
    Ok(found)
}

/// The blocks: how many, how much of them is wanted, and what the raw samples will come to.
async fn look_at_blocks(
    config: &Config,
    source: &BlocksSource,
    series: &[Vec<LabelMatcher>],
    range: TimeRange,
) -> anyhow::Result<(String, Value)> {
    let summary = source.summary(range).await?;
    let (mut selectors, look_back) = selectors_of(&config.signals);
    selectors.extend(series.iter().cloned());
    let wanted = SampleQuery { selectors, range: TimeRange { start: range.start - look_back, end: range.end } };
    let all = vec![vec![LabelMatcher { name: METRIC_NAME.to_owned(), op: MatchOp::Regex, value: ".+".to_owned() }]];
    let everything = source.series(&SampleQuery { selectors: all, range: wanted.range }).await?.len();
    let selected = source.series(&wanted).await?.len();
    let share = selected as f64 / everything.max(1) as f64;
    let rows = (summary.samples as f64 * share).round() as u64;
    let bytes = (rows as f64 * BYTES_PER_SAMPLE).round() as u64;
    let mut text = format!(
        "  {} blocks, {}; {selected} of {everything} series are wanted: about {rows} raw samples, {} on disk\n",
        summary.blocks,
        human_bytes(summary.bytes),
        human_bytes(bytes),
    );
    for (why, blocks) in &summary.left_out {
        text.push_str(&format!("  left out: {blocks} {why}\n"));
    }
    for (block, why) in &summary.unreadable {
        text.push_str(&format!("  block {block} cannot be read: {why}\n"));
    }
    let json = json!({
        "blocks": summary.blocks,
        "bytes": summary.bytes,
        "series": everything,
        "wanted_series": selected,
        "raw_samples": rows,
        "raw_bytes": bytes,
        "left_out": summary.left_out,
        "unreadable": summary.unreadable,
    });
    Ok((text, json))
}

/// Preset → its signals that have a target, for those that are configured.
fn presets(config: &Config, found: &Found) -> Value {
    let of_preset = |name: &str| -> Option<(String, Value)> {
        let signals = forewarn_features::presets::preset(name)?;
        let mine: Vec<&str> =
            signals.iter().filter(|s| config.signals.get(&s.name) == Some(s)).map(|s| s.name.as_str()).collect();
        let matching = |signal: &&&str| found.targets.get(**signal).is_some_and(|n| *n > 0);
        let matched: Vec<&&str> = mine.iter().filter(matching).collect();
        (!mine.is_empty()).then(|| (name.to_owned(), json!({"signals": mine, "matching": matched})))
    };
    forewarn_features::presets::ALL.iter().filter_map(|name| of_preset(name)).collect::<serde_json::Map<_, _>>().into()
}

fn describe(config: &Config, found: &Found) -> String {
    let mut text = String::new();
    if let Some(presets) = presets(config, found).as_object() {
        for (name, preset) in presets {
            let count = |key: &str| preset[key].as_array().map_or(0, Vec::len);
            let word = match (count("matching"), count("signals")) {
                (0, _) => "no series".to_owned(),
                (matching, all) if matching == all => "matches".to_owned(),
                (matching, all) => format!("{matching} of {all} signals match"),
            };
            text.push_str(&format!("  preset {name}: {word}\n"));
        }
    }
    for signal in config.signals.iter() {
        let targets = found.targets.get(&signal.name).copied().unwrap_or(0);
        let kind = signal.kind.breach().map_or("context", forewarn_schema::BreachKind::as_str);
        text.push_str(&format!("    {:<14} {kind:<18} {targets} targets\n", signal.name));
    }
    text.push_str(&format!(
        "  {} services, {} targets that may breach, {} series\n",
        found.services.len(),
        found.breachable,
        found.series
    ));
    text
}
