//! The made-up shop as a source of history: PromQL over its raw samples, as a Prometheus would answer.

use std::sync::Arc;

use async_trait::async_trait;
use forewarn_datasets::{HistorySource, SourceError, SourceInfo};
use forewarn_features::promql::{Expression, SampleStore};
use forewarn_schema::{LabelSet, Series, Step, TimeRange, Timestamp};
use forewarn_testkit::Shop;

const NAME: &str = "demo";
/// More series than any demo shop has.
const MAX_SERIES: usize = 10_000;

/// See the module.
pub(super) struct GeneratedHistory {
    raw: Arc<Vec<Series>>,
    range: TimeRange,
}

impl GeneratedHistory {
    /// The shop's samples of every minute of `range`.
    pub(super) fn new(shop: Arc<Shop>, range: TimeRange) -> Self {
        Self { raw: Arc::new(shop.samples(range, Step::MINUTE)), range }
    }
}

#[async_trait]
impl HistorySource for GeneratedHistory {
    fn name(&self) -> &str {
        NAME
    }

    async fn probe(&self) -> Result<SourceInfo, SourceError> {
        Ok(SourceInfo {
            kind: "generated".to_owned(),
            url: "none".to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        })
    }

    async fn fetch(&self, promql: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
        let (raw, promql) = (Arc::clone(&self.raw), promql.to_owned());
        let evaluated = tokio::task::spawn_blocking(move || evaluate(&raw, &promql, range, step)).await;
        evaluated.unwrap_or_else(|e| Err(malformed(e.to_string())))
    }

    async fn count(&self, promql: &str, at: Timestamp) -> Result<Vec<LabelSet>, SourceError> {
        let range = TimeRange { start: at, end: at + Step::MINUTE.duration() };
        let series = self.fetch(promql, range, Step::MINUTE).await?;
        Ok(series.into_iter().map(|s| s.labels).collect())
    }

    async fn extent(&self) -> Result<Option<TimeRange>, SourceError> {
        Ok(Some(self.range))
    }
}

fn evaluate(raw: &[Series], promql: &str, range: TimeRange, step: Step) -> Result<Vec<Series>, SourceError> {
    let expression = Expression::parse(promql).map_err(|e| malformed(e.to_string()))?;
    let mut store = SampleStore::new(MAX_SERIES);
    let from = range.start - expression.window();
    for series in raw.iter().filter(|s| expression.matches(&s.labels)) {
        let first = series.samples.partition_point(|s| s.at < from);
        for sample in series.samples[first..].iter().take_while(|s| s.at < range.end) {
            store.push(&series.labels, *sample).map_err(|e| malformed(e.to_string()))?;
        }
    }
    expression.eval_range(&store, range, step).map_err(|e| malformed(e.to_string()))
}

fn malformed(reason: String) -> SourceError {
    SourceError::Malformed { source_name: NAME.to_owned(), reason }
}
