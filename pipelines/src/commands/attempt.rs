//! One attempt at a run: steps that were done are not taken again, and what happens is written down before and after each.

use anyhow::Context as _;
use forewarn_models::RunLog;
use forewarn_schema::{RunRecord, RunStep, RunStepOutcome, Timestamp};
use serde_json::{Value, json};

use super::now;
use crate::cpu;
use crate::errors::one_line;
use crate::lineage::Lineage;

/// See the module.
pub(super) struct Attempt {
    log: RunLog,
    record: RunRecord,
    lineage: Lineage,
    text: String,
}

impl Attempt {
    /// Goes on with the run `id`, or begins it. `resumed` says which.
    pub(super) async fn begin(
        log: RunLog,
        id: &str,
        scheduled_for: Timestamp,
        lineage: Lineage,
    ) -> anyhow::Result<(Self, bool)> {
        let before = log.get(id).await.context("the run's record")?;
        let resumed = before.is_some();
        let mut record = before.unwrap_or_else(|| RunRecord {
            format_version: RunRecord::FORMAT_VERSION,
            id: id.to_owned(),
            scheduled_for,
            started_at: now(),
            finished_at: None,
            steps: Vec::new(),
        });
        if !record.steps.iter().all(|step| step.outcome == RunStepOutcome::Done) {
            record.finished_at = None;
        }
        Ok((Self { log, record, lineage, text: String::new() }, resumed))
    }

    /// Takes a step, unless it was done before, and gives what it said as JSON. `work` says the same as text, too.
    pub(super) async fn step(
        &mut self,
        name: &'static str,
        work: impl AsyncFnOnce(&RunRecord) -> anyhow::Result<(String, Value)>,
    ) -> anyhow::Result<Value> {
        let at = self.record.steps.iter().position(|step| step.name == name);
        if let Some(done) = at.map(|at| &self.record.steps[at])
            && done.outcome == RunStepOutcome::Done
        {
            tracing::info!(run = self.record.id, step = name, "done before");
            self.text.push_str(&format!("{name}: done before\n"));
            return Ok(done.detail.clone());
        }
        let running = RunStep {
            name: name.to_owned(),
            started_at: now(),
            finished_at: None,
            outcome: RunStepOutcome::Running,
            cpu_seconds: None,
            detail: Value::Null,
        };
        match at {
            Some(at) => self.record.steps[at] = running,
            None => self.record.steps.push(running),
        }
        self.write().await?;
        self.lineage.tell(&self.record, name, &Value::Null).await;
        tracing::info!(run = self.record.id, step = name, "begins");
        let before = cpu::seconds();
        let result = work(&self.record).await;
        let taken = before.zip(cpu::seconds()).map(|(before, after)| after - before);
        let detail = match &result {
            Ok((text, detail)) => {
                self.text.push_str(text.trim_end());
                self.text.push('\n');
                detail.clone()
            }
            Err(error) => json!({"error": one_line(error)}),
        };
        if let Some(step) = self.record.steps.iter_mut().find(|step| step.name == name) {
            step.finished_at = Some(now());
            step.outcome = if result.is_ok() { RunStepOutcome::Done } else { RunStepOutcome::Failed };
            step.cpu_seconds = taken;
            step.detail = detail.clone();
        }
        if result.is_err() {
            self.record.finished_at = Some(now());
        }
        let written = self.write().await;
        self.lineage.tell(&self.record, name, &detail).await;
        result?;
        written?;
        Ok(detail)
    }

    /// The last step is done; what all said as text.
    pub(super) async fn end(mut self) -> anyhow::Result<(String, RunRecord)> {
        if self.record.finished_at.is_none() {
            self.record.finished_at = Some(now());
            self.write().await?;
        }
        Ok((self.text, self.record))
    }

    async fn write(&self) -> anyhow::Result<()> {
        self.log.put(&self.record).await.context("the run's record")
    }
}
