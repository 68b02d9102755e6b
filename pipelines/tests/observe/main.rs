//! What ships for those who watch the server: rules with their tests, and a dashboard. Neither may name a metric that the
//! server does not have, no metric goes unseen, and each alert says what to do.
//!
//! `FOREWARN_WRITE=1 cargo test --workspace --test observe` writes the dashboard anew.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics to fail and says why it skips")]

mod dashboard;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use forewarn_inference::metrics_list;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

/// Words that look like a metric of ours, without the suffixes of a histogram's parts.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("forewarn_") || word.starts_with("process_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

fn promtool(arguments: &[&str]) -> Option<String> {
    let run = Command::new("promtool").args(arguments).current_dir(deploy("prometheus")).output();
    let Ok(output) = run else {
        eprintln!("skipped: promtool is not installed (Debian: apt-get install prometheus)");
        return None;
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    Some(said)
}

fn alerts() -> Vec<String> {
    let rules = std::fs::read_to_string(deploy("prometheus/forewarn.rules.yml")).unwrap();
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn rules_fire_when_they_should_and_not_before() {
    promtool(&["check", "rules", "forewarn.rules.yml"]);
    promtool(&["test", "rules", "forewarn.rules.test.yml"]);
    let tests = std::fs::read_to_string(deploy("prometheus/forewarn.rules.test.yml")).unwrap();
    for alert in alerts() {
        assert!(tests.matches(&alert).count() >= 2, "{alert} must be tested both firing and quiet");
    }
}

#[test]
fn every_alert_says_what_to_do() {
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md")).unwrap();
    let all = alerts();
    assert!(all.len() > 10, "{all:?}");
    for alert in all {
        assert!(guide.contains(&format!("`{alert}`")), "docs/operations.md does not say what to do about {alert}");
    }
}

#[test]
fn the_dashboard_is_made_from_the_metrics_that_there_are() {
    let made = format!("{}\n", serde_json::to_string_pretty(&dashboard::dashboard()).unwrap());
    let file = deploy("grafana/forewarn.json");
    if std::env::var_os("FOREWARN_WRITE").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(written, made, "{} is not what the code makes: FOREWARN_WRITE=1 writes it anew", file.display());

    let known: BTreeSet<String> = metrics_list().iter().map(|metric| metric.name.to_owned()).collect();
    let rules = std::fs::read_to_string(deploy("prometheus/forewarn.rules.yml")).unwrap();
    let (shown, ruled) = (metrics_in(&dashboard::queries().join("\n")), metrics_in(&rules));
    for named in shown.union(&ruled) {
        assert!(known.contains(named), "{named} is named, and no metric of the server");
    }
    let unseen: Vec<_> = known.iter().filter(|name| !shown.contains(*name)).collect();
    assert!(unseen.is_empty(), "no panel shows {unseen:?}");
}

#[test]
fn every_query_of_the_dashboard_is_promql() {
    let folder = tempfile::tempdir().unwrap();
    let rules: Vec<serde_json::Value> = dashboard::queries()
        .iter()
        .enumerate()
        .map(|(i, query)| serde_json::json!({"record": format!("panel:{i}"), "expr": query.replace("$service", ".*")}))
        .collect();
    // JSON is YAML.
    let file = folder.path().join("queries.yml");
    std::fs::write(&file, serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}
