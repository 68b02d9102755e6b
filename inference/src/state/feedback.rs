//! Labels: stored as they come, taken back whole.

use forewarn_schema::{BreachKind, Feedback, FeedbackSubject, LabelSource, TimeRange, Timestamp, Verdict};
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
            who: crate::access::caller().to_string(),
            created_at: now,
        };
        let columns = Columns::of(&feedback.subject);
        if let Some(id) = columns.prediction_id
            && self.prediction(id).await?.is_none()
        {
            return Err(StateError::NotFound { what: "prediction", id: id.to_owned() });
        }
        if let Some(id) = columns.request_id
            && self.request(id).await?.is_none()
        {
            return Err(StateError::NotFound { what: "request", id: id.to_owned() });
        }
        let mut tx = self.begin(WHAT).await?;
        let change = async {
            sqlx::query(
                "INSERT INTO feedback (id, prediction_id, request_id, service, kind, breach_at_ms, ends_at_ms, \
                 verdict, note, source, who, created_at_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            )
            .bind(&feedback.id)
            .bind(columns.prediction_id)
            .bind(columns.request_id)
            .bind(columns.service.map(plain))
            .bind(columns.kind.map(BreachKind::as_str))
            .bind(columns.from.map(Timestamp::millis))
            .bind(columns.to.map(Timestamp::millis))
            .bind(feedback.verdict.as_str())
            .bind(feedback.note.as_deref().map(plain))
            .bind(feedback.source.as_str())
            .bind(plain(&feedback.who))
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
            "SELECT id, prediction_id, request_id, service, kind, breach_at_ms, ends_at_ms, verdict, note, source, who, \
             created_at_ms FROM feedback ORDER BY created_at_ms, id",
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

/// What a label is of, as it is stored.
#[derive(Default)]
struct Columns<'a> {
    prediction_id: Option<&'a str>,
    request_id: Option<&'a str>,
    service: Option<&'a str>,
    kind: Option<BreachKind>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl<'a> Columns<'a> {
    fn of(subject: &'a FeedbackSubject) -> Self {
        let none = Self::default();
        match subject {
            FeedbackSubject::Prediction { prediction_id } => Self { prediction_id: Some(prediction_id), ..none },
            FeedbackSubject::Request { request_id } => Self { request_id: Some(request_id), ..none },
            FeedbackSubject::Breach { service, kind, at } => {
                Self { service: Some(service), kind: Some(*kind), from: Some(*at), ..none }
            }
            FeedbackSubject::Span { service, kind, range } => {
                Self { service: Some(service), kind: *kind, from: Some(range.start), to: Some(range.end), ..none }
            }
        }
    }
}

fn read(row: &AnyRow) -> Result<Feedback, StateError> {
    let column = |e| StateError::query("read a label", e);
    let id: String = row.try_get(0).map_err(column)?;
    let unreadable = |problem: String| corrupt("label", &id, problem);
    let prediction_id: Option<String> = row.try_get(1).map_err(column)?;
    let request_id: Option<String> = row.try_get(2).map_err(column)?;
    let service: Option<String> = row.try_get(3).map_err(column)?;
    let kind: Option<String> = row.try_get(4).map_err(column)?;
    let kind = kind.map(|kind| kind.parse::<BreachKind>()).transpose().map_err(|e| corrupt("label", &id, e))?;
    let time = |index: usize| row.try_get(index).map(|ms: Option<i64>| ms.map(Timestamp::from_millis));
    let (from, to) = (time(5).map_err(column)?, time(6).map_err(column)?);
    let subject = match (prediction_id, request_id, service, kind, from, to) {
        (Some(prediction_id), ..) => FeedbackSubject::Prediction { prediction_id },
        (None, Some(request_id), ..) => FeedbackSubject::Request { request_id },
        (None, None, Some(service), kind, Some(start), Some(end)) => {
            let range = TimeRange::new(start, end).map_err(|e| corrupt("label", &id, e))?;
            FeedbackSubject::Span { service, kind, range }
        }
        (None, None, Some(service), Some(kind), Some(at), None) => FeedbackSubject::Breach { service, kind, at },
        _ => return Err(unreadable("it must be of a prediction, a request, a breach or a span".to_owned())),
    };
    let verdict: String = row.try_get(7).map_err(column)?;
    let source: String = row.try_get(9).map_err(column)?;
    let source: LabelSource = serde_json::from_value(source.into()).map_err(|e| corrupt("label", &id, e))?;
    Ok(Feedback {
        verdict: verdict.parse::<Verdict>().map_err(unreadable)?,
        note: row.try_get(8).map_err(column)?,
        source,
        who: row.try_get(10).map_err(column)?,
        created_at: Timestamp::from_millis(row.try_get(11).map_err(column)?),
        subject,
        id,
    })
}
