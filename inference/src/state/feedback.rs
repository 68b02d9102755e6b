//! Labels: stored as they come, taken back whole.

use forewarn_schema::{Feedback, FeedbackSubject, LabelSource, Timestamp, Verdict};
use sqlx::Row;

use super::{AnyRow, StateError, StateStore, audit, corrupt, plain};
use crate::app::NewFeedback;

impl StateStore {
    /// Stores a label given at `now`. A prediction that is not kept here is
    /// [`StateError::NotFound`]: a label of something unknown could never be used.
    pub async fn add_feedback(&self, new: &NewFeedback, now: Timestamp) -> Result<Feedback, StateError> {
        const WHAT: &str = "store a label";
        let feedback = Feedback {
            id: format!("f-{}", crate::unique_id::unique_id(now)),
            subject: new.subject.clone(),
            verdict: new.verdict,
            note: new.note.clone(),
            source: new.source,
            created_at: now,
        };
        let (prediction_id, service, kind, breach_at) = match &feedback.subject {
            FeedbackSubject::Prediction { prediction_id } => (Some(prediction_id.as_str()), None, None, None),
            FeedbackSubject::Breach { service, kind, at } => {
                (None, Some(service.as_str()), Some(kind.as_str()), Some(at.millis()))
            }
        };
        if let Some(id) = prediction_id
            && self.prediction(id).await?.is_none()
        {
            return Err(StateError::NotFound { what: "prediction", id: id.to_owned() });
        }
        let mut tx = self.begin(WHAT).await?;
        let change = async {
            sqlx::query(
                "INSERT INTO feedback \
                 (id, prediction_id, service, kind, breach_at_ms, verdict, note, source, created_at_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(&feedback.id)
            .bind(prediction_id)
            .bind(service.map(plain))
            .bind(kind)
            .bind(breach_at)
            .bind(feedback.verdict.as_str())
            .bind(feedback.note.as_deref().map(plain))
            .bind(feedback.source.as_str())
            .bind(now.millis())
            .execute(&mut *tx)
            .await?;
            audit(&mut tx, "label", &feedback.id, feedback.verdict.as_str(), now).await
        };
        change.await.map_err(|e| self.failed(WHAT, e))?;
        self.commit(tx, WHAT).await?;
        Ok(feedback)
    }

    /// Every label, oldest first.
    pub async fn feedback(&self) -> Result<Vec<Feedback>, StateError> {
        let rows = sqlx::query(
            "SELECT id, prediction_id, service, kind, breach_at_ms, verdict, note, source, created_at_ms \
             FROM feedback ORDER BY created_at_ms, id",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|e| StateError::query("read labels", e))?;
        rows.iter().map(read).collect()
    }

    /// Takes a label back; `false` where there was none. That it was there stays in the audit.
    pub async fn delete_feedback(&self, id: &str, now: Timestamp) -> Result<bool, StateError> {
        const WHAT: &str = "take a label back";
        let mut tx = self.begin(WHAT).await?;
        let result = sqlx::query("DELETE FROM feedback WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.failed(WHAT, e))?;
        let found = result.rows_affected() == 1;
        if found {
            audit(&mut tx, "unlabel", id, "", now).await.map_err(|e| self.failed(WHAT, e))?;
        }
        self.commit(tx, WHAT).await?;
        Ok(found)
    }
}

fn read(row: &AnyRow) -> Result<Feedback, StateError> {
    let column = |e| StateError::query("read a label", e);
    let id: String = row.try_get(0).map_err(column)?;
    let prediction_id: Option<String> = row.try_get(1).map_err(column)?;
    let subject = match prediction_id {
        Some(prediction_id) => FeedbackSubject::Prediction { prediction_id },
        None => {
            let kind: String = row.try_get(3).map_err(column)?;
            FeedbackSubject::Breach {
                service: row.try_get(2).map_err(column)?,
                kind: kind.parse().map_err(|e: forewarn_schema::UnknownKind| corrupt("label", &id, e))?,
                at: Timestamp::from_millis(row.try_get(4).map_err(column)?),
            }
        }
    };
    let verdict: String = row.try_get(5).map_err(column)?;
    let source: String = row.try_get(7).map_err(column)?;
    let source: LabelSource = serde_json::from_value(source.into()).map_err(|e| corrupt("label", &id, e))?;
    Ok(Feedback {
        verdict: verdict.parse::<Verdict>().map_err(|e| corrupt("label", &id, e))?,
        note: row.try_get(6).map_err(column)?,
        source,
        created_at: Timestamp::from_millis(row.try_get(8).map_err(column)?),
        subject,
        id,
    })
}
