//! What the weekly job reads and writes, told to a collector of lineage in the words of OpenLineage 2-0-2, over HTTP or as lines in
//! a file. A collector that is away costs a run some seconds and never fails it.

use std::io::Write as _;
use std::path::PathBuf;

use forewarn_schema::{RunRecord, RunStep, RunStepOutcome, Timestamp, stable_id};
use serde_json::{Value, json};
use url::Url;

use crate::config::{Config, Secret};

const PRODUCER: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/v", env!("CARGO_PKG_VERSION"));
const SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
const PARENT: &str = "https://openlineage.io/spec/facets/1-0-1/ParentRunFacet.json#/$defs/ParentRunFacet";
const NOMINAL: &str = "https://openlineage.io/spec/facets/1-0-1/NominalTimeRunFacet.json#/$defs/NominalTimeRunFacet";
const FAILED: &str = "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet";
/// What the steps are part of.
const JOB: &str = "forewarn.run";

/// `[train.openlineage]`: where events go. The default goes nowhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineageOptions {
    /// Posted to.
    pub(crate) url: Option<Url>,
    pub(crate) token: Option<Secret>,
    /// A line each, appended.
    pub(crate) file: Option<PathBuf>,
    /// Of the jobs.
    pub(crate) namespace: String,
}

/// Tells of the steps of one run.
#[derive(Debug)]
pub(crate) struct Lineage {
    options: LineageOptions,
    /// Names and URLs of the sources.
    sources: Vec<(String, String)>,
    store_url: String,
}

impl Lineage {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            options: config.train.lineage.clone(),
            sources: config.sources.iter().map(|source| (source.name.clone(), source.url.clone())).collect(),
            store_url: config.store_url.clone(),
        }
    }

    /// Tells that the step `name` of `record` began or ended, as it says itself.
    pub(crate) async fn tell(&self, record: &RunRecord, name: &str, detail: &Value) {
        if self.options.url.is_none() && self.options.file.is_none() {
            return;
        }
        let Some(step) = record.steps.iter().find(|step| step.name == name) else { return };
        let event = self.event(record, step, detail);
        if let Some(url) = &self.options.url
            && let Err(error) =
                forewarn_inference::post_json(url, self.options.token.as_ref().map(Secret::expose), &event).await
        {
            tracing::warn!(%url, error, step = name, "nobody took the lineage of this step");
        }
        if let Some(path) = &self.options.file {
            let append = || -> std::io::Result<()> {
                let mut file = std::fs::File::options().create(true).append(true).open(path)?;
                file.write_all(format!("{event}\n").as_bytes())
            };
            if let Err(error) = append() {
                tracing::warn!(path = %path.display(), %error, step = name, "lineage not written");
            }
        }
    }

    fn event(&self, record: &RunRecord, step: &RunStep, detail: &Value) -> Value {
        let (kind, at) = match (step.outcome, step.finished_at) {
            (RunStepOutcome::Running, _) => ("START", step.started_at),
            (RunStepOutcome::Done, at) => ("COMPLETE", at.unwrap_or(step.started_at)),
            (RunStepOutcome::Failed, at) => ("FAIL", at.unwrap_or(step.started_at)),
        };
        let namespace = &self.options.namespace;
        let mut facets = json!({
            "parent": {
                "_producer": PRODUCER,
                "_schemaURL": PARENT,
                "run": {"runId": uuid(&record.id, "")},
                "job": {"namespace": namespace, "name": JOB},
            },
            "nominalTime": {
                "_producer": PRODUCER,
                "_schemaURL": NOMINAL,
                "nominalStartTime": date_time(record.scheduled_for),
            },
        });
        if let Some(error) = detail.get("error").filter(|_| step.outcome == RunStepOutcome::Failed) {
            facets["errorMessage"] = json!({
                "_producer": PRODUCER,
                "_schemaURL": FAILED,
                "message": error,
                "programmingLanguage": "Rust",
            });
        }
        let (inputs, outputs) = self.datasets(&step.name);
        json!({
            "eventType": kind,
            "eventTime": date_time(at),
            "producer": PRODUCER,
            "schemaURL": SCHEMA,
            // Another attempt at a step is another run of its job: each run begins once and ends once.
            "run": {"runId": uuid(&record.id, &format!("{} {}", step.name, step.started_at)), "facets": facets},
            "job": {"namespace": namespace, "name": format!("{JOB}.{}", step.name), "facets": {}},
            "inputs": inputs,
            "outputs": outputs,
        })
    }

    /// What a step reads and what it writes.
    fn datasets(&self, step: &str) -> (Vec<Value>, Vec<Value>) {
        let of = |name: &str| {
            let (namespace, prefix) = place(&self.store_url);
            json!({"namespace": namespace, "name": format!("{prefix}/{name}").trim_start_matches('/')})
        };
        match step {
            "pull" => {
                let source = |(name, url): &(String, String)| json!({"namespace": place(url).0, "name": name});
                (self.sources.iter().map(source).collect(), vec![of("dataset")])
            }
            "train" => (vec![of("dataset")], vec![of("models")]),
            "evaluate" => (vec![of("dataset"), of("models")], vec![of("reports")]),
            "promote" => (vec![of("reports"), of("models")], vec![of("models")]),
            _ => (vec![of("models"), of("reports")], vec![of("reports")]),
        }
    }
}

/// Scheme and host of a URL, and its path.
fn place(url: &str) -> (String, String) {
    let Ok(parsed) = Url::parse(url) else { return ("file".to_owned(), url.to_owned()) };
    let path = parsed.path().trim_matches('/').to_owned();
    match parsed.host_str() {
        None => (parsed.scheme().to_owned(), format!("/{path}")),
        Some(host) => {
            let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
            (format!("{}://{host}{port}", parsed.scheme()), path)
        }
    }
}

/// RFC 3339 with a time zone, as JSON Schema's `date-time` wants it.
fn date_time(at: Timestamp) -> String {
    at.to_rfc3339()
}

/// A UUID (version 8, RFC 9562) that follows from the run's id: each attempt to tell of it says the same.
fn uuid(id: &str, part: &str) -> String {
    let hash = |parts: &[&str]| {
        let text = stable_id("run", parts);
        text.rsplit('-').next().and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
    };
    let (high, low) = (hash(&[id, part]), hash(&[part, id, "low"]));
    let high = (high & !0xf000) | 0x8000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xffff);
    let (d, e) = (low >> 48, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_run_has_the_same_uuid_and_each_step_another() {
        let one = uuid("20260111T030000Z", "train");
        assert_eq!(one, uuid("20260111T030000Z", "train"));
        assert_ne!(one, uuid("20260111T030000Z", "pull"));
        assert_ne!(one, uuid("20260118T030000Z", "train"));
        let groups: Vec<&str> = one.split('-').collect();
        assert_eq!(groups.iter().map(|g| g.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{one}");
        assert!(groups[2].starts_with('8') && "89ab".contains(&groups[3][..1]), "{one}");
    }

    #[test]
    fn a_dataset_is_named_by_its_place() {
        assert_eq!(place("s3://bucket/team/a/"), ("s3://bucket".to_owned(), "team/a".to_owned()));
        assert_eq!(place("file:///var/lib/forewarn"), ("file".to_owned(), "/var/lib/forewarn".to_owned()));
        assert_eq!(place("http://prom:9090"), ("http://prom:9090".to_owned(), String::new()));
    }
}
